// Package fault says of what kind an error is: whether the caller must change
// something, may try again, or has to look at damaged data. Each package marks its
// errors where it makes them; the command line makes exit codes of that.
package fault

import "syscall"

// Kind is what an error means to whoever started the work.
type Kind int

// The kinds, the gravest last.
const (
	Unknown    Kind = iota // the error does not say
	Failed                 // the work failed, and the error answers for what it wraps
	Incomplete             // the work is done, but what was to follow it failed
	Config                 // the configuration or the surroundings must be changed
	Busy                   // another try may succeed: something was in use, or the server was too fast
	Damage                 // data is damaged, at the source or in a backup
)

// An error of a type of its own has a method Fault.
type faulty interface{ Fault() Kind }

// Error is an error that needs no more than its message and its kind.
type Error struct {
	kind    Kind
	message string
}

// New returns an error of a kind, for errors.Is to find.
func New(kind Kind, message string) error { return &Error{kind, message} }

// Error returns the message.
func (e *Error) Error() string { return e.message }

// Fault returns the kind.
func (e *Error) Fault() Kind { return e.kind }

// Of returns the kind of an error. The outermost error that knows its kind answers for
// what it wraps: a disk that cannot be written to is no damage, although EIO is. Of
// several joined errors the gravest kind counts. That is why this is not a use of
// errors.Is.
func Of(err error) Kind {
	if f, ok := err.(faulty); ok {
		if kind := f.Fault(); kind != Unknown {
			return kind
		}
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return Of(e.Unwrap())
	case interface{ Unwrap() []error }:
		kind := Unknown
		for _, one := range e.Unwrap() {
			kind = max(kind, Of(one))
		}
		return kind
	}
	if err == syscall.EIO { // a disk does not return what is on it
		return Damage
	}
	return Unknown
}

// Unreadable reports whether a disk failed to return what is on it, as opposed to one
// that could not be written to.
func Unreadable(err error) bool {
	if f, ok := err.(faulty); ok && f.Fault() == Failed {
		return false
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return Unreadable(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			if Unreadable(one) {
				return true
			}
		}
	}
	return err == syscall.EIO
}
