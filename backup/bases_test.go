package backup

import (
	"encoding/binary"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"mbk/backup/preflight"
	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/datadir"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/sys/boot"
)

const testPage = 16384

var thisBoot, otherBoot = boot.ID{1}, boot.ID{2}

// tracked is a file of 10 pages in a lineage, which was left alone when it was copied.
func tracked(number uint32, class string, change ...func(*repo.LineageFile)) (datadir.FileStat, repo.LineageFile) {
	s := leftAlone(uint64(number)+100, 10*testPage)
	s.ID.Dev, s.ID.Born = 1, 5
	f := s.Lineage()
	f.Number, f.Class, f.Quiescent, f.Copied = number, class, true, f.Size
	if class == repo.ClassInnoDB {
		f.HasSpace, f.Space, f.PageSize = true, 7, testPage
	}
	for _, c := range change {
		c(&f)
	}
	return s, f
}

// parent is the lineage of a pass at LSN 1000.
func parentOf(files ...repo.LineageFile) *repo.Lineage {
	return &repo.Lineage{ID: "P", Checkpoint: 1000, BootID: thisBoot, Files: files}
}

// attemptOf is what an interrupted attempt with checkpoint 2000 has stored: each part in a
// pack of its own.
func attemptOf(f repo.LineageFile, parts ...pack.Extent) []repo.Progress {
	var all []repo.Progress
	for _, e := range parts {
		all = append(all, repo.Progress{
			Lineage: repo.Lineage{ID: "A", Checkpoint: 2000, BootID: thisBoot, Files: []repo.LineageFile{f}},
			Parts:   []repo.Part{{Number: f.Number, Extent: e}},
		})
	}
	return all
}

// part is an extent over some pages; without a length nothing of them was stored.
func part(first, pages int64, length int64) pack.Extent {
	e := pack.Extent{Start: first * testPage, Size: pages * testPage, Length: length, Partial: true}
	if length > 0 {
		e.Pack = "data-0001.pack"
	}
	return e
}

func based(first, pages int64, since uint64) copier.Base {
	return copier.Base{Range: copier.Range{Start: first * testPage, Size: pages * testPage}, Since: since}
}

func number(n uint32) *uint32 { return &n }

