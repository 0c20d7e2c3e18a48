package validate

import (
	"errors"
	"slices"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

// trial returns a launch with what all nodes have in common. It fails where EC2
// would not even be asked.
func (k *check) trial(path string, t facts.InstanceType, ami, subnet string, own, more []string, root config.RootVolume) (facts.Launch, bool) {
	if _, err := k.src.Subnet(k.ctx, subnet); err != nil {
		k.errorf(path, "a trial launch is not possible: the subnet %s can't be used: %v", subnet, err)
		return facts.Launch{}, false
	}
	image, err := k.image(ami)
	if t.Name == "" || err != nil {
		return facts.Launch{}, false // what is missing aborts
	}
	l := facts.Launch{
		InstanceType: t.Name, Image: image.ID, Subnet: subnet, Groups: slices.Concat(own, more), Interfaces: cards(t),
		RootDevice: image.RootDevice, RootType: root.VolumeType, RootEncrypted: root.Encrypted,
		RequireIMDSv2: k.c.Imds.ImdsSupport == "v2.0", Tags: map[string]string{},
	}
	for field, v := range map[*int]*int{&l.RootSize: root.Size, &l.RootIops: root.Iops, &l.RootThroughput: root.Throughput} {
		if v != nil {
			*field = *v
		}
	}
	for _, tag := range k.c.Tags {
		l.Tags[tag.Key] = tag.Value
	}
	return l, true
}

func tryHead(k *check) {
	t, _ := k.head()
	n := k.c.HeadNode.Networking
	l, ok := k.trial("HeadNode.Networking.SubnetId", t, k.c.HeadAMI(""), n.SubnetId, n.SecurityGroups, n.AdditionalSecurityGroups, k.c.HeadNode.LocalStorage.RootVolume.RootVolume)
	if !ok {
		return
	}
	if _, err := k.src.KeyPair(k.ctx, k.c.HeadNode.Ssh.KeyName); err == nil {
		l.KeyName = k.c.HeadNode.Ssh.KeyName
	}
	k.judge("HeadNode", l)
}

// tryCompute tries one compute resource of a queue: the first with several
// network cards, or else the first.
func tryCompute(k *check, path string, q *config.SlurmQueue) {
	list := slices.DeleteFunc(k.resourcesOf(path, q), func(r *resource) bool { return len(r.types) == 0 })
	if len(q.ComputeResources) == 0 {
		k.errorf(path+".ComputeResources", "the queue %s has no compute resource", q.Name)
	}
	if len(list) == 0 || len(q.Networking.SubnetIds) == 0 {
		return
	}
	r := list[max(0, slices.IndexFunc(list, func(r *resource) bool { least, _ := r.cards(); return least > 1 }))]
	n := q.Networking
	l, ok := k.trial(path+".Networking.SubnetIds", r.types[0], k.c.QueueAMI(q, ""), n.SubnetIds[0], n.SecurityGroups, n.AdditionalSecurityGroups, q.ComputeSettings.LocalStorage.RootVolume)
	if !ok {
		return
	}
	least, _ := r.cards()
	l.Interfaces, l.EFA = max(1, least), r.Efa.Enabled
	l.PlacementGroup = q.PlacementGroupOf(r.ComputeResource).Existing()
	l.Spot, l.CapacityBlock = q.CapacityType == config.Spot, q.CapacityType == config.CapacityBlock
	if target := r.target(); target != nil {
		l.Reservation, l.ReservationGroup = target.CapacityReservationId, target.CapacityReservationResourceGroupArn
	}
	if p := n.AssignPublicIp; p != nil && *p && l.Interfaces > 1 {
		l.PublicIP = p
	}
	k.judge(r.path, l)
}

// judge tries a launch and explains a refusal.
func (k *check) judge(path string, l facts.Launch) {
	err := k.src.TrialLaunch(k.ctx, l)
	if err == nil {
		return
	}
	typePath := path + ".InstanceType"
	var refusal *facts.Error
	if !errors.As(err, &refusal) {
		k.errorf(path, "a trial launch failed: %v", err)
		return
	}
	switch refusal.Code {
	case "InstanceLimitExceeded", "VcpuLimitExceeded":
		k.errorf(typePath, "the account's quota does not allow to launch %s: %v", l.InstanceType, err)
		k.hint("ask for a higher quota")
	case "InsufficientInstanceCapacity":
		k.errorf(typePath, "EC2 has no capacity for %s now: %v", l.InstanceType, err)
	case "InsufficientFreeAddressesInSubnet":
		k.errorf(path, "the subnet %s has no free addresses", l.Subnet)
	case "InvalidParameterCombination":
		// Other texts are about combinations that only this trial has.
		if strings.Contains(refusal.Message, "associatePublicIPAddress") {
			k.warnf(path, "instances with several network cards can't have public addresses by themselves")
		}
	case "Unsupported":
		zones, zoneErr := k.src.Zones(k.ctx, l.InstanceType)
		if az := k.subnets[l.Subnet].AZ; zoneErr == nil && !slices.Contains(zones, az) {
			k.errorf(typePath, "%s is not offered in %s, where the subnet %s is; it is in %s", l.InstanceType, az, l.Subnet, strings.Join(zones, ", "))
			return
		}
		k.errorf(typePath, "EC2 can't launch %s so: %v", l.InstanceType, err)
	default:
		k.errorf(path, "EC2 would not launch %s: %v", l.InstanceType, err)
	}
}
