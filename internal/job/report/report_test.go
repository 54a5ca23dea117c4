package report

import (
	"strings"
	"testing"
	"time"

	"mbk/internal/repo"
)

// A report says what kind of backup an attempt made and what it has of earlier ones, and
// nothing of that for a plain full one.
func TestPlace(t *testing.T) {
	const full, incr, late = "20261122T003000Z-full", "20261123T003000Z-incr", "20261122T010000Z-full"
	label := strings.Repeat("0a", 32)
	for name, c := range map[string]struct {
		attempt repo.Attempt
		want    []string
	}{
		"a plain full backup": {
			repo.Attempt{ID: full, Kind: repo.KindFull, Label: label}, []string{"label          " + label}},
		"full, where an increment was wanted": {
			repo.Attempt{ID: full, Kind: repo.KindFull, Reuse: repo.Reuse{FullReason: "there is no backup yet"}},
			[]string{"kind           full: there is no backup yet"}},
		"an increment": {
			repo.Attempt{ID: incr, Kind: repo.KindIncremental, Parent: full, Reuse: repo.Reuse{
				Chain: 3, Unchanged: &repo.Amount{Files: 187, Bytes: 311 << 20},
				Pages: &repo.PageCounts{Examined: 576, Changed: 93}}},
			[]string{"kind           increment 3 of its chain, on " + full,
				"not read       187 files, 311 MiB: as in the parent", "pages          93 of 576 changed"}},
		"an increment that failed early": {repo.Attempt{ID: incr, Kind: repo.KindIncremental, Outcome: repo.OutcomeFailed},
			[]string{"kind           increment"}},
		"resumed": {
			repo.Attempt{ID: late, Kind: repo.KindFull, Reuse: repo.Reuse{
				Resumed: &repo.Resumed{IDs: []string{full}, Amount: repo.Amount{Files: 1, Bytes: 3 << 30}}}},
			[]string{"resumed        1 file, 3.0 GiB stored by " + full}},
		"consolidated": {
			repo.Attempt{ID: late, Kind: repo.KindFull, Reuse: repo.Reuse{ConsolidatedFrom: []string{incr, full}}},
			[]string{"kind           full, made of " + incr + ", " + full}},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.attempt
			a.Started = time.Date(2026, 11, 22, 0, 30, 0, 0, time.UTC)
			text := strings.Join(strings.Fields(Text("/backup/db1", a, nil)), " ") // whatever the lines are
			last := 0
			for _, line := range c.want {
				i := strings.Index(text, strings.Join(strings.Fields(line), " "))
				if i < last {
					t.Errorf("no %q in its place in\n%s", line, Text("/backup/db1", a, nil))
				}
				last = max(i, last)
			}
			for line := range strings.Lines(Text("/backup/db1", a, nil)) {
				if len(line) > reportWidth+1 && !strings.Contains(line, label) {
					t.Errorf("a line of %d columns: %s", len(line), line)
				}
			}
			if n := len(Place(&a)); name == "a plain full backup" && n > 0 {
				t.Errorf("%d lines about it", n)
			}
		})
	}
}
