package backup

import (
	"cmp"
	"errors"
	"fmt"

	"mbk/internal/datadir"
	"mbk/internal/fault"
	"mbk/internal/hint"
)

// ErrLockBudget is the cause of a failed backup that would have made others wait for
// longer than Options.LockBudget: from BLOCK_DDL to END, or while FLUSH was held, or in one
// of the retreats from a wait. Each of these has the whole budget for itself.
var ErrLockBudget = hint.Wrap(fault.New(fault.Busy, "lock budget exceeded"),
	"nothing is locked any more: try again at a quieter time, or allow more with "+hint.Option("lock-budget"))

// ErrReplaced is returned by an attempt when the redo says that a tablespace was
// discarded and imported while it ran. A recovery from this attempt's checkpoint
// would lose changes; one from a checkpoint after the import does not.
var ErrReplaced = fault.New(fault.Busy, "tablespace discarded or imported during the backup")

// ErrMadeLast is returned by an attempt when the redo says that a file was made after
// the last look at the files, and recovery could not create it again.
var ErrMadeLast = fault.New(fault.Busy, "an ALTER TABLE began in the last moment of the backup")

// ErrNoCheckpoint is returned when a backup has to begin after a checkpoint that
// it cannot force and that the server did not make in time.
var ErrNoCheckpoint = fault.New(fault.Busy, "no checkpoint")

// errInconsistent marks an error after which nobody is to go on with what was stored: it
// may be the reason.
var errInconsistent = errors.New("what was copied does not fit together")

// inconsistent marks an error so. Its text stays.
func inconsistent(err error) error { return inconsistentError{err} }

type inconsistentError struct{ error }

func (e inconsistentError) Unwrap() error { return e.error }

func (inconsistentError) Is(target error) bool { return target == errInconsistent }

// replacedError is ErrReplaced with the tables that it is about.
type replacedError struct {
	found  string // the first of them
	tables []datadir.TableName
}

// add adds a table, with what was found.
func (e *replacedError) add(found string, t datadir.TableName) {
	e.found = cmp.Or(e.found, found)
	e.tables = append(e.tables, t)
}

// orNil is the error, if it is about any table.
func (e *replacedError) orNil() error {
	if len(e.tables) == 0 {
		return nil
	}
	return e
}

func (e *replacedError) Error() string {
	text := fmt.Sprintf("%s: %v", e.found, ErrReplaced)
	if more := len(e.tables) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

func (*replacedError) Unwrap() error { return ErrReplaced }
