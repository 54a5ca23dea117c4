package innodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

var plainHeader = LogHeader{Format: Format108, Creator: "MariaDB 11.8.6"}

// tail is a running Tailer of a fakeLog.
type tail struct {
	*Tailer
	t      *testing.T
	log    *fakeLog
	sink   *collector
	point  Checkpoint
	cancel context.CancelFunc
	done   chan error
}

// openTail opens a Tailer on l and reads the checkpoint.
func openTail(t *testing.T, l *fakeLog, status Status, o TailOptions) *tail {
	t.Helper()
	if o.Interval == 0 {
		o.Interval = 2 * time.Millisecond
	}
	if o.Patience == 0 {
		o.Patience = 2 * time.Second
	}
	sink := &collector{t: t}
	tl, err := OpenTailer(l.path, status, sink.sink, o)
	if err != nil {
		t.Fatal(err)
	}
	point, err := tl.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	x := &tail{Tailer: tl, t: t, log: l, sink: sink, point: point, cancel: cancel, done: make(chan error, 1)}
	t.Cleanup(func() {
		cancel()
		if x.started() {
			<-x.done
		}
		if err := tl.Close(); err != nil {
			t.Error(err)
		}
	})
	go func() { x.done <- tl.Run(ctx); close(x.done) }()
	for !x.started() {
		time.Sleep(100 * time.Microsecond)
	}
	return x
}

func startTail(t *testing.T, l *fakeLog) *tail {
	t.Helper()
	return openTail(t, l, l, TailOptions{})
}

// catchUp waits for everything that is flushed.
func (x *tail) catchUp() {
	x.t.Helper()
	x.log.mu.Lock()
	flushed := x.log.flushed
	x.log.mu.Unlock()
	if err := x.CatchUp(x.t.Context(), flushed); err != nil {
		x.t.Fatal(err)
	}
}

// finish ends the copying at lsn and checks what was copied.
func (x *tail) finish(lsn LSN) LSN {
	x.t.Helper()
	end, err := x.Finish(x.t.Context(), lsn)
	if err != nil {
		x.t.Fatal(err)
	}
	if err := <-x.done; err != nil {
		x.t.Fatalf("Run: %v", err)
	}
	x.log.wantTruth(x.sink, x.point.LSN, end)
	return end
}

// wantFailure waits for the end of Run and checks its error (nil: any), and that
// all that was copied before is right.
func (x *tail) wantFailure(want error) *TailError {
	x.t.Helper()
	select {
	case err := <-x.done:
		if err == nil || want != nil && !errors.Is(err, want) {
			x.t.Fatalf("Run: %v, want %v", err, want)
		}
		x.log.mu.Lock()
		defer x.log.mu.Unlock()
		if len(x.sink.got) > 0 {
			x.log.wantTruth(x.sink, x.point.LSN, x.sink.start+LSN(len(x.sink.got)))
		}
		var facts *TailError
		errors.As(err, &facts)
		return facts
	case <-time.After(10 * time.Second):
		x.t.Fatalf("Run goes on, want %v", want)
	}
	return nil
}

// fill appends and flushes n mini-transactions of a size.
func (l *fakeLog) fill(n, size int) {
	for range n {
		l.appendMTR(l.sized(size))
	}
	l.flush()
}

func TestTailerFollowsManyLaps(t *testing.T) {
	for _, header := range []LogHeader{
		plainHeader,
		{Format: Format108, Crypt: bytes.Repeat([]byte{1}, logCryptSize)},
		{Format: FormatEnc11, Crypt: bytes.Repeat([]byte{1}, logCryptSize)},
	} {
		for _, chunk := range []int{0, 700} {
			t.Run(fmt.Sprintf("format %#x, encrypted %v, chunks of %d", header.Format, header.Encrypted(), chunk),
				func(t *testing.T) {
					const capacity = 256 << 10
					r := rand.New(rand.NewPCG(1, 2))
					l := newFakeLog(t, capacity, 1<<44+12345, header)
					x := openTail(t, l, l, TailOptions{ChunkSize: chunk})
					for l.end()-l.base < 12*capacity {
						l.do(func() {
							for burst := l.end() + LSN(r.IntN(30000)); l.end() < burst; {
								l.appendMTR(l.random(r))
							}
							if r.IntN(4) == 0 {
								l.checkpointLocked(l.end())
							}
							l.write()
							if r.IntN(3) > 0 || l.end()-l.flushed > capacity/4 {
								l.flush()
							}
						})
						x.catchUp()
					}
					l.do(l.flush)
					if end := x.finish(l.end()); end != l.end() {
						t.Errorf("end = %d, want %d", end, l.end())
					}
					p := x.Progress()
					if p.MTRs != int64(len(l.markers)) || p.Bytes != int64(l.end()-x.point.LSN) || p.Copied != l.end() {
						t.Errorf("progress = %+v, want %d mini-transactions to %d", p, len(l.markers), l.end())
					}
					if p.LowestHeadroom <= 0 || p.LowestHeadroom > capacity-40000 {
						t.Errorf("lowest headroom = %d", p.LowestHeadroom)
					}
					if n := x.Journal().Counts().Checkpoints; n != l.points {
						t.Errorf("%d checkpoints in the journal, want %d", n, l.points)
					}
				})
		}
	}
}

