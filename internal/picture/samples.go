package picture

import (
	"fmt"
	"strconv"
	"time"

	"mbk/internal/repo"
	"mbk/internal/ui"
)

// plotHeight is the height of a chart in pixels.
const plotHeight = 150

// sampleCharts draw what was measured during an attempt; none if nothing was.
func sampleCharts(a *repo.Attempt) []chart {
	all := a.Samples.All()
	if len(all) < 2 {
		return nil
	}
	whole := max(wholeOf(a), float64(all[len(all)-1].MS))
	c := &course{all: all, whole: whole}
	c.lockBand(a)
	charts := []chart{c.throughput()}
	if a.RedoCapacity > 0 {
		charts = append(charts, c.headroom(a), c.written())
	}
	return charts
}

// course is the samples of an attempt over its time.
type course struct {
	all   []repo.Sample
	whole float64 // milliseconds
	bands []band
}

// lockBand marks the lock window.
func (c *course) lockBand(a *repo.Attempt) {
	for _, s := range a.Stages {
		if s.Name != "BLOCK_DDL" || a.LockMS <= 0 {
			continue
		}
		from := float64(s.Granted.Sub(a.Started).Milliseconds())
		c.bands = []band{{
			Class: "band", X: percent(share(from, c.whole)), Width: percent(share(float64(a.LockMS), c.whole)),
			Title: "lock window, " + ui.Milliseconds(a.LockMS),
		}}
	}
}

// rates are bytes a second between samples.
func (c *course) rates(of func(repo.Sample) int64) []point {
	var points []point
	before := repo.Sample{}
	for _, s := range c.all {
		ms := s.MS - before.MS
		if ms <= 0 {
			continue
		}
		rate := float64(of(s)-of(before)) * 1000 / float64(ms)
		points = append(points, point{share(float64(s.MS), c.whole), rate})
		before = s
	}
	return points
}

func most(points ...[]point) float64 {
	most := 0.0
	for _, some := range points {
		for _, p := range some {
			most = max(most, p.value)
		}
	}
	return most
}

// end is where the last point is.
func end(points []point) float64 {
	if len(points) == 0 {
		return 0
	}
	return points[len(points)-1].x
}

// rateText formats bytes a second.
func rateText(n float64) string { return ui.Rate(int64(n), time.Second) }

// throughput draws how fast files were read, and what was stored of them.
func (c *course) throughput() chart {
	read := c.rates(func(s repo.Sample) int64 { return s.Read })
	stored := c.rates(func(s repo.Sample) int64 { return s.Stored })
	s, ticks := newScale(most(read, stored), plotHeight, byteSteps(), rateText)
	readLine := steps(read, s)
	ch := chart{
		ID: "throughput", Title: "Throughput", Height: plotHeight, X: spanTicks(c.whole), Y: ticks, Bands: c.bands,
		Desc: fmt.Sprintf("Bytes a second over the time of the attempt. At most %s were read, and %s stored.",
			rateText(most(read)), rateText(most(stored))),
		Series: []series{
			{Class: "read area", Path: area(readLine, 0, end(read), s)}, {Class: "read", Label: "read", Path: readLine},
			{Class: "stored", Label: "stored, compressed", Path: steps(stored, s)},
		},
		Table: table{Head: []string{"after", "read by then", "stored by then"}},
	}
	for _, one := range c.all {
		ch.Table.Rows = append(ch.Table.Rows, []cell{
			num(spanOf("samples.ms[]", one.MS)), num(sizeOf("samples.read[]", one.Read)),
			num(sizeOf("samples.stored[]", one.Stored)),
		})
	}
	return ch
}

// headroom draws how much room the redo log had before it was overwritten.
func (c *course) headroom(a *repo.Attempt) chart {
	var points []point
	for _, s := range c.all {
		if s.Headroom >= 0 {
			points = append(points, point{share(float64(s.MS), c.whole), float64(s.Headroom)})
		}
	}
	s, ticks := newScale(float64(a.RedoCapacity), plotHeight, byteSteps(), byteText)
	drawn := line(points, s)
	from := 0.0
	if len(points) > 0 {
		from = points[0].x
	}
	low := []point{{0, float64(a.LowestHeadroom)}, {1, float64(a.LowestHeadroom)}}
	ch := chart{
		ID: "headroom", Title: "Head-room of the redo log", Height: plotHeight,
		X: spanTicks(c.whole), Y: ticks, Bands: c.bands,
		Desc: fmt.Sprintf("Bytes that the server could still write before it overwrote redo that was not copied: "+
			"at least %s of %s. At 0 the backup would have failed.", ui.Size(a.LowestHeadroom), ui.Size(a.RedoCapacity)),
		Series: []series{
			{Class: "stored area", Path: area(drawn, from, end(points), s)},
			{Class: "stored", Label: "lowest in each interval", Path: drawn},
			{Class: "failed thin", Label: "lowest of all", Path: line(low, s)},
		},
		Table: table{Head: []string{"after", "head-room", "of the log"}},
	}
	for _, one := range c.all {
		if one.Headroom < 0 {
			continue
		}
		of := strconv.FormatFloat(100*share(float64(one.Headroom), float64(a.RedoCapacity)), 'f', 1, 64) + " %"
		ch.Table.Rows = append(ch.Table.Rows, []cell{
			num(spanOf("", one.MS)), num(sizeOf("samples.headroom[]", one.Headroom)), text(of),
		})
	}
	return ch
}

// written draws how fast the server wrote redo.
func (c *course) written() chart {
	rates := c.rates(func(s repo.Sample) int64 { return s.Redo })
	s, ticks := newScale(most(rates), plotHeight*2/3, byteSteps(), rateText)
	drawn := steps(rates, s)
	ch := chart{
		ID: "redo", Title: "Redo log copied", Height: plotHeight * 2 / 3, X: spanTicks(c.whole), Y: ticks, Bands: c.bands,
		Desc: fmt.Sprintf("Bytes of the redo log a second, which is how much the server wrote: at most %s.",
			rateText(most(rates))),
		Series: []series{{Class: "redo area", Path: area(drawn, 0, end(rates), s)},
			{Class: "redo", Label: "what the server wrote", Path: drawn}},
		Table: table{Head: []string{"after", "copied by then"}},
	}
	for _, one := range c.all {
		ch.Table.Rows = append(ch.Table.Rows, []cell{num(spanOf("", one.MS)), num(sizeOf("samples.redo[]", one.Redo))})
	}
	return ch
}
