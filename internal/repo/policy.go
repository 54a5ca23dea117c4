package repo

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"mbk/internal/ui/printable"
)

// ErrKeepsNothing is returned for a policy without a rule: it would not keep
// anything.
var ErrKeepsNothing = errors.New("no rule says what to keep")

// Policy says which backups to keep. A backup is kept if any rule keeps it; zero
// switches a rule off. Days, weeks, months and years are those of UTC in which a
// backup was started; weeks begin on Monday.
type Policy struct {
	Last    int `json:"keep_last"`    // so many newest backups
	Full    int `json:"keep_full"`    // so many newest full backups, with all increments on them
	Days    int `json:"keep_days"`    // all of so many times 24 hours before the newest backup
	Daily   int `json:"keep_daily"`   // the newest of each of so many days that have one
	Weekly  int `json:"keep_weekly"`  // ... weeks
	Monthly int `json:"keep_monthly"` // ... months
	Yearly  int `json:"keep_yearly"`  // ... years
}

// Validate returns ErrKeepsNothing for the zero Policy.
func (p Policy) Validate() error {
	if p == (Policy{}) {
		return ErrKeepsNothing
	}
	for name, n := range map[string]int{"keep-last": p.Last, "keep-full": p.Full, "keep-days": p.Days,
		"keep-daily": p.Daily, "keep-weekly": p.Weekly, "keep-monthly": p.Monthly, "keep-yearly": p.Yearly} {
		if n < 0 || n > 100_000 {
			return fmt.Errorf("%s is %d, want 0 to 100000", name, n)
		}
	}
	return nil
}

// Plan says what an expiry keeps and removes, and why.
type Plan struct {
	Keep    []Kept   `json:"keep"`    // newest first
	Remove  []Unkept `json:"remove"`  // in the order of removal: no backup before those that need it
	Removed []string `json:"removed"` // ids of those that Expire has removed

	HeldBack   string   `json:"held_back,omitempty"` // why nothing is removed although the policy does not keep it
	NotRemoved []string `json:"not_removed"`         // what could not be removed, and why
	// Segments are parts of the archive of binary logs that no backup needs: they were removed, or
	// in a dry run would be.
	Segments int `json:"segments"`
}

// Kept is a backup that stays, and why.
type Kept struct {
	Summary
	Reasons []string `json:"reasons"`
}

// Unkept is a backup that goes, and for each rule why it does not keep the backup.
type Unkept struct {
	Summary
	Reasons []string `json:"reasons"`
	// RetainedUntil is the time before which the store does not let it go, nil: it may go.
	RetainedUntil *time.Time `json:"retained_until"`
}

// Plan applies the policy to all backups of a repository, as List returns them.
//
// Only whole backups count for a rule: a backup that cannot be read or whose
// verification failed, or that needs such a one, must not push a good one out.
// It goes when it would have gone had it been whole. The same holds for one that was
// made with a filter, while there is a whole one of everything.
//
// These always stay: pinned backups, the newest whole one, the newest of those that are
// proven the deepest, and whatever a backup that stays needs. While a daily, weekly,
// monthly or yearly rule has counts left, the oldest backup stays too, so that the
// history can grow to the length wanted.
func (p Policy) Plan(backups []Summary) Plan {
	f := newFamily(backups)
	whole, every := f.counted(), f.all
	verdicts := p.judge(whole, f)
	v := verdicts.kept
	if len(whole) > 0 && len(v[whole[0].ID]) == 0 {
		v[whole[0].ID] = []string{"newest whole backup"}
	}
	if s := newestProven(whole); s != nil && len(v[s.ID]) == 0 {
		v[s.ID] = []string{"newest proven at depth " + s.Verified.Depth}
	}
	// What does not count is judged as if it did.
	others := p.judge(every, f)
	for _, s := range every {
		if slices.Contains(whole, s) {
			continue
		}
		what := f.uncounted(s)
		if len(others.kept[s.ID]) > 0 {
			v[s.ID] = []string{what + ", but not old enough to go"}
		}
		verdicts.unkept[s.ID] = append([]string{what}, others.unkept[s.ID]...)
	}
	for _, s := range every {
		if s.Pin != nil {
			v[s.ID] = append(v[s.ID], s.Pin.String())
		}
	}
	f.keepNeeded(v)

	plan := Plan{Keep: []Kept{}, Remove: []Unkept{}, Removed: []string{}, NotRemoved: []string{}}
	for _, s := range every {
		if why := v[s.ID]; len(why) > 0 {
			plan.Keep = append(plan.Keep, Kept{Summary: *s, Reasons: why})
		} else {
			plan.Remove = append(plan.Remove, Unkept{Summary: *s, Reasons: verdicts.unkept[s.ID]})
		}
	}
	slices.SortStableFunc(plan.Remove, func(a, b Unkept) int { return f.order(&a.Summary, &b.Summary) })
	return plan
}

// newestProven returns the newest of the backups that are proven the deepest, out of
// those that are sorted newest first; nil if none is proven.
func newestProven(backups []*Summary) *Summary {
	var best *Summary
	for _, s := range backups {
		if v := s.Verified; v != nil && v.OK && (best == nil || depthRank(v.Depth) > depthRank(best.Verified.Depth)) {
			best = s
		}
	}
	return best
}

