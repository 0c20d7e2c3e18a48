package resource

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// Exists reports whether there is a resource of a kind that template parameters
// may have, such as AWS::EC2::Subnet::Id. Kinds it does not know always exist.
func Exists(ctx context.Context, api EC2, kind, id string, zones []string) bool {
	var err error
	switch kind {
	case "AWS::EC2::AvailabilityZone::Name":
		return slices.Contains(zones, id)
	case "AWS::EC2::Subnet::Id":
		_, err = api.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{id}})
	case "AWS::EC2::VPC::Id":
		_, err = api.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{id}})
	case "AWS::EC2::SecurityGroup::Id":
		_, err = api.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{id}})
	case "AWS::EC2::KeyPair::KeyName":
		_, err = api.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{KeyNames: []string{id}})
	case "AWS::EC2::Image::Id":
		_, err = api.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{id}})
	case "AWS::EC2::Volume::Id":
		_, err = api.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
	case "AWS::EC2::Instance::Id":
		_, err = api.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	}
	return err == nil
}
