package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/smithy-go"

	"pcluster/internal/fleet"
)

// An Offer is what EC2 has or has not: a type of instances in a subnet.
type Offer struct{ Type, Subnet string }

// A Bucket lets Burst requests pass at once, and Rate a second in the long run.
type Bucket struct{ Burst, Rate float64 }

// Limits are the buckets of an account. A request takes a token of its operation's
// bucket; launches and terminations also take one for each instance.
type Limits struct {
	RunInstances, CreateFleet, Terminate, Describe Bucket
	Launches, Terminations                         Bucket // counted in instances
}

// DocumentedLimits are what AWS gives an account that asked for no more (AWS
// documentation: Request throttling for the Amazon EC2 API). Instances of fleets
// come out of the bucket of RunInstances.
func DocumentedLimits() Limits {
	return Limits{
		RunInstances: Bucket{5, 2}, CreateFleet: Bucket{50, 5}, Terminate: Bucket{50, 5}, Describe: Bucket{100, 20},
		Launches: Bucket{1000, 2}, Terminations: Bucket{1000, 20},
	}
}

// Faults are what goes wrong: probabilities, and the longest delays.
type Faults struct {
	InternalError float64 // of a call that EC2 fails before it does anything
	LostAnswer    float64 // of a call that is carried out and never answered
	NoBoot        float64 // of an instance that never gets to its slurmd
	Death         float64 // of an instance that ends by itself, as spot instances do
	Lifetime      time.Duration

	Hidden time.Duration // for which EC2 may not show a new instance
	Stale  time.Duration // by which a description may lag behind

	Naming float64 // of a record of names that fails
	Slurm  float64 // of a call to slurmctld that fails, and does nothing
}

// An Instance is an instance as it is, whatever EC2 shows.
type Instance struct {
	fleet.Instance
	Offer Offer
	Name  string // of the node that it was told to be

	request         string    // token of the launch, which EC2 does not tell of fleets
	running, booted time.Time // booted is zero if it never will
	ended           time.Time // zero while it lives
	shown           time.Time // from when on EC2 shows it
	deaf            bool      // its programs have hung up; its system still answers
}

// Alive reports an instance that has not ended.
func (i *Instance) Alive() bool { return i.ended.IsZero() }

// state is what EC2 called it at a time.
func (i *Instance) state(at time.Time) string {
	switch {
	case !i.ended.IsZero() && at.Sub(i.ended) > 20*time.Second:
		return "terminated"
	case !i.ended.IsZero() && !at.Before(i.ended):
		return "shutting-down"
	case at.Before(i.running):
		return "pending"
	}
	return "running"
}

// A Cloud is EC2, as far as fleets know it.
type Cloud struct {
	// Booted and Ended hear of instances that are up, and of those that are no more.
	Booted, Ended func(*Instance)
	// BootTime is the longest time until slurmd starts; the shortest is half of it.
	BootTime time.Duration
	Faults   Faults

	clock *Clock
	rng   *rand.Rand

	capacity  map[Offer]int // offers without an entry have no end
	instances map[string]*Instance
	shown     []*Instance // those that EC2 may still describe, oldest first
	byToken   map[string][]*Instance
	asked     map[string]LaunchRequest
	addresses []int // free, to be reused
	nextAddr  int
	ledger    Ledger

	run, fleets, ends, describes, launches, terminations bucketState
}

// A Ledger is what the cloud's instances came to.
type Ledger struct {
	Launched int
	Spent    time.Duration // of all instances, from launch to end
}

// NewCloud returns a cloud without instances.
func NewCloud(clock *Clock, seed uint64, limits Limits, faults Faults) *Cloud {
	full := func(b Bucket) bucketState { return bucketState{Bucket: b, tokens: b.Burst, last: clock.Now()} }
	return &Cloud{
		Booted: func(*Instance) {}, Ended: func(*Instance) {}, BootTime: 90 * time.Second, Faults: faults,
		clock: clock, rng: rand.New(rand.NewPCG(seed, 2)),
		capacity: make(map[Offer]int), instances: make(map[string]*Instance),
		byToken: make(map[string][]*Instance), asked: make(map[string]LaunchRequest),
		run: full(limits.RunInstances), fleets: full(limits.CreateFleet), ends: full(limits.Terminate),
		describes: full(limits.Describe), launches: full(limits.Launches), terminations: full(limits.Terminations),
	}
}

