package fault_test

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"mbk/internal/fault"
)

// silent is an error that can say its kind but does not.
type silent struct{ error }

func (silent) Fault() fault.Kind { return fault.Unknown }
func (s silent) Unwrap() error   { return s.error }

// marked is an error of a type of its own that says its kind.
type marked struct {
	error
	kind fault.Kind
}

func (m marked) Fault() fault.Kind { return m.kind }
func (m marked) Unwrap() error     { return m.error }

func TestOf(t *testing.T) {
	plain, busy := errors.New("plain"), fault.New(fault.Busy, "busy")
	damage, config := fault.New(fault.Damage, "damaged"), fault.New(fault.Config, "not there")
	failedWrite := marked{fmt.Errorf("write: %w", syscall.EIO), fault.Failed}
	for _, c := range []struct {
		name       string
		err        error
		want       fault.Kind
		unreadable bool
	}{
		{name: "nil"},
		{name: "plain", err: plain},
		{name: "of a kind", err: busy, want: fault.Busy},
		{name: "below a message", err: fmt.Errorf("copy: %w", busy), want: fault.Busy},
		{name: "marked", err: marked{plain, fault.Config}, want: fault.Config},
		{name: "the outer one answers", err: marked{damage, fault.Config}, want: fault.Config},
		{name: "one that does not say", err: silent{damage}, want: fault.Damage},
		{name: "the gravest of several", err: errors.Join(config, damage, busy), want: fault.Damage},
		{name: "busy before config", err: fmt.Errorf("%w: %w", config, busy), want: fault.Busy},
		{name: "a disk that cannot be read", err: &fs.PathError{Err: syscall.EIO}, want: fault.Damage, unreadable: true},
		{name: "one that cannot be written to", err: failedWrite, want: fault.Failed},
		{name: "both", err: errors.Join(failedWrite, syscall.EIO), want: fault.Damage, unreadable: true},
		{name: "another error of the system", err: syscall.ENOSPC},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := fault.Of(c.err); got != c.want {
				t.Errorf("Of = %d, want %d", got, c.want)
			}
			if got := fault.Unreadable(c.err); got != c.unreadable {
				t.Errorf("Unreadable = %t, want %t", got, c.unreadable)
			}
		})
	}
}
