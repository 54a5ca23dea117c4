package backup

import (
	"cmp"
	"os"
	"slices"
	"sync"

	"mbk/backup/preflight"
	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/datadir"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/sys/boot"
	"mbk/internal/sys/disk"
)

// bases are the passes of copying that lie under this one, the newest first: interrupted
// attempts on which it continues, and the parent of an increment. What they hold of a
// file is not stored again. A nil *bases has no passes. Methods may be called from several
// goroutines.
type bases struct {
	passes  []basePass
	readAll bool // no file is taken for unchanged without being read

	mu    sync.Mutex
	keeps map[uint64]bool // by device: its file system notes all changes (disk.KeepsTimes)
}

// basePass is a pass of copying as those above it need it.
type basePass struct {
	id       string     // of the backup or attempt
	since    innodb.LSN // its checkpoint
	sameBoot bool       // the kernel has not been started since
	files    repo.LineageIndex

	// parts is what an interrupted attempt has read of its files, by their numbers. An
	// extent of length 0 was read, and nothing of it had to be stored. The parent, whose
	// parts are nil, has all of each file.
	parts map[uint32][]pack.Extent
}

// newBases makes the bases of an increment, and of an attempt that continues on others.
// parent may be nil, and attempts, the newest first, empty.
func newBases(now boot.ID, parent *repo.Lineage, attempts ...[]repo.Progress) *bases {
	b := &bases{keeps: map[uint64]bool{}}
	for _, progress := range attempts {
		if len(progress) > 0 {
			b.passes = append(b.passes, attemptPass(now, progress))
		}
	}
	if parent != nil {
		b.passes = append(b.passes, basePass{
			id: parent.ID, since: parent.Checkpoint, sameBoot: sameBoot(parent, now), files: repo.NewLineageIndex(parent),
		})
	}
	return b
}

// sameBoot reports whether a pass ran under the kernel that runs now.
func sameBoot(l *repo.Lineage, now boot.ID) bool { return now != boot.ID{} && l.BootID == now }

// attemptPass puts together what the packs of an interrupted attempt hold.
func attemptPass(now boot.ID, progress []repo.Progress) basePass {
	first := &progress[0]
	p := basePass{
		id: first.ID, since: first.Checkpoint, sameBoot: sameBoot(&first.Lineage, now), parts: map[uint32][]pack.Extent{},
	}
	var files []repo.LineageFile
	lsns := map[uint32][]repo.Part{}
	for i := range progress {
		files = append(files, progress[i].Files...)
		for _, part := range progress[i].Parts {
			e := part.Extent
			if e.Length > 0 {
				e.Pack = first.ID + "/" + e.Pack
			}
			p.parts[part.Number] = append(p.parts[part.Number], e)
			if len(part.LSNs) > 0 {
				lsns[part.Number] = append(lsns[part.Number], part)
			}
		}
	}
	// A file lies in several packs, and each says what it was.
	slices.SortFunc(files, func(a, b repo.LineageFile) int { return cmp.Compare(a.Number, b.Number) })
	files = slices.CompactFunc(files, func(a, b repo.LineageFile) bool { return a.Number == b.Number })
	for i := range files {
		for _, part := range lsns[files[i].Number] {
			files[i].LSNs = putLSNs(files[i].LSNs, groupsOfPart(&files[i], part.Extent), part.LSNs)
		}
	}
	p.files = repo.NewLineageIndex(&repo.Lineage{Files: files})
	for _, parts := range p.parts {
		slices.SortFunc(parts, func(a, b pack.Extent) int { return cmp.Compare(a.Start, b.Start) })
	}
	return p
}

// learn notes whether the file system of an open file notes all changes.
func (b *bases) learn(dev uint64, f *os.File) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.keeps[dev]; !known {
		b.keeps[dev] = disk.KeepsTimes(f)
	}
}

// keepsTimes reports whether a file system is known to note all changes.
func (b *bases) keepsTimes(dev uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.keeps[dev]
}

