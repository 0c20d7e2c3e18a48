package ec2

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func instanceTags(i *instance) []types.Tag { return i.Desc.Tags }

// eachNIC makes an attribute of something in every interface of an instance.
func eachNIC(get func(*types.InstanceNetworkInterface) []string) attribute[instance] {
	return func(i *instance) []string {
		var out []string
		for n := range i.Desc.NetworkInterfaces {
			out = append(out, get(&i.Desc.NetworkInterfaces[n])...)
		}
		return out
	}
}

func eachDevice(get func(*types.InstanceBlockDeviceMapping) []string) attribute[instance] {
	return func(i *instance) []string {
		var out []string
		for n := range i.Desc.BlockDeviceMappings {
			out = append(out, get(&i.Desc.BlockDeviceMappings[n])...)
		}
		return out
	}
}

var instanceAttributes = map[string]attribute[instance]{
	"architecture":                   func(i *instance) []string { return word(i.Desc.Architecture) },
	"availability-zone":              func(i *instance) []string { return one(i.Desc.Placement.AvailabilityZone) },
	"availability-zone-id":           func(i *instance) []string { return one(i.Desc.Placement.AvailabilityZoneId) },
	"client-token":                   func(i *instance) []string { return one(i.Desc.ClientToken) },
	"dns-name":                       func(i *instance) []string { return one(i.Desc.PublicDnsName) },
	"hypervisor":                     func(i *instance) []string { return word(i.Desc.Hypervisor) },
	"iam-instance-profile.arn":       profileAttribute(func(p *types.IamInstanceProfile) *string { return p.Arn }),
	"iam-instance-profile.id":        profileAttribute(func(p *types.IamInstanceProfile) *string { return p.Id }),
	"image-id":                       func(i *instance) []string { return one(i.Desc.ImageId) },
	"instance-id":                    func(i *instance) []string { return one(i.Desc.InstanceId) },
	"instance-lifecycle":             func(i *instance) []string { return word(i.Desc.InstanceLifecycle) },
	"instance-state-code":            func(i *instance) []string { return number(i.Desc.State.Code) },
	"instance-state-name":            func(i *instance) []string { return word(i.Desc.State.Name) },
	"instance-type":                  func(i *instance) []string { return word(i.Desc.InstanceType) },
	"instance.group-id":              func(i *instance) []string { return groupIDs(i.Desc.SecurityGroups) },
	"instance.group-name":            func(i *instance) []string { return groupNames(i.Desc.SecurityGroups) },
	"group-id":                       func(i *instance) []string { return groupIDs(i.Desc.SecurityGroups) },
	"group-name":                     func(i *instance) []string { return groupNames(i.Desc.SecurityGroups) },
	"ip-address":                     func(i *instance) []string { return one(i.Desc.PublicIpAddress) },
	"key-name":                       func(i *instance) []string { return one(i.Desc.KeyName) },
	"launch-index":                   func(i *instance) []string { return number(i.Desc.AmiLaunchIndex) },
	"launch-time":                    func(i *instance) []string { return instant(i.Desc.LaunchTime) },
	"metadata-options.http-tokens":   func(i *instance) []string { return word(i.Desc.MetadataOptions.HttpTokens) },
	"metadata-options.http-endpoint": func(i *instance) []string { return word(i.Desc.MetadataOptions.HttpEndpoint) },
	"monitoring-state":               func(i *instance) []string { return word(i.Desc.Monitoring.State) },
	"placement-group-name":           func(i *instance) []string { return one(i.Desc.Placement.GroupName) },
	"platform-details":               func(i *instance) []string { return one(i.Desc.PlatformDetails) },
	"private-dns-name":               func(i *instance) []string { return one(i.Desc.PrivateDnsName) },
	"private-ip-address":             func(i *instance) []string { return one(i.Desc.PrivateIpAddress) },
	"reservation-id":                 func(i *instance) []string { return word(i.Reservation) },
	"root-device-name":               func(i *instance) []string { return one(i.Desc.RootDeviceName) },
	"root-device-type":               func(i *instance) []string { return word(i.Desc.RootDeviceType) },
	"source-dest-check":              func(i *instance) []string { return yesNo(i.Desc.SourceDestCheck) },
	"spot-instance-request-id":       func(i *instance) []string { return one(i.Desc.SpotInstanceRequestId) },
	"subnet-id":                      func(i *instance) []string { return one(i.Desc.SubnetId) },
	"tenancy":                        func(i *instance) []string { return word(i.Desc.Placement.Tenancy) },
	"virtualization-type":            func(i *instance) []string { return word(i.Desc.VirtualizationType) },
	"vpc-id":                         func(i *instance) []string { return one(i.Desc.VpcId) },
	"state-reason-code":              reasonAttribute(func(r *types.StateReason) *string { return r.Code }),
	"state-reason-message":           reasonAttribute(func(r *types.StateReason) *string { return r.Message }),
	"reason":                         func(i *instance) []string { return one(i.Desc.StateTransitionReason) },
	"block-device-mapping.device-name": eachDevice(func(m *types.InstanceBlockDeviceMapping) []string {
		return one(m.DeviceName)
	}),
	"block-device-mapping.volume-id": eachDevice(func(m *types.InstanceBlockDeviceMapping) []string {
		return one(m.Ebs.VolumeId)
	}),
	"block-device-mapping.delete-on-termination": eachDevice(func(m *types.InstanceBlockDeviceMapping) []string {
		return yesNo(m.Ebs.DeleteOnTermination)
	}),
	"block-device-mapping.status": eachDevice(func(m *types.InstanceBlockDeviceMapping) []string {
		return word(m.Ebs.Status)
	}),
	"network-interface.network-interface-id": eachNIC(func(n *types.InstanceNetworkInterface) []string {
		return one(n.NetworkInterfaceId)
	}),
	"network-interface.subnet-id":   eachNIC(func(n *types.InstanceNetworkInterface) []string { return one(n.SubnetId) }),
	"network-interface.vpc-id":      eachNIC(func(n *types.InstanceNetworkInterface) []string { return one(n.VpcId) }),
	"network-interface.group-id":    eachNIC(func(n *types.InstanceNetworkInterface) []string { return groupIDs(n.Groups) }),
	"network-interface.group-name":  eachNIC(func(n *types.InstanceNetworkInterface) []string { return groupNames(n.Groups) }),
	"network-interface.mac-address": eachNIC(func(n *types.InstanceNetworkInterface) []string { return one(n.MacAddress) }),
	"network-interface.status":      eachNIC(func(n *types.InstanceNetworkInterface) []string { return word(n.Status) }),
	"network-interface.private-dns-name": eachNIC(func(n *types.InstanceNetworkInterface) []string {
		return one(n.PrivateDnsName)
	}),
	"network-interface.addresses.private-ip-address": eachNIC(func(n *types.InstanceNetworkInterface) []string {
		var out []string
		for _, p := range n.PrivateIpAddresses {
			out = append(out, one(p.PrivateIpAddress)...)
		}
		return out
	}),
	"network-interface.attachment.device-index": eachNIC(func(n *types.InstanceNetworkInterface) []string {
		return number(n.Attachment.DeviceIndex)
	}),
	"network-interface.addresses.association.public-ip": eachNIC(func(n *types.InstanceNetworkInterface) []string {
		if n.Association == nil {
			return nil
		}
		return one(n.Association.PublicIp)
	}),
}

