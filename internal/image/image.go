// Package image operates on images: build, describe, list, delete, and their logs.
//
// An image is built by a CloudFormation stack of its name, in which EC2 Image
// Builder does the work. When the AMI is there, the stack's own function tags it and
// deletes the stack, so that a finished image is an AMI with tags and nothing else;
// an image whose build failed keeps its stack, which has the reason. Start at
// [Operator.Build]. What images share with clusters is package cluster's.
package image

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder"

	"pcluster/internal/cluster"
	"pcluster/internal/config"
	"pcluster/internal/stack"
)

// An Operator carries out operations on the images of one region.
type Operator struct {
	*cluster.Operator
	Stacks  Stacks
	Images  Images
	Builder Builder
	Groups  Groups
}

// Stacks is the part of CloudFormation that images need beside clusters.
type Stacks interface {
	DescribeStackResource(context.Context, *cloudformation.DescribeStackResourceInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStackResourceOutput, error)
}

// Images is the part of EC2 that images need.
type Images interface {
	DescribeImages(context.Context, *ec2.DescribeImagesInput, ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error)
	DescribeImageAttribute(context.Context, *ec2.DescribeImageAttributeInput, ...func(*ec2.Options)) (*ec2.DescribeImageAttributeOutput, error)
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)
	DeregisterImage(context.Context, *ec2.DeregisterImageInput, ...func(*ec2.Options)) (*ec2.DeregisterImageOutput, error)
	DeleteSnapshot(context.Context, *ec2.DeleteSnapshotInput, ...func(*ec2.Options)) (*ec2.DeleteSnapshotOutput, error)
}

// Builder is the part of Image Builder that images need.
type Builder interface {
	GetImage(context.Context, *imagebuilder.GetImageInput, ...func(*imagebuilder.Options)) (*imagebuilder.GetImageOutput, error)
}

// Groups is the part of CloudWatch Logs that images need beside clusters.
type Groups interface {
	DescribeLogGroups(context.Context, *cloudwatchlogs.DescribeLogGroupsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.DescribeLogGroupsOutput, error)
	DeleteLogGroup(context.Context, *cloudwatchlogs.DeleteLogGroupInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.DeleteLogGroupOutput, error)
}

// New returns what operates on the images of the configuration's region.
func New(o *cluster.Operator, cfg aws.Config) *Operator {
	return &Operator{
		Operator: o, Stacks: cloudformation.NewFromConfig(cfg), Images: ec2.NewFromConfig(cfg),
		Builder: imagebuilder.NewFromConfig(cfg), Groups: cloudwatchlogs.NewFromConfig(cfg),
	}
}

// Tags of images and of the stacks that build them.
const (
	tagID     = config.ToolTagPrefix + "image_id"
	tagStatus = config.ToolTagPrefix + "build_status"
	tagBucket = config.ToolTagPrefix + "s3_bucket"
	tagDir    = config.ToolTagPrefix + "s3_image_dir"
	tagConfig = config.ToolTagPrefix + "build_config"
	tagLog    = config.ToolTagPrefix + "build_log"

	available = "available"
)

// Statuses of builds.
const (
	BuildInProgress  = "BUILD_IN_PROGRESS"
	BuildFailed      = "BUILD_FAILED"
	BuildComplete    = "BUILD_COMPLETE"
	DeleteInProgress = "DELETE_IN_PROGRESS"
)

// statusOf derives the status of a build from that of its stack; ok is false where
// describe-image says nothing.
func statusOf(stackStatus string) (status string, ok bool) {
	switch stackStatus {
	case "CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS",
		"UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "REVIEW_IN_PROGRESS", "IMPORT_IN_PROGRESS", "IMPORT_ROLLBACK_IN_PROGRESS":
		return BuildInProgress, true
	case "CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE":
		return BuildComplete, true
	case "DELETE_IN_PROGRESS", "DELETE_FAILED", "DELETE_COMPLETE":
		return stackStatus, true
	case "UPDATE_FAILED":
		return "", false
	}
	return BuildFailed, true
}

// summaryStatus is statusOf for lists, in which some stack statuses show as they are.
func summaryStatus(stackStatus string) string {
	if strings.HasPrefix(stackStatus, "IMPORT_") || stackStatus == "REVIEW_IN_PROGRESS" || stackStatus == "UPDATE_FAILED" {
		return stackStatus
	}
	s, _ := statusOf(stackStatus)
	return s
}

