// Package validate judges what a cluster file means: whether its parts fit each
// other, and whether what it refers to exists in the account. The shape of the
// file is package config's business.
//
// Start with [Run]. A rule is a small function under the name of its validator,
// which users know from messages and suppress by name; a name may have several
// functions. To add one, write it in the file of its domain and list it in that
// file's table. Rules see the file with its implied values and ask a facts.Source;
// they know nothing of AWS's SDK.
package validate

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

// Options are what rules need to know beside the file.
type Options struct {
	ClusterName  string
	Region       string
	Suppress     Suppress
	HeadInstance string // of the running cluster, in an update
}

// Suppress says which validators do not run.
type Suppress struct {
	all   bool
	names map[string]bool
}

var suppression = regexp.MustCompile(`^(ALL|type:[A-Za-z0-9]+)$`)

// ParseSuppress reads the values of --suppress-validators: ALL, or type:NAME.
// Names that no validator has are ignored.
func ParseSuppress(values []string) (Suppress, error) {
	s := Suppress{names: map[string]bool{}}
	for _, v := range values {
		if !suppression.MatchString(v) {
			return s, fmt.Errorf("%q is not a validator to suppress: use ALL or type:NAME, such as type:KeyPairValidator", v)
		}
		if v == "ALL" {
			s.all = true
		}
		s.names[strings.TrimPrefix(v, "type:")] = true
	}
	return s, nil
}

// A rule is one function of a validator.
type rule struct {
	name  string
	check func(*check)
}

// rules returns all rules in the order in which their findings are reported.
func rules() []rule {
	return slices.Concat(
		imageRules, instanceRules, networkRules, efaRules, reservationRules, slurmRules, volumeRules, storageRules, fsxRules,
		monitoringRules, iamRules, secretRules, clusterRules, launchRules,
		urlRules, // last, since they take longest
	)
}

// atOnce bounds the rules that run at the same time, and so the calls to AWS.
const atOnce = 16

// Run returns what the rules find. A rule that can't find out what it needs says
// so; it does not hold up the others.
func Run(ctx context.Context, c *config.Cluster, src facts.Source, o Options) []config.Problem {
	if o.Suppress.all {
		return nil
	}
	e := &env{ctx: ctx, c: c, src: src, o: o}
	e.look()
	list := slices.DeleteFunc(rules(), func(r rule) bool { return o.Suppress.names[r.name] })
	found := make([][]config.Problem, len(list))
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i, r := range list {
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots; wg.Done() }()
			k := &check{env: e, name: r.name}
			r.check(k)
			found[i] = k.found
		}()
	}
	wg.Wait()
	return slices.Concat(found...)
}

// env is what all rules of a run share.
type env struct {
	ctx context.Context
	c   *config.Cluster
	src facts.Source
	o   Options

	types    map[string]facts.InstanceType
	typesErr error
	subnets  map[string]facts.Subnet
	missing  map[string]error // subnets that could not be described
}

// look asks what most rules need, once.
func (e *env) look() {
	e.subnets, e.missing = map[string]facts.Subnet{}, map[string]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		names := facts.Names(e.c)
		for _, q := range e.c.Scheduling.SlurmQueues {
			for i := range q.ComputeResources {
				if t := q.ReservationOf(&q.ComputeResources[i]); t != nil && t.CapacityReservationId != "" {
					if r, err := e.src.Reservation(e.ctx, t.CapacityReservationId); err == nil {
						names = append(names, r.InstanceType)
					}
				}
			}
		}
		e.types, e.typesErr = e.src.InstanceTypes(e.ctx, names)
	}()
	for _, id := range facts.SubnetIDs(e.c) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			s, err := e.src.Subnet(e.ctx, id)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				e.missing[id] = err
			} else {
				e.subnets[id] = s
			}
		}()
	}
	wg.Wait()
}

// head returns the head node's instance type, if EC2 knows it.
func (e *env) head() (facts.InstanceType, bool) {
	t, ok := e.types[e.c.HeadNode.InstanceType]
	return t, ok
}

