package facts

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"pcluster/internal/config"
)

// A Snapshot is what template synthesis knows of the account: a plain value.
type Snapshot struct {
	Types        map[string]InstanceType
	Subnets      map[string]Subnet
	Images       map[string]Image // by ID; those of the file and the official one
	OfficialAMI  string           // empty if there is none or it isn't needed
	Addresses    map[string]Address
	Reservations map[string]Reservation
	Templates    map[config.LaunchTemplateOverrides]LaunchTemplate
	HostedZone   *HostedZone
	// InternetFacing are the subnets of login pools with a route to the internet.
	InternetFacing map[string]bool
}

// VPC returns the VPC of the cluster, which is that of the head node.
func (s *Snapshot) VPC(c *config.Cluster) string {
	return s.Subnets[c.HeadNode.Networking.SubnetId].VPC
}

// Architecture returns the architecture that all nodes share.
func (s *Snapshot) Architecture(c *config.Cluster) string {
	return s.Types[c.HeadNode.InstanceType].Architecture()
}

// Names returns all instance types that a file names, sorted.
func Names(c *config.Cluster) []string {
	set := map[string]bool{c.HeadNode.InstanceType: true}
	if c.LoginNodes != nil {
		for _, p := range c.LoginNodes.Pools {
			set[p.InstanceType] = true
		}
	}
	for _, q := range c.Scheduling.SlurmQueues {
		for i := range q.ComputeResources {
			for _, t := range q.ComputeResources[i].InstanceTypes() {
				set[t] = true
			}
		}
	}
	delete(set, "")
	return slices.Sorted(maps.Keys(set))
}

