package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"mbk/internal/aria"
	"mbk/internal/datadir/filename"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/stage"
)

// tableParts is what is on the disk of one table.
type tableParts struct {
	facts facts // of the definition
	found bool  // there is a .frm file, or one that stands for it
	parts []string
	par   bool

	denied bool                 // one of the files may not be read
	files  map[string]fileFacts // by name
}

// fileFacts is what is known of one file of a table.
type fileFacts struct {
	facts
	entry entry
	size  int64
	space innodb.SpaceID // 0 if that is not known
	blank bool           // a tablespace without a first page

	modified time.Time

	denied bool // it may not be read, which is an error of its own
}

// facts are those of a file that was copied.
func (p *placed) facts() fileFacts {
	f := fileFacts{facts: p.held.facts, entry: p.entry, size: p.held.size, modified: p.held.stat.modified, blank: p.entry.innodb() && p.held.id == nil}
	if p.held.id != nil {
		f.space = *p.held.id
	}
	return f
}

// partsOf puts the files of tables together.
func partsOf(files func(yield func(entry, fileFacts) bool)) map[tableFiles]*tableParts {
	all := map[tableFiles]*tableParts{}
	for e, f := range files {
		if e.table == "" || filename.Temporary(e.name) || filename.FullText(e.name) || e.ofLog() || !e.known() {
			continue
		}
		key := tableFiles{e.dir, e.table}
		t := all[key]
		if t == nil {
			t = &tableParts{files: map[string]fileFacts{}}
			all[key] = t
		}
		switch {
		case e.frm():
			t.facts, t.found = f.facts, true
		case path.Ext(e.name) == ".par":
			t.parts, t.par = f.parts, true
		case e.discovered() && !t.found:
			t.facts, t.found = f.facts, f.define != nil
		}
		t.denied = t.denied || f.denied
		t.files[e.name] = f
	}
	return all
}

// dataFiles are the extensions of the files that an engine keeps of each table or
// partition, that of the index before that of the data.
func dataFiles(engine string) []string {
	switch engine {
	case "InnoDB":
		return []string{".ibd"}
	case "MyISAM":
		return []string{".MYI", ".MYD"}
	case "Aria":
		return []string{aria.IndexExt, aria.DataExt}
	case "MRG_MyISAM":
		return []string{".MRG"}
	case "CSV":
		return []string{".CSM", ".CSV"}
	case "ARCHIVE":
		return []string{arzExt}
	}
	return nil
}

// stems are the names of a table's files without extensions, one for each partition.
func (t *tableParts) stems(table string) []string {
	if !t.facts.define.partitioned {
		return []string{table}
	}
	stems := make([]string, len(t.parts))
	for i, part := range t.parts {
		stems[i] = table + "#P#" + part
	}
	return stems
}

// judge finds out what is wrong with tables on the source already. Whether a table of
// InnoDB must have a file of its own its dictionary tells.
type judge struct {
	layout     layout
	dictionary *dictionary // nil: no table of InnoDB is without a file
	discarded  map[string]bool
	started    time.Time // when the server was
}

// problems names what is wrong with each table, if anything is.
func (j judge) problems(all map[tableFiles]*tableParts) map[tableFiles]string {
	found := map[tableFiles]string{}
	for key, t := range all {
		if text := j.problem(key, t); text != "" {
			found[key] = text
		}
	}
	return found
}

func (j judge) problem(key tableFiles, t *tableParts) string {
	frm := path.Join(key.database, key.table+".frm")
	switch {
	case !t.found, t.denied:
		return "" // of no table that the server lists, or more than a warning
	case j.layout.vars["lower_case_table_names"] == "1" && strings.ToLower(frm) != frm:
		return upperCase
	case t.facts.define == nil:
		return unreadDefinition(frm, t.facts.unread)
	case t.facts.define.partitioned && !t.par:
		return fmt.Sprintf("its list of partitions %s is missing", path.Join(key.database, key.table+".par"))
	}
	exts := dataFiles(t.facts.define.engine)
	for _, stem := range t.stems(key.table) {
		for i, ext := range exts {
			file, there := t.files[stem+ext]
			name := path.Join(key.database, stem+ext)
			switch {
			case !there && ext == ".ibd":
				if text := j.withoutSpace(path.Join(key.database, stem)); text != "" {
					return text
				}
			case !there:
				return fmt.Sprintf("its file %s is missing", name)
			case ext == ".ibd":
				if text := j.otherSpace(path.Join(key.database, stem), file); text != "" {
					return text
				}
			case file.crashed:
				return fmt.Sprintf("%s is marked as crashed", name)
			case file.open && j.untouched(file):
				return fmt.Sprintf("%s was not closed properly when the server ended the last time", name)
			}
			if want := t.files[stem+exts[0]].dataSize; i == len(exts)-1 && (want > file.size || ext == ".MYD" && j.tooLong(file, want)) {
				return fmt.Sprintf("its data file %s has %d bytes, and must have %d", name, file.size, want)
			}
		}
	}
	return ""
}

