package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"mbk/internal/datadir/filter"
	"mbk/internal/hint"
	"mbk/internal/input/inputfile"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
)

const categoryFilter = "Filter (* and ? are wildcards; each may be repeated)"

// filterFlags choose databases and tables. The short name of --exclude-database is
// not -S, which is the socket in all of MariaDB's programs.
func filterFlags() []cli.Flag {
	slice := func(name, short, usage string) cli.Flag {
		return &cli.StringSliceFlag{Name: name, Aliases: []string{short}, Category: categoryFilter, Usage: usage}
	}
	file := func(name, of string) cli.Flag {
		return &cli.StringSliceFlag{Name: name, Category: categoryFilter, Usage: "read names for " + of + " from `FILE`, one a line; - is stdin"}
	}
	return []cli.Flag{
		slice("database", "s", "only the databases that match `NAME`, and mysql and sys"),
		slice("exclude-database", "X", "without the databases that match `NAME`"),
		slice("table", "t", "only the tables that match `DB.NAME`, and mysql and sys"),
		slice("exclude-table", "T", "without the tables that match `DB.NAME`"),
		file("database-file", "--database"), file("exclude-database-file", "--exclude-database"),
		file("table-file", "--table"), file("exclude-table-file", "--exclude-table"),
	}
}

// filterOf is the filter that the flags make.
func filterOf(c *cli.Context, env Env) (filter.Spec, error) {
	var s filter.Spec
	if err := oneStdin(c); err != nil {
		return s, err
	}
	check := func(origin string) error {
		if _, err := filter.New(s, false); errors.Is(err, filter.ErrPattern) {
			return usagef("%s: %v", origin, err)
		}
		return nil
	}
	for _, one := range []struct {
		name string
		list *[]string
	}{
		{"database", &s.Databases}, {"exclude-database", &s.ExcludeDatabases}, {"table", &s.Tables}, {"exclude-table", &s.ExcludeTables},
	} {
		*one.list = append(*one.list, c.StringSlice(one.name)...)
		if err := check("--" + one.name); err != nil {
			return s, err
		}
		option := one.name + "-file"
		for _, name := range c.StringSlice(option) {
			names, err := readNames(env, name)
			if err != nil {
				return s, hint.Wrap(&configError{fmt.Errorf("--%s %s: %w", option, name, err)}, "name a file with one name a line")
			}
			if len(names) == 0 {
				return s, hint.Wrap(&configError{fmt.Errorf("--%s %s: there is no name in it", option, name)}, "leave the option away, or name something")
			}
			*one.list = append(*one.list, names...)
			if err := check("--" + option + " " + name); err != nil {
				return s, err
			}
		}
	}
	return s, nil
}

// oneStdin makes sure that only one list of names is read from stdin.
func oneStdin(c *cli.Context) error {
	reader := ""
	for _, option := range []string{"database-file", "exclude-database-file", "table-file", "exclude-table-file"} {
		for _, name := range c.StringSlice(option) {
			if name == "-" && reader != "" {
				return usagef("--%s and --%s cannot both read stdin", reader, option)
			}
			if name == "-" {
				reader = option
			}
		}
	}
	return nil
}

// leftOutLines tell people what a backup does not hold: each table that could not be
// copied, and in short what a filter left out.
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
	}{{"database", f.Databases}, {"table", f.Tables}, {"exclude-database", f.ExcludeDatabases}, {"exclude-table", f.ExcludeTables}} {
		if len(one.list) > 0 {
			lines = append(lines, fmt.Sprintf("filter\t--%s %s", one.name, strings.Join(one.list, ", ")))
		}
	}
	lines = append(lines, fmt.Sprintf("filtered\t%s left out", map[bool]string{true: "1 table is", false: fmt.Sprintf("%d tables are", filtered)}[filtered == 1]))
	if len(f.LeftOut) > 0 {
		lines = append(lines, "filtered\tall of "+strings.Join(f.LeftOut, ", "))
	}
	return lines
}

// readNames reads the names in a file, "-" is stdin.
func readNames(env Env, name string) ([]string, error) {
	if name == "-" {
		return filter.ReadList(env.Stdin)
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
