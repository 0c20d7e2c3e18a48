package live

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/facts"
)

// InstanceTypes implements facts.Source: those not known yet in one call, and one
// by one only if EC2 rejects the call for a type that it does not know.
func (s *Source) InstanceTypes(ctx context.Context, names []string) (map[string]facts.InstanceType, error) {
	out := map[string]facts.InstanceType{}
	var missing []string
	for _, n := range slices.Compact(slices.Sorted(slices.Values(names))) {
		s.types.mu.Lock()
		e, ok := s.types.known[n]
		s.types.mu.Unlock()
		if ok {
			<-e.done
			if e.err == nil && e.value.Name != "" {
				out[n] = e.value
			}
			continue
		}
		missing = append(missing, n)
	}
	if len(missing) == 0 {
		return out, nil
	}
	found, err := once(ctx, s, "types "+strings.Join(missing, " "), func() (map[string]facts.InstanceType, error) {
		return s.describeTypes(ctx, missing)
	})
	if err != nil {
		return nil, err
	}
	for _, n := range missing {
		s.types.get(ctx, n, func() (facts.InstanceType, error) { return found[n], nil })
	}
	maps.Copy(out, found)
	return out, nil
}

func (s *Source) describeTypes(ctx context.Context, names []string) (map[string]facts.InstanceType, error) {
	found := map[string]facts.InstanceType{}
	for chunk := range slices.Chunk(names, 100) {
		in := &ec2.DescribeInstanceTypesInput{}
		for _, n := range chunk {
			in.InstanceTypes = append(in.InstanceTypes, types.InstanceType(n))
		}
		answer, err := s.ec2.DescribeInstanceTypes(ctx, in)
		if err = translate(err); facts.Code(err) == "InvalidInstanceType" {
			if len(chunk) == 1 {
				continue
			}
			for _, n := range chunk {
				one, err := s.describeTypes(ctx, []string{n})
				if err != nil {
					return nil, err
				}
				maps.Copy(found, one)
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, t := range answer.InstanceTypes {
			found[string(t.InstanceType)] = InstanceType(t)
		}
	}
	return found, nil
}

// InstanceType returns what we keep of EC2's description.
func InstanceType(t types.InstanceTypeInfo) facts.InstanceType {
	out := facts.InstanceType{
		Name: string(t.InstanceType), BareMetal: aws.ToBool(t.BareMetal), Hypervisor: string(t.Hypervisor),
	}
	for _, u := range t.SupportedUsageClasses {
		out.SupportedUsageClasses = append(out.SupportedUsageClasses, string(u))
	}
	if p := t.ProcessorInfo; p != nil {
		for _, a := range p.SupportedArchitectures {
			out.ProcessorInfo.SupportedArchitectures = append(out.ProcessorInfo.SupportedArchitectures, string(a))
		}
	}
	if v := t.VCpuInfo; v != nil {
		out.VCpuInfo = facts.VCpuInfo{DefaultVCpus: num(v.DefaultVCpus), DefaultCores: num(v.DefaultCores), DefaultThreadsPerCore: num(v.DefaultThreadsPerCore)}
	}
	if m := t.MemoryInfo; m != nil {
		out.MemoryInfo.SizeInMiB = int(aws.ToInt64(m.SizeInMiB))
	}
	if n := t.NetworkInfo; n != nil {
		out.NetworkInfo = facts.NetworkInfo{MaximumNetworkCards: num(n.MaximumNetworkCards), EfaSupported: aws.ToBool(n.EfaSupported)}
		if n.EfaInfo != nil {
			out.NetworkInfo.EfaInfo = &facts.EfaInfo{MaximumEfaInterfaces: num(n.EfaInfo.MaximumEfaInterfaces)}
		}
		for _, c := range n.NetworkCards {
			out.NetworkInfo.NetworkCards = append(out.NetworkInfo.NetworkCards, facts.NetworkCard{
				NetworkCardIndex: num(c.NetworkCardIndex), MaximumNetworkInterfaces: num(c.MaximumNetworkInterfaces)})
		}
	}
	if e := t.EbsInfo; e != nil {
		out.EbsInfo = facts.EbsInfo{EbsOptimizedSupport: string(e.EbsOptimizedSupport), NvmeSupport: string(e.NvmeSupport)}
	}
	if p := t.PlacementGroupInfo; p != nil {
		for _, st := range p.SupportedStrategies {
			out.PlacementGroupInfo.SupportedStrategies = append(out.PlacementGroupInfo.SupportedStrategies, string(st))
		}
	}
	if i := t.InstanceStorageInfo; i != nil {
		out.InstanceStorageInfo = &facts.InstanceStorageInfo{TotalSizeInGB: int(aws.ToInt64(i.TotalSizeInGB)), NvmeSupport: string(i.NvmeSupport)}
	}
	if g := t.GpuInfo; g != nil {
		out.GpuInfo = &facts.GpuInfo{}
		for _, d := range g.Gpus {
			out.GpuInfo.Gpus = append(out.GpuInfo.Gpus, facts.Accelerator{Name: aws.ToString(d.Name), Manufacturer: aws.ToString(d.Manufacturer), Count: num(d.Count)})
		}
	}
	if a := t.InferenceAcceleratorInfo; a != nil {
		out.Inference = &facts.InferenceAcceleratorInfo{}
		for _, d := range a.Accelerators {
			out.Inference.Accelerators = append(out.Inference.Accelerators, facts.Accelerator{Name: aws.ToString(d.Name), Manufacturer: aws.ToString(d.Manufacturer), Count: num(d.Count)})
		}
	}
	return out
}

func num(p *int32) int { return int(aws.ToInt32(p)) }

// Offered implements facts.Source.
func (s *Source) Offered(ctx context.Context) (map[string]bool, error) {
	return once(ctx, s, "offered", func() (map[string]bool, error) {
		out := map[string]bool{}
		pages := ec2.NewDescribeInstanceTypeOfferingsPaginator(s.ec2, &ec2.DescribeInstanceTypeOfferingsInput{LocationType: types.LocationTypeRegion})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, o := range page.InstanceTypeOfferings {
				out[string(o.InstanceType)] = true
			}
		}
		return out, nil
	})
}

// Zones implements facts.Source.
func (s *Source) Zones(ctx context.Context, instanceType string) ([]string, error) {
	return once(ctx, s, "zones "+instanceType, func() ([]string, error) {
		answer, err := s.ec2.DescribeInstanceTypeOfferings(ctx, &ec2.DescribeInstanceTypeOfferingsInput{
			LocationType: types.LocationTypeAvailabilityZone,
			Filters:      []types.Filter{{Name: aws.String("instance-type"), Values: []string{instanceType}}},
		})
		if err != nil {
			return nil, err
		}
		var zones []string
		for _, o := range answer.InstanceTypeOfferings {
			zones = append(zones, aws.ToString(o.Location))
		}
		slices.Sort(zones)
		return zones, nil
	})
}

// Subnet implements facts.Source.
func (s *Source) Subnet(ctx context.Context, id string) (facts.Subnet, error) {
	return once(ctx, s, "subnet "+id, func() (facts.Subnet, error) {
		answer, err := s.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{id}})
		if err != nil {
			return facts.Subnet{}, err
		}
		if len(answer.Subnets) == 0 {
			return facts.Subnet{}, noSubnet(id)
		}
		return subnet(answer.Subnets[0]), nil
	})
}

