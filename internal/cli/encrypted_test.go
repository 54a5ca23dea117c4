package cli_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mbk/copier/pack"
	"mbk/internal/repo"
	"mbk/internal/test/mariadbtest"
)

// newIdentity makes an identity and returns its file and its recipient.
func newIdentity(t *testing.T, args ...string) (file, recipient string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "backup.key")
	o := must(t, append([]string{"init", "--new-identity", file}, args...)...)
	return file, strings.TrimSpace(o.stdout)
}

// newEncrypted makes a repository that is encrypted to recipients.
func newEncrypted(t *testing.T, recipients ...string) string {
	t.Helper()
	repository := t.TempDir()
	args := []string{"init", "--repo", repository}
	for _, r := range recipients {
		args = append(args, "--recipient", r)
	}
	must(t, args...)
	return repository
}

// Full backups, one of which is killed and resumed, and an increment, all without an identity;
// then everything that reads them. The last is restored, and is the server.
func TestEncryptedRepository(t *testing.T) {
	identity, recipient := newIdentity(t)
	repository := newEncrypted(t, recipient)
	source := newBusyServer(t, newest())
	source.MustExec(t, "CREATE DATABASE zebraledger", "CREATE TABLE zebraledger.quaggainvoices (a INT PRIMARY KEY, "+
		"b VARCHAR(100))", "INSERT INTO zebraledger.quaggainvoices SELECT seq, MD5(seq) FROM mysql.seq_1_to_5000")
	x := &interruptions{source: source, repository: repository, random: rand.New(rand.NewPCG(1, 3))}
	hook := filepath.Join(t.TempDir(), "zebrahook")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\necho quaggainvoices from $(hostname)\n"), 0o700); err != nil {
		t.Fatal(err)
	}

	// Killed, so that all that an attempt leaves is there.
	r := launch(t, command(t, x.args(repository, "--rate-limit", "8MB")...))
	<-x.stored(3, 0)
	host, _ := os.Hostname()
	if lock, err := os.ReadFile(filepath.Join(repository, ".lock-repository")); err != nil ||
		!bytes.Contains(lock, []byte(" pid ")) || bytes.Contains(lock, []byte(host)) {
		t.Errorf("the lock is held by %q, %v", lock, err)
	}
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-r.done
	names := namesOf(source, hook)
	if x.kept(t) == 0 {
		t.Fatal("nothing is kept of the killed backup")
	}
	wantNoName(t, repository, names)

	full := document[measured](t, x.args(repository, "--hook-success", hook)...)
	if full.Resumed == nil || adopted(t, repository, full.ID) == 0 {
		t.Errorf("the backup has resumed %+v", full.Resumed)
	}
	source.MustExec(t, "UPDATE zebraledger.quaggainvoices SET b = 'changed' WHERE a % 50 = 0", "FLUSH TABLES")
	incr := document[measured](t, x.args(repository, "--incremental")...)
	if incr.Kind != repo.KindIncremental {
		t.Errorf("the second backup is %s", incr.Kind)
	}
	// An attempt that fails for a table, and a reason that names one.
	if o := mbk(t, x.args(repository, "--table", "zebraledger.quaggagone")...); o.code == 0 {
		t.Errorf("a backup of a table that does not exist succeeds")
	}
	must(t, "pin", full.ID, "--repo", repository, "--reason", "before zebraledger changes")
	must(t, "expire", "--repo", repository, "--keep-last", "5", "--dry-run")
	if list := must(t, "list", "--repo", repository); !strings.Contains(list.stdout, incr.ID) {
		t.Errorf("mbk list prints %s", list.stdout)
	}
	wantListedWhole(t, repository)
	wantNoName(t, repository, names)

	// Without an identity nobody reads it.
	target := filepath.Join(t.TempDir(), "data")
	for _, args := range [][]string{
		{"verify", "latest", "--repo", repository}, {"show", "latest", "--repo", repository},
		{"restore", "latest", "--repo", repository, "--target", target, "--owner", fmt.Sprint(os.Getuid())},
		{"extract", "latest", "zebraledger.*", "--repo", repository, "--to", target},
		{"consolidate", "latest", "--repo", repository},
	} {
		o := mbk(t, args...)
		if o.code != 2 || !strings.Contains(o.stderr, "no identity was given") || !strings.Contains(o.stderr, "--identity") ||
			!strings.Contains(o.stderr, recipient[:40]) {
			t.Errorf("mbk %q exits %d and says %s", args, o.code, o.stderr)
		}
		if _, err := os.Lstat(target); err == nil {
			t.Errorf("mbk %q has made %s", args, target)
		}
	}

	t.Setenv("MBK_IDENTITY", identity)
	must(t, "verify", full.ID, "--repo", repository, "--depth", "stored")
	must(t, "verify", incr.ID, "--repo", repository, "--depth", "pages")
	if o := must(t, "show", "latest", "--tables", "--repo", repository); !strings.Contains(o.stdout, "quaggainvoices") {
		t.Errorf("mbk show prints %s", o.stdout)
	}
	if o := must(t, "history", full.ID, "--repo", repository); !strings.Contains(o.stdout, "zebrahook") ||
		!strings.Contains(o.stdout, source.Datadir) {
		t.Errorf("mbk history prints %s", o.stdout)
	}
	must(t, "extract", "latest", "zebraledger.*", "--repo", repository, "--to", filepath.Join(target, "files"))
	restored := caughtUp(t, source, repository, incr.taken, profile{})
	wantSame(t, source, restored)
	made := document[struct {
		ID string `json:"id"`
	}](t, "consolidate", "latest", "--repo", repository, "--quiet")
	must(t, "verify", made.ID, "--repo", repository, "--depth", "pages")
	wantNoName(t, repository, names)
}

