package copier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mbk/copier/pack"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/sys/pagecache"
	"mbk/internal/sys/pause"
)

// maxPageSize is the largest page of any engine, in bytes.
const maxPageSize = 64 << 10

// maxDamaged is the most damaged pages that are recorded for one source. A backup of a
// file with more of them is of no use.
const maxDamaged = 1 << 16

// Pauses between two reads of pages without checksums, in a file that was changed within
// the time recent. There is one pause for all such pages of a read.
const (
	writerPause = 10 * time.Millisecond
	urgentPause = 2 * time.Millisecond
	recent      = time.Second
)

// Errors about the pages of a source.
var (
	// ErrUnstable is the cause of a PageError when a page that has no checksum
	// was different every time it was read.
	ErrUnstable = errors.New("the page changes at every read")

	// ErrManyDamaged is returned when a source has more damaged pages than
	// Options.DamagedOK allows for.
	ErrManyDamaged = errors.New("too many damaged pages")
)

// Pages knows the pages of a source. It is called by several workers at once.
type Pages interface {
	// PageSize is the distance of two pages in bytes, at most 64 KiB. It need
	// not be a power of two.
	PageSize() int

	// Check returns nil if page is valid. no counts from 0 at the file's first
	// byte. The slice may be used during the call only. The last call for a page
	// is the one with the bytes that are stored.
	Check(page []byte, no uint32) error
}

// Unverifiable is an optional method of Pages. A page for which it returns true has no
// checksum; it counts as valid when two reads return the same bytes and Check accepts
// them. If the file was changed a moment ago, there is a pause between these reads: a
// thread that writes a page may have lost the processor halfway.
type Unverifiable interface {
	Unverifiable(page []byte, no uint32) bool
}

// Changes is an optional method of Pages, for sources with Bases. It reports whether a
// valid page may differ from what a pass since that LSN has read. It is asked about a page
// of zeros, too.
type Changes interface {
	Changed(page []byte, no uint32, since uint64) bool
}

// Copied are optional methods of Pages. Each complete page of the source is named once.
type Copied interface {
	// Copied is called for a page that was read, with the bytes that are copied; valid is
	// false if the page stayed damaged. It comes before Changed.
	Copied(page []byte, no uint32, valid bool)

	// Skipped is called for the pages [first, end), which lie at least in part in a hole of
	// the file: they are zeros there, and are not read.
	Skipped(first, end uint32)
}

// PageError is returned for a page that was not valid however often it was read.
type PageError struct {
	File string // Source.Name
	Page uint32 // from 0 at the file's first byte
	Err  error  // of Pages.Check, ErrUnstable, or syscall.EIO if the device could not read it
}

// Error names the file and the page.
func (e *PageError) Error() string {
	return fmt.Sprintf("page %d of %s: %v", e.Page, e.File, e.Err)
}

// Unwrap returns the cause.
func (e *PageError) Unwrap() error { return e.Err }

// Fault says that the source is damaged.
func (e *PageError) Fault() fault.Kind { return fault.Damage }

// Hints says what can be done about the table.
func (e *PageError) Hints() []hint.Text {
	return []hint.Text{"run CHECK TABLE; restore the table from an older backup, or record the damage and go on: " +
		hint.Option("allow-damaged-pages")}
}

// pageReader reads runs of pages of sources. It belongs to one goroutine.
type pageReader struct {
	opts    *Options
	urgent  <-chan struct{} // closed: shorter pauses
	wait    *patience       // shared with all workers
	fresh   []byte          // one page, read again; made when it is first needed
	suspect []int           // offsets in the run of pages that have no checksum
	damaged []uint32        // pages of the run that stayed damaged
}

