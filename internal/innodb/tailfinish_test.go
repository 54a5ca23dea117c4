package innodb

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTailerFinish(t *testing.T) {
	t.Run("in the middle of a mini-transaction", func(t *testing.T) {
		l := newFakeLog(t, 1<<20, 50000, plainHeader)
		x := startTail(t, l)
		var ends []LSN
		l.do(func() {
			l.fill(10, 100)
			for range 10 {
				l.appendMTR(l.sized(100))
				ends = append(ends, l.end())
			}
			l.flush()
			l.fill(40, 100)
		})
		if end := x.finish(ends[4] - 3); end != ends[4] {
			t.Errorf("end = %d, want %d", end, ends[4])
		}
	})
	t.Run("the mini-transaction is flushed in two parts", func(t *testing.T) {
		l := newFakeLog(t, 1<<20, 50000, plainHeader)
		x := startTail(t, l)
		x.catchUp()
		var target LSN
		l.do(func() {
			l.fill(10, 100)
			target = l.end() + 700
			l.fill(1, 30000)
			l.flushed = target + 1
			later := l.polls + 10
			l.onPoll = func(n int) {
				if n == later {
					l.flush()
				}
			}
		})
		if end := x.finish(target); end != l.end() {
			t.Errorf("end = %d, want %d", end, l.end())
		}
	})
	t.Run("the server flushes late", func(t *testing.T) {
		l := newFakeLog(t, 1<<20, 50000, plainHeader)
		x := startTail(t, l)
		x.catchUp()
		l.do(func() {
			flushed := l.flushed
			l.fill(100, 100)
			l.flushed = flushed
			later := l.polls + 20
			l.onPoll = func(n int) {
				if n == later {
					l.flush()
				}
			}
		})
		if end := x.finish(l.end()); end != l.end() {
			t.Errorf("end = %d, want %d", end, l.end())
		}
	})
	t.Run("the server has written and not flushed", func(t *testing.T) {
		l := newFakeLog(t, 1<<20, 50000, plainHeader)
		x := openTail(t, l, l, TailOptions{Patience: 100 * time.Millisecond})
		l.do(func() {
			flushed := l.flushed
			l.fill(100, 100)
			l.flushed = flushed
		})
		x.Written(l.end())
		if end := x.finish(l.end()); end != l.end() {
			t.Errorf("end = %d, want %d", end, l.end())
		}
	})
	t.Run("the server never flushes", func(t *testing.T) {
		l := newFakeLog(t, 1<<20, 50000, plainHeader)
		x := openTail(t, l, l, TailOptions{Patience: 50 * time.Millisecond})
		l.do(func() { l.appendMTR(l.sized(100)) })
		_, err := x.Finish(t.Context(), l.end())
		var facts *TailError
		if !errors.Is(err, ErrRedoStalled) || !errors.As(err, &facts) || facts.Target != l.end() {
			t.Errorf("error = %v, want ErrRedoStalled at %d", err, l.end())
		}
	})
	t.Run("below what is copied", func(t *testing.T) {
		l := newFakeLog(t, 1<<20, 50000, plainHeader)
		x := startTail(t, l)
		l.do(func() { l.fill(100, 100) })
		x.catchUp()
		if end := x.finish(l.base + 1000); end != l.end() {
			t.Errorf("end = %d, want %d", end, l.end())
		}
		if end, err := x.Finish(t.Context(), l.end()); end != l.end() || err != nil {
			t.Errorf("second Finish: %d, %v", end, err)
		}
		if err := x.CatchUp(t.Context(), l.end()); err != nil {
			t.Errorf("CatchUp to the end: %v", err)
		}
		if err := x.CatchUp(t.Context(), l.end()+1); err == nil {
			t.Error("CatchUp behind the end: no error")
		}
	})
	t.Run("below the checkpoint's own records", func(t *testing.T) {
		l := newFakeLog(t, 1<<20, 50000, plainHeader)
		l.do(func() {
			l.fill(10, 100)
			from := l.end()
			l.fill(10, 100)
			l.checkpointLocked(from)
		})
		want := l.end()
		l.do(func() { l.fill(10, 100) })
		x := startTail(t, l)
		if x.point.LSN >= x.point.End {
			t.Fatalf("checkpoint = %+v", x.point)
		}
		if end := x.finish(x.point.LSN + 1); end < want {
			t.Errorf("end = %d, want at least %d", end, want)
		}
	})
}

// The server writes a name and the change that it announces at once, and its LSN may
// be read in between. Recovery may miss a file of which the log has only the name.
func TestTailerEndsBehindNoName(t *testing.T) {
	modify := fileRecord(FileModify, 70, "./db/new.ibd")
	create := slices.Concat(fileRecord(FileCreate, 70, "./db/new.ibd"), pageRecord(70, 0, make([]byte, 100)))
	for _, when := range []string{"all is there", "all is copied", "only the name is there", "only the name is copied"} {
		t.Run(when, func(t *testing.T) {
			l := newFakeLog(t, 1<<20, 50000, plainHeader)
			x := startTail(t, l)
			x.catchUp()
			var name, both LSN
			l.do(func() {
				l.fill(10, 100)
				l.appendMTR(modify)
				name = l.end()
				l.flush()
				l.appendMTR(create)
				both = l.end()
			})
			switch when {
			case "all is there":
				l.do(l.flush)
			case "all is copied":
				l.do(l.flush)
				x.catchUp()
			case "only the name is copied":
				x.catchUp()
			}
			l.do(func() {
				if l.flushed == both {
					l.fill(10, 100)
					return
				}
				later := l.polls + 10
				l.onPoll = func(n int) {
					if n == later {
						l.flush()
					}
				}
			})
			end := x.finish(name)
			if h, _ := x.Journal().Space(70); end < both || h.Created == 0 {
				t.Errorf("end = %d, want at least %d and not %d; history = %+v", end, both, name, h)
			}
			if strings.HasPrefix(when, "only") && end != both {
				t.Errorf("end = %d, want %d", end, both)
			}
		})
	}
}
