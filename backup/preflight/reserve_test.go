package preflight

import (
	"strings"
	"testing"
)

func TestParseReserve(t *testing.T) {
	for text, want := range map[string]int64{"10%": 100, " 2.5 %": 25, "0%": 0, "0": 0, "99.9%": 999, "20B": 20,
		"2kB": 2000, "1KiB": 1024} {
		r, err := ParseReserve(text)
		if err != nil {
			t.Errorf("ParseReserve(%q): %v", text, err)
			continue
		}
		if got := r.Of(1000); got != want {
			t.Errorf("%q of 1000 is %d, want %d", text, got, want)
		}
		if r.String() != text {
			t.Errorf("%q is written as %q", text, r)
		}
	}
	for _, text := range []string{"", "%", "-1%", "100%", "NaN%", "ten", "-5GB", "10 percent", "99999EB", "20"} {
		if r, err := ParseReserve(text); err == nil {
			t.Errorf("ParseReserve(%q) = %s", text, r)
		}
	}
}

func FuzzParseReserve(f *testing.F) {
	for _, text := range []string{"10%", "99.9%", "20GB", "0", "-1", "NaN%", "1e30", "18446744073709551615"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseReserve(text)
		if err != nil {
			return
		}
		const total = 1 << 40
		if of := r.Of(total); of < 0 || strings.HasSuffix(strings.TrimSpace(text), "%") && of > total {
			t.Errorf("%q of %d is %d", text, total, of)
		}
	})
}
