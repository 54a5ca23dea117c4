package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// endIfStuck ends a process that has not ended by itself after patience, and logs what it,
// and the programs that it has started, were doing: a hang that was seen once may not be
// seen again. Go's runtime writes its stacks to stderr. stop must be called at the end.
func endIfStuck(t testing.TB, process *os.Process) (stop func()) {
	t.Helper()
	timer := time.AfterFunc(patience, func() {
		t.Logf("process %d did not end within %s:\n%s", process.Pid, patience, doing(process.Pid))
		_ = process.Signal(syscall.SIGABRT)
		time.Sleep(10 * time.Second)
		_ = process.Kill()
	})
	return func() { timer.Stop() }
}

// doing says where in the kernel the threads of a process wait, and those of its children.
func doing(pid int) string {
	var text strings.Builder
	root := filepath.Join("/proc", strconv.Itoa(pid))
	read := func(parts ...string) string {
		b, _ := os.ReadFile(filepath.Join(parts...)) // it may have ended
		return strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " "))
	}
	fmt.Fprintf(&text, "%d: %s\n", pid, read(root, "cmdline"))
	tasks, _ := os.ReadDir(filepath.Join(root, "task"))
	for _, task := range tasks {
		at := filepath.Join(root, "task", task.Name())
		fmt.Fprintf(&text, "  %s: %s, system call %.20s\n", read(at, "comm"), read(at, "wchan"), read(at, "syscall"))
		for child := range strings.FieldsSeq(read(at, "children")) {
			if n, err := strconv.Atoi(child); err == nil {
				text.WriteString(doing(n))
			}
		}
	}
	return text.String()
}
