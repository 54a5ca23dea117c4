package innodb

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// fakeBlocks behaves like the log of a server of 10.5: what is appended goes into
// blocks in a buffer, write puts them into the file, flush makes them durable. It
// is a Status.
type fakeBlocks struct {
	t       testing.TB
	path    string
	format  uint32
	trailer int
	ring    Ring
	file    *os.File

	mu      sync.Mutex
	base    LSN    // of truth[0], the beginning of a block
	truth   []byte // all blocks, the last one not full; checksums are made by seal
	end     LSN
	ends    []LSN // of all mini-transactions
	written LSN
	flushed LSN
	point   blockPoint
	onPoll  func() // called with mu held
}

var crypt105 = bytes.Repeat([]byte{7}, blockCryptSize)

// newFakeBlocks makes a log in a new folder, with one checkpoint at its start.
func newFakeBlocks(t testing.TB, format uint32, capacity int64, first LSN) *fakeBlocks {
	t.Helper()
	l := &fakeBlocks{
		t: t, path: filepath.Join(t.TempDir(), "ib_logfile0"), format: format, trailer: blockTrailer(format),
		base: first, end: first + blockHeader, ring: Ring{First: first, Capacity: capacity, Data: blockDataStart},
	}
	var err error
	if l.file, err = os.Create(l.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.file.Close() })
	if err := l.file.Truncate(blockDataStart + capacity); err != nil {
		t.Fatal(err)
	}
	l.put(LogHeader{Format: format, FirstLSN: first, Creator: "MariaDB 10.5.23"}.Append(nil), 0)
	l.newBlock()
	binary.BigEndian.PutUint16(l.truth[6:], blockHeader)
	l.written = l.end
	l.do(func() { l.checkpoint(l.end) })
	return l
}

func (l *fakeBlocks) put(b []byte, at int64) {
	if _, err := l.file.WriteAt(b, at); err != nil {
		l.t.Error(err)
	}
}

// do runs f with the log locked.
func (l *fakeBlocks) do(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// newBlock begins the next block.
func (l *fakeBlocks) newBlock() {
	b := make([]byte, blockSize)
	binary.BigEndian.PutUint32(b, blockNumber(l.base+LSN(len(l.truth))))
	binary.BigEndian.PutUint16(b[4:], blockHeader)
	l.truth = append(l.truth, b...)
}

// last is the block that is being filled.
func (l *fakeBlocks) last() []byte { return l.truth[len(l.truth)-blockSize:] }

// appendMTR adds one mini-transaction to the log buffer.
func (l *fakeBlocks) appendMTR(records []byte) {
	for rest := append(bytes.Clone(records), 0); len(rest) > 0; {
		b := l.last()
		used := int(binary.BigEndian.Uint16(b[4:]))
		n := copy(b[used:blockSize-l.trailer], rest)
		rest, used = rest[n:], used+n
		binary.BigEndian.PutUint16(b[4:], uint16(used))
		if used == blockSize-l.trailer {
			binary.BigEndian.PutUint16(b[4:], blockSize)
			l.newBlock()
		}
	}
	used := binary.BigEndian.Uint16(l.last()[4:])
	if firstGroup(l.last()) == 0 {
		binary.BigEndian.PutUint16(l.last()[6:], used)
	}
	l.end = l.base + LSN(len(l.truth)-blockSize) + LSN(used)
	l.ends = append(l.ends, l.end)
}

// sized returns records with n bytes of data that depend on the LSN.
func (l *fakeBlocks) sized(n int) []byte {
	data := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		binary.BigEndian.PutUint64(data[i:], uint64(l.end)*0x9e3779b97f4a7c15+uint64(i))
	}
	return pageRecord(SpaceID(l.end%300), PageNo(l.end%70000), data)
}

// sealed returns a block as it stands in the file.
func (l *fakeBlocks) sealed(lsn LSN) []byte {
	b := bytes.Clone(l.truth[lsn-l.base:][:blockSize])
	if l.format == Format105Enc {
		for i := 4; i < blockSize-8; i++ {
			b[i] ^= byte(lsn>>9) ^ byte(i) ^ 0x5a
		}
	}
	binary.BigEndian.PutUint32(b[blockSize-4:], crc32c(b[:blockSize-4]))
	return b
}

// write writes the log buffer to the file.
func (l *fakeBlocks) write() {
	for lsn := blockStart(l.written); lsn <= blockStart(l.end); lsn += blockSize {
		l.put(l.sealed(lsn), l.ring.Offset(lsn))
	}
	l.written = l.end
}

func (l *fakeBlocks) flush() {
	l.write()
	l.flushed = l.written
}

// fill appends and flushes n mini-transactions of a size.
func (l *fakeBlocks) fill(n, size int) {
	for range n {
		l.appendMTR(l.sized(size))
	}
	l.flush()
}

// checkpoint makes a checkpoint at lsn, with its records, all durable.
func (l *fakeBlocks) checkpoint(lsn LSN) {
	p := blockPoint{Checkpoint: Checkpoint{LSN: lsn, End: l.end}, number: l.point.number + 1,
		offset: l.ring.Offset(lsn)}
	if l.format == Format105Enc {
		p.crypt = crypt105
	}
	l.appendMTR(append(fileRecord(FileModify, 5, "./db/t.ibd"), checkpointRecordOf(lsn)...))
	l.flush()
	l.point = p
	l.put(p.append(nil), []int64{blockPoint1, blockPoint2}[p.number%2])
}

// LSNs answers a poll.
func (l *fakeBlocks) LSNs(ctx context.Context) (LSNs, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return LSNs{}, err
	}
	if l.onPoll != nil {
		l.onPoll()
	}
	return LSNs{Current: l.end, Flushed: l.flushed, Checkpoint: l.point.LSN}, nil
}

// want returns the blocks of a copy from c to end, as a backup should hold them.
func (l *fakeBlocks) want(c Checkpoint, end LSN) []byte {
	from, to := StoredRedo(l.format, c, end)
	var b []byte
	for lsn := from; lsn < to; lsn += blockSize {
		b = append(b, l.sealed(lsn)...)
	}
	if l.format != Format105Enc {
		last := b[len(b)-blockSize:]
		clear(last[end%blockSize : blockSize-l.trailer])
		binary.BigEndian.PutUint16(last[4:], uint16(end%blockSize))
		binary.BigEndian.PutUint32(last[blockSize-4:], crc32c(last[:blockSize-4]))
	}
	return b
}
