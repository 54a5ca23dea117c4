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
	Attempt                // what the label and the history say of it
	Verified *Verification `json:"verified"`          // as of Standing, nil: never
	Problem  string        `json:"problem,omitempty"` // why its label cannot be read
	Denied   bool          `json:"-"`                 // Problem is that this user lacks rights
	Newer    bool          `json:"-"`                 // Problem is that a newer mbk made it
	Place
}

// KnownDamaged reports whether a backup is known to be damaged: a verification found it so,
// or its label is, or one that it needs is missing or damaged.
func (s *Summary) KnownDamaged() bool {
	return s.ownDamage() != "" || s.Broken != "" && !s.BrokenUnread
}

// ownDamage says what is known to be wrong with the objects of the backup itself, "" if
// nothing is.
func (s *Summary) ownDamage() string {
	switch {
	case s.Problem != "" && !s.Denied && !s.Newer:
		return s.Problem
	case s.Verified != nil && !s.Verified.OK:
		return "a verification has found damage in it"
	}
	return ""
}

// List returns all backups, newest last. It reads two small objects for each and one for
// each depth of verification. A backup whose label cannot be read is listed with its
// Problem.
func (r *Repository) List(ctx context.Context) ([]Summary, error) { return r.listWith(ctx, true) }

// ListLabels is List with what the labels tell of the backups, and what the history tells only
// of one whose label cannot be read. It reads one small object for each.
func (r *Repository) ListLabels(ctx context.Context) ([]Summary, error) {
	return r.listWith(ctx, false)
}

// listWith lists backups with their pins.
func (r *Repository) listWith(ctx context.Context, records bool) ([]Summary, error) {
	list, err := r.summaries(ctx, records)
	if err == nil {
		err = r.addPins(ctx, list)
	}
	if err != nil {
		return nil, err
	}
	return list, nil
}

// summaries is List without pins, and without what only the history knows unless records are
// asked for.
func (r *Repository) summaries(ctx context.Context, records bool) ([]Summary, error) {
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
	err = each(ctx, len(folders), func(ctx context.Context, i int) error {
		s, err := r.summary(ctx, &folders[i])
		if err != nil || s.ID == "" {
			return err
		}
		verified, err := r.readVerifications(ctx, verifications[s.ID])
		if err != nil {
			return err
		}
		s.Verified = Standing(verified)
		if records || s.Problem != "" {
			err = errors.Join(r.addRecord(ctx, &s), r.addAround(ctx, history, &s.Attempt))
		}
		summaries[i] = s
		return err
	})
	if err != nil {
		return nil, err
	}
	// An expiry may have removed some while we read.
	summaries = slices.DeleteFunc(summaries, func(s Summary) bool { return s.ID == "" })
	Connect(summaries)
	return summaries, nil
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

// summary describes one backup by its label. It is empty if the backup is gone.
func (r *Repository) summary(ctx context.Context, f *stored) (Summary, error) {
	var s Summary
	l, err := r.Label(ctx, f.id)
	switch {
	case f.err != nil:
		r.warn(f.err)
		err = f.err
	case errors.Is(err, fs.ErrNotExist):
		return Summary{}, nil
	case err != nil && !lost(err):
		return Summary{}, err
	case err == nil:
		l.describe(&s.Attempt)
		return s, nil
	}
	s.Attempt = unreadable(f.id, err)
	s.Error = ""
	s.Problem, s.Denied, s.Newer = err.Error(), errors.Is(err, fs.ErrPermission), errors.Is(err, ErrNewerFormat)
	return s, nil
}

// addRecord completes a summary by the record of the attempt, if there is a good one. What
// the label says counts more.
func (r *Repository) addRecord(ctx context.Context, s *Summary) error {
	a, err := r.attempt(ctx, s.ID)
	switch {
	case err != nil && !lost(err):
		return err
	case err != nil || a.Outcome != OutcomeOK: // or it takes the backup for failed
		return nil
	}
	of := s.Attempt
	s.Attempt = a
	s.Samples = nil
	if s.Problem != "" {
		return nil
	}
	s.FormatVersion, s.Kind, s.Parent, s.Tool, s.Label = of.FormatVersion, of.Kind, of.Parent, of.Tool, of.Label
	s.Started, s.Finished, s.LSN, s.Volume = of.Started, of.Finished, of.LSN, of.Volume
	s.Size, s.Databases, s.Tables, s.Files, s.Damaged = of.Size, of.Databases, of.Tables, of.Files, of.Damaged
	if (s.Filter == nil) != (of.Filter == nil) {
		s.Filter = of.Filter
	}
	return nil
}

// describe sets what a label knows of an attempt.
func (l *Label) describe(a *Attempt) {
	a.FormatVersion, a.ID, a.Kind, a.Parent, a.Tool = l.FormatVersion, l.ID, l.Kind, l.Parent, l.Tool
	a.Started, a.Finished, a.Outcome, a.Label = l.Started, l.Finished, OutcomeOK, l.Hash
	a.LSN, a.Volume = l.LSN, l.Volume
	a.Size, a.Databases, a.Tables, a.Files, a.Damaged = l.Size, l.Databases, l.Tables, l.Files, l.Damaged
	a.LeftOut, a.LockMS, a.ConsolidatedFrom = l.LeftOut, l.LockMS, l.ConsolidatedFrom
	if l.Filtered && a.Filter == nil {
		a.Filter = &Filter{} // its patterns are in the manifest
	}
}
