package restore

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"mbk/internal/datadir/filter"
	"mbk/internal/hint"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
)

// A filter may have been at work when the backup was made, or be given for the
// restore, or both. In every case there are tables which InnoDB's dictionary, its
// undo logs and the redo log know, and of which there is no file. This file makes
// the server forget them, in two steps. Before recovery the redo log is continued by
// one FILE_DELETE for each of their tablespaces, as if they had been dropped at the
// last moment: so recovery passes over their records, and rollback and purge over
// their rows. After recovery a private server drops what its dictionary still lists.

// leftByRestore is the LeftOut.Reason of a table that the restore leaves out.
const leftByRestore = "the filter of the restore leaves it out"

// applyFilter is the manifest of what a filter keeps of a backup.
func applyFilter(m *repo.Manifest, f *filter.Filter) *repo.Manifest {
	if f == nil {
		return m
	}
	n := *m
	n.Filter, n.Tables, n.Files, n.Directories, n.Damaged = &repo.Filter{}, nil, nil, nil, nil
	if m.Filter != nil {
		*n.Filter = *m.Filter
	}
	n.LeftOut = slices.Clone(m.LeftOut)
	dropped := filterTables(&n, m, f)
	filterFiles(&n, m, dropped, filterDirectories(&n, m, f))
	return &n
}

// filterTables takes over the tables that the filter keeps, and returns the files of the
// others.
func filterTables(n, m *repo.Manifest, f *filter.Filter) (dropped map[int]bool) {
	dropped = map[int]bool{}
	for _, t := range m.Tables {
		if f.Table(t.Database, t.Name) {
			n.Tables = append(n.Tables, t)
			continue
		}
		n.LeftOut = append(n.LeftOut,
			repo.LeftOut{Database: t.Database, Name: t.Name, Engine: t.Engine, Reason: leftByRestore})
		for _, i := range t.Files {
			dropped[i] = true
		}
	}
	return dropped
}

// filterDirectories takes over the databases that the filter keeps, or of which it keeps
// a table, and returns of all whether they are kept.
func filterDirectories(n, m *repo.Manifest, f *filter.Filter) (keeps map[string]bool) {
	holds := map[string]bool{} // databases of which a table is kept
	for _, t := range n.Tables {
		holds[t.Database] = true
	}
	keeps = map[string]bool{}
	for _, d := range m.Directories {
		keeps[d.Path] = holds[d.Name] || f.Database(d.Name)
		if keeps[d.Path] {
			n.Directories = append(n.Directories, d)
		} else {
			n.Filter.LeftOut = append(n.Filter.LeftOut, d.Name)
		}
	}
	return keeps
}

// filterFiles takes over the files that are not dropped with their table or their
// directory, and what refers to them.
func filterFiles(n, m *repo.Manifest, dropped map[int]bool, directories map[string]bool) {
	index := map[int]int{} // from the numbers of files in m to those in n
	files := map[string]bool{}
	for i := range m.Files {
		file := &m.Files[i]
		keep, ofDatabase := directories[path.Dir(file.Path)]
		keep = !ofDatabase || keep && !dropped[i]
		if keep || file.Class == repo.ClassInnoDB && !readableRedo(m) {
			index[i] = len(n.Files)
			n.Files = append(n.Files, *file)
			files[file.Path] = true
		}
	}
	n.Redo.File = index[m.Redo.File]
	for i := range n.Tables {
		list := slices.Clone(n.Tables[i].Files)
		for j := range list {
			list[j] = index[list[j]]
		}
		n.Tables[i].Files = list
	}
	for _, d := range m.Damaged {
		if files[d.File] {
			n.Damaged = append(n.Damaged, d)
		}
	}
}

// readableRedo reports whether the redo log shows which tablespaces it is about. If
// not, nobody can make it pass over some, and they must all be laid down.
func readableRedo(m *repo.Manifest) bool {
	return innodb.LogHeader{Format: m.Redo.Format, Crypt: m.Redo.Crypt}.Readable()
}

