// Package printable makes texts fit for people's eyes: names and messages come from
// servers, repositories and file names, and what is in them must neither command a
// terminal nor look like something else. It is not about texts for programs.
package printable

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Text returns s with everything that is not seen as itself written out: control
// characters as \n, \t or \x1b, marks of direction and other format characters as
// \u202e, and bytes that are not UTF-8 as \xff. What is fit stays as it is, so a text
// may pass several times.
func Text(s string) string { return clean(s, "") }

// Lines is Text for a text of several lines, with tabs in it.
func Lines(s string) string { return clean(s, "\n\t") }

// Columns is Text for a line with tabs between its cells.
func Columns(s string) string { return clean(s, "\t") }

// Table is the name of a table as SQL quotes it, and fit to be shown.
func Table(database, name string) string { return Name(database) + "." + Name(name) }

// Name is an identifier as SQL quotes it, and fit to be shown.
func Name(s string) string { return "`" + strings.ReplaceAll(Text(s), "`", "``") + "`" }

func clean(s, except string) string {
	if fit(s, except) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case seen(r) || strings.ContainsRune(except, r):
			b.WriteString(s[i : i+size])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case r < 0x7f:
			fmt.Fprintf(&b, `\x%02x`, r)
		default: // as JSON writes it, since JSON passes here, too
			for _, unit := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u%04x`, unit)
			}
		}
		i += size
	}
	return b.String()
}

// fit reports whether nothing in s has to be written out.
func fit(s, except string) bool {
	for i, r := range s {
		invalid := r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError))
		if invalid || !seen(r) && !strings.ContainsRune(except, r) {
			return false
		}
	}
	return true
}

// seen reports whether a character is seen as itself.
func seen(r rune) bool { return unicode.IsPrint(r) || unicode.Is(unicode.Zs, r) }
