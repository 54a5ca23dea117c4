//go:build !race

package cli_test

// mostMemory is what a backup may have resident, whatever the size of the data.
const mostMemory = 300 << 20 // bytes
