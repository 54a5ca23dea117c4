package coldbackup

import (
	"errors"
	"testing"
	"time"

	"mbk/copier"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/test/mariadbtest"
)

// Next kills a server and adds an increment of what it holds to the repository: its parent
// is the fixture's backup, of the same server, which was started again since. The result is
// a fixture of the same repository.
func (f *Fixture) Next(t testing.TB, s *mariadbtest.Server, args ...string) *Fixture {
	t.Helper()
	m := newManifest(t, s)
	if !m.Started.Truncate(time.Second).After(f.Manifest.Started) { // ids count seconds
		m.Started = f.Manifest.Started.Truncate(time.Second).Add(time.Second)
	}
	m.ID, m.Kind = repo.NewID(m.Started, repo.KindIncremental), repo.KindIncremental
	m.Parent, m.Chain = f.Manifest.ID, f.Manifest.Chain+1
	g := &Fixture{Repository: f.Repository, Folder: f.Folder, Manifest: m, Dist: f.Dist}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	release, err := g.Repository.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g.draft = g.Repository.Draft(m.ID)
	b := &coldBackup{datadir: s.Datadir, draft: g.draft, m: m, parent: f.Manifest}
	if err := errors.Join(b.run(t.Context(), endOfLog(t, s, args)), release()); err != nil {
		t.Fatal(err)
	}
	g.Commit(t)
	return g
}

// layOver makes a file that the parent has too a layer over that one. It reports whether
// nothing of it has to be copied.
func (b *coldBackup) layOver(file *repo.File, source *copier.Source) (unchanged bool) {
	if b.parent == nil {
		return false
	}
	for i := range b.parent.Files {
		p := &b.parent.Files[i]
		if p.Path != file.Path || p.Inode != file.Inode || p.Class != file.Class || p.PageSize != file.PageSize ||
			(p.Space == nil) != (file.Space == nil) || p.Space != nil && *p.Space != *file.Space {
			continue
		}
		switch {
		case p.Size == file.Size && p.Modified.Equal(file.Modified) && file.Class != repo.ClassLog:
			file.Base = &p.Number
			return true
		case file.Class == repo.ClassInnoDB && file.PageSize > 0:
			file.Base = &p.Number
			size := min(p.Size, file.Size)
			source.Pages = changedPages(file.PageSize)
			source.Bases = []copier.Base{{Range: copier.Range{Size: size - size%int64(file.PageSize)},
				Since: uint64(b.parent.LSN.Checkpoint)}}
		}
	}
	return false
}

// changedPages selects pages by their LSN. The value is their size.
type changedPages int

// PageSize implements copier.Pages.
func (p changedPages) PageSize() int { return int(p) }

// Check implements copier.Pages. Nobody writes to the files.
func (changedPages) Check([]byte, uint32) error { return nil }

// Changed implements copier.Changes.
func (changedPages) Changed(page []byte, no uint32, since uint64) bool {
	lsn := innodb.PageLSN(page)
	return lsn == 0 || lsn >= innodb.LSN(since)
}