func noSubnet(id string) error {
	return none("InvalidSubnetID.NotFound", "The subnet ID '"+id+"' does not exist")
}

func subnet(n types.Subnet) facts.Subnet {
	return facts.Subnet{ID: aws.ToString(n.SubnetId), AZ: aws.ToString(n.AvailabilityZone), VPC: aws.ToString(n.VpcId), CIDR: aws.ToString(n.CidrBlock), PublicIP: aws.ToBool(n.MapPublicIpOnLaunch)}
}

// VPC implements facts.Source.
func (s *Source) VPC(ctx context.Context, id string) (facts.VPC, error) {
	return once(ctx, s, "vpc "+id, func() (facts.VPC, error) {
		var v facts.VPC
		support, err := s.ec2.DescribeVpcAttribute(ctx, &ec2.DescribeVpcAttributeInput{VpcId: &id, Attribute: types.VpcAttributeNameEnableDnsSupport})
		if err != nil {
			return v, err
		}
		names, err := s.ec2.DescribeVpcAttribute(ctx, &ec2.DescribeVpcAttributeInput{VpcId: &id, Attribute: types.VpcAttributeNameEnableDnsHostnames})
		if err != nil {
			return v, err
		}
		v.DNSSupport = support.EnableDnsSupport != nil && aws.ToBool(support.EnableDnsSupport.Value)
		v.DNSHostnames = names.EnableDnsHostnames != nil && aws.ToBool(names.EnableDnsHostnames.Value)
		return v, nil
	})
}