func profileAttribute(get func(*types.IamInstanceProfile) *string) attribute[instance] {
	return func(i *instance) []string {
		if i.Desc.IamInstanceProfile == nil {
			return nil
		}
		return one(get(i.Desc.IamInstanceProfile))
	}
}

func reasonAttribute(get func(*types.StateReason) *string) attribute[instance] {
	return func(i *instance) []string {
		if i.Desc.StateReason == nil {
			return nil
		}
		return one(get(i.Desc.StateReason))
	}
}

// instanceListing lists the instances that are visible now.
func (s *Service) instanceListing() listing[instance] {
	l := of(s.instances, nounInstance, instanceKey, instanceAttributes, instanceTags)
	l.get = func(id string) *instance {
		if i := s.instances.get(id); i != nil && !s.expired(i) {
			return i
		}
		return nil
	}
	return l
}

// DescribeInstances lists instances by reservation.
func (s *Service) DescribeInstances(_ context.Context, in *sdk.DescribeInstancesInput) (*sdk.DescribeInstancesOutput, error) {
	if in.MaxResults != nil && len(in.InstanceIds) > 0 {
		return nil, invalidCombination("The parameter instancesSet cannot be used with the parameter maxResults")
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	p, err := newPager(in.NextToken, in.MaxResults, 5, 1000)
	if err != nil {
		return nil, err
	}
	if in.MaxResults == nil {
		p.limit = 0
	}
	l := s.instanceListing()
	filters, err := compile(in.Filters, l.attributes, l.tags)
	if err != nil {
		return nil, err
	}
	rows, err := l.choose(in.InstanceIds)
	if err != nil {
		return nil, err
	}
	found, next := page(p, rows, l.key, func(i *instance) bool { return !s.expired(i) && pass(filters, i) })

	out := &sdk.DescribeInstancesOutput{NextToken: next, Reservations: []types.Reservation{}}
	size := map[string]int{}
	for _, i := range found {
		size[i.Reservation]++
	}
	index := make(map[string]int, len(size))
	owner := aws.String(s.id.Account())
	for _, i := range found {
		at, ok := index[i.Reservation]
		if !ok {
			at = len(out.Reservations)
			index[i.Reservation] = at
			out.Reservations = append(out.Reservations, types.Reservation{
				ReservationId: aws.String(i.Reservation), OwnerId: owner, Instances: make([]types.Instance, 0, size[i.Reservation]),
			})
		}
		r := &out.Reservations[at]
		r.Instances = append(r.Instances, i.Desc)
	}
	return out, nil
}

var statusAttributes = map[string]attribute[types.InstanceStatus]{
	"availability-zone":            func(i *types.InstanceStatus) []string { return one(i.AvailabilityZone) },
	"instance-state-name":          func(i *types.InstanceStatus) []string { return word(i.InstanceState.Name) },
	"instance-state-code":          func(i *types.InstanceStatus) []string { return number(i.InstanceState.Code) },
	"instance-status.status":       func(i *types.InstanceStatus) []string { return word(i.InstanceStatus.Status) },
	"instance-status.reachability": func(i *types.InstanceStatus) []string { return reachability(i.InstanceStatus) },
	"system-status.status":         func(i *types.InstanceStatus) []string { return word(i.SystemStatus.Status) },
	"system-status.reachability":   func(i *types.InstanceStatus) []string { return reachability(i.SystemStatus) },
	"attached-ebs-status.status":   func(i *types.InstanceStatus) []string { return word(i.AttachedEbsStatus.Status) },
	"event.code":                   eventAttribute(func(e types.InstanceStatusEvent) []string { return word(e.Code) }),
	"event.description":            eventAttribute(func(e types.InstanceStatusEvent) []string { return one(e.Description) }),
	"event.instance-event-id":      eventAttribute(func(e types.InstanceStatusEvent) []string { return one(e.InstanceEventId) }),
	"event.not-after":              eventAttribute(func(e types.InstanceStatusEvent) []string { return instant(e.NotAfter) }),
	"event.not-before":             eventAttribute(func(e types.InstanceStatusEvent) []string { return instant(e.NotBefore) }),
	"event.not-before-deadline":    eventAttribute(func(e types.InstanceStatusEvent) []string { return instant(e.NotBeforeDeadline) }),
	"operator.managed":             func(*types.InstanceStatus) []string { return []string{"false"} },
	"availability-zone-id":         func(i *types.InstanceStatus) []string { return one(i.AvailabilityZoneId) },
}

func reachability(s *types.InstanceStatusSummary) []string {
	var out []string
	for _, d := range s.Details {
		out = append(out, word(d.Status)...)
	}
	return out
}

func eventAttribute(get func(types.InstanceStatusEvent) []string) attribute[types.InstanceStatus] {
	return func(i *types.InstanceStatus) []string {
		var out []string
		for _, e := range i.Events {
			out = append(out, get(e)...)
		}
		return out
	}
}

// DescribeInstanceStatus tells how running instances fare. Here they fare well, but
// for those that somebody wants to see ill: an instance whose machine died is terminated.
func (s *Service) DescribeInstanceStatus(_ context.Context, in *sdk.DescribeInstanceStatusInput) (*sdk.DescribeInstanceStatusOutput, error) {
	if in.MaxResults != nil && len(in.InstanceIds) > 0 {
		return nil, invalidCombination("The parameter instancesSet cannot be used with the parameter maxResults")
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	rows, err := s.instanceListing().choose(in.InstanceIds)
	if err != nil {
		return nil, err
	}
	all := aws.ToBool(in.IncludeAllInstances)
	statuses := make([]*types.InstanceStatus, 0, len(rows))
	for _, i := range rows {
		if i.state() == types.InstanceStateNameRunning || all && !s.expired(i) {
			statuses = append(statuses, status(i, s.health.of(instanceKey(i))))
		}
	}
	l := listing[types.InstanceStatus]{
		noun: nounInstance, rows: func() []*types.InstanceStatus { return statuses }, attributes: statusAttributes,
		key: func(v *types.InstanceStatus) string { return *v.InstanceId },
	}
	found, next, err := l.describe(nil, in.Filters, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeInstanceStatusOutput{InstanceStatuses: found, NextToken: next}, nil
}

func status(i *instance, ill illness) *types.InstanceStatus {
	out := &types.InstanceStatus{
		InstanceId: i.Desc.InstanceId, AvailabilityZone: i.Desc.Placement.AvailabilityZone, AvailabilityZoneId: i.Desc.Placement.AvailabilityZoneId,
		InstanceState:     i.Desc.State,
		InstanceStatus:    &types.InstanceStatusSummary{Status: types.SummaryStatusNotApplicable},
		SystemStatus:      &types.InstanceStatusSummary{Status: types.SummaryStatusNotApplicable},
		AttachedEbsStatus: &types.EbsStatusSummary{Status: types.SummaryStatusNotApplicable},
	}
	if i.state() != types.InstanceStateNameRunning {
		return out
	}
	out.InstanceStatus, out.SystemStatus, out.Events = checks(ill.instance), checks(ill.system), ill.events
	out.AttachedEbsStatus = &types.EbsStatusSummary{
		Status:  types.SummaryStatusOk,
		Details: []types.EbsStatusDetails{{Name: types.StatusNameReachability, Status: types.StatusTypePassed}},
	}
	return out
}

// DescribeInstanceAttribute tells one attribute of an instance.
func (s *Service) DescribeInstanceAttribute(_ context.Context, in *sdk.DescribeInstanceAttributeInput) (*sdk.DescribeInstanceAttributeOutput, error) {
	i, err := find(s.instances, nounInstance, aws.ToString(in.InstanceId))
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	text := func(v string) *types.AttributeValue { return &types.AttributeValue{Value: aws.String(v)} }
	flag := func(v bool) *types.AttributeBooleanValue { return &types.AttributeBooleanValue{Value: aws.Bool(v)} }
	out := &sdk.DescribeInstanceAttributeOutput{InstanceId: in.InstanceId}
	switch in.Attribute {
	case types.InstanceAttributeNameInstanceType:
		out.InstanceType = text(string(i.Desc.InstanceType))
	case types.InstanceAttributeNameUserData:
		out.UserData = &types.AttributeValue{}
		if i.UserData != "" {
			out.UserData = text(i.UserData)
		}
	case types.InstanceAttributeNameDisableApiTermination:
		out.DisableApiTermination = flag(i.KeepAlive)
	case types.InstanceAttributeNameDisableApiStop:
		out.DisableApiStop = flag(i.KeepStopped)
	case types.InstanceAttributeNameInstanceInitiatedShutdownBehavior:
		out.InstanceInitiatedShutdownBehavior = text(string(i.Shutdown))
	case types.InstanceAttributeNameRootDeviceName:
		out.RootDeviceName = &types.AttributeValue{Value: i.Desc.RootDeviceName}
	case types.InstanceAttributeNameBlockDeviceMapping:
		out.BlockDeviceMappings = i.Desc.BlockDeviceMappings
	case types.InstanceAttributeNameSourceDestCheck:
		out.SourceDestCheck = flag(aws.ToBool(i.Desc.SourceDestCheck))
	case types.InstanceAttributeNameGroupSet:
		out.Groups = i.Desc.SecurityGroups
	case types.InstanceAttributeNameEbsOptimized:
		out.EbsOptimized = flag(aws.ToBool(i.Desc.EbsOptimized))
	case types.InstanceAttributeNameSriovNetSupport:
		out.SriovNetSupport = text("simple")
	case types.InstanceAttributeNameEnaSupport:
		out.EnaSupport = flag(true)
	case types.InstanceAttributeNameEnclaveOptions:
		out.EnclaveOptions = i.Desc.EnclaveOptions
	case types.InstanceAttributeNameKernel:
		out.KernelId = &types.AttributeValue{}
	case types.InstanceAttributeNameRamdisk:
		out.RamdiskId = &types.AttributeValue{}
	case types.InstanceAttributeNameProductCodes:
	default:
		return nil, invalidValue("Value (%s) for parameter attribute is invalid. Unknown attribute.", in.Attribute)
	}
	return out, nil
}

// ModifyInstanceAttribute changes one attribute. Type and user data belong to the
// next boot, so they need a stopped instance; groups are in force when it returns.
func (s *Service) ModifyInstanceAttribute(_ context.Context, in *sdk.ModifyInstanceAttributeInput) (*sdk.ModifyInstanceAttributeOutput, error) {
	defer s.enforce()
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := find(s.instances, nounInstance, aws.ToString(in.InstanceId))
	if err != nil {
		return nil, err
	}
	change, err := s.attributeChange(i, in)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	if len(in.Groups) > 0 || in.SourceDestCheck != nil {
		if len(i.Desc.NetworkInterfaces) == 0 {
			return nil, i.incorrectState("modified")
		}
		eni := s.enis.get(*i.Desc.NetworkInterfaces[0].NetworkInterfaceId)
		groups := eni.Groups
		if len(in.Groups) > 0 {
			if groups, err = s.groupsFor(*eni.VpcId, in.Groups); err != nil {
				return nil, err
			}
		}
		err = s.enis.set(*eni.NetworkInterfaceId, func(v *types.NetworkInterface) {
			v.Groups = groups
			if in.SourceDestCheck != nil {
				v.SourceDestCheck = in.SourceDestCheck.Value
			}
		})
		if err != nil {
			return nil, err
		}
		return &sdk.ModifyInstanceAttributeOutput{}, s.refreshInterfaces(eni)
	}
	return &sdk.ModifyInstanceAttributeOutput{}, s.instances.set(instanceKey(i), change)
}
