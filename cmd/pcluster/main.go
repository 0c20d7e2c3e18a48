// Command pcluster creates and operates HPC clusters from one file.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
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

	// Commands live for milliseconds and need little memory: collecting garbage at
	// every 4 MiB costs them more than it gives. The region's daemon lives long.
	if os.Getenv("GOGC") == "" && (len(os.Args) < 2 || os.Args[1] != "sandbox") {
		debug.SetGCPercent(cli.GCPercent)
	}

	env := cli.System()
	env.Commands = commands(env)
	os.Exit(cli.Run(ctx, os.Args[1:], env))
}
