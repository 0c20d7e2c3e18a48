package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// newRoot returns the program with its commands, in the order of its help.
func newRoot(env *Env) *cobra.Command {
	env.Stdout = &brokenPipe{Writer: env.Stdout}
	root := &cobra.Command{
		Use:               "pcluster",
		Long:              "pcluster creates and operates HPC clusters on AWS from one file, as AWS ParallelCluster 3 does.",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.Flags().BoolP("help", "h", false, "show this help and exit")
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetIn(env.Stdin)
	root.SetHelpCommand(&cobra.Command{Use: "help", Hidden: true, RunE: func(*cobra.Command, []string) error { return errHelp }})
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { writeHelp(env.Stdout, cmd) })
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err.Error()} })
	commands := []*cobra.Command{
		newListClustersCmd(env, runListClusters),
		newCreateClusterCmd(env, runCreateCluster),
		newDeleteClusterCmd(env, runDeleteCluster),
		newDescribeClusterCmd(env, runDescribeCluster),
		newUpdateClusterCmd(env, notYet[updateOptions]("update-cluster")),
		newDescribeComputeFleetCmd(env, runDescribeComputeFleet),
		newUpdateComputeFleetCmd(env, runUpdateComputeFleet),
		newDeleteClusterInstancesCmd(env, runDeleteClusterInstances),
		newDescribeClusterInstancesCmd(env, runDescribeClusterInstances),
		newListClusterLogStreamsCmd(env, runListClusterLogStreams),
		newGetClusterLogEventsCmd(env, runGetClusterLogEvents),
		newGetClusterStackEventsCmd(env, runGetClusterStackEvents),
		newListImagesCmd(env, runListImages),
		newBuildImageCmd(env, runBuildImage),
		newDeleteImageCmd(env, runDeleteImage),
		newDescribeImageCmd(env, runDescribeImage),
		newListImageLogStreamsCmd(env, runListImageLogStreams),
		newGetImageLogEventsCmd(env, runGetImageLogEvents),
		newGetImageStackEventsCmd(env, runGetImageStackEvents),
		newListOfficialImagesCmd(env, runListOfficialImages),
		newConfigureCmd(env, runConfigure),
		newValidateCmd(env, runValidate),
		newTemplateCmd(env, runTemplate),
		newDCVConnectCmd(env, runDCVConnect),
		newExportClusterLogsCmd(env, runExportClusterLogs),
		newExportImageLogsCmd(env, runExportImageLogs),
		newSSHCmd(env, runSSH),
		newWhyCmd(env, runWhy),
		newVersionCmd(env, runVersion),
	}
	commands = append(commands, newConfigCmd(env), newCompletionCmd(env, runCompletion), newCompleteCmd(env))
	for _, extra := range env.Commands {
		commands = append(commands, extra())
	}
	for i, c := range commands {
		if c.Annotations == nil {
			c.Annotations = map[string]string{}
		}
		c.Annotations[position] = fmt.Sprintf("%03d", i)
		root.AddCommand(c)
	}
	return root
}

// position is the annotation that keeps commands in our order; by itself, the
// library sorts them by name.
const position = "position"

// positional is the annotation that says what a command takes beside options.
const positional = "positional"

// inOrder returns the commands below one that help shows.
func inOrder(cmd *cobra.Command) []*cobra.Command {
	list := slices.DeleteFunc(slices.Clone(cmd.Commands()), func(c *cobra.Command) bool { return c.Hidden })
	slices.SortStableFunc(list, func(a, b *cobra.Command) int {
		return strings.Compare(a.Annotations[position], b.Annotations[position])
	})
	return list
}

// common are the options that commands share.
type common struct {
	Region string
	Query  string
	Debug  bool
}

// begin prepares a command whose arguments parseArgs reads. Options show in the
// order in which they are declared, help first.
func begin(cmd *cobra.Command) {
	cmd.DisableFlagParsing = true
	cmd.Flags().SortFlags = false
	cmd.Flags().VarPF(new(switchValue), "help", "h", "show this help and exit").NoOptDefVal = "true"
}

// declare adds the options that all commands have, and --region where it makes
// sense.
func (c *common) declare(cmd *cobra.Command, region bool) {
	flags := cmd.Flags()
	flags.VarPF((*switchValue)(&c.Debug), "debug", "", "write more to the log file").NoOptDefVal = "true"
	if region {
		flags.VarP((*textValue)(&c.Region), "region", "r", "AWS Region that the operation corresponds to")
	}
}

// exitStatus is the annotation with exit statuses that mean other or more than
// they do in all commands: lines of number and meaning.
const exitStatus = "exit-status"

// An operation is a command that prints one JSON document and takes --query.
// The document is printed even with an error, if there is one.
func operation(env *Env, cmd *cobra.Command, c *common, run func(context.Context) (any, error)) *cobra.Command {
	c.declare(cmd, true)
	cmd.Flags().Var((*textValue)(&c.Query), "query", "JMESPath query to perform on the output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		unknown, err := parseArgs(cmd.Flags(), args)
		if err != nil {
			return answer(err)
		}
		if len(unknown) > 0 {
			return unknownArguments(unknown)
		}
		close := env.openLog(cmd.Name(), c.Debug)
		defer close()
		env.log.Debug("Arguments: " + quoteAll(args))
		if err := checkQuery(cmd.Name(), c.Query); err != nil {
			return answer(err)
		}
		result, err := run(cmd.Context())
		if result != nil {
			if perr := env.printResult(result, c.Query); perr != nil && err == nil {
				err = perr
			}
		}
		return answer(err)
	}
	return cmd
}

// plain is a command that prints text. If it forwards, it gets what it does not
// know itself.
func plain(env *Env, cmd *cobra.Command, c *common, region, forwards bool, run func(ctx context.Context, forwarded []string) error) *cobra.Command {
	c.declare(cmd, region)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		unknown, err := parseArgs(cmd.Flags(), args)
		if err != nil {
			return answer(err)
		}
		if len(unknown) > 0 && !forwards {
			return unknownArguments(unknown)
		}
		close := env.openLog(cmd.Name(), c.Debug)
		defer close()
		env.log.Debug("Arguments: " + quoteAll(args))
		return run(cmd.Context(), unknown)
	}
	return cmd
}

// require marks an option that must be given.
func require(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.Flags().SetAnnotation(name, required, []string{"true"}); err != nil {
			panic(fmt.Sprintf("%s: %v", cmd.Name(), err)) // a typing error of ours
		}
	}
}

// clusterName declares -n, which nearly every command has.
func clusterName(cmd *cobra.Command, target *string) {
	cmd.Flags().VarP(&patternValue{option: "cluster-name", pattern: namePattern, target: target}, "cluster-name", "n", "name of the cluster")
	require(cmd, "cluster-name")
}
