package cli

import (
	"context"
	"fmt"
	"slices"
	"time"

	"mbk/backup/preflight"
	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/input/period"
	"mbk/internal/repo"
)

// freshness holds the options with which "check" examines only the repository.
type freshness struct{ age, verifyAge string }

func (o *freshness) bind(s *options.Set) {
	s = s.In("Monitoring (the server is not asked then)")
	s.String(&o.age, "max-age", "",
		"fail (exit code 1) unless the newest good backup is younger than `DURATION`, such as 26h or 2d")
	s.String(&o.verifyAge, "max-verify-age", "",
		"fail (exit code 1) unless a backup was proven good within `DURATION`, such as 8d")
}

// ageLimits are the maximum ages of the newest backup and the newest verification; 0 for
// no limit.
type ageLimits struct{ backup, proof time.Duration }

func (o *freshness) limits() (l ageLimits, err error) {
	if l.backup, err = parseAge("max-age", o.age); err != nil {
		return l, err
	}
	l.proof, err = parseAge("max-verify-age", o.verifyAge)
	return l, err
}

// parseAge parses a duration of more than nothing. It returns 0 for "".
func parseAge(option, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := period.Parse(text)
	if err != nil || d <= 0 {
		return 0, usagef("%s %q is not a duration such as 26h, 8d or 2w", hint.Option(option), text)
	}
	return d, nil
}

// staleError is returned if the newest good backup or verification is too old.
type staleError struct{ text string }

func (e *staleError) Error() string { return e.text }

// judgeFreshness compares the ages of the newest backup and verification with limits.
func judgeFreshness(ctx context.Context, r *repo.Repository, most ageLimits, now time.Time) ([]preflight.Finding,
	error) {
	list, err := r.List(ctx)
	if err != nil {
		return nil, err
	}
	var found []preflight.Finding
	if most.backup > 0 {
		found = append(found, newestBackup(list, most.backup, now))
	}
	if most.proof > 0 {
		proven, err := newestProof(ctx, r, list, now.Add(-most.proof))
		if err != nil {
			return nil, err
		}
		found = append(found, judgeProof(proven, most.proof, now))
	}
	return found, nil
}

// newestBackup judges the newest backup that is not known to be damaged. Backups with a
// filter count only if there are no others.
func newestBackup(list []repo.Summary, most time.Duration, now time.Time) preflight.Finding {
	f := preflight.Finding{
		Check: "age", Grade: preflight.GradeError, Text: "there is no good backup",
		Hints: []hint.Text{
			`"mbk list" shows the backups that there are, and the log of the scheduled backup why there is none`,
		},
	}
	good := func(b repo.Summary) bool { return b.Problem == "" && !b.KnownDamaged() }
	whole := slices.ContainsFunc(list, func(b repo.Summary) bool { return good(b) && b.Filter == nil })
	bad := 0
	for _, b := range slices.Backward(list) {
		if !good(b) {
			bad++
			continue
		}
		if whole && b.Filter != nil {
			continue
		}
		age := now.Sub(b.Finished)
		f.Text = fmt.Sprintf("the newest good backup, %s, ended %s ago", b.ID, roughly(age))
		switch {
		case age < -time.Minute:
			f.Text = fmt.Sprintf("the newest good backup, %s, ended %s after now", b.ID, roughly(-age))
			f.Hints = []hint.Text{"set the clock of this machine right, or of the one that made it"}
		case age > most:
			f.Text += fmt.Sprintf(", more than %s", roughly(most))
		default:
			f.Grade, f.Hints = preflight.GradeOK, nil
		}
		break
	}
	if bad > 0 {
		f.Text += fmt.Sprintf(", and %d that are damaged", bad)
	}
	return f
}

// newestProof returns the newest successful verification of any backup. It stops when it
// finds one that is not older than enough.
func newestProof(
	ctx context.Context, r *repo.Repository, list []repo.Summary, enough time.Time,
) (*repo.Verification, error) {
	var newest *repo.Verification
	better := func(v *repo.Verification) {
		if v != nil && v.OK && (newest == nil || v.Time.After(newest.Time)) {
			newest = v
		}
	}
	for _, b := range list {
		better(b.Verified)
	}
	if newest != nil && !newest.Time.Before(enough) {
		return newest, nil
	}
	// A list shows the deepest verification of a backup, which may not be the newest.
	for _, b := range list {
		all, err := r.Verifications(ctx, b.ID)
		if err != nil {
			return nil, err
		}
		for i := range all {
			better(&all[i])
		}
	}
	return newest, nil
}

// judgeProof judges the newest verification, which may be nil.
func judgeProof(proven *repo.Verification, most time.Duration, now time.Time) preflight.Finding {
	f := preflight.Finding{
		Check: "verify-age", Grade: preflight.GradeError, Text: "no backup was ever proven good",
		Hints: []hint.Text{"mbk verify latest --depth boot"},
	}
	if proven == nil {
		return f
	}
	age := now.Sub(proven.Time)
	f.Text = fmt.Sprintf("the newest proof, of %s at depth %s, ended %s ago", proven.ID, proven.Depth, roughly(age))
	if age > most {
		f.Text += fmt.Sprintf(", more than %s", roughly(most))
		return f
	}
	f.Grade, f.Hints = preflight.GradeOK, nil
	return f
}

// roughly formats an age in its two largest units: "3d4h", "26h10m", "45s".
func roughly(d time.Duration) string {
	switch {
	case d >= 72*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}
