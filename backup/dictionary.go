package backup

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

// dictionary is what InnoDB knows of its tables.
type dictionary struct {
	spaces map[string]innodb.SpaceID // by their names on disk in lower case; 0: in the system tablespace
	names  map[innodb.SpaceID]string // on disk: "shop/t#P#p0"
}

// readDictionary asks the server for it.
func readDictionary(ctx context.Context, server innodbTables) (*dictionary, error) {
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
