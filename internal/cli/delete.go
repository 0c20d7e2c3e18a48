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
	cmd := &cobra.Command{Use: "delete-cluster", Short: "Delete a cluster and everything that its stack owns"}
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

// A message is an answer that says one thing.
type message struct {
	Message string `json:"message"`
}
