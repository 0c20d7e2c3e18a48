package ec2

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/machine"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// instance is an instance as EC2 describes it and what its machine needs.
type instance struct {
	Desc        types.Instance
	Reservation string
	UserData    string `json:",omitempty"` // in base64
	Role        string `json:",omitempty"` // of the instance profile
	RoleARN     string `json:",omitempty"`
	Shutdown    types.ShutdownBehavior
	KeepStopped bool `json:",omitempty"` // DisableApiStop
	KeepAlive   bool `json:",omitempty"` // DisableApiTermination
	VCPUs       int
	MemoryMiB   int64
	Layers      []string       `json:",omitempty"` // of the image; settled at the first boot
	Over        []string       `json:",omitempty"` // layers above them, which images made of the instance do not have
	Files       []machine.File `json:",omitempty"`

	// Parked is set while the region is down: the machine is to run again.
	Parked bool `json:",omitempty"`
	// Reboot asks a running instance's worker for a restart of its machine.
	Reboot bool `json:",omitempty"`
	// Capture asks the worker for an image of the disk.
	Capture *capture `json:",omitempty"`
	// Crash asks the worker of a terminating instance for a power cut.
	Crash bool `json:",omitempty"`
	// SpotAction is when a spot instance will be taken away.
	SpotAction *time.Time `json:",omitempty"`
	Ended      *time.Time `json:",omitempty"` // when it was terminated
}

func instanceKey(i *instance) string { return *i.Desc.InstanceId }

func (i *instance) state() types.InstanceStateName { return i.Desc.State.Name }

// RunInstances launches instances and returns before they run.
func (s *Service) RunInstances(ctx context.Context, in *sdk.RunInstancesInput) (*sdk.RunInstancesOutput, error) {
	return s.runInstances(ctx, "", in, nil)
}

// RunInstancesIn is RunInstances for a service that chooses the subnet of all
// interfaces, even of those that a launch template has, as Auto Scaling does.
func (s *Service) RunInstancesIn(ctx context.Context, subnetID string, in *sdk.RunInstancesInput) (*sdk.RunInstancesOutput, error) {
	return s.runInstances(ctx, subnetID, in, nil)
}

func (s *Service) runInstances(ctx context.Context, subnetID string, in *sdk.RunInstancesInput, over []string) (*sdk.RunInstancesOutput, error) {
	least, most := int(aws.ToInt32(in.MinCount)), int(aws.ToInt32(in.MaxCount))
	switch {
	case in.MinCount == nil:
		return nil, missing("MinCount")
	case in.MaxCount == nil:
		return nil, missing("MaxCount")
	case least < 1:
		return nil, invalidValue("Value (%d) for parameter minCount is invalid. minCount must be at least 1", least)
	case most < least:
		return nil, invalidValue("Value (%d) for parameter maxCount is invalid. maxCount must not be less than minCount", most)
	}
	if launched, err := s.repeated(in); err != nil || launched != nil {
		return launched, err
	}
	o, err := s.orderOf(in)
	if err != nil {
		return nil, err
	}
	if subnetID != "" {
		o.subnetID = subnetID
	}
	p, err := s.plan(ctx, o)
	if err != nil {
		return nil, err
	}
	p.over = over
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	out, err := s.run(p, least, most, in)
	if err != nil {
		return nil, err
	}
	for _, i := range out.Instances {
		s.work.kick(*i.InstanceId)
	}
	return out, nil
}

func (s *Service) run(p *plan, least, most int, in *sdk.RunInstancesInput) (*sdk.RunInstancesOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A request with the same token may have been faster, or have died half way.
	ids, err := s.recall("RunInstances", in.ClientToken, in)
	if err != nil {
		return nil, err
	}
	missing := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return s.instances.get(id) != nil })
	if len(ids) > 0 && len(missing) == 0 {
		return s.reservation(ids), nil
	}
	if len(ids) == 0 {
		n, err := s.possible(p, least, most)
		if err != nil {
			return nil, err
		}
		for range n {
			ids = append(ids, region.NewID("i"))
		}
		missing = ids
		if err := s.remember("RunInstances", in.ClientToken, in, ids...); err != nil {
			return nil, err
		}
	}
	if _, err := s.launch(p, missing); err != nil {
		return nil, errors.Join(err, s.forget("RunInstances", in.ClientToken))
	}
	return s.reservation(ids), nil
}