// SubnetIDs returns all subnets that a file names, sorted.
func SubnetIDs(c *config.Cluster) []string {
	set := map[string]bool{c.HeadNode.Networking.SubnetId: true}
	for _, q := range c.Scheduling.SlurmQueues {
		for _, id := range q.Networking.SubnetIds {
			set[id] = true
		}
	}
	for _, q := range c.Scheduling.AwsBatchQueues {
		for _, id := range q.Networking.SubnetIds {
			set[id] = true
		}
	}
	if c.LoginNodes != nil {
		for _, p := range c.LoginNodes.Pools {
			for _, id := range p.Networking.SubnetIds {
				set[id] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// OfficialQuery returns what to ask for when a node has no AMI of its own.
func OfficialQuery(c *config.Cluster, architecture string) ImageQuery {
	q := ImageQuery{OS: c.Image.Os, Architecture: architecture, Owner: c.DevSettings.AmiSearchFilters.Owner}
	for _, t := range c.DevSettings.AmiSearchFilters.Tags {
		if q.Tags == nil {
			q.Tags = map[string]string{}
		}
		q.Tags[t.Key] = t.Value
	}
	return q
}

// Gather asks a source for all that synthesis of the cluster's template needs, at
// once where questions don't depend on each other. The snapshot is to be used
// only if there are no errors; each says what could not be found out.
func Gather(ctx context.Context, src Source, c *config.Cluster) (Snapshot, []error) {
	s := Snapshot{
		Types: map[string]InstanceType{}, Subnets: map[string]Subnet{}, Images: map[string]Image{}, Addresses: map[string]Address{},
		Reservations: map[string]Reservation{}, Templates: map[config.LaunchTemplateOverrides]LaunchTemplate{}, InternetFacing: map[string]bool{},
	}
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		errs []error
	)
	ask := func(what string, question func() error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := question(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("%s: %w", what, err))
			}
		}()
	}
	keep := func(f func()) { mu.Lock(); defer mu.Unlock(); f() }

	// Compute resources may take their type from a reservation, so these come first.
	for _, q := range c.Scheduling.SlurmQueues {
		for i := range q.ComputeResources {
			if r := q.ReservationOf(&q.ComputeResources[i]); r != nil && r.CapacityReservationId != "" {
				id := r.CapacityReservationId
				ask("capacity reservation "+id, func() error {
					v, err := src.Reservation(ctx, id)
					keep(func() { s.Reservations[id] = v })
					return err
				})
			}
		}
	}
	wg.Wait()

	for _, q := range c.Scheduling.SlurmQueues {
		for _, r := range q.ComputeResources {
			if o := r.LaunchTemplateOverrides; o != nil {
				ask(fmt.Sprintf("launch template %s, version %d", o.LaunchTemplateId, o.Version), func() error {
					v, err := src.LaunchTemplate(ctx, o.LaunchTemplateId, o.Version)
					keep(func() { s.Templates[*o] = v })
					return err
				})
			}
		}
	}
	ask("instance types", func() error {
		names := Names(c)
		for _, r := range s.Reservations {
			if r.InstanceType != "" && !slices.Contains(names, r.InstanceType) {
				names = append(names, r.InstanceType)
			}
		}
		types, err := src.InstanceTypes(ctx, names)
		if err != nil {
			return err
		}
		for _, n := range names {
			if _, ok := types[n]; !ok {
				return missing("InvalidInstanceType", "EC2 knows no instance type %s", n)
			}
		}
		keep(func() { s.Types = types })
		return nil
	})
	for _, id := range SubnetIDs(c) {
		ask("subnet "+id, func() error {
			v, err := src.Subnet(ctx, id)
			keep(func() { s.Subnets[id] = v })
			return err
		})
	}
	for _, id := range ImageIDs(c) {
		ask("image "+id, func() error {
			v, err := src.Image(ctx, id)
			keep(func() { s.Images[id] = v })
			return err
		})
	}
	if ip := string(c.HeadNode.Networking.ElasticIp); ip != "" && ip != "true" && ip != "false" {
		ask("Elastic IP "+ip, func() error {
			v, err := src.Address(ctx, ip)
			keep(func() { s.Addresses[ip] = v })
			return err
		})
	}
	if id := c.Scheduling.SlurmSettings.Dns.HostedZoneId; id != "" {
		ask("hosted zone "+id, func() error {
			v, err := src.HostedZone(ctx, id)
			keep(func() { s.HostedZone = &v })
			return err
		})
	}
	if c.LoginNodes != nil {
		for _, p := range c.LoginNodes.Pools {
			for _, id := range p.Networking.SubnetIds {
				ask("routes of subnet "+id, func() error {
					v, err := src.InternetFacing(ctx, id)
					keep(func() { s.InternetFacing[id] = v })
					return err
				})
			}
		}
	}
	wg.Wait()

	if arch := s.Architecture(c); arch != "" && needsOfficial(c) {
		ask("official AMI", func() error {
			v, err := src.OfficialImage(ctx, OfficialQuery(c, arch))
			keep(func() { s.OfficialAMI = v.ID; s.Images[v.ID] = v })
			return err
		})
		wg.Wait()
	}
	slices.SortFunc(errs, func(a, b error) int {
		if a.Error() < b.Error() {
			return -1
		}
		return 1
	})
	return s, errs
}

// ImageIDs returns the AMIs that a file names, sorted.
func ImageIDs(c *config.Cluster) []string {
	set := map[string]bool{c.Image.CustomAmi: true, c.HeadNode.Image.CustomAmi: true}
	for _, q := range c.Scheduling.SlurmQueues {
		set[q.Image.CustomAmi] = true
	}
	if c.LoginNodes != nil {
		for _, p := range c.LoginNodes.Pools {
			set[p.Image.CustomAmi] = true
		}
	}
	delete(set, "")
	return slices.Sorted(maps.Keys(set))
}

// needsOfficial says whether some node has no AMI of the file.
func needsOfficial(c *config.Cluster) bool {
	if c.HeadAMI("") == "" {
		return true
	}
	for i := range c.Scheduling.SlurmQueues {
		if c.QueueAMI(&c.Scheduling.SlurmQueues[i], "") == "" {
			return true
		}
	}
	if c.LoginNodes != nil {
		for i := range c.LoginNodes.Pools {
			if c.LoginAMI(&c.LoginNodes.Pools[i], "") == "" {
				return true
			}
		}
	}
	return false
}
