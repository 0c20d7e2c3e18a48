package validate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/facts/catalog"
)

// Cluster returns what is wrong with a cluster file that has the right shape.
func Cluster(ctx context.Context, c *config.Cluster, src facts.Source, o Options) Report {
	e := &env{ctx: ctx, src: src, o: o, c: c, pos: c.Pos}
	if more, err := facts.Override(src, c.DevSettings.InstanceTypesData); err == nil {
		e.src = more
	} else {
		const path = "DevSettings.InstanceTypesData"
		return Report{Aborted: config.Problems{{Level: config.Error, Path: path, Pos: c.Pos(path), Message: err.Error()}}}
	}
	src.Ahead(ctx, questions(c))
	aborted, missing := e.look()
	var p plan
	e.order(&p)
	found, unanswered := run(ctx, &p, e)
	return Report{Found: found, Aborted: aborted, Unanswered: unanswered, missing: missing}
}

// questions returns what the checks of a file are going to ask.
func questions(c *config.Cluster) facts.Questions {
	q := facts.Questions{Types: facts.Names(c), Subnets: facts.SubnetIDs(c), Images: facts.ImageIDs(c)}
	groups := map[string]bool{}
	add := func(lists ...[]string) {
		for _, l := range lists {
			for _, id := range l {
				groups[id] = true
			}
		}
	}
	add(c.HeadNode.Networking.SecurityGroups, c.HeadNode.Networking.AdditionalSecurityGroups)
	reservations := map[string]bool{}
	for i := range c.Scheduling.SlurmQueues {
		queue := &c.Scheduling.SlurmQueues[i]
		add(queue.Networking.SecurityGroups, queue.Networking.AdditionalSecurityGroups)
		for j := range queue.ComputeResources {
			if t := queue.ReservationOf(&queue.ComputeResources[j]); t != nil && t.CapacityReservationId != "" {
				reservations[t.CapacityReservationId] = true
			}
		}
	}
	for i := range c.Scheduling.AwsBatchQueues {
		n := c.Scheduling.AwsBatchQueues[i].Networking
		add(n.SecurityGroups, n.AdditionalSecurityGroups)
	}
	if c.LoginNodes != nil {
		for _, p := range c.LoginNodes.Pools {
			add(p.Networking.SecurityGroups, p.Networking.AdditionalSecurityGroups)
		}
	}
	if v := c.DeploymentSettings.LambdaFunctionsVpcConfig; v != nil {
		add(v.SecurityGroupIds)
		q.Subnets = append(q.Subnets, v.SubnetIds...)
	}
	for i := range c.SharedStorage {
		if s := &c.SharedStorage[i]; s.StorageType == config.Ebs {
			if id := s.EbsSettings.VolumeId; id != "" {
				q.Volumes = append(q.Volumes, id)
			}
			if id := s.EbsSettings.SnapshotId; id != "" {
				q.Snapshots = append(q.Snapshots, id)
			}
		}
	}
	q.Groups, q.Reservations = slices.Sorted(maps.Keys(groups)), slices.Sorted(maps.Keys(reservations))
	return q
}

// env is what all checks of a run share.
type env struct {
	ctx context.Context
	src facts.Source
	o   Options
	pos func(path string) config.Pos

	c   *config.Cluster   // of a cluster file
	img *config.ImageFile // of an image file

	types    map[string]facts.InstanceType // those that EC2 knows
	offered  map[string]bool               // nil if not known
	subnets  map[string]facts.Subnet       // those that EC2 knows
	official facts.Image                   // AMI of nodes that have none of their own
	noImage  error                         // why there is no official
}

