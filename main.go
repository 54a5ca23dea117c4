// Command mbk takes hot physical backups of MariaDB servers, proves that they
// restore, and restores them. Everything it does is in package cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"mbk/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once
	}()
	os.Exit(cli.Run(ctx, cli.Process()))
}
