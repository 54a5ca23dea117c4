package cli_test

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
	"mbk/internal/test/smtptest"
)

// A gap is told by mail, to a webhook and to a program, once, whether a server or files are followed.
func TestArchiveAlarm(t *testing.T) {
	t.Parallel()
	source := mariadbtest.New(t, newest())
	source.MustExec(t, "CREATE DATABASE d")
	repository, w := t.TempDir(), workshop{t.TempDir()}
	mails, web := smtptest.Start(t, smtptest.Options{}), &desk{status: 200}
	server := httptest.NewServer(web)
	t.Cleanup(server.Close)
	alarm := []string{"--repo", repository, "--hook-failure", w.program(t, "alarm", ""), "--webhook", server.URL,
		"--mail-to", "dba@example.org", "--mail-server", mails.Addr, "--mail-tls", "none"}
	follow := append([]string{"archive", "--once", "--socket", source.Socket, "--user", "root"}, alarm...)
	wantAlarms := func(code, n int, args []string) {
		t.Helper()
		if o := mbk(t, args...); o.code != code {
			t.Fatalf("%v: exit code %d, want %d: %s", args, o.code, code, o.stderr)
		}
		posted := web.taken()
		if len(posted) != n || w.ran("alarm") != (n > 0) {
			t.Fatalf("%d alarms, want %d: %v", len(posted), n, posted)
		}
		if n == 0 {
			return
		}
		wantValid(t, "notice", posted[0])
		facts := w.environment(t, "alarm")
		if !strings.Contains(posted[0], `"event": "archive"`) || !strings.Contains(posted[0], "has a GAP") ||
			facts["MBK_HOOK"] != "failure" || facts["MBK_EXIT_CODE"] != "1" || facts["MBK_ERROR"] == "" {
			t.Errorf("%s\n%v", posted[0], facts)
		}
	}
	wantAlarms(0, 0, follow)
	source.MustExec(t, "RESET MASTER", "CREATE TABLE d.t (a INT)")
	wantAlarms(1, 1, follow)
	wantAlarms(0, 0, follow)
	if got := mails.Mails(); len(got) != 1 || !strings.Contains(got[0].Data, "take a backup now") {
		t.Errorf("%d mails: %v", len(got), got)
	}
	// The same of the files of a dead server.
	source.MustExec(t, "FLUSH BINARY LOGS", "INSERT INTO d.t VALUES (1)", "FLUSH BINARY LOGS",
		"INSERT INTO d.t VALUES (2)")
	if err := source.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(source.Datadir, "binlog.000002")); err != nil {
		t.Fatal(err)
	}
	salvage := append([]string{"archive", "--from-files", source.Datadir}, alarm...)
	wantAlarms(1, 1, salvage)
	wantAlarms(0, 0, salvage)
	if o := mbk(t, append(salvage, "--once")...); o.code != 2 {
		t.Errorf("--from-files with --once: exit code %d", o.code)
	}
}

// Semi-sync waits for what comes: it means nothing where the archive ends by itself.
func TestArchiveSemiSyncAlone(t *testing.T) {
	t.Parallel()
	for _, more := range [][]string{{"--once"}, {"--from-files", t.TempDir()}} {
		o := mbk(t, append([]string{"archive", "--repo", filepath.Join(t.TempDir(), "none"), "--semi-sync"}, more...)...)
		if o.code != 2 || !strings.Contains(o.stderr, "--semi-sync") {
			t.Errorf("%v: exit code %d, want 2: %s", more, o.code, o.stderr)
		}
	}
}

// The archive of a server that writes nothing says that it has all, and stores nothing for that.
func TestArchiveOfAnIdleServer(t *testing.T) {
	t.Parallel()
	anyKind(t)
	source, repository := mariadbtest.New(t, newest()), t.TempDir()
	source.MustExec(t, "CREATE DATABASE d")
	cmd := command(t, "archive", "--repo", repository, "--socket", source.Socket, "--user", "root", "--every", "1s",
		"--quiet")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer endIfStuck(t, cmd.Process)()
	type status struct {
		Current    time.Time `json:"current"`
		LastStored time.Time `json:"last_stored"`
		Segments   int       `json:"segments"`
	}
	var s status
	for end := time.Now().Add(time.Minute); s.Segments == 0 || !s.Current.After(s.LastStored); {
		time.Sleep(300 * time.Millisecond)
		if time.Now().After(end) {
			t.Fatalf("the archive does not say that it has all: %+v", s)
		}
		if o := mbk(t, "archive", "--status", "--json", "--repo", repository); o.code == 0 {
			if err := json.Unmarshal([]byte(o.stdout), &s); err != nil {
				t.Fatal(err)
			}
			wantValid(t, "archive-archivestate", o.stdout)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // 130
	for text, args := range map[string][]string{
		"the server had nothing more":              {"archive", "--status"},
		"\nmbk_archive_current_timestamp_seconds{": {"metrics"},
	} {
		if o := must(t, append(args, "--repo", repository)...); !strings.Contains(o.stdout, text) {
			t.Errorf("%v: %s", args, o.stdout)
		}
	}
}
