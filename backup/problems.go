package backup

import (
	"context"

	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/repo"
)

// facts are those of a file that was copied.
func (p *finalFile) facts() datadir.FileFacts {
	f := datadir.FileFacts{Facts: p.copy.facts, Entry: p.entry, Size: p.copy.size, Modified: p.copy.stat.Modified, Blank: p.entry.IsInnoDB() && p.copy.id == nil}
	if p.copy.id != nil {
		f.Space = *p.copy.id
	}
	return f
}

// findProblems looks, under the lock, for tables of InnoDB without files, or with wrong
// ones. Only then is the dictionary needed once more.
func (r *attempt) findProblems(ctx context.Context) error {
	if d := r.copies.dictionary; !r.final.bare && (d == nil || len(r.final.exchanged(d)) == 0) {
		return nil
	}
	r.final.bare = true
	d, err := datadir.ReadDictionary(ctx, r.opts.Server)
	if err != nil {
		return err
	}
	r.copies.dictionary = d
	r.copies.leaveCopies(r.final, r.final.exchanged(d))
	return nil
}

// noteProblems writes what is wrong with tables on the source into the manifest.
func (r *attempt) noteProblems(m *repo.Manifest) {
	j := datadir.Judge{Layout: r.layout, Discarded: r.copies.discarded, Started: r.opts.Server.Started()}
	if r.final.bare {
		j.Dictionary = r.copies.dictionary
	}
	parts := datadir.TablesOf(func(yield func(datadir.Entry, datadir.FileFacts) bool) {
		for _, files := range []map[string]*finalFile{r.final.files, r.copies.misplaced} {
			for _, p := range files {
				if !yield(p.entry, p.facts()) {
					return
				}
			}
		}
	})
	r.outdated = datadir.Outdated(parts, r.found.facts.Version)
	all := j.Problems(parts)
	for i := range m.Tables {
		if t := &m.Tables[i]; t.Problem == "" {
			t.Problem = all[datadir.TableKey{Database: filename.Encode(t.Database), Table: filename.Encode(t.Name)}]
		}
	}
}

// warnProblems are the warnings of tables with a problem.
func warnProblems(m *repo.Manifest) []string {
	var tables []datadir.TableName
	var problems []string
	for _, t := range m.Tables {
		if t.Problem != "" {
			tables, problems = append(tables, datadir.TableName{Database: t.Database, Name: t.Name}), append(problems, t.Problem)
		}
	}
	return problemTexts(tables, problems)
}