// look asks what most checks rest on, and returns what they can't do without, also
// by name.
func (e *env) look() (aborted config.Problems, gone []string) {
	c := e.c
	var (
		mu sync.Mutex
		wg sync.WaitGroup
	)
	abort := func(name, path, hint, format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		if name != "" {
			gone = append(gone, name)
		}
		aborted = append(aborted, config.Problem{Level: config.Error, Path: path, Pos: e.pos(path), Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	e.subnets = map[string]facts.Subnet{}
	missing := map[string]error{}
	for _, id := range facts.SubnetIDs(c) {
		wg.Go(func() {
			s, err := e.src.Subnet(e.ctx, id)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				missing[id] = err
			} else {
				e.subnets[id] = s
			}
		})
	}
	var typesErr, offeredErr error
	wg.Go(func() { e.offered, offeredErr = e.src.Offered(e.ctx) })
	wg.Go(func() {
		names := facts.Names(c)
		for i := range c.Scheduling.SlurmQueues {
			q := &c.Scheduling.SlurmQueues[i]
			for j := range q.ComputeResources {
				r := &q.ComputeResources[j]
				if t := q.ReservationOf(r); t != nil && t.CapacityReservationId != "" && len(r.InstanceTypes()) == 0 {
					v, err := e.src.Reservation(e.ctx, t.CapacityReservationId)
					switch {
					case err == nil:
						names = append(names, v.InstanceType)
					case !errors.Is(err, facts.ErrOffline):
						abort(t.CapacityReservationId, resourcePath(i, j), "", "the capacity reservation %s, which says what the instance type is, can't be used: %v", t.CapacityReservationId, err)
					}
				}
			}
		}
		for _, q := range c.Scheduling.AwsBatchQueues {
			for _, r := range q.ComputeResources {
				for _, t := range r.InstanceTypes {
					if isType(t) {
						names = append(names, t)
					}
				}
			}
		}
		slices.Sort(names)
		e.types, typesErr = e.src.InstanceTypes(e.ctx, slices.Compact(names))
	})
	for i := range c.SharedStorage {
		s := &c.SharedStorage[i]
		if isFSx(s) && !s.Managed() && s.StorageType != config.FileCache {
			wg.Go(func() {
				if _, err := e.existing(e.ctx, s); err != nil && !errors.Is(err, facts.ErrOffline) {
					abort(s.ExistingID(), at("SharedStorage", i), "", "the file system of %s can't be used: %v", s.ExistingID(), err)
				}
			})
		}
	}
	wg.Wait()

	if typesErr != nil && !errors.Is(typesErr, facts.ErrOffline) {
		abort("", "", "", "instance types can't be looked up: %v", typesErr)
	}
	offline := errors.Is(offeredErr, facts.ErrOffline)
	if typesErr == nil && !offline {
		e.unknownTypes(func(path, name string) { abort(name, path, nearType(name), "there is no instance type %s", name) })
	}
	e.mixedMemory(func(path, name string) {
		abort("", path, "", "EC2 does not say how much memory %s has, so that its compute resource's types can't be compared", name)
	})
	subnet := func(path, id string) {
		if err := missing[id]; err != nil && !errors.Is(err, facts.ErrOffline) {
			hint := ""
			if facts.NotFound(err) {
				hint = fmt.Sprintf("is it in the region %s and in this account?", e.o.Region)
			}
			abort(id, path, hint, "the subnet %s can't be used: %v", id, err)
		}
	}
	if len(c.SharedStorage) > 0 {
		subnet("HeadNode.Networking.SubnetId", c.HeadNode.Networking.SubnetId)
	}
	for i, q := range c.Scheduling.SlurmQueues {
		for j, id := range q.Networking.SubnetIds {
			subnet(fmt.Sprintf("Scheduling.SlurmQueues[%d].Networking.SubnetIds[%d]", i, j), id)
		}
	}
	for i, q := range c.Scheduling.AwsBatchQueues {
		for j, id := range q.Networking.SubnetIds {
			subnet(fmt.Sprintf("Scheduling.AwsBatchQueues[%d].Networking.SubnetIds[%d]", i, j), id)
		}
	}
	e.findImages(abort)
	if c.LoginNodes != nil && c.Scheduling.Scheduler == config.AWSBatch {
		abort("", "LoginNodes", "remove them, or use slurm", "login nodes do not go with the scheduler awsbatch")
	}
	slices.SortStableFunc(aborted, func(a, b config.Problem) int {
		if a.Pos.Line != b.Pos.Line {
			return a.Pos.Line - b.Pos.Line
		}
		return a.Pos.Column - b.Pos.Column
	})
	return aborted, gone
}

// unknownTypes yields the instance types of head and compute nodes that EC2 does
// not know, each once.
func (e *env) unknownTypes(yield func(path, name string)) {
	seen := map[string]bool{"": true}
	try := func(path, name string) {
		if _, ok := e.types[name]; !ok && !seen[name] {
			seen[name] = true
			yield(path, name)
		}
	}
	try("HeadNode.InstanceType", e.c.HeadNode.InstanceType)
	e.resources(func(r *resource) {
		for _, n := range r.names {
			try(r.typePath(n), n)
		}
	})
}

// mixedMemory yields types of unknown memory among several of one compute resource.
func (e *env) mixedMemory(yield func(path, name string)) {
	e.resources(func(r *resource) {
		for _, t := range r.types {
			if len(r.types) > 1 && t.MemoryInfo.SizeInMiB == 0 {
				yield(r.typePath(t.Name), t.Name)
				return
			}
		}
	})
}

// findImages looks up the AMIs that nodes boot.
func (e *env) findImages(abort func(name, path, hint, format string, args ...any)) {
	needed := map[string]string{} // AMI, empty for the official one → place
	need := func(path, ami string) {
		if _, ok := needed[ami]; !ok {
			needed[ami] = path
		}
	}
	place := func(own, path string) string {
		if own != "" {
			return path + ".Image.CustomAmi"
		}
		if e.c.Image.CustomAmi != "" {
			return "Image.CustomAmi"
		}
		return "Image.Os"
	}
	need(place(e.c.HeadNode.Image.CustomAmi, "HeadNode"), e.c.HeadAMI(""))
	e.queues(func(path string, q *config.SlurmQueue) { need(place(q.Image.CustomAmi, path), e.c.QueueAMI(q, "")) })
	e.pools(func(path string, p *config.LoginPool) {
		if ami := e.c.LoginAMI(p, ""); ami == "" {
			need("Image.Os", "")
		}
	})
	for _, ami := range slices.Sorted(maps.Keys(needed)) {
		if ami != "" {
			if _, err := e.src.Image(e.ctx, ami); err != nil && !errors.Is(err, facts.ErrOffline) {
				abort(ami, needed[ami], "", "the AMI %s can't be used: %v", ami, err)
			}
			continue
		}
		head, ok := e.head()
		if !ok {
			e.noImage = facts.ErrOffline // the head node's type is unknown, which is reported
			continue
		}
		if e.official, e.noImage = e.src.OfficialImage(e.ctx, facts.OfficialQuery(e.c, head.Architecture())); e.noImage != nil && !errors.Is(e.noImage, facts.ErrOffline) {
			abort("official AMI", needed[ami], "give Image.CustomAmi", "the official AMI for %s can't be used: %v", e.c.Image.Os, e.noImage)
		}
	}
}

// nearType returns a hint at the instance type that may have been meant.
func nearType(name string) string {
	if near := catalog.Nearest(name); near != "" && near != name {
		return "did you mean " + near + "?"
	}
	return ""
}

// image describes the AMI that a node boots, the official one if the file gives none.
func (k *check) image(ami string) (facts.Image, error) {
	if ami != "" {
		return k.src.Image(k.ctx, ami)
	}
	if errors.Is(k.noImage, facts.ErrOffline) {
		k.unanswered = true
	}
	return k.official, k.noImage
}

// head returns the head node's instance type, if EC2 knows it.
func (e *env) head() (facts.InstanceType, bool) {
	t, ok := e.types[e.c.HeadNode.InstanceType]
	return t, ok
}

// subnet returns a subnet of the file, if EC2 knows it.
func (k *check) subnet(id string) (facts.Subnet, bool) {
	s, ok := k.subnets[id]
	if !ok {
		if _, err := k.src.Subnet(k.ctx, id); errors.Is(err, facts.ErrOffline) {
			k.unanswered = true
		}
	}
	return s, ok
}

// headSubnet returns the head node's subnet, if EC2 knows it.
func (k *check) headSubnet() (facts.Subnet, bool) {
	return k.subnet(k.c.HeadNode.Networking.SubnetId)
}

// zones returns the availability zones of subnets, sorted, each once; false if
// not all are known.
func (k *check) zones(subnets []string) ([]string, bool) {
	set := map[string]bool{}
	for _, id := range subnets {
		s, ok := k.subnet(id)
		if !ok {
			return nil, false
		}
		set[s.AZ] = true
	}
	return slices.Sorted(maps.Keys(set)), true
}

// multiZone says whether a queue spans availability zones. Where zones are not
// known, different subnets are taken to be in different zones, as they have to be.
func (k *check) multiZone(q *config.SlurmQueue) bool {
	if len(q.Networking.SubnetIds) < 2 {
		return false
	}
	z, ok := k.zones(q.Networking.SubnetIds)
	return len(z) > 1 || !ok
}

// computeSubnets returns the subnets of all queues, in the order of the file, each once.
func (e *env) computeSubnets() []string {
	var out []string
	add := func(list []string) {
		for _, id := range list {
			if !slices.Contains(out, id) {
				out = append(out, id)
			}
		}
	}
	for _, q := range e.c.Scheduling.SlurmQueues {
		add(q.Networking.SubnetIds)
	}
	for _, q := range e.c.Scheduling.AwsBatchQueues {
		add(q.Networking.SubnetIds)
	}
	return out
}

// clusterSubnets returns the subnets of the head node and of all queues, each once.
func (e *env) clusterSubnets() []string {
	head := e.c.HeadNode.Networking.SubnetId
	return append([]string{head}, slices.DeleteFunc(e.computeSubnets(), func(id string) bool { return id == head })...)
}

// resource is a compute resource of Slurm with its queue and its place.
type resource struct {
	*config.ComputeResource
	queue     *config.SlurmQueue
	path      string
	queuePath string
	names     []string             // of its instance types, which a reservation may give
	types     []facts.InstanceType // those that EC2 knows
}

func queuePath(i int) string       { return at("Scheduling.SlurmQueues", i) }
func resourcePath(i, j int) string { return at(queuePath(i)+".ComputeResources", j) }

// queues yields the Slurm queues with their paths.
func (e *env) queues(yield func(path string, q *config.SlurmQueue)) {
	for i := range e.c.Scheduling.SlurmQueues {
		yield(queuePath(i), &e.c.Scheduling.SlurmQueues[i])
	}
}

// resourcesOf returns the compute resources of a queue.
func (e *env) resourcesOf(path string, q *config.SlurmQueue) []*resource {
	out := make([]*resource, len(q.ComputeResources))
	for i := range q.ComputeResources {
		r := &resource{ComputeResource: &q.ComputeResources[i], queue: q, queuePath: path, path: at(path+".ComputeResources", i)}
		r.names = r.InstanceTypes()
		if t := q.ReservationOf(r.ComputeResource); len(r.names) == 0 && t != nil && t.CapacityReservationId != "" {
			if v, err := e.src.Reservation(e.ctx, t.CapacityReservationId); err == nil && v.InstanceType != "" {
				r.names = []string{v.InstanceType}
			}
		}
		for _, n := range r.names {
			if t, ok := e.types[n]; ok {
				r.types = append(r.types, t)
			}
		}
		out[i] = r
	}
	return out
}

// resources yields the compute resources of all Slurm queues.
func (e *env) resources(yield func(r *resource)) {
	e.queues(func(path string, q *config.SlurmQueue) {
		for _, r := range e.resourcesOf(path, q) {
			yield(r)
		}
	})
}

// typePath returns the place of a compute resource's instance type.
func (r *resource) typePath(name string) string {
	for i, in := range r.Instances {
		if in.InstanceType == name {
			return at(r.path+".Instances", i) + ".InstanceType"
		}
	}
	return r.path + ".InstanceType"
}

// target returns the capacity reservation that holds for the resource, or nil.
func (r *resource) target() *config.CapacityReservationTarget {
	return r.queue.ReservationOf(r.ComputeResource)
}

// pools yields the login pools.
func (e *env) pools(yield func(path string, p *config.LoginPool)) {
	if e.c.LoginNodes == nil {
		return
	}
	for i := range e.c.LoginNodes.Pools {
		yield(at("LoginNodes.Pools", i), &e.c.LoginNodes.Pools[i])
	}
}

// storages yields the shared storage entries.
func (e *env) storages(yield func(path string, s *config.SharedStorage)) {
	for i := range e.c.SharedStorage {
		yield(at("SharedStorage", i), &e.c.SharedStorage[i])
	}
}

// isFSx says whether storage is a file system or a cache of FSx.
func isFSx(s *config.SharedStorage) bool {
	return s.StorageType != config.Ebs && s.StorageType != config.Efs
}

// existing looks up an FSx file system or cache that the file refers to.
func (e *env) existing(ctx context.Context, s *config.SharedStorage) (facts.FSx, error) {
	switch s.StorageType {
	case config.FsxLustre:
		return e.src.FSx(ctx, s.ExistingID())
	case config.FileCache:
		return e.src.FileCache(ctx, s.ExistingID())
	}
	return e.src.FSxVolume(ctx, s.ExistingID())
}
