package main

import (
	"github.com/spf13/cobra"

	"pcluster/internal/cli"
)

// commands returns the commands that package cli does not know.
func commands() []func(*cli.Env) *cobra.Command { return nil }
