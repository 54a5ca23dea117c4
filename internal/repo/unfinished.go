package repo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/ui/printable"
)

// Unfinished is what an attempt has stored that made no backup: it was interrupted, or is
// under way.
type Unfinished struct {
	ID      string    `json:"id"`
	Last    time.Time `json:"last"` // when its last object was made
	Bytes   int64     `json:"bytes"`
	Running bool      `json:"running"` // somebody holds the lock and this is the newest: it may be under way
}

// Unfinished returns what there is of attempts that made no backup and belongs to none,
// oldest first.
func (r *Repository) Unfinished(ctx context.Context) ([]Unfinished, error) {
	holder, err := r.Holder(ctx)
	if err != nil {
		return nil, err
	}
	all, err := r.unfinished(ctx)
	if n := len(all); n > 0 && holder != "" {
		all[n-1].Running = true
	}
	return all, err
}

func (r *Repository) unfinished(ctx context.Context) ([]Unfinished, error) {
	left, err := r.leftovers(ctx)
	if err != nil {
		return nil, err
	}
	all := []Unfinished{}
	for i := range left {
		f := &left[i]
		u := Unfinished{ID: f.id}
		for _, o := range f.objects {
			u.Bytes += o.Size
			if o.Modified.After(u.Last) {
				u.Last = o.Modified.UTC()
			}
		}
		all = append(all, u)
	}
	return all, nil
}

// RemovableID is Resolve for Remove, which also takes attempts that are not finished.
func (r *Repository) RemovableID(ctx context.Context, id string) (string, error) {
	have, err := r.IDs(ctx)
	if err != nil {
		return "", err
	}
	attempts, err := r.unfinished(ctx)
	if err != nil {
		return "", err
	}
	for _, u := range attempts {
		have = append(have, u.ID)
	}
	slices.Sort(have)
	slices.Reverse(have)
	return choose(have, &UnknownError{Where: r.String(), What: "backup", ID: id, Have: have})
}

// ContinuedError is returned by Remove for an interrupted attempt on which others have
// continued.
type ContinuedError struct {
	ID string
	By []string // in the order in which they can be removed
}

// Error names them.
func (e *ContinuedError) Error() string {
	return fmt.Sprintf("attempt %s is needed by attempts that continued on it: %s", e.ID, printable.List(e.By))
}

// Fault says that something else is to be asked for.
func (e *ContinuedError) Fault() fault.Kind { return fault.Config }

// Hints says how to remove it.
func (e *ContinuedError) Hints() []hint.Text { return (&NeededError{}).Hints() }

// chooseAttempt fills in the interrupted attempt that is to be removed, and reports whether
// there is one of that id.
func (p *Removal) chooseAttempt(ctx context.Context, r *Repository, dependents bool) (bool, error) {
	attempts, err := r.unfinished(ctx)
	if err != nil || !slices.ContainsFunc(attempts, func(u Unfinished) bool { return u.ID == p.ID }) {
		return false, err
	}
	interrupted, err := r.Interrupted(ctx) // the newest first
	if err != nil {
		return true, err
	}
	var by []string
	for i := range interrupted {
		if slices.Contains(interrupted[i].Adopted(), p.ID) {
			by = append(by, interrupted[i].ID)
		}
	}
	for _, id := range append(by, p.ID) {
		i := slices.IndexFunc(attempts, func(u Unfinished) bool { return u.ID == id })
		started, kind, _ := ParseID(id) // listed ids parse
		s := Summary{Attempt: Attempt{ID: id, Kind: kind, Started: started}}
		if a, err := r.attempt(ctx, id); err == nil {
			s.Attempt = a
		}
		s.Outcome, s.BytesStored, s.Needs.IDs = OutcomeFailed, attempts[i].Bytes, []string{}
		p.Remove = append(p.Remove, s)
	}
	if len(by) > 0 && !dependents {
		return true, &ContinuedError{p.ID, by}
	}
	return true, nil
}
