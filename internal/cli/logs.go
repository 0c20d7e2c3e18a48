package cli

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pcluster/internal/cluster"
)

// nextToken declares --next-token of a command whose answer has pages.
func nextToken(cmd *cobra.Command, target *string) {
	cmd.Flags().Var((*textValue)(target), "next-token", "token of the next page, from the answer with the page before")
}

type logStreamsOptions struct {
	common
	Cluster   string
	Filters   []string // Name=...,Values=...
	NextToken string
}

func newListClusterLogStreamsCmd(env *Env, run func(context.Context, *Env, logStreamsOptions) (any, error)) *cobra.Command {
	var o logStreamsOptions
	cmd := &cobra.Command{
		Use:   "list-cluster-log-streams",
		Short: "List the log streams of a cluster",
		Example: "  pcluster list-cluster-log-streams -n demo --query 'logStreams[].logStreamName'\n" +
			"  pcluster list-cluster-log-streams -n demo --filters Name=node-type,Values=HeadNode",
	}
	begin(cmd)
	clusterName(cmd, &o.Cluster)
	cmd.Flags().Var(manyTexts(&o.Filters), "filters",
		"only streams of one node: Name=private-dns-name,Values=ip-10-0-0-101, or Name=node-type,Values=HeadNode")
	nextToken(cmd, &o.NextToken)
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

func runListClusterLogStreams(ctx context.Context, env *Env, o logStreamsOptions) (any, error) {
	operator, err := env.operator(ctx, o.common, nil)
	if err != nil {
		return nil, err
	}
	return result(operator.ListLogStreams(ctx, o.Cluster, cluster.LogFilter{Filters: o.Filters, NextToken: o.NextToken}))
}

// logEventsOptions say what to read of a log stream.
type logEventsOptions struct{ cluster.LogQuery }

func (o *logEventsOptions) declareLogEvents(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Var((*textValue)(&o.Stream), "log-stream-name", "name of the log stream")
	require(cmd, "log-stream-name")
	nextToken(cmd, &o.NextToken)
	flags.Var(&boolValue{option: "start-from-head", target: &o.StartFromHead}, "start-from-head", "begin with the oldest events; by default false: the newest come with the first page")
	flags.Var(&intValue{option: "limit", target: &o.Limit}, "limit", "most events to return; by default, as many as fit in 1 MB, up to 10,000")
	timeRange(cmd, (*textValue)(&o.StartTime), (*textValue)(&o.EndTime), "all events")
}

// timeRange declares options for a range of time.
func timeRange(cmd *cobra.Command, from, to pflag.Value, otherwise string) {
	cmd.Flags().Var(from, "start-time", "only events from this time on, in ISO 8601: 2026-01-31, 2026-01-31T09:30:00Z or with another offset; by default, "+otherwise)
	cmd.Flags().Var(to, "end-time", "only events before this time, in the same form; by default, up to now")
}

type clusterLogEventsOptions struct {
	common
	logEventsOptions
	Cluster string
}

func newGetClusterLogEventsCmd(env *Env, run func(context.Context, *Env, clusterLogEventsOptions) (any, error)) *cobra.Command {
	var o clusterLogEventsOptions
	cmd := &cobra.Command{
		Use:   "get-cluster-log-events",
		Short: "Read a log stream of a cluster",
		Example: "  pcluster get-cluster-log-events -n demo --log-stream-name ip-10-0-0-5.i-0123456789abcdef0.slurmctld \\\n" +
			"      --start-time 2026-01-31T09:30:00Z --query 'events[].message'",
	}
	begin(cmd)
	clusterName(cmd, &o.Cluster)
	o.declareLogEvents(cmd)
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

func runGetClusterLogEvents(ctx context.Context, env *Env, o clusterLogEventsOptions) (any, error) {
	operator, err := env.operator(ctx, o.common, nil)
	if err != nil {
		return nil, err
	}
	return result(operator.GetLogEvents(ctx, o.Cluster, o.LogQuery))
}

type stackEventsOptions struct {
	common
	Cluster   string
	NextToken string
}

func newGetClusterStackEventsCmd(env *Env, run func(context.Context, *Env, stackEventsOptions) (any, error)) *cobra.Command {
	var o stackEventsOptions
	cmd := &cobra.Command{
		Use:   "get-cluster-stack-events",
		Short: "List the events of the stack of a cluster",
		Long:  "List the events of the stack of a cluster, newest first.",
		Example: "  pcluster get-cluster-stack-events -n demo \\\n" +
			"      --query 'events[?resourceStatus==`CREATE_FAILED`].[logicalResourceId, resourceStatusReason]'",
	}
	begin(cmd)
	clusterName(cmd, &o.Cluster)
	nextToken(cmd, &o.NextToken)
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

func runGetClusterStackEvents(ctx context.Context, env *Env, o stackEventsOptions) (any, error) {
	operator, err := env.operator(ctx, o.common, nil)
	if err != nil {
		return nil, err
	}
	return result(operator.GetStackEvents(ctx, o.Cluster, o.NextToken))
}
