package ec2

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/facts/catalog"
	"pcluster/internal/sandbox/wire"
)

// zoneIDs are the zones behind us-east-1a, b and c. Every AWS account has its own
// mapping; ours puts the zone that offers most instance types first.
var zoneIDs = []string{"use1-az6", "use1-az2", "use1-az4"}

// zoneID returns the ID of a zone of the region.
func (s *Service) zoneID(zone string) string {
	i := slices.Index(s.id.AZs(), zone)
	if i < 0 {
		return ""
	}
	if s.id.Name() == "us-east-1" {
		return zoneIDs[i]
	}
	return shortRegion(s.id.Name()) + "-az" + strconv.Itoa(i+1)
}

// shortRegion abbreviates a region as zone IDs do: eu-west-1 is euw1,
// ap-southeast-2 apse2.
func shortRegion(name string) string {
	var b strings.Builder
	for i, part := range strings.Split(name, "-") {
		switch part {
		case "northeast", "northwest", "southeast", "southwest":
			b.WriteString(part[:1] + part[5:6])
		case "gov":
			b.WriteString("g")
		default:
			if i == 0 {
				b.WriteString(part)
			} else {
				b.WriteString(part[:1])
			}
		}
	}
	return b.String()
}

// zone resolves the zone that a request names by name or ID; the first one if it
// names none.
func (s *Service) zone(name, id *string) (string, error) {
	zones := s.id.AZs()
	if aws.ToString(name) == "" && aws.ToString(id) == "" {
		return zones[0], nil
	}
	for _, z := range zones {
		if z == aws.ToString(name) || s.zoneID(z) == aws.ToString(id) {
			return z, nil
		}
	}
	return "", invalidValue("Value (%s) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: %s.",
		aws.ToString(name)+aws.ToString(id), strings.Join(zones, ", "))
}

// offered reports whether a zone has the instance type. Only of us-east-1 it is
// known what it lacks.
func (s *Service) offered(instanceType, zone string) bool {
	if s.id.Name() != "us-east-1" {
		return true
	}
	return slices.Contains(catalog.ZoneIDs(instanceType), s.zoneID(zone))
}

func (s *Service) offeredAnywhere(instanceType string) bool {
	return slices.ContainsFunc(s.id.AZs(), func(zone string) bool { return s.offered(instanceType, zone) })
}

var typeAttributes = map[string]attribute[types.InstanceTypeInfo]{
	"auto-recovery-supported":         func(v *types.InstanceTypeInfo) []string { return yesNo(v.AutoRecoverySupported) },
	"bare-metal":                      func(v *types.InstanceTypeInfo) []string { return yesNo(v.BareMetal) },
	"burstable-performance-supported": func(v *types.InstanceTypeInfo) []string { return yesNo(v.BurstablePerformanceSupported) },
	"current-generation":              func(v *types.InstanceTypeInfo) []string { return yesNo(v.CurrentGeneration) },
	"dedicated-hosts-supported":       func(v *types.InstanceTypeInfo) []string { return yesNo(v.DedicatedHostsSupported) },
	"ebs-info.ebs-optimized-support":  func(v *types.InstanceTypeInfo) []string { return word(v.EbsInfo.EbsOptimizedSupport) },
	"ebs-info.encryption-support":     func(v *types.InstanceTypeInfo) []string { return word(v.EbsInfo.EncryptionSupport) },
	"ebs-info.nvme-support":           func(v *types.InstanceTypeInfo) []string { return word(v.EbsInfo.NvmeSupport) },
	"free-tier-eligible":              func(v *types.InstanceTypeInfo) []string { return yesNo(v.FreeTierEligible) },
	"hibernation-supported":           func(v *types.InstanceTypeInfo) []string { return yesNo(v.HibernationSupported) },
	"hypervisor":                      func(v *types.InstanceTypeInfo) []string { return word(v.Hypervisor) },
	"instance-storage-supported":      func(v *types.InstanceTypeInfo) []string { return yesNo(v.InstanceStorageSupported) },
	"instance-type":                   func(v *types.InstanceTypeInfo) []string { return word(v.InstanceType) },
	"memory-info.size-in-mib":         func(v *types.InstanceTypeInfo) []string { return number(v.MemoryInfo.SizeInMiB) },
	"network-info.efa-supported":      func(v *types.InstanceTypeInfo) []string { return yesNo(v.NetworkInfo.EfaSupported) },
	"network-info.ena-support":        func(v *types.InstanceTypeInfo) []string { return word(v.NetworkInfo.EnaSupport) },
	"network-info.maximum-network-cards": func(v *types.InstanceTypeInfo) []string {
		return number(v.NetworkInfo.MaximumNetworkCards)
	},
	"network-info.maximum-network-interfaces": func(v *types.InstanceTypeInfo) []string {
		return number(v.NetworkInfo.MaximumNetworkInterfaces)
	},
	"processor-info.supported-architecture": func(v *types.InstanceTypeInfo) []string {
		return words(v.ProcessorInfo.SupportedArchitectures)
	},
	"supported-boot-mode":           func(v *types.InstanceTypeInfo) []string { return words(v.SupportedBootModes) },
	"supported-root-device-type":    func(v *types.InstanceTypeInfo) []string { return words(v.SupportedRootDeviceTypes) },
	"supported-usage-class":         func(v *types.InstanceTypeInfo) []string { return words(v.SupportedUsageClasses) },
	"supported-virtualization-type": func(v *types.InstanceTypeInfo) []string { return words(v.SupportedVirtualizationTypes) },
	"vcpu-info.default-cores":       func(v *types.InstanceTypeInfo) []string { return number(v.VCpuInfo.DefaultCores) },
	"vcpu-info.default-threads-per-core": func(v *types.InstanceTypeInfo) []string {
		return number(v.VCpuInfo.DefaultThreadsPerCore)
	},
	"vcpu-info.default-vcpus": func(v *types.InstanceTypeInfo) []string { return number(v.VCpuInfo.DefaultVCpus) },
}

