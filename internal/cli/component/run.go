//go:build unix

package component

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pcluster/internal/component"
	"pcluster/internal/component/act"
)

type runOptions struct {
	phases     string
	parameters []string
	logs       string
	here       bool

	parent   string
	kind     string
	profile  string
	subnet   string
	groups   []string
	document *component.Document
	text     []byte
	file     string
}

func newRun(env Env) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "Run a component on a machine that is thrown away, or on this one",
		Long: "Run a component as the executor of an image build would, and print how it ended. By default, the\n" +
			"local region (pcluster sandbox up) makes a machine for it and removes it afterwards, whatever happens.\n" +
			"With --here, the component changes this machine: use one that can be thrown away. There, a document\n" +
			"that asks for a restart stops.",
		Example: "  pcluster component run packages.yaml --phases build,test\n" +
			"  pcluster component run packages.yaml --phases build --parameters version=4.2.0 --parent-image ami-0123456789abcdef0\n" +
			"  pcluster component run packages.yaml --here",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return run(cmd, env, args[0], o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.phases, "phases", "", "phases to run, with commas between; by default, all")
	f.StringSliceVar(&o.parameters, "parameters", nil, "values of parameters: name=value")
	f.StringVar(&o.logs, "log-directory", "", "folder in which the folder of the log is made; by default, with --here "+act.LogDirectory+", else none")
	f.StringVar(&o.parent, "parent-image", "", "what the machine boots: an AMI, the ARN of an image, or an operating system as in cluster files")
	f.StringVar(&o.kind, "instance-type", "", "type of the machine; by default, one that fits the image")
	f.StringVar(&o.profile, "instance-profile", "", "instance profile whose role the component has, as for S3Download; by default, none")
	f.StringVar(&o.subnet, "subnet-id", "", "subnet of the machine; by default, a network of its own")
	f.StringSliceVar(&o.groups, "security-group-ids", nil, "security groups of the machine")
	f.BoolVar(&o.here, "here", false, "run it on this machine, and change that")
	cmd.MarkFlagsMutuallyExclusive("here", "parent-image")
	cmd.MarkFlagsMutuallyExclusive("here", "instance-type")
	cmd.MarkFlagsMutuallyExclusive("here", "instance-profile")
	cmd.MarkFlagsMutuallyExclusive("here", "subnet-id")
	cmd.MarkFlagsMutuallyExclusive("here", "security-group-ids")
	return cmd
}

func run(cmd *cobra.Command, env Env, file string, o runOptions) (err error) {
	o.file = file
	if o.text, err = os.ReadFile(file); err != nil {
		return err
	}
	doc, problems := component.Parse(o.text)
	show(cmd.ErrOrStderr(), file, o.text, problems)
	if problems.Err() != nil {
		return errors.New("the component can't be run")
	}
	o.document = doc
	phases, err := o.chosen()
	if err != nil {
		return err
	}
	parameters, err := o.values()
	if err != nil {
		return err
	}
	source := component.Source{Document: doc, Path: file, Parameters: parameters}
	if err := source.Check(); err != nil {
		return err
	}
	var summary component.Summary
	if o.here {
		summary, err = runHere(cmd, o, source, phases)
	} else {
		summary, err = runAway(cmd, env, o, source, phases)
	}
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(summary, "", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), string(data))
	if summary.Status == component.Failed {
		return errors.New(summary.FailureMessage)
	}
	return nil
}

// chosen returns the phases to run, in the order of the document.
func (o *runOptions) chosen() ([]string, error) {
	var all []string
	for _, p := range o.document.Phases {
		all = append(all, p.Name)
	}
	if o.phases == "" {
		return all, nil
	}
	wanted := strings.Split(o.phases, ",")
	if none := component.Missing([]*component.Document{o.document}, wanted); len(none) > 0 {
		return nil, fmt.Errorf("%s has no phase %s; it has %s", o.file, strings.Join(none, ", "), strings.Join(all, ", "))
	}
	var out []string
	for _, p := range all {
		for _, w := range wanted {
			if p == w {
				out = append(out, p)
			}
		}
	}
	return out, nil
}

// values reads the parameters that are given.
func (o *runOptions) values() (map[string]string, error) {
	out := map[string]string{}
	for _, p := range o.parameters {
		name, value, ok := strings.Cut(p, "=")
		if !ok {
			return nil, fmt.Errorf("parameter %q: write name=value", p)
		}
		if !slices.ContainsFunc(o.document.Parameters, func(known component.Parameter) bool { return known.Name == name }) {
			return nil, fmt.Errorf("%s has no parameter %s", o.file, name)
		}
		out[name] = value
	}
	return out, nil
}

// runHere runs the component on this machine.
func runHere(cmd *cobra.Command, o runOptions, source component.Source, phases []string) (none component.Summary, err error) {
	fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s is run on this machine and changes it\n", o.file)
	parent := o.logs
	if parent == "" {
		parent = act.LogDirectory
	}
	dir, id, err := act.NewLogFolder(parent, time.Now())
	if err != nil {
		return none, fmt.Errorf("log folder (another --log-directory?): %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, act.DocumentFile), o.text, 0o600); err != nil {
		return none, err
	}
	e := &act.Executor{Dir: dir, ExecutionID: id, Sources: []component.Source{source}, Phases: phases, Machine: act.Here(),
		Console: func(line string) { fmt.Fprintln(cmd.ErrOrStderr(), line) }}
	result, err := e.Run(cmd.Context())
	if _, ok := errors.AsType[*component.Reboot](err); ok {
		return none, errors.New("the component wants the machine restarted, and stops here; see " + dir)
	}
	if err != nil {
		return none, err
	}
	return result.Summary(dir), nil
}

// runAway runs the component on a machine of the region.
func runAway(cmd *cobra.Command, env Env, o runOptions, source component.Source, phases []string) (none component.Summary, err error) {
	if env.Try == nil {
		return none, errors.New("this system has no local region to run the component in: say --here if this machine is meant")
	}
	dir := ""
	if o.logs != "" {
		if dir, _, err = act.NewLogFolder(o.logs, time.Now()); err != nil {
			return none, fmt.Errorf("log folder: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, act.DocumentFile), o.text, 0o600); err != nil {
			return none, err
		}
	}
	machine := ""
	var lost error // of the log
	outcome, err := env.Try(cmd.Context(), component.Trial{
		Name: o.file, Document: string(o.text), Phases: phases, Parameters: source.Parameters,
		ParentImage: o.parent, InstanceType: o.kind, InstanceProfile: o.profile, Subnet: o.subnet, SecurityGroups: o.groups,
	}, func(e component.TrialEvent) {
		switch {
		case e.Machine != "":
			machine = e.Machine
			fmt.Fprintf(cmd.ErrOrStderr(), "machine %s is made for %s, and removed afterwards\n", machine, o.file)
		case e.File != "":
			if dir != "" {
				lost = errors.Join(lost, keep(dir, e.File, e.Data))
			}
		default:
			fmt.Fprintln(cmd.ErrOrStderr(), e.Line)
		}
	})
	if errors.Is(err, context.Canceled) && machine != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "interrupted: the region removes the machine %s\n", machine)
	}
	if err := errors.Join(err, lost); err != nil {
		return none, err
	}
	return outcome.Summary(dir), nil
}

// keep writes a file of a machine's log into our folder.
func keep(dir, name string, data []byte) error {
	path := filepath.Join(dir, filepath.Clean("/"+name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}
