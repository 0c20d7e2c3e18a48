package main

import (
	"github.com/spf13/cobra"

	"pcluster/internal/cli"
	"pcluster/internal/cli/component"
	"pcluster/internal/cli/sandbox"
)

// commands returns the commands that package cli does not know: the region for
// one's own machine, which only Linux can be, and what uses it.
func commands(env cli.Env) []func() *cobra.Command {
	return []func() *cobra.Command{
		sandbox.New,
		func() *cobra.Command {
			return component.New(component.Env{AWS: awsOf(env), Try: sandbox.TryComponent})
		},
	}
}