// The live end of a log holds older mini-transactions that are valid in every
// respect. They were once taken for new ones.
func TestTailerIgnoresStaleMTRsBehindTheEnd(t *testing.T) {
	l := newFakeLog(t, 1<<20, 50000, plainHeader)
	x := startTail(t, l)
	for range 200 {
		l.do(func() {
			// What stands after the end is as long as what comes next.
			stale := sealMTR(l.sized(100), 1, nil)
			l.garbage = bytes.Repeat(stale, 5)
			l.fill(1, 100)
		})
		x.catchUp()
		if p := x.Progress(); p.Copied > l.flushed {
			t.Fatalf("copied to %d of %d", p.Copied, l.flushed)
		}
	}
	x.finish(l.end())
}

func TestTailerTakesNothingThatIsNotFlushed(t *testing.T) {
	l := newFakeLog(t, 1<<20, 50000, plainHeader)
	x := startTail(t, l)
	l.do(func() { l.fill(100, 100) })
	flushed := l.flushed
	l.do(func() {
		l.fill(300, 100)
		l.flushed = flushed // written, not durable
	})
	x.catchUp()
	time.Sleep(30 * time.Millisecond)
	if got := x.Progress().Copied; got != flushed {
		t.Errorf("copied to %d, want %d", got, flushed)
	}
	l.do(l.flush)
	x.finish(l.end())
}

func TestTailerLeavesTheLastBlockAlone(t *testing.T) {
	l := newFakeLog(t, 1<<20, 50000, plainHeader)
	x := startTail(t, l)
	l.do(func() { l.fill(1000, 100) })
	block := l.flushed - LSN(l.file.ring.Offset(l.flushed)%writeBlock)
	for range 100 {
		if time.Sleep(2 * time.Millisecond); x.Progress().Copied+130 > block {
			break
		}
	}
	time.Sleep(20 * time.Millisecond)
	if got := x.Progress().Copied; got > block || got+130 < block {
		t.Errorf("copied to %d, want the last end before %d, flushed %d", got, block, l.flushed)
	}
	x.catchUp()
	x.finish(l.end())
}

func TestTailerReadsAgainWhatIsTorn(t *testing.T) {
	l := newFakeLog(t, 1<<20, 50000, plainHeader)
	x := startTail(t, l)
	x.catchUp()
	l.do(func() {
		from := l.flushed
		l.fill(500, 100)
		// The middle appears only after some polls.
		good := l.inFile(l.file.ring, from+20000, from+21000)
		l.file.put(t, make([]byte, 1000), from+20000)
		heal := l.polls + 12
		l.onPoll = func(n int) {
			if n == heal {
				l.file.put(t, good, from+20000)
			}
		}
	})
	x.catchUp()
	x.finish(l.end())
	if x.Progress().Rereads == 0 {
		t.Error("nothing was read again")
	}
}

func TestTailerReportsDamage(t *testing.T) {
	l := newFakeLog(t, 1<<20, 50000, plainHeader)
	x := openTail(t, l, l, TailOptions{Patience: 50 * time.Millisecond})
	x.catchUp()
	var bad LSN
	l.do(func() {
		l.fill(5, 100)
		bad = l.end()
		l.fill(500, 100)
		l.file.put(t, []byte{0xff}, bad+50)
	})
	facts := x.wantFailure(ErrRedoDamaged)
	var place *MTRError
	if !errors.As(facts, &place) || place.LSN != bad {
		t.Errorf("error %v, want one at LSN %d", facts, bad)
	}
	if err := x.CatchUp(t.Context(), l.end()); !errors.Is(err, ErrRedoDamaged) {
		t.Errorf("CatchUp after the failure: %v", err)
	}
}