// counted returns the backups that count for a rule, newest first.
func (f *family) counted() []*Summary {
	whole := slices.DeleteFunc(slices.Clone(f.all), func(s *Summary) bool { return !f.whole(s) })
	filtered := func(s *Summary) bool { return s.Filter != nil }
	if slices.ContainsFunc(whole, func(s *Summary) bool { return !filtered(s) }) {
		whole = slices.DeleteFunc(whole, filtered)
	}
	return whole
}

// uncounted says why a backup does not count for a rule.
func (f *family) uncounted(s *Summary) string {
	switch {
	case f.whole(s):
		return "filtered"
	case s.ownDamage() != "":
		return "damaged"
	case s.Problem != "":
		return "not readable"
	}
	return "of a broken chain"
}

// keepNeeded adds what kept backups need to the reasons for which backups are kept.
func (f *family) keepNeeded(kept map[string][]string) {
	for _, s := range f.all { // the newest that needs a backup is named
		if len(kept[s.ID]) == 0 {
			continue
		}
		if s.ParentUnknown {
			for _, other := range f.all {
				if len(kept[other.ID]) == 0 {
					kept[other.ID] = []string{"may be needed by " + s.ID + ", of which cannot be read what it needs"}
				}
			}
			return
		}
		members, _ := f.chain(s)
		for _, needed := range members {
			if len(kept[needed.ID]) == 0 {
				kept[needed.ID] = []string{"needed by " + s.ID}
			}
		}
	}
}

// verdicts are the reasons for which rules keep backups, or do not, by their ids.
type verdicts struct{ kept, unkept map[string][]string }

func (v verdicts) keep(s *Summary, why string) { v.kept[s.ID] = append(v.kept[s.ID], why) }

func (v verdicts) leave(s *Summary, format string, args ...any) {
	v.unkept[s.ID] = append(v.unkept[s.ID], fmt.Sprintf(format, args...))
}

// judge applies the rules to backups that are sorted newest first.
func (p Policy) judge(backups []*Summary, f *family) verdicts {
	v := verdicts{map[string][]string{}, map[string][]string{}}
	p.judgeLast(backups, v)
	p.judgeFull(backups, f, v)
	p.judgeDays(backups, v)
	for _, r := range []rule{
		{p.Daily, "daily", "day", func(t time.Time) string { return t.Format(time.DateOnly) }},
		{p.Weekly, "weekly", "week", func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprint(y, w) }},
		{p.Monthly, "monthly", "month", func(t time.Time) string { return t.Format("2006-01") }},
		{p.Yearly, "yearly", "year", func(t time.Time) string { return t.Format("2006") }},
	} {
		r.judge(backups, v)
	}
	return v
}

func (p Policy) judgeLast(backups []*Summary, v verdicts) {
	for i, s := range backups {
		switch {
		case i < p.Last:
			v.keep(s, "last")
		case p.Last > 0:
			v.leave(s, "last %d: %d newer", p.Last, i)
		}
	}
}

func (p Policy) judgeDays(backups []*Summary, v verdicts) {
	for _, s := range backups {
		age := startOf(backups[0]).Sub(startOf(s))
		switch {
		case p.Days == 0:
		case age <= time.Duration(p.Days)*24*time.Hour:
			v.keep(s, "days")
		default:
			v.leave(s, "days %d: %.1f days older than the newest", p.Days, age.Hours()/24)
		}
	}
}

// judgeFull keeps full backups and the increments on them.
func (p Policy) judgeFull(backups []*Summary, f *family, v verdicts) {
	if p.Full == 0 {
		return
	}
	newer := map[string]int{} // full backups that are newer than a full backup
	for _, s := range backups {
		if s.Parent == "" && !s.ParentUnknown {
			newer[s.ID] = len(newer)
		}
	}
	for _, s := range backups {
		members, _ := f.chain(s)
		root := members[len(members)-1]
		n, known := newer[root.ID]
		switch {
		case !known:
			v.leave(s, "full %d: its full backup does not count", p.Full)
		case n >= p.Full:
			v.leave(s, "full %d: %d newer", p.Full, n)
		case root == s:
			v.keep(s, "full")
		default:
			v.keep(s, "increment of "+root.ID)
		}
	}
}

// rule keeps the newest backup of each of so many periods.
type rule struct {
	count  int
	name   string
	unit   string
	period func(t time.Time) string
}

// judge applies the rule to backups that are sorted newest first.
func (r rule) judge(backups []*Summary, v verdicts) {
	if r.count == 0 {
		return
	}
	last, newest, periods := "", "", 0
	for i, s := range backups {
		period := r.period(startOf(s))
		first := period != last
		if first {
			last, newest = period, s.ID
			periods++
		}
		switch {
		case periods > r.count:
			v.leave(s, "%s %d: %s newer", r.name, r.count, printable.Count(periods-1, r.unit))
		case first:
			v.keep(s, r.name)
		case periods < r.count && i == len(backups)-1:
			v.keep(s, "oldest "+r.name)
		default:
			v.leave(s, "%s %d: %s is newer, of the same %s", r.name, r.count, newest, r.unit)
		}
	}
}

// startOf returns the time of a backup's id: when it was started by the clock
// that named it.
func startOf(s *Summary) time.Time {
	t, _, err := ParseID(s.ID)
	if err != nil {
		return s.Started.UTC()
	}
	return t
}
