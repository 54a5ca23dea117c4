package picture

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"mbk/internal/repo"
)

// A page of 400 backups is small, and has the numbers of each.
func TestHistoryOfManyBackups(t *testing.T) {
	h := sampleHistory(400)
	var page bytes.Buffer
	if err := h.HTML(&page); err != nil {
		t.Fatal(err)
	}
	if page.Len() > 500<<10 {
		t.Errorf("the page has %d bytes", page.Len())
	}
	shown := numbersIn(t, page.String())
	want := map[string][]string{}
	for i := len(h.Attempts) - 1; i >= 0; i-- {
		a := &h.Attempts[i]
		for field, n := range map[string]int64{
			"bytes_read": a.BytesRead, "bytes_stored": a.BytesStored, "lock_window_ms": a.LockMS,
		} {
			want[field] = append(want[field], fmt.Sprint(n))
		}
	}
	for field := range want {
		if fmt.Sprint(shown[field]) != fmt.Sprint(want[field]) {
			t.Errorf("%s: the page has %v", field, shown[field])
		}
	}
}

func TestStates(t *testing.T) {
	ok := repo.Attempt{Outcome: repo.OutcomeOK}
	for want, a := range map[string]Attempt{
		stateFailed:  {Attempt: repo.Attempt{Outcome: repo.OutcomeFailed}, Kept: true},
		stateExpired: {Attempt: ok, Verified: &repo.Verification{OK: true}},
		stateKept:    {Attempt: ok, Kept: true},
		stateProven:  {Attempt: ok, Kept: true, Verified: &repo.Verification{OK: true}},
		stateDamaged: {Attempt: ok, Kept: true, Verified: &repo.Verification{}},
	} {
		if got := a.state(); got != want {
			t.Errorf("%+v is %s, want %s", a, got, want)
		}
	}
	if a := (Attempt{Attempt: ok, Kept: true, Damaged: true}); a.state() != stateDamaged {
		t.Errorf("%+v is %s", a, a.state())
	}
}

// Days take the best of what they have, and the months are those of the history.
func TestCalendar(t *testing.T) {
	h := sampleHistory(120)
	days := h.days()
	for i := range h.Attempts {
		a := &h.Attempts[i]
		d := days[dayKey(a.Started.In(h.Made.Location()))]
		if d == nil || rankOf(d.best) < rankOf(a.state()) || d.counts[a.state()] == 0 {
			t.Fatalf("%s, %s: the day is %+v", a.ID, a.state(), d)
		}
	}
	months := h.months()
	if n := len(months); n != 4 || months[0].Name != "August 2026" || months[n-1].Name != "November 2026" {
		t.Errorf("%d months, the first is %s", n, months[0].Name)
	}
	for _, m := range months {
		for _, w := range m.Weeks {
			if len(w) != 7 {
				t.Errorf("%s has a week of %d days", m.Name, len(w))
			}
		}
	}
	if n := len(sampleHistory(2000).months()); n != maxMonths {
		t.Errorf("%d months of a long history", n)
	}
}

func TestMergedSpans(t *testing.T) {
	at := func(hour int) time.Time { return now().Add(time.Duration(hour) * time.Hour) }
	got := merged([]Span{{"c", at(8), at(9)}, {"a", at(0), at(5)}, {"b", at(3), at(6)}, {"d", at(6), at(7)},
		{"e", at(4), time.Time{}}})
	if len(got) != 2 || !got[0].Until.Equal(at(7)) || !got[1].From.Equal(at(8)) {
		t.Errorf("merged %v", got)
	}
}

// A forecast follows from the bytes of the last days.
func TestForecast(t *testing.T) {
	h := sampleHistory(60)
	r := newRoom(h)
	var stored int64
	for i := range h.Attempts {
		if a := &h.Attempts[i]; a.Outcome == repo.OutcomeOK && a.Started.After(h.Made.AddDate(0, 0, -rateDays)) {
			stored += a.BytesStored
		}
	}
	days := float64(h.Space.Free) / (float64(stored) / rateDays)
	if want := fmt.Sprintf("the room lasts for %.0f days, until ", days); !strings.Contains(r.Forecast, want) {
		t.Errorf("%q, want %q", r.Forecast, want)
	}
	if r.Chart == nil || r.Class != "" {
		t.Errorf("%+v", r)
	}
	h.Space.Free = stored / rateDays * 5
	if r := newRoom(h); r.Class != "bad" || !strings.Contains(r.Forecast, "5 days") {
		t.Errorf("%+v", r)
	}
	h.Space = nil
	if r := newRoom(h); len(r.Bars) > 0 || r.Forecast == "" {
		t.Errorf("%+v", r)
	}
}

// A graph fits the terminal, whatever its width is, and is in ASCII where nothing else is shown.
func TestGraphFits(t *testing.T) {
	for _, n := range []int{0, 1, 2, 30, 120, 400, 3000} {
		for _, width := range []int{0, 40, 41, 60, 80, 120, 200, 1000} {
			for _, unicode := range []bool{true, false} {
				text := sampleHistory(n).Graph(width, unicode)
				for line := range strings.Lines(text) {
					line = strings.TrimSuffix(line, "\n")
					if cells := len([]rune(line)); cells > min(max(width, MinWidth), MaxWidth) || strings.HasSuffix(line, " ") {
						t.Fatalf("%d attempts at %d: a line of %d: %q", n, width, cells, line)
					}
					if !unicode && strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
						t.Fatalf("%q is no ASCII", line)
					}
				}
			}
		}
	}
	text := sampleHistory(120).Graph(80, true)
	for _, want := range []string{"120 attempts since 2026-08-02, 4 failed", "█", "●", "━", "any moment from",
		"nothing is removed"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	t.Log("\n" + text + sampleHistory(20).Graph(40, false))
}
