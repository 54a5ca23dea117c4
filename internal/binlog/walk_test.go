package binlog_test

import (
	"slices"
	"strings"
	"testing"

	"mbk/internal/binlog"
)

func TestWalk(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		from, start string
		log         string // transactions that are passed
		after       string // those of them that come after the position
		at          string
		open        bool // the position was not met
		missed      bool
	}{
		{name: "no position, no log"},
		{name: "the beginning of the log", log: "0-1-1,0-1-2", after: "0-1-1,0-1-2", at: "0-1-2"},
		{name: "at the start", from: "0-1-5", start: "0-1-5", log: "0-1-6", after: "0-1-6", at: "0-1-6"},
		{name: "later in the log", from: "0-1-5", start: "0-1-3", log: "0-1-4,0-1-5,0-1-6", after: "0-1-6", at: "0-1-6"},
		{name: "at the end of the log", from: "0-1-5", start: "0-1-3", log: "0-1-4,0-1-5", at: "0-1-5"},
		{name: "after the log", from: "0-1-5", start: "0-1-3", log: "0-1-4", at: "0-1-5", open: true},
		{name: "before the log", from: "0-1-5", start: "0-1-7", log: "0-1-8", at: "0-1-5", open: true, missed: true},
		{name: "an empty log", from: "0-1-5", start: "0-1-3", at: "0-1-5", open: true},
		{name: "the number of another server", from: "0-1-5", start: "0-1-3", log: "0-1-4,0-2-5", at: "0-1-5",
			open: true, missed: true},
		{name: "another server at the start", from: "0-1-5", start: "0-2-5", log: "0-2-6", at: "0-1-5",
			open: true, missed: true},
		{name: "a server that goes on after another", from: "0-1-5", start: "0-1-4", log: "0-1-5,0-2-6",
			after: "0-2-6", at: "0-2-6"},
		{name: "two domains, one later", from: "0-1-5,1-1-2", start: "0-1-5,1-1-1", log: "0-1-6,1-1-2,0-1-7,1-1-3",
			after: "0-1-6,0-1-7,1-1-3", at: "0-1-7,1-1-3"},
		{name: "two domains, one not met", from: "0-1-5,1-1-2", start: "0-1-4,1-1-1", log: "0-1-5,0-1-6",
			after: "0-1-6", at: "0-1-6,1-1-2", open: true},
		{name: "two domains, one missed", from: "0-1-5,1-1-2", start: "0-1-5,1-2-1", log: "1-2-2,0-1-6",
			after: "0-1-6", at: "0-1-6,1-1-2", open: true, missed: true},
		{name: "a domain that is new", from: "0-1-5", start: "0-1-5", log: "7-1-1,0-1-6", after: "7-1-1,0-1-6",
			at: "0-1-6,7-1-1"},
		{name: "a new domain before the position is met", from: "0-1-5", start: "0-1-4", log: "7-1-1,0-1-5",
			after: "7-1-1", at: "0-1-5,7-1-1"},
		{name: "a domain of the log that the position does not know", from: "0-1-5", start: "0-1-5,3-1-9",
			log: "3-1-10", after: "3-1-10", at: "0-1-5,3-1-10"},
		{name: "a domain of the position that the start does not know", from: "0-1-5,1-1-1", start: "0-1-5",
			log: "1-1-1,1-1-2", after: "1-1-2", at: "0-1-5,1-1-2"},
		{name: "numbers that leave some out", from: "0-1-5", start: "0-1-1", log: "0-1-3,0-1-5,0-1-9", after: "0-1-9",
			at: "0-1-9"},
		{name: "numbers that go back after the position", from: "0-1-5", start: "0-1-5", log: "0-2-3", after: "0-2-3",
			at: "0-2-3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			position := func(text string) binlog.Position {
				p, err := binlog.ParsePosition(text)
				if err != nil {
					t.Fatal(err)
				}
				return p
			}
			from := position(c.from)
			w := binlog.NewWalk(from, position(c.start))
			var after []string
			for _, text := range strings.FieldsFunc(c.log, func(r rune) bool { return r == ',' }) {
				g, err := binlog.ParseGTID(text)
				if err != nil {
					t.Fatal(err)
				}
				known := w.After(g)
				if w.Pass(g) != known {
					t.Errorf("%s: After says %v, Pass %v", g, known, !known)
				}
				if known {
					after = append(after, text)
				}
			}
			want := strings.FieldsFunc(c.after, func(r rune) bool { return r == ',' })
			if !slices.Equal(after, want) {
				t.Errorf("after the position %v, want %v", after, want)
			}
			if w.At().String() != c.at || w.Met() == c.open || w.Missed() != c.missed {
				t.Errorf("at %q, met %v, missed %v; want %q, %v, %v", w.At(), w.Met(), w.Missed(), c.at, !c.open, c.missed)
			}
			if from.String() != position(c.from).String() {
				t.Errorf("the position was changed to %s", from)
			}
		})
	}
}
