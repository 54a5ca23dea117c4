package restore

import (
	"fmt"
	"strings"

	"mbk/internal/fault"
	"mbk/internal/hint"
)

// Objection is one reason why a plan cannot be carried out.
type Objection struct {
	Problem string    `json:"problem"`        // "target /var/lib/mysql is not empty: it holds ibdata1 and 7 more"
	Hint    hint.Text `json:"hint,omitempty"` // what to do about it, "" if that is plain
}

// ObjectionsError is returned when a plan cannot be carried out. It lists every
// reason that was found. Nothing was changed.
type ObjectionsError struct {
	What       string // "restore 20261121T201806Z-full into /var/lib/mysql"
	Objections []Objection
}

// Error lists the problems.
func (e *ObjectionsError) Error() string {
	problems := make([]string, len(e.Objections))
	for i, o := range e.Objections {
		problems[i] = o.Problem
	}
	return e.What + ": " + strings.Join(problems, "; ")
}

// Fault says that the call must be changed, or what it meets.
func (e *ObjectionsError) Fault() fault.Kind { return fault.Config }

// Hints returns the advice that goes with the objections, each once.
func (e *ObjectionsError) Hints() []hint.Text {
	var hints []hint.Text
	seen := map[hint.Text]bool{"": true}
	for _, o := range e.Objections {
		if !seen[o.Hint] {
			seen[o.Hint] = true
			hints = append(hints, o.Hint)
		}
	}
	return hints
}

// asError makes one error of the objections, nil if there are none.
func asError(what string, objections []Objection) error {
	if len(objections) == 0 {
		return nil
	}
	return &ObjectionsError{What: what, Objections: objections}
}

// BusyError is returned when another restore into the same target is running.
type BusyError struct {
	Target string
	Owner  string // "db1 pid 812 since 2026-01-02T03:04:05Z", "" if it is not known
}

// Error names the other restore.
func (e *BusyError) Error() string {
	if e.Owner == "" {
		return fmt.Sprintf("another restore into %s is running", e.Target)
	}
	return fmt.Sprintf("another restore into %s is running: %s", e.Target, e.Owner)
}

// Fault says that another try may succeed.
func (e *BusyError) Fault() fault.Kind { return fault.Busy }
