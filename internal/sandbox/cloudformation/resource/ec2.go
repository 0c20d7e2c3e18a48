package resource

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// EC2 is the part of Amazon EC2 that stacks use.
type EC2 interface {
	CreateTags(context.Context, *ec2.CreateTagsInput) (*ec2.CreateTagsOutput, error)
	DeleteTags(context.Context, *ec2.DeleteTagsInput) (*ec2.DeleteTagsOutput, error)
	DescribeTags(context.Context, *ec2.DescribeTagsInput) (*ec2.DescribeTagsOutput, error)

	CreateVpc(context.Context, *ec2.CreateVpcInput) (*ec2.CreateVpcOutput, error)
	DeleteVpc(context.Context, *ec2.DeleteVpcInput) (*ec2.DeleteVpcOutput, error)
	DescribeVpcs(context.Context, *ec2.DescribeVpcsInput) (*ec2.DescribeVpcsOutput, error)
	ModifyVpcAttribute(context.Context, *ec2.ModifyVpcAttributeInput) (*ec2.ModifyVpcAttributeOutput, error)
	CreateNatGateway(context.Context, *ec2.CreateNatGatewayInput) (*ec2.CreateNatGatewayOutput, error)
	DeleteNatGateway(context.Context, *ec2.DeleteNatGatewayInput) (*ec2.DeleteNatGatewayOutput, error)
	CreateSubnet(context.Context, *ec2.CreateSubnetInput) (*ec2.CreateSubnetOutput, error)
	DeleteSubnet(context.Context, *ec2.DeleteSubnetInput) (*ec2.DeleteSubnetOutput, error)
	DescribeSubnets(context.Context, *ec2.DescribeSubnetsInput) (*ec2.DescribeSubnetsOutput, error)
	ModifySubnetAttribute(context.Context, *ec2.ModifySubnetAttributeInput) (*ec2.ModifySubnetAttributeOutput, error)
	CreateInternetGateway(context.Context, *ec2.CreateInternetGatewayInput) (*ec2.CreateInternetGatewayOutput, error)
	DeleteInternetGateway(context.Context, *ec2.DeleteInternetGatewayInput) (*ec2.DeleteInternetGatewayOutput, error)
	AttachInternetGateway(context.Context, *ec2.AttachInternetGatewayInput) (*ec2.AttachInternetGatewayOutput, error)
	DetachInternetGateway(context.Context, *ec2.DetachInternetGatewayInput) (*ec2.DetachInternetGatewayOutput, error)
	CreateRouteTable(context.Context, *ec2.CreateRouteTableInput) (*ec2.CreateRouteTableOutput, error)
	DeleteRouteTable(context.Context, *ec2.DeleteRouteTableInput) (*ec2.DeleteRouteTableOutput, error)
	CreateRoute(context.Context, *ec2.CreateRouteInput) (*ec2.CreateRouteOutput, error)
	DeleteRoute(context.Context, *ec2.DeleteRouteInput) (*ec2.DeleteRouteOutput, error)
	AssociateRouteTable(context.Context, *ec2.AssociateRouteTableInput) (*ec2.AssociateRouteTableOutput, error)
	DisassociateRouteTable(context.Context, *ec2.DisassociateRouteTableInput) (*ec2.DisassociateRouteTableOutput, error)

	CreateSecurityGroup(context.Context, *ec2.CreateSecurityGroupInput) (*ec2.CreateSecurityGroupOutput, error)
	DeleteSecurityGroup(context.Context, *ec2.DeleteSecurityGroupInput) (*ec2.DeleteSecurityGroupOutput, error)
	DescribeSecurityGroups(context.Context, *ec2.DescribeSecurityGroupsInput) (*ec2.DescribeSecurityGroupsOutput, error)
	AuthorizeSecurityGroupIngress(context.Context, *ec2.AuthorizeSecurityGroupIngressInput) (*ec2.AuthorizeSecurityGroupIngressOutput, error)
	AuthorizeSecurityGroupEgress(context.Context, *ec2.AuthorizeSecurityGroupEgressInput) (*ec2.AuthorizeSecurityGroupEgressOutput, error)
	RevokeSecurityGroupIngress(context.Context, *ec2.RevokeSecurityGroupIngressInput) (*ec2.RevokeSecurityGroupIngressOutput, error)
	RevokeSecurityGroupEgress(context.Context, *ec2.RevokeSecurityGroupEgressInput) (*ec2.RevokeSecurityGroupEgressOutput, error)

	CreateNetworkInterface(context.Context, *ec2.CreateNetworkInterfaceInput) (*ec2.CreateNetworkInterfaceOutput, error)
	DeleteNetworkInterface(context.Context, *ec2.DeleteNetworkInterfaceInput) (*ec2.DeleteNetworkInterfaceOutput, error)
	DescribeNetworkInterfaces(context.Context, *ec2.DescribeNetworkInterfacesInput) (*ec2.DescribeNetworkInterfacesOutput, error)
	ModifyNetworkInterfaceAttribute(context.Context, *ec2.ModifyNetworkInterfaceAttributeInput) (*ec2.ModifyNetworkInterfaceAttributeOutput, error)
	AllocateAddress(context.Context, *ec2.AllocateAddressInput) (*ec2.AllocateAddressOutput, error)
	ReleaseAddress(context.Context, *ec2.ReleaseAddressInput) (*ec2.ReleaseAddressOutput, error)
	DescribeAddresses(context.Context, *ec2.DescribeAddressesInput) (*ec2.DescribeAddressesOutput, error)
	AssociateAddress(context.Context, *ec2.AssociateAddressInput) (*ec2.AssociateAddressOutput, error)
	DisassociateAddress(context.Context, *ec2.DisassociateAddressInput) (*ec2.DisassociateAddressOutput, error)

	CreateVolume(context.Context, *ec2.CreateVolumeInput) (*ec2.CreateVolumeOutput, error)
	DeleteVolume(context.Context, *ec2.DeleteVolumeInput) (*ec2.DeleteVolumeOutput, error)
	DescribeVolumes(context.Context, *ec2.DescribeVolumesInput) (*ec2.DescribeVolumesOutput, error)
	ModifyVolume(context.Context, *ec2.ModifyVolumeInput) (*ec2.ModifyVolumeOutput, error)
	AttachVolume(context.Context, *ec2.AttachVolumeInput) (*ec2.AttachVolumeOutput, error)
	DetachVolume(context.Context, *ec2.DetachVolumeInput) (*ec2.DetachVolumeOutput, error)
	CreateSnapshot(context.Context, *ec2.CreateSnapshotInput) (*ec2.CreateSnapshotOutput, error)

	CreatePlacementGroup(context.Context, *ec2.CreatePlacementGroupInput) (*ec2.CreatePlacementGroupOutput, error)
	DeletePlacementGroup(context.Context, *ec2.DeletePlacementGroupInput) (*ec2.DeletePlacementGroupOutput, error)
	CreateKeyPair(context.Context, *ec2.CreateKeyPairInput) (*ec2.CreateKeyPairOutput, error)
	ImportKeyPair(context.Context, *ec2.ImportKeyPairInput) (*ec2.ImportKeyPairOutput, error)
	DeleteKeyPair(context.Context, *ec2.DeleteKeyPairInput) (*ec2.DeleteKeyPairOutput, error)
	DescribeKeyPairs(context.Context, *ec2.DescribeKeyPairsInput) (*ec2.DescribeKeyPairsOutput, error)
	DescribeImages(context.Context, *ec2.DescribeImagesInput) (*ec2.DescribeImagesOutput, error)

	CreateLaunchTemplate(context.Context, *ec2.CreateLaunchTemplateInput) (*ec2.CreateLaunchTemplateOutput, error)
	CreateLaunchTemplateVersion(context.Context, *ec2.CreateLaunchTemplateVersionInput) (*ec2.CreateLaunchTemplateVersionOutput, error)
	DeleteLaunchTemplate(context.Context, *ec2.DeleteLaunchTemplateInput) (*ec2.DeleteLaunchTemplateOutput, error)
	DescribeLaunchTemplates(context.Context, *ec2.DescribeLaunchTemplatesInput) (*ec2.DescribeLaunchTemplatesOutput, error)

	RunInstances(context.Context, *ec2.RunInstancesInput) (*ec2.RunInstancesOutput, error)
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error)
	TerminateInstances(context.Context, *ec2.TerminateInstancesInput) (*ec2.TerminateInstancesOutput, error)
	StartInstances(context.Context, *ec2.StartInstancesInput) (*ec2.StartInstancesOutput, error)
	StopInstances(context.Context, *ec2.StopInstancesInput) (*ec2.StopInstancesOutput, error)
	ModifyInstanceAttribute(context.Context, *ec2.ModifyInstanceAttributeInput) (*ec2.ModifyInstanceAttributeOutput, error)
}

