package ec2

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func TestNatGatewayHasAnInterfaceAndAnAddress(t *testing.T) {
	r := newRegion(t)
	ctx := t.Context()
	v := ok[*sdk.CreateVpcOutput](t)(r.CreateVpc(ctx, &sdk.CreateVpcInput{CidrBlock: aws.String("10.7.0.0/16")})).Vpc
	subnet := ok[*sdk.CreateSubnetOutput](t)(r.CreateSubnet(ctx, &sdk.CreateSubnetInput{VpcId: v.VpcId, CidrBlock: aws.String("10.7.1.0/24")})).Subnet
	address := ok[*sdk.AllocateAddressOutput](t)(r.AllocateAddress(ctx, &sdk.AllocateAddressInput{}))
	in := &sdk.CreateNatGatewayInput{SubnetId: subnet.SubnetId, AllocationId: address.AllocationId}

	_, err := r.CreateNatGateway(ctx, in)
	refused(t, err, "Gateway.NotAttached")
	gateway := ok[*sdk.CreateInternetGatewayOutput](t)(r.CreateInternetGateway(ctx, &sdk.CreateInternetGatewayInput{})).InternetGateway
	ok[*sdk.AttachInternetGatewayOutput](t)(r.AttachInternetGateway(ctx, &sdk.AttachInternetGatewayInput{InternetGatewayId: gateway.InternetGatewayId, VpcId: v.VpcId}))
	_, err = r.CreateNatGateway(ctx, &sdk.CreateNatGatewayInput{SubnetId: subnet.SubnetId})
	refused(t, err, "MissingParameter")
	nat := ok[*sdk.CreateNatGatewayOutput](t)(r.CreateNatGateway(ctx, in)).NatGateway
	_, err = r.CreateNatGateway(ctx, in)
	refused(t, err, "Resource.AlreadyAssociated")

	found := ok[*sdk.DescribeNatGatewaysOutput](t)(r.DescribeNatGateways(ctx, &sdk.DescribeNatGatewaysInput{
		Filter: []types.Filter{{Name: aws.String("vpc-id"), Values: []string{*v.VpcId}}, {Name: aws.String("state"), Values: []string{"available"}}},
	})).NatGateways
	if len(found) != 1 || *found[0].NatGatewayId != *nat.NatGatewayId || *found[0].NatGatewayAddresses[0].PublicIp != *address.PublicIp {
		t.Errorf("%+v", found)
	}
	eni := r.enis.get(*nat.NatGatewayAddresses[0].NetworkInterfaceId)
	if eni.Association == nil || *eni.Association.PublicIp != *address.PublicIp || eni.InterfaceType != types.NetworkInterfaceTypeNatGateway {
		t.Errorf("%+v", eni)
	}

	table := ok[*sdk.CreateRouteTableOutput](t)(r.CreateRouteTable(ctx, &sdk.CreateRouteTableInput{VpcId: v.VpcId})).RouteTable
	route := &sdk.CreateRouteInput{RouteTableId: table.RouteTableId, DestinationCidrBlock: aws.String("0.0.0.0/0"), NatGatewayId: nat.NatGatewayId}
	ok[*sdk.CreateRouteOutput](t)(r.CreateRoute(ctx, route))
	route.NatGatewayId = aws.String("nat-0123456789abcdef0")
	_, err = r.CreateRoute(ctx, route)
	refused(t, err, "InvalidNatGatewayID.NotFound")

	// What it holds stays until it is deleted.
	_, err = r.DeleteNetworkInterface(ctx, &sdk.DeleteNetworkInterfaceInput{NetworkInterfaceId: eni.NetworkInterfaceId})
	refused(t, err, "InvalidNetworkInterface.InUse")
	_, err = r.ReleaseAddress(ctx, &sdk.ReleaseAddressInput{AllocationId: address.AllocationId})
	refused(t, err, "InvalidIPAddress.InUse")
	for _, err := range []error{
		second(r.DeleteSubnet(ctx, &sdk.DeleteSubnetInput{SubnetId: subnet.SubnetId})),
		second(r.DetachInternetGateway(ctx, &sdk.DetachInternetGatewayInput{InternetGatewayId: gateway.InternetGatewayId, VpcId: v.VpcId})),
	} {
		refused(t, err, "DependencyViolation")
	}

	ok[*sdk.DeleteNatGatewayOutput](t)(r.DeleteNatGateway(ctx, &sdk.DeleteNatGatewayInput{NatGatewayId: nat.NatGatewayId}))
	_, err = r.DeleteNatGateway(ctx, &sdk.DeleteNatGatewayInput{NatGatewayId: nat.NatGatewayId})
	refused(t, err, "NatGatewayNotFound")
	if state := r.routes.get(*table.RouteTableId).Routes[1].State; state != types.RouteStateBlackhole {
		t.Errorf("the route to it is %s", state)
	}
	ok[*sdk.ReleaseAddressOutput](t)(r.ReleaseAddress(ctx, &sdk.ReleaseAddressInput{AllocationId: address.AllocationId}))
	ok[*sdk.DeleteSubnetOutput](t)(r.DeleteSubnet(ctx, &sdk.DeleteSubnetInput{SubnetId: subnet.SubnetId}))
}
