package pipe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// blocking returns a pipe as a shell makes it.
func blocking(t *testing.T) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

func TestThrough(t *testing.T) {
	r, w := blocking(t)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	out := Writer(t.Context(), w)
	written := make(chan error)
	go func() {
		_, err := out.Write(want)
		written <- err
	}()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(Reader(t.Context(), r), got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("not what was written: %v", err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
	flags, err := unix.FcntlInt(w.Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK != 0 {
		t.Errorf("the file that was given is non-blocking now (%v)", err)
	}
}

func TestInterrupted(t *testing.T) {
	why := errors.New("a signal came")
	for name, wait := range map[string]func(ctx context.Context, r, w *os.File) error{
		"nobody reads": func(ctx context.Context, _, w *os.File) error {
			_, err := Writer(ctx, w).Write(make([]byte, 4<<20))
			return err
		},
		"nobody writes": func(ctx context.Context, r, _ *os.File) error {
			_, err := Reader(ctx, r).Read(make([]byte, 10))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, w := blocking(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan error)
			go func() { done <- wait(ctx, r, w) }()
			cancel(why)
			if err := <-done; !errors.Is(err, why) {
				t.Errorf("error %v, want %v", err, why)
			}
		})
	}
}

func TestFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // of a test
	if _, err := Writer(t.Context(), f).Write([]byte("text")); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(f.Name()); err != nil || string(b) != "text" {
		t.Errorf("the file has %q (%v)", b, err)
	}
}
