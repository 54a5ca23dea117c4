package repo

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestParseID(t *testing.T) {
	local := time.FixedZone("CET", 3600)
	started := time.Date(2026, 11, 21, 21, 18, 6, 999, local)
	id := NewID(started, KindFull)
	if id != "20261121T201806Z-full" {
		t.Fatalf("NewID = %q", id)
	}
	got, kind, err := ParseID(id)
	if err != nil || !got.Equal(started.Truncate(time.Second)) || kind != KindFull {
		t.Errorf("ParseID(%q) = %v, %q, %v", id, got, kind, err)
	}
	for _, bad := range []string{
		"", "latest", "20261121T201806Z", "20261121T201806Z-", "20261121T201806Z-f", "20261121T201806Z-Full",
		"20261121T201806Z-full/x", "20261121T201806Z-full-x", "20261321T201806Z-full", "20261121T201806.5Z-full",
		"20261121T201806Z-f..l", " 20261121T201806Z-full", "20261121T201806Z-" + strings.Repeat("f", 21), "../../etc-full",
		"+0261121T201806Z-full",
	} {
		if _, _, err := ParseID(bad); err == nil {
			t.Errorf("ParseID(%q) succeeded", bad)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("20261121T201806Z-full")
	f.Add("20261121T201806.1Z-full")
	f.Fuzz(func(t *testing.T, id string) {
		started, kind, err := ParseID(id)
		if err == nil && NewID(started, kind) != id {
			t.Errorf("ParseID(%q) = %v, %q, which is %q", id, started, kind, NewID(started, kind))
		}
	})
}

func TestResolve(t *testing.T) {
	r, st := newRepository(t)
	var unknown *UnknownError
	if _, err := r.Resolve(t.Context(), Latest); !errors.As(err, &unknown) || err.Error() != "no backup in memory" {
		t.Errorf("in an empty repository: %v", err)
	}
	first := mustBackUp(t, r, "2026-11-20 20:00:00")
	second := mustBackUp(t, r, "2026-11-21 08:00:00")
	third := mustBackUp(t, r, "2026-11-21 20:18:06")
	// A newer attempt failed, and one died: neither is a backup.
	failed := NewID(at(t, "2026-11-22 20:00:00"), KindFull)
	if err := r.PutAttempt(t.Context(),
		Attempt{ID: failed, Outcome: OutcomeFailed, Error: "redo log overwritten"}); err != nil {
		t.Fatal(err)
	}
	dead := NewID(at(t, "2026-11-23 20:00:00"), KindFull)
	if err := st.Put(t.Context(), Folder(dead)+"/data-0001.pack", noWrite); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, ask, want, says string }{
		{"latest", Latest, third, ""},
		{"the one before", Latest + "~1", second, ""},
		{"the oldest", Latest + "~2", first, ""},
		{"none before", Latest + "~3", "", `no backup "latest~3" in memory; there are ` + third},
		{"no number", Latest + "~x", "", "no backup"},
		{"a time", "0800", second, ""},
		{"a time with seconds", "201806", third, ""},
		{"a time as in an id", "T2018", third, ""},
		{"a time as in lists", at(t, "2026-11-21 20:18:06").Local().Format("15:04"), third, ""},
		{"a beginning, and no time", "2026", "", `"2026" stands for 3 backups`},
		{"no time", "0801", "", "no backup"},
		{"a whole id", second, second, ""},
		{"a unique beginning", "20261120", first, ""},
		{"a longer unique beginning", "20261121T08", second, ""},
		{"several", "20261121", "", `"20261121" stands for 2 backups in memory: ` + third + ", " + second},
		{"unknown", "20251121", "", `no backup "20251121" in memory; there are ` + third + ", " + second + ", " + first},
		{"empty", "", "", `no backup "" in memory; there are`},
		{"a failed attempt", failed, "", "that attempt failed: redo log overwritten"},
		{"a dead attempt", dead, "", "no backup"},
		{"hostile", "../../etc/passwd", "", "no backup"},
		{"the end of an id", "full", "", "no backup"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := r.Resolve(t.Context(), c.ask)
			if got != c.want || (err != nil) != (c.says != "") {
				t.Fatalf("Resolve = %q, %v; want %q", got, err, c.want)
			}
			if c.says != "" && (!errors.As(err, &unknown) || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("Resolve = %v, want it to say %q", err, c.says)
			}
		})
	}
	for day := range 9 {
		mustBackUp(t, r, "2026-12-0"+string(rune('1'+day))+" 00:00:00")
	}
	_, err := r.Resolve(t.Context(), "1999")
	if want := "20261205T000000Z-full and 7 more"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("Resolve among 12 = %v, want ...%s", err, want)
	}
}

func TestFreshID(t *testing.T) {
	r, st := newRepository(t)
	start := at(t, "2026-11-21 23:59:58")
	want := func(want string) {
		t.Helper()
		if got, err := r.FreshID(t.Context(), start, KindFull); got != want || err != nil {
			t.Errorf("FreshID = %q, %v; want %q", got, err, want)
		}
	}
	want("20261121T235958Z-full")
	mustBackUp(t, r, "2026-11-21 23:59:58")
	want("20261121T235959Z-full")
	// Just failed and rolled back: its record must not be overwritten.
	if err := r.PutAttempt(t.Context(), Attempt{ID: "20261121T235959Z-full", Outcome: OutcomeFailed}); err != nil {
		t.Fatal(err)
	}
	want("20261122T000000Z-full")
	if err := st.Put(t.Context(), "backups/20261122T000000Z-full/data-0001.pack", noWrite); err != nil {
		t.Fatal(err)
	}
	want("20261122T000001Z-full")
	// Ids sort by time, so two kinds of backups are not begun in one second either.
	if err := st.Put(t.Context(), "backups/20261122T000001Z-incr/manifest.json", noWrite); err != nil {
		t.Fatal(err)
	}
	want("20261122T000002Z-full")
	if err := r.PutAttempt(t.Context(), Attempt{ID: "20261122T000002Z-failed", Outcome: OutcomeFailed}); err != nil {
		t.Fatal(err)
	}
	want("20261122T000003Z-full")
}