// SetCapacity says how many more instances there are of an offer.
func (c *Cloud) SetCapacity(o Offer, n int) { c.capacity[o] = n }

// Unlimited lifts the bound of an offer.
func (c *Cloud) Unlimited(o Offer) { delete(c.capacity, o) }

// Instance returns an instance by its ID, or nil.
func (c *Cloud) Instance(id string) *Instance { return c.instances[id] }

// Live returns the instances that cost money now.
func (c *Cloud) Live() []*Instance {
	var out []*Instance
	for _, i := range c.shown {
		if i.Alive() {
			out = append(out, i)
		}
	}
	return out
}

// Ledger adds up what was spent until now.
func (c *Cloud) Ledger() Ledger {
	sum := c.ledger
	for _, i := range c.Live() {
		sum.Spent += c.clock.Now().Sub(i.Launched)
	}
	return sum
}

// A bucketState is a bucket and what is in it.
type bucketState struct {
	Bucket
	tokens float64
	last   time.Time
}

func (b *bucketState) take(now time.Time, n int) bool {
	b.tokens = min(b.Burst, b.tokens+now.Sub(b.last).Seconds()*b.Rate)
	b.last = now
	if b.tokens < float64(n) {
		return false
	}
	b.tokens -= float64(n)
	return true
}

// ErrNoAnswer is the end of a call that was carried out, for all that the caller knows,
// or not.
var ErrNoAnswer = errors.New("the answer did not arrive in time")

func apiError(code, message string) error {
	return &smithy.GenericAPIError{Code: code, Message: message}
}

func throttled() error { return apiError("RequestLimitExceeded", "Request limit exceeded.") }

// chance says whether something of a probability happens. Without faults no random
// number is used up.
func chance(rng *rand.Rand, p float64) bool { return p > 0 && rng.Float64() < p }

func upTo(rng *rand.Rand, d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(rng.Int64N(int64(d)))
}

// A LaunchRequest is a call of RunInstances or CreateFleet.
type LaunchRequest struct {
	Token           string
	Queue, Resource string
	Min, Max        int
	Offers          []Offer // in the order in which they are tried
	Fleet           bool
}

// Launch carries out a request: once for each token.
func (c *Cloud) Launch(r LaunchRequest) ([]*Instance, error) {
	now := c.clock.Now()
	requests := &c.run
	if r.Fleet {
		requests = &c.fleets
	}
	if !requests.take(now, 1) {
		return nil, throttled()
	}
	if chance(c.rng, c.Faults.InternalError) {
		return nil, apiError("InternalError", "An internal error has occurred")
	}
	if known, ok := c.byToken[r.Token]; ok {
		first := c.asked[r.Token]
		if first.Max != r.Max || first.Min != r.Min || first.Queue != r.Queue || first.Resource != r.Resource {
			return nil, apiError("IdempotentParameterMismatch", "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).")
		}
		return c.answer(known)
	}
	var parts []int
	got := 0
	for _, o := range r.Offers {
		n := r.Max - got
		if has, bounded := c.capacity[o]; bounded {
			n = min(n, has)
		}
		parts = append(parts, n)
		got += n
	}
	if got < max(r.Min, 1) {
		return nil, apiError(fleet.InsufficientCapacity, fmt.Sprintf("We currently do not have sufficient %s capacity in the Availability Zone you requested.", r.Offers[0].Type))
	}
	if !c.launches.take(now, got) {
		return nil, throttled()
	}
	var all []*Instance
	for i, o := range r.Offers {
		for range parts[i] {
			all = append(all, c.start(r, o))
		}
	}
	c.byToken[r.Token], c.asked[r.Token] = all, r
	return c.answer(all)
}

func (c *Cloud) answer(all []*Instance) ([]*Instance, error) {
	if chance(c.rng, c.Faults.LostAnswer) {
		return nil, ErrNoAnswer
	}
	return all, nil
}

