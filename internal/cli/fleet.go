package cli

import (
	"context"

	"github.com/spf13/cobra"

	"pcluster/internal/cluster"
)

type fleetOptions struct {
	common
	Cluster string
	Status  string // to ask for
}

func newDescribeComputeFleetCmd(env *Env, run func(context.Context, *Env, fleetOptions) (any, error)) *cobra.Command {
	var o fleetOptions
	cmd := &cobra.Command{
		Use:     "describe-compute-fleet",
		Short:   "Tell the status of a compute fleet",
		Example: "  pcluster describe-compute-fleet -n demo --query status",
	}
	begin(cmd)
	clusterName(cmd, &o.Cluster)
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

func runDescribeComputeFleet(ctx context.Context, env *Env, o fleetOptions) (any, error) {
	operator, err := env.operator(ctx, o.common, nil)
	if err != nil {
		return nil, err
	}
	return result(operator.DescribeComputeFleet(ctx, o.Cluster))
}

func newUpdateComputeFleetCmd(env *Env, run func(context.Context, *Env, fleetOptions) (any, error)) *cobra.Command {
	var o fleetOptions
	cmd := &cobra.Command{
		Use:   "update-compute-fleet",
		Short: "Start or stop a compute fleet",
		Long: "Start or stop a compute fleet. A fleet that is stopped has no nodes and takes no jobs. The command asks for " +
			"it; describe-compute-fleet tells when it is done.",
		Example: "  pcluster update-compute-fleet -n demo --status STOP_REQUESTED",
	}
	begin(cmd)
	clusterName(cmd, &o.Cluster)
	cmd.Flags().Var(&choiceValue{cluster.FleetRequests, &o.Status}, "status", "START_REQUESTED or STOP_REQUESTED for Slurm, ENABLED or DISABLED for AWS Batch")
	require(cmd, "status")
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

func runUpdateComputeFleet(ctx context.Context, env *Env, o fleetOptions) (any, error) {
	operator, err := env.operator(ctx, o.common, nil)
	if err != nil {
		return nil, err
	}
	return result(operator.UpdateComputeFleet(ctx, o.Cluster, cluster.FleetStatus(o.Status)))
}
