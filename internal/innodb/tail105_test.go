package innodb

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

// blockTail is a running Tailer of a fakeBlocks.
type blockTail struct {
	*Tailer
	t     *testing.T
	log   *fakeBlocks
	sink  *collector
	point Checkpoint
	done  chan error
}

func tailBlocks(t *testing.T, l *fakeBlocks, o TailOptions) *blockTail {
	t.Helper()
	o.Interval, o.Patience = 2*time.Millisecond, 2*time.Second
	x := &blockTail{t: t, log: l, sink: &collector{t: t}, done: make(chan error, 1)}
	var err error
	if x.Tailer, err = OpenTailer(l.path, l, x.sink.sink, o); err != nil {
		t.Fatal(err)
	}
	if x.point, err = x.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { x.done <- x.Run(ctx); close(x.done) }()
	t.Cleanup(func() {
		cancel()
		<-x.done
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	for !x.started() {
		time.Sleep(100 * time.Microsecond)
	}
	return x
}

func (x *blockTail) catchUp() {
	x.t.Helper()
	var flushed LSN
	x.log.do(func() { flushed = x.log.flushed })
	if err := x.CatchUp(x.t.Context(), flushed); err != nil {
		x.t.Fatal(err)
	}
}

// finish ends the copying at lsn and checks what was copied.
func (x *blockTail) finish(lsn LSN) LSN {
	x.t.Helper()
	end, err := x.Finish(x.t.Context(), lsn)
	if err := errors.Join(err, <-x.done); err != nil {
		x.t.Fatal(err)
	}
	from, to := StoredRedo(x.log.format, x.point, end)
	if x.sink.start != from || len(x.sink.got) != int(to-from) {
		x.t.Fatalf("copied %d bytes from %d, want [%d, %d)", len(x.sink.got), x.sink.start, from, to)
	}
	want := x.log.want(x.point, end)
	for i := 0; i < len(want); i += blockSize {
		if !bytes.Equal(x.sink.got[i:i+blockSize], want[i:i+blockSize]) {
			x.t.Fatalf("block at LSN %d: %x, want %x", from+LSN(i), x.sink.got[i:i+blockSize], want[i:i+blockSize])
		}
	}
	c, err := NewLogChecker(x.log.format, x.Header().Crypt, x.point)
	if err != nil {
		x.t.Fatal(err)
	}
	if err := errors.Join(writePortions(c, x.sink.got, 1000), c.Finish(end)); err != nil {
		x.t.Error(err)
	}
	if c.MTRs() != x.Progress().MTRs || c.Journal().Counts() != x.Journal().Counts() {
		x.t.Errorf("checked %d mini-transactions, %+v; copied %d, %+v", c.MTRs(), c.Journal().Counts(),
			x.Progress().MTRs, x.Journal().Counts())
	}
	return end
}

func (x *blockTail) wantFailure(want error) {
	x.t.Helper()
	select {
	case err := <-x.done:
		if !errors.Is(err, want) {
			x.t.Fatalf("Run: %v, want %v", err, want)
		}
	case <-time.After(10 * time.Second):
		x.t.Fatalf("Run goes on, want %v", want)
	}
}

func TestTailerFollowsBlocks(t *testing.T) {
	for _, format := range []uint32{Format105, Format105Enc} {
		t.Run(fmt.Sprintf("format %#x, many laps", format), func(t *testing.T) {
			l := newFakeBlocks(t, format, 256<<10, 8704)
			x := tailBlocks(t, l, TailOptions{ChunkSize: 1500})
			r := rand.New(rand.NewPCG(1, uint64(format)))
			for range 120 {
				l.do(func() {
					for range 1 + r.IntN(30) {
						switch n := r.IntN(60); n {
						case 0:
							l.appendMTR(l.sized(20000))
						case 1:
							l.appendMTR(fileRecord(FileCreate, 9, "./db/n.ibd"))
						case 2:
							l.checkpoint(l.end)
						case 3:
							l.write() // and not flushed
						default:
							// So that mini-transactions end at every place of a block.
							l.appendMTR(l.sized(8 + r.IntN(700)))
						}
					}
					l.flush()
				})
				if r.IntN(3) > 0 {
					x.catchUp()
				} else {
					time.Sleep(time.Duration(r.IntN(2000)) * time.Microsecond)
				}
			}
			x.catchUp()
			var target LSN
			l.do(func() {
				l.fill(3, 100)
				target = l.ends[len(l.ends)-2]
				l.fill(30, 100) // goes on after the target
			})
			end := x.finish(target)
			if end != target && (!slices.Contains(l.ends, end) || end < target) {
				t.Errorf("end = %d, want %d or a later end of a mini-transaction", end, target)
			}
			if p := x.Progress(); int64(end-x.point.LSN) < 3*l.ring.Capacity || p.LowestHeadroom <= 0 {
				t.Errorf("copied %d bytes, lowest head-room %d", end-x.point.LSN, p.LowestHeadroom)
			}
			if got := x.Journal().MayDelete(); got != (format == Format105Enc) {
				t.Errorf("MayDelete = %v", got)
			}
		})
	}
}

// The log ends after each mini-transaction of a stretch in turn, also where one
// fills its block.
func TestTailerEndsInsideBlocks(t *testing.T) {
	l := newFakeBlocks(t, Format105, 1<<20, 8704)
	l.do(func() {
		for n := range 40 {
			l.fill(1, 30+n)
		}
		n, room := 0, blockSize-4-int(l.end%blockSize)
		for len(l.sized(n))+1 < room {
			n++
		}
		l.fill(1, n)
		l.fill(2, 2000)
	})
	if !slices.ContainsFunc(l.ends, func(e LSN) bool { return e%blockSize == blockHeader }) {
		t.Error("no mini-transaction fills its block")
	}
	for i, target := range l.ends {
		x := tailBlocks(t, l, TailOptions{})
		if i%2 == 0 {
			x.catchUp() // then it is past the target already
		}
		if end := x.finish(target); end < target || i%2 == 1 && !slices.Contains(l.ends, end) {
			t.Errorf("end = %d, want %d or a later end", end, target)
		}
	}
}

func TestTailerOfBlocksEndsBehindNoName(t *testing.T) {
	l := newFakeBlocks(t, Format105, 1<<20, 8704)
	var name LSN
	l.do(func() {
		l.fill(3, 100)
		l.appendMTR(fileRecord(FileModify, 70, "./db/new.ibd"))
		name = l.end
		l.fill(3, 100)
	})
	x := tailBlocks(t, l, TailOptions{})
	if end := x.finish(name); end <= name {
		t.Errorf("end = %d, the end of a name", end)
	}
}

func TestTailerOfBlocksFails(t *testing.T) {
	tests := []struct {
		name   string
		change func(l *fakeBlocks)
		want   error
	}{
		{"the server is a lap ahead and does not say so", func(l *fakeBlocks) {
			l.fill(20, 100)
			b := l.sealed(blockStart(l.end) - 2*blockSize)
			lsn := blockStart(l.end) - blockSize + LSN(l.ring.Capacity)
			binary.BigEndian.PutUint32(b, blockNumber(lsn)|1<<31)
			binary.BigEndian.PutUint32(b[blockSize-4:], crc32c(b[:blockSize-4]))
			l.put(b, l.ring.Offset(lsn))
		}, ErrRedoOverwritten},
		{"the server says that it is a lap ahead", func(l *fakeBlocks) {
			l.fill(1200, 1000)
		}, ErrRedoOverwritten},
		{"a block that was never written", func(l *fakeBlocks) {
			l.fill(20, 100)
			l.put(make([]byte, blockSize), l.ring.Offset(blockStart(l.end)-blockSize))
		}, ErrRedoDamaged},
		{"a block of the lap before", func(l *fakeBlocks) {
			l.fill(20, 100)
			lsn := blockStart(l.end) - blockSize
			b := l.sealed(lsn)
			binary.BigEndian.PutUint32(b, blockNumber(lsn)-7)
			binary.BigEndian.PutUint32(b[blockSize-4:], crc32c(b[:blockSize-4]))
			l.put(b, l.ring.Offset(lsn))
		}, ErrRedoDamaged},
		{"another file", func(l *fakeBlocks) {
			b, err := os.ReadFile(l.path)
			if err := errors.Join(err, os.WriteFile(l.path+".new", b, 0o600),
				os.Rename(l.path+".new", l.path)); err != nil {
				l.t.Error(err)
			}
		}, ErrRedoReplaced},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newFakeBlocks(t, Format105, 1<<20, 8704)
			x := tailBlocks(t, l, TailOptions{})
			l.do(func() { l.fill(100, 100) })
			x.catchUp()
			l.do(func() { tt.change(l) })
			x.wantFailure(tt.want)
		})
	}
}

