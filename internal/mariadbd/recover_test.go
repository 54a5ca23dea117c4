package mariadbd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mbk/internal/innodb"
	"mbk/internal/sys/fsuser"
)

func TestTellRecovery(t *testing.T) {
	for _, c := range []struct {
		line        string
		done, total int64
	}{
		{"2026-11-21 23:12:20 0 [Note] InnoDB: To recover: LSN 4711/4812; 13 pages", 4711, 4812},
		{"2026-11-21 23:12:20 0 [Note] InnoDB: To recover: 2039 pages", 0, 0},
		{"2026-11-21 23:12:20 0 [Note] InnoDB: To recover: LSN x/y", 0, 0},
	} {
		tellRecovery(func(text string, done, total int64) {
			if done != c.done || total != c.total || !strings.HasPrefix(text, "[Note] InnoDB: To recover") {
				t.Errorf("%s: %d of %d, %q", c.line, done, total, text)
			}
		}, c.line)
	}
}

func TestBufferSize(t *testing.T) {
	for _, c := range []struct{ redo, least, most int64 }{
		{0, 64 << 20, 128 << 20},
		{300 << 20, 64 << 20, 600 << 20},
		{1 << 40, 64 << 20, 1 << 30},
	} {
		if got := BufferSize(c.redo); got < c.least || got > c.most || got%(1<<20) != 0 {
			t.Errorf("BufferSize(%d) = %d, want %d to %d", c.redo, got, c.least, c.most)
		}
	}
}

// A server that leaves the log as it was has not recovered.
func TestCheckLog(t *testing.T) {
	header := func(creator string, c innodb.Checkpoint) []byte {
		b := make([]byte, innodb.LogDataOffset)
		innodb.LogHeader{Format: innodb.Format108, FirstLSN: 12288, Creator: creator}.Append(b[:0])
		c.Append(b[4096:4096])
		return b
	}
	for _, c := range []struct {
		name string
		log  []byte
		want string // of the error, "" for none
	}{
		{"log of the server", header("MariaDB 11.8.6", innodb.Checkpoint{LSN: 5000000, End: 5000000}), ""},
		{"log of the backup", header("Backup mbk", innodb.Checkpoint{LSN: 5000000, End: 5000000}),
			"left the redo log of the backup"},
		{"ends too early", header("MariaDB 11.8.6", innodb.Checkpoint{LSN: 4999999, End: 5000000}),
			"ended at LSN 4999999, want at least 5000000"},
		{"cut short", []byte("Phys"), "read ib_logfile0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := Instance{Data: t.TempDir()}
			if err := os.WriteFile(filepath.Join(i.Data, logName), c.log, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := i.CheckLog(5000000)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("CheckLog = %v, want %q", err, c.want)
			}
			if c.want == "" {
				if err := i.markLog(); err != nil {
					t.Fatal(err)
				}
				if _, err := i.CheckLog(5000000); err == nil {
					t.Error("markLog did not mark the log")
				}
			}
		})
	}
}

// The redo log lies in a folder of the server's user: a pipe there hung the restore.
func TestOpenRegular(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	err := errors.Join(os.WriteFile(path("file"), nil, 0o600), unix.Mkfifo(path("pipe"), 0o600),
		os.Symlink("file", path("link")), os.Mkdir(path("folder"), 0o700),
		os.WriteFile(path("one"), nil, 0o600), os.Link(path("one"), path("two")), os.Symlink("/dev/null", path("device")))
	if err != nil {
		t.Fatal(err)
	}
	for name, good := range map[string]bool{"file": true, "pipe": false, "link": false, "folder": false, "one": false,
		"device": false, "none": false} {
		for _, flag := range []int{os.O_RDONLY, os.O_WRONLY, os.O_WRONLY | os.O_APPEND} {
			f, err := openRegular(path(name), flag)
			if (err == nil) != good {
				t.Errorf("%s, %d: %v", name, flag, err)
			}
			if err == nil {
				_ = f.Close() // nothing was written
			}
		}
	}
	if err := unix.Mkfifo(path(logName), 0o600); err != nil {
		t.Fatal(err)
	}
	i := Instance{Data: dir, Owner: fsuser.Current()}
	if _, err := i.CheckLog(0); err == nil {
		t.Error("CheckLog of a pipe: no error")
	}
	if err := i.markLog(); err == nil {
		t.Error("markLog of a pipe: no error")
	}
	i.Log = path("pipe")
	if log, err := i.newLog(nil); err == nil {
		log.close()
		t.Error("newLog of a pipe: no error")
	}
}
