package validate

import (
	"slices"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

const efaHint = "it speeds up MPI at no cost: add Efa with Enabled true"

func efaOnType(k *check, r *resource) {
	if r.Flexible() {
		return
	}
	for _, t := range r.types {
		switch has := t.NetworkInfo.EfaSupported; {
		case r.Efa.Enabled && !has:
			k.errorf(r.path+".Efa.Enabled", "%s has no EFA", t.Name)
		case !r.Efa.Enabled && has && !k.multiZone(r.queue):
			k.warnf(r.typePath(t.Name), "EFA is not enabled, though %s has it", t.Name)
			k.hint(efaHint)
		}
	}
	if r.Efa.GdrSupport && !r.Efa.Enabled {
		k.errorf(r.path+".Efa.GdrSupport", "GdrSupport needs Efa.Enabled")
	}
}

func efaOnAllTypes(k *check, r *resource) {
	var with, without []string
	for _, t := range r.types {
		if t.NetworkInfo.EfaSupported {
			with = append(with, t.Name)
		} else {
			without = append(without, t.Name)
		}
	}
	slices.Sort(with)
	slices.Sort(without)
	switch {
	case r.Efa.Enabled && len(without) > 0:
		k.errorf(r.path+".Efa.Enabled", "EFA is enabled, but there is none on %s", strings.Join(without, ", "))
	case !r.Efa.Enabled && len(with) > 0 && !k.multiZone(r.queue):
		k.warnf(r.path+".Instances", "EFA is not enabled, though it is there on %s", strings.Join(with, ", "))
		k.hint(efaHint)
	}
}

// efaArchitecture can't find anything: EFA is there for every operating system on
// both architectures.
func efaArchitecture(k *check, r *resource) {
	if head, ok := k.head(); ok && r.Efa.Enabled && head.Architecture() == "" {
		k.errorf(r.path+".Efa.Enabled", "there is no EFA for %s on the architecture of %s", k.c.Image.Os, head.Name)
	}
}

func efaInOneZone(k *check, r *resource) {
	if r.Efa.Enabled && k.multiZone(r.queue) {
		k.errorf(r.path+".Efa.Enabled", "EFA works inside of one availability zone, but the queue %s spans several", r.queue.Name)
	}
}

func efaGroups(k *check, r *resource) {
	list, path := r.queue.Networking.SecurityGroups, r.queuePath+".Networking.SecurityGroups"
	if !r.Efa.Enabled || len(list) == 0 {
		return
	}
	toItself := func(id string, rules []facts.Rule) bool {
		return slices.ContainsFunc(rules, func(rule facts.Rule) bool { return rule.Protocol == "-1" && slices.Contains(rule.Groups, id) })
	}
	good := false
	for i, id := range list {
		g, err := k.src.SecurityGroup(k.ctx, id)
		if err != nil {
			k.warnf(at(path, i), "the security group %s can't be looked at: %v", id, err)
			if k.silent {
				return
			}
			continue
		}
		good = good || toItself(id, g.Ingress) && toItself(id, g.Egress)
	}
	if !good {
		k.errorf(path, "EFA needs a security group that lets all traffic to and from itself pass, but none of %s does", strings.Join(list, ", "))
		k.hint("add an inbound and an outbound rule for all protocols with the group itself as the other side")
	}
}

func efaPlacement(k *check, r *resource) {
	if !r.Efa.Enabled || r.queue.CapacityType == config.CapacityBlock || k.multiZone(r.queue) || r.inPlacementGroup() {
		return
	}
	if g := r.queue.PlacementGroupOf(r.ComputeResource); g != nil && g.Enabled != nil {
		k.warnf(r.path+".Efa", "EFA is at its best in a placement group, but that is turned off")
		return
	}
	k.errorf(r.path+".Efa", "EFA is enabled, so the file has to say whether to use a placement group")
	k.hint("set Networking.PlacementGroup.Enabled to true, or to false")
}

func placementNames(k *check, path string, g *config.PlacementGroup) {
	if g == nil {
		return
	}
	path += ".Networking.PlacementGroup"
	name := g.Existing()
	off := g.Enabled != nil && !*g.Enabled
	if g.Name != "" && g.Id != "" {
		k.errorf(path, "Name and Id exclude each other")
	}
	switch {
	case name == "":
	case off:
		k.errorf(path, "the placement group %s is named, but placement groups are turned off", name)
	default:
		if _, err := k.src.PlacementGroup(k.ctx, name); err != nil {
			k.errorf(path, "the placement group %s can't be used: %v", name, err)
		}
	}
}

func placementInBlock(k *check, r *resource) {
	if r.queue.CapacityType == config.CapacityBlock && r.inPlacementGroup() {
		k.warnf(r.path, "a capacity block has its own placement; a placement group may keep instances from launching")
	}
}

func placementInOneZone(k *check, r *resource) {
	if r.inPlacementGroup() && k.multiZone(r.queue) {
		k.errorf(r.path, "a placement group is inside of one availability zone, but the queue %s spans several", r.queue.Name)
	}
}
