package resource

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// networkTypes are VPCs and what makes them reachable.
func networkTypes(api EC2) []*Type {
	return []*Type{vpcType(api), subnetType(api), gatewayType(api), gatewayAttachmentType(api), natGatewayType(api), routeTableType(api), routeType(api), routeAssociationType(api)}
}

func vpcType(api EC2) *Type {
	t := &Type{
		Name:       "AWS::EC2::VPC",
		Attributes: []string{"VpcId", "CidrBlock", "CidrBlockAssociations", "DefaultSecurityGroup", "DefaultNetworkAcl", "Ipv6CidrBlocks"},
		Replaces:   []string{"CidrBlock", "Ipv4IpamPoolId", "Ipv4NetmaskLength"},
		properties: like[ec2.CreateVpcInput]().and("EnableDnsHostnames", "EnableDnsSupport", "Tags"),
	}
	settle := func(ctx context.Context, r *Request) error {
		for property, in := range map[string]*ec2.ModifyVpcAttributeInput{
			"EnableDnsHostnames": {EnableDnsHostnames: &types.AttributeBooleanValue{Value: aws.Bool(r.Bool("EnableDnsHostnames"))}},
			"EnableDnsSupport":   {EnableDnsSupport: &types.AttributeBooleanValue{Value: aws.Bool(r.Bool("EnableDnsSupport"))}},
		} {
			if !r.Has(property) {
				continue
			}
			in.VpcId = aws.String(r.PhysicalID)
			if _, err := api.ModifyVpcAttribute(ctx, in); err != nil {
				return err
			}
		}
		return nil
	}
	t.Create = func(ctx context.Context, r *Request) error {
		id, err := earlier(ctx, api, r, types.ResourceTypeVpc)
		if err != nil {
			return err
		}
		if id == "" {
			in := input[ec2.CreateVpcInput](t.properties, r.Props)
			in.TagSpecifications = r.tagSpec(types.ResourceTypeVpc)
			out, err := api.CreateVpc(ctx, in)
			if err != nil {
				return err
			}
			id = aws.ToString(out.Vpc.VpcId)
		}
		if err := r.Created(id); err != nil {
			return err
		}
		r.Set("VpcId", id)
		r.Set("CidrBlock", r.String("CidrBlock"))
		groups, err := api.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{filter("vpc-id", id), filter("group-name", "default")}})
		if err == nil && len(groups.SecurityGroups) == 1 {
			r.Set("DefaultSecurityGroup", aws.ToString(groups.SecurityGroups[0].GroupId))
		}
		return settle(ctx, r)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		if err := settle(ctx, r); err != nil {
			return err
		}
		return retag(ctx, api, r, r.PhysicalID)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		return gone(r.Retry(func() error {
			_, err := api.DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: aws.String(r.PhysicalID)})
			return err
		}, "DependencyViolation"))
	}
	return t
}

func subnetType(api EC2) *Type {
	t := &Type{
		Name:       "AWS::EC2::Subnet",
		Attributes: []string{"SubnetId", "VpcId", "CidrBlock", "AvailabilityZone", "AvailabilityZoneId", "Ipv6CidrBlocks", "NetworkAclAssociationId", "OutpostArn"},
		Replaces:   []string{"VpcId", "CidrBlock", "AvailabilityZone", "AvailabilityZoneId", "Ipv4IpamPoolId", "Ipv4NetmaskLength", "Ipv6Native", "OutpostArn"},
		properties: like[ec2.CreateSubnetInput]("VpcId").and("MapPublicIpOnLaunch", "Tags").refuses("EnableDns64", "PrivateDnsNameOptionsOnLaunch"),
	}
	settle := func(ctx context.Context, r *Request) error {
		if r.Has("MapPublicIpOnLaunch") || r.Before["MapPublicIpOnLaunch"] != nil {
			_, err := api.ModifySubnetAttribute(ctx, &ec2.ModifySubnetAttributeInput{
				SubnetId: aws.String(r.PhysicalID), MapPublicIpOnLaunch: &types.AttributeBooleanValue{Value: aws.Bool(r.Bool("MapPublicIpOnLaunch"))},
			})
			return err
		}
		return nil
	}
	t.Create = func(ctx context.Context, r *Request) error {
		id, err := earlier(ctx, api, r, types.ResourceTypeSubnet)
		if err != nil {
			return err
		}
		if id == "" {
			in := input[ec2.CreateSubnetInput](t.properties, r.Props)
			in.TagSpecifications = r.tagSpec(types.ResourceTypeSubnet)
			out, err := api.CreateSubnet(ctx, in)
			if err != nil {
				return err
			}
			id = aws.ToString(out.Subnet.SubnetId)
		}
		if err := r.Created(id); err != nil {
			return err
		}
		out, err := api.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{id}})
		if err != nil {
			return err
		}
		for _, s := range out.Subnets {
			r.Set("SubnetId", id)
			r.Set("VpcId", aws.ToString(s.VpcId))
			r.Set("CidrBlock", aws.ToString(s.CidrBlock))
			r.Set("AvailabilityZone", aws.ToString(s.AvailabilityZone))
			r.Set("AvailabilityZoneId", aws.ToString(s.AvailabilityZoneId))
		}
		return settle(ctx, r)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		if err := settle(ctx, r); err != nil {
			return err
		}
		return retag(ctx, api, r, r.PhysicalID)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		return gone(r.Retry(func() error {
			_, err := api.DeleteSubnet(ctx, &ec2.DeleteSubnetInput{SubnetId: aws.String(r.PhysicalID)})
			return err
		}, "DependencyViolation"))
	}
	return t
}

