package innodb

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// pageRecord builds a WRITE record of some page with size bytes of data.
func pageRecord(space SpaceID, page PageNo, data []byte) []byte {
	return record(0x30, append(appendVarint(appendVarint(nil, uint32(space)), uint32(page)), data...))
}

func checkpointRecordOf(c LSN) []byte {
	return record(byte(FileCheckpoint), binary.BigEndian.AppendUint64([]byte{0, 0}, uint64(c)))
}

// logFileImage is one log file of a fakeLog, and the block buffer with which it is
// written.
type logFileImage struct {
	f    *os.File
	ring Ring
}

// put writes b at an LSN.
func (i logFileImage) put(t testing.TB, b []byte, lsn LSN) {
	for len(b) > 0 {
		off := i.ring.Offset(lsn)
		n := min(int64(len(b)), LogDataOffset+i.ring.Capacity-off)
		if _, err := i.f.WriteAt(b[:n], off); err != nil {
			t.Error(err)
			return
		}
		b, lsn = b[n:], lsn+LSN(n)
	}
}

// fakeLog behaves like the log of a server: what is appended goes to a buffer,
// write puts it into the file in blocks whose rest is garbage that looks like
// older mini-transactions, flush makes it durable. It is a Status.
type fakeLog struct {
	t    testing.TB
	path string

	mu      sync.Mutex
	header  LogHeader
	file    logFileImage
	resized *logFileImage // the file that will replace file
	block   int           // bytes of a block
	base    LSN           // of truth[0]
	truth   []byte        // the whole log, with sequence bits set
	markers []LSN         // of all markers
	written LSN
	flushed LSN
	point   Checkpoint
	points  int // checkpoints made
	polls   int
	onPoll  func(n int) // called with mu held, before poll n answers
	garbage []byte      // what stands after the end of the log in the last block
}

// newFakeLog makes a log in a new folder, with one checkpoint at its start.
func newFakeLog(t testing.TB, capacity int64, first LSN, header LogHeader) *fakeLog {
	t.Helper()
	l := &fakeLog{t: t, path: filepath.Join(t.TempDir(), "ib_logfile0"), header: header, block: 512, base: first,
		written: first, flushed: first}
	l.header.FirstLSN = first
	l.file = l.create(l.path, Ring{First: first, Capacity: capacity})
	l.writeHeader(l.file)
	l.mu.Lock()
	l.checkpointLocked(first)
	l.mu.Unlock()
	return l
}

// create makes a log file without a header.
func (l *fakeLog) create(path string, ring Ring) logFileImage {
	f, err := os.Create(path)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { f.Close() })
	if err := f.Truncate(LogDataOffset + ring.Capacity); err != nil {
		l.t.Fatal(err)
	}
	return logFileImage{f, ring}
}

// writeHeader completes a log file.
func (l *fakeLog) writeHeader(image logFileImage) {
	h := l.header
	h.FirstLSN = image.ring.First
	if _, err := image.f.WriteAt(h.Append(nil), 0); err != nil {
		l.t.Error(err)
	}
}

// LSNs answers a poll.
func (l *fakeLog) LSNs(ctx context.Context) (LSNs, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return LSNs{}, err
	}
	l.polls++
	if l.onPoll != nil {
		l.onPoll(l.polls)
	}
	return LSNs{Current: l.end(), Flushed: l.flushed, Checkpoint: l.point.LSN}, nil
}

func (l *fakeLog) end() LSN { return l.base + LSN(len(l.truth)) }

// appendMTR adds one mini-transaction to the log buffer.
func (l *fakeLog) appendMTR(records []byte) {
	var nonce []byte
	if l.header.Encrypted() {
		nonce = binary.BigEndian.AppendUint64(nil, uint64(l.end()))
	}
	l.markers = append(l.markers, l.end()+LSN(len(records)))
	l.truth = append(l.truth, sealMTR(records, 1, nonce)...)
}

// inFile returns the bytes [from, to) of the log as they stand in a file of ring.
func (l *fakeLog) inFile(ring Ring, from, to LSN) []byte {
	b := bytes.Clone(l.truth[from-l.base : to-l.base])
	for i := len(l.markers) - 1; i >= 0 && l.markers[i] >= from; i-- {
		if m := l.markers[i]; m < to {
			b[m-from] = ring.Bit(m)
		}
	}
	return b
}

