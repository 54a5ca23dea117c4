package priority_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"mbk/internal/priority"
)

// inSession is set in a child that has a session of its own.
const inSession = "PRIORITY_TEST_IN_SESSION"

func TestSessionStepsBack(t *testing.T) {
	if os.Getenv(inSession) == "" {
		inOwnSession(t)
		return
	}
	want := func(nice int) {
		t.Helper()
		text, err := os.ReadFile("/proc/self/autogroup")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(string(text), fmt.Sprintf(" nice %d\n", nice)) {
			t.Errorf("the session is %q, want niceness %d", text, nice)
		}
	}
	if s, err := priority.LowerSession(7, os.Getpid()); s != nil || err != nil {
		t.Errorf("behind a process of the same session: %v, %v", s, err)
	}
	want(0)
	// Before and after more changes than the kernel lets others than root make.
	for range 3 {
		s, err := priority.LowerSession(7, os.Getppid())
		if err != nil {
			t.Fatal(err)
		}
		want(7)
		if more, err := priority.LowerSession(7, os.Getppid()); more != nil || err != nil {
			t.Errorf("a session that is nice already: %v, %v", more, err)
		}
		for range 2 {
			if err := s.Raise(); err != nil {
				t.Fatal(err)
			}
			want(0)
		}
	}
	var none *priority.Session
	if err := none.Raise(); err != nil {
		t.Error(err)
	}
}

// inOwnSession runs the calling test in a new session: what the test does to its
// session it should do to no other.
func inOwnSession(t *testing.T) {
	if text, err := os.ReadFile("/proc/self/autogroup"); err != nil || len(text) == 0 {
		t.Skip("this kernel does not group threads by session")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inSession+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}
