// Package filter decides which databases and tables a backup or a restore is
// about. It knows names, as SQL has them, and nothing of files or servers.
//
// What is included narrows: with no include at all everything is kept, else what
// one of them matches. What is excluded wins over that. The schemas of the server
// itself, mysql, sys and performance_schema (of which there is a folder without
// tables), are kept unless an exclude names them literally.
package filter

import (
	"errors"
	"fmt"
	"strings"
)

// Spec is a filter as a person writes it. In patterns "*" stands for any
// characters and "?" for one; a part in backquotes stands for itself.
type Spec struct {
	Databases        []string // to keep, with everything in them
	ExcludeDatabases []string
	Tables           []string // to keep, as database.table
	ExcludeTables    []string
}

// Empty reports whether the filter keeps everything.
func (s Spec) Empty() bool {
	return len(s.Databases)+len(s.ExcludeDatabases)+len(s.Tables)+len(s.ExcludeTables) == 0
}

// Filter is a Spec that was understood. A nil Filter keeps everything. It does not
// change and may be used by several goroutines.
type Filter struct {
	fold                         bool
	databases, excludedDatabases []pattern
	tables, excludedTables       []pattern
}

// ErrPattern is returned by New for a pattern that cannot be understood.
var ErrPattern = errors.New("no pattern of a name")

// New reads a Spec. fold says that names which differ in case only are the same,
// as on a server with lower_case_table_names. An empty Spec makes a nil Filter.
func New(s Spec, fold bool) (*Filter, error) {
	if s.Empty() {
		return nil, nil
	}
	f := &Filter{fold: fold}
	for _, list := range []struct {
		texts  []string
		parse  func(string) (pattern, error)
		target *[]pattern
	}{
		{s.Databases, parseDatabase, &f.databases}, {s.ExcludeDatabases, parseDatabase, &f.excludedDatabases},
		{s.Tables, parseTable, &f.tables}, {s.ExcludeTables, parseTable, &f.excludedTables},
	} {
		for _, text := range list.texts {
			p, err := list.parse(text)
			if err != nil {
				return nil, fmt.Errorf("%w: %q %s", ErrPattern, text, err)
			}
			p.text = text
			if fold {
				p.database.text, p.table.text = strings.ToLower(p.database.text), strings.ToLower(p.table.text)
			}
			*list.target = append(*list.target, p)
		}
	}
	return f, nil
}

// Own reports whether a database is one of the server's own.
func Own(database string) bool {
	return database == "mysql" || database == "sys" || database == "performance_schema"
}

// covers reports whether a pattern's first part is about a database. Of an exclude
// the server's own databases need to be named.
func (p pattern) covers(database string, exclude bool) bool {
	if exclude && Own(database) && !p.database.literal {
		return false
	}
	return p.database.matches(database)
}

// names brings names into the form in which they are compared.
func (f *Filter) names(names ...*string) {
	if f.fold {
		for _, name := range names {
			*name = strings.ToLower(*name)
		}
	}
}

// Table reports whether a table, view or sequence is kept.
func (f *Filter) Table(database, table string) bool {
	if f == nil {
		return true
	}
	f.names(&database, &table)
	if f.excluded(database) {
		return false
	}
	for _, p := range f.excludedTables {
		if p.covers(database, true) && p.table.matches(table) {
			return false
		}
	}
	if f.wanted(database) {
		return true
	}
	for _, p := range f.tables {
		if p.covers(database, false) && p.table.matches(table) {
			return true
		}
	}
	return false
}

// excluded reports whether a database is left out with everything in it.
func (f *Filter) excluded(database string) bool {
	for _, p := range f.excludedDatabases {
		if p.covers(database, true) {
			return true
		}
	}
	return false
}

// wanted reports whether all of a database is included.
func (f *Filter) wanted(database string) bool {
	if len(f.databases)+len(f.tables) == 0 || Own(database) {
		return true
	}
	for _, p := range f.databases {
		if p.covers(database, false) {
			return true
		}
	}
	return false
}

// Database reports whether a database is kept for itself, with whatever is in it and
// is no table; tables may still be left out. One that is not is kept if
// any of its tables is.
func (f *Filter) Database(database string) bool {
	if f == nil {
		return true
	}
	f.names(&database)
	return f.wanted(database) && !f.excluded(database)
}

// MayHold reports whether a database can hold anything that is kept.
func (f *Filter) MayHold(database string) bool {
	if f == nil || f.Database(database) {
		return true
	}
	f.names(&database)
	if f.excluded(database) {
		return false
	}
	for _, p := range f.tables {
		if p.covers(database, false) {
			return true
		}
	}
	return false
}

// Whole reports whether everything in a database is kept.
func (f *Filter) Whole(database string) bool {
	if f == nil {
		return true
	}
	if !f.Database(database) {
		return false
	}
	f.names(&database)
	for _, p := range f.excludedTables {
		if p.covers(database, true) {
			return false
		}
	}
	return true
}
