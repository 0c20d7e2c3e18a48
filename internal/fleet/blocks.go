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

	"pcluster/internal/fleet/record"
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
	blocksLate      = 15 * time.Second // between looks at a block whose time has come
)

// A Block is a capacity block as EC2 shows it.
type Block struct {
	State  string    `json:"state"`
	Starts time.Time `json:"starts,omitzero"`
	Ends   time.Time `json:"ends,omitzero"`
}

// next returns the time at which a block is to change its state, or zero.
func (b *Block) next() time.Time {
	if b.State == blockActive {
		return b.Ends
	}
	if b.State == "scheduled" || b.State == "payment-pending" {
		return b.Starts
	}
	return time.Time{}
}

// A BlockSource knows capacity blocks; *CapacityBlocks is one.
type BlockSource interface {
	Blocks(ctx context.Context, ids []string) (map[string]Block, error)
}

// A Reserver keeps jobs from nodes; *slurm.Client is one.
type Reserver interface {
	Reservations(context.Context) ([]slurm.Reservation, error)
	Reserve(context.Context, ...slurm.Reservation) error
	Release(ctx context.Context, names ...string) error
}

// CapacityBlocks asks EC2 for capacity blocks.
type CapacityBlocks struct {
	API interface {
		DescribeCapacityReservations(context.Context, *ec2.DescribeCapacityReservationsInput, ...func(*ec2.Options)) (*ec2.DescribeCapacityReservationsOutput, error)
	}
}

// Blocks returns those of the blocks that exist. One that does not is left out: to
// launch from it fails with a message that says so.
func (c *CapacityBlocks) Blocks(ctx context.Context, ids []string) (map[string]Block, error) {
	blocks := make(map[string]Block)
	in := &ec2.DescribeCapacityReservationsInput{CapacityReservationIds: ids}
	for {
		out, err := c.API.DescribeCapacityReservations(ctx, in)
		if code, _ := codeOf(err); code == "InvalidCapacityReservationId.NotFound" {
			if len(ids) == 1 {
				return blocks, nil
			}
			// EC2 refuses the whole request for one of them.
			for _, id := range ids {
				one, err := c.Blocks(ctx, []string{id})
				if err != nil {
					return nil, err
				}
				maps.Copy(blocks, one)
			}
			return blocks, nil
		}
		if err != nil {
			return nil, err
		}
		for _, r := range out.CapacityReservations {
			blocks[aws.ToString(r.CapacityReservationId)] = Block{string(r.State), aws.ToTime(r.StartDate), aws.ToTime(r.EndDate)}
		}
		if aws.ToString(out.NextToken) == "" {
			return blocks, nil
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

// takeBlocks takes notice of capacity blocks.
func (p *planner) takeBlocks(blocks map[string]Block) {
	if blocks == nil {
		return
	}
	for _, id := range sortedKeys(blocks) {
		if blocks[id].State != p.mem.Blocks[id].State {
			p.logf("capacity block %s is %s", id, blocks[id].State)
			p.recordBlock(id, blocks[id])
		}
	}
	p.mem.Blocks = blocks
}

// recordBlock adds the state of a block to the record, for each compute resource whose
// nodes come from it.
func (p *planner) recordBlock(id string, b Block) {
	for _, queue := range sortedKeys(p.policy.Resources) {
		for _, resource := range sortedKeys(p.policy.Resources[queue]) {
			r := p.policy.Resources[queue][resource]
			if r.CapacityType == capacityBlock && r.CapacityReservationID == id {
				p.record(record.Entry{What: record.BlockChanged, Queue: queue, Resource: resource, Block: id, Code: b.State, Until: b.next()})
			}
		}
	}
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
	b, known := p.mem.Blocks[r.CapacityReservationID]
	return b.State, known && b.State != blockActive
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
	ids      atomic.Pointer[[]string] // blocks that the configuration names
	interval atomic.Int64             // between looks
	now      chan struct{}            // they have changed
	looked   atomic.Bool              // Slurm was asked for reservations since the daemon started
}

// announce tells which blocks the configuration names, and how often to ask about them.
func (w *blockWatch) announce(ids []string, interval time.Duration) {
	other := w.interval.Swap(int64(interval)) != int64(interval)
	if old := w.ids.Swap(&ids); old == nil || !slices.Equal(*old, ids) || other {
		nudge(w.now)
	}
}

// any says whether the configuration names blocks.
func (w *blockWatch) any() bool { ids := w.ids.Load(); return ids != nil && len(*ids) > 0 }

// pause returns how long not to ask about blocks: no longer than until one is to begin
// or end, and after that time soon again, as EC2 may be late.
func (w *blockWatch) pause(blocks map[string]Block, now time.Time) time.Duration {
	pause := max(time.Duration(w.interval.Load()), time.Second)
	for _, b := range blocks {
		if next := b.next(); !next.IsZero() {
			pause = min(pause, max(next.Sub(now)+time.Second, blocksLate))
		}
	}
	return pause
}

// watchBlocks asks EC2 for capacity blocks, if there are any.
func (d *Daemon) watchBlocks(ctx context.Context) {
	refused := trouble{what: "EC2, about capacity blocks,"}
	for {
		pause := blocksInterval
		if d.blocks.any() {
			call, cancel := context.WithTimeout(ctx, callTimeout)
			blocks, err := d.Blocks.Blocks(call, *d.blocks.ids.Load())
			cancel()
			if ctx.Err() != nil {
				return
			}
			refused.met(d.Log, d.Now(), err)
			if err == nil {
				pause = d.blocks.pause(blocks, d.Now())
				d.tell(ctx, func(o *Observed) { o.Blocks = blocks })
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
