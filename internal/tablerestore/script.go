package tablerestore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// script writes statements for the client program mariadb.
type script struct {
	file *os.File
	out  *bufio.Writer
}

func newScript(root *os.Root, name string) (*script, error) {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &script{f, bufio.NewWriter(f)}, nil
}

// Exec writes a statement. It makes a script an executor.
func (s *script) Exec(_ context.Context, text string) error {
	s.run(text)
	return nil
}

// run writes statements. Errors show when the script is closed.
func (s *script) run(statements ...string) {
	for _, text := range statements {
		if !strings.Contains(text, ";") {
			fmt.Fprintf(s.out, "%s;\n", text)
			continue
		}
		end := "$$"
		for strings.Contains(text, end) {
			end += "$"
		}
		fmt.Fprintf(s.out, "DELIMITER %s\n%s\n%s\nDELIMITER ;\n", end, text, end)
	}
}

// comment writes a line for people.
func (s *script) comment(text string) { fmt.Fprintf(s.out, "-- %s\n", text) }

// close ends the script, and returns the first error of all writing.
func (s *script) close() error { return errors.Join(s.out.Flush(), s.file.Close()) }