// zones returns the availability zones of subnets, sorted, each once; false if
// not all are known.
func (e *env) zones(subnets []string) ([]string, bool) {
	set := map[string]bool{}
	for _, id := range subnets {
		s, ok := e.subnets[id]
		if !ok {
			return nil, false
		}
		set[s.AZ] = true
	}
	return slices.Sorted(maps.Keys(set)), true
}

// multiZone says whether a queue spans availability zones.
func (e *env) multiZone(q *config.SlurmQueue) bool {
	z, ok := e.zones(q.Networking.SubnetIds)
	return ok && len(z) > 1
}

// resource is a compute resource with its queue and its place.
type resource struct {
	*config.ComputeResource
	queue     *config.SlurmQueue
	path      string
	queuePath string
	types     []facts.InstanceType // those that EC2 knows
}

// queues yields the Slurm queues with their paths.
func (e *env) queues(yield func(path string, q *config.SlurmQueue)) {
	for i := range e.c.Scheduling.SlurmQueues {
		yield(fmt.Sprintf("Scheduling.SlurmQueues[%d]", i), &e.c.Scheduling.SlurmQueues[i])
	}
}

// resources yields the compute resources of all Slurm queues.
func (e *env) resources(yield func(r resource)) {
	e.queues(func(path string, q *config.SlurmQueue) {
		for i := range q.ComputeResources {
			r := resource{ComputeResource: &q.ComputeResources[i], queue: q, queuePath: path, path: fmt.Sprintf("%s.ComputeResources[%d]", path, i)}
			for _, n := range e.typeNames(q, r.ComputeResource) {
				if t, ok := e.types[n]; ok {
					r.types = append(r.types, t)
				}
			}
			yield(r)
		}
	})
}

// typeNames returns a compute resource's instance types, which a reservation may give.
func (e *env) typeNames(q *config.SlurmQueue, r *config.ComputeResource) []string {
	if names := r.InstanceTypes(); len(names) > 0 {
		return names
	}
	if t := q.ReservationOf(r); t != nil && t.CapacityReservationId != "" {
		if v, err := e.src.Reservation(e.ctx, t.CapacityReservationId); err == nil && v.InstanceType != "" {
			return []string{v.InstanceType}
		}
	}
	return nil
}

// typePath returns the place of a compute resource's instance type.
func (r resource) typePath(name string) string {
	for i, in := range r.Instances {
		if in.InstanceType == name {
			return fmt.Sprintf("%s.Instances[%d].InstanceType", r.path, i)
		}
	}
	return r.path + ".InstanceType"
}

// pools yields the login pools.
func (e *env) pools(yield func(path string, p *config.LoginPool)) {
	if e.c.LoginNodes == nil {
		return
	}
	for i := range e.c.LoginNodes.Pools {
		yield(fmt.Sprintf("LoginNodes.Pools[%d]", i), &e.c.LoginNodes.Pools[i])
	}
}

// storages yields the shared storage entries.
func (e *env) storages(yield func(path string, s *config.SharedStorage)) {
	for i := range e.c.SharedStorage {
		yield(fmt.Sprintf("SharedStorage[%d]", i), &e.c.SharedStorage[i])
	}
}

// check is one run of one rule.
type check struct {
	*env
	name  string
	found []config.Problem
}

func (k *check) report(level config.Level, path, format string, args ...any) {
	k.found = append(k.found, config.Problem{
		Level: level, Validator: k.name, Path: path, Pos: k.c.Pos(path), Message: fmt.Sprintf(format, args...),
	})
}

func (k *check) errorf(path, format string, args ...any) {
	k.report(config.Error, path, format, args...)
}
func (k *check) warnf(path, format string, args ...any) {
	k.report(config.Warning, path, format, args...)
}
func (k *check) infof(path, format string, args ...any) { k.report(config.Info, path, format, args...) }

// hint says what to do about the problem reported last.
func (k *check) hint(format string, args ...any) {
	k.found[len(k.found)-1].Hint = fmt.Sprintf(format, args...)
}

// each checks that every item exists, and reports those that don't.
func (k *check) each(path string, list []string, what string, ask func(id string) error) {
	for i, id := range list {
		if err := ask(id); err != nil {
			k.errorf(fmt.Sprintf("%s[%d]", path, i), "%s %s can't be used: %v", what, id, err)
		}
	}
}
