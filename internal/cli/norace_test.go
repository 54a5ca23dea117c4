//go:build !race

package cli_test

import "time"

// patience is how long a test waits for mbk.
const patience = 5 * time.Minute

// mostMemory is what a backup may have resident, whatever the size of the data.
const mostMemory = 300 << 20 // bytes
