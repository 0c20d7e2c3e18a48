package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/spf13/cobra"

	"pcluster/internal/cluster"
	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/facts/catalog"
	"pcluster/internal/facts/live"
	"pcluster/internal/stack"
	"pcluster/internal/validate"
)

type validateOptions struct {
	common
	configurationOptions
	ClusterName string
	Offline     bool
	FactsFile   string
	Facts       []byte
	JSON        bool
}

// Exit statuses of validate beside 0, for a file that passes.
const (
	statusFound     = 1 // something is at or above the level that counts
	statusArguments = 2 // as everywhere
	statusUnasked   = 3 // AWS could not be asked
)

func newValidateCmd(env *Env, run func(context.Context, *Env, validateOptions) error) *cobra.Command {
	var o validateOptions
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Say what is wrong with a cluster or image file",
		Long: "Say what is wrong with a file that describes a cluster or an image, all at once and\n" +
			"with the place in the file. Nothing is created.\n\n" +
			"What the file refers to is looked up in AWS, or in a file of facts, or, with --offline,\n" +
			"not at all: then everything is checked that needs no account, with built-in data on\n" +
			"instance types, and the rest is listed.",
		Annotations: map[string]string{exitStatus: "0 nothing is as bad as --validation-failure-level\n1 something is\n" +
			"2 a mistake in the arguments, or a file that can't be read\n3 AWS could not be asked"},
		Example: "  pcluster validate -c cluster.yaml\n" +
			"  pcluster validate -c cluster.yaml --offline\n" +
			"  pcluster validate -c image.yaml --facts account.yaml --json",
	}
	begin(cmd)
	flags := cmd.Flags()
	flags.VarP(&fileValue{&o.File, &o.Configuration, config.MaxBytes}, "configuration", "c", "YAML file that describes a cluster or an image")
	require(cmd, "configuration")
	flags.VarPF((*switchValue)(&o.Offline), "offline", "", "check only what needs no AWS").NoOptDefVal = "true"
	flags.Var(&fileValue{&o.FactsFile, &o.Facts, maxFacts}, "facts", "YAML or JSON file with what there is in the account, to ask in place of AWS; "+
		"with --offline, what is not in it is left open")
	flags.VarP(&patternValue{option: "cluster-name", pattern: namePattern, target: &o.ClusterName}, "cluster-name", "n", "name that the cluster is going to have, to check it, too")
	flags.Var(manyPatterns(&o.SuppressValidators, "suppress-validators", `^(ALL|type:[A-Za-z0-9]+)$`), "suppress-validators",
		"validators to skip: type:<ValidatorName>, or ALL")
	flags.Var(&choiceValue{[]string{"INFO", "WARNING", "ERROR"}, &o.FailureLevel}, "validation-failure-level",
		"lowest level of a finding that makes the command fail; by default ERROR")
	flags.VarPF((*switchValue)(&o.JSON), "json", "", "print JSON").NoOptDefVal = "true"
	o.common.declare(cmd, true)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		unknown, err := parseArgs(cmd.Flags(), args)
		if refusal, ok := errors.AsType[*cluster.Error](err); ok { // a file that can't be read
			fmt.Fprintln(env.Stderr, "ERROR: "+strings.TrimPrefix(refusal.Body.Message, "Bad Request: "))
			return ExitStatus(statusArguments)
		}
		if err != nil {
			return err
		}
		if len(unknown) > 0 {
			return usagef("unrecognized arguments: %s", strings.Join(unknown, " "))
		}
		close := env.openLog(cmd.Name(), o.Debug)
		defer close()
		return run(cmd.Context(), env, o)
	}
	return cmd
}