func words[S ~string](vs []S) []string {
	out := make([]string, len(vs))
	for i, v := range vs {
		out[i] = string(v)
	}
	return out
}

// DescribeInstanceTypes tells the facts of instance types that the region offers.
func (s *Service) DescribeInstanceTypes(_ context.Context, in *sdk.DescribeInstanceTypesInput) (*sdk.DescribeInstanceTypesOutput, error) {
	p, err := newPager(in.NextToken, in.MaxResults, 5, 100)
	if err != nil {
		return nil, err
	}
	// The facts of a type are unpacked only if its name passes.
	byName := map[string]attribute[string]{"instance-type": func(name *string) []string { return []string{*name} }}
	var nameFilters, rest []types.Filter
	for _, f := range in.Filters {
		if aws.ToString(f.Name) == "instance-type" {
			nameFilters = append(nameFilters, f)
		} else {
			rest = append(rest, f)
		}
	}
	names, err := compile(nameFilters, byName, nil)
	if err != nil {
		return nil, err
	}
	filters, err := compile(rest, typeAttributes, nil)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	candidates := catalog.Names()
	if len(in.InstanceTypes) > 0 {
		p.limit = 0
		candidates = nil
		var unknown []string
		for _, t := range in.InstanceTypes {
			if _, ok := catalog.InstanceType(string(t)); !ok || !s.offeredAnywhere(string(t)) {
				unknown = append(unknown, string(t))
			}
			candidates = append(candidates, string(t))
		}
		if len(unknown) > 0 {
			return nil, wire.Errorf("InvalidInstanceType", "The following supplied instance types do not exist: [%s]", strings.Join(unknown, ", "))
		}
		slices.Sort(candidates)
		candidates = slices.Compact(candidates)
	}
	rows := make([]*string, len(candidates))
	for i := range candidates {
		rows[i] = &candidates[i]
	}
	out := &sdk.DescribeInstanceTypesOutput{}
	found := map[string]types.InstanceTypeInfo{}
	taken, next := page(p, rows, func(name *string) string { return *name }, func(name *string) bool {
		if !pass(names, name) || !s.offeredAnywhere(*name) {
			return false
		}
		info, ok := catalog.InstanceType(*name)
		if !ok || !pass(filters, &info) {
			return false
		}
		found[*name] = info
		return true
	})
	for _, name := range taken {
		out.InstanceTypes = append(out.InstanceTypes, found[*name])
	}
	out.NextToken = next
	return out, nil
}

var offeringAttributes = map[string]attribute[types.InstanceTypeOffering]{
	"instance-type": func(v *types.InstanceTypeOffering) []string { return word(v.InstanceType) },
	"location":      func(v *types.InstanceTypeOffering) []string { return one(v.Location) },
}

