package stage

import "strings"

// mask returns a statement of somebody else without the values in it, which are
// rows of tables and keys: a question mark stands for each string, number or binary
// value. Names stay, and the words of comments in brackets, which often tell whose
// statement it is. What has no end is a value up to the
// end, since the statement may have been cut off.
func mask(statement string) string {
	var b strings.Builder
	for i := 0; i < len(statement); {
		rest := statement[i:]
		n := 1
		switch c := rest[0]; {
		case c == '\'' || c == '"': // with ANSI_QUOTES a name, which is no loss
			n = quoted(rest)
			b.WriteByte('?')
		case c == '`':
			n = quoted(rest)
			b.WriteString(rest[:n])
		case comment(rest) > 0:
			n = comment(rest)
			b.WriteString(maskComment(rest[:n]))
		case c >= '0' && c <= '9' || c == '.' && len(rest) > 1 && rest[1] >= '0' && rest[1] <= '9' && !follows(b.String()):
			n = word(rest)
			for n < len(rest) && (rest[n] == '+' || rest[n] == '-') && (rest[n-1] == 'e' || rest[n-1] == 'E') &&
				!strings.HasPrefix(rest, "0x") {
				n += 1 + word(rest[n+1:])
			}
			b.WriteByte('?')
		case wordByte(c):
			n = word(rest)
			// x'4f', b'01', N'text', _utf8mb4'text'
			if n < len(rest) && rest[n] == '\'' && (n == 1 || c == '_') {
				n += quoted(rest[n:])
				b.WriteByte('?')
				break
			}
			b.WriteString(rest[:n])
		default:
			b.WriteByte(c)
		}
		i += n
	}
	return b.String()
}

// maskComment is mask for a comment. One that ends with its line is left out, since
// statements are shown on one line.
func maskComment(comment string) string {
	inner, bracket := strings.CutPrefix(comment, "/*")
	if !bracket {
		return " "
	}
	inner, ended := strings.CutSuffix(inner, "*/")
	if ended {
		return "/*" + mask(inner) + "*/"
	}
	return "/*" + mask(inner)
}

// follows reports whether a name ends a text, so that a point goes on with it.
func follows(text string) bool {
	return text != "" && (wordByte(text[len(text)-1]) || text[len(text)-1] == '`')
}

// quoted is the length of what a quote begins, up to its end. A quote in it is
// doubled, or in a string behind a backslash.
func quoted(s string) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && s[0] != '`':
			i++
		case s[i] == s[0] && i+1 < len(s) && s[i+1] == s[0]:
			i++
		case s[i] == s[0]:
			return i + 1
		}
	}
	return len(s)
}

// comment is the length of a comment at the beginning of s, 0 if there is none.
func comment(s string) int {
	end, found := "\n", false
	switch {
	case strings.HasPrefix(s, "/*!"), strings.HasPrefix(s, "/*M!"):
		return 0 // it is carried out
	case strings.HasPrefix(s, "/*"):
		end, found = "*/", true
	case s[0] == '#', strings.HasPrefix(s, "-- "), strings.HasPrefix(s, "--\t"), strings.HasPrefix(s, "--\n"):
		found = true
	}
	if !found {
		return 0
	}
	if i := strings.Index(s, end); i >= 0 {
		return i + len(end)
	}
	return len(s)
}

// word is the length of a name, keyword or number at the beginning of s.
func word(s string) int {
	n := 0
	for n < len(s) && (wordByte(s[n]) || s[n] == '.' && s[0] >= '0' && s[0] <= '9' || n == 0 && s[n] == '.') {
		n++
	}
	return max(n, min(1, len(s)))
}

// wordByte reports whether a byte may be in a name without quotes.
func wordByte(c byte) bool {
	return c == '_' || c == '$' || c >= 0x80 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
