package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dustin/go-humanize"

	"mbk/backup/preflight"
	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/sys/boot"
)

// resume is what an attempt goes on with: interrupted attempts that fit, the newest first.
// What they have stored is not stored again. Nil: there are none.
type resume struct {
	attempts []repo.Interrupted
}

// chooseResume looks for attempts on which the next one can go on. What is left of all
// others is removed, and the reason told. The repository is locked, and no attempt is under
// way.
func chooseResume(ctx context.Context, o Options, found *preflight.Report) (*resume, error) {
	all, err := o.Repository.Interrupted(ctx)
	if err != nil {
		return nil, err
	}
	var chosen []repo.Interrupted
	reasons := map[string]error{}
	for i := 0; i < len(all) && len(chosen) == 0; i++ {
		chosen, err = fitting(ctx, o, found, all, i)
		doubt, ok := errors.AsType[*preflight.Doubt](err)
		if err != nil && !ok {
			return nil, err
		}
		if ok {
			reasons[all[i].ID] = doubt
		}
	}
	for _, a := range all {
		if slices.ContainsFunc(chosen, func(c repo.Interrupted) bool { return c.ID == a.ID }) {
			continue
		}
		reason := cmp.Or(reasons[a.ID], errors.New("a newer one is continued on"))
		o.Logger.Info("what an interrupted backup has stored is of no use", "attempt", a.ID, "reason", reason)
		if err := o.Repository.Discard(ctx, a.ID); err != nil {
			o.Logger.Warn("what an interrupted backup has stored cannot be removed", "attempt", a.ID, "reason", err)
		}
	}
	if len(chosen) == 0 {
		return nil, nil
	}
	return &resume{attempts: chosen}, nil
}

// fitting returns an interrupted attempt and those that it had gone on with itself. The
// error is a *preflight.Doubt if it is of no use.
func fitting(
	ctx context.Context, o Options, found *preflight.Report, all []repo.Interrupted, i int,
) ([]repo.Interrupted, error) {
	newest := &all[i]
	chosen := []repo.Interrupted{*newest}
	for _, id := range newest.Adopted() {
		at := slices.IndexFunc(all, func(other repo.Interrupted) bool { return other.ID == id })
		if at < 0 {
			return nil, preflight.Doubtf("it had gone on with %s, of which nothing is left", id)
		}
		chosen = append(chosen, all[at])
	}
	for _, a := range chosen {
		if err := fitsKind(a, found.Parent); err != nil {
			return nil, err
		}
	}
	return chosen, found.SameServer(ctx, o.Options, newest.Lineage())
}

// fitsKind reports whether what an attempt has stored can lie above the same parent.
func fitsKind(a repo.Interrupted, parent *preflight.Parent) error {
	switch of := a.Parent(); {
	case of == "":
		return nil
	case parent == nil:
		return preflight.Doubtf("it was an increment of %s, and this is a full backup", of)
	case of != parent.ID:
		return preflight.Doubtf("it was an increment of %s, and this is one of %s", of, parent.ID)
	}
	return nil
}

// ids are those of the attempts.
func (r *resume) ids() []string {
	if r == nil {
		return nil
	}
	ids := make([]string, len(r.attempts))
	for i, a := range r.attempts {
		ids[i] = a.ID
	}
	return ids
}

// progress is what they have stored.
func (r *resume) progress() [][]repo.Progress {
	if r == nil {
		return nil
	}
	all := make([][]repo.Progress, len(r.attempts))
	for i, a := range r.attempts {
		all[i] = a.Progress
	}
	return all
}

// adopt makes what they have stored objects of a backup.
func (r *resume) adopt(d *repo.Draft) {
	if r != nil {
		d.Adopt(r.attempts)
	}
}

// reached is how far the server's log had got when they had stored the last of that.
func (r *resume) reached() (lsn innodb.LSN) {
	if r == nil {
		return 0
	}
	for _, a := range r.attempts {
		lsn = max(lsn, a.Lineage().End)
	}
	return lsn
}

// staleError says that the attempts that this one went on with are of no use.
type staleError struct{ error }

func (e staleError) Unwrap() error { return e.error }

// prove is called when the redo log is open and no page is copied yet. It makes sure that
// this is still the server of the interrupted attempts; else the error is a staleError.
func (r *resume) prove(now boot.ID, aria [16]byte, current innodb.LSN, redo repo.RedoFile) error {
	if r == nil {
		return nil
	}
	l := r.attempts[0].Lineage()
	p := preflight.Parent{ID: l.ID, Lineage: l, SameBoot: sameBoot(l, now)}
	if err := p.Doubt(aria, current, redo); err != nil {
		return staleError{err}
	}
	return nil
}

// packs are those of the attempts of which files have extents.
func (r *resume) packs(files []repo.File) (packs []pack.Pack) {
	used := map[string]bool{}
	for i := range files {
		for _, pass := range files[i].Earlier {
			for _, e := range pass.Extents {
				used[e.Pack] = true
			}
		}
	}
	for _, progress := range r.progress() {
		for i := range progress {
			p := progress[i].Pack
			if p.Name = progress[i].ID + "/" + p.Name; used[p.Name] {
				packs = append(packs, p)
			}
		}
	}
	return packs
}

// tell says what they have stored of total bytes.
func (r *resume) tell(o Options, total int64) {
	if r == nil {
		return
	}
	var raw int64
	for _, a := range r.attempts {
		for i := range a.Progress {
			raw += a.Progress[i].Pack.Raw
		}
	}
	text := fmt.Sprintf("continues on %s: %s", r.attempts[0].ID, humanize.IBytes(uint64(raw)))
	if total > raw {
		text += " of " + humanize.IBytes(uint64(total))
	}
	text += " are stored already"
	o.Progress.Step(text)
	o.Logger.Info(text)
}

// resumed is what files have of interrupted attempts.
func (r *resume) resumed(files []*fileCopy) *repo.Resumed {
	if r == nil {
		return nil
	}
	resumed := &repo.Resumed{IDs: r.ids()}
	for _, fc := range files {
		if n := fc.resumed(); n > 0 {
			resumed.Files++
			resumed.Bytes += n
		}
	}
	return resumed
}

// resumed is how many bytes of the file interrupted attempts have stored that were not
// stored again as a whole.
func (fc *fileCopy) resumed() int64 {
	var earlier ranges
	for _, pass := range fc.below().earlier {
		for _, e := range pass.Extents {
			one := ranges{{Start: e.Start, Size: e.Size}}
			earlier = append(earlier, one.without(earlier)...)
			slices.SortFunc(earlier, func(a, b copier.Range) int { return cmp.Compare(a.Start, b.Start) })
		}
	}
	earlier = earlier.within(ranges{copier.Range{Size: fc.size}})
	return earlier.bytes()
}

// bytes is how many there are.
func (r ranges) bytes() (n int64) {
	for _, one := range r {
		n += one.Size
	}
	return n
}
