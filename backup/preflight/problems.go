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
	"mbk/stage"
)

// checkProblems warns of tables that have a problem. It opens every file that says
// something about one, so a backup skips this check and judges what it has copied. A
// running DDL looks like a problem, so what is found is checked twice.
func (r *Report) checkProblems(ctx context.Context, server *stage.Server) error {
	found, old, err := lookForProblems(ctx, r.Layout, server, r.first.Entries)
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
		s, err := r.Layout.Scan(ctx)
		if err != nil {
			return err
		}
		s.Entries = slices.DeleteFunc(s.Entries, func(e datadir.Entry) bool { return found[e.Key()] == datadir.Problem{} })
		again, _, err := lookForProblems(ctx, r.Layout, server, s.Entries)
		if err != nil {
			return err
		}
		maps.DeleteFunc(found, func(key datadir.TableKey, was datadir.Problem) bool { return again[key] != was })
	}
	if len(old) > 0 {
		r.note(CheckTables, GradeWarning, OutdatedText(old), upgradeHint)
	}
	var all []datadir.TableProblem
	for _, key := range slices.SortedFunc(maps.Keys(found), func(a, b datadir.TableKey) int {
		return strings.Compare(a.Database+"/"+a.Table, b.Database+"/"+b.Table)
	}) {
		if q := key.SQL(); !slices.Contains(r.Unlisted, q) {
			all = append(all, datadir.TableProblem{Table: q, Problem: found[key]})
		}
	}
	r.noteProblems(all)
	return nil
}

// lookForProblems judges tables by their files as they are now.
func lookForProblems(ctx context.Context, l datadir.Layout, server *stage.Server, entries []datadir.Entry) (
	found map[datadir.TableKey]datadir.Problem, old []datadir.TableName, err error,
) {
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
	problemHint = "a backup goes on and holds such a table as it is: repair it, restore it from an older backup, or " +
		"remove its files"
	upperCaseHint = "a backup goes on and holds such a table as it is: start the server with lower_case_table_names=0 " +
		"and rename it to lower-case letters"
)

// noteProblems adds a warning of each problem, with each piece of advice after the last
// warning that it is about.
func (r *Report) noteProblems(all []datadir.TableProblem) {
	groups := datadir.GroupProblems(all)
	for i, g := range groups {
		again := func(other datadir.ProblemGroup) bool { return other.Problem.NameOnly == g.Problem.NameOnly }
		switch {
		case slices.ContainsFunc(groups[i+1:], again):
			r.note(CheckTables, GradeWarning, g.String())
		case g.Problem.NameOnly:
			r.note(CheckTables, GradeWarning, g.String(), upperCaseHint)
		default:
			r.note(CheckTables, GradeWarning, g.String(), problemHint)
		}
	}
}

// OutdatedText is the warning about tables that datadir.Outdated returns.
func OutdatedText(tables []datadir.TableName) string {
	return "made by a release before 11.5, and in need of an upgrade, here as in what is restored: " +
		datadir.ListNames(tables)
}

const upgradeHint = "run mariadb-upgrade"
