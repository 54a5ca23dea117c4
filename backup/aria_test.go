package backup

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/aria"
	"mbk/internal/datadir"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
)

const logBuffer = 128 * aria.LogPageSize // bytes of one of the server's buffers

// logImage is a log of so many pages, as it is when it is complete.
func logImage(file uint32, pages int) []byte {
	b := make([]byte, pages*aria.LogPageSize)
	copy(b, "\xfe\xfe\x0b\x01MARIALOG")
	binary.LittleEndian.PutUint16(b[32:], aria.LogPageSize-1)
	b[34] = byte(file)
	for no := 1; no < pages; no++ {
		page := b[no*aria.LogPageSize : (no+1)*aria.LogPageSize]
		for i := 7; i < len(page); i += 16 {
			page[i] = byte(rand.Uint32()) | 1
		}
		binary.LittleEndian.PutUint32(page, uint32(no)|file<<24)
	}
	return b
}

// logServer plays a server that writes logs into a folder.
type logServer struct {
	t   *testing.T
	dir string
}

func (s logServer) write(file uint32, b []byte, at int) {
	s.t.Helper()
	f, err := os.OpenFile(filepath.Join(s.dir, aria.LogName(file)), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer f.Close()
	if _, err := f.WriteAt(b, int64(at)); err != nil {
		s.t.Error(err)
	}
}

// newLogTest returns a server's folder and what copies its logs into a store.
func newLogTest(t *testing.T, control aria.Control) (logServer, *ariaLogs, store.Store, *copier.Copier) {
	t.Helper()
	dir := t.TempDir()
	mem := storetest.NewMem()
	cp, err := copier.New(t.Context(), mem, copier.Options{RetryTime: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cp.Abort(os.ErrClosed) })
	vars := map[string]string{"innodb_page_size": "16384", "aria_log_file_size": "8388608"}
	copies, err := newCopies(datadir.Layout{Dir: dir, Aria: dir, Vars: vars}, cp, nil, 10)
	if err != nil {
		t.Fatal(err)
	}
	return logServer{t, dir}, newAriaLogs(copies.feeder, control, func(context.Context) error { return nil }), mem, cp
}

// wantLogs compares what is in the store with what the logs should be, or begin with.
func wantLogs(t *testing.T, a *ariaLogs, st store.Store, cp *copier.Copier, want map[uint32][]byte) {
	t.Helper()
	if _, err := cp.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n, fc := range a.logs {
		got := contentsOf(t, st, fc)
		for no := range len(got) / aria.LogPageSize {
			at := no * aria.LogPageSize
			if !bytes.Equal(got[at:at+aria.LogPageSize], want[n][at:at+aria.LogPageSize]) {
				t.Fatalf("log %d differs in page %d", n, no)
			}
		}
		if len(got) != len(want[n]) {
			t.Errorf("log %d has %d bytes, want %d", n, len(got), len(want[n]))
		}
	}
	if len(a.logs) != len(want) {
		t.Errorf("%d logs, want %d", len(a.logs), len(want))
	}
}

// contentsOf reads what was stored of a file.
func contentsOf(t *testing.T, st store.Store, fc *fileCopy) []byte {
	t.Helper()
	x := pack.NewReader()
	defer x.Close()
	got := make(byteSink, fc.size)
	for _, p := range fc.pending {
		result, err := p.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range result.Extents {
			if err := x.Extent(t.Context(), st, fc.number, e, got); err != nil {
				t.Fatal(err)
			}
		}
	}
	return got
}

type byteSink []byte

func (s byteSink) WriteAt(p []byte, off int64) (int, error) { return copy(s[off:], p), nil }
func (s byteSink) Zero(off, n int64) error                  { clear(s[off : off+n]); return nil }

// The server has eight buffers and writes them in any order, each in steps that end
// inside of pages. What is copied meanwhile once had holes forever.
func TestAriaLogWrittenOutOfOrder(t *testing.T) {
	server, a, st, cp := newLogTest(t, aria.Control{})
	image := logImage(1, 2048)
	server.write(1, image[:aria.LogPageSize], 0)
	var open []int // offsets of buffers that are in memory
	next, step := aria.LogPageSize, 0
	writing := 0 // the offset of one that is being written
	a.flush = func(context.Context) error {
		for _, at := range append([]int{writing}, open...) {
			server.write(1, image[at:min(at+logBuffer, next, len(image))], at)
		}
		return nil
	}
	write := func() {
		i := rand.IntN(len(open))
		at := open[i]
		open = append(open[:i], open[i+1:]...)
		writing = at
		end := min(at+logBuffer, len(image))
		for ; at < end; at += 20 * 4096 {
			server.write(1, image[at:min(at+20*4096+4096, end)], at)
			if step++; step%7 == 0 {
				if err := a.advance(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := a.wait(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for next < len(image) {
		// A buffer is filled again only when it was written, and so is its successor.
		for len(open) < 8 && next < len(image) && (len(open) == 0 || next-open[0] < 8*logBuffer) {
			open = append(open, next)
			next += logBuffer
		}
		write()
	}
	if a.copied[1] == 0 {
		t.Error("nothing was copied early")
	}
	// The last ones are being written when no commit goes on any more.
	last := open
	a.flush = func(context.Context) error { return nil }
	server.write(1, image[len(image)-aria.LogPageSize:], len(image)-aria.LogPageSize)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, at := range last {
			time.Sleep(10 * time.Millisecond)
			server.write(1, image[at:min(at+logBuffer, len(image))], at)
		}
	}()
	if err := a.finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-done
	wantLogs(t, a, st, cp, map[uint32][]byte{1: image})
}

func TestAriaLogFinish(t *testing.T) {
	const page = aria.LogPageSize
	one, two := logImage(1, 1024), logImage(2, 40)
	holed := append(append(bytes.Clone(one[:9*page]), make([]byte, page)...), one[10*page:]...)
	for name, c := range map[string]struct {
		checkpoint uint32 // log of it
		before     func(s logServer)
		meanwhile  func(s logServer)
		want       map[uint32][]byte
		fails      string
	}{
		"next log was just made": {
			before: func(s logServer) { s.write(1, one, 0); s.write(2, nil, 0) },
			want:   map[uint32][]byte{1: one},
		},
		"next log has half a header": {
			before: func(s logServer) { s.write(1, one, 0); s.write(2, two[:page/2], 0) },
			want:   map[uint32][]byte{1: one},
		},
		"half a page at the end": {
			before: func(s logServer) { s.write(1, one[:30*page+page/2], 0) },
			want:   map[uint32][]byte{1: one[:30*page]},
		},
		"next log is there before the end of this one": {
			before:    func(s logServer) { s.write(1, one[:1000*page], 0); s.write(2, two, 0) },
			meanwhile: func(s logServer) { s.write(1, one[1000*page:], 1000*page) },
			want:      map[uint32][]byte{1: one, 2: two},
		},
		"a page that stays zeros": {
			before: func(s logServer) { s.write(1, holed, 0) },
			fails:  "page 9 is not written",
		},
		"zeros in a log that recovery does not read": {
			checkpoint: 2,
			before:     func(s logServer) { s.write(1, holed, 0); s.write(2, two, 0) },
			want:       map[uint32][]byte{1: holed, 2: two},
		},
		"the only log is empty": {
			before: func(s logServer) { s.write(1, nil, 0) },
			fails:  "less than its header",
		},
		"an older log is empty": {
			before: func(s logServer) { s.write(1, nil, 0); s.write(2, two, 0) },
			fails:  "less than its header",
		},
	} {
		t.Run(name, func(t *testing.T) {
			server, a, st, cp := newLogTest(t, aria.Control{Checkpoint: aria.LSN{File: c.checkpoint}})
			a.patience = 50 * time.Millisecond
			a.standing = time.Minute // or until it is full
			c.before(server)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan struct{})
			go func() {
				defer close(done)
				time.Sleep(20 * time.Millisecond)
				if c.meanwhile != nil {
					c.meanwhile(server)
				}
			}()
			err := a.finish(ctx)
			<-done
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("finish = %v, want %q", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := int(a.control.LastLog); got != len(c.want) {
				t.Errorf("LastLog = %d, want %d", got, len(c.want))
			}
			wantLogs(t, a, st, cp, c.want)
		})
	}
}
