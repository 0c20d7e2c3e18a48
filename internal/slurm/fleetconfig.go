package slurm

import (
	"fmt"

	"pcluster/internal/config"
)

// How nodes of a compute resource are launched.
const (
	RunInstances = "run-instances"
	CreateFleet  = "create-fleet"
)

// A Resource says how nodes of a compute resource are launched: one entry of
// fleet-config.json.
type Resource struct {
	API                   string            `json:"Api"`
	CapacityType          string            `json:"CapacityType"` // on-demand, spot or capacity-block
	AllocationStrategy    string            `json:"AllocationStrategy,omitempty"`
	Instances             []ResourceType    `json:"Instances"`
	MaxPrice              *float64          `json:"MaxPrice,omitempty"` // USD an hour, spot only
	Networking            *ResourceNetworks `json:"Networking,omitempty"`
	CapacityReservationID string            `json:"CapacityReservationId,omitempty"`
}

// A ResourceType is one of the instance types to choose from.
type ResourceType struct {
	InstanceType string `json:"InstanceType"`
}

// ResourceNetworks are the subnets to choose from.
type ResourceNetworks struct {
	SubnetIDs []string `json:"SubnetIds"`
}

// Subnets returns the subnets to choose from, if there is a choice.
func (r *Resource) Subnets() []string {
	if r.Networking == nil {
		return nil
	}
	return r.Networking.SubnetIDs
}

// Resources maps queue and compute resource to how the latter's nodes are launched.
type Resources map[string]map[string]Resource

// FleetConfig returns how the cluster's nodes are launched.
func FleetConfig(c *config.Cluster) Resources {
	out := make(Resources)
	for i := range c.Scheduling.SlurmQueues {
		q := &c.Scheduling.SlurmQueues[i]
		out[q.Name] = make(map[string]Resource)
		for j := range q.ComputeResources {
			out[q.Name][q.ComputeResources[j].Name] = resource(q, &q.ComputeResources[j])
		}
	}
	return out
}

func resource(q *config.SlurmQueue, r *config.ComputeResource) Resource {
	capacity := map[string]string{
		config.OnDemand: "on-demand", config.Spot: "spot", config.CapacityBlock: "capacity-block",
	}
	out := Resource{API: RunInstances, CapacityType: capacity[q.CapacityType]}
	for _, t := range r.InstanceTypes() {
		out.Instances = append(out.Instances, ResourceType{t})
	}
	if r.Flexible() {
		out.API = CreateFleet
		out.AllocationStrategy = q.AllocationStrategy
		out.Networking = &ResourceNetworks{q.Networking.SubnetIds}
		if q.CapacityType == config.Spot {
			out.MaxPrice = r.SpotPrice
		}
	}
	if t := q.ReservationOf(r); t != nil {
		out.CapacityReservationID = t.CapacityReservationId
	}
	return out
}

// JSON returns the content of fleet-config.json.
func (r Resources) JSON() []byte { return marshal(r) }

// Of returns how nodes of that compute resource are launched.
func (r Resources) Of(queue, resource string) (Resource, error) {
	out, ok := r[queue][resource]
	if !ok {
		return Resource{}, fmt.Errorf("no compute resource %q in queue %q", resource, queue)
	}
	return out, nil
}
