package tablerestore

import (
	"fmt"
	"slices"
	"strings"

	"mbk/stage"
)

// renaming gives a database another name in SQL texts: views, stored programs, and definitions
// of tables. Names without a database are those of the default one, and need no change.
//
// A text does not say of "shop.id" alone whether shop is a database, or a table, an alias or a
// variable. It is a database where only one can be (shop.orders.id, FROM shop.orders,
// shop.twice(2)), and everywhere in a text that has no other use for the name. Any other text
// cannot be renamed safely.
type renaming struct {
	from, to string
	fold     bool // names of databases that differ in case only are the same
	// packaged says that the database has a package of its own name, of which shop.f() may be a
	// function.
	packaged bool
}

// unsafeError says why a text cannot be renamed.
type unsafeError struct{ reason string }

func (e *unsafeError) Error() string { return e.reason }

// renamed is a text with the new name.
type renamed struct {
	text    string
	strings []string // string literals that have the old name in a qualified name, or are it; they stay
}

// apply renames the database in a text that was written under an sql_mode. The error is an
// *unsafeError.
func (r renaming) apply(text, mode string) (renamed, error) {
	tokens := scanSQL(text, mode)
	other, doubtful := r.packaged, -1
	var b strings.Builder
	from := 0
	for i, t := range tokens {
		switch {
		case !t.name || tokens.is(i-1, "@") || tokens.is(i+1, "@"): // accounts and variables
		case r.qualifies(tokens, i):
			if doubtful < 0 && !r.surely(tokens, i) {
				doubtful = i
			}
			b.WriteString(text[from:t.start] + stage.QuoteName(r.to))
			from = t.end
		case strings.EqualFold(t.text, r.from) && (tokens.is(i-1, ".") || !tokens.is(i+1, ".")):
			if other = true; tokens.before(i, "IF", "NOT", "EXISTS").isOne("DATABASE", "SCHEMA") {
				return renamed{}, &unsafeError{fmt.Sprintf("it creates, alters or drops the database itself: %s",
					tokens.around(text, i))}
			}
		}
	}
	if doubtful >= 0 && other {
		return renamed{}, &unsafeError{fmt.Sprintf("%s is the database, or something else of that name that it uses: %s",
			stage.QuoteName(r.from), tokens.around(text, doubtful))}
	}
	found, err := r.inStrings(tokens)
	return renamed{b.String() + text[from:], found}, err
}

// qualifies reports whether a name is that of the database, before a dot. It may be another
// thing of that name, too.
func (r renaming) qualifies(all sqlTokens, i int) bool {
	same := all[i].text == r.from || r.fold && strings.EqualFold(all[i].text, r.from)
	return same && all.is(i+1, ".") && !all.is(i-1, ".")
}

// Words after which only a table, a routine or the like can be named.
var (
	beforeTables = []string{"JOIN", "STRAIGHT_JOIN", "INTO", "UPDATE", "TABLE", "TABLES", "VIEW", "TRIGGER", "EVENT",
		"PROCEDURE", "FUNCTION", "SEQUENCE", "REFERENCES"}
	sequenceFunctions = []string{"NEXTVAL", "LASTVAL", "SETVAL"}
)

// surely reports whether a name before a dot can be that of a database only.
func (r renaming) surely(all sqlTokens, i int) bool {
	if all.is(i+3, ".") {
		return true // database, table and column
	}
	before := i - 1
	for all.is(before, "(") {
		before--
	}
	word := all.at(before)
	switch {
	case all.is(i+3, "("), all.at(i - 1).isOne("CALL"):
		return !r.packaged
	case word.isOne("JOIN", "STRAIGHT_JOIN"), all.at(i - 1).isOne(beforeTables...):
		return true
	case word.isOne("FROM"):
		// EXTRACT(DAY FROM shop.d) is about a column.
		first := all.at(word.group + 1)
		return word.group < 0 || first.isOne("SELECT", "(")
	case all.at(i - 1).isOne("ON"): // of a trigger
		return all.at(i-2).isOne("INSERT", "UPDATE", "DELETE")
	case all.at(i - 1).isOne("FOR"): // NEXT VALUE FOR
		return all.at(i - 2).isOne("VALUE")
	}
	return all.is(i-1, "(") && all.at(i-2).isOne(sequenceFunctions...)
}

// inStrings returns the string literals that have the name as that of a database. In a text that
// makes statements of strings, any that has the name is an error.
func (r renaming) inStrings(all sqlTokens) ([]string, error) {
	dynamic := slices.ContainsFunc(all, func(t sqlToken) bool { return t.isOne("PREPARE", "EXECUTE") })
	var found []string
	for i, t := range all {
		if !t.literal || all.is(i-1, "@") || all.is(i+1, "@") { // an account
			continue
		}
		at := findWord(t.text, r.from)
		if at < 0 {
			continue
		}
		if dynamic {
			return nil, &unsafeError{fmt.Sprintf("it makes statements of texts (PREPARE or EXECUTE IMMEDIATE), and has the "+
				"database's name in one: '%.200s'", t.text)}
		}
		after := strings.TrimLeft(t.text[at+len(r.from):], "` ")
		if len(t.text) == len(r.from) || strings.HasPrefix(after, ".") {
			found = append(found, t.text)
		}
	}
	return found, nil
}

// findWord returns where a word is in a text, whatever its case, and not as a part of another; -1 for
// nowhere.
func findWord(text, word string) int {
	for at := 0; at+len(word) <= len(text); at++ {
		end := at + len(word)
		if strings.EqualFold(text[at:end], word) && (at == 0 || !wordByte(text[at-1])) &&
			(end == len(text) || !wordByte(text[end])) {
			return at
		}
	}
	return -1
}
