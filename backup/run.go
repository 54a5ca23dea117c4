package backup

import (
	"context"
	"errors"
	"strings"
	"time"

	"mbk/backup/preflight"
	"mbk/internal/repo"
)

// Run takes one backup, full or an increment, and returns its manifest, which is in the
// repository by then. After any error the server holds no lock of ours and the
// repository does not list the backup. The history has the attempt in both cases.
func Run(ctx context.Context, o Options) (*repo.Manifest, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Repository == nil {
		return nil, o.NoRepository
	}
	found, from, release, err := prepare(ctx, o)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	defer release() //nolint:errcheck // the lock ends with the process at the latest
	held := &heldTables{opts: o}
	defer held.release()
	for try := 1; ; try++ {
		from.tell(o, found.Bytes)
		m, err := runAttempt(ctx, o, found, from, held, try)
		held.release()
		if err == nil || try == maxAttempts {
			return m, err
		}
		if err := startOver(ctx, o, found, held, err); err != nil {
			return nil, err
		}
		if from, err = chooseResume(ctx, o, found); err != nil {
			return nil, err
		}
	}
}

// startOver prepares another attempt after one that failed. If there is to be none, it
// returns why that failed.
func startOver(ctx context.Context, o Options, found *preflight.Report, held *heldTables, failed error) error {
	if _, stale := errors.AsType[staleError](failed); stale {
		o.Logger.Warn("starting over without what interrupted backups have stored", "reason", failed)
		_, err := o.Repository.Sweep(ctx, repo.SweepOptions{})
		return err
	}
	if doubt, ok := errors.AsType[*preflight.Doubt](failed); ok {
		return dropParent(o, found, doubt)
	}
	if !startsOver(failed) {
		return failed
	}
	o.Logger.Warn("starting over from a fresh checkpoint", "reason", failed)
	held.note(failed)
	if err := held.hold(ctx); err != nil {
		return err
	}
	return waitForCheckpoint(ctx, o, failed)
}

// prepare makes all checks and takes the repository's lock. What fails here is an
// attempt too, and the history has it, unless Options.Unrecorded says otherwise.
func prepare(ctx context.Context, o Options) (
	found *preflight.Report, from *resume, release func() error, err error,
) {
	const step = "checking the server and the repository"
	began := time.Now()
	defer func() {
		if err == nil || o.Unrecorded(err) {
			return
		}
		found.Close()
		a := newFailure(o, "", began, err)
		a.Steps = []repo.Step{{Name: step, MS: time.Since(began).Milliseconds()}}
		if found != nil {
			describe(&a, found.Facts)
			a.Warn(found.Warnings()...)
		}
		notBegun(ctx, o, a)
	}()
	o.Progress.Step(step)
	if found, err = preflight.Run(ctx, o.Options); err != nil {
		return found, nil, nil, err
	}
	if err := found.Errors(); err != nil {
		return found, nil, nil, err
	}
	if release, err = o.Repository.Lock(ctx); err != nil {
		return found, nil, nil, err
	}
	if err := keepParent(ctx, o, found); err != nil {
		return found, nil, nil, errors.Join(err, release())
	}
	leave := repo.SweepOptions{Resumable: o.ResumeWithin}
	if o.NoResume {
		leave.Resumable = 0
	}
	swept, err := o.Repository.Sweep(ctx, leave)
	if ctx.Err() != nil {
		return found, nil, nil, errors.Join(err, release())
	}
	if err != nil { // it takes up room, and no backup depends on it
		found.Add("repository", preflight.GradeWarning, "what an interrupted backup or expiry left cannot be removed: "+
			strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	for _, name := range swept {
		o.Logger.Info("removed what an interrupted backup left", "object", name)
	}
	if from, err = chooseResume(ctx, o, found); err != nil {
		return found, nil, nil, errors.Join(err, release())
	}
	return found, from, release, nil
}

// keepParent makes sure that the parent was not removed before the repository was locked.
func keepParent(ctx context.Context, o Options, found *preflight.Report) error {
	if found.Parent == nil {
		return nil
	}
	err := found.Parent.StillThere(ctx, o.Repository)
	if doubt, ok := errors.AsType[*preflight.Doubt](err); ok {
		return dropParent(o, found, doubt)
	}
	return err
}

// dropParent makes a full backup of what was to be an increment, unless the options name
// the parent.
func dropParent(o Options, found *preflight.Report, why *preflight.Doubt) error {
	if o.Increment.Parent != "" {
		return &preflight.UnfitParentError{Parent: o.Increment.Parent, Why: why}
	}
	o.Logger.Warn("making a full backup", "reason", why)
	found.DropParent(why)
	return nil
}