func TestPagesBelow(t *testing.T) {
	now, f := tracked(3, repo.ClassInnoDB)
	_, later := tracked(8, repo.ClassInnoDB)
	later.Inode = f.Inode
	stored := func(e pack.Extent) pack.Extent { e.Pack = "A/data-0001.pack"; return e }
	for _, tt := range []struct {
		name    string
		parent  *repo.Lineage
		attempt []repo.Progress
		now     func(*datadir.FileStat)
		space   innodb.SpaceID
		pages   int64
		boot    boot.ID
		want    below
	}{
		{name: "of the parent", parent: parentOf(f), want: below{base: number(3), ranges: []copier.Base{based(0, 10, 1000)}}},
		{name: "written to since", parent: parentOf(f), now: func(s *datadir.FileStat) { *s = written(*s) },
			want: below{base: number(3), ranges: []copier.Base{based(0, 10, 1000)}}},
		{name: "grown", parent: parentOf(f), pages: 15,
			want: below{base: number(3), ranges: []copier.Base{based(0, 10, 1000)}}},
		{name: "shrunk", parent: parentOf(f), pages: 4,
			want: below{base: number(3), ranges: []copier.Base{based(0, 4, 1000)}}},
		{name: "after a start of the machine, on another device", parent: parentOf(f), boot: otherBoot,
			now:  func(s *datadir.FileStat) { s.ID.Dev = 9 },
			want: below{base: number(3), ranges: []copier.Base{based(0, 10, 1000)}}},
		{name: "on another device", parent: parentOf(f), now: func(s *datadir.FileStat) { s.ID.Dev = 9 }},
		{name: "born again under the same inode", parent: parentOf(f), now: func(s *datadir.FileStat) { s.ID.Born++ }},
		{name: "another tablespace", parent: parentOf(f), space: 8},
		{name: "not known", parent: parentOf(later), now: func(s *datadir.FileStat) { s.ID.Inode++ }},
		{name: "without a first page then", parent: parentOf(func() repo.LineageFile {
			g := f
			g.HasSpace = false
			return g
		}())},
		{name: "no passes", parent: nil},
		{name: "half of it in an attempt", parent: parentOf(f), attempt: attemptOf(later, part(0, 4, 100), part(4, 1, 0)),
			want: below{
				base: number(3), earlier: []repo.Pass{{Number: 8, Extents: []pack.Extent{stored(part(0, 4, 100))}}},
				ranges: []copier.Base{based(0, 5, 2000), based(5, 5, 1000)},
			}},
		{name: "the middle of it in an attempt, out of order", parent: parentOf(f),
			attempt: attemptOf(later, part(6, 2, 100), part(2, 2, 50)),
			want: below{
				base:    number(3),
				earlier: []repo.Pass{{Number: 8, Extents: []pack.Extent{stored(part(2, 2, 50)), stored(part(6, 2, 100))}}},
				ranges: []copier.Base{
					based(0, 2, 1000), based(2, 2, 2000), based(4, 2, 1000), based(6, 2, 2000), based(8, 2, 1000),
				},
			}},
		{name: "an attempt at a full backup", attempt: attemptOf(later, part(0, 4, 100)),
			want: below{
				earlier: []repo.Pass{{Number: 8, Extents: []pack.Extent{stored(part(0, 4, 100))}}},
				ranges:  []copier.Base{based(0, 4, 2000)},
			}},
		{name: "an attempt that found nothing to store", parent: parentOf(f), attempt: attemptOf(later, part(0, 10, 0)),
			want: below{base: number(3), ranges: []copier.Base{based(0, 10, 2000)}}},
	} {
		s, space, pages := now, innodb.SpaceID(7), int64(10)
		if tt.now != nil {
			tt.now(&s)
		}
		if tt.space != 0 {
			space = tt.space
		}
		if tt.pages != 0 {
			pages = tt.pages
		}
		if tt.boot == (boot.ID{}) {
			tt.boot = thisBoot
		}
		b := newBases(tt.boot, tt.parent, tt.attempt)
		got := b.pages(s, innodb.Space{ID: space, PageSize: testPage}, pages*testPage)
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\n%+v, want\n%+v", tt.name, got, tt.want)
		}
	}
	var none *bases
	if got := none.pages(now, innodb.Space{ID: 7, PageSize: testPage}, 1); !reflect.DeepEqual(got, below{}) {
		t.Errorf("without passes: %+v", got)
	}
}

func TestUnchangedBelow(t *testing.T) {
	none := func(*datadir.FileStat, *repo.Lineage, *bases) {}
	for _, tt := range []struct {
		name   string
		class  string
		change func(*datadir.FileStat, *repo.Lineage, *bases)
		want   bool
	}{
		{"a tablespace", repo.ClassInnoDB, none, true},
		{"a table of Aria", repo.ClassAria, none, true},
		{"a plain file", repo.ClassPlain, none, true},
		{"the kernel was started since", repo.ClassInnoDB, func(_ *datadir.FileStat, _ *repo.Lineage, b *bases) {
			b.passes[0].sameBoot = false
		}, false},
		{"everything is to be read", repo.ClassInnoDB, func(_ *datadir.FileStat, _ *repo.Lineage, b *bases) {
			b.readAll = true
		}, false},
		{"on a file system that loses changes", repo.ClassInnoDB, func(_ *datadir.FileStat, _ *repo.Lineage, b *bases) {
			b.keeps[1] = false
		}, false},
		{"on an unknown file system", repo.ClassInnoDB, func(_ *datadir.FileStat, _ *repo.Lineage, b *bases) {
			delete(b.keeps, 1)
		}, false},
		{"written to", repo.ClassInnoDB, func(s *datadir.FileStat, _ *repo.Lineage, _ *bases) { *s = written(*s) }, false},
		{"a write was under way", repo.ClassInnoDB, func(_ *datadir.FileStat, l *repo.Lineage, _ *bases) {
			l.Files[0].Quiescent = false
		}, false},
		{"of another class then", repo.ClassPlain, func(_ *datadir.FileStat, l *repo.Lineage, _ *bases) {
			l.Files[0].Class = repo.ClassAria
		}, false},
		{"without a first page then", repo.ClassInnoDB, func(_ *datadir.FileStat, l *repo.Lineage, _ *bases) {
			l.Files[0].HasSpace = false
		}, false},
		{"nothing of it is copied", repo.ClassPlain, func(_ *datadir.FileStat, l *repo.Lineage, _ *bases) {
			l.Files[0].Copied = 0
		}, false},
	} {
		now, f := tracked(3, tt.class)
		l := parentOf(f)
		b := newBases(thisBoot, l)
		b.keeps[1] = true
		tt.change(&now, l, b)
		got, ok := b.unchanged(now, tt.class)
		if ok != tt.want || got.unread != tt.want {
			t.Errorf("%s: unchanged is %t, want %t", tt.name, ok, tt.want)
		}
		if ok && (got.base == nil || *got.base != 3 || len(got.ranges) > 0 || got.was.Number != 3) {
			t.Errorf("%s: %+v, want the parent's file 3 and nothing to read", tt.name, got)
		}
	}
	if _, ok := (*bases)(nil).unchanged(leftAlone(1, 1), repo.ClassPlain); ok {
		t.Error("a file is unchanged though there are no passes")
	}
}

