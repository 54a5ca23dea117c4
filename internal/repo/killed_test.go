package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
)

// killAtEvery is failAtEvery for what may go on over a failure, which is then for the next
// Sweep to mend: check gets the error, nil or the injected one.
func killAtEvery(t *testing.T, prepare func(t *testing.T, r *Repository),
	run func(ctx context.Context, r *Repository) error,
	check func(t *testing.T, r *Repository, err error)) {
	t.Helper()
	for name, wrap := range map[string]func(store.Store, int) *storetest.Failing{
		"one failure": storetest.FailAt, "killed": storetest.FailFrom,
	} {
		t.Run(name, func(t *testing.T) {
			for n := 0; ; n++ {
				r, mem := newRepository(t)
				prepare(t, r)
				failing := wrap(mem, n)
				err := run(t.Context(), lockedIn(failing, r))
				if !failing.Fired() {
					if err != nil {
						t.Fatalf("without a failure: %v", err)
					}
					if n < 3 {
						t.Error("the scenario has hardly a point that can fail")
					}
					t.Logf("%d points", n)
					break
				}
				t.Run(fmt.Sprintf("point %d", n), func(t *testing.T) {
					if err != nil && !errors.Is(err, storetest.ErrInjected) {
						t.Errorf("error %v, want the injected one", err)
					}
					check(t, r, err)
				})
			}
		})
	}
}

// resumeAll does what the next backup does: it sweeps, continues on what there is, and
// commits.
func resumeAll(t *testing.T, r *Repository, id string) {
	t.Helper()
	if _, err := r.Sweep(t.Context(), SweepOptions{Resumable: time.Hour}); err != nil {
		t.Fatalf("Sweep: %v", err)
	}
	all, err := r.Interrupted(t.Context())
	if err != nil {
		t.Fatalf("Interrupted: %v", err)
	}
	var adopt []Interrupted
	if len(all) > 0 {
		ids := append([]string{all[0].ID}, all[0].Adopted()...)
		for i := range all {
			if slices.Contains(ids, all[i].ID) {
				adopt = append(adopt, all[i])
			}
		}
	}
	a := attemptAt(t, r, id, adopt...)
	have := map[int64]bool{}
	for i := range adopt {
		for _, p := range adopt[i].Progress {
			for _, part := range p.Parts {
				have[part.Extent.Start] = true
			}
		}
	}
	for quarter := range 4 {
		if !have[int64(quarter)*16384] {
			must(t, a.store(t.Context(), quarter+1))
		}
	}
	must(t, a.commit(t.Context()))
}

// wantEmptyAfterDiscard removes all backups, and looks for what is left.
func wantEmptyAfterDiscard(t *testing.T, r *Repository) {
	t.Helper()
	for _, id := range wantListedWhole(t, r) {
		must(t, r.Discard(t.Context(), id))
		wantListedWhole(t, r)
	}
	if _, err := r.Sweep(t.Context(), SweepOptions{}); err != nil {
		t.Fatalf("Sweep: %v", err)
	}
	if left := objects(t, r.st, backupsPrefix); left != "" {
		t.Errorf("left: %s", left)
	}
}

const try4 = "20261120T040000Z-full"

// An attempt that continues on two others is killed, between any two operations of the
// store: from the first pack to the last cleaning up.
func TestContinueKilledAtEveryPoint(t *testing.T) {
	var adopt []Interrupted
	var before string
	killAtEvery(t,
		func(t *testing.T, r *Repository) {
			before = mustBackUp(t, r, "2026-11-19 00:00:00")
			adopt = died(t, r)
		},
		func(ctx context.Context, r *Repository) error {
			a := attemptAt(t, r, try3, adopt...)
			err := a.store(ctx, 4)
			if err == nil {
				err = a.commit(ctx)
			}
			if err != nil {
				err = errors.Join(err, a.draft.Suspend(ctx))
			}
			return err
		},
		func(t *testing.T, r *Repository, err error) {
			ids := wantListedWhole(t, r)
			if len(ids) == 0 || ids[0] != before || err == nil && len(ids) != 2 {
				t.Errorf("listed %q, after %v", ids, err)
			}
			resumeAll(t, r, try4)
			if got, want := wantListedWhole(t, r), append(ids, try4); !slices.Equal(got, want) {
				t.Errorf("listed %q, want %q", got, want)
			}
			wantEmptyAfterDiscard(t, r)
		})
}

