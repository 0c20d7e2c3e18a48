package configure

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/cfn"
)

// Layouts of a network that is made.
const (
	publicPrivate = "Head node in a public subnet and compute fleet in a private subnet"
	public        = "Head node and compute fleet in the same public subnet"
)

// ErrNoNetwork ends a dialogue whose network could not be made, after it has said
// why.
var ErrNoNetwork = errors.New("the network was not created")

// stamp is the time in the names of what is made.
func (c *Cloud) stamp() string { return c.Now().UTC().Format("20060102150405") }

// createVPC makes a VPC that clusters can use.
func (c *Cloud) createVPC(ctx context.Context) (vpc, error) {
	const block = "10.0.0.0/16"
	out, err := c.EC2.CreateVpc(ctx, &ec2.CreateVpcInput{
		CidrBlock: aws.String(block),
		TagSpecifications: []ec2types.TagSpecification{{
			ResourceType: ec2types.ResourceTypeVpc,
			Tags:         []ec2types.Tag{{Key: aws.String("Name"), Value: aws.String("ParallelClusterVPC-" + c.stamp())}},
		}},
	})
	if err != nil {
		return vpc{}, fmt.Errorf("create a VPC: %w", err)
	}
	v := vpc{id: aws.ToString(out.Vpc.VpcId), block: netip.MustParsePrefix(block)}
	yes := &ec2types.AttributeBooleanValue{Value: aws.Bool(true)}
	for _, change := range []*ec2.ModifyVpcAttributeInput{{VpcId: &v.id, EnableDnsSupport: yes}, {VpcId: &v.id, EnableDnsHostnames: yes}} {
		if _, err := c.EC2.ModifyVpcAttribute(ctx, change); err != nil {
			return vpc{}, fmt.Errorf("DNS of VPC %s: %w", v.id, err)
		}
	}
	return v, nil
}

// checkVPC returns what keeps clusters from working in a VPC.
func (c *Cloud) checkVPC(ctx context.Context, id string) ([]string, error) {
	var problems []string
	for _, a := range []ec2types.VpcAttributeName{ec2types.VpcAttributeNameEnableDnsSupport, ec2types.VpcAttributeNameEnableDnsHostnames} {
		out, err := c.EC2.DescribeVpcAttribute(ctx, &ec2.DescribeVpcAttributeInput{VpcId: &id, Attribute: a})
		if err != nil {
			return nil, fmt.Errorf("DNS of VPC %s: %w", id, err)
		}
		for _, v := range []*ec2types.AttributeBooleanValue{out.EnableDnsSupport, out.EnableDnsHostnames} {
			if v != nil && !aws.ToBool(v.Value) {
				problems = append(problems, string(a)+" is off")
			}
		}
	}
	out, err := c.EC2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{VpcIds: []string{id}})
	if err != nil {
		return nil, fmt.Errorf("VPC %s: %w", id, err)
	}
	for _, v := range out.Vpcs {
		if aws.ToString(v.DhcpOptionsId) == "default" {
			problems = append(problems, "it has no DHCP options")
		}
	}
	return problems, nil
}

