package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"mbk/internal/repo/store"
)

// currentBase is the object that says when the archive had all that its server had.
const currentBase = "current.json"

// maxCurrent limits that object, in bytes.
const maxCurrent = 4096

// current is what that object holds.
type current struct {
	FormatVersion int       `json:"format_version"`
	ID            string    `json:"id"` // of the timeline
	Current       time.Time `json:"current"`
}

// Mark notes in the repository that the newest timeline has all that the server had a moment ago.
// Of a server that writes nothing no segment would say so. Nothing but ArchiveState depends on it.
func (a *Archive) Mark(ctx context.Context) error {
	if a.timeline == nil {
		return nil
	}
	b, err := seal(current{FormatVersion, a.timeline.ID, time.Now().UTC().Truncate(time.Millisecond)})
	if err != nil {
		return err
	}
	if err := a.put(ctx, timelineFolder(a.timeline.ID)+currentBase, writing(b)); err != nil {
		return fmt.Errorf("note that the archive has all of the log: %w", err)
	}
	return nil
}

// marked returns when a timeline was marked last, zero if that is not known.
func (r *Repository) marked(ctx context.Context, t *StoredTimeline) (time.Time, error) {
	if !t.Marked {
		return time.Time{}, nil
	}
	b, err := store.ReadAll(ctx, r.st, timelineFolder(t.ID)+currentBase, maxCurrent)
	var c current
	if err == nil {
		err = decodeSealed(b, &c)
	}
	switch {
	case lost(err), errors.Is(err, ErrNewerFormat), errors.Is(err, fs.ErrNotExist), err == nil && c.ID != t.ID:
		return time.Time{}, nil // the next mark replaces it
	case err != nil:
		return time.Time{}, fmt.Errorf("read %s of %s in %s: %w", currentBase, t.ID, r, err)
	}
	return c.Current, nil
}
