package repo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestExpire(t *testing.T) {
	r, st := newRepository(t)
	var ids []string
	for day := range 5 {
		ids = append(ids, mustBackUp(t, r, fmt.Sprintf("2026-11-0%d 00:00:00", day+1)))
	}
	before := objects(t, st, "")
	plan, err := r.Expire(t.Context(), Policy{Last: 2}, ExpireOptions{DryRun: true, Now: late})
	if err != nil || len(plan.Remove) != 3 || len(plan.Removed) != 0 {
		t.Fatalf("dry run = %+v, %v; want three to remove", plan, err)
	}
	if got := objects(t, st, ""); got != before {
		t.Errorf("the dry run changed the objects to %s", got)
	}
	unlocked := &Repository{st: st, config: r.config}
	if _, err := unlocked.Expire(t.Context(), Policy{Last: 2}, ExpireOptions{DryRun: true, Now: late}); err != nil {
		t.Errorf("a dry run without the lock: %v", err)
	}
	if _, err := r.Expire(t.Context(), Policy{}, ExpireOptions{Now: late}); !errors.Is(err, ErrKeepsNothing) {
		t.Errorf("Expire without a rule = %v", err)
	}
	plan, err = r.Expire(t.Context(), Policy{Last: 2}, ExpireOptions{Now: late})
	if err != nil || strings.Join(plan.Removed, " ") != ids[2]+" "+ids[1]+" "+ids[0] {
		t.Errorf("Expire = %q, %v; want the three oldest removed", plan.Removed, err)
	}
	wantIDs(t, r, ids[3:]...)
	if got := strings.Count(objects(t, st, ""), ids[0]); got != 1 { // its history
		t.Errorf("%d objects left of %s, want its history only", got, ids[0])
	}
	if attempts, err := r.Attempts(t.Context()); err != nil || len(attempts) != 5 {
		t.Errorf("history has %d attempts, %v; want all five", len(attempts), err)
	}
}

// What this program does not understand may need any backup.
func TestExpireBesideUnknownKinds(t *testing.T) {
	for _, c := range []struct {
		name, document string
		want           error
	}{
		{"made by a newer mbk", `{"format_version": 3, "parent": "20261101T000000Z-full"}`, ErrNewerFormat},
		{"damaged", `{"format_version": 2`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, st := newRepository(t)
			first, second := mustBackUp(t, r, "2026-11-01 00:00:00"), mustBackUp(t, r, "2026-11-02 00:00:00")
			const odd = "20261103T000000Z-odd"
			putManifest(t, st, odd, c.document)
			// Its history, which a flipped byte may have changed, claims that it needs nobody.
			if err := r.PutAttempt(t.Context(), Attempt{ID: odd, Outcome: OutcomeOK}); err != nil {
				t.Fatal(err)
			}
			plan, err := r.Expire(t.Context(), Policy{Last: 1}, ExpireOptions{Now: late})
			if !errors.Is(err, c.want) {
				t.Fatalf("Expire = %v, want %v", err, c.want)
			}
			if c.want != nil && len(plan.Removed) > 0 {
				t.Errorf("Expire removed %q", plan.Removed)
			}
			if c.want == nil && strings.Join(plan.Removed, " ") != first {
				t.Errorf("Expire removed %q, want %s, as %s is the newest whole one", plan.Removed, first, second)
			}
		})
	}
}

func TestExpireFailsAtEveryPoint(t *testing.T) {
	var ids []string
	failAtEvery(t,
		func(t *testing.T, r *Repository) {
			ids = nil
			for day := range 5 {
				ids = append(ids, mustBackUp(t, r, fmt.Sprintf("2026-11-0%d 00:00:00", day+1)))
			}
		},
		func(ctx context.Context, r *Repository) error {
			_, err := r.Expire(ctx, Policy{Last: 2}, ExpireOptions{Now: late})
			return err
		},
		func(t *testing.T, r *Repository) {
			listed := map[string]bool{}
			for _, id := range wantListedWhole(t, r) {
				listed[id] = true
			}
			if !listed[ids[4]] || !listed[ids[3]] {
				t.Errorf("a backup to be kept is gone; listed: %v", listed)
			}
			if _, err := r.Sweep(t.Context(), SweepOptions{}); err != nil {
				t.Fatalf("Sweep: %v", err)
			}
			if _, err := r.Expire(t.Context(), Policy{Last: 2}, ExpireOptions{Now: late}); err != nil {
				t.Fatalf("next Expire: %v", err)
			}
			wantIDs(t, r, ids[3], ids[4])
			if left := objects(t, r.st, Folder(ids[0])); left != "" {
				t.Errorf("left: %s", left)
			}
		})
}