// read fills p with the source's bytes at off, checked.
func (r *pageReader) read(ctx context.Context, job *Pending, p []byte, off int64) error {
	r.damaged = r.damaged[:0]
	if err := r.fill(ctx, job, p, off); err != nil {
		return err
	}
	if job.src.FirstPageLast && off == job.src.Start {
		if err := r.refresh(ctx, job, p, off); err != nil {
			return err
		}
	}
	if to, ok := job.src.Pages.(Copied); ok {
		size := job.src.Pages.PageSize()
		no := uint32(off / int64(size))
		for at := 0; at+size <= len(p); at, no = at+size, no+1 {
			to.Copied(p[at:at+size:at+size], no, !slices.Contains(r.damaged, no))
		}
	}
	return nil
}

// refresh reads the first page of a run once more, now that the others have been read.
func (r *pageReader) refresh(ctx context.Context, job *Pending, p []byte, off int64) error {
	size := job.src.Pages.PageSize()
	no := uint32(off / int64(size))
	if len(p) <= size || slices.Contains(r.damaged, no) {
		return nil
	}
	page := p[:size:size]
	unchanged, bad := r.reread(job.src, page, no)
	switch {
	case unchanged:
		return nil
	case bad == nil:
		bad = r.invalid(job.src, page, no, false)
	case !errors.Is(bad, syscall.EIO):
		return bad
	}
	if bad == nil {
		return nil
	}
	return r.readAgain(ctx, job, page, no, bad)
}

// skipped is called for n bytes of a source that lie in a hole.
func skipped(s *Source, off, n int64) {
	if to, ok := s.Pages.(Copied); ok {
		size := int64(s.Pages.PageSize())
		to.Skipped(uint32(off/size), uint32((off+n+size-1)/size))
	}
}

// fill is read without telling anybody.
func (r *pageReader) fill(ctx context.Context, job *Pending, p []byte, off int64) error {
	if err := readAt(job.src, p, off); err != nil {
		if job.src.Pages == nil || !errors.Is(err, syscall.EIO) {
			return err
		}
		return r.salvage(ctx, job, p, off)
	}
	blank(job.src, p, off)
	if job.src.Pages == nil {
		return nil
	}
	return r.check(ctx, job, p, off)
}

