package datadir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"mbk/internal/innodb"
)

// An .ibd file that InnoDB's dictionary knows nothing of is one that somebody has put
// there, or that a lost dictionary has left behind: the server runs with it and never
// looks at it. In a backup it would be in the way of the table whose number it has.

// Dictionary is what InnoDB knows of its tables.
type Dictionary struct {
	Spaces map[string]innodb.SpaceID // by their names on disk in lower case; 0: in the system tablespace
	Names  map[innodb.SpaceID]string // on disk: "shop/t#P#p0"
}

// ReadDictionary asks the server for it.
func ReadDictionary(ctx context.Context, server TableLister) (*Dictionary, error) {
	tables, err := server.InnoDBTables(ctx)
	if err != nil {
		return nil, err
	}
	d := &Dictionary{Spaces: make(map[string]innodb.SpaceID, len(tables)), Names: make(map[innodb.SpaceID]string, len(tables))}
	for _, t := range tables {
		d.Spaces[strings.ToLower(t.Name)] = t.Space
		if t.Space != 0 {
			d.Names[t.Space] = t.Name
		}
	}
	return d, nil
}

// Unknown are the files of InnoDB of which the dictionary has no table.
func (d *Dictionary) Unknown(entries []Entry) []Entry {
	var found []Entry
	for _, e := range entries {
		if e.IsInnoDB() && (d == nil || d.Spaces[e.DictionaryName()] == 0) {
			found = append(found, e)
		}
	}
	return found
}

// Mismatch says whose file it is that stands in the place of a table's, by its number:
// that of another table, or of none. It is "" for the right one, and for one of no
// table that the dictionary knows.
func (d *Dictionary) Mismatch(e Entry, id innodb.SpaceID) string {
	want := d.Spaces[e.DictionaryName()]
	owner := d.Names[id]
	switch {
	case want == 0 || id == 0 || strings.EqualFold(owner, e.SpaceTable()):
		return ""
	case owner == "":
		return fmt.Sprintf("its file %s is of tablespace %d, and InnoDB wants %d there", e.Path(), id, want)
	}
	return fmt.Sprintf("its file %s is a copy of %s.ibd, or was exchanged with it", e.Path(), owner)
}

// Unowned are those of the unknown files that belong to nobody for sure, if the
// dictionary was read after the files had been listed: InnoDB makes, renames and drops
// a file and its table under one lock, under which the dictionary is read, too. One is
// kept that has the number of a table whose own file is not there, or has another
// number: it may be that one. moved says so of each.
func (d *Dictionary) Unowned(l Layout, unknown, all []Entry) (found, moved []string, err error) {
	if len(unknown) == 0 {
		return nil, nil, nil
	}
	size, err := l.PageSize()
	if err != nil {
		return nil, nil, err
	}
	there := map[string]Entry{}
	for _, e := range all {
		if e.IsInnoDB() {
			there[e.DictionaryName()] = e
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
		owner, owned := d.Names[id]
		var ownID innodb.SpaceID
		if owned {
			own, isThere := there[strings.ToLower(owner)]
			if !isThere { // a filter may have left it out
				own = Entry{Dir: path.Dir(owner), Name: path.Base(owner) + ".ibd"}
			}
			if ownID, err = readSpaceID(l, own, page); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, nil, err
			}
		}
		switch _, err := l.Stat(l.File(e)); {
		case errors.Is(err, fs.ErrNotExist): // renamed: what is in its owner's place now may be this file
		case owned && ownID != id:
			what := "is not there"
			if ownID != 0 {
				what = "has another"
			}
			moved = append(moved, fmt.Sprintf("%s has the number of %s.ibd, which %s", e.Path(), owner, what))
		case id == 0 && e.Volatile(): // it may be so new that nothing was written to it
		default:
			found = append(found, e.Path())
		}
	}
	return found, moved, nil
}
