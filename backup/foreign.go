package backup

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"mbk/backup/preflight"
	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/innodb"
	"mbk/internal/ui/printable"
	"mbk/stage"
)

// foreignFiles are files of InnoDB in the data directory that are not the server's. A
// backup leaves them alone, and warns of them.
type foreignFiles struct {
	layout     datadir.Layout
	dictionary *datadir.Dictionary   // nil until something is not known
	discarded  map[string]bool       // tables without a tablespace, as "database/table" on disk
	leftOver   map[string]bool       // files that no table has
	misplaced  map[string]*finalFile // copies of other tables' files, in the places of these
	absent     map[string]bool       // files that lie elsewhere, and are not there
}

// dropMisplaced takes those of the exchanged files out of the final state whose
// tablespace is in its own place, too: the server cannot open them, and a restored
// one would not know which is the right one.
func (foreign *foreignFiles) dropMisplaced(f *finalState, exchanged []*finalFile) {
	right := map[innodb.SpaceID]bool{}
	for _, ff := range f.files {
		own := strings.TrimSuffix(ff.entry.Path(), path.Ext(ff.entry.Name))
		if ff.copy.id != nil && strings.EqualFold(foreign.dictionary.Names[*ff.copy.id], own) {
			right[*ff.copy.id] = true
		}
	}
	foreign.misplaced = map[string]*finalFile{}
	for _, ff := range exchanged {
		if name := ff.entry.Path(); right[*ff.copy.id] {
			foreign.misplaced[name] = ff
			delete(f.files, name)
		}
	}
}

// lookForLeftOver decides which of the files of a scan no table has. The dictionary is
// read again only where something is not in it.
func (foreign *foreignFiles) lookForLeftOver(ctx context.Context, server *stage.Server, s datadir.Scan) error {
	foreign.leftOver, foreign.absent = nil, foreign.layout.MissingExternal(s)
	if len(foreign.dictionary.Unknown(s.Entries)) == 0 {
		return nil
	}
	var err error
	if foreign.dictionary, err = datadir.ReadDictionary(ctx, server); err != nil {
		return err
	}
	found, _, err := foreign.dictionary.Unowned(foreign.layout, foreign.dictionary.Unknown(s.Entries), s.Entries)
	if len(found) > 0 {
		foreign.leftOver = make(map[string]bool, len(found))
	}
	for _, name := range found {
		foreign.leftOver[name] = true
	}
	return err
}

// warnLeftOver are the warnings of such files that a backup ends with.
func (foreign *foreignFiles) warnLeftOver() []string {
	var names []string
	for name := range foreign.leftOver {
		if !foreign.discarded[strings.TrimSuffix(name, ".ibd")] {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return []string{preflight.UnownedText(names)}
}

// findProblems looks, under the lock, for tables of InnoDB without files, or with wrong
// ones. Only then is the dictionary needed once more.
func (foreign *foreignFiles) findProblems(ctx context.Context, server *stage.Server, f *finalState) error {
	if d := foreign.dictionary; !f.bare && (d == nil || len(f.exchanged(d)) == 0) {
		return nil
	}
	f.bare = true
	d, err := datadir.ReadDictionary(ctx, server)
	if err != nil {
		return err
	}
	foreign.dictionary = d
	foreign.dropMisplaced(f, f.exchanged(d))
	return nil
}

// lookForDiscarded asks which tablespaces are discarded.
func (foreign *foreignFiles) lookForDiscarded(ctx context.Context, server *stage.Server) error {
	names, err := server.Discarded(ctx)
	if err != nil {
		return err
	}
	foreign.discarded = make(map[string]bool, len(names))
	for _, name := range names {
		dir, table := path.Split(name)
		if foreign.layout.Selection.Keeps(path.Clean(dir), filename.Base(table)) {
			foreign.discarded[name] = true
		}
	}
	return nil
}

// has reports whether a file of InnoDB is not the server's: it only waits for being
// imported, or no table has it, or it is a copy of another, or it is not there at all.
func (foreign *foreignFiles) has(e datadir.Entry) bool {
	name := e.Path()
	return e.IsInnoDB() && (foreign.leftOver[name] || foreign.misplaced[name] != nil || foreign.absent[name] ||
		foreign.discarded[strings.TrimSuffix(name, path.Ext(name))])
}

// withoutSpace warns of the tables without a tablespace.
func (foreign *foreignFiles) withoutSpace() []string {
	var warnings []string
	for _, name := range slices.Sorted(maps.Keys(foreign.discarded)) {
		dir, table := path.Split(name)
		warnings = append(warnings, fmt.Sprintf("the tablespace of %s is discarded: the backup holds its definition only",
			printable.Table(filename.SQL(path.Clean(dir)), filename.SQL(table))))
	}
	return warnings
}
