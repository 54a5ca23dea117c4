package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"mbk/internal/datadir/filename"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/stage"
)

// An .ibd file that InnoDB's dictionary knows nothing of is one that somebody has put
// there, or that a lost dictionary has left behind: the server runs with it and never
// looks at it. In a backup it would be in the way of the table whose number it has.

// dictionary is what InnoDB knows of its tables.
type dictionary struct {
	spaces map[string]innodb.SpaceID // by their names on disk in lower case; 0: in the system tablespace
	names  map[innodb.SpaceID]string // on disk: "shop/t#P#p0"
}

// readDictionary asks the server for it.
func readDictionary(ctx context.Context, server *stage.Server) (*dictionary, error) {
	tables, err := server.InnoDBTables(ctx)
	if err != nil {
		return nil, err
	}
	d := &dictionary{spaces: make(map[string]innodb.SpaceID, len(tables)), names: make(map[innodb.SpaceID]string, len(tables))}
	for _, t := range tables {
		d.spaces[strings.ToLower(t.Name)] = t.Space
		if t.Space != 0 {
			d.names[t.Space] = t.Name
		}
	}
	return d, nil
}

// dictionaryName is what the dictionary calls the table of an InnoDB file.
func (e entry) dictionaryName() string {
	return strings.ToLower(strings.TrimSuffix(e.path(), path.Ext(e.name)))
}

// unknown are the files of InnoDB of which the dictionary has no table.
func (d *dictionary) unknown(entries []entry) []entry {
	var found []entry
	for _, e := range entries {
		if e.innodb() && (d == nil || d.spaces[e.dictionaryName()] == 0) {
			found = append(found, e)
		}
	}
	return found
}

// other says whose file it is that stands in the place of a table's, by its number:
// that of another table, or of none. It is "" for the right one, and for one of no
// table that the dictionary knows.
func (d *dictionary) other(e entry, id innodb.SpaceID) string {
	want := d.spaces[e.dictionaryName()]
	owner := d.names[id]
	switch {
	case want == 0 || id == 0 || strings.EqualFold(owner, strings.TrimSuffix(e.path(), path.Ext(e.name))):
		return ""
	case owner == "":
		return fmt.Sprintf("its file %s is of tablespace %d, and InnoDB wants %d there", e.path(), id, want)
	}
	return fmt.Sprintf("its file %s is a copy of %s.ibd, or was exchanged with it", e.path(), owner)
}

// exchanged are the files of the final state that are not those of their tables.
func (d *dictionary) exchanged(f *final) []*placed {
	var found []*placed
	for _, p := range f.files {
		if p.entry.innodb() && !p.entry.moving() && p.held.id != nil && d.other(p.entry, *p.held.id) != "" {
			found = append(found, p)
		}
	}
	return found
}

// leaveCopies takes those of the exchanged files out of the final state whose
// tablespace is in its own place, too: the server cannot open them, and a restored
// one would not know which is the right one.
func (c *copies) leaveCopies(f *final, exchanged []*placed) {
	right := map[innodb.SpaceID]bool{}
	for _, p := range f.files {
		if p.held.id != nil && strings.EqualFold(c.dictionary.names[*p.held.id], strings.TrimSuffix(p.entry.path(), path.Ext(p.entry.name))) {
			right[*p.held.id] = true
		}
	}
	c.misplaced = map[string]*placed{}
	for _, p := range exchanged {
		if name := p.entry.path(); right[*p.held.id] {
			c.misplaced[name] = p
			delete(f.files, name)
		}
	}
}

// moving reports whether the server may make, rename or drop a file at any time, under
// a lock too: those of running statements and of full-text indexes.
func (e entry) moving() bool { return filename.Temporary(e.name) || filename.FullText(e.name) }