// A backup that has continued on others is removed, and that is killed. Another backup, and
// an attempt that can be resumed, stay as they are.
func TestDiscardKilledAtEveryPoint(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, r *Repository){
		"whole": func(t *testing.T, r *Repository) {},
		"with a damaged label": func(t *testing.T, r *Repository) {
			must(t, storetest.Flip(t.Context(), r.st, labelName(try3), 5, 1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			var kept string
			killAtEvery(t,
				func(t *testing.T, r *Repository) {
					c := attemptAt(t, r, try3, died(t, r)...)
					must(t, c.store(t.Context(), 4), c.commit(t.Context()))
					kept = mustBackUp(t, r, "2026-11-21 00:00:00")
					d := attemptAt(t, r, "20261121T010000Z-full")
					must(t, d.store(t.Context(), 1))
					damage(t, r)
				},
				func(ctx context.Context, r *Repository) error { return r.Discard(ctx, try3) },
				func(t *testing.T, r *Repository, err error) {
					if _, listErr := r.Label(t.Context(), try3); errors.Is(listErr, ErrDamaged) {
						must(t, r.Discard(t.Context(), try3)) // it was not begun
					}
					ids := wantListedWhole(t, r)
					if len(ids) == 0 || ids[len(ids)-1] != kept || err == nil && len(ids) != 1 {
						t.Errorf("listed %q, after %v", ids, err)
					}
					if _, err := r.Sweep(t.Context(), SweepOptions{Resumable: time.Hour}); err != nil {
						t.Fatalf("Sweep: %v", err)
					}
					if again := wantListedWhole(t, r); !slices.Equal(again, ids) {
						t.Errorf("listed %q after Sweep, before it %q", again, ids)
					}
					interruptedOf(t, r, "20261121T010000Z-full")
					left := objects(t, r.st, Folder(try1)) + objects(t, r.st, Folder(try2)) + objects(t, r.st, Folder(try3))
					if len(ids) == 1 && left != "" {
						t.Errorf("left: %s", left)
					}
					resumeAll(t, r, "20261121T020000Z-full")
					wantEmptyAfterDiscard(t, r)
				})
		})
	}
}

// A Sweep is killed that has all kinds of things to look at.
func TestSweepKilledAtEveryPoint(t *testing.T) {
	const dead, resumable = "20261121T010000Z-full", "20261121T020000Z-full"
	killAtEvery(t,
		func(t *testing.T, r *Repository) {
			ctx := t.Context()
			c := attemptAt(t, r, try3, died(t, r)...)
			must(t, c.store(ctx, 4), c.commit(ctx))
			// What Commit could not remove.
			must(t, store.PutBytes(ctx, r.st, Folder(try3)+"/"+progressName(7), []byte("x")),
				store.PutBytes(ctx, r.st, Folder(try1)+"/"+progressName(7), []byte("x")),
				store.PutBytes(ctx, r.st, Folder(try2)+"/data-0009.pack", []byte("not named")))
			d := attemptAt(t, r, dead)
			must(t, d.draft.put(ctx, "data-0001.pack", []byte("no progress")))
			e := attemptAt(t, r, resumable)
			must(t, e.store(ctx, 1))
		},
		func(ctx context.Context, r *Repository) error {
			_, err := r.Sweep(ctx, SweepOptions{Resumable: time.Hour})
			return err
		},
		func(t *testing.T, r *Repository, err error) {
			wantIDs(t, r, try3)
			if _, err := r.Sweep(t.Context(), SweepOptions{Resumable: time.Hour}); err != nil {
				t.Fatalf("next Sweep: %v", err)
			}
			wantIDs(t, r, try3)
			interruptedOf(t, r, resumable)
			for _, id := range []string{dead, resumable} {
				if a, err := r.attempt(t.Context(), id); err != nil || a.Outcome != OutcomeFailed {
					t.Errorf("history of %s: %+v, %v", id, a, err)
				}
			}
			all := objects(t, r.st, backupsPrefix)
			for _, gone := range []string{dead, progressName(7), "data-0009"} {
				if strings.Contains(all, gone) {
					t.Errorf("%s is still there: %s", gone, all)
				}
			}
			resumeAll(t, r, "20261121T030000Z-full")
			wantEmptyAfterDiscard(t, r)
		})
}

