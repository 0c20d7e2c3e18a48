package ec2

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func TestRunInstancesRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*sdk.RunInstancesInput)
		code   string
		says   string
	}{
		"dry run": {
			func(in *sdk.RunInstancesInput) { in.DryRun = aws.Bool(true) },
			"DryRunOperation", "Request would have succeeded",
		},
		"unknown instance type": {
			func(in *sdk.RunInstancesInput) { in.InstanceType = "c7a.49xlarge" },
			"InvalidParameterValue", "Invalid value 'c7a.49xlarge' for InstanceType.",
		},
		"type that us-east-1 lacks": {
			func(in *sdk.RunInstancesInput) { in.InstanceType = "hpc7a.96xlarge" },
			"Unsupported", "(hpc7a.96xlarge) is not supported in your requested Availability Zone (us-east-1a)",
		},
		"unknown image": {
			func(in *sdk.RunInstancesInput) { in.ImageId = aws.String("ami-0123456789abcdef0") },
			"InvalidAMIID.NotFound", "The image id '[ami-0123456789abcdef0]' does not exist",
		},
		"malformed image": {
			func(in *sdk.RunInstancesInput) { in.ImageId = aws.String("debian") },
			"InvalidAMIID.Malformed", `Invalid id: "debian" (expecting "ami-...")`,
		},
		"unknown subnet": {
			func(in *sdk.RunInstancesInput) { in.SubnetId = aws.String("subnet-0123456789abcdef0") },
			"InvalidSubnetID.NotFound", "The subnet ID 'subnet-0123456789abcdef0' does not exist",
		},
		"no subnet and no default VPC": {
			func(in *sdk.RunInstancesInput) { in.SubnetId, in.SecurityGroupIds = nil, nil },
			"VPCIdNotSpecified", "No default VPC",
		},
		"unknown group": {
			func(in *sdk.RunInstancesInput) { in.SecurityGroupIds = []string{"sg-00000000000000000"} },
			"InvalidGroup.NotFound", "The security group 'sg-00000000000000000' does not exist",
		},
		"unknown key": {
			func(in *sdk.RunInstancesInput) { in.KeyName = aws.String("nokey") },
			"InvalidKeyPair.NotFound", "The key pair 'nokey' does not exist",
		},
		"unknown profile": {
			func(in *sdk.RunInstancesInput) {
				in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: aws.String("nobody")}
			},
			"InvalidParameterValue", "Value (nobody) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name",
		},
		"unknown placement group": {
			func(in *sdk.RunInstancesInput) { in.Placement = &types.Placement{GroupName: aws.String("pg")} },
			"InvalidPlacementGroup.Unknown", "The Placement Group 'pg' is unknown.",
		},
		"architecture": {
			func(in *sdk.RunInstancesInput) { in.InstanceType = "m6g.xlarge" },
			"InvalidParameterValue", "The architecture 'arm64' of the specified instance type does not match the architecture",
		},
		"unknown template": {
			func(in *sdk.RunInstancesInput) {
				in.LaunchTemplate = &types.LaunchTemplateSpecification{LaunchTemplateName: aws.String("none")}
			},
			"InvalidLaunchTemplateName.NotFoundException", "",
		},
		"root volume smaller than the image": {
			func(in *sdk.RunInstancesInput) {
				in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/xvda"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(8)}}}
			},
			"InvalidBlockDeviceMapping", "expect size >= 35GB",
		},
		"address of the router": {
			func(in *sdk.RunInstancesInput) { in.PrivateIpAddress = aws.String("10.0.1.1") },
			"InvalidParameterValue", "reserved address range",
		},
		"address elsewhere": {
			func(in *sdk.RunInstancesInput) { in.PrivateIpAddress = aws.String("10.9.1.1") },
			"InvalidParameterValue", "does not fall within the subnet's address range",
		},
		"more than the subnet has": {
			func(in *sdk.RunInstancesInput) { in.MinCount, in.MaxCount = aws.Int32(252), aws.Int32(252) },
			"InsufficientFreeAddressesInSubnet", "There are not enough free addresses in subnet '" + testSubnet + "'",
		},
		"user data that is not base64": {
			func(in *sdk.RunInstancesInput) { in.UserData = aws.String("#!/bin/sh") },
			"InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.",
		},
		"user data that is too long": {
			func(in *sdk.RunInstancesInput) {
				in.UserData = aws.String(base64.StdEncoding.EncodeToString(make([]byte, 16<<10+1)))
			},
			"InvalidParameterValue", "User data is limited to 16384 bytes",
		},
		"EFA on a type without": {
			func(in *sdk.RunInstancesInput) {
				withInterface(in, func(n *types.InstanceNetworkInterfaceSpecification) { n.InterfaceType = aws.String("efa") })
			},
			"InvalidParameterValue", "EFA interfaces are not supported on t3.micro",
		},
		"interfaces and a subnet": {
			func(in *sdk.RunInstancesInput) {
				in.NetworkInterfaces = []types.InstanceNetworkInterfaceSpecification{{DeviceIndex: aws.Int32(0), SubnetId: in.SubnetId}}
			},
			"InvalidParameterCombination", "Network interfaces and an instance-level subnet ID may not be specified on the same request",
		},
		"AWS's own tag": {
			func(in *sdk.RunInstancesInput) {
				in.TagSpecifications = []types.TagSpecification{{ResourceType: "vpc"}}
			},
			"InvalidParameterValue", "'vpc' is not a valid taggable resource type for this operation.",
		},
		"capacity block that does not exist": {
			func(in *sdk.RunInstancesInput) {
				in.CapacityReservationSpecification = &types.CapacityReservationSpecification{
					CapacityReservationTarget: &types.CapacityReservationTarget{CapacityReservationId: aws.String("cr-0123456789abcdef0")},
				}
			},
			"InvalidCapacityReservationId.NotFound", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegion(t)
			in := r.request(1)
			tt.change(in)
			_, err := r.RunInstances(t.Context(), in)
			refused(t, err, tt.code)
			if err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %q does not say %q", err, tt.says)
			}
			if r.instances.rows.Len()+r.enis.rows.Len()+r.volumes.rows.Len() > 0 {
				t.Error("something was made nevertheless")
			}
		})
	}
}

