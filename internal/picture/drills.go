package picture

import (
	"fmt"
	"time"
)

// drills draws what the drills have measured: the recovery time and the recovery point. It is
// empty without drills.
func (v *historyView) drills() []chart {
	if len(v.h.Drills) == 0 {
		return nil
	}
	return []chart{
		v.drillChart("recovery", "Recovery time: until the server answered",
			func(d *Drill) time.Duration { return d.Recovery }),
		v.drillChart("age", "Recovery point: how old what came back was", func(d *Drill) time.Duration { return d.Age }),
	}
}

// drillChart draws one measure of all drills, with its values as a table.
func (v *historyView) drillChart(id, title string, of func(*Drill) time.Duration) chart {
	h := v.h
	from := h.Drills[0].Time.In(v.zone)
	if first := h.first(); first.Before(from) {
		from = first
	}
	at := func(t time.Time) float64 { return share(float64(t.Sub(from)), float64(h.Made.Sub(from))) }
	var all, failed []point
	values := table{Head: []string{"drill", "result", "measured"}}
	for i := range h.Drills {
		d := &h.Drills[i]
		p, result := point{at(d.Time), float64(of(d).Milliseconds())}, "ok"
		if all = append(all, p); !d.OK {
			failed, result = append(failed, p), "failed"
		}
		values.Rows = append(values.Rows, []cell{text(v.at(d.Time, v.zone).Text), text(result),
			num(spanOf("drills[]."+id+"_ms", of(d).Milliseconds()))})
	}
	s, ticks := newScale(most(all), 110, spanSteps(), spanText)
	newest := all[len(all)-1].value
	c := chart{
		ID: "drill-" + id, Title: title, Height: 110, X: dateTicks(from, h.Made), Y: ticks, Table: values,
		Desc: fmt.Sprintf("%s, in %d drills: the greatest is %s, the newest %s.", title, len(all), spanText(most(all)),
			spanText(newest)),
		Series: []series{
			{Class: "stored thin", Path: line(all, s)}, {Class: "read dots", Label: "drill", Path: dots(all, s)},
		},
	}
	if len(failed) > 0 {
		c.Series = append(c.Series, series{Class: "failed dots", Label: "failed", Path: dots(failed, s)})
	}
	return c
}
