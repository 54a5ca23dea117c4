//go:build soak

package cli_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"mbk/internal/mariadbtest"
)

// TestSoak is the oracle again and again: MBK_SOAK runs on every version, with
// four sessions of DDL beside the writers, and one line a run.
func TestSoak(t *testing.T) {
	runs, err := strconv.Atoi(os.Getenv("MBK_SOAK"))
	if err != nil || runs < 1 {
		t.Fatalf("MBK_SOAK is %q, want a number of runs", os.Getenv("MBK_SOAK"))
	}
	for run := range runs {
		for _, version := range mariadbtest.Versions() {
			flush := []int{1, 2, 0}[run%3]
			t.Run(fmt.Sprintf("%s run=%d flush=%d", version, run+1, flush), func(t *testing.T) {
				oracle(t, version, profile{flush: flush, storm: 4})
			})
		}
	}
}

// The sizes of the promise: 1 GiB of InnoDB and half a GiB of MyISAM.
func TestSoakLockWindow(t *testing.T) {
	idleWindow(t, 1024, 512)
}
