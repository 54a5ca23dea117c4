package mariadbd

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/fault"
	"mbk/internal/sys/fsuser"
	"mbk/internal/test/mariadbtest"
)

// A server that does nothing any more is ended, and the error says where it was.
func TestHang(t *testing.T) {
	for _, c := range []struct {
		name, script string
		hangs        bool
	}{
		{"waits for ever", "sleep 600 & wait", true},
		{"is stopped", "kill -STOP $$", true},
		{"uses the processor", "while :; do :; done", false},
		{"writes", "while :; do head -c 100000 /dev/zero >/dev/null; cat /proc/self/maps >/dev/null; done", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			log := &errorLog{}
			cmd := exec.Command("/bin/sh", "-c", c.script)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as all that Instance starts
			p, err := start(cmd, log)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
			defer cancel()
			err = p.waitAtWork(ctx, 2*time.Second)
			hang, hangs := errors.AsType[*stillError](err)
			if hangs != c.hangs || !hangs && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("waitAtWork = %v", err)
			}
			if hangs && (len(hang.where) == 0 || !strings.HasPrefix(hang.where[0], "sh: ")) {
				t.Errorf("it waits in %q", hang.where)
			}
		})
	}
}

// So is a real one, and that is no verdict on the backup.
func TestHangingServer(t *testing.T) {
	source := mariadbtest.New(t, mariadbtest.Versions()[0])
	if err := source.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	beside := source.Datadir + ".tmp"
	if err := os.Mkdir(beside, 0o700); err != nil {
		t.Fatal(err)
	}
	i := Instance{
		Program:  Program{Path: source.Dist.Program("mariadbd")},
		Settings: Settings{DataFilePath: "ibdata1:12M:autoextend", UndoDir: ".", AriaDir: ".", LogSize: 64 << 20},
		Owner:    fsuser.Current(), Writer: fsuser.Current(), Data: source.Datadir, Temp: beside,
		Log: filepath.Join(beside, "log"), Buffer: 64 << 20,
	}
	s, err := i.Serve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.process.stillLimit = 2 * time.Second
	if err := s.process.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	err = s.Stop(t.Context())
	failed, ok := errors.AsType[*RunError](err)
	if !ok || failed.Cause != CauseHang || failed.Damaged() || fault.Of(err) != fault.Failed ||
		!strings.Contains(err.Error(), "it hangs: ") || failed.Advice() == "" {
		t.Errorf("Stop = %v", err)
	}
}
