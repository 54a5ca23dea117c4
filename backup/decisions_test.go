package backup

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/backup/preflight"
	"mbk/internal/datadir"
	"mbk/internal/datadir/filter"
	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// These are tables of the decisions that a backup makes about files: from what was seen
// of them, without a server and without files.

// leftAlone is the state of a file that was left alone for an hour when it was read.
func leftAlone(inode uint64, size int64) datadir.FileStat {
	now := datadir.TimestampOf(time.Unix(1e9, 0))
	return datadir.FileStat{
		ID: datadir.Identity{Inode: inode}, Size: size,
		Modified: now.Add(-time.Hour), Changed: now.Add(-time.Hour), Taken: now,
	}
}

// written is the state after a write just before it was read.
func written(s datadir.FileStat) datadir.FileStat {
	s.Modified = s.Taken.Add(time.Hour)
	s.Changed, s.Taken = s.Modified, s.Modified
	return s
}

func TestJudgeCopy(t *testing.T) {
	idle := leftAlone(1, 10)
	id := innodb.SpaceID(7)
	for name, c := range map[string]struct {
		copy fileCopy
		now  datadir.FileStat
		want holdState
	}{
		"InnoDB, written to":                   {fileCopy{class: repo.ClassInnoDB, id: &id}, written(idle), holding},
		"InnoDB, without a first page":         {fileCopy{class: repo.ClassInnoDB}, idle, byFirstPage},
		"InnoDB, without a page, written to":   {fileCopy{class: repo.ClassInnoDB}, written(idle), byFirstPage},
		"Aria, left alone":                     {fileCopy{class: repo.ClassAria}, idle, holding},
		"Aria, written to":                     {fileCopy{class: repo.ClassAria}, written(idle), byIndex},
		"a plain file, left alone":             {fileCopy{class: repo.ClassPlain}, idle, holding},
		"a plain file, written to":             {fileCopy{class: repo.ClassPlain}, written(idle), changed},
		"a plain file, grown in the same tick": {fileCopy{class: repo.ClassPlain}, leftAlone(1, 11), changed},
	} {
		c.copy.stat = idle
		if got := c.copy.judge(c.now); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	hot := written(idle)
	plain := fileCopy{class: repo.ClassPlain, stat: hot}
	if got := plain.judge(hot); got != changed {
		t.Errorf("a plain file that was written to when the copy began: %d, want %d", got, changed)
	}
}

func TestChoose(t *testing.T) {
	grown := func(*fileCopy) bool { return true }
	cut := func(*fileCopy) bool { return false }
	rows, table, log := entryOf("d/t.MYD"), entryOf("d/t.ibd"), entryOf("mysql/slow_log.CSV")
	for _, c := range []struct {
		name         string
		entry        datadir.Entry
		none         bool
		holds, stale bool
		size         int64
		grown        func(*fileCopy) bool
		want         choice
	}{
		{"a copy that holds", rows, false, true, false, 10, cut, keepCopy},
		{"one that does not", rows, false, false, false, 10, grown, copyAgain},
		{"no copy", rows, true, false, false, 10, grown, copyAgain},
		{"rows whose keys are stale", rows, false, true, true, 10, grown, copyAgain},
		{"a definition whose rows are stale", entryOf("d/t.frm"), false, true, true, 10, cut, keepCopy},
		{"InnoDB beside stale rows", table, false, true, true, 10, cut, keepCopy},
		{"a log that holds beside stale keys", log, false, true, true, 10, cut, keepCopy},
		{"a log that has grown", log, false, false, false, 20, grown, extendCopy},
		{"a log that was emptied", log, false, false, false, 5, grown, copyAgain},
		{"a log that was emptied and has grown", log, false, false, false, 20, cut, copyAgain},
		{"a log without a copy", log, true, false, false, 20, grown, copyAgain},
	} {
		fc := &fileCopy{size: 10}
		if c.none {
			fc = nil
		}
		if got := choose(c.entry, fc, c.holds, c.stale, c.size, c.grown); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// What a pass over what is new copies: no file twice, none that is being written to, and
// none that is not the server's.
func TestMissing(t *testing.T) {
	idle, other, id := leftAlone(1, 10), leftAlone(2, 20), innodb.SpaceID(7)
	denied := errors.New("denied")
	for name, c := range map[string]struct {
		path  string
		class string
		now   datadir.StatResult
		left  bool // no table has it
		want  bool
		err   error
	}{
		"holds": {path: "d/t.MYD", class: repo.ClassPlain, now: datadir.StatResult{Stat: idle}},
		"rebuilt": {
			path: "d/t.MYD", class: repo.ClassPlain, now: datadir.StatResult{Stat: other}, want: true,
		},
		"written to, and being so": {
			path: "d/t.MYD", class: repo.ClassPlain, now: datadir.StatResult{Stat: written(idle)},
		},
		"new, and being written to": {path: "d/u.MYD", now: datadir.StatResult{Stat: written(other)}, want: true},
		"InnoDB written to": {
			path: "d/t.ibd", class: repo.ClassInnoDB, now: datadir.StatResult{Stat: written(idle)},
		},
		"InnoDB that no table has": {
			path: "d/t.ibd", class: repo.ClassInnoDB, now: datadir.StatResult{Stat: other}, left: true,
		},
		"dropped since it was listed": {path: "d/t.MYD", now: datadir.StatResult{Err: fs.ErrNotExist}},
		"cannot be looked at":         {path: "d/t.MYD", now: datadir.StatResult{Err: denied}, err: denied},
		"written to and left alone then": {
			path: "d/t.MYD", class: repo.ClassPlain, now: datadir.StatResult{Stat: leftAlone(1, 11)}, want: true,
		},
	} {
		e := entryOf(c.path)
		b := &copies{newest: map[datadir.Identity]*fileCopy{}}
		if c.class != "" {
			b.newest[idle.ID] = &fileCopy{entry: e, class: c.class, stat: idle, id: &id}
		}
		if c.left {
			b.foreign.leftOver = map[string]bool{c.path: true}
		}
		got, size, err := b.missing([]datadir.Entry{e}, []datadir.StatResult{c.now})
		if !errors.Is(err, c.err) || (len(got) > 0) != c.want || c.want && size != c.now.Stat.Size {
			t.Errorf("%s: %v, %d bytes, %v, want it copied: %t", name, got, size, err, c.want)
		}
	}
}

// Under BLOCK_COMMIT only what BLOCK_DDL does not protect is looked at again.
func TestDue(t *testing.T) {
	state := func(class string, paths ...string) *finalState {
		f := newFinalState(0)
		for _, path := range paths {
			f.put(&finalFile{entry: entryOf(path), copy: &fileCopy{class: class}})
		}
		return f
	}
	for name, c := range map[string]struct {
		final       *finalState
		path        string
		ours, again bool
		fails       bool
	}{
		"InnoDB": {final: state(repo.ClassInnoDB, "d/t.ibd"), path: "d/t.ibd", ours: true},
		"MyISAM": {final: state(repo.ClassPlain, "d/t.MYD"), path: "d/t.MYD", ours: true},
		"Aria":   {final: state(repo.ClassAria, "d/t.MAD"), path: "d/t.MAD", ours: true, again: true},
		"the server's own table": {
			final: state(repo.ClassPlain, "mysql/t.MYD"), path: "mysql/t.MYD", ours: true, again: true,
		},
		"the server's table in InnoDB": {final: state(repo.ClassInnoDB, "mysql/t.ibd"), path: "mysql/t.ibd", ours: true},
		"an ALTER": {
			final: state(repo.ClassInnoDB, "d/#sql-1.ibd"), path: "d/#sql-1.ibd", ours: true, again: true,
		},
		"an ALTER that began just now": {final: state(repo.ClassInnoDB), path: "d/#sql-2.ibd", ours: true, again: true},
		"a new file of InnoDB":         {final: state(repo.ClassInnoDB), path: "d/u.ibd", ours: true, again: true},
		"a new file of the server":     {final: state(repo.ClassPlain), path: "mysql/u.MYD", ours: true, again: true},
		"a new table":                  {final: state(repo.ClassPlain), path: "d/u.MYD", ours: true, fails: true},
		"a new definition":             {final: state(repo.ClassPlain), path: "d/u.frm", ours: true, fails: true},
		"the definition of an ARCHIVE": {final: state(repo.ClassPlain, "d/a.ARZ"), path: "d/a.frm", ours: true},
		"a file of somebody else":      {final: state(repo.ClassPlain), path: "d/notes.txt"},
	} {
		ours, again, err := c.final.due(entryOf(c.path))
		if ours != c.ours || again != c.again || (err != nil) != c.fails {
			t.Errorf("%s: ours %t, again %t, %v, want %t, %t, an error: %t", name, ours, again, err, c.ours, c.again, c.fails)
		}
	}
}

// space is a file of InnoDB in the final state; id 0: its first page was not written.
func (f *finalState) space(path string, id innodb.SpaceID) *finalState {
	fc := &fileCopy{class: repo.ClassInnoDB}
	if id != 0 {
		fc.id = &id
	}
	f.put(&finalFile{entry: entryOf(path), copy: fc})
	return f
}

func TestReconcileSpaces(t *testing.T) {
	without := func(table string) *datadir.Selection {
		f, err := filter.New(filter.Spec{ExcludeTables: []string{table}}, false)
		if err != nil {
			t.Fatal(err)
		}
		return &datadir.Selection{Filter: f}
	}
	for name, c := range map[string]struct {
		final     *finalState
		spaces    []innodb.SpaceHistory
		selection *datadir.Selection
		want      []string // of files
		is        error
		says      string
	}{
		"nothing happened": {final: newFinalState(0).space("d/t.ibd", 5), want: []string{"d/t.ibd"}},
		"all changed": {
			final:  newFinalState(0).space("d/t.ibd", 5),
			spaces: []innodb.SpaceHistory{{Space: 5, Name: "./d/t.ibd", Modified: 9}}, want: []string{"d/t.ibd"},
		},
		"created, its first page not written": {
			final: newFinalState(0).space("d/t.ibd", 0), want: []string{"d/t.ibd"},
			spaces: []innodb.SpaceHistory{{Space: 5, Name: "./d/t.ibd", Created: 9}},
		},
		"changed, and not among the files": {
			final: newFinalState(0), says: "is not among the files",
			spaces: []innodb.SpaceHistory{{Space: 5, Name: "./d/t.ibd", Modified: 9}},
		},
		"changed, and left out by the filter": {
			final: newFinalState(0), selection: without("d.t"),
			spaces: []innodb.SpaceHistory{{Space: 5, Name: "./d/t.ibd", Modified: 9}},
		},
		"discarded": {
			final: newFinalState(0).space("d/t.ibd", 5), is: ErrReplaced,
			spaces: []innodb.SpaceHistory{{Space: 5, Name: "./d/t.ibd", Deleted: 9}},
		},
		"an ALTER that gave up": {
			final: newFinalState(0).space("d/#sql-1.ibd", 5).space("d/t.ibd", 6), want: []string{"d/t.ibd"},
			spaces: []innodb.SpaceHistory{{Space: 5, Name: "./d/#sql-1.ibd", Created: 8, Deleted: 9}},
		},
		"renamed after the copy": {
			final: newFinalState(0).space("d/t.ibd", 5), says: "is called ./d/u.ibd by the redo log",
			spaces: []innodb.SpaceHistory{{Space: 5, Name: "./d/u.ibd", Renamed: 9}},
		},
		"in two files": {
			final: newFinalState(0).space("d/t.ibd", 5).space("d/u.ibd", 5), says: "tablespace 5 is in two files",
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := datadir.Layout{Selection: c.selection}
			err := reconcileSpaces(c.final, c.spaces, l)
			fails := c.is != nil || c.says != ""
			if (err != nil) != fails || c.is != nil && !errors.Is(err, c.is) ||
				err != nil && !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v, want %v %s", err, c.is, c.says)
			}
			if got := slices.Sorted(maps.Keys(c.final.files)); err == nil && !slices.Equal(got, c.want) {
				t.Errorf("the files are %q, want %q", got, c.want)
			}
			for path, ff := range c.final.files {
				if err == nil && ff.copy.id == nil {
					t.Errorf("%s has no number", path)
				}
			}
		})
	}
}

func TestReconcileTables(t *testing.T) {
	table := func(names ...string) (all []datadir.TableName) {
		for _, name := range names {
			all = append(all, datadir.TableName{Database: "d", Name: name})
		}
		return all
	}
	for name, c := range map[string]struct {
		ours, leftOut []string
		listed        []datadir.TableName
		unlisted      []datadir.TableName // before the backup
		unreadable    string              // the table whose definition cannot be read
		problems      []string            // of the tables in the manifest, by name
		says          string
	}{
		"the same": {ours: []string{"a", "b"}, listed: table("a", "b"), problems: []string{"", ""}},
		"one is left out": {
			ours: []string{"a"}, leftOut: []string{"b"}, listed: table("a", "b"), problems: []string{""},
		},
		"the server has more": {
			ours: []string{"a"}, listed: table("a", "b"), says: preflight.WithoutFiles + "`d`.`b`",
		},
		"we have more": {ours: []string{"a", "b"}, listed: table("a"), says: "does not list: `d`.`b`"},
		"we had more before": {
			ours: []string{"a", "b"}, listed: table("a"), unlisted: table("b"), problems: []string{"", unlistedText},
		},
		"a definition cannot be read": {
			ours: []string{"b"}, listed: table("a", "b"), unreadable: "a", problems: []string{"bad", ""},
		},
		"another one could not be found": {
			ours: []string{"b"}, listed: table("a", "b"), unreadable: "c", says: preflight.WithoutFiles + "`d`.`a`",
		},
	} {
		m, f := &repo.Manifest{}, newFinalState(0)
		for _, name := range c.ours {
			m.Tables = append(m.Tables, repo.Table{Database: "d", Name: name})
		}
		for _, name := range c.leftOut {
			f.leftOut = append(f.leftOut, repo.LeftOut{Database: "d", Name: name})
		}
		f.listed.Tables = c.listed
		l := datadir.Layout{BadDefinitions: map[string]datadir.Problem{"d/" + c.unreadable + ".frm": {Text: "bad"}}}
		err := reconcileTables(m, f, l, c.unlisted)
		if (err != nil) != (c.says != "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
		var problems []string
		for _, t := range m.Tables {
			problems = append(problems, t.Problem)
		}
		if err == nil && !slices.Equal(problems, c.problems) {
			t.Errorf("%s: problems %q, want %q", name, problems, c.problems)
		}
	}
}
