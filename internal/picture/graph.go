package picture

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"mbk/internal/job/report"
	"mbk/internal/ui"
)

// Widths of a graph in columns.
const (
	MinWidth  = 40
	MaxWidth  = 200
	nameWidth = 9 // of what stands before a row
	graphRows = 3 // of a measure
)

// letters are the characters of a graph.
type letters struct {
	levels  []rune // from empty to full
	states  map[string]string
	reached string // under a day that the archive reaches
	axis    string
}

func lettersOf(unicode bool) letters {
	if !unicode {
		return letters{levels: []rune(" .:#"), reached: "=", axis: "-", states: map[string]string{
			stateFailed: "x", stateDamaged: "!", stateExpired: ".", stateKept: "o", stateProven: "@",
		}}
	}
	l := letters{levels: []rune(" ▁▂▃▄▅▆▇█"), reached: "━", axis: "─", states: map[string]string{}}
	for _, state := range []string{stateFailed, stateDamaged, stateExpired, stateKept, stateProven} {
		l.states[state] = symbol(state)
	}
	return l
}

// Graph draws the history for a terminal of that many columns; fewer than MinWidth count as
// MinWidth, more than MaxWidth as MaxWidth. Without unicode it is in ASCII, but for names.
func (h *History) Graph(width int, unicode bool) string {
	g := &graph{h: h, width: min(max(width, MinWidth), MaxWidth), letters: lettersOf(unicode)}
	g.head()
	if len(h.Attempts) == 0 {
		return g.b.String()
	}
	g.measures()
	g.calendar()
	g.reach()
	g.room()
	return g.b.String()
}

// graph is a picture of lines.
type graph struct {
	letters
	h     *History
	width int
	b     strings.Builder
}

// wrap writes a text in lines that fit.
func (g *graph) wrap(text string) { g.b.WriteString(ui.Wrap(oneLine(text), 0, g.width)) }

func (g *graph) head() {
	failed := 0
	for i := range g.h.Attempts {
		if g.h.Attempts[i].state() == stateFailed {
			failed++
		}
	}
	g.b.WriteString(ui.Shorten(clean(g.h.Repository), g.width) + "\n")
	text := ui.Count(len(g.h.Attempts), "attempt")
	if len(g.h.Attempts) > 0 {
		text += fmt.Sprintf(" since %s, %d failed", g.h.first().Format(time.DateOnly), failed)
	}
	g.wrap(text)
}

// measures draws a bar for each attempt, or for several that follow each other the greatest.
func (g *graph) measures() {
	columns := g.width - nameWidth
	each := (len(g.h.Attempts) + columns - 1) / columns
	groups := slices.Collect(slices.Chunk(g.h.Attempts, each))
	for _, m := range []struct {
		name string
		of   func(*Attempt) float64
		text func(float64) string
	}{
		{"stored", func(a *Attempt) float64 { return float64(a.BytesStored) }, byteText},
		{"took", func(a *Attempt) float64 { return float64(report.Duration(&a.Attempt).Milliseconds()) }, millisecondText},
		{"locked", func(a *Attempt) float64 { return float64(a.LockMS) }, millisecondText},
		{"ratio", func(a *Attempt) float64 { return report.Ratio(&a.Attempt) }, shortRatio},
	} {
		values := make([]float64, len(groups))
		for i, group := range groups {
			for j := range group {
				if len(group[j].ConsolidatedFrom) == 0 || m.name == "stored" || m.name == "ratio" {
					values[i] = max(values[i], m.of(&group[j]))
				}
			}
		}
		g.bars(m.name, values, m.text)
	}
	marks := make([]string, len(groups))
	for i, group := range groups {
		marks[i] = " "
		if slices.ContainsFunc(group, func(a Attempt) bool { return a.state() == stateFailed }) {
			marks[i] = g.states[stateFailed]
		}
	}
	if row := strings.TrimRight(strings.Join(marks, ""), " "); row != "" {
		fmt.Fprintf(&g.b, "%-*s%s\n", nameWidth, "failed", row)
	}
	g.axisLine(len(groups))
}

