package configure

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/facts"
)

var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

// A fakeCloud is a region with networks that stacks can add to.
type fakeCloud struct {
	EC2            // nil: a call that no test foresaw panics
	CloudFormation // the same

	regions, keys []string
	vpcs          []ec2types.Vpc
	subnets       []ec2types.Subnet
	gateways      []ec2types.InternetGateway
	support       map[string]bool // DNS attributes that are on, by VPC and name
	types         map[string]facts.InstanceType
	zones         map[string][]string
	groups        map[string]facts.PlacementGroup

	template string // of the stack
	stack    cfntypes.Stack
	made     []string              // subnets of the stack
	events   []cfntypes.StackEvent // newest first
	failure  string                // of the first subnet
}

func newFake() *fakeCloud {
	return &fakeCloud{
		regions: []string{"us-west-2", "us-east-1", "xx-mars-1"}, keys: []string{"alice", "bob"}, support: map[string]bool{},
		types: map[string]facts.InstanceType{
			"t3.micro": {Name: "t3.micro"}, "c5.large": {Name: "c5.large"},
			"c5n.18xlarge": {Name: "c5n.18xlarge", NetworkInfo: facts.NetworkInfo{EfaSupported: true}},
		},
		zones: map[string][]string{
			"t3.micro": {"us-east-1a", "us-east-1b"}, "c5.large": {"us-east-1b"}, "c5n.18xlarge": {"us-east-1c"},
		},
		groups: map[string]facts.PlacementGroup{"together": {}},
	}
}

func (f *fakeCloud) open(_ context.Context, region string) (*Cloud, error) {
	return &Cloud{
		Region: region, EC2: f, CloudFormation: f, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Facts: &facts.Memory{Types: f.types, TypeZones: f.zones, PlacementGroups: f.groups},
		Now:   func() time.Time { return noon }, Poll: time.Millisecond,
	}, nil
}

// network adds a VPC with subnets, given as zone and block.
func (f *fakeCloud) network(id, block string, subnets ...[2]string) {
	f.vpcs = append(f.vpcs, ec2types.Vpc{
		VpcId: &id, CidrBlock: &block, DhcpOptionsId: aws.String("dopt-1"), Tags: []ec2types.Tag{{Key: aws.String("Name"), Value: aws.String("net of " + id)}},
	})
	f.support[id+"enableDnsSupport"], f.support[id+"enableDnsHostnames"] = true, true
	for _, s := range subnets {
		f.subnet(id, s[0], s[1])
	}
}

func (f *fakeCloud) subnet(vpc, zone, block string) string {
	id := fmt.Sprintf("subnet-%08d", len(f.subnets)+1)
	f.subnets = append(f.subnets, ec2types.Subnet{SubnetId: &id, VpcId: &vpc, AvailabilityZone: &zone, CidrBlock: &block})
	return id
}

func (f *fakeCloud) DescribeRegions(context.Context, *ec2.DescribeRegionsInput, ...func(*ec2.Options)) (*ec2.DescribeRegionsOutput, error) {
	out := &ec2.DescribeRegionsOutput{}
	for _, name := range f.regions {
		out.Regions = append(out.Regions, ec2types.Region{RegionName: &name})
	}
	return out, nil
}

func (f *fakeCloud) DescribeKeyPairs(context.Context, *ec2.DescribeKeyPairsInput, ...func(*ec2.Options)) (*ec2.DescribeKeyPairsOutput, error) {
	out := &ec2.DescribeKeyPairsOutput{}
	for _, name := range f.keys {
		out.KeyPairs = append(out.KeyPairs, ec2types.KeyPairInfo{KeyName: &name})
	}
	return out, nil
}

func (f *fakeCloud) DescribeInstanceTypes(context.Context, *ec2.DescribeInstanceTypesInput, ...func(*ec2.Options)) (*ec2.DescribeInstanceTypesOutput, error) {
	return &ec2.DescribeInstanceTypesOutput{InstanceTypes: []ec2types.InstanceTypeInfo{{InstanceType: "t3.micro"}}}, nil
}

func (f *fakeCloud) DescribeVpcs(_ context.Context, in *ec2.DescribeVpcsInput, _ ...func(*ec2.Options)) (*ec2.DescribeVpcsOutput, error) {
	out := &ec2.DescribeVpcsOutput{}
	for _, v := range f.vpcs {
		if len(in.VpcIds) == 0 || in.VpcIds[0] == *v.VpcId {
			out.Vpcs = append(out.Vpcs, v)
		}
	}
	return out, nil
}

// DescribeSubnets returns one subnet to a page.
func (f *fakeCloud) DescribeSubnets(_ context.Context, in *ec2.DescribeSubnetsInput, _ ...func(*ec2.Options)) (*ec2.DescribeSubnetsOutput, error) {
	at := 0
	fmt.Sscan(aws.ToString(in.NextToken), &at)
	out := &ec2.DescribeSubnetsOutput{}
	if at < len(f.subnets) {
		out.Subnets = f.subnets[at : at+1]
	}
	if at+1 < len(f.subnets) {
		out.NextToken = aws.String(fmt.Sprint(at + 1))
	}
	return out, nil
}

func (f *fakeCloud) DescribeInternetGateways(_ context.Context, in *ec2.DescribeInternetGatewaysInput, _ ...func(*ec2.Options)) (*ec2.DescribeInternetGatewaysOutput, error) {
	out := &ec2.DescribeInternetGatewaysOutput{}
	for _, g := range f.gateways {
		if *g.Attachments[0].VpcId == in.Filters[0].Values[0] {
			out.InternetGateways = append(out.InternetGateways, g)
		}
	}
	return out, nil
}

