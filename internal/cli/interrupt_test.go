package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"mbk/backup"
	"mbk/internal/job/hook"
	"mbk/internal/repo"
)

// After a signal the backup hangs: in an open(2), say, or in the repository's file
// system. The programs for a failure run all the same, and what hangs is given up.
func TestHangsAfterSignal(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	env := Env{Stderr: &stderr, messages: &messages{}, interrupted: &interruption{at: time.Now().Add(-stopTime)}, Getenv: os.Getenv}
	c := cli.NewContext(cli.NewApp(), flag.NewFlagSet("", flag.ContinueOnError), nil)
	c.Context = ctx
	marker := filepath.Join(t.TempDir(), "ran")
	program, err := hook.Parse("touch " + marker)
	if err != nil {
		t.Fatal(err)
	}
	n := &night{c: c, env: env, started: time.Now(), news: &news{}, hooks: hooks{programs: map[string][]*hook.Command{repo.HookFailure: {program}}}}
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	begun := time.Now()
	_, err = n.surround(&backup.Options{}, func() (*repo.Manifest, error) {
		cancel()
		<-hang
		return nil, nil
	})
	if !errors.Is(err, errHangs) || !strings.Contains(err.Error(), "the backup did not end within 12s after a signal") || n.code != exitInterrupted {
		t.Errorf("surround: %v, code %d", err, n.code)
	}
	if _, err := os.Stat(marker); err != nil {
		t.Errorf("the program for a failure did not run: %v; stderr: %s", err, stderr.String())
	}
	if n.attempt.Outcome != repo.OutcomeFailed || !strings.Contains(n.attempt.Error, "it hangs") {
		t.Errorf("the attempt is %+v", n.attempt)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}

// As long as there is no signal, nothing is given up.
func TestAwait(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit time.Duration
		stop  bool
		want  error
	}{
		{"no signal", 0, false, nil},
		{"a signal, and done in time", time.Minute, true, nil},
		{"a signal, and too late", time.Nanosecond, true, errHangs},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			i := watchFor(ctx)
			goOn := make(chan struct{})
			got, err := await(ctx, i, c.limit, func() (int, error) {
				if c.stop {
					cancel()
				}
				if c.want != nil {
					<-goOn
				}
				return 7, nil
			})
			close(goOn)
			cancel()
			if !errors.Is(err, c.want) || err == nil && got != 7 {
				t.Errorf("await = %d, %v, want %v", got, err, c.want)
			}
		})
	}
}

// An error of printing is no damage, whatever the other end of the pipe has.
func TestOutputErrors(t *testing.T) {
	for _, c := range []struct {
		command string
		err     error
		told    bool
	}{
		{"backup", syscall.EPIPE, true},
		{"backup", syscall.ENOSPC, true},
		{"verify", syscall.EIO, true},
		{"list", syscall.ENOSPC, true},
		{"list", syscall.EPIPE, false}, // as under head
		{"show", syscall.EPIPE, false},
	} {
		var stderr bytes.Buffer
		env := Env{Args: []string{c.command}, Stderr: &stderr, messages: &messages{}}
		_, err := (&resultWriter{to: failing{c.err}}).Write(nil)
		code := exitCode(t.Context(), err)
		report(env, err, code)
		if told := stderr.Len() > 0; code != exitFailed || told != c.told || strings.Contains(stderr.String(), "hint") {
			t.Errorf("mbk %s, %v: code %d, told %q", c.command, c.err, code, stderr.String())
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
