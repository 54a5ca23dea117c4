package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"mbk/internal/cli/options"
	"mbk/internal/datadir/filter"
	"mbk/internal/hint"
	"mbk/internal/input/inputfile"
	"mbk/internal/repo"
	"mbk/internal/ui"
	"mbk/internal/ui/printable"
)

// filters holds the options that choose databases and tables.
type filters struct {
	databases, excludeDatabases, tables, excludeTables names

	set *options.Set
}

// names are the names that an option lists, and the files that contain more.
type names struct{ patterns, files []string }

// bind adds the options. The short name of --exclude-database is not -S, which is the
// socket in all of MariaDB's programs.
func (o *filters) bind(s *options.Set) {
	s = s.In(categoryFilter)
	o.set = s
	s.Strings(&o.databases.patterns, "database", "only the databases that match `NAME`, and mysql and sys").WithShort("s")
	s.Strings(&o.excludeDatabases.patterns, "exclude-database", "without the databases that match `NAME`").WithShort("X")
	s.Strings(&o.tables.patterns, "table", "only the tables that match `DB.NAME`, and mysql and sys").WithShort("t")
	s.Strings(&o.excludeTables.patterns, "exclude-table", "without the tables that match `DB.NAME`").WithShort("T")
	for _, l := range o.lists() {
		s.Strings(&l.names.files, l.name+"-file", "read names for --"+l.name+" from `FILE`, one a line; - is stdin")
	}
}

// nameList is a pair of options.
type nameList struct {
	name  string // "database": of the options --database and --database-file
	names *names
}

func (o *filters) lists() []nameList {
	return []nameList{
		{"database", &o.databases}, {"exclude-database", &o.excludeDatabases},
		{"table", &o.tables}, {"exclude-table", &o.excludeTables},
	}
}

// typed returns the first of these options on the command line, or "".
func (o *filters) typed() string {
	for _, l := range o.lists() {
		for _, name := range []string{l.name, l.name + "-file"} {
			if o.set.Source(name).Strength == options.ByFlag {
				return name
			}
		}
	}
	return ""
}

// spec returns the filter. A list of names may come from stdin.
func (o *filters) spec(stdin io.Reader) (filter.Spec, error) {
	var s filter.Spec
	if err := o.oneStdin(); err != nil {
		return s, err
	}
	into := map[string]*[]string{
		"database": &s.Databases, "exclude-database": &s.ExcludeDatabases,
		"table": &s.Tables, "exclude-table": &s.ExcludeTables,
	}
	check := func(origin hint.Text) error {
		if _, err := filter.New(s, false); errors.Is(err, filter.ErrPattern) {
			return usagef("%s: %v", origin, err)
		}
		return nil
	}
	for _, l := range o.lists() {
		list := into[l.name]
		*list = append(*list, l.names.patterns...)
		if err := check(hint.Option(l.name)); err != nil {
			return s, err
		}
		for _, file := range l.names.files {
			origin := hint.Textf("%s %s", hint.Option(l.name+"-file"), file)
			more, err := readNames(stdin, file)
			if err != nil {
				return s, hint.Wrap(&configError{hint.Errorf("%s: %w", origin, err)}, "name a file with one name a line")
			}
			if len(more) == 0 {
				return s, hint.Wrap(&configError{hint.Errorf("%s: there is no name in it", origin)},
					"leave the option away, or name something")
			}
			*list = append(*list, more...)
			if err := check(origin); err != nil {
				return s, err
			}
		}
	}
	return s, nil
}

// oneStdin returns an error if two lists would be read from stdin.
func (o *filters) oneStdin() error {
	reader := ""
	for _, l := range o.lists() {
		for _, file := range l.names.files {
			if file == "-" && reader != "" {
				return usagef("%s and %s cannot both read stdin", hint.Option(reader+"-file"), hint.Option(l.name+"-file"))
			}
			if file == "-" {
				reader = l.name
			}
		}
	}
	return nil
}

// leftOutLines describe what a backup does not contain: each table that could not be
// copied, and a summary of what a filter excluded.
func leftOutLines(m *repo.Manifest) []string {
	var lines []string
	filtered := 0
	for _, t := range m.LeftOut {
		if t.Reason == repo.LeftByFilter {
			filtered++
			continue
		}
		lines = append(lines, fmt.Sprintf("left out\t%s (%s)", printable.Table(t.Database, t.Name), printable.Text(t.Engine)))
	}
	f := m.Filter
	if f == nil {
		return lines
	}
	for _, one := range []struct {
		name string
		list []string
	}{
		{"database", f.Databases}, {"table", f.Tables},
		{"exclude-database", f.ExcludeDatabases}, {"exclude-table", f.ExcludeTables},
	} {
		if len(one.list) > 0 {
			lines = append(lines, fmt.Sprintf("filter\t--%s %s", one.name, strings.Join(one.list, ", ")))
		}
	}
	verb := "are"
	if filtered == 1 {
		verb = "is"
	}
	lines = append(lines, fmt.Sprintf("filtered\t%s %s left out", ui.Count(filtered, "table"), verb))
	if len(f.LeftOut) > 0 {
		lines = append(lines, "filtered\tall of "+strings.Join(f.LeftOut, ", "))
	}
	return lines
}

// readNames reads a file with names; "-" is stdin.
func readNames(stdin io.Reader, name string) ([]string, error) {
	if name == "-" {
		return filter.ReadList(stdin)
	}
	f, err := inputfile.Open(name)
	if err != nil {
		var p *os.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return nil, err
	}
	names, err := filter.ReadList(f)
	return names, errors.Join(err, f.Close())
}
