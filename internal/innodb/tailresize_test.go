package innodb

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTailerFollowsAResize(t *testing.T) {
	const capacity = 1 << 20
	tests := []struct {
		name   string
		change func(l *fakeLog, x *tail)
		swaps  int
	}{
		{"copied beyond the new log's start", func(l *fakeLog, x *tail) {
			l.do(func() { l.fill(100, 100); l.resizeStart(2 * capacity); l.fill(200, 100) })
			x.catchUp()
			l.do(func() { l.fill(10, 100); l.resizeEnd(); l.fill(100, 100) })
		}, 1},
		{"started and ended between two looks", func(l *fakeLog, x *tail) {
			l.do(func() {
				l.fill(100, 100)
				l.resizeStart(2 * capacity)
				l.fill(200, 100)
				l.resizeEnd()
				l.fill(100, 100)
			})
		}, 1},
		{"to a smaller file", func(l *fakeLog, x *tail) {
			l.do(func() {
				l.fill(100, 100)
				l.resizeStart(capacity / 4)
				l.fill(200, 100)
				l.resizeEnd()
				l.fill(100, 100)
			})
			x.catchUp()
			for range 20 {
				l.do(func() { l.fill(200, 100) })
				x.catchUp()
			}
		}, 1},
		{"nothing written since its start", func(l *fakeLog, x *tail) {
			l.do(func() { l.fill(100, 100); l.resizeStart(2 * capacity); l.resizeEnd() })
		}, 1},
		{"a mini-transaction reaches over the new log's start", func(l *fakeLog, x *tail) {
			l.do(func() { l.fill(3, 100); l.appendMTR(l.sized(30000)); l.flush() })
			l.do(func() { l.resizeStart(2 * capacity); l.fill(2, 100); l.resizeEnd() })
		}, 1},
		{"twice, the second log begins in what is copied", func(l *fakeLog, x *tail) {
			l.do(func() { l.fill(100, 100); l.resizeStart(2 * capacity); l.fill(10, 100); l.resizeEnd() })
			x.catchUp()
			l.do(func() { l.resizeStart(3 * capacity) })
			l.do(func() { l.fill(100, 100); l.resizeEnd(); l.fill(10, 100) })
		}, 2},
		{"given up", func(l *fakeLog, x *tail) {
			l.do(func() {
				l.fill(100, 100)
				l.resizeStart(2 * capacity)
				l.fill(100, 100)
				l.resized = nil
				l.fill(100, 100)
			})
		}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newFakeLog(t, capacity, 50000, plainHeader)
			l.do(func() { l.fill(50, 100) })
			x := startTail(t, l)
			x.catchUp()
			tt.change(l, x)
			x.catchUp()
			if end := x.finish(l.end()); end != l.end() {
				t.Errorf("end = %d, want %d", end, l.end())
			}
			if got := x.Progress().Resizes; got != tt.swaps {
				t.Errorf("%d resizes, want %d", got, tt.swaps)
			}
			if got := x.Ring(); got != l.file.ring {
				t.Errorf("ring = %v, want %v", got, l.file.ring)
			}
		})
	}
}

// An idle server can resize its log three times within 8 ms. The logs in between
// were missed, and the backup failed.
func TestTailerFollowsResizesBetweenTwoLooks(t *testing.T) {
	l := newFakeLog(t, 1<<20, 50000, plainHeader)
	x := startTail(t, l)
	l.do(func() { l.fill(100, 100) })
	x.catchUp()
	l.do(func() { // nobody gets an answer to a poll meanwhile
		for n := range 3 {
			l.fill(20, 100)
			l.resizeStart(int64(n+2) << 20)
			x.waitForPins(n + 1)
			l.fill(20, 100)
			l.resizeEnd()
			if n == 1 { // one that is given up
				l.resizeStart(1 << 20)
				x.waitForPins(n + 2)
				if err := os.Remove(l.resized.f.Name()); err != nil {
					t.Error(err)
				}
				l.resized = nil
			}
		}
		l.fill(20, 100)
	})
	x.catchUp()
	x.finish(l.end())
	if got := x.Progress().Resizes; got != 3 {
		t.Errorf("%d resizes, want 3", got)
	}
}

// waitForPins waits until at least n log files were noticed.
func (x *tail) waitForPins(n int) {
	for range 5000 {
		x.pins.mu.Lock()
		got := len(x.pins.files)
		x.pins.mu.Unlock()
		if got >= n {
			return
		}
		time.Sleep(time.Millisecond)
	}
	x.t.Errorf("%d log files were noticed", n)
}

