package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"pcluster/internal/cluster"
	"pcluster/internal/stack"
)

// What list-images can ask for.
const (
	Available = "AVAILABLE"
	Pending   = "PENDING"
	Failed    = "FAILED"
)

var stackStatuses = map[string][]cfntypes.StackStatus{
	Pending: {"CREATE_IN_PROGRESS"},
	Failed:  {"CREATE_FAILED", "DELETE_FAILED", "ROLLBACK_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_IN_PROGRESS"},
}

// List lists images: all that are there, or a page of those that are built or could
// not be.
func (o *Operator) List(ctx context.Context, status, token string) (*List, error) {
	out := &List{Images: []Summary{}}
	if status == Available {
		found, err := o.Images.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []ec2types.Filter{
			{Name: aws.String("tag-key"), Values: []string{tagID}}, {Name: aws.String("tag:" + tagStatus), Values: []string{available}}}})
		if err != nil {
			return nil, err
		}
		for i := range found.Images {
			out.Images = append(out.Images, o.amiSummary(&found.Images[i], BuildComplete))
		}
		return out, nil
	}
	in := &cloudformation.DescribeStacksInput{}
	if token != "" {
		in.NextToken = &token
	}
	page, err := o.CloudFormation.DescribeStacks(ctx, in)
	if err != nil {
		return nil, err
	}
	out.NextToken = aws.ToString(page.NextToken)
	for i := range page.Stacks {
		s := &page.Stacks[i]
		if s.ParentId == nil && stackTag(s, tagID) != "" && slices.Contains(stackStatuses[status], s.StackStatus) {
			out.Images = append(out.Images, o.stackSummary(s, summaryStatus(string(s.StackStatus))))
		}
	}
	return out, nil
}

// Delete deletes an image: its stack, AMI, snapshots, files and log.
func (o *Operator) Delete(ctx context.Context, id string, force bool) (*Deleting, error) {
	s, err := o.stackOf(ctx, id)
	if err != nil {
		return nil, err
	}
	ami, err := o.ami(ctx, id)
	if err != nil {
		return nil, err
	}
	if ami == nil && (s == nil || stackTag(s, tagID) == "") {
		return nil, notFound(id)
	}
	if ami != nil && !force {
		if err := o.checkUnused(ctx, id, aws.ToString(ami.ImageId)); err != nil {
			return nil, err
		}
	}
	out := &Deleting{}
	bucket, dir := "", ""
	if s != nil {
		out.Image = o.stackSummary(s, DeleteInProgress)
		bucket, dir = stackTag(s, tagBucket), stackTag(s, tagDir)
	}
	if ami != nil {
		if s == nil {
			out.Image = o.amiSummary(ami, DeleteInProgress)
		}
		bucket, dir = amiTag(ami, tagBucket), amiTag(ami, tagDir)
	}
	if s != nil {
		arn, status, err := o.builderImage(ctx, id)
		if err != nil {
			return nil, err
		}
		if status == "CREATE_IN_PROGRESS" {
			return nil, cluster.BadRequest("Image cannot be deleted because its build is under way: wait until it ends.")
		}
		if ami == nil && strings.HasPrefix(arn, "arn:") { // left by a build that failed
			left, err := o.Images.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}, Filters: []ec2types.Filter{{Name: aws.String("tag:Ec2ImageBuilderArn"), Values: []string{arn}}}})
			if err != nil {
				return nil, err
			}
			if len(left.Images) > 0 {
				ami = &left.Images[0]
			}
		}
		if _, err := o.CloudFormation.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: &id}); err != nil {
			return nil, err
		}
	}
	if ami != nil {
		if err := o.deregister(ctx, ami); err != nil {
			return nil, err
		}
	}
	if bucket != "" && dir != "" {
		if err := o.RemoveArtifacts(ctx, bucket, dir); err != nil {
			o.Log.Error("artifacts of image " + id + ": " + err.Error())
		}
	}
	group := stack.ImageLogGroup(id)
	if _, err := o.Groups.DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: &group}); err != nil && !cluster.Missing(err) {
		o.Log.Error("log group " + group + ": " + err.Error())
	}
	return out, nil
}

