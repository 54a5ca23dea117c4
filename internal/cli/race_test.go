//go:build race

package cli_test

import "time"

// patience is how long a test waits for mbk. The race detector makes it slower than the servers
// that it has to catch up with.
const patience = 20 * time.Minute

// mostMemory is larger than what is promised: the race detector keeps books of all memory.
const mostMemory = 1 << 30 // bytes resident
