package ec2

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"pgregory.net/rapid"
)

func TestWildcard(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"c5.*", "c5.large", true},
		{"c5.*", "c5d.large", false},
		{"*", "", true},
		{"?", "", false},
		{"10.0.?.*", "10.0.1.17", true},
		{"10.0.?.*", "10.0.11.17", false},
		{"*-hvm-*", "aws-parallelcluster-hvm-x86_64", true},
		{"a*b*c", "aXbXbc", true},
		{"a*b*c", "aXbXb", false},
		{`\*`, "*", true},
		{`\*`, "x", false},
		{`what\?`, "what?", true},
		{`what\?`, "whatx", false},
		{"2025-11-03T*", "2025-11-03T09:30:00.000Z", true},
	} {
		if got := wildcard(tt.pattern, tt.s); got != tt.want {
			t.Errorf("wildcard(%q, %q) = %v", tt.pattern, tt.s, got)
		}
	}
}

func TestWildcardAgreesWithItsDefinition(t *testing.T) {
	// The plain recursive definition, without escapes.
	var match func(p, s string) bool
	match = func(p, s string) bool {
		switch {
		case p == "":
			return s == ""
		case p[0] == '*':
			return match(p[1:], s) || s != "" && match(p, s[1:])
		default:
			return s != "" && (p[0] == '?' || p[0] == s[0]) && match(p[1:], s[1:])
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.StringMatching(`[ab*?]{0,8}`).Draw(t, "pattern")
		s := rapid.StringMatching(`[ab]{0,10}`).Draw(t, "text")
		if got, want := wildcard(p, s), match(p, s); got != want {
			t.Fatalf("wildcard(%q, %q) = %v", p, s, got)
		}
	})
}

