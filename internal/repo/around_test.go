package repo

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mbk/internal/repo/store"
)

// What ran around an attempt is read with it, and never in the way of it.
func TestAround(t *testing.T) {
	r, st := newRepository(t)
	if last, err := r.LastAttempt(t.Context(), time.Now()); err != nil || last != nil {
		t.Errorf("LastAttempt of a new repository = %v, %v", last, err)
	}
	first, second := mustBackUp(t, r, "2026-11-21 00:00:00"), mustBackUp(t, r, "2026-11-22 00:00:00")
	around := Around{
		FormatVersion: FormatVersion, ID: first,
		Hooks: []Hook{{When: HookSuccess, Program: "/bin/false", Started: at(t, "2026-11-21 00:01:00"), MS: 5,
			ExitCode: 1, Error: "exit status 1", Output: "no"}},
		Notifications: []Notification{{Channel: "mail", To: "dba@example.com", Time: at(t, "2026-11-21 00:01:01"),
			Error: "refused"}},
	}
	if err := r.PutAround(t.Context(), around); err != nil {
		t.Fatal(err)
	}
	// One that cannot be read, and one of another attempt.
	for name, text := range map[string]string{aroundName(second): "{",
		aroundName("20261101T000000Z-full"): `{"format_version":1,"id":"20261101T000000Z-full"}`} {
		if err := store.PutBytes(t.Context(), st, name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	want := []Attempt{attemptOf(newManifest(first), labelOf(t, r, first)),
		attemptOf(newManifest(second), labelOf(t, r, second))}
	want[0].Hooks, want[0].Notifications = around.Hooks, around.Notifications
	got, err := r.Attempts(t.Context())
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Attempts: %v, differ (-want +got):\n%s", err, diff)
	}
	list, err := r.List(t.Context())
	if err != nil || len(list) != 2 || cmp.Diff(want[0], list[0].Attempt) != "" ||
		cmp.Diff(want[1], list[1].Attempt) != "" {
		t.Errorf("List = %+v, %v", list, err)
	}
	for before, id := range map[time.Time]string{at(t, "2027-01-01 00:00:00"): second, want[1].End(): first,
		want[1].Started: first} {
		if last, err := r.LastAttempt(t.Context(), before); err != nil || last == nil || last.ID != id {
			t.Errorf("LastAttempt before %s = %+v, %v, want %s", before, last, err, id)
		}
	}
	if last, err := r.LastAttempt(t.Context(), want[0].Started); err != nil || last != nil {
		t.Errorf("LastAttempt before all = %+v, %v", last, err)
	}
	if a, err := r.Around(t.Context(), first); err != nil || cmp.Diff(around, a) != "" {
		t.Errorf("Around = %+v, %v", a, err)
	}
	if a, err := r.Around(t.Context(), second); err != nil || a.ID != "" {
		t.Errorf("Around that cannot be read = %+v, %v", a, err)
	}
	// The record of an attempt holds nothing of it.
	if err := r.PutAttempt(t.Context(), want[0]); err != nil {
		t.Fatal(err)
	}
	if a, err := r.attempt(t.Context(), first); err != nil || a.Hooks != nil || a.Notifications != nil {
		t.Errorf("attempt = %+v, %v", a, err)
	}
	if err := r.PutAround(t.Context(), Around{ID: "../../x"}); err == nil {
		t.Error("PutAround of a hostile id succeeded")
	}
	// An id with such a record alone is taken.
	if id, err := r.FreshID(t.Context(), time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), KindFull); err != nil ||
		id != "20261101T000001Z-full" {
		t.Errorf("FreshID = %s, %v", id, err)
	}
}

func TestLastVerification(t *testing.T) {
	r, _ := newRepository(t)
	now := at(t, "2026-11-22 12:00:00")
	if v, err := r.LastVerification(t.Context(), now); err != nil || v != nil {
		t.Errorf("LastVerification of none = %+v, %v", v, err)
	}
	first, second := mustBackUp(t, r, "2026-11-21 00:00:00"), mustBackUp(t, r, "2026-11-22 00:00:00")
	for _, v := range []Verification{
		{ID: second, Depth: DepthStored, Time: at(t, "2026-11-22 01:00:00"), OK: true},
		{ID: first, Depth: DepthBoot, Time: at(t, "2026-11-22 02:00:00")},
		{ID: second, Depth: DepthPages, Time: now, OK: true},
	} {
		if err := r.PutVerification(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	if v, err := r.LastVerification(t.Context(), now); err != nil || v == nil || v.ID != first || v.OK {
		t.Errorf("LastVerification = %+v, %v", v, err)
	}
}
