package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/job/report"
	"mbk/internal/repo"
	"mbk/internal/ui"
)

type listOptions struct {
	repository // the first
	names      []string
	others     []repository
}

func (o *listOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bindEach(s, u, &o.names, &o.others)
	fileOptions(s)
	outputOptions(s, u)
}

func listCommand(p *program) *command {
	var o listOptions
	return &command{
		name: "list", summary: "list the backups of a repository and how far each is proven",
		usage: "mbk list --repo REPO [--repo REPO]...", examples: "mbk list --repo /backup/db1 --json",
		options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run:     func(ctx context.Context) error { return runList(ctx, &o, p.ui) },
	}
}

// listed is what "list --json" prints of one repository.
type listed struct {
	Repository string         `json:"repository"`
	Name       string         `json:"name,omitempty"`  // in an option file
	Error      string         `json:"error,omitempty"` // why it cannot be listed, if there are others
	Backups    []repo.Summary `json:"backups"`         // newest last
	Failed     *repo.Attempt  `json:"failed"`          // the attempt that ended last, if it failed

	Unfinished []repo.Unfinished `json:"unfinished"` // what interrupted attempts have left
	LockedBy   string            `json:"locked_by"`  // "": nobody holds the lock
}

// listDocument is what "list --json" prints: the first repository, and the others.
type listDocument struct {
	listed
	Others []listed `json:"others"`
}

func runList(ctx context.Context, o *listOptions, u *ui.UI) error {
	all := append([]repository{o.repository}, o.others...)
	if err := allNamed(all); err != nil {
		return err
	}
	lists, failed := make([]listed, len(all)), error(nil)
	for i, from := range all {
		one, err := listOf(ctx, from)
		if err != nil && len(all) == 1 || ctx.Err() != nil {
			return err
		}
		if err != nil { // the others are listed all the same
			place, _ := from.fullPath()
			one = listed{Repository: place, Error: ui.OneLine(err.Error()), Backups: []repo.Summary{},
				Unfinished: []repo.Unfinished{}}
			failed = errors.Join(failed, err)
		}
		one.Name = from.name
		lists[i] = one
	}
	if u.JSON {
		return errors.Join(failed, u.Document(listDocument{lists[0], append([]listed{}, lists[1:]...)}))
	}
	for i := range lists {
		if len(lists) > 1 {
			heading(u, i, &lists[i])
		}
		if lists[i].Error != "" {
			continue
		}
		if err := printList(u, &lists[i], time.Now()); err != nil {
			return err
		}
		tellRest(u, &lists[i])
	}
	return failed
}

// heading begins the list of one of several repositories.
func heading(u *ui.UI, i int, l *listed) {
	if i > 0 {
		fmt.Fprintln(u.Stdout)
	}
	text := l.Repository
	if l.Name != "" {
		text = l.Name + ": " + text
	}
	if l.Error != "" {
		text += ": cannot be listed"
	}
	fmt.Fprintln(u.Stdout, text)
}

// listOf returns what there is to list of a repository.
func listOf(ctx context.Context, from repository) (listed, error) {
	r, err := from.open(ctx)
	if err != nil {
		return listed{}, err
	}
	read := r.ListLabels // all that is shown as text
	if from.ui.JSON {
		read = r.List
	}
	list, err := read(ctx)
	if err != nil {
		return listed{}, err
	}
	attempts, err := r.AttemptsBeside(ctx, list)
	if err != nil {
		return listed{}, err
	}
	for i := range list {
		attempts = append(attempts, list[i].Attempt)
	}
	failed := repo.NewestAttempt(attempts)
	if failed != nil && failed.Outcome != repo.OutcomeFailed {
		failed = nil
	}
	unfinished, err := r.Unfinished(ctx)
	if err != nil {
		return listed{}, err
	}
	holder, err := r.Holder(ctx)
	return listed{
		Repository: r.String(), Backups: append([]repo.Summary{}, list...), Failed: failed, Unfinished: unfinished,
		LockedBy: holder,
	}, err
}

