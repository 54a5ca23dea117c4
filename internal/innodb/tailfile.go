package innodb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// logFile is an open ib_logfile0. It stays readable after the server has put
// another file in its place.
type logFile struct {
	files  Files
	path   string
	file   *os.File
	info   os.FileInfo
	head   []byte // the header's bytes
	header LogHeader
	ring   Ring
}

// openLog opens the log that path names now.
func openLog(files Files, path string) (*logFile, error) {
	f, err := files.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open redo log: %w", err)
	}
	l, err := newLogFile(files, path, f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read redo log %s: %w", path, err), f.Close())
	}
	return l, nil
}

func newLogFile(files Files, path string, f *os.File) (*logFile, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	head := make([]byte, logHeaderSize)
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	header, err := ParseLogHeader(head)
	if err != nil {
		return nil, err
	}
	l := &logFile{files: files, path: path, file: f, info: info, head: head, header: header}
	if hasBlocks(header.Format) {
		return l, l.placeBlocks()
	}
	if info.Size() < minLogFile {
		return nil, fmt.Errorf("%w: the file has %d bytes", ErrBadLogHeader, info.Size())
	}
	l.ring = Ring{First: header.FirstLSN, Capacity: info.Size() - LogDataOffset}
	return l, nil
}

// current reports whether the path still names this file.
func (l *logFile) current() (bool, error) {
	info, err := l.files.Stat(l.path)
	if err != nil {
		return false, fmt.Errorf("find redo log: %w", err)
	}
	return os.SameFile(l.info, info), nil
}

// changed says what is different from when the file was opened, "" if nothing
// is: its size and header never change.
func (l *logFile) changed() (string, error) {
	info, err := l.file.Stat()
	if err != nil {
		return "", fmt.Errorf("find redo log: %w", err)
	}
	if info.Size() != l.info.Size() {
		return fmt.Sprintf("its size became %d instead of %d", info.Size(), l.info.Size()), nil
	}
	head := make([]byte, logHeaderSize)
	if _, err := l.file.ReadAt(head, 0); err != nil {
		return "", fmt.Errorf("read redo log %s: %w", l.path, err)
	}
	if !bytes.Equal(head, l.head) {
		return "its header was rewritten", nil
	}
	return "", nil
}

// read fills b with the bytes of the log from lsn on. b must not be longer than
// the ring.
func (l *logFile) read(b []byte, lsn LSN) error {
	for len(b) > 0 {
		offset := l.ring.Offset(lsn)
		n := min(int64(len(b)), l.info.Size()-offset)
		if _, err := l.file.ReadAt(b[:n], offset); err != nil {
			return fmt.Errorf("read redo log %s at LSN %d: %w", l.path, lsn, err)
		}
		b, lsn = b[n:], lsn+LSN(n)
	}
	return nil
}

// forget drops the file's pages from the system's cache, as far as they are
// clean: a server that writes its log past the cache could leave old ones there.
func (l *logFile) forget() {
	// It is advice; a system that does not take it loses nothing.
	_ = unix.Fadvise(int(l.file.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// checkpoint reads the newest checkpoint.
func (l *logFile) checkpoint() (c Checkpoint, err error) {
	if hasBlocks(l.header.Format) {
		p, err := l.blockPoint()
		if err == nil && l.ring.Offset(p.LSN) != p.offset {
			err = fmt.Errorf("%w: checkpoint %d lies at %d instead of %d", ErrBadLogHeader, p.LSN, p.offset,
				l.ring.Offset(p.LSN))
		}
		if err != nil {
			return Checkpoint{}, fmt.Errorf("read redo log %s: %w", l.path, err)
		}
		return p.Checkpoint, nil
	}
	b := make([]byte, LogDataOffset)
	err = l.whenWhole(b, func() (torn bool, err error) {
		c, torn, err = NewestCheckpoint(b, l.ring.First)
		return torn, err
	})
	if err != nil {
		return Checkpoint{}, fmt.Errorf("read redo log %s: %w", l.path, err)
	}
	return c, nil
}

// whenWhole fills b with the beginning of the file and has it looked at. The
// server may be writing one of the two checkpoint blocks; then it waits a little
// for it.
func (l *logFile) whenWhole(b []byte, look func() (torn bool, err error)) error {
	const (
		tries = 20
		pause = 5 * time.Millisecond
	)
	for i := 1; ; i++ {
		if _, err := l.file.ReadAt(b, 0); err != nil {
			return err
		}
		torn, err := look()
		if !torn || i == tries {
			return err
		}
		time.Sleep(pause)
	}
}

// close closes the file.
func (l *logFile) close() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("close redo log %s: %w", l.path, err)
	}
	return nil
}
