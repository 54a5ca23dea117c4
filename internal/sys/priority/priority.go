// Package priority lowers the CPU and disk priority of single threads. Linux keeps both
// per thread, so the rest of the process is not affected. It also lowers the priority of
// the process's session, which is what counts against programs of other sessions.
package priority

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Lowest is the largest Level.Nice.
const Lowest = 19

// Level is the priority of a thread. The zero value changes nothing.
type Level struct {
	Nice int    // added to the niceness of the process, 0 to Lowest
	IO   uint16 // class and level for ioprio_set(2); 0: derived from the niceness
}

// The classes of ioprio_set.
const (
	classShift = 13
	bestEffort = 2 << classShift
	idle       = 3 << classShift
)

// ParseIO reads a class of disk priority: "none", "idle", "best-effort" or
// "best-effort:LEVEL" with a level from 0 to 7, the lowest.
func ParseIO(text string) (uint16, error) {
	const lowestLevel = 7
	class, level, given := strings.Cut(text, ":")
	switch {
	case text == "" || text == "none":
		return 0, nil
	case text == "idle":
		return idle, nil
	case class != "best-effort":
		return 0, fmt.Errorf("%q is not none, idle, best-effort or best-effort:LEVEL", text)
	case !given:
		return bestEffort | lowestLevel, nil
	}
	n, err := strconv.Atoi(level)
	if err != nil || n < 0 || n > lowestLevel {
		return 0, fmt.Errorf("%q has no level from 0 to %d", text, lowestLevel)
	}
	return bestEffort | uint16(n), nil
}

// Enter locks the calling goroutine to its thread and lowers the thread's priority. The
// goroutine must never call runtime.UnlockOSThread: the thread then ends with it, and no
// other goroutine inherits the priority.
func (l Level) Enter() error {
	if l == (Level{}) {
		return nil
	}
	runtime.LockOSThread()
	if l.Nice != 0 {
		const kernelBias = 20 // the system call returns 20 - nice
		raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
		if err == nil {
			err = unix.Setpriority(unix.PRIO_PROCESS, 0, min(kernelBias-raw+l.Nice, Lowest))
		}
		if err != nil {
			return fmt.Errorf("lower the priority of a thread by %d: %w", l.Nice, err)
		}
		shortenSlices()
	}
	if l.IO != 0 {
		const thread = 1 // IOPRIO_WHO_PROCESS
		if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, thread, 0, uintptr(l.IO)); errno != 0 {
			return fmt.Errorf("lower the disk priority of a thread: %w", errno)
		}
	}
	return nil
}

// shortenSlices asks for the shortest time slices for the calling thread. A thread of
// another program that wakes up waits for the end of a slice, whatever the niceness of
// this thread. Errors are ignored: kernels before Linux 6.12 do not support it, and
// sandboxes may forbid it.
func shortenSlices() {
	const slice = 100_000 // ns
	if attr, err := unix.SchedGetAttr(0, 0); err == nil {
		attr.Runtime = slice
		_ = unix.SchedSetAttr(0, attr, 0) // see above
	}
}
