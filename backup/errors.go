package backup

import (
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
