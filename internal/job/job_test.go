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
	"mbk/internal/fault"
	"mbk/internal/hint"
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

// A subject says what is special about a backup.
func TestSubject(t *testing.T) {
	started := time.Date(2026, 11, 22, 0, 30, 0, 0, time.UTC)
	for want, a := range map[string]repo.Attempt{
		"lock window 12ms": {Kind: repo.KindFull},
		"lock window 12ms, increment 3, 2 warnings": {
			Kind: repo.KindIncremental, Reuse: repo.Reuse{Chain: 3}, WarningCount: 2},
		"lock window 12ms, full: the parent is damaged, resumed": {
			Kind: repo.KindFull, Reuse: repo.Reuse{FullReason: "the parent is damaged", Resumed: &repo.Resumed{}}},
	} {
		a.Outcome, a.Hostname, a.LockMS = repo.OutcomeOK, "db1", 12
		a.Started, a.Finished, a.BytesRead = started, started.Add(12*time.Second), 96<<20
		j := &Job{attempt: a}
		if got, want := j.subject(), "mbk: backup of db1 ok, 96 MiB in 12s, "+want; got != want {
			t.Errorf("subject %q, want %q", got, want)
		}
	}
}

// A copy that fails does not keep the others from being made, and an interrupted one does; the
// backup is whole in any case.
func TestCopies(t *testing.T) {
	damage := fault.New(fault.Damage, "data-0001.pack is damaged")
	for name, tt := range map[string]struct {
		err  error // of the first copy, nil: it interrupts
		kind fault.Kind
		made int
	}{
		"a store that is gone": {errors.New("no answer"), fault.Incomplete, 1},
		"a lock that is held":  {fault.New(fault.Busy, "held by another"), fault.Incomplete, 1},
		"a damaged backup":     {damage, fault.Damage, 1},
		"an interruption":      {nil, fault.Incomplete, 0},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		made := 0
		j := New(Options{
			Copies: []Target{
				{To: "first", Copy: func(ctx context.Context, _ *repo.Repository, id string) (int, int64, error) {
					if tt.err == nil {
						cancel()
						return 0, 10, ctx.Err()
					}
					return 0, 0, tt.err
				}},
				{To: "second", Copy: func(context.Context, *repo.Repository, string) (int, int64, error) {
					made++
					return 1, 7, nil
				}},
			},
			Interrupted: interrupt.Watch(ctx), Advice: func(err error) []string { return hint.Strings(hint.Attached(err)) },
		})
		j.attempt = repo.Attempt{ID: "20261122T003000Z-full", Outcome: repo.OutcomeOK}
		j.copyAll(ctx, nil)
		cancel()
		if kind := fault.Of(j.Missing()); kind != tt.kind || made != tt.made || len(j.around.Copies) != 2 ||
			!strings.Contains(j.Missing().Error(), "is whole and in the repository, but it was not copied to first: ") {
			t.Errorf("%s: kind %d, %d copies: %v\n%+v", name, kind, made, j.Missing(), j.around.Copies)
		}
		if !isBad(&repo.Attempt{Outcome: repo.OutcomeOK, Copies: j.around.Copies}) ||
			!strings.Contains(j.subject(), "ok, but NOT COPIED to first") || len(j.around.Copies[0].Hints) == 0 {
			t.Errorf("%s: subject %q, %+v", name, j.subject(), j.around.Copies)
		}
	}
}
