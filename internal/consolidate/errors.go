package consolidate

import (
	"fmt"

	"mbk/internal/hint"
)

// RecordError is returned if the new backup is there, but the history does not say so.
type RecordError struct {
	ID  string
	Err error
}

// Error names the backup.
func (e *RecordError) Error() string {
	return fmt.Sprintf("backup %s is made, but not recorded: %v", e.ID, e.Err)
}

// Unwrap returns the cause.
func (e *RecordError) Unwrap() error { return e.Err }

// Hints says what that means.
func (e *RecordError) Hints() []hint.Text {
	return []hint.Text{"the backup can be restored; the history takes what it knows of it from its manifest"}
}
