//go:build soak

package cli_test

import (
	"testing"

	"mbk/internal/test/mariadbtest"
)

// chainOfRound is a chain under the DDL storm. In each round its members follow upon
// other steps: SOAK=10 SOAK_ONLY="chain of" makes ten chains in a row on each version, and
// all of them are under writers on all engines.
func chainOfRound(t *testing.T, version string, round int) string {
	return chain(t, version, chainProfile{
		increments: 5, storm: 2, seed: uint64(round),
		fill: &mariadbtest.Fill{InnoDBMiB: 16, MyISAMMiB: 4, AriaMiB: 4},
	})
}
