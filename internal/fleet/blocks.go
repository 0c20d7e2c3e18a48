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
	// blockReclaim is how long before the end of a block EC2 ends its instances.
	blockReclaim = 30 * time.Minute
)

// A Block is a capacity block as EC2 shows it.
type Block struct {
	State  string    `json:"state"`
	Starts time.Time `json:"starts,omitzero"`
	Ends   time.Time `json:"ends,omitzero"`
}

// reclaimed returns when EC2 ends the instances of an active block, or zero.
func (b *Block) reclaimed() time.Time {
	if b.State != blockActive || b.Ends.IsZero() {
		return time.Time{}
	}
	return b.Ends.Add(-blockReclaim)
}

// A Closing is an active capacity block whose instances EC2 is about to end.
type Closing struct {
	At       time.Time `json:"at"` // when EC2 does
	Requeued bool      `json:"requeued,omitempty"`
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
			b := blocks[id]
			p.recordBlock(id, record.Entry{What: record.BlockChanged, Code: b.State, Until: b.next()})
		}
	}
	p.mem.Blocks = blocks
}

// recordBlock adds what becomes of a block to the record, for each compute resource whose
// nodes come from it.
func (p *planner) recordBlock(id string, e record.Entry) {
	for _, queue := range sortedKeys(p.policy.Resources) {
		for _, resource := range sortedKeys(p.policy.Resources[queue]) {
			r := p.policy.Resources[queue][resource]
			if r.CapacityType == capacityBlock && r.CapacityReservationID == id {
				e.Queue, e.Resource, e.Block = queue, resource, id
				p.record(e)
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
	if at := b.reclaimed(); !at.IsZero() && !p.now.Before(at) {
		return "about to end", true
	}
	return b.State, known && b.State != blockActive
}

// closeBlocks sees to the last minutes of capacity blocks: it remembers which end soon, and
// sends their jobs back to the queue before EC2 ends the instances.
func (p *planner) closeBlocks(view *SlurmView) {
	closing := make(map[string]Closing)
	for _, id := range p.policy.blocks() {
		b := p.mem.Blocks[id]
		at := b.reclaimed()
		if at.IsZero() || p.now.Before(at.Add(-p.policy.BlockLead)) {
			if _, was := p.mem.Closing[id]; was && b.State == blockActive { // it was extended
				p.recordBlock(id, record.Entry{What: record.BlockChanged, Code: b.State, Until: b.next()})
			}
			continue
		}
		c := p.mem.Closing[id]
		if !c.At.Equal(at) {
			c = Closing{At: at}
			p.logf("the instances of capacity block %s end at %s", id, at.UTC().Format(time.DateTime))
			p.recordBlock(id, record.Entry{What: record.BlockEnds, Until: at})
		}
		if !c.Requeued && !p.now.Before(at.Add(-requeueBefore)) {
			c.Requeued = true
			p.emptyBlock(id, view)
		}
		closing[id] = c
	}
	p.mem.Closing = closing
}

// emptyBlock sends the jobs on a capacity block's nodes back to the queue.
func (p *planner) emptyBlock(id string, view *SlurmView) {
	for i := range view.Nodes {
		n := &view.Nodes[i]
		name, ours := slurm.ParseNodeName(n.Name)
		r := p.policy.Resources[name.Queue][name.Resource]
		if !ours || r.CapacityType != capacityBlock || r.CapacityReservationID != id || !n.State.HasJob() || !inService(n) {
			continue
		}
		p.do.Requeue = append(p.do.Requeue, n.Name)
		p.recordNode(record.Requeued, n.Name, p.mem.Assigned[n.Name].Instance, "capacity block "+id+" ends")
		p.logf("requeue the jobs of %s: capacity block %s ends", n.Name, id)
	}
}

// reserve sees to it that the nodes of blocks that are not active are reserved, those of
// blocks that end soon from when their instances end, and no others.
func (p *planner) reserve(view *SlurmView) {
	if view.Reservations == nil || p.policy.IgnoreBlocks {
		return
	}
	wanted, in := make(map[string][]string), make(map[string]time.Duration)
	for _, queue := range sortedKeys(p.policy.Queues) {
		nodes, err := slurm.Expand(p.policy.Queues[queue])
		if err != nil {
			continue // it was made by this program
		}
		for _, n := range nodes {
			key, ours := p.key(n)
			name, _ := slurm.ParseNodeName(n)
			id := p.policy.Resources[name.Queue][name.Resource].CapacityReservationID
			_, waits := p.waitsForBlock(key)
			if c, ends := p.mem.Closing[id]; ends && !waits {
				in[blockReserved+id], waits = c.At.Sub(p.now), true
			}
			if ours && waits {
				wanted[blockReserved+id] = append(wanted[blockReserved+id], n)
			}
		}
	}
	for _, name := range sortedKeys(wanted) {
		if list := slurm.Compress(wanted[name]); !sameNodes(view.Reservations[name], list) {
			p.do.Reserve = append(p.do.Reserve, slurm.Reservation{Name: name, Nodes: list, In: in[name]})
			p.logf("reserve %s: its capacity block is not active, or not for long", list)
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
