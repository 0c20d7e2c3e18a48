// Command pcluster-node runs on the nodes of a cluster: it boots them, keeps the
// compute fleet and ships logs. It is also what slurmctld starts to power nodes up
// and down, and the function that cleans up behind a deleted stack.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"pcluster/internal/node"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(node.Run(ctx, os.Args, os.Stdout, os.Stderr))
}
