package hook

import (
	"bytes"
	"strings"
	"unicode"
)

// Limits of what is kept of the output, in bytes.
const (
	keptOutput = 4 << 10
	maxLine    = 2 << 10 // a longer one is split
)

// output collects what a program prints. One goroutine writes to it, and has ended when
// end is called.
type output struct {
	print func(string)
	line  []byte // the last one, still incomplete
	kept  []byte
}

// Write never fails.
func (o *output) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		n := min(len(rest), maxLine-len(o.line))
		newline := bytes.IndexByte(rest[:n], '\n')
		if newline >= 0 {
			n = newline
		}
		o.line = append(o.line, rest[:n]...)
		rest = rest[n:]
		if newline >= 0 {
			rest = rest[1:]
		}
		if newline >= 0 || len(o.line) == maxLine {
			o.flush()
		}
	}
	return len(b), nil
}

// flush passes a line on.
func (o *output) flush() {
	text := plain(o.line)
	o.line = o.line[:0]
	o.kept = append(append(o.kept, text...), '\n')
	if more := len(o.kept) - keptOutput; more > 0 {
		begin := max(more, bytes.IndexByte(o.kept[more-1:], '\n')+more) // of the first complete line
		o.kept = append(o.kept[:0], o.kept[begin:]...)
	}
	if o.print != nil {
		o.print(text)
	}
}

// end returns the lines that were kept.
func (o *output) end() string {
	if len(o.line) > 0 {
		o.flush()
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(o.kept), ""))
}

// plain makes a line safe for terminals and logs.
func plain(line []byte) string {
	text := strings.ToValidUTF8(strings.TrimRight(string(line), "\r"), "\uFFFD")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, text)
}

// lastLine returns the last line of a text that is not blank.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}
