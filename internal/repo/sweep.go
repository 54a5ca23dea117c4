package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// SweepOptions say what a Sweep leaves.
type SweepOptions struct {
	// Resumable keeps interrupted attempts whose last object is no older, and those on
	// which they continued; see Interrupted. Zero keeps none.
	Resumable time.Duration
	Now       time.Time // zero: time.Now
}

// Sweep removes what attempts left that died: the data of unlisted backups, unless it
// belongs to a listed one or can still be resumed, and half-written objects. It returns
// their ids and names. The lock must be held, and no attempt be under way in this process.
// A dead attempt without a record in the history gets one, as failed. What cannot be
// removed keeps nobody from removing the rest; the errors name it, and no backup depends
// on it.
func (r *Repository) Sweep(ctx context.Context, o SweepOptions) (swept []string, err error) {
	if err := r.confirmLock(ctx); err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	folders, err := r.folders(ctx)
	if err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	owned, err := r.claims(ctx, folders)
	if err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	resumable, err := r.resumable(ctx, folders, owned, o)
	if err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	whole := map[string]bool{}
	var failed []error
	for i := range folders {
		f := &folders[i]
		whole[f.id] = f.whole || f.err != nil
		removed, err := r.sweepFolder(ctx, f, owned, resumable[f.id])
		if err != nil {
			failed = append(failed, fmt.Errorf("sweep: %w", err))
		} else if removed {
			swept = append(swept, f.id)
		}
	}
	temps, err := r.sweepTemp(ctx)
	swept = append(swept, temps...)
	if err != nil {
		failed = append(failed, err)
	}
	// Most attempts die before any of their objects is finished.
	for _, name := range temps {
		id, _, _ := strings.Cut(strings.TrimPrefix(name, backupsPrefix), "/")
		if _, _, err := ParseID(id); err != nil || whole[id] {
			continue
		}
		if err := r.recordDead(ctx, id); err != nil {
			failed = append(failed, fmt.Errorf("sweep: %w", err))
		}
	}
	return swept, errors.Join(failed...)
}

// resumable returns the ids of the interrupted attempts that a Sweep keeps.
func (r *Repository) resumable(
	ctx context.Context, folders []stored, owned *claims, o SweepOptions,
) (map[string]bool, error) {
	keep := map[string]bool{}
	if o.Resumable <= 0 {
		return keep, nil
	}
	all, err := r.interrupted(ctx, owned.leave(folders))
	if err != nil {
		return nil, err
	}
	for i := range all {
		if age := o.Now.Sub(all[i].Last); age.Abs() > o.Resumable { // or the clock was wrong then
			continue
		}
		keep[all[i].ID] = true
		for _, id := range all[i].Adopted() {
			keep[id] = true
		}
	}
	return keep, nil
}

// sweepFolder removes what is not needed of the folder of a backup or an attempt, and
// reports whether that was all.
func (r *Repository) sweepFolder(ctx context.Context, f *stored, owned *claims, resumable bool) (all bool, err error) {
	if f.err != nil {
		return false, nil
	}
	if f.whole {
		return false, r.clearListed(ctx, f, func(base string) bool { return !isProgress(base) })
	}
	if err := r.recordDead(ctx, f.id); err != nil {
		return false, err
	}
	switch by := owned.maybe(f.id); {
	case by != "" && owned.sure(f.id):
		return false, r.clearListed(ctx, f, func(base string) bool { return owned.named[f.id][base] })
	case by != "":
		r.warn(fmt.Errorf("%s stays: it may belong to backup %s, of which neither label nor manifest can be read",
			Folder(f.id), by))
		return false, nil
	case resumable:
		return false, nil
	}
	return true, r.discard(ctx, f.id)
}

// sweepTemp removes half-written objects and returns their names.
func (r *Repository) sweepTemp(ctx context.Context) (swept []string, err error) {
	var failed []error
	for _, prefix := range []string{backupsPrefix, historyPrefix, pinsPrefix, configName} {
		temps, err := r.st.SweepTemp(ctx, prefix)
		swept = append(swept, temps...)
		failed = append(failed, err)
	}
	return swept, errors.Join(failed...)
}

