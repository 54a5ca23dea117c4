package pagecache_test

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/sys/pagecache"
)

const (
	size = 16 << 20
	warm = 4 << 20 // bytes in the middle that are cached
	at   = 6 << 20 // where they begin
)

// coldFile makes a file of which only the middle is in the page cache.
func coldFile(t *testing.T) *os.File {
	t.Helper()
	b := make([]byte, size)
	rand.Read(b) // never fails
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() }) //nolint:errcheck // only read
	fd := int(f.Fd())
	if err := errors.Join(unix.Fsync(fd), unix.Fadvise(fd, 0, 0, unix.FADV_RANDOM)); err != nil {
		t.Fatal(err)
	}
	dropped(t, f)
	read(t, f, at, warm)
	if got := pagecache.Look(f, 0, size).Resident(); got != warm {
		t.Skipf("this file system keeps %d bytes in the page cache, want %d", got, warm)
	}
	return f
}

// dropped takes a file out of the page cache.
func dropped(t *testing.T, f *os.File) *os.File {
	t.Helper()
	// On a busy machine pages may stay at first, because a processor has them in a list.
	for range 50 {
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			t.Fatal(err)
		}
		if pagecache.Look(f, 0, size).Resident() == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return f
}

// about reports whether so many bytes are in the page cache as want. The kernel may take a
// page at any time, and keeps one for a while that somebody looks at.
func about(got, want int64) bool { return max(got-want, want-got) <= 512<<10 }

func read(t *testing.T, f *os.File, offset, n int64) {
	t.Helper()
	if _, err := f.ReadAt(make([]byte, n), offset); err != nil {
		t.Fatal(err)
	}
}

func TestDropLeavesWhatWasThere(t *testing.T) {
	f := coldFile(t)
	m := pagecache.Look(f, 0, size)
	read(t, f, 0, size)
	if got := pagecache.Look(f, 0, size).Resident(); !about(got, size) {
		t.Fatalf("%d bytes are cached after reading, want %d", got, size)
	}
	m.Drop(f, 0, size)
	if got := pagecache.Look(f, 0, size).Resident(); !about(got, warm) {
		t.Errorf("%d bytes are cached at the end, want %d", got, warm)
	}
	if got := pagecache.Look(f, at, warm).Resident(); !about(got, warm) {
		t.Errorf("%d bytes of the part that was cached before, want %d", got, warm)
	}
}

func TestDropOfAPart(t *testing.T) {
	f := coldFile(t)
	m := pagecache.Look(f, 1<<20, 2<<20)
	read(t, f, 0, at)
	m.Drop(f, 0, size) // knows of 2 MiB only
	if got := pagecache.Look(f, 0, size).Resident(); !about(got, at+warm-2<<20) {
		t.Errorf("%d bytes are cached, want %d", got, at+warm-2<<20)
	}
	m.Drop(f, 100, 0)
	pagecache.Map{}.Drop(f, 0, size)
	if got := pagecache.Look(f, 0, size).Resident(); !about(got, at+warm-2<<20) {
		t.Errorf("%d bytes are cached after dropping nothing, want %d", got, at+warm-2<<20)
	}
}

func TestCorrectTakesOverAnEarlierLook(t *testing.T) {
	f := coldFile(t)
	earlier := pagecache.Look(f, 0, 1<<20)
	read(t, f, 0, 1<<20) // as one does to find out what file this is
	m := pagecache.Look(f, 0, size)
	m.Correct(earlier)
	if got := m.Resident(); !about(got, warm) {
		t.Errorf("%d bytes were cached, want %d", got, warm)
	}
	m = pagecache.Look(f, 512<<10, 1<<20)
	m.Correct(earlier)
	if got := m.Resident(); got != 0 {
		t.Errorf("%d bytes were cached, want none", got)
	}
}

func TestGuess(t *testing.T) {
	const small = 96 << 10
	f := coldFile(t)
	cold := pagecache.Guess(f, small)
	for range 50 { // a device may have the first page there at once
		if cold.Resident() == 0 {
			break
		}
		cold = pagecache.Guess(dropped(t, f), small)
	}
	if got := cold.Resident(); got != 0 {
		t.Errorf("%d bytes are taken for cached, want none", got)
	}
	read(t, f, 0, small)
	if got := pagecache.Guess(f, small).Resident(); got != small {
		t.Errorf("%d bytes are taken for cached when they are, want %d", got, small)
	}
	cold.Drop(f, 0, small)
	if got := pagecache.Look(f, 0, small).Resident(); got != 0 {
		t.Errorf("%d bytes are cached at the end, want none", got)
	}
	for offset, want := range map[int64]bool{0: true, 4096: true, small - 1: true, small: false, size: false} {
		if got := cold.Covers(offset, 1); got != want {
			t.Errorf("Covers(%d, 1) = %v", offset, got)
		}
	}
	if cold.Covers(0, small+1) || (pagecache.Map{}).Covers(0, 1) || pagecache.Look(f, 8192, 4096).Covers(0, 4096) {
		t.Error("what was not looked at is covered")
	}
	if got := pagecache.Guess(f, 0).Resident(); got != 0 {
		t.Errorf("%d bytes of nothing", got)
	}
}

func TestLookAtNothing(t *testing.T) {
	f := coldFile(t)
	for _, m := range []pagecache.Map{pagecache.Look(f, 0, 0), pagecache.Look(f, size, -1), {}} {
		if m.Resident() != 0 {
			t.Errorf("%+v", m)
		}
		m.Drop(f, 0, size)
	}
	if got := pagecache.Look(f, size, 1<<20).Resident(); got != 0 {
		t.Errorf("%d bytes behind the end are cached", got)
	}
	if got := pagecache.Look(f, at+100, 1).Resident(); got != int64(os.Getpagesize()) {
		t.Errorf("one byte is in %d cached bytes, want a page", got)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	pagecache.Look(f, 0, size).Drop(f, 0, size)
}
