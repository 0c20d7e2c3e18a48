package cli

import (
	"context"

	"github.com/spf13/cobra"
)

// exportOptions say how logs are exported.
type exportOptions struct {
	Bucket        string
	Prefix        string
	OutputFile    string
	KeepS3Objects bool
	StartTime     string // ISO 8601
	EndTime       string // the same
}

func (o *exportOptions) declareExport(cmd *cobra.Command, of string) {
	flags := cmd.Flags()
	flags.Var((*textValue)(&o.Bucket), "bucket", "bucket through which CloudWatch Logs exports, in the region of the "+of+
		"; by default, the one that pcluster keeps its files in")
	flags.Var((*textValue)(&o.Prefix), "bucket-prefix", "folder in the bucket; by default, <name of the "+of+">-logs-<current time>")
	flags.Var((*textValue)(&o.OutputFile), "output-file", "file for the archive; by default, it is uploaded to the bucket and its URL is printed")
	flags.Var(&boolValue{option: "keep-s3-objects", target: &o.KeepS3Objects}, "keep-s3-objects", "leave what CloudWatch Logs exported in the bucket; by default false")
	timeRange(cmd, &o.StartTime, &o.EndTime, "from the creation of the log group")
}

type exportClusterLogsOptions struct {
	common
	exportOptions
	Cluster string
	Filters []string // Name=...,Values=...
}

func newExportClusterLogsCmd(env *Env, run func(context.Context, *Env, exportClusterLogsOptions) error) *cobra.Command {
	var o exportClusterLogsOptions
	cmd := &cobra.Command{
		Use:   "export-cluster-logs",
		Short: "Export the logs of a cluster to an archive",
		Long:  "Export the log streams of a cluster and the events of its stack to a .tar.gz archive.",
		Example: "  pcluster export-cluster-logs -n demo --output-file demo-logs.tar.gz\n" +
			"  pcluster export-cluster-logs -n demo --bucket my-bucket --filters Name=node-type,Values=HeadNode",
	}
	begin(cmd)
	cmd.Flags().VarP((*textValue)(&o.Cluster), "cluster-name", "n", "name of the cluster")
	require(cmd, "cluster-name")
	o.declareExport(cmd, "cluster")
	cmd.Flags().Var(manyFilters(&o.Filters), "filters",
		"only streams of one node: Name=private-dns-name,Values=ip-10-0-0-101, or Name=node-type,Values=HeadNode")
	return plain(env, cmd, &o.common, true, false, func(ctx context.Context, _ []string) error { return run(ctx, env, o) })
}

type exportImageLogsOptions struct {
	common
	exportOptions
	Image string
}

func newExportImageLogsCmd(env *Env, run func(context.Context, *Env, exportImageLogsOptions) error) *cobra.Command {
	var o exportImageLogsOptions
	cmd := &cobra.Command{
		Use:     "export-image-logs",
		Short:   "Export the logs of the build of an image to an archive",
		Long:    "Export the log streams of the build of an image and the events of its stack to a .tar.gz archive.",
		Example: "  pcluster export-image-logs -i my-image --output-file my-image-logs.tar.gz",
	}
	begin(cmd)
	cmd.Flags().VarP((*textValue)(&o.Image), "image-id", "i", "ID of the image")
	require(cmd, "image-id")
	o.declareExport(cmd, "image")
	return plain(env, cmd, &o.common, true, false, func(ctx context.Context, _ []string) error { return run(ctx, env, o) })
}