// DescribeInstanceTypeOfferings tells where instance types are offered.
func (s *Service) DescribeInstanceTypeOfferings(_ context.Context, in *sdk.DescribeInstanceTypeOfferingsInput) (*sdk.DescribeInstanceTypeOfferingsOutput, error) {
	kind := in.LocationType
	if kind == "" {
		kind = types.LocationTypeRegion
	}
	var rows []*types.InstanceTypeOffering
	add := func(name, location string) {
		rows = append(rows, &types.InstanceTypeOffering{InstanceType: types.InstanceType(name), LocationType: kind, Location: aws.String(location)})
	}
	for _, name := range catalog.Names() {
		switch kind {
		case types.LocationTypeRegion:
			if s.offeredAnywhere(name) {
				add(name, s.id.Name())
			}
		case types.LocationTypeAvailabilityZone, types.LocationTypeAvailabilityZoneId:
			for _, zone := range s.id.AZs() {
				if !s.offered(name, zone) {
					continue
				}
				if kind == types.LocationTypeAvailabilityZoneId {
					zone = s.zoneID(zone)
				}
				add(name, zone)
			}
		default:
			return nil, invalidValue("Value (%s) for parameter locationType is not known here.", kind)
		}
	}
	key := func(v *types.InstanceTypeOffering) string { return string(v.InstanceType) + " " + *v.Location }
	slices.SortFunc(rows, func(a, b *types.InstanceTypeOffering) int { return strings.Compare(key(a), key(b)) })
	l := listing[types.InstanceTypeOffering]{rows: func() []*types.InstanceTypeOffering { return rows }, key: key, attributes: offeringAttributes}
	most := in.MaxResults
	if most == nil {
		most = aws.Int32(1000)
	}
	found, next, err := l.describe(nil, in.Filters, in.NextToken, most)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeInstanceTypeOfferingsOutput{InstanceTypeOfferings: found, NextToken: next}, nil
}

// regions are those that every account has.
var regions = []string{
	"ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-southeast-1", "ap-southeast-2", "ca-central-1",
	"eu-central-1", "eu-north-1", "eu-west-1", "eu-west-2", "eu-west-3", "sa-east-1", "us-east-1", "us-east-2", "us-west-1", "us-west-2",
}

// DescribeRegions lists AWS's regions, although only one is here.
func (s *Service) DescribeRegions(_ context.Context, in *sdk.DescribeRegionsInput) (*sdk.DescribeRegionsOutput, error) {
	names := slices.Clone(regions)
	if !slices.Contains(names, s.id.Name()) {
		names = append(names, s.id.Name())
	}
	slices.Sort(names)
	var rows []*types.Region
	for _, name := range names {
		rows = append(rows, &types.Region{RegionName: aws.String(name), Endpoint: aws.String("ec2." + name + ".amazonaws.com"), OptInStatus: aws.String("opt-in-not-required")})
	}
	for _, name := range in.RegionNames {
		if !slices.Contains(names, name) {
			return nil, invalidValue("Invalid region names: [%s]", name)
		}
	}
	filters := in.Filters
	if len(in.RegionNames) > 0 {
		filters = append(slices.Clone(filters), types.Filter{Name: aws.String("region-name"), Values: in.RegionNames})
	}
	l := listing[types.Region]{
		rows: func() []*types.Region { return rows }, key: func(r *types.Region) string { return *r.RegionName },
		attributes: map[string]attribute[types.Region]{
			"region-name":   func(r *types.Region) []string { return one(r.RegionName) },
			"endpoint":      func(r *types.Region) []string { return one(r.Endpoint) },
			"opt-in-status": func(r *types.Region) []string { return one(r.OptInStatus) },
		},
	}
	found, _, err := l.describe(nil, filters, nil, nil)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeRegionsOutput{Regions: found}, nil
}