func TestLogPins(t *testing.T) {
	l := newFakeLog(t, 1<<20, 50000, plainHeader)
	p := pinLogs(plainFiles{}, l.path, func() {})
	defer p.close()
	wait := (&tail{Tailer: &Tailer{pins: p}, t: t}).waitForPins
	first, err := openLog(plainFiles{}, l.path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.close()
	if got := p.successor(first); got != nil {
		t.Errorf("successor = %v, want none", got.ring)
	}
	l.do(func() { l.fill(10, 100); l.resizeStart(2 << 20) })
	wait(1)
	l.do(func() { l.fill(10, 100); l.resizeEnd() })
	second := p.successor(first)
	if second == nil || second.ring != l.file.ring {
		t.Fatalf("successor = %v, want %v", second, l.file.ring)
	}
	defer second.close()
	// Pinned a second time when it got its name: it is not its own successor.
	if got := p.successor(second); got != nil {
		t.Errorf("successor = %v, want none", got.ring)
	}
	for i := range maxPins + 10 {
		p.pin(l.path)
		if err := os.WriteFile(filepath.Join(t.TempDir(), "other"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		other := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := os.WriteFile(other, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		p.pin(other)
	}
	if n := len(p.files); n != maxPins {
		t.Errorf("%d files are held, want %d", n, maxPins)
	}
	if err := p.close(); err != nil {
		t.Error(err)
	}
}

// Two resizes between two looks: the log in between, and what was only in it, is
// gone. The old file may go on with leftovers that fit in every way.
func TestTailerNoticesALogThatCameAndWent(t *testing.T) {
	// garbage is a valid mini-transaction of a length.
	garbage := func(size int) []byte {
		for i := 1; ; i++ { // the record's own length takes some bytes
			if b := sealMTR(record(0x30, make([]byte, size-5-i)), 1, nil); len(b) == size {
				return b
			}
		}
	}
	tests := []struct {
		name      string
		leftovers func(l *fakeLog, old logFileImage, end LSN) // written after the end of the old log
		want      string
	}{
		{"the old log ends", func(*fakeLog, logFileImage, LSN) {}, "the old one does not lead there"},
		{"leftovers of the same lengths", func(l *fakeLog, old logFileImage, end LSN) {
			for i, m := range l.markers[1:] {
				if start := l.markers[i] + 5; start >= end {
					old.put(l.t, garbage(int(m+5-start)), start)
				}
			}
		}, "the two differ"},
		{"leftovers of other lengths", func(l *fakeLog, old logFileImage, end LSN) {
			for ; end < l.end(); end += 1001 {
				old.put(l.t, garbage(1001), end)
			}
		}, "it does not go on"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newFakeLog(t, 1<<20, 50000, plainHeader)
			x := startTail(t, l)
			if err := x.pins.close(); err != nil { // the system tells nothing
				t.Fatal(err)
			}
			l.do(func() { l.fill(100, 100) })
			x.catchUp()
			l.do(func() {
				l.fill(20, 100)
				old := l.file
				l.resizeStart(2 << 20)
				l.fill(20, 100)
				l.resizeEnd()
				end := l.end()
				l.fill(100, 100)
				l.resizeStart(3 << 20)
				l.fill(100, 100)
				l.resizeEnd()
				l.fill(100, 100)
				tt.leftovers(l, old, end)
			})
			if facts := x.wantFailure(ErrRedoReplaced); !strings.Contains(facts.Error(), tt.want) {
				t.Errorf("error = %v, want %q in it", facts, tt.want)
			}
		})
	}
}

// The whole of it at random: a server that writes, flushes, makes checkpoints and
// resizes its log while it is followed. Every byte is compared.
func TestTailerAgainstAModel(t *testing.T) {
	for _, header := range []LogHeader{plainHeader, {Format: Format108, Crypt: bytes.Repeat([]byte{1}, logCryptSize)}} {
		for seed := range uint64(3) {
			modelRun(t, header, seed)
		}
	}
}

func modelRun(t *testing.T, header LogHeader, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	l := newFakeLog(t, 512<<10, 50000+LSN(r.IntN(5000)), header)
	l.block = 512 << r.IntN(4)
	l.mu.Lock() // the block changed after the first write; nothing is at stake yet
	l.flush()
	l.mu.Unlock()
	x := openTail(t, l, l, TailOptions{ChunkSize: 1 << (10 + r.IntN(10)), Patience: 20 * time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ctx.Err() == nil && i < 1500; i++ {
			seen := x.Ring() // two changes that nobody saw cannot be followed
			l.do(func() { modelStep(l, r, seen == l.file.ring) })
			if lag, flushed := l.lag(x.Progress().Copied); lag > 150<<10 {
				// A real server is not faster than its disk; this one would be.
				if err := x.CatchUp(ctx, flushed); err != nil && ctx.Err() == nil {
					t.Errorf("CatchUp: %v", err)
					return
				}
			}
		}
	})
	wg.Wait()
	cancel()
	l.do(l.flush)
	end := x.finish(l.end())
	t.Logf("seed %d: %+v, blocks of %d", seed, x.Progress(), l.block)
	if x.Progress().Resizes == 0 || end-l.base < 4<<20 {
		t.Errorf("%d resizes, %d bytes: too little happened", x.Progress().Resizes, end-l.base)
	}
}

// lag returns how far copied lags behind the end of the log, and what is flushed.
func (l *fakeLog) lag(copied LSN) (int64, LSN) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(l.end() - copied), l.flushed
}

// modelStep lets the model do something.
func modelStep(l *fakeLog, r *rand.Rand, mayResize bool) {
	for range r.IntN(40) {
		l.appendMTR(l.random(r))
	}
	if r.IntN(3) == 0 {
		l.garbage = sealMTR(l.sized(8+r.IntN(60)), 1, nil)
	}
	switch n := r.IntN(40); {
	case n < 20:
		l.flush()
	case n < 28:
		l.write()
	case n < 30:
		l.checkpointLocked(l.end())
	case n == 30 && l.resized == nil && mayResize:
		l.resizeStart(int64(l.block) * int64(512<<10/l.block+r.IntN(300)))
	case n == 31 && l.resized != nil:
		l.resizeEnd()
		// Whoever still has the old file open must not find it useful.
		if err := os.WriteFile(filepath.Join(filepath.Dir(l.path), "ib_logfile101"), nil, 0o600); err != nil {
			l.t.Error(err)
		}
	}
	if l.end()-l.flushed > 64<<10 {
		l.flush()
	}
}
