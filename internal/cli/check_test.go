package cli_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// checked is what "check --json" prints.
type checked struct {
	OK       bool `json:"ok"`
	Findings []struct {
		Check string   `json:"check"`
		Grade string   `json:"grade"`
		Text  string   `json:"text"`
		Hints []string `json:"hints"`
	} `json:"findings"`
}

// find returns the texts of the findings of a check and grade.
func (c checked) find(check, grade string) string {
	var texts []string
	for _, f := range c.Findings {
		if f.Check == check && f.Grade == grade {
			texts = append(texts, f.Text)
		}
	}
	return strings.Join(texts, "; ")
}

// check runs "check --json", whatever its exit code.
func check(t *testing.T, srv *mariadbtest.Server, repository string, more ...string) (checked, outcome) {
	t.Helper()
	o := mbk(t,
		append([]string{"check", "--repo", repository, "--socket", srv.Socket, "--user", "mbk", "--no-defaults", "--json"},
			more...)...)
	var c checked
	if err := json.Unmarshal([]byte(o.stdout), &c); err != nil {
		t.Fatalf("check prints %q, %q: %v", o.stdout, o.stderr, err)
	}
	return c, o
}

// What could be in the way of a backup, one after the other.
func TestCheckOfSurroundings(t *testing.T) {
	onlyIn(t, "most of it is about a folder and its file system", inFolder)
	t.Parallel()
	srv := newBusyServer(t, mariadbtest.Versions()[0])
	repository := t.TempDir()
	wants := func(t *testing.T, c checked, check, grade string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if got := c.find(check, grade); got == "" || !strings.Contains(got, part) {
				t.Errorf("check %s has the %s %q, want %q\n%+v", check, grade, got, part, c)
			}
		}
	}
	t.Run("nothing", func(t *testing.T) {
		c, o := check(t, srv, repository)
		if o.code != 0 || !c.OK {
			t.Errorf("exit code %d, %+v", o.code, c)
		}
		wants(t, c, "redo", "ok", " log, of which ", " since the last checkpoint; the server writes ", "/s")
		wants(t, c, "clock", "ok", "this machine's")
		wants(t, c, "busy", "ok", "nothing is in the way")
		wants(t, c, "spool", "ok", " free in ")
		wants(t, c, "repository", "ok", repository, "; it is on the file system of the data directory")
		wants(t, c, "space", "ok", "to be kept free (10%, at most 100GB)")
	})
	t.Run("no folder for the repository", func(t *testing.T) {
		missing := filepath.Join(t.TempDir(), "missing")
		c, o := check(t, srv, missing)
		wants(t, c, "repository", "error", missing)
		wants(t, c, "tables", "ok", "databases")
		wants(t, c, "redo", "ok", "log")
		if o.code != 2 || !strings.Contains(o.stderr, "mkdir -m 700 -p "+missing) {
			t.Errorf("exit code %d: %s", o.code, o.stderr)
		}
		if _, err := os.Stat(missing); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the folder was made: %v", err)
		}
	})
	t.Run("too little room left", func(t *testing.T) {
		c, o := check(t, srv, repository, "--min-free", "97%")
		if o.code != 2 || c.OK || !strings.Contains(o.stderr, "mbk: hint: make room (mbk expire)") {
			t.Errorf("exit code %d, %q", o.code, o.stderr)
		}
		wants(t, c, "space", "error", " free in "+repository, " needed, ", "to be kept free (97%)")
		mbk(t, backupArgs(srv, repository, "--min-free", "97%")...).wantRefusal(t, 2, "make room", "to be kept free")
	})
	t.Run("others can write to the repository", func(t *testing.T) {
		open := filepath.Join(t.TempDir(), "open")
		if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777)); err != nil {
			t.Fatal(err)
		}
		c, o := check(t, srv, open)
		if o.code != 0 || !c.OK {
			t.Errorf("exit code %d, %+v", o.code, c)
		}
		wants(t, c, "repository", "warning", open+" can be written to by every user (mode 0777)")
	})
	t.Run("redo written fast", func(t *testing.T) {
		srv.MustExec(t, "CREATE TABLE d.redo (a LONGBLOB)")
		done := make(chan error, 1)
		go func() {
			done <- srv.Exec(t.Context(), "INSERT INTO d.redo SELECT REPEAT(RANDOM_BYTES(1000), 2000) FROM mysql.seq_1_to_60")
		}()
		c, o := check(t, srv, repository)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		srv.MustExec(t, "DROP TABLE d.redo")
		if o.code != 0 {
			t.Errorf("exit code %d", o.code)
		}
		wants(t, c, "redo", "warning", "could overwrite what a backup has to read first within")
	})
	t.Run("long DDL", func(t *testing.T) {
		done := make(chan error, 1)
		go func() { done <- srv.Exec(t.Context(), "CREATE TABLE d.slow AS SELECT SLEEP(8)") }()
		time.Sleep(5500 * time.Millisecond)
		c, o := check(t, srv, repository)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if o.code != 0 {
			t.Errorf("exit code %d", o.code)
		}
		wants(t, c, "busy", "warning", "connection ", "(root@localhost", "CREATE TABLE d.slow")
	})
	t.Run("another backup", func(t *testing.T) {
		r := copying(t, srv, repository)
		defer func() {
			_ = r.cmd.Process.Kill() // it is still copying
			<-r.done
		}()
		c, o := check(t, srv, repository)
		if o.code != 0 {
			t.Errorf("exit code %d", o.code)
		}
		wants(t, c, "busy", "warning", "the repository is locked by ", "another backup by mbk")
	})
	t.Run("backup of the future", func(t *testing.T) {
		must(t, backupArgs(srv, repository)...)
		labels, err := filepath.Glob(filepath.Join(repository, "backups", "*", "label.json"))
		if err != nil || len(labels) != 1 {
			t.Fatal(labels, err)
		}
		b, err := os.ReadFile(labels[0])
		future := filepath.Join(repository, "backups", "20990101T000000Z-full")
		if err == nil {
			err = os.Mkdir(future, 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(future, "label.json"), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		c, o := check(t, srv, repository)
		if o.code != 2 {
			t.Errorf("exit code %d", o.code)
		}
		wants(t, c, "clock", "error", "20990101T000000Z-full began ", " after now")
	})
}

// A monitoring system asks, perhaps on a machine without a server.
func TestCheckOfAges(t *testing.T) {
	t.Parallel()
	srv := mariadbtest.New(t, mariadbtest.Versions()[0])
	repository := t.TempDir()
	ages := func(more ...string) outcome {
		return mbk(t, append([]string{"check", "--repo", repository, "--no-defaults"}, more...)...)
	}
	mbk(t, "check", "--repo", repository, "--no-defaults", "--quiet", "--max-age", "26h").wantRefusal(t, 2,
		"the first \"mbk backup\"", "not an mbk repository")
	must(t, backupArgs(srv, repository)...)
	if err := srv.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"young enough", []string{"--max-age", "26h"}, 0, "ok  age  the newest good backup, 2", ""},
		{"in days", []string{"--max-age", "1d"}, 0, "ok  age  ", ""},
		{"too old", []string{"--max-age", "1ms"}, 1, "error  age  the newest good backup, 2",
			"mbk: error: age: the newest good backup, 2"},
		{"never proven", []string{"--max-age", "26h", "--max-verify-age", "8d"}, 1,
			"error  verify-age  no backup was ever proven good", "mbk: hint: mbk verify latest --depth boot"},
		{"no duration", []string{"--max-age", "26"}, 2, "", `--max-age "26" is not a duration such as 26h, 8d or 2w`},
		{"below zero", []string{"--max-verify-age", "-1d"}, 2, "", "--max-verify-age"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := ages(c.args...)
			if o.code != c.code || !strings.Contains(o.stdout, c.stdout) || c.stdout == "" && o.stdout != "" ||
				!strings.Contains(o.stderr, c.stderr) || c.code == 0 && o.stderr != "" {
				t.Errorf("exit code %d, want %d, stdout:\n%s\nstderr:\n%s", o.code, c.code, o.stdout, o.stderr)
			}
		})
	}
	must(t, "verify", "latest", "--repo", repository, "--depth", "stored", "--quiet")
	c := document[checked](t, "check", "--repo", repository, "--no-defaults", "--max-age", "26h", "--max-verify-age", "2w")
	if !c.OK || !strings.Contains(c.find("verify-age", "ok"), "at depth stored, ended ") {
		t.Errorf("%+v", c)
	}
	// A backup that is known to be damaged is none to rely on.
	packs, err := filepath.Glob(filepath.Join(repository, "backups", "*", "redo.pack"))
	if err != nil || len(packs) != 1 {
		t.Fatal(packs, err)
	}
	if err := os.Truncate(packs[0], 100); err != nil {
		t.Fatal(err)
	}
	if o := mbk(t, "verify", "latest", "--repo", repository, "--depth", "stored", "--quiet"); o.code != 3 {
		t.Fatalf("verify exits %d", o.code)
	}
	if o := ages("--max-age", "26h"); o.code != 1 ||
		!strings.Contains(o.stdout, "there is no good backup, and 1 that are damaged") {
		t.Errorf("exit code %d, stdout %s", o.code, o.stdout)
	}
}
