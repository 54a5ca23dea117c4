package repo

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"mbk/internal/repo/store"
)

// Summary is a backup in a list.
type Summary struct {
	Attempt                // what the history, or else the manifest, says of it
	Verified *Verification `json:"verified"`          // as of Standing, nil: never
	Problem  string        `json:"problem,omitempty"` // why its manifest cannot be read
	Denied   bool          `json:"-"`                 // Problem is that this user lacks rights
}

// KnownDamaged reports whether a backup is known to be damaged: a verification found it so,
// or its manifest is.
func (s *Summary) KnownDamaged() bool {
	return s.Problem != "" && !s.Denied || s.Verified != nil && !s.Verified.OK
}

// List returns all backups, newest last. It reads one small object for each and
// one for each depth of verification, and the manifest only where the history
// has no good record. A backup whose manifest cannot be read is listed with its
// Problem.
func (r *Repository) List(ctx context.Context) ([]Summary, error) {
	folders, err := r.folders(ctx)
	if err != nil {
		return nil, err
	}
	folders = slices.DeleteFunc(folders, func(f stored) bool { return !f.whole && f.err == nil })
	history, err := r.listHistory(ctx, "")
	if err != nil {
		return nil, err
	}
	verifications := newestPerDepth(history)
	summaries := make([]Summary, len(folders))
	err = each(ctx, len(folders), func(ctx context.Context, i int) (err error) {
		f := &folders[i]
		if summaries[i], err = r.summary(ctx, f.id, verifications[f.id]); err != nil || summaries[i].ID == "" {
			return err
		}
		if f.err != nil { // whatever the record says
			r.warn(f.err)
			summaries[i].Problem, summaries[i].Denied = f.err.Error(), errors.Is(f.err, fs.ErrPermission)
		}
		return r.addAround(ctx, history, &summaries[i].Attempt)
	})
	if err != nil {
		return nil, err
	}
	// An expiry may have removed some while we read.
	return slices.DeleteFunc(summaries, func(s Summary) bool { return s.ID == "" }), nil
}

// newestPerDepth returns the newest verification of every depth by backup, of those
// that were carried out.
func newestPerDepth(history []store.Object) map[string][]verificationName {
	newest := map[string][]verificationName{}
	for _, o := range history {
		v, ok := parseVerification(o.Name)
		if !ok || v.undone {
			continue
		}
		known := newest[v.id]
		i := slices.IndexFunc(known, func(k verificationName) bool { return k.depth == v.depth })
		switch {
		case i < 0:
			newest[v.id] = append(known, v)
		case v.time.After(known[i].time):
			known[i] = v
		}
	}
	return newest
}

// summary describes one backup. It is empty if the backup is gone.
func (r *Repository) summary(ctx context.Context, id string, verifications []verificationName) (Summary, error) {
	a, err := r.attempt(ctx, id)
	if err != nil && !lost(err) {
		return Summary{}, err
	}
	s := Summary{Attempt: a}
	if err != nil || a.Outcome != OutcomeOK {
		// No record, a damaged one, or one that takes the backup for failed:
		// the manifest is the truth.
		if s, err = r.fromManifest(ctx, id); err != nil || s.ID == "" {
			return Summary{}, err
		}
	}
	records, err := r.readVerifications(ctx, verifications)
	if err != nil {
		return Summary{}, err
	}
	s.Verified = Standing(records)
	return s, nil
}

// fromManifest describes a backup without its record. It is empty if the backup is
// gone.
func (r *Repository) fromManifest(ctx context.Context, id string) (Summary, error) {
	m, err := r.manifest(ctx, id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Summary{}, nil
	case err != nil && !lost(err):
		return Summary{}, err
	case err != nil:
		a := unreadable(id, err)
		a.Error = ""
		return Summary{Attempt: a, Problem: err.Error(), Denied: errors.Is(err, fs.ErrPermission)}, nil
	}
	return Summary{Attempt: AttemptOf(m)}, nil
}