func runValidate(ctx context.Context, env *Env, o validateOptions) error {
	level := config.Error
	if o.FailureLevel != "" {
		level, _ = config.ParseLevel(o.FailureLevel) // the option takes levels only
	}
	r := validation{File: o.File, Kind: "cluster"}
	if config.IsImageFile(o.Configuration) {
		r.Kind = "image"
	}
	var source facts.Source
	var region string
	ask := func(own string, c *config.Cluster) (err error) {
		source, region, err = env.factsFor(ctx, o, own, c)
		return err
	}
	if err := r.check(ctx, o, ask, &source, &region); err != nil {
		return err
	}
	problems := r.problems
	if err := env.showValidation(o, &r); err != nil {
		return err
	}
	if len(problems.At(level)) > 0 {
		return ExitStatus(statusFound)
	}
	return nil
}

// factsFor returns whom to ask about a file's account, and its region; own is what
// the file says.
func (env *Env) factsFor(ctx context.Context, o validateOptions, own string, c *config.Cluster) (facts.Source, string, error) {
	region, err := chooseRegion(o.Region, own, env.Getenv)
	if err != nil {
		return nil, "", usagef("%s", strings.TrimPrefix(err.Error(), "Bad Request: "))
	}
	if o.Facts == nil && !o.Offline {
		operator, err := env.operator(ctx, o.common, o.Configuration)
		if err == nil {
			_, err = operator.STS.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		}
		if err != nil {
			fmt.Fprintf(env.Stderr, "ERROR: %s\nWithout AWS, --offline checks what needs no account.\n", cluster.Explain(err))
			return nil, "", ExitStatus(statusUnasked)
		}
		return operator.Facts, operator.Region, nil
	}
	m := &facts.Memory{}
	if o.Facts != nil {
		if m, err = facts.Read(o.Facts); err != nil {
			fmt.Fprintf(env.Stderr, "ERROR: %s: %v\n", o.FactsFile, err)
			return nil, "", ExitStatus(statusArguments)
		}
	}
	m.Partial = o.Offline
	if o.Offline {
		m.Catalog = typeOfCatalog
	} else if len(m.Types) == 0 && c != nil { // types are the same in every account
		m.Types = map[string]facts.InstanceType{}
		for _, name := range facts.Names(c) {
			if t, ok := typeOfCatalog(name); ok {
				m.Types[name] = t
			}
		}
	}
	return m, region, nil
}

func typeOfCatalog(name string) (facts.InstanceType, bool) {
	info, ok := catalog.InstanceType(name)
	if !ok {
		return facts.InstanceType{}, false
	}
	return live.InstanceType(info), true
}

// A validation is what validate prints as JSON.
type validation struct {
	File       string    `json:"file"`
	Kind       string    `json:"kind"` // cluster or image
	Errors     int       `json:"errors"`
	Warnings   int       `json:"warnings"`
	Infos      int       `json:"infos"`
	Findings   []finding `json:"findings"`
	NotChecked []string  `json:"notChecked"` // validators that would have had to ask AWS

	problems config.Problems
}

