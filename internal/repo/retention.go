package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"mbk/internal/fault"
	"mbk/internal/hint"
)

// Retainable reports whether an object belongs to a backup, so that a store that retains
// objects retains it. What is replaced or soon removed does not: the records of progress and
// history, pins, the repository's own description.
func Retainable(name string) bool {
	rest, inBackup := strings.CutPrefix(name, backupsPrefix)
	_, base, _ := strings.Cut(rest, "/")
	return inBackup && base != "" && !isProgress(base)
}

// RetainedError is returned for a backup that cannot be removed yet.
type RetainedError struct {
	ID    string
	Until time.Time
}

// Error says until when.
func (e *RetainedError) Error() string {
	return fmt.Sprintf("backup %s is retained until %s", e.ID, e.Until.UTC().Format(time.RFC3339))
}

// Fault says that another try does not help.
func (e *RetainedError) Fault() fault.Kind { return fault.Config }

// Hints says why.
func (e *RetainedError) Hints() []hint.Text {
	return []hint.Text{"the object store keeps it by Object Lock, as " + hint.Option("object-lock") +
		" asked for; it can be removed then"}
}

// RetainedUntil returns the time before which a backup cannot be removed, the zero time if it
// can be removed now.
func (r *Repository) RetainedUntil(ctx context.Context, id string) (time.Time, error) {
	until, err := r.st.RetainedUntil(ctx, labelName(id))
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("until when is %s retained: %w", id, err)
	}
	if !until.After(time.Now()) {
		return time.Time{}, nil
	}
	return until, nil
}

// wantRemovable returns a *RetainedError for a backup that cannot be removed yet.
func (r *Repository) wantRemovable(ctx context.Context, id string) error {
	until, err := r.RetainedUntil(ctx, id)
	if err == nil && !until.IsZero() {
		err = &RetainedError{id, until}
	}
	return err
}

// retain has the store retain all objects of a backup that is about to exist, and of those
// that it needs, for as long from now on as it retains new ones: a chain lives as long as its
// newest member. The label of the backup itself is retained when it is written.
func (r *Repository) retain(ctx context.Context, l *Label) error {
	if r.st.RetainFor() == 0 {
		return nil
	}
	until := time.Now().Add(r.st.RetainFor())
	var names []string
	for seen := map[string]bool{}; ; {
		seen[l.ID] = true
		for _, name := range l.names() {
			names = append(names, objectName(l.ID, name))
		}
		if l.Parent == "" {
			break
		}
		parent, err := r.Label(ctx, l.Parent)
		if err == nil && seen[parent.ID] {
			err = fmt.Errorf("it needs itself: %w", ErrDamaged)
		}
		if err != nil {
			return fmt.Errorf("retain %s, which %s needs: %w", l.Parent, l.ID, err)
		}
		l = parent
		names = append(names, labelName(l.ID))
	}
	return each(ctx, len(names), func(ctx context.Context, i int) error { return r.st.Retain(ctx, names[i], until) })
}
