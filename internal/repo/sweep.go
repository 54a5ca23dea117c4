package repo

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

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

// sweepTemp removes half-written objects and returns their names.
func (r *Repository) sweepTemp(ctx context.Context) (swept []string, err error) {
	var failed []error
	for _, prefix := range []string{backupsPrefix, historyPrefix, pinsPrefix, configName} {
		temps, err := r.st.SweepTemp(ctx, prefix)
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

// Discard removes all objects of a backup or of an attempt, its label first.
// Its history stays. The lock must be held. What an interrupted Discard leaves is
// removed by Sweep.
func (r *Repository) Discard(ctx context.Context, id string) error {
	if err := r.wantLocked(); err != nil {
		return fmt.Errorf("discard %s: %w", id, err)
	}
	if _, _, err := ParseID(id); err != nil {
		return fmt.Errorf("discard: %w", err)
	}
	if err := r.st.Delete(ctx, labelName(id)); err != nil {
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