// A block that is read while the server writes it has a wrong checksum.
func TestTailerReadsTornBlockAgain(t *testing.T) {
	l := newFakeBlocks(t, Format105, 1<<20, 8704)
	x := tailBlocks(t, l, TailOptions{})
	l.do(func() {
		l.fill(10, 300)
		torn := l.sealed(blockStart(l.end) - blockSize)
		clear(torn[100:])
		l.put(torn, l.ring.Offset(blockStart(l.end)-blockSize))
	})
	for x.Progress().Rereads == 0 {
		select {
		case err := <-x.done:
			t.Fatalf("Run: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	l.do(func() {
		l.put(l.sealed(blockStart(l.end)-blockSize), l.ring.Offset(blockStart(l.end)-blockSize))
	})
	x.finish(l.end)
}

func TestLogCheckerFindsEveryFlippedByteOfBlocks(t *testing.T) {
	for _, format := range []uint32{Format105, Format105Enc} {
		l := newFakeBlocks(t, format, 1<<20, 8704)
		l.do(func() { l.fill(20, 150) })
		x := tailBlocks(t, l, TailOptions{})
		end := x.finish(l.end)
		check := func(b []byte, end LSN) error {
			c, err := NewLogChecker(format, x.Header().Crypt, x.point)
			if err != nil {
				t.Fatal(err)
			}
			return errors.Join(writePortions(c, b, 700), c.Finish(end))
		}
		for i := range x.sink.got {
			b := bytes.Clone(x.sink.got)
			b[i] ^= 0x40
			if check(b, end) == nil {
				t.Errorf("format %#x: flipped byte %d is not found", format, i)
			}
		}
		if err := check(x.sink.got[:len(x.sink.got)-blockSize], end); !errors.Is(err, ErrLogEnd) {
			t.Errorf("a block is missing: %v, want ErrLogEnd", err)
		}
		if err := check(x.sink.got, end+blockSize); !errors.Is(err, ErrLogEnd) {
			t.Errorf("end too late: %v, want ErrLogEnd", err)
		}
	}
}
