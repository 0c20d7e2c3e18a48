package validate

import (
	"pcluster/internal/config"
)

var reservationRules = []rule{
	{"CapacityReservationValidator", reservationFits},
	{"CapacityReservationSizeValidator", reservationSize},
}

func reservationFits(k *check) {
	k.resources(func(r resource) {
		target := r.queue.ReservationOf(r.ComputeResource)
		if target == nil || target.CapacityReservationId == "" {
			return
		}
		id := target.CapacityReservationId
		if r.Flexible() {
			k.errorf(r.path, "the reservation %s is for one instance type, but %s has Instances", id, r.Name)
			k.hint("use InstanceType")
			return
		}
		v, err := k.src.Reservation(k.ctx, id)
		if err != nil {
			k.errorf(r.path, "the reservation %s can't be used: %v", id, err)
			return
		}
		if r.InstanceType != "" && v.InstanceType != r.InstanceType {
			k.errorf(r.path+".InstanceType", "the reservation %s is for %s, not for %s", id, v.InstanceType, r.InstanceType)
		}
		if s, ok := k.subnets[r.queue.Networking.SubnetIds[0]]; ok && s.AZ != v.AZ {
			k.errorf(r.path, "the reservation %s is in %s, but the queue's subnet %s is in %s", id, v.AZ, s.ID, s.AZ)
		}
		if r.queue.CapacityType == config.CapacityBlock && v.Type != "capacity-block" {
			k.errorf(r.path, "the reservation %s is no capacity block", id)
		}
	})
}

func reservationSize(k *check) {
	wanted, order := map[string]int{}, []string{}
	k.resources(func(r resource) {
		if target := r.queue.ReservationOf(r.ComputeResource); target != nil && target.CapacityReservationId != "" {
			if wanted[target.CapacityReservationId] == 0 {
				order = append(order, target.CapacityReservationId)
			}
			wanted[target.CapacityReservationId] += r.MaxCount
		}
	})
	for _, id := range order {
		if v, err := k.src.Reservation(k.ctx, id); err == nil && wanted[id] > v.Total {
			k.errorf("Scheduling.SlurmQueues", "the reservation %s has %d instances, but compute resources with %d nodes use it", id, v.Total, wanted[id])
		}
	}
}
