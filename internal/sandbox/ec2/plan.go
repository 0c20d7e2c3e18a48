package ec2

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/facts/catalog"
	"pcluster/internal/sandbox/wire"
)

// An order asks for instances that are all alike.
type order struct {
	data types.RequestLaunchTemplateData // template and request merged

	// Members of the request that templates lack.
	subnetID    string
	privateIP   string
	clientToken *string

	template *templateVersion // nil without one
	fleetID  string           // of the fleet that orders
}

// orderOf merges a request with its launch template.
func (s *Service) orderOf(in *sdk.RunInstancesInput) (order, error) {
	o := order{
		subnetID:    aws.ToString(in.SubnetId),
		privateIP:   aws.ToString(in.PrivateIpAddress),
		clientToken: in.ClientToken,
	}
	if err := convert(in, &o.data); err != nil {
		return o, err
	}
	if t := in.LaunchTemplate; t != nil {
		v, err := s.findTemplate(t.LaunchTemplateId, t.LaunchTemplateName)
		if err != nil {
			return o, err
		}
		if o.template, err = v.version(t.Version); err != nil {
			return o, err
		}
		o.data = forLaunch(o.template.Data, o.data)
	}
	if len(o.data.NetworkInterfaces) > 0 && o.subnetID != "" {
		return o, invalidCombination("Network interfaces and an instance-level subnet ID may not be specified on the same request")
	}
	return o, nil
}

// A plan is an order that was found to be possible, with everything looked up.
type plan struct {
	order
	info     types.InstanceTypeInfo
	image    *image
	az       string
	nics     []nic
	devices  []device
	metadata types.InstanceMetadataOptionsResponse
	profile  *types.IamInstanceProfile
	role     string // of the profile
	roleARN  string
	vcpus    int32
	cpu      types.CpuOptions
	spot     bool
	claim    claim
	over     []string // layers above the image's

	instanceTags, volumeTags, eniTags []types.Tag
}

// A nic is an interface that each instance shall have.
type nic struct {
	eni         *types.NetworkInterface // an existing one
	subnet      *types.Subnet
	card, index int32
	groups      []types.GroupIdentifier
	addr        netip.Addr
	secondary   int
	public      bool
	deleteWith  bool
	description string
	kind        types.NetworkInterfaceType
}

// A device is a volume that each instance shall have.
type device struct {
	name       string
	spec       volumeSpec
	root       bool
	deleteWith bool
}