// DescribeAvailabilityZones lists the region's zones.
func (s *Service) DescribeAvailabilityZones(_ context.Context, in *sdk.DescribeAvailabilityZonesInput) (*sdk.DescribeAvailabilityZonesOutput, error) {
	var rows []*types.AvailabilityZone
	name := s.id.Name()
	for _, zone := range s.id.AZs() {
		rows = append(rows, &types.AvailabilityZone{
			ZoneName: aws.String(zone), ZoneId: aws.String(s.zoneID(zone)), RegionName: aws.String(name), GroupName: aws.String(name),
			NetworkBorderGroup: aws.String(name), State: types.AvailabilityZoneStateAvailable, ZoneType: aws.String("availability-zone"),
			OptInStatus: types.AvailabilityZoneOptInStatusOptInNotRequired,
		})
	}
	filters := slices.Clone(in.Filters)
	for _, zone := range in.ZoneNames {
		if !slices.Contains(s.id.AZs(), zone) {
			return nil, invalidValue("Invalid availability zone: [%s]", zone)
		}
	}
	if len(in.ZoneNames) > 0 {
		filters = append(filters, types.Filter{Name: aws.String("zone-name"), Values: in.ZoneNames})
	}
	if len(in.ZoneIds) > 0 {
		filters = append(filters, types.Filter{Name: aws.String("zone-id"), Values: in.ZoneIds})
	}
	l := listing[types.AvailabilityZone]{
		rows: func() []*types.AvailabilityZone { return rows }, key: func(z *types.AvailabilityZone) string { return *z.ZoneName },
		attributes: map[string]attribute[types.AvailabilityZone]{
			"zone-name":     func(z *types.AvailabilityZone) []string { return one(z.ZoneName) },
			"zone-id":       func(z *types.AvailabilityZone) []string { return one(z.ZoneId) },
			"zone-type":     func(z *types.AvailabilityZone) []string { return one(z.ZoneType) },
			"region-name":   func(z *types.AvailabilityZone) []string { return one(z.RegionName) },
			"group-name":    func(z *types.AvailabilityZone) []string { return one(z.GroupName) },
			"state":         func(z *types.AvailabilityZone) []string { return word(z.State) },
			"opt-in-status": func(z *types.AvailabilityZone) []string { return word(z.OptInStatus) },
		},
	}
	found, _, err := l.describe(nil, filters, nil, nil)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeAvailabilityZonesOutput{AvailabilityZones: found}, nil
}

// DescribeAccountAttributes tells what old clients ask first.
func (s *Service) DescribeAccountAttributes(_ context.Context, in *sdk.DescribeAccountAttributesInput) (*sdk.DescribeAccountAttributesOutput, error) {
	none := "none"
	if v := s.defaultVPC(); v != nil {
		none = *v.Desc.VpcId
	}
	values := map[types.AccountAttributeName]string{
		types.AccountAttributeNameSupportedPlatforms: "VPC",
		types.AccountAttributeNameDefaultVpc:         none,
	}
	out := &sdk.DescribeAccountAttributesOutput{}
	for _, name := range []types.AccountAttributeName{types.AccountAttributeNameSupportedPlatforms, types.AccountAttributeNameDefaultVpc} {
		if len(in.AttributeNames) > 0 && !slices.Contains(in.AttributeNames, name) {
			continue
		}
		out.AccountAttributes = append(out.AccountAttributes, types.AccountAttribute{
			AttributeName: aws.String(string(name)), AttributeValues: []types.AccountAttributeValue{{AttributeValue: aws.String(values[name])}},
		})
	}
	return out, nil
}

// DescribePrefixLists finds none: there are no gateway endpoints.
func (s *Service) DescribePrefixLists(_ context.Context, in *sdk.DescribePrefixListsInput) (*sdk.DescribePrefixListsOutput, error) {
	if len(in.PrefixListIds) > 0 {
		return nil, wire.Errorf("InvalidPrefixListId.NotFound", "The prefix list ID '%s' does not exist", strings.Join(in.PrefixListIds, ", "))
	}
	return &sdk.DescribePrefixListsOutput{}, nil
}

// DescribeManagedPrefixLists finds none.
func (s *Service) DescribeManagedPrefixLists(_ context.Context, in *sdk.DescribeManagedPrefixListsInput) (*sdk.DescribeManagedPrefixListsOutput, error) {
	if len(in.PrefixListIds) > 0 {
		return nil, wire.Errorf("InvalidPrefixListID.NotFound", "The prefix list ID '%s' does not exist", strings.Join(in.PrefixListIds, ", "))
	}
	return &sdk.DescribeManagedPrefixListsOutput{}, nil
}

