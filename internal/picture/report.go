package picture

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"mbk/internal/job/report"
	"mbk/internal/repo"
	"mbk/internal/ui"
	"mbk/internal/ui/printable"
)

// Report is what a page about one attempt is made of.
type Report struct {
	Repository string
	Attempt    repo.Attempt
	Kept       bool // the backup is in the repository
	Proofs     []repo.Verification
	Made       time.Time // now; times are shown in its location
	Tool       string    // "mbk 0.1.0"
}

// HTML writes the page.
func (r *Report) HTML(w io.Writer) error {
	v := &reportView{page: page{Title: r.title(), Tool: r.Tool}, a: &r.Attempt, zone: r.Made.Location()}
	v.fill(r)
	v.Content = v
	return v.write(w, "report", r.Made)
}

// title is that of the window.
func (r *Report) title() string {
	return fmt.Sprintf("%s: %s", r.Attempt.ID, verdict(&r.Attempt))
}

// verdict says in a few words how an attempt ended.
func verdict(a *repo.Attempt) string {
	switch a.Outcome {
	case repo.OutcomeOK:
		return "backup ok"
	case repo.OutcomeFailed:
		return "backup failed"
	}
	return "outcome not known"
}

// reportView is what the template shows.
type reportView struct {
	page
	a    *repo.Attempt
	zone *time.Location

	ID, Host, Verdict, Grade string
	Badges                   []badge
	Started                  moment
	Tiles                    []tile
	Errors, Hints            []string
	Timeline                 *timeline
	Charts                   []chart
	Largest                  []tableRow
	DDL                      *table
	DDLText                  string
	Warnings                 []string
	MoreWarnings             int
	Proofs                   []proof
	Hooks                    []hook
	Others                   []string // copies and notifications
	Facts                    []fact
	Encrypted                bool
}

// badge is a short verdict.
type badge struct{ Class, Text string }

// tile is a number in large type.
type tile struct {
	What, Class string
	Number      number
	More        string
}

// tableRow is one of the largest tables.
type tableRow struct {
	Name, Engine string
	Size         number
	Share        string
	Bar          bar
}

// proof is a verification.
type proof struct {
	At                   moment
	Depth, Class, Result string
	Bytes                number
	Findings             []string
}

// hook is a program that ran.
type hook struct{ Text, Output string }

// fact is a line of the details.
type fact struct {
	Name, Text string
	Code       bool
}

func (v *reportView) fill(r *Report) {
	a := v.a
	v.ID, v.Host, v.Verdict = clean(a.ID), clean(a.Hostname), verdict(a)
	v.Started, v.Encrypted = v.at(a.Started, v.zone), a.Encrypted
	v.addBadges(r)
	v.addTiles()
	if a.Outcome != repo.OutcomeOK {
		v.Errors = append(v.Errors, oneLine(cmp.Or(a.Error, "nothing is known of what happened")))
		if step := report.FailedStep(a); step != "" {
			v.Errors = append(v.Errors, "It happened in the step "+clean(step)+".")
		}
		for _, h := range a.Hints {
			v.Hints = append(v.Hints, oneLine(h))
		}
	}
	v.Timeline = newTimeline(a)
	v.Charts = sampleCharts(a)
	v.addLargest()
	v.addDDL()
	for _, w := range a.Warnings {
		v.Warnings = append(v.Warnings, oneLine(w))
	}
	v.MoreWarnings = max(a.WarningCount-len(a.Warnings), 0)
	v.addProofs(r.Proofs)
	v.addAround()
	v.addFacts(r)
}

// addBadges says at the top what the backup is worth.
func (v *reportView) addBadges(r *Report) {
	a := v.a
	v.Grade = map[string]string{repo.OutcomeOK: "good", repo.OutcomeFailed: "bad"}[a.Outcome]
	v.Badges = append(v.Badges, badge{v.Grade, v.Verdict})
	if a.Outcome == repo.OutcomeOK && !r.Kept {
		v.Badges = append(v.Badges, badge{"", "no longer in the repository"})
	}
	if a.Outcome == repo.OutcomeOK {
		switch s := repo.Standing(r.Proofs); {
		case s == nil:
			v.Badges = append(v.Badges, badge{"warn", "never verified"})
		case s.OK:
			v.Badges = append(v.Badges, badge{"good", "proven at depth " + clean(s.Depth)})
		default:
			v.Badges = append(v.Badges, badge{"bad", "DAMAGED"})
		}
	}
	if a.WarningCount > 0 {
		v.Badges = append(v.Badges, badge{"warn", ui.Count(a.WarningCount, "warning")})
	}
	for _, c := range a.Copies {
		if c.Error != "" {
			v.Badges = append(v.Badges, badge{"bad", "not copied to " + clean(c.To)})
		}
	}
}

func (v *reportView) addTiles() {
	a := v.a
	add := func(what string, n number, more string) {
		v.Tiles = append(v.Tiles, tile{What: what, Number: n, More: more})
	}
	took := report.Duration(a)
	add("took", spanOf("duration_ms", took.Milliseconds()), "")
	if a.LockMS > 0 || a.Outcome == repo.OutcomeOK {
		add("lock window", spanOf("lock_window_ms", a.LockMS), "DDL waited, BLOCK_DDL to END")
	}
	if a.BytesRead > 0 {
		add("read", sizeOf("bytes_read", a.BytesRead), ui.Rate(a.BytesRead, took))
		add("stored", sizeOf("bytes_stored", a.BytesStored), fmt.Sprintf("%.1f : 1, %s", report.Ratio(a), clean(a.Codec)))
	}
	if a.RedoCapacity > 0 {
		add("least head-room", sizeOf("headroom_low", a.LowestHeadroom), fmt.Sprintf("%s of the redo log of %s",
			cmp.Or(ui.Percent(a.LowestHeadroom, a.RedoCapacity), "0 %"), ui.Size(a.RedoCapacity)))
	}
	if a.Tables > 0 {
		add("tables", countOf("tables", int64(a.Tables)), fmt.Sprintf("in %s, %s", ui.Count(a.Databases, "database"),
			ui.Size(a.Size)))
	}
	if n := a.Damaged; n > 0 {
		v.Tiles = append(v.Tiles, tile{What: "DAMAGED", Class: "bad", Number: countOf("damaged", int64(n)),
			More: "pages of the source"})
	}
}