// SecurityGroup implements facts.Source.
func (s *Source) SecurityGroup(ctx context.Context, id string) (facts.SecurityGroup, error) {
	return once(ctx, s, "group "+id, func() (facts.SecurityGroup, error) {
		answer, err := s.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{id}})
		if err != nil {
			return facts.SecurityGroup{}, err
		}
		if len(answer.SecurityGroups) == 0 {
			return facts.SecurityGroup{}, noGroup(id)
		}
		return group(answer.SecurityGroups[0]), nil
	})
}

func noGroup(id string) error {
	return none("InvalidGroup.NotFound", "The security group '"+id+"' does not exist")
}

func group(g types.SecurityGroup) facts.SecurityGroup {
	return facts.SecurityGroup{ID: aws.ToString(g.GroupId), VPC: aws.ToString(g.VpcId), Ingress: rules(g.IpPermissions), Egress: rules(g.IpPermissionsEgress)}
}

func rules(permissions []types.IpPermission) []facts.Rule {
	var out []facts.Rule
	for _, p := range permissions {
		r := facts.Rule{Protocol: aws.ToString(p.IpProtocol), From: num(p.FromPort), To: num(p.ToPort)}
		for _, c := range p.IpRanges {
			r.CIDRs = append(r.CIDRs, aws.ToString(c.CidrIp))
		}
		for _, g := range p.UserIdGroupPairs {
			r.Groups = append(r.Groups, aws.ToString(g.GroupId))
		}
		for _, l := range p.PrefixListIds {
			r.PrefixLists = append(r.PrefixLists, aws.ToString(l.PrefixListId))
		}
		out = append(out, r)
	}
	return out
}

// InternetFacing implements facts.Source: a subnet without a route table of its
// own has the main one of its VPC.
func (s *Source) InternetFacing(ctx context.Context, subnetID string) (bool, error) {
	subnet, err := s.Subnet(ctx, subnetID)
	if err != nil {
		return false, err
	}
	return once(ctx, s, "internet "+subnetID, func() (bool, error) {
		find := func(name, value string) ([]types.RouteTable, error) {
			answer, err := s.ec2.DescribeRouteTables(ctx, &ec2.DescribeRouteTablesInput{Filters: []types.Filter{{Name: &name, Values: []string{value}}}})
			if err != nil {
				return nil, err
			}
			return answer.RouteTables, nil
		}
		tables, err := find("association.subnet-id", subnetID)
		if err == nil && len(tables) == 0 {
			tables, err = find("vpc-id", subnet.VPC)
			tables = slices.DeleteFunc(tables, func(t types.RouteTable) bool {
				return !slices.ContainsFunc(t.Associations, func(a types.RouteTableAssociation) bool { return aws.ToBool(a.Main) })
			})
		}
		if err != nil {
			return false, err
		}
		for _, t := range tables {
			for _, r := range t.Routes {
				if strings.HasPrefix(aws.ToString(r.GatewayId), "igw-") {
					return true, nil
				}
			}
		}
		return false, nil
	})
}

// Address implements facts.Source.
func (s *Source) Address(ctx context.Context, publicIP string) (facts.Address, error) {
	return once(ctx, s, "address "+publicIP, func() (facts.Address, error) {
		answer, err := s.ec2.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{PublicIps: []string{publicIP}})
		if err != nil {
			return facts.Address{}, err
		}
		if len(answer.Addresses) == 0 {
			return facts.Address{}, none("InvalidAddress.NotFound", "Address '"+publicIP+"' not found")
		}
		return facts.Address{PublicIP: publicIP, AllocationID: aws.ToString(answer.Addresses[0].AllocationId)}, nil
	})
}

// KeyPair implements facts.Source.
func (s *Source) KeyPair(ctx context.Context, name string) (facts.KeyPair, error) {
	return once(ctx, s, "key "+name, func() (facts.KeyPair, error) {
		answer, err := s.ec2.DescribeKeyPairs(ctx, &ec2.DescribeKeyPairsInput{KeyNames: []string{name}})
		if err != nil {
			return facts.KeyPair{}, err
		}
		if len(answer.KeyPairs) == 0 {
			return facts.KeyPair{}, none("InvalidKeyPair.NotFound", "The key pair '"+name+"' does not exist")
		}
		return facts.KeyPair{Name: name, Type: string(answer.KeyPairs[0].KeyType)}, nil
	})
}

