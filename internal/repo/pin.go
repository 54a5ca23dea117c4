package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"mbk/internal/repo/store"
	"mbk/internal/sys/pause"
)

const (
	pinsPrefix = "pins/"

	// pinsLock keeps those who pin and those who remove apart. A backup that runs for
	// hours does not hold it.
	pinsLock = "pins"

	maxReason = 1000 // characters
)

// ErrReason is returned for the reason of a pin that is too long or no text.
var ErrReason = fmt.Errorf("the reason of a pin is text of at most %d characters", maxReason)

// Pin says that a backup, and what it needs, is not to be removed.
type Pin struct {
	FormatVersion int       `json:"format_version"`
	ID            string    `json:"id"`     // of the backup
	Reason        string    `json:"reason"` // in somebody's words, "" for none
	Created       time.Time `json:"created"`
	By            string    `json:"by"` // "root at db1"

	Problem string `json:"problem,omitempty"` // why it cannot be read; it counts nevertheless
}

// String returns "pinned" with the reason.
func (p *Pin) String() string {
	switch {
	case p.Problem != "":
		return "pinned, by an object that cannot be read"
	case p.Reason == "":
		return "pinned"
	}
	return "pinned: " + p.Reason
}

// pinName returns the name of the object that holds a pin.
func pinName(id string) string { return pinsPrefix + id + ".json" }

// Pins returns all pins by the ids of their backups, also of backups that are gone. A pin
// that cannot be read is there with its Problem. The error is that of a store that cannot
// list them.
func (r *Repository) Pins(ctx context.Context) (map[string]*Pin, error) {
	list, err := r.st.List(ctx, pinsPrefix)
	if err != nil {
		return nil, fmt.Errorf("list the pins of %s: %w", r, err)
	}
	pins := map[string]*Pin{}
	for _, o := range list {
		if o.Err != nil {
			return nil, fmt.Errorf("list the pins of %s: %w", r, o.Err)
		}
		id, ok := strings.CutSuffix(strings.TrimPrefix(o.Name, pinsPrefix), ".json")
		if _, _, err := ParseID(id); !ok || err != nil {
			continue
		}
		pin, err := r.pin(ctx, id)
		if err != nil {
			return nil, err
		}
		if pin != nil {
			pins[id] = pin
		}
	}
	return pins, nil
}

// addPins adds the pins to a list of backups. Where they cannot be listed there are none as
// far as the list is concerned; nothing is removed then.
func (r *Repository) addPins(ctx context.Context, backups []Summary) error {
	pins, err := r.Pins(ctx)
	if err != nil && !lost(err) {
		return err
	}
	if err != nil {
		r.warn(fmt.Errorf("the pins are passed over: %w", err))
	}
	for i := range backups {
		backups[i].Pin = pins[backups[i].ID]
	}
	return nil
}

// pin reads a pin, nil if there is none.
func (r *Repository) pin(ctx context.Context, id string) (*Pin, error) {
	var pin Pin
	err := readRecord(ctx, r, pinName(id), &pin)
	if err == nil && pin.ID != id {
		err = fmt.Errorf("it is of %q: %w", pin.ID, ErrDamaged)
	}
	switch {
	case err == nil:
		pin.Problem = ""
		return &pin, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case !lost(err):
		return nil, fmt.Errorf("pin of %s: %w", id, err)
	}
	r.warn(fmt.Errorf("pin %s cannot be read, and counts: %w", pinName(id), err))
	return &Pin{ID: id, Problem: err.Error()}, nil
}

// Pin pins a backup: neither an expiry nor Remove removes it or what it needs until
// Unpin. A pin from before is replaced. It takes a lock for a moment, not that of the
// repository: a backup may run meanwhile.
func (r *Repository) Pin(ctx context.Context, id, reason, by string) (*Pin, error) {
	if utf8.RuneCountInString(reason) > maxReason || !utf8.ValidString(reason) {
		return nil, ErrReason
	}
	pin := &Pin{FormatVersion: FormatVersion, ID: id, Reason: reason, By: by,
		Created: time.Now().UTC().Truncate(time.Second)}
	err := r.whilePinning(ctx, func(sure func() error) error {
		has, err := r.Has(ctx, id)
		if err == nil && !has {
			err = ErrRemoved
		}
		if err == nil {
			err = sure()
		}
		if err != nil {
			return err
		}
		return r.putRecord(ctx, pinName(id), pin)
	})
	if err != nil {
		return nil, fmt.Errorf("pin %s: %w", id, err)
	}
	return pin, nil
}

// Unpin removes the pin of a backup, and returns it; nil if there was none.
func (r *Repository) Unpin(ctx context.Context, id string) (was *Pin, err error) {
	err = r.whilePinning(ctx, func(sure func() error) error {
		if was, err = r.pin(ctx, id); err != nil || was == nil {
			return err
		}
		if err := sure(); err != nil {
			return err
		}
		return r.st.Delete(ctx, pinName(id))
	})
	if err != nil {
		return nil, fmt.Errorf("unpin %s: %w", id, err)
	}
	return was, nil
}

// Tries to get the lock of the pins, which everybody holds for a short time: one pin is
// written, or some backups are removed.
const (
	pinWait  = 5 * time.Second
	pinPause = 250 * time.Millisecond
)

// whilePinning calls do while nobody else pins or removes backups, with a function that
// says whether that is still so.
func (r *Repository) whilePinning(ctx context.Context, do func(sure func() error) error) error {
	lock, err := r.lockPins(ctx)
	if err != nil {
		return err
	}
	r.hold(&r.pinning, lock)
	err = do(func() error { return lock.Confirm(ctx) })
	r.hold(&r.pinning, nil)
	return errors.Join(err, lock.Release())
}

// lockPins takes the lock of the pins.
func (r *Repository) lockPins(ctx context.Context) (lock store.Lock, err error) {
	for began := time.Now(); ; {
		lock, err = r.st.Lock(ctx, pinsLock, r.lockOwner())
		if _, held := errors.AsType[*store.LockedError](err); !held || time.Since(began) > pinWait {
			break
		}
		if err := pause.For(ctx, pinPause); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, fmt.Errorf("lock the pins of %s: %w", r, err)
	}
	return lock, nil
}

// PinnedID is Resolve for Unpin: it also finds the pin of a backup that is gone.
func (r *Repository) PinnedID(ctx context.Context, idOrLatest string) (string, error) {
	if idOrLatest == Latest {
		return r.Resolve(ctx, idOrLatest)
	}
	pins, err := r.Pins(ctx)
	if err != nil {
		return "", err
	}
	have, err := r.IDs(ctx)
	if err != nil {
		return "", err
	}
	for id := range pins {
		if !slices.Contains(have, id) {
			have = append(have, id)
		}
	}
	slices.Sort(have)
	slices.Reverse(have)
	return choose(have, &UnknownError{Where: r.String(), What: "backup", ID: idOrLatest, Have: have})
}
