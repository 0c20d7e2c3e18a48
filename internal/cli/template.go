package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"pcluster/internal/cluster"
	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/stack"
)

type templateOptions struct {
	validateOptions
	Nested string
	All    bool
}

// onPaper is the account of templates that are made without asking AWS.
const onPaper = "111122223333"

// regionOnPaper is the region of those whose file names none.
const regionOnPaper = "us-east-1"

func newTemplateCmd(env *Env, run func(context.Context, *Env, templateOptions) error) *cobra.Command {
	var o templateOptions
	cmd := &cobra.Command{
		Use:   "template",
		Short: "Print the CloudFormation template of a cluster file",
		Long: "Print the CloudFormation template that create-cluster would make of a file, as JSON.\n" +
			"Nothing is created, and nothing is validated beyond the form of the file.\n\n" +
			"A cluster is a stack with others in it: QueuesStack for its queues, or several if they\n" +
			"are too much for one, and LoginNodesStack if it has login nodes. --nested prints one of\n" +
			"those, and --all all of them in one object; the cluster's own is Cluster there.\n\n" +
			"What the template needs to know of the account is asked of AWS, or of a file of facts, or,\n" +
			"with --offline, assumed and told on standard error. What only a creation knows is zeros:\n" +
			"the same file gives the same bytes.",
		Annotations: map[string]string{exitStatus: "0 the template is printed\n1 none can be made of the file\n" +
			"2 a mistake in the arguments, or a file that can't be read\n3 AWS could not be asked"},
		Example: "  pcluster template -c cluster.yaml --offline\n" +
			"  pcluster template -c cluster.yaml --offline --nested QueuesStack\n" +
			"  pcluster template -c cluster.yaml --facts account.yaml --all",
	}
	begin(cmd)
	flags := cmd.Flags()
	flags.VarP(&fileValue{&o.File, &o.Configuration, config.MaxBytes}, "configuration", "c", "YAML file that describes a cluster")
	require(cmd, "configuration")
	flags.VarPF((*switchValue)(&o.Offline), "offline", "", "don't ask AWS; assume what is not known").NoOptDefVal = "true"
	flags.Var(&fileValue{&o.FactsFile, &o.Facts, maxFacts}, "facts", "YAML or JSON file with what there is in the account, to ask in place of AWS; "+
		"with --offline, what is not in it is assumed")
	flags.VarP(&patternValue{option: "cluster-name", pattern: namePattern, target: &o.ClusterName}, "cluster-name", "n", "name of the cluster; by default cluster")
	flags.Var((*textValue)(&o.Nested), "nested", "print the template of this nested stack")
	flags.VarPF((*switchValue)(&o.All), "all", "", "print all templates in one object").NoOptDefVal = "true"
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
		if o.All && o.Nested != "" {
			return usagef("argument --nested: not allowed with argument --all")
		}
		close := env.openLog(cmd.Name(), o.Debug)
		defer close()
		return run(cmd.Context(), env, o)
	}
	return cmd
}

func runTemplate(ctx context.Context, env *Env, o templateOptions) error {
	fail := func(format string, args ...any) error {
		fmt.Fprintf(env.Stderr, "ERROR: "+format+"\n", args...)
		return ExitStatus(statusFound)
	}
	if config.IsImageFile(o.Configuration) {
		return fail("%s describes an image; template prints the templates of clusters", o.File)
	}
	c, problems := config.Parse(o.File, o.Configuration)
	if wrong := problems.At(config.Error); len(wrong) > 0 {
		f := newSourceFile(o.File, o.Configuration, 0)
		for _, p := range wrong {
			fmt.Fprintln(env.Stderr, f.line(p))
		}
		return ExitStatus(statusFound)
	}
	templates, err := env.preview(ctx, o, c)
	if _, wrong := errors.AsType[*usageError](err); wrong {
		return err
	}
	if _, told := errors.AsType[ExitStatus](err); told {
		return err
	}
	if err != nil {
		return fail("%s", cluster.Explain(err))
	}
	text, err := chosenTemplate(templates, o)
	if err != nil {
		return fail("%s", err)
	}
	_, err = env.Stdout.Write(append(text, '\n'))
	return err
}

// preview makes the templates with facts from where the options say.
func (env *Env) preview(ctx context.Context, o templateOptions, c *config.Cluster) (*stack.Templates, error) {
	source, region, err := env.factsFor(ctx, o.validateOptions, c.Region, c)
	if err != nil {
		return nil, err
	}
	p := cluster.Preview{Name: o.ClusterName, Region: region, Account: onPaper}
	if p.Name == "" {
		p.Name = "cluster"
	}
	if o.Facts == nil && !o.Offline {
		operator, err := env.operator(ctx, o.common, o.Configuration)
		if err != nil {
			return nil, err
		}
		if p.Account, _, err = operator.Owner(ctx); err != nil {
			return nil, err
		}
		return p.Templates(ctx, c, source)
	}
	assumptions := []string{"the account is " + p.Account}
	if p.Region == "" {
		p.Region = regionOnPaper
		assumptions = append(assumptions, "the region is "+p.Region)
	}
	var mu sync.Mutex
	source = facts.Assumed(source, p.Region, func(text string) {
		mu.Lock()
		defer mu.Unlock()
		assumptions = append(assumptions, text)
	})
	templates, err := p.Templates(ctx, c, source)
	if err != nil {
		return nil, err
	}
	slices.Sort(assumptions)
	fmt.Fprintf(env.Stderr, "AWS was not asked; the template assumes that:\n")
	for _, text := range slices.Compact(assumptions) {
		fmt.Fprintf(env.Stderr, "  %s\n", text)
	}
	return templates, nil
}

// chosenTemplate returns what the options ask for, indented.
func chosenTemplate(t *stack.Templates, o templateOptions) ([]byte, error) {
	body := t.Root
	switch {
	case o.All:
		all := map[string]json.RawMessage{"Cluster": t.Root}
		for _, n := range t.Nested {
			all[n.ID] = n.Body
		}
		var out bytes.Buffer
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		if err := e.Encode(all); err != nil {
			return nil, err
		}
		body = bytes.TrimSpace(out.Bytes())
	case o.Nested != "":
		var names []string
		body = nil
		for _, n := range t.Nested {
			names = append(names, n.ID)
			if n.ID == o.Nested {
				body = n.Body
			}
		}
		if body == nil {
			return nil, fmt.Errorf("the cluster has no stack %s, but %s", o.Nested, strings.Join(names, " and "))
		}
	}
	var out bytes.Buffer
	err := json.Indent(&out, body, "", "  ")
	return out.Bytes(), err
}
