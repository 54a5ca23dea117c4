package agefile

import (
	"errors"
	"fmt"
	"strings"

	"filippo.io/age"
	"filippo.io/age/plugin"

	"mbk/internal/fault"
	"mbk/internal/hint"
)

// DamageError is returned for an encrypted object that is not as it was written.
type DamageError struct {
	Reason string
}

// Error says what is wrong.
func (e *DamageError) Error() string { return "not a whole age file: " + e.Reason }

// Fault says that data is damaged.
func (e *DamageError) Fault() fault.Kind { return fault.Damage }

// NoIdentityError is returned where an identity is needed and none was given.
type NoIdentityError struct {
	Recipients []string // of which one is needed
}

// Error names the recipients.
func (e *NoIdentityError) Error() string {
	return "it is encrypted, and no identity was given; it is encrypted to " + names(e.Recipients)
}

// Fault says that an identity is to be given.
func (e *NoIdentityError) Fault() fault.Kind { return fault.Config }

// Hints says how.
func (e *NoIdentityError) Hints() []hint.Text {
	return []hint.Text{"name the file of an identity of one of these recipients with " + hint.Option("identity") + " FILE"}
}

// WrongIdentityError is returned if none of the identities fits.
type WrongIdentityError struct {
	Files      []string // of the identities
	Recipients []string // of which one is needed
}

// Error names both.
func (e *WrongIdentityError) Error() string {
	return fmt.Sprintf("no identity in %s opens it; it is encrypted to %s", strings.Join(e.Files, ", "),
		names(e.Recipients))
}

// Fault says that another identity is to be given.
func (e *WrongIdentityError) Fault() fault.Kind { return fault.Config }

// Hints says which.
func (e *WrongIdentityError) Hints() []hint.Text {
	return []hint.Text{
		"name the file of an identity of one of these recipients with " + hint.Option("identity") + " FILE; " +
			"if it was encrypted before the recipients changed, one of those from before",
	}
}

// RecipientError is returned for a text that is no recipient, or one that cannot be used.
type RecipientError struct {
	Text string // as Name shortens it; "" if it may be secret
	Err  error
}

// Error names the recipient.
func (e *RecipientError) Error() string {
	if e.Text == "" {
		return "recipient: " + e.Err.Error()
	}
	return fmt.Sprintf("recipient %s: %v", e.Text, e.Err)
}

// Unwrap returns the cause.
func (e *RecipientError) Unwrap() error { return e.Err }

// Fault says that another one is to be given.
func (e *RecipientError) Fault() fault.Kind { return fault.Config }

// IdentityError is returned for the file of an identity that cannot be used.
type IdentityError struct {
	File string
	Err  error
}

// Error names the file.
func (e *IdentityError) Error() string { return fmt.Sprintf("identity file %s: %v", e.File, e.Err) }

// Unwrap returns the cause.
func (e *IdentityError) Unwrap() error { return e.Err }

// Fault says that another file is to be given.
func (e *IdentityError) Fault() fault.Kind { return fault.Config }

// ErrMixed is returned for recipients of which some resist quantum computers and others do
// not: what is encrypted to both is as weak as what is encrypted to the latter.
var ErrMixed = fault.New(fault.Config, "some recipients are post-quantum and others are not, which cannot be mixed")

// wrapError explains what age says about recipients that cannot be encrypted to.
func wrapError(err error) error {
	if missing, ok := errors.AsType[*plugin.NotFoundError](err); ok {
		return missingPlugin(missing)
	}
	if fault.Of(err) == fault.Config {
		return err
	}
	if strings.Contains(err.Error(), "post-quantum") { // the error has no type
		return mixed()
	}
	return fmt.Errorf("encrypt to the recipients: %w", err)
}

// mixed is ErrMixed with advice.
func mixed() error {
	return hint.Wrap(ErrMixed, "give post-quantum recipients only (age1pq1...), or none of them")
}

// missingPlugin says that the program of a plugin is not there.
func missingPlugin(err *plugin.NotFoundError) error {
	return hint.Wrap(&configError{fmt.Errorf("there is no program age-plugin-%s in the PATH: %w", err.Name, err.Err)},
		hint.Text("install it: recipients and identities of that kind need it"))
}

// configError is an error about the surroundings.
type configError struct{ error }

// Unwrap returns the cause.
func (e *configError) Unwrap() error { return e.error }

// Fault says that the surroundings must be changed.
func (e *configError) Fault() fault.Kind { return fault.Config }

// unwrapError explains what age says when it unwraps a key, other than that none fits.
func unwrapError(err error) error {
	of, ok := errors.AsType[*IdentityError](err)
	if !ok {
		return &DamageError{Reason: err.Error()}
	}
	if missing, ok := errors.AsType[*plugin.NotFoundError](err); ok {
		return &IdentityError{of.File, missingPlugin(missing)}
	}
	return of
}

// noMatch reports whether age says that no identity fits.
func noMatch(err error) bool {
	_, ok := errors.AsType[*age.NoIdentityMatchError](err)
	return ok
}