// checkUnused refuses to delete an AMI that somebody uses, and says who.
func (o *Operator) checkUnused(ctx context.Context, id, ami string) error {
	found, err := o.Images.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{{Name: aws.String("image-id"), Values: []string{ami}}}})
	if err != nil {
		return err
	}
	var users []string
	for _, r := range found.Reservations {
		for _, i := range r.Instances {
			if i.State != nil && i.State.Name != ec2types.InstanceStateNameTerminated {
				users = append(users, aws.ToString(i.InstanceId))
			}
		}
	}
	if len(users) > 0 {
		return cluster.BadRequest("Unable to delete image and stack: Image %s is used by instances %s. In case you want to delete the image, please use the --force flag.", id, strings.Join(users, ", "))
	}
	shared, err := o.Images.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: &ami, Attribute: ec2types.ImageAttributeNameLaunchPermission})
	if err != nil {
		return err
	}
	var with []string
	for _, p := range shared.LaunchPermissions {
		with = append(with, aws.ToString(p.UserId)+string(p.Group)+aws.ToString(p.OrganizationArn))
	}
	if len(with) > 0 {
		return cluster.BadRequest("Unable to delete image and stack: Image %s is shared with accounts or group %s. In case you want to delete the image, please use the --force flag.", id, strings.Join(with, ", "))
	}
	return nil
}

func (o *Operator) deregister(ctx context.Context, ami *ec2types.Image) error {
	if _, err := o.Images.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: ami.ImageId}); err != nil {
		return fmt.Errorf("deregister %s: %w", aws.ToString(ami.ImageId), err)
	}
	for _, m := range ami.BlockDeviceMappings {
		if m.Ebs == nil || m.Ebs.SnapshotId == nil {
			continue
		}
		_, err := o.Images.DeleteSnapshot(ctx, &ec2.DeleteSnapshotInput{SnapshotId: m.Ebs.SnapshotId})
		if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "InvalidSnapshot.NotFound" {
			continue // a first attempt whose answer was lost
		}
		if err != nil {
			return fmt.Errorf("delete snapshot %s: %w", *m.Ebs.SnapshotId, err)
		}
	}
	return nil
}

// ListLogStreams lists the log streams of a build.
func (o *Operator) ListLogStreams(ctx context.Context, id, token string) (*cluster.LogStreams, error) {
	out, err := cluster.ReadLogStreams(ctx, o.Logs, stack.ImageLogGroup(id), "", token)
	if cluster.Missing(err) {
		return nil, o.noLog(ctx, id, "log")
	}
	return out, err
}

// noLog says why there is no log of a build: it has not begun to say anything, or
// there is none.
func (o *Operator) noLog(ctx context.Context, id, what string) error {
	s, err := o.stackOf(ctx, id)
	switch {
	case err != nil:
		return err
	case s == nil:
		return notFound(id)
	}
	return cluster.Refuse(http.StatusNotFound, "The %s of image %s does not exist.", what, id)
}

// GetLogEvents reads a log stream of a build.
func (o *Operator) GetLogEvents(ctx context.Context, id string, q cluster.LogQuery) (*cluster.LogEvents, error) {
	out, err := cluster.ReadLogEvents(ctx, o.Logs, stack.ImageLogGroup(id), q)
	if cluster.Missing(err) {
		return nil, o.noLog(ctx, id, "log stream "+q.Stream)
	}
	return out, err
}

// GetStackEvents lists the events of the stack of a build.
func (o *Operator) GetStackEvents(ctx context.Context, id, token string) (*cluster.StackEvents, error) {
	s, err := o.stackOf(ctx, id)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return nil, cluster.Refuse(http.StatusNotFound, "CloudFormation Stack for Image %s does not exist.", id)
	}
	return cluster.ReadStackEvents(ctx, o.CloudFormation, id, token)
}

// ExportLogs exports the log of a build.
func (o *Operator) ExportLogs(ctx context.Context, r cluster.ExportRequest, progress func(string)) (url string, err error) {
	s, err := o.stackOf(ctx, r.Name)
	if err != nil {
		return "", err
	}
	group := stack.ImageLogGroup(r.Name)
	known, err := o.Groups.DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: &group})
	if err != nil {
		return "", err
	}
	for _, g := range known.LogGroups {
		if aws.ToString(g.LogGroupName) == group {
			r.LogGroup = group
		}
	}
	if s != nil {
		r.Stack = aws.ToString(s.StackId)
	}
	if r.Bucket == "" {
		if r.Bucket, err = o.ExportBucket(ctx, "", r.Prefix); err != nil {
			return "", err
		}
	}
	return o.Exporter(progress).Export(ctx, r)
}
