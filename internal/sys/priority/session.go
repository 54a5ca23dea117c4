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

// autogroup is what the kernel tells of the session of this process, and takes the
// niceness of the session by: "/autogroup-25 nice 0". See sched(7).
const autogroup = "/proc/self/autogroup"

// sessionLowest is the most that a Session steps back: a tenth of the weight of another
// session. What must not wait runs in it too.
const sessionLowest = 10

// Session is the session of this process (setsid(2)) while it steps back behind
// others. Where the kernel groups threads by session, the niceness of a thread only
// counts within its session, and that of the session is what counts among programs
// that were started apart: by systemd, by cron, at a terminal.
type Session struct {
	mu     sync.Mutex
	raised bool
}

// LowerSession gives the session of this process, and everything that runs in it, a
// niceness of nice, 10 at the most, until Raise gives it 0. There is nothing to do,
// and no Session, if nice is 0, if the kernel has no such groups, if the process behind
// which to step back is not known (0) or belongs to the same session, so that the niceness of
// threads decides, and if somebody has chosen another niceness for the session. One up to 10 is
// taken for that of another process that lowers the session, or was killed before it raised it.
func LowerSession(nice, behind int) (*Session, error) {
	if nice <= 0 || behind <= 0 {
		return nil, nil
	}
	before, grouped, err := sessionNice()
	if err != nil || !grouped || before < 0 || before > sessionLowest {
		return nil, err
	}
	own, err := unix.Getsid(0)
	if err != nil {
		return nil, fmt.Errorf("find out the session of this process: %w", err)
	}
	if other, err := unix.Getsid(behind); err == nil && other == own {
		return nil, nil
	}
	if err := setSessionNice(max(before, min(nice, sessionLowest))); err != nil {
		return nil, err
	}
	return &Session{}, nil
}

// Raise gives the session the niceness 0, whoever else has lowered it. Of a nil Session,
// and once it is done, it does nothing. It may be called from any goroutine.
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

// setSessionNice sets the niceness of the session. The kernel lets users other than
// root do so ten times a second, all together.
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
