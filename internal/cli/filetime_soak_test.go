//go:build soak

package cli_test

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// fileTimesEverywhere takes every file system, each with another way of writing in each
// round, so that after as many rounds as there are ways every pair had its turn.
func fileTimesEverywhere(t *testing.T, version string, round int) string {
	all := writings(version)
	var mu sync.Mutex
	var told []string
	turns := make(chan bool, 4) // servers at a time; most of their time is rest
	t.Run("all", func(t *testing.T) {
		for i, system := range fileSystems() {
			how := all[(round+i)%len(all)]
			t.Run(system.name+", "+how.name, func(t *testing.T) {
				t.Parallel()
				turns <- true
				defer func() { <-turns }()
				text := fileTimes(t, version, system, how, 1100*time.Millisecond)
				mu.Lock()
				defer mu.Unlock()
				told = append(told, text)
			})
		}
	})
	return strings.Join(told, "; ")
}