// withInterface moves the request's subnet and groups into an interface.
func withInterface(in *sdk.RunInstancesInput, change func(*types.InstanceNetworkInterfaceSpecification)) {
	n := types.InstanceNetworkInterfaceSpecification{DeviceIndex: aws.Int32(0), SubnetId: in.SubnetId, Groups: in.SecurityGroupIds}
	in.SubnetId, in.SecurityGroupIds = nil, nil
	change(&n)
	in.NetworkInterfaces = append(in.NetworkInterfaces, n)
}

func TestClientTokenLaunchesOnce(t *testing.T) {
	r := newRegion(t)
	in := r.request(2)
	in.ClientToken = aws.String("once")
	first := r.runAll(in)
	r.shut() // a new daemon remembers, too
	r.open()
	again := r.runAll(in)
	if fmt.Sprint(first) != fmt.Sprint(again) {
		t.Errorf("first %v, then %v", first, again)
	}
	other := r.request(3)
	other.ClientToken = in.ClientToken
	_, err := r.RunInstances(t.Context(), other)
	refused(t, err, "IdempotentParameterMismatch")

	ok[*sdk.TerminateInstancesOutput](t)(r.TerminateInstances(t.Context(), &sdk.TerminateInstancesInput{InstanceIds: first}))
	r.settle()
	_, err = r.RunInstances(t.Context(), in)
	refused(t, err, "IdempotentInstanceTerminated")
}

func TestCapacityRunsOut(t *testing.T) {
	r := newRegion(t)
	if err := r.SetCapacity("t3.micro", 3); err != nil {
		t.Fatal(err)
	}
	in := r.request(2)
	in.MinCount, in.MaxCount = aws.Int32(1), aws.Int32(5)
	ids := r.runAll(in)
	if len(ids) != 3 {
		t.Fatalf("%d of 5 instances launched, want the 3 that there are", len(ids))
	}
	_, err := r.RunInstances(t.Context(), r.request(1))
	refused(t, err, "InsufficientInstanceCapacity")

	ok[*sdk.TerminateInstancesOutput](t)(r.TerminateInstances(t.Context(), &sdk.TerminateInstancesInput{InstanceIds: ids[:1]}))
	r.settle()
	r.run1(r.request(1))
	if err := r.SetCapacity("t3.micro", -1); err != nil {
		t.Fatal(err)
	}
	r.runAll(r.request(5))
}

