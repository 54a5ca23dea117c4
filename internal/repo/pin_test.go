package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mbk/internal/fault"
	"mbk/internal/repo/store"
)

func TestPin(t *testing.T) {
	r, st := newRepository(t)
	first, second := mustBackUp(t, r, "2026-11-01 00:00:00"), mustBackUp(t, r, "2026-11-02 00:00:00")
	if was, err := r.Unpin(t.Context(), first); was != nil || err != nil {
		t.Errorf("Unpin of one that is not pinned = %v, %v", was, err)
	}
	before := objects(t, st, "")
	pin, err := r.Pin(t.Context(), first, "before the\tupgrade", "root at db1")
	if err != nil || pin.ID != first || pin.By != "root at db1" || time.Since(pin.Created) > time.Minute {
		t.Fatalf("Pin = %+v, %v", pin, err)
	}
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]*Pin{pin, nil}, []*Pin{list[0].Pin, list[1].Pin}); diff != "" {
		t.Errorf("pins of the list (-want +got):\n%s", diff)
	}
	again, err := r.Pin(t.Context(), first, "another reason", "root at db1")
	if err != nil {
		t.Fatal(err)
	}
	was, err := r.Unpin(t.Context(), first)
	if diff := cmp.Diff(again, was); diff != "" || err != nil {
		t.Errorf("Unpin: %v (-want +got)\n%s", err, diff)
	}
	if got := objects(t, st, ""); got != before {
		t.Errorf("left: %s", got)
	}
	if _, err := r.Pin(t.Context(), "20261103T000000Z-full", "", ""); !errors.Is(err, ErrRemoved) {
		t.Errorf("Pin of what is not there = %v", err)
	}
	for _, reason := range []string{strings.Repeat("ä", maxReason+1), "\xff"} {
		if _, err := r.Pin(t.Context(), second, reason, ""); !errors.Is(err, ErrReason) {
			t.Errorf("Pin with the reason %.10q = %v", reason, err)
		}
	}
}

// A pin keeps a backup from an expiry and from Remove, whether it can be read or not.
func TestPinKeeps(t *testing.T) {
	for name, pin := range map[string]func(t *testing.T, r *Repository, id string){
		"pinned": func(t *testing.T, r *Repository, id string) {
			if _, err := r.Pin(t.Context(), id, "audit", "me"); err != nil {
				t.Fatal(err)
			}
		},
		"by a damaged pin": func(t *testing.T, r *Repository, id string) {
			if err := store.PutBytes(t.Context(), r.st, pinName(id), []byte(`{"format_`)); err != nil {
				t.Fatal(err)
			}
		},
		"by the pin of another": func(t *testing.T, r *Repository, id string) {
			if err := putJSON(t.Context(), r.st, pinName(id), Pin{FormatVersion: FormatVersion, ID: "x"}); err != nil {
				t.Fatal(err)
			}
		},
		"by a newer mbk": func(t *testing.T, r *Repository, id string) {
			if err := store.PutBytes(t.Context(), r.st, pinName(id), []byte(`{"format_version": 99}`)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := newRepository(t)
			first, second := mustBackUp(t, r, "2026-11-01 00:00:00"), mustBackUp(t, r, "2026-11-02 00:00:00")
			third := mustBackUp(t, r, "2026-11-03 00:00:00")
			pin(t, r, first)
			plan, err := r.Expire(t.Context(), Policy{Last: 1}, ExpireOptions{Now: late})
			if err != nil || strings.Join(plan.Removed, " ") != second {
				t.Errorf("Expire removed %q, %v; want %s", plan.Removed, err, second)
			}
			var pinned *PinnedError
			if _, err := r.Remove(t.Context(), first, RemoveOptions{}); !errors.As(err, &pinned) ||
				fault.Of(err) != fault.Config {
				t.Errorf("Remove = %v, want a *PinnedError", err)
			}
			wantIDs(t, r, first, third)
			if was, err := r.Unpin(t.Context(), first); was == nil || err != nil {
				t.Errorf("Unpin = %v, %v", was, err)
			}
			if _, err := r.Remove(t.Context(), first, RemoveOptions{}); err != nil {
				t.Errorf("Remove after Unpin: %v", err)
			}
			wantIDs(t, r, third)
		})
	}
}

