package cli

import (
	"bytes"
	"cmp"
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
	"pcluster/internal/image"
	"pcluster/internal/stack"
)

type templateOptions struct {
	validateOptions
	ImageID string
	Nested  string
	All     bool
}

// onPaper is the account of templates that are made without asking AWS.
const onPaper = "111122223333"

// regionOnPaper is the region of those whose file names none.
const regionOnPaper = "us-east-1"

func newTemplateCmd(env *Env, run func(context.Context, *Env, templateOptions) error) *cobra.Command {
	var o templateOptions
	cmd := &cobra.Command{
		Use:   "template",
		Short: "Print the CloudFormation template of a cluster or image file",
		Long: "Print the CloudFormation template that create-cluster or build-image would make of a\n" +
			"file, as JSON. Nothing is created, and nothing is validated beyond the form of the file.\n\n" +
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
			"  pcluster template -c cluster.yaml --facts account.yaml --all\n" +
			"  pcluster template -c image.yaml --offline",
	}
	begin(cmd)
	flags := cmd.Flags()
	flags.VarP(&fileValue{&o.File, &o.Configuration, config.MaxBytes}, "configuration", "c", "YAML file that describes a cluster or an image")
	require(cmd, "configuration")
	flags.VarPF((*switchValue)(&o.Offline), "offline", "", "don't ask AWS; assume what is not known").NoOptDefVal = "true"
	flags.Var(&fileValue{&o.FactsFile, &o.Facts, maxFacts}, "facts", "YAML or JSON file with what there is in the account, to ask in place of AWS; "+
		"with --offline, what is not in it is assumed")
	flags.VarP(&patternValue{option: "cluster-name", pattern: namePattern, target: &o.ClusterName}, "cluster-name", "n", "name of the cluster; by default cluster")
	flags.VarP(&patternValue{option: "image-id", pattern: namePattern, target: &o.ImageID}, "image-id", "i", "ID of the image; by default image")
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
	text, problems, err := env.templateOf(ctx, o)
	if wrong := problems.At(config.Error); len(wrong) > 0 {
		f := newSourceFile(o.File, o.Configuration, 0)
		for _, p := range wrong {
			fmt.Fprintln(env.Stderr, f.line(p))
		}
		return ExitStatus(statusFound)
	}
	if _, wrong := errors.AsType[*usageError](err); wrong {
		return err
	}
	if _, told := errors.AsType[ExitStatus](err); told {
		return err
	}
	if err != nil {
		return fail("%s", cluster.Explain(err))
	}
	_, err = env.Stdout.Write(append(text, '\n'))
	return err
}

// templateOf returns what is to be printed of a file, or its mistakes.
func (env *Env) templateOf(ctx context.Context, o templateOptions) ([]byte, config.Problems, error) {
	if config.IsImageFile(o.Configuration) {
		if o.Nested != "" || o.All || o.ClusterName != "" {
			return nil, nil, usagef("%s describes an image: --nested, --all and --cluster-name are for clusters", o.File)
		}
		f, problems := config.ParseImage(o.File, o.Configuration)
		if len(problems.At(config.Error)) > 0 {
			return nil, problems, nil
		}
		p := image.Preview{ID: cmp.Or(o.ImageID, "image")}
		var body []byte
		err := env.preview(ctx, o, f.Region, nil, func(account, region string, source facts.Source) (err error) {
			p.Account, p.Region = account, region
			body, err = p.Template(ctx, f, source)
			return err
		})
		if err != nil {
			return nil, nil, err
		}
		body, err = indented(body)
		return body, nil, err
	}
	if o.ImageID != "" {
		return nil, nil, usagef("%s describes a cluster: --image-id is for images", o.File)
	}
	c, problems := config.Parse(o.File, o.Configuration)
	if len(problems.At(config.Error)) > 0 {
		return nil, problems, nil
	}
	p := cluster.Preview{Name: cmp.Or(o.ClusterName, "cluster")}
	var made *stack.Templates
	err := env.preview(ctx, o, c.Region, c, func(account, region string, source facts.Source) (err error) {
		p.Account, p.Region = account, region
		made, err = p.Templates(ctx, c, source)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if own := c.DevSettings.ClusterTemplate; own != "" {
		fmt.Fprintf(env.Stderr, "create-cluster will take %s (DevSettings/ClusterTemplate) in place of the template below.\n", own)
	}
	text, err := chosenTemplate(made, o)
	return text, nil, err
}

// preview has a template made with account, region and facts from where the options
// say; own is the region that the file names, c the cluster if it is one's file.
func (env *Env) preview(ctx context.Context, o templateOptions, own string, c *config.Cluster, synthesize func(account, region string, source facts.Source) error) error {
	source, region, err := env.factsFor(ctx, o.validateOptions, own, c)
	if err != nil {
		return err
	}
	if o.Facts == nil && !o.Offline {
		operator, err := env.operator(ctx, o.common, o.Configuration)
		if err != nil {
			return err
		}
		account, _, err := operator.Owner(ctx)
		if err != nil {
			return err
		}
		return synthesize(account, region, source)
	}
	assumptions := []string{"the account is " + onPaper}
	if region == "" {
		region = regionOnPaper
		assumptions = append(assumptions, "the region is "+region)
	}
	var mu sync.Mutex
	source = facts.Assumed(source, region, func(text string) {
		mu.Lock()
		defer mu.Unlock()
		assumptions = append(assumptions, text)
	})
	if err := synthesize(onPaper, region, source); err != nil {
		return err
	}
	slices.Sort(assumptions)
	fmt.Fprintf(env.Stderr, "AWS was not asked; the template assumes that:\n")
	for _, text := range slices.Compact(assumptions) {
		fmt.Fprintf(env.Stderr, "  %s\n", text)
	}
	return nil
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
	return indented(body)
}

// indented writes JSON for people.
func indented(body []byte) ([]byte, error) {
	var out bytes.Buffer
	err := json.Indent(&out, body, "", "  ")
	return out.Bytes(), err
}