// The sums of LSNs that hold for a file now are those of groups of pages that one pass has
// read as a whole, and that have the same pages now.
func TestLSNsBelow(t *testing.T) {
	const many = 8192 + 100 // from page 8192 on groups have two pages
	sums := func(n int, first uint32) (all []uint32) {
		for i := range n {
			all = append(all, first+uint32(i))
		}
		return all
	}
	now, f := tracked(3, repo.ClassInnoDB)
	f.LSNs = sums(10, 100)
	_, large := tracked(3, repo.ClassInnoDB)
	large.Copied, large.LSNs = many*testPage, sums(8192+50, 1)
	_, odd := tracked(3, repo.ClassInnoDB)
	odd.Copied, odd.LSNs = (8192+1)*testPage, sums(8192+1, 1)
	inAttempt := f
	inAttempt.LSNs = nil
	attempt := attemptOf(inAttempt, part(2, 3, 100), part(5, 1, 0))
	attempt[0].Parts[0].LSNs, attempt[1].Parts[0].LSNs = sums(3, 500), sums(1, 600)
	without := attemptOf(inAttempt, part(2, 3, 100))
	for _, tt := range []struct {
		name    string
		parent  *repo.Lineage
		attempt []repo.Progress
		pages   int64
		want    []uint32
	}{
		{"of the parent", parentOf(f), nil, 10, sums(10, 100)},
		{"grown", parentOf(f), nil, 30, sums(10, 100)},
		{"shrunk", parentOf(f), nil, 4, sums(4, 100)},
		{"some read by an attempt", parentOf(f), attempt, 10, []uint32{100, 101, 500, 501, 502, 600, 106, 107, 108, 109}},
		{"without a parent", nil, attempt, 10, []uint32{0, 0, 500, 501, 502, 600}},
		{"an attempt that tells nothing", parentOf(f), without, 10, []uint32{100, 101, 0, 0, 0, 105, 106, 107, 108, 109}},
		{"large", parentOf(large), nil, many, sums(8192+50, 1)},
		{"large, grown by a whole group", parentOf(large), nil, many + 2, sums(8192+50, 1)},
		{"large, grown within a group", parentOf(odd), nil, 8192 + 2, sums(8192, 1)},
		{"large, shrunk within a group", parentOf(large), nil, 8192 + 1, sums(8192, 1)},
	} {
		got := newBases(thisBoot, tt.parent, tt.attempt).
			pages(now, innodb.Space{ID: 7, PageSize: testPage}, tt.pages*testPage)
		if !reflect.DeepEqual(got.lsns, tt.want) {
			t.Errorf("%s: %d sums, want %d: %v, want %v", tt.name, len(got.lsns), len(tt.want), got.lsns, tt.want)
		}
	}
}