// leftOver are those of the unknown files that belong to nobody for sure, if the
// dictionary was read after the files had been listed: InnoDB makes, renames and drops
// a file and its table under one lock, under which the dictionary is read, too. One is
// kept that has the number of a table whose own file is not there, or has another
// number: it may be that one. moved says so of each.
func (d *dictionary) leftOver(l layout, unknown, all []entry) (found, moved []string, err error) {
	if len(unknown) == 0 {
		return nil, nil, nil
	}
	size, err := l.pageSize()
	if err != nil {
		return nil, nil, err
	}
	there := map[string]entry{}
	for _, e := range all {
		if e.innodb() {
			there[e.dictionaryName()] = e
		}
	}
	page := make([]byte, size)
	for _, e := range unknown {
		id, err := readSpaceID(l, e, page)
		if errors.Is(err, fs.ErrNotExist) {
			continue // dropped or renamed
		}
		if err != nil {
			return nil, nil, err
		}
		owner, owned := d.names[id]
		var ownID innodb.SpaceID
		if owned {
			own, isThere := there[strings.ToLower(owner)]
			if !isThere { // a filter may have left it out
				own = entry{dir: path.Dir(owner), name: path.Base(owner) + ".ibd"}
			}
			if ownID, err = readSpaceID(l, own, page); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, nil, err
			}
		}
		switch _, err := l.stat(l.file(e)); {
		case errors.Is(err, fs.ErrNotExist): // renamed: what is in its owner's place now may be this file
		case owned && ownID != id:
			what := "is not there"
			if ownID != 0 {
				what = "has another"
			}
			moved = append(moved, fmt.Sprintf("%s has the number of %s.ibd, which %s", e.path(), owner, what))
		case id == 0 && e.moving(): // it may be so new that nothing was written to it
		default:
			found = append(found, e.path())
		}
	}
	return found, moved, nil
}

// readSpaceID is the number of the tablespace in a file, 0 if it has none that can be
// read.
func readSpaceID(l layout, e entry, page []byte) (innodb.SpaceID, error) {
	f, err := l.files.Open(l.file(e))
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	space, err := readSpace(f, e.path(), page)
	if err != nil {
		return 0, nil //nolint:nilerr // damaged, empty or no tablespace at all
	}
	return space.ID, nil
}

// lookForLeftOver decides which of the files of a scan no table has. The dictionary is
// read again only where something is not in it.
func (c *copies) lookForLeftOver(ctx context.Context, server *stage.Server, s scan) error {
	c.leftOver, c.absent = nil, c.layout.absent(s)
	if len(c.dictionary.unknown(s.entries)) == 0 {
		return nil
	}
	var err error
	if c.dictionary, err = readDictionary(ctx, server); err != nil {
		return err
	}
	found, _, err := c.dictionary.leftOver(c.layout, c.dictionary.unknown(s.entries), s.entries)
	if len(found) > 0 {
		c.leftOver = make(map[string]bool, len(found))
	}
	for _, name := range found {
		c.leftOver[name] = true
	}
	return err
}

// absent are the tablespaces outside of the data directory that are not there, such as
// those on a disk that is gone: the server runs without these tables. Up to 10.5 its
// dictionary has their paths, and a backup is refused.
func (l layout) absent(s scan) map[string]bool {
	found := map[string]bool{}
	for _, e := range s.entries {
		if e.link.kind != repo.LinkISL || !l.pathless() {
			continue
		}
		if _, err := l.stat(l.file(e)); errors.Is(err, fs.ErrNotExist) {
			found[e.path()] = true
		}
	}
	return found
}

// leftOverText is the warning of files that no table has.
func leftOverText(names []string) string {
	const most = 20
	return "InnoDB has no table for " + listUpTo(most, names) + ": not in the backup"
}

const leftOverHint = "move such files out of the data directory, if nobody needs them"

// checkLeftOver names such files before anything is locked.
func (p *Preflight) checkLeftOver(ctx context.Context, o Options) error {
	d, err := readDictionary(ctx, o.Server)
	if err != nil {
		return err
	}
	p.checkUndefined(d)
	found, moved, err := d.leftOver(p.layout, d.unknown(p.first.entries), p.first.entries)
	for _, text := range moved {
		p.note("files", GradeWarning, text+": a backup may fail", "give the file its name back")
	}
	if err != nil || len(found) == 0 {
		return err
	}
	discarded, err := o.Server.Discarded(ctx)
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(name string) bool { return slices.Contains(discarded, strings.TrimSuffix(name, ".ibd")) })
	if len(found) > 0 {
		p.note("files", GradeWarning, leftOverText(found), leftOverHint)
	}
	return nil
}

// warnLeftOver are the warnings of such files that a backup ends with.
func (c *copies) warnLeftOver() []string {
	var names []string
	for name := range c.leftOver {
		if !c.discarded[strings.TrimSuffix(name, ".ibd")] {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return []string{leftOverText(names)}
}

const twoFilesHint = "one of them is a copy: look which of the tables the server can open, before you move the file of the other out of the data directory"

// inTwoFiles is the error for two files of one tablespace.
func inTwoFiles(id innodb.SpaceID, one, other string) error {
	return fmt.Errorf("tablespace %d is in two files, %s and %s", id, one, other)
}
