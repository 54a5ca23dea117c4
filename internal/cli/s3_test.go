package cli_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
	"mbk/internal/test/s3test"
)

// A repository in a bucket is used as one in a folder is.
func TestObjectStore(t *testing.T) {
	onlyIn(t, "it has a store of its own", inFolder)
	t.Parallel()
	store := s3test.New(t)
	repository := "s3://" + s3test.Bucket + "/db1"
	at := []string{
		"--repo", repository, "--s3-endpoint", store.Endpoint(), "--s3-allow-http", "--s3-part-size", "5MiB",
		"--s3-credentials-file", store.CredentialsFile,
	}
	with := func(args ...string) []string { return slices.Concat(args, at) }
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		full, second := shopTwice(t, version, with)
		// To a folder, and back to another place in the bucket.
		copied, back := t.TempDir(), slices.Concat([]string{"--repo", repository + "-copy"}, at[2:])
		must(t, with("copy", "latest", "--to", copied, "--quiet")...)
		must(t, slices.Concat([]string{"copy", "--all", "--repo", copied, "--to", repository + "-copy", "--quiet"},
			at[2:])...)
		must(t, append([]string{"verify", second, "--depth", "pages", "--quiet"}, back...)...)
		if o := mbk(t, with("remove", full)...); o.code == 0 || !strings.Contains(o.stderr, second) {
			t.Errorf("removing what another backup needs exits %d: %s", o.code, o.stderr)
		}
		must(t, with("check", "--max-age", "1h")...)
		must(t, with("metrics")...)
		must(t, with("history", "latest")...)
		must(t, with("remove", full, "--with-dependents", "--quiet")...)
		if left := objects(t, store, "db1/backups"); len(left) > 0 {
			t.Errorf("objects that are left of backups that were removed: %q", left)
		}
	}
	t.Run("wrong credentials", func(t *testing.T) {
		cmd := command(t, "list", "--repo", repository, "--s3-endpoint", store.Endpoint(), "--s3-allow-http")
		cmd.Env = append(cmd.Env, "AWS_ACCESS_KEY_ID="+s3test.AccessKey, "AWS_SECRET_ACCESS_KEY=hush-hush")
		o := launch(t, cmd).wait(t, time.Minute)
		if o.code != 2 || !strings.Contains(o.stderr, "SignatureDoesNotMatch") || strings.Contains(o.stderr, "hush-hush") {
			t.Errorf("exit code %d: %s", o.code, o.stderr)
		}
	})
	for url, want := range map[string]string{
		"gopher://x/y":           `no repositories at "gopher://"`,
		"s3://me:hush-hush@b1/x": "more in it than a bucket",
		"s3://b":                 "is no name of a bucket",
	} {
		o := mbk(t, "list", "--repo", url)
		if o.code != 2 || !strings.Contains(o.stderr, want) || strings.Contains(o.stderr, "hush-hush") {
			t.Errorf("--repo %s: exit code %d: %s", url, o.code, o.stderr)
		}
	}
}

// objects lists the files that a store keeps below a prefix.
func objects(t *testing.T, s *s3test.Server, prefix string) (names []string) {
	t.Helper()
	root := filepath.Join(s.Dir, s3test.Bucket, prefix)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

// With Object Lock nobody can remove a backup before its time, and a chain lives as long as
// its newest member.
func TestObjectLock(t *testing.T) {
	onlyIn(t, "it has a store of its own", inFolder)
	t.Parallel()
	store := s3test.New(t)
	store.Locking(t, "locked")
	srv := mariadbtest.New(t, newest())
	file := optionFile(t, "[client]", "socket="+srv.Socket, "user=root", "[mbk]", "quiet", "s3-endpoint="+store.Endpoint(),
		"s3-allow-http", "s3-credentials-file="+store.CredentialsFile, "[mbk repo=locked]", "repo=s3://locked/db1",
		"object-lock=30d", "[mbk repo=plain]", "repo=s3://"+s3test.Bucket+"/db1", "object-lock=30d")
	with := func(args ...string) []string { return append(args, "--defaults-file="+file) }
	for _, command := range []string{"backup", "check"} {
		o := mbk(t, with(command, "--repo", "plain")...)
		if o.code != 2 || !strings.Contains(o.stderr, "Object Lock is not enabled") ||
			!strings.Contains(o.stderr, "when the bucket is made") {
			t.Errorf("%s in a bucket without Object Lock exits with %d: %s", command, o.code, o.stderr)
		}
	}
	o := mbk(t, with("backup", "--repo", t.TempDir(), "--object-lock", "1d")...)
	if o.code != 2 || !strings.Contains(o.stderr, "--object-lock is for repositories in an object store") {
		t.Errorf("a folder with Object Lock: exit code %d: %s", o.code, o.stderr)
	}
	must(t, with("check", "--repo", "locked")...)
	first := document[increments](t, with("backup", "--repo", "locked")...).ID
	short := document[retained](t, with("show", first, "--repo", "locked")...)
	time.Sleep(time.Second)
	second := document[increments](t, with("backup", "--repo", "locked", "--incremental", "--object-lock", "31d")...).ID
	for _, id := range []string{first, second} {
		until := document[retained](t, with("show", id, "--repo", "locked")...).Until
		if !until.After(short.Until.Add(23*time.Hour)) || time.Until(until) > 32*24*time.Hour {
			t.Errorf("%s is retained until %s, at first until %s", id, until, short.Until)
		}
	}
	document[increments](t, with("backup", "--repo", "locked")...)
	o = must(t, with("expire", "--repo", "locked", "--keep-last", "1", "--force", "--skip-quiet")...)
	if strings.Count(o.stdout, "retained until 20") != 2 || strings.Contains(o.stdout, "removed") {
		t.Errorf("expire prints\n%s%s", o.stdout, o.stderr)
	}
	o = mbk(t, with("remove", second, "--repo", "locked")...)
	if o.code != 2 || !strings.Contains(o.stderr, "backup "+second+" is retained until 20") {
		t.Errorf("remove exits with %d: %s", o.code, o.stderr)
	}
	copied := t.TempDir()
	must(t, with("copy", "--all", "--repo", "locked", "--to", copied)...)
	must(t, with("copy", "--all", "--repo", copied, "--to", "s3://locked/again", "--object-lock", "1d")...)
	again := document[retained](t, with("show", first, "--repo", "s3://locked/again")...).Until
	if left := time.Until(again); left < 23*time.Hour || left > 25*time.Hour {
		t.Errorf("the copy is retained for %s", left)
	}
	if o := mbk(t, with("copy", "--all", "--repo", copied, "--to", "plain")...); o.code != 2 {
		t.Errorf("a copy into a bucket without Object Lock exits with %d: %s", o.code, o.stderr)
	}
}

// retained is what "show --json" prints of Object Lock.
type retained struct {
	Until time.Time `json:"retained_until"`
}
