package cli

import (
	"context"

	"github.com/spf13/cobra"
)

type updateOptions struct {
	common
	configurationOptions
	Cluster string
	Force   bool
	Wait    bool
}

func newUpdateClusterCmd(env *Env, run func(context.Context, *Env, updateOptions) (any, error)) *cobra.Command {
	var o updateOptions
	cmd := &cobra.Command{
		Use:   "update-cluster",
		Short: "Change a cluster into what a file describes",
		Long: "Change a cluster into what a file describes. The answer lists what changes; a change that the cluster " +
			"can't take in its present state is refused, with what to do first.",
		Annotations: map[string]string{exitStatus: "1 refused or failed: the answer is a message, with what can't be changed; " +
			"also a dry run that has found nothing wrong"},
		Example: "  pcluster update-cluster -n demo -c cluster.yaml --dryrun true\n  pcluster update-cluster -n demo -c cluster.yaml",
	}
	begin(cmd)
	clusterName(cmd, &o.Cluster)
	o.declareFile(cmd, "cluster-configuration", "YAML file that describes the cluster as it shall be")
	cmd.Flags().Var(&boolValue{option: "force-update", target: &o.Force}, "force-update", "update even if a change is not supported; by default false")
	waitOption(cmd, &o.Wait, "wait until the cluster is updated and print the result of describe-cluster")
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}
