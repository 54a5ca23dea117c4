package tablerestore

import (
	"errors"
	"fmt"
	"strings"

	"mbk/stage"
)

// definition is what SHOW CREATE TABLE says, taken apart. The texts are SQL, in which names
// are in backquotes.
type definition struct {
	elements []string    // columns, keys and checks
	fulltext []namedText // "FULLTEXT KEY ..."
	foreign  []namedText // "FOREIGN KEY (...) REFERENCES ...", by the names of the constraints
	vector   bool        // it has a VECTOR index
	tail     string      // what follows the elements: "ENGINE=InnoDB ..."
}

// namedText is a key or a constraint.
type namedText struct{ name, text string }

// parseDefinition takes a CREATE TABLE statement apart, as SHOW CREATE TABLE prints it with
// an empty sql_mode.
func parseDefinition(create string) (definition, error) {
	var d definition
	var inner []string
	depth, from := 0, 0
	end := outsideQuotes(create, func(i int) bool {
		switch create[i] {
		case '(':
			if depth++; depth == 1 {
				from = i + 1
			}
		case ',':
			if depth == 1 {
				inner = append(inner, create[from:i])
				from = i + 1
			}
		case ')':
			if depth--; depth == 0 {
				inner = append(inner, create[from:i])
				return false
			}
		}
		return true
	})
	if end == len(create) || !strings.HasPrefix(create, "CREATE TABLE ") {
		return d, fmt.Errorf("definition not understood: %.200q", create)
	}
	d.tail = strings.TrimSpace(create[end+1:])
	for _, text := range inner {
		if err := d.add(strings.TrimSpace(text)); err != nil {
			return d, err
		}
	}
	return d, nil
}

// add takes over one element.
func (d *definition) add(text string) error {
	rest, constraint := strings.CutPrefix(text, "CONSTRAINT ")
	switch {
	case constraint:
		name, rest, err := cutName(rest)
		if err != nil {
			return err
		}
		if strings.HasPrefix(rest, "FOREIGN KEY ") {
			d.foreign = append(d.foreign, namedText{name, rest})
			return nil
		}
	case strings.HasPrefix(text, "FULLTEXT KEY "):
		name, _, err := cutName(strings.TrimPrefix(text, "FULLTEXT KEY "))
		if err != nil {
			return err
		}
		d.fulltext = append(d.fulltext, namedText{name, text})
		return nil
	case strings.HasPrefix(text, "VECTOR KEY "):
		d.vector = true
	}
	d.elements = append(d.elements, text)
	return nil
}

// create is the statement that makes a table of that quoted name, without its foreign
// keys. Its full-text indexes can be left out.
func (d *definition) create(name string, fulltext bool) string {
	elements := d.elements
	if fulltext {
		for _, k := range d.fulltext {
			elements = append(elements[:len(elements):len(elements)], k.text)
		}
	}
	return "CREATE TABLE " + name + " (\n" + strings.Join(elements, ",\n") + "\n) " + d.tail
}

// references returns a foreign key whose unqualified table is in the database.
func references(key, database string) string {
	const word = " REFERENCES "
	at := findOutsideQuotes(key, word)
	if at < 0 {
		return key
	}
	at += len(word)
	if _, rest, err := cutName(key[at:]); err != nil || strings.HasPrefix(rest, ".") {
		return key
	}
	return key[:at] + stage.QuoteName(database) + "." + key[at:]
}

// referring returns a foreign key that refers to another table than before.
func referring(key, database, table string) (string, error) {
	const word = " REFERENCES "
	at := findOutsideQuotes(key, word)
	if at < 0 {
		return "", fmt.Errorf("foreign key not understood: %.200q", key)
	}
	at += len(word)
	_, rest, err := cutName(key[at:])
	if err == nil && strings.HasPrefix(rest, ".") {
		_, rest, err = cutName(rest[1:])
	}
	if err != nil {
		return "", err
	}
	return key[:at] + qualified(database, table) + " " + rest, nil
}

var errNoName = errors.New("a name in backquotes was expected")

// cutName takes a name in backquotes from the beginning of a text, and the spaces after it.
func cutName(text string) (name, rest string, err error) {
	if !strings.HasPrefix(text, "`") {
		return "", text, fmt.Errorf("%w: %.200q", errNoName, text)
	}
	for i := 1; i < len(text); i++ {
		if text[i] != '`' {
			continue
		}
		if i+1 < len(text) && text[i+1] == '`' {
			i++
			continue
		}
		return strings.ReplaceAll(text[1:i], "``", "`"), strings.TrimLeft(text[i+1:], " "), nil
	}
	return "", text, fmt.Errorf("%w: %.200q", errNoName, text)
}

// outsideQuotes calls visit for each byte of an SQL text that is not in a quoted name or
// string, until that returns false, and returns where that was: len(text) if it never did.
func outsideQuotes(text string, visit func(i int) bool) int {
	for i := 0; i < len(text); i++ {
		if c := text[i]; c == '\'' || c == '"' || c == '`' {
			for i++; i < len(text) && text[i] != c; i++ {
				if text[i] == '\\' && c != '`' {
					i++
				}
			}
			continue // a doubled quote begins another quoted text at once
		}
		if !visit(i) {
			return i
		}
	}
	return len(text)
}

// findOutsideQuotes returns where a word begins that is in no quoted text, -1 for nowhere.
func findOutsideQuotes(text, word string) int {
	at := outsideQuotes(text, func(i int) bool { return !strings.HasPrefix(text[i:], word) })
	if at == len(text) {
		return -1
	}
	return at
}

// qualified quotes the name of a table with its database.
func qualified(database, table string) string {
	return stage.QuoteName(database) + "." + stage.QuoteName(table)
}
