package backup

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"mbk/internal/datadir/filename"
	"mbk/internal/hint"
	"mbk/stage"
)

// checkProblems names such tables before anything is locked. It opens every file that
// tells something, so that a backup leaves it to its own look at what it has copied. A
// DDL that is at work looks like a problem, so what is found is looked at twice.
func (p *Preflight) checkProblems(ctx context.Context, server *stage.Server) error {
	found, old, err := lookForProblems(ctx, p.layout, server, p.first.entries)
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
		again, _, err := lookForProblems(ctx, p.layout, server, s.entries)
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
func lookForProblems(ctx context.Context, l layout, server *stage.Server, entries []entry) (found map[tableFiles]string, old []qualified, err error) {
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
	return j.problems(all), outdated(all, l.version), nil
}

const (
	problemHint   = "a backup goes on and holds such a table as it is: repair it, restore it from an older backup, or remove its files"
	upperCaseHint = "a backup goes on and holds such a table as it is: start the server with lower_case_table_names=0 and rename it to lower-case letters"
)

// noteProblemTexts adds warnings of tables, with each piece of advice after the last that
// it is about.
func (p *Preflight) noteProblemTexts(texts []string) {
	advice := func(text string) hint.Text {
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

// outdatedText is the warning of such tables.
func outdatedText(tables []qualified) string {
	return "made by a release before 11.5, and in need of an upgrade, here as in what is restored: " + shortNames(tables)
}

const upgradeHint = "run mariadb-upgrade"