func TestLaunchFromTemplate(t *testing.T) {
	r := newRegion(t)
	ctx := t.Context()
	made := ok[*sdk.CreateLaunchTemplateOutput](t)(r.CreateLaunchTemplate(ctx, &sdk.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String("demo-q1-c5"),
		LaunchTemplateData: &types.RequestLaunchTemplateData{
			ImageId: &r.image, InstanceType: "c5.large", UserData: aws.String(base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\n"))),
			InstanceInitiatedShutdownBehavior: "terminate",
			IamInstanceProfile:                &types.LaunchTemplateIamInstanceProfileSpecificationRequest{Name: aws.String("node")},
			MetadataOptions:                   &types.LaunchTemplateInstanceMetadataOptionsRequest{HttpTokens: "required"},
			NetworkInterfaces: []types.LaunchTemplateInstanceNetworkInterfaceSpecificationRequest{
				{DeviceIndex: aws.Int32(0), NetworkCardIndex: aws.Int32(0), Groups: []string{r.group}, SubnetId: &r.subnet},
			},
			BlockDeviceMappings: []types.LaunchTemplateBlockDeviceMappingRequest{
				{DeviceName: aws.String("/dev/xvdba"), VirtualName: aws.String("ephemeral0")},
				{DeviceName: aws.String("/dev/xvda"), Ebs: &types.LaunchTemplateEbsBlockDeviceRequest{VolumeType: "gp3", Encrypted: aws.Bool(true), VolumeSize: aws.Int32(50)}},
			},
			Placement: &types.LaunchTemplatePlacementRequest{GroupName: aws.String("")},
			TagSpecifications: []types.LaunchTemplateTagSpecificationRequest{
				{ResourceType: "instance", Tags: []types.Tag{tag("Name", "Compute"), tag("queue", "q1")}},
				{ResourceType: "volume", Tags: []types.Tag{tag("queue", "q1")}},
			},
		},
	}))
	ids := r.runAll(&sdk.RunInstancesInput{
		MinCount: aws.Int32(1), MaxCount: aws.Int32(2), InstanceType: "m5.large",
		LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateName: aws.String("demo-q1-c5"), Version: aws.String("$Latest")},
		TagSpecifications: []types.TagSpecification{
			{ResourceType: "instance", Tags: []types.Tag{tag("queue", "other")}},
		},
	})
	i := r.instance(ids[1])
	if i.InstanceType != "m5.large" || *i.SubnetId != r.subnet || *i.SecurityGroups[0].GroupId != r.group || *i.AmiLaunchIndex != 1 {
		t.Errorf("launched %s in %s with %v", i.InstanceType, *i.SubnetId, i.SecurityGroups)
	}
	tags := map[string]string{}
	for _, tag := range i.Tags {
		tags[*tag.Key] = *tag.Value
	}
	if tags["Name"] != "Compute" || tags["queue"] != "other" ||
		tags["aws:ec2launchtemplate:id"] != *made.LaunchTemplate.LaunchTemplateId || tags["aws:ec2launchtemplate:version"] != "1" {
		t.Errorf("tags %v", tags)
	}
	if i.IamInstanceProfile == nil || !strings.HasSuffix(*i.IamInstanceProfile.Arn, "/node") {
		t.Errorf("profile %+v", i.IamInstanceProfile)
	}
	if len(i.BlockDeviceMappings) != 1 {
		t.Fatalf("devices %+v", i.BlockDeviceMappings)
	}
	volumes := ok[*sdk.DescribeVolumesOutput](t)(r.DescribeVolumes(ctx, &sdk.DescribeVolumesInput{VolumeIds: []string{*i.BlockDeviceMappings[0].Ebs.VolumeId}}))
	v := volumes.Volumes[0]
	if *v.Size != 50 || v.VolumeType != "gp3" || *v.Iops != 3000 || !*v.Encrypted || *v.Attachments[0].InstanceId != ids[1] || tagValues(v.Tags, "queue")[0] != "q1" {
		t.Errorf("root volume %+v", v)
	}
	if behavior := r.instances.get(ids[0]).Shutdown; behavior != "terminate" {
		t.Errorf("shutdown behavior %s", behavior)
	}
}

