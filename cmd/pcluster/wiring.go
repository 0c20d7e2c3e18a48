//go:build !linux

package main

import "github.com/spf13/cobra"

// commands returns the commands that package cli does not know: none here.
func commands() []func() *cobra.Command { return nil }
