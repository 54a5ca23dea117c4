package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"mbk/copier/pack"
	"mbk/internal/aria"
	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// maxPerFile bounds the damaged pages that are named of one file.
const maxPerFile = 10

// pages decompresses everything, checks every page that carries a checksum, and
// walks the redo log.
func (v *verification) pages(ctx context.Context) error {
	found := v.found()
	var total int64
	for _, f := range v.m.Files {
		total += f.Size
	}
	v.meter.begin(PhasePages, total)
	checks := v.pageChecks()
	if err := v.readAll(ctx, checks); err != nil {
		return err
	}
	for _, c := range checks {
		v.report.Pages += c.checked.Load()
	}
	v.meter.end()
	v.prove(found, "all chunks of %d files decompress to what was read, and %d pages have the right checksums", len(v.m.Files), v.report.Pages)
	if v.found() > found {
		return nil
	}
	return v.redo(ctx)
}

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

	checked, failed atomic.Int64
}

// page checks one page.
func (c *pageCheck) page(b []byte, no uint32) {
	c.checked.Add(1)
	if err := c.test(b, no); err != nil && !c.known[no] && c.failed.Add(1) <= maxPerFile {
		c.fail(err)
	}
}

// pageChecks makes the checks of all files but the redo log.
func (v *verification) pageChecks() []*pageCheck {
	indexes := map[string]*repo.File{}
	for i := range v.m.Files {
		if stem, ok := strings.CutSuffix(v.m.Files[i].Path, aria.IndexExt); ok {
			indexes[stem] = &v.m.Files[i]
		}
	}
	known := map[string]map[uint32]bool{}
	for _, d := range v.m.Damaged {
		if known[d.File] == nil {
			known[d.File] = map[uint32]bool{}
		}
		known[d.File][d.Page] = true
	}
	checks := make([]*pageCheck, 0, len(v.m.Files))
	for i := range v.m.Files {
		f := &v.m.Files[i]
		if f.Class == repo.ClassRedo {
			continue
		}
		c := &pageCheck{file: f, known: known[f.Path], index: indexes[strings.TrimSuffix(f.Path, path.Ext(f.Path))]}
		c.fail = func(err error) { v.findInFile(f, err.Error()) }
		checks = append(checks, c)
	}
	return checks
}

// findInFile adds a finding about what a file holds. The packs were compared with their
// hashes before: so of a table with which something was wrong on the source, the server
// had these bytes too.
func (v *verification) findInFile(f *repo.File, problem string) {
	for _, p := range v.problems {
		if slices.ContainsFunc(p.table.Files, func(i int) bool { return v.m.Files[i].Path == f.Path }) {
			v.source(p.table.Database+"."+p.table.Name, "%s (%s: %s)", p.table.Problem, f.Path, problem)
			return
		}
	}
	v.find(repo.Finding{File: f.Path, Problem: problem})
}

// prepare finds out what the pages of a file look like, from its first page or
// from the header of its table. It is called once for each file.
func (v *verification) prepare(ctx context.Context, e *pack.Reader, c *pageCheck) error {
	switch c.file.Class {
	case repo.ClassInnoDB:
		return v.innodbCheck(ctx, e, c)
	case repo.ClassAria:
		return v.ariaCheck(ctx, e, c)
	case repo.ClassLog:
		v.ariaLogCheck(c)
	}
	return nil
}

// ariaLogCheck makes the check of a log of Aria. The end of one before that of the
// checkpoint may be damaged since a crash of the source, and recovery does not read it.
func (v *verification) ariaLogCheck(c *pageCheck) {
	n, ok := aria.ParseLogName(path.Base(c.file.Path))
	if control := v.m.Aria.Control; !ok || control != nil && n < control.Checkpoint.File {
		return
	}
	c.size, c.full = aria.LogPageSize, true
	c.test = func(page []byte, no uint32) error { return aria.CheckLogPage(page, n, no) }
}

// innodbCheck makes the check of a tablespace's file. A first page that holds
// nothing yet is made by recovery, out of the redo log.
func (v *verification) innodbCheck(ctx context.Context, e *pack.Reader, c *pageCheck) error {
	f := c.file
	if f.Space == nil || f.PageSize == 0 {
		return nil
	}
	space := innodb.Space{ID: *f.Space, Flags: innodb.Flags(f.Flags), PageSize: f.PageSize}
	if f.First == 0 {
		head, err := v.beginning(ctx, e, f, 64<<10)
		if err != nil {
			return err
		}
		s, err := innodb.ParseSpace(head, space.Flags.LogicalSize())
		switch {
		case errors.Is(err, innodb.ErrNoSpace):
		case err != nil:
			if !c.known[0] {
				v.findInFile(f, err.Error())
			}
		case s.ID != space.ID || s.PageSize != space.PageSize:
			v.findInFile(f, fmt.Sprintf("tablespace %d with pages of %d bytes, want %d with %d", s.ID, s.PageSize, space.ID, space.PageSize))
		default:
			space = s
		}
	}
	c.size = space.PageSize
	c.test = func(page []byte, no uint32) error {
		if err := space.Check(page, innodb.PageNo(no)+innodb.PageNo(f.First)); err != nil {
			return err
		}
		if lsn := innodb.PageLSN(page); lsn > v.m.LSN.End {
			return fmt.Errorf("page %d: its LSN %d lies behind the end of the redo log, %d", no, lsn, v.m.LSN.End)
		}
		return nil
	}
	return nil
}