func gatewayType(api EC2) *Type {
	return &Type{
		Name:       "AWS::EC2::InternetGateway",
		Attributes: []string{"InternetGatewayId"},
		properties: only("Tags"),
		Create: func(ctx context.Context, r *Request) error {
			id, err := earlier(ctx, api, r, types.ResourceTypeInternetGateway)
			if err != nil {
				return err
			}
			if id == "" {
				out, err := api.CreateInternetGateway(ctx, &ec2.CreateInternetGatewayInput{TagSpecifications: r.tagSpec(types.ResourceTypeInternetGateway)})
				if err != nil {
					return err
				}
				id = aws.ToString(out.InternetGateway.InternetGatewayId)
			}
			r.Set("InternetGatewayId", id)
			return r.Created(id)
		},
		Update: func(ctx context.Context, r *Request) error { return retag(ctx, api, r, r.PhysicalID) },
		Delete: func(ctx context.Context, r *Request) error {
			return gone(r.Retry(func() error {
				_, err := api.DeleteInternetGateway(ctx, &ec2.DeleteInternetGatewayInput{InternetGatewayId: aws.String(r.PhysicalID)})
				return err
			}, "DependencyViolation"))
		},
	}
}

func natGatewayType(api EC2) *Type {
	return &Type{
		Name:       "AWS::EC2::NatGateway",
		Attributes: []string{"NatGatewayId"},
		Replaces:   []string{"SubnetId", "AllocationId", "ConnectivityType"},
		properties: only("SubnetId", "AllocationId", "ConnectivityType", "Tags").requires("SubnetId"),
		Create: func(ctx context.Context, r *Request) error {
			id, err := earlier(ctx, api, r, types.ResourceTypeNatgateway)
			if err != nil {
				return err
			}
			if id == "" {
				in := &ec2.CreateNatGatewayInput{
					SubnetId: aws.String(r.String("SubnetId")), ConnectivityType: types.ConnectivityType(r.String("ConnectivityType")),
					TagSpecifications: r.tagSpec(types.ResourceTypeNatgateway),
				}
				if r.Has("AllocationId") {
					in.AllocationId = aws.String(r.String("AllocationId"))
				}
				out, err := api.CreateNatGateway(ctx, in)
				if err != nil {
					return err
				}
				id = aws.ToString(out.NatGateway.NatGatewayId)
			}
			r.Set("NatGatewayId", id)
			return r.Created(id)
		},
		Update: func(ctx context.Context, r *Request) error { return retag(ctx, api, r, r.PhysicalID) },
		Delete: func(ctx context.Context, r *Request) error {
			_, err := api.DeleteNatGateway(ctx, &ec2.DeleteNatGatewayInput{NatGatewayId: aws.String(r.PhysicalID)})
			return gone(err)
		},
	}
}

func gatewayAttachmentType(api EC2) *Type {
	return &Type{
		Name:       "AWS::EC2::VPCGatewayAttachment",
		Attributes: []string{"AttachmentType"},
		Replaces:   []string{"*"},
		properties: only("VpcId", "InternetGatewayId").refuses("VpnGatewayId").requires("VpcId", "InternetGatewayId"),
		Create: func(ctx context.Context, r *Request) error {
			_, err := api.AttachInternetGateway(ctx, &ec2.AttachInternetGatewayInput{
				InternetGatewayId: aws.String(r.String("InternetGatewayId")), VpcId: aws.String(r.String("VpcId")),
			})
			if err != nil && !(r.Resumed && alreadyExists(err)) {
				return err
			}
			r.Set("AttachmentType", "IGW")
			return r.Created("IGW|" + r.String("VpcId"))
		},
		Delete: func(ctx context.Context, r *Request) error {
			err := r.Retry(func() error {
				_, err := api.DetachInternetGateway(ctx, &ec2.DetachInternetGatewayInput{
					InternetGatewayId: aws.String(r.String("InternetGatewayId")), VpcId: aws.String(r.String("VpcId")),
				})
				return err
			}, "DependencyViolation")
			if errorCode(err) == "Gateway.NotAttached" {
				return nil
			}
			return gone(err)
		},
	}
}

