package priority_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"mbk/internal/sys/priority"
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
	for _, no := range []struct{ nice, behind int }{{7, os.Getpid()}, {7, 0}, {0, os.Getppid()}} {
		if s, err := priority.LowerSession(no.nice, no.behind); s != nil || err != nil {
			t.Errorf("LowerSession(%d, %d) = %v, %v", no.nice, no.behind, s, err)
		}
		want(0)
	}
	// Before and after more changes than the kernel lets others than root make.
	for range 3 {
		s, err := priority.LowerSession(7, os.Getppid())
		if err != nil {
			t.Fatal(err)
		}
		want(7)
		// Another process that does the same comes and goes; or this is what a killed one left.
		for _, nice := range []int{3, 19} {
			more, err := priority.LowerSession(nice, os.Getppid())
			if more == nil || err != nil {
				t.Fatalf("a session that is nice already: %v, %v", more, err)
			}
			want(max(7, min(nice, 10)))
			if nice == 19 {
				if err := more.Raise(); err != nil {
					t.Fatal(err)
				}
				want(0)
			}
		}
		for range 2 {
			if err := s.Raise(); err != nil {
				t.Fatal(err)
			}
			want(0)
		}
	}
	for _, chosen := range []string{"12", "-3"} {
		if err := os.WriteFile("/proc/self/autogroup", []byte(chosen), 0); err != nil {
			continue // only root may do so at any time, and less than 0 at all
		}
		if s, err := priority.LowerSession(7, os.Getppid()); s != nil || err != nil {
			t.Errorf("a session to which somebody gave %s: %v, %v", chosen, s, err)
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
