// Package report describes one attempt in plain text, for a mail or a terminal.
package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"mbk/internal/repo"
	"mbk/internal/ui"
	"mbk/internal/ui/printable"
)

// Duration returns how long an attempt took, 0 if that is unknown.
func Duration(a *repo.Attempt) time.Duration { return max(a.End().Sub(a.Started), 0) }

// Ratio returns bytes read / bytes stored, 0 if nothing was stored.
func Ratio(a *repo.Attempt) float64 {
	if a.BytesStored == 0 {
		return 0
	}
	return float64(a.BytesRead) / float64(a.BytesStored)
}

// FailedStep returns the step in which an attempt failed, "" if it did not.
func FailedStep(a *repo.Attempt) string {
	if a.Outcome != repo.OutcomeFailed || len(a.Steps) == 0 {
		return ""
	}
	return a.Steps[len(a.Steps)-1].Name
}

// Widths in columns, for mail.
const (
	reportWidth = 72
	labelWidth  = 13
	barWidth    = 16
)

// Text describes an attempt, failed or not: in ASCII except for names and messages, and
// in lines of at most 72 columns where words allow.
func Text(repository string, a repo.Attempt, proofs []repo.Verification) string {
	r := &reporter{a: &a}
	r.head()
	r.item("server", r.server())
	r.item("repository", repository)
	for _, row := range Place(&a) {
		r.item(row.Label, row.Text)
	}
	r.item("label", a.Label)
	const layout = "Mon 2006-01-02 15:04:05 MST"
	r.item("started", a.Started.Local().Format(layout))
	switch {
	case a.Finished.IsZero():
		r.item("ended", "not known: it died without a word")
	default:
		r.item("ended", fmt.Sprintf("%s, after %s", a.Finished.Local().Format(layout), ui.Span(Duration(&a))))
	}
	r.failure()
	r.sizes()
	r.times()
	r.locks()
	r.redo()
	r.largest()
	r.ddl()
	r.warnings()
	r.around()
	r.proofs(proofs)
	return printable.Lines(r.b.String())
}

// reporter writes a report.
type reporter struct {
	a *repo.Attempt
	b strings.Builder
}

// head writes the outcome.
func (r *reporter) head() {
	verdict := map[string]string{repo.OutcomeOK: "BACKUP OK", repo.OutcomeFailed: "BACKUP FAILED"}[r.a.Outcome]
	if verdict == "" {
		verdict = "BACKUP: OUTCOME NOT KNOWN"
	}
	if r.a.Outcome == repo.OutcomeOK && slices.ContainsFunc(r.a.Copies, func(c repo.Copy) bool { return c.Error != "" }) {
		verdict += ", NOT COPIED"
	}
	if r.a.Outcome == repo.OutcomeOK && r.a.WarningCount > 0 {
		verdict += ", " + ui.Count(r.a.WarningCount, "warning")
	}
	width := max(reportWidth-len(r.a.ID), len(verdict)+1)
	fmt.Fprintf(&r.b, "%-*s%s\n%s\n", width, verdict, r.a.ID, strings.Repeat("=", reportWidth))
}

// section writes a heading.
func (r *reporter) section(title string) {
	fmt.Fprintf(&r.b, "\n%s\n", strings.ToUpper(title))
}

// item writes a label and its text, which may need several lines.
func (r *reporter) item(label, text string) {
	if text == "" {
		return
	}
	lines := ui.Wrap(ui.OneLine(text), labelWidth+2, reportWidth)
	fmt.Fprintf(&r.b, "%-*s%s", labelWidth+2, label, strings.TrimLeft(lines, " "))
}

// bullet writes an entry of a list.
func (r *reporter) bullet(text string) {
	fmt.Fprintf(&r.b, "  - %s", strings.TrimLeft(ui.Wrap(ui.OneLine(text), 4, reportWidth), " "))
}

// bar draws part/whole.
func bar(part, whole int64) string {
	if whole <= 0 || part <= 0 {
		return ""
	}
	return strings.Repeat("#", max(1, int(float64(barWidth)*float64(part)/float64(whole)+0.5)))
}

func (r *reporter) server() string {
	if r.a.ServerVersion == "" {
		return ""
	}
	return fmt.Sprintf("MariaDB %s at %s, %s", r.a.ServerVersion, r.a.Hostname, r.a.Datadir)
}