func shortRatio(n float64) string { return fmt.Sprintf("%.1f:1", n) }

func millisecondText(n float64) string { return ui.Milliseconds(int64(n)) }

// bars draws values as bars of several rows, with the name and the greatest before them.
func (g *graph) bars(name string, values []float64, text func(float64) string) {
	most := slices.Max(values)
	full := len(g.levels) - 1
	g.b.WriteString("\n")
	for row := range graphRows {
		label := []string{name, ui.Shorten(text(most), nameWidth-1), ""}[row]
		var line strings.Builder
		for _, v := range values {
			level := 0
			if most > 0 && v > 0 {
				// In steps of all rows together; what is there at all is seen.
				level = max(int(v/most*float64(full*graphRows)+0.5), 1) - full*(graphRows-1-row)
			}
			line.WriteRune(g.levels[min(max(level, 0), full)])
		}
		g.b.WriteString(strings.TrimRight(fmt.Sprintf("%-*s%s", nameWidth, label, line.String()), " ") + "\n")
	}
}

// axisLine names the first and the last of the attempts.
func (g *graph) axisLine(columns int) {
	first, last := g.h.first().Format(time.DateOnly), g.h.Attempts[len(g.h.Attempts)-1].Started
	end := last.In(g.h.Made.Location()).Format(time.DateOnly)
	indent := strings.Repeat(" ", nameWidth)
	fmt.Fprintf(&g.b, "%s%s\n", indent, strings.Repeat(g.axis, columns))
	if columns >= len(first)+len(end)+1 {
		fmt.Fprintf(&g.b, "%s%s%*s\n", indent, first, columns-len(first), end)
		return
	}
	fmt.Fprintf(&g.b, "%s%s to %s\n", indent, first, end)
}

// calendar draws a row of days for each month, and under it what the archive reaches.
func (g *graph) calendar() {
	g.b.WriteString("\n")
	var key []string
	for _, state := range []string{stateProven, stateKept, stateExpired, stateDamaged, stateFailed} {
		key = append(key, g.states[state]+" "+state)
	}
	if len(g.h.Spans) > 0 {
		key = append(key, g.reached+" any moment")
	}
	g.b.WriteString(ui.Wrap(strings.Join(key, "  "), 0, g.width))
	days := g.h.days()
	for _, first := range g.h.monthList() {
		var states, reached strings.Builder
		for t := first; t.Month() == first.Month(); t = t.AddDate(0, 0, 1) {
			state, under := " ", " "
			if d := days[dayKey(t)]; d != nil {
				if d.best != "" {
					state = g.states[d.best]
				}
				if d.reach {
					under = g.reached
				}
			}
			states.WriteString(state)
			reached.WriteString(under)
		}
		row := fmt.Sprintf("%-*s%s", nameWidth, first.Format("Jan 2006"), states.String())
		g.b.WriteString(strings.TrimRight(row, " ") + "\n")
		if row := strings.TrimRight(reached.String(), " "); row != "" {
			fmt.Fprintf(&g.b, "%*s%s\n", nameWidth, "", row)
		}
	}
}

// reach lists the times to all of which a restore can go.
func (g *graph) reach() {
	if len(g.h.Spans)+len(g.h.Gaps) == 0 {
		return
	}
	g.b.WriteString("\n")
	for _, s := range merged(g.h.Spans) {
		zone := g.h.Made.Location()
		from, until := s.From.In(zone).Format(time.DateTime), s.Until.In(zone).Format(time.DateTime)
		g.wrap(fmt.Sprintf("any moment from %s to %s", from, until))
	}
	for _, gap := range g.h.Gaps {
		g.wrap("gap: " + gap.Missing)
	}
}

// room says what is left, and for how long.
func (g *graph) room() {
	r := newRoom(g.h)
	g.b.WriteString("\n")
	g.wrap(r.Desc)
	g.wrap(r.Forecast)
}
