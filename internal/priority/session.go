package priority

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// autogroup is what the kernel tells of the session of this process, and takes the
// niceness of the session by: "/autogroup-25 nice 0". See sched(7).
const autogroup = "/proc/self/autogroup"

// Session is the session of this process (setsid(2)) while it steps back behind
// others. Where the kernel groups threads by session, the niceness of a thread only
// counts within its session, and that of the session is what counts among programs
// that were started apart: by systemd, by cron, at a terminal.
type Session struct {
	before int
}

// LowerSession gives the session of this process a niceness of at least nice, up to
// Lowest, for everything that runs in it. There is nothing to do, and no Session, if
// the kernel has no such groups, if the session is that nice already, or if the process
// behind which to step back belongs to it; then the niceness of threads decides.
func LowerSession(nice, behind int) (*Session, error) {
	before, grouped, err := sessionNice()
	if err != nil || !grouped || before >= nice {
		return nil, err
	}
	own, err := unix.Getsid(0)
	if err != nil {
		return nil, fmt.Errorf("find out the session of this process: %w", err)
	}
	if other, err := unix.Getsid(behind); err == nil && other == own {
		return nil, nil
	}
	if err := setSessionNice(nice); err != nil {
		return nil, err
	}
	return &Session{before: before}, nil
}

// Raise gives the session the niceness back that it had. Of a nil Session, and once
// done, it does nothing.
func (s *Session) Raise() error {
	if s == nil || s.before == noNice {
		return nil
	}
	err := setSessionNice(s.before)
	if err == nil {
		s.before = noNice
	}
	return err
}

// noNice is not a niceness.
const noNice = Lowest + 1

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