// Image implements facts.Source.
func (s *Source) Image(ctx context.Context, id string) (facts.Image, error) {
	return once(ctx, s, "image "+id, func() (facts.Image, error) {
		answer, err := s.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{ImageIds: []string{id}, IncludeDeprecated: aws.Bool(true)})
		if err != nil {
			return facts.Image{}, err
		}
		if len(answer.Images) == 0 {
			return facts.Image{}, noImage(id)
		}
		return image(answer.Images[0]), nil
	})
}

func noImage(id string) error {
	return none("InvalidAMIID.NotFound", "The image id '["+id+"]' does not exist")
}

func image(i types.Image) facts.Image {
	out := facts.Image{
		ID: aws.ToString(i.ImageId), Name: aws.ToString(i.Name), Description: aws.ToString(i.Description),
		Architecture: string(i.Architecture), RootDevice: aws.ToString(i.RootDeviceName), Tags: map[string]string{},
	}
	if len(i.BlockDeviceMappings) > 0 {
		first := i.BlockDeviceMappings[0]
		out.RootDevice = aws.ToString(first.DeviceName)
		if first.Ebs != nil {
			out.RootSize = num(first.Ebs.VolumeSize)
		}
	}
	for _, t := range i.Tags {
		out.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return out
}

// OfficialImage implements facts.Source. Images of any patch of our release will do.
func (s *Source) OfficialImage(ctx context.Context, q facts.ImageQuery) (facts.Image, error) {
	part, ok := facts.OfficialNames[q.OS]
	if !ok {
		return facts.Image{}, none("NoOfficialImage", "there are no official AMIs for "+q.OS+"; give Image.CustomAmi")
	}
	if q.Owner == "" {
		q.Owner = "amazon"
	}
	release := facts.Release()
	filters := []types.Filter{{Name: aws.String("name"), Values: []string{"aws-parallelcluster-" + release + ".*-" + part + "-" + q.Architecture + "*"}}}
	name := "official " + q.OS + " " + q.Architecture + " " + q.Owner
	for _, k := range slices.Sorted(maps.Keys(q.Tags)) {
		filters = append(filters, types.Filter{Name: aws.String("tag:" + k), Values: []string{q.Tags[k]}})
		name += " " + k + "=" + q.Tags[k]
	}
	return once(ctx, s, name, func() (facts.Image, error) {
		answer, err := s.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{q.Owner}, Filters: filters, IncludeDeprecated: aws.Bool(true)})
		if err != nil {
			return facts.Image{}, err
		}
		if len(answer.Images) == 0 {
			return facts.Image{}, none("NoOfficialImage", "there is no official AMI of release "+release+" for "+q.OS+" on "+q.Architecture+"; give Image.CustomAmi")
		}
		newest := slices.MaxFunc(answer.Images, func(a, b types.Image) int {
			if old, older := aws.ToString(a.DeprecationTime) != "", aws.ToString(b.DeprecationTime) != ""; old != older {
				if old {
					return -1
				}
				return 1
			}
			return strings.Compare(aws.ToString(a.CreationDate), aws.ToString(b.CreationDate))
		})
		return image(newest), nil
	})
}

// PlacementGroup implements facts.Source.
func (s *Source) PlacementGroup(ctx context.Context, name string) (facts.PlacementGroup, error) {
	return once(ctx, s, "placement "+name, func() (facts.PlacementGroup, error) {
		answer, err := s.ec2.DescribePlacementGroups(ctx, &ec2.DescribePlacementGroupsInput{GroupNames: []string{name}})
		if err != nil {
			return facts.PlacementGroup{}, err
		}
		if len(answer.PlacementGroups) == 0 {
			return facts.PlacementGroup{}, none("InvalidPlacementGroup.Unknown", "The Placement Group '"+name+"' is unknown.")
		}
		return facts.PlacementGroup{Name: name, Strategy: string(answer.PlacementGroups[0].Strategy)}, nil
	})
}

// LaunchTemplate implements facts.Source.
func (s *Source) LaunchTemplate(ctx context.Context, id string, version int) (facts.LaunchTemplate, error) {
	number := strconv.Itoa(version)
	return once(ctx, s, "launch template "+id+"/"+number, func() (facts.LaunchTemplate, error) {
		answer, err := s.ec2.DescribeLaunchTemplateVersions(ctx, &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: &id, Versions: []string{number}})
		if err != nil {
			return facts.LaunchTemplate{}, err
		}
		if len(answer.LaunchTemplateVersions) == 0 || answer.LaunchTemplateVersions[0].LaunchTemplateData == nil {
			return facts.LaunchTemplate{}, none("InvalidLaunchTemplateId.VersionNotFound", "Launch template "+id+" has no version "+number)
		}
		return launchTemplate(answer.LaunchTemplateVersions[0].LaunchTemplateData), nil
	})
}