// repeated answers a request that was answered before, nil if it was not.
func (s *Service) repeated(in *sdk.RunInstancesInput) (*sdk.RunInstancesOutput, error) {
	ids, err := s.recall("RunInstances", in.ClientToken, in)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	out := s.reservation(ids)
	live := slices.ContainsFunc(out.Instances, func(i types.Instance) bool { return i.State.Name != types.InstanceStateNameTerminated })
	old := s.now().Sub(s.tokens.get("RunInstances/"+*in.ClientToken).At) > terminatedFor // their rows may be gone
	switch {
	case live && len(out.Instances) == len(ids), live && old:
		return out, nil
	case len(out.Instances) == len(ids), old:
		return nil, wire.Errorf("IdempotentInstanceTerminated",
			"The client token '%s' was used for instances that are terminated.", *in.ClientToken)
	}
	return nil, nil // the launch died half way
}

func (s *Service) reservation(ids []string) *sdk.RunInstancesOutput {
	out := &sdk.RunInstancesOutput{OwnerId: aws.String(s.id.Account())}
	for _, id := range ids {
		if i := s.instances.get(id); i != nil {
			out.ReservationId = aws.String(i.Reservation)
			out.Instances = append(out.Instances, i.Desc)
		}
	}
	return out
}

// possible returns how many instances of the plan can be launched now: at most
// most, and an error if fewer than least. s.mu is held.
func (s *Service) possible(p *plan, least, most int) (int, error) {
	for _, n := range p.nics {
		if (n.eni != nil || n.addr.IsValid()) && most > 1 {
			return 0, invalidCombination("A network interface or private address can be given to one instance only, but %d are requested.", most)
		}
	}
	if arch := p.image.Desc.Architecture; arch != architecture() {
		return 0, wire.Errorf("Unsupported", "The machines of this sandbox are %s: an instance of %s (%s) cannot boot here.", architecture(), *p.data.ImageId, arch)
	}
	n, err := s.capacityFor(p, least, most)
	if err != nil {
		return 0, err
	}
	perSubnet := map[string]int{}
	for _, nic := range p.nics {
		if nic.eni == nil {
			perSubnet[*nic.subnet.SubnetId] += 1 + nic.secondary
		}
	}
	for id, each := range perSubnet {
		n = min(n, s.addrs.available(s.subnets.get(id))/each)
		if n < least {
			return 0, wire.Errorf("InsufficientFreeAddressesInSubnet",
				"There are not enough free addresses in subnet '%s' to satisfy the requested number of instances.", id)
		}
	}
	return n, nil
}

// launch writes down instances of the plan under the given IDs as pending, all or
// none. s.mu is held.
func (s *Service) launch(p *plan, ids []string) ([]*instance, error) {
	reservation := region.NewID("r")
	made := make([]*instance, 0, len(ids))
	for index, id := range ids {
		i, err := s.newInstance(p, id, reservation, int32(index))
		if err != nil {
			for _, i := range made {
				err = errors.Join(err, s.undo(p, i))
			}
			return nil, fmt.Errorf("launch instance: %w", err)
		}
		made = append(made, i)
	}
	return made, nil
}

// undo forgets an instance that nobody was told of.
func (s *Service) undo(p *plan, i *instance) error {
	err := s.instances.delete(instanceKey(i))
	for _, m := range i.Desc.BlockDeviceMappings {
		err = errors.Join(err, s.dropVolume(*m.Ebs.VolumeId))
	}
	for _, n := range i.Desc.NetworkInterfaces {
		id := *n.NetworkInterfaceId
		if slices.ContainsFunc(p.nics, func(n nic) bool { return n.eni != nil && *n.eni.NetworkInterfaceId == id }) {
			err = errors.Join(err, s.detachENI(id))
		} else {
			err = errors.Join(err, s.dropENI(id))
		}
	}
	return err
}

