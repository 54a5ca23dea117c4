package stage_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
	"mbk/stage"
)

// holdUntilLost makes the test binary a process that holds a stage, to be frozen.
const holdUntilLost = "MBK_TEST_HOLD"

func TestMain(m *testing.M) {
	if what := os.Getenv(holdUntilLost); what != "" {
		fmt.Println(hold(context.Background(), what, os.Getenv("MBK_TEST_SOCKET")))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// frozenBudget is that of the process that is frozen.
const frozenBudget = time.Second

// hold takes a stage or a table lock, says so, and returns why it was lost. It
// goes on when its standard input ends.
func hold(ctx context.Context, what, socket string) error {
	s, err := stage.Connect(ctx, stage.Config{Socket: socket, User: "root"})
	if err != nil {
		return err
	}
	defer s.Close()
	if strings.HasPrefix(what, "BACKUP LOCK") {
		l, err := s.Locker(ctx, 0, frozenBudget)
		if err != nil {
			return err
		}
		defer l.Close()
		time.Sleep(2500 * time.Millisecond) // it rests now
		if what == "BACKUP LOCK" {
			err = l.Lock(ctx, "d", "i")
		} else {
			err = l.LockFor(ctx, "d", "i", time.Minute)
			time.Sleep(1500 * time.Millisecond) // there was a sign of life
		}
		if err != nil {
			return err
		}
		fmt.Println("held")
		_, _ = io.ReadAll(os.Stdin)
		return l.Unlock(ctx)
	}
	st, err := s.Begin(ctx, stage.StageOptions{Budget: frozenBudget})
	if err != nil {
		return err
	}
	defer st.Close() //nolint:errcheck // Check says why
	to := map[string]stage.Stage{"START": stage.Start, "FLUSH": stage.Flush, "BLOCK_DDL": stage.BlockDDL,
		"BLOCK_COMMIT": stage.BlockCommit, "pending": stage.BlockDDL}[what]
	if what == "pending" {
		if err := st.Advance(ctx, stage.Flush); err != nil {
			return err
		}
		fmt.Println("held")
	}
	if err := st.Advance(ctx, to); err != nil {
		return err
	}
	fmt.Println("held")
	_, _ = io.ReadAll(os.Stdin)
	return st.End(ctx)
}

// A backup is frozen while it holds a stage, or waits for one: by SIGSTOP here, as a
// container, a machine without memory or a suspended guest would. Its budget is no
// help, since its clock stands still too. The server used to stay locked forever.
func TestFrozen(t *testing.T) {
	const (
		ddl    = "CREATE TABLE d.x (a INT)"
		write  = "INSERT INTO d.m VALUES (7)"
		commit = "INSERT INTO d.i VALUES (7)"
	)
	for _, c := range []struct {
		holds, version string
		args           []string
		do             []string
		lost           bool
	}{
		{holds: "START", version: oldest(), do: []string{ddl, write, commit}},
		{holds: "FLUSH", version: oldest(), do: []string{write, ddl, commit}, lost: true},
		{holds: "BLOCK_DDL", version: newest(), args: []string{"--thread-handling=pool-of-threads"},
			do: []string{ddl, write, commit}, lost: true},
		{holds: "BLOCK_COMMIT", version: oldest(), do: []string{commit, ddl, write}, lost: true},
		{holds: "pending", version: newest(), do: []string{write, ddl, commit}, lost: true},
		{holds: "BACKUP LOCK", version: newest(), do: []string{"ALTER TABLE d.i ADD b INT, ALGORITHM=COPY"}, lost: true},
		{holds: "BACKUP LOCK for long", version: oldest(), do: []string{"TRUNCATE TABLE d.i"}, lost: true},
	} {
		t.Run(c.holds, func(t *testing.T) {
			t.Parallel()
			srv := mariadbtest.New(t, c.version, c.args...)
			tables(t, srv)
			var before *client
			if c.holds == "pending" { // a write that BLOCK_DDL has to wait for
				before = session(t, srv)
				before.start("INSERT INTO d.m SELECT SLEEP(1.5)")
			}
			cmd, out, in := holder(t, c.holds, srv.Socket)
			if c.holds == "pending" {
				running(t, srv, "BACKUP STAGE", "Waiting for backup lock")
			}
			signalled(t, cmd, syscall.SIGSTOP)
			waitStopped(t, cmd.Process.Pid)
			frozen := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), frozenBudget+5*time.Second)
			defer cancel()
			if err := srv.Exec(ctx, c.do...); err != nil {
				t.Errorf("a client after %s: %v", time.Since(frozen), err)
			}
			t.Logf("clients went on after %s", time.Since(frozen))
			signalled(t, cmd, syscall.SIGCONT)
			_ = in.Close()
			said, err := io.ReadAll(out)
			if err != nil {
				t.Fatal(err)
			}
			want := "<nil>"
			if c.lost {
				want = stage.ErrStoodStill.Error()
			}
			if !strings.Contains(string(said), want) {
				t.Errorf("after it was frozen it says %q, want %q", said, want)
			}
			free(t, srv)
		})
	}
}

// holder starts a process that holds something, and returns when it does.
func holder(t *testing.T, what, socket string) (*exec.Cmd, io.Reader, io.Closer) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdUntilLost+"="+what, "MBK_TEST_SOCKET="+socket)
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has ended, as a rule
		_ = cmd.Wait()
	})
	out := bufio.NewReader(pipe)
	if line, err := out.ReadString('\n'); line != "held\n" {
		t.Fatalf("the process says %q, %v", line, err)
	}
	return cmd, out, in
}

// signalled sends a signal to a process.
func signalled(t *testing.T, cmd *exec.Cmd, s syscall.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}

func oldest() string { return mariadbtest.Versions()[0] }
func newest() string { return mariadbtest.Versions()[len(mariadbtest.Versions())-1] }
