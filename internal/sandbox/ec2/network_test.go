package ec2

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"pcluster/internal/sandbox/vpc"
)

// Whatever comes and goes, an address is in use once, lies in its subnet, is none
// of EC2's own, and the count of free addresses is right; a subnet is full exactly
// when it says so.
func TestAddressesAreGivenOutOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		prefix := netip.MustParsePrefix(rapid.SampledFrom([]string{"10.0.0.0/28", "10.0.1.240/28", "192.168.7.64/26"}).Draw(t, "block"))
		subnet := &types.Subnet{SubnetId: aws.String("subnet-1"), CidrBlock: aws.String(prefix.String())}
		var book addressBook
		held := map[netip.Addr]*types.NetworkInterface{}
		n := 0
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				addr, ok := book.next(subnet)
				if full := len(held) == capacityOf(prefix); ok == full {
					t.Fatalf("%d of %d addresses are held, next says %v", len(held), capacityOf(prefix), ok)
				}
				if !ok {
					return
				}
				if held[addr] != nil || !prefix.Contains(addr) || isReserved(prefix, addr) {
					t.Fatalf("%s is given out", addr)
				}
				n++
				eni := &types.NetworkInterface{
					NetworkInterfaceId: aws.String("eni-" + string(rune('a'+n%26)) + addr.String()), SubnetId: subnet.SubnetId,
					PrivateIpAddresses: []types.NetworkInterfacePrivateIpAddress{{PrivateIpAddress: aws.String(addr.String())}},
				}
				book.take(eni)
				held[addr] = eni
			},
			"release": func(t *rapid.T) {
				if len(held) == 0 {
					t.Skip()
				}
				addrs := slices.SortedFunc(func(yield func(netip.Addr) bool) {
					for a := range held {
						if !yield(a) {
							return
						}
					}
				}, netip.Addr.Compare)
				addr := rapid.SampledFrom(addrs).Draw(t, "address")
				book.release(held[addr])
				delete(held, addr)
			},
			"": func(t *rapid.T) {
				if got, want := book.available(subnet), capacityOf(prefix)-len(held); got != want {
					t.Fatalf("%d addresses are free, want %d", got, want)
				}
				for addr, eni := range held {
					if book.find(addr) != *eni.NetworkInterfaceId {
						t.Fatalf("%s belongs to %q", addr, book.find(addr))
					}
				}
			},
		})
	})
}

func TestFreedAddressIsNotUsedAgainAtOnce(t *testing.T) {
	r := newRegion(t)
	first := r.run1(r.request(1))
	addr := *r.instance(first).PrivateIpAddress
	ok[*sdk.TerminateInstancesOutput](t)(r.TerminateInstances(t.Context(), &sdk.TerminateInstancesInput{InstanceIds: []string{first}}))
	r.settle()
	if got := *r.instance(r.run1(r.request(1))).PrivateIpAddress; got == addr {
		t.Errorf("%s is used again at once", addr)
	}
}