type finding struct {
	Level   string `json:"level"`
	Type    string `json:"type,omitempty"` // validator
	Path    string `json:"path,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// check judges the file. AWS is asked only about files of the right shape.
func (r *validation) check(ctx context.Context, o validateOptions, ask func(region string, c *config.Cluster) error, source *facts.Source, region *string) error {
	suppress, err := validate.ParseSuppress(o.SuppressValidators)
	if err != nil {
		return usagef("%s", err)
	}
	options := func() validate.Options {
		return validate.Options{ClusterName: o.ClusterName, Region: *region, Suppress: suppress}
	}
	var report validate.Report
	if r.Kind == "image" {
		f, problems := config.ParseImage(o.File, o.Configuration)
		r.problems = problems
		if len(problems.At(config.Error)) == 0 {
			if err := ask(f.Region, nil); err != nil {
				return err
			}
			report = validate.Image(ctx, f, *source, options())
			r.problems = append(r.problems, stack.CheckImageSources(f)...)
		}
	} else {
		c, problems := config.Parse(o.File, o.Configuration)
		r.problems = problems
		if len(problems.At(config.Error)) == 0 {
			if err := ask(c.Region, c); err != nil {
				return err
			}
			report = validate.Cluster(ctx, c, *source, options())
		}
	}
	r.problems = append(r.problems, report.All()...)
	r.NotChecked = report.Unanswered
	r.tidy()
	return nil
}

// tidy puts findings in the order of the file, each once, and counts them.
func (r *validation) tidy() {
	type key struct {
		pos                      config.Pos
		level                    config.Level
		validator, path, message string
	}
	seen := map[key]bool{}
	r.problems = slices.DeleteFunc(r.problems, func(p config.Problem) bool {
		k := key{p.Pos, p.Level, p.Validator, p.Path, p.Message}
		again := seen[k]
		seen[k] = true
		return again
	})
	slices.SortStableFunc(r.problems, func(a, b config.Problem) int {
		if a.Pos.Line != b.Pos.Line {
			return a.Pos.Line - b.Pos.Line
		}
		return a.Pos.Column - b.Pos.Column
	})
	r.Findings = []finding{}
	if r.NotChecked == nil {
		r.NotChecked = []string{}
	}
	for _, p := range r.problems {
		r.Findings = append(r.Findings, finding{p.Level.String(), p.Validator, p.Path, p.Pos.Line, p.Pos.Column, p.Message, p.Hint})
		switch p.Level {
		case config.Error:
			r.Errors++
		case config.Warning:
			r.Warnings++
		default:
			r.Infos++
		}
	}
}

// showValidation prints for whoever reads: JSON if asked for, excerpts on a
// terminal, else one line for each finding.
func (env *Env) showValidation(o validateOptions, r *validation) error {
	if o.JSON {
		text, err := marshal(r)
		if err == nil {
			_, err = fmt.Fprintf(env.Stdout, "%s\n", text)
		}
		return err
	}
	width, terminal := 0, false
	if env.StdoutColumns != nil {
		width, terminal = env.StdoutColumns()
	}
	f := newSourceFile(o.File, o.Configuration, width)
	if !terminal {
		for _, p := range r.problems {
			fmt.Fprintln(env.Stdout, f.line(p))
		}
		fmt.Fprintln(env.Stdout, unstyle(r.summary()))
		if len(r.NotChecked) > 0 {
			fmt.Fprintf(env.Stdout, "not checked, since they need AWS: %s\n", strings.Join(r.NotChecked, ", "))
		}
		return nil
	}
	var out io.Writer = env.Stdout
	if env.Getenv("NO_COLOR") != "" {
		out = plainText{out}
	}
	for _, p := range r.problems {
		f.show(out, p)
		fmt.Fprintln(out)
	}
	fmt.Fprintln(out, r.summary())
	if len(r.NotChecked) > 0 {
		fmt.Fprintf(out, "%sNot checked, since they need AWS:%s\n", dim, reset)
		writeNames(out, r.NotChecked, width)
	}
	return nil
}

// summary counts findings, or says that there are none.
func (r *validation) summary() string {
	var parts []string
	count := func(n int, what, style string) {
		switch {
		case n == 1:
			parts = append(parts, fmt.Sprintf("%s1 %s%s", style, what, reset))
		case n > 1:
			parts = append(parts, fmt.Sprintf("%s%d %ss%s", style, n, what, reset))
		}
	}
	count(r.Errors, "error", red)
	count(r.Warnings, "warning", yellow)
	count(r.Infos, "info", dim)
	if len(parts) == 0 {
		parts = []string{green + "no findings" + reset}
	}
	return fmt.Sprintf("%s%s%s: %s", bold, r.File, reset, strings.Join(parts, ", "))
}

// writeNames writes names of validators in lines that fit, without the ending
// that nearly all have.
func writeNames(w io.Writer, names []string, width int) {
	if width < 40 || width > 120 {
		width = 100
	}
	line := ""
	for i, name := range names {
		name = strings.TrimSuffix(name, "Validator")
		if i < len(names)-1 {
			name += ","
		}
		if line != "" && len(line)+len(name)+3 > width {
			fmt.Fprintf(w, "  %s%s%s\n", dim, line, reset)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += name
	}
	fmt.Fprintf(w, "  %s%s%s\n", dim, line, reset)
}
