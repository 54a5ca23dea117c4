package datadir

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"mbk/internal/aria"
	"mbk/internal/innodb"
)

// ReadAriaControl reads the control file. The server rewrites it in one piece;
// a torn read shows in its checksum and is repeated.
func (l Layout) ReadAriaControl() (aria.Control, error) {
	const tries = 5
	var failed error
	for range tries {
		b, err := l.Files.ReadFile(filepath.Join(l.Aria, aria.ControlFile), largestControl)
		if err != nil {
			return aria.Control{}, fmt.Errorf("read Aria's control file: %w", err)
		}
		control, err := aria.ParseControl(b)
		if err == nil {
			return control, nil
		}
		failed = err
	}
	return aria.Control{}, fmt.Errorf("read %s: %w", filepath.Join(l.Aria, aria.ControlFile), failed)
}

// largestControl is more than any control file has, in bytes.
const largestControl = 64 << 10

// ReadCheckpoint reads the newest checkpoint in a redo log.
func (l Layout) ReadCheckpoint() (innodb.Checkpoint, error) {
	head, header, err := l.ReadLogHead()
	if err != nil {
		return innodb.Checkpoint{}, err
	}
	checkpoint, _, err := innodb.NewestCheckpoint(head, header.FirstLSN)
	return checkpoint, err
}

// ReadLogHead reads the part of a redo log before its data.
func (l Layout) ReadLogHead() ([]byte, innodb.LogHeader, error) {
	f, err := l.Files.Open(l.Redo)
	if err != nil {
		return nil, innodb.LogHeader{}, err
	}
	defer f.Close()                                       //nolint:errcheck // only read
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM) // advice only: nothing else belongs in the page cache
	head := make([]byte, innodb.LogDataOffset)
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, innodb.LogHeader{}, err
	}
	header, err := innodb.ParseLogHeader(head)
	return head, header, err
}
