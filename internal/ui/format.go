package ui

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"mbk/internal/ui/printable"
)

// Size formats a number of bytes.
func Size(bytes int64) string { return humanize.IBytes(uint64(max(bytes, 0))) }

// Span formats a duration, rounded.
func Span(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// Milliseconds formats a duration in milliseconds as Span does.
func Milliseconds(ms int64) string { return Span(time.Duration(ms) * time.Millisecond) }

// Rate formats bytes per second.
func Rate(bytes int64, d time.Duration) string {
	if d <= 0 {
		return "-"
	}
	return Size(int64(float64(bytes)/d.Seconds())) + "/s"
}

// Count formats a number with its noun: "1 table", "2 tables".
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Percent formats part/whole, "" if whole is 0.
func Percent(part, whole int64) string {
	switch share := 100 * float64(part) / float64(whole); {
	case whole <= 0:
		return ""
	case share < 1 && part > 0:
		return "< 1 %"
	default:
		return fmt.Sprintf("%.0f %%", share)
	}
}

// OneLine returns a text without line breaks and control characters.
func OneLine(text string) string { return printable.Text(strings.Join(strings.Fields(text), " ")) }

// Shorten cuts the middle out of a text that is longer than width.
func Shorten(text string, width int) string {
	letters := []rune(text)
	if len(letters) <= width {
		return text
	}
	half := (width - 2) / 2
	return string(letters[:width-2-half]) + ".." + string(letters[len(letters)-half:])
}

// Wrap breaks a text into indented lines of at most width columns. It keeps double
// spaces.
func Wrap(text string, indent, width int) string {
	var b strings.Builder
	margin := strings.Repeat(" ", indent)
	line := ""
	for _, word := range strings.SplitAfter(text, " ") {
		if line != "" && indent+len(line)+len(strings.TrimRight(word, " ")) > width {
			fmt.Fprintf(&b, "%s%s\n", margin, strings.TrimRight(line, " "))
			line = ""
		}
		if line == "" {
			word = strings.TrimLeft(word, " ")
		}
		line += word
	}
	fmt.Fprintf(&b, "%s%s\n", margin, strings.TrimRight(line, " "))
	return b.String()
}
