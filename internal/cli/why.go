package cli

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

type whyOptions struct {
	common
	Cluster string
	About   string // job or node
	Name    string
	JSON    bool
	SSH     []string // options of ssh
}

// whyPatterns are the questions that can be asked, with the names that fit.
var whyPatterns = map[string]*regexp.Regexp{
	"job":  regexp.MustCompile(`^\d+([_+]\d+)?$`),
	"node": regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`),
}

func newWhyCmd(env *Env, run func(context.Context, *Env, whyOptions) error) *cobra.Command {
	var o whyOptions
	cmd := &cobra.Command{
		Use:   "why",
		Short: "Say what keeps a job or a node, how long each stage took, and what to do",
		Long: "Say what keeps a job or a compute node, or what became of it: what Slurm asked for, what EC2 gave or refused, " +
			"how long each stage took, and what can be done about it.\n\n" +
			"The head node is asked, with ssh; arguments that pcluster does not know are options of ssh. " +
			"On the head node itself, pcluster-why job 42 says the same.",
		Annotations: map[string]string{
			positional: "{job,node} NAME",
			exitStatus: "1 there is no head node, or ssh could not be run; the status of ssh itself is not passed on",
		},
		Example: "  pcluster why -n demo job 42 -i ~/.ssh/key.pem\n" +
			"  pcluster why -n demo job 42_7\n" +
			"  pcluster why -n demo node queue1-dy-c5-3 --json",
	}
	begin(cmd)
	flags := cmd.Flags()
	flags.VarP((*textValue)(&o.Cluster), "cluster-name", "n", "name of the cluster")
	require(cmd, "cluster-name")
	flags.VarPF((*switchValue)(&o.JSON), "json", "", "print JSON").NoOptDefVal = "true"
	return plain(env, cmd, &o.common, true, true, func(ctx context.Context, rest []string) error {
		i := slices.IndexFunc(rest, func(s string) bool { return whyPatterns[s] != nil })
		if i < 0 || i+1 >= len(rest) {
			return usagef("say what the question is about: job ID, or node NAME")
		}
		o.About, o.Name, o.SSH = rest[i], rest[i+1], slices.Concat(rest[:i], rest[i+2:])
		if !whyPatterns[o.About].MatchString(o.Name) {
			return usagef("%s is not the name of a %s", quote(o.Name), o.About)
		}
		return run(ctx, env, o)
	})
}

func runWhy(ctx context.Context, env *Env, o whyOptions) error {
	operator, err := env.operator(ctx, o.common, nil)
	if err != nil {
		return fatalf("Unable to ask the head node of the cluster %s.\n%w", o.Cluster, err)
	}
	login, err := operator.HeadNodeLogin(ctx, o.Cluster)
	if err != nil {
		return fatalf("Unable to ask the head node of the cluster %s.\n%w", o.Cluster, err)
	}
	words := []string{"ssh"}
	for _, arg := range o.SSH {
		words = append(words, shellQuote(arg))
	}
	words = append(words, login.User+"@"+login.Address, nodeProgram, "why", o.About, o.Name)
	if o.JSON {
		words = append(words, "--json")
	}
	line := strings.Join(words, " ")
	env.log.Info("SSH command: " + line)
	if err := env.Shell(line); err != nil {
		return fatalf("run ssh: %w", err)
	}
	return nil
}

// nodeProgram is pcluster-node on the head node.
const nodeProgram = "/opt/parallelcluster/bin/pcluster-node"
