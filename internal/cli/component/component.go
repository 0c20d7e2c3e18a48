//go:build unix

// Package component is the `pcluster component` command: image components checked
// and run on this machine. It parses arguments and prints; the language and its
// actions are internal/component's. Start at [New].
package component

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pcluster/internal/component"
	"pcluster/internal/component/act"
	"pcluster/internal/config"
)

// New returns the command with its subcommands.
func New() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "component",
		Short: "Check and run image components before Image Builder does",
		Long: "Check and run image components: documents in the language of AWS's Task Orchestrator and\n" +
			"Executor, of which EC2 Image Builder makes images.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newValidate(), newRun())
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

type runOptions struct {
	phases     string
	parameters []string
	logs       string
	here       bool
}

func newRun() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run FILE --here",
		Short: "Run a component on this machine, as the executor of an image build would",
		Long: "Run a component on this machine, as the executor of an image build would, and print how it\n" +
			"ended. It changes this machine: use one that can be thrown away. A document that asks for a\n" +
			"restart stops there.",
		Example: "  pcluster component run packages.yaml --phases build,test --here",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return run(cmd, args[0], o) },
	}
	cmd.Flags().StringVar(&o.phases, "phases", "", "phases to run, with commas between; by default, all")
	cmd.Flags().StringSliceVar(&o.parameters, "parameters", nil, "values of parameters: name=value")
	cmd.Flags().StringVar(&o.logs, "log-directory", act.LogDirectory, "folder in which the folder of the log is made")
	cmd.Flags().BoolVar(&o.here, "here", false, "really change this machine")
	return cmd
}

func run(cmd *cobra.Command, file string, o runOptions) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	doc, problems := component.Parse(data)
	show(cmd.ErrOrStderr(), file, data, problems)
	if problems.Err() != nil {
		return errors.New("the component can't be run")
	}
	if !o.here {
		return errors.New("the component would change this machine: say --here if that is meant")
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s is run on this machine and changes it\n", file)
	source := component.Source{Document: doc, Path: file, Parameters: map[string]string{}}
	for _, p := range o.parameters {
		name, value, ok := strings.Cut(p, "=")
		if !ok {
			return fmt.Errorf("parameter %q: write name=value", p)
		}
		source.Parameters[name] = value
	}
	var phases []string
	if o.phases != "" {
		phases = strings.Split(o.phases, ",")
		if none := component.Missing([]*component.Document{doc}, phases); len(none) > 0 {
			return fmt.Errorf("%s has no phase %s", file, strings.Join(none, ", "))
		}
	}
	dir, id, err := act.NewLogFolder(o.logs, time.Now())
	if err != nil {
		return fmt.Errorf("log folder (another --log-directory?): %w", err)
	}
	if err := os.WriteFile(dir+"/"+act.DocumentFile, data, 0o600); err != nil {
		return err
	}
	e := &act.Executor{Dir: dir, ExecutionID: id, Sources: []component.Source{source}, Phases: slices.Clip(phases), Machine: act.Here(),
		Console: func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }}
	result, err := e.Run(cmd.Context())
	if _, ok := errors.AsType[*component.Reboot](err); ok {
		return errors.New("the component wants the machine restarted, and stops here; see " + dir)
	}
	if err != nil {
		return err
	}
	summary, err := json.MarshalIndent(result.Summary(dir), "", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), string(summary))
	if result.Status == component.Failed {
		return errors.New(result.FailureMessage)
	}
	return nil
}