// tellRest tells of attempts that made no backup, and of who works on the repository.
func tellRest(u *ui.UI, l *listed) {
	if l.LockedBy != "" {
		u.Note("%s is being worked on, by %s", l.Repository, ui.OneLine(l.LockedBy))
	}
	if failed := l.Failed; failed != nil {
		why := ui.Shorten(failed.Error, 200)
		if failed.Encrypted {
			why = "why is encrypted"
		}
		u.Warn(fmt.Sprintf("the newest attempt, %s, failed: %s (see \"mbk history %s\")", failed.ID, why, failed.ID))
	}
	for _, a := range l.Unfinished {
		if a.Running { // in the list
			continue
		}
		u.Note("the interrupted attempt %s has left %s, for the next backup to continue on; \"mbk remove %s\" removes it",
			a.ID, ui.Size(a.Bytes), a.ID)
	}
}

// minutes is the format of times in lists.
const minutes = "2006-01-02 15:04"

// printList prints the backups as text: each full backup, and under it its increments; then
// what is wrong with them, and how much there is.
func printList(u *ui.UI, l *listed, now time.Time) error {
	running := l.running()
	if len(l.Backups) == 0 && running == nil {
		fmt.Fprintf(u.Stdout, "no backups in %s\n", l.Repository)
		return nil
	}
	t, notes := listTable(l.Backups, now)
	if running != nil {
		begun, _, _ := repo.ParseID(running.ID) // a name that the repository has checked
		row := t.Add(running.ID, ui.ShortTime(begun, now), ui.Span(now.Sub(begun).Round(time.Second)), ui.Size(running.Bytes))
		row[len(row)-1].Text = "under way"
		notes = append(notes, note{running.ID, progressOf(running, l.Backups), false})
	}
	if err := u.Table(t); err != nil {
		return err
	}
	for _, n := range notes {
		if err := n.print(u); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(u.Stdout, total(l.Backups))
	return err
}

// note is a line under a list, about one backup.
type note struct {
	id, text string
	bad      bool
}

func (n note) print(u *ui.UI) error {
	text := n.id + "  " + n.text
	if n.bad {
		return u.Bad(text)
	}
	_, err := fmt.Fprintln(u.Stdout, text)
	return err
}

// listTable draws the backups of a list. What does not fit into a column is a note.
func listTable(list []repo.Summary, now time.Time) (*ui.Table, []note) {
	t := &ui.Table{Columns: []ui.Column{
		{Title: "ID"}, {Title: "STARTED", Rank: 1}, {Title: "TOOK", Rank: 3}, {Title: "STORED", Rank: 2},
		{Title: "NEEDS", Rank: 4}, {Title: "LOCKED", Rank: 5}, {Title: "READ", Rank: 6}, {Title: "TABLES", Rank: 7},
		{Title: "PROVEN"},
	}}
	var notes []note
	above := ""
	for _, b := range byChain(list) {
		id := b.ID
		duration, locked := took(&b.Attempt), ui.Milliseconds(b.LockMS)
		if len(b.ConsolidatedFrom) > 0 { // what is on record is of the increment
			duration, locked = "-", "-"
		}
		row := t.Add(id, ui.ShortTime(b.Started, now), duration, ui.Size(b.BytesStored), needs(b), locked,
			ui.Size(b.BytesRead), heldTables(*b), "")
		if b.Kind != repo.KindFull {
			row[0].Text = "  " + id
		}
		short, whole := proven(*b, now)
		last := &row[len(row)-1]
		last.Text, last.Bad = short, b.KnownDamaged()
		if whole != "" {
			notes = append(notes, note{b.ID, whole, b.KnownDamaged()})
		}
		if b.Parent != "" && b.Parent != above && b.Broken == "" {
			notes = append(notes, note{b.ID, "on " + b.Parent, false})
		}
		if b.Pin != nil {
			last.Text += ", pinned"
			notes = append(notes, note{b.ID, ui.OneLine(b.Pin.String()), false})
		}
		above = b.ID
	}
	return t, notes
}

// progressOf says how far a backup that is under way seems to be, by the newest one of its
// kind.
func progressOf(running *repo.Unfinished, list []repo.Summary) string {
	text := "under way, " + ui.Size(running.Bytes) + " stored so far"
	_, kind, _ := repo.ParseID(running.ID)
	for i := range slices.Backward(list) {
		if b := &list[i]; b.Kind == kind && b.BytesStored > 0 && len(b.ConsolidatedFrom) == 0 {
			text += fmt.Sprintf(" (the last took %s for %s)", took(&b.Attempt), ui.Size(b.BytesStored))
			break
		}
	}
	return text
}

// total says how much there is.
func total(list []repo.Summary) string {
	var stored int64
	checked, damaged := 0, 0
	for i := range list {
		stored += list[i].BytesStored
		switch b := &list[i]; {
		case b.KnownDamaged():
			damaged++
		case b.Verified != nil && b.Verified.OK:
			checked++
		}
	}
	text := fmt.Sprintf("%s, %s stored, %d proven", ui.Count(len(list), "backup"), ui.Size(stored), checked)
	if damaged > 0 {
		text += fmt.Sprintf(", %d DAMAGED", damaged)
	}
	return text
}

// byChain sorts backups by the full backups at the beginnings of their chains, and those
// with the same one by time.
func byChain(list []repo.Summary) []*repo.Summary {
	var sorted []*repo.Summary
	for i := range list {
		sorted = append(sorted, &list[i])
	}
	first := func(b *repo.Summary) string {
		if len(b.Needs.IDs) == 0 {
			return b.ID
		}
		return b.Needs.IDs[0]
	}
	slices.SortStableFunc(sorted, func(a, b *repo.Summary) int {
		return cmp.Or(cmp.Compare(first(a), first(b)), cmp.Compare(a.ID, b.ID))
	})
	return sorted
}

// needs formats what a backup needs: its whole chain.
func needs(b *repo.Summary) string {
	if b.Parent == "" {
		return "-"
	}
	return fmt.Sprintf("%s in %d", ui.Size(b.Needs.BytesStored), len(b.Needs.IDs))
}

// took formats how long an attempt took, "-" if that is unknown.
func took(a *repo.Attempt) string {
	if a.Finished.IsZero() {
		return "-"
	}
	return ui.Span(report.Duration(a))
}

// heldTables formats the number of tables in a backup; with a filter, also of how many.
func heldTables(b repo.Summary) string {
	if b.Filter == nil {
		return strconv.Itoa(b.Tables)
	}
	return fmt.Sprintf("%d of %d", b.Tables, b.Tables+b.LeftOut)
}

// proven describes what verifications found, in a word or two, and if there is more to be
// said, as a whole.
func proven(b repo.Summary, now time.Time) (short, whole string) {
	switch v := b.Verified; {
	case b.Denied, b.Newer:
		return "not readable", "not readable: " + b.Problem
	case b.Problem != "":
		return "DAMAGED", "DAMAGED: " + b.Problem
	case v != nil && !v.OK:
		findings, day := ui.Count(v.FindingCount, "finding"), v.Time.Local().Format(time.DateOnly)
		return "DAMAGED", fmt.Sprintf("DAMAGED: %s at depth %s, %s", findings, v.Depth, day)
	case b.BrokenUnread:
		return "not readable", "not readable: " + b.Broken
	case b.Broken != "":
		return "BROKEN", "BROKEN: " + b.Broken
	case v == nil:
		return "never", ""
	default:
		short = fmt.Sprintf("%s, %s", v.Depth, ui.ShortDay(v.Time, now))
		if until := report.Until(v.Replay); until != "" {
			whole = fmt.Sprintf("%s, %s", v.Depth, v.Time.Local().Format(minutes)) + until
		}
		return short, whole
	}
}

// running returns the backup that may be under way, nil if none is.
func (l *listed) running() *repo.Unfinished {
	i := slices.IndexFunc(l.Unfinished, func(a repo.Unfinished) bool { return a.Running })
	if i < 0 {
		return nil
	}
	return &l.Unfinished[i]
}
