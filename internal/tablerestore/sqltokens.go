package tablerestore

import (
	"slices"
	"strings"
)

// sqlToken is a word, a name in quotes, a string, or one other character of an SQL text.
type sqlToken struct {
	text       string // without quotes
	start, end int    // of it in the SQL text, with its quotes
	name       bool   // it can be a name: a word, or a name in quotes
	quoted     bool   // it is in quotes, and no keyword
	literal    bool   // it is a string
	group      int    // the index of the "(" in which it is, -1 for none
}

// isOne reports whether a token is one of some keywords, which are in capitals, or characters.
func (t sqlToken) isOne(words ...string) bool {
	return !t.quoted && !t.literal && slices.Contains(words, strings.ToUpper(t.text))
}

// sqlTokens are the tokens of a text. Those outside of it are empty.
type sqlTokens []sqlToken

// at returns a token.
func (s sqlTokens) at(i int) sqlToken {
	if i < 0 || i >= len(s) {
		return sqlToken{group: -1}
	}
	return s[i]
}

// is reports whether a token is one character.
func (s sqlTokens) is(i int, character string) bool {
	t := s.at(i)
	return !t.name && !t.literal && t.text == character
}

// before returns the token before another, passing over some keywords.
func (s sqlTokens) before(i int, over ...string) sqlToken {
	for i--; s.at(i).isOne(over...); i-- {
	}
	return s.at(i)
}

// around is the text around a token, for a message.
func (s sqlTokens) around(text string, i int) string {
	from, to := s[max(0, i-3)].start, s[min(len(s)-1, i+4)].end
	return strings.Join(strings.Fields(text[from:to]), " ")
}

// scanSQL takes an SQL text apart that was written under an sql_mode. Comments are left out, but
// not what is in comments that the server carries out.
func scanSQL(text, mode string) sqlTokens {
	modes := strings.Split(strings.ToUpper(mode), ",")
	s := sqlScanner{text: text, ansi: slices.Contains(modes, "ANSI_QUOTES"),
		plain: slices.Contains(modes, "NO_BACKSLASH_ESCAPES")}
	for s.skip(); s.at < len(text); s.skip() {
		s.next()
	}
	return s.found
}

type sqlScanner struct {
	text        string
	at          int
	ansi, plain bool // sql_mode ANSI_QUOTES, NO_BACKSLASH_ESCAPES
	groups      []int
	found       sqlTokens
}

// skip passes over space and comments.
func (s *sqlScanner) skip() {
	for {
		s.at = len(s.text) - len(strings.TrimLeft(s.text[s.at:], " \t\r\n\f\v"))
		rest := s.text[s.at:]
		n := 0
		switch {
		case strings.HasPrefix(rest, "/*!"), strings.HasPrefix(rest, "/*M!"):
			n = len(rest) - len(strings.TrimLeft(rest[strings.IndexByte(rest, '!')+1:], "0123456789"))
		case strings.HasPrefix(rest, "*/"): // of such a comment
			n = len("*/")
		case strings.HasPrefix(rest, "/*"):
			n = cutAfter(rest, "*/")
		case strings.HasPrefix(rest, "#"), strings.HasPrefix(rest, "--") && (len(rest) == 2 || rest[2] <= ' '):
			n = cutAfter(rest, "\n")
		default:
			return
		}
		s.at += n
	}
}

// cutAfter returns the length of a text up to the end of a mark, or of all of it.
func cutAfter(text, mark string) int {
	before, _, found := strings.Cut(text, mark)
	if !found {
		return len(text)
	}
	return len(before) + len(mark)
}

// next takes one token.
func (s *sqlScanner) next() {
	t := sqlToken{start: s.at, group: -1}
	if len(s.groups) > 0 {
		t.group = s.groups[len(s.groups)-1]
	}
	switch c := s.text[s.at]; {
	case c == '`' || c == '"' && s.ansi:
		t.text, t.name, t.quoted = s.quoted(c, false), true, true
	case c == '\'' || c == '"':
		t.text, t.literal = s.quoted(c, !s.plain), true
	case wordByte(c):
		for s.at < len(s.text) && wordByte(s.text[s.at]) {
			s.at++
		}
		t.text, t.name = s.text[t.start:s.at], true
	default:
		s.at++
		t.text = s.text[t.start:s.at]
	}
	t.end = s.at
	switch {
	case t.isOne("("):
		s.groups = append(s.groups, len(s.found))
	case t.isOne(")") && len(s.groups) > 0:
		s.groups = s.groups[:len(s.groups)-1]
	}
	s.found = append(s.found, t)
}

// quoted takes what is in quotes. A quote that is doubled stands for itself, and with escapes one
// after a backslash.
func (s *sqlScanner) quoted(quote byte, escapes bool) string {
	var text []byte
	for s.at++; s.at < len(s.text); s.at++ {
		c := s.text[s.at]
		if c == quote {
			if s.at++; s.at == len(s.text) || s.text[s.at] != quote {
				return string(text)
			}
		} else if c == '\\' && escapes && s.at+1 < len(s.text) {
			s.at++
			c = s.text[s.at]
		}
		text = append(text, c)
	}
	return string(text)
}

// wordByte reports whether a byte can be in a name without quotes, or in a number.
func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= 0x80
}
