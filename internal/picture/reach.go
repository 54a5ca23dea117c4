package picture

import (
	"fmt"
	"slices"
	"time"

	"mbk/internal/repo"
	"mbk/internal/ui"
)

// merged are the times that spans cover together, in order.
func merged(spans []Span) []Span {
	unknown := func(s Span) bool { return s.From.IsZero() || s.Until.Before(s.From) }
	all := slices.DeleteFunc(slices.Clone(spans), unknown)
	slices.SortFunc(all, func(a, b Span) int { return a.From.Compare(b.From) })
	var out []Span
	for _, s := range all {
		if n := len(out); n > 0 && !s.From.After(out[n-1].Until) {
			if s.Until.After(out[n-1].Until) {
				out[n-1].Until = s.Until
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

// reach is what can be gone back to with the archive of binary logs.
type reach struct {
	Ticks []tick
	Bars  []bar
	Marks []bar // kept backups
	Rows  []reachRow
	Gaps  []string
	Desc  string
}

// reachRow is a time without a break.
type reachRow struct {
	From, Until moment
	Long        string
}

// newReach draws the times that can be reached, nil without an archive.
func newReach(h *History) *reach {
	if len(h.Spans)+len(h.Gaps) == 0 {
		return nil
	}
	r, p := &reach{Ticks: dateTicks(h.first(), h.Made)}, &page{}
	for _, s := range merged(h.Spans) {
		from, width := h.at(s.From), h.at(s.Until)-h.at(s.From)
		row := reachRow{p.at(s.From, h.Made.Location()), p.at(s.Until, h.Made.Location()), agoText(s.Until.Sub(s.From))}
		r.Bars = append(r.Bars, bar{Class: sliver("log", width), X: percent(from), Width: percent(width),
			Title: row.From.Text + " to " + row.Until.Text})
		r.Rows = append(r.Rows, row)
	}
	for _, g := range h.Gaps {
		text := oneLine(g.Missing)
		if !g.From.IsZero() && g.Until.After(g.From) {
			text += fmt.Sprintf(" (%s to %s)", p.at(g.From, h.Made.Location()).Text, p.at(g.Until, h.Made.Location()).Text)
			width := h.at(g.Until) - h.at(g.From)
			r.Bars = append(r.Bars, bar{
				Class: sliver("lock", width), X: percent(h.at(g.From)), Width: percent(width), Title: text,
			})
		}
		r.Gaps = append(r.Gaps, text)
	}
	for i := range h.Attempts {
		if a := &h.Attempts[i]; a.Kept && a.Outcome == repo.OutcomeOK {
			r.Marks = append(r.Marks, bar{X: percent(h.at(a.Finished))})
		}
	}
	r.Desc = fmt.Sprintf("%s without a break to any moment of which a backup can be restored, and %s in the archive.",
		ui.Count(len(r.Rows), "period"), ui.Count(len(r.Gaps), "gap"))
	return r
}

// room is what the repository takes, and for how long there is more.
type room struct {
	Bars     []bar
	Keys     []roomKey
	Desc     string
	Forecast string
	Class    string // of the forecast
	Rate     number // bytes a day
	Free     *number
	Chart    *chart
}

// roomKey is a part of the room.
type roomKey struct {
	Class, Text string
	Size        number
}

// rateDays is how far back the forecast looks.
const rateDays = 30

// rate is how many bytes a day the backups of the last days took, and over how many days.
func (h *History) rate() (bytesPerDay float64, days float64) {
	days = min(rateDays, h.Made.Sub(h.first()).Hours()/24)
	if days < 1 {
		return 0, days
	}
	since := h.Made.Add(-time.Duration(days * 24 * float64(time.Hour)))
	for i := range h.Attempts {
		if a := &h.Attempts[i]; a.Outcome == repo.OutcomeOK && !a.Started.Before(since) {
			bytesPerDay += float64(a.BytesStored) / days
		}
	}
	return bytesPerDay, days
}

// newRoom draws the room, nil if nothing is known of it.
func newRoom(h *History) *room {
	var kept int64
	for i := range h.Attempts {
		if a := &h.Attempts[i]; a.Kept {
			kept += a.BytesStored
		}
	}
	r := &room{Desc: fmt.Sprintf("The backups take %s, the archive %s.", ui.Size(kept), ui.Size(h.Archive))}
	perDay, days := h.rate()
	r.Rate = sizeOf("", int64(perDay))
	if h.Space == nil || h.Space.Total <= 0 {
		r.Keys = []roomKey{{"used", "backups", sizeOf("", kept)}, {"log", "archive", sizeOf("", h.Archive)}}
		r.Forecast = fmt.Sprintf("Backups have stored %s a day of late. The store does not say how much room it has.",
			ui.Size(int64(perDay)))
		return r
	}
	s := h.Space
	others := max(s.Total-s.Free-kept-h.Archive, 0)
	at := 0.0
	for _, part := range []struct {
		class, text string
		bytes       int64
	}{{"used", "backups", kept}, {"log", "archive", h.Archive}, {"bin", "others", others}, {"track", "free", s.Free}} {
		width := share(float64(part.bytes), float64(s.Total))
		r.Bars = append(r.Bars, bar{Class: part.class, X: percent(at), Width: percent(width),
			Title: part.text + ": " + ui.Size(part.bytes)})
		r.Keys = append(r.Keys, roomKey{part.class, part.text, sizeOf("", part.bytes)})
		at += width
	}
	r.Desc += fmt.Sprintf(" %s of %s is free.", ui.Size(s.Free), ui.Size(s.Total))
	r.forecast(h, perDay, days)
	return r
}

// forecast says how long the room lasts if backups go on as they have and nothing is removed.
func (r *room) forecast(h *History, perDay, days float64) {
	if perDay <= 0 {
		r.Forecast = "There are too few backups yet to tell how long that lasts."
		return
	}
	left := float64(h.Space.Free) / perDay
	before := fmt.Sprintf("At %s a day, as in the last %.0f days, and if nothing is removed, ",
		ui.Size(int64(perDay)), days)
	if left > 3650 {
		r.Forecast = before + "the room lasts for more than ten years."
		return
	}
	until := h.Made.Add(time.Duration(left * 24 * float64(time.Hour)))
	r.Forecast = before + fmt.Sprintf("the room lasts for %.0f days, until %s.", left, until.Format(time.DateOnly))
	if left < 14 {
		r.Class = "bad"
	}
	r.Chart = h.growth(until)
}

// growth draws what is kept by the time of its making, and the forecast.
func (h *History) growth(until time.Time) *chart {
	first := h.first()
	last := h.Made.Add(90 * 24 * time.Hour)
	if until.Before(last) {
		last = until
	}
	if most := h.Made.Add(h.Made.Sub(first)); last.After(most) {
		last = most // no further than the past goes back
	}
	whole := float64(last.Sub(first))
	x := func(t time.Time) float64 { return share(float64(t.Sub(first)), whole) }
	kept := []point{{0, 0}}
	total := 0.0
	for i := range h.Attempts {
		if a := &h.Attempts[i]; a.Kept {
			kept = append(kept, point{x(a.Finished), total})
			total += float64(a.BytesStored)
			kept = append(kept, point{x(a.Finished), total})
		}
	}
	kept = append(kept, point{x(h.Made), total})
	perDay, _ := h.rate()
	then := total + perDay*last.Sub(h.Made).Hours()/24
	limit := total + float64(h.Space.Free)
	top := max(then, total)
	if limit < 2*top {
		top = max(top, limit)
	}
	s, ticks := newScale(top, plotHeight, byteSteps(), byteText)
	drawn := line(kept, s)
	c := &chart{
		ID: "growth", Title: "Backups that are kept, and a forecast", Height: plotHeight,
		X: dateTicks(first, last), Y: ticks,
		Desc: fmt.Sprintf("What is kept now, by the time of its making: %s in all. If nothing is removed, %s by %s.",
			ui.Size(int64(total)), ui.Size(int64(then)), last.Format(time.DateOnly)),
		Series: []series{
			{Class: "read area", Path: area(drawn, 0, x(h.Made), s)}, {Class: "read", Label: "kept now", Path: drawn},
			{Class: "other thin", Label: "forecast", Path: line([]point{{x(h.Made), total}, {1, then}}, s)},
		},
	}
	if limit <= s.top {
		all := line([]point{{0, limit}, {1, limit}}, s)
		c.Series = append(c.Series, series{Class: "failed thin", Label: "all the room", Path: all})
	}
	return c
}