// Pages of another history are noticed unless the groups they are in are stored anyway.
func TestOtherHistory(t *testing.T) {
	const pages, since = 8192 + 64, 1000
	space := innodb.Space{ID: 7, Flags: 0x15, PageSize: testPage}
	read := func(lsn func(no uint32) innodb.LSN, was []uint32, damaged ...uint32) *innodbPages {
		p := newInnodbPages(space, 0, pages*testPage)
		p.compareWith(was)
		b := make([]byte, testPage)
		for no := range uint32(pages) {
			if lsn(no) == 0 && no%2 == 0 { // else it is read, and zeros
				p.Skipped(no, no+1)
				continue
			}
			binary.BigEndian.PutUint64(b[16:], uint64(lsn(no)))
			p.Copied(b, no, !slices.Contains(damaged, no))
			p.Changed(b, no, since)
		}
		return p
	}
	old := func(no uint32) innodb.LSN { return innodb.LSN(100 + no%800) }
	groups := innodb.LSNGroups(pages)
	was := read(old, nil).sums(0, groups)
	but := func(changed innodb.LSN, pages ...uint32) func(no uint32) innodb.LSN {
		return func(no uint32) innodb.LSN {
			if slices.Contains(pages, no) {
				return changed
			}
			return old(no)
		}
	}
	for _, tt := range []struct {
		name    string
		lsn     func(no uint32) innodb.LSN
		was     []uint32
		damaged []uint32
		want    int64 // -1: nothing is wrong
	}{
		{"as it was", old, was, nil, -1},
		{"written to since", but(5000, 0, 17, 8200), was, nil, -1},
		{"an older page", but(99, 17), was, nil, 17},
		{"an older page in a group of two", but(99, 8201), was, nil, 8200},
		{"a page that was not changed since, and is newer", but(950, 3), was, nil, 3},
		{"an older page that is damaged", but(99, 17), was, []uint32{17}, -1},
		{"an older page, and another one is damaged", but(99, 17), was, []uint32{18}, 17},
		{"nothing is known", but(99, 17), nil, nil, -1},
		{"became zeros, or a hole", but(0, 17, 8200), was, nil, -1},
	} {
		no, found := read(tt.lsn, tt.was, tt.damaged...).otherHistory()
		if found != (tt.want >= 0) || found && no != tt.want {
			t.Errorf("%s: page %d, %t; want page %d", tt.name, no, found, tt.want)
		}
	}
	if sums := read(old, nil, 5, 8201).sums(3, groups); sums[2] != 0 || sums[8192+4-3] != 0 || sums[0] != was[3] {
		t.Errorf("the sums of groups with a damaged page are %d and %d, want 0; another is %d, want %d", sums[2],
			sums[8192+4-3], sums[0], was[3])
	}
}

// Of other histories of a file there is another kind of error, by who has read it.
func TestErrorOfOtherHistory(t *testing.T) {
	_, f := tracked(3, repo.ClassInnoDB)
	var stale staleError
	var doubt *preflight.Doubt
	err := newBases(thisBoot, parentOf(f)).otherHistory("a/b.ibd", 7)
	if !errors.As(err, &doubt) || errors.As(err, &stale) {
		t.Errorf("of the parent: %T %v", err, err)
	}
	err = newBases(thisBoot, parentOf(f), attemptOf(f, part(0, 1, 1))).otherHistory("a/b.ibd", 7)
	if !errors.As(err, &stale) {
		t.Errorf("of an attempt: %T %v", err, err)
	}
}