func (s *Service) newInstance(p *plan, id, reservation string, index int32) (_ *instance, err error) {
	d := &p.data
	now := s.now().UTC().Truncate(time.Second)
	i := &instance{
		Reservation: reservation,
		UserData:    aws.ToString(d.UserData),
		Role:        p.role,
		RoleARN:     p.roleARN,
		Shutdown:    d.InstanceInitiatedShutdownBehavior,
		KeepAlive:   aws.ToBool(d.DisableApiTermination),
		KeepStopped: aws.ToBool(d.DisableApiStop),
		VCPUs:       int(p.vcpus),
		MemoryMiB:   *p.info.MemoryInfo.SizeInMiB,
		Layers:      p.image.Layers,
		Over:        p.over,
		Files:       p.image.Files,
		Parked:      s.parked,
		Desc: types.Instance{
			InstanceId:               aws.String(id),
			AmiLaunchIndex:           aws.Int32(index),
			Architecture:             p.image.Desc.Architecture,
			ClientToken:              aws.String(aws.ToString(p.clientToken)),
			CpuOptions:               &p.cpu,
			EbsOptimized:             aws.Bool(aws.ToBool(d.EbsOptimized)),
			EnaSupport:               aws.Bool(true),
			EnclaveOptions:           &types.EnclaveOptions{Enabled: aws.Bool(false)},
			HibernationOptions:       &types.HibernationOptions{Configured: aws.Bool(false)},
			Hypervisor:               types.HypervisorTypeXen, // what EC2 says of Nitro, too
			IamInstanceProfile:       p.profile,
			ImageId:                  d.ImageId,
			InstanceType:             d.InstanceType,
			KeyName:                  d.KeyName,
			LaunchTime:               aws.Time(now),
			MaintenanceOptions:       &types.InstanceMaintenanceOptions{AutoRecovery: types.InstanceAutoRecoveryStateDefault},
			MetadataOptions:          &p.metadata,
			Monitoring:               &types.Monitoring{State: types.MonitoringStateDisabled},
			Placement:                &types.Placement{AvailabilityZone: aws.String(p.az), AvailabilityZoneId: aws.String(s.zoneID(p.az)), GroupName: aws.String(""), Tenancy: types.TenancyDefault},
			PlatformDetails:          p.image.Desc.PlatformDetails,
			PublicDnsName:            aws.String(""),
			RootDeviceName:           p.image.Desc.RootDeviceName,
			RootDeviceType:           types.DeviceTypeEbs,
			Tags:                     p.instanceTags,
			UsageOperation:           p.image.Desc.UsageOperation,
			VirtualizationType:       types.VirtualizationTypeHvm,
			State:                    stateOf(types.InstanceStateNamePending),
			StateReason:              &types.StateReason{Code: aws.String("pending"), Message: aws.String("pending")},
			StateTransitionReason:    aws.String(""),
			CurrentInstanceBootMode:  types.InstanceBootModeValuesLegacyBios,
			UsageOperationUpdateTime: aws.Time(now),
			PrivateDnsNameOptions: &types.PrivateDnsNameOptionsResponse{
				HostnameType: types.HostnameTypeIpName, EnableResourceNameDnsARecord: aws.Bool(false), EnableResourceNameDnsAAAARecord: aws.Bool(false),
			},
		},
	}
	if i.Shutdown == "" {
		i.Shutdown = types.ShutdownBehaviorStop
	}
	if d.Monitoring != nil && aws.ToBool(d.Monitoring.Enabled) {
		i.Desc.Monitoring.State = types.MonitoringStateEnabled
	}
	if d.Placement != nil {
		if pg := s.findPlacement(aws.ToString(d.Placement.GroupName) + aws.ToString(d.Placement.GroupId)); pg != nil {
			i.Desc.Placement.GroupName, i.Desc.Placement.GroupId = pg.GroupName, pg.GroupId
		}
	}
	i.describeClaim(p, s.occupy(p))
	if p.spot {
		i.Desc.InstanceLifecycle = types.InstanceLifecycleTypeSpot
		i.Desc.SpotInstanceRequestId = aws.String("sir-" + region.Hex(8))
		i.Shutdown = types.ShutdownBehaviorTerminate
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.undo(p, i))
		}
	}()
	if err := s.launchInterfaces(p, i); err != nil {
		return nil, err
	}
	for _, dev := range p.devices {
		spec := dev.spec
		spec.tags = p.volumeTags
		v, err := s.describeVolume(spec)
		if err != nil {
			return nil, err
		}
		a := types.VolumeAttachment{
			AttachTime: aws.Time(now), DeleteOnTermination: aws.Bool(dev.deleteWith), Device: aws.String(dev.name),
			InstanceId: aws.String(id), VolumeId: v.Desc.VolumeId, State: types.VolumeAttachmentStateAttached,
		}
		v.Root = dev.root
		if dev.root {
			v.Desc.Attachments, v.Desc.State = []types.VolumeAttachment{a}, types.VolumeStateInUse
			err = s.volumes.put(*v.Desc.VolumeId, v)
		} else if err = s.putVolume(v); err == nil {
			err = s.volumes.set(*v.Desc.VolumeId, func(v *volume) {
				v.Desc.Attachments, v.Desc.State = []types.VolumeAttachment{a}, types.VolumeStateInUse
			})
		}
		if err != nil {
			return nil, err
		}
		i.Desc.BlockDeviceMappings = append(i.Desc.BlockDeviceMappings, blockDevice(a))
	}
	return i, s.instances.put(id, i)
}

