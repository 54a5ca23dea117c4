// Command mbk takes hot physical backups of MariaDB servers, proves that they
// restore, and restores them. Everything it does is in package cli.
package main

import (
	"context"
	"os"
	"runtime/debug"
	"syscall"

	"mbk/internal/cli"
	"mbk/internal/sys/signals"
)

func main() {
	// A crash of Go's runtime would end with 2, which means bad usage here.
	debug.SetTraceback("crash")
	var core syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_CORE, &core) == nil {
		core.Cur = 0 // what is in memory, passwords among it, belongs in no file
		_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &core)
	}
	os.Exit(cli.Run(signals.Notify(context.Background()), cli.Process()))
}
