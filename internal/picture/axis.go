package picture

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"mbk/internal/ui"
)

// percent formats a share of a width as SVG has it: "12.3%".
func percent(share float64) string {
	return strconv.FormatFloat(math.Round(share*10000)/100, 'f', -1, 64) + "%"
}

// share is part/whole, within 0 and 1.
func share(part, whole float64) float64 {
	if whole <= 0 || math.IsNaN(part) {
		return 0
	}
	return min(max(part/whole, 0), 1)
}

// tick is a mark on an axis.
type tick struct {
	At     string // in percent of a horizontal axis, in pixels of a vertical one
	Label  string
	Anchor string // of the text, on a horizontal axis
	Minor  bool   // left out where there is little room
}

// horizontal makes a tick at a share of the width. The texts at both ends stay inside.
func horizontal(at float64, label string, minor bool) tick {
	anchor := "middle"
	switch {
	case at < 0.04:
		anchor = "start"
	case at > 0.96:
		anchor = "end"
	}
	return tick{At: percent(at), Label: label, Anchor: anchor, Minor: minor}
}

// stepOf returns the smallest of the steps of which at most n fit into whole.
func stepOf(whole float64, n int, steps []float64) float64 {
	for _, step := range steps {
		if whole/step <= float64(n) {
			return step
		}
	}
	step := steps[len(steps)-1]
	for whole/step > float64(n) {
		step *= 2
	}
	return step
}

// spanSteps are distances of ticks on an axis of durations, in milliseconds.
func spanSteps() []float64 {
	steps := []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 30_000}
	for _, minutes := range []float64{1, 2, 5, 10, 20, 30, 60, 120, 180, 360, 720, 1440} {
		steps = append(steps, minutes*60_000)
	}
	return steps
}

// byteSteps are distances of ticks on an axis of bytes.
func byteSteps() []float64 {
	var steps []float64
	for step := 1.0; step < 1<<60; step *= 2 {
		steps = append(steps, step)
	}
	return steps
}

// plainSteps are those of plain numbers.
func plainSteps() []float64 {
	var steps []float64
	for unit := 0.01; unit < 1e12; unit *= 10 {
		steps = append(steps, unit, 2*unit, 5*unit)
	}
	return steps
}

// spanText formats milliseconds without needless zeros: "200ms", "1m30s".
func spanText(ms float64) string {
	d := time.Duration(ms * float64(time.Millisecond)).Round(time.Microsecond)
	text := d.String()
	for _, zero := range []struct{ end, unit string }{{"m0s", "m"}, {"h0m", "h"}} {
		if n := len(text) - len(zero.end); n > 0 && text[n:] == zero.end {
			text = text[:n] + zero.unit
		}
	}
	return text
}

// byteText formats bytes on an axis.
func byteText(n float64) string { return ui.Size(int64(n)) }

// ratioText formats a ratio.
func ratioText(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) + " : 1" }

// spanTicks are the ticks of a horizontal axis over a duration in milliseconds.
func spanTicks(ms float64) []tick {
	if ms <= 0 {
		return nil
	}
	step := stepOf(ms, 8, spanSteps())
	var ticks []tick
	for i := 0; float64(i)*step <= ms; i++ {
		at := float64(i) * step
		ticks = append(ticks, horizontal(at/ms, spanText(at), i%2 == 1))
	}
	return ticks
}

// scale is a vertical axis: values from 0 to top over some pixels.
type scale struct {
	top    float64
	height float64
}

// y is where a value lies, in pixels from above.
func (s scale) y(value float64) string {
	return strconv.FormatFloat(math.Round((1-share(value, s.top))*s.height*10)/10, 'f', -1, 64)
}

// newScale makes an axis for values up to most, with its ticks.
func newScale(most float64, height int, steps []float64, text func(float64) string) (scale, []tick) {
	if most <= 0 {
		most = steps[0]
	}
	step := stepOf(most, 4, steps)
	s := scale{top: step * math.Ceil(most/step*1.02), height: float64(height)}
	var ticks []tick
	for i := 0; float64(i)*step < s.top; i++ {
		at := float64(i) * step
		label := ""
		if i > 0 {
			label = text(math.Round(at*1000) / 1000)
		}
		ticks = append(ticks, tick{At: s.y(at), Label: label})
	}
	return s, ticks
}

// dateTicks are the ticks of a horizontal axis of days.
func dateTicks(from, to time.Time) []tick {
	whole := to.Sub(from)
	if whole <= 0 {
		return nil
	}
	days := whole.Hours() / 24
	next := func(t time.Time) time.Time { return t.AddDate(0, 1, 0) }
	first := time.Date(from.Year(), from.Month(), 1, 0, 0, 0, 0, from.Location())
	layout := "Jan 2006"
	switch {
	case days <= 2:
		first, layout = from.Truncate(time.Hour), "15:04"
		hours := max(1, int(math.Ceil(whole.Hours()/8)))
		next = func(t time.Time) time.Time { return t.Add(time.Duration(hours) * time.Hour) }
	case days <= 90:
		step := int(math.Ceil(days / 8))
		first = time.Date(from.Year(), from.Month(), from.Day(), 0, 0, 0, 0, from.Location())
		layout = "Jan 2"
		next = func(t time.Time) time.Time { return t.AddDate(0, 0, step) }
	case days > 8*31:
		months := int(math.Ceil(days / 31 / 8))
		next = func(t time.Time) time.Time { return t.AddDate(0, months, 0) }
	}
	var ticks []tick
	for t := first; !t.After(to); t = next(t) {
		if at := float64(t.Sub(from)) / float64(whole); at >= 0 && at <= 0.98 {
			ticks = append(ticks, horizontal(at, t.Format(layout), len(ticks)%2 == 1))
		}
	}
	return ticks
}

// number is a value in a page, with the text that people read, and the field of the JSON
// that it is of.
type number struct {
	Field string
	Value string
	Text  string
}

func sizeOf(field string, bytes int64) number {
	return number{field, fmt.Sprint(bytes), ui.Size(bytes)}
}

func spanOf(field string, ms int64) number { return number{field, fmt.Sprint(ms), ui.Milliseconds(ms)} }

func countOf(field string, n int64) number { return number{field, fmt.Sprint(n), fmt.Sprint(n)} }
