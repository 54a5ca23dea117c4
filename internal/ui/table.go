package ui

import (
	"math"
	"strings"
	"time"

	"github.com/rivo/uniseg"
	"golang.org/x/term"

	"mbk/internal/ui/printable"
)

// Column is a column of a table. On a narrow screen the columns with the largest Rank are
// left out first; those with Rank 0 never are.
type Column struct {
	Title string
	Rank  int
}

// Cell is a text in a table. Bad is shown in red where there are colours.
type Cell struct {
	Text string
	Bad  bool
}

// Table is a list for people: lines in columns, without borders, so that it looks right in
// mails, pipes and on screens.
type Table struct {
	Columns []Column
	Rows    [][]Cell // each as long as Columns

	under map[int][]string // lines under a row, by its index
}

// Under adds a line under the row that was added last, which is not cut.
func (t *Table) Under(text string) {
	if t.under == nil {
		t.under = map[int][]string{}
	}
	t.under[len(t.Rows)-1] = append(t.under[len(t.Rows)-1], OneLine(text))
}

// Add adds a row of texts, and returns its cells.
func (t *Table) Add(texts ...string) []Cell {
	row := make([]Cell, len(t.Columns))
	for i, text := range texts {
		row[i].Text = OneLine(text)
	}
	t.Rows = append(t.Rows, row)
	return row
}

// gap is between two columns.
const gap = 2

// widths returns the width of each column.
func (t *Table) widths() []int {
	widths := make([]int, len(t.Columns))
	for i, c := range t.Columns {
		widths[i] = uniseg.StringWidth(c.Title)
		for _, row := range t.Rows {
			widths[i] = max(widths[i], uniseg.StringWidth(row[i].Text))
		}
	}
	return widths
}

// chosen returns the columns that a screen has room for. The last column of all needs only
// the room of its title, because it may be cut.
func (t *Table) chosen(widths []int, columns int) []int {
	for rank := t.largestRank(); ; rank-- {
		var chosen []int
		need := 0
		for i, c := range t.Columns {
			if c.Rank > rank {
				continue
			}
			chosen = append(chosen, i)
			if i == len(t.Columns)-1 {
				need += min(widths[i], lastColumn)
			} else {
				need += widths[i] + gap
			}
		}
		if need <= columns || rank == 0 {
			return chosen
		}
	}
}

// lastColumn is how much of the last column has to be in sight.
const lastColumn = 20

func (t *Table) largestRank() (most int) {
	for _, c := range t.Columns {
		most = max(most, c.Rank)
	}
	return most
}

// Lines draws the table for a screen of so many columns. cut shortens lines to that.
func (t *Table) lines(columns int, cut, colored bool) string {
	widths := t.widths()
	chosen := t.chosen(widths, columns)
	var b strings.Builder
	draw := func(cell func(i int) Cell) {
		line, used := "", 0
		for n, i := range chosen {
			c := cell(i)
			text := printable.Text(c.Text)
			if room := columns - used; cut && uniseg.StringWidth(text) > room {
				text = shortened(text, room)
			}
			padding := widths[i] - uniseg.StringWidth(text) + gap
			used += widths[i] + gap
			if colored && c.Bad && text != "" {
				text = red + text + plain
			}
			line += text
			if n < len(chosen)-1 {
				line += strings.Repeat(" ", max(padding, 0))
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	draw(func(i int) Cell { return Cell{Text: t.Columns[i].Title} })
	for n, row := range t.Rows {
		draw(func(i int) Cell { return row[i] })
		for _, text := range t.under[n] {
			b.WriteString("    " + text + "\n")
		}
	}
	return b.String()
}

// What terminals take for colours.
const (
	red   = "\x1b[31m"
	plain = "\x1b[0m"
)

// shortened cuts the end off a text that is wider than width.
func shortened(text string, width int) string {
	const dots = ".."
	used, b := 0, strings.Builder{}
	g := uniseg.NewGraphemes(text)
	for g.Next() && used+g.Width()+len(dots) <= width {
		used += g.Width()
		b.WriteString(g.Str())
	}
	return b.String() + dots[:max(min(len(dots), width), 0)]
}

// Table prints a table on stdout, as wide as the screen. In a pipe or a file it has all of its
// columns.
func (u *UI) Table(t *Table) error {
	columns, screen := u.screen()
	if !screen {
		columns = math.MaxInt
	}
	return u.results.write(t.lines(columns, screen, u.colored))
}

// Width returns how many columns a picture on stdout may have.
func (u *UI) Width() int {
	if columns, screen := u.screen(); screen {
		return columns
	}
	return usualWidth
}

// Bad prints a line of a result that tells of damage or a failure, and goes on below itself.
func (u *UI) Bad(text string) error {
	text = printable.Text(text)
	if u.colored {
		text = red + text + plain
	}
	return u.results.write(text + "\n")
}

// screen returns the number of columns of the terminal that stdout is, or that somebody has
// named, and whether there is any.
func (u *UI) screen() (columns int, known bool) {
	if u.columns > 0 {
		return u.columns, true
	}
	if f, ok := u.results.to.(interface{ Fd() uintptr }); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width, true
		}
	}
	return 0, false
}

// ShortTime formats a local time for lists in 12 columns: with the hour in the last months,
// and with the year before them.
func ShortTime(t, now time.Time) string {
	if !recent(t, now) {
		return t.Local().Format("02 Jan 2006")
	}
	return t.Local().Format("02 Jan 15:04")
}

// ShortDay is ShortTime without the hour.
func ShortDay(t, now time.Time) string {
	if !recent(t, now) {
		return t.Local().Format("02 Jan 2006")
	}
	return t.Local().Format("02 Jan")
}

// recent reports whether the day of the year says which day it is.
func recent(t, now time.Time) bool {
	const months = 300 * 24 * time.Hour
	return t.After(now.Add(-months)) && t.Before(now.Add(months))
}