// launchInterfaces makes or takes the interfaces of a new instance.
func (s *Service) launchInterfaces(p *plan, i *instance) error {
	id := instanceKey(i)
	var mine []*types.NetworkInterface
	for _, n := range p.nics {
		eni := n.eni
		if eni == nil {
			var err error
			eni, err = s.newENI(eniSpec{
				ID: region.NewID("eni"), Subnet: n.subnet, Addr: n.addr, Secondary: n.secondary, Groups: n.groups,
				Description: n.description, Type: n.kind, Tags: p.eniTags,
			})
			if err != nil {
				return err
			}
		} else if now := s.enis.get(*eni.NetworkInterfaceId); now == nil || now.Attachment != nil {
			return wire.Errorf("InvalidNetworkInterface.InUse", "Interface: %s in use.", *eni.NetworkInterfaceId)
		}
		eni, err := s.attachENI(eni, id, n.index, n.card, n.deleteWith)
		if err != nil {
			return err
		}
		if n.public && eni.Association == nil {
			public, err := s.freePublic()
			if err != nil {
				return err
			}
			if err := s.associate(eni, s.association(public, "amazon")); err != nil {
				return err
			}
			eni = s.enis.get(*eni.NetworkInterfaceId)
		}
		mine = append(mine, eni)
		i.describeInterfaces(mine)
	}
	return s.noteElasticIPs(mine, id)
}

// noteElasticIPs writes the instance into the addresses of interfaces that had one
// before they were attached.
func (s *Service) noteElasticIPs(enis []*types.NetworkInterface, instanceID string) error {
	for _, eni := range enis {
		if eni.Association == nil || eni.Association.AllocationId == nil {
			continue
		}
		err := s.eips.set(*eni.Association.AllocationId, func(v *types.Address) { v.InstanceId = aws.String(instanceID) })
		if err != nil {
			return err
		}
	}
	return nil
}

