package restore

import (
	"slices"
	"testing"

	"mbk/internal/binlog"
	"mbk/internal/moment"
)

// A server keeps no order between the domains when it replicates in parallel.
func TestWaysOf(t *testing.T) {
	for _, c := range []struct {
		name, from, to string
		want           Way
	}{
		{"one domain", "0-1-7", "0-1-9", WayParallel},
		{"one of two goes on", "0-1-7,1-1-3", "0-2-9,1-1-3", WayParallel},
		{"two go on", "0-1-7,1-1-3", "0-1-9,1-1-4", WaySingle},
		{"a new one", "0-1-7", "0-1-9,5-1-1", WaySingle},
		{"from the beginning", "", "0-1-9", WayParallel},
	} {
		from, err := binlog.ParsePosition(c.from)
		if err != nil {
			t.Fatal(err)
		}
		to, err := binlog.ParsePosition(c.to)
		if err != nil {
			t.Fatal(err)
		}
		ways := waysOf(&moment.Path{From: from, To: to})
		if ways[0] != c.want || !slices.Contains(ways, WaySession) {
			t.Errorf("%s: the ways are %q, want %q first", c.name, ways, c.want)
		}
	}
}
