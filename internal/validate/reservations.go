package validate

import (
	"slices"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

// targetPath returns where the reservation of a compute resource is given.
func (r *resource) targetPath() string {
	if r.CapacityReservationTarget != nil {
		return r.path + ".CapacityReservationTarget"
	}
	return r.queuePath + ".CapacityReservationTarget"
}

func reservationFits(k *check, r *resource) {
	target := r.target()
	if target == nil || target.CapacityReservationId == "" {
		return
	}
	id, path := target.CapacityReservationId, r.targetPath()
	if r.Flexible() {
		k.errorf(path, "the reservation %s is for one instance type, but %s has Instances", id, r.Name)
		k.hint("use InstanceType")
		return
	}
	v, err := k.src.Reservation(k.ctx, id)
	if err != nil {
		k.errorf(path, "the reservation %s can't be used: %v", id, err)
		return
	}
	if r.InstanceType != "" && v.InstanceType != r.InstanceType {
		k.errorf(r.path+".InstanceType", "the reservation %s is for %s, not for %s", id, v.InstanceType, r.InstanceType)
	}
	if len(r.queue.Networking.SubnetIds) > 0 {
		if s, ok := k.subnet(r.queue.Networking.SubnetIds[0]); ok && s.AZ != v.AZ {
			k.errorf(path, "the reservation %s is in %s, but the queue's subnet %s is in %s", id, v.AZ, s.ID, s.AZ)
		}
	}
	if r.queue.CapacityType == config.CapacityBlock && v.Type != "capacity-block" {
		k.errorf(path, "the reservation %s is no capacity block", id)
	}
}

// reservationSize adds up what all compute resources want of each reservation.
func reservationSize(k *check) {
	wanted, first := map[string]int{}, map[string]string{}
	var order []string
	k.resources(func(r *resource) {
		if target := r.target(); target != nil && target.CapacityReservationId != "" {
			id := target.CapacityReservationId
			if first[id] == "" {
				order, first[id] = append(order, id), r.targetPath()
			}
			wanted[id] += r.MaxCount
		}
	})
	for _, id := range order {
		v, err := k.src.Reservation(k.ctx, id)
		if err == nil && wanted[id] > max(v.Total, v.Requested) {
			k.errorf(first[id], "the reservation %s has %d instances, but compute resources with %d nodes use it", id, max(v.Total, v.Requested), wanted[id])
		}
	}
}

// reservationsOf returns the members of the resource group that a compute
// resource targets; false if that can't be found out.
func (k *check) reservationsOf(r *resource) ([]facts.Reservation, bool) {
	target := r.target()
	if id := target.CapacityReservationId; id != "" {
		v, err := k.src.Reservation(k.ctx, id)
		return []facts.Reservation{v}, err == nil
	}
	g, err := k.src.ReservationGroup(k.ctx, target.CapacityReservationResourceGroupArn)
	if err != nil {
		return nil, false
	}
	var out []facts.Reservation
	for _, id := range g.Reservations {
		v, err := k.src.Reservation(k.ctx, id)
		if err != nil {
			return nil, false
		}
		out = append(out, v)
	}
	return out, true
}

func reservationGroup(k *check, r *resource) {
	target := r.target()
	if target == nil || target.CapacityReservationResourceGroupArn == "" {
		return
	}
	arn, path := target.CapacityReservationResourceGroupArn, r.targetPath()
	g, err := k.src.ReservationGroup(k.ctx, arn)
	switch {
	case err != nil:
		k.errorf(path, "the resource group %s can't be used: %v", arn, err)
		return
	case !g.Pool:
		k.errorf(path, "the resource group %s is no pool of capacity reservations", arn)
		return
	}
	list, ok := k.reservationsOf(r)
	zones, known := k.zones(r.queue.Networking.SubnetIds)
	if !known {
		return
	}
	if !ok {
		k.errorf(path, "the reservations of the resource group %s can't be looked up", arn)
		return
	}
	covered := map[string]bool{} // zones with a reservation for any of the types
	gaps := false
	for _, name := range r.names {
		in := map[string]bool{}
		for _, v := range list {
			if v.InstanceType == name && slices.Contains(zones, v.AZ) {
				in[v.AZ], covered[v.AZ] = true, true
			}
		}
		if len(in) == 0 {
			k.errorf(r.typePath(name), "the resource group %s has no reservation of %s in %s, where the queue is", arn, name, strings.Join(zones, ", "))
		}
		gaps = gaps || len(in) < len(zones)
	}
	if gaps {
		k.warnf(path, "the resource group %s does not have reservations for every instance type of %s in all of %s", arn, r.Name, strings.Join(zones, ", "))
	}
	inCovered := 0
	for _, id := range r.queue.Networking.SubnetIds {
		if covered[k.subnets[id].AZ] {
			inCovered++
		}
	}
	switch inCovered {
	case 0:
		k.errorf(path, "the resource group %s has no reservation in any availability zone of the queue %s", arn, r.queue.Name)
	case len(r.queue.Networking.SubnetIds):
	default:
		k.warnf(path, "the resource group %s has reservations in %d of the %d availability zones of the queue %s", arn, inCovered, len(r.queue.Networking.SubnetIds), r.queue.Name)
	}
}

// reservationPlacement: a reservation made in a placement group is used by
// instances in that group only. What is known of one instance type counts for
// those after it, as users of several types know it from ParallelCluster.
func reservationPlacement(k *check, r *resource) {
	if r.target() == nil || k.multiZone(r.queue) {
		return
	}
	list, ok := k.reservationsOf(r)
	zones, known := k.zones(r.queue.Networking.SubnetIds)
	if !ok || !known || len(zones) == 0 {
		return // other validators say why
	}
	group := r.queue.PlacementGroupOf(r.ComputeResource)
	name := group.Existing()
	if group.Managed() {
		name = r.queue.Name + "-" + r.Name
	}
	path := r.targetPath()
	free, inGroup := false, false
	for _, t := range r.names {
		freeOfType := false
		for _, v := range list {
			if v.InstanceType != t || v.AZ != zones[0] {
				continue
			}
			switch of := v.PlacementGroup[strings.LastIndexByte(v.PlacementGroup, '/')+1:]; {
			case v.PlacementGroup == "":
				free, freeOfType = true, true
			case of == name:
				inGroup = true
			}
		}
		switch {
		case name == "" && !freeOfType:
			k.errorf(path, "no reservation of %s is outside of placement groups, but %s has none", t, r.Name)
		case name == "":
		case !free && !inGroup:
			k.errorf(path, "no reservation of %s is in the placement group %s or outside of placement groups", t, name)
		case free:
			k.warnf(path, "reservations of %s are not in a placement group, so EC2 may have no capacity for them in %s", t, name)
		}
	}
}