// createSubnets makes the subnets of a layout in a VPC, through a stack.
func (c *Cloud) createSubnets(ctx context.Context, console *Console, v vpc, layout, zone string, nodes int) (head, compute string, _ error) {
	var occupied []netip.Prefix
	for _, s := range v.subnets {
		occupied = append(occupied, s.block)
	}
	full := fmt.Errorf("Unable to create subnet. Please check the number of available IPs in the VPC %s (%s)", v.id, v.block)
	var publicBlock, privateBlock netip.Prefix
	var ok bool
	if layout == public {
		if publicBlock, ok = roomyBlockFor(v.block, occupied, nodes+headAddresses); !ok {
			return "", "", full
		}
	} else {
		if publicBlock, ok = blockFor(v.block, occupied, headAddresses); !ok {
			return "", "", full
		}
		if privateBlock, ok = roomyBlockFor(v.block, append(occupied, publicBlock), nodes); !ok {
			return "", "", full
		}
	}
	gateways, err := c.EC2.DescribeInternetGateways(ctx, &ec2.DescribeInternetGatewaysInput{
		Filters: []ec2types.Filter{{Name: aws.String("attachment.vpc-id"), Values: []string{v.id}}},
	})
	if err != nil {
		return "", "", fmt.Errorf("internet gateway of VPC %s: %w", v.id, err)
	}
	gateway := ""
	if len(gateways.InternetGateways) > 0 {
		gateway = aws.ToString(gateways.InternetGateways[0].InternetGatewayId)
	}
	template, err := networkTemplate(gateway != "", layout == publicPrivate)
	if err != nil {
		return "", "", err
	}
	name := "parallelclusternetworking-pub-" + c.stamp()
	parameters := [][2]string{{"AvailabilityZone", zone}, {"InternetGatewayId", gateway}, {"VpcId", v.id}, {"PublicCIDR", publicBlock.String()}}
	if layout == publicPrivate {
		name = "parallelclusternetworking-pubpriv-" + c.stamp()
		parameters = append(parameters, [2]string{"PrivateCIDR", privateBlock.String()})
	}
	outputs, err := c.createStack(ctx, console, name, string(template), parameters)
	if err != nil {
		return "", "", err
	}
	head, compute = outputs["PublicSubnetId"], outputs["PrivateSubnetId"]
	if layout == public {
		compute = head
	}
	if head == "" || compute == "" {
		return "", "", fmt.Errorf("stack %s does not tell its subnets", name)
	}
	return head, compute, nil
}

// networkTemplate returns the template of a network: a public subnet with a way
// to the internet and, if asked for, a private one that uses it through a NAT
// gateway.
func networkTemplate(hasGateway, private bool) ([]byte, error) {
	t := cfn.New("Network of a cluster")
	name := func(s string) cfn.Tags { return cfn.Tags{{Key: "Name", Value: s}} }
	zone := t.Parameter("AvailabilityZone", "Zone of the subnets")
	givenGateway := t.ParameterWithDefault("InternetGatewayId", "", "Internet gateway of the VPC, if it has one")
	v := t.Parameter("VpcId", "VPC")
	publicBlock := t.Parameter("PublicCIDR", "Block of the public subnet")

	subnet := t.Add("PublicSubnet", cfn.Subnet{
		VpcId: v.Ref(), CidrBlock: publicBlock.Ref(), AvailabilityZone: zone.Ref(), MapPublicIpOnLaunch: true, Tags: name("parallelcluster:public-subnet"),
	})
	gateway, attached := cfn.Text(givenGateway.Ref()), []cfn.Option(nil)
	if !hasGateway {
		made := t.Add("InternetGateway", cfn.InternetGateway{})
		gateway, attached = made.Ref(), []cfn.Option{cfn.DependsOn(t.Add("GatewayAttachment", cfn.VPCGatewayAttachment{VpcId: v.Ref(), InternetGatewayId: made.Ref()}))}
	}
	table := t.Add("PublicRouteTable", cfn.RouteTable{VpcId: v.Ref()})
	route := t.Add("PublicRoute", cfn.Route{RouteTableId: table.Ref(), DestinationCidrBlock: "0.0.0.0/0", GatewayId: gateway}, attached...)
	t.Add("PublicRouteAssociation", cfn.SubnetRouteTableAssociation{SubnetId: subnet.Ref(), RouteTableId: table.Ref()})
	t.Output("PublicSubnetId", subnet.Ref(), "")
	if private {
		block := t.Parameter("PrivateCIDR", "Block of the private subnet")
		inner := t.Add("PrivateSubnet", cfn.Subnet{
			VpcId: v.Ref(), CidrBlock: block.Ref(), AvailabilityZone: zone.Ref(), Tags: name("parallelcluster:private-subnet"),
		})
		address := t.Add("NatAddress", cfn.EIP{Domain: "vpc"}, attached...)
		nat := t.Add("NatGateway", cfn.NatGateway{AllocationId: address.Att(cfn.AllocationID), SubnetId: subnet.Ref()}, cfn.DependsOn(route))
		innerTable := t.Add("PrivateRouteTable", cfn.RouteTable{VpcId: v.Ref()})
		t.Add("PrivateRoute", cfn.Route{RouteTableId: innerTable.Ref(), DestinationCidrBlock: "0.0.0.0/0", NatGatewayId: nat.Ref()})
		t.Add("PrivateRouteAssociation", cfn.SubnetRouteTableAssociation{SubnetId: inner.Ref(), RouteTableId: innerTable.Ref()})
		t.Output("PrivateSubnetId", inner.Ref(), "")
	}
	return t.JSON()
}

