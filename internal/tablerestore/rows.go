package tablerestore

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"mbk/stage"
)

// column is a column whose values are stored.
type column struct{ name, kind string } // kind is its type without size: "int"

// Types of columns that print differently from how they must be loaded.
var (
	// A float is printed with six digits; as a double it has all of them.
	floats = []string{"float"}
	// For these a string without a character set is the value itself, not its text.
	spelled = []string{"uuid", "inet4", "inet6"}
	// A wrong value of an enumeration prints as an empty string, which may be a right one.
	members = []string{"enum", "set"}
	// Of these a number is read right. The string "0000" would be the year 2000.
	numbers = append([]string{"year"}, members...)
)

// selected is what is read of a column.
func (c column) selected() string {
	switch name := stage.QuoteName(c.name); {
	case slices.Contains(floats, c.kind):
		return "CAST(" + name + " AS DOUBLE)"
	case slices.Contains(members, c.kind):
		return "CAST(" + name + " AS UNSIGNED)"
	default:
		return name
	}
}

// loaded is the value of a column that was read into a variable, "" if it is read as it is.
func (c column) loaded(variable string) string {
	switch {
	case slices.Contains(spelled, c.kind):
		return "CONVERT(" + variable + " USING ascii)"
	case slices.Contains(numbers, c.kind):
		return "CAST(" + variable + " AS UNSIGNED)"
	}
	return ""
}

// readText is the query for the rows of a table, given by its quoted name.
func readText(table string, columns []column) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = c.selected()
	}
	return "SELECT " + strings.Join(list, ", ") + " FROM " + table
}

// loadText is the statement that loads such rows into a table.
func loadText(table string, columns []column) string {
	into := make([]string, len(columns))
	var set []string
	for i, c := range columns {
		into[i] = stage.QuoteName(c.name)
		variable := fmt.Sprintf("@mbk_%d", i+1)
		if value := c.loaded(variable); value != "" {
			set = append(set, into[i]+" = "+value)
			into[i] = variable
		}
	}
	text := "LOAD DATA LOCAL INFILE ? INTO TABLE " + table + ` CHARACTER SET binary
		FIELDS TERMINATED BY '\t' ESCAPED BY '\\' LINES TERMINATED BY '\n' (` + strings.Join(into, ", ") + ")"
	if len(set) > 0 {
		text += " SET " + strings.Join(set, ", ")
	}
	return text
}

// appendRow appends a row as LOAD DATA reads it by default.
func appendRow(b []byte, row []sql.RawBytes) []byte {
	for i, value := range row {
		if i > 0 {
			b = append(b, '\t')
		}
		if value == nil {
			b = append(b, '\\', 'N')
			continue
		}
		for _, c := range value {
			switch c {
			case '\\', '\t', '\n':
				b = append(b, '\\', c)
			case 0:
				b = append(b, '\\', '0')
			default:
				b = append(b, c)
			}
		}
	}
	return append(b, '\n')
}

// copyRows loads the rows of one server's table into another one's, and returns how many
// were stored.
func copyRows(ctx context.Context, from *stage.Client, read string, to *stage.Client, load string) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		out := bufio.NewWriterSize(w, 1<<20)
		var line []byte
		err := from.Each(ctx, read, func(row []sql.RawBytes) error {
			line = appendRow(line[:0], row)
			_, err := out.Write(line)
			return err
		})
		err = errors.Join(err, out.Flush())
		_ = w.CloseWithError(err) // a nil is the end of the file
		done <- err
	}()
	stored, err := to.Load(ctx, load, r)
	_ = r.CloseWithError(errLoadEnded)
	if readErr := <-done; readErr != nil && !errors.Is(readErr, errLoadEnded) {
		return stored, errors.Join(readErr, err)
	}
	return stored, err
}

// errLoadEnded is what the reader of rows gets when nobody takes them any more.
var errLoadEnded = errors.New("the server takes no more rows")
