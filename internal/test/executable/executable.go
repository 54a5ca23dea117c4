// Package executable writes programs for tests to run.
package executable

import (
	"os"
	"syscall"
)

// Write writes a program, readable and executable for all, that can be run at once. A
// process that another goroutine starts during an ordinary write inherits the open
// descriptor for a moment, and running the file then fails with ETXTBSY ("text file busy",
// https://go.dev/issue/22315). Write holds back such starts.
func Write(path string, program []byte) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, program, 0o755)
}
