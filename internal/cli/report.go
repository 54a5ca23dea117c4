package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"mbk/internal/repo"
	"mbk/internal/ui/printable"
)

func reportCommand(env Env) *cli.Command {
	return &cli.Command{
		Name: "report", Usage: "tell all about one attempt, as for a mail",
		UsageText: "mbk report ID|latest --repo FOLDER\n\nmbk report latest --repo /backup/db1 | mail -s backup dba",
		ArgsUsage: "ID|latest",
		Flags:     append([]cli.Flag{repoFlag()}, append(fileFlags(), outputFlags()...)...),
		Action:    func(c *cli.Context) error { return runReport(c, env) },
	}
}

func runReport(c *cli.Context, env Env) error {
	r, d, err := chosenAttempt(c)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return document(env, reportOf(d))
	}
	_, err = fmt.Fprint(env.Stdout, reportText(r.String(), d.Attempt, d.Verifications))
	return err
}

// attemptDocument is an attempt with all that was proved of it.
type attemptDocument struct {
	repo.Attempt
	Kept          bool                `json:"kept"` // the backup is in the repository
	Verifications []repo.Verification `json:"verifications"`
}

// chosenAttempt is the attempt that a command's argument names.
func chosenAttempt(c *cli.Context) (*repo.Repository, attemptDocument, error) {
	id, err := oneID(c)
	if err != nil {
		return nil, attemptDocument{}, err
	}
	r, err := openRepository(c)
	if err != nil {
		return nil, attemptDocument{}, err
	}
	d, err := attemptOf(c.Context, r, id)
	return r, d, err
}

// attemptOf finds an attempt by its id, or the beginning of one, or "latest".
func attemptOf(ctx context.Context, r *repo.Repository, id string) (attemptDocument, error) {
	a, err := r.Attempt(ctx, id)
	if err != nil {
		return attemptDocument{}, err
	}
	kept, err := r.Has(ctx, a.ID)
	if err != nil {
		return attemptDocument{}, err
	}
	proofs, err := r.Verifications(ctx, a.ID)
	if proofs == nil {
		proofs = []repo.Verification{}
	}
	return attemptDocument{Attempt: a, Kept: kept, Verifications: proofs}, err
}

// reportDocument is what "report --json" prints: the attempt, and what is
// computed from it.
type reportDocument struct {
	attemptDocument
	DurationMS     int64   `json:"duration_ms"`
	FailedStep     string  `json:"failed_step"`      // "" if it did not fail in one
	BytesPerSecond int64   `json:"bytes_per_second"` // read
	Ratio          float64 `json:"ratio"`            // bytes read to bytes stored
}

func reportOf(d attemptDocument) reportDocument {
	r := reportDocument{attemptDocument: d, DurationMS: duration(&d.Attempt).Milliseconds(), FailedStep: failedStep(&d.Attempt)}
	if d.BytesStored > 0 {
		r.Ratio = float64(d.BytesRead) / float64(d.BytesStored)
	}
	if r.DurationMS > 0 {
		r.BytesPerSecond = d.BytesRead * 1000 / r.DurationMS
	}
	return r
}

// duration is how long an attempt took, 0 if that is not known.
func duration(a *repo.Attempt) time.Duration { return max(a.End().Sub(a.Started), 0) }

// failedStep is the step in which an attempt failed.
func failedStep(a *repo.Attempt) string {
	if a.Outcome != repo.OutcomeFailed || len(a.Steps) == 0 {
		return ""
	}
	return a.Steps[len(a.Steps)-1].Name
}

// Columns of a report: it is read in mails, too.
const (
	reportWidth = 72
	labelWidth  = 13
	barWidth    = 16
)

