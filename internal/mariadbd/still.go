package mariadbd

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"mbk/internal/ui"
)

// stillLimit is how long a server that is waited for may do nothing. One that recovers
// files or shuts down uses the processor, or reads and writes. One whose threads wait for
// each other would be waited for for ever, and nobody would learn why a nightly
// verification does not end.
const stillLimit = 3 * time.Minute

// stillError is returned for a server that did nothing for longer than stillLimit.
type stillError struct {
	limit time.Duration
	where []string // "mariadbd: futex_do_wait (7)", what its threads wait for in the kernel
}

// Error says what it was seen to do.
func (e *stillError) Error() string {
	return fmt.Sprintf("it hangs: for %s it used no processor time and read and wrote nothing, and was ended (%s)",
		ui.Span(e.limit), strings.Join(e.where, ", "))
}

// waitAtWork is wait for a server that has something to do. One that does nothing for
// longer than limit is killed; the error is a *stillError then.
func (p *process) waitAtWork(ctx context.Context, limit time.Duration) error {
	pid := p.cmd.Process.Pid
	w := watch{pid: pid, limit: limit, interval: limit / 20}
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	for {
		select {
		case <-p.ended:
			return p.err
		case <-ctx.Done():
			p.kill()
			return ctx.Err()
		case <-tick.C:
			if w.still(time.Now()) {
				err := &stillError{limit, waitingIn(pid)}
				p.kill()
				return err
			}
		}
	}
}

// watch looks whether a process does anything.
type watch struct {
	pid             int
	limit, interval time.Duration

	last  time.Time // of the last look
	since time.Time // since when it has done nothing
	was   activity  // then
}

// still reports whether the process has done nothing for longer than the limit. That this
// process did not run for a while, as when the machine sleeps, does not count.
func (w *watch) still(now time.Time) bool {
	is, ok := activityOf(w.pid)
	slept := now.Sub(w.last) > 4*w.interval
	w.last = now
	if !ok || slept || is.blocked || is.since(w.was).atWork(now.Sub(w.since)) {
		w.since, w.was = now, is
		return false
	}
	return now.Sub(w.since) > w.limit
}

// activity is what a process has done since it began.
type activity struct {
	ticks   uint64 // processor time, in hundredths of a second
	bytes   uint64 // read and written by system calls
	blocked bool   // one of its threads waits for a disk now
}

// since returns what was done since an earlier look.
func (a activity) since(was activity) activity {
	return activity{ticks: a.ticks - was.ticks, bytes: a.bytes - was.bytes}
}

// atWork reports whether that is more than what an idle server does in some time: a
// hundredth of a processor, and the bytes with which its threads wake each other up.
func (a activity) atWork(in time.Duration) bool {
	return a.ticks > uint64(max(in, 2*time.Second)/time.Second) || a.bytes > 64<<10
}

// activityOf returns what a process has done, if that can be told. See proc(5).
func activityOf(pid int) (a activity, ok bool) {
	root := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(root, "stat"))
	_, after, found := bytes.Cut(stat, []byte(") ")) // the name may hold anything but this, for a mariadbd
	fields := strings.Fields(string(after))
	if err != nil || !found || len(fields) < 13 {
		return a, false
	}
	for _, field := range fields[11:13] { // utime, stime
		n, _ := strconv.ParseUint(field, 10, 64) // the kernel writes numbers
		a.ticks += n
	}
	io, err := os.ReadFile(filepath.Join(root, "io"))
	if err != nil {
		return a, false
	}
	for line := range strings.Lines(string(io)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), ": "); name == "rchar" || name == "wchar" {
			n, _ := strconv.ParseUint(value, 10, 64)
			a.bytes += n
		}
	}
	for _, state := range threads(pid, "stat") {
		if _, after, _ := strings.Cut(state, ") "); strings.HasPrefix(after, "D") {
			a.blocked = true
		}
	}
	return a, true
}

// waitingIn returns what the threads of a process wait for, by their names.
func waitingIn(pid int) []string {
	var order []string
	counts := map[string]int{}
	names, places := threads(pid, "comm"), threads(pid, "wchan")
	for i := range min(len(names), len(places)) {
		text := names[i] + ": " + places[i]
		if counts[text] == 0 {
			order = append(order, text)
		}
		counts[text]++
	}
	for i, text := range order {
		order[i] = fmt.Sprintf("%s (%d)", text, counts[text])
	}
	return order
}

// threads returns the content of a file for each thread of a process.
func threads(pid int, file string) (all []string) {
	root := filepath.Join("/proc", strconv.Itoa(pid), "task")
	tasks, _ := os.ReadDir(root) // it may have ended
	for _, task := range tasks {
		b, _ := os.ReadFile(filepath.Join(root, task.Name(), file)) // so may the thread
		all = append(all, strings.TrimSpace(string(b)))
	}
	return all
}
