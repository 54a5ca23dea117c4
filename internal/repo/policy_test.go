package repo

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// weekly returns nightly backups of some weeks from a Sunday on: a full one, and six
// increments each on the one before.
func weekly(t *testing.T, weeks int) (all []Summary) {
	t.Helper()
	start := at(t, "2026-10-04 22:30:00")
	for day := range 7 * weeks {
		kind := KindIncremental
		if day%7 == 0 {
			kind = KindFull
		}
		started := start.AddDate(0, 0, day)
		s := Summary{Attempt: Attempt{ID: NewID(started, kind), Kind: kind, Started: started, Outcome: OutcomeOK}}
		if kind == KindIncremental {
			s.Parent = all[day-1].ID
		}
		all = append(all, s)
	}
	return all
}

// backup returns a summary of a backup started at a time, whose parent, if any, was
// started at another.
func backup(t *testing.T, started, parent string) Summary {
	t.Helper()
	s := Summary{Attempt: Attempt{ID: NewID(at(t, started), KindFull), Kind: KindFull, Started: at(t, started),
		Outcome: OutcomeOK}}
	if parent != "" {
		s.Parent = NewID(at(t, parent), KindFull)
	}
	return s
}

// show writes a plan as text, one backup a line.
func show(p Plan) string {
	var b strings.Builder
	for _, k := range p.Keep {
		fmt.Fprintf(&b, "keep   %s  %s\n", k.ID, strings.Join(k.Reasons, ", "))
	}
	for _, s := range p.Remove {
		fmt.Fprintf(&b, "remove %s  %s\n", s.ID, strings.Join(s.Reasons, "; "))
	}
	return b.String()
}

