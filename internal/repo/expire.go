package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"time"

	"mbk/internal/repo/store"
)

// ErrKeepsNothing is returned for a policy without a rule: it would not keep
// anything.
var ErrKeepsNothing = errors.New("no rule says what to keep")

// Policy says which backups to keep. A backup is kept if any rule keeps it; zero
// switches a rule off. Days, weeks, months and years are those of UTC in which a
// backup was started; weeks begin on Monday.
type Policy struct {
	Last    int `json:"keep_last"`    // so many newest backups
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
	for name, n := range map[string]int{"keep-last": p.Last, "keep-days": p.Days, "keep-daily": p.Daily,
		"keep-weekly": p.Weekly, "keep-monthly": p.Monthly, "keep-yearly": p.Yearly} {
		if n < 0 || n > 100_000 {
			return fmt.Errorf("%s is %d, want 0 to 100000", name, n)
		}
	}
	return nil
}

// Plan says what an expiry keeps and removes.
type Plan struct {
	Keep    []Kept    `json:"keep"`    // newest first
	Remove  []Summary `json:"remove"`  // in the order of removal: no backup before those that need it
	Removed []string  `json:"removed"` // ids of those that Expire has removed

	HeldBack   string   `json:"held_back,omitempty"` // why nothing is removed although the policy does not keep it
	NotRemoved []string `json:"not_removed"`         // what could not be removed, and why
}

// Kept is a backup that stays, and why.
type Kept struct {
	Summary
	Reasons []string `json:"reasons"`
}

