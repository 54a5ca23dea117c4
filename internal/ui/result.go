package ui

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"mbk/internal/ui/printable"
)

// OutputError is returned when a result could not be printed. The work itself is done.
type OutputError struct{ Cause error }

func (e *OutputError) Error() string { return "the result could not be printed: " + e.Cause.Error() }

// Unwrap returns the error of the write.
func (e *OutputError) Unwrap() error { return e.Cause }

// results writes results. It replaces what a terminal could take for a command, which
// leaves JSON unchanged, and remembers the first error.
type results struct {
	to  io.Writer
	err error
}

func (r *results) Write(p []byte) (int, error) {
	if err := r.write(printable.Lines(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (r *results) write(text string) error {
	_, err := io.WriteString(r.to, text)
	if err == nil {
		return nil
	}
	err = &OutputError{Cause: err}
	if r.err == nil {
		r.err = err
	}
	return err
}

// Raw prints a result unchanged, for a program that reads it.
func (u *UI) Raw(text []byte) error { return u.results.write(string(text)) }

// TakeStdout returns stdout for something else than results. They go to stderr from now on.
func (u *UI) TakeStdout() io.Writer {
	out := u.results.to
	u.results.to = u.stderr
	return out
}

// OutputErr returns the first error of printing results, an *OutputError, or nil.
func (u *UI) OutputErr() error { return u.results.err }

// Result prints a result: document with --json, otherwise by calling text, unless u is silent.
func (u *UI) Result(document any, text func() error) error {
	return u.ResultWith(document, text, nil)
}

// ResultWith is Result with the lines that are printed even if u is silent: what somebody has
// to know or to do although all went well.
func (u *UI) ResultWith(document any, text func() error, always []string) error {
	switch {
	case u.JSON:
		return u.Document(document)
	case u.Silent:
		return u.Rows(always)
	}
	return text()
}

// Document prints a value as indented JSON, or what the filter of --jq makes of it.
func (u *UI) Document(v any) error {
	if u.filter != nil {
		return u.filter.print(u.Stdout, v)
	}
	enc := json.NewEncoder(u.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Rows prints lines in columns on stdout.
func (u *UI) Rows(lines []string) error { return Rows(u.Stdout, lines) }

// Rows prints lines, whose cells are separated by tabs, in columns. The caller makes
// cells printable that may contain tabs.
func Rows(out io.Writer, lines []string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, printable.Columns(line)); err != nil {
			return err
		}
	}
	return w.Flush()
}
