package main

import (
	"github.com/spf13/cobra"

	"pcluster/internal/cli"
	"pcluster/internal/cli/component"
)

// commands returns the commands that package cli does not know.
func commands(env cli.Env) []func() *cobra.Command {
	return []func() *cobra.Command{
		func() *cobra.Command { return component.New(component.Env{AWS: awsOf(env)}) },
	}
}
