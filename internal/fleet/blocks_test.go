package fleet

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

// blockStory is a fleet in which compute resource a of queue q has a capacity block.
func blockStory(t *testing.T) *story {
	s := newStory(t, AllOrNothing)
	r := s.policy.Resources["q"]["a"]
	r.CapacityType, r.CapacityReservationID = capacityBlock, "cr-1"
	s.policy.Resources["q"] = map[string]slurm.Resource{"a": r, "b": s.policy.Resources["q"]["b"]}
	return s
}

func (s *story) reservations(all map[string]string, nodes ...slurm.Node) *SlurmView {
	view := s.view(nodes...)
	view.Reservations = all
	return view
}

func TestNodesOfACapacityBlockWaitForIt(t *testing.T) {
	s := blockStory(t)
	off := slurm.Node{Name: "q-st-a-1", Addr: "q-st-a-1", State: "IDLE+CLOUD+POWERED_DOWN", Partitions: []string{"q"}}
	none := map[string]string{}

	s.step(Observed{Blocks: map[string]Block{"cr-1": {State: "scheduled"}}})
	s.step(Observed{Slurm: s.reservations(none, off)})
	s.expect("decision about a static node", s.decided(), "")
	const all = "q-dy-a-[1-10],q-st-a-[1-2]"
	s.expect("reserved", s.do.Reserve, []slurm.Reservation{{Name: "pcluster-cr-1", Nodes: all}})

	s.step(Observed{Resumed: []Request{request(job("7", "q-dy-a-1"))}})
	s.expect("decision about a job", s.decided(), "down")
	s.expect("its failure", s.failed(), map[string]string{blockNotActive: "q-dy-a-1"})
	down := slurm.Node{Name: "q-dy-a-1", Addr: "q-dy-a-1", State: "DOWN+CLOUD+POWERING_UP", Reason: s.do.Nodes[0].Reason, Partitions: []string{"q"}}

	// Slurm tells nodes in another order; users' reservations are theirs.
	held := map[string]string{"pcluster-cr-1": "q-st-a-[1-2],q-dy-a-[1-10]", "pcluster-cr-9": "r-dy-a-1", "mine": "r-dy-a-2"}
	s.step(Observed{Slurm: s.reservations(held, off, down)})
	s.expect("decision while it is reserved", s.decided(), "")
	s.expect("reserved again", s.do.Reserve, []slurm.Reservation(nil))
	s.expect("released", s.do.Release, []string{"pcluster-cr-9"})

	s.step(Observed{Blocks: map[string]Block{"cr-1": {State: "active"}}, Slurm: s.reservations(held, off, down)})
	s.expect("released when the block is active", s.do.Release, []string{"pcluster-cr-1", "pcluster-cr-9"})
	s.expect("decision when the block is active", s.decided(), "power_down_force, power_up")
}

func TestABlockOfWhichNothingWasHeard(t *testing.T) {
	s := blockStory(t)
	off := slurm.Node{Name: "q-st-a-1", Addr: "q-st-a-1", State: "IDLE+CLOUD+POWERED_DOWN", Partitions: []string{"q"}}
	s.step(Observed{Slurm: s.reservations(map[string]string{"pcluster-cr-1": "q-st-a-[1-2]"}, off)})
	s.expect("released", s.do.Release, []string(nil))
	s.step(Observed{Slurm: s.reservations(nil, off)})
	s.expect("reserved by a look that did not ask", s.do.Reserve, []slurm.Reservation(nil))
}

func TestUsersManageBlocksThemselves(t *testing.T) {
	s := blockStory(t)
	s.policy.IgnoreBlocks = true
	off := slurm.Node{Name: "q-st-a-1", Addr: "q-st-a-1", State: "IDLE+CLOUD+POWERED_DOWN", Partitions: []string{"q"}}
	s.step(Observed{Blocks: map[string]Block{"cr-1": {State: "scheduled"}}, Slurm: s.reservations(map[string]string{"pcluster-cr-1": "q-st-a-1"}, off)})
	s.expect("decision", s.decided(), "power_up")
	s.expect("reservations", len(s.do.Reserve)+len(s.do.Release), 0)
}

