package main

import (
	"github.com/spf13/cobra"

	"pcluster/internal/cli/component"
	"pcluster/internal/cli/sandbox"
)

// commands returns the commands that package cli does not know: the region for
// one's own machine, which only Linux can be.
func commands() []func() *cobra.Command { return []func() *cobra.Command{sandbox.New, component.New} }
