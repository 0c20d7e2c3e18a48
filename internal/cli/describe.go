package cli

import (
	"context"

	"github.com/spf13/cobra"

	"pcluster/internal/cluster"
)

type describeOptions struct {
	common
	Cluster string
}

func newDescribeClusterCmd(env *Env, run func(context.Context, *Env, describeOptions) (any, error)) *cobra.Command {
	var o describeOptions
	cmd := &cobra.Command{
		Use:   "describe-cluster",
		Short: "Tell everything about a cluster",
		Long: "Tell everything about a cluster: its status and, if it could not be created, why; its head node, fleet and " +
			"login nodes; and where its file can be read.",
		Example: "  pcluster describe-cluster -n demo --query clusterStatus\n  pcluster describe-cluster -n demo --query headNode.privateIpAddress",
	}
	begin(cmd)
	clusterName(cmd, &o.Cluster)
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

func runDescribeCluster(ctx context.Context, env *Env, o describeOptions) (any, error) {
	operator, err := env.operator(ctx, o.common, nil)
	if err != nil {
		return nil, err
	}
	return result(operator.Describe(ctx, o.Cluster))
}

type instancesOptions struct {
	common
	Cluster string
	Filter  cluster.InstanceFilter
}

func newDescribeClusterInstancesCmd(env *Env, run func(context.Context, *Env, instancesOptions) (any, error)) *cobra.Command {
	var o instancesOptions
	cmd := &cobra.Command{
		Use:     "describe-cluster-instances",
		Short:   "List the instances of a cluster",
		Long:    "List the instances of a cluster that are not terminated.",
		Example: "  pcluster describe-cluster-instances -n demo --node-type ComputeNode --query 'instances[].[instanceId, state]'",
	}
	flags := cmd.Flags()
	begin(cmd)
	clusterName(cmd, &o.Cluster)
	flags.Var((*textValue)(&o.Filter.NextToken), "next-token", "token of the next page, from the answer with the page before")
	flags.Var(&choiceValue{cluster.NodeTypes, &o.Filter.NodeType}, "node-type", "only nodes of this kind")
	flags.Var((*textValue)(&o.Filter.QueueName), "queue-name", "only nodes of this queue")
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

func runDescribeClusterInstances(ctx context.Context, env *Env, o instancesOptions) (any, error) {
	operator, err := env.operator(ctx, o.common, nil)
	if err != nil {
		return nil, err
	}
	return result(operator.DescribeInstances(ctx, o.Cluster, o.Filter))
}
