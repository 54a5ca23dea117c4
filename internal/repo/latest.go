package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"

	"mbk/internal/fault"
)

// ErrRemoved is the cause of whatever fails because a backup was removed meanwhile.
var ErrRemoved = fault.New(fault.Busy, "the backup was removed meanwhile")

// Standing returns the verification that says how a backup stands, nil if there was
// none.
func (r *Repository) Standing(ctx context.Context, id string) (*Verification, error) {
	all, err := r.Verifications(ctx, id)
	return Standing(all), err
}

// latest returns all backups in the order in which Latest stands for them: the newest
// first, and after all others those that are known to be damaged.
func (r *Repository) latest(ctx context.Context) (good, damaged []string, err error) {
	all, err := r.summaries(ctx, false)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range slices.Backward(all) {
		if s.KnownDamaged() {
			damaged = append(damaged, s.ID)
		} else {
			good = append(good, s.ID)
		}
	}
	return good, damaged, nil
}

// NewestGood returns the id of the newest backup that is not known to be damaged, ""
// if there is none.
func (r *Repository) NewestGood(ctx context.Context) (string, error) {
	good, _, err := r.latest(ctx)
	if err != nil || len(good) == 0 {
		return "", err
	}
	return good[0], nil
}

// newestThat opens the backup that Latest stands for: the newest that is not known to be
// damaged and that open opens. If there is none, the newest damaged one that it opens.
func newestThat[T any](
	ctx context.Context, r *Repository, open func(ctx context.Context, id string) (T, error),
) (none T, err error) {
	good, damaged, err := r.latest(ctx)
	if err != nil {
		return none, err
	}
	var first error
	for _, id := range slices.Concat(good, damaged) {
		opened, err := open(ctx, id)
		switch {
		case err == nil:
			return opened, nil
		case errors.Is(err, ErrDamaged), errors.Is(err, syscall.EIO):
			r.warn(fmt.Errorf("backup %s is passed over: %w", id, err))
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrRemoved): // removed meanwhile
		default:
			return none, err
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = &UnknownError{Where: r.String(), What: "backup", ID: Latest}
	}
	return none, first
}
