// Package hint carries advice beside an error instead of in its message: the
// message says what happened, a hint says what a person can do about it. The
// command line prints them on separate lines.
package hint

import (
	"fmt"
	"slices"
	"strings"
)

// hinted is an error with one piece of advice. Its message is that of the error.
type hinted struct {
	error
	advice Text
}

// Unwrap lets errors.Is and errors.As look at the error itself.
func (h *hinted) Unwrap() error { return h.error }

// Hints returns the advice.
func (h *hinted) Hints() []Text { return []Text{h.advice} }

// Wrap returns err with advice attached, in the order given, or nil when err is nil.
// The message of the result is err's. Advice is one sentence, lower case, without a
// full stop. An error of a type of its own may have a method Hints instead.
func Wrap(err error, advice ...Text) error {
	if err == nil {
		return nil
	}
	for _, text := range slices.Backward(advice) {
		err = &hinted{error: err, advice: text}
	}
	return err
}

// message is an error whose message names settings.
type message struct {
	error
	text Text
}

// Unwrap returns what the message wraps.
func (m *message) Unwrap() error { return m.error }

// Errorf is fmt.Errorf for a message that names settings by Option.
func Errorf(format string, args ...any) error {
	return &message{error: fmt.Errorf(format, args...), text: Textf(strings.ReplaceAll(format, "%w", "%v"), args...)}
}

// Attached returns all advice found in the tree of err, the outermost first, each text
// once. It returns nil when there is none.
func Attached(err error) []Text {
	var found []Text
	walk(err, func(e error) {
		for _, advice := range hintsOf(e) {
			same := func(other Text) bool { return other.String() == advice.String() }
			if !slices.ContainsFunc(found, same) {
				found = append(found, advice)
			}
		}
	})
	return found
}

// Options returns the settings that an error and the advice beside it name, each once:
// those of messages that Errorf made, and of hints.
func Options(err error) []string {
	var found []string
	add := func(t Text) {
		for _, name := range t.Options() {
			if !slices.Contains(found, name) {
				found = append(found, name)
			}
		}
	}
	walk(err, func(e error) {
		if m, ok := e.(*message); ok {
			add(m.text)
		}
		for _, t := range hintsOf(e) {
			add(t)
		}
	})
	return found
}

// hintsOf returns the advice of one error, without that of those it wraps.
func hintsOf(err error) []Text {
	if h, ok := err.(interface{ Hints() []Text }); ok {
		return h.Hints()
	}
	return nil
}

// walk visits err and whatever it wraps, parents before children.
func walk(err error, visit func(error)) {
	visit(err)
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		walk(e.Unwrap(), visit)
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			walk(one, visit)
		}
	}
}
