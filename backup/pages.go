package backup

import (
	"sync"
	"sync/atomic"

	"mbk/internal/aria"
	"mbk/internal/innodb"
)

// innodbPages checks the pages of one InnoDB file for the copier and remembers
// the newest LSN that it saw. Several workers use it at once.
type innodbPages struct {
	space    innodb.Space
	first    innodb.PageNo // number of the file's first page in its tablespace
	max      atomic.Uint64
	imported atomic.Bool // there are pages as only an import writes them

	// pages that an earlier pass has read, and those of them that are stored again and not zeros
	examined, changed atomic.Int64

	lsns *innodb.LSNSums // of all pages that are copied
	// was are the sums as earlier passes have read the pages, by group. 0: not known, or a
	// page of the group may have changed.
	was []atomic.Uint32

	mu      sync.Mutex
	damaged map[int]bool // groups that have a damaged page
}

// newInnodbPages knows the pages of a file of size bytes. first is the number of its first
// page in the tablespace.
func newInnodbPages(space innodb.Space, first innodb.PageNo, size int64) *innodbPages {
	return &innodbPages{space: space, first: first, lsns: innodb.NewLSNSums(size / int64(space.PageSize))}
}

// compareWith takes in the sums of earlier passes, before the first page is read.
func (p *innodbPages) compareWith(sums []uint32) {
	p.was = make([]atomic.Uint32, len(sums))
	for group, sum := range sums {
		p.was[group].Store(sum)
	}
}

func (p *innodbPages) PageSize() int { return p.space.PageSize }

func (p *innodbPages) Check(page []byte, no uint32) error {
	if err := p.space.Check(page, innodb.PageNo(no)+p.first); err != nil {
		return err
	}
	lsn := uint64(innodb.PageLSN(page))
	// An import writes all pages with LSN 0, and each keeps it until it is changed.
	// A new file has a page 0 like that for a moment, and no other page.
	if lsn == 0 && innodb.PageNo(no)+p.first > 0 && !innodb.PageIsZero(page) {
		p.imported.Store(true)
	}
	for {
		seen := p.max.Load()
		if lsn <= seen || p.max.CompareAndSwap(seen, lsn) {
			return nil
		}
	}
}

// Unverifiable is true for a page that carries no checksum that could be tested.
func (p *innodbPages) Unverifiable(page []byte, _ uint32) bool { return !p.space.Verifiable(page) }

// systemPages are the first pages of the system tablespace, which have fixed uses. Some
// servers write to them what is not logged.
const systemPages = 8

// Copied sums up the LSNs.
func (p *innodbPages) Copied(page []byte, no uint32, valid bool) {
	if valid {
		p.lsns.Add(int64(no), innodb.PageLSN(page))
		return
	}
	group := innodb.LSNGroup(int64(no))
	p.forget(group)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.damaged == nil {
		p.damaged = map[int]bool{}
	}
	p.damaged[group] = true
}

// Skipped takes in pages that became zeros, or have always been.
func (p *innodbPages) Skipped(first, end uint32) {
	if first < end {
		for group := innodb.LSNGroup(int64(first)); group <= innodb.LSNGroup(int64(end)-1); group++ {
			p.forget(group)
		}
	}
}

// forget says that the sum of a group cannot be what it was.
func (p *innodbPages) forget(group int) {
	if group < len(p.was) {
		p.was[group].Store(0)
	}
}

// sums returns the sums of groups [first, end), all of whose pages have been copied.
func (p *innodbPages) sums(first, end int) []uint32 {
	sums := p.lsns.Within(first, end)
	p.mu.Lock()
	defer p.mu.Unlock()
	for group := range p.damaged {
		if group >= first && group < end {
			sums[group-first] = 0
		}
	}
	return sums
}

// otherHistory returns a page, counted in the file, near which an earlier pass has read
// another page than is there now, though no LSN says that one has changed. All must have
// been copied.
func (p *innodbPages) otherHistory() (no int64, found bool) {
	for group := range p.was {
		if was := p.was[group].Load(); was != 0 && was != p.lsns.Of(group) {
			no, _ = innodb.LSNGroupPages(group)
			return no, true
		}
	}
	return 0, false
}

// Changed reports whether a page may differ from what a pass of copying has read whose
// checkpoint was at since: every change moves a page's LSN. Pages with LSN 0 are those of
// an import, and of zeros: a page may have become zeros with no trace. A page without a
// checksum that could be tested may be half of a newer one.
func (p *innodbPages) Changed(page []byte, no uint32, since uint64) bool {
	lsn := innodb.PageLSN(page)
	changed := lsn == 0 || uint64(lsn) >= since || !p.space.Verifiable(page) ||
		p.space.ID == 0 && innodb.PageNo(no)+p.first < systemPages
	p.examined.Add(1)
	if changed {
		p.forget(innodb.LSNGroup(int64(no)))
	}
	if changed && (lsn != 0 || !innodb.PageIsZero(page)) {
		p.changed.Add(1)
	}
	return changed
}

// ariaBlocks checks the blocks of one of the two files of an Aria table.
type ariaBlocks struct {
	index aria.Index
	data  bool // the .MAD file, else the .MAI
}

func (a ariaBlocks) PageSize() int { return int(a.index.BlockSize) }

func (a ariaBlocks) Check(block []byte, no uint32) error {
	if a.data {
		return a.index.CheckData(block, no)
	}
	return a.index.CheckIndex(block, no)
}

// Unverifiable is true for a block without a checksum.
func (a ariaBlocks) Unverifiable(block []byte, no uint32) bool {
	return !a.index.Verifiable(block, no, a.data)
}

// logPages checks the pages of a log of Aria.
type logPages struct {
	file  uint32 // number of the log
	lax   bool   // recovery has no use for it: its end may be damaged since an earlier crash
	twice bool   // pages may be half written, which does not show
}

func (p logPages) PageSize() int { return aria.LogPageSize }

func (p logPages) Check(page []byte, no uint32) error {
	if p.lax {
		return nil
	}
	return aria.CheckLogPage(page, p.file, no)
}

// Unverifiable is true for pages that are read until two reads are equal.
func (p logPages) Unverifiable([]byte, uint32) bool { return p.twice }
