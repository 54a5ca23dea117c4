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
	for text, want := range map[string]int64{"10%,50B": 50, "1%,50B": 10, "0% , 5GB": 0, "10%,100GB": 100} {
		r, err := ParseReserve(text)
		share, limit, _ := strings.Cut(text, ",")
		said := strings.TrimSpace(share) + ", at most " + strings.TrimSpace(limit)
		if got := r.Of(1000); err != nil || got != want || r.String() != said {
			t.Errorf("%q of 1000 is %d, %v, want %d; it is written as %q, want %q", text, got, err, want, r, said)
		}
	}
	for _, text := range []string{"10%,", "10%,5%", "10%,5", "5GB,10%", "10%,5GB,6GB",
		"", "%", "-1%", "100%", "NaN%", "ten", "-5GB", "10 percent", "99999EB", "20"} {
		if r, err := ParseReserve(text); err == nil {
			t.Errorf("ParseReserve(%q) = %s", text, r)
		}
	}
}

func FuzzParseReserve(f *testing.F) {
	for _, text := range []string{"10%", "99.9%", "20GB", "0", "-1", "NaN%", "1e30", "18446744073709551615", "10%,5GB"} {
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
