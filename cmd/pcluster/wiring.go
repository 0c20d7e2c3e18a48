//go:build !linux && !darwin

package main

import (
	"github.com/spf13/cobra"

	"pcluster/internal/cli"
)

// commands returns the commands that package cli does not know: none here.
func commands(cli.Env) []func() *cobra.Command { return nil }
