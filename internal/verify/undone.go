package verify

import (
	"errors"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
)

// UndoneError is returned by Verify, together with a report, for a verification that
// could not be carried out. It does not speak against the backup.
type UndoneError struct{ Err error } // Err is the cause

// Error is that of the cause.
func (e *UndoneError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *UndoneError) Unwrap() error { return e.Err }

// Fault answers for the cause: whatever it is, damage of the backup it is not. The call
// must be changed if an option of the server is wrong; a backup that is gone is one for
// another try.
func (e *UndoneError) Fault() fault.Kind {
	failed, ok := errors.AsType[*mariadbd.RunError](e.Err)
	switch {
	case ok && failed.Cause == mariadbd.CauseOption:
		return fault.Config
	case errors.Is(e.Err, repo.ErrRemoved):
		return fault.Of(e.Err)
	}
	return fault.Failed
}

// Hints says so if it was a disk.
func (e *UndoneError) Hints() []hint.Text {
	if !fault.Unreadable(e.Err) {
		return nil
	}
	return []hint.Text{hint.FailingDisk}
}
