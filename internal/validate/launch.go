package validate

import (
	"errors"
	"slices"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

var launchRules = []rule{
	{"HeadNodeLaunchTemplateValidator", tryHead},
	{"ComputeResourceLaunchTemplateValidator", tryCompute},
}

// trial returns a launch with what all nodes have in common.
func (k *check) trial(t facts.InstanceType, ami, subnet string, own, more []string, root config.RootVolume) (facts.Launch, bool) {
	image, err := k.imageOf(ami)
	if _, known := k.subnets[subnet]; !known || t.Name == "" || err != nil {
		return facts.Launch{}, false // other rules report what is missing
	}
	l := facts.Launch{
		InstanceType: t.Name, Image: image.ID, Subnet: subnet, Groups: slices.Concat(own, more), Interfaces: len(t.Cards()),
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
	l, ok := k.trial(t, k.c.HeadAMI(""), n.SubnetId, n.SecurityGroups, n.AdditionalSecurityGroups, k.c.HeadNode.LocalStorage.RootVolume.RootVolume)
	if !ok {
		return
	}
	if _, err := k.src.KeyPair(k.ctx, k.c.HeadNode.Ssh.KeyName); err == nil {
		l.KeyName = k.c.HeadNode.Ssh.KeyName
	}
	k.judge("HeadNode", l)
}

// tryCompute tries one compute resource of the first queue: one with several
// network cards if there is any.
func tryCompute(k *check) {
	var chosen *resource
	k.resources(func(r resource) {
		if r.queue != &k.c.Scheduling.SlurmQueues[0] || len(r.types) == 0 {
			return
		}
		if chosen == nil || len(chosen.types[0].Cards()) == 1 && len(r.types[0].Cards()) > 1 {
			chosen = &r
		}
	})
	if chosen == nil {
		return
	}
	r, q := *chosen, chosen.queue
	n := q.Networking
	l, ok := k.trial(r.types[0], k.c.QueueAMI(q, ""), n.SubnetIds[0], n.SecurityGroups, n.AdditionalSecurityGroups, q.ComputeSettings.LocalStorage.RootVolume)
	if !ok {
		return
	}
	l.EFA = r.Efa.Enabled
	l.PlacementGroup = q.PlacementGroupOf(r.ComputeResource).Existing()
	l.Spot, l.CapacityBlock = q.CapacityType == config.Spot, q.CapacityType == config.CapacityBlock
	if target := q.ReservationOf(r.ComputeResource); target != nil {
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
	if !k.c.Has(typePath) {
		typePath = path
	}
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
