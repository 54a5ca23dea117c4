package backup

import (
	"strings"
	"testing"
)

func TestParseReserve(t *testing.T) {
	for text, want := range map[string]int64{"10%": 100, " 2.5 %": 25, "0%": 0, "0": 0, "99.9%": 999, "20B": 20, "2kB": 2000, "1KiB": 1024} {
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

func TestBounds(t *testing.T) {
	for _, c := range []struct {
		text  string
		value float64
		want  bool
	}{
		{"a>5", 5, false}, {"a>5", 5.5, true}, {"a >= 5", 5, true}, {"a>=5", 4, false}, {"a<5", 4, true}, {"a<5", 5, false},
		{"a<=5", 5, true}, {" a = -5 ", -5, true}, {"a=5", 6, false}, {"A_b9>1e3", 1001, true},
	} {
		b, err := ParseBound(c.text)
		if err != nil {
			t.Errorf("ParseBound(%q): %v", c.text, err)
			continue
		}
		if got := b.passed(c.value); got != c.want {
			t.Errorf("%q of %v is %v", c.text, c.value, got)
		}
	}
	for _, text := range []string{"", "a", "a>", ">5", "a b>5", "a=>5", "a>5 ms", "a!=5", "'a'>5", "a>five"} {
		if b, err := ParseBound(text); err == nil {
			t.Errorf("ParseBound(%q) = %+v", text, b)
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

func FuzzParseBound(f *testing.F) {
	for _, text := range []string{"Threads_running>200", " a <= 1e3 ", "a=NaN", "a>>1", "a>0x10"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ParseBound(text)
		if err == nil && (b.variable != strings.ToLower(b.variable) || b.value != b.value) {
			t.Errorf("%q is %+v", text, b)
		}
	})
}
