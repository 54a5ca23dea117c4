package cli

import (
	"strings"
	"testing"
	"time"

	"mbk/internal/repo"
)

func TestNewestBackup(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	backup := func(id string, age time.Duration, change func(s *repo.Summary)) repo.Summary {
		s := repo.Summary{Attempt: repo.Attempt{ID: id, Finished: now.Add(-age)}}
		if change != nil {
			change(&s)
		}
		return s
	}
	damaged := func(s *repo.Summary) { s.Verified = &repo.Verification{OK: false} }
	unreadable := func(s *repo.Summary) { s.Problem = "manifest" }
	proven := func(s *repo.Summary) { s.Verified = &repo.Verification{OK: true} }
	filtered := func(s *repo.Summary) { s.Filter = &repo.Filter{} }
	for _, c := range []struct {
		name string
		list []repo.Summary
		want string // grade and text
	}{
		{"none", nil, "error there is no good backup"},
		{"young", []repo.Summary{backup("old", 50*time.Hour, nil), backup("new", 90*time.Minute, proven)},
			"ok the newest good backup, new, ended 1h30m ago"},
		{"old", []repo.Summary{backup("old", 80*time.Hour, nil)},
			"error the newest good backup, old, ended 3d8h ago, more than 26h0m"},
		{"damaged and unreadable", []repo.Summary{backup("old", time.Minute, nil), backup("a", 0, damaged),
			backup("b", 0, unreadable)},
			"ok the newest good backup, old, ended 1m0s ago, and 2 that are damaged"},
		{"only damaged", []repo.Summary{backup("a", 0, damaged)}, "error there is no good backup, and 1 that are damaged"},
		{"filtered beside a whole one", []repo.Summary{backup("whole", 30*time.Hour, nil), backup("part", 0, filtered)},
			"error the newest good backup, whole, ended 30h0m ago, more than 26h0m"},
		{"filtered only", []repo.Summary{backup("part", 0, filtered)}, "ok the newest good backup, part, ended 0s ago"},
		{"of the future", []repo.Summary{backup("new", -2*time.Hour, nil)},
			"error the newest good backup, new, ended 2h0m after now"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newestBackup(c.list, 26*time.Hour, now)
			if got := f.Grade + " " + f.Text; got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if (f.Grade == "ok") != (len(f.Hints) == 0) {
				t.Errorf("hints %q", f.Hints)
			}
		})
	}
}

func TestParseAge(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "26h": 26 * time.Hour, "8d": 192 * time.Hour,
		"1.5d": 36 * time.Hour, "2w": 336 * time.Hour, "90m": 90 * time.Minute} {
		if got, err := parseAge("max-age", text); err != nil || got != want {
			t.Errorf("parseAge(%q) = %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"26", "d", "-1d", "0h", "1d2h", "soon"} {
		if got, err := parseAge("max-age", text); !isUsage(err) || !strings.Contains(err.Error(), "--max-age") {
			t.Errorf("parseAge(%q) = %s, %v", text, got, err)
		}
	}
}
