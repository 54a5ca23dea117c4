package hint_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"mbk/internal/fault"
	"mbk/internal/hint"
)

// advised is an error of a type that has advice.
type advised struct{}

func (advised) Error() string      { return "advised" }
func (advised) Hints() []hint.Text { return []hint.Text{"look", "listen"} }

func TestOf(t *testing.T) {
	plain := errors.New("plain")
	one := hint.Wrap(plain, "try one")
	tests := []struct {
		name string
		err  error
		want []hint.Text
	}{
		{"nil", nil, nil},
		{"no advice", plain, nil},
		{"one", one, []hint.Text{"try one"}},
		{"below a message", fmt.Errorf("connect: %w", one), []hint.Text{"try one"}},
		{"two levels, outer first", hint.Wrap(fmt.Errorf("connect: %w", one), "try two"), []hint.Text{"try two", "try one"}},
		{"two at once, in their order", hint.Wrap(one, "try two", "try three"),
			[]hint.Text{"try two", "try three", "try one"}},
		{"a type that has advice", fmt.Errorf("open: %w", advised{}), []hint.Text{"look", "listen"}},
		{"the same advice, spelled", hint.Wrap(hint.Wrap(plain, hint.Option("repo")), "--repo"), []hint.Text{"--repo"}},
		{"the same advice twice", hint.Wrap(one, "try one"), []hint.Text{"try one"}},
		{"joined errors", errors.Join(hint.Wrap(plain, "a"), plain, hint.Wrap(plain, "b")), []hint.Text{"a", "b"}},
		{"two wrapped by one message", fmt.Errorf("%w and %w", one, hint.Wrap(plain, "c")), []hint.Text{"try one", "c"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := hint.Attached(tt.err); !slices.Equal(got, tt.want) {
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

// failedWrite is an error that answers for its cause.
type failedWrite struct{ error }

func (failedWrite) Fault() fault.Kind { return fault.Failed }
func (f failedWrite) Unwrap() error   { return f.error }

func TestAllAdvisesOnTheKernelsErrors(t *testing.T) {
	const asRoot = "run mbk as root, or as the user whom that belongs to"
	for _, c := range []struct {
		err  error
		want []hint.Text
	}{
		{nil, nil},
		{errors.New("plain"), nil},
		{&fs.PathError{Err: syscall.EACCES}, []hint.Text{asRoot}},
		{hint.Wrap(syscall.EACCES, "chmod"), []hint.Text{"chmod"}},
		{hint.Wrap(syscall.EIO, "look"), []hint.Text{"look", hint.FailingDisk}},
		{failedWrite{syscall.EIO}, nil}, // the disk was written to
	} {
		if got := hint.WithKernel(c.err); !slices.Equal(got, c.want) {
			t.Errorf("WithKernel(%v) = %q, want %q", c.err, got, c.want)
		}
	}
	if got := hint.WithKernel(syscall.EMFILE); len(got) != 1 || !strings.Contains(got[0].String(), "LimitNOFILE") {
		t.Errorf("WithKernel(EMFILE) = %q", got)
	}
}

func TestErrorfNamesSettings(t *testing.T) {
	err := fmt.Errorf("begin: %w", hint.Errorf("%s %q: %w", hint.Option("min-free"), "x", io.EOF))
	if got, want := err.Error(), `begin: --min-free "x": EOF`; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if !errors.Is(err, io.EOF) {
		t.Error("the cause is lost")
	}
	err = errors.Join(hint.Wrap(err, "see "+hint.Option("repo")+" and "+hint.Option("min-free")),
		errors.New("--not-typed"))
	if got, want := hint.Options(err), []string{"repo", "min-free"}; !slices.Equal(got, want) {
		t.Errorf("Options = %q, want %q", got, want)
	}
}