// Plan applies the policy to all backups of a repository, as List returns them.
//
// Only whole backups count for a rule: a backup that cannot be read or whose
// verification failed, or that needs such a one, must not push a good one out.
// It goes when it would have gone had it been whole. The same holds for one that was
// made with a filter, while there is a whole one of everything. The newest whole
// backup, the newest of those that are proven the deepest, and the parents of what is
// kept always stay. While a daily, weekly, monthly or
// yearly rule has counts left, the oldest backup stays too, so that the history
// can grow to the length wanted.
func (p Policy) Plan(backups []Summary) Plan {
	all := slices.Clone(backups)
	slices.SortStableFunc(all, func(a, b Summary) int { return cmp.Compare(b.ID, a.ID) })
	byID := make(map[string]*Summary, len(all))
	for i := range all {
		byID[all[i].ID] = &all[i]
	}
	var whole []*Summary
	var every []*Summary
	for i := range all {
		every = append(every, &all[i])
		if isWhole(&all[i], byID) {
			whole = append(whole, &all[i])
		}
	}
	filtered := func(s *Summary) bool { return s.Filter != nil }
	if slices.ContainsFunc(whole, func(s *Summary) bool { return !filtered(s) }) {
		whole = slices.DeleteFunc(whole, filtered)
	}

	reasons := map[string][]string{}
	p.apply(whole, reasons)
	if len(whole) > 0 && len(reasons[whole[0].ID]) == 0 {
		reasons[whole[0].ID] = []string{"newest whole backup"}
	}
	if s := newestProven(whole); s != nil && len(reasons[s.ID]) == 0 {
		reasons[s.ID] = []string{"newest proven at depth " + s.Verified.Depth}
	}
	spared := map[string][]string{}
	p.apply(every, spared)
	for id := range spared {
		switch {
		case len(reasons[id]) > 0 || slices.ContainsFunc(whole, func(s *Summary) bool { return s.ID == id }):
		case isWhole(byID[id], byID):
			reasons[id] = []string{"filtered, but not old enough to go"}
		case byID[id].Denied:
			reasons[id] = []string{"not readable, but not old enough to go"}
		default:
			reasons[id] = []string{"damaged, but not old enough to go"}
		}
	}
	keepParents(every, byID, reasons)

	plan := Plan{Keep: []Kept{}, Remove: []Summary{}, Removed: []string{}, NotRemoved: []string{}}
	for _, s := range every {
		if why := reasons[s.ID]; len(why) > 0 {
			plan.Keep = append(plan.Keep, Kept{Summary: *s, Reasons: why})
		} else {
			plan.Remove = append(plan.Remove, *s)
		}
	}
	// Dependents first. Clocks step back, so ids do not tell.
	slices.SortStableFunc(plan.Remove, func(a, b Summary) int {
		return cmp.Compare(chainLength(&b, byID), chainLength(&a, byID))
	})
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

// isWhole reports whether a backup and all that it needs can be read, as far as is
// known.
func isWhole(s *Summary, byID map[string]*Summary) bool {
	for range len(byID) {
		switch {
		case s == nil || s.Problem != "" || s.Verified != nil && !s.Verified.OK:
			return false
		case s.Parent == "":
			return true
		}
		s = byID[s.Parent]
	}
	return false // a circle
}

// chainLength returns how many backups are above s.
func chainLength(s *Summary, byID map[string]*Summary) int {
	for n := range len(byID) {
		if s = byID[s.Parent]; s == nil {
			return n
		}
	}
	return len(byID)
}

// keepParents keeps what kept backups need.
func keepParents(all []*Summary, byID map[string]*Summary, reasons map[string][]string) {
	for _, s := range all {
		for len(reasons[s.ID]) > 0 {
			parent := byID[s.Parent]
			if parent == nil || len(reasons[parent.ID]) > 0 {
				break
			}
			reasons[parent.ID] = []string{"parent of " + s.ID}
			s = parent
		}
	}
}

// rule keeps the newest backup of each of so many periods.
type rule struct {
	count  int
	name   string
	period func(t time.Time) string
}

// apply adds the reasons for which the rules keep backups, sorted newest first.
func (p Policy) apply(backups []*Summary, reasons map[string][]string) {
	keep := func(s *Summary, why string) { reasons[s.ID] = append(reasons[s.ID], why) }
	for i, s := range backups {
		if i < p.Last {
			keep(s, "last")
		}
		if age := startOf(backups[0]).Sub(startOf(s)); p.Days > 0 && age <= time.Duration(p.Days)*24*time.Hour {
			keep(s, "days")
		}
	}
	for _, r := range []rule{
		{p.Daily, "daily", func(t time.Time) string { return t.Format(time.DateOnly) }},
		{p.Weekly, "weekly", func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprint(y, w) }},
		{p.Monthly, "monthly", func(t time.Time) string { return t.Format("2006-01") }},
		{p.Yearly, "yearly", func(t time.Time) string { return t.Format("2006") }},
	} {
		last := ""
		for i, s := range backups {
			if r.count == 0 {
				break
			}
			switch period := r.period(startOf(s)); {
			case period != last:
				last = period
				keep(s, r.name)
				r.count--
			case i == len(backups)-1:
				keep(s, "oldest "+r.name)
			}
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

// trueParents finds the parents of backups whose labels cannot be read: what is removed
// must not hang on a record of the history alone. The error is ErrNewerFormat if a newer
// mbk made one of them, whose parents are therefore not known.
func (r *Repository) trueParents(ctx context.Context, backups []Summary) error {
	for i := range backups {
		s := &backups[i]
		if s.Problem == "" {
			continue // it is that of the label
		}
		if s.Newer {
			if _, err := r.Label(ctx, s.ID); err != nil {
				return err
			}
		}
		if _, kind, err := ParseID(s.ID); err == nil && kind == KindFull {
			s.Parent = "" // it needs no other
			continue
		}
		m, err := r.manifest(ctx, s.ID, nil)
		switch {
		case err == nil:
			s.Parent = m.Parent
		case errors.Is(err, ErrNewerFormat) || !lost(err):
			return err
		}
	}
	return nil
}

// ExpireOptions say how an expiry goes about it.
type ExpireOptions struct {
	DryRun bool      // plan only
	Force  bool      // the clock is right, however far it is ahead of earlier attempts
	Now    time.Time // zero: time.Now
}

// Expire removes the backups that a policy does not keep, and returns the plan. Unless
// it only plans the lock must be held. If it fails or is cancelled half-way, what was
// not removed is still whole; Plan.Removed says how far it came. A backup that cannot
// be removed does not keep others: see Plan.NotRemoved.
//
// It removes nothing if a backup is newer than now, which is a *FutureError, or if the
// clock seems to have jumped, see Plan.HeldBack.
func (r *Repository) Expire(ctx context.Context, p Policy, o ExpireOptions) (Plan, error) {
	if err := p.Validate(); err != nil {
		return Plan{}, fmt.Errorf("expire: %w", err)
	}
	if err := r.wantLocked(); err != nil && !o.DryRun {
		return Plan{}, fmt.Errorf("expire: %w", err)
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	backups, err := r.List(ctx)
	if err == nil {
		err = r.checkFuture(backups, o.Now)
	}
	if err == nil {
		err = r.trueParents(ctx, backups)
	}
	if err != nil {
		return Plan{}, fmt.Errorf("expire: %w", err)
	}
	plan := p.Plan(backups)
	if !o.Force {
		if plan.HeldBack, err = r.holdBack(ctx, p, &plan); err != nil {
			return plan, fmt.Errorf("expire: %w", err)
		}
	}
	if o.DryRun || plan.HeldBack != "" {
		return plan, nil
	}
	return plan, r.remove(ctx, &plan)
}

// remove removes what a plan does not keep.
func (r *Repository) remove(ctx context.Context, plan *Plan) error {
	needed := map[string]bool{} // by a backup that could not be removed
	for i := range plan.Remove {
		s := &plan.Remove[i]
		if needed[s.ID] {
			plan.NotRemoved = append(plan.NotRemoved, fmt.Sprintf("%s is the parent of a backup that cannot be removed", s.ID))
			needed[s.Parent] = true
			continue
		}
		switch err := r.Discard(ctx, s.ID); {
		case err == nil:
			plan.Removed = append(plan.Removed, s.ID)
		case stuck(err):
			plan.NotRemoved = append(plan.NotRemoved, err.Error())
			needed[s.Parent] = true
		default:
			return fmt.Errorf("expire: %w", err)
		}
	}
	return nil
}

// stuck reports whether an object cannot be removed, while others can.
func stuck(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EIO) || errors.Is(err, store.ErrThroughLink) ||
		errors.Is(err, syscall.EISDIR)
}
