package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"pcluster/internal/cluster"
)

// exportOptions say how logs are exported.
type exportOptions struct {
	Bucket        string
	Prefix        string
	OutputFile    string
	KeepS3Objects bool
	From, To      time.Time // zero: not given
}

func (o *exportOptions) declareExport(cmd *cobra.Command, of string) {
	flags := cmd.Flags()
	flags.Var((*textValue)(&o.Bucket), "bucket", "bucket through which CloudWatch Logs exports, in the region of the "+of+
		"; by default, the one that pcluster keeps its files in")
	flags.Var((*textValue)(&o.Prefix), "bucket-prefix", "folder in the bucket; by default, <name of the "+of+">-logs-<current time>")
	flags.Var((*textValue)(&o.OutputFile), "output-file", "file for the archive; by default, it is uploaded to the bucket and its URL is printed")
	flags.Var(&boolValue{option: "keep-s3-objects", target: &o.KeepS3Objects}, "keep-s3-objects", "leave what CloudWatch Logs exported in the bucket; by default false")
	timeRange(cmd, &timeValue{&o.From}, &timeValue{&o.To}, "from the creation of the log group")
}

// request returns what to export, but for where it is.
func (o *exportOptions) request(name string) cluster.ExportRequest {
	return cluster.ExportRequest{
		Name: name, Bucket: o.Bucket, Prefix: o.Prefix, OutputFile: o.OutputFile, KeepObjects: o.KeepS3Objects, From: o.From, To: o.To,
	}
}

// prepare makes the path of the output file absolute and its folder exist, before
// any work is done for it.
func (o *exportOptions) prepare() error {
	if o.OutputFile == "" {
		return nil
	}
	file, err := filepath.Abs(o.OutputFile)
	if err != nil {
		return err
	}
	o.OutputFile = file
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("folder of the output file: %w", err)
	}
	probe, err := os.CreateTemp(filepath.Dir(file), ".pcluster-logs-")
	if err != nil {
		return fmt.Errorf("output file %s: %w", file, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// printExported prints where the archive is.
func (env *Env) printExported(o exportOptions, url string) error {
	if o.OutputFile != "" {
		return env.printResult(struct {
			Path string `json:"path"`
		}{o.OutputFile}, "")
	}
	return env.printResult(struct {
		URL string `json:"url"`
	}{url}, "")
}

// progressLine shows people on a terminal how far an export is.
func (env *Env) progressLine(line string) {
	env.log.Info(line)
	if _, terminal := env.Columns(); terminal {
		fmt.Fprintln(env.Stderr, dim+line+reset)
	}
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

func runExportClusterLogs(ctx context.Context, env *Env, o exportClusterLogsOptions) error {
	if err := o.prepare(); err != nil {
		return unableToExport("cluster", err)
	}
	operator, err := env.operator(ctx, o.common, nil)
	if err != nil {
		return unableToExport("cluster", err)
	}
	url, err := operator.ExportLogs(ctx, cluster.ClusterExport{ExportRequest: o.request(o.Cluster), Filters: o.Filters}, env.progressLine)
	if err != nil {
		return unableToExport("cluster", err)
	}
	return env.printExported(o.exportOptions, url)
}

// unableToExport says what failed, in the words that scripts look for.
func unableToExport(of string, err error) error {
	return fatalf("Unable to export %s's logs.\n%w", of, err)
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
