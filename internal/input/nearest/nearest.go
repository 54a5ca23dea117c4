// Package nearest finds the names that are most like one that does not exist.
package nearest

import (
	"cmp"
	"slices"
	"strings"

	"github.com/xrash/smetrics"
)

// Most is the largest number of names that Names returns.
const Most = 3

// Names returns up to Most names that are like a mistyped one, the most similar first, and
// nil if none is. Upper and lower case are the same.
func Names(mistyped string, names []string) []string {
	const (
		likeness  = 0.75
		behind    = 0.1 // a name that is so much less like it than the best is none of them
		threshold = 0.7 // parameters of the Jaro-Winkler distance
		prefix    = 4
	)
	type scored struct {
		name  string
		score float64
	}
	var found []scored
	for _, name := range names {
		if score := smetrics.JaroWinkler(strings.ToLower(mistyped), strings.ToLower(name), threshold,
			prefix); score >= likeness {
			found = append(found, scored{name, score})
		}
	}
	slices.SortFunc(found, func(a, b scored) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.name, b.name))
	})
	var best []string
	for _, s := range found[:min(Most, len(found))] {
		if s.score >= found[0].score-behind {
			best = append(best, s.name)
		}
	}
	return best
}