// createStack creates a stack, shows how far it is, and returns its outputs.
func (c *Cloud) createStack(ctx context.Context, console *Console, name, template string, parameters [][2]string) (map[string]string, error) {
	console.printf("Creating CloudFormation stack...\nDo not leave the terminal until the process has finished.")
	in := &cloudformation.CreateStackInput{StackName: &name, TemplateBody: &template, Capabilities: []cfntypes.Capability{cfntypes.CapabilityCapabilityIam}}
	for _, p := range parameters {
		in.Parameters = append(in.Parameters, cfntypes.Parameter{ParameterKey: &p[0], ParameterValue: &p[1]})
	}
	created, err := c.CloudFormation.CreateStack(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("create stack %s: %w", name, err)
	}
	console.printf("Stack Name: %s (id: %s)", name, aws.ToString(created.StackId))
	for shown := 0; ; {
		out, err := c.CloudFormation.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: created.StackId})
		if err == nil && len(out.Stacks) == 0 {
			err = errors.New("it is gone")
		}
		if err != nil {
			return nil, c.lost(ctx, console, name, err)
		}
		events, err := c.CloudFormation.DescribeStackEvents(ctx, &cloudformation.DescribeStackEventsInput{StackName: created.StackId})
		if err != nil {
			return nil, c.lost(ctx, console, name, err)
		}
		if len(events.StackEvents) > 0 {
			e := events.StackEvents[0]
			line := fmt.Sprintf("Status: %s - %s", aws.ToString(e.LogicalResourceId), e.ResourceStatus)
			fmt.Fprintf(console.out, "\r%s%s", line, strings.Repeat(" ", max(shown-len(line), 0)))
			shown = len(line)
		}
		switch stack := out.Stacks[0]; stack.StackStatus {
		case cfntypes.StackStatusCreateInProgress:
		case cfntypes.StackStatusCreateComplete:
			console.printf("\nThe stack has been created.")
			values := map[string]string{}
			for _, o := range stack.Outputs {
				values[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
			}
			return values, nil
		default:
			console.printf("\nCould not create the network configuration.%s", cause(events.StackEvents))
			return nil, ErrNoNetwork
		}
		select {
		case <-ctx.Done():
			return nil, c.lost(ctx, console, name, ctx.Err())
		case <-time.After(c.Poll):
		}
	}
}

// lost says what became of a stack that goes on without us.
func (c *Cloud) lost(ctx context.Context, console *Console, name string, err error) error {
	if ctx.Err() != nil {
		console.printf("\nUnable to update the configuration file with the selected network configuration. "+
			"Please manually check the status of the CloudFormation stack: %s", name)
		return ErrNoNetwork
	}
	return fmt.Errorf("stack %s of the network, which goes on: %w", name, err)
}

// cause returns why a stack failed: the first failure counts, events are newest
// first.
func cause(events []cfntypes.StackEvent) string {
	why := ""
	for _, e := range events {
		if strings.HasSuffix(string(e.ResourceStatus), "_FAILED") {
			why = fmt.Sprintf(" %s: %s", aws.ToString(e.LogicalResourceId), aws.ToString(e.ResourceStatusReason))
		}
	}
	return why
}
