package cli

import (
	"context"

	"github.com/spf13/cobra"

	"pcluster/internal/image"
)

// imageID declares -i, which nearly every command about images has.
func imageID(cmd *cobra.Command, target *string) {
	cmd.Flags().VarP(&patternValue{option: "image-id", pattern: namePattern, target: target}, "image-id", "i", "ID of the image")
	require(cmd, "image-id")
}

type listImagesOptions struct {
	common
	Status    string // AVAILABLE, PENDING or FAILED
	NextToken string
}

func newListImagesCmd(env *Env, run func(context.Context, *Env, listImagesOptions) (any, error)) *cobra.Command {
	var o listImagesOptions
	cmd := &cobra.Command{
		Use:     "list-images",
		Short:   "List the images that were built in a region",
		Example: "  pcluster list-images --image-status AVAILABLE --query 'images[].[imageId, ec2AmiInfo.amiId]'",
	}
	begin(cmd)
	cmd.Flags().Var(&choiceValue{[]string{"AVAILABLE", "PENDING", "FAILED"}, &o.Status}, "image-status", "built, being built, or failed to be built")
	require(cmd, "image-status")
	nextToken(cmd, &o.NextToken)
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

type buildImageOptions struct {
	common
	configurationOptions
	Image             string
	RollbackOnFailure bool
}

func newBuildImageCmd(env *Env, run func(context.Context, *Env, buildImageOptions) (any, error)) *cobra.Command {
	var o buildImageOptions
	cmd := &cobra.Command{
		Use:   "build-image",
		Short: "Build an image from a file",
		Long: "Build an image, which becomes an AMI for clusters, from a file that says on what it is based and what is " +
			"added. The build goes on after the command; describe-image tells how far it is.",
		Annotations: map[string]string{exitStatus: "1 refused or failed: the answer is a message, with what is wrong with the file; " +
			"also a dry run that has found nothing wrong"},
		Example: "  pcluster build-image -i my-image -c image.yaml\n  pcluster describe-image -i my-image --query imageBuildStatus",
	}
	begin(cmd)
	imageID(cmd, &o.Image)
	o.declareFile(cmd, "image-configuration", "YAML file that describes the image")
	cmd.Flags().Var(&boolValue{option: "rollback-on-failure", target: &o.RollbackOnFailure}, "rollback-on-failure",
		"remove what was created if the build fails; by default false")
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

// images returns what operates on the images of the region that the user means.
func (env *Env) images(ctx context.Context, c common, file []byte) (*image.Operator, error) {
	operator, cfg, err := env.operatorIn(ctx, c, file)
	if err != nil {
		return nil, err
	}
	return image.New(operator, cfg), nil
}

func runBuildImage(ctx context.Context, env *Env, o buildImageOptions) (any, error) {
	operator, err := env.images(ctx, o.common, o.Configuration)
	if err != nil {
		return nil, err
	}
	return result(operator.Build(ctx, image.BuildRequest{
		ID: o.Image, Configuration: o.Configuration, File: o.File, SuppressValidators: o.SuppressValidators,
		FailureLevel: o.FailureLevel, DryRun: o.DryRun, RollbackOnFailure: o.RollbackOnFailure,
	}))
}

type deleteImageOptions struct {
	common
	Image string
	Force bool
}

func newDeleteImageCmd(env *Env, run func(context.Context, *Env, deleteImageOptions) (any, error)) *cobra.Command {
	var o deleteImageOptions
	cmd := &cobra.Command{
		Use:     "delete-image",
		Short:   "Delete an image: its AMI, snapshots, stack, logs and files",
		Example: "  pcluster delete-image -i my-image",
	}
	begin(cmd)
	imageID(cmd, &o.Image)
	cmd.Flags().Var(&boolValue{option: "force", target: &o.Force}, "force", "delete it even if instances use it or it is shared; by default false")
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

type describeImageOptions struct {
	common
	Image string
}

func newDescribeImageCmd(env *Env, run func(context.Context, *Env, describeImageOptions) (any, error)) *cobra.Command {
	var o describeImageOptions
	cmd := &cobra.Command{
		Use:     "describe-image",
		Short:   "Tell everything about an image",
		Example: "  pcluster describe-image -i my-image --query ec2AmiInfo.amiId",
	}
	begin(cmd)
	imageID(cmd, &o.Image)
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

type officialImagesOptions struct {
	common
	OS           string // any text; the operation knows which there are
	Architecture string // the same
}

func newListOfficialImagesCmd(env *Env, run func(context.Context, *Env, officialImagesOptions) (any, error)) *cobra.Command {
	var o officialImagesOptions
	cmd := &cobra.Command{
		Use:     "list-official-images",
		Short:   "List the official images of ParallelCluster in a region",
		Example: "  pcluster list-official-images --os alinux2023 --architecture arm64",
	}
	begin(cmd)
	cmd.Flags().Var((*textValue)(&o.OS), "os", "only those with this operating system; by default, all")
	cmd.Flags().Var((*textValue)(&o.Architecture), "architecture", "only those of this architecture, x86_64 or arm64; by default, both")
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

func runListOfficialImages(ctx context.Context, env *Env, o officialImagesOptions) (any, error) {
	operator, err := env.operator(ctx, o.common, nil)
	if err != nil {
		return nil, err
	}
	return result(image.ListOfficial(ctx, operator, o.OS, o.Architecture))
}

type imageLogStreamsOptions struct {
	common
	Image     string
	NextToken string
}

func newListImageLogStreamsCmd(env *Env, run func(context.Context, *Env, imageLogStreamsOptions) (any, error)) *cobra.Command {
	var o imageLogStreamsOptions
	cmd := &cobra.Command{
		Use:     "list-image-log-streams",
		Short:   "List the log streams of the build of an image",
		Example: "  pcluster list-image-log-streams -i my-image --query 'logStreams[].logStreamName'",
	}
	begin(cmd)
	imageID(cmd, &o.Image)
	nextToken(cmd, &o.NextToken)
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

type imageLogEventsOptions struct {
	common
	logEventsOptions
	Image string
}

func newGetImageLogEventsCmd(env *Env, run func(context.Context, *Env, imageLogEventsOptions) (any, error)) *cobra.Command {
	var o imageLogEventsOptions
	cmd := &cobra.Command{
		Use:     "get-image-log-events",
		Short:   "Read a log stream of the build of an image",
		Example: "  pcluster get-image-log-events -i my-image --log-stream-name 3.16.100/1 --query 'events[].message'",
	}
	begin(cmd)
	imageID(cmd, &o.Image)
	o.declareLogEvents(cmd)
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

type imageStackEventsOptions struct {
	common
	Image     string
	NextToken string
}

func newGetImageStackEventsCmd(env *Env, run func(context.Context, *Env, imageStackEventsOptions) (any, error)) *cobra.Command {
	var o imageStackEventsOptions
	cmd := &cobra.Command{
		Use:   "get-image-stack-events",
		Short: "List the events of the stack that builds an image",
		Long: "List the events of the stack that builds an image, newest first. An image that is ready has no stack any " +
			"more.",
		Example: "  pcluster get-image-stack-events -i my-image --query 'events[].[logicalResourceId, resourceStatus]'",
	}
	begin(cmd)
	imageID(cmd, &o.Image)
	nextToken(cmd, &o.NextToken)
	return operation(env, cmd, &o.common, func(ctx context.Context) (any, error) { return run(ctx, env, o) })
}

func runListImages(ctx context.Context, env *Env, o listImagesOptions) (any, error) {
	operator, err := env.images(ctx, o.common, nil)
	if err != nil {
		return nil, err
	}
	return result(operator.List(ctx, o.Status, o.NextToken))
}

func runDeleteImage(ctx context.Context, env *Env, o deleteImageOptions) (any, error) {
	operator, err := env.images(ctx, o.common, nil)
	if err != nil {
		return nil, err
	}
	return result(operator.Delete(ctx, o.Image, o.Force))
}

func runDescribeImage(ctx context.Context, env *Env, o describeImageOptions) (any, error) {
	operator, err := env.images(ctx, o.common, nil)
	if err != nil {
		return nil, err
	}
	return result(operator.Describe(ctx, o.Image))
}

func runListImageLogStreams(ctx context.Context, env *Env, o imageLogStreamsOptions) (any, error) {
	operator, err := env.images(ctx, o.common, nil)
	if err != nil {
		return nil, err
	}
	return result(operator.ListLogStreams(ctx, o.Image, o.NextToken))
}

func runGetImageLogEvents(ctx context.Context, env *Env, o imageLogEventsOptions) (any, error) {
	operator, err := env.images(ctx, o.common, nil)
	if err != nil {
		return nil, err
	}
	return result(operator.GetLogEvents(ctx, o.Image, o.LogQuery))
}

func runGetImageStackEvents(ctx context.Context, env *Env, o imageStackEventsOptions) (any, error) {
	operator, err := env.images(ctx, o.common, nil)
	if err != nil {
		return nil, err
	}
	return result(operator.GetStackEvents(ctx, o.Image, o.NextToken))
}

func runExportImageLogs(ctx context.Context, env *Env, o exportImageLogsOptions) error {
	if err := o.prepare(); err != nil {
		return unableToExport("image", err)
	}
	operator, err := env.images(ctx, o.common, nil)
	if err != nil {
		return unableToExport("image", err)
	}
	url, err := operator.ExportLogs(ctx, o.request(o.Image), env.progressLine)
	if err != nil {
		return unableToExport("image", err)
	}
	return env.printExported(o.exportOptions, url)
}
