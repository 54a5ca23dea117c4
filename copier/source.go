package copier

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"mbk/internal/sys/pagecache"
)

// ErrShort is returned when a source without PadShort ends before Start+Size: the file
// was made smaller while it was copied.
var ErrShort = errors.New("the file became shorter")

// Range is a run of bytes of a file.
type Range struct {
	Start int64 // offset of the first byte
	Size  int64 // bytes
}

// Base is a range of a file that an earlier pass has read.
type Base struct {
	Range
	Since uint64 // LSN of the checkpoint of that pass
}

// Source is a file, or a part of one, that is to be copied.
type Source struct {
	Number uint32      // of the file in this backup; sources may share it
	Name   string      // for messages
	File   io.ReaderAt // read by several workers at once; never closed

	// The bytes [Start, Start+Size) of the file are copied, whatever its length
	// is by then. With Pages, Start is a multiple of the page size; what follows
	// the last complete page is copied unchecked.
	Start, Size int64

	PadShort bool    // a file that ends early is followed by zeros, instead of ErrShort
	Pages    Pages   // nil: nothing is checked
	Blank    []Range // stored as zeros, and pages in them are not checked

	// FirstPageLast reads the first page when everything else of the source has been read,
	// and everything of the sources in After, which were added to the same Copier before:
	// other files of the tablespace. Such a page says how to read the others; a newer one
	// knows what an older one said, too. It needs Pages.
	FirstPageLast bool
	After         []*Pending

	// Bases are the ranges that an earlier pass has read, ascending and not overlapping,
	// of whole pages. Of these only pages that have changed since are stored, in partial
	// extents; everything else is stored. They need Pages that implement Changes.
	Bases []Base

	// Cached is what the page cache held of the file, or of a part of it, before
	// the caller read any of it. It is empty if the caller read nothing.
	Cached pagecache.Map

	// Done, if not nil, is called once, from any goroutine, when the source is in
	// the packs and its file will not be read again. After an error of the copier
	// it may never be called. It must return at once.
	Done func()
}

// validate returns an error if the source makes no sense with chunks of at most
// chunkSize.
func (s *Source) validate(chunkSize int) error {
	if s.File == nil {
		return errors.New("no file")
	}
	if s.Start < 0 || s.Size < 0 || s.Start > math.MaxInt64-s.Size {
		return fmt.Errorf("range of %d bytes at %d", s.Size, s.Start)
	}
	for _, r := range s.Blank {
		if !r.possible() {
			return fmt.Errorf("blank range of %d bytes at %d", r.Size, r.Start)
		}
	}
	if s.Pages == nil {
		if len(s.Bases) > 0 || s.FirstPageLast {
			return errors.New("a base or a first page, but no pages")
		}
		return nil
	}
	size := s.Pages.PageSize()
	if size <= 0 || size > min(maxPageSize, chunkSize) {
		return fmt.Errorf("page size %d", size)
	}
	if s.Start%int64(size) != 0 {
		return fmt.Errorf("start %d is inside a page of %d bytes", s.Start, size)
	}
	if (s.Start+s.Size)/int64(size) > math.MaxUint32 {
		return fmt.Errorf("%d bytes have too many pages of %d bytes", s.Start+s.Size, size)
	}
	return s.validateBases(int64(size))
}

// validateBases returns an error if the bases make no sense.
func (s *Source) validateBases(page int64) error {
	if _, ok := s.Pages.(Changes); !ok && len(s.Bases) > 0 {
		return errors.New("a base, but pages that do not know whether they have changed")
	}
	var end int64
	for _, b := range s.Bases {
		if !b.possible() || b.Start < end || b.Start%page != 0 || b.Size%page != 0 {
			return fmt.Errorf("base of %d bytes at %d, after byte %d, with pages of %d bytes", b.Size, b.Start, end, page)
		}
		end = b.Start + b.Size
	}
	return nil
}

// possible reports whether a file may have such a range.
func (r Range) possible() bool { return r.Start >= 0 && r.Size >= 0 && r.Start <= math.MaxInt64-r.Size }

// segments returns the segments that the source is copied in, of at most per bytes. Each
// lies either in a base or in none.
func (s *Source) segments(job *Pending, per int64) []segment {
	var all []segment
	at, end := s.Start, s.Start+s.Size
	add := func(end int64, base *Base) {
		for ; at < end; at += min(per, end-at) {
			all = append(all, segment{job: job, start: at, size: min(per, end-at), base: base})
		}
	}
	for i := range s.Bases {
		b := &s.Bases[i]
		if b.Start+b.Size <= s.Start || b.Start >= end || b.Size == 0 {
			continue
		}
		add(b.Start, nil)
		add(min(b.Start+b.Size, end), b)
	}
	add(end, nil)
	return all
}

// inOrder returns segments of a source in the order in which they may be read: with
// FirstPageLast the first page is in a segment of its own, of at most one read, at the end.
func (s *Source) inOrder(segments []segment, step int64) []segment {
	if !s.FirstPageLast || len(segments) == 0 {
		return segments
	}
	first, rest := segments[0], segments[1:]
	if first.size > step {
		tail := first
		tail.start, tail.size = first.start+step, first.size-step
		first.size, rest = step, slices.Insert(rest, 0, tail)
	}
	first.isFirst = true
	return append(slices.Clip(rest), first)
}

// step returns how many bytes are read at a time: at most most, and whole pages.
func (s *Source) step(most int64) int64 {
	if s.Pages == nil {
		return most
	}
	return most - most%int64(s.Pages.PageSize())
}

// readAt reads bytes of a source. If PadShort allows the file to end early, missing bytes
// are zeros, from the end of the last complete page.
func readAt(s *Source, p []byte, off int64) error {
	n, err := s.File.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s at byte %d: %w", s.Name, off+int64(n), err)
	}
	if !s.PadShort {
		return fmt.Errorf("read %s: ends at byte %d instead of %d: %w", s.Name, off+int64(n), s.Start+s.Size, ErrShort)
	}
	if s.Pages != nil {
		n -= n % s.Pages.PageSize()
	}
	clear(p[n:])
	return nil
}

// blank clears the bytes of p, which lie at off, that are in blank ranges.
func blank(s *Source, p []byte, off int64) {
	for _, r := range s.Blank {
		from, to := max(r.Start-off, 0), min(r.Start+r.Size-off, int64(len(p)))
		if from < to {
			clear(p[from:to])
		}
	}
}

// isBlank reports whether n bytes at off lie in one blank range.
func isBlank(s *Source, off, n int64) bool {
	for _, r := range s.Blank {
		if r.Start <= off && off+n <= r.Start+r.Size {
			return true
		}
	}
	return false
}