// recordDead notes in the history that an attempt ended without a word, unless
// it is on record: then it was being expired or rolled back.
func (r *Repository) recordDead(ctx context.Context, id string) error {
	list, err := r.st.List(ctx, attemptName(id))
	if err != nil || len(list) > 0 {
		return err
	}
	started, kind, err := ParseID(id)
	if err != nil {
		return err
	}
	return r.PutAttempt(ctx, Attempt{
		ID: id, Kind: kind, Started: started, Outcome: OutcomeFailed,
		Error: "mbk ended without a word: it was killed, or the machine stopped",
	})
}

// Discard removes all objects of a backup or of an attempt, its label first, and then what
// interrupted attempts have left that belongs to it. Its history stays. The lock must be
// held. What an interrupted Discard leaves is removed by Sweep.
func (r *Repository) Discard(ctx context.Context, id string) error {
	if err := r.CheckLock(); err != nil {
		return fmt.Errorf("discard %s: %w", id, err)
	}
	if _, _, err := ParseID(id); err != nil {
		return fmt.Errorf("discard: %w", err)
	}
	adopted, err := r.adoptedBy(ctx, id)
	if err != nil {
		return fmt.Errorf("discard %s: %w", id, err)
	}
	if err := r.discard(ctx, id); err != nil {
		return err
	}
	for _, other := range adopted {
		if err := r.discard(ctx, other); err != nil {
			return err
		}
	}
	return nil
}

// discard removes all objects of one folder, the label first.
func (r *Repository) discard(ctx context.Context, id string) error {
	err := r.confirmLock(ctx)
	if err == nil {
		err = r.st.Delete(ctx, labelName(id))
	}
	if err == nil {
		err = r.clear(ctx, id, func(string) bool { return false })
	}
	if err != nil {
		return fmt.Errorf("discard %s: %w", id, err)
	}
	return nil
}

// adoptedBy returns the ids of the attempts whose folders belong to a backup alone. What
// cannot be told is left to a Sweep.
func (r *Repository) adoptedBy(ctx context.Context, id string) ([]string, error) {
	names, err := r.namesOf(ctx, id)
	if err != nil && !errors.Is(err, errUnread) {
		return nil, err
	}
	own := &claims{named: map[string]map[string]bool{}, by: map[string]string{}}
	own.add(id, names)
	if len(own.by) == 0 {
		return nil, nil
	}
	folders, err := r.folders(ctx)
	if err != nil {
		return nil, err
	}
	labelled := map[string]bool{}
	for i := range folders {
		labelled[folders[i].id] = folders[i].whole || folders[i].err != nil
	}
	others, err := r.claims(ctx, slices.DeleteFunc(folders, func(f stored) bool { return f.id == id }))
	if err != nil {
		return nil, err
	}
	var adopted []string
	for other := range own.by {
		if !labelled[other] && others.maybe(other) == "" {
			adopted = append(adopted, other)
		}
	}
	slices.Sort(adopted)
	return adopted, nil
}

// clear removes the objects in the folder of a backup or attempt, except those that are to
// be kept.
func (r *Repository) clear(ctx context.Context, id string, keep func(base string) bool) error {
	list, err := r.st.List(ctx, Folder(id)+"/")
	if err != nil {
		return err
	}
	return r.clearListed(ctx, &stored{id: id, objects: list}, keep)
}

// clearListed is clear for a listing. Progress objects go first, so that nobody continues
// on what is being removed.
func (r *Repository) clearListed(ctx context.Context, f *stored, keep func(base string) bool) error {
	for _, progress := range []bool{true, false} {
		for _, o := range f.objects {
			base := strings.TrimPrefix(o.Name, Folder(f.id)+"/")
			if isProgress(base) != progress || keep(base) {
				continue
			}
			if err := r.CheckLock(); err != nil {
				return err
			}
			if err := r.st.Delete(ctx, o.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}
