package cli

import (
	"context"

	"github.com/spf13/cobra"

	"pcluster/internal/cluster"
)

type deleteOptions struct {
	common
	Cluster string
	Wait    bool
}

func newDeleteClusterCmd(env *Env, run func(context.Context, *Env, deleteOptions) (any, error)) *cobra.Command {
	var o deleteOptions
	cmd := &cobra.Command{
		Use:   "delete-cluster",
		Short: "Delete a cluster and everything that its stack owns",
		Long: "Delete a cluster and everything that its stack owns: instances, file systems that the file does not keep, " +
			"and the files that pcluster uploaded. Logs stay, unless the file says otherwise.",
		Example: "  pcluster delete-cluster -n demo --wait",
	}
	begin(cmd)
	clusterName(cmd, &o.Cluster)
	waitOption(cmd, &o.Wait, "wait until the cluster is deleted and show on stderr how far it is")
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

// waitOption declares --wait.
func waitOption(cmd *cobra.Command, target *bool, usage string) {
	cmd.Flags().VarPF((*switchValue)(target), "wait", "", usage).NoOptDefVal = "true"
}

func runDeleteCluster(ctx context.Context, env *Env, o deleteOptions) (any, error) {
	operator, err := env.operator(ctx, o.common, nil)
	if err != nil {
		return nil, err
	}
	deleting, err := operator.Delete(ctx, o.Cluster)
	if err != nil || !o.Wait {
		return result(deleting, err)
	}
	end, err := env.follow(ctx, operator, deleting.Cluster, cluster.DeleteInProgress)
	if err != nil {
		return nil, err
	}
	if end.Status != cluster.DeleteComplete {
		return nil, &cluster.Error{Status: 500, Body: cluster.ErrorBody{Message: "Cluster '" + o.Cluster + "' was not deleted: " + end.cause() + "."}}
	}
	return message{"Successfully deleted cluster '" + o.Cluster + "'."}, nil
}

type deleteInstancesOptions struct {
	common
	Cluster string
	Force   bool
}

func newDeleteClusterInstancesCmd(env *Env, run func(context.Context, *Env, deleteInstancesOptions) (any, error)) *cobra.Command {
	var o deleteInstancesOptions
	cmd := &cobra.Command{
		Use:   "delete-cluster-instances",
		Short: "Terminate the compute nodes of a cluster",
		Long: "Terminate the compute nodes of a cluster, whatever runs on them. Prints nothing. While the compute fleet " +
			"runs, static nodes come back: stop it first with update-compute-fleet.",
		Example: "  pcluster delete-cluster-instances -n demo",
	}
	begin(cmd)
	clusterName(cmd, &o.Cluster)
	cmd.Flags().Var(&boolValue{option: "force", target: &o.Force}, "force", "terminate them even if the cluster's stack is not there; by default false")
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

func runDeleteClusterInstances(ctx context.Context, env *Env, o deleteInstancesOptions) (any, error) {
	operator, err := env.operator(ctx, o.common, nil)
	if err != nil {
		return nil, err
	}
	return nil, operator.DeleteInstances(ctx, o.Cluster, o.Force)
}

// A message is an answer that says one thing.
type message struct {
	Message string `json:"message"`
}
