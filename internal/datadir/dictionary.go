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

// An .ibd file that is not in InnoDB's dictionary was put there by somebody, or is left
// over from a lost dictionary. The server runs with it and never reads it. In a backup it
// would conflict with the table whose number it has.

// Dictionary is what InnoDB knows of its tables.
type Dictionary struct {
	Spaces map[string]innodb.SpaceID // by their names on disk in lower case; 0: in the system tablespace
	Names  map[innodb.SpaceID]string // on disk: "shop/t#P#p0"
}

// ReadDictionary asks the server for its dictionary.
func ReadDictionary(ctx context.Context, server TableLister) (*Dictionary, error) {
	tables, err := server.InnoDBTables(ctx)
	if err != nil {
		return nil, err
	}
	d := &Dictionary{
		Spaces: make(map[string]innodb.SpaceID, len(tables)),
		Names:  make(map[innodb.SpaceID]string, len(tables)),
	}
	for _, t := range tables {
		d.Spaces[strings.ToLower(t.Name)] = t.Space
		if t.Space != 0 {
			d.Names[t.Space] = t.Name
		}
	}
	return d, nil
}

// Unknown returns the files of InnoDB for which the dictionary has no table.
func (d *Dictionary) Unknown(entries []Entry) []Entry {
	var found []Entry
	for _, e := range entries {
		if e.IsInnoDB() && (d == nil || d.Spaces[e.DictionaryName()] == 0) {
			found = append(found, e)
		}
	}
	return found
}

// Mismatch describes a file in the place of a table's file that has another number: it is
// the file of another table, or of none. Mismatch is "" for the right file, and where the
// dictionary knows no table.
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

// Unowned returns those of the unknown files that surely belong to no table. It requires
// that the dictionary was read after the files had been listed: InnoDB makes, renames and
// drops a file and its table under one lock, and the dictionary is read under it, too. A
// file is kept that has the number of a table whose own file is missing or has another
// number, because it may be that one; moved has a text about each of these.
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
		ownID := innodb.SpaceID(0)
		if owned {
			if ownID, err = ownSpaceID(l, owner, there, page); err != nil {
				return nil, nil, err
			}
		}
		switch _, err := l.Stat(l.File(e)); {
		case errors.Is(err, fs.ErrNotExist): // renamed: what is in its owner's place now may be this file
		case owned && ownID != id:
			moved = append(moved, movedText(e, owner, ownID))
		case id == 0 && e.Volatile(): // it may be so new that nothing was written to it
		default:
			found = append(found, e.Path())
		}
	}
	return found, moved, nil
}

// ownSpaceID returns the number in the file that is in the place of a table, 0 if there is
// none.
func ownSpaceID(l Layout, table string, there map[string]Entry, page []byte) (innodb.SpaceID, error) {
	own, isThere := there[strings.ToLower(table)]
	if !isThere { // a filter may exclude it
		own = Entry{Dir: path.Dir(table), Name: path.Base(table) + ".ibd"}
	}
	id, err := readSpaceID(l, own, page)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return id, err
}

// movedText says of a file that it may be the one of a table, in whose place is another.
func movedText(e Entry, table string, inPlace innodb.SpaceID) string {
	what := "is not there"
	if inPlace != 0 {
		what = "has another"
	}
	return fmt.Sprintf("%s has the number of %s.ibd, which %s", e.Path(), table, what)
}