// The instances of a block that ends are lost like others, and not replaced.
func TestABlockThatEnds(t *testing.T) {
	s := blockStory(t)
	s.now = noon.Add(time.Hour)
	i := s.has("q-st-a-1")
	on := slurm.Node{Name: "q-st-a-1", Addr: i.Addr, State: "ALLOCATED+CLOUD", Partitions: []string{"q"}}
	s.step(Observed{Blocks: map[string]Block{"cr-1": {State: "expired"}}, Slurm: s.reservations(map[string]string{}, on), EC2: s.ec2(i)})
	s.expect("decision while the instance lives", s.decided(), "")
	i.State = "shutting-down"
	s.step(Observed{Slurm: s.reservations(map[string]string{}, on), EC2: s.ec2(i)})
	s.expect("decision when it does not", s.decided(), "down, power_down_force")
	on.State, on.Addr = "IDLE+CLOUD+POWERED_DOWN", on.Name
	s.now = s.now.Add(time.Minute)
	s.step(Observed{Slurm: s.reservations(map[string]string{}, on), EC2: s.ec2()})
	s.expect("decision about the node that is off", s.decided(), "")
}

// fakeBlocks is EC2: it refuses a request for any block that it does not know.
type fakeBlocks struct {
	states map[string]types.CapacityReservationState
	asked  int
	down   bool
}

func (f *fakeBlocks) DescribeCapacityReservations(_ context.Context, in *ec2.DescribeCapacityReservationsInput, _ ...func(*ec2.Options)) (*ec2.DescribeCapacityReservationsOutput, error) {
	f.asked++
	if f.down {
		return nil, errors.New("dial tcp: i/o timeout")
	}
	out := &ec2.DescribeCapacityReservationsOutput{}
	for _, id := range in.CapacityReservationIds {
		state, ok := f.states[id]
		if !ok {
			return nil, &smithy.GenericAPIError{Code: "InvalidCapacityReservationId.NotFound"}
		}
		out.CapacityReservations = append(out.CapacityReservations, types.CapacityReservation{CapacityReservationId: aws.String(id), State: state})
	}
	return out, nil
}

func TestStatesOfBlocks(t *testing.T) {
	api := &fakeBlocks{states: map[string]types.CapacityReservationState{"cr-1": "active", "cr-2": "scheduled"}}
	c := &CapacityBlocks{API: api}
	got, err := c.Blocks(t.Context(), []string{"cr-1", "cr-gone", "cr-2"})
	if diff := cmp.Diff(map[string]Block{"cr-1": {State: "active"}, "cr-2": {State: "scheduled"}}, got); err != nil || diff != "" {
		t.Errorf("%v; -want +got:\n%s", err, diff)
	}
	api.down = true
	if got, err := c.Blocks(t.Context(), []string{"cr-1"}); err == nil {
		t.Errorf("without EC2: %v", got)
	}
}

// EC2 is asked at the start, every ten minutes, soon after it did not answer, and when
// the configuration names other blocks.
func TestBlocksAreAskedAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fakeBlocks{states: map[string]types.CapacityReservationState{"cr-1": "active", "cr-2": "active"}}
		d := &Daemon{Blocks: &CapacityBlocks{API: api}, Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
		d.events, d.lookNow, d.blocks.now = make(chan func(*Observed), 100), make(chan struct{}, 1), make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go d.watchBlocks(ctx)
		after := func(wait time.Duration, want int) {
			t.Helper()
			time.Sleep(wait)
			synctest.Wait()
			if api.asked != want {
				t.Errorf("asked %d times, want %d", api.asked, want)
			}
		}
		after(time.Hour, 0)
		d.blocks.announce([]string{"cr-1"}, blocksInterval)
		after(time.Second, 1)
		d.blocks.announce([]string{"cr-1"}, blocksInterval)
		after(time.Minute, 1)
		after(blocksInterval, 2)
		d.blocks.announce([]string{"cr-1", "cr-2"}, blocksInterval)
		after(time.Second, 3)
		api.down = true
		after(blocksInterval, 4)
		after(blocksAfterFail, 5)
		var seen Observed
		for range len(d.events) {
			(<-d.events)(&seen)
		}
		if diff := cmp.Diff(map[string]Block{"cr-1": {State: "active"}, "cr-2": {State: "active"}}, seen.Blocks); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
	})
}

