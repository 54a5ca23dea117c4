package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mbk/internal/repo"
	"mbk/internal/repo/repotest"
	"mbk/internal/repo/store/storetest"
	"mbk/internal/test/mariadbtest"
	"mbk/internal/test/s3test"
)

// counted is a way to an object store that counts requests.
type counted struct {
	proxy *s3test.Proxy
	seen  atomic.Int64
}

// newCounted makes the repositories of a test lie in buckets.
func newCounted(t *testing.T) *counted {
	t.Helper()
	useKind(t, inS3)
	return &counted{proxy: s3test.NewProxy(t, theShared(t).s3)}
}

// run runs mbk, and returns how many requests it has made.
func (c *counted) run(t *testing.T, args ...string) (outcome, int64) {
	t.Helper()
	c.seen.Store(0)
	c.proxy.Break("", 1, func(*http.Request) bool { c.seen.Add(1); return false })
	return inPatiently(t, "MBK_S3_ENDPOINT="+c.proxy.Endpoint, args), c.seen.Load()
}

// A list of a thousand backups in a bucket takes one request for each, or two as JSON, and
// does not wait for one after the other.
func TestListOfManyBackups(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	const backups, latency = 1000, 20 * time.Millisecond
	c, repository := newCounted(t), t.TempDir()
	manyBackups(t, repository, backups)
	for _, tc := range []struct {
		args    []string
		each    int64
		latency time.Duration
	}{
		{[]string{"list"}, 1, 0}, {[]string{"list"}, 1, latency}, {[]string{"list", "--json"}, 2, latency},
	} {
		c.proxy.Delay(tc.latency)
		began := time.Now()
		o, requests := c.run(t, append(tc.args, "--repo", repository)...)
		took := time.Since(began)
		if n := strings.Count(o.stdout, "-full"); o.code != 0 || n < backups {
			t.Fatalf("list exits %d with %d backups: %s", o.code, n, o.stderr)
		}
		t.Logf("%q: %d requests, each %s late, in %s", tc.args, requests, tc.latency, took.Round(time.Millisecond))
		if requests > tc.each*backups+30 {
			t.Errorf("%q: %d requests for %d backups", tc.args, requests, backups)
		}
		if oneByOne := time.Duration(requests) * tc.latency; tc.latency > 0 && took > oneByOne/2 {
			t.Errorf("%q took %s, one request after another would take %s", tc.args, took, oneByOne)
		}
	}
}