// While the pins cannot be listed, nothing is removed, and the list is there.
func TestPinsThatCannotBeListed(t *testing.T) {
	r, st := newRepository(t)
	first, second := mustBackUp(t, r, "2026-11-01 00:00:00"), mustBackUp(t, r, "2026-11-02 00:00:00")
	r.st = &unlisted{st, pinsPrefix}
	if _, err := r.Expire(t.Context(), Policy{Last: 1}, ExpireOptions{Now: late}); !errors.Is(err, errUnlisted) {
		t.Errorf("Expire = %v", err)
	}
	if _, err := r.Remove(t.Context(), first, RemoveOptions{}); !errors.Is(err, errUnlisted) {
		t.Errorf("Remove = %v", err)
	}
	wantIDs(t, r, first, second)
}

var errUnlisted = fmt.Errorf("not for you: %w", fs.ErrPermission)

// unlisted is a store of which one folder cannot be listed.
type unlisted struct {
	store.Store
	prefix string
}

func (u *unlisted) List(ctx context.Context, prefix string) ([]store.Object, error) {
	if strings.HasPrefix(prefix, u.prefix) {
		return nil, errUnlisted
	}
	return u.Store.List(ctx, prefix)
}

// A pin and a removal wait for each other.
func TestPinWhileBackupsAreRemoved(t *testing.T) {
	r, st := newRepository(t)
	first, _ := mustBackUp(t, r, "2026-11-01 00:00:00"), mustBackUp(t, r, "2026-11-02 00:00:00")
	lock, err := st.Lock(t.Context(), pinsLock, "another mbk")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := r.Pin(ctx, first, "", ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Pin = %v", err)
	}
	if _, err := r.Expire(ctx, Policy{Last: 1}, ExpireOptions{Now: late}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Expire = %v", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = lock.Release() })
	if _, err := r.Pin(t.Context(), first, "", ""); err != nil {
		t.Errorf("Pin when the lock is free: %v", err)
	}
	// That of the repository, which a backup holds for hours, does not matter.
	other := &Repository{st: st, config: r.config}
	if _, err := other.Unpin(t.Context(), first); err != nil {
		t.Errorf("Unpin while a backup runs: %v", err)
	}
}

func TestPinnedID(t *testing.T) {
	r, st := newRepository(t)
	first := mustBackUp(t, r, "2026-11-01 00:00:00")
	const gone = "20261003T000000Z-full"
	if err := putJSON(t.Context(), st, pinName(gone), Pin{FormatVersion: FormatVersion, ID: gone}); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{first: first, "20261101": first, "latest": first, "20261003T": gone} {
		if got, err := r.PinnedID(t.Context(), id); got != want || err != nil {
			t.Errorf("PinnedID(%q) = %q, %v; want %q", id, got, err, want)
		}
	}
	for _, id := range []string{"2026", "x", ""} {
		var unknown *UnknownError
		if _, err := r.PinnedID(t.Context(), id); !errors.As(err, &unknown) {
			t.Errorf("PinnedID(%q) = %v, want an *UnknownError", id, err)
		}
	}
}

func TestPinFailsAtEveryPoint(t *testing.T) {
	var id string
	prepare := func(t *testing.T, r *Repository) { id = mustBackUp(t, r, "2026-11-01 00:00:00") }
	t.Run("pin", func(t *testing.T) {
		failAtEvery(t, prepare, func(ctx context.Context, r *Repository) error {
			_, err := r.Pin(ctx, id, "why", "me")
			return err
		}, func(t *testing.T, r *Repository) {
			wantIDs(t, r, id)
			if _, err := r.Pin(t.Context(), id, "why", "me"); err != nil {
				t.Errorf("the next Pin: %v", err)
			}
		})
	})
	t.Run("unpin", func(t *testing.T) {
		failAtEvery(t, func(t *testing.T, r *Repository) {
			prepare(t, r)
			if _, err := r.Pin(t.Context(), id, "why", "me"); err != nil {
				t.Fatal(err)
			}
		}, func(ctx context.Context, r *Repository) error {
			_, err := r.Unpin(ctx, id)
			return err
		}, func(t *testing.T, r *Repository) {
			wantIDs(t, r, id)
			if _, err := r.Unpin(t.Context(), id); err != nil {
				t.Errorf("the next Unpin: %v", err)
			}
			if left := objects(t, r.st, pinsPrefix); left != "" {
				t.Errorf("left: %s", left)
			}
		})
	})
}