// failure writes what went wrong, in which step, and what to do.
func (r *reporter) failure() {
	a := r.a
	if a.Outcome == repo.OutcomeOK {
		return
	}
	r.section("what happened")
	r.bullet(cmp.Or(a.Error, "nothing is known of it"))
	if step := FailedStep(a); step != "" {
		r.bullet("at step: " + step)
	}
	if a.LockMS > 0 {
		r.bullet(fmt.Sprintf("DDL was blocked for %s; the server is free again", ui.Milliseconds(a.LockMS)))
	} else if a.Outcome == repo.OutcomeFailed {
		r.bullet("DDL and commits were at no time blocked")
	}
	if len(a.Hints) > 0 {
		r.section("what to do")
		for _, h := range a.Hints {
			r.bullet(h)
		}
	}
}

func (r *reporter) sizes() {
	a := r.a
	if a.BytesRead == 0 {
		return
	}
	r.section("size")
	if a.Tables > 0 {
		r.item("  holds", fmt.Sprintf("%s in %s, %s, %s",
			ui.Count(a.Tables, "table"), ui.Count(a.Databases, "database"), ui.Count(a.Files, "file"), ui.Size(a.Size)))
	}
	r.item("  read", fmt.Sprintf("%s, %s", ui.Size(a.BytesRead), ui.Rate(a.BytesRead, Duration(a))))
	r.item("  stored", fmt.Sprintf("%s (%.1f : 1, %s)", ui.Size(a.BytesStored), Ratio(a), a.Codec))
	if a.TornPages > 0 {
		r.item("  read again", ui.Count(int(a.TornPages), "page")+" that the server was just writing")
	}
	if a.Damaged > 0 {
		r.item("  DAMAGED", ui.Count(a.Damaged, "page")+" of the source")
	}
	if a.LeftOut > 0 {
		r.item("  left out", ui.Count(a.LeftOut, "table"))
	}
	if b := a.Binlog; b != nil {
		r.item("  binlog", fmt.Sprintf("%s %d, GTID %s", b.File, b.Position, cmp.Or(b.GTID, "none")))
	}
}

// times writes the duration of each step.
func (r *reporter) times() {
	if len(r.a.Steps) == 0 {
		return
	}
	r.section("time")
	var total int64
	width := 0
	for _, s := range r.a.Steps {
		total += s.MS
		width = max(width, len(s.Name))
	}
	for _, s := range r.a.Steps {
		line := fmt.Sprintf("  %-*s  %9s  %s", width, s.Name, ui.Milliseconds(s.MS), bar(s.MS, total))
		r.b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

func (r *reporter) locks() {
	a := r.a
	if len(a.Stages) == 0 {
		return
	}
	r.section("locks")
	fmt.Fprintf(&r.b, "  %-14s %10s %10s %6s\n", "stage", "waited", "held", "tries")
	for _, s := range a.Stages {
		fmt.Fprintf(&r.b, "  %-14s %10s %10s %6d\n", s.Name, ui.Milliseconds(s.WaitMS), ui.Milliseconds(s.HeldMS), s.Tries)
	}
	if a.LockMS > 0 {
		r.item("  DDL blocked", ui.Milliseconds(a.LockMS)+", from BLOCK_DDL to END")
	}
	if a.Late.Files > 0 {
		r.item("  meanwhile", fmt.Sprintf("%s copied, %s", ui.Count(a.Late.Files, "file"), ui.Size(a.Late.Bytes)))
	}
}

func (r *reporter) redo() {
	a := r.a
	if a.RedoCapacity == 0 {
		return
	}
	r.section("redo log")
	if a.RedoBytes > 0 {
		r.item("  copied", fmt.Sprintf("%s, from LSN %d to %d", ui.Size(a.RedoBytes), a.LSN.Checkpoint, a.LSN.End))
	}
	r.item("  head-room", fmt.Sprintf("%s of %s at the worst moment (%s)",
		ui.Size(a.LowestHeadroom), ui.Size(a.RedoCapacity), ui.Percent(a.LowestHeadroom, a.RedoCapacity)))
	fmt.Fprintf(&r.b, "%*s[%-*s]\n", labelWidth+2, "", barWidth, bar(a.LowestHeadroom, a.RedoCapacity))
}

func (r *reporter) largest() {
	if len(r.a.Largest) == 0 {
		return
	}
	r.section("largest tables")
	for _, t := range r.a.Largest {
		name := printable.Text(t.Database + "." + t.Name)
		share := ui.Percent(t.Bytes, max(r.a.Size, t.Bytes))
		fmt.Fprintf(&r.b, "  %-36s %-8s %9s  %s\n", ui.Shorten(name, 36), ui.Shorten(t.Engine, 8), ui.Size(t.Bytes), share)
	}
}

// shownEvents limits the list of tables that DDL changed.
const shownEvents = 20

func (r *reporter) ddl() {
	d := r.a.DDL
	if d.Total() == 0 {
		return
	}
	r.section("ddl during the backup")
	fmt.Fprint(&r.b, ui.Wrap(DDLText(&d), 2, reportWidth))
	for _, e := range d.Events[:min(len(d.Events), shownEvents)] {
		text := e.Database
		if e.Name != "" {
			text += "." + e.Name
		}
		if e.From != "" {
			text += ", was " + e.From
		}
		r.item("  "+e.Kind, text)
	}
	if more := d.Total() - min(len(d.Events), shownEvents); more > 0 {
		fmt.Fprintf(&r.b, "  and %d more\n", more)
	}
}

// DDLText counts in a line what happened to tables and databases.
func DDLText(d *repo.DDL) string {
	var parts []string
	for _, p := range []struct {
		n    int
		kind string
	}{
		{d.Created, repo.DDLCreated}, {d.Dropped, repo.DDLDropped}, {d.Renamed, repo.DDLRenamed},
		{d.Rebuilt, repo.DDLRebuilt}, {d.Altered, repo.DDLAltered}, {d.Transient, "created and dropped"},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.kind))
		}
	}
	return strings.Join(parts, ", ")
}