// Policies over backups of years: the golden files are read by people.
func TestPolicyGolden(t *testing.T) {
	nightly := func(days int) (all []Summary) {
		for day := range days {
			all = append(all, backup(t, at(t, "2025-11-20 22:30:00").AddDate(0, 0, day).Format(time.DateTime), ""))
		}
		return all
	}
	var hourly []Summary
	for hour := range 72 {
		hourly = append(hourly,
			backup(t, at(t, "2026-11-18 00:10:00").Add(time.Duration(hour)*time.Hour).Format(time.DateTime), ""))
	}
	sparse := []Summary{ // with holes of weeks
		backup(t, "2024-02-29 01:00:00", ""), backup(t, "2024-12-30 01:00:00", ""), backup(t, "2024-12-31 01:00:00", ""),
		backup(t, "2025-01-01 01:00:00", ""), backup(t, "2025-06-01 01:00:00", ""), backup(t, "2026-11-20 01:00:00", ""),
		backup(t, "2026-11-20 13:00:00", ""), backup(t, "2026-11-21 01:00:00", ""),
	}
	standing := func(started, depth string, ok bool) Summary {
		s := backup(t, started, "")
		s.Verified = &Verification{ID: s.ID, Depth: depth, OK: ok}
		return s
	}
	proofs := []Summary{ // the deepest proof is of none of the newest
		standing("2026-11-01 01:00:00", DepthBoot, true), standing("2026-11-02 01:00:00", DepthBoot, true),
		standing("2026-11-03 01:00:00", DepthPages, true),
		standing("2026-11-04 01:00:00", DepthBoot, false), standing("2026-11-05 01:00:00", DepthStored, true),
		backup(t, "2026-11-06 01:00:00", ""), backup(t, "2026-11-07 01:00:00", ""),
	}
	changed := func(all []Summary, i int, change func(*Summary)) []Summary {
		all = slices.Clone(all)
		change(&all[i])
		return all
	}
	damage := func(s *Summary) { s.Verified = &Verification{Depth: DepthPages} }
	pin := func(s *Summary) { s.Pin = &Pin{ID: s.ID, Reason: "before the upgrade"} }
	for _, c := range []struct {
		name    string
		backups []Summary
		policy  Policy
	}{
		{"chains-full-2", weekly(t, 4), Policy{Full: 2}},
		{"chains-full-1-in-the-first-night-of-a-week", weekly(t, 3)[:15], Policy{Full: 1}},
		{"chains-last-3", weekly(t, 3), Policy{Last: 3}}, // of which all need the full backup
		{"chains-daily-7-weekly-2", weekly(t, 4), Policy{Daily: 7, Weekly: 2}},
		{"chains-full-1-monthly-2", weekly(t, 8), Policy{Full: 1, Monthly: 2}},
		{"chains-newest-full-damaged", changed(weekly(t, 3), 14, damage), Policy{Full: 1}},
		{"chains-increment-damaged", changed(weekly(t, 3), 16, damage), Policy{Last: 2}},
		{"chains-full-missing", weekly(t, 3)[1:], Policy{Full: 1, Last: 1}},
		{"chains-pinned", changed(weekly(t, 3), 3, pin), Policy{Full: 1}},
		{"chains-pinned-and-damaged", changed(changed(weekly(t, 3), 3, pin), 2, damage), Policy{Full: 1}},
		{"chains-proven", changed(weekly(t, 3), 2, func(s *Summary) {
			s.Verified = &Verification{OK: true, Depth: DepthBoot}
		}), Policy{Full: 1}},
		{"chains-parent-not-readable", changed(weekly(t, 1), 6, func(s *Summary) {
			s.Parent, s.ParentUnknown, s.Problem, s.Denied = "", true, "permission denied", true
		}), Policy{Last: 1}},
		{"nightly-last-3", nightly(10), Policy{Last: 3}},
		{"nightly-last-more-than-there-are", nightly(3), Policy{Last: 10}},
		{"nightly-days-7", nightly(20), Policy{Days: 7}},
		{"nightly-7-daily-4-weekly-12-monthly", nightly(366), Policy{Daily: 7, Weekly: 4, Monthly: 12}},
		{"nightly-daily-more-than-there-are", nightly(5), Policy{Daily: 30}},
		{"nightly-yearly", nightly(366), Policy{Yearly: 5}},
		{"hourly-last-6-daily-2", hourly, Policy{Last: 6, Daily: 2}},
		{"hourly-days-1", hourly, Policy{Days: 1}},
		{"sparse-daily-3", sparse, Policy{Daily: 3}},
		{"sparse-weekly-4", sparse, Policy{Weekly: 4}}, // 2024-12-30 to 2025-01-01 is one ISO week
		{"sparse-monthly-3", sparse, Policy{Monthly: 3}},
		{"sparse-yearly-2", sparse, Policy{Yearly: 2}},
		{"sparse-days-30", sparse, Policy{Days: 30}},
		{"proven-last-2", proofs, Policy{Last: 2}},
		{"proven-days-1", proofs, Policy{Days: 1}},
		{"proven-and-damaged-last-2",
			append(slices.Clone(proofs), standing("2026-11-09 01:00:00", DepthBoot, false),
				standing("2026-11-10 01:00:00", DepthPages, false)), Policy{Last: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			golden(t, "expire/"+c.name+".txt", show(c.policy.Plan(c.backups)))
		})
	}
}