func TestReservedAddresses(t *testing.T) {
	prefix := netip.MustParsePrefix("10.0.1.0/24")
	for addr, want := range map[string]bool{
		"10.0.1.0": true, "10.0.1.1": true, "10.0.1.2": true, "10.0.1.3": true, "10.0.1.4": false, "10.0.1.254": false, "10.0.1.255": true,
	} {
		if got := isReserved(prefix, netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

func TestVPCFromNothing(t *testing.T) {
	r := newRegion(t)
	ctx := t.Context()
	v := ok[*sdk.CreateVpcOutput](t)(r.CreateVpc(ctx, &sdk.CreateVpcInput{CidrBlock: aws.String("10.5.0.0/16")})).Vpc
	if *v.IsDefault || v.State != "available" {
		t.Errorf("VPC %+v", v)
	}
	_, err := r.CreateSubnet(ctx, &sdk.CreateSubnetInput{VpcId: v.VpcId, CidrBlock: aws.String("10.6.0.0/24")})
	refused(t, err, "InvalidSubnet.Range")
	subnet := ok[*sdk.CreateSubnetOutput](t)(r.CreateSubnet(ctx, &sdk.CreateSubnetInput{
		VpcId: v.VpcId, CidrBlock: aws.String("10.5.1.0/24"), AvailabilityZone: aws.String("us-east-1b"),
	})).Subnet
	if *subnet.AvailableIpAddressCount != 251 || *subnet.AvailabilityZoneId != "use1-az2" {
		t.Errorf("subnet has %d addresses in %s", *subnet.AvailableIpAddressCount, *subnet.AvailabilityZoneId)
	}
	if !r.net.subnets[netip.MustParsePrefix("10.5.1.0/24")] {
		t.Error("network does not know the subnet")
	}
	_, err = r.CreateSubnet(ctx, &sdk.CreateSubnetInput{VpcId: v.VpcId, CidrBlock: aws.String("10.5.1.128/25")})
	refused(t, err, "InvalidSubnet.Conflict")

	gateway := ok[*sdk.CreateInternetGatewayOutput](t)(r.CreateInternetGateway(ctx, &sdk.CreateInternetGatewayInput{})).InternetGateway
	ok[*sdk.AttachInternetGatewayOutput](t)(r.AttachInternetGateway(ctx, &sdk.AttachInternetGatewayInput{InternetGatewayId: gateway.InternetGatewayId, VpcId: v.VpcId}))
	table := ok[*sdk.CreateRouteTableOutput](t)(r.CreateRouteTable(ctx, &sdk.CreateRouteTableInput{VpcId: v.VpcId})).RouteTable
	route := &sdk.CreateRouteInput{RouteTableId: table.RouteTableId, DestinationCidrBlock: aws.String("0.0.0.0/0"), GatewayId: gateway.InternetGatewayId}
	ok[*sdk.CreateRouteOutput](t)(r.CreateRoute(ctx, route))
	_, err = r.CreateRoute(ctx, route)
	refused(t, err, "RouteAlreadyExists")
	association := ok[*sdk.AssociateRouteTableOutput](t)(r.AssociateRouteTable(ctx, &sdk.AssociateRouteTableInput{RouteTableId: table.RouteTableId, SubnetId: subnet.SubnetId}))

	// What asks whether a subnet is public.
	found := ok[*sdk.DescribeRouteTablesOutput](t)(r.DescribeRouteTables(ctx, &sdk.DescribeRouteTablesInput{Filters: []types.Filter{
		{Name: aws.String("association.subnet-id"), Values: []string{*subnet.SubnetId}},
	}}))
	if len(found.RouteTables) != 1 || len(found.RouteTables[0].Routes) != 2 || *found.RouteTables[0].Routes[1].GatewayId != *gateway.InternetGatewayId {
		t.Errorf("route tables %+v", found.RouteTables)
	}

	for name, err := range map[string]error{
		"VPC":     second(r.DeleteVpc(ctx, &sdk.DeleteVpcInput{VpcId: v.VpcId})),
		"gateway": second(r.DeleteInternetGateway(ctx, &sdk.DeleteInternetGatewayInput{InternetGatewayId: gateway.InternetGatewayId})),
		"routes":  second(r.DeleteRouteTable(ctx, &sdk.DeleteRouteTableInput{RouteTableId: table.RouteTableId})),
	} {
		t.Log(name)
		refused(t, err, "DependencyViolation")
	}
	for _, err := range []error{
		second(r.DisassociateRouteTable(ctx, &sdk.DisassociateRouteTableInput{AssociationId: association.AssociationId})),
		second(r.DeleteRouteTable(ctx, &sdk.DeleteRouteTableInput{RouteTableId: table.RouteTableId})),
		second(r.DetachInternetGateway(ctx, &sdk.DetachInternetGatewayInput{InternetGatewayId: gateway.InternetGatewayId, VpcId: v.VpcId})),
		second(r.DeleteInternetGateway(ctx, &sdk.DeleteInternetGatewayInput{InternetGatewayId: gateway.InternetGatewayId})),
		second(r.DeleteSubnet(ctx, &sdk.DeleteSubnetInput{SubnetId: subnet.SubnetId})),
		second(r.DeleteVpc(ctx, &sdk.DeleteVpcInput{VpcId: v.VpcId})),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestDefaultVPCOnlyWhenAsked(t *testing.T) {
	r := newRegion(t)
	ctx := t.Context()
	ok[*sdk.CreateDefaultVpcOutput](t)(r.CreateDefaultVpc(ctx, &sdk.CreateDefaultVpcInput{}))
	_, err := r.CreateDefaultVpc(ctx, &sdk.CreateDefaultVpcInput{})
	refused(t, err, "DefaultVpcAlreadyExists")
	in := r.request(1)
	in.SubnetId, in.SecurityGroupIds = nil, nil
	in.Placement = &types.Placement{AvailabilityZone: aws.String("us-east-1c")}
	i := r.instance(r.run1(in))
	if *i.Placement.AvailabilityZone != "us-east-1c" || !strings.HasPrefix(*i.PrivateIpAddress, "172.31.32.") || i.PublicIpAddress == nil || *i.SecurityGroups[0].GroupName != "default" {
		t.Errorf("runs in %s at %s, public %v, groups %v", *i.Placement.AvailabilityZone, *i.PrivateIpAddress, i.PublicIpAddress, i.SecurityGroups)
	}
	ok[*sdk.TerminateInstancesOutput](t)(r.TerminateInstances(ctx, &sdk.TerminateInstancesInput{InstanceIds: []string{*i.InstanceId}}))
	r.settle()
	if len(r.net.public) != 0 {
		t.Errorf("public addresses left: %v", r.net.public)
	}
}

func ingress(protocol string, from, to int32, cidr string) []types.IpPermission {
	return []types.IpPermission{{
		IpProtocol: &protocol, FromPort: &from, ToPort: &to, IpRanges: []types.IpRange{{CidrIp: &cidr}},
	}}
}

func TestSecurityGroupRules(t *testing.T) {
	r := newRegion(t)
	ctx := t.Context()
	vpcID := r.subnets.get(r.subnet).VpcId
	create := &sdk.CreateSecurityGroupInput{GroupName: aws.String("storage"), Description: aws.String("d"), VpcId: vpcID}
	id := ok[*sdk.CreateSecurityGroupOutput](t)(r.CreateSecurityGroup(ctx, create)).GroupId
	_, err := r.CreateSecurityGroup(ctx, create)
	refused(t, err, "InvalidGroup.Duplicate")

	added := ok[*sdk.AuthorizeSecurityGroupIngressOutput](t)(r.AuthorizeSecurityGroupIngress(ctx, &sdk.AuthorizeSecurityGroupIngressInput{
		GroupId: id, IpPermissions: ingress("tcp", 22, 22, "0.0.0.0/0"),
	}))
	if len(added.SecurityGroupRules) != 1 || !strings.HasPrefix(*added.SecurityGroupRules[0].SecurityGroupRuleId, "sgr-") {
		t.Errorf("rules %+v", added.SecurityGroupRules)
	}
	_, err = r.AuthorizeSecurityGroupIngress(ctx, &sdk.AuthorizeSecurityGroupIngressInput{GroupId: id, IpPermissions: ingress("6", 22, 22, "0.0.0.0/0")})
	refused(t, err, "InvalidPermission.Duplicate")
	if want := `"peer: 0.0.0.0/0, TCP, from port: 22, to port: 22, ALLOW"`; !strings.Contains(err.Error(), want) {
		t.Errorf("error %q lacks %s", err, want)
	}
	// As a cluster's stack writes them: everything, with ports that mean nothing.
	ok[*sdk.AuthorizeSecurityGroupIngressOutput](t)(r.AuthorizeSecurityGroupIngress(ctx, &sdk.AuthorizeSecurityGroupIngressInput{
		GroupId: id, IpPermissions: []types.IpPermission{{
			IpProtocol: aws.String("-1"), FromPort: aws.Int32(0), ToPort: aws.Int32(65535),
			UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: &r.group}},
		}},
	}))
	_, err = r.AuthorizeSecurityGroupIngress(ctx, &sdk.AuthorizeSecurityGroupIngressInput{GroupId: id, IpPermissions: []types.IpPermission{{
		IpProtocol: aws.String("tcp"), FromPort: aws.Int32(1), ToPort: aws.Int32(2), PrefixListIds: []types.PrefixListId{{PrefixListId: aws.String("pl-1")}},
	}}})
	refused(t, err, "InvalidPrefixListID.NotFound")
	_, err = r.AuthorizeSecurityGroupEgress(ctx, &sdk.AuthorizeSecurityGroupEgressInput{GroupId: id, IpPermissions: []types.IpPermission{{
		IpProtocol: aws.String("-1"), IpRanges: []types.IpRange{{CidrIp: aws.String("0.0.0.0/0")}},
	}}})
	refused(t, err, "InvalidPermission.Duplicate") // every group has it from the start

	want := vpc.Group{
		ID:      *id,
		Egress:  []vpc.Rule{{Protocol: "-1", FromPort: -1, ToPort: -1, CIDR: netip.MustParsePrefix("0.0.0.0/0")}},
		Ingress: []vpc.Rule{{Protocol: "tcp", FromPort: 22, ToPort: 22, CIDR: netip.MustParsePrefix("0.0.0.0/0")}, {Protocol: "-1", FromPort: -1, ToPort: -1, GroupID: r.group}},
	}
	same := cmp.Options{cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.EquateEmpty()}
	if diff := cmp.Diff(want, r.net.group(*id), same); diff != "" {
		t.Errorf("in force (-want +got):\n%s", diff)
	}

	_, err = r.DeleteSecurityGroup(ctx, &sdk.DeleteSecurityGroupInput{GroupId: &r.group})
	refused(t, err, "DependencyViolation") // the other group refers to it

	revoke := &sdk.RevokeSecurityGroupIngressInput{GroupId: id, IpPermissions: ingress("tcp", 22, 22, "0.0.0.0/0")}
	ok[*sdk.RevokeSecurityGroupIngressOutput](t)(r.RevokeSecurityGroupIngress(ctx, revoke))
	_, err = r.RevokeSecurityGroupIngress(ctx, revoke)
	refused(t, err, "InvalidPermission.NotFound")
	rules := ok[*sdk.DescribeSecurityGroupRulesOutput](t)(r.DescribeSecurityGroupRules(ctx, &sdk.DescribeSecurityGroupRulesInput{
		Filters: []types.Filter{{Name: aws.String("group-id"), Values: []string{*id}}},
	}))
	for _, rule := range rules.SecurityGroupRules {
		if *rule.IsEgress {
			ok[*sdk.RevokeSecurityGroupEgressOutput](t)(r.RevokeSecurityGroupEgress(ctx, &sdk.RevokeSecurityGroupEgressInput{GroupId: id, SecurityGroupRuleIds: []string{*rule.SecurityGroupRuleId}}))
		}
	}
	groups := ok[*sdk.DescribeSecurityGroupsOutput](t)(r.DescribeSecurityGroups(ctx, &sdk.DescribeSecurityGroupsInput{GroupIds: []string{*id}}))
	if g := groups.SecurityGroups[0]; len(g.IpPermissions) != 1 || len(g.IpPermissionsEgress) != 0 || *g.IpPermissions[0].UserIdGroupPairs[0].GroupId != r.group {
		t.Errorf("group %+v", g)
	}
	ok[*sdk.DeleteSecurityGroupOutput](t)(r.DeleteSecurityGroup(ctx, &sdk.DeleteSecurityGroupInput{GroupId: id}))
	ok[*sdk.DeleteSecurityGroupOutput](t)(r.DeleteSecurityGroup(ctx, &sdk.DeleteSecurityGroupInput{GroupId: &r.group}))
}

func TestGroupsFollowTheirInstances(t *testing.T) {
	r := newRegion(t)
	ctx := t.Context()
	id := r.run1(r.request(1))
	addr := netip.MustParseAddr(*r.instance(id).PrivateIpAddress)
	if got := r.net.group(r.group).Members; !slices.Contains(got, addr) {
		t.Errorf("members %v lack %s", got, addr)
	}
	other := ok[*sdk.CreateSecurityGroupOutput](t)(r.CreateSecurityGroup(ctx, &sdk.CreateSecurityGroupInput{
		GroupName: aws.String("other"), Description: aws.String("d"), VpcId: r.subnets.get(r.subnet).VpcId,
	})).GroupId
	ok[*sdk.ModifyInstanceAttributeOutput](t)(r.ModifyInstanceAttribute(ctx, &sdk.ModifyInstanceAttributeInput{InstanceId: &id, Groups: []string{*other}}))
	if got := r.net.group(r.group).Members; slices.Contains(got, addr) {
		t.Errorf("still a member of the old group")
	}
	if got := r.net.group(*other).Members; !slices.Contains(got, addr) {
		t.Errorf("members of the new group: %v", got)
	}
	if got := r.instance(id).SecurityGroups; len(got) != 1 || *got[0].GroupName != "other" {
		t.Errorf("instance shows %v", got)
	}
	_, err := r.DeleteSecurityGroup(ctx, &sdk.DeleteSecurityGroupInput{GroupId: other})
	refused(t, err, "DependencyViolation")
}

func TestNames(t *testing.T) {
	r := newRegion(t)
	id := r.run1(r.request(1))
	i := r.instance(id)
	none := netip.Addr{}
	lookup := func(name string, qtype uint16) (string, bool) {
		records, known := r.Lookup(name, qtype, none)
		if len(records) == 0 {
			return "", known
		}
		fields := strings.Fields(records[0].String())
		return fields[len(fields)-1], known
	}
	for _, tt := range []struct {
		name  string
		qtype uint16
		want  string
		known bool
	}{
		{*i.PrivateDnsName + ".", dns.TypeA, *i.PrivateIpAddress, true},
		{strings.ToUpper(*i.PrivateDnsName), dns.TypeA, *i.PrivateIpAddress, true},
		{*i.PrivateDnsName + ".", dns.TypeAAAA, "", true},
		{"4.1.0.10.in-addr.arpa.", dns.TypePTR, *i.PrivateDnsName + ".", true},
		{"9.1.0.10.in-addr.arpa.", dns.TypePTR, "", false},
		{"ip-10-0-1-9.ec2.internal.", dns.TypeA, "", false},
		{"ip-10-0-1-4.example.com.", dns.TypeA, "", false},
		{"q1-st-c5-1.demo.pcluster.", dns.TypeA, "", false},
	} {
		if got, known := lookup(tt.name, tt.qtype); got != tt.want || known != tt.known {
			t.Errorf("%s %s: %q, %v; want %q, %v", tt.name, dns.TypeToString[tt.qtype], got, known, tt.want, tt.known)
		}
	}
	if got := r.VPCOf(netip.MustParseAddr(*i.PrivateIpAddress)); got != *i.VpcId {
		t.Errorf("VPC of the address is %q", got)
	}
	m, known := r.Metadata(netip.MustParseAddr(*i.PrivateIpAddress))
	if !known || *m.Instance.InstanceId != id || len(m.Interfaces) != 1 || m.Interfaces[0].SubnetCIDR != "10.0.1.0/24" || m.Interfaces[0].VPCCIDR != "10.0.0.0/16" {
		t.Errorf("metadata %v: %+v", known, m.Interfaces)
	}
}