// An interrupted attempt has read what the parent does not hold as it is now.
func TestUnchangedInAttempt(t *testing.T) {
	now, f := tracked(3, repo.ClassInnoDB)
	before := f
	before.Number, before.Changed, before.Modified = 2, f.Changed-int64(time.Hour), f.Modified-int64(time.Hour)
	for _, tt := range []struct {
		name   string
		class  string
		parent *repo.LineageFile
		parts  []pack.Extent
		want   bool
		base   bool
	}{
		{"all of it was read, of which some was stored", repo.ClassInnoDB, &before,
			[]pack.Extent{part(0, 4, 10), part(4, 6, 0)}, true, true},
		{"a part of it was read", repo.ClassInnoDB, &before, []pack.Extent{part(0, 4, 10)}, false, false},
		{"a part of it, and the parent has all", repo.ClassInnoDB, &f, []pack.Extent{part(0, 4, 10)}, true, true},
		{"all of it, without a parent", repo.ClassInnoDB, nil, []pack.Extent{part(0, 10, 10)}, true, false},
		{"a plain file, all of it", repo.ClassPlain, &before, []pack.Extent{part(0, 10, 10)}, true, false},
		{"a plain file, half of it", repo.ClassPlain, &before, []pack.Extent{part(0, 5, 10)}, false, false},
	} {
		inAttempt := f
		inAttempt.Class, inAttempt.Number = tt.class, 9
		var parent *repo.Lineage
		if tt.parent != nil {
			g := *tt.parent
			g.Class = tt.class
			parent = parentOf(g)
		}
		b := newBases(thisBoot, parent, attemptOf(inAttempt, tt.parts...))
		b.keeps[1] = true
		got, ok := b.unchanged(now, tt.class)
		if ok != tt.want || got.base != nil != tt.base || ok && len(got.earlier) != 1 {
			t.Errorf("%s: unchanged is %t with %+v, want %t", tt.name, ok, got, tt.want)
		}
	}
}

func TestRanges(t *testing.T) {
	set := func(pairs ...int64) (r ranges) {
		for i := 0; i < len(pairs); i += 2 {
			r = append(r, copier.Range{Start: pairs[i], Size: pairs[i+1]})
		}
		return r
	}
	for _, tt := range []struct{ a, b, within, without ranges }{
		{set(0, 10), set(), nil, set(0, 10)},
		{set(0, 10), set(0, 10), set(0, 10), nil},
		{set(0, 10), set(3, 2), set(3, 2), set(0, 3, 5, 5)},
		{set(0, 10), set(3, 2, 8, 9), set(3, 2, 8, 2), set(0, 3, 5, 3)},
		{set(0, 4, 6, 4), set(2, 6), set(2, 2, 6, 2), set(0, 2, 8, 2)},
		{set(5, 5), set(0, 3), nil, set(5, 5)},
		{set(), set(0, 3), nil, nil},
	} {
		if got := tt.a.within(tt.b); !reflect.DeepEqual(got, tt.within) {
			t.Errorf("%v within %v is %v, want %v", tt.a, tt.b, got, tt.within)
		}
		if got := tt.a.without(tt.b); !reflect.DeepEqual(got, tt.without) {
			t.Errorf("%v without %v is %v, want %v", tt.a, tt.b, got, tt.without)
		}
	}
}

// A page is stored again unless its LSN proves that an earlier pass has read it as it is.
func TestPageChanged(t *testing.T) {
	const full, legacy = 0x15, 0
	page := func(lsn uint64, checksum uint32) []byte {
		b := make([]byte, testPage)
		binary.BigEndian.PutUint64(b[16:], lsn)
		binary.BigEndian.PutUint32(b, checksum)
		binary.BigEndian.PutUint32(b[4:], 9)
		b[100] = 1
		return b
	}
	for _, tt := range []struct {
		name  string
		space innodb.SpaceID
		flags innodb.Flags
		first innodb.PageNo
		no    uint32
		page  []byte
		want  bool
	}{
		{"older", 7, full, 0, 9, page(999, 0), false},
		{"changed by the mini-transaction that ends at the checkpoint", 7, full, 0, 9, page(1000, 0), true},
		{"newer", 7, full, 0, 9, page(5000, 0), true},
		{"imported", 7, full, 0, 9, page(0, 0), true},
		{"zeros", 7, full, 0, 9, make([]byte, testPage), true},
		{"older, of the format before", 7, legacy, 0, 9, page(999, 77), false},
		{"older, without a checksum", 7, legacy, 0, 9, page(999, 0xDEADBEEF), true},
		{"older, of the first pages of the system tablespace", 0, full, 0, 7, page(999, 0), true},
		{"older, behind them", 0, full, 0, 8, page(999, 0), false},
		{"older, of the second file of the system tablespace", 0, full, 768, 3, page(999, 0), false},
		{"older, of the first pages of another", 7, full, 0, 3, page(999, 0), false},
	} {
		p := newInnodbPages(innodb.Space{ID: tt.space, Flags: tt.flags, PageSize: testPage}, tt.first, 100*testPage)
		if got := p.Changed(tt.page, tt.no, 1000); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}
