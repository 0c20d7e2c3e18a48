package resource

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// addressTypes are network interfaces and elastic addresses.
func addressTypes(api EC2) []*Type {
	return []*Type{networkInterfaceType(api), addressType(api), addressAssociationType(api)}
}

func networkInterfaceType(api EC2) *Type {
	t := &Type{
		Name:       "AWS::EC2::NetworkInterface",
		Attributes: []string{"Id", "PrimaryPrivateIpAddress", "PrimaryIpv6Address", "SecondaryPrivateIpAddresses", "VpcId"},
		Replaces:   []string{"SubnetId", "PrivateIpAddress", "PrivateIpAddresses", "InterfaceType", "SecondaryPrivateIpAddressCount"},
		properties: like[ec2.CreateNetworkInterfaceInput]("SubnetId").and("SourceDestCheck", "Tags").without("Groups"),
	}
	settle := func(ctx context.Context, r *Request) error {
		if !r.Has("SourceDestCheck") && r.Before["SourceDestCheck"] == nil {
			return nil
		}
		_, err := api.ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
			NetworkInterfaceId: aws.String(r.PhysicalID),
			SourceDestCheck:    &types.AttributeBooleanValue{Value: aws.Bool(r.StringOr("SourceDestCheck", "true") == "true")},
		})
		return err
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := input[ec2.CreateNetworkInterfaceInput](t.properties, r.Props)
		in.ClientToken = aws.String(r.Token)
		in.TagSpecifications = r.tagSpec(types.ResourceTypeNetworkInterface)
		out, err := api.CreateNetworkInterface(ctx, in)
		if err != nil {
			return err
		}
		if err := r.Created(aws.ToString(out.NetworkInterface.NetworkInterfaceId)); err != nil {
			return err
		}
		if err := settle(ctx, r); err != nil {
			return err
		}
		return r.Wait(func() (bool, error) {
			out, err := api.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{r.PhysicalID}})
			if err != nil {
				return false, err
			}
			for _, eni := range out.NetworkInterfaces {
				r.Set("Id", r.PhysicalID)
				r.Set("PrimaryPrivateIpAddress", aws.ToString(eni.PrivateIpAddress))
				r.Set("VpcId", aws.ToString(eni.VpcId))
				secondary := []any{}
				for _, a := range eni.PrivateIpAddresses {
					if !aws.ToBool(a.Primary) {
						secondary = append(secondary, aws.ToString(a.PrivateIpAddress))
					}
				}
				r.Set("SecondaryPrivateIpAddresses", secondary)
				return eni.Status != "pending", nil
			}
			return false, nil
		})
	}
	t.Update = func(ctx context.Context, r *Request) error {
		if r.Changed("GroupSet") {
			groups, err := decodeInto[[]string](r.Props["GroupSet"])
			if err != nil {
				return err
			}
			if _, err := api.ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: aws.String(r.PhysicalID), Groups: groups}); err != nil {
				return err
			}
		}
		if r.Changed("Description") {
			if _, err := api.ModifyNetworkInterfaceAttribute(ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
				NetworkInterfaceId: aws.String(r.PhysicalID), Description: &types.AttributeValue{Value: aws.String(r.String("Description"))},
			}); err != nil {
				return err
			}
		}
		if r.Changed("SourceDestCheck") {
			if err := settle(ctx, r); err != nil {
				return err
			}
		}
		return retag(ctx, api, r, r.PhysicalID)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		return gone(r.Retry(func() error {
			_, err := api.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: aws.String(r.PhysicalID)})
			return err
		}, "InvalidParameterValue", "InvalidNetworkInterface.InUse", "DependencyViolation"))
	}
	return t
}

