// Package apt gets what tests need from Debian's package manager.
package apt

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"time"
)

// patience is how long Install waits for another apt to end.
const patience = 5 * time.Minute

// locked is what apt says while another one is at work.
var locked = regexp.MustCompile(`Could not get lock|Unable to (lock|acquire)`)

// Install installs packages, with apt's lists made anew before. Services are not started. It may
// be called by several processes at once. The error has what apt said.
func Install(packages ...string) error {
	until := time.Now().Add(patience)
	for _, args := range [][]string{
		{"update", "-qq"}, append([]string{"install", "-qq", "-y", "--no-install-recommends"}, packages...),
	} {
		for {
			cmd := exec.Command("apt-get", args...)
			cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
			out, err := cmd.CombinedOutput()
			if err == nil {
				break
			}
			if !locked.Match(out) || time.Now().After(until) {
				return fmt.Errorf("apt-get %s for %v: %w: %s", args[0], packages, err, out)
			}
			time.Sleep(time.Second)
		}
	}
	return nil
}
