package job

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbk/backup"
	"mbk/internal/job/hook"
	"mbk/internal/repo"
	"mbk/internal/sys/interrupt"
	"mbk/internal/ui"
)

// After a signal the backup hangs: in an open(2), say, or in the repository's file
// system. The programs for a failure run all the same, and what hangs is given up.
func TestHangsAfterSignal(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	marker := filepath.Join(t.TempDir(), "ran")
	program, err := hook.Parse("touch " + marker)
	if err != nil {
		t.Fatal(err)
	}
	j := New(Options{
		UI: ui.New(ui.Streams{Stdout: &stderr, Stderr: &stderr}, false), Interrupted: interrupt.Watch(ctx),
		Notifications: &Notifications{},
		Hooks:         Hooks{Programs: map[string][]*hook.Command{repo.HookFailure: {program}}, Environ: os.Environ()},
		Open:          func(context.Context) (*repo.Repository, error) { return nil, errors.New("there is none") },
		ExitCode:      func(context.Context, error) int { return 130 },
		Advice:        func(error) []string { return nil },
		Refused:       func(context.Context, error) bool { return false },
		Result:        func(*repo.Manifest, string, repo.Around) any { return nil },
	})
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	begun := time.Now()
	_, err = j.Backup(ctx, &backup.Options{}, func() (*repo.Manifest, error) {
		cancel()
		<-hang
		return nil, nil
	})
	if !errors.Is(err, interrupt.ErrHangs) ||
		!strings.Contains(err.Error(), "the backup did not end within 12s after a signal") || j.code != 130 {
		t.Errorf("Backup: %v, code %d", err, j.code)
	}
	if _, err := os.Stat(marker); err != nil {
		t.Errorf("the program for a failure did not run: %v; stderr: %s", err, stderr.String())
	}
	if j.attempt.Outcome != repo.OutcomeFailed || !strings.Contains(j.attempt.Error, "it hangs") {
		t.Errorf("the attempt is %+v", j.attempt)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}