// every filter that DescribeInstances answers must find an instance by its own
// values, and not find it by others.
func TestInstanceFilters(t *testing.T) {
	r := newRegion(t)
	ctx := t.Context()
	ok[*sdk.CreateKeyPairOutput](t)(r.CreateKeyPair(ctx, &sdk.CreateKeyPairInput{KeyName: aws.String("key"), KeyType: "ed25519"}))
	in := r.request(1)
	in.KeyName = aws.String("key")
	in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: aws.String("node")}
	in.TagSpecifications = []types.TagSpecification{{ResourceType: "instance", Tags: []types.Tag{tag("Name", "HeadNode"), tag("empty", "")}}}
	in.ClientToken = aws.String("tok")
	id := r.run1(in)
	other := r.request(1)
	other.InstanceType = "c5.large"
	r.run1(other)
	i := r.instance(id)

	find := func(name string, values ...string) []string {
		t.Helper()
		out, err := r.DescribeInstances(ctx, &sdk.DescribeInstancesInput{Filters: []types.Filter{{Name: &name, Values: values}}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var ids []string
		for _, res := range out.Reservations {
			for _, i := range res.Instances {
				ids = append(ids, *i.InstanceId)
			}
		}
		return ids
	}
	for name, value := range map[string]string{
		"instance-id": id, "instance-type": "t3.*", "private-ip-address": *i.PrivateIpAddress, "private-dns-name": *i.PrivateDnsName,
		"key-name": "key", "client-token": "tok", "tag:Name": "Head*", "tag-key": "Name", "tag-value": "HeadNode",
		"iam-instance-profile.arn": *i.IamInstanceProfile.Arn, "reservation-id": r.instances.get(id).Reservation,
		"network-interface.network-interface-id":         *i.NetworkInterfaces[0].NetworkInterfaceId,
		"network-interface.addresses.private-ip-address": *i.PrivateIpAddress,
		"network-interface.mac-address":                  *i.NetworkInterfaces[0].MacAddress,
		"block-device-mapping.volume-id":                 *i.BlockDeviceMappings[0].Ebs.VolumeId,
	} {
		if got := find(name, value); !slices.Equal(got, []string{id}) {
			t.Errorf("%s=%s finds %v", name, value, got)
		}
	}
	for name, value := range map[string]string{
		"instance-state-name": "running", "instance-state-code": "16", "image-id": r.image, "subnet-id": r.subnet, "vpc-id": *i.VpcId,
		"availability-zone": "us-east-1a", "instance.group-id": r.group, "architecture": "x86_64", "launch-time": "2025-11-03T09:30:0*",
		"root-device-name": "/dev/xvda", "tenancy": "default", "monitoring-state": "disabled", "hypervisor": "xen",
		"network-interface.subnet-id": r.subnet, "network-interface.group-id": r.group,
	} {
		if got := find(name, value); len(got) != 2 {
			t.Errorf("%s=%s finds %v, want both", name, value, got)
		}
		if got := find(name, "nothing"); len(got) != 0 {
			t.Errorf("%s=nothing finds %v", name, got)
		}
	}
	if got := find("tag:empty", ""); len(got) != 1 {
		t.Errorf("an empty tag value finds %v", got)
	}
	if got := find("instance-state-name", "pending", "running"); len(got) != 2 {
		t.Errorf("two values find %v", got)
	}
	both := ok[*sdk.DescribeInstancesOutput](t)(r.DescribeInstances(ctx, &sdk.DescribeInstancesInput{Filters: []types.Filter{
		{Name: aws.String("instance-state-name"), Values: []string{"running"}}, {Name: aws.String("instance-type"), Values: []string{"c5.large"}},
	}}))
	if len(both.Reservations) != 1 {
		t.Errorf("two filters find %d reservations", len(both.Reservations))
	}
	_, err := r.DescribeInstances(ctx, &sdk.DescribeInstancesInput{Filters: []types.Filter{{Name: aws.String("instnace-id"), Values: []string{"i"}}}})
	refused(t, err, "InvalidParameterValue")
	if !strings.Contains(err.Error(), "The filter 'instnace-id' is invalid") {
		t.Error(err)
	}
}

func TestPagesCoverEverythingOnce(t *testing.T) {
	r := newRegion(t)
	want := r.runAll(r.request(23))
	var got []string
	var next *string
	for pages := 0; ; pages++ {
		out := ok[*sdk.DescribeInstancesOutput](t)(r.DescribeInstances(t.Context(), &sdk.DescribeInstancesInput{MaxResults: aws.Int32(5), NextToken: next}))
		for _, res := range out.Reservations {
			for _, i := range res.Instances {
				got = append(got, *i.InstanceId)
			}
		}
		if pages == 1 { // what comes and goes between pages must not matter
			ok[*sdk.TerminateInstancesOutput](t)(r.TerminateInstances(t.Context(), &sdk.TerminateInstancesInput{InstanceIds: got[:2]}))
			r.settle()
		}
		if next = out.NextToken; next == nil {
			if pages != 4 {
				t.Errorf("%d pages", pages+1)
			}
			break
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("pages gave %d instances, want %d", len(got), len(want))
	}
	_, err := r.DescribeInstances(t.Context(), &sdk.DescribeInstancesInput{MaxResults: aws.Int32(3)})
	refused(t, err, "InvalidParameterValue")
	_, err = r.DescribeInstances(t.Context(), &sdk.DescribeInstancesInput{NextToken: aws.String("garbage")})
	refused(t, err, "InvalidPaginationToken")
}

// All kinds that have filters answer all of them without trouble, on rows as bare
// as they come.
func TestAttributesOfBareRows(t *testing.T) {
	r := newRegion(t)
	ctx := t.Context()
	ok[*sdk.CreateVpcOutput](t)(r.CreateVpc(ctx, &sdk.CreateVpcInput{CidrBlock: aws.String("10.7.0.0/16")}))
	ok[*sdk.CreateInternetGatewayOutput](t)(r.CreateInternetGateway(ctx, &sdk.CreateInternetGatewayInput{}))
	ok[*sdk.CreateNetworkInterfaceOutput](t)(r.CreateNetworkInterface(ctx, &sdk.CreateNetworkInterfaceInput{SubnetId: &r.subnet}))
	ok[*sdk.AllocateAddressOutput](t)(r.AllocateAddress(ctx, &sdk.AllocateAddressInput{}))
	ok[*sdk.CreateVolumeOutput](t)(r.CreateVolume(ctx, &sdk.CreateVolumeInput{AvailabilityZone: aws.String("us-east-1a"), Size: aws.Int32(1)}))
	ok[*sdk.CreatePlacementGroupOutput](t)(r.CreatePlacementGroup(ctx, &sdk.CreatePlacementGroupInput{GroupName: aws.String("pg"), Strategy: "cluster"}))
	id := r.run1(r.request(1))
	ok[*sdk.TerminateInstancesOutput](t)(r.TerminateInstances(ctx, &sdk.TerminateInstancesInput{InstanceIds: []string{id}}))
	r.settle()

	each(r.vpcs.all(), vpcAttributes)
	each(r.subnets.all(), subnetAttributes)
	each(r.routes.all(), routeAttributes)
	each(r.gateways.all(), gatewayAttributes)
	each(r.nats.all(), natAttributes)
	each(r.groups.all(), groupAttributes)
	each(r.enis.all(), eniAttributes)
	each(r.eips.all(), eipAttributes)
	each(r.images.all(), imageAttributes)
	each(r.volumes.all(), volumeAttributes)
	each(r.snapshots.all(), snapshotAttributes)
	each(r.placements.all(), placementAttributes)
	each(r.instances.all(), instanceAttributes)
}

func each[T any](rows []*T, attributes map[string]attribute[T]) {
	for _, row := range rows {
		for _, get := range attributes {
			_ = get(row)
		}
	}
}

func BenchmarkDescribeInstances(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("%d instances by tag and state", n), func(b *testing.B) {
			r := benchRegion(b, n)
			in := &sdk.DescribeInstancesInput{Filters: []types.Filter{
				{Name: aws.String("tag:parallelcluster:cluster-name"), Values: []string{"demo"}},
				{Name: aws.String("instance-state-name"), Values: []string{"pending", "running", "stopping", "stopped"}},
			}}
			for b.Loop() {
				if _, err := r.DescribeInstances(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("one of %d instances by ID", n), func(b *testing.B) {
			r := benchRegion(b, n)
			in := &sdk.DescribeInstancesInput{InstanceIds: []string{instanceKey(r.instances.all()[n/2])}}
			for b.Loop() {
				if _, err := r.DescribeInstances(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
