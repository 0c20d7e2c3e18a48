//go:build linux

package sandbox

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"

	"pcluster/internal/sandbox/ec2"
	"pcluster/internal/sandbox/fault"
	"pcluster/internal/sandbox/machine"
	"pcluster/internal/sandbox/vpc"
)

// A Cut is a broken connection between an instance and another, or all the world.
type Cut struct {
	Instance string `json:"instance"`
	Other    string `json:"other,omitempty"`
}

// Faults are what goes wrong in a region because somebody wants to see it.
type Faults struct {
	Faults []fault.Fault `json:"faults,omitempty"`
	Cuts   []Cut         `json:"cuts,omitempty"`
}

// faults are a region's, and what they need to take effect.
type faults struct {
	set fault.Set

	mu   sync.Mutex
	cuts []Cut
}

// knows says of a fault of calls that the region has no such operation. Those of S3
// have no model here and can't be broken.
func (r *Region) knows(f fault.Fault) error {
	service, operation, call := strings.Cut(f.Of, ":")
	if !call || f.Kind == fault.Boot {
		return nil
	}
	handlers, err := r.handlers()
	if err != nil {
		return err
	}
	h, ok := handlers[service].(interface{ Operations() []string })
	if !ok {
		return fmt.Errorf("%s: calls can be broken of %s", f.Of, strings.Join(slices.Sorted(maps.Keys(handlers)), ", "))
	}
	if operation != "*" && !slices.Contains(h.Operations(), operation) {
		return fmt.Errorf("%s: the region's %s has no operation %s", f.Of, service, operation)
	}
	return nil
}

// address is that of an instance inside the region.
func (r *Region) address(ctx context.Context, id string) (netip.Addr, error) {
	out, err := r.ec2.DescribeInstances(ctx, &sdk.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil {
		return netip.Addr{}, err
	}
	for _, reservation := range out.Reservations {
		for _, i := range reservation.Instances {
			if a, err := netip.ParseAddr(aws.ToString(i.PrivateIpAddress)); err == nil {
				return a, nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("instance %s has no address any more", id)
}

// cut breaks the connection between an instance and another, or all the world.
func (r *Region) cut(ctx context.Context, c Cut) error {
	r.faults.mu.Lock()
	defer r.faults.mu.Unlock()
	cuts := append(slices.Clone(r.faults.cuts), c)
	if err := r.setCuts(ctx, cuts); err != nil {
		return err
	}
	r.faults.cuts = cuts
	return nil
}

func (r *Region) setCuts(ctx context.Context, cuts []Cut) error {
	var all []vpc.Cut
	for _, c := range cuts {
		from, err := r.address(ctx, c.Instance)
		if err != nil {
			return err
		}
		var to netip.Addr
		if c.Other != "" {
			if to, err = r.address(ctx, c.Other); err != nil {
				return err
			}
		}
		all = append(all, vpc.Cut{Addr: from, Other: to})
	}
	return r.net.SetCuts(all)
}

// listFaults returns what is not over.
func (r *Region) listFaults() Faults {
	r.faults.mu.Lock()
	defer r.faults.mu.Unlock()
	return Faults{Faults: r.faults.set.List(), Cuts: slices.Clone(r.faults.cuts)}
}

// mend ends all faults, and says how many there were.
func (r *Region) mend(ctx context.Context) (int, error) {
	r.faults.mu.Lock()
	defer r.faults.mu.Unlock()
	n := len(r.faults.cuts)
	if n > 0 {
		if err := r.setCuts(ctx, nil); err != nil {
			return 0, err
		}
		r.faults.cuts = nil
	}
	return n + r.faults.set.Clear() + r.ec2.Heal(), nil
}

// kill takes the power of an instance's machine away. EC2 shows what it shows of
// failed hardware.
func (r *Region) kill(ctx context.Context, id string) error {
	if !slices.Contains(r.machines.Running(), id) {
		return fmt.Errorf("no machine %s runs", id)
	}
	return r.machines.Kill(ctx, id)
}

// faultyMachines are machines some of which get power and never boot.
type faultyMachines struct {
	ec2.Machines
	faults *fault.Set
	exited func(machine.Exit)

	mu   sync.Mutex
	hung map[string]bool
}

func (m *faultyMachines) Start(ctx context.Context, s machine.Spec) error {
	if m.faults.Boots(s.TypeName) {
		return m.Machines.Start(ctx, s)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hung == nil {
		m.hung = make(map[string]bool)
	}
	m.hung[s.ID] = true
	return nil
}

// end takes the power of a machine that never booted away.
func (m *faultyMachines) end(id string) bool {
	m.mu.Lock()
	hung := m.hung[id]
	delete(m.hung, id)
	m.mu.Unlock()
	if hung {
		m.exited(machine.Exit{ID: id, Reason: machine.Stopped, At: time.Now()})
	}
	return hung
}

func (m *faultyMachines) Stop(ctx context.Context, id string) error {
	if m.end(id) {
		return nil
	}
	return m.Machines.Stop(ctx, id)
}

func (m *faultyMachines) Kill(ctx context.Context, id string) error {
	if m.end(id) {
		return nil
	}
	return m.Machines.Kill(ctx, id)
}

func (m *faultyMachines) Remove(ctx context.Context, id string) error {
	m.end(id)
	return m.Machines.Remove(ctx, id)
}

func (m *faultyMachines) Running() []string {
	ids := m.Machines.Running()
	m.mu.Lock()
	defer m.mu.Unlock()
	return append(ids, slices.Sorted(maps.Keys(m.hung))...)
}