// withoutSpace is what is wrong with a table or partition of InnoDB that has no file of
// its own. One in the system tablespace needs none, and discarded ones have warnings
// of their own.
func (j judge) withoutSpace(name string) string {
	if j.dictionary == nil || j.discarded[name] {
		return ""
	}
	space, known := j.dictionary.spaces[strings.ToLower(name)]
	switch {
	case !known:
		return "not known to InnoDB"
	case space != 0:
		return fmt.Sprintf("its file %s.ibd is missing", name)
	}
	return ""
}

// otherSpace is what is wrong with the file of a table or partition of InnoDB. One that
// is discarded may have a file that waits for its import.
func (j judge) otherSpace(name string, file fileFacts) string {
	switch {
	case j.discarded[name]:
		return ""
	case file.blank && j.untouched(file):
		return fmt.Sprintf("its file %s.ibd has no first page", name)
	case j.dictionary == nil:
		return ""
	}
	return j.dictionary.other(file.entry, file.space)
}

// untouched reports whether the server that runs now has not written to a file. Before it
// opens a table of MyISAM that was not closed, it repairs it; and a tablespace without a
// first page may be one that it has just made.
func (j judge) untouched(f fileFacts) bool { return f.modified.Before(j.started) }

// tooLong reports whether the rows of a MyISAM table have bytes after their end. Where
// they are packed, a few belong there.
func (j judge) tooLong(f fileFacts, want int64) bool {
	const margin = 7
	return want > 0 && f.size > want+margin && j.untouched(f)
}

// problemTexts are the warnings of tables, one for all that have the same problem. They
// are in the order of their first tables.
func problemTexts(tables []qualified, problems []string) []string {
	var order []string
	same := map[string][]qualified{}
	for i, text := range problems {
		if len(same[text]) == 0 {
			order = append(order, text)
		}
		same[text] = append(same[text], tables[i])
	}
	for i, text := range order {
		order[i] = shortNames(same[text]) + ": " + text
	}
	return order
}

// findProblems looks, under the lock, for tables of InnoDB without files, or with wrong
// ones. Only then is the dictionary needed once more.
func (r *attempt) findProblems(ctx context.Context) error {
	if d := r.copies.dictionary; !r.final.bare && (d == nil || len(d.exchanged(r.final)) == 0) {
		return nil
	}
	r.final.bare = true
	d, err := readDictionary(ctx, r.opts.Server)
	if err != nil {
		return err
	}
	r.copies.dictionary = d
	r.copies.leaveCopies(r.final, d.exchanged(r.final))
	return nil
}

// noteProblems writes what is wrong with tables on the source into the manifest.
func (r *attempt) noteProblems(m *repo.Manifest) {
	j := judge{layout: r.layout, discarded: r.copies.discarded, started: r.opts.Server.Started()}
	if r.final.bare {
		j.dictionary = r.copies.dictionary
	}
	parts := partsOf(func(yield func(entry, fileFacts) bool) {
		for _, files := range []map[string]*placed{r.final.files, r.copies.misplaced} {
			for _, p := range files {
				if !yield(p.entry, p.facts()) {
					return
				}
			}
		}
	})
	r.outdated = outdated(parts, r.found.facts.Version)
	all := j.problems(parts)
	for i := range m.Tables {
		if t := &m.Tables[i]; t.Problem == "" {
			t.Problem = all[tableFiles{filename.Encode(t.Database), filename.Encode(t.Name)}]
		}
	}
}

// outdated are tables that an earlier release made, and that this one wants rebuilt:
// from 11.5 on time stamps reach further, and with them the rows of system versioning.
func outdated(all map[tableFiles]*tableParts, now stage.Version) []qualified {
	var found []qualified
	for key, t := range all {
		if d := t.facts.define; d != nil && d.kind == kindVersions && t.facts.made < 110500 && now.AtLeast(11, 5, 0) {
			found = append(found, qualified{filename.SQL(key.database), filename.SQL(key.table)})
		}
	}
	slices.SortFunc(found, func(a, b qualified) int { return strings.Compare(a.String(), b.String()) })
	return found
}

// outdatedText is the warning of such tables.
func outdatedText(tables []qualified) string {
	return "made by a release before 11.5, and in need of an upgrade, here as in what is restored: " + shortNames(tables)
}

const upgradeHint = "run mariadb-upgrade"

