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
	found, release, err := prepare(ctx, o)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	defer release() //nolint:errcheck // the lock ends with the process at the latest
	held := &heldTables{opts: o}
	defer held.release()
	for try := 1; ; try++ {
		m, err := runAttempt(ctx, o, found, held, try)
		held.release()
		if doubt, ok := errors.AsType[*preflight.Doubt](err); ok && o.Increment.Parent == "" && try < maxAttempts {
			o.Logger.Warn("starting over with a full backup", "reason", doubt)
			found.DropParent(doubt)
			continue
		}
		if !startsOver(err) || try == maxAttempts {
			return m, err
		}
		o.Logger.Warn("starting over from a fresh checkpoint", "reason", err)
		held.note(err)
		if err := held.hold(ctx); err != nil {
			return nil, err
		}
		if err := waitForCheckpoint(ctx, o, err); err != nil {
			return nil, err
		}
	}
}

// prepare makes all checks and takes the repository's lock. What fails here is an
// attempt too, and the history has it, unless Options.Unrecorded says otherwise.
func prepare(ctx context.Context, o Options) (found *preflight.Report, release func() error, err error) {
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
		return found, nil, err
	}
	if err := found.Errors(); err != nil {
		return found, nil, err
	}
	if release, err = o.Repository.Lock(ctx); err != nil {
		return found, nil, err
	}
	if err := keepParent(ctx, o, found); err != nil {
		return found, nil, errors.Join(err, release())
	}
	swept, err := o.Repository.Sweep(ctx, repo.SweepOptions{})
	if ctx.Err() != nil {
		return found, nil, errors.Join(err, release())
	}
	if err != nil { // it takes up room, and no backup depends on it
		found.Add("repository", preflight.GradeWarning, "what an interrupted backup or expiry left cannot be removed: "+
			strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	for _, name := range swept {
		o.Logger.Info("removed what an interrupted backup left", "object", name)
	}
	return found, release, nil
}

// keepParent makes sure that the parent was not removed before the repository was locked.
func keepParent(ctx context.Context, o Options, found *preflight.Report) error {
	if found.Parent == nil {
		return nil
	}
	err := found.Parent.StillThere(ctx, o.Repository)
	if doubt, ok := errors.AsType[*preflight.Doubt](err); ok && o.Increment.Parent == "" {
		o.Logger.Warn("making a full backup", "reason", doubt)
		found.DropParent(doubt)
		return nil
	}
	return err
}
