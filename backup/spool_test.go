package backup

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"testing/iotest"
	"time"
)

func TestSpoolKeepsOrderThroughMemoryAndFile(t *testing.T) {
	for _, limit := range []int64{0, 1000, 1 << 30} {
		dir := t.TempDir()
		s := newSpool(dir, limit, nil)
		random := rand.New(rand.NewPCG(1, uint64(limit)))
		var want []byte
		for range 400 {
			b := make([]byte, random.IntN(3000))
			for i := range b {
				b[i] = byte(random.Uint32())
			}
			want = append(want, b...)
		}
		written := make(chan error, 1)
		go func() {
			for rest := want; len(rest) > 0; {
				n := min(len(rest), 1+random.IntN(5000))
				if _, err := s.Write(rest[:n]); err != nil {
					written <- err
					return
				}
				rest = rest[n:]
			}
			s.finish()
			written <- nil
		}()
		got, err := io.ReadAll(iotest.HalfReader(s))
		if err != nil {
			t.Fatalf("limit %d: read: %v", limit, err)
		}
		if err := <-written; err != nil {
			t.Fatalf("limit %d: write: %v", limit, err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("limit %d: read %d bytes that differ from the %d written", limit, len(got), len(want))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) != 0 {
			t.Errorf("limit %d: spool folder holds %v, %v; want it empty", limit, left, err)
		}
	}
}

func TestSpoolWriterNeverWaits(t *testing.T) {
	s := newSpool(t.TempDir(), 1<<10, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 100 {
			if _, err := s.Write(make([]byte, 10_000)); err != nil {
				t.Error(err)
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("a writer without a reader was held up")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestSpoolFailureReachesBothEnds(t *testing.T) {
	s := newSpool(t.TempDir(), 1<<20, nil)
	cause := errors.New("the repository is full")
	read := make(chan error, 1)
	go func() {
		_, err := s.Read(make([]byte, 10))
		read <- err
	}()
	s.fail(cause)
	if err := <-read; !errors.Is(err, cause) {
		t.Errorf("Read = %v, want the cause", err)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, cause) {
		t.Errorf("Write = %v, want the cause", err)
	}
}

func TestSpoolWithoutRoomSaysWhere(t *testing.T) {
	s := newSpool("/nonexistent/folder", 10, nil)
	if _, err := s.Write(make([]byte, 11)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Write = %v, want that the folder does not exist", err)
	}
}

// The file of a spool does not grow once there is no room.
func TestSpoolAsksForRoom(t *testing.T) {
	full := errors.New("less is free than the reserve")
	asked := 0
	s := newSpool(t.TempDir(), 0, func() error {
		if asked++; asked > 3 {
			return full
		}
		return nil
	})
	defer s.Close() //nolint:errcheck // nothing of it is wanted
	var err error
	part := make([]byte, 100<<10)
	for err == nil && s.end < 100<<20 {
		_, err = s.Write(part)
	}
	if !errors.Is(err, full) || s.end < 2*roomEvery || s.end > 4*roomEvery {
		t.Errorf("after %d bytes: %v", s.end, err)
	}
	if _, err := s.Write(part); !errors.Is(err, full) {
		t.Errorf("a later Write = %v", err)
	}
}