// write writes the log buffer to the file, and to the one that will replace it.
func (l *fakeLog) write() {
	for _, image := range []*logFileImage{&l.file, l.resized} {
		if image != nil {
			l.writeTo(image)
		}
	}
	l.written = l.end()
}

func (l *fakeLog) writeTo(image *logFileImage) {
	from := l.written - LSN(image.ring.Offset(l.written)%int64(l.block))
	from = max(from, image.ring.First)
	b := l.inFile(image.ring, from, l.end())
	if rest := len(b) % l.block; rest > 0 && l.garbage != nil {
		b = append(b, l.garbage[:min(l.block-rest, len(l.garbage))]...)
	}
	image.put(l.t, b, from)
}

func (l *fakeLog) flush() {
	l.write()
	l.flushed = l.written
}

// checkpointLocked makes a checkpoint at lsn, with its records, all durable.
func (l *fakeLog) checkpointLocked(lsn LSN) {
	l.point = Checkpoint{LSN: lsn, End: l.end()}
	l.appendMTR(append(fileRecord(FileModify, 5, "./db/t.ibd"), checkpointRecordOf(lsn)...))
	l.flush()
	block := int64(logCheckpoint1)
	if l.points++; l.points%2 == 0 {
		block = logCheckpoint2
	}
	if _, err := l.file.f.WriteAt(l.point.Append(nil), block); err != nil {
		l.t.Error(err)
	}
}

// resizeStart begins to write to a new file, too.
func (l *fakeLog) resizeStart(capacity int64) {
	first := l.file.ring.First + (l.written-l.file.ring.First)/LSN(l.block)*LSN(l.block)
	image := l.create(filepath.Join(filepath.Dir(l.path), "ib_logfile101"), Ring{First: first, Capacity: capacity})
	l.resized = &image
	// What the block already holds is written with the next block.
	b := l.inFile(image.ring, max(first, l.base), l.written)
	image.put(l.t, b, first)
}

// resizeEnd makes a checkpoint and puts the new file in the old one's place.
func (l *fakeLog) resizeEnd() {
	l.checkpointLocked(l.end())
	if _, err := l.resized.f.WriteAt(l.point.Append(nil), logCheckpoint1); err != nil {
		l.t.Error(err)
	}
	l.writeHeader(*l.resized)
	if err := os.Rename(l.resized.f.Name(), l.path); err != nil {
		l.t.Error(err)
	}
	l.file, l.resized = *l.resized, nil
}

// do runs f with the log locked.
func (l *fakeLog) do(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// random returns records of one mini-transaction, with its LSN inside, so that no
// two are equal.
func (l *fakeLog) random(r *rand.Rand) []byte {
	n := 8 + r.IntN(60)
	switch r.IntN(50) {
	case 0:
		n += 5000
	case 1:
		n += 40000
	}
	return l.sized(n)
}

// sized returns records with n bytes of data that depend on the LSN.
func (l *fakeLog) sized(n int) []byte {
	data := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		binary.BigEndian.PutUint64(data[i:], uint64(l.end())*0x9e3779b97f4a7c15+uint64(i))
	}
	return pageRecord(SpaceID(l.end()%300), PageNo(l.end()%70000), data)
}

// collector is a sink that keeps everything and checks that it is contiguous.
type collector struct {
	t     testing.TB
	mu    sync.Mutex
	start LSN
	got   []byte
	calls int
	err   error
}

func (c *collector) sink(b []byte, start, end LSN) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == 0 {
		c.start = start
	}
	if start != c.start+LSN(len(c.got)) || end != start+LSN(len(b)) {
		c.t.Errorf("sink got [%d, %d) of %d bytes after %d", start, end, len(b), c.start+LSN(len(c.got)))
	}
	c.calls++
	c.got = append(c.got, b...)
	return c.err
}

// wantTruth checks that all bytes from the checkpoint to end arrived.
func (l *fakeLog) wantTruth(c *collector, from, end LSN) {
	l.t.Helper()
	if c.start != from || c.start+LSN(len(c.got)) != end {
		l.t.Fatalf("copied [%d, %d), want [%d, %d)", c.start, c.start+LSN(len(c.got)), from, end)
	}
	if want := l.truth[from-l.base : end-l.base]; !bytes.Equal(c.got, want) {
		for i := range want {
			if c.got[i] != want[i] {
				l.t.Fatalf("wrong byte at LSN %d", from+LSN(i))
			}
		}
	}
}
