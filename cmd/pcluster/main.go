// Command pcluster creates and operates HPC clusters from one file.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"pcluster/internal/cli"
)

func main() {
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		restore() // a second Ctrl-C need not wait for the first one's clean-up
	}()
	// Caught, not ignored, so that a write to a closed pipe is an error, and
	// programs that we start are as ever.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	env := cli.System()
	env.Commands = commands()
	os.Exit(cli.Run(ctx, os.Args[1:], env))
}
