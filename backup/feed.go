package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/dustin/go-humanize"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"mbk/copier"
	"mbk/internal/datadir"
	"mbk/internal/repo"
	"mbk/internal/sys/pagecache"
)

// smallFile is the size in bytes up to which a file that is not InnoDB's is read
// whole when it is opened, so that it needs no descriptor afterwards.
const smallFile = 64 << 10

// openFile is a file that has been opened and whose copy has not begun.
type openFile struct {
	entry datadir.Entry
	file  *os.File // nil when bytes holds all of it, and of an idle file
	bytes []byte
	idle  bool // it is a tablespace that looks as if it need not be read

	// mayWait says that it will be opened again before the backup ends, unless a copy of it
	// holds.
	mayWait bool

	stat   datadir.FileStat
	origin string
	tail   []byte // of a log table: the last bytes
	cached pagecache.Map
}

// feeder hands files to the copier, as many at once as there are descriptors for them,
// and numbers them. It belongs to one goroutine, except for open and release.
type feeder struct {
	layout      datadir.Layout
	copier      *copier.Copier
	bases       *bases    // the passes under this one
	progress    *progress // of this one; nil: nobody will go on with it
	descriptors *semaphore.Weighted
	budget      int64  // of descriptors
	last        uint32 // number of a file
}

func newFeeder(l datadir.Layout, c *copier.Copier, b *bases, descriptors int64) *feeder {
	return &feeder{layout: l, copier: c, bases: b, descriptors: semaphore.NewWeighted(descriptors), budget: descriptors}
}

// openUnlessIdle is open, but it leaves a tablespace alone that is still as a pass under
// this one has read it. Whether that holds is decided when this pass has its checkpoint.
func (feed *feeder) openUnlessIdle(l datadir.Layout, e datadir.Entry) (openFile, bool, error) {
	if feed.bases != nil && e.IsInnoDB() {
		now, err := l.Stat(l.File(e))
		if _, idle := feed.bases.unchanged(now, repo.ClassInnoDB); err == nil && idle {
			feed.descriptors.Release(1)
			return openFile{entry: e, stat: now, idle: true}, true, nil
		}
	}
	return feed.open(l, e)
}

// open opens an entry. It is called with the table's BACKUP LOCK held where
// there is one, and does no more than must be done under it. The caller has
// acquired a descriptor; open releases it where it is not needed afterwards. A
// file that is gone gives no error and false.
func (feed *feeder) open(l datadir.Layout, e datadir.Entry) (openFile, bool, error) {
	opened := openFile{entry: e}
	f, err := l.Files.Open(l.File(e))
	if err != nil {
		feed.descriptors.Release(1)
		if errors.Is(err, fs.ErrNotExist) {
			return openFile{}, false, nil
		}
		return openFile{}, false, err
	}
	opened.file = f
	if opened.stat, err = datadir.StatFile(f); err != nil {
		feed.release(opened)
		return openFile{}, false, err
	}
	feed.bases.learn(opened.stat.ID.Dev, f)
	if !opened.stat.Regular() {
		feed.release(opened)
		return openFile{}, false, fmt.Errorf("%s is not a regular file", e.Path())
	}
	streamed := e.IsInnoDB() || e.IsAria() || opened.stat.Size > smallFile && !e.IsDefinition()
	if streamed {
		opened.cached = cachedBefore(f, opened.stat.Size)
	}
	if opened.tail, err = e.ReadTail(f, opened.stat.Size); err != nil {
		feed.release(opened)
		return openFile{}, false, fmt.Errorf("read %s: %w", e.Path(), err)
	}
	if streamed {
		return opened, true, nil
	}
	if opened.stat.Size > datadir.MaxDefinition {
		feed.release(opened)
		size := humanize.IBytes(uint64(opened.stat.Size))
		return openFile{}, false, fmt.Errorf("%s has %s, more than any table definition", e.Path(), size)
	}
	opened.bytes, err = readWhole(f, opened.stat.Size)
	feed.release(opened)
	opened.file = nil
	if err != nil {
		return openFile{}, false, fmt.Errorf("read %s: %w", e.Path(), err)
	}
	return opened, true, nil
}

// cachedBefore looks at what the page cache holds of the beginning of a file of that
// size, out of which a few pages are read before it is copied, and has no others read
// with them. There may be a great many small files, so of them one byte tells.
func cachedBefore(f *os.File, size int64) pagecache.Map {
	const head = 1 << 20
	if size < head {
		return pagecache.Guess(f, size)
	}
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM) // advice only
	return pagecache.Look(f, 0, head)
}

// readWhole reads a file that may change meanwhile: what is missing of its
// size is not an error here, because the copy will be found stale.
func readWhole(f *os.File, size int64) ([]byte, error) {
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil
}

// release closes the file and releases its descriptor.
func (feed *feeder) release(opened openFile) {
	if opened.file != nil {
		opened.file.Close() //nolint:errcheck // only read
		feed.descriptors.Release(1)
	}
}

// nextNumber is the number of another file in the chunks of this backup.
func (feed *feeder) nextNumber() uint32 {
	feed.last++
	return feed.last
}

// number makes a record for a file that is copied by ranges.
func (feed *feeder) number(e datadir.Entry, class string, s datadir.FileStat) *fileCopy {
	return &fileCopy{entry: e, number: feed.nextNumber(), class: class, stat: s}
}

// add hands a source to the copier, as a part of fc.
func (feed *feeder) add(ctx context.Context, fc *fileCopy, source copier.Source) error {
	source.Number, source.Name = fc.number, fc.entry.Path()
	feed.progress.note(fc)
	pending, err := feed.copier.Add(ctx, source)
	if err != nil {
		return err
	}
	fc.pending = append(fc.pending, pending)
	return nil
}

// copyRange copies bytes [from, to) of a file as a further part of fc. pages may be nil.
func (feed *feeder) copyRange(
	ctx context.Context, fc *fileCopy, path string, from, to int64, pages copier.Pages,
) error {
	if err := feed.descriptors.Acquire(ctx, 1); err != nil {
		return err
	}
	f, err := feed.layout.Files.Open(path)
	if err != nil {
		feed.descriptors.Release(1)
		return err
	}
	opened := openFile{entry: fc.entry, file: f}
	err = feed.add(ctx, fc, copier.Source{
		File: fc.counted(f), Start: from, Size: to - from, Pages: pages, Done: func() { feed.release(opened) },
	})
	if err != nil {
		feed.release(opened)
	}
	return err
}
