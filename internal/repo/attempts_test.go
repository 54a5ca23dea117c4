package repo

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"mbk/internal/repo/store"
)

func TestAttempt(t *testing.T) {
	r, st := newRepository(t)
	if _, err := r.Attempt(t.Context(), Latest); !isUnknown(err) {
		t.Errorf("Attempt of an empty history: %v, want *UnknownError", err)
	}
	good := mustBackUp(t, r, "2026-11-20 01:00:00")
	lostRecord := mustBackUp(t, r, "2026-11-20 02:00:00")
	wrongRecord := mustBackUp(t, r, "2026-11-20 03:00:00")
	removed := mustBackUp(t, r, "2026-11-20 04:00:00")
	failed := NewID(at(t, "2026-11-20 00:30:00"), KindFailed) // begun first, ended last
	record := Attempt{ID: failed, Started: at(t, "2026-11-20 00:30:00"), Finished: at(t, "2026-11-21 00:00:00"),
		Outcome: OutcomeFailed, Error: "no luck"}
	for _, err := range []error{
		r.PutAttempt(t.Context(), record),
		st.Delete(t.Context(), attemptName(lostRecord)),
		st.Delete(t.Context(), attemptName(wrongRecord)),
		r.PutAttempt(t.Context(), Attempt{ID: wrongRecord, Outcome: OutcomeFailed, Error: "it seemed so"}),
		r.Discard(t.Context(), removed),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	damaged := NewID(at(t, "2026-11-20 05:00:00"), KindFull)
	if err := store.PutBytes(t.Context(), st, attemptName(damaged), []byte("{")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ id, want, outcome string }{
		{good, good, OutcomeOK},
		{good[:12], good, OutcomeOK},
		{lostRecord, lostRecord, OutcomeOK},
		{wrongRecord, wrongRecord, OutcomeOK},
		{removed, removed, OutcomeOK},
		{failed, failed, OutcomeFailed},
		{Latest, failed, OutcomeFailed},
		{damaged, damaged, OutcomeUnknown},
	} {
		a, err := r.Attempt(t.Context(), tt.id)
		if err != nil || a.ID != tt.want || a.Outcome != tt.outcome {
			t.Errorf("Attempt(%s) = %s %s, %v; want %s %s", tt.id, a.ID, a.Outcome, err, tt.want, tt.outcome)
		}
	}
	all, err := r.Attempts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if a.ID == wrongRecord && a.Outcome != OutcomeOK {
			t.Errorf("the list has %s as %s, want it as Attempt has it", a.ID, a.Outcome)
		}
	}
	var unknown *UnknownError
	if _, err := r.Attempt(t.Context(), "2026"); !errors.As(err, &unknown) || len(unknown.Matches) != 6 {
		t.Errorf("Attempt(2026): %v, want six matches", err)
	}
	for id, want := range map[string]bool{good: true, lostRecord: true, removed: false, failed: false} {
		if has, err := r.Has(t.Context(), id); err != nil || has != want {
			t.Errorf("Has(%s) = %v, %v; want %v", id, has, err, want)
		}
	}
}

func isUnknown(err error) bool {
	var unknown *UnknownError
	return errors.As(err, &unknown)
}

func TestWarn(t *testing.T) {
	var a Attempt
	for i := range maxWarnings + 5 {
		a.Warn(fmt.Sprint(i))
	}
	if a.WarningCount != maxWarnings+5 || len(a.Warnings) != maxWarnings ||
		a.Warnings[maxWarnings-1] != fmt.Sprint(maxWarnings-1) {
		t.Errorf("%d warnings counted and %d kept", a.WarningCount, len(a.Warnings))
	}
}

func TestNewDDL(t *testing.T) {
	var events []DDLEvent
	for i := range maxEvents + 20 {
		events = append(events, DDLEvent{Kind: []string{DDLCreated, DDLDropped}[i%2], Database: "d",
			Name: fmt.Sprintf("t%03d", maxEvents+20-i)})
	}
	d := NewDDL(events)
	if d.Created != 60 || d.Dropped != 60 || d.Total() != 120 || len(d.Events) != maxEvents || d.Events[0].Name != "t001" {
		t.Errorf("NewDDL = %d created, %d dropped, %d events from %s", d.Created, d.Dropped, len(d.Events), d.Events[0].Name)
	}
}

func TestAttemptEnd(t *testing.T) {
	began := time.Unix(1000, 0)
	if a := (Attempt{Started: began}); !a.End().Equal(began) {
		t.Errorf("End of a dead attempt = %s", a.End())
	}
	all := []Attempt{{ID: "a", Started: began, Finished: began.Add(time.Hour)},
		{ID: "b", Started: began.Add(time.Minute), Finished: began.Add(2 * time.Minute)}}
	if newest := NewestAttempt(all); newest.ID != "a" || NewestAttempt(nil) != nil {
		t.Errorf("NewestAttempt = %+v", newest)
	}
	slices.Reverse(all)
	if newest := NewestAttempt(all); newest.ID != "a" {
		t.Errorf("NewestAttempt = %+v", newest)
	}
}

func TestProofs(t *testing.T) {
	r, st := newRepository(t)
	first, second := mustBackUp(t, r, "2026-11-20 01:00:00"), mustBackUp(t, r, "2026-11-21 01:00:00")
	put := func(id, depth, when string, ok bool) {
		t.Helper()
		if err := r.PutVerification(t.Context(), Verification{ID: id, Depth: depth, Time: at(t, when), OK: ok}); err != nil {
			t.Fatal(err)
		}
	}
	put(second, DepthPages, "2026-11-21 02:00:00", true)
	put(first, DepthPages, "2026-11-21 03:00:00", true)
	put(second, DepthPages, "2026-11-21 04:00:00", false)
	put(second, DepthStored, "2026-11-21 05:00:00", false)
	unreadable := verificationName{second, DepthPages, at(t, "2026-11-21 06:00:00"), false}
	if err := store.PutBytes(t.Context(), st, unreadable.name(), []byte("{")); err != nil {
		t.Fatal(err)
	}
	undone := Verification{ID: second, Depth: DepthBoot, Time: at(t, "2026-11-21 07:00:00"),
		Verdict: Verdict{VerdictUndone, "no memory"}}
	if err := r.PutVerification(t.Context(), undone); err != nil {
		t.Fatal(err)
	}
	proofs, err := r.Proofs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pages, stored, boot := proofs[DepthPages], proofs[DepthStored], proofs[DepthBoot]
	if pages.Newest == nil || pages.Newest.OK || !pages.Newest.Time.Equal(at(t, "2026-11-21 06:00:00")) ||
		pages.Success == nil || pages.Success.ID != first {
		t.Errorf("pages: %+v", pages)
	}
	if stored.Newest == nil || stored.Success != nil || boot.Newest != nil || boot.Success != nil || boot.Attempt == nil ||
		boot.Attempt.Reason != "no memory" {
		t.Errorf("stored: %+v, boot: %+v", stored, boot)
	}
}
