package priority

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// autogroup is the file that shows the niceness of this process's session and sets it:
// "/autogroup-25 nice 0". See sched(7).
const autogroup = "/proc/self/autogroup"

// sessionLowest is the largest niceness of a Session: it leaves a tenth of the weight of
// another session. Threads that must not wait run in the session too.
const sessionLowest = 10

// Session is the session of this process (setsid(2)) while its priority is lowered. If
// the kernel groups threads by session, the niceness of a thread counts only within its
// session. Between programs that were started separately (by systemd, by cron, at a
// terminal) the niceness of the session counts.
type Session struct {
	mu     sync.Mutex
	raised bool
}

// LowerSession sets the niceness of this process's session to nice, at most 10, until
// Raise sets it to 0. server is the process to give way to. The Session is nil, and
// nothing changes, if
//   - nice is 0, or the kernel does not group threads by session;
//   - server is 0 (unknown) or belongs to the same session, where the niceness of threads
//     decides;
//   - somebody has chosen another niceness for the session. A value up to 10 is taken for
//     that of another process that lowered the session, or was killed before it raised it.
func LowerSession(nice, server int) (*Session, error) {
	if nice <= 0 || server <= 0 {
		return nil, nil
	}
	before, grouped, err := sessionNice()
	if err != nil || !grouped || before < 0 || before > sessionLowest {
		return nil, err
	}
	own, err := unix.Getsid(0)
	if err != nil {
		return nil, fmt.Errorf("look up the session of this process: %w", err)
	}
	if other, err := unix.Getsid(server); err == nil && other == own {
		return nil, nil
	}
	if err := setSessionNice(max(before, min(nice, sessionLowest))); err != nil {
		return nil, err
	}
	return &Session{}, nil
}

// Raise sets the niceness of the session to 0, even if another process has lowered it
// too. On a nil Session, and after the first success, it does nothing. It may be called
// from any goroutine.
func (s *Session) Raise() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.raised {
		return nil
	}
	err := setSessionNice(0)
	s.raised = err == nil
	return err
}

// sessionNice returns the niceness of the session; grouped is false if the kernel
// does not group threads by sessions.
func sessionNice() (nice int, grouped bool, err error) {
	text, err := os.ReadFile(autogroup)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(text) == 0 {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	_, number, _ := strings.Cut(string(text), " nice ")
	if _, err := fmt.Sscan(number, &nice); err != nil {
		return 0, false, fmt.Errorf("%s: %q is not understood", autogroup, text)
	}
	return nice, true, nil
}

// setSessionNice sets the niceness of the session. For users other than root the kernel
// allows ten changes a second in total.
func setSessionNice(nice int) error {
	const tries, pause = 20, 50 * time.Millisecond
	for n := 1; ; n++ {
		err := os.WriteFile(autogroup, fmt.Append(nil, nice), 0)
		if n == tries || !errors.Is(err, unix.EAGAIN) {
			return err
		}
		time.Sleep(pause)
	}
}