func TestPolicyPlan(t *testing.T) {
	const d1, d2, d3, d4, d5 = "2026-11-01 00:00:00", "2026-11-02 00:00:00", "2026-11-03 00:00:00", "2026-11-04 00:00:00",
		"2026-11-05 00:00:00"
	broken := func(s Summary) Summary { s.Problem = "damaged"; return s }
	refuted := func(s Summary) Summary { s.Verified = &Verification{OK: false}; return s }
	proven := func(s Summary) Summary { s.Verified = &Verification{OK: true}; return s }
	pinned := func(s Summary) Summary { s.Pin = &Pin{ID: s.ID}; return s }
	unknown := func(s Summary) Summary { s.ParentUnknown, s.Problem, s.Denied = true, "denied", true; return s }
	for _, c := range []struct {
		name         string
		backups      []Summary
		policy       Policy
		keep, remove string // days, in the order of the plan
	}{
		{"no backups", nil, Policy{Last: 1}, "", ""},
		{"one backup", []Summary{backup(t, d1, "")}, Policy{Last: 1}, "1", ""},
		{"in any order", []Summary{backup(t, d2, ""), backup(t, d3, ""), backup(t, d1, "")}, Policy{Last: 1}, "3", "2 1"},
		{"verified or not", []Summary{backup(t, d1, ""), proven(backup(t, d2, "")), backup(t, d3, "")},
			Policy{Last: 2}, "3 2", "1"},

		{"parents of what is kept stay",
			[]Summary{backup(t, d1, ""), backup(t, d2, d1), backup(t, d3, d2), backup(t, d4, ""), backup(t, d5, d3)},
			Policy{Last: 1}, "5 3 2 1", "4"},
		{"dependents go first",
			[]Summary{backup(t, d1, ""), backup(t, d2, d1), backup(t, d3, d2), backup(t, d4, d1), backup(t, d5, "")},
			Policy{Last: 1}, "5", "3 4 2 1"},
		{"dependents go first though the clock stepped back",
			[]Summary{backup(t, d3, ""), backup(t, d1, d3), backup(t, d2, d1), backup(t, d5, "")}, Policy{Last: 1},
			"5", "2 1 3"},
		{"chains that share a parent",
			[]Summary{backup(t, d1, ""), backup(t, d2, d1), backup(t, d3, d1)}, Policy{Last: 1}, "3 1", "2"},

		{"a damaged backup takes no place, and goes in its turn",
			[]Summary{backup(t, d1, ""), broken(backup(t, d2, "")), backup(t, d3, ""), broken(backup(t, d4, "")),
				broken(backup(t, d5, ""))}, Policy{Last: 2}, "5 4 3 1", "2"},
		{"a refuted backup takes no place", []Summary{backup(t, d1, ""), refuted(backup(t, d2, ""))}, Policy{Last: 1}, "2 1",
			""},
		{"children of a damaged backup are not whole",
			[]Summary{backup(t, d1, ""), refuted(backup(t, d2, "")), backup(t, d3, d2), backup(t, d4, d3)}, Policy{Last: 1},
			"4 3 2 1", ""},
		{"a child whose parent is gone is not whole", []Summary{backup(t, d2, ""), backup(t, d3, d1)},
			Policy{Last: 1}, "3 2", ""},
		{"only damaged backups", []Summary{broken(backup(t, d1, "")), broken(backup(t, d2, ""))}, Policy{Last: 1}, "2", "1"},
		{"days count from the newest whole backup",
			[]Summary{backup(t, d1, ""), backup(t, d2, ""), broken(backup(t, d5, ""))}, Policy{Days: 1}, "5 2 1", ""},
		{"hostile: a circle of parents", []Summary{backup(t, d1, d2), backup(t, d2, d1), backup(t, d3, "")},
			Policy{Last: 1}, "3", "2 1"},
		{"hostile: its own parent", []Summary{backup(t, d1, ""), backup(t, d2, d2)}, Policy{Last: 1}, "2 1", ""},

		{"keep-full counts full backups only",
			[]Summary{backup(t, d1, ""), backup(t, d2, ""), backup(t, d3, d2), backup(t, d4, d3)}, Policy{Full: 1},
			"4 3 2", "1"},
		{"keep-full keeps increments that are older than the next full backup",
			[]Summary{backup(t, d1, ""), backup(t, d2, d1), backup(t, d3, ""), backup(t, d4, d2)}, Policy{Full: 2},
			"4 3 2 1", ""},
		{"a full backup goes with its increments if none is kept",
			[]Summary{backup(t, d1, ""), backup(t, d2, d1), backup(t, d3, ""), backup(t, d4, d3)}, Policy{Full: 1},
			"4 3", "2 1"},
		{"a pinned increment keeps its chain",
			[]Summary{backup(t, d1, ""), pinned(backup(t, d2, d1)), backup(t, d3, d2), backup(t, d5, "")},
			Policy{Last: 1}, "5 2 1", "3"},
		{"a pinned backup counts", []Summary{backup(t, d1, ""), backup(t, d2, ""), pinned(backup(t, d3, ""))},
			Policy{Last: 2}, "3 2", "1"},
		{"what a backup needs is not known, and it stays",
			[]Summary{backup(t, d1, ""), backup(t, d2, ""), unknown(backup(t, d3, ""))}, Policy{Last: 1}, "3 2 1", ""},
		{"what a backup needs is not known, and it goes, before all others",
			[]Summary{backup(t, d1, ""), unknown(backup(t, d2, "")), backup(t, d3, d1), backup(t, d4, ""), backup(t, d5, "")},
			Policy{Last: 1}, "5", "2 4 3 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := c.policy.Plan(c.backups)
			var keep, remove []string
			for _, k := range plan.Keep {
				keep = append(keep, k.Started.Format("2"))
				if len(k.Reasons) == 0 {
					t.Errorf("%s is kept without a reason", k.ID)
				}
			}
			for _, s := range plan.Remove {
				remove = append(remove, s.Started.Format("2"))
				if len(s.Reasons) == 0 {
					t.Errorf("%s goes without a reason", s.ID)
				}
			}
			if got := strings.Join(keep, " "); got != c.keep {
				t.Errorf("keeps %q, want %q", got, c.keep)
			}
			if got := strings.Join(remove, " "); got != c.remove {
				t.Errorf("removes %q, want %q", got, c.remove)
			}
		})
	}
}

