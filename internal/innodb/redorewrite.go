package innodb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"strings"
)

// A server that recovers opens the files that the redo log names. The name of a
// tablespace made with DATA DIRECTORY is an absolute path, and where the source of
// a backup lives, that is a file in use. This file is about giving such tablespaces
// other names in the log: of the same length, since each byte of the log is an LSN.
// One whose file is in the data directory gets the name of that. All others, which
// the log deletes later, get names of files that do not exist: what is called like
// them in the data directory belongs to others.

// ErrExternalName is returned for an absolute path in the redo log for which there is no
// name of the same length below the data directory.
var ErrExternalName = errors.New("absolute path in the redo log cannot be replaced")

// isExternal reports whether a name in the redo log leads out of the data directory.
func isExternal(name string) bool { return path.IsAbs(name) }

// localName returns the name below the data directory of the tablespace that the
// redo log calls by an absolute path: "./////db/t.ibd" for "/other/db/t.ibd".
func localName(external string) (string, error) {
	dir, file := path.Split(external)
	local := path.Join(path.Base(dir), file)
	pad := len(external) - len(local) - 1
	if path.Base(dir) == "/" || pad < 1 {
		return "", fmt.Errorf("%w: %s", ErrExternalName, external)
	}
	return "." + strings.Repeat("/", pad) + local, nil
}

// nowhere returns the name of a file that is not there, below a folder that no server
// makes: "#other/db/t.ibd" for "/other/db/t.ibd".
func nowhere(external string) string { return "#" + external[1:] }

// LocalizeNames replaces every absolute path of a tablespace in the redo of a backup: by
// that of the same file in the data directory if local says that it is there, else by
// one where no file is. f holds the redo as NewLogChecker
// takes it, its first byte at offset. The log must be Readable. It returns how many
// mini-transactions it has changed. Checksums are recomputed, and no length changes.
func LocalizeNames(f ReadWriterAt, offset int64, h LogHeader, c Checkpoint, end LSN,
	local func(space SpaceID, external string) bool) (changed int, err error) {
	external := func(op FileOp) bool { return isExternal(op.Name) || isExternal(op.NewName) }
	return editLog(f, offset, h, c, end, external,
		func(records []byte) error { return localizeRecords(records, local) })
}

// editLog has the records changed of all mini-transactions with a file operation
// that is wanted, and returns how many they are. The rest is as of LocalizeNames.
func editLog(f ReadWriterAt, offset int64, h LogHeader, c Checkpoint, end LSN, wanted func(FileOp) bool,
	change func(records []byte) error) (changed int, err error) {
	if !h.Readable() {
		return 0, errors.New("the redo log hides the names of files")
	}
	p := newLogParser(h, normalRing(c.LSN))
	p.found().anchor = maxLSN
	from, to := StoredRedo(h.Format, c, end)
	buf := make([]byte, max(4<<20, 2*p.most()))
	for at := c.LSN; at < end; {
		pos := at - at%p.unit()
		b := buf[:min(LSN(len(buf)), to-pos)]
		if _, err := f.ReadAt(b, offset+int64(pos-from)); err != nil && !errors.Is(err, io.EOF) {
			return changed, fmt.Errorf("read redo log at LSN %d: %w", pos, err)
		}
		next, err := p.walk(b, at, end)
		if err != nil {
			return changed, err
		}
		if next == at {
			return changed, &MTRError{at, "it goes on behind the end"}
		}
		n, err := editFound(p, b, at, wanted, change)
		if err != nil {
			return changed, err
		}
		if n > 0 {
			if _, err := f.WriteAt(b, offset+int64(pos-from)); err != nil {
				return changed, fmt.Errorf("write redo log at LSN %d: %w", pos, err)
			}
		}
		changed += n
		at = next
	}
	return changed, nil
}

// ReadWriterAt is a file that is read and written at any place.
type ReadWriterAt interface {
	io.ReaderAt
	io.WriterAt
}

// editFound has the records changed of those mini-transactions in b that the last
// walk has found, which began at start.
func editFound(p logParser, b []byte, start LSN, wanted func(FileOp) bool,
	change func(records []byte) error) (changed int, err error) {
	done := LSN(0) // a mini-transaction may hold several file records
	for _, op := range p.found().ops {
		if op.Start == done || !wanted(op) {
			continue
		}
		done = op.Start
		if err := p.edit(b, start, op.Start, op.End, change); err != nil {
			return changed, err
		}
		changed++
	}
	return changed, nil
}

// localizeRecords replaces the absolute paths in the file records at the start of b.
func localizeRecords(b []byte, local func(SpaceID, string) bool) error {
	for len(b) > 0 && b[0]&sameBit != 0 {
		size, head := recordSize(b)
		if FileOpKind(b[0]&kindBits) != FileCheckpoint {
			if err := localizeRecord(b[:size], head, local); err != nil {
				return err
			}
		}
		b = b[size:]
	}
	return nil
}

// localizeRecord does so with one record, the names of which begin after head. A rename
// from nowhere to nowhere becomes a FILE_MODIFY of a file that is not there, because
// some servers would carry it out with the file of another name that they know.
func localizeRecord(b []byte, head int, local func(SpaceID, string) bool) error {
	space, n := varint(b[head:])
	_, m := varint(b[head+n:])
	names := b[head+n+m:]
	lost := 0
	for name := range bytes.SplitSeq(names, []byte{0}) {
		external := string(name)
		if !isExternal(external) {
			continue
		}
		other := nowhere(external)
		if local(SpaceID(space), external) {
			var err error
			if other, err = localName(external); err != nil {
				return err
			}
		} else {
			lost++
		}
		copy(name, other)
	}
	if lost == 2 {
		b[0] = byte(FileModify) | b[0]&^kindBits
		names[bytes.IndexByte(names, 0)] = '/'
	}
	return nil
}

// edit implements logParser.
func (p *mtrParser) edit(b []byte, start, from, to LSN, change func(records []byte) error) error {
	mtr := b[from-start : to-start]
	records := mtr[:len(mtr)-p.trailer]
	if err := change(records); err != nil {
		return err
	}
	sum := crc32.Update(0, p.crc, records)
	if p.trailer > 5 {
		sum = crc32.Update(sum, p.crc, mtr[len(records)+1:len(mtr)-4])
	}
	binary.BigEndian.PutUint32(mtr[len(mtr)-4:], sum)
	return nil
}

// edit implements logParser.
func (p *blockParser) edit(b []byte, start, from, to LSN, change func(records []byte) error) error {
	first := blockStart(start)
	var places []int // in b, of the bytes of the mini-transaction
	for at := from; at < to; at = blockAdvance(at, 1, p.trailer) {
		places = append(places, int(at-first))
	}
	records := make([]byte, len(places))
	for i, at := range places {
		records[i] = b[at]
	}
	if err := change(records[:len(records)-1]); err != nil { // the last ends it
		return err
	}
	for i, at := range places {
		b[at] = records[i]
	}
	for at := int(blockStart(from) - first); at < len(b) && first+LSN(at) < to; at += blockSize {
		block := b[at : at+blockSize]
		binary.BigEndian.PutUint32(block[blockSize-4:], crc32c(block[:blockSize-4]))
	}
	return nil
}
