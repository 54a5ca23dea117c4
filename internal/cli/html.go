package cli

import (
	"bytes"
	"fmt"
	"io"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/sys/replace"
	"mbk/internal/ui"
)

// htmlFile is the option of commands that draw a page for a browser.
type htmlFile string

// bind adds the option. what says what is on the page besides the text.
func (o *htmlFile) bind(s *options.Set, what string) {
	s.String((*string)(o), "html", "", "write a page for a browser to `FILE`, which needs no network: "+what)
}

// write writes the page that draw draws.
func (o htmlFile) write(u *ui.UI, draw func(io.Writer) error) error {
	var b bytes.Buffer
	if err := draw(&b); err != nil {
		return fmt.Errorf("draw the page: %w", err)
	}
	if err := replace.File(string(o), b.Bytes()); err != nil {
		return hint.Wrap(fmt.Errorf("write the page: %w", err),
			"name a file in a folder that is there and that this user may write to: "+hint.Option("html"))
	}
	u.Note("wrote %s, %s", o, ui.Size(int64(b.Len())))
	return nil
}