func (c *Cloud) start(r LaunchRequest, o Offer) *Instance {
	now := c.clock.Now()
	c.ledger.Launched++
	i := &Instance{Offer: o, request: r.Token, running: now.Add(5*time.Second + upTo(c.rng, 20*time.Second)), shown: now.Add(upTo(c.rng, c.Faults.Hidden))}
	addr := c.address()
	i.Instance = fleet.Instance{
		ID: fmt.Sprintf("i-%d", c.ledger.Launched), Subnet: o.Subnet, Queue: r.Queue, Resource: r.Resource, Token: r.Token, Launched: now,
		Addr:     fmt.Sprintf("10.%d.%d.%d", addr>>16, addr>>8&255, addr&255),
		Hostname: fmt.Sprintf("ip-10-%d-%d-%d", addr>>16, addr>>8&255, addr&255),
	}
	if r.Fleet {
		i.Token = "fleet-" + i.ID
	}
	c.instances[i.ID] = i
	c.shown = append(c.shown, i)
	if has, bounded := c.capacity[o]; bounded {
		c.capacity[o] = has - 1
	}
	boot := c.BootTime/2 + upTo(c.rng, c.BootTime/2)
	switch {
	case !chance(c.rng, c.Faults.NoBoot):
		i.booted = now.Add(boot)
		c.clock.At(i.booted, func() {
			if i.Alive() {
				c.Booted(i)
			}
		})
	case chance(c.rng, 0.5): // its program gives up and powers off; else it hangs
		c.clock.After(boot, func() { c.end(i) })
	}
	if chance(c.rng, c.Faults.Death) {
		c.clock.After(upTo(c.rng, c.Faults.Lifetime), func() { c.end(i) })
	}
	return i
}

// address gives an address, and gladly one that has just become free.
func (c *Cloud) address() int {
	if n := len(c.addresses); n > 0 && c.rng.IntN(2) == 0 {
		addr := c.addresses[n-1]
		c.addresses = c.addresses[:n-1]
		return addr
	}
	c.nextAddr++
	return c.nextAddr
}

// Kill ends an instance as a fault, or a person, does.
func (c *Cloud) Kill(i *Instance) { c.end(i) }

func (c *Cloud) end(i *Instance) {
	if !i.Alive() {
		return
	}
	i.ended = c.clock.Now()
	c.ledger.Spent += i.ended.Sub(i.Launched)
	if has, bounded := c.capacity[i.Offer]; bounded {
		c.capacity[i.Offer] = has + 1
	}
	var addr [3]int
	if _, err := fmt.Sscanf(i.Addr, "10.%d.%d.%d", &addr[0], &addr[1], &addr[2]); err == nil {
		c.addresses = append(c.addresses, addr[0]<<16|addr[1]<<8|addr[2])
	}
	c.Ended(i)
}

// Terminate ends instances: all, or none if EC2 does not know one of them.
func (c *Cloud) Terminate(ids []string) error {
	now := c.clock.Now()
	if !c.ends.take(now, 1) || !c.terminations.take(now, len(ids)) {
		return throttled()
	}
	if chance(c.rng, c.Faults.InternalError) {
		return apiError("InternalError", "An internal error has occurred")
	}
	for _, id := range ids {
		i := c.instances[id]
		if i == nil || now.Before(i.shown) || (!i.Alive() && now.Sub(i.ended) > remembered) {
			return apiError("InvalidInstanceID.NotFound", "The instance ID '"+id+"' does not exist")
		}
	}
	for _, id := range ids {
		c.end(c.instances[id])
	}
	if chance(c.rng, c.Faults.LostAnswer) {
		return ErrNoAnswer
	}
	return nil
}

// remembered is for how long EC2 shows instances that have ended.
const remembered = time.Hour

// Describe returns the instances as EC2 shows them: a little out of date.
func (c *Cloud) Describe() ([]fleet.Instance, error) {
	now := c.clock.Now()
	if !c.describes.take(now, 1) {
		return nil, throttled()
	}
	if chance(c.rng, c.Faults.InternalError) {
		return nil, apiError("InternalError", "An internal error has occurred")
	}
	asOf := now.Add(-upTo(c.rng, c.Faults.Stale))
	kept := c.shown[:0]
	out := make([]fleet.Instance, 0, len(c.shown))
	for _, i := range c.shown {
		if !i.Alive() && now.Sub(i.ended) > remembered {
			continue
		}
		kept = append(kept, i)
		if i.shown.After(now) || i.Launched.After(asOf) {
			continue
		}
		seen := i.Instance
		seen.State = i.state(asOf)
		out = append(out, seen)
	}
	clear(c.shown[len(kept):])
	c.shown = kept
	return out, nil
}