// DescribeInstanceCreditSpecifications tells the credit option of burstable
// instances, which is EC2's default for their family.
func (s *Service) DescribeInstanceCreditSpecifications(_ context.Context, in *sdk.DescribeInstanceCreditSpecificationsInput) (*sdk.DescribeInstanceCreditSpecificationsOutput, error) {
	rows, err := s.instanceListing().choose(in.InstanceIds)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeInstanceCreditSpecificationsOutput{}
	for _, i := range rows {
		family, _, _ := strings.Cut(string(i.Desc.InstanceType), ".")
		credits := "unlimited"
		switch family {
		case "t2":
			credits = "standard"
		case "t3", "t3a", "t4g":
		default:
			continue
		}
		out.InstanceCreditSpecifications = append(out.InstanceCreditSpecifications, types.InstanceCreditSpecification{
			InstanceId: i.Desc.InstanceId, CpuCredits: aws.String(credits),
		})
	}
	return out, nil
}

// DescribeVpcEndpoints finds none: machines reach AWS's services as if behind
// endpoints, without any.
func (s *Service) DescribeVpcEndpoints(_ context.Context, in *sdk.DescribeVpcEndpointsInput) (*sdk.DescribeVpcEndpointsOutput, error) {
	if len(in.VpcEndpointIds) > 0 {
		return nil, wire.Errorf("InvalidVpcEndpointId.NotFound", "The Vpc Endpoint Id '%s' does not exist", in.VpcEndpointIds[0])
	}
	return &sdk.DescribeVpcEndpointsOutput{}, nil
}

// DescribeNetworkAcls lists the default ACL of each VPC, which lets everything
// pass.
func (s *Service) DescribeNetworkAcls(_ context.Context, in *sdk.DescribeNetworkAclsInput) (*sdk.DescribeNetworkAclsOutput, error) {
	var rows []*types.NetworkAcl
	for _, v := range s.vpcs.all() {
		acl := &types.NetworkAcl{
			NetworkAclId: aws.String("acl-" + strings.TrimPrefix(*v.Desc.VpcId, "vpc-")), VpcId: v.Desc.VpcId,
			OwnerId: v.Desc.OwnerId, IsDefault: aws.Bool(true),
		}
		for _, egress := range []bool{true, false} {
			for _, n := range []int32{100, 32767} {
				action := types.RuleActionAllow
				if n == 32767 {
					action = types.RuleActionDeny
				}
				acl.Entries = append(acl.Entries, types.NetworkAclEntry{
					CidrBlock: aws.String("0.0.0.0/0"), Egress: aws.Bool(egress), Protocol: aws.String("-1"), RuleAction: action, RuleNumber: aws.Int32(n),
				})
			}
		}
		for _, subnet := range s.subnets.all() {
			if *subnet.VpcId == *v.Desc.VpcId {
				acl.Associations = append(acl.Associations, types.NetworkAclAssociation{
					NetworkAclAssociationId: aws.String("aclassoc-" + strings.TrimPrefix(*subnet.SubnetId, "subnet-")),
					NetworkAclId:            acl.NetworkAclId, SubnetId: subnet.SubnetId,
				})
			}
		}
		rows = append(rows, acl)
	}
	l := listing[types.NetworkAcl]{
		noun: noun{"acl", "InvalidNetworkAclID", "The networkAcl ID '%s' does not exist"},
		rows: func() []*types.NetworkAcl { return rows }, key: func(a *types.NetworkAcl) string { return *a.NetworkAclId },
		get: func(id string) *types.NetworkAcl {
			for _, r := range rows {
				if *r.NetworkAclId == id {
					return r
				}
			}
			return nil
		},
		attributes: map[string]attribute[types.NetworkAcl]{
			"network-acl-id": func(a *types.NetworkAcl) []string { return one(a.NetworkAclId) },
			"vpc-id":         func(a *types.NetworkAcl) []string { return one(a.VpcId) },
			"default":        func(a *types.NetworkAcl) []string { return yesNo(a.IsDefault) },
			"association.subnet-id": func(a *types.NetworkAcl) []string {
				var out []string
				for _, x := range a.Associations {
					out = append(out, *x.SubnetId)
				}
				return out
			},
		},
		tags: func(a *types.NetworkAcl) []types.Tag { return a.Tags },
	}
	found, next, err := l.describe(in.NetworkAclIds, in.Filters, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeNetworkAclsOutput{NetworkAcls: found, NextToken: next}, nil
}
