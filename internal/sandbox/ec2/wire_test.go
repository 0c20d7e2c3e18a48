package ec2

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"pcluster/internal/awsclient"
	"pcluster/internal/sandbox/wire"
)

type oneKey struct{}

func (oneKey) LookupKey(id string) (wire.Caller, string, string, bool) {
	return wire.Caller{AccessKeyID: id, AccountID: "111122223333", ARN: "arn:aws:iam::111122223333:root"}, "secret", "", id == "AKIATEST"
}

// client returns the SDK's own client for the region.
func client(r *testRegion) *sdk.Client {
	r.t.Helper()
	api, err := wire.NewService("ec2")
	if err != nil {
		r.t.Fatal(err)
	}
	r.Register(api)
	srv := httptest.NewServer(&wire.Endpoint{Auth: oneKey{}, Services: map[string]http.Handler{"ec2": api}, Region: r.id.Name})
	r.t.Cleanup(srv.Close)
	return sdk.NewFromConfig(aws.Config{
		Region: "us-east-1", BaseEndpoint: &srv.URL, HTTPClient: srv.Client(), APIOptions: awsclient.Options,
		Credentials: credentials.NewStaticCredentialsProvider("AKIATEST", "secret", ""),
	})
}

// What a head node and a cluster's stack do, over the wire.
func TestThroughTheSDKsClient(t *testing.T) {
	r := newRegion(t)
	c := client(r)
	ctx := t.Context()
	_, err := c.CreateLaunchTemplate(ctx, &sdk.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String("demo-q1-t3"),
		LaunchTemplateData: &types.RequestLaunchTemplateData{
			ImageId: aws.String(testImage), InstanceType: "t3.micro", InstanceInitiatedShutdownBehavior: "terminate",
			UserData: aws.String(base64.StdEncoding.EncodeToString([]byte("#!/bin/bash\n"))),
			NetworkInterfaces: []types.LaunchTemplateInstanceNetworkInterfaceSpecificationRequest{
				{DeviceIndex: aws.Int32(0), SubnetId: aws.String(testSubnet), Groups: []string{testGroup}},
			},
			BlockDeviceMappings: []types.LaunchTemplateBlockDeviceMappingRequest{
				{DeviceName: aws.String("/dev/xvda"), Ebs: &types.LaunchTemplateEbsBlockDeviceRequest{VolumeType: "gp3", VolumeSize: aws.Int32(40), Iops: aws.Int32(3000), Throughput: aws.Int32(125)}},
			},
			TagSpecifications: []types.LaunchTemplateTagSpecificationRequest{
				{ResourceType: "instance", Tags: []types.Tag{tag("parallelcluster:cluster-name", "demo"), tag("parallelcluster:node-type", "Compute")}},
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	template := &types.LaunchTemplateSpecification{LaunchTemplateName: aws.String("demo-q1-t3"), Version: aws.String("$Latest")}
	_, err = c.RunInstances(ctx, &sdk.RunInstancesInput{MinCount: aws.Int32(1), MaxCount: aws.Int32(1), LaunchTemplate: template, DryRun: aws.Bool(true)})
	var refusal smithy.APIError
	if !errors.As(err, &refusal) || refusal.ErrorCode() != "DryRunOperation" {
		t.Errorf("dry run: %v", err)
	}
	r.machines.mu.Lock()
	r.machines.hold = make(chan struct{})
	r.machines.mu.Unlock()
	out, err := c.RunInstances(ctx, &sdk.RunInstancesInput{MinCount: aws.Int32(1), MaxCount: aws.Int32(3), LaunchTemplate: template})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, i := range out.Instances {
		ids = append(ids, *i.InstanceId)
	}
	if len(ids) != 3 || out.Instances[2].State.Name != "pending" || *out.Instances[2].AmiLaunchIndex != 2 {
		t.Errorf("launched %d instances", len(ids))
	}
	close(r.machines.hold)
	waiter := sdk.NewInstanceRunningWaiter(c, func(o *sdk.InstanceRunningWaiterOptions) {
		o.MinDelay, o.MaxDelay = time.Millisecond, 10*time.Millisecond
	})
	if err := waiter.Wait(ctx, &sdk.DescribeInstancesInput{InstanceIds: ids}, time.Minute); err != nil {
		t.Fatal(err)
	}
	pages := sdk.NewDescribeInstancesPaginator(c, &sdk.DescribeInstancesInput{MaxResults: aws.Int32(1000), Filters: []types.Filter{
		{Name: aws.String("tag:parallelcluster:cluster-name"), Values: []string{"demo"}},
		{Name: aws.String("instance-state-name"), Values: []string{"pending", "running"}},
	}})
	found := 0
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, res := range page.Reservations {
			for _, i := range res.Instances {
				found++
				if *i.PrivateIpAddress == "" || len(i.NetworkInterfaces) != 1 || *i.NetworkInterfaces[0].Attachment.DeviceIndex != 0 || len(i.Tags) != 4 {
					t.Errorf("instance %+v", i)
				}
			}
		}
	}
	if found != 3 {
		t.Errorf("found %d instances", found)
	}
	ended, err := c.TerminateInstances(ctx, &sdk.TerminateInstancesInput{InstanceIds: ids})
	if err != nil || len(ended.TerminatingInstances) != 3 || ended.TerminatingInstances[0].CurrentState.Name != "shutting-down" {
		t.Errorf("terminated %+v, %v", ended, err)
	}
	_, err = c.DescribeInstances(ctx, &sdk.DescribeInstancesInput{InstanceIds: []string{"i-0123456789abcdef0"}})
	if !errors.As(err, &refusal) || refusal.ErrorCode() != "InvalidInstanceID.NotFound" || refusal.ErrorMessage() != "The instance ID 'i-0123456789abcdef0' does not exist" {
		t.Errorf("unknown instance: %v", err)
	}
	_, err = c.CreateTags(ctx, &sdk.CreateTagsInput{Resources: []string{testSubnet}, Tags: []types.Tag{tag("aws:mine", "x")}})
	if !errors.As(err, &refusal) || refusal.ErrorCode() != "InvalidParameterValue" {
		t.Errorf("AWS's own tag: %v", err)
	}
}