// addressType is an elastic IP address. Its physical ID is the address, as Ref
// must return that.
func addressType(api EC2) *Type {
	t := &Type{
		Name:       "AWS::EC2::EIP",
		Attributes: []string{"AllocationId", "PublicIp"},
		Replaces:   []string{"Domain", "NetworkBorderGroup", "PublicIpv4Pool", "Address", "IpamPoolId"},
		properties: like[ec2.AllocateAddressInput]().and("InstanceId", "Tags").refuses("TransferAddress").without("CustomerOwnedIpv4Pool"),
	}
	associate := func(ctx context.Context, r *Request) error {
		if !r.Has("InstanceId") {
			return nil
		}
		allocation, _ := r.Attributes["AllocationId"].(string)
		_, err := api.AssociateAddress(ctx, &ec2.AssociateAddressInput{
			AllocationId: aws.String(allocation), InstanceId: aws.String(r.String("InstanceId")), AllowReassociation: aws.Bool(true),
		})
		return err
	}
	t.Create = func(ctx context.Context, r *Request) error {
		var allocation, address string
		if r.Resumed {
			id, err := earlier(ctx, api, &Request{Resumed: true, StackID: r.StackID, LogicalID: r.LogicalID}, types.ResourceTypeElasticIp)
			if err != nil {
				return err
			}
			if id != "" {
				out, err := api.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{AllocationIds: []string{id}})
				if err != nil {
					return err
				}
				for _, a := range out.Addresses {
					if aws.ToString(a.PublicIp) != r.Replaced {
						allocation, address = id, aws.ToString(a.PublicIp)
					}
				}
			}
		}
		if allocation == "" {
			in := input[ec2.AllocateAddressInput](t.properties, r.Props)
			in.TagSpecifications = r.tagSpec(types.ResourceTypeElasticIp)
			out, err := api.AllocateAddress(ctx, in)
			if err != nil {
				return err
			}
			allocation, address = aws.ToString(out.AllocationId), aws.ToString(out.PublicIp)
		}
		r.Set("AllocationId", allocation)
		r.Set("PublicIp", address)
		if err := r.Created(address); err != nil {
			return err
		}
		return associate(ctx, r)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		if r.Changed("InstanceId") {
			if err := associate(ctx, r); err != nil {
				return err
			}
		}
		allocation, _ := r.Attributes["AllocationId"].(string)
		return retag(ctx, api, r, allocation)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		out, err := api.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{PublicIps: []string{r.PhysicalID}})
		if err != nil {
			return gone(err)
		}
		for _, a := range out.Addresses {
			if a.AssociationId != nil {
				if _, err := api.DisassociateAddress(ctx, &ec2.DisassociateAddressInput{AssociationId: a.AssociationId}); gone(err) != nil {
					return err
				}
			}
			_, err := api.ReleaseAddress(ctx, &ec2.ReleaseAddressInput{AllocationId: a.AllocationId})
			return gone(err)
		}
		return nil
	}
	return t
}

func addressAssociationType(api EC2) *Type {
	t := &Type{
		Name:       "AWS::EC2::EIPAssociation",
		Attributes: []string{"Id"},
		Replaces:   []string{"*"},
		properties: only("AllocationId", "EIP", "InstanceId", "NetworkInterfaceId", "PrivateIpAddress"),
	}
	t.Create = func(ctx context.Context, r *Request) error {
		in := &ec2.AssociateAddressInput{AllowReassociation: aws.Bool(true)}
		for name, into := range map[string]**string{
			"AllocationId": &in.AllocationId, "InstanceId": &in.InstanceId,
			"NetworkInterfaceId": &in.NetworkInterfaceId, "PrivateIpAddress": &in.PrivateIpAddress,
		} {
			if r.Has(name) {
				*into = aws.String(r.String(name))
			}
		}
		if in.AllocationId == nil {
			out, err := api.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{PublicIps: []string{r.String("EIP")}})
			if err != nil {
				return err
			}
			if len(out.Addresses) == 0 {
				return fmt.Errorf("address %q is not allocated to this account", r.String("EIP"))
			}
			in.AllocationId = out.Addresses[0].AllocationId
		}
		out, err := api.AssociateAddress(ctx, in)
		if err != nil {
			return err
		}
		id := aws.ToString(out.AssociationId)
		r.Set("Id", id)
		return r.Created(id)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		_, err := api.DisassociateAddress(ctx, &ec2.DisassociateAddressInput{AssociationId: aws.String(r.PhysicalID)})
		return gone(err)
	}
	return t
}