func launchTemplate(d *types.ResponseLaunchTemplateData) (out facts.LaunchTemplate) {
	for _, n := range d.NetworkInterfaces {
		out.Interfaces = append(out.Interfaces, facts.TemplateInterface{
			DeviceIndex: num(n.DeviceIndex), NetworkCardIndex: num(n.NetworkCardIndex), InterfaceType: aws.ToString(n.InterfaceType),
			Subnet: aws.ToString(n.SubnetId), Groups: n.Groups, PublicIP: n.AssociatePublicIpAddress,
		})
	}
	v := reflect.ValueOf(*d)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; v.Type().Field(i).IsExported() && name != "NetworkInterfaces" && !v.Field(i).IsZero() {
			out.Others = append(out.Others, name)
		}
	}
	return out
}

// Reservation implements facts.Source.
func (s *Source) Reservation(ctx context.Context, id string) (facts.Reservation, error) {
	return once(ctx, s, "reservation "+id, func() (facts.Reservation, error) {
		answer, err := s.ec2.DescribeCapacityReservations(ctx, &ec2.DescribeCapacityReservationsInput{CapacityReservationIds: []string{id}})
		if err != nil {
			return facts.Reservation{}, err
		}
		if len(answer.CapacityReservations) == 0 {
			return facts.Reservation{}, none("InvalidCapacityReservationId.NotFound", "The capacity reservation '"+id+"' does not exist")
		}
		return reservation(answer.CapacityReservations[0]), nil
	})
}

// Tags of reservations that say what the fields of older ones do not.
const (
	reservationType      = "aws:ec2capacityreservation:capacityReservationType"
	reservationRequested = "aws:ec2capacityreservation:incrementalRequestedQuantity"
)

func reservation(r types.CapacityReservation) facts.Reservation {
	out := facts.Reservation{
		ID: aws.ToString(r.CapacityReservationId), ARN: aws.ToString(r.CapacityReservationArn), InstanceType: aws.ToString(r.InstanceType),
		AZ: aws.ToString(r.AvailabilityZone), Total: num(r.TotalInstanceCount), Type: string(r.ReservationType), PlacementGroup: aws.ToString(r.PlacementGroupArn),
	}
	for _, t := range r.Tags {
		switch aws.ToString(t.Key) {
		case reservationType:
			if out.Type == "" {
				out.Type = aws.ToString(t.Value)
			}
		case reservationRequested:
			out.Requested, _ = strconv.Atoi(aws.ToString(t.Value)) // not a number: none
		}
	}
	return out
}

// Volume implements facts.Source.
func (s *Source) Volume(ctx context.Context, id string) (facts.Volume, error) {
	return once(ctx, s, "volume "+id, func() (facts.Volume, error) {
		answer, err := s.ec2.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{VolumeIds: []string{id}})
		if err != nil {
			return facts.Volume{}, err
		}
		if len(answer.Volumes) == 0 {
			return facts.Volume{}, noVolume(id)
		}
		return volume(answer.Volumes[0]), nil
	})
}

func noVolume(id string) error {
	return none("InvalidVolume.NotFound", "The volume '"+id+"' does not exist.")
}

func volume(v types.Volume) facts.Volume {
	out := facts.Volume{ID: aws.ToString(v.VolumeId), AZ: aws.ToString(v.AvailabilityZone), State: string(v.State)}
	for _, a := range v.Attachments {
		out.AttachedTo = append(out.AttachedTo, aws.ToString(a.InstanceId))
	}
	return out
}

// VolumeSnapshot implements facts.Source.
func (s *Source) VolumeSnapshot(ctx context.Context, id string) (facts.VolumeSnapshot, error) {
	return once(ctx, s, "snapshot "+id, func() (facts.VolumeSnapshot, error) {
		answer, err := s.ec2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{SnapshotIds: []string{id}})
		if err != nil {
			return facts.VolumeSnapshot{}, err
		}
		if len(answer.Snapshots) == 0 {
			return facts.VolumeSnapshot{}, noSnapshot(id)
		}
		return snapshot(answer.Snapshots[0]), nil
	})
}

func noSnapshot(id string) error {
	return none("InvalidSnapshot.NotFound", "The snapshot '"+id+"' does not exist.")
}