// A Summary is what lists and the answers to build and delete say of an image.
type Summary struct {
	ImageID                   string `json:"imageId"`
	ImageBuildStatus          string `json:"imageBuildStatus"`
	CloudformationStackStatus string `json:"cloudformationStackStatus,omitempty"`
	CloudformationStackArn    string `json:"cloudformationStackArn,omitempty"`
	Region                    string `json:"region"`
	Version                   string `json:"version"`
	Ec2AmiInfo                *AMIID `json:"ec2AmiInfo,omitempty"`
}

// An AMIID names the AMI of an image in lists.
type AMIID struct {
	AmiID string `json:"amiId"`
}

// A List is a page of images.
type List struct {
	NextToken string    `json:"nextToken,omitempty"`
	Images    []Summary `json:"images"`
}

// A Building answers a build.
type Building struct {
	Image              Summary                     `json:"image"`
	ValidationMessages []cluster.ValidationMessage `json:"validationMessages,omitempty"`
}

// A Deleting answers a delete.
type Deleting struct {
	Image Summary `json:"image"`
}

// An Info is the AMI of an image.
type Info struct {
	AmiName      string        `json:"amiName"`
	AmiID        string        `json:"amiId"`
	Description  string        `json:"description,omitempty"`
	State        string        `json:"state"`
	Tags         []cluster.Tag `json:"tags"`
	Architecture string        `json:"architecture"`
}

// A Description is everything about an image.
type Description struct {
	ImageConfiguration              ConfigurationURL `json:"imageConfiguration"`
	ImageID                         string           `json:"imageId"`
	CreationTime                    *cluster.Time    `json:"creationTime,omitempty"`
	ImageBuildStatus                string           `json:"imageBuildStatus,omitempty"`
	Region                          string           `json:"region"`
	Version                         string           `json:"version"`
	CloudformationStackStatus       string           `json:"cloudformationStackStatus,omitempty"`
	CloudformationStackStatusReason string           `json:"cloudformationStackStatusReason,omitempty"`
	CloudformationStackArn          string           `json:"cloudformationStackArn,omitempty"`
	CloudformationStackCreationTime *cluster.Time    `json:"cloudformationStackCreationTime,omitempty"`
	CloudformationStackTags         []cluster.Tag    `json:"cloudformationStackTags,omitempty"`
	ImageBuildLogsArn               string           `json:"imageBuildLogsArn,omitempty"`
	ImagebuilderImageStatus         string           `json:"imagebuilderImageStatus,omitempty"`
	ImagebuilderImageStatusReason   string           `json:"imagebuilderImageStatusReason,omitempty"`
	Ec2AmiInfo                      *Info            `json:"ec2AmiInfo,omitempty"`
}

// A ConfigurationURL leads to the file of an image.
type ConfigurationURL struct {
	URL string `json:"url"`
}

// ami returns the finished AMI of an image, nil if there is none.
func (o *Operator) ami(ctx context.Context, id string) (*ec2types.Image, error) {
	out, err := o.Images.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []ec2types.Filter{
		{Name: aws.String("tag:" + tagID), Values: []string{id}}, {Name: aws.String("tag:" + tagStatus), Values: []string{available}}}})
	if err != nil || len(out.Images) == 0 {
		return nil, err
	}
	return &out.Images[0], nil
}

// stackOf returns the stack of an image, nil if there is none or it is not one.
func (o *Operator) stackOf(ctx context.Context, id string) (*cfntypes.Stack, error) {
	out, err := o.CloudFormation.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &id})
	if cluster.Missing(err) {
		return nil, nil
	}
	if err != nil || len(out.Stacks) == 0 {
		return nil, err
	}
	return &out.Stacks[0], nil
}

