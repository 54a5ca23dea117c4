package repo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"mbk/internal/repo/store"
)

// Moments of an attempt at which programs run.
const (
	HookBefore  = "before"  // before anything is opened or locked
	HookSuccess = "success" // when the backup is whole
	HookFailure = "failure" // when it is not, and what it left is removed
)

// Hook is what became of a program that ran around an attempt.
type Hook struct {
	When     string    `json:"when"`    // HookBefore, HookSuccess, HookFailure
	Program  string    `json:"program"` // its path; its arguments may be secret
	Started  time.Time `json:"started"`
	MS       int64     `json:"ms"`
	ExitCode int       `json:"exit_code"` // -1: it did not start, or a signal ended it
	Error    string    `json:"error,omitempty"`
	Output   string    `json:"output,omitempty"` // the end of what it printed
}

// Notification is a message that was sent, or not, after an attempt.
type Notification struct {
	Channel string    `json:"channel"` // "mail", "webhook"
	To      string    `json:"to"`      // nothing in it is secret
	Time    time.Time `json:"time"`
	Error   string    `json:"error,omitempty"`
}

// Copy is what became of a copy of the backup to another repository.
type Copy struct {
	To      string    `json:"to"` // where that is, or its name in an option file
	Started time.Time `json:"started"`
	MS      int64     `json:"ms"`
	Backups int       `json:"backups"`       // that were written there: the backup, and those that it needs
	Bytes   int64     `json:"bytes_written"` // of these
	Error   string    `json:"error,omitempty"`
	Hints   []string  `json:"hints,omitempty"`
}

// Around is the record of what ran around an attempt. It is an object of its own
// because it is known only when the record of the attempt is written.
type Around struct {
	FormatVersion int            `json:"format_version"`
	ID            string         `json:"id"` // of the attempt
	Hooks         []Hook         `json:"hooks"`
	Copies        []Copy         `json:"copies"`
	Notifications []Notification `json:"notifications"`
}

// aroundName returns the name of the object that holds it.
func aroundName(id string) string { return historyPrefix + id + ".around.json" }

// PutAround adds what ran around an attempt to the history. It needs no lock.
func (r *Repository) PutAround(ctx context.Context, a Around) error {
	if _, _, err := ParseID(a.ID); err != nil {
		return fmt.Errorf("record the hooks: %w", err)
	}
	a.FormatVersion = FormatVersion
	if err := r.putRecord(ctx, aroundName(a.ID), a); err != nil {
		return fmt.Errorf("record the hooks of %s in the history: %w", a.ID, err)
	}
	return nil
}

// Around returns what ran around an attempt; it is empty if there is no record of
// it that can be read.
func (r *Repository) Around(ctx context.Context, id string) (Around, error) {
	var around Around
	err := readRecord(ctx, r, aroundName(id), &around)
	switch {
	case err != nil && !lost(err):
		return Around{}, fmt.Errorf("hooks of %s: %w", id, err)
	case err != nil || around.ID != id:
		if err != nil {
			r.warnLost(aroundName(id), err)
		}
		return Around{}, nil
	}
	return around, nil
}

// addAround completes an attempt by what ran around it, if the listing of the
// history has that.
func (r *Repository) addAround(ctx context.Context, history []store.Object, a *Attempt) error {
	name := aroundName(a.ID)
	if _, listed := slices.BinarySearchFunc(history, name,
		func(o store.Object, name string) int { return strings.Compare(o.Name, name) }); !listed {
		return nil
	}
	around, err := r.Around(ctx, a.ID)
	a.Hooks, a.Copies, a.Notifications = around.Hooks, around.Copies, around.Notifications
	return err
}

// LastAttempt returns the newest attempt of the history that ended before a time, nil
// if there is none.
func (r *Repository) LastAttempt(ctx context.Context, before time.Time) (*Attempt, error) {
	history, ids, err := r.history(ctx)
	if err != nil {
		return nil, err
	}
	var newest []Attempt // of one second
	for _, id := range slices.Backward(ids) {
		if len(newest) > 0 && startOfID(newest[0].ID) != startOfID(id) {
			break
		}
		a, err := r.readAttempt(ctx, history, id)
		if err != nil {
			return nil, err
		}
		if a.End().Before(before) {
			newest = append(newest, a)
		}
	}
	return NewestAttempt(newest), nil
}

// startOfID is the part of an id that says when.
func startOfID(id string) string {
	start, _, _ := strings.Cut(id, "-")
	return start
}

// LastVerification returns the newest verification of any backup that ended
// before a time, whether it could be carried out or not; nil if there is none.
func (r *Repository) LastVerification(ctx context.Context, before time.Time) (*Verification, error) {
	history, err := r.listHistory(ctx, "")
	if err != nil {
		return nil, err
	}
	var all []verificationName
	for _, o := range history {
		if v, ok := parseVerification(o.Name); ok && v.time.Before(before) {
			all = append(all, v)
		}
	}
	slices.SortStableFunc(all, func(a, b verificationName) int { return b.time.Compare(a.time) })
	for _, v := range all {
		if record, err := r.readVerification(ctx, v); err != nil || record != nil {
			return record, err
		}
	}
	return nil, nil
}
