package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"pcluster/internal/cluster"
)

type createOptions struct {
	common
	configurationOptions
	Cluster           string
	RollbackOnFailure bool
	Wait              bool
}

func newCreateClusterCmd(env *Env, run func(context.Context, *Env, createOptions) (any, error)) *cobra.Command {
	var o createOptions
	o.RollbackOnFailure = true
	cmd := &cobra.Command{
		Use:   "create-cluster",
		Short: "Create a cluster from a file",
		Long: "Create a cluster from a file. The file is validated first. The command ends when the creation has begun; " +
			"describe-cluster tells how far it is, or --wait stays to show it.",
		Example: "  pcluster create-cluster -n demo -c cluster.yaml --dryrun true\n" +
			"  pcluster create-cluster -n demo -c cluster.yaml --rollback-on-failure false --wait",
		Annotations: map[string]string{exitStatus: "1 refused or failed: the answer is a message, with what is wrong with the file; " +
			"also a dry run that has found nothing wrong"},
	}
	begin(cmd)
	clusterName(cmd, &o.Cluster)
	o.declareFile(cmd, "cluster-configuration", "YAML file that describes the cluster")
	cmd.Flags().Var(&boolValue{option: "rollback-on-failure", target: &o.RollbackOnFailure}, "rollback-on-failure",
		"remove what was created if the creation fails; by default true")
	waitOption(cmd, &o.Wait, "wait until the cluster is created, show on stderr how far it is, and print the result of describe-cluster")
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

func runCreateCluster(ctx context.Context, env *Env, o createOptions) (any, error) {
	operator, err := env.operator(ctx, o.common, o.Configuration)
	if err != nil {
		return nil, err
	}
	created, err := operator.Create(ctx, cluster.CreateRequest{
		Name: o.Cluster, Configuration: o.Configuration, File: o.File, SuppressValidators: o.SuppressValidators,
		FailureLevel: o.FailureLevel, DryRun: o.DryRun, RollbackOnFailure: o.RollbackOnFailure,
	})
	if err != nil && ctx.Err() != nil {
		fmt.Fprintf(env.Stderr, "Interrupted before the stack of cluster %s existed. %s\n", o.Cluster, leftovers(err))
	}
	if err != nil || !o.Wait {
		return result(created, err)
	}
	writeMessages(env.Stderr, created.ValidationMessages)
	end, err := env.follow(ctx, operator, created.Cluster, cluster.CreateInProgress)
	if err != nil {
		return nil, err
	}
	description, err := result(operator.Describe(ctx, o.Cluster))
	if err == nil && end.Status != cluster.CreateComplete {
		err = ExitStatus(1)
	}
	return description, err
}

// leftovers says what an interrupted creation left.
func leftovers(err error) string {
	if left, ok := errors.AsType[*cluster.LeftError](err); ok {
		return "But " + left.Error() + "."
	}
	return "Nothing of it is left."
}

func interrupted(s cluster.Summary, begun cluster.Status) string {
	at := "--cluster-name " + s.ClusterName + " --region " + s.Region
	if begun == cluster.DeleteInProgress {
		return fmt.Sprintf("The deletion of cluster %s goes on without this command. To follow it:\n  pcluster delete-cluster %s --wait\n", s.ClusterName, at)
	}
	return fmt.Sprintf("The creation of cluster %s goes on without this command. To follow it:\n  pcluster describe-cluster %s --query clusterStatus\nTo undo it:\n  pcluster delete-cluster %s\n", s.ClusterName, at, at)
}
