package backup

import (
	"bytes"
	"context"
	"io"
	"os"
	"sync/atomic"

	"mbk/copier"
	"mbk/internal/aria"
	"mbk/internal/datadir"
	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// fileCopy is a file that has been copied, or is being copied.
type fileCopy struct {
	entry   datadir.Entry
	number  uint32
	class   string
	stat    datadir.FileStat // before the copy began
	index   *aria.Index      // of the Aria table, as it was before the copy began
	origin  string           // absolute path, if outside the data directory
	space   *innodb.Space    // nil for a file of InnoDB whose page 0 was not written yet
	id      *innodb.SpaceID
	first   innodb.PageNo
	pages   *innodbPages
	facts   datadir.Facts // of the state of the table
	rows    *logRows      // of a log table
	size    int64         // of the copy
	layers  *below        // what earlier passes hold of it, nil: nothing
	pending []*copier.Pending

	placedAs string    // the path that the copy stands for in the final state
	twin     *fileCopy // a copy of the same file under another name
}

// logRows is what is known of the rows of a log table that was copied.
type logRows struct {
	tail  []byte       // the last bytes when the copy began
	lines atomic.Int64 // how many were read
}

// refer makes fc stand for what earlier passes hold of the file, which is as it was then.
func (fc *fileCopy) refer(to below, now datadir.FileStat) {
	fc.layers, fc.stat, fc.size = &to, now, to.was.Copied
	if to.was.HasSpace {
		fc.space = &innodb.Space{
			ID: to.was.Space, Flags: innodb.Flags(to.was.Flags), PageSize: int(to.was.PageSize),
		}
		fc.id = &fc.space.ID
	}
}

// below is what earlier passes hold of the file.
func (fc *fileCopy) below() below {
	if fc.layers == nil {
		return below{}
	}
	return *fc.layers
}

// done waits until the copy of fc is complete.
func (fc *fileCopy) done(ctx context.Context) error {
	for _, p := range fc.pending {
		if _, err := p.Wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// holdState is whether a copy of the file that is there now still holds, or what tells.
type holdState int

const (
	changed     holdState = iota // it does not hold
	holding                      // it holds
	byIndex                      // the header of the table's index file tells
	byFirstPage                  // it holds, unless the file lacked a first page and has one now
)

// judge compares a copy with the same file as it is now.
func (fc *fileCopy) judge(now datadir.FileStat) holdState {
	switch {
	case fc.class == repo.ClassInnoDB && fc.id == nil:
		return byFirstPage
	case fc.class == repo.ClassInnoDB, fc.stat.UnchangedBy(now):
		return holding
	case fc.class == repo.ClassAria:
		return byIndex
	}
	return changed
}

// continues reports whether the index file of an Aria table, as it is now, tells that the
// copy of a file of that table still holds.
func (fc *fileCopy) continues(present aria.Index) bool {
	return fc.index != nil && fc.index.Continues(present)
}

// inVain reports whether a copy that is begun now will not hold, whatever becomes of the
// file: it changed so shortly before that its times would not tell of another change.
func (fc *fileCopy) inVain() bool {
	return fc.class == repo.ClassPlain && !fc.entry.HoldsLogRows() && !fc.stat.Quiescent()
}

// lineCounter counts the lines that are read of a file. Each byte is read once.
type lineCounter struct {
	*os.File
	rows *logRows
}

// ReadAt implements io.ReaderAt.
func (c lineCounter) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.File.ReadAt(p, off)
	c.rows.lines.Add(int64(bytes.Count(p[:n], []byte{'\n'})))
	return n, err
}

// counted is f, or something that counts the lines that are read of it if fc is a log
// table.
func (fc *fileCopy) counted(f *os.File) io.ReaderAt {
	if fc.rows == nil {
		return f
	}
	return lineCounter{f, fc.rows}
}