// filterOf makes the filter of the options for a backup, with objections to parts
// of it that mean nothing there.
func filterOf(o Options, m *repo.Manifest) (*filter.Filter, []Objection) {
	fold := m.Server.Variables["lower_case_table_names"]
	f, err := filter.New(o.Filter, fold != "0" && fold != "")
	if err != nil {
		return nil, []Objection{{Problem: err.Error()}}
	}
	databases := []string{"information_schema", "performance_schema"} // never in a backup
	var tables []filter.Name
	for _, d := range m.Directories {
		databases = append(databases, d.Name)
	}
	for _, t := range m.Tables {
		tables = append(tables, filter.Name{Database: t.Database, Table: t.Name})
	}
	missing := f.Check(databases, tables)
	for _, t := range m.LeftOut {
		tables = append(tables, filter.Name{Database: t.Database, Table: t.Name})
	}
	if m.Filter != nil {
		databases = append(databases, m.Filter.LeftOut...)
	}
	nowhere := f.Check(databases, tables)
	var objections []Objection
	for _, err := range missing {
		o := Objection{Problem: err.Error()}
		unmatched, ok := errors.AsType[*filter.UnmatchedError](err)
		switch {
		case ok && !slices.ContainsFunc(nowhere, unmatched.Same): // the source had it
			o.Problem += " in this backup, which was made without it"
			o.Hint = "choose another backup: mbk show ID lists what one does not hold"
		case ok:
			o.Hint = hint.Text(unmatched.Advice())
		}
		objections = append(objections, o)
	}
	return f, objections
}

// selection returns a function that reports whether a manifest holds a table.
func selection(m *repo.Manifest) func(database, table string) bool {
	kept := make(map[filter.Name]bool, len(m.Tables))
	for _, t := range m.Tables {
		kept[filter.Name{Database: t.Database, Table: t.Name}] = true
	}
	return func(database, table string) bool { return kept[filter.Name{Database: database, Table: table}] }
}

// keptTables says what a filter of the restore keeps: what it was asked for, apart from
// the tables without which no server works.
func keptTables(m *repo.Manifest) string {
	var names []string
	own := 0
	for _, t := range m.Tables {
		if systemDatabase(t.Database) {
			own++
			continue
		}
		names = append(names, printable.Table(t.Database, t.Name))
	}
	kept := fmt.Sprintf("%d tables are restored", len(names))
	switch len(names) {
	case 0:
		return fmt.Sprintf("no tables but %d of the server itself are restored", own)
	case 1:
		kept = names[0] + " is restored"
	case 2, 3:
		kept = strings.Join(names, ", ") + " are restored"
	}
	if own > 0 {
		kept += fmt.Sprintf(", and %d tables of the server itself", own)
	}
	return kept
}

// leftOutNotes tell whoever restores what is missing.
func leftOutNotes(m *repo.Manifest) []string {
	var notes []string
	counts := map[string]int{}
	for _, t := range m.LeftOut {
		if t.Reason == repo.LeftByFilter || t.Reason == leftByRestore {
			counts[t.Reason]++
			continue
		}
		notes = append(notes, fmt.Sprintf("the backup does not hold %s (%s): %s", printable.Table(t.Database, t.Name),
			t.Engine, t.Reason))
	}
	if n := counts[repo.LeftByFilter]; n > 0 {
		const text = `the backup was made with a filter, without %s; "mbk show %s" lists what is left out`
		notes = append(notes, fmt.Sprintf(text, printable.Count(n, "table"), m.ID))
	}
	if n := counts[leftByRestore]; n > 0 {
		notes = append(notes, fmt.Sprintf("%s; %s left out", keptTables(m),
			map[bool]string{true: "1 other is", false: fmt.Sprintf("%d others are", n)}[n == 1]))
	}
	if m.Filter != nil && len(m.Filter.LeftOut) > 0 {
		notes = append(notes, "databases that are left out: "+strings.Join(m.Filter.LeftOut, ", "))
	}
	return notes
}
