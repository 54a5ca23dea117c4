package verify

import (
	"sync"
	"sync/atomic"

	"mbk/copier/pack"
	"mbk/internal/repo"
	"mbk/internal/ui/meter"
)

// maxPerFile bounds the damaged pages that are named of one file.
const maxPerFile = 10

// pageCheck knows the pages of one file. It is used by several goroutines.
type pageCheck struct {
	file  *repo.File
	index *repo.File                         // of an Aria table, nil if it is missing
	known map[uint32]bool                    // pages that were damaged on the source already
	once  sync.Once                          // prepares size and test
	size  int                                // of a page in bytes
	test  func(page []byte, no uint32) error // nil: nothing to check
	full  bool                               // no page may be all zeros
	fail  func(err error)                    // takes in a damaged page

	layers          *repo.Layered // while it is read
	damaged         atomic.Bool   // not all of it could be read
	checked, failed atomic.Int64
}

// page checks one page.
func (c *pageCheck) page(b []byte, no uint32) {
	c.checked.Add(1)
	if err := c.test(b, no); err != nil && !c.known[no] && c.failed.Add(1) <= maxPerFile {
		c.fail(err)
	}
}

// pageSink cuts what an Extractor delivers into pages. Bytes come in order, in
// portions of any length. What lies before an extent's first whole page, or
// after its last, is not checked: files of pages are cut between pages.
type pageSink struct {
	check *pageCheck
	rest  []byte // the beginning of a page
	at    int64  // where in the file the rest begins
}

// WriteAt implements pack.Sink.
func (s *pageSink) WriteAt(p []byte, off int64) (int, error) {
	n, size := len(p), s.check.size
	if s.check.test == nil || size == 0 {
		return n, nil
	}
	if len(s.rest) > 0 {
		take := min(size-len(s.rest), len(p))
		s.rest = append(s.rest, p[:take]...)
		p, off = p[take:], off+int64(take)
		if len(s.rest) < size {
			return n, nil
		}
		s.check.page(s.rest, uint32(s.at/int64(size)))
		s.rest = s.rest[:0]
	}
	for ; len(p) >= size; p, off = p[size:], off+int64(size) {
		s.check.page(p[:size], uint32(off/int64(size)))
	}
	s.rest, s.at = append(s.rest, p...), off
	return n, nil
}

// Zero implements pack.Sink. Whole pages of zeros have nothing to check, but where
// there must be none. Of those it checks as many as are named.
func (s *pageSink) Zero(off, n int64) error {
	size := int64(s.check.size)
	if s.check.test == nil || size == 0 {
		return nil
	}
	if len(s.rest) > 0 {
		take := min(size-int64(len(s.rest)), n)
		if _, err := s.WriteAt(make([]byte, take), off); err != nil {
			return err
		}
		off, n = off+take, n-take
	}
	for i := int64(0); s.check.full && i < min(n/size, maxPerFile); i++ {
		s.check.page(make([]byte, size), uint32(off/size+i))
	}
	off, n = off+n/size*size, n%size
	if n > 0 {
		s.rest, s.at = append(s.rest, make([]byte, n)...), off
	}
	return nil
}

// headFirst collects the first bytes of a file before it passes on anything. It needs
// them in order, as a pack.Reader delivers them.
type headFirst struct {
	n    int               // bytes to collect
	use  func(head []byte) // is called with them once
	rest pack.Sink         // gets everything after that
	head []byte
}

// WriteAt implements pack.Sink.
func (s *headFirst) WriteAt(p []byte, off int64) (int, error) {
	n, missing := len(p), s.n-len(s.head)
	if missing == 0 {
		return s.rest.WriteAt(p, off)
	}
	take := min(missing, n)
	s.head = append(s.head, p[:take]...)
	if take < missing {
		return n, nil
	}
	s.use(s.head)
	if _, err := s.rest.WriteAt(s.head, 0); err != nil || take == n {
		return n, err
	}
	_, err := s.rest.WriteAt(p[take:], off+int64(take))
	return n, err
}

// Zero implements pack.Sink. Zeros that complete the head are passed on as zeros.
func (s *headFirst) Zero(off, n int64) error {
	have, missing := len(s.head), int64(s.n-len(s.head))
	switch {
	case missing == 0:
		return s.rest.Zero(off, n)
	case n < missing:
		_, err := s.WriteAt(make([]byte, n), off)
		return err
	}
	s.head = append(s.head, make([]byte, missing)...)
	s.use(s.head)
	if _, err := s.rest.WriteAt(s.head[:have], 0); err != nil {
		return err
	}
	return s.rest.Zero(off, n)
}

// countedSink passes on what an Extractor delivers, and counts it.
type countedSink struct {
	pack.Sink
	meter *meter.Meter
}

// WriteAt implements pack.Sink.
func (s countedSink) WriteAt(p []byte, off int64) (int, error) {
	s.meter.Add(int64(len(p)))
	return s.Sink.WriteAt(p, off)
}

// Zero implements pack.Sink.
func (s countedSink) Zero(off, n int64) error {
	s.meter.Add(n)
	return s.Sink.Zero(off, n)
}
