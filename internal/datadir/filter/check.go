package filter

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mbk/internal/input/nearest"
)

// Name is a table, view or sequence.
type Name struct{ Database, Table string }

// String writes the name as a pattern that matches nothing else.
func (n Name) String() string { return quote(n.Database, ".`*?") + "." + quote(n.Table, "`*?") }

// quote puts a name that has one of these characters into backquotes.
func quote(name, special string) string {
	if !strings.ContainsAny(name, special) {
		return name
	}
	return "`" + strings.ReplaceAll(name, "`", "``") + "`"
}

// UnmatchedError is a pattern that matches nothing there is.
type UnmatchedError struct {
	What    string   // "database" or "table"
	Pattern string   // as it was given
	Literal bool     // it names one thing
	Nearest []string // names that are like it, the best first; may be empty
}

// Error names the pattern.
func (e *UnmatchedError) Error() string {
	if e.Literal {
		return fmt.Sprintf("there is no %s %s", e.What, e.Pattern)
	}
	return fmt.Sprintf("no %s matches %s", e.What, e.Pattern)
}

// Same reports whether another error is about the same pattern.
func (e *UnmatchedError) Same(err error) bool {
	var other *UnmatchedError
	return errors.As(err, &other) && other.What == e.What && other.Pattern == e.Pattern
}

// Advice names what may have been meant.
func (e *UnmatchedError) Advice() string {
	switch {
	case len(e.Nearest) > 0:
		return "the nearest names are " + strings.Join(e.Nearest, ", ")
	case e.What == "table":
		return "name tables as database.table; SHOW FULL TABLES lists them"
	}
	return "SHOW DATABASES lists the names"
}

// ErrNothing is returned by Check for a filter that leaves nothing of what it
// includes.
var ErrNothing = errors.New("the filter leaves nothing: all that it includes is excluded as well")

// Check reports, each as an *UnmatchedError, the patterns that match nothing of
// what there is, and ErrNothing.
func (f *Filter) Check(databases []string, tables []Name) []error {
	if f == nil {
		return nil
	}
	var errs []error
	folded := make([]string, len(databases))
	for i, d := range databases {
		folded[i] = d
		f.names(&folded[i])
	}
	for _, p := range slices.Concat(f.databases, f.excludedDatabases) {
		if !slices.ContainsFunc(folded, p.database.matches) {
			errs = append(errs, &UnmatchedError{What: "database", Pattern: p.text, Literal: p.literal(),
				Nearest: nearest.Names(p.text, databases)})
		}
	}
	for _, p := range slices.Concat(f.tables, f.excludedTables) {
		if slices.ContainsFunc(tables, func(n Name) bool {
			f.names(&n.Database, &n.Table)
			return p.database.matches(n.Database) && p.table.matches(n.Table)
		}) {
			continue
		}
		names := make([]string, len(tables))
		for i, n := range tables {
			names[i] = n.String()
		}
		errs = append(errs, &UnmatchedError{What: "table", Pattern: p.text, Literal: p.literal(),
			Nearest: nearest.Names(p.text, names)})
	}
	if len(errs) == 0 && !f.keepsAny(databases, tables) {
		errs = append(errs, ErrNothing)
	}
	return errs
}

// keepsAny reports whether anything that was included is kept.
func (f *Filter) keepsAny(databases []string, tables []Name) bool {
	included := func(database string) bool {
		f.names(&database)
		return !Own(database) || slices.ContainsFunc(slices.Concat(f.databases, f.tables),
			func(p pattern) bool { return p.covers(database, false) })
	}
	return len(f.databases)+len(f.tables) == 0 ||
		slices.ContainsFunc(databases, func(d string) bool { return included(d) && f.Database(d) }) ||
		slices.ContainsFunc(tables, func(n Name) bool { return included(n.Database) && f.Table(n.Database, n.Table) })
}