// Whatever of a backup is damaged, or cannot be read for another reason, no Sweep and no
// attempt takes what belongs to it.
func TestNothingIsTakenFromADamagedBackup(t *testing.T) {
	for name, damage := range map[string]func(ctx context.Context, st store.Store) error{
		"its label": func(ctx context.Context, st store.Store) error {
			return storetest.Flip(ctx, st, labelName(try3), 20, 0x10)
		},
		"label and manifest": func(ctx context.Context, st store.Store) error {
			return errors.Join(storetest.Flip(ctx, st, labelName(try3), 20, 0x10),
				storetest.Flip(ctx, st, manifestName(try3), 60, 0x10))
		},
		"label and manifest, and no record": func(ctx context.Context, st store.Store) error {
			return errors.Join(storetest.Flip(ctx, st, labelName(try3), 20, 0x10),
				st.Delete(ctx, manifestName(try3)), st.Delete(ctx, attemptName(try3)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			r, st := newRepository(t)
			c := attemptAt(t, r, try3, died(t, r)...)
			must(t, c.store(ctx, 4))
			// Progress objects that Commit could not remove.
			progress, err := store.ReadAll(ctx, st, Folder(try1)+"/"+progressName(1), maxStored)
			must(t, err, c.commit(ctx), store.PutBytes(ctx, st, Folder(try1)+"/"+progressName(1), progress))
			packs := objects(t, st, Folder(try1)+"/data") + objects(t, st, Folder(try2)+"/data")
			must(t, damage(ctx, st))
			// One that died long after that backup.
			late := NewID(time.Now().Add(time.Hour), KindFull)
			d := attemptAt(t, r, late)
			must(t, d.draft.put(ctx, "data-0001.pack", []byte("x")))
			var warnings []string
			r.OnWarning(func(text string) { warnings = append(warnings, text) })
			for _, o := range []SweepOptions{{}, {Resumable: time.Hour}} {
				if _, err := r.Sweep(ctx, o); err != nil {
					t.Fatalf("Sweep: %v", err)
				}
				interruptedOf(t, r)
			}
			if got := objects(t, st, Folder(try1)+"/data") + objects(t, st, Folder(try2)+"/data"); got != packs {
				t.Errorf("of its packs there are %q, before there were %q", got, packs)
			}
			if got := objects(t, st, Folder(late)); got != "" {
				t.Errorf("the attempt that died later left %s", got)
			}
			said := strings.Join(warnings, "\n")
			if want := Folder(try1) + " stays: it may belong to backup " + try3; strings.HasPrefix(name, "label and") &&
				!strings.Contains(said, want) {
				t.Errorf("warnings %q, want %q", said, want)
			}
			must(t, r.Discard(ctx, try3))
			wantEmptyAfterDiscard(t, r)
		})
	}
}

// ordered is a store that notes what is removed.
type ordered struct {
	*storetest.Mem
	removed []string
}

func (o *ordered) Delete(ctx context.Context, name string) error {
	o.removed = append(o.removed, name)
	return o.Mem.Delete(ctx, name)
}

// The label goes first, then what others could continue on, and what was adopted last.
func TestOrderOfRemoval(t *testing.T) {
	r, st := newRepository(t)
	c := attemptAt(t, r, try3, died(t, r)...)
	must(t, c.store(t.Context(), 4), c.commit(t.Context()),
		store.PutBytes(t.Context(), st, Folder(try3)+"/"+progressName(1), []byte("x")))
	o := &ordered{Mem: st}
	must(t, lockedIn(o, r).Discard(t.Context(), try3))
	place := func(name string) int { return slices.Index(o.removed, name) }
	if place(labelName(try3)) != 0 || place(Folder(try3)+"/"+progressName(1)) != 1 ||
		place(Folder(try1)+"/data-0001.pack") < place(Folder(try3)+"/redo.pack") ||
		place(Folder(try2)+"/data-0003.pack") < place(manifestName(try3)) {
		t.Errorf("removed in this order: %q", o.removed)
	}
}

// Two labels name objects of one attempt, which no mbk writes. Nothing goes while one of
// them is there.
func TestDiscardBesideAnotherOwner(t *testing.T) {
	r, st := newRepository(t)
	ctx := t.Context()
	c := attemptAt(t, r, try3, died(t, r)...)
	must(t, c.store(ctx, 4), c.commit(ctx))
	other := *labelOf(t, r, try3)
	other.ID = try4
	for i := range other.Objects {
		if o := &other.Objects[i]; !strings.Contains(o.Name, "/") {
			b, err := store.ReadAll(ctx, st, objectName(try3, o.Name), maxStored)
			must(t, err, store.PutBytes(ctx, st, objectName(try4, o.Name), b))
		}
	}
	putLabel(t, st, &other)
	before := objects(t, st, Folder(try1))
	must(t, r.Discard(ctx, try4))
	if _, err := r.Sweep(ctx, SweepOptions{}); err != nil {
		t.Error(err)
	}
	wantIDs(t, r, try3)
	if got := objects(t, st, Folder(try1)); got != before {
		t.Errorf("there are %q, before there were %q", got, before)
	}
	must(t, r.Discard(ctx, try3))
	wantEmptyAfterDiscard(t, r)
}