func (v *reportView) addLargest() {
	a := v.a
	var most int64
	for _, t := range a.Largest {
		most = max(most, t.Bytes)
	}
	for _, t := range a.Largest {
		name := printable.Text(t.Database + "." + t.Name)
		width := share(float64(t.Bytes), float64(most))
		v.Largest = append(v.Largest, tableRow{
			Name: name, Engine: clean(t.Engine), Size: sizeOf("largest[].bytes", t.Bytes),
			Share: ui.Percent(t.Bytes, max(a.Size, t.Bytes)),
			Bar:   bar{Class: sliver("copy", width), X: "0", Width: percent(width)},
		})
	}
}

// addDDL lists what happened to tables during the backup.
func (v *reportView) addDDL() {
	d := &v.a.DDL
	if d.Total() == 0 {
		return
	}
	v.DDLText = report.DDLText(d)
	if more := d.Total() - len(d.Events); more > 0 {
		v.DDLText += fmt.Sprintf("; the first %d are listed", len(d.Events))
	}
	v.DDL = &table{Head: []string{"what", "table or database", "before"}}
	for _, e := range d.Events {
		name := e.Database
		if e.Name != "" {
			name += "." + e.Name
		}
		v.DDL.Rows = append(v.DDL.Rows, []cell{text(clean(e.Kind)), text(clean(name)), text(clean(e.From))})
	}
}

// addProofs lists verifications, the newest first.
func (v *reportView) addProofs(all []repo.Verification) {
	for _, one := range slices.Backward(all) {
		p := proof{At: v.at(one.Time, v.zone), Depth: clean(one.Depth), Bytes: sizeOf("verifications[].bytes", one.Bytes)}
		switch one.Outcome {
		case repo.VerdictDamaged:
			p.Class, p.Result = "bad", "DAMAGED, "+ui.Count(one.FindingCount, "finding")
		case repo.VerdictUndone:
			p.Class, p.Result = "", "not carried out: "+oneLine(one.Reason)
		case repo.VerdictAsOnSource:
			p.Class, p.Result = "good", "proven, "+ui.Count(len(one.AsOnSource), "table")+" as on the source"
		default:
			p.Class, p.Result = "good", "proven"
		}
		for _, f := range one.Findings {
			p.Findings = append(p.Findings, clean(cmp.Or(f.Table, f.File, f.Object))+": "+oneLine(f.Problem))
		}
		v.Proofs = append(v.Proofs, p)
	}
}

// addAround lists hooks, copies and notifications.
func (v *reportView) addAround() {
	for _, h := range v.a.Hooks {
		v.Hooks = append(v.Hooks, hook{
			Text: fmt.Sprintf("%s: %s, %s: %s", clean(h.When), clean(h.Program), ui.Milliseconds(h.MS),
				oneLine(cmp.Or(h.Error, "ok"))),
			Output: printable.Lines(h.Output),
		})
	}
	for _, c := range v.a.Copies {
		v.Others = append(v.Others, "copy to "+clean(c.To)+": "+report.CopyText(c))
	}
	for _, n := range v.a.Notifications {
		result := oneLine(cmp.Or(n.Error, "ok"))
		v.Others = append(v.Others, fmt.Sprintf("%s to %s: %s", clean(n.Channel), clean(n.To), result))
	}
}

// addFacts lists the details.
func (v *reportView) addFacts(r *Report) {
	a := v.a
	add := func(name, text string, code bool) {
		if text != "" {
			v.Facts = append(v.Facts, fact{name, oneLine(text), code})
		}
	}
	add("repository", r.Repository, true)
	if a.ServerVersion != "" {
		add("server", fmt.Sprintf("MariaDB %s at %s", a.ServerVersion, a.Hostname), false)
	}
	add("data directory", a.Datadir, true)
	for _, row := range report.Place(a) {
		add(row.Label, row.Text, false)
	}
	v.Facts = append(v.Facts, fact{"started", v.Started.Text, false}, fact{"ended", v.at(a.Finished, v.zone).Text, false})
	if b := a.Binlog; b != nil {
		add("binary log", fmt.Sprintf("%s %d", b.File, b.Position), true)
		add("GTID", b.GTID, true)
	}
	if a.LSN.End > 0 {
		add("redo", fmt.Sprintf("%s, LSN %d to %d", ui.Size(a.RedoBytes), a.LSN.Checkpoint, a.LSN.End), false)
	}
	if a.TornPages > 0 {
		add("read again", ui.Count(int(a.TornPages), "page")+" that the server was just writing", false)
	}
	if a.Late.Files > 0 {
		add("copied while locked", fmt.Sprintf("%s, %s", ui.Count(a.Late.Files, "file"), ui.Size(a.Late.Bytes)), false)
	}
	if a.LeftOut > 0 {
		add("left out", ui.Count(a.LeftOut, "table"), false)
	}
	add("label (BLAKE3)", a.Label, true)
	add("made by", a.Tool, false)
}
