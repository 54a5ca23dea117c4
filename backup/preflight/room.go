package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"mbk/copier/pack"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/sys/disk"
)

// checkRepository makes sure that the repository may be written to, if its store can tell.
func (r *Report) checkRepository(ctx context.Context, o Options) error {
	repository := o.Repository
	if repository == nil {
		r.Add("repository", GradeError, strings.TrimPrefix(o.NoRepository.Error(), "repository: "),
			hint.Attached(o.NoRepository)...)
		return nil
	}
	if err := repository.Writable(ctx); err != nil {
		steps := hint.Attached(err)
		if len(steps) == 0 {
			steps = []hint.Text{"run mbk as the user who owns the repository, or give it to the user who runs mbk"}
		}
		r.Add("repository", GradeError, err.Error(), steps...)
		return nil
	}
	if dir := repository.Dir(); dir != "" && disk.Within(dir, r.Layout.Dir) {
		r.Add("repository", GradeError, dir+" lies in the data directory: the server would take it for a database, and a "+
			"backup would hold the backups before it",
			hint.Text("choose a folder for the repository that is not in "+r.Layout.Dir))
		return nil
	}
	text := repository.String() + " can be written to"
	if repository.Dir() == "" {
		text = repository.String() + " can be read; whether it can be written to, only a backup shows"
	}
	if repository.New() {
		text = repository.String() + " is empty and becomes a new repository"
	}
	if disk.Same(repository.Dir(), r.Layout.Dir) {
		text += "; it is on the file system of the data directory, and may be lost with it: keep copies elsewhere (mbk copy)"
	}
	r.Add("repository", GradeOK, text)
	return r.checkExposed(ctx, repository)
}

// checkExposed warns of a repository in which users other than its owner can replace
// backups.
func (r *Report) checkExposed(ctx context.Context, repository *repo.Repository) error {
	found, err := repository.Exposed(ctx)
	for _, text := range found {
		r.Add("repository", GradeWarning, text+": whoever can write there can exchange or remove backups",
			hint.Text("leave a repository to one user: chmod -R go-w "+repository.String()))
	}
	return err
}

// checkSpace compares the free space of the repository with what the backup will need,
// estimated from the compression ratio of the newest backup or from a careful guess.
func (r *Report) checkSpace(ctx context.Context, o Options) error {
	if o.Repository == nil {
		return nil
	}
	space, err := o.Repository.Space(ctx)
	if err != nil {
		return err
	}
	if !space.Known {
		return nil
	}
	need, err := r.expectedSize(ctx, o)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s free in %s, about %s needed", humanize.IBytes(uint64(space.Free)), o.Repository,
		humanize.IBytes(uint64(need)))
	kept, err := keptBytes(ctx, o.Repository)
	if err != nil {
		return err
	}
	if kept > 0 {
		text += fmt.Sprintf(", of which interrupted backups have stored %s or take that room", humanize.IBytes(uint64(kept)))
		space.Free += kept
	}
	keep := o.MinFree.Of(space.Total)
	if keep > 0 {
		text += fmt.Sprintf(", %s to be kept free (%s)", humanize.IBytes(uint64(keep)), o.MinFree)
	}
	if space.Free < need+keep {
		advice := hint.Text("make room (mbk expire), or use another repository")
		if space.Free >= need {
			advice += ", or allow less with " + hint.Option("min-free")
		}
		r.Add("space", GradeError, text, advice)
		return nil
	}
	r.Add("space", GradeOK, text)
	return nil
}

// keptBytes is the room that interrupted attempts take. A backup either continues on them or
// removes them first.
func keptBytes(ctx context.Context, r *repo.Repository) (bytes int64, err error) {
	all, err := r.Unfinished(ctx)
	for _, a := range all {
		if !a.Running {
			bytes += a.Bytes
		}
	}
	return bytes, err
}

// checkSpool checks the space for redo that the repository does not take fast enough. It
// need not hold more than the server writes during the backup.
func (r *Report) checkSpool(_ context.Context, o Options) error {
	space, err := disk.SpaceOf(o.SpoolDir)
	if err != nil {
		return fmt.Errorf("spool folder: %w", err)
	}
	const little = 1 << 30
	text := fmt.Sprintf("%s free in %s", humanize.IBytes(uint64(space.Free)), o.SpoolDir)
	if space.Free < little+o.MinFree.Of(space.Total) {
		r.note("spool", GradeWarning, text+", where redo waits that the repository does not take fast enough",
			"name a folder with more room with "+hint.Option("spool-dir"))
		return nil
	}
	r.note("spool", GradeOK, text)
	return nil
}

// expectedSize is in bytes.
func (r *Report) expectedSize(ctx context.Context, o Options) (int64, error) {
	const (
		carefulRatio = 4  // few data sets compress better
		carefulShare = 10 // few increments store more than this part of what they read
	)
	list, err := o.Repository.List(ctx)
	if err != nil {
		return 0, err
	}
	newest := func(kind string) *repo.Summary {
		for i := range slices.Backward(list) {
			if s := &list[i]; s.Kind == kind && s.BytesRead > 0 && s.BytesStored > 0 {
				return s
			}
		}
		return nil
	}
	need := r.Bytes
	if full := newest(repo.KindFull); full != nil && o.Codec != pack.None {
		need = int64(float64(r.Bytes) * float64(full.BytesStored) / float64(full.BytesRead))
	} else if o.Codec != pack.None {
		need = r.Bytes / carefulRatio
	}
	if r.Parent == nil {
		return need, nil
	}
	// The most that it could be would forbid increments where there is room for thirty.
	if last := newest(repo.KindIncremental); last != nil {
		return min(need, 2*last.BytesStored), nil
	}
	return need / carefulShare, nil
}
