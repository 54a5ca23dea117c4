package hint_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"mbk/internal/hint"
)

func TestOf(t *testing.T) {
	plain := errors.New("plain")
	one := hint.Wrap(plain, "try one")
	tests := []struct {
		name string
		err  error
		want []string
	}{
		{"nil", nil, nil},
		{"no advice", plain, nil},
		{"one", one, []string{"try one"}},
		{"below a message", fmt.Errorf("connect: %w", one), []string{"try one"}},
		{"two levels, outer first", hint.Wrap(fmt.Errorf("connect: %w", one), "try two"), []string{"try two", "try one"}},
		{"the same advice twice", hint.Wrap(one, "try one"), []string{"try one"}},
		{"joined errors", errors.Join(hint.Wrap(plain, "a"), plain, hint.Wrap(plain, "b")), []string{"a", "b"}},
		{"two wrapped by one message", fmt.Errorf("%w and %w", one, hint.Wrap(plain, "c")), []string{"try one", "c"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := hint.Of(tt.err); !slices.Equal(got, tt.want) {
				t.Errorf("Of = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestWrapKeepsTheError(t *testing.T) {
	err := hint.Wrap(fmt.Errorf("read: %w", io.ErrUnexpectedEOF), "buy a disk")
	if got, want := err.Error(), "read: unexpected EOF"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
	if hint.Wrap(nil, "advice") != nil {
		t.Error("Wrap(nil) is an error")
	}
}
