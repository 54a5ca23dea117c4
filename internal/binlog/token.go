package binlog

import (
	"bytes"
	"strings"
)

// tokens takes a statement apart, as far as its names are told by that. What is in comments that
// the server carries out is read, other comments are not.
type tokens struct {
	rest   []byte
	inside bool // of a comment that is carried out
}

// token is a word, a name in quotes, a string, or one other character.
type token struct {
	text string
	kind tokenKind
}

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenQuoted // in backquotes, or in double quotes, which may be a string
	tokenString
	tokenOther
)

// is reports whether a token is one of some words, which are in capitals.
func (t token) is(words ...string) bool {
	if t.kind != tokenWord && t.kind != tokenOther {
		return false
	}
	for _, w := range words {
		if strings.EqualFold(t.text, w) {
			return true
		}
	}
	return false
}

// name reports whether a token can name something.
func (t token) name() bool { return t.kind == tokenWord || t.kind == tokenQuoted }

// next returns the next token.
func (s *tokens) next() token {
	for {
		s.rest = bytes.TrimLeft(s.rest, " \t\r\n\f\v\x00")
		if !s.comment() {
			break
		}
	}
	if len(s.rest) == 0 {
		return token{}
	}
	switch c := s.rest[0]; {
	case c == '`' || c == '"':
		return token{s.quoted(c), tokenQuoted}
	case c == '\'':
		return token{s.quoted(c), tokenString}
	case wordByte(c):
		n := 1
		for n < len(s.rest) && wordByte(s.rest[n]) {
			n++
		}
		return token{string(s.take(n)), tokenWord}
	}
	return token{string(s.take(1)), tokenOther}
}

// peek returns the token that next will return.
func (s *tokens) peek() token {
	c := *s
	return c.next()
}

func (s *tokens) take(n int) []byte {
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return b
}

// comment passes over a comment, or where one that is carried out begins or ends.
func (s *tokens) comment() bool {
	b := s.rest
	switch {
	case bytes.HasPrefix(b, []byte("/*!")), bytes.HasPrefix(b, []byte("/*M!")):
		s.rest = bytes.TrimLeft(b[bytes.IndexByte(b, '!')+1:], "0123456789")
		s.inside = true
	case s.inside && bytes.HasPrefix(b, []byte("*/")):
		s.rest, s.inside = b[2:], false
	case bytes.HasPrefix(b, []byte("/*")):
		_, s.rest, _ = bytes.Cut(b[2:], []byte("*/"))
	case len(b) > 0 && b[0] == '#',
		bytes.HasPrefix(b, []byte("--")) && (len(b) == 2 || b[2] <= ' '):
		_, s.rest, _ = bytes.Cut(b, []byte("\n"))
	default:
		return false
	}
	return true
}

// quoted takes what is in quotes. A quote that is doubled stands for itself, and in strings one
// after a backslash.
func (s *tokens) quoted(quote byte) string {
	var text []byte
	i := 1
	for ; i < len(s.rest); i++ {
		c := s.rest[i]
		if c == quote {
			if i+1 == len(s.rest) || s.rest[i+1] != quote {
				i++
				break
			}
			i++
		} else if c == '\\' && quote != '`' && i+1 < len(s.rest) {
			i++
			c = s.rest[i]
		}
		if len(text) < maxName {
			text = append(text, c)
		}
	}
	s.take(min(i, len(s.rest)))
	return string(text)
}

// maxName limits the bytes of a name: 64 characters.
const maxName = 64 * 4

// wordByte reports whether a byte can be in a name without quotes, or in a number.
func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= 0x80
}
