package ui

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"mbk/internal/ui/printable"
)

// OutputError is the error of printing a result, which is not that of the work.
type OutputError struct{ Cause error }

func (e *OutputError) Error() string { return "the result could not be printed: " + e.Cause.Error() }

// Unwrap returns what is wrong with the other end.
func (e *OutputError) Unwrap() error { return e.Cause }

// results is where results are printed. What a terminal could take for a command
// is written out, which leaves JSON what it is. It remembers the first error.
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

// Raw prints a result as it is, for a program that knows what it reads.
func (u *UI) Raw(text []byte) error { return u.results.write(string(text)) }

// OutputErr is the first error of printing results, an *OutputError, nil if there was
// none.
func (u *UI) OutputErr() error { return u.results.err }

// Result prints a result: as JSON if that is wanted, else by text.
func (u *UI) Result(document any, text func() error) error {
	if u.JSON {
		return u.Document(document)
	}
	return text()
}

// Document prints a value as indented JSON.
func (u *UI) Document(v any) error {
	enc := json.NewEncoder(u.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Rows prints lines as Rows does, on stdout.
func (u *UI) Rows(lines []string) error { return Rows(u.Stdout, lines) }

// Rows prints lines whose cells are separated by tabs as columns. A cell that may
// have tabs of its own is made printable by whoever has it. The standard library is
// enough for that: a table without borders or colors is what mails, pipes and terminals
// all show well.
func Rows(out io.Writer, lines []string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, printable.Columns(line)); err != nil {
			return err
		}
	}
	return w.Flush()
}