// plan checks an order against what there is, in EC2's words where it fails. It
// changes nothing and needs no lock: launch checks again what may run out.
func (s *Service) plan(ctx context.Context, o order) (*plan, error) {
	p := &plan{order: o}
	d := &p.data
	if aws.ToString(d.ImageId) == "" {
		return nil, missing("ImageId")
	}
	var err error
	if p.image, err = find(s.images, nounImage, *d.ImageId); err != nil {
		return nil, err
	}
	if state := p.image.Desc.State; state != types.ImageStateAvailable {
		return nil, wire.Errorf("InvalidAMIID.Unavailable", "The image ID '%s' is in state '%s', not available.", *d.ImageId, state)
	}
	if d.InstanceType == "" {
		d.InstanceType = types.InstanceTypeM1Small // EC2's default, too
	}
	var ok bool
	if p.info, ok = catalog.InstanceType(string(d.InstanceType)); !ok {
		return nil, invalidValue("Invalid value '%s' for InstanceType.", d.InstanceType)
	}
	for _, step := range []func(context.Context) error{
		p.planHardware, s.planned(p).interfaces, s.planned(p).placement, s.planned(p).blockDevices,
		s.planned(p).identity, s.planned(p).market, s.planned(p).claims, s.planned(p).tags,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	p.metadata = metadataOptions(d.MetadataOptions, p.image)
	return p, nil
}

// planning is a plan in the making, with the tables at hand.
type planning struct {
	*Service
	*plan
}

func (s *Service) planned(p *plan) planning { return planning{s, p} }

func (p *plan) planHardware(context.Context) error {
	arch := p.image.Desc.Architecture
	known := p.info.ProcessorInfo.SupportedArchitectures
	if !slices.Contains(known, types.ArchitectureType(arch)) {
		return invalidValue("The architecture '%s' of the specified instance type does not match the architecture '%s' of the specified AMI. "+
			"Specify an instance type and an AMI that have matching architectures, and try again. "+
			"You can use 'describe-instance-types' or 'describe-images' to discover the architecture of the instance type or AMI.", known[len(known)-1], arch)
	}
	v := p.info.VCpuInfo
	p.vcpus = *v.DefaultVCpus
	p.cpu = types.CpuOptions{CoreCount: v.DefaultCores, ThreadsPerCore: v.DefaultThreadsPerCore}
	if o := p.data.CpuOptions; o != nil && (o.CoreCount != nil || o.ThreadsPerCore != nil) {
		if o.CoreCount == nil || o.ThreadsPerCore == nil {
			return missing("CpuOptions.CoreCount and CpuOptions.ThreadsPerCore")
		}
		if !slices.Contains(v.ValidCores, *o.CoreCount) && *o.CoreCount != *v.DefaultCores ||
			!slices.Contains(v.ValidThreadsPerCore, *o.ThreadsPerCore) && *o.ThreadsPerCore != *v.DefaultThreadsPerCore {
			return invalidCombination("The specified CPU options are not supported for %s: %d cores with %d threads each.",
				p.data.InstanceType, *o.CoreCount, *o.ThreadsPerCore)
		}
		p.vcpus = *o.CoreCount * *o.ThreadsPerCore
		p.cpu = types.CpuOptions{CoreCount: o.CoreCount, ThreadsPerCore: o.ThreadsPerCore}
	}
	if aws.ToBool(p.data.EbsOptimized) && p.info.EbsInfo.EbsOptimizedSupport == types.EbsOptimizedSupportUnsupported {
		return wire.Errorf("Unsupported", "The requested configuration is currently not supported. Please check the documentation for supported configurations.")
	}
	return nil
}

func (p planning) interfaces(context.Context) error {
	d := &p.data
	specs := d.NetworkInterfaces
	if len(specs) == 0 {
		spec := types.LaunchTemplateInstanceNetworkInterfaceSpecificationRequest{
			DeviceIndex: aws.Int32(0), Groups: d.SecurityGroupIds, DeleteOnTermination: aws.Bool(true),
		}
		if p.privateIP != "" {
			spec.PrivateIpAddress = aws.String(p.privateIP)
		}
		specs = []types.LaunchTemplateInstanceNetworkInterfaceSpecificationRequest{spec}
	} else if len(d.SecurityGroupIds)+len(d.SecurityGroups) > 0 {
		return invalidCombination("Network interfaces and an instance-level security groups may not be specified on the same request")
	}
	for _, spec := range specs {
		n, err := p.nic(spec, len(specs))
		if err != nil {
			return err
		}
		p.nics = append(p.nics, n)
	}
	slices.SortStableFunc(p.nics, func(a, b nic) int { return 64*int(a.card-b.card) + int(a.index-b.index) })
	if p.nics[0].card != 0 || p.nics[0].index != 0 {
		return invalidCombination("The primary network interface, at device index 0 of network card 0, is missing.")
	}
	return p.checkNICs()
}

func (p planning) nic(spec types.LaunchTemplateInstanceNetworkInterfaceSpecificationRequest, of int) (nic, error) {
	n := nic{
		card: aws.ToInt32(spec.NetworkCardIndex), index: aws.ToInt32(spec.DeviceIndex),
		description: aws.ToString(spec.Description),
		kind:        types.NetworkInterfaceType(aws.ToString(spec.InterfaceType)),
	}
	if spec.DeviceIndex == nil {
		return n, missing("NetworkInterfaces.DeviceIndex: each network interface requires a device index")
	}
	var err error
	if spec.NetworkInterfaceId != nil {
		if n.eni, err = find(p.enis, nounENI, *spec.NetworkInterfaceId); err != nil {
			return n, err
		}
		if n.eni.Attachment != nil {
			return n, wire.Errorf("InvalidNetworkInterface.InUse", "Interface: %s in use.", *spec.NetworkInterfaceId)
		}
		n.subnet, n.groups = p.subnets.get(*n.eni.SubnetId), n.eni.Groups
		n.deleteWith = aws.ToBool(spec.DeleteOnTermination)
		return n, nil
	}
	if n.secondary, err = secondaryCount(spec.SecondaryPrivateIpAddressCount); err != nil {
		return n, err
	}
	n.deleteWith = spec.DeleteOnTermination == nil || *spec.DeleteOnTermination
	if n.subnet, err = p.subnetFor(aws.ToString(spec.SubnetId)); err != nil {
		return n, err
	}
	groups := spec.Groups
	for _, name := range p.data.SecurityGroups {
		g := p.groupNamed(name, *n.subnet.VpcId)
		if g == nil {
			return n, wire.Errorf("InvalidGroup.NotFound", "The security group '%s' does not exist in VPC '%s'", name, *n.subnet.VpcId)
		}
		groups = append(slices.Clone(groups), g.ID)
	}
	if n.groups, err = p.groupsFor(*n.subnet.VpcId, groups); err != nil {
		return n, err
	}
	address := aws.ToString(spec.PrivateIpAddress)
	for _, a := range spec.PrivateIpAddresses {
		if aws.ToBool(a.Primary) {
			address = aws.ToString(a.PrivateIpAddress)
		}
	}
	if address != "" {
		if n.addr, err = netip.ParseAddr(address); err != nil {
			return n, invalidValue("invalid value for parameter address: [%s]", address)
		}
		if err := p.checkFree(n.subnet, n.addr); err != nil {
			return n, err
		}
	}
	switch {
	case spec.AssociatePublicIpAddress != nil && *spec.AssociatePublicIpAddress:
		if of > 1 {
			return n, invalidCombination("The associatePublicIPAddress parameter cannot be specified when launching with multiple network interfaces.")
		}
		n.public = true
	case spec.AssociatePublicIpAddress == nil && of == 1:
		n.public = aws.ToBool(n.subnet.MapPublicIpOnLaunch)
	}
	return n, nil
}

// subnetFor returns the interface's own subnet, or else the instance's, or else
// the default one of the zone.
func (p planning) subnetFor(id string) (*types.Subnet, error) {
	if p.subnetID != "" {
		id = p.subnetID
	}
	if id != "" {
		return find(p.subnets, nounSubnet, id)
	}
	v := p.defaultVPC()
	if v == nil {
		return nil, wire.Errorf("VPCIdNotSpecified", "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.")
	}
	zone := ""
	if place := p.data.Placement; place != nil {
		zone = aws.ToString(place.AvailabilityZone)
	}
	for _, subnet := range p.subnets.all() {
		if *subnet.VpcId == *v.Desc.VpcId && aws.ToBool(subnet.DefaultForAz) && (zone == "" || zone == *subnet.AvailabilityZone) {
			return subnet, nil
		}
	}
	return nil, wire.Errorf("MissingInput", "No default subnet for availability zone: '%s'.", zone)
}

func (p planning) checkNICs() error {
	type slot struct{ card, index int32 }
	seen := map[slot]bool{}
	perCard := map[int32]int32{}
	efas := int32(0)
	name := p.data.InstanceType
	network := p.info.NetworkInfo
	for _, n := range p.nics {
		if seen[slot{n.card, n.index}] {
			return invalidValue("Each network interface requires a unique device index.")
		}
		seen[slot{n.card, n.index}] = true
		perCard[n.card]++
		if *n.subnet.AvailabilityZone != *p.nics[0].subnet.AvailabilityZone {
			return invalidCombination("All network interfaces must be in the same Availability Zone.")
		}
		if *n.subnet.VpcId != *p.nics[0].subnet.VpcId {
			return invalidCombination("All network interfaces must be in the same VPC.")
		}
		if n.kind == types.NetworkInterfaceTypeEfa || n.kind == types.NetworkInterfaceTypeEfaOnly {
			efas++
		}
	}
	if efas > 0 && !aws.ToBool(network.EfaSupported) {
		return invalidValue("EFA interfaces are not supported on %s", name)
	}
	if efas > 0 && network.EfaInfo != nil && efas > aws.ToInt32(network.EfaInfo.MaximumEfaInterfaces) {
		return invalidValue("EFA interface count %d exceeds allowed limit for %s", efas, name)
	}
	for card, n := range perCard {
		if int(card) >= len(network.NetworkCards) {
			return invalidValue("Network card index %d exceeds the limit for %s.", card, name)
		}
		if most := aws.ToInt32(network.NetworkCards[card].MaximumNetworkInterfaces); n > most {
			return wire.Errorf("AttachmentLimitExceeded", "Interface count %d exceeds the limit for %s", n, name)
		}
	}
	p.az = *p.nics[0].subnet.AvailabilityZone
	return nil
}

func (p planning) placement(context.Context) error {
	name := string(p.data.InstanceType)
	if !p.offered(name, p.az) {
		var others []string
		for _, zone := range p.id.AZs() {
			if p.offered(name, zone) {
				others = append(others, zone)
			}
		}
		hint := ""
		if len(others) > 0 {
			hint = " Please retry your request by not specifying an Availability Zone or choosing " + strings.Join(others, ", ") + "."
		}
		return wire.Errorf("Unsupported", "Your requested instance type (%s) is not supported in your requested Availability Zone (%s).%s", name, p.az, hint)
	}
	place := p.data.Placement
	if place == nil {
		return nil
	}
	if z := aws.ToString(place.AvailabilityZone); z != "" && z != p.az {
		return invalidValue("Value (%s) for parameter availabilityZone is invalid. The subnet is in %s.", z, p.az)
	}
	group := aws.ToString(place.GroupName) + aws.ToString(place.GroupId)
	if group == "" {
		return nil
	}
	pg := p.findPlacement(group)
	if pg == nil {
		return wire.Errorf("InvalidPlacementGroup.Unknown", "The Placement Group '%s' is unknown.", group)
	}
	if !slices.Contains(p.info.PlacementGroupInfo.SupportedStrategies, types.PlacementGroupStrategy(pg.Strategy)) {
		return invalidCombination("The instance type '%s' is not supported in a placement group with strategy '%s'.", name, pg.Strategy)
	}
	return nil
}

func (p planning) blockDevices(context.Context) error {
	var own []types.LaunchTemplateBlockDeviceMappingRequest
	if err := convert(p.image.Desc.BlockDeviceMappings, &own); err != nil {
		return err
	}
	for _, m := range mergeDevices(own, p.data.BlockDeviceMappings) {
		if m.NoDevice != nil || m.Ebs == nil {
			continue // instance store disks, which machines here don't have
		}
		dev := device{
			name:       aws.ToString(m.DeviceName),
			root:       aws.ToString(m.DeviceName) == *p.image.Desc.RootDeviceName,
			deleteWith: m.Ebs.DeleteOnTermination == nil || *m.Ebs.DeleteOnTermination,
			spec: volumeSpec{
				zone: p.az, size: m.Ebs.VolumeSize, kind: m.Ebs.VolumeType, iops: m.Ebs.Iops, throughput: m.Ebs.Throughput,
				snapshotID: m.Ebs.SnapshotId, encrypted: m.Ebs.Encrypted, key: m.Ebs.KmsKeyId,
			},
		}
		if !deviceName.MatchString(dev.name) {
			return wire.Errorf("InvalidBlockDeviceMapping", "Invalid device name %s", dev.name)
		}
		if dev.spec.kind == "" {
			dev.spec.kind = types.VolumeTypeGp2
		}
		// A mapping that changes only the type drops what the image said for its own.
		if dev.spec.kind != types.VolumeTypeGp3 {
			dev.spec.throughput = nil
			if dev.spec.kind == types.VolumeTypeGp2 || dev.spec.kind == types.VolumeTypeStandard {
				dev.spec.iops = nil
			}
		}
		if _, err := p.describeVolume(dev.spec); err != nil {
			var refused *wire.Error
			if errors.As(err, &refused) && refused.Code == "InvalidParameterValue" {
				return wire.Errorf("InvalidBlockDeviceMapping", "%s", refused.Message)
			}
			return err
		}
		p.devices = append(p.devices, dev)
	}
	if !slices.ContainsFunc(p.devices, func(d device) bool { return d.root }) {
		return wire.Errorf("InvalidBlockDeviceMapping", "The root device %s of %s has no volume.", *p.image.Desc.RootDeviceName, *p.data.ImageId)
	}
	return nil
}

func (p planning) identity(ctx context.Context) error {
	if name := aws.ToString(p.data.KeyName); name != "" && p.keyNamed(name) == nil {
		return nounKeyPair.notFound(name)
	}
	if err := checkUserData(p.data.UserData); err != nil {
		return err
	}
	want := p.data.IamInstanceProfile
	if want == nil || aws.ToString(want.Arn)+aws.ToString(want.Name) == "" {
		return nil
	}
	if aws.ToString(want.Arn) != "" && aws.ToString(want.Name) != "" {
		return invalidCombination("The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'")
	}
	given, parameter, kind := aws.ToString(want.Name), "iamInstanceProfile.name", "name"
	if given == "" {
		given, parameter, kind = aws.ToString(want.Arn), "iamInstanceProfile.arn", "ARN"
	}
	arn, id, roleARN, role, err := p.cfg.Profiles.InstanceProfileRole(ctx, given)
	if err != nil {
		return invalidValue("Value (%s) for parameter %s is invalid. Invalid IAM Instance Profile %s", given, parameter, kind)
	}
	p.profile = &types.IamInstanceProfile{Arn: aws.String(arn), Id: aws.String(id)}
	p.role, p.roleARN = role, roleARN
	return nil
}

func (p planning) market(context.Context) error {
	if m := p.data.InstanceMarketOptions; m != nil {
		switch m.MarketType {
		case types.MarketTypeSpot:
			if !slices.Contains(p.info.SupportedUsageClasses, types.UsageClassTypeSpot) {
				return wire.Errorf("Unsupported", "The instance type '%s' is not available as spot instance.", p.data.InstanceType)
			}
			p.spot = true
		}
	}
	return nil
}

func (p planning) tags(ctx context.Context) error {
	for _, spec := range p.data.TagSpecifications {
		switch spec.ResourceType {
		case types.ResourceTypeInstance, types.ResourceTypeVolume, types.ResourceTypeNetworkInterface, types.ResourceTypeSpotInstancesRequest:
		default:
			return invalidValue("'%s' is not a valid taggable resource type for this operation.", spec.ResourceType)
		}
		if err := checkTags(ctx, spec.Tags); err != nil {
			return err
		}
	}
	of := func(kind types.ResourceType) []types.Tag {
		for _, spec := range mergeTagSpecs(nil, p.data.TagSpecifications) {
			if spec.ResourceType == kind {
				return spec.Tags
			}
		}
		return nil
	}
	own := []types.Tag(nil)
	if p.template != nil {
		own = append(own, tag("aws:ec2launchtemplate:id", *p.template.Desc.LaunchTemplateId),
			tag("aws:ec2launchtemplate:version", fmt.Sprint(*p.template.Desc.VersionNumber)))
	}
	if p.fleetID != "" {
		own = append(own, tag("aws:ec2:fleet-id", p.fleetID))
	}
	p.instanceTags = mergeTags(of(types.ResourceTypeInstance), own)
	p.volumeTags, p.eniTags = of(types.ResourceTypeVolume), of(types.ResourceTypeNetworkInterface)
	return nil
}

// metadataOptions are the requested ones; an image that supports IMDSv2 alone
// makes tokens the default.
func metadataOptions(asked *types.LaunchTemplateInstanceMetadataOptionsRequest, img *image) types.InstanceMetadataOptionsResponse {
	m := types.InstanceMetadataOptionsResponse{
		State:                   types.InstanceMetadataOptionsStateApplied,
		HttpEndpoint:            types.InstanceMetadataEndpointStateEnabled,
		HttpProtocolIpv6:        types.InstanceMetadataProtocolStateDisabled,
		HttpTokens:              types.HttpTokensStateOptional,
		HttpPutResponseHopLimit: aws.Int32(1),
		InstanceMetadataTags:    types.InstanceMetadataTagsStateDisabled,
	}
	if img.Desc.ImdsSupport == types.ImdsSupportValuesV20 {
		m.HttpTokens, m.HttpPutResponseHopLimit = types.HttpTokensStateRequired, aws.Int32(2)
	}
	if asked == nil {
		return m
	}
	if asked.HttpEndpoint != "" {
		m.HttpEndpoint = types.InstanceMetadataEndpointState(asked.HttpEndpoint)
	}
	if asked.HttpTokens != "" {
		m.HttpTokens = types.HttpTokensState(asked.HttpTokens)
	}
	if asked.HttpPutResponseHopLimit != nil {
		m.HttpPutResponseHopLimit = asked.HttpPutResponseHopLimit
	}
	if asked.InstanceMetadataTags != "" {
		m.InstanceMetadataTags = types.InstanceMetadataTagsState(asked.InstanceMetadataTags)
	}
	return m
}
