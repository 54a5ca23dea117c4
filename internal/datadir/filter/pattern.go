package filter

import (
	"errors"
	"fmt"
	"strings"
)

// pattern matches databases, or tables.
type pattern struct {
	text     string // as it was given
	database part
	table    part
}

// literal reports whether the pattern names one thing.
func (p pattern) literal() bool { return p.database.literal && p.table.literal }

// part is the pattern of one name.
type part struct {
	text    string
	literal bool // it stands for itself
}

// parseDatabase reads the pattern of a database.
func parseDatabase(text string) (pattern, error) {
	d, rest, err := parsePart(text, "")
	if err == nil && rest != "" {
		err = errors.New("goes on after the closing backquote")
	}
	return pattern{database: d, table: part{literal: true}}, err
}

// parseTable reads "database.table".
func parseTable(text string) (pattern, error) {
	d, rest, err := parsePart(text, ".")
	if err != nil {
		return pattern{}, err
	}
	rest, dot := strings.CutPrefix(rest, ".")
	if !dot {
		return pattern{}, errors.New("is not of the form database.table")
	}
	t, rest, err := parsePart(rest, "")
	if err == nil && rest != "" {
		err = errors.New("goes on after the closing backquote")
	}
	return pattern{database: d, table: t}, err
}

// ParseName reads the name of one table, "database.table", parts of which may be in
// backquotes.
func ParseName(text string) (Name, error) {
	p, err := parseTable(text)
	if err == nil && !p.literal() {
		err = errors.New("is a pattern")
	}
	if err != nil {
		return Name{}, fmt.Errorf("%w: %q %w", ErrPattern, text, err)
	}
	return Name{Database: p.database.text, Table: p.table.text}, nil
}

// ParseDatabase reads the name of one database, which may be in backquotes.
func ParseDatabase(text string) (string, error) {
	p, err := parseDatabase(text)
	if err == nil && !p.literal() {
		err = errors.New("is a pattern")
	}
	if err != nil {
		return "", fmt.Errorf("%w: %q %w", ErrPattern, text, err)
	}
	return p.database.text, nil
}

// parsePart reads one name: in backquotes, or up to a character of stop.
func parsePart(text, stop string) (p part, rest string, err error) {
	if text == "" {
		return part{}, "", errors.New("lacks a name")
	}
	if text[0] == '`' {
		return parseQuoted(text[1:])
	}
	end := len(text)
	if at := strings.IndexAny(text, stop); stop != "" && at >= 0 {
		end = at
	}
	p.text, rest = text[:end], text[end:]
	if p.text == "" {
		return part{}, "", errors.New("lacks a name")
	}
	if strings.Contains(p.text, "`") {
		return part{}, "", errors.New("has a backquote inside a name")
	}
	p.literal = !strings.ContainsAny(p.text, "*?")
	return p, rest, nil
}

// parseQuoted reads a name up to its closing backquote; two of them are one.
func parseQuoted(text string) (p part, rest string, err error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "`")
		b.WriteString(before)
		if !found {
			return part{}, "", errors.New("lacks the closing backquote")
		}
		if !strings.HasPrefix(after, "`") {
			if b.Len() == 0 {
				return part{}, "", errors.New("lacks a name")
			}
			return part{text: b.String(), literal: true}, after, nil
		}
		b.WriteByte('`')
		text = after[1:]
	}
}

// matches compares a name with the pattern.
func (p part) matches(name string) bool {
	if p.literal {
		return p.text == name
	}
	return match([]rune(p.text), []rune(name))
}

// match compares a name with a pattern that has wildcards. After a mismatch the
// last "*" takes in one character more.
func match(pattern, name []rune) bool {
	star, from, i, j := -1, 0, 0, 0
	for j < len(name) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, from = i, j
			i++
		case i < len(pattern) && (pattern[i] == '?' || pattern[i] == name[j]):
			i++
			j++
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	for i < len(pattern) && pattern[i] == '*' {
		i++
	}
	return i == len(pattern)
}

// Tables matches names of tables, without regard to case.
type Tables struct{ f *Filter }

// ParseTables reads patterns as of Spec.Tables. Unlike a Filter they match none of the
// server's own tables unless they do. No pattern at all matches every table.
func ParseTables(patterns []string) (Tables, error) {
	f, err := New(Spec{Tables: patterns}, true)
	return Tables{f}, err
}

// Match reports whether a table is matched; with the name "" whether any of a database may be.
func (t Tables) Match(database, table string) bool {
	if t.f == nil {
		return true
	}
	t.f.names(&database, &table)
	for _, p := range t.f.tables {
		if p.database.matches(database) && (table == "" || p.table.matches(table)) {
			return true
		}
	}
	return false
}

// Unmatched reports, each as an *UnmatchedError, the patterns that match none of the tables.
func (t Tables) Unmatched(tables []Name) []error { return t.f.Check(nil, tables) }
