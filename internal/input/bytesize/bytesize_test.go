package bytesize

import (
	"errors"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "0B": 0, "1B": 1, "100MB": 100e6, "4GiB": 4 << 30, "4 gib": 4 << 30, "1.5K": 1500, "1,000 KB": 1e6,
		"10": -1, "10.5": -1, "": -2, " 7 ": -2, "MB": -2, "-1MB": -2, "9EB": 9e18, "99EB": -2, "1MB/s": -2,
	} {
		got, err := Parse(text)
		switch {
		case want == -1 && !errors.Is(err, ErrUnit), want == -2 && (err == nil || errors.Is(err, ErrUnit)), want >= 0 &&
			(err != nil || got != want):
			t.Errorf("Parse(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"0", "10", "20GB", "1e9B", ",", "9223372036854775808B"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := Parse(text); n < 0 || err != nil && n != 0 {
			t.Errorf("Parse(%q) = %d, %v", text, n, err)
		}
	})
}
