package fleet

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"pcluster/internal/slurm"
)

// Capacity blocks are bought for a time to come. While EC2 does not call one active its
// nodes can't be had: a reservation in Slurm keeps jobs from them, and nobody launches
// or replaces them. (AWS documentation: Capacity Blocks for ML.)

const (
	capacityBlock   = "capacity-block" // capacity type of compute resources
	blockActive     = "active"
	blockNotActive  = "InvalidCapacityReservationState"
	blockReserved   = "pcluster-" // prefix of our reservations in Slurm
	blocksInterval  = 10 * time.Minute
	blocksAfterFail = time.Minute
)

// A BlockSource knows the states of capacity blocks; *CapacityBlocks is one.
type BlockSource interface {
	States(ctx context.Context, ids []string) (map[string]string, error)
}

// A Reserver keeps jobs from nodes; *slurm.Client is one.
type Reserver interface {
	Reservations(context.Context) ([]slurm.Reservation, error)
	Reserve(context.Context, ...slurm.Reservation) error
	Release(ctx context.Context, names ...string) error
}

// CapacityBlocks asks EC2 for the states of capacity blocks.
type CapacityBlocks struct {
	API interface {
		DescribeCapacityReservations(context.Context, *ec2.DescribeCapacityReservationsInput, ...func(*ec2.Options)) (*ec2.DescribeCapacityReservationsOutput, error)
	}
}

// States returns the states of those of the blocks that exist. One that does not is
// left out: to launch from it fails with a message that says so.
func (c *CapacityBlocks) States(ctx context.Context, ids []string) (map[string]string, error) {
	states := make(map[string]string)
	in := &ec2.DescribeCapacityReservationsInput{CapacityReservationIds: ids}
	for {
		out, err := c.API.DescribeCapacityReservations(ctx, in)
		if code, _ := codeOf(err); code == "InvalidCapacityReservationId.NotFound" {
			if len(ids) == 1 {
				return states, nil
			}
			// EC2 refuses the whole request for one of them.
			for _, id := range ids {
				one, err := c.States(ctx, []string{id})
				if err != nil {
					return nil, err
				}
				maps.Copy(states, one)
			}
			return states, nil
		}
		if err != nil {
			return nil, err
		}
		for _, r := range out.CapacityReservations {
			states[aws.ToString(r.CapacityReservationId)] = string(r.State)
		}
		if aws.ToString(out.NextToken) == "" {
			return states, nil
		}
		in.NextToken = out.NextToken
	}
}

// blocks are the IDs of the capacity blocks that the fleet's nodes come from.
func (p *Policy) blocks() []string {
	if p.IgnoreBlocks {
		return nil
	}
	ids := make(map[string]bool)
	for _, queue := range p.Resources {
		for _, r := range queue {
			if r.CapacityType == capacityBlock && r.CapacityReservationID != "" {
				ids[r.CapacityReservationID] = true
			}
		}
	}
	return sortedKeys(ids)
}

// takeBlocks takes notice of the states of capacity blocks.
func (p *planner) takeBlocks(states map[string]string) {
	if states == nil {
		return
	}
	for _, id := range sortedKeys(states) {
		if old := p.mem.Blocks[id]; old != states[id] {
			p.logf("capacity block %s is %s", id, states[id])
		}
	}
	p.mem.Blocks = states
}

// waitsForBlock says whether a compute resource's capacity block is known not to be
// active, and in which state it is.
func (p *planner) waitsForBlock(key string) (state string, waits bool) {
	if len(p.mem.Blocks) == 0 || p.policy.IgnoreBlocks {
		return "", false
	}
	queue, resource, _ := strings.Cut(key, "/")
	r := p.policy.Resources[queue][resource]
	if r.CapacityType != capacityBlock {
		return "", false
	}
	state, known := p.mem.Blocks[r.CapacityReservationID]
	return state, known && state != blockActive
}

