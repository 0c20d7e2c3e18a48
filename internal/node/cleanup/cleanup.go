// Package cleanup is the function of a cluster's stack: when the stack is
// deleted, by pcluster or by hand, it ends what the stack did not make itself.
//
// The stack has custom resources, which differ in their Action: terminate the
// compute fleet, delete the nodes' DNS records, delete the cluster's artifacts.
// For these, create and update do nothing. That of AWS Batch's clusters is the
// other way round: it builds the image of jobs, whose repository the stack
// empties itself. Each action may be repeated at any time, since CloudFormation
// and Lambda both retry. Start at [Run].
package cleanup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	r53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"pcluster/internal/awsclient"
)

// Values of the custom resources' property Action.
const (
	TerminateInstances = "TERMINATE_EC2_INSTANCES"
	DeleteDNSRecords   = "DELETE_DNS_RECORDS"
	DeleteArtifacts    = "DELETE_S3_ARTIFACTS"
	BuildImages        = "BUILD_DOCKER_IMAGES"
)

// ec2API is the part of EC2 that ending a fleet needs.
type ec2API interface {
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)
	TerminateInstances(context.Context, *ec2.TerminateInstancesInput, ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error)
}

// s3API is the part of S3 that deleting a prefix needs.
type s3API interface {
	ListObjectVersions(context.Context, *s3.ListObjectVersionsInput, ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error)
	DeleteObjects(context.Context, *s3.DeleteObjectsInput, ...func(*s3.Options)) (*s3.DeleteObjectsOutput, error)
}

// route53API is the part of Route 53 that deleting records needs.
type route53API interface {
	ListResourceRecordSets(context.Context, *route53.ListResourceRecordSetsInput, ...func(*route53.Options)) (*route53.ListResourceRecordSetsOutput, error)
	ChangeResourceRecordSets(context.Context, *route53.ChangeResourceRecordSetsInput, ...func(*route53.Options)) (*route53.ChangeResourceRecordSetsOutput, error)
}

// Run serves invocations until Lambda ends the process. It is what the program
// does when Lambda's runtime started it.
func Run(ctx context.Context) error {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithAPIOptions(awsclient.Options))
	if err != nil {
		return err
	}
	if stack := os.Getenv(imageStackVariable); stack != "" {
		h := newImageHandler(cfg, stack)
		return serve(ctx, os.Getenv("AWS_LAMBDA_RUNTIME_API"), h.handle)
	}
	h := &handler{
		ec2: ec2.NewFromConfig(cfg), s3: s3.NewFromConfig(cfg), route53: route53.NewFromConfig(cfg),
		builds: codebuild.NewFromConfig(cfg),
		wait:   sleep,
	}
	answer := cfn.LambdaWrap(h.handle)
	return serve(ctx, os.Getenv("AWS_LAMBDA_RUNTIME_API"), func(ctx context.Context, request json.RawMessage) error {
		var e cfn.Event
		if err := json.Unmarshal(request, &e); err != nil {
			return fmt.Errorf("event of a custom resource: %w", err)
		}
		_, err := answer(ctx, e)
		return err
	})
}

type handler struct {
	ec2     ec2API
	s3      s3API
	route53 route53API
	builds  codebuildAPI
	wait    func(context.Context, time.Duration) error
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// handle answers one event of a custom resource.
func (h *handler) handle(ctx context.Context, e cfn.Event) (physicalID string, data map[string]any, err error) {
	physicalID = e.PhysicalResourceID
	if physicalID == "" {
		physicalID = e.LogicalResourceID
	}
	property := func(name string) string {
		s, _ := e.ResourceProperties[name].(string)
		return s
	}
	action := property("Action")
	if (e.RequestType == cfn.RequestDelete) == (action == BuildImages) {
		return physicalID, nil, nil
	}
	switch action {
	case BuildImages:
		err = h.buildImages(ctx, property("CodeBuildProject"), e.RequestID)
	case TerminateInstances:
		err = h.terminateInstances(ctx, property("StackName"))
	case DeleteDNSRecords:
		err = h.deleteRecords(ctx, property("ClusterHostedZone"), property("ClusterDNSDomain"))
	case DeleteArtifacts:
		err = h.deleteArtifacts(ctx, property("ResourcesS3Bucket"), property("ArtifactS3RootDirectory"))
	default:
		err = fmt.Errorf("unknown Action %q", action)
	}
	if err != nil {
		slog.Error("clean-up", "resource", e.LogicalResourceID, "err", err)
	}
	return physicalID, nil, err
}

// pollInstances is how often the end of a fleet is looked at. Terminating takes
// EC2 seconds to minutes.
const pollInstances = 500 * time.Millisecond

// terminateInstances ends every instance of the cluster and returns when none is
// shutting down any more, so that the network interfaces are free and the stack
// can delete security groups and placement groups.
func (h *handler) terminateInstances(ctx context.Context, cluster string) error {
	if cluster == "" {
		return errors.New("StackName is empty: refusing to look for instances of any cluster")
	}
	for {
		live, ending, err := h.instances(ctx, cluster)
		if err != nil {
			return err
		}
		if len(live) == 0 && ending == 0 {
			return nil
		}
		for batch := range slices.Chunk(live, 100) {
			if _, err := h.ec2.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: batch}); err != nil && !isCode(err, "InvalidInstanceID.NotFound") {
				return fmt.Errorf("terminate instances of %s: %w", cluster, err)
			}
		}
		if len(live) > 0 {
			slog.Info("terminated instances", "cluster", cluster, "instances", live)
		}
		if err := h.wait(ctx, pollInstances); err != nil {
			return fmt.Errorf("instances of %s did not end in time: %w", cluster, err)
		}
	}
}

