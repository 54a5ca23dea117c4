package printable_test

import (
	"encoding/json"
	"testing"
	"unicode"
	"unicode/utf8"

	"mbk/internal/ui/printable"
)

func TestText(t *testing.T) {
	for _, c := range []struct{ name, in, want, lines string }{
		{"plain", "orders of 2026", "orders of 2026", ""},
		{"letters of all kinds", "Bestellungen größer 注文　ñ €", "Bestellungen größer 注文　ñ €", ""},
		{"a terminal's commands", "\x1b]0;PWNED\x07\x1b[31m", `\x1b]0;PWNED\x07\x1b[31m`, ""},
		{"the same in one character of C1", "\u009b31m", `\u009b31m`, ""},
		{"the same as a byte", "\x9b31m", `\x9b31m`, ""},
		{"lines and columns", "a\nb\tc\rd", `a\nb\tc\rd`, "a\nb\tc" + `\rd`},
		{"zero and delete", "\x00\x7f", `\x00\u007f`, ""},
		{"direction", "a\u202egnp.exe\u2066", `a\u202egnp.exe\u2066`, ""},
		{"invisible", "a\u200b\ufeff\u00adb", `a\u200b\ufeff\u00adb`, ""},
		{"other ends of lines", "a\u2028b\u2029c\u0085d", `a\u2028b\u2029c\u0085d`, ""},
		{"a tag beyond 16 bits", "a\U000e0041", `a\udb40\udc41`, ""},
		{"not UTF-8", "a\xffb\xc3", `a\xffb\xc3`, ""},
		{"the replacement character itself", "\ufffd", "\ufffd", ""},
		{"a backslash", `a\nb`, `a\nb`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := printable.Text(c.in); got != c.want || printable.Text(got) != got {
				t.Errorf("Text(%q) = %q, want %q", c.in, got, c.want)
			}
			want := c.lines
			if want == "" {
				want = c.want
			}
			if got := printable.Lines(c.in); got != want {
				t.Errorf("Lines(%q) = %q, want %q", c.in, got, want)
			}
		})
	}
}

func TestTable(t *testing.T) {
	if got, want := printable.Table("a`b", "c\nd`"), "`a``b`.`c\\nd```"; got != want {
		t.Errorf("Table = %s, want %s", got, want)
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\x1b[31m\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := printable.Text(s)
		for _, r := range got {
			if !unicode.IsPrint(r) && !unicode.Is(unicode.Zs, r) {
				t.Fatalf("Text(%q) = %q", s, got)
			}
		}
		// What is printed as JSON stays JSON, and says the same.
		if !utf8.ValidString(s) {
			return
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back string
		if err := json.Unmarshal([]byte(printable.Lines(string(b))), &back); err != nil || back != s {
			t.Fatalf("%q became %q, %v", s, back, err)
		}
	})
}
