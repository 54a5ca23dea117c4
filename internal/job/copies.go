package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/sys/interrupt"
	"mbk/internal/ui"
)

// Target is a repository to which the backup is copied when it is whole.
type Target struct {
	To string // where it is, or its name in an option file
	// Copy copies a backup there, with those that it needs, and says how many and how many
	// bytes it has written.
	Copy func(ctx context.Context, from *repo.Repository, id string) (backups int, bytes int64, err error)
}

// CopyError says that a backup is whole, and that a copy of it is missing.
type CopyError struct {
	ID  string // of the backup
	To  string // the repository that has no copy
	Err error
}

// Error says both.
func (e *CopyError) Error() string {
	return fmt.Sprintf("backup %s is whole and in the repository, but it was not copied to %s: %v", e.ID, e.To, e.Err)
}

// Unwrap returns why there is no copy.
func (e *CopyError) Unwrap() error { return e.Err }

// Fault says that only the copy is missing, unless damage was found.
func (e *CopyError) Fault() fault.Kind {
	if fault.Of(e.Err) == fault.Damage {
		return fault.Damage
	}
	return fault.Incomplete
}

// Hints says how to copy it.
func (e *CopyError) Hints() []hint.Text {
	return []hint.Text{
		hint.Textf("\"mbk copy %s --to %s\" copies it; what has arrived there is not sent again", e.ID, e.To)}
}

// copyAll copies the backup to each of the targets. One that fails does not keep the others
// from being tried, unless the run was interrupted.
func (j *Job) copyAll(ctx context.Context, from *repo.Repository) {
	for _, target := range j.Copies {
		done := repo.Copy{To: target.To, Started: time.Now().UTC()}
		type copied struct {
			backups int
			bytes   int64
		}
		c, err := interrupt.Await(ctx, j.Interrupted, stopTime, func() (copied, error) {
			if err := ctx.Err(); err != nil {
				return copied{}, err
			}
			backups, bytes, err := target.Copy(ctx, from, j.attempt.ID)
			return copied{backups, bytes}, err
		})
		done.MS, done.Backups, done.Bytes = time.Since(done.Started).Milliseconds(), c.backups, c.bytes
		if err != nil {
			if ctx.Err() != nil {
				err = errors.New("interrupted")
			}
			failed := &CopyError{ID: j.attempt.ID, To: target.To, Err: err}
			done.Error, done.Hints = ui.OneLine(err.Error()), j.Advice(failed)
			j.missing = errors.Join(j.missing, failed)
		}
		j.around.Copies = append(j.around.Copies, done)
	}
}

// Missing returns an error for each copy of the backup that could not be made, joined; nil if
// there is none. The backup itself is whole.
func (j *Job) Missing() error { return j.missing }

// notCopied names the targets that have no copy.
func (j *Job) notCopied() (to []string) {
	for _, c := range j.around.Copies {
		if c.Error != "" {
			to = append(to, c.To)
		}
	}
	return to
}