// instances returns the cluster's instances that have to be terminated, and how
// many are ending already.
func (h *handler) instances(ctx context.Context, cluster string) (live []string, ending int, err error) {
	pages := ec2.NewDescribeInstancesPaginator(h.ec2, &ec2.DescribeInstancesInput{Filters: []ec2types.Filter{
		{Name: aws.String("tag:parallelcluster:cluster-name"), Values: []string{cluster}},
		{Name: aws.String("instance-state-name"), Values: []string{"pending", "running", "stopping", "stopped", "shutting-down"}},
	}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, 0, fmt.Errorf("list instances of %s: %w", cluster, err)
		}
		for _, r := range page.Reservations {
			for _, i := range r.Instances {
				if i.State != nil && i.State.Name == ec2types.InstanceStateNameShuttingDown {
					ending++
				} else {
					live = append(live, aws.ToString(i.InstanceId))
				}
			}
		}
	}
	return live, ending, nil
}

// maxChanges is how many record sets one call may change (Amazon Route 53
// quotas: 1,000 ResourceRecord elements per ChangeResourceRecordSets request).
const maxChanges = 500

// deleteRecords deletes the address records below the cluster's domain. A zone
// that is gone is no error. It repeats until a pass finds none: a fleet daemon
// may still have been writing.
func (h *handler) deleteRecords(ctx context.Context, zone, domain string) error {
	if zone == "" || domain == "" {
		return errors.New("ClusterHostedZone or ClusterDNSDomain is empty")
	}
	suffix := "." + strings.TrimSuffix(domain, ".") + "."
	for {
		records, err := h.records(ctx, zone, suffix)
		if isCode(err, "NoSuchHostedZone") {
			return nil
		}
		if err != nil {
			return err
		}
		if len(records) == 0 {
			return nil
		}
		for batch := range slices.Chunk(records, maxChanges) {
			changes := make([]r53types.Change, len(batch))
			for i := range batch {
				changes[i] = r53types.Change{Action: r53types.ChangeActionDelete, ResourceRecordSet: &batch[i]}
			}
			_, err := h.route53.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{
				HostedZoneId: &zone, ChangeBatch: &r53types.ChangeBatch{Changes: changes},
			})
			if err != nil && !isCode(err, "InvalidChangeBatch") { // a record changed since: the next pass sees it
				return fmt.Errorf("delete DNS records below %s: %w", domain, err)
			}
		}
		if err := h.wait(ctx, pollInstances); err != nil {
			return err
		}
	}
}

func (h *handler) records(ctx context.Context, zone, suffix string) ([]r53types.ResourceRecordSet, error) {
	var found []r53types.ResourceRecordSet
	pages := route53.NewListResourceRecordSetsPaginator(h.route53, &route53.ListResourceRecordSetsInput{HostedZoneId: &zone})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list DNS records of zone %s: %w", zone, err)
		}
		for _, r := range page.ResourceRecordSets {
			if r.Type == r53types.RRTypeA && strings.HasSuffix(aws.ToString(r.Name), suffix) {
				found = append(found, r)
			}
		}
	}
	return found, nil
}

// deleteArtifacts deletes all versions of all objects below the cluster's
// directory. A bucket that is gone is no error.
func (h *handler) deleteArtifacts(ctx context.Context, bucket, dir string) error {
	if bucket == "" || strings.Trim(dir, "/") == "" {
		return errors.New("ResourcesS3Bucket or ArtifactS3RootDirectory is empty: refusing to empty a whole bucket")
	}
	pages := s3.NewListObjectVersionsPaginator(h.s3, &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: aws.String(strings.TrimSuffix(dir, "/") + "/")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if isCode(err, "NoSuchBucket") {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list s3://%s/%s: %w", bucket, dir, err)
		}
		var objects []s3types.ObjectIdentifier
		for _, v := range page.Versions {
			objects = append(objects, s3types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
		}
		for _, m := range page.DeleteMarkers {
			objects = append(objects, s3types.ObjectIdentifier{Key: m.Key, VersionId: m.VersionId})
		}
		for batch := range slices.Chunk(objects, 1000) {
			out, err := h.s3.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &s3types.Delete{Objects: batch, Quiet: aws.Bool(true)}})
			if err != nil {
				return fmt.Errorf("delete objects below s3://%s/%s: %w", bucket, dir, err)
			}
			if len(out.Errors) > 0 {
				e := out.Errors[0]
				return fmt.Errorf("delete s3://%s/%s: %s: %s", bucket, aws.ToString(e.Key), aws.ToString(e.Code), aws.ToString(e.Message))
			}
		}
	}
	return nil
}

// isCode says whether err is AWS's error with that code.
func isCode(err error, code string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == code
}
