package period

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "26h": 26 * time.Hour, "7d": 7 * day, "2w": 14 * day,
		"0.5d": 12 * time.Hour, "0": 0, "0d": 0, "-1d": -day,
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%s is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "7", "1d12h", "1e300d", "NaNd", "seven", "7 d", "0x1dd"} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
}

func TestText(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0": 0, "1m": time.Minute, "90s": 90 * time.Second, "1h": time.Hour, "26h": 26 * time.Hour, "7d": 7 * day,
		"1d": day, "1m30.5s": 90500 * time.Millisecond,
	} {
		got := Text(d)
		if want == "90s" {
			want = "1m30s"
		}
		if got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
		if back, err := Parse(got); err != nil || back != d {
			t.Errorf("%s is read as %v, %v; want %v", got, back, err, d)
		}
	}
}