// salvage reads a run page by page, after the device could not read all of it. A page
// that it cannot read counts as damaged, and is all zeros in the copy.
func (r *pageReader) salvage(ctx context.Context, job *Pending, p []byte, off int64) error {
	s := job.src
	size := s.Pages.PageSize()
	for at := 0; at < len(p); at += size {
		page := p[at:min(at+size, len(p))]
		start := off + int64(at)
		err := readAt(s, page, start)
		switch {
		case err == nil:
			blank(s, page, start)
			err = r.check(ctx, job, page, start)
		case errors.Is(err, syscall.EIO) && len(page) == size:
			clear(page)
			err = r.readAgain(ctx, job, page, uint32(start/int64(size)), err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// check checks all complete pages of p, which lies at off in the source.
func (r *pageReader) check(ctx context.Context, job *Pending, p []byte, off int64) error {
	s := job.src
	size := s.Pages.PageSize()
	loose, _ := s.Pages.(Unverifiable)
	r.suspect = r.suspect[:0]
	no := uint32(off / int64(size))
	for at := 0; at+size <= len(p); at, no = at+size, no+1 {
		page := p[at : at+size : at+size]
		if len(s.Blank) > 0 && isBlank(s, off+int64(at), int64(size)) {
			continue
		}
		if loose != nil && loose.Unverifiable(page, no) {
			r.suspect = append(r.suspect, at)
			continue
		}
		if err := s.Pages.Check(page, no); err != nil {
			if err := r.readAgain(ctx, job, page, no, err); err != nil {
				return err
			}
		}
	}
	// Pages without a checksum are read a second time only now, so that a write
	// that was under way at the first read has had time to end.
	if len(r.suspect) > 0 {
		if err := pause.For(ctx, r.timeToWrite(s.File)); err != nil {
			return err
		}
	}
	for _, at := range r.suspect {
		page := p[at : at+size : at+size]
		if err := r.readAgain(ctx, job, page, uint32(off/int64(size))+uint32(at/size), nil); err != nil {
			return err
		}
	}
	return nil
}

// timeToWrite returns how long to wait for pages that may be half written: 0 if the file
// was not changed just now.
func (r *pageReader) timeToWrite(file io.ReaderAt) time.Duration {
	f, ok := file.(pagecache.File)
	if !ok {
		return 0
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return 0 // closed, as the next read will say
	}
	var st unix.Stat_t
	err = conn.Control(func(fd uintptr) { _ = unix.Fstat(int(fd), &st) })
	switch {
	case err != nil, time.Since(time.Unix(st.Mtim.Unix())) > recent:
		return 0
	case isClosed(r.urgent):
		return urgentPause
	}
	return writerPause
}

// readAgain reads a page until it is valid. bad is why it is not; nil if that is not known
// yet, and the next read decides. A page that the device cannot read counts as damaged.
// If the page stays damaged, that is an error or, with Options.DamagedOK, recorded.
func (r *pageReader) readAgain(ctx context.Context, job *Pending, page []byte, no uint32, bad error) error {
	torn := bad != nil
	t := tries{reader: r, pause: firstPause}
	if !torn {
		t.pause = 0 // it is being written; a busy page is never quiet for long
	}
	for ; bad == nil || t.left(); t.n++ {
		if bad != nil {
			if err := t.wait(ctx); err != nil {
				return err
			}
		}
		unchanged, err := r.reread(job.src, page, no)
		if errors.Is(err, syscall.EIO) {
			bad = err
			continue
		}
		if err != nil {
			return err
		}
		if bad = r.invalid(job.src, page, no, unchanged); bad == nil {
			if torn || !unchanged {
				job.torn.Add(1)
			}
			return nil
		}
		torn = true
	}
	r.wait.used(t.spent, isClosed(r.urgent))
	r.damaged = append(r.damaged, no)
	return job.damage(no, bad, r.opts.DamagedOK)
}

// changed appends the runs of pages in p, which was read last and lies at off in the
// source, that may have changed since an LSN. Nobody knows that of a damaged page.
func (r *pageReader) changed(runs []pack.Span, s *Source, p []byte, off int64, since uint64) []pack.Span {
	pages, size := s.Pages.(Changes), s.Pages.PageSize()
	no := uint32(off / int64(size))
	for at := 0; at < len(p); at, no = at+size, no+1 {
		page := p[at:min(at+size, len(p)):min(at+size, len(p))]
		if len(page) == size && !pages.Changed(page, no, since) && !slices.Contains(r.damaged, no) {
			continue
		}
		if n := len(runs); n > 0 && runs[n-1].To == at {
			runs[n-1].To += len(page)
		} else {
			runs = append(runs, pack.Span{From: at, To: at + len(page)})
		}
	}
	return runs
}

// reread reads a page again and reports whether it is the same as before.
func (r *pageReader) reread(s *Source, page []byte, no uint32) (unchanged bool, err error) {
	if cap(r.fresh) < len(page) {
		r.fresh = make([]byte, maxPageSize)
	}
	fresh := r.fresh[:len(page)]
	off := int64(no) * int64(len(page))
	if err := readAt(s, fresh, off); err != nil {
		return false, err
	}
	blank(s, fresh, off)
	unchanged = bytes.Equal(fresh, page)
	copy(page, fresh)
	return unchanged, nil
}

// invalid returns why a page that was just read is not valid, nil if it is. unchanged means that
// the previous read returned the same bytes.
func (r *pageReader) invalid(s *Source, page []byte, no uint32, unchanged bool) error {
	if loose, ok := s.Pages.(Unverifiable); ok && !unchanged && loose.Unverifiable(page, no) {
		return ErrUnstable
	}
	return s.Pages.Check(page, no)
}