// describeInterfaces fills in what an instance shows of its interfaces, the first
// of which gives it its addresses and groups.
func (i *instance) describeInterfaces(enis []*types.NetworkInterface) {
	d := &i.Desc
	d.NetworkInterfaces = make([]types.InstanceNetworkInterface, len(enis))
	for n, eni := range enis {
		d.NetworkInterfaces[n] = instanceInterface(eni)
	}
	if len(enis) == 0 {
		d.SubnetId, d.VpcId, d.PrivateIpAddress, d.PublicIpAddress = nil, nil, nil, nil
		d.PrivateDnsName, d.PublicDnsName, d.SecurityGroups = aws.String(""), aws.String(""), nil
		return
	}
	first := enis[0]
	d.SubnetId, d.VpcId = first.SubnetId, first.VpcId
	d.PrivateIpAddress, d.PrivateDnsName = first.PrivateIpAddress, first.PrivateDnsName
	d.SecurityGroups, d.SourceDestCheck = first.Groups, first.SourceDestCheck
	d.PublicIpAddress, d.PublicDnsName = nil, aws.String("")
	if a := first.Association; a != nil {
		d.PublicIpAddress, d.PublicDnsName = a.PublicIp, a.PublicDnsName
	}
}

func instanceInterface(eni *types.NetworkInterface) types.InstanceNetworkInterface {
	a := eni.Attachment
	n := types.InstanceNetworkInterface{
		NetworkInterfaceId: eni.NetworkInterfaceId, SubnetId: eni.SubnetId, VpcId: eni.VpcId, OwnerId: eni.OwnerId,
		Description: eni.Description, Groups: eni.Groups, InterfaceType: aws.String(string(eni.InterfaceType)), MacAddress: eni.MacAddress,
		PrivateIpAddress: eni.PrivateIpAddress, PrivateDnsName: eni.PrivateDnsName, SourceDestCheck: eni.SourceDestCheck, Status: eni.Status,
		Attachment: &types.InstanceNetworkInterfaceAttachment{
			AttachmentId: a.AttachmentId, AttachTime: a.AttachTime, DeleteOnTermination: a.DeleteOnTermination,
			DeviceIndex: a.DeviceIndex, NetworkCardIndex: a.NetworkCardIndex, Status: a.Status,
		},
	}
	association := func(a *types.NetworkInterfaceAssociation) *types.InstanceNetworkInterfaceAssociation {
		if a == nil {
			return nil
		}
		return &types.InstanceNetworkInterfaceAssociation{IpOwnerId: a.IpOwnerId, PublicIp: a.PublicIp, PublicDnsName: a.PublicDnsName}
	}
	n.Association = association(eni.Association)
	for _, p := range eni.PrivateIpAddresses {
		n.PrivateIpAddresses = append(n.PrivateIpAddresses, types.InstancePrivateIpAddress{
			Primary: p.Primary, PrivateIpAddress: p.PrivateIpAddress, PrivateDnsName: p.PrivateDnsName, Association: association(p.Association),
		})
	}
	return n
}

// spec is what the instance's machine is made of.
func (s *Service) spec(i *instance, layers []string) machine.Spec {
	spec := machine.Spec{
		ID:        instanceKey(i),
		Layers:    layers,
		Files:     i.Files,
		VCPUs:     i.VCPUs,
		MemoryMiB: i.MemoryMiB,
		TypeName:  string(i.Desc.InstanceType),
	}
	spec.Hostname, _, _ = strings.Cut(*i.Desc.PrivateDnsName, ".")
	for _, n := range i.Desc.NetworkInterfaces {
		m := machine.Interface{
			ID:       *n.NetworkInterfaceId,
			MAC:      *n.MacAddress,
			Addr:     netip.MustParseAddr(*n.PrivateIpAddress),
			GroupIDs: groupIDs(n.Groups),
		}
		if subnet := s.subnets.get(*n.SubnetId); subnet != nil {
			m.Subnet = netip.MustParsePrefix(*subnet.CidrBlock)
		}
		if n.Association != nil {
			m.Public = netip.MustParseAddr(*n.Association.PublicIp)
		}
		spec.Interfaces = append(spec.Interfaces, m)
	}
	for _, m := range i.Desc.BlockDeviceMappings {
		id := *m.Ebs.VolumeId
		switch v := s.volumes.get(id); {
		case v == nil:
		case v.Root:
			spec.RootGiB = int64(*v.Desc.Size)
		default:
			spec.Volumes = append(spec.Volumes, machine.Volume{ID: id, Path: s.volumeFile(id), Device: *m.DeviceName})
		}
	}
	return spec
}