// below is what the passes below hold of a file.
type below struct {
	base    *uint32       // repo.File.Base
	earlier []repo.Pass   // repo.File.Earlier
	ranges  []copier.Base // copier.Source.Bases
	lsns    []uint32      // of a tablespace: the sums of LSNs as the passes have read it, 0 if not known

	// unread says that the file is still what the newest of the passes has read, which
	// is then was: nothing of it need be read.
	unread bool
	was    repo.LineageFile
}

// unchanged returns what the passes below hold of a file if they have all of it as it is
// now, so that it need not be read. The stat must be of a time after this pass's
// checkpoint, or for Aria after its control file was read: what the server wrote to the
// file before that shows in it.
func (b *bases) unchanged(now datadir.FileStat, class string) (below, bool) {
	if b == nil || b.readAll || now.ID.Born == 0 || !b.keepsTimes(now.ID.Dev) {
		return below{}, false
	}
	var was *repo.LineageFile
	var rest ranges
	for i := range b.passes {
		p := &b.passes[i]
		f := p.find(now.ID, func(f *repo.LineageFile) bool { return f.Class == class })
		if f == nil {
			continue
		}
		if !p.sameBoot || !now.UnchangedSince(f) || was != nil && f.Copied != was.Copied {
			break // what is older was changed, too
		}
		if was == nil {
			was, rest = f, ranges{{Size: f.Copied}}
		}
		if rest = rest.without(p.covers(f)); len(rest) == 0 {
			break
		}
	}
	if was == nil || len(rest) > 0 || was.Copied == 0 || class == repo.ClassInnoDB && !was.HasSpace {
		return below{}, false
	}
	found := b.layers(now.ID, was.Copied, func(p *basePass, f *repo.LineageFile) bool {
		if class == repo.ClassInnoDB {
			return f.HasSpace && f.Space == was.Space && f.PageSize == was.PageSize
		}
		return f.Class == class && now.UnchangedSince(f)
	})
	found.unread, found.was, found.ranges = true, *was, nil
	return found, true
}

// pages returns what the passes below hold of the tablespace in a file of size bytes,
// which is going to be read: pages that were changed since have to be stored again.
func (b *bases) pages(now datadir.FileStat, space innodb.Space, size int64) below {
	if b == nil {
		return below{}
	}
	return b.layers(now.ID, size, func(_ *basePass, f *repo.LineageFile) bool {
		return f.Class == repo.ClassInnoDB && f.HasSpace && f.Space == space.ID && int(f.PageSize) == space.PageSize
	})
}

// layers collects what the passes hold of the first size bytes of a file.
func (b *bases) layers(id datadir.Identity, size int64, same func(*basePass, *repo.LineageFile) bool) (l below) {
	rest := ranges{{Size: size}}
	for i := range b.passes {
		p := &b.passes[i]
		f := p.find(id, func(f *repo.LineageFile) bool { return same(p, f) })
		if f == nil {
			continue
		}
		has := p.covers(f)
		for _, r := range rest.within(has) {
			l.ranges = append(l.ranges, copier.Base{Range: r, Since: uint64(p.since)})
			if groups := groupsOf(f, r, size); groups.end <= len(f.LSNs) {
				l.lsns = putLSNs(l.lsns, groups, f.LSNs[groups.first:groups.end])
			}
		}
		rest = rest.without(has)
		switch parts := p.parts[f.Number]; {
		case p.parts == nil:
			l.base = &f.Number
		default:
			stored := slices.DeleteFunc(slices.Clone(parts), func(e pack.Extent) bool { return e.Length == 0 })
			if len(stored) > 0 {
				l.earlier = append(l.earlier, repo.Pass{Number: f.Number, Extents: stored})
			}
		}
	}
	slices.SortFunc(l.ranges, func(a, b copier.Base) int { return cmp.Compare(a.Start, b.Start) })
	return l
}

// otherHistory is the error about a file that an earlier pass has read in a state that is
// not one of its past. page is where that shows, counted from 0 in the file. Which pass it
// was is not known: interrupted attempts are given up first, and then the parent.
func (b *bases) otherHistory(file string, page int64) error {
	newest := &b.passes[0]
	err := preflight.Doubtf("%s was put back to an earlier state since %s was taken: its page %d, or one soon after "+
		"it, is not as it was read then, and no LSN says that it has been changed since", file, newest.id, page)
	if newest.parts != nil {
		return staleError{err}
	}
	return err
}

