package preflight

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/hint"
	"mbk/stage"
)

// checkProblems names such tables before anything is locked. It opens every file that
// tells something, so that a backup leaves it to its own look at what it has copied. A
// DDL that is at work looks like a problem, so what is found is looked at twice.
func (p *Report) checkProblems(ctx context.Context, server *stage.Server) error {
	found, old, err := lookForProblems(ctx, p.Layout, server, p.first.Entries)
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
		s, err := p.Layout.Scan(ctx)
		if err != nil {
			return err
		}
		s.Entries = slices.DeleteFunc(s.Entries, func(e datadir.Entry) bool { return found[datadir.TableKey{Database: e.Dir, Table: e.Table}] == "" })
		again, _, err := lookForProblems(ctx, p.Layout, server, s.Entries)
		if err != nil {
			return err
		}
		maps.DeleteFunc(found, func(key datadir.TableKey, text string) bool { return again[key] != text })
	}
	if len(old) > 0 {
		p.note(CheckTables, GradeWarning, OutdatedText(old), upgradeHint)
	}
	var tables []datadir.TableName
	var problems []string
	for _, key := range slices.SortedFunc(maps.Keys(found), func(a, b datadir.TableKey) int {
		return strings.Compare(a.Database+"/"+a.Table, b.Database+"/"+b.Table)
	}) {
		if q := (datadir.TableName{Database: filename.SQL(key.Database), Name: filename.SQL(key.Table)}); !slices.Contains(p.Unlisted, q) {
			tables, problems = append(tables, q), append(problems, found[key])
		}
	}
	p.noteProblemTexts(ProblemTexts(tables, problems))
	return nil
}

// lookForProblems judges tables by their files as they are now.
func lookForProblems(ctx context.Context, l datadir.Layout, server *stage.Server, entries []datadir.Entry) (found map[datadir.TableKey]string, old []datadir.TableName, err error) {
	all := datadir.TablesOf(func(yield func(datadir.Entry, datadir.FileFacts) bool) {
		_ = l.Do(func(l datadir.Layout) error { // what cannot be read is named elsewhere
			for _, e := range entries {
				f, err := l.InspectFile(e)
				if errors.Is(err, fs.ErrPermission) {
					f, err = datadir.FileFacts{Entry: e, Denied: true}, nil
				}
				if err == nil && !yield(e, f) {
					break
				}
			}
			return nil
		})
	})
	j := datadir.Judge{Layout: l, Discarded: map[string]bool{}, Started: server.Started()}
	if j.Dictionary, err = datadir.ReadDictionary(ctx, server); err != nil {
		return nil, nil, err
	}
	discarded, err := server.Discarded(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range discarded {
		j.Discarded[name] = true
	}
	return j.Problems(all), datadir.Outdated(all, l.Version), nil
}

const (
	problemHint   = "a backup goes on and holds such a table as it is: repair it, restore it from an older backup, or remove its files"
	upperCaseHint = "a backup goes on and holds such a table as it is: start the server with lower_case_table_names=0 and rename it to lower-case letters"
)

// noteProblemTexts adds warnings of tables, with each piece of advice after the last that
// it is about.
func (p *Report) noteProblemTexts(texts []string) {
	advice := func(text string) hint.Text {
		if strings.HasSuffix(text, datadir.UpperCase) {
			return upperCaseHint
		}
		return problemHint
	}
	for i, text := range texts {
		next := func(other string) bool { return advice(other) == advice(text) }
		if slices.ContainsFunc(texts[i+1:], next) {
			p.note(CheckTables, GradeWarning, text)
			continue
		}
		p.note(CheckTables, GradeWarning, text, advice(text))
	}
}

// ProblemTexts are the warnings of tables, one for all that have the same problem. They
// are in the order of their first tables.
func ProblemTexts(tables []datadir.TableName, problems []string) []string {
	var order []string
	same := map[string][]datadir.TableName{}
	for i, text := range problems {
		if len(same[text]) == 0 {
			order = append(order, text)
		}
		same[text] = append(same[text], tables[i])
	}
	for i, text := range order {
		order[i] = datadir.ListNames(same[text]) + ": " + text
	}
	return order
}

// OutdatedText is the warning of such tables.
func OutdatedText(tables []datadir.TableName) string {
	return "made by a release before 11.5, and in need of an upgrade, here as in what is restored: " + datadir.ListNames(tables)
}

const upgradeHint = "run mariadb-upgrade"
