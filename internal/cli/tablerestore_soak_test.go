//go:build soak

package cli_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// tablesKilledAtRandom kills mbk and the server at random moments of restores of tables into it, while
// others write and change definitions.
func tablesKilledAtRandom(t *testing.T, version string, round int) string {
	random := rand.New(rand.NewPCG(uint64(round), 7))
	moments := func(n int) (list []int) {
		for range n {
			list = append(list, 1+random.IntN(30))
		}
		slices.Sort(list)
		return list
	}
	return tablesKilled(t, version, moments(6), moments(4), true)
}

// serverKilledInImports kills the server when a file lies in its data directory that it imports next.
func serverKilledInImports(t *testing.T, version string) string {
	const times = 4
	for range times {
		killedInImport(t, version)
	}
	return fmt.Sprintf("%d servers killed twice", times)
}
