package report

import (
	"fmt"
	"time"

	"mbk/internal/repo"
	"mbk/internal/ui"
)

// Verdict says in a few words what a verification found.
func Verdict(v *repo.Verification) string {
	outcome := "ok"
	switch v.Outcome {
	case repo.VerdictAsOnSource:
		outcome = "ok, " + ui.Count(len(v.AsOnSource), "table") + " as on the source"
	case repo.VerdictUndone:
		outcome = "not carried out: " + ui.OneLine(v.Reason)
	case repo.VerdictDamaged:
		outcome = "DAMAGED, " + ui.Count(v.FindingCount, "finding")
	}
	return outcome + Until(v.Replay) + drilled(v.Drill)
}

// drilled says what a drill has measured, "" if it was none.
func drilled(d *repo.Drill) string {
	if d == nil {
		return ""
	}
	return fmt.Sprintf("; drill: back in %s, at a point %s old", ui.Milliseconds(d.RecoveryMS),
		ui.Span(time.Duration(d.Point.AgeMS)*time.Millisecond))
}

// Until says what a verification found about the log after a backup, "" if it did not look.
func Until(r *repo.Replayed) string {
	if r == nil || !r.CarriedOut() {
		return ""
	}
	in := ""
	if r.Files != "" {
		in = " in " + ui.OneLine(r.Files)
	}
	switch {
	case !r.Proves():
		return fmt.Sprintf("; DAMAGED: the log after it%s, to %s", in, ui.OneLine(r.Moment))
	case r.Last.IsZero():
		return "; and all of the log after it" + in
	}
	return fmt.Sprintf("; until %s, GTID %s%s", r.Last.Local().Format(time.DateTime), r.To, in)
}
