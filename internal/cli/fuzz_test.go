package cli

import (
	"strings"
	"testing"
)

// An address of a mail is a part of what was given, and none is lost.
func FuzzAddresses(f *testing.F) {
	for _, text := range []string{"a@b, c@d", `"Doe, J" <j@d>`, ",,", `"`, "ä@ö,"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rest := text
		for _, one := range addresses(text) {
			_, after, found := strings.Cut(rest, one)
			if one == "" || strings.TrimSpace(one) != one || !found {
				t.Errorf("%q has the address %q", text, one)
			}
			rest = after
		}
		lost := strings.TrimSpace(strings.ReplaceAll(rest, ",", " "))
		if lost != "" && !strings.Contains(text, `"`) {
			t.Errorf("%q: %q is lost", text, lost)
		}
	})
}
