package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"mbk/internal/repo/store"
)

// Attempt returns the record of one attempt, failed or not: by its id, by the
// beginning of just one, or Latest for the one that ended last. A backup whose
// record is lost is described by its manifest. The error is an *UnknownError if
// there is none.
func (r *Repository) Attempt(ctx context.Context, idOrLatest string) (Attempt, error) {
	if before, ok := beforeLatest(idOrLatest); ok {
		return r.latestAttempt(ctx, before)
	}
	list, history, err := r.history(ctx)
	if err != nil {
		return Attempt{}, err
	}
	backups, err := r.IDs(ctx)
	if err != nil {
		return Attempt{}, err
	}
	have := slices.Concat(history, backups)
	slices.Sort(have)
	have = slices.Compact(have)
	slices.Reverse(have)
	id, err := choose(have, &UnknownError{Where: r.String(), What: "attempt", ID: idOrLatest, Have: have})
	if err != nil {
		return Attempt{}, err
	}
	a, err := r.describe(ctx, id)
	if err != nil {
		return Attempt{}, err
	}
	return a, r.addAround(ctx, list, &a)
}

// latestAttempt returns the attempt that ended last, or the one that was so many before it.
func (r *Repository) latestAttempt(ctx context.Context, before int) (Attempt, error) {
	all, err := r.Attempts(ctx)
	if err != nil {
		return Attempt{}, err
	}
	slices.SortStableFunc(all, func(a, b Attempt) int { return b.End().Compare(a.End()) })
	if before < len(all) {
		return r.Attempt(ctx, all[before].ID)
	}
	return Attempt{}, &UnknownError{Where: r.String(), What: "attempt", ID: Latest}
}

// NewestAttempt returns the attempt that ended last, nil of none.
func NewestAttempt(attempts []Attempt) *Attempt {
	var newest *Attempt
	for i := range attempts {
		if a := &attempts[i]; newest == nil || a.End().After(newest.End()) {
			newest = a
		}
	}
	return newest
}

// describe returns what is known of an attempt: its record, or of a backup
// whose record is lost or wrong what the manifest says.
func (r *Repository) describe(ctx context.Context, id string) (Attempt, error) {
	a, err := r.attempt(ctx, id)
	if err != nil && !lost(err) {
		return Attempt{}, err
	}
	if err != nil {
		a = unreadable(id, err)
	}
	if a.Outcome == OutcomeOK {
		return a, nil
	}
	has, err := r.Has(ctx, id)
	if err != nil || !has {
		return a, err
	}
	b, err := r.openID(ctx, id)
	switch {
	case Concealed(err):
		return r.describeByLabel(ctx, id)
	case err == nil:
		a = AttemptOf(b.manifest)
		if b.label != nil {
			b.label.describe(&a)
		}
	case errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrDamaged): // removed meanwhile
	case !lost(err):
		return Attempt{}, err
	default:
		a = unreadable(id, err)
	}
	return a, nil
}

// describeByLabel returns what the label of a backup tells of it. Its manifest is encrypted.
func (r *Repository) describeByLabel(ctx context.Context, id string) (Attempt, error) {
	l, err := r.Label(ctx, id)
	if err != nil && !lost(err) {
		return Attempt{}, err
	}
	if err != nil {
		return unreadable(id, err), nil
	}
	a := Attempt{Encrypted: true}
	l.describe(&a)
	return a, nil
}

// unreadable stands for a record that cannot be read.
func unreadable(id string, err error) Attempt {
	started, kind, _ := ParseID(id) // listed ids parse
	return Attempt{ID: id, Kind: kind, Started: started, Outcome: OutcomeUnknown, Error: err.Error()}
}

// Has reports whether a backup is in the repository, as far as that can be seen: what
// lies in a folder that cannot be looked into may be one.
func (r *Repository) Has(ctx context.Context, id string) (bool, error) {
	list, err := r.st.List(ctx, labelName(id))
	if err != nil && lost(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", id, err)
	}
	return slices.ContainsFunc(list, func(o store.Object) bool { return o.Name == labelName(id) }), nil
}

// history lists the objects of the history, and the ids of all attempts on record,
// oldest first.
func (r *Repository) history(ctx context.Context) (list []store.Object, ids []string, err error) {
	if list, err = r.listHistory(ctx, ""); err != nil {
		return nil, nil, err
	}
	for _, o := range list {
		if id, ok := parseAttempt(o.Name); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return list, ids, nil
}

// Proof is what is known of the verifications of all backups at one depth; nil if
// there was none.
type Proof struct {
	Attempt *Verification // the newest, carried out or not
	Newest  *Verification // the newest that was carried out
	Success *Verification // the newest that found a backup whole
}

// Proofs returns the Proof of every depth.
func (r *Repository) Proofs(ctx context.Context) (map[string]Proof, error) {
	list, _, err := r.history(ctx)
	if err != nil {
		return nil, err
	}
	byDepth := map[string][]verificationName{}
	for _, o := range list {
		if v, ok := parseVerification(o.Name); ok {
			byDepth[v.depth] = append(byDepth[v.depth], v)
		}
	}
	proofs := map[string]Proof{}
	for _, depth := range []string{DepthStored, DepthPages, DepthBoot} {
		if proofs[depth], err = r.proofOf(ctx, byDepth[depth]); err != nil {
			return nil, err
		}
	}
	return proofs, nil
}

// proofOf returns the Proof that the verifications of one depth make. It reads as few of
// their records as it can.
func (r *Repository) proofOf(ctx context.Context, all []verificationName) (Proof, error) {
	var p Proof
	slices.SortFunc(all, func(a, b verificationName) int { return b.time.Compare(a.time) })
	for _, v := range all {
		if v.undone && p.Attempt != nil {
			continue
		}
		record, err := r.readVerification(ctx, v)
		if err != nil {
			return Proof{}, err
		}
		if record == nil {
			continue
		}
		if p.Attempt == nil {
			p.Attempt = record
		}
		if p.Newest == nil && record.CarriedOut() {
			p.Newest = record
		}
		if record.Proves() {
			p.Success = record
			break
		}
	}
	return p, nil
}
