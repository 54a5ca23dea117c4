package picture

import (
	"fmt"
	"io"
	"slices"
	"time"

	"mbk/internal/job/report"
	"mbk/internal/repo"
	"mbk/internal/ui"
)

// History is what the pictures of a repository are made of.
type History struct {
	Repository string
	Attempts   []Attempt // oldest first
	Drills     []Drill   // oldest first
	Spans      []Span    // what the archive reaches, the oldest backup first
	Gaps       []Gap
	Archive    int64 // bytes of the archive of binary logs
	Space      *Space
	Made       time.Time // now; times are shown in its location
	Tool       string    // "mbk 0.1.0"
}

// Attempt is an attempt to take a backup, and what has become of it.
type Attempt struct {
	repo.Attempt
	Kept     bool               // the backup is in the repository
	Verified *repo.Verification // as repo.Summary has it
	Damaged  bool               // it is known not to be restorable
	Pinned   bool
}

// Drill is what a restore drill has measured.
type Drill struct {
	Time     time.Time
	OK       bool
	Recovery time.Duration // until the server answered
	Age      time.Duration // of the moment that it reached, when the drill began
}

// Span is a time to all of which a backup can be restored with the archive.
type Span struct {
	Backup      string
	From, Until time.Time
}

// Gap is a time that no backup can be brought across.
type Gap struct {
	Missing     string
	From, Until time.Time // zero: not known
}

// Space is the room of a repository, in bytes.
type Space struct{ Free, Total int64 }

// States of attempts and days, from the worst to the best.
const (
	stateFailed  = "failed"
	stateDamaged = "damaged"
	stateExpired = "expired"
	stateKept    = "kept"
	stateProven  = "proven"
)

// rankOf orders states; 0 is none.
func rankOf(state string) int {
	return 1 + slices.Index([]string{stateFailed, stateDamaged, stateExpired, stateKept, stateProven}, state)
}

// symbol stands for a state, so that it is not told by colour alone.
func symbol(state string) string {
	return map[string]string{
		stateFailed: "✗", stateDamaged: "!", stateExpired: "·", stateKept: "○", stateProven: "●",
	}[state]
}

// state is what an attempt is worth today.
func (a *Attempt) state() string {
	switch {
	case a.Outcome != repo.OutcomeOK:
		return stateFailed
	case !a.Kept:
		return stateExpired
	case a.Damaged || a.Verified != nil && !a.Verified.OK:
		return stateDamaged
	case a.Verified != nil:
		return stateProven
	}
	return stateKept
}

// HTML writes the page.
func (h *History) HTML(w io.Writer) error {
	v := &historyView{page: page{Title: "Backups in " + clean(h.Repository), Tool: h.Tool}, h: h, zone: h.Made.Location()}
	v.fill()
	v.Content = v
	return v.write(w, "history", h.Made)
}

// historyView is what the template shows.
type historyView struct {
	page
	h    *History
	zone *time.Location

	Repository string
	Server     string
	Badges     []badge
	Tiles      []tile
	Charts     []chart
	Drills     []chart
	Months     []month
	Reach      *reach
	Room       *room
	Rows       []attemptRow
	MoreRows   int
	Open       bool // the table of attempts is short
}

// attemptRow is a line of the table.
type attemptRow struct {
	ID, State, Symbol, Note           string
	Started                           moment
	Took, Read, Stored, Locked, Ratio number
}

// maxRows bounds the table of attempts.
const maxRows = 500

func (v *historyView) fill() {
	v.Repository = clean(v.h.Repository)
	if n := len(v.h.Attempts); n > 0 {
		newest := &v.h.Attempts[n-1]
		v.Server = clean(newest.Hostname)
	}
	v.addTiles()
	v.Charts = v.h.charts()
	v.Drills = v.drills()
	v.Months = v.h.months()
	v.Reach = newReach(v.h)
	v.Room = newRoom(v.h)
	for i, a := range slices.Backward(v.h.Attempts) {
		if len(v.Rows) == maxRows {
			v.MoreRows = i + 1
			break
		}
		v.Rows = append(v.Rows, v.row(&a))
	}
	v.Open = len(v.Rows) <= 40
}

// row is the line of an attempt.
func (v *historyView) row(a *Attempt) attemptRow {
	state := a.state()
	r := attemptRow{
		ID: clean(a.ID), State: state, Symbol: symbol(state), Started: v.at(a.Started, v.zone),
		Took: spanOf("", report.Duration(&a.Attempt).Milliseconds()), Read: sizeOf("bytes_read", a.BytesRead),
		Stored: sizeOf("bytes_stored", a.BytesStored), Locked: spanOf("lock_window_ms", a.LockMS),
		Ratio: number{Text: fmt.Sprintf("%.1f", report.Ratio(&a.Attempt))},
	}
	switch {
	case state == stateFailed:
		r.Note = ui.Shorten(oneLine(a.Error), 160)
	case state == stateDamaged && a.Verified != nil:
		r.Note = ui.Count(a.Verified.FindingCount, "finding") + " at depth " + clean(a.Verified.Depth)
	case state == stateProven:
		r.Note = "depth " + clean(a.Verified.Depth)
	}
	if a.Pinned {
		r.Note += " (pinned)"
	}
	return r
}

// addTiles says at the top how things are.
func (v *historyView) addTiles() {
	h := v.h
	counts := map[string]int{}
	var stored int64
	var lastOK, lastProof time.Time
	for i := range h.Attempts {
		a := &h.Attempts[i]
		state := a.state()
		counts[state]++
		if a.Kept {
			stored += a.BytesStored
		}
		if a.Outcome == repo.OutcomeOK && a.Finished.After(lastOK) {
			lastOK = a.Finished
		}
		if state == stateProven && a.Verified.Time.After(lastProof) {
			lastProof = a.Verified.Time
		}
	}
	add := func(class, what, text, more string) {
		v.Tiles = append(v.Tiles, tile{What: what, Class: class, Number: number{Text: text}, More: more})
	}
	ago := func(t time.Time) string {
		if t.IsZero() {
			return "never"
		}
		return agoText(h.Made.Sub(t)) + " ago"
	}
	kept := counts[stateKept] + counts[stateProven] + counts[stateDamaged]
	add("", "backups kept", fmt.Sprint(kept), ui.Size(stored)+" stored")
	add(map[bool]string{true: "good", false: ""}[counts[stateProven] > 0], "proven", fmt.Sprint(counts[stateProven]),
		"last verified "+ago(lastProof))
	if counts[stateDamaged] > 0 {
		add("bad", "DAMAGED", fmt.Sprint(counts[stateDamaged]), "see the table")
	}
	add("", "newest backup", ago(lastOK), v.at(lastOK, v.zone).Text)
	failedClass := ""
	if counts[stateFailed] > 0 {
		failedClass = "bad"
	}
	add(failedClass, "failed attempts", fmt.Sprint(counts[stateFailed]), fmt.Sprintf("of %d", len(h.Attempts)))
	if n := len(h.Attempts); n > 0 && h.Attempts[n-1].Outcome == repo.OutcomeFailed {
		v.Badges = append(v.Badges, badge{"bad", "the newest attempt failed"})
	} else if kept > 0 {
		v.Badges = append(v.Badges, badge{"good", "the newest attempt is ok"})
	}
}

// agoText formats a time span roughly.
func agoText(d time.Duration) string {
	switch {
	case d < time.Hour:
		return fmt.Sprintf("%d min", max(int(d.Minutes()), 0))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