// Whatever the policy and the chains: the newest whole backup stays, nothing
// kept lacks a parent, nothing is in both lists, and no backup goes before those
// that need it.
func FuzzPolicyPlan(f *testing.F) {
	f.Add([]byte{1, 0, 2, 0, 3, 1, 4, 2}, uint8(1), uint8(0), uint8(0), uint8(0), uint8(0))
	f.Add([]byte{9, 0, 40, 0, 90, 1, 200, 2}, uint8(0), uint8(3), uint8(1), uint8(1), uint8(1))
	f.Add([]byte{5, 130, 4, 1, 3, 64}, uint8(0), uint8(0), uint8(2), uint8(9), uint8(0))
	f.Add([]byte{5, 0, 9, 65, 14, 1, 20, 96, 30, 0}, uint8(1), uint8(0), uint8(0), uint8(0), uint8(1))
	f.Fuzz(func(t *testing.T, shape []byte, last, days, daily, weekly, full uint8) {
		policy := Policy{Last: int(last), Days: int(days), Daily: int(daily), Weekly: int(weekly),
			Full: int(full)}
		if policy.Validate() != nil {
			return
		}
		var all []Summary
		seen := map[string]bool{}
		for i := 0; i+1 < len(shape); i += 2 {
			started := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(shape[i]) * 7 * time.Hour)
			s := Summary{Attempt: Attempt{ID: NewID(started, KindFull), Started: started}}
			if back := int(shape[i+1] & 31); back > 0 && back <= len(all) {
				s.Parent = all[len(all)-back].ID
			}
			if shape[i+1]&128 != 0 {
				s.Problem = "damaged"
			}
			if shape[i+1]&64 != 0 {
				s.Pin = &Pin{ID: s.ID}
			}
			if shape[i+1]&96 == 96 {
				s.Pin, s.Parent, s.ParentUnknown, s.Problem, s.Denied = nil, "", true, "denied", true
			}
			if !seen[s.ID] {
				seen[s.ID] = true
				all = append(all, s)
			}
		}
		byID := map[string]*Summary{}
		for i := range all {
			byID[all[i].ID] = &all[i]
		}
		checkPlan(t, policy.Plan(all), all, byID)
	})
}

