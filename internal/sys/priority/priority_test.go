package priority_test

import (
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"mbk/internal/sys/priority"
)

// nice is the niceness of the calling thread.
func nice(t *testing.T) int {
	t.Helper()
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	return 20 - raw
}

func TestOnlyTheCallingThreadStepsBack(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := nice(t)
	io, err := priority.ParseIO("idle")
	if err != nil {
		t.Fatal(err)
	}
	var threads sync.WaitGroup
	threads.Go(func() {
		if err := (priority.Level{Nice: 7, IO: io}).Enter(); err != nil {
			t.Error(err)
		}
		if got, want := nice(t), min(before+7, priority.Lowest); got != want {
			t.Errorf("the thread has niceness %d, want %d", got, want)
		}
		// Kernels before 6.12 tell no slice.
		if attr, err := unix.SchedGetAttr(0, 0); err != nil || attr.Runtime != 0 && attr.Runtime != 100_000 {
			t.Errorf("the thread has slices of %+v, %v", attr, err)
		}
		class, _, _ := unix.Syscall(unix.SYS_IOPRIO_GET, 1, 0, 0)
		if class != uintptr(io) {
			t.Errorf("the thread has disk priority %#x, want %#x", class, io)
		}
		// Threads that are made meanwhile must not inherit any of it.
		var more sync.WaitGroup
		for range 20 {
			more.Go(func() {
				runtime.LockOSThread()
				if got := nice(t); got != before {
					t.Errorf("another thread has niceness %d, want %d", got, before)
				}
				if attr, err := unix.SchedGetAttr(0, 0); err != nil || attr.Runtime == 100_000 {
					t.Errorf("another thread has slices of %+v, %v", attr, err)
				}
			})
		}
		more.Wait()
	})
	threads.Wait()
	if got := nice(t); got != before {
		t.Errorf("this thread has niceness %d, want %d", got, before)
	}
}

func TestNothingChangesByDefault(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := nice(t)
	if err := (priority.Level{}).Enter(); err != nil || nice(t) != before {
		t.Errorf("Enter: %v; niceness %d, want %d", err, nice(t), before)
	}
}

func TestParseIO(t *testing.T) {
	for text, want := range map[string]uint16{
		"": 0, "none": 0, "idle": 0x6000, "best-effort": 0x4007, "best-effort:0": 0x4000, "best-effort:7": 0x4007,
	} {
		if got, err := priority.ParseIO(text); err != nil || got != want {
			t.Errorf("ParseIO(%q) = %#x, %v, want %#x", text, got, err, want)
		}
	}
	for _, text := range []string{"realtime", "idle:3", "best-effort:8", "best-effort:-1", "best-effort:x",
		"best-effort:", "Idle"} {
		if got, err := priority.ParseIO(text); err == nil {
			t.Errorf("ParseIO(%q) = %#x", text, got)
		}
	}
}

func FuzzParseIO(f *testing.F) {
	for _, text := range []string{"none", "idle", "best-effort", "best-effort:7", "best-effort:-1", "best-effort:"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		class, err := priority.ParseIO(text)
		if err == nil && class>>13 > 3 || err == nil && class&0x1fff > 7 {
			t.Errorf("%q is %#x", text, class)
		}
	})
}