// warnProblems are the warnings of tables with a problem.
func warnProblems(m *repo.Manifest) []string {
	var tables []qualified
	var problems []string
	for _, t := range m.Tables {
		if t.Problem != "" {
			tables, problems = append(tables, qualified{t.Database, t.Name}), append(problems, t.Problem)
		}
	}
	return problemTexts(tables, problems)
}

// checkProblems names such tables before anything is locked. It opens every file that
// tells something, so that a backup leaves it to its own look at what it has copied. A
// DDL that is at work looks like a problem, so what is found is looked at twice.
func (p *Preflight) checkProblems(ctx context.Context, server *stage.Server) error {
	found, old, err := p.layout.lookForProblems(ctx, server, p.first.entries)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		const pause = 300 * time.Millisecond
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		s, err := p.layout.scanDatadir(ctx)
		if err != nil {
			return err
		}
		s.entries = slices.DeleteFunc(s.entries, func(e entry) bool { return found[tableFiles{e.dir, e.table}] == "" })
		again, _, err := p.layout.lookForProblems(ctx, server, s.entries)
		if err != nil {
			return err
		}
		maps.DeleteFunc(found, func(key tableFiles, text string) bool { return again[key] != text })
	}
	if len(old) > 0 {
		p.note(checkTables, GradeWarning, outdatedText(old), upgradeHint)
	}
	var tables []qualified
	var problems []string
	for _, key := range slices.SortedFunc(maps.Keys(found), func(a, b tableFiles) int {
		return strings.Compare(a.database+"/"+a.table, b.database+"/"+b.table)
	}) {
		if q := (qualified{filename.SQL(key.database), filename.SQL(key.table)}); !slices.Contains(p.unlisted, q) {
			tables, problems = append(tables, q), append(problems, found[key])
		}
	}
	p.noteProblemTexts(problemTexts(tables, problems))
	return nil
}

// lookForProblems judges tables by their files as they are now.
func (l layout) lookForProblems(ctx context.Context, server *stage.Server, entries []entry) (found map[tableFiles]string, old []qualified, err error) {
	all := partsOf(func(yield func(entry, fileFacts) bool) {
		_ = l.as(func(l layout) error { // what cannot be read is named elsewhere
			for _, e := range entries {
				f, err := l.inspectFile(e)
				if errors.Is(err, fs.ErrPermission) {
					f, err = fileFacts{entry: e, denied: true}, nil
				}
				if err == nil && !yield(e, f) {
					break
				}
			}
			return nil
		})
	})
	j := judge{layout: l, discarded: map[string]bool{}, started: server.Started()}
	if j.dictionary, err = readDictionary(ctx, server); err != nil {
		return nil, nil, err
	}
	discarded, err := server.Discarded(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range discarded {
		j.discarded[name] = true
	}
	version, err := stage.ParseVersion(l.vars["version"])
	return j.problems(all), outdated(all, version), err
}

const (
	problemHint = "a backup goes on and holds such a table as it is: repair it, restore it from an older backup, or remove its files"
	// The files of a table with upper-case letters are sound.
	upperCase     = "upper-case letters in the name, which the server cannot open with lower_case_table_names=1"
	upperCaseHint = "a backup goes on and holds such a table as it is: start the server with lower_case_table_names=0 and rename it to lower-case letters"
)

// noteProblemTexts adds warnings of tables, with each piece of advice after the last that
// it is about.
func (p *Preflight) noteProblemTexts(texts []string) {
	advice := func(text string) string {
		if strings.HasSuffix(text, upperCase) {
			return upperCaseHint
		}
		return problemHint
	}
	for i, text := range texts {
		next := func(other string) bool { return advice(other) == advice(text) }
		if slices.ContainsFunc(texts[i+1:], next) {
			p.note(checkTables, GradeWarning, text)
			continue
		}
		p.note(checkTables, GradeWarning, text, advice(text))
	}
}

// inspectFile is inspect for a file that has not been opened.
func (l layout) inspectFile(e entry) (fileFacts, error) {
	f, err := l.files.Open(l.file(e))
	if err != nil {
		return fileFacts{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	s, err := statFile(f)
	if err != nil {
		return fileFacts{}, err
	}
	found := fileFacts{entry: e, size: s.size, modified: s.modified}
	if e.innodb() {
		size, err := l.pageSize()
		if err != nil {
			return fileFacts{}, err
		}
		space, err := readSpace(f, e.path(), make([]byte, size))
		if err == nil {
			found.space = space.ID
		}
		found.blank = errors.Is(err, innodb.ErrNoSpace)
	}
	found.facts, err = inspect(e, f, s.size)
	return found, err
}
