package agefile

import (
	"errors"
	"fmt"
	"time"

	"filippo.io/age"
)

// Limits of how long a plugin may take. With an identity it may wait for a person.
const (
	wrapTime   = time.Minute
	unwrapTime = 5 * time.Minute
)

// limited is what a plugin does, which is given up after a time. Its program may hang, and age
// has no way to end it: it ends with mbk.
type limited struct {
	name  string // "age-plugin-yubikey"
	limit time.Duration
	wrap  age.RecipientWithLabels // nil of an identity
	open  age.Identity            // nil of a recipient
}

// answer is what a plugin has answered.
type answer struct {
	stanzas []*age.Stanza
	labels  []string
	key     []byte
	err     error
}

// wait returns what do returns, or an error after the limit.
func (l *limited) wait(do func() answer) answer {
	done := make(chan answer, 1)
	go func() { done <- do() }()
	select {
	case a := <-done:
		return a
	case <-time.After(l.limit):
		return answer{err: &configError{fmt.Errorf("%s has not answered within %s", l.name, l.limit)}}
	}
}

// Wrap implements age.Recipient.
func (l *limited) Wrap(key []byte) ([]*age.Stanza, error) {
	stanzas, _, err := l.WrapWithLabels(key)
	return stanzas, err
}

// WrapWithLabels implements age.RecipientWithLabels.
func (l *limited) WrapWithLabels(key []byte) ([]*age.Stanza, []string, error) {
	a := l.wait(func() (a answer) {
		a.stanzas, a.labels, a.err = l.wrap.WrapWithLabels(key)
		return a
	})
	return a.stanzas, a.labels, a.err
}

// Unwrap implements age.Identity.
func (l *limited) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	a := l.wait(func() (a answer) {
		a.key, a.err = l.open.Unwrap(stanzas)
		return a
	})
	if a.err == nil && a.key == nil {
		a.err = errors.New("it has returned no key")
	}
	return a.key, a.err
}
