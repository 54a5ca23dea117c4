package repo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"mbk/copier"
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

// Commit makes a backup exist: it checks the manifest, and that every pack that
// it names is there with its size, and writes it. The lock must be held. If
// Commit returns an error the backup may exist nevertheless (see store.Put):
// Discard it.
func (r *Repository) Commit(ctx context.Context, m *Manifest) error {
	if err := r.wantLocked(); err != nil {
		return fmt.Errorf("commit %s: %w", m.ID, err)
	}
	if m.FormatVersion != FormatVersion {
		return fmt.Errorf("commit %s: format version %d, want %d", m.ID, m.FormatVersion, FormatVersion)
	}
	if err := m.Validate(); err != nil {
		return fmt.Errorf("commit %s: %w", m.ID, err)
	}
	if err := r.checkPacks(ctx, m); err != nil {
		return fmt.Errorf("commit %s: %w", m.ID, err)
	}
	var raw bytes.Buffer // a line: Encode ends it
	if err := json.NewEncoder(&raw).Encode(m); err != nil {
		return fmt.Errorf("commit %s: %w", m.ID, err)
	}
	b, err := copier.EncodeDocument(raw.Bytes())
	if err != nil {
		return fmt.Errorf("commit %s: %w", m.ID, err)
	}
	if err := store.PutBytes(ctx, r.st, manifestName(m.ID), b); err != nil {
		return fmt.Errorf("commit %s: %w", m.ID, err)
	}
	return nil
}

// checkPacks compares the packs of a manifest with the objects that are there.
func (r *Repository) checkPacks(ctx context.Context, m *Manifest) error {
	prefix := Folder(m.ID) + "/"
	list, err := r.st.List(ctx, prefix)
	if err != nil {
		return err
	}
	sizes := make(map[string]int64, len(list))
	for _, o := range list {
		sizes[strings.TrimPrefix(o.Name, prefix)] = o.Size
	}
	for _, p := range m.Packs {
		switch size, ok := sizes[p.Name]; {
		case !ok:
			return fmt.Errorf("pack %s is not in the repository", p.Name)
		case size != p.Size:
			return fmt.Errorf("pack %s has %d bytes in the repository, want %d", p.Name, size, p.Size)
		}
	}
	return nil
}

// Manifest reads and validates the manifest of a backup, which Resolve finds; for
// Latest one that can be read, if there is one.
// Errors: *UnknownError, ErrNewerFormat, ErrDamaged.
func (r *Repository) Manifest(ctx context.Context, idOrLatest string) (*Manifest, error) {
	if idOrLatest == Latest {
		return r.latestManifest(ctx)
	}
	id, err := r.Resolve(ctx, idOrLatest)
	if err != nil {
		return nil, err
	}
	return r.manifest(ctx, id)
}

func (r *Repository) manifest(ctx context.Context, id string) (*Manifest, error) {
	r.decoding.Lock() // one at a time: each may take a lot of memory
	defer r.decoding.Unlock()
	b, err := store.ReadAll(ctx, r.st, manifestName(id), maxManifestStored)
	if err != nil {
		return nil, fmt.Errorf("read the manifest of %s in %s: %w", id, r, err)
	}
	m, err := decodeManifest(b)
	if err == nil && m.ID != id {
		err = fmt.Errorf("it is the manifest of %q: %w", m.ID, ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", manifestName(id), err)
	}
	return m, nil
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
func newestPerDepth(history []store.Object) map[string][]verification {
	newest := map[string][]verification{}
	for _, o := range history {
		v, ok := parseVerification(o.Name)
		if !ok || v.undone {
			continue
		}
		known := newest[v.id]
		i := slices.IndexFunc(known, func(k verification) bool { return k.depth == v.depth })
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
func (r *Repository) summary(ctx context.Context, id string, verifications []verification) (Summary, error) {
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

// Discard removes all objects of a backup or of an attempt, its manifest first.
// Its history stays. The lock must be held. What an interrupted Discard leaves is
// removed by Sweep.
func (r *Repository) Discard(ctx context.Context, id string) error {
	if err := r.wantLocked(); err != nil {
		return fmt.Errorf("discard %s: %w", id, err)
	}
	if _, _, err := ParseID(id); err != nil {
		return fmt.Errorf("discard: %w", err)
	}
	if err := r.st.Delete(ctx, manifestName(id)); err != nil {
		return fmt.Errorf("discard %s: %w", id, err)
	}
	list, err := r.st.List(ctx, Folder(id)+"/")
	if err != nil {
		return fmt.Errorf("discard %s: %w", id, err)
	}
	for _, o := range list {
		if err := r.st.Delete(ctx, o.Name); err != nil {
			return fmt.Errorf("discard %s: %w", id, err)
		}
	}
	return nil
}

// Sweep removes what attempts left that died: the data of unlisted backups and
// half-written objects. It returns their ids and names. The lock must be held,
// and no attempt be under way in this process. A swept attempt without a record
// in the history gets one, as failed. What cannot be removed keeps nobody from
// removing the rest; the errors name it, and no backup depends on it.
func (r *Repository) Sweep(ctx context.Context) (swept []string, err error) {
	if err := r.wantLocked(); err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	folders, err := r.folders(ctx)
	if err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	whole := map[string]bool{}
	var failed []error
	for _, f := range folders {
		if f.whole || f.err != nil {
			whole[f.id] = true
			continue
		}
		err := r.recordDead(ctx, f.id)
		if err == nil {
			err = r.Discard(ctx, f.id)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("sweep: %w", err))
			continue
		}
		swept = append(swept, f.id)
	}
	temps, err := r.sweepTemp(ctx)
	swept = append(swept, temps...)
	if err != nil {
		failed = append(failed, err)
	}
	// Most attempts die before any of their objects is finished.
	for _, name := range temps {
		id, _, _ := strings.Cut(strings.TrimPrefix(name, backupsPrefix), "/")
		if _, _, err := ParseID(id); err != nil || whole[id] {
			continue
		}
		if err := r.recordDead(ctx, id); err != nil {
			failed = append(failed, fmt.Errorf("sweep: %w", err))
		}
	}
	return swept, errors.Join(failed...)
}

// sweepTemp removes half-written objects and returns their names, if the store
// leaves such.
func (r *Repository) sweepTemp(ctx context.Context) (swept []string, err error) {
	sweeper, ok := r.st.(store.Sweeper)
	if !ok {
		return nil, nil
	}
	var failed []error
	for _, prefix := range []string{backupsPrefix, historyPrefix, configName} {
		temps, err := sweeper.SweepTemp(ctx, prefix)
		swept = append(swept, temps...)
		failed = append(failed, err)
	}
	return swept, errors.Join(failed...)
}

// recordDead notes in the history that an attempt ended without a word, unless
// it is on record: then it was being expired or rolled back.
func (r *Repository) recordDead(ctx context.Context, id string) error {
	list, err := r.st.List(ctx, attemptName(id))
	if err != nil || len(list) > 0 {
		return err
	}
	started, kind, err := ParseID(id)
	if err != nil {
		return err
	}
	return r.PutAttempt(ctx, Attempt{
		ID: id, Kind: kind, Started: started, Outcome: OutcomeFailed,
		Error: "mbk ended without a word: it was killed, or the machine stopped",
	})
}
