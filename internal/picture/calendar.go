package picture

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// month is a page of the calendar.
type month struct {
	Name  string
	Weeks [][]day // from Monday on
}

// day is a cell of the calendar.
type day struct {
	Number string // "" outside of the month
	Class  string
	Symbol string
	Title  string
}

// maxMonths bounds the calendar.
const maxMonths = 24

// daily is what is known of a day.
type daily struct {
	best   string // state
	counts map[string]int
	reach  bool // the archive reaches a moment in it
}

// dayKey names a day.
func dayKey(t time.Time) string { return t.Format(time.DateOnly) }

// days are those with attempts, or that the archive reaches.
func (h *History) days() map[string]*daily {
	days := map[string]*daily{}
	at := func(t time.Time) *daily {
		key := dayKey(t.In(h.Made.Location()))
		if days[key] == nil {
			days[key] = &daily{counts: map[string]int{}}
		}
		return days[key]
	}
	for i := range h.Attempts {
		a := &h.Attempts[i]
		d, state := at(a.Started), a.state()
		d.counts[state]++
		if rankOf(state) > rankOf(d.best) {
			d.best = state
		}
	}
	for _, s := range merged(h.Spans) {
		from := s.From
		if earliest := h.Made.AddDate(0, -maxMonths, 0); from.Before(earliest) {
			from = earliest
		}
		for t := from; t.Before(s.Until); t = t.Add(24 * time.Hour) {
			at(t).reach = true
		}
		if !s.Until.Before(s.From) {
			at(s.Until).reach = true
		}
	}
	return days
}

// monthList are the firsts of the months of the history, at most maxMonths, the newest last.
func (h *History) monthList() []time.Time {
	first, now := h.first(), h.Made
	var all []time.Time
	t := time.Date(now.Year(), now.Month(), 1, 12, 0, 0, 0, now.Location())
	for ; len(all) < maxMonths; t = t.AddDate(0, -1, 0) {
		all = append([]time.Time{t}, all...)
		if t.Year() == first.Year() && t.Month() == first.Month() || t.Before(first) {
			break
		}
	}
	return all
}

// months make the calendar.
func (h *History) months() []month {
	if len(h.Attempts) == 0 {
		return nil
	}
	days := h.days()
	var all []month
	for _, first := range h.monthList() {
		m := month{Name: first.Format("January 2006")}
		week := make([]day, (int(first.Weekday())+6)%7)
		for t := first; t.Month() == first.Month(); t = t.AddDate(0, 0, 1) {
			if len(week) == 7 {
				m.Weeks, week = append(m.Weeks, week), nil
			}
			week = append(week, newDay(t, days[dayKey(t)]))
		}
		for len(week) < 7 {
			week = append(week, day{})
		}
		m.Weeks = append(m.Weeks, week)
		all = append(all, m)
	}
	return all
}

// newDay makes the cell of a day.
func newDay(t time.Time, d *daily) day {
	cell := day{Number: strconv.Itoa(t.Day())}
	if d == nil {
		return cell
	}
	class := []string{}
	if d.best != "" {
		class = append(class, d.best)
		cell.Symbol = symbol(d.best)
	}
	if d.counts[stateFailed]+d.counts[stateDamaged] > 0 && rankOf(d.best) > rankOf(stateDamaged) {
		class = append(class, "partly")
	}
	if d.reach {
		class = append(class, "reach")
	}
	cell.Class = strings.Join(class, " ")
	var parts []string
	for _, state := range []string{stateProven, stateKept, stateExpired, stateDamaged, stateFailed} {
		if n := d.counts[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	if d.reach {
		parts = append(parts, "the archive reaches it")
	}
	cell.Title = t.Format(time.DateOnly) + ": " + strings.Join(parts, ", ")
	return cell
}
