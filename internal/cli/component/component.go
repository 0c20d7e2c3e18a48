//go:build unix

// Package component is the `pcluster component` command: image components checked,
// run and listed. It parses arguments and prints; the language and its actions are
// internal/component's. Start at [New].
package component

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/spf13/cobra"

	"pcluster/internal/component"
	"pcluster/internal/config"
)

// An Env is what the command uses of its surroundings.
type Env struct {
	// AWS returns the SDK's configuration for a region; empty: that of the
	// environment.
	AWS func(ctx context.Context, region string) (aws.Config, error)
	// Try runs a document on a machine that is made for it; nil: this system can't.
	Try func(context.Context, component.Trial, func(component.TrialEvent)) (*component.Outcome, error)
}

// New returns the command with its subcommands.
func New(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "component",
		Short: "Check, run and list image components",
		Long: "Check and run image components: documents in the language of AWS's Task Orchestrator and\n" +
			"Executor, of which EC2 Image Builder makes images.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newValidate(), newRun(env), newList(env))
	return cmd
}

func newValidate() *cobra.Command {
	return &cobra.Command{
		Use:     "validate FILE ...",
		Short:   "Say what is wrong with components, all at once and with the place",
		Example: "  pcluster component validate packages.yaml",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			bad := 0
			for _, file := range files {
				data, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				doc, problems := component.Parse(data)
				show(cmd.ErrOrStderr(), file, data, problems)
				if problems.Err() != nil {
					bad++
					continue
				}
				var phases []string
				for _, p := range doc.Phases {
					phases = append(phases, fmt.Sprintf("%s (%d steps)", p.Name, len(p.Steps)))
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s is valid: %s\n", file, strings.Join(phases, ", "))
			}
			if bad > 0 {
				return fmt.Errorf("%d of %d components can't be used", bad, len(files))
			}
			return nil
		},
	}
}

// show prints problems with the line of the file and a caret below it.
func show(w io.Writer, file string, data []byte, problems config.Problems) {
	lines := strings.Split(string(data), "\n")
	for _, p := range problems {
		place := file
		if p.Pos != (config.Pos{}) {
			place += ":" + p.Pos.String()
		}
		fmt.Fprintf(w, "%s: %s: %s\n", place, strings.ToLower(p.Level.String()), p.Message)
		if p.Pos.Line >= 1 && p.Pos.Line <= len(lines) {
			source := strings.ReplaceAll(lines[p.Pos.Line-1], "\t", " ")
			fmt.Fprintf(w, "%5d | %s\n      | %s^\n", p.Pos.Line, source, strings.Repeat(" ", max(p.Pos.Column-1, 0)))
		}
		if p.Hint != "" {
			fmt.Fprintf(w, "      = hint: %s\n", p.Hint)
		}
	}
}
