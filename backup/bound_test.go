package backup

import (
	"strings"
	"testing"
)

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