func routeTableType(api EC2) *Type {
	return &Type{
		Name:       "AWS::EC2::RouteTable",
		Attributes: []string{"RouteTableId"},
		Replaces:   []string{"VpcId"},
		properties: only("VpcId", "Tags").requires("VpcId"),
		Create: func(ctx context.Context, r *Request) error {
			id, err := earlier(ctx, api, r, types.ResourceTypeRouteTable)
			if err != nil {
				return err
			}
			if id == "" {
				out, err := api.CreateRouteTable(ctx, &ec2.CreateRouteTableInput{VpcId: aws.String(r.String("VpcId")), TagSpecifications: r.tagSpec(types.ResourceTypeRouteTable)})
				if err != nil {
					return err
				}
				id = aws.ToString(out.RouteTable.RouteTableId)
			}
			r.Set("RouteTableId", id)
			return r.Created(id)
		},
		Update: func(ctx context.Context, r *Request) error { return retag(ctx, api, r, r.PhysicalID) },
		Delete: func(ctx context.Context, r *Request) error {
			return gone(r.Retry(func() error {
				_, err := api.DeleteRouteTable(ctx, &ec2.DeleteRouteTableInput{RouteTableId: aws.String(r.PhysicalID)})
				return err
			}, "DependencyViolation"))
		},
	}
}

func routeType(api EC2) *Type {
	t := &Type{
		Name:       "AWS::EC2::Route",
		Attributes: []string{"CidrBlock"},
		Replaces:   []string{"RouteTableId", "DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId"},
		properties: like[ec2.CreateRouteInput]("RouteTableId"),
	}
	destination := func(r *Request) string {
		return r.StringOr("DestinationCidrBlock", r.StringOr("DestinationIpv6CidrBlock", r.String("DestinationPrefixListId")))
	}
	t.Create = func(ctx context.Context, r *Request) error {
		if _, err := api.CreateRoute(ctx, input[ec2.CreateRouteInput](t.properties, r.Props)); err != nil && !(r.Resumed && alreadyExists(err)) {
			return err
		}
		r.Set("CidrBlock", destination(r))
		return r.Created(r.String("RouteTableId") + "|" + destination(r))
	}
	t.Update = func(ctx context.Context, r *Request) error { // another target
		if err := t.Delete(ctx, r); err != nil {
			return err
		}
		_, err := api.CreateRoute(ctx, input[ec2.CreateRouteInput](t.properties, r.Props))
		return err
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		in := &ec2.DeleteRouteInput{RouteTableId: aws.String(r.String("RouteTableId"))}
		switch {
		case r.Has("DestinationCidrBlock"):
			in.DestinationCidrBlock = aws.String(destination(r))
		case r.Has("DestinationIpv6CidrBlock"):
			in.DestinationIpv6CidrBlock = aws.String(destination(r))
		default:
			in.DestinationPrefixListId = aws.String(destination(r))
		}
		_, err := api.DeleteRoute(ctx, in)
		return gone(err)
	}
	return t
}

func routeAssociationType(api EC2) *Type {
	return &Type{
		Name:       "AWS::EC2::SubnetRouteTableAssociation",
		Attributes: []string{"Id"},
		Replaces:   []string{"*"},
		properties: only("RouteTableId", "SubnetId").requires("RouteTableId", "SubnetId"),
		Create: func(ctx context.Context, r *Request) error {
			// Associating again what is associated already returns the same association.
			out, err := api.AssociateRouteTable(ctx, &ec2.AssociateRouteTableInput{
				RouteTableId: aws.String(r.String("RouteTableId")), SubnetId: aws.String(r.String("SubnetId")),
			})
			if err != nil {
				return err
			}
			id := aws.ToString(out.AssociationId)
			r.Set("Id", id)
			return r.Created(id)
		},
		Delete: func(ctx context.Context, r *Request) error {
			if !strings.HasPrefix(r.PhysicalID, "rtbassoc-") {
				return nil
			}
			_, err := api.DisassociateRouteTable(ctx, &ec2.DisassociateRouteTableInput{AssociationId: aws.String(r.PhysicalID)})
			return gone(err)
		},
	}
}