func (r *reporter) warnings() {
	if r.a.WarningCount == 0 {
		return
	}
	r.section("warnings")
	for _, w := range r.a.Warnings {
		r.bullet(w)
	}
	if more := r.a.WarningCount - len(r.a.Warnings); more > 0 {
		fmt.Fprintf(&r.b, "  and %d more\n", more)
	}
}

// around writes the hooks, copies and notifications.
func (r *reporter) around() {
	if len(r.a.Hooks) > 0 {
		r.section("hooks")
	}
	for _, h := range r.a.Hooks {
		r.bullet(fmt.Sprintf("%s: %s, %s: %s", h.When, h.Program, ui.Milliseconds(h.MS), cmp.Or(h.Error, "ok")))
		for line := range strings.Lines(h.Output) {
			fmt.Fprintf(&r.b, "      %s\n", strings.TrimRight(line, "\n"))
		}
	}
	r.copies()
	if len(r.a.Notifications) > 0 {
		r.section("notified")
	}
	for _, n := range r.a.Notifications {
		r.bullet(fmt.Sprintf("%s: %s: %s", n.Channel, n.To, cmp.Or(n.Error, "ok")))
	}
}

// copies writes what became of the copies.
func (r *reporter) copies() {
	if len(r.a.Copies) > 0 {
		r.section("copies")
	}
	for _, c := range r.a.Copies {
		r.bullet(c.To + ": " + CopyText(c))
		for _, h := range c.Hints {
			r.bullet("hint: " + h)
		}
	}
}

// CopyText says in a line what became of a copy.
func CopyText(c repo.Copy) string {
	switch {
	case c.Error != "":
		return "FAILED: " + ui.OneLine(c.Error)
	case c.Backups == 0:
		return "was there already"
	}
	return fmt.Sprintf("%s, %s in %s", ui.Count(c.Backups, "backup"), ui.Size(c.Bytes), ui.Milliseconds(c.MS))
}

// proofs writes the results of verifications, the newest first.
func (r *reporter) proofs(proofs []repo.Verification) {
	if len(proofs) == 0 {
		return
	}
	r.section("verified")
	for _, v := range slices.Backward(proofs) {
		lines := ui.Wrap(Verdict(&v), 31, reportWidth)
		fmt.Fprintf(&r.b, "  %s  %-6s  %s", v.Time.Local().Format(time.DateTime), v.Depth, strings.TrimLeft(lines, " "))
	}
}
