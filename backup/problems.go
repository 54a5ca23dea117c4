package backup

import (
	"context"

	"mbk/internal/datadir/filename"
	"mbk/internal/repo"
)

// facts are those of a file that was copied.
func (p *finalFile) facts() fileFacts {
	f := fileFacts{facts: p.copy.facts, entry: p.entry, size: p.copy.size, modified: p.copy.stat.modified, blank: p.entry.innodb() && p.copy.id == nil}
	if p.copy.id != nil {
		f.space = *p.copy.id
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
	d, err := readDictionary(ctx, r.opts.Server)
	if err != nil {
		return err
	}
	r.copies.dictionary = d
	r.copies.leaveCopies(r.final, r.final.exchanged(d))
	return nil
}

// noteProblems writes what is wrong with tables on the source into the manifest.
func (r *attempt) noteProblems(m *repo.Manifest) {
	j := judge{layout: r.layout, discarded: r.copies.discarded, started: r.opts.Server.Started()}
	if r.final.bare {
		j.dictionary = r.copies.dictionary
	}
	parts := partsOf(func(yield func(entry, fileFacts) bool) {
		for _, files := range []map[string]*finalFile{r.final.files, r.copies.misplaced} {
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