// reserve sees to it that the nodes of blocks that are not active are reserved, and
// no others.
func (p *planner) reserve(view *SlurmView) {
	if view.Reservations == nil || p.policy.IgnoreBlocks {
		return
	}
	wanted := make(map[string][]string)
	for _, queue := range sortedKeys(p.policy.Queues) {
		nodes, err := slurm.Expand(p.policy.Queues[queue])
		if err != nil {
			continue // it was made by this program
		}
		for _, n := range nodes {
			key, ours := p.key(n)
			if _, waits := p.waitsForBlock(key); ours && waits {
				name, _ := slurm.ParseNodeName(n)
				id := blockReserved + p.policy.Resources[name.Queue][name.Resource].CapacityReservationID
				wanted[id] = append(wanted[id], n)
			}
		}
	}
	for _, name := range sortedKeys(wanted) {
		if list := slurm.Compress(wanted[name]); !sameNodes(view.Reservations[name], list) {
			p.do.Reserve = append(p.do.Reserve, slurm.Reservation{Name: name, Nodes: list})
			p.logf("reserve %s: its capacity block is not active", list)
		}
	}
	unknown := p.unknownBlocks()
	for _, name := range sortedKeys(view.Reservations) {
		id, ours := strings.CutPrefix(name, blockReserved)
		if ours && wanted[name] == nil && !unknown[id] {
			p.do.Release = append(p.do.Release, name)
			p.logf("end reservation %s", name)
		}
	}
}

// unknownBlocks are those of whose states nothing was heard. Their reservations stay.
func (p *planner) unknownBlocks() map[string]bool {
	unknown := make(map[string]bool)
	for _, id := range p.policy.blocks() {
		if _, known := p.mem.Blocks[id]; !known {
			unknown[id] = true
		}
	}
	return unknown
}

func sameNodes(a, b string) bool {
	if a == b {
		return true
	}
	one, err1 := slurm.Expand(a)
	other, err2 := slurm.Expand(b)
	slices.Sort(one)
	slices.Sort(other)
	return errors.Join(err1, err2) == nil && slices.Equal(one, other)
}

// A blockWatch is what the loops that ask about capacity blocks share.
type blockWatch struct {
	ids    atomic.Pointer[[]string] // blocks that the configuration names
	now    chan struct{}            // they have changed
	looked atomic.Bool              // Slurm was asked for reservations since the daemon started
}

// announce tells which blocks the configuration names.
func (w *blockWatch) announce(ids []string) {
	if old := w.ids.Swap(&ids); old == nil || !slices.Equal(*old, ids) {
		nudge(w.now)
	}
}

// any says whether the configuration names blocks.
func (w *blockWatch) any() bool { ids := w.ids.Load(); return ids != nil && len(*ids) > 0 }

// watchBlocks asks EC2 for the states of capacity blocks, if there are any.
func (d *Daemon) watchBlocks(ctx context.Context) {
	refused := trouble{what: "EC2, about capacity blocks,"}
	for {
		pause := blocksInterval
		if d.blocks.any() {
			call, cancel := context.WithTimeout(ctx, callTimeout)
			states, err := d.Blocks.States(call, *d.blocks.ids.Load())
			cancel()
			if ctx.Err() != nil {
				return
			}
			refused.met(d.Log, d.Now(), err)
			if err == nil {
				d.tell(ctx, func(o *Observed) { o.Blocks = states })
				d.hurry()
			} else {
				pause = blocksAfterFail
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-d.blocks.now:
		case <-time.After(pause):
		}
	}
}

// reservations asks Slurm for its reservations: at the first look, as blocks may have
// left the configuration while nobody ran, and then as long as there are blocks.
func (d *Daemon) reservations(ctx context.Context) map[string]string {
	if d.Reserver == nil || !d.blocks.any() && d.blocks.looked.Load() {
		return nil
	}
	all, err := d.Reserver.Reservations(ctx)
	if err != nil {
		if ctx.Err() == nil {
			d.Log.Warn("Slurm's reservations", "error", err)
		}
		return nil
	}
	d.blocks.looked.Store(true)
	nodes := make(map[string]string)
	for _, r := range all {
		nodes[r.Name] = r.Nodes
	}
	return nodes
}

// reserve has Slurm keep jobs from nodes, or let them return.
func (d *Daemon) reserve(ctx context.Context, do Actions) {
	var errs []error
	if len(do.Reserve) > 0 {
		errs = append(errs, d.Reserver.Reserve(ctx, do.Reserve...))
	}
	if len(do.Release) > 0 {
		errs = append(errs, d.Reserver.Release(ctx, do.Release...))
	}
	if err := errors.Join(errs...); err != nil && ctx.Err() == nil {
		d.Log.Warn("reservations of nodes of capacity blocks", "error", err)
	}
}
