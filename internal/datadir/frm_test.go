package datadir

import (
	"testing"
)

func FuzzParseDefinition(f *testing.F) {
	f.Add([]byte("TYPE=VIEW\nquery=select 1"))
	f.Add(append([]byte{0xfe, 1, 10, 12, 3, 0, 0, 16, 1}, make([]byte, 200)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, err := parseDefinition(b); err == nil && d.Kind == "" {
			t.Error("a definition without a kind")
		}
	})
}
