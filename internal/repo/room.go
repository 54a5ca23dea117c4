package repo

import (
	"context"
	"fmt"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/ui"
)

// ErrNoSpace is returned if a repository has no room for what is to be written.
var ErrNoSpace = fault.New(fault.Config, "not enough free space")

// WantSpace returns an ErrNoSpace if the repository is known to have less than n bytes
// free. What is to be written is for the message: "the new backup".
func (r *Repository) WantSpace(ctx context.Context, what string, n int64) error {
	space, err := r.Space(ctx)
	if err != nil || !space.Known || space.Free >= n {
		return err
	}
	return hint.Wrap(fmt.Errorf("%w: %s may take %s, and %s has %s", ErrNoSpace, what, ui.Size(n), r, ui.Size(space.Free)),
		`remove backups that are no longer needed from it: "mbk expire"`)
}