// manyBackups makes a repository with so many full backups, as fast as files can be written.
func manyBackups(t *testing.T, repository string, n int) {
	t.Helper()
	st := storetest.NewMem()
	r := repotest.Chains(t, st)
	release, err := r.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	day := time.Date(2024, 1, 1, 0, 30, 0, 0, time.UTC)
	for i := range n {
		if err := repotest.BackUp(t.Context(), r, repo.NewID(day.AddDate(0, 0, i), repo.KindFull), ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	objects, err := st.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		name := filepath.Join(repository, o.Name)
		content, err := st.Open(t.Context(), o.Name, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(content)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(name), 0o700)
		}
		if err == nil {
			err = os.WriteFile(name, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Thousands of small files are restored from a bucket with one request for many of them.
func TestManySmallFiles(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	t.Log(manySmallFiles(t, newest(), 1500))
}

// manySmallFiles backs up and restores so many MyISAM tables of three files each.
func manySmallFiles(t *testing.T, version string, tables int) string {
	c, repository := newCounted(t), t.TempDir()
	srv := mariadbtest.New(t, version)
	srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t0 (a INT PRIMARY KEY, b CHAR(100)) ENGINE=MyISAM",
		"INSERT INTO d.t0 SELECT seq, MD5(seq) FROM mysql.seq_1_to_20", "FLUSH TABLES")
	for _, ending := range []string{".frm", ".MYD", ".MYI"} {
		b, err := os.ReadFile(filepath.Join(srv.Datadir, "d", "t0"+ending))
		if err != nil {
			t.Fatal(err)
		}
		for i := 1; i < tables; i++ { // a server finds such tables
			if err := os.WriteFile(fmt.Sprintf("%s/d/t%d%s", srv.Datadir, i, ending), b, 0o660); err != nil {
				t.Fatal(err)
			}
		}
	}
	time.Sleep(1200 * time.Millisecond)
	// Every second table was changed just now, so that only a copy under the lock is sure to hold.
	for i := 0; i < tables; i += 2 {
		for _, ending := range []string{".frm", ".MYD", ".MYI"} {
			soon := time.Now().Add(time.Hour)
			if err := os.Chtimes(fmt.Sprintf("%s/d/t%d%s", srv.Datadir, i, ending), soon, soon); err != nil {
				t.Fatal(err)
			}
		}
	}
	o, stored := c.run(t, backupArgs(srv, repository, "--json")...)
	if o.code != 0 {
		t.Fatalf("backup exits %d: %s", o.code, o.stderr)
	}
	wantStoredOnce(t, repository)
	target := filepath.Join(t.TempDir(), "data")
	o, read := c.run(t, append(restoreArgs("latest", repository, target), "--no-recover")...)
	if o.code != 0 {
		t.Fatalf("restore exits %d: %s", o.code, o.stderr)
	}
	restored, err := filepath.Glob(target + "/d/t*.MYD")
	if err != nil || len(restored) != tables {
		t.Errorf("%d tables are restored, %v; want %d", len(restored), err, tables)
	}
	want, err := os.ReadFile(filepath.Join(srv.Datadir, "d", "t0.MYD"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range restored {
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s has %d bytes, %v", name, len(got), err)
		}
	}
	told := fmt.Sprintf("%d files: stored with %d requests, restored with %d", 3*tables, stored, read)
	if most := int64(3*tables/50 + 60); stored > most || read > most {
		t.Errorf("%s; want %d at most", told, most)
	}
	return told
}

// wantStoredOnce fails the test if the packs of the newest backup hold more than a few bytes
// that no file of it refers to.
func wantStoredOnce(t *testing.T, repository string) {
	t.Helper()
	id, err := opened(t, repository).NewestGood(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := manifestOf(t, repository, id)
	var stored, used int64
	for _, p := range m.Packs {
		stored += p.Size
	}
	for _, f := range m.Files {
		for _, e := range f.Extents {
			used += e.Length
		}
	}
	if in := stored - used; in < 0 || in > stored/20 {
		t.Errorf("%d of %d bytes in the packs belong to no file", in, stored)
	}
}

// An object store that is too slow for what the server writes: the backup ends before the
// file system of the spool is full, and the next one, with a faster store, succeeds.
func TestSlowStore(t *testing.T) {
	t.Parallel()
	c, repository, spool := newCounted(t), t.TempDir(), mount(t, "60m")
	srv := mariadbtest.New(t, newest(), "--innodb-log-file-size=1G", "--skip-log-bin")
	srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY, b BLOB)",
		"INSERT INTO d.t SELECT seq, "+noise(16)+" FROM mysql.seq_1_to_20000")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	work := churn("CREATE OR REPLACE TABLE d.redo SELECT REPEAT('redo', 250) a FROM mysql.seq_1_to_8000", "DO SLEEP(0.02)")
	written := make(chan error, 1)
	go func() { written <- work(ctx, srv) }()
	c.proxy.Break(s3test.SlowRequest, 1<<30, func(r *http.Request) bool { return r.Method == http.MethodPut })
	args := backupArgs(srv, repository, "--spool-dir", spool, "--min-free", "30MB", "--compress", "none")
	// The copy takes longer than the server needs for more redo than there is room for.
	o := inPatiently(t, "MBK_S3_ENDPOINT="+c.proxy.Endpoint, append(slices.Clone(args), "--rate-limit", "1MB"))
	cancel()
	if err := <-written; err != nil {
		t.Error(err)
	}
	o.wantRefusal(t, 1, "", spool)
	if strings.Contains(o.stderr, "no space left") {
		t.Errorf("the file system of the spool was full: %s", o.stderr)
	}
	wantFree(t, srv)
	if o, _ := c.run(t, "list", "--repo", repository); o.code != 0 || !strings.HasPrefix(o.stdout, "no backups") {
		t.Errorf("list exits %d: %s%s", o.code, o.stdout, o.stderr)
	}
	if o, _ := c.run(t, args...); o.code != 0 {
		t.Errorf("the next backup exits %d: %s", o.code, o.stderr)
	}
	must(t, "verify", "latest", "--repo", repository, "--depth", "pages", "--quiet")
}
