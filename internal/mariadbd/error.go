package mariadbd

import (
	"fmt"
	"strings"

	"mbk/internal/fault"
	"mbk/internal/hint"
)

// RunError is returned when a mariadbd did not do what it was started for: it did not
// recover the files, or did not start, serve or stop as it should.
type RunError struct {
	Program string   // path of the mariadbd that ran
	Reason  string   // "exit status 1", "log ends at 4711, want 4812", ...
	Log     []string // the lines of its error log that tell why, oldest first
	Cause   Cause    // what they are evidence of
}

// Damaged reports whether the failure speaks against the backup.
func (e *RunError) Damaged() bool { return e.Cause == CauseDamage }

// Error gives the reason and the lines of the error log.
func (e *RunError) Error() string {
	s := fmt.Sprintf("recovery by %s: %s", e.Program, e.Reason)
	if len(e.Log) > 0 {
		s += "; its log says: " + strings.Join(e.Log, " | ")
	}
	return s
}

// Fault is that of the cause.
func (e *RunError) Fault() fault.Kind {
	switch e.Cause {
	case CauseDamage:
		return fault.Damage
	case CauseOption:
		return fault.Config
	}
	return fault.Failed
}

// Advice is what can be done about it.
func (e *RunError) Advice() hint.Text {
	switch e.Cause {
	case CauseDamage:
		return "verify the backup at depth pages: it names damaged files"
	case CauseShortage:
		return "mariadbd needs memory, open files, and room on the disk of the scratch folder: see to that and try again"
	case CauseAccess:
		return "look at the rights of the scratch folder and of the folders above it, and at its disk"
	case CauseOption:
		return "check " + hint.Option("mariadbd-option") + ": mariadbd --verbose --help lists what it knows"
	case CauseKey:
		return "mariadbd needs the source's plugins and encryption keys: install them, or name them with " +
			hint.Option("mariadbd-option")
	case CauseVersion:
		return "use a mariadbd of the source's series: " + hint.Option("mariadbd")
	case CauseHang:
		return "try again: some releases of mariadbd hang now and then, and nothing is known to be wrong with the backup; " +
			"if it happens each time, use another maintenance release"
	case CauseSignal:
		return "somebody killed mariadbd, perhaps the kernel because memory ran out: see its log (dmesg)"
	}
	return "the whole log of mariadbd can be kept with the scratch folder; another maintenance release may get further"
}
