package pieces_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"mbk/internal/repo/store/pieces"
)

// What is written arrives as it was, in full pieces and a rest, whatever the lengths.
func TestPieces(t *testing.T) {
	for _, size := range []int{0, 1, pieces.Size - 1, pieces.Size, pieces.Size + 1, 3*pieces.Size + 4096} {
		for _, step := range []int{1 << 20, 1<<20 - 3, 5 * pieces.Size} {
			t.Run(fmt.Sprintf("%d bytes by %d", size, step), func(t *testing.T) {
				want := make([]byte, size)
				for i := range want {
					want[i] = byte(i >> 9 * 7)
				}
				var got []byte
				w := pieces.NewWriter(t.Context(), func(piece []byte) error {
					if at := len(got); at%pieces.Size != 0 || len(piece) != min(pieces.Size, size-at) {
						t.Errorf("a piece of %d bytes at %d", len(piece), at)
					}
					if uintptr(unsafe.Pointer(unsafe.SliceData(piece)))%4096 != 0 {
						t.Error("a piece does not begin at a block of memory")
					}
					got = append(got, piece...)
					return nil
				})
				for rest := want; len(rest) > 0; {
					n, err := w.Write(rest[:min(len(rest), step)])
					if err != nil {
						t.Fatal(err)
					}
					rest = rest[n:]
				}
				if err := w.Flush(); err != nil || !bytes.Equal(got, want) || w.Written() != int64(size) {
					t.Errorf("Flush = %v after %d bytes; %d arrived, and are equal: %v", err, w.Written(), len(got),
						bytes.Equal(got, want))
				}
			})
		}
	}
}

// One piece is gathered while another one is stored, and no third one.
func TestOneAhead(t *testing.T) {
	let, stored := make(chan struct{}), atomic.Int32{}
	w := pieces.NewWriter(t.Context(), func([]byte) error {
		<-let
		stored.Add(1)
		return nil
	})
	if _, err := w.Write(make([]byte, 2*pieces.Size-1)); err != nil || stored.Load() != 0 {
		t.Fatalf("Write = %v with %d pieces stored, want it to return before the first is", err, stored.Load())
	}
	time.AfterFunc(20*time.Millisecond, func() { close(let) })
	if _, err := w.Write(make([]byte, 1)); err != nil || stored.Load() != 1 {
		t.Errorf("Write of the second piece = %v with %d stored, want it to wait for the first", err, stored.Load())
	}
	if err := w.Wait(); err != nil || stored.Load() != 2 {
		t.Errorf("Wait = %v with %d pieces stored", err, stored.Load())
	}
}

// Whichever piece fails, Flush says so, even if Write was not asked; and nothing more is stored.
func TestFailingPiece(t *testing.T) {
	full := errors.New("disk full")
	for fails := range 4 {
		calls := 0
		w := pieces.NewWriter(t.Context(), func([]byte) error {
			if calls++; calls == fails+1 {
				return full
			}
			return nil
		})
		for range 7 {
			_, _ = w.Write(make([]byte, pieces.Size/2))
		}
		if err := w.Flush(); !errors.Is(err, full) || calls != fails+1 {
			t.Errorf("piece %d fails: Flush = %v after %d calls", fails, err, calls)
		}
		if n, err := w.Write(make([]byte, 1)); n != 0 || !errors.Is(err, full) {
			t.Errorf("piece %d fails: Write after it = %d, %v", fails, n, err)
		}
	}
}

// After the context has ended nothing is stored.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	w := pieces.NewWriter(ctx, func([]byte) error { calls++; return nil })
	if _, err := w.Write(make([]byte, pieces.Size+1)); err != nil {
		t.Fatal(err)
	}
	if err := w.Wait(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := w.Write(make([]byte, pieces.Size)); !errors.Is(err, context.Canceled) {
		t.Errorf("Write = %v", err)
	}
	if err := w.Flush(); !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("Flush = %v, with %d pieces stored", err, calls)
	}
}