// lsnGroups are groups [first, end) of pages that have a sum of LSNs.
type lsnGroups struct{ first, end int }

// groupsOf returns the groups of a file whose pages lie in a range, and are the same in the
// copy of the file and in the file as it is now, of size bytes.
func groupsOf(f *repo.LineageFile, r copier.Range, size int64) lsnGroups {
	page := int64(f.PageSize)
	if page == 0 {
		return lsnGroups{}
	}
	was, is := f.Copied/page, size/page
	first, end := innodb.LSNGroupsWithin((r.Start+page-1)/page, (r.Start+r.Size)/page, is)
	if end > first && was != is {
		if _, last := innodb.LSNGroupPages(end - 1); last > min(was, is) {
			end--
		}
	}
	return lsnGroups{first, end}
}

// groupsOfPart returns the groups whose pages a part of a file has.
func groupsOfPart(f *repo.LineageFile, e pack.Extent) lsnGroups {
	return groupsOf(f, copier.Range{Start: e.Start, Size: e.Size}, f.Copied)
}

// putLSNs puts the sums of groups into those of a file. There may be none of them.
func putLSNs(all []uint32, groups lsnGroups, sums []uint32) []uint32 {
	if len(sums) == 0 || len(sums) != groups.end-groups.first {
		return all
	}
	if missing := groups.end - len(all); missing > 0 {
		all = append(all, make([]uint32, missing)...)
	}
	copy(all[groups.first:], sums)
	return all
}

// find returns the file of that identity, nil if the pass does not have it. The number of
// a device may change when the machine starts; without a birth time an inode could be any
// file's then.
func (p *basePass) find(id datadir.Identity, same func(*repo.LineageFile) bool) *repo.LineageFile {
	found := p.files.Find(id.Inode, id.Born)
	for i := range found {
		f := &found[i]
		if (f.Dev == id.Dev || !p.sameBoot && id.Born != 0) && same(f) {
			return f
		}
	}
	return nil
}

// covers returns what the pass has read of a file, in whole pages.
func (p *basePass) covers(f *repo.LineageFile) ranges {
	page := max(int64(f.PageSize), 1)
	if p.parts == nil {
		return ranges{{Size: f.Copied / page * page}}
	}
	var all ranges
	for _, e := range p.parts[f.Number] {
		from, to := (e.Start+page-1)/page*page, (e.Start+e.Size)/page*page
		switch last := len(all) - 1; {
		case from >= to:
		case last >= 0 && all[last].Start+all[last].Size >= from:
			all[last].Size = max(all[last].Size, to-all[last].Start)
		default:
			all = append(all, copier.Range{Start: from, Size: to - from})
		}
	}
	return all
}

// ranges are runs of bytes, ascending and apart from each other.
type ranges []copier.Range

// within returns what both have.
func (r ranges) within(other ranges) (both ranges) {
	for i, j := 0, 0; i < len(r) && j < len(other); {
		a, b := r[i], other[j]
		from, to := max(a.Start, b.Start), min(a.Start+a.Size, b.Start+b.Size)
		if from < to {
			both = append(both, copier.Range{Start: from, Size: to - from})
		}
		if a.Start+a.Size < b.Start+b.Size {
			i++
		} else {
			j++
		}
	}
	return both
}

// without returns what other does not have.
func (r ranges) without(other ranges) (rest ranges) {
	for _, a := range r {
		at, end := a.Start, a.Start+a.Size
		for _, b := range other {
			if b.Start+b.Size <= at || b.Start >= end {
				continue
			}
			if b.Start > at {
				rest = append(rest, copier.Range{Start: at, Size: b.Start - at})
			}
			at = b.Start + b.Size
		}
		if at < end {
			rest = append(rest, copier.Range{Start: at, Size: end - at})
		}
	}
	return rest
}