// ariaCheck makes the check of one of the two files of an Aria table.
func (v *verification) ariaCheck(ctx context.Context, e *pack.Reader, c *pageCheck) error {
	f, index, ext := c.file, c.index, path.Ext(c.file.Path)
	if index == nil {
		v.findInFile(f, "the table's "+aria.IndexExt+" file is missing")
		return nil
	}
	head, err := v.beginning(ctx, e, index, aria.MaxIndexHeader)
	if err != nil {
		return err
	}
	ix, err := aria.ParseIndex(head)
	if err != nil {
		if index == f {
			v.findInFile(f, err.Error())
		}
		return nil
	}
	c.size = ix.BlockSize
	switch ext {
	case aria.DataExt:
		c.test = ix.CheckData
	case aria.IndexExt:
		c.test = ix.CheckIndex
	default:
		c.size = 0
	}
	return nil
}

// beginning reads the first n bytes of a file, or all of a shorter one.
func (v *verification) beginning(ctx context.Context, e *pack.Reader, f *repo.File, n int64) ([]byte, error) {
	head := &headSink{b: make([]byte, min(n, f.Size))}
	for _, x := range f.Extents {
		err := e.Extent(ctx, v.o.Repository.Store(), repo.Folder(v.m.ID), f.Number, x, head)
		if errors.Is(err, errEnough) || x.Start+x.Size >= int64(len(head.b)) && err == nil {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return head.b, nil
}

// errEnough ends an extraction of which only the beginning was wanted.
var errEnough = errors.New("enough was read")

// headSink keeps the first bytes of a file.
type headSink struct{ b []byte }

// WriteAt implements pack.Sink.
func (s *headSink) WriteAt(p []byte, off int64) (int, error) {
	if off < int64(len(s.b)) {
		copy(s.b[off:], p)
	}
	return len(p), s.enough(off + int64(len(p)))
}

// Zero implements pack.Sink.
func (s *headSink) Zero(off, n int64) error { return s.enough(off + n) }

// enough reports whether the beginning is complete.
func (s *headSink) enough(end int64) error {
	if end >= int64(len(s.b)) {
		return errEnough
	}
	return nil
}

// piece is an extent to read and check.
type piece struct {
	check  *pageCheck
	extent pack.Extent
}

// readAll reads every extent of the files, several at a time.
func (v *verification) readAll(ctx context.Context, checks []*pageCheck) error {
	queue := make(chan piece)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(queue)
		for _, c := range checks {
			for _, x := range c.file.Extents {
				select {
				case queue <- piece{c, x}:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return nil
	})
	for range v.o.Workers {
		group.Go(func() error {
			e := pack.NewReader()
			defer e.Close()
			for p := range queue {
				if err := v.readPiece(ctx, e, p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// readPiece reads and checks one extent.
func (v *verification) readPiece(ctx context.Context, e *pack.Reader, p piece) error {
	var err error
	p.check.once.Do(func() { err = v.prepare(ctx, e, p.check) })
	if err == nil {
		sink := shiftedSink{&pageSink{check: p.check}, 0, v.meter}
		err = e.Extent(ctx, v.o.Repository.Store(), repo.Folder(v.m.ID), p.check.file.Number, p.extent, sink)
	}
	f, err := v.finding(ctx, repo.Folder(v.m.ID)+"/"+p.extent.Pack, err)
	if f != nil {
		f.File = p.check.file.Path
		v.find(*f)
	}
	return err
}

// pageSink cuts what an Extractor delivers into pages. Bytes come in order, in
// portions of any length. What lies in front of an extent's first whole page, or
// behind its last, is not checked: files of pages are cut between pages.
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

// redo walks the redo log from its first byte to its last.
func (v *verification) redo(ctx context.Context) error {
	found := v.found()
	f := &v.m.Files[v.m.Redo.File]
	log, err := innodb.NewLogChecker(v.m.Redo.Format, v.m.Redo.Crypt, v.m.Redo.Checkpoint)
	if err != nil {
		v.find(repo.Finding{File: f.Path, Problem: err.Error()})
		return nil
	}
	e := pack.NewReader()
	defer e.Close()
	sink := &logSink{log: log}
	for _, x := range f.Extents {
		err := e.Extent(ctx, v.o.Repository.Store(), repo.Folder(v.m.ID), f.Number, x, shiftedSink{sink, 0, v.meter})
		if err != nil && sink.err != nil {
			v.find(repo.Finding{File: f.Path, Problem: sink.err.Error()})
			return nil
		}
		damage, err := v.finding(ctx, repo.Folder(v.m.ID)+"/"+x.Pack, err)
		if damage != nil {
			damage.File = f.Path
			v.find(*damage)
			return nil
		}
		if err != nil {
			return err
		}
	}
	if err := log.Finish(v.m.Redo.End); err != nil {
		v.find(repo.Finding{File: f.Path, Problem: err.Error()})
		return nil
	}
	v.report.MTRs = log.MTRs()
	v.prove(found, "the redo log runs from LSN %d to %d without a gap, in %s", v.m.Redo.Checkpoint.LSN, v.m.Redo.End, numberOf(log.MTRs(), "mini-transaction"))
	return nil
}

// logSink feeds the redo log to a checker.
type logSink struct {
	log io.Writer
	err error // of the checker
}

// WriteAt implements pack.Sink.
func (s *logSink) WriteAt(p []byte, _ int64) (int, error) {
	n, err := s.log.Write(p)
	s.err = err
	return n, err
}

// Zero implements pack.Sink.
func (s *logSink) Zero(off, n int64) error {
	zeros := make([]byte, min(n, pack.MaxChunk))
	for n > 0 {
		p := zeros[:min(n, int64(len(zeros)))]
		if _, err := s.WriteAt(p, off); err != nil {
			return err
		}
		off, n = off+int64(len(p)), n-int64(len(p))
	}
	return nil
}