// reportText tells all about one attempt, failed or not, for people: plain ASCII
// but for names and messages, in lines of at most 72 columns where words allow.
func reportText(repository string, a repo.Attempt, proofs []repo.Verification) string {
	r := &reporter{a: &a}
	r.head()
	r.item("server", r.server())
	r.item("repository", repository)
	r.item("started", a.Started.Local().Format("Mon 2006-01-02 15:04:05 MST"))
	switch {
	case a.Finished.IsZero():
		r.item("ended", "not known: it died without a word")
	default:
		r.item("ended", fmt.Sprintf("%s, after %s", a.Finished.Local().Format("Mon 2006-01-02 15:04:05 MST"), span(duration(&a))))
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

// head is the line that says how it went.
func (r *reporter) head() {
	verdict := map[string]string{repo.OutcomeOK: "BACKUP OK", repo.OutcomeFailed: "BACKUP FAILED"}[r.a.Outcome]
	if verdict == "" {
		verdict = "BACKUP: OUTCOME NOT KNOWN"
	}
	if r.a.Outcome == repo.OutcomeOK && r.a.WarningCount > 0 {
		verdict += ", " + count(r.a.WarningCount, "warning")
	}
	fmt.Fprintf(&r.b, "%-*s%s\n%s\n", max(reportWidth-len(r.a.ID), len(verdict)+1), verdict, r.a.ID, strings.Repeat("=", reportWidth))
}

// count is a number with its noun: "1 table", "2 tables".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// section begins a part of the report.
func (r *reporter) section(title string) {
	fmt.Fprintf(&r.b, "\n%s\n", strings.ToUpper(title))
}

// item is a label and its text, which may take several lines.
func (r *reporter) item(label, text string) {
	if text == "" {
		return
	}
	lines := wrapTo(oneLine(text), labelWidth+2, reportWidth)
	fmt.Fprintf(&r.b, "%-*s%s", labelWidth+2, label, strings.TrimLeft(lines, " "))
}

// bullet is one entry of a list.
func (r *reporter) bullet(text string) {
	fmt.Fprintf(&r.b, "  - %s", strings.TrimLeft(wrapTo(oneLine(text), 4, reportWidth), " "))
}

// oneLine is a text without line breaks and fit to be shown.
func oneLine(text string) string { return printable.Text(strings.Join(strings.Fields(text), " ")) }

// bar draws a share of a whole.
func bar(part, whole int64) string {
	if whole <= 0 || part <= 0 {
		return ""
	}
	return strings.Repeat("#", max(1, int(float64(barWidth)*float64(part)/float64(whole)+0.5)))
}

// percent is a share in words, "" if there is no whole.
func percent(part, whole int64) string {
	switch share := 100 * float64(part) / float64(whole); {
	case whole <= 0:
		return ""
	case share < 1 && part > 0:
		return "< 1 %"
	default:
		return fmt.Sprintf("%.0f %%", share)
	}
}

func (r *reporter) server() string {
	if r.a.ServerVersion == "" {
		return ""
	}
	return fmt.Sprintf("MariaDB %s at %s, %s", r.a.ServerVersion, r.a.Hostname, r.a.Datadir)
}

// failure says what went wrong, where, and what to do.
func (r *reporter) failure() {
	a := r.a
	if a.Outcome == repo.OutcomeOK {
		return
	}
	r.section("what happened")
	r.bullet(orDefault(a.Error, "nothing is known of it"))
	if step := failedStep(a); step != "" {
		r.bullet("at step: " + step)
	}
	if a.LockMS > 0 {
		r.bullet(fmt.Sprintf("DDL was blocked for %s; the server is free again", milliseconds(a.LockMS)))
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
	d := reportOf(attemptDocument{Attempt: *a})
	if a.Tables > 0 {
		r.item("  holds", fmt.Sprintf("%s in %s, %s", count(a.Tables, "table"), count(a.Databases, "database"), count(a.Files, "file")))
	}
	r.item("  read", fmt.Sprintf("%s, %s", size(a.BytesRead), rate(a.BytesRead, duration(a))))
	r.item("  stored", fmt.Sprintf("%s (%.1f : 1, %s)", size(a.BytesStored), d.Ratio, a.Codec))
	if a.TornPages > 0 {
		r.item("  read again", count(int(a.TornPages), "page")+" that the server was just writing")
	}
	if a.Damaged > 0 {
		r.item("  DAMAGED", count(a.Damaged, "page")+" of the source")
	}
	if a.LeftOut > 0 {
		r.item("  left out", count(a.LeftOut, "table"))
	}
	if b := a.Binlog; b != nil {
		r.item("  binlog", fmt.Sprintf("%s %d, GTID %s", b.File, b.Position, orDefault(b.GTID, "none")))
	}
}

// times shows the steps, each with its share of the whole.
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
		line := fmt.Sprintf("  %-*s  %9s  %s", width, s.Name, milliseconds(s.MS), bar(s.MS, total))
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
		fmt.Fprintf(&r.b, "  %-14s %10s %10s %6d\n", s.Name, milliseconds(s.WaitMS), milliseconds(s.HeldMS), s.Tries)
	}
	if a.LockMS > 0 {
		r.item("  DDL blocked", milliseconds(a.LockMS)+", from BLOCK_DDL to END")
	}
	if a.Late.Files > 0 {
		r.item("  meanwhile", fmt.Sprintf("%s copied, %s", count(a.Late.Files, "file"), size(a.Late.Bytes)))
	}
}

func (r *reporter) redo() {
	a := r.a
	if a.RedoCapacity == 0 {
		return
	}
	r.section("redo log")
	if a.RedoBytes > 0 {
		r.item("  copied", fmt.Sprintf("%s, from LSN %d to %d", size(a.RedoBytes), a.LSN.Checkpoint, a.LSN.End))
	}
	r.item("  head-room", fmt.Sprintf("%s of %s at the worst moment (%s)", size(a.LowestMargin), size(a.RedoCapacity), percent(a.LowestMargin, a.RedoCapacity)))
	fmt.Fprintf(&r.b, "%*s[%-*s]\n", labelWidth+2, "", barWidth, bar(a.LowestMargin, a.RedoCapacity))
}

func (r *reporter) largest() {
	if len(r.a.Largest) == 0 {
		return
	}
	r.section("largest tables")
	for _, t := range r.a.Largest {
		name := printable.Text(t.Database + "." + t.Name)
		fmt.Fprintf(&r.b, "  %-36s %-8s %9s  %s\n", shorten(name, 36), shorten(t.Engine, 8), size(t.Bytes), percent(t.Bytes, max(r.a.BytesRead, t.Bytes)))
	}
}

// shorten cuts the middle out of a name that is too long for a column.
func shorten(name string, width int) string {
	letters := []rune(name)
	if len(letters) <= width {
		return name
	}
	half := (width - 2) / 2
	return string(letters[:width-2-half]) + ".." + string(letters[len(letters)-half:])
}

// shownEvents is how many tables a report lists that DDL has touched.
const shownEvents = 20

func (r *reporter) ddl() {
	d := r.a.DDL
	if d.Total() == 0 {
		return
	}
	r.section("ddl during the backup")
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
	fmt.Fprint(&r.b, wrapTo(strings.Join(parts, ", "), 2, reportWidth))
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

// around tells of the programs and messages around the attempt.
func (r *reporter) around() {
	if len(r.a.Hooks) > 0 {
		r.section("hooks")
	}
	for _, h := range r.a.Hooks {
		r.bullet(fmt.Sprintf("%s: %s, %s: %s", h.When, h.Program, milliseconds(h.MS), orDefault(h.Error, "ok")))
		for line := range strings.Lines(h.Output) {
			fmt.Fprintf(&r.b, "      %s\n", strings.TrimRight(line, "\n"))
		}
	}
	if len(r.a.Notifications) > 0 {
		r.section("notified")
	}
	for _, n := range r.a.Notifications {
		r.bullet(fmt.Sprintf("%s: %s: %s", n.Channel, n.To, orDefault(n.Error, "ok")))
	}
}

// proofs says what verifications have found, the newest first.
func (r *reporter) proofs(proofs []repo.Verification) {
	if len(proofs) == 0 {
		return
	}
	r.section("verified")
	for _, v := range slices.Backward(proofs) {
		outcome := "whole"
		switch v.Outcome {
		case repo.VerdictAsOnSource:
			outcome = "whole, " + count(len(v.AsOnSource), "table") + " as on the source"
		case repo.VerdictUndone:
			outcome = "not carried out"
		case repo.VerdictDamaged:
			outcome = "DAMAGED, " + count(v.FindingCount, "finding")
		}
		fmt.Fprintf(&r.b, "  %s  %-6s  %s\n", v.Time.Local().Format("2006-01-02 15:04:05"), v.Depth, outcome)
	}
}
