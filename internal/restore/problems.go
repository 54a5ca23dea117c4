package restore

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"mbk/internal/datadir/filename"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
)

// problems are the tables of a backup with which something was wrong on the source
// already, as its manifest says.
type problems []problem

// problem is one of them.
type problem struct {
	table repo.Table
	named *regexp.Regexp // matches a text that names the table or one of its files
}

// problemsOf finds them in a manifest. One that was written before there was a field for
// it has none.
func problemsOf(m *repo.Manifest) problems {
	folders := map[string]string{}
	for _, d := range m.Directories {
		folders[d.Name] = d.Path
	}
	var all problems
	for _, t := range m.Tables {
		if t.Problem == "" {
			continue
		}
		dir := folders[t.Database]
		if dir == "" {
			dir = filename.Encode(t.Database)
		}
		plain := regexp.QuoteMeta("`"+t.Database+"`.`"+t.Name+"`") + "|'" + regexp.QuoteMeta(t.Database+"."+t.Name) + "'"
		onDisk := regexp.QuoteMeta(path.Join(dir, filename.Encode(t.Name)))
		all = append(all, problem{t, regexp.MustCompile(`(?i)(?:^|[^\pL\pN_$@#])(?:` + onDisk + `(?:#P#[^\s./'"` + "`" + `]*)?(?:\.|['"` + "`" + `\s,;:]|$)|` + plain + `)`)})
	}
	return all
}

// known are the tables as a server is told of them.
func (p problems) known() []mariadbd.Known {
	var known []mariadbd.Known
	for i := range p {
		known = append(known, mariadbd.Known{Table: p[i].table.Database + "." + p[i].table.Name, Named: p[i].named})
	}
	return known
}

// of returns what the manifest says of a table, "" if nothing.
func (p problems) of(database, name string) string {
	for i := range p {
		if t := &p[i].table; strings.EqualFold(t.Database, database) && strings.EqualFold(t.Name, name) {
			return t.Problem
		}
	}
	return ""
}

// problemNotes tell of the tables that will be as they were on the source.
func problemNotes(m *repo.Manifest) []string {
	const most = 20
	var notes []string
	n := 0
	for _, t := range m.Tables {
		if t.Problem == "" {
			continue
		}
		if n++; n <= most {
			notes = append(notes, fmt.Sprintf("%s is restored as it was on the source: %s", printable.Table(t.Database, t.Name), t.Problem))
		}
	}
	switch {
	case n == most+1:
		notes = append(notes, "1 more table is restored as it was on the source")
	case n > most:
		notes = append(notes, fmt.Sprintf("%d more tables are restored as they were on the source", n-most))
	}
	return notes
}
