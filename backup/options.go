package backup

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"mbk/backup/preflight"
	"mbk/internal/repo"
	"mbk/internal/sys/priority"
)

// Options say what Run backs up, and where to. The zero values of those that
// are not required are useful.
type Options struct {
	preflight.Options // what the checks need to know, too: the server, the repository, the filter

	Tool string // "mbk 0.1.0", for the manifest
	// Card returns the restore card that is stored with the backup. nil: none
	Card func(context.Context, *repo.Manifest) string

	Workers        int   // goroutines that copy, 0: one for each processor
	Level          int   // of the codec, 0: its default
	BytesPerSecond int64 // read limit, 0: none; the redo is never limited

	// Priority is that of the threads that copy, as long as the server waits for
	// nothing. The zero value is that of the process.
	Priority priority.Level

	// AbortIf are conditions under which a backup is given up while it copies, and
	// MaxLag how far replication may be behind, 0: as far as it likes.
	AbortIf []Bound
	MaxLag  time.Duration

	// LockWait is the time limit for each wait for a lock of the server, 0: 60 s.
	LockWait time.Duration
	// LockSlice is how long a request for a lock is left standing, with others
	// queueing behind it, before it is withdrawn and tried again. 0: 1 s.
	LockSlice time.Duration
	// LockBudget is the longest time from BLOCK_DDL to END, 0: 60 s. A backup that
	// needs longer gives the locks back and fails. If it cannot, because its process
	// is frozen, the server takes them back soon after (stage.StageOptions.Budget).
	LockBudget time.Duration

	// AllowDamagedPages records damaged pages and goes on, where a backup fails otherwise.
	AllowDamagedPages bool

	// ResumeWithin is how long what a failed attempt has stored is kept, for the next backup
	// to go on with; 0: not at all. NoResume begins anew, and removes what was kept.
	ResumeWithin time.Duration
	NoResume     bool
	// PackLimit is the size in bytes of a pack, 0: copier.DefaultPackLimit.
	PackLimit int64

	Logger   *slog.Logger // nil: none
	Progress Progress     // nil fields: none

	// Unrecorded tells of an error before the backup could begin that it is no attempt,
	// so that the history is not to have it. Nil: it has all.
	Unrecorded func(error) bool
	// Attempted is called at the end of every attempt with the record that the
	// history keeps of it. nil: nobody
	Attempted func(repo.Attempt)
}

// Progress hears how far a backup is. The functions are called from several
// goroutines and must return at once.
type Progress struct {
	Step  func(name string)               // a step begins
	Bytes func(read, stored, total int64) // of the data files; total is an estimate
}

// Validate completes the options.
func (o *Options) Validate() error {
	if err := o.Options.Validate(); err != nil {
		return err
	}
	if o.Workers < 0 || o.Level < 0 || o.BytesPerSecond < 0 ||
		o.LockWait < 0 || o.ResumeWithin < 0 || o.PackLimit < 0 || o.LockSlice < 0 || o.LockBudget < 0 || o.MaxLag < 0 {
		return errors.New("backup: a number of the options is negative")
	}
	if o.LockWait == 0 {
		o.LockWait = time.Minute
	}
	if o.LockBudget == 0 {
		o.LockBudget = time.Minute
	}
	if o.LockSlice == 0 {
		o.LockSlice = time.Second
	}
	o.fillCallbacks()
	return nil
}

// fillCallbacks replaces functions that are nil by some that do nothing.
func (o *Options) fillCallbacks() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Progress.Step == nil {
		o.Progress.Step = func(string) {}
	}
	if o.Progress.Bytes == nil {
		o.Progress.Bytes = func(int64, int64, int64) {}
	}
	if o.Unrecorded == nil {
		o.Unrecorded = func(error) bool { return false }
	}
	if o.Attempted == nil {
		o.Attempted = func(repo.Attempt) {}
	}
}
