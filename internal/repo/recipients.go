package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"mbk/internal/fault"
	"mbk/internal/repo/agefile"
	"mbk/internal/repo/store"
)

// ErrPlain is returned by SetRecipients for a repository that is not encrypted: what is in
// it already would stay in the clear.
var ErrPlain = fault.New(fault.Config, "the repository is not encrypted")

// Rewrapped says whose keys SetRecipients has sealed to the recipients.
type Rewrapped struct {
	Done []string `json:"rewrapped"` // ids of backups and interrupted attempts
	Left []string `json:"left"`      // of those whose keys are sealed as they were
}

// SetRecipients changes to whom the repository is encrypted. What is written from then on is
// encrypted to these recipients. With an identity the keys of all backups, of interrupted
// attempts and of the history are sealed to them, too. Each key is replaced as a whole, so that
// whoever could open it before can still do so, or one of the recipients can: if SetRecipients
// fails half-way, another call goes on. The lock must be held.
//
// What cannot be opened with the identities is left, and named in the result. Errors:
// ErrPlain, ErrNotLocked.
func (r *Repository) SetRecipients(ctx context.Context, to *agefile.Recipients) (*Rewrapped, error) {
	result, err := r.setRecipients(ctx, to)
	if err != nil {
		return result, fmt.Errorf("change the recipients of %s: %w", r, err)
	}
	return result, nil
}

func (r *Repository) setRecipients(ctx context.Context, to *agefile.Recipients) (*Rewrapped, error) {
	if err := r.confirmLock(ctx); err != nil {
		return nil, err
	}
	if !r.Encrypted() {
		return nil, ErrPlain
	}
	folders, err := r.folders(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.putRecipients(ctx, to); err != nil {
		return nil, err
	}
	result := &Rewrapped{Done: []string{}, Left: []string{}}
	var failed []error
	for i := range folders {
		id := folders[i].id
		if !folders[i].has(keyBase) {
			continue
		}
		err := r.rewrap(ctx, id, to)
		if err != nil {
			result.Left = append(result.Left, id)
		} else {
			result.Done = append(result.Done, id)
		}
		if err != nil && !Concealed(err) {
			failed = append(failed, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return result, errors.Join(failed...)
}

// readRecipients reads once more to whom the repository is encrypted. That may have changed until
// it was locked.
func (r *Repository) readRecipients(ctx context.Context) error {
	now, err := Open(ctx, r.st)
	if err != nil {
		return err
	}
	if now.config.ID != r.config.ID || !now.Encrypted() {
		return fmt.Errorf("repository %s: its %s was exchanged meanwhile: %w", r, configName, ErrDamaged)
	}
	r.config.Recipients, r.config.HistoryKeys = now.config.Recipients, now.config.HistoryKeys
	return nil
}

// has reports whether there is an object of that name.
func (f *stored) has(base string) bool {
	return slices.ContainsFunc(f.objects, func(o store.Object) bool { return o.Name == Folder(f.id)+"/"+base })
}

// putRecipients writes the recipients, and the keys of the history sealed to them. A new one is
// added, which nobody knows who was a recipient before, unless all that there are could be
// opened and nobody is removed.
func (r *Repository) putRecipients(ctx context.Context, to *agefile.Recipients) error {
	before := r.config
	var keys []HistoryKey
	fresh := slices.ContainsFunc(before.Recipients, func(text string) bool { return !slices.Contains(to.Texts(), text) })
	for _, k := range before.HistoryKeys {
		key, err := agefile.OpenKey(k.Sealed, r.identities, before.Recipients)
		if err == nil && key.Is(k.Recipient) {
			k.Sealed, err = key.Seal(to)
		}
		if err != nil && !Concealed(err) {
			return err
		}
		fresh = fresh || err != nil
		keys = append(keys, k)
	}
	if fresh || len(keys) == 0 {
		k, err := newHistoryKey(to)
		if err != nil {
			return err
		}
		keys = append(keys, k)
	}
	r.config.Recipients, r.config.HistoryKeys = to.Texts(), keys
	if err := r.putConfig(ctx); err != nil {
		r.config = before
		return err
	}
	return nil
}

// rewrap seals the key in a folder to recipients.
func (r *Repository) rewrap(ctx context.Context, id string, to *agefile.Recipients) error {
	want := ""
	if l, err := r.Label(ctx, id); err == nil {
		want = l.key(keyBase)
	}
	key, err := r.keyOf(ctx, id, want)
	if err != nil {
		return err
	}
	sealed, err := key.Seal(to)
	if err != nil {
		return err
	}
	if err := r.CheckLock(); err != nil {
		return err
	}
	return store.PutBytes(ctx, r.st, Folder(id)+"/"+keyBase, sealed)
}