func ec2Tags(tags []tag) []types.Tag {
	var out []types.Tag
	for _, t := range tags {
		out = append(out, types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	return out
}

// tagSpec returns the tags of the request as a specification for one kind of
// EC2 resource, or nothing if there are none.
func (r *Request) tagSpec(kind types.ResourceType, properties ...string) []types.TagSpecification {
	tags := ec2Tags(r.tagList(properties...))
	if tags == nil {
		return nil
	}
	return []types.TagSpecification{{ResourceType: kind, Tags: tags}}
}

// retag makes the tags of an EC2 resource follow an update.
func retag(ctx context.Context, api EC2, r *Request, id string, properties ...string) error {
	set, remove := r.tagChanges(properties...)
	if len(remove) > 0 {
		in := &ec2.DeleteTagsInput{Resources: []string{id}}
		for _, k := range remove {
			in.Tags = append(in.Tags, types.Tag{Key: aws.String(k)})
		}
		if _, err := api.DeleteTags(ctx, in); err != nil {
			return err
		}
	}
	if len(set) > 0 {
		if _, err := api.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id}, Tags: ec2Tags(set)}); err != nil {
			return err
		}
	}
	return nil
}

// earlier returns the ID of the resource that an interrupted run of this attempt
// made, found by CloudFormation's own tags, or "". It serves the calls of EC2
// that take no client token.
func earlier(ctx context.Context, api EC2, r *Request, kind types.ResourceType) (string, error) {
	if !r.Resumed {
		return "", nil
	}
	if r.PhysicalID != "" {
		return r.PhysicalID, nil
	}
	ids := map[string]int{}
	for key, value := range map[string]string{"aws:cloudformation:stack-id": r.StackID, "aws:cloudformation:logical-id": r.LogicalID} {
		var next *string
		for {
			out, err := api.DescribeTags(ctx, &ec2.DescribeTagsInput{NextToken: next, Filters: []types.Filter{
				{Name: aws.String("key"), Values: []string{key}}, {Name: aws.String("value"), Values: []string{value}},
				{Name: aws.String("resource-type"), Values: []string{string(kind)}},
			}})
			if err != nil {
				return "", err
			}
			for _, t := range out.Tags {
				ids[aws.ToString(t.ResourceId)]++
			}
			if next = out.NextToken; next == nil {
				break
			}
		}
	}
	for id, n := range ids {
		if n == 2 && id != r.Replaced {
			return id, nil
		}
	}
	return "", nil
}

func filter(name string, values ...string) types.Filter {
	return types.Filter{Name: aws.String(name), Values: values}
}
