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
// first, and after all others those that a verification has found damaged.
func (r *Repository) latest(ctx context.Context) (good, damaged []string, err error) {
	ids, err := r.IDs(ctx)
	if err != nil {
		return nil, nil, err
	}
	history, err := r.listHistory(ctx, "")
	if err != nil {
		return nil, nil, err
	}
	verifications := newestPerDepth(history)
	for _, id := range slices.Backward(ids) {
		records, err := r.readVerifications(ctx, verifications[id])
		if err != nil {
			return nil, nil, err
		}
		if v := Standing(records); v != nil && !v.OK {
			damaged = append(damaged, id)
		} else {
			good = append(good, id)
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

// latestManifest returns the manifest that Latest stands for: of the newest backup
// that is not known to be damaged and whose manifest is not. If there is none, that of
// the newest damaged one.
func (r *Repository) latestManifest(ctx context.Context) (*Manifest, error) {
	good, damaged, err := r.latest(ctx)
	if err != nil {
		return nil, err
	}
	var first error
	for _, id := range slices.Concat(good, damaged) {
		m, err := r.manifest(ctx, id)
		switch {
		case err == nil:
			return m, nil
		case errors.Is(err, ErrDamaged), errors.Is(err, syscall.EIO):
			r.warn(fmt.Errorf("backup %s is passed over: %w", id, err))
		case errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrDamaged): // removed meanwhile
		default:
			return nil, err
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = &UnknownError{Where: r.String(), What: "backup", ID: Latest}
	}
	return nil, first
}