func TestTailerWantsTheCheckpointsRecords(t *testing.T) {
	l := newFakeLog(t, 1<<20, 50000, plainHeader)
	l.do(func() {
		l.fill(10, 100)
		l.checkpointLocked(l.end())
		// A checkpoint block whose end is in the middle of something else.
		l.fill(10, 100)
		l.point.LSN, l.point.End = l.point.LSN+1, l.point.End+1
		l.point = Checkpoint{LSN: l.base, End: l.point.End}
		b := l.point.Append(nil)
		for _, off := range []int64{logCheckpoint1, logCheckpoint2} {
			if _, err := l.file.f.WriteAt(b, off); err != nil {
				t.Error(err)
			}
		}
		l.fill(500, 100)
	})
	x := openTail(t, l, l, TailOptions{Patience: 50 * time.Millisecond})
	if facts := x.wantFailure(ErrRedoDamaged); !errors.Is(facts, ErrNoFileCheckpoint) {
		t.Errorf("error %v, want ErrNoFileCheckpoint inside", facts)
	}
}

// The names of changed files follow a checkpoint, and tell of no change themselves.
func TestJournalKnowsTheCheckpointsOwnRecords(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before int // mini-transactions between the checkpoint and its records
		want   bool
	}{{"nothing else", 0, true}, {"what was written meanwhile", 3, false}} {
		t.Run(tt.name, func(t *testing.T) {
			l := newFakeLog(t, 1<<20, 50000, plainHeader)
			var own LSN
			l.do(func() {
				l.fill(10, 100)
				at := l.end()
				l.fill(tt.before, 100)
				l.checkpointLocked(at)
				own = l.end()
				l.fill(10, 100)
			})
			x := startTail(t, l)
			x.catchUp()
			want := LSN(0)
			if tt.want {
				want = own
			}
			if got := x.Journal().CheckpointOnly(); got != want {
				t.Errorf("the checkpoint has records up to %d, want %d", got, want)
			}
		})
	}
}

// statusFunc is a Status made of a function.
type statusFunc func(ctx context.Context) (LSNs, error)

func (f statusFunc) LSNs(ctx context.Context) (LSNs, error) { return f(ctx) }

func TestTailerNoticesOverwriting(t *testing.T) {
	const capacity = 256 << 10
	// Mini-transactions of one length that divides two laps: what is written over
	// the old ones fits in every way, sequence bits included.
	const size = 119
	whole := len(sealMTR(pageRecord(5, 300, make([]byte, size)), 1, nil))
	tests := []struct {
		name string
		laps int
	}{
		{"one lap behind", 1}, {"two laps behind", 2}, {"a few bytes into the next lap", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newFakeLog(t, capacity, 50000, plainHeader)
			fixed := func() {
				data := make([]byte, size)
				copy(data, fmt.Sprint(l.end()))
				l.appendMTR(pageRecord(5, 300, data))
			}
			armed := false
			// The server overtakes between the answer and the read.
			status := statusFunc(func(ctx context.Context) (LSNs, error) {
				lsns, err := l.LSNs(ctx)
				l.mu.Lock()
				defer l.mu.Unlock()
				if armed {
					armed = false
					for to := l.end() + capacity*LSN(max(tt.laps,
						1)) - LSN(whole*(1-min(tt.laps, 1))*50); l.end() < to; {
						fixed()
						if l.end()-l.written > capacity/2 {
							l.flush()
						}
					}
					l.flush()
				}
				return lsns, err
			})
			x := openTail(t, l, status, TailOptions{})
			x.catchUp()
			l.do(func() {
				for range 100 {
					fixed()
				}
				l.flush()
				armed = true
			})
			facts := x.wantFailure(ErrRedoOverwritten)
			if facts.Capacity != capacity || facts.LSNs.Current <= facts.Copied || facts.Path != l.path {
				t.Errorf("facts = %+v", facts)
			}
		})
	}
}

func TestTailerNoticesThatItStartsTooLate(t *testing.T) {
	const capacity = 256 << 10
	l := newFakeLog(t, capacity, 50000, plainHeader)
	tl, err := OpenTailer(l.path, l, func([]byte, LSN, LSN) error { return nil }, TailOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer tl.Close()
	if _, err := tl.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		l.do(func() { l.fill(300, 100) })
	}
	if err := tl.Run(t.Context()); !errors.Is(err, ErrRedoOverwritten) {
		t.Errorf("Run: %v, want ErrRedoOverwritten", err)
	}
}

