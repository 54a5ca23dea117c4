package picture

import (
	"fmt"
	"strings"
	"time"

	"mbk/internal/repo"
	"mbk/internal/ui"
)

// bar is a part of a strip: of which kind, where, and what it is.
type bar struct {
	Class, X, Width, Title string
}

// step is a step of an attempt with its place in the whole.
type step struct {
	Name  string
	MS    number
	Share string
	Bar   bar
}

// lockedRow is what had to wait, and when, within the zoom.
type lockedRow struct {
	What   string
	From   string // the stage
	Waited int64  // milliseconds
	MS     number
	Bar    bar
	Y      int // in pixels
}

// timeline is the course of an attempt to scale.
type timeline struct {
	Steps  []step
	Ticks  []tick
	Bars   []bar
	Desc   string
	Zoom   *zoom
	Stages []stageRow
}

// stageRow is a stage as text.
type stageRow struct {
	Name   string
	Effect string
	Waited number
	Held   number
	Tries  number
}

// zoom is the part in which others had to wait.
type zoom struct {
	Path  string // from the part in the whole to its enlargement
	Rows  []lockedRow
	Ticks []tick
	Desc  string
}

// rowHeight is that of a row of the zoom.
const rowHeight = 44

// AxisAt is where its axis is, in pixels.
func (z *zoom) AxisAt() int { return rowHeight * len(z.Rows) }

// Height is that of the zoom in pixels.
func (z *zoom) Height() int { return z.AxisAt() + 24 }

// kindOf is the class of a step.
func kindOf(name string) string {
	switch {
	case strings.HasPrefix(name, "waiting"):
		return "wait"
	case strings.HasPrefix(name, "copying"):
		return "copy"
	case name == "locked":
		return "lock"
	}
	return "rest"
}

// wholeOf is how long an attempt took, in milliseconds: at least as long as its steps.
func wholeOf(a *repo.Attempt) float64 {
	var steps int64
	for _, s := range a.Steps {
		steps += max(s.MS, 0)
	}
	return float64(max(a.End().Sub(a.Started).Milliseconds(), steps, 1))
}

// sliver is the class of a bar so narrow that it needs an edge to be seen.
func sliver(class string, width float64) string {
	if width < 0.004 {
		return class + " sliver"
	}
	return class
}

// newTimeline draws the steps of an attempt, and what it blocked. It is nil without steps.
func newTimeline(a *repo.Attempt) *timeline {
	if len(a.Steps) == 0 {
		return nil
	}
	whole := wholeOf(a)
	t := &timeline{Ticks: spanTicks(whole)}
	var texts []string
	begun := 0.0
	for _, s := range a.Steps {
		ms := float64(max(s.MS, 0))
		at, width := share(begun, whole), share(ms, whole)
		b := bar{
			Class: sliver(kindOf(s.Name), width), X: percent(at), Width: percent(width),
			Title: clean(s.Name) + ": " + ui.Milliseconds(s.MS),
		}
		t.Bars = append(t.Bars, b)
		t.Steps = append(t.Steps, step{
			Name: clean(s.Name), MS: spanOf("steps[].ms", s.MS), Share: ui.Percent(s.MS, int64(whole)), Bar: b,
		})
		texts = append(texts, b.Title)
		begun += ms
	}
	t.Desc = "The steps one after another: " + strings.Join(texts, ", ") + "."
	t.Zoom = newZoom(a, whole)
	for _, s := range a.Stages {
		t.Stages = append(t.Stages, stageRow{
			Name: clean(s.Name), Effect: effectOf(s.Name), Waited: spanOf("stages[].wait_ms", s.WaitMS),
			Held: spanOf("stages[].ms", s.HeldMS), Tries: countOf("stages[].tries", int64(s.Tries)),
		})
	}
	return t
}

// effectOf says what a stage makes wait.
func effectOf(stage string) string {
	return map[string]string{
		"START":        "other backups; DDL for a moment",
		"FLUSH":        "writes to tables without transactions",
		"BLOCK_DDL":    "DDL too",
		"BLOCK_COMMIT": "commits too",
		"END":          "nothing any more",
	}[stage]
}

// newZoom draws what had to wait while BLOCK_DDL was held, nil if it never was.
func newZoom(a *repo.Attempt, whole float64) *zoom {
	granted := map[string]time.Time{}
	for _, s := range a.Stages {
		granted[s.Name] = s.Granted
	}
	ddl, ok := granted["BLOCK_DDL"]
	if !ok || ddl.IsZero() || a.LockMS <= 0 {
		return nil
	}
	window := float64(a.LockMS)
	margin := window * 0.06
	from := float64(ddl.Sub(a.Started).Milliseconds())
	if from < 0 || from > whole {
		return nil
	}
	z := &zoom{}
	left, right := share(from, whole)*plane, share(from+window, whole)*plane
	z.Path = fmt.Sprintf("M%s 0H%sL%d 26H0Z", trim(left), trim(max(right, left+1)), plane)
	wide := window + 2*margin
	z.addTicks(window, margin, wide)
	var texts []string
	for _, row := range []struct{ what, stage string }{
		{"writes to tables without transactions", "FLUSH"}, {"DDL", "BLOCK_DDL"}, {"commits", "BLOCK_COMMIT"},
	} {
		since, known := granted[row.stage]
		if !known || since.IsZero() {
			continue
		}
		ms := window - float64(since.Sub(ddl))/float64(time.Millisecond)
		begin := max(margin+window-ms, 0)
		b := bar{
			Class: "lock", X: percent(share(begin, wide)), Width: percent(share(margin+window-begin, wide)),
			Title: fmt.Sprintf("%s waited for %s, from %s on", row.what, ui.Milliseconds(int64(ms)), row.stage),
		}
		if row.stage == "FLUSH" {
			b.Class = "wait"
		}
		z.Rows = append(z.Rows, lockedRow{
			What: row.what, From: row.stage, Waited: int64(ms), MS: spanOf("", int64(ms)), Bar: b,
			Y: rowHeight * len(z.Rows),
		})
		texts = append(texts, b.Title)
	}
	z.Desc = "The lock window, enlarged: " + strings.Join(texts, "; ") + "."
	return z
}

// addTicks adds those of the time since BLOCK_DDL was granted.
func (z *zoom) addTicks(window, margin, wide float64) {
	by := stepOf(window, 6, spanSteps())
	for i := 0; float64(i)*by <= window; i++ {
		at := float64(i) * by
		z.Ticks = append(z.Ticks, horizontal((margin+at)/wide, spanText(at), i%2 == 1))
	}
}
