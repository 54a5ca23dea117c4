package verify

import (
	"errors"

	"mbk/internal/mariadbd"
)

// UndoneError is returned by Verify, together with a report, for a verification that
// could not be carried out. It does not speak against the backup.
type UndoneError struct{ Err error } // Err is the cause

// Error is that of the cause.
func (e *UndoneError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *UndoneError) Unwrap() error { return e.Err }

// Usage reports whether the call must be changed.
func (e *UndoneError) Usage() bool {
	failed, ok := errors.AsType[*mariadbd.RunError](e.Err)
	return ok && failed.Cause == mariadbd.CauseOption
}
