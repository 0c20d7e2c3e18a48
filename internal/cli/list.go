package cli

import (
	"context"

	"github.com/spf13/cobra"

	"pcluster/internal/cluster"
)

type listOptions struct {
	common
	NextToken string
	Statuses  []string
}

func newListClustersCmd(env *Env, run func(context.Context, *Env, listOptions) (any, error)) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:     "list-clusters",
		Short:   "List the clusters of a region",
		Example: "  pcluster list-clusters --query 'clusters[].[clusterName, clusterStatus]'\n  pcluster list-clusters --cluster-status CREATE_FAILED DELETE_FAILED",
	}
	begin(cmd)
	cmd.Flags().Var((*textValue)(&o.NextToken), "next-token", "token of the next page, from the answer with the page before")
	cmd.Flags().Var(manyChoices(&o.Statuses, cluster.FilterStatuses), "cluster-status", "only clusters in one of these statuses; by default, all")
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

func runListClusters(ctx context.Context, env *Env, o listOptions) (any, error) {
	operator, err := env.operator(ctx, o.common, nil)
	if err != nil {
		return nil, err
	}
	return result(operator.List(ctx, o.Statuses, o.NextToken))
}

// result keeps an operation's typed nil from looking like a result.
func result[T any](r *T, err error) (any, error) {
	if err != nil || r == nil {
		return nil, err
	}
	return r, nil
}
