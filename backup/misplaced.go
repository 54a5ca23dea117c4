package backup

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"mbk/internal/datadir"
	"mbk/internal/innodb"
	"mbk/stage"
)

// exchanged are the files of the final state that are not those of their tables.
func (f *finalState) exchanged(d *datadir.Dictionary) []*finalFile {
	var found []*finalFile
	for _, p := range f.files {
		if p.entry.IsInnoDB() && !p.entry.Volatile() && p.copy.id != nil && d.Mismatch(p.entry, *p.copy.id) != "" {
			found = append(found, p)
		}
	}
	return found
}

// leaveCopies takes those of the exchanged files out of the final state whose
// tablespace is in its own place, too: the server cannot open them, and a restored
// one would not know which is the right one.
func (c *copies) leaveCopies(f *finalState, exchanged []*finalFile) {
	right := map[innodb.SpaceID]bool{}
	for _, p := range f.files {
		if p.copy.id != nil && strings.EqualFold(c.dictionary.Names[*p.copy.id], strings.TrimSuffix(p.entry.Path(), path.Ext(p.entry.Name))) {
			right[*p.copy.id] = true
		}
	}
	c.misplaced = map[string]*finalFile{}
	for _, p := range exchanged {
		if name := p.entry.Path(); right[*p.copy.id] {
			c.misplaced[name] = p
			delete(f.files, name)
		}
	}
}

// lookForLeftOver decides which of the files of a scan no table has. The dictionary is
// read again only where something is not in it.
func (c *copies) lookForLeftOver(ctx context.Context, server *stage.Server, s datadir.Scan) error {
	c.leftOver, c.absent = nil, c.layout.MissingExternal(s)
	if len(c.dictionary.Unknown(s.Entries)) == 0 {
		return nil
	}
	var err error
	if c.dictionary, err = datadir.ReadDictionary(ctx, server); err != nil {
		return err
	}
	found, _, err := c.dictionary.Unowned(c.layout, c.dictionary.Unknown(s.Entries), s.Entries)
	if len(found) > 0 {
		c.leftOver = make(map[string]bool, len(found))
	}
	for _, name := range found {
		c.leftOver[name] = true
	}
	return err
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

// findProblems looks, under the lock, for tables of InnoDB without files, or with wrong
// ones. Only then is the dictionary needed once more.
func (c *copies) findProblems(ctx context.Context, server *stage.Server, f *finalState) error {
	if d := c.dictionary; !f.bare && (d == nil || len(f.exchanged(d)) == 0) {
		return nil
	}
	f.bare = true
	d, err := datadir.ReadDictionary(ctx, server)
	if err != nil {
		return err
	}
	c.dictionary = d
	c.leaveCopies(f, f.exchanged(d))
	return nil
}
