package innodb

import (
	"fmt"
	"testing"
)

func TestReconcile(t *testing.T) {
	create := func(id SpaceID, name string) FileOp { return FileOp{Kind: FileCreate, Space: id, Name: name} }
	modify := func(id SpaceID, name string) FileOp { return FileOp{Kind: FileModify, Space: id, Name: name} }
	drop := func(id SpaceID, name string) FileOp { return FileOp{Kind: FileDelete, Space: id, Name: name} }
	rename := func(id SpaceID, from, to string) FileOp {
		return FileOp{Kind: FileRename, Space: id, Name: from, NewName: to}
	}
	type files = map[SpaceID]string
	tests := []struct {
		name  string
		ops   []FileOp
		files files
		want  string
	}{
		{"changed and copied", []FileOp{modify(5, "./db/t.ibd")}, files{5: "db/t.ibd"}, "[]"},
		{"changed and not copied", []FileOp{modify(5, "./db/t.ibd")}, files{6: "db/u.ibd"},
			"[tablespace 5, ./db/t.ibd, is changed by the redo log and is not among the files]"},
		{"dropped and not copied", []FileOp{modify(5, "./db/t.ibd"), drop(5, "./db/t.ibd")}, files{}, "[]"},
		{"created and copied", []FileOp{create(5, "./db/t.ibd"), modify(5, "./db/t.ibd")}, files{5: "db/t.ibd"}, "[]"},
		{"created late: recovery makes it", []FileOp{create(5, "./db/#sql-1.ibd"), modify(5, "./db/#sql-1.ibd")},
			files{}, "[]"},
		{"created, renamed, not copied: recovery aborts",
			[]FileOp{create(5, "./db/#sql-1.ibd"), rename(5, "./db/#sql-1.ibd", "./db/t.ibd")}, files{},
			"[tablespace 5, ./db/t.ibd, is changed by the redo log and is not among the files]"},
		{"created, renamed, dropped", []FileOp{create(5, "./db/a.ibd"), rename(5, "./db/a.ibd", "./db/b.ibd"),
			drop(5, "./db/b.ibd")}, files{}, "[]"},
		{"renamed, copied under the new name", []FileOp{rename(5, "./db/a.ibd", "./db/b.ibd")}, files{5: "db/b.ibd"},
			"[]"},
		{"renamed, copied under the old name", []FileOp{rename(5, "./db/a.ibd", "./db/b.ibd")}, files{5: "db/a.ibd"},
			"[tablespace 5 is called ./db/b.ibd by the redo log and db/a.ibd among the files]"},
		{"renamed, and changed under the old name in between",
			[]FileOp{rename(5, "./db/a.ibd", "./db/b.ibd"), modify(5, "./db/a.ibd")}, files{5: "db/b.ibd"}, "[]"},
		{"renamed there and back", []FileOp{rename(5, "./db/a.ibd", "./db/b.ibd"),
			rename(5, "./db/b.ibd", "./db/a.ibd"), modify(5, "./db/a.ibd")}, files{5: "db/a.ibd"}, "[]"},
		{"renamed, name not given", []FileOp{rename(5, "./db/a.ibd", "./db/b.ibd")}, files{5: ""}, "[]"},
		{"three names in a circle", []FileOp{
			rename(5, "./db/a.ibd", "./db/x.ibd"), rename(6, "./db/b.ibd", "./db/a.ibd"),
			rename(5, "./db/x.ibd", "./db/b.ibd"),
		}, files{5: "db/b.ibd", 6: "db/a.ibd"}, "[]"},
		{"discarded and imported", []FileOp{modify(5, "./db/t.ibd"), drop(5, "./db/t.ibd"), modify(5, "./db/t.ibd")},
			files{5: "db/t.ibd"},
			"[tablespace 5, db/t.ibd, is deleted by the redo log at LSN 20 and is among the files]"},
		{"only discarded", []FileOp{modify(5, "./db/t.ibd"), drop(5, "./db/t.ibd")}, files{}, "[]"},
		{"absolute path", []FileOp{modify(5, "/data/db/t.ibd")}, files{5: "/data/db/t.ibd"}, "[]"},
		{"several, in order of their numbers", []FileOp{modify(900, "./db/z.ibd"), modify(7, "./db/y.ibd")}, files{},
			"[tablespace 7, ./db/y.ibd, is changed by the redo log and is not among the files" +
				" tablespace 900, ./db/z.ibd, is changed by the redo log and is not among the files]"},
		{"checkpoints name no file", []FileOp{{Kind: FileCheckpoint, Checkpoint: 9}}, files{}, "[]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := newJournal(true, false)
			for i, op := range tt.ops {
				op.Start = LSN(10 * (i + 1))
				j.add([]FileOp{op})
			}
			if got := fmt.Sprint(Reconcile(j.Spaces(), tt.files)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestJournalKeepsHistory(t *testing.T) {
	j := newJournal(true, false)
	j.add([]FileOp{
		{Kind: FileCreate, Space: 5, Name: "./db/a.ibd", Start: 10},
		{Kind: FileModify, Space: 5, Name: "./db/a.ibd", Start: 20},
		{Kind: FileRename, Space: 5, Name: "./db/a.ibd", NewName: "./db/b.ibd", Start: 30},
		{Kind: FileCheckpoint, Checkpoint: 25, Start: 40},
		{Kind: FileDelete, Space: 5, Name: "./db/b.ibd", Start: 50},
	})
	want := SpaceHistory{Space: 5, Name: "./db/b.ibd", Created: 10, Modified: 20, Renamed: 30, Deleted: 50,
		was: "./db/a.ibd"}
	if got, ok := j.Space(5); got != want || !ok {
		t.Errorf("history = %+v, %v; want %+v", got, ok, want)
	}
	if _, ok := j.Space(6); ok {
		t.Error("tablespace 6 has a history")
	}
	if got, want := j.Counts(), (FileCounts{1, 1, 1, 1, 1}); got != want {
		t.Errorf("counts = %+v, want %+v", got, want)
	}
}

func TestJournalWithoutKeyOnlyCounts(t *testing.T) {
	j := newJournal(false, false)
	j.add([]FileOp{{Kind: FileDelete, Start: 10}, {Kind: FileModify, Start: 20}})
	if got, want := j.Counts(), (FileCounts{Deletes: 1, Modifies: 1}); got != want || j.Readable() {
		t.Errorf("counts = %+v, readable %v; want %+v", got, j.Readable(), want)
	}
	if p := Reconcile(j.Spaces(), map[SpaceID]string{0: "ibdata1"}); len(p) != 0 || len(j.Spaces()) != 0 {
		t.Errorf("problems %v, tablespaces %v", p, j.Spaces())
	}
}
