package configure

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/facts"
	"pcluster/internal/facts/live"
)

// A Cloud is a region of an account.
type Cloud struct {
	Region         string
	EC2            EC2
	CloudFormation CloudFormation
	Facts          facts.Source
	Log            *slog.Logger
	Now            func() time.Time
	Poll           time.Duration // between two looks at a stack
}

// EC2 is the part of EC2 that is called.
type EC2 interface {
	DescribeRegions(context.Context, *ec2.DescribeRegionsInput, ...func(*ec2.Options)) (*ec2.DescribeRegionsOutput, error)
	DescribeKeyPairs(context.Context, *ec2.DescribeKeyPairsInput, ...func(*ec2.Options)) (*ec2.DescribeKeyPairsOutput, error)
	DescribeInstanceTypes(context.Context, *ec2.DescribeInstanceTypesInput, ...func(*ec2.Options)) (*ec2.DescribeInstanceTypesOutput, error)
	DescribeVpcs(context.Context, *ec2.DescribeVpcsInput, ...func(*ec2.Options)) (*ec2.DescribeVpcsOutput, error)
	DescribeSubnets(context.Context, *ec2.DescribeSubnetsInput, ...func(*ec2.Options)) (*ec2.DescribeSubnetsOutput, error)
	DescribeInternetGateways(context.Context, *ec2.DescribeInternetGatewaysInput, ...func(*ec2.Options)) (*ec2.DescribeInternetGatewaysOutput, error)
	CreateVpc(context.Context, *ec2.CreateVpcInput, ...func(*ec2.Options)) (*ec2.CreateVpcOutput, error)
	ModifyVpcAttribute(context.Context, *ec2.ModifyVpcAttributeInput, ...func(*ec2.Options)) (*ec2.ModifyVpcAttributeOutput, error)
	DescribeVpcAttribute(context.Context, *ec2.DescribeVpcAttributeInput, ...func(*ec2.Options)) (*ec2.DescribeVpcAttributeOutput, error)
}

// CloudFormation is the part of CloudFormation that is called.
type CloudFormation interface {
	CreateStack(context.Context, *cloudformation.CreateStackInput, ...func(*cloudformation.Options)) (*cloudformation.CreateStackOutput, error)
	DescribeStacks(context.Context, *cloudformation.DescribeStacksInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStacksOutput, error)
	DescribeStackEvents(context.Context, *cloudformation.DescribeStackEventsInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStackEventsOutput, error)
}

// NewCloud returns the region of the configuration.
func NewCloud(cfg aws.Config, log *slog.Logger) *Cloud {
	return &Cloud{
		Region: cfg.Region, EC2: ec2.NewFromConfig(cfg), CloudFormation: cloudformation.NewFromConfig(cfg), Facts: live.New(cfg),
		Log: log, Now: time.Now, Poll: time.Second,
	}
}

// Regions returns the names of the regions that the account can use.
func (c *Cloud) Regions(ctx context.Context) ([]string, error) {
	out, err := c.EC2.DescribeRegions(ctx, &ec2.DescribeRegionsInput{})
	if err != nil {
		return nil, fmt.Errorf("regions: %w", err)
	}
	var names []string
	for _, r := range out.Regions {
		names = append(names, aws.ToString(r.RegionName))
	}
	slices.Sort(names)
	return names, nil
}

func (c *Cloud) keyPairs(ctx context.Context) ([]string, error) {
	out, err := c.EC2.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{})
	if err != nil {
		return nil, fmt.Errorf("key pairs: %w", err)
	}
	var names []string
	for _, k := range out.KeyPairs {
		names = append(names, aws.ToString(k.KeyName))
	}
	return names, nil
}

// defaultType returns the instance type that costs nothing in the first year, or
// what comes close.
func (c *Cloud) defaultType(ctx context.Context) string {
	const otherwise = "t3.micro"
	out, err := c.EC2.DescribeInstanceTypes(ctx, &ec2.DescribeInstanceTypesInput{Filters: []ec2types.Filter{
		{Name: aws.String("free-tier-eligible"), Values: []string{"true"}}, {Name: aws.String("current-generation"), Values: []string{"true"}},
	}})
	if err != nil {
		c.Log.Warn("instance types of the free tier: " + err.Error())
		return otherwise
	}
	var names []string
	for _, t := range out.InstanceTypes {
		names = append(names, string(t.InstanceType))
	}
	if len(names) == 0 || slices.Contains(names, otherwise) {
		return otherwise
	}
	return slices.Min(names)
}

// zonesOffering returns the availability zones that offer all the types, sorted.
func (c *Cloud) zonesOffering(ctx context.Context, instanceTypes []string) ([]string, error) {
	var common []string
	for i, t := range instanceTypes {
		zones, err := c.Facts.Zones(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("zones of %s: %w", t, err)
		}
		if i == 0 {
			common = slices.Clone(zones)
		}
		common = slices.DeleteFunc(common, func(z string) bool { return !slices.Contains(zones, z) })
	}
	return common, nil
}

type vpc struct {
	id, name string
	block    netip.Prefix
	subnets  []subnet
}

type subnet struct {
	id, name, zone string
	block          netip.Prefix
}

func (s subnet) size() int { return 1 << (32 - s.block.Bits()) }

// vpcs returns the VPCs of the region with their subnets, but for those that have
// no IPv4 addresses.
func (c *Cloud) vpcs(ctx context.Context) ([]vpc, error) {
	var list []vpc
	in := &ec2.DescribeVpcsInput{}
	for {
		out, err := c.EC2.DescribeVpcs(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("VPCs: %w", err)
		}
		for _, v := range out.Vpcs {
			block, err := netip.ParsePrefix(aws.ToString(v.CidrBlock))
			if err != nil {
				continue
			}
			list = append(list, vpc{id: aws.ToString(v.VpcId), name: nameTag(v.Tags), block: block})
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	subnets := &ec2.DescribeSubnetsInput{}
	for {
		out, err := c.EC2.DescribeSubnets(ctx, subnets)
		if err != nil {
			return nil, fmt.Errorf("subnets: %w", err)
		}
		for _, s := range out.Subnets {
			i := slices.IndexFunc(list, func(v vpc) bool { return v.id == aws.ToString(s.VpcId) })
			block, err := netip.ParsePrefix(aws.ToString(s.CidrBlock))
			if i < 0 || err != nil {
				continue
			}
			list[i].subnets = append(list[i].subnets, subnet{aws.ToString(s.SubnetId), nameTag(s.Tags), aws.ToString(s.AvailabilityZone), block})
		}
		if subnets.NextToken = out.NextToken; subnets.NextToken == nil {
			break
		}
	}
	for _, v := range list {
		slices.SortFunc(v.subnets, func(a, b subnet) int { return cmp.Compare(a.id, b.id) })
	}
	return list, nil
}

func nameTag(tags []ec2types.Tag) string {
	for _, t := range tags {
		if aws.ToString(t.Key) == "Name" {
			return aws.ToString(t.Value)
		}
	}
	return ""
}
