package cli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// copyDocument is what the tests read of "copy --json" about the archive.
type copyDocument struct {
	Archive struct {
		Segments int      `json:"segments"`
		Missing  []string `json:"missing"`
	} `json:"archive"`
}

// A copy of a repository has its archive: to repositories of every kind of encryption, over several
// runs, of which none sends what is there, and a restore from the copy goes to the end of it.
func TestArchiveCopy(t *testing.T) {
	t.Parallel()
	ownEncryption(t)
	version := mariadbtest.Some(t, "10.5", "10.11", "11.8")[0]
	source := mariadbtest.New(t, version)
	source.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT AUTO_INCREMENT PRIMARY KEY, b TEXT)")
	add := func(repository string) {
		t.Helper()
		source.MustExec(t, "INSERT INTO d.t (b) VALUES ('zebra')")
		archiving(t, source, repository)
	}
	plain := t.TempDir()
	identity, recipient := newIdentity(t)
	other, otherRecipient := newIdentity(t)
	for _, c := range []struct {
		name, from, to string
		key            []string // to copy
		read           []string // to restore
	}{
		{"plain", plain, t.TempDir(), nil, nil},
		{"plain to encrypted", plain, newEncrypted(t, recipient), nil, []string{"--identity", identity}},
		{"same recipients", newEncrypted(t, recipient), t.TempDir(), nil, []string{"--identity", identity}},
		{"other recipients", newEncrypted(t, recipient), newEncrypted(t, otherRecipient), []string{"--identity", identity},
			[]string{"--identity", other}},
	} {
		must(t, "backup", "--repo", c.from, "--socket", source.Socket, "--user", "root", "--quiet")
		copying := append([]string{"copy", "--all", "--repo", c.from, "--to", c.to}, c.key...)
		for i, want := range []int{2, 1, 0} { // segments
			for range want {
				add(c.from)
			}
			plan := document[copyDocument](t, append(copying, "--dry-run")...)
			got := document[copyDocument](t, copying...)
			if got.Archive.Segments < want || i > 0 && got.Archive.Segments != want || len(got.Archive.Missing) > 0 ||
				plan.Archive.Segments != got.Archive.Segments {
				t.Errorf("%s, run %d: %+v, planned %+v; want %d segments", c.name, i, got, plan, want)
			}
		}
		if got, want := segmentsOf(t, c.to), segmentsOf(t, c.from); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", c.name, got, want)
		}
		if c.name != mariadbtest.Some(t, "plain to encrypted", "same recipients", "other recipients")[0] {
			continue
		}
		target := filepath.Join(t.TempDir(), "restored")
		o := document[untilDocument](t, append(append(restoreArgs("latest", c.to, target), "--until", "end"), c.read...)...)
		if at := source.MustValue(t, "SELECT @@gtid_binlog_pos"); o.Replay.To != at {
			t.Errorf("%s: restored to %s, want %s", c.name, o.Replay.To, at)
		}
	}
	if o := mbk(t, "copy", "--all", "--repo", newEncrypted(t, recipient), "--to", plain); o.code == 1 {
		t.Errorf("an encrypted archive to one that is not: %d: %s", o.code, o.stderr)
	}
	expiredCopy(t, source, plain, add)
}

// segmentsOf lists the segments of a repository.
func segmentsOf(t *testing.T, repository string) (names []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(repository, "binlog", "*", "*"))
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		names = append(names, filepath.Join(filepath.Base(filepath.Dir(path)), filepath.Base(path)))
	}
	return names
}

// What has expired on one side does not come back there, what was never copied is named, and
// damage is not copied.
func expiredCopy(t *testing.T, source *mariadbtest.Server, from string, add func(string)) {
	t.Helper()
	to := t.TempDir()
	document[copyDocument](t, "copy", "--all", "--repo", from, "--to", to)
	time.Sleep(time.Second)
	must(t, "backup", "--repo", from, "--socket", source.Socket, "--user", "root", "--quiet")
	add(from)
	document[copyDocument](t, "copy", "latest", "--repo", from, "--to", to)
	must(t, "expire", "--repo", to, "--keep-last", "1", "--quiet")
	left := segmentsOf(t, to)
	if got := document[copyDocument](t, "copy", "latest", "--repo", from, "--to", to); got.Archive.Segments != 0 {
		t.Errorf("after expire of the copy: %+v", got)
	}
	if got := segmentsOf(t, to); !slices.Equal(got, left) {
		t.Errorf("the copy has %v again, want %v", got, left)
	}
	add(from)
	damaged := filepath.Join(from, "binlog", segmentsOf(t, from)[len(segmentsOf(t, from))-2])
	whole, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	wrong := slices.Clone(whole)
	wrong[len(wrong)-9] ^= 4
	for _, b := range [][]byte{wrong, whole} {
		if err := os.WriteFile(damaged, b, 0o600); err != nil {
			t.Fatal(err)
		}
		o := mbk(t, "copy", "latest", "--repo", from, "--to", to)
		if good := &b[0] == &whole[0]; good != (o.code == 0) || !good && o.code != 3 {
			t.Errorf("whole %v: exit code %d: %s", good, o.code, o.stderr)
		}
	}
	add(from)
	add(from)
	time.Sleep(time.Second)
	must(t, "backup", "--repo", from, "--socket", source.Socket, "--user", "root", "--quiet")
	must(t, "expire", "--repo", from, "--keep-last", "1", "--quiet")
	add(from)
	got := document[copyDocument](t, "copy", "latest", "--repo", from, "--to", to)
	if len(got.Archive.Missing) != 1 || !strings.Contains(got.Archive.Missing[0], "had expired") {
		t.Errorf("after expire of the original: %+v", got)
	}
}