func TestTailerNoticesAnotherLog(t *testing.T) {
	tests := []struct {
		name   string
		change func(t *testing.T, l *fakeLog)
		want   error
	}{
		{"header rewritten in place", func(t *testing.T, l *fakeLog) {
			h := l.header
			h.FirstLSN += 4096
			if _, err := l.file.f.WriteAt(h.Append(nil), 0); err != nil {
				t.Error(err)
			}
		}, ErrRedoReplaced},
		{"file grown", func(t *testing.T, l *fakeLog) {
			if err := l.file.f.Truncate(LogDataOffset + 2<<20); err != nil {
				t.Error(err)
			}
		}, ErrRedoReplaced},
		{"file of another key", func(t *testing.T, l *fakeLog) {
			l.resizeStart(1 << 20)
			l.header.Crypt = bytes.Repeat([]byte{9}, logCryptSize)
			l.resizeEnd()
		}, ErrRedoReplaced},
		{"file that begins later", func(t *testing.T, l *fakeLog) {
			l.fill(10, 100)
			image := l.create(l.path+".new", Ring{First: l.end() + 512, Capacity: 1 << 20})
			l.writeHeader(image)
			if err := os.Rename(image.f.Name(), l.path); err != nil {
				t.Error(err)
			}
		}, ErrRedoReplaced},
		{"file of an older format", func(t *testing.T, l *fakeLog) {
			b := make([]byte, 4<<20)
			b[3] = 104
			if err := os.WriteFile(l.path+".new", b, 0o600); err != nil {
				t.Error(err)
			}
			if err := os.Rename(l.path+".new", l.path); err != nil {
				t.Error(err)
			}
		}, ErrUnknownFormat},
		{"no file", func(t *testing.T, l *fakeLog) {
			if err := os.Remove(l.path); err != nil {
				t.Error(err)
			}
		}, os.ErrNotExist},
		{"an LSN that cannot be", func(t *testing.T, l *fakeLog) { l.flushed = 0 }, nil},
		{"an LSN that goes back", func(t *testing.T, l *fakeLog) { l.flushed -= 10 }, ErrRedoReplaced},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newFakeLog(t, 1<<20, 50000, plainHeader)
			x := startTail(t, l)
			l.do(func() { l.fill(100, 100) })
			x.catchUp()
			l.do(func() { tt.change(t, l) })
			x.wantFailure(tt.want)
		})
	}
}

func TestTailerEndsWithItsSurroundings(t *testing.T) {
	boom := errors.New("boom")
	t.Run("sink fails", func(t *testing.T) {
		l := newFakeLog(t, 1<<20, 50000, plainHeader)
		x := startTail(t, l)
		x.catchUp()
		x.sink.mu.Lock()
		x.sink.err = boom
		x.sink.mu.Unlock()
		l.do(func() { l.fill(100, 100) })
		if err := x.CatchUp(t.Context(), l.end()); err != nil && !errors.Is(err, boom) {
			t.Errorf("CatchUp: %v", err)
		}
		x.wantFailure(boom)
	})
	t.Run("status fails", func(t *testing.T) {
		l := newFakeLog(t, 1<<20, 50000, plainHeader)
		x := openTail(t, l, statusFunc(func(context.Context) (LSNs, error) { return LSNs{}, boom }), TailOptions{})
		x.wantFailure(boom)
		if _, err := x.Finish(t.Context(), l.end()); !errors.Is(err, boom) {
			t.Errorf("Finish: %v", err)
		}
	})
	t.Run("context of Run ends", func(t *testing.T) {
		l := newFakeLog(t, 1<<20, 50000, plainHeader)
		x := startTail(t, l)
		x.catchUp()
		x.cancel()
		x.wantFailure(context.Canceled)
		if err := x.CatchUp(t.Context(), l.end()+1); !errors.Is(err, context.Canceled) {
			t.Errorf("CatchUp: %v", err)
		}
	})
	t.Run("context of CatchUp ends", func(t *testing.T) {
		l := newFakeLog(t, 1<<20, 50000, plainHeader)
		x := startTail(t, l)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := x.CatchUp(ctx, l.end()+1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("CatchUp: %v", err)
		}
		x.finish(l.end())
	})
}