func stackTag(s *cfntypes.Stack, key string) string {
	for _, t := range s.Tags {
		if aws.ToString(t.Key) == key {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

func amiTag(v *ec2types.Image, key string) string {
	for _, t := range v.Tags {
		if aws.ToString(t.Key) == key {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

func notFound(id string) error {
	return cluster.Refuse(http.StatusNotFound, "No image or stack associated with ParallelCluster image id: %s.", id)
}

const tagVersion = config.ToolTagPrefix + "version"

func (o *Operator) stackSummary(s *cfntypes.Stack, status string) Summary {
	return Summary{
		ImageID: aws.ToString(s.StackName), ImageBuildStatus: status, CloudformationStackStatus: string(s.StackStatus),
		CloudformationStackArn: aws.ToString(s.StackId), Region: o.Region, Version: stackTag(s, tagVersion),
	}
}

func (o *Operator) amiSummary(v *ec2types.Image, status string) Summary {
	return Summary{ImageID: amiTag(v, tagID), ImageBuildStatus: status, Region: o.Region, Version: amiTag(v, tagVersion), Ec2AmiInfo: &AMIID{aws.ToString(v.ImageId)}}
}

// builderImage returns the ARN of Image Builder's image in a stack, and the status of
// that resource; empty before it is begun.
func (o *Operator) builderImage(ctx context.Context, id string) (arn, status string, err error) {
	out, err := o.Stacks.DescribeStackResource(ctx, &cloudformation.DescribeStackResourceInput{StackName: &id, LogicalResourceId: aws.String(stack.ImageResource)})
	if cluster.Missing(err) || err != nil && strings.Contains(err.Error(), "does not exist") {
		return "", "", nil
	}
	if err != nil || out.StackResourceDetail == nil {
		return "", "", err
	}
	d := out.StackResourceDetail
	return aws.ToString(d.PhysicalResourceId), string(d.ResourceStatus), nil
}

// Describe tells everything about an image.
func (o *Operator) Describe(ctx context.Context, id string) (*Description, error) {
	s, err := o.stackOf(ctx, id)
	if err != nil {
		return nil, err
	}
	ami, err := o.ami(ctx, id)
	if err != nil {
		return nil, err
	}
	if ami != nil {
		d := &Description{ImageID: id, ImageBuildStatus: BuildComplete, Region: o.Region, Version: amiTag(ami, tagVersion), Ec2AmiInfo: describeAMI(ami)}
		if t, ok := cluster.ParseTime(aws.ToString(ami.CreationDate)); ok {
			d.CreationTime = &cluster.Time{Time: t}
		}
		d.ImageConfiguration.URL = o.configURL(ctx, amiTag(ami, tagConfig))
		return d, nil
	}
	if s == nil || stackTag(s, tagID) == "" {
		return nil, notFound(id)
	}
	status, _ := statusOf(string(s.StackStatus))
	d := &Description{
		ImageID: id, ImageBuildStatus: status, Region: o.Region, Version: stackTag(s, tagVersion), CloudformationStackStatus: string(s.StackStatus),
		CloudformationStackStatusReason: aws.ToString(s.StackStatusReason), CloudformationStackArn: aws.ToString(s.StackId), ImageBuildLogsArn: stackTag(s, tagLog),
		CloudformationStackCreationTime: &cluster.Time{Time: aws.ToTime(s.CreationTime)},
	}
	for _, t := range s.Tags {
		d.CloudformationStackTags = append(d.CloudformationStackTags, cluster.Tag{Key: aws.ToString(t.Key), Value: aws.ToString(t.Value)})
	}
	d.ImageConfiguration.URL = o.configURL(ctx, stackTag(s, tagConfig))
	arn, _, err := o.builderImage(ctx, id)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(arn, "arn:") {
		out, err := o.Builder.GetImage(ctx, &imagebuilder.GetImageInput{ImageBuildVersionArn: &arn})
		switch {
		case err == nil && out.Image.State != nil:
			d.ImagebuilderImageStatus, d.ImagebuilderImageStatusReason = string(out.Image.State.Status), aws.ToString(out.Image.State.Reason)
		case err != nil:
			o.Log.Warn("image " + arn + ": " + err.Error())
		}
	}
	if d.ImagebuilderImageStatusReason == "" && status == BuildFailed {
		d.ImagebuilderImageStatusReason = o.firstFailure(ctx, id) // of a build that was rolled back
	}
	return d, nil
}

// firstFailure is why a stack failed.
func (o *Operator) firstFailure(ctx context.Context, id string) string {
	events, err := cluster.ReadStackEvents(ctx, o.CloudFormation, id, "")
	if err != nil {
		return ""
	}
	reason := ""
	for _, e := range slices.Backward(events.Events) {
		if strings.HasSuffix(e.ResourceStatus, "CREATE_FAILED") && e.LogicalResourceID == stack.ImageResource {
			reason = e.ResourceStatusReason
		}
	}
	return reason
}

func describeAMI(v *ec2types.Image) *Info {
	a := &Info{AmiName: aws.ToString(v.Name), AmiID: aws.ToString(v.ImageId), Description: aws.ToString(v.Description),
		State: strings.ToUpper(string(v.State)), Tags: []cluster.Tag{}, Architecture: string(v.Architecture)}
	for _, t := range v.Tags {
		a.Tags = append(a.Tags, cluster.Tag{Key: aws.ToString(t.Key), Value: aws.ToString(t.Value)})
	}
	return a
}