func snapshot(v types.Snapshot) facts.VolumeSnapshot {
	return facts.VolumeSnapshot{ID: aws.ToString(v.SnapshotId), Size: num(v.VolumeSize), State: string(v.State)}
}

// NetworkInterface implements facts.Source.
func (s *Source) NetworkInterface(ctx context.Context, id string) (facts.NetworkInterface, error) {
	return once(ctx, s, "interface "+id, func() (facts.NetworkInterface, error) {
		answer, err := s.ec2.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{id}})
		if err != nil {
			return facts.NetworkInterface{}, err
		}
		if len(answer.NetworkInterfaces) == 0 {
			return facts.NetworkInterface{}, none("InvalidNetworkInterfaceID.NotFound", "The network interface '"+id+"' does not exist")
		}
		n := answer.NetworkInterfaces[0]
		out := facts.NetworkInterface{ID: id, VPC: aws.ToString(n.VpcId)}
		for _, g := range n.Groups {
			out.Groups = append(out.Groups, aws.ToString(g.GroupId))
		}
		return out, nil
	})
}

// TrialLaunch implements facts.Source with the dry run of RunInstances.
func (s *Source) TrialLaunch(ctx context.Context, l facts.Launch) error {
	_, err := s.ec2.RunInstances(ctx, trial(l))
	if err = translate(err); facts.Code(err) == "DryRunOperation" {
		return nil
	}
	return err
}

func trial(l facts.Launch) *ec2.RunInstancesInput {
	one := aws.Int32(1)
	in := &ec2.RunInstancesInput{
		DryRun: aws.Bool(true), MinCount: one, MaxCount: one,
		ImageId: &l.Image, InstanceType: types.InstanceType(l.InstanceType),
	}
	for i := range max(1, l.Interfaces) {
		n := types.InstanceNetworkInterfaceSpecification{
			DeviceIndex: aws.Int32(0), NetworkCardIndex: aws.Int32(int32(i)), Groups: l.Groups, SubnetId: &l.Subnet,
		}
		if i > 0 {
			n.DeviceIndex = aws.Int32(1)
		}
		if l.EFA {
			n.InterfaceType = aws.String("efa")
		}
		if i == 0 && l.PublicIP != nil {
			n.AssociatePublicIpAddress = l.PublicIP
		}
		in.NetworkInterfaces = append(in.NetworkInterfaces, n)
	}
	if l.KeyName != "" {
		in.KeyName = &l.KeyName
	}
	if l.RequireIMDSv2 {
		in.MetadataOptions = &types.InstanceMetadataOptionsRequest{HttpTokens: types.HttpTokensStateRequired}
	}
	if l.PlacementGroup != "" {
		in.Placement = &types.Placement{GroupName: &l.PlacementGroup}
	}
	switch {
	case l.Spot:
		in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot, SpotOptions: &types.SpotMarketOptions{
			SpotInstanceType: types.SpotInstanceTypeOneTime, InstanceInterruptionBehavior: types.InstanceInterruptionBehaviorTerminate}}
	case l.CapacityBlock:
		in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeCapacityBlock}
	}
	if l.Reservation != "" || l.ReservationGroup != "" {
		target := &types.CapacityReservationTarget{}
		if l.Reservation != "" {
			target.CapacityReservationId = &l.Reservation
		} else {
			target.CapacityReservationResourceGroupArn = &l.ReservationGroup
		}
		in.CapacityReservationSpecification = &types.CapacityReservationSpecification{CapacityReservationTarget: target}
	}
	if l.RootDevice != "" {
		disk := &types.EbsBlockDevice{Encrypted: &l.RootEncrypted, VolumeType: types.VolumeType(l.RootType), DeleteOnTermination: aws.Bool(true)}
		for field, v := range map[**int32]int{&disk.VolumeSize: l.RootSize, &disk.Iops: l.RootIops, &disk.Throughput: l.RootThroughput} {
			if v > 0 {
				*field = aws.Int32(int32(v))
			}
		}
		in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: &l.RootDevice, Ebs: disk}}
	}
	if len(l.Tags) > 0 {
		spec := types.TagSpecification{ResourceType: types.ResourceTypeInstance}
		for _, k := range slices.Sorted(maps.Keys(l.Tags)) {
			spec.Tags = append(spec.Tags, types.Tag{Key: aws.String(k), Value: aws.String(l.Tags[k])})
		}
		in.TagSpecifications = []types.TagSpecification{spec}
	}
	return in
}
