package cli_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// freezable mounts a file system for a repository that can be frozen, as a dead
// server of a network file system would be, and returns what freezes and thaws it.
func freezable(t *testing.T) (repository string, freeze, thaw func()) {
	t.Helper()
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	run := func(name string, args ...string) error {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Logf("%s %q: %v: %s", name, args, err, out)
		}
		return err
	}
	f, err := os.Create(image)
	if err == nil {
		err = f.Truncate(128 << 20)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if run("mkfs.ext4", "-q", image) != nil || run("mount", "-o", "loop", image, dir) != nil {
		t.Skip("cannot mount an image")
	}
	frozen := false
	thaw = func() {
		if frozen && run("fsfreeze", "-u", dir) != nil {
			t.Error("not thawed")
		}
		frozen = false
	}
	t.Cleanup(func() {
		thaw()
		if err := run("umount", dir); err != nil {
			t.Error(err)
		}
	})
	return dir, func() {
		if run("fsfreeze", "-f", dir) != nil {
			t.Fatal("not frozen")
		}
		frozen = true
	}, thaw
}

// The repository stands still when the server is just being locked. The budget, which
// used to be unlimited by default, frees the server; if mbk itself is frozen, too, the
// server does that.
func TestFrozenRepository(t *testing.T) {
	onlyIn(t, "it is the file system under a folder that stands still", inFolder, inEncrypted)
	t.Parallel()
	srv := newBusyServer(t, mariadbtest.Versions()[0])
	// More than fits into memory on the way to the repository.
	srv.MustExec(t, "CREATE TABLE d.hot (a INT, b BLOB) ENGINE=MyISAM", "INSERT INTO d.hot SELECT a, b FROM d.i")
	for name, stopped := range map[string]bool{"mbk runs": false, "mbk is frozen": true} {
		t.Run(name, func(t *testing.T) {
			repository, freeze, thaw := freezable(t)
			writer, err := srv.DB().Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer writer.Close()
			go func() {
				_, _ = writer.ExecContext(t.Context(),
					"INSERT INTO d.hot SELECT seq, NULL FROM mysql.seq_1_to_10 WHERE seq < 5 OR SLEEP(100)")
			}()
			r := launch(t, command(t, backupArgs(srv, repository, "--lock-budget", "2s", "--lock-wait", "2m")...))
			until(t, "wait for the writer", func() bool {
				return srv.MustValue(t,
					"SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'BACKUP STAGE%' AND STATE = 'Waiting for "+
						"backup lock'") != "0"
			})
			freeze()
			srv.MustExec(t, "KILL QUERY "+
				srv.MustValue(t, "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE 'INSERT INTO d.hot%'"))
			locked := time.Now()
			if stopped {
				time.Sleep(time.Second)
				signalTo(t, r, syscall.SIGSTOP)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second+5*time.Second)
			defer cancel()
			if err := srv.Exec(ctx, "CREATE OR REPLACE TABLE d.x (a INT)", "INSERT INTO d.m VALUES (6000, '')",
				"DELETE FROM d.m WHERE a = 6000", "INSERT INTO d.i VALUES (-1, '')", "DELETE FROM d.i WHERE a = -1"); err != nil {
				t.Errorf("clients after %s: %v", time.Since(locked), err)
			}
			t.Logf("clients went on after %s", time.Since(locked))
			thaw()
			signalTo(t, r, syscall.SIGCONT)
			o := r.wait(t, 30*time.Second)
			if says := map[bool]string{false: "lock budget exceeded: 2s", true: "mbk stood still for"}[stopped]; o.code != 4 ||
				!strings.Contains(o.stderr, says) {
				t.Errorf("exit code %d, want 4, and %q in:\n%s", o.code, says, o.stderr)
			}
			wantNoBackup(t, repository, 1)
			wantFree(t, srv)
		})
	}
}

// signalTo sends a signal to a run.
func signalTo(t *testing.T, r *run, s syscall.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}
