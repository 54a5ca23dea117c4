package innodb

import (
	"errors"
	"testing"
)

func TestTailErrorMessage(t *testing.T) {
	e := &TailError{
		Kind: ErrRedoStalled, Path: "/d/ib_logfile0", Copied: 50000, Target: 60000, Capacity: 4 << 20,
		LSNs: LSNs{Current: 60100, Flushed: 50010, Checkpoint: 49000}, Cause: errors.New("why"),
	}
	want := "redo log stalled: /d/ib_logfile0: copied to LSN 50000, the server wrote 60100 and flushed 50010," +
		" its checkpoint is 49000, the log holds 4194304 bytes, waited for LSN 60000: why"
	if got := e.Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !errors.Is(e, ErrRedoStalled) || !errors.Is(e, e.Cause) {
		t.Error("kind and cause are not found in it")
	}
}

// The whole way from the file to the sink.
func BenchmarkTailer(b *testing.B) {
	const size = 48 << 20
	l := newFakeLog(b, 64<<20, 50000, plainHeader)
	for l.end()-l.base < size {
		for range 100 {
			l.appendMTR(l.sized(150))
		}
	}
	l.flush()
	discard := func([]byte, LSN, LSN) error { return nil }
	b.SetBytes(int64(l.end() - l.base))
	for b.Loop() {
		tl, err := OpenTailer(l.path, l, discard, TailOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := tl.Checkpoint(b.Context()); err != nil {
			b.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- tl.Run(b.Context()) }()
		if _, err := tl.Finish(b.Context(), l.end()); err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(<-done, tl.Close()); err != nil {
			b.Fatal(err)
		}
	}
}
