package ec2

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
)

func TestOutwardFollowsRoutesAndPublicAddresses(t *testing.T) {
	r := newRegion(t)
	ctx := t.Context()
	v := ok[*sdk.CreateVpcOutput](t)(r.CreateVpc(ctx, &sdk.CreateVpcInput{CidrBlock: aws.String("10.7.0.0/16")})).Vpc
	subnet := ok[*sdk.CreateSubnetOutput](t)(r.CreateSubnet(ctx, &sdk.CreateSubnetInput{VpcId: v.VpcId, CidrBlock: aws.String("10.7.1.0/24")})).Subnet
	eni := ok[*sdk.CreateNetworkInterfaceOutput](t)(r.CreateNetworkInterface(ctx, &sdk.CreateNetworkInterfaceInput{SubnetId: subnet.SubnetId})).NetworkInterface
	says := func(step, want string) {
		t.Helper()
		err := r.Outward(netip.MustParseAddr(*eni.PrivateIpAddress))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", step, err, want)
		}
	}
	says("a subnet of a new VPC", "has no route to the Internet")

	gateway := ok[*sdk.CreateInternetGatewayOutput](t)(r.CreateInternetGateway(ctx, &sdk.CreateInternetGatewayInput{})).InternetGateway
	ok[*sdk.AttachInternetGatewayOutput](t)(r.AttachInternetGateway(ctx, &sdk.AttachInternetGatewayInput{InternetGatewayId: gateway.InternetGatewayId, VpcId: v.VpcId}))
	main := r.mainRoutes(*v.VpcId)
	ok[*sdk.CreateRouteOutput](t)(r.CreateRoute(ctx, &sdk.CreateRouteInput{RouteTableId: main.RouteTableId, DestinationCidrBlock: aws.String("0.0.0.0/0"), GatewayId: gateway.InternetGatewayId}))
	says("an internet gateway", "has no public address")
	address := ok[*sdk.AllocateAddressOutput](t)(r.AllocateAddress(ctx, &sdk.AllocateAddressInput{}))
	ok[*sdk.AssociateAddressOutput](t)(r.AssociateAddress(ctx, &sdk.AssociateAddressInput{AllocationId: address.AllocationId, NetworkInterfaceId: eni.NetworkInterfaceId}))
	says("an internet gateway and a public address", "")

	// A table of the subnet's own counts more than the VPC's.
	own := ok[*sdk.CreateRouteTableOutput](t)(r.CreateRouteTable(ctx, &sdk.CreateRouteTableInput{VpcId: v.VpcId})).RouteTable
	ok[*sdk.AssociateRouteTableOutput](t)(r.AssociateRouteTable(ctx, &sdk.AssociateRouteTableInput{RouteTableId: own.RouteTableId, SubnetId: subnet.SubnetId}))
	says("a table of its own", "has no route to the Internet")
	second := ok[*sdk.AllocateAddressOutput](t)(r.AllocateAddress(ctx, &sdk.AllocateAddressInput{}))
	nat := ok[*sdk.CreateNatGatewayOutput](t)(r.CreateNatGateway(ctx, &sdk.CreateNatGatewayInput{SubnetId: subnet.SubnetId, AllocationId: second.AllocationId})).NatGateway
	ok[*sdk.CreateRouteOutput](t)(r.CreateRoute(ctx, &sdk.CreateRouteInput{RouteTableId: own.RouteTableId, DestinationCidrBlock: aws.String("0.0.0.0/0"), NatGatewayId: nat.NatGatewayId}))
	says("a NAT gateway", "")
	ok[*sdk.DeleteNatGatewayOutput](t)(r.DeleteNatGateway(ctx, &sdk.DeleteNatGatewayInput{NatGatewayId: nat.NatGatewayId}))
	says("a NAT gateway that is gone", "leads to no gateway")
	if err := r.LetOut(*v.VpcId); err != nil {
		t.Fatal(err)
	}
	says("a network that is let out", "")
	if err := r.Outward(netip.MustParseAddr("10.9.9.9")); err == nil {
		t.Error("an address that nothing has gets out")
	}
}