func (f *fakeCloud) CreateVpc(_ context.Context, in *ec2.CreateVpcInput, _ ...func(*ec2.Options)) (*ec2.CreateVpcOutput, error) {
	v := ec2types.Vpc{VpcId: aws.String("vpc-made"), CidrBlock: in.CidrBlock, DhcpOptionsId: aws.String("dopt-1"), Tags: in.TagSpecifications[0].Tags}
	f.support["vpc-madeenableDnsSupport"] = true // as EC2 has it
	f.vpcs = append(f.vpcs, v)
	return &ec2.CreateVpcOutput{Vpc: &v}, nil
}

func (f *fakeCloud) ModifyVpcAttribute(_ context.Context, in *ec2.ModifyVpcAttributeInput, _ ...func(*ec2.Options)) (*ec2.ModifyVpcAttributeOutput, error) {
	if in.EnableDnsHostnames != nil {
		f.support[*in.VpcId+"enableDnsHostnames"] = *in.EnableDnsHostnames.Value
	}
	return &ec2.ModifyVpcAttributeOutput{}, nil
}

func (f *fakeCloud) DescribeVpcAttribute(_ context.Context, in *ec2.DescribeVpcAttributeInput, _ ...func(*ec2.Options)) (*ec2.DescribeVpcAttributeOutput, error) {
	value := &ec2types.AttributeBooleanValue{Value: aws.Bool(f.support[*in.VpcId+string(in.Attribute)])}
	if in.Attribute == ec2types.VpcAttributeNameEnableDnsSupport {
		return &ec2.DescribeVpcAttributeOutput{EnableDnsSupport: value}, nil
	}
	return &ec2.DescribeVpcAttributeOutput{EnableDnsHostnames: value}, nil
}

// CreateStack makes the subnets of the template. They must lie in the VPC and
// apart.
func (f *fakeCloud) CreateStack(_ context.Context, in *cloudformation.CreateStackInput, _ ...func(*cloudformation.Options)) (*cloudformation.CreateStackOutput, error) {
	f.template = *in.TemplateBody
	var template struct {
		Parameters map[string]any
		Resources  map[string]struct{ Type string }
	}
	if err := json.Unmarshal([]byte(f.template), &template); err != nil {
		return nil, err
	}
	parameters := map[string]string{}
	for _, p := range in.Parameters {
		if template.Parameters[*p.ParameterKey] == nil {
			return nil, fmt.Errorf("the template has no parameter %s", *p.ParameterKey)
		}
		parameters[*p.ParameterKey] = *p.ParameterValue
	}
	f.stack = cfntypes.Stack{StackName: in.StackName, StackId: aws.String("arn:stack"), StackStatus: "CREATE_IN_PROGRESS"}
	f.event("PublicSubnet", "CREATE_IN_PROGRESS", "")
	if f.failure != "" {
		return &cloudformation.CreateStackOutput{StackId: f.stack.StackId}, nil
	}
	output := func(key, value string) {
		f.stack.Outputs = append(f.stack.Outputs, cfntypes.Output{OutputKey: &key, OutputValue: &value})
	}
	for _, resource := range []string{"PublicSubnet", "PrivateSubnet"} {
		parameter := strings.TrimSuffix(resource, "Subnet") + "CIDR"
		if template.Resources[resource].Type == "" {
			continue
		}
		block := netip.MustParsePrefix(parameters[parameter])
		for _, s := range f.subnets {
			if *s.VpcId == parameters["VpcId"] && netip.MustParsePrefix(*s.CidrBlock).Overlaps(block) {
				return nil, fmt.Errorf("block %s conflicts with %s", block, *s.SubnetId)
			}
		}
		id := f.subnet(parameters["VpcId"], parameters["AvailabilityZone"], block.String())
		f.made = append(f.made, fmt.Sprintf("%s %s in %s %s", resource, block, parameters["VpcId"], parameters["AvailabilityZone"]))
		output(resource+"Id", id)
	}
	return &cloudformation.CreateStackOutput{StackId: f.stack.StackId}, nil
}

func (f *fakeCloud) event(id, status, reason string) {
	f.events = append([]cfntypes.StackEvent{{LogicalResourceId: &id, ResourceStatus: cfntypes.ResourceStatus(status), ResourceStatusReason: &reason}}, f.events...)
}

// DescribeStacks lets the stack go on after it has been looked at.
func (f *fakeCloud) DescribeStacks(context.Context, *cloudformation.DescribeStacksInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStacksOutput, error) {
	seen := f.stack
	switch {
	case seen.StackStatus != "CREATE_IN_PROGRESS":
	case f.failure != "":
		f.stack.StackStatus = "ROLLBACK_IN_PROGRESS"
		f.event("PublicSubnet", "CREATE_FAILED", f.failure)
		f.event(*seen.StackName, "ROLLBACK_IN_PROGRESS", "")
	default:
		f.stack.StackStatus = "CREATE_COMPLETE"
		f.event(*seen.StackName, "CREATE_COMPLETE", "")
	}
	return &cloudformation.DescribeStacksOutput{Stacks: []cfntypes.Stack{seen}}, nil
}

func (f *fakeCloud) DescribeStackEvents(context.Context, *cloudformation.DescribeStackEventsInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStackEventsOutput, error) {
	return &cloudformation.DescribeStackEventsOutput{StackEvents: f.events}, nil
}
