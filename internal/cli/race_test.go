//go:build race

package cli_test

// mostMemory is larger than what is promised: the race detector keeps books of all memory.
const mostMemory = 1 << 30 // bytes resident
