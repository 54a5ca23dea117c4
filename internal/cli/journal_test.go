package cli_test

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
)

// In the journal errors are errors: journalctl -p err finds them. Elsewhere nobody wants the marks.
func TestJournalPriorities(t *testing.T) {
	t.Parallel()
	said := func(stream func(*syscall.Stat_t) string) string {
		t.Helper()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		var at syscall.Stat_t
		if err := syscall.Fstat(int(w.Fd()), &at); err != nil {
			t.Fatal(err)
		}
		cmd := command(t, "list", "--repo", "/nowhere")
		cmd.Env = append(cmd.Env, "JOURNAL_STREAM="+stream(&at))
		cmd.Stderr = w
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = w.Close() // the program has its own
		text, err := io.ReadAll(r)
		if _ = cmd.Wait(); err != nil || cmd.ProcessState.ExitCode() == 0 {
			t.Fatalf("exit code %d, %v", cmd.ProcessState.ExitCode(), err)
		}
		return string(text)
	}
	text := said(func(s *syscall.Stat_t) string { return fmt.Sprintf("%d:%d", s.Dev, s.Ino) })
	if !strings.HasPrefix(text, "<3>mbk: error: ") || !strings.Contains(text, "\n<5>mbk: hint: ") {
		t.Errorf("to the journal: %q", text)
	}
	for _, other := range []string{"", "1", "1:2", "a:b"} {
		if text := said(func(*syscall.Stat_t) string { return other }); !strings.HasPrefix(text, "mbk: error: ") {
			t.Errorf("with JOURNAL_STREAM=%s: %q", other, text)
		}
	}
}
