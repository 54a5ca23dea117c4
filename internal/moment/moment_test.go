package moment

import (
	"errors"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	for text, want := range map[string]string{ // in UTC; "" for an error
		"2026-11-30T11:59:00Z":            "2026-11-30T11:59:00Z",
		"2026-11-30T11:59:00.25+01:00":    "2026-11-30T10:59:00.25Z",
		"2026-11-30 11:59:00+01:00":       "2026-11-30T10:59:00Z",
		"2026-11-30 11:59:00 -05:30":      "2026-11-30T17:29:00Z",
		"2026-11-30 11:59:00 UTC":         "2026-11-30T11:59:00Z",
		"2026-11-30 11:59:00 CET":         "", // which of them?
		"2026-11-30 11:59:00":             "2026-11-30T10:59:00Z",
		"2026-07-30 11:59":                "2026-07-30T09:59:00Z",
		"2026-11-30T11:59:00.5":           "2026-11-30T10:59:00.5Z",
		"2026-10-25 02:30:00":             "", // twice
		"2026-10-25 03:30:00":             "2026-10-25T02:30:00Z",
		"2026-03-29 02:30:00":             "", // never
		"2026-02-30 11:59:00":             "",
		"tomorrow":                        "",
		"":                                "",
		"2026-11-30":                      "",
		"1795309647":                      "",
		"2026-11-30 11:59:00 and a while": "",
	} {
		m, err := Parse(text, berlin)
		at, ok := m.Time()
		switch {
		case want == "" && !errors.Is(err, ErrMoment):
			t.Errorf("%q is %s, %v; want an error", text, at, err)
		case want != "" && (err != nil || !ok || at.UTC().Format(time.RFC3339Nano) != want):
			t.Errorf("%q is %s, %v; want %s", text, at.UTC().Format(time.RFC3339Nano), err, want)
		}
	}
	for text, ok := range map[string]bool{"end": true, "gtid:0-1-5": true, "before-gtid:0-1-5": true, "gtid:": false,
		"gtid:0-1-5,1-1-1": false, "gtid:0-1": false, "END": false, "position:binlog.000001:4": true,
		"position:binlog.000001": false, "position:binlog:4": false, "position:/var/lib/binlog.000001:4": false,
		"position:binlog.000001:3": false, "position:binlog.000001:x": false, "position:b.1.000001:4294967400": true} {
		m, err := Parse(text, time.UTC)
		if (err == nil) != ok || err != nil && !errors.Is(err, ErrMoment) || m.String() != text {
			t.Errorf("Parse(%q) = %v, %v", text, m, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("2026-11-30 11:59:00.5 +01:00")
	f.Add("before-gtid:0-1-5")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := Parse(text, time.UTC)
		if err == nil && m.String() != text {
			t.Errorf("%q became %q", text, m)
		}
	})
}
