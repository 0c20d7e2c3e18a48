package image

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"pcluster/internal/cluster"
	"pcluster/internal/config"
	"pcluster/internal/stack"
)

// Build begins to build an image: it judges the file, uploads it and creates the
// stack. It returns as soon as CloudFormation has accepted the stack; if it fails
// before that, nothing is left.
func (o *Operator) Build(ctx context.Context, r BuildRequest) (*Building, error) {
	f, messages, err := Judge(ctx, o.Operator, r)
	if err != nil {
		return nil, err
	}
	if err := o.deploy(ctx, r, f); err != nil {
		return nil, err
	}
	s, err := o.stackOf(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, fmt.Errorf("stack %s is gone already", r.ID)
	}
	return &Building{Image: o.stackSummary(s, summaryStatus(string(s.StackStatus))), ValidationMessages: messages}, nil
}

// deploy uploads what the build needs, and creates its stack.
func (o *Operator) deploy(ctx context.Context, r BuildRequest, f *config.ImageFile) (err error) {
	account, partition, err := o.Owner(ctx)
	if err != nil {
		return err
	}
	ami, err := parentOf(ctx, f, o.Facts)
	if err != nil {
		return cluster.BadRequest("%s", cluster.Explain(err))
	}
	bucket, err := o.Bucket(ctx, account, f.CustomS3Bucket)
	if err != nil {
		return err
	}
	dir := artifactDirectory(r.ID, o.Random(16))
	defer func() {
		if err == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if cerr := o.RemoveArtifacts(ctx, bucket, dir); cerr != nil {
			err = errors.Join(err, &cluster.LeftError{Bucket: bucket, Prefix: dir + "/"})
		}
	}()
	sums, lambdaKey, err := o.UploadPrograms(ctx, bucket, ami.Architecture)
	if err != nil {
		return err
	}
	if err := o.Put(ctx, bucket, stack.ImageConfigKey(dir), r.Configuration); err != nil {
		return err
	}
	p := stack.ImageParams{ImageID: r.ID, Region: o.Region, Account: account, Partition: partition, Bucket: bucket, ArtifactDir: dir,
		LambdaZipKey: lambdaKey, ParentRootDevice: ami.RootDevice, ParentSize: ami.RootSize}
	for arch, sum := range sums {
		p.ProgramArch, p.ProgramSum = arch, sum
	}
	body, err := stack.SynthesizeImage(f, p)
	if err != nil {
		return err
	}
	key := dir + "/templates/aws-parallelcluster-imagebuilder.cfn.yaml"
	if err := o.Put(ctx, bucket, key, body); err != nil {
		return err
	}
	in := &cloudformation.CreateStackInput{
		StackName: &r.ID, TemplateURL: aws.String(cluster.ObjectURL(bucket, o.Region, key)), DisableRollback: aws.Bool(!r.RollbackOnFailure),
		Capabilities:       []cfntypes.Capability{cfntypes.CapabilityCapabilityNamedIam},
		ClientRequestToken: aws.String("pcluster-" + dir[strings.LastIndexByte(dir, '/')+1:]),
	}
	tags := map[string]string{}
	for _, t := range f.Build.Tags {
		tags[t.Key] = t.Value
	}
	maps.Copy(tags, stack.ImageTags(f, p))
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		in.Tags = append(in.Tags, cfntypes.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	if _, err := o.CloudFormation.CreateStack(ctx, in); err != nil {
		return fmt.Errorf("create stack %s: %w", r.ID, err)
	}
	return nil
}

// configURL returns a URL by which the file of an image can be read.
func (o *Operator) configURL(ctx context.Context, location string) string {
	const unavailable = "NOT_AVAILABLE"
	rest, ok := strings.CutPrefix(location, "s3://")
	bucket, key, _ := strings.Cut(rest, "/")
	if !ok || key == "" {
		return unavailable
	}
	if _, err := o.S3.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket}); err != nil {
		return unavailable
	}
	request, err := o.Presign.PresignGetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key}, s3.WithPresignExpires(time.Hour))
	if err != nil {
		return unavailable
	}
	return request.URL
}