func checkPlan(t *testing.T, plan Plan, all []Summary, byID map[string]*Summary) {
	t.Helper()
	kept, gone := map[string]bool{}, map[string]bool{}
	newest, mayNeedAny := "", false
	for _, k := range plan.Keep {
		kept[k.ID] = true
		mayNeedAny = mayNeedAny || k.ParentUnknown
		if len(k.Reasons) == 0 {
			t.Errorf("%s stays without a reason", k.ID)
		}
	}
	if mayNeedAny && len(plan.Remove) > 0 {
		t.Errorf("%s goes, although a backup stays that may need it", plan.Remove[0].ID)
	}
	for _, s := range plan.Remove {
		if kept[s.ID] || gone[s.ID] {
			t.Errorf("%s is in the plan twice", s.ID)
		}
		if gone[s.Parent] || s.ParentUnknown && slices.ContainsFunc(plan.Remove, func(other Unkept) bool {
			return gone[other.ID] && !other.ParentUnknown
		}) {
			t.Errorf("%s goes after its parent", s.ID)
		}
		if s.Pin != nil {
			t.Errorf("%s goes although it is pinned", s.ID)
		}
		if len(s.Reasons) == 0 {
			t.Errorf("%s goes without a reason", s.ID)
		}
		gone[s.ID] = true
	}
	for i := range all {
		s := &all[i]
		if kept[s.ID] == gone[s.ID] {
			t.Errorf("%s is kept %v and removed %v", s.ID, kept[s.ID], gone[s.ID])
		}
		if kept[s.ID] && byID[s.Parent] != nil && !kept[s.Parent] {
			t.Errorf("%s is kept without its parent", s.ID)
		}
		if newFamily(all).whole(s) {
			newest = max(newest, s.ID)
		}
	}
	if newest != "" && !kept[newest] {
		t.Errorf("the newest whole backup %s goes", newest)
	}
}

func TestPolicyValidate(t *testing.T) {
	if err := (Policy{}).Validate(); !errors.Is(err, ErrKeepsNothing) {
		t.Errorf("Validate = %v, want ErrKeepsNothing", err)
	}
	for _, p := range []Policy{{Last: -1}, {Last: 1, Days: -1}, {Yearly: 1 << 40}} {
		if err := p.Validate(); err == nil || errors.Is(err, ErrKeepsNothing) {
			t.Errorf("%+v: Validate = %v, want a complaint about the number", p, err)
		}
	}
}

// A backup of some tables must not push one of everything out.
func TestPolicyAndFilteredBackups(t *testing.T) {
	filtered := func(started string) Summary {
		s := backup(t, started, "")
		s.Filter = &Filter{Tables: []string{"shop.orders"}}
		return s
	}
	full := backup(t, "2026-11-18 01:00:00", "")
	for name, c := range map[string]struct {
		backups []Summary
		want    string
	}{
		"newer than the last one of everything": {
			[]Summary{backup(t, "2026-11-17 01:00:00", ""), full, filtered("2026-11-19 01:00:00")},
			"keep   20261119T010000Z-full  filtered, but not old enough to go\nkeep   20261118T010000Z-full  last\nremove " +
				"20261117T010000Z-full  last 1: 1 newer\n",
		},
		"older": {
			[]Summary{filtered("2026-11-16 01:00:00"), full},
			"keep   20261118T010000Z-full  last\nremove 20261116T010000Z-full  filtered; last 1: 1 newer\n",
		},
		"nothing else": {
			[]Summary{filtered("2026-11-16 01:00:00"), filtered("2026-11-17 01:00:00")},
			"keep   20261117T010000Z-full  last\nremove 20261116T010000Z-full  last 1: 1 newer\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := show(Policy{Last: 1}.Plan(c.backups)); got != c.want {
				t.Errorf("got\n%s, want\n%s", got, c.want)
			}
		})
	}
}