func TestManyNetworkCards(t *testing.T) {
	r := newRegion(t)
	in := r.request(1)
	in.InstanceType = "p4d.24xlarge"
	subnet, groups := in.SubnetId, in.SecurityGroupIds
	in.SubnetId, in.SecurityGroupIds = nil, nil
	for card := range int32(4) {
		n := types.InstanceNetworkInterfaceSpecification{
			NetworkCardIndex: aws.Int32(card), DeviceIndex: aws.Int32(min(card, 1)), SubnetId: subnet, Groups: groups, InterfaceType: aws.String("efa"),
		}
		if card > 0 {
			n.AssociatePublicIpAddress = aws.Bool(false)
		}
		in.NetworkInterfaces = append(in.NetworkInterfaces, n)
	}
	id := r.run1(in)
	i := r.instance(id)
	if len(i.NetworkInterfaces) != 4 || len(r.machines.up[id].Interfaces) != 4 || *i.NetworkInterfaces[0].PrivateIpAddress != *i.PrivateIpAddress {
		t.Errorf("interfaces %+v", i.NetworkInterfaces)
	}
	subnets := ok[*sdk.DescribeSubnetsOutput](t)(r.DescribeSubnets(t.Context(), &sdk.DescribeSubnetsInput{}))
	if got := *subnets.Subnets[0].AvailableIpAddressCount; got != 251-4 {
		t.Errorf("%d addresses are free, want 247", got)
	}
}

func TestExistingInterfaceSurvivesItsInstance(t *testing.T) {
	r := newRegion(t)
	ctx := t.Context()
	eni := ok[*sdk.CreateNetworkInterfaceOutput](t)(r.CreateNetworkInterface(ctx, &sdk.CreateNetworkInterfaceInput{
		SubnetId: &r.subnet, Groups: []string{r.group}, Description: aws.String("head"),
	})).NetworkInterface
	eip := ok[*sdk.AllocateAddressOutput](t)(r.AllocateAddress(ctx, &sdk.AllocateAddressInput{Domain: "vpc"}))
	ok[*sdk.AssociateAddressOutput](t)(r.AssociateAddress(ctx, &sdk.AssociateAddressInput{AllocationId: eip.AllocationId, NetworkInterfaceId: eni.NetworkInterfaceId}))
	in := r.request(1)
	in.SubnetId, in.SecurityGroupIds = nil, nil
	in.NetworkInterfaces = []types.InstanceNetworkInterfaceSpecification{{DeviceIndex: aws.Int32(0), NetworkInterfaceId: eni.NetworkInterfaceId}}
	id := r.run1(in)
	i := r.instance(id)
	if *i.PrivateIpAddress != *eni.PrivateIpAddress || *i.PublicIpAddress != *eip.PublicIp || !strings.HasPrefix(*i.PublicDnsName, "ec2-203-0-113-") {
		t.Errorf("instance has %s, %s", *i.PrivateIpAddress, aws.ToString(i.PublicIpAddress))
	}
	if got := r.machines.up[id].Interfaces[0].Public.String(); got != *eip.PublicIp {
		t.Errorf("machine's public address is %s", got)
	}
	_, err := r.RunInstances(ctx, in)
	refused(t, err, "InvalidNetworkInterface.InUse")
	_, err = r.ReleaseAddress(ctx, &sdk.ReleaseAddressInput{AllocationId: eip.AllocationId})
	refused(t, err, "InvalidIPAddress.InUse")

	ok[*sdk.TerminateInstancesOutput](t)(r.TerminateInstances(ctx, &sdk.TerminateInstancesInput{InstanceIds: []string{id}}))
	r.settle()
	got := ok[*sdk.DescribeNetworkInterfacesOutput](t)(r.DescribeNetworkInterfaces(ctx, &sdk.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{*eni.NetworkInterfaceId}}))
	if n := got.NetworkInterfaces[0]; n.Status != "available" || n.Attachment != nil || *n.Association.PublicIp != *eip.PublicIp {
		t.Errorf("interface %+v", n)
	}
	addresses := ok[*sdk.DescribeAddressesOutput](t)(r.DescribeAddresses(ctx, &sdk.DescribeAddressesInput{}))
	if a := addresses.Addresses[0]; a.InstanceId != nil || *a.NetworkInterfaceId != *eni.NetworkInterfaceId {
		t.Errorf("address %+v", a)
	}
	ok[*sdk.DeleteNetworkInterfaceOutput](t)(r.DeleteNetworkInterface(ctx, &sdk.DeleteNetworkInterfaceInput{NetworkInterfaceId: eni.NetworkInterfaceId}))
	if len(r.net.public) != 0 {
		t.Errorf("network still knows public addresses %v", r.net.public)
	}
}