// A block that is about to begin or end is looked at then, and soon again if EC2 is late.
func TestBlocksAreAskedAfterWhenTheirTimeComes(t *testing.T) {
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	for name, tt := range map[string]struct {
		block Block
		want  time.Duration
	}{
		"in a day":               {Block{"scheduled", at(24 * 60), at(48 * 60)}, blocksInterval},
		"in three minutes":       {Block{"scheduled", at(3), at(48 * 60)}, 3*time.Minute + time.Second},
		"EC2 is late":            {Block{"scheduled", at(-1), at(48 * 60)}, blocksLate},
		"active":                 {Block{"active", at(-1), at(48 * 60)}, blocksInterval},
		"active for two minutes": {Block{"active", at(-60), at(2)}, 2*time.Minute + time.Second},
		"over":                   {Block{"expired", at(-60), at(-1)}, blocksInterval},
		"without times":          {Block{State: "active"}, blocksInterval},
	} {
		var w blockWatch
		w.interval.Store(int64(blocksInterval))
		if got := w.pause(map[string]Block{"cr-1": tt.block}, noon); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestTheRecordHasTheStatesOfBlocks(t *testing.T) {
	s := blockStory(t)
	starts, ends := noon.Add(time.Hour), noon.Add(25*time.Hour)
	s.step(Observed{Blocks: map[string]Block{"cr-1": {"scheduled", starts, ends}}})
	s.step(Observed{Blocks: map[string]Block{"cr-1": {"scheduled", starts, ends}}})
	s.step(Observed{Blocks: map[string]Block{"cr-1": {"active", starts, ends}}})
	s.expect("record", s.recorded(), []string{
		`{"what":"capacity-block","queue":"q","compute_resource":"a","capacity_block":"cr-1","code":"scheduled","until":"2026-11-23T13:00:00Z"}`,
		`{"what":"capacity-block","queue":"q","compute_resource":"a","capacity_block":"cr-1","code":"active","until":"2026-11-24T13:00:00Z"}`,
	})
}

// reserver is Slurm's book of reservations.
type reserver struct {
	nodes map[string]string
	asked int
}

func (r *reserver) Reservations(context.Context) ([]slurm.Reservation, error) {
	r.asked++
	var all []slurm.Reservation
	for _, name := range sortedKeys(r.nodes) {
		all = append(all, slurm.Reservation{Name: name, Nodes: r.nodes[name]})
	}
	return all, nil
}

func (r *reserver) Reserve(_ context.Context, all ...slurm.Reservation) error {
	for _, a := range all {
		r.nodes[a.Name] = a.Nodes
	}
	return nil
}

func (r *reserver) Release(_ context.Context, names ...string) error {
	for _, n := range names {
		delete(r.nodes, n)
	}
	return nil
}

func TestReservationsAreCarriedOut(t *testing.T) {
	book := &reserver{nodes: map[string]string{"pcluster-cr-1": "q-st-a-1", "mine": "x"}}
	d := &Daemon{Reserver: book, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	d.blocks.now = make(chan struct{}, 1)
	if got := d.reservations(t.Context()); len(got) != 2 {
		t.Errorf("the first look shows %v", got)
	}
	if got := d.reservations(t.Context()); got != nil || book.asked != 1 {
		t.Errorf("without blocks, later looks ask for %v", got)
	}
	d.reserve(t.Context(), Actions{Reserve: []slurm.Reservation{{Name: "pcluster-cr-2", Nodes: "q-st-a-2"}}, Release: []string{"pcluster-cr-1"}})
	if got := strings.Join(sortedKeys(book.nodes), " "); got != "mine pcluster-cr-2" {
		t.Errorf("reservations are %s", got)
	}
}

// In the last minutes of a block no job starts that would be cut short; then its jobs go
// back to the queue, before EC2 ends the instances.
func TestTheLastMinutesOfABlock(t *testing.T) {
	s := blockStory(t)
	s.now = noon.Add(time.Hour)
	i := s.has("q-st-a-1")
	on := slurm.Node{Name: "q-st-a-1", Addr: i.Addr, State: "ALLOCATED+CLOUD", Partitions: []string{"q"}}
	const all = "q-dy-a-[1-10],q-st-a-[1-2]"
	ends := s.now.Add(2 * time.Hour)
	blocks := map[string]Block{"cr-1": {State: "active", Ends: ends}}
	look := func(before time.Duration, held map[string]string) {
		s.now = ends.Add(-30*time.Minute - before - time.Second) // the step takes one
		s.step(Observed{Blocks: blocks, Slurm: s.reservations(held, on), EC2: s.ec2(i)})
	}
	none, held := map[string]string{}, map[string]string{"pcluster-cr-1": all}

	look(11*time.Minute, none)
	s.expect("reserved early", s.do.Reserve, []slurm.Reservation(nil))
	look(10*time.Minute, none)
	s.expect("reserved", s.do.Reserve, []slurm.Reservation{{Name: "pcluster-cr-1", Nodes: all, In: 10 * time.Minute}})
	look(5*time.Minute, held)
	s.expect("while it is reserved", len(s.do.Reserve)+len(s.do.Release)+len(s.do.Requeue), 0)
	s.step(Observed{Resumed: []Request{request(job("7", "q-dy-a-1"))}})
	s.expect("launched for a job that fits", s.launched(), []string{"q-dy-a-1 min 1"})
	look(time.Minute, held)
	s.expect("requeued", s.do.Requeue, []string{"q-st-a-1"})
	look(30*time.Second, held)
	s.expect("requeued again", s.do.Requeue, []string(nil))
	look(0, held)
	s.expect("released at the end", s.do.Release, []string(nil))
	s.step(Observed{Resumed: []Request{request(job("8", "q-dy-a-2"))}})
	s.expect("launched when instances end", s.launched(), []string(nil))
	i.State, on.State, on.Addr = "terminated", "IDLE+CLOUD+POWERED_DOWN", on.Name
	look(-time.Minute, held)
	look(-2*time.Minute, held)
	s.expect("decision about the node that is off", s.decided(), "")

	var told []string
	for _, e := range s.record {
		if e.What == record.BlockEnds {
			told = append(told, e.Queue+"/"+e.Resource+" "+e.Block+" "+e.Until.Format(time.TimeOnly))
		}
	}
	s.expect("told once", told, []string{"q/a cr-1 " + ends.Add(-30*time.Minute).Format(time.TimeOnly)})

	blocks = map[string]Block{"cr-1": {State: "active", Ends: ends.Add(24 * time.Hour)}}
	look(5*time.Minute, held)
	s.expect("released when the block is extended", s.do.Release, []string{"pcluster-cr-1"})
	s.expect("told last", s.record[len(s.record)-1].What, record.BlockChanged)
}

// Who gives all jobs a time limit can have the whole block guarded.
func TestABlockMayBeGuardedFromTheBeginning(t *testing.T) {
	s := blockStory(t)
	s.policy.BlockLead = 30 * 24 * time.Hour
	s.step(Observed{Blocks: map[string]Block{"cr-1": {State: "active", Ends: noon.Add(48 * time.Hour)}}, Slurm: s.reservations(map[string]string{})})
	s.expect("reserved", len(s.do.Reserve), 1)
	s.expect("in", s.do.Reserve[0].In, 47*time.Hour+30*time.Minute-time.Second)
}
