package picture

import (
	"fmt"
	"time"

	"mbk/internal/job/report"
	"mbk/internal/repo"
	"mbk/internal/ui"
)

// first is when the history begins.
func (h *History) first() time.Time {
	if len(h.Attempts) == 0 {
		return h.Made
	}
	return h.Attempts[0].Started.In(h.Made.Location())
}

// trend is a measure of attempts over time.
type trend struct {
	id, title string
	height    int
	steps     []float64
	text      func(float64) string
	of        func(*Attempt) (float64, bool)
	unit      string // for those who do not see it
}

// charts draw the measures of all attempts.
func (h *History) charts() []chart {
	if len(h.Attempts) == 0 || h.Made.Sub(h.first()) <= 0 {
		return nil
	}
	charts := []chart{h.sizes()}
	for _, t := range []trend{
		{"durations", "How long backups took", 110, spanSteps(), spanText, func(a *Attempt) (float64, bool) {
			d := report.Duration(&a.Attempt)
			return float64(d.Milliseconds()), d > 0 && len(a.ConsolidatedFrom) == 0
		}, "Durations"},
		{"windows", "Lock windows", 110, spanSteps(), spanText, func(a *Attempt) (float64, bool) {
			return float64(a.LockMS), a.Outcome == repo.OutcomeOK && len(a.ConsolidatedFrom) == 0
		}, "Times from BLOCK_DDL to END"},
		{"ratios", "Ratio of bytes read to bytes stored", 110, plainSteps(), ratioText, func(a *Attempt) (float64, bool) {
			return report.Ratio(&a.Attempt), a.Outcome == repo.OutcomeOK && a.BytesStored > 0
		}, "Ratios"},
	} {
		charts = append(charts, h.dotted(t))
	}
	return charts
}

// at is where a time lies between the beginning of the history and now.
func (h *History) at(t time.Time) float64 {
	return share(float64(t.Sub(h.first())), float64(h.Made.Sub(h.first())))
}

// sizes draws what was stored by each backup, and the bytes of its files.
func (h *History) sizes() chart {
	var full, incr, failed []point
	for i := range h.Attempts {
		a := &h.Attempts[i]
		p := point{h.at(a.Started), float64(a.BytesStored)}
		switch {
		case a.Outcome != repo.OutcomeOK:
			failed = append(failed, point{p.x, 0})
		case a.Kind == repo.KindFull:
			full = append(full, p)
		default:
			incr = append(incr, p)
		}
	}
	s, ticks := newScale(most(full, incr), plotHeight, byteSteps(), byteText)
	return chart{
		ID: "sizes", Title: "Bytes stored", Height: plotHeight, X: dateTicks(h.first(), h.Made), Y: ticks,
		Desc: fmt.Sprintf("Of each backup the bytes that it takes in the repository: full ones up to %s, others up to %s.",
			ui.Size(int64(most(full))), ui.Size(int64(most(incr)))),
		Series: []series{
			{Class: "read stems", Label: "full", Path: stems(full, s)},
			{Class: "stored stems", Label: "increment", Path: stems(incr, s)},
			{Class: "failed dots", Label: "failed", Path: dots(failed, s)},
		},
	}
}

// dotted draws a measure as dots.
func (h *History) dotted(t trend) chart {
	var full, incr, failed []point
	for i := range h.Attempts {
		a := &h.Attempts[i]
		value, known := t.of(a)
		if !known {
			continue
		}
		p := point{h.at(a.Started), value}
		switch {
		case a.Outcome != repo.OutcomeOK:
			failed = append(failed, p)
		case a.Kind == repo.KindFull:
			full = append(full, p)
		default:
			incr = append(incr, p)
		}
	}
	s, ticks := newScale(most(full, incr, failed), t.height, t.steps, t.text)
	c := chart{
		ID: t.id, Title: t.title, Height: t.height, X: dateTicks(h.first(), h.Made), Y: ticks,
		Desc: fmt.Sprintf("%s of %d full backups and %d increments; the greatest is %s. The table of attempts has each.",
			t.unit, len(full), len(incr), t.text(most(full, incr))),
		Series: []series{
			{Class: "read dots", Label: "full", Path: dots(full, s)},
			{Class: "stored dots small", Label: "increment", Path: dots(incr, s)},
		},
	}
	if len(failed) > 0 {
		c.Series = append(c.Series, series{Class: "failed dots small", Label: "failed", Path: dots(failed, s)})
	}
	return c
}
