package optfile

import (
	"bytes"
	"errors"
	"strings"
)

// kind is the kind of a line.
type kind int

const (
	blank         kind = iota // nothing, a comment, or an unknown directive
	group                     // [name]
	option                    // name or name=value
	include                   // !include name
	includeFolder             // !includedir name
)

// statement is a parsed line.
type statement struct {
	kind     kind
	name     string // of the group, the option, the file or the folder
	value    string
	hasValue bool
}

// space is white space for MariaDB, which reads option files as latin1, where 0xA0 is a
// space.
const space = " \t\n\v\f\r\xa0"

// parse parses a line, with or without its line break. Like MariaDB, it stops at the
// first NUL.
func parse(line []byte) (statement, error) {
	line, _, _ = bytes.Cut(line, []byte{0})
	line = trimLeft(line)
	if len(line) == 0 {
		return statement{}, nil
	}
	switch line[0] {
	case '#', ';':
		return statement{}, nil
	case '!':
		return parseDirective(line[1:])
	case '[':
		name, _, found := bytes.Cut(line[1:], []byte("]"))
		if !found {
			return statement{}, errors.New("group without its ]")
		}
		return statement{kind: group, name: string(trimRight(name))}, nil
	}
	return parseOption(line), nil
}

// parseDirective parses what follows the "!".
func parseDirective(text []byte) (statement, error) {
	text = trimLeft(text)
	for _, d := range []struct {
		keyword string
		kind    kind
	}{{"includedir", includeFolder}, {"include", include}} {
		rest, found := bytes.CutPrefix(text, []byte(d.keyword))
		if !found || len(rest) > 0 && !isSpace(rest[0]) {
			continue
		}
		name := trimRight(trimLeft(rest))
		if len(name) == 0 {
			return statement{}, errors.New("!" + d.keyword + " of nothing")
		}
		return statement{kind: d.kind, name: string(name)}, nil
	}
	return statement{}, nil
}

// parseOption parses a line that begins with a name.
func parseOption(line []byte) statement {
	name, value, found := bytes.Cut(cutComment(line), []byte("="))
	s := statement{kind: option, name: string(trimRight(name)), hasValue: found}
	if found {
		s.value = unescape(unquote(trimRight(trimLeft(value))))
	}
	return s
}

// cutComment removes what follows a "#" outside of quotes. A backslash is special only
// within quotes.
func cutComment(line []byte) []byte {
	var quote byte
	escaped := false
	for i, c := range line {
		switch {
		case (c == '\'' || c == '"') && !escaped:
			switch quote {
			case 0:
				quote = c
			case c:
				quote = 0
			}
		case c == '#' && quote == 0:
			return line[:i]
		}
		escaped = quote != 0 && c == '\\' && !escaped
	}
	return line
}

// unquote removes matching quotes around a value.
func unquote(value []byte) []byte {
	n := len(value)
	if n > 1 && (value[0] == '\'' || value[0] == '"') && value[n-1] == value[0] {
		return value[1 : n-1]
	}
	return value
}

// unescape resolves escapes in a value. A backslash before any other letter or at the
// end stays.
func unescape(value []byte) string {
	var out strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] != '\\' || i == len(value)-1 {
			out.WriteByte(value[i])
			continue
		}
		i++
		switch c := value[i]; c {
		case 'n':
			out.WriteByte('\n')
		case 't':
			out.WriteByte('\t')
		case 'r':
			out.WriteByte('\r')
		case 'b':
			out.WriteByte('\b')
		case 's':
			out.WriteByte(' ')
		case '"', '\'', '\\':
			out.WriteByte(c)
		default:
			out.WriteByte('\\')
			out.WriteByte(c)
		}
	}
	return out.String()
}

// normal returns the canonical spelling of an option's name, and whether it is loose.
func normal(name string) (string, bool) {
	return strings.CutPrefix(strings.ReplaceAll(name, "_", "-"), "loose-")
}

// fold makes the names of groups comparable without regard to case.
func fold(name string) string {
	out := []byte(name)
	for i, c := range out {
		if 'A' <= c && c <= 'Z' {
			out[i] = c + 'a' - 'A'
		}
	}
	return string(out)
}

// The functions of package bytes would take white space for runes.

func isSpace(c byte) bool { return strings.IndexByte(space, c) >= 0 }

func trimLeft(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	return b
}

func trimRight(b []byte) []byte {
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}