func TestTailerMisuse(t *testing.T) {
	l := newFakeLog(t, 1<<20, 50000, plainHeader)
	discard := func([]byte, LSN, LSN) error { return nil }
	if _, err := OpenTailer(l.path, l, discard, TailOptions{Interval: -1}); err == nil {
		t.Error("negative interval: no error")
	}
	if _, err := OpenTailer(l.path+"x", l, discard, TailOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	tl, err := OpenTailer(l.path, l, discard, TailOptions{Patience: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := tl.Run(t.Context()); err == nil {
		t.Error("Run without a checkpoint: no error")
	}
	if err := tl.CatchUp(t.Context(), 60000); !errors.Is(err, ErrRedoStalled) {
		t.Errorf("CatchUp without Run: %v", err)
	}
	if err := tl.Close(); err != nil {
		t.Error(err)
	}

	x := startTail(t, l)
	if _, err := x.Checkpoint(t.Context()); err == nil {
		t.Error("Checkpoint during Run: no error")
	}
	if err := x.Run(t.Context()); err == nil {
		t.Error("second Run: no error")
	}
	if err := x.Close(); err == nil {
		t.Error("Close during Run: no error")
	}
	x.finish(l.end())
}

func TestTailerCheckpoint(t *testing.T) {
	open := func(t *testing.T, l *fakeLog) *Tailer {
		tl, err := OpenTailer(l.path, l, func([]byte, LSN, LSN) error { return nil }, TailOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tl.Close() })
		return tl
	}
	t.Run("is the newest when asked", func(t *testing.T) {
		l := newFakeLog(t, 1<<20, 50000, plainHeader)
		tl := open(t, l)
		for range 3 {
			l.do(func() {
				l.fill(10, 100)
				l.checkpointLocked(l.end())
			})
			if c, err := tl.Checkpoint(t.Context()); c != l.point || err != nil {
				t.Errorf("checkpoint = %v, %v; want %v", c, err, l.point)
			}
		}
	})
	t.Run("one block is being written", func(t *testing.T) {
		l := newFakeLog(t, 1<<20, 50000, plainHeader)
		old := l.point
		l.do(func() {
			l.fill(10, 100)
			l.checkpointLocked(l.end())
		})
		if _, err := l.file.f.WriteAt([]byte{1}, logCheckpoint2+60); err != nil {
			t.Fatal(err)
		}
		if c, err := open(t, l).Checkpoint(t.Context()); c != old || err != nil {
			t.Errorf("checkpoint = %v, %v; want the older one, %v", c, err, old)
		}
		go func() {
			time.Sleep(10 * time.Millisecond)
			if _, err := l.file.f.WriteAt(l.point.Append(nil), logCheckpoint2); err != nil {
				t.Error(err)
			}
		}()
		if c, err := open(t, l).Checkpoint(t.Context()); c != l.point || err != nil {
			t.Errorf("checkpoint = %v, %v; want %v", c, err, l.point)
		}
	})
	t.Run("the log was resized since it was opened", func(t *testing.T) {
		l := newFakeLog(t, 1<<20, 50000, plainHeader)
		tl := open(t, l)
		l.do(func() {
			l.fill(10, 100)
			l.resizeStart(2 << 20)
			l.fill(10, 100)
			l.resizeEnd()
		})
		c, err := tl.Checkpoint(t.Context())
		if c != l.point || err != nil || tl.Ring() != l.file.ring || tl.Header().FirstLSN != l.file.ring.First {
			t.Errorf("checkpoint = %v, %v, ring %v; want %v, %v", c, err, tl.Ring(), l.point, l.file.ring)
		}
	})
	t.Run("there is none", func(t *testing.T) {
		l := newFakeLog(t, 1<<20, 50000, plainHeader)
		if _, err := l.file.f.WriteAt(make([]byte, 8192), logCheckpoint1); err != nil {
			t.Fatal(err)
		}
		if _, err := open(t, l).Checkpoint(t.Context()); !errors.Is(err, ErrNoCheckpoint) {
			t.Errorf("error = %v, want ErrNoCheckpoint", err)
		}
	})
}

func TestTailerJournal(t *testing.T) {
	l := newFakeLog(t, 1<<20, 50000, plainHeader)
	x := startTail(t, l)
	l.do(func() {
		l.appendMTR(slices.Concat(fileRecord(FileCreate, 70, "./db/new.ibd"), pageRecord(70, 0, make([]byte, 100))))
		l.appendMTR(fileRecord(FileRename, 70, "./db/new.ibd", "./db/newer.ibd"))
		l.appendMTR(fileRecord(FileDelete, 71, "./db/gone.ibd"))
		l.flush()
	})
	x.catchUp()
	want := FileCounts{Creates: 1, Deletes: 1, Renames: 1, Modifies: 1, Checkpoints: 1}
	if got := x.Journal().Counts(); got != want {
		t.Errorf("counts = %+v, want %+v", got, want)
	}
	if h, _ := x.Journal().Space(70); h.Name != "./db/newer.ibd" || h.Created == 0 || h.Renamed == 0 {
		t.Errorf("history = %+v", h)
	}
	x.finish(l.end())
}
