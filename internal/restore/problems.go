package restore

import (
	"fmt"
	"path"
	"regexp"

	"mbk/internal/datadir/filename"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
)

// knownTables are the tables with which something was wrong on the source already, as a
// server is told of them.
func knownTables(m *repo.Manifest) []mariadbd.Known {
	folders := map[string]string{}
	for _, d := range m.Directories {
		folders[d.Name] = d.Path
	}
	var known []mariadbd.Known
	for _, t := range m.Problems() {
		dir := folders[t.Database]
		if dir == "" {
			dir = filename.Encode(t.Database)
		}
		plain := regexp.QuoteMeta("`"+t.Database+"`.`"+t.Name+"`") + "|'" + regexp.QuoteMeta(t.Database+"."+t.Name) + "'"
		onDisk := regexp.QuoteMeta(path.Join(dir, filename.Encode(t.Name)))
		known = append(known, mariadbd.Known{
			Table: t.Database + "." + t.Name,
			Named: regexp.MustCompile(`(?i)(?:^|[^\pL\pN_$@#])(?:` + onDisk +
				`(?:#P#[^\s./'"` + "`" + `]*)?(?:\.|['"` + "`" + `\s,;:]|$)|` + plain + `)`),
		})
	}
	return known
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
			notes = append(notes, fmt.Sprintf("%s is restored as it was on the source: %s",
				printable.Table(t.Database, t.Name), t.Problem))
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
