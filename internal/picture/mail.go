package picture

import (
	"cmp"
	"html/template"
	"io"
	"math"

	"mbk/internal/repo"
	"mbk/internal/ui"
	"mbk/internal/ui/printable"
)

// mailView is what the template of a mail shows. Mail programs run no scripts, and many show no
// SVG and no style but what is written at each element: the pictures are tables.
type mailView struct {
	Title, Host, Verdict, ID, Started string

	Color  template.CSS // of the verdict
	Errors []string
	Steps  []mailBar
	Locked []mailBar
	Window string // how long the lock window was
	Text   string // the report
}

// mailBar is a coloured cell of a table.
type mailBar struct {
	Name, Took, Share string

	Before, Percent int // of the width: what is empty before it, and itself
	Color           template.CSS
}

// Mail writes the report as a page for mail programs: the course of the backup as tables, and
// below it the report as text.
func (r *Report) Mail(w io.Writer, text string) error {
	a := &r.Attempt
	p := page{}
	v := &mailView{
		Title: r.title(), Host: clean(a.Hostname), Verdict: verdict(a), ID: clean(a.ID),
		Started: p.at(a.Started, r.Made.Location()).Text, Color: "color:#177245", Text: printable.Lines(text),
	}
	if a.Outcome != repo.OutcomeOK {
		v.Color = "color:#b9231c"
		v.Errors = []string{oneLine(cmp.Or(a.Error, "nothing is known of what happened"))}
	}
	if t := newTimeline(a); t != nil {
		v.addSteps(a)
		v.addLocked(t.Zoom, a.LockMS)
	}
	all, err := template.ParseFS(files, "*.html")
	if err != nil {
		return err
	}
	return all.ExecuteTemplate(w, "mail", v)
}

// mailColor is the colour of a class of bars, as on the page.
func mailColor(class string) template.CSS {
	switch class {
	case "copy":
		return "background-color:#2a6fc4"
	case "wait":
		return "background-color:#b7791f"
	case "lock":
		return "background-color:#c8322b"
	}
	return "background-color:#8b98a7"
}

func (v *mailView) addSteps(a *repo.Attempt) {
	var whole int64
	for _, s := range a.Steps {
		whole += max(s.MS, 0)
	}
	rest, widest := 100, 0
	for i, s := range a.Steps {
		ms := max(s.MS, 0)
		b := mailBar{Name: clean(s.Name), Took: ui.Milliseconds(ms), Share: ui.Percent(ms, whole),
			Percent: percentOf(ms, whole), Color: mailColor(kindOf(s.Name))}
		v.Steps = append(v.Steps, b)
		rest -= b.Percent
		if b.Percent > v.Steps[widest].Percent {
			widest = i
		}
	}
	v.Steps[widest].Percent = max(v.Steps[widest].Percent+rest, 1) // what was rounded
}

// percentOf is a part in percent, at least 1: a cell without a width is not seen.
func percentOf(part, whole int64) int {
	return min(max(int(math.Round(100*share(float64(part), float64(max(whole, 1))))), 1), 100)
}

// addLocked draws what had to wait. Each bar ends with END, where the widest does.
func (v *mailView) addLocked(z *zoom, window int64) {
	if z == nil {
		return
	}
	v.Window = ui.Milliseconds(window)
	longest := window
	for i := range z.Rows {
		longest = max(longest, z.Rows[i].Waited)
	}
	for _, row := range z.Rows {
		percent := percentOf(row.Waited, longest)
		v.Locked = append(v.Locked, mailBar{Name: row.What, Took: row.MS.Text, Before: 100 - percent, Percent: percent,
			Color: mailColor(row.Bar.Class)})
	}
}