// adopted counts the objects of a backup that lie in folders of interrupted attempts.
func adopted(t *testing.T, repository, id string) (n int) {
	t.Helper()
	l, err := opened(t, repository).Label(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range l.Objects {
		if strings.Contains(o.Name, "/") {
			n++
		}
	}
	if n > 0 && len(l.Keys) < 2 {
		t.Errorf("the label of %s names the keys %+v", id, l.Keys)
	}
	return n
}

// namesOf are what nobody may learn of a source.
func namesOf(source *mariadbtest.Server, more ...string) []string {
	host, _ := os.Hostname()
	return append([]string{"zebraledger", "quagga", `"` + host + `"`, " at " + host, source.Datadir, source.Socket},
		more...)
}

// namesIn returns where a repository names one of these: in an object as it is, or in the
// document that it is a frame of.
func namesIn(t *testing.T, repository string, names []string) (where []string) {
	t.Helper()
	for _, name := range files(t, repository) {
		b, err := os.ReadFile(filepath.Join(repository, name))
		if err != nil {
			t.Fatal(err)
		}
		if doc, err := pack.OpenDocument(b); err == nil {
			text, err := io.ReadAll(doc)
			if err != nil {
				t.Fatal(err)
			}
			_ = doc.Close()
			b = slices.Concat(b, text)
		}
		for _, word := range names {
			if bytes.Contains(b, []byte(word)) {
				where = append(where, name+" has "+word)
			}
		}
	}
	return where
}

func wantNoName(t *testing.T, repository string, names []string) {
	t.Helper()
	for _, text := range namesIn(t, repository, names) {
		t.Error(text)
	}
}

// What TestEncryptedRepository looks for is there if a repository is not encrypted.
func TestNamesAreFoundInTheClear(t *testing.T) {
	t.Parallel()
	source := newBusyServer(t, newest())
	source.MustExec(t, "CREATE DATABASE zebraledger", "CREATE TABLE zebraledger.quaggainvoices (a INT PRIMARY KEY)")
	x := &interruptions{source: source, repository: t.TempDir()}
	b := document[measured](t, x.args(x.repository)...)
	must(t, "pin", b.ID, "--repo", x.repository)
	where := strings.Join(namesIn(t, x.repository, namesOf(source)), "\n")
	for _, name := range append(namesOf(source), "manifest.json.zst has", "history/") {
		if !strings.Contains(where, name) {
			t.Errorf("%s is not found in\n%s", name, where)
		}
	}
}
