package backup

import (
	"fmt"
	"testing"

	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// dir is the files of a data directory by path, each with the number of its inode.
type dir map[string]uint64

// scanned makes a scan and the copies of it, as after the first pass.
func (d dir) scanned(databases ...string) (datadir.Scan, *copies) {
	c := &copies{newest: map[datadir.Identity]*fileCopy{}}
	s := datadir.Scan{Databases: databases}
	for path, inode := range d {
		e := entryOf(path)
		s.Entries = append(s.Entries, e)
		if inode != 0 { // else it could not be opened
			id := datadir.Identity{Inode: inode}
			c.newest[id] = &fileCopy{entry: e, stat: datadir.FileStat{ID: id}}
		}
	}
	return s, c
}

// finalState is the state at the end.
func (d dir) final(databases ...string) *finalState {
	f := &finalState{databases: databases, files: map[string]*finalFile{}}
	for path, inode := range d {
		e := entryOf(path)
		f.files[path] = &finalFile{
			entry: e, copy: &fileCopy{entry: e, stat: datadir.FileStat{ID: datadir.Identity{Inode: inode}}},
		}
	}
	return f
}

func entryOf(path string) datadir.Entry {
	var name, database string
	for i := range path {
		if path[i] == '/' {
			database, name = path[:i], path[i+1:]
		}
	}
	return datadir.Entry{Dir: database, Name: name, Table: datadir.TableOf(name)}
}

func TestDDL(t *testing.T) {
	before := dir{
		"d/t.frm": 1, "d/t.ibd": 2, "d/p.frm": 3, "d/p#P#a.ibd": 4, "d/p#P#b.ibd": 5, "d/p.par": 6,
		"d/m.frm": 7, "d/m.MYD": 8, "d/m.MYI": 9, "d/db.opt": 10, "d/v.frm": 11,
	}
	with := func(changes dir) dir {
		all := dir{}
		for path, inode := range before {
			all[path] = inode
		}
		for path, inode := range changes {
			if all[path] = inode; inode == 0 {
				delete(all, path)
			}
		}
		return all
	}
	for _, tt := range []struct {
		name    string
		changes dir
		journal []innodb.SpaceHistory
		want    string
	}{
		{"nothing", dir{}, nil, "[]"},
		{"a trigger", dir{"d/t.TRG": 20, "d/x.TRN": 21}, nil, "[]"},
		{"the temporary table of an ALTER", dir{"d/#sql-1.ibd": 20}, nil, "[]"},
		{"a partition added", dir{"d/p.frm": 20, "d/p#P#c.ibd": 21}, nil, "[altered d.p]"},
		{"a partition rebuilt", dir{"d/p#P#b.ibd": 20}, nil, "[rebuilt d.p]"},
		{"a partition dropped", dir{"d/p#P#a.ibd": 0}, nil, "[altered d.p]"},
		{"rows in a new file", dir{"d/m.MYD": 20}, nil, "[rebuilt d.m]"},
		{"another engine", dir{"d/m.frm": 20, "d/m.MYD": 0, "d/m.MYI": 0, "d/m.ibd": 21}, nil, "[rebuilt d.m]"},
		{
			"names swapped",
			dir{"d/t.frm": 7, "d/t.ibd": 0, "d/t.MYD": 8, "d/t.MYI": 9, "d/m.frm": 1, "d/m.ibd": 2, "d/m.MYD": 0, "d/m.MYI": 0},
			nil, "[renamed d.m<d.t renamed d.t<d.m]",
		},
		{
			"renamed and made anew", dir{"d/old.frm": 1, "d/old.ibd": 2, "d/t.frm": 20, "d/t.ibd": 21}, nil,
			"[renamed d.old<d.t rebuilt d.t]",
		},
		{"a view made anew", dir{"d/v.frm": 20}, nil, "[altered d.v]"},
		{"came and went", dir{}, []innodb.SpaceHistory{
			{
				Name: "./d/x.ibd", Created: 1, Deleted: 2}, {Name: "./d/#sql-2.ibd", Created: 1, Deleted: 2}, {Name: "./d/t.ibd",
				Created: 1, Deleted: 2,
			},
			{
				Name: "./undo001", Created: 1, Deleted: 2}, {Name: "./d/y.ibd", Created: 1}, {Name: "./d/q#P#a.ibd", Created: 1,
				Deleted: 2}, {Name: "./d/q#P#b.ibd", Created: 1, Deleted: 2},
		}, "[transient d.q transient d.x]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, c := before.scanned("d")
			got := []string{}
			for _, e := range c.noteTables(s).ddl(with(tt.changes).final("d"), tt.journal).Events {
				text := fmt.Sprintf("%s %s.%s", e.Kind, e.Database, e.Name)
				if e.From != "" {
					text += "<" + e.From
				}
				got = append(got, text)
			}
			if fmt.Sprint(got) != tt.want {
				t.Errorf("DDL seen: %v, want %s", got, tt.want)
			}
		})
	}
	t.Run("a table that was locked at first", func(t *testing.T) {
		s, c := dir{"d/t.frm": 0, "d/t.ibd": 0}.scanned("d")
		if d := c.noteTables(s).ddl(dir{"d/t.frm": 1, "d/t.ibd": 2}.final("d"), nil); d.Total() != 0 {
			t.Errorf("DDL seen: %+v", d)
		}
	})
	t.Run("databases", func(t *testing.T) {
		s, c := dir{"a@0020b/t.frm": 1}.scanned("a@0020b", "same")
		d := c.noteTables(s).ddl(dir{}.final("same", "new"), nil)
		want := []repo.DDLEvent{
			{Kind: repo.DDLDropped, Database: "a b"}, {Kind: repo.DDLDropped, Database: "a b", Name: "t"},
			{Kind: repo.DDLCreated, Database: "new"},
		}
		if fmt.Sprint(d.Events) != fmt.Sprint(want) || filename.SQL("a@0020b") != "a b" {
			t.Errorf("DDL seen: %v, want %v", d.Events, want)
		}
	})
}
