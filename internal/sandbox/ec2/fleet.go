package ec2

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// A pool is one way for a fleet to get instances: a template with one override.
type pool struct {
	plan      *plan
	refused   error // why there is no plan
	lifecycle types.InstanceLifecycle
	priority  float64
	weight    float64 // units of capacity that an instance counts for
	origin    *types.LaunchTemplateAndOverridesResponse

	made []*instance
	err  error // why it gave fewer than it was asked for
}

func (p *pool) instanceType() string {
	if p.origin.Overrides != nil && p.origin.Overrides.InstanceType != "" {
		return string(p.origin.Overrides.InstanceType)
	}
	if p.plan != nil {
		return string(p.plan.data.InstanceType)
	}
	return ""
}

// A share is the part of a fleet's capacity that is on demand, or spot.
type share struct {
	lifecycle  types.InstanceLifecycle
	target     float64
	strategy   string
	single     bool // instance type
	singleZone bool
	least      float64 // fewer is as good as nothing
}

// CreateFleet launches instances at once from whatever pools have them: fleets of
// type instant, which leave nothing to maintain.
func (s *Service) CreateFleet(ctx context.Context, in *sdk.CreateFleetInput) (*sdk.CreateFleetOutput, error) {
	if in.Type != types.FleetTypeInstant {
		return nil, wire.Errorf("UnsupportedOperation", "The sandbox has fleets of type instant only, not '%s'.", cmp.Or(in.Type, types.FleetTypeMaintain))
	}
	shares, err := fleetShares(in)
	if err != nil {
		return nil, err
	}
	if ids, err := s.recall("CreateFleet", in.ClientToken, in); err != nil {
		return nil, err
	} else if len(ids) > 0 {
		return s.repeatFleet(ids), nil
	}
	fleetID := region.NewID("fleet")
	var pools []*pool
	for _, sh := range shares {
		p, err := s.fleetPools(ctx, in, sh, fleetID)
		if err != nil {
			return nil, err
		}
		pools = append(pools, p...)
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	out, err := s.fillFleet(in, fleetID, shares, pools)
	if err != nil {
		return nil, err
	}
	for _, group := range out.Instances {
		for _, id := range group.InstanceIds {
			s.work.kick(id)
		}
	}
	return out, nil
}

func fleetShares(in *sdk.CreateFleetInput) ([]share, error) {
	t := in.TargetCapacitySpecification
	if t == nil || t.TotalTargetCapacity == nil {
		return nil, missing("TargetCapacitySpecification.TotalTargetCapacity")
	}
	total := aws.ToInt32(t.TotalTargetCapacity)
	onDemand, spot := aws.ToInt32(t.OnDemandTargetCapacity), aws.ToInt32(t.SpotTargetCapacity)
	switch rest := total - onDemand - spot; {
	case total < 1:
		return nil, wire.Errorf("InvalidTargetCapacitySpecification", "TotalTargetCapacity must be at least 1.")
	case rest < 0:
		return nil, wire.Errorf("InvalidTargetCapacitySpecification", "The total target capacity %d is less than its parts.", total)
	case t.DefaultTargetCapacityType == types.DefaultTargetCapacityTypeSpot:
		spot += rest
	default:
		onDemand += rest
	}
	var shares []share
	if onDemand > 0 {
		sh := share{lifecycle: types.InstanceLifecycleOnDemand, target: float64(onDemand)}
		if o := in.OnDemandOptions; o != nil {
			sh.strategy, sh.least = string(o.AllocationStrategy), float64(aws.ToInt32(o.MinTargetCapacity))
			sh.single, sh.singleZone = aws.ToBool(o.SingleInstanceType), aws.ToBool(o.SingleAvailabilityZone)
		}
		shares = append(shares, sh)
	}
	if spot > 0 {
		sh := share{lifecycle: types.InstanceLifecycleSpot, target: float64(spot)}
		if o := in.SpotOptions; o != nil {
			sh.strategy, sh.least = string(o.AllocationStrategy), float64(aws.ToInt32(o.MinTargetCapacity))
			sh.single, sh.singleZone = aws.ToBool(o.SingleInstanceType), aws.ToBool(o.SingleAvailabilityZone)
		}
		shares = append(shares, sh)
	}
	for _, sh := range shares {
		if sh.least > 0 && !sh.single && !sh.singleZone {
			return nil, invalidCombination("MinTargetCapacity requires SingleInstanceType or SingleAvailabilityZone.")
		}
		if sh.least > sh.target {
			return nil, wire.Errorf("InvalidTargetCapacitySpecification", "MinTargetCapacity must not exceed the target capacity.")
		}
	}
	return shares, nil
}

// fleetPools looks up every template with every override. What is wrong with one
// of them is the pool's own matter; only a missing template fails the request.
func (s *Service) fleetPools(ctx context.Context, in *sdk.CreateFleetInput, sh share, fleetID string) ([]*pool, error) {
	var pools []*pool
	for _, config := range in.LaunchTemplateConfigs {
		spec := config.LaunchTemplateSpecification
		if spec == nil {
			return nil, missing("LaunchTemplateConfigs.LaunchTemplateSpecification")
		}
		template, err := s.findTemplate(spec.LaunchTemplateId, spec.LaunchTemplateName)
		if err != nil {
			return nil, err
		}
		if spec.Version == nil {
			return nil, missing("LaunchTemplateSpecification.Version")
		}
		version, err := template.version(spec.Version)
		if err != nil {
			return nil, err
		}
		overrides := config.Overrides
		if len(overrides) == 0 {
			overrides = []types.FleetLaunchTemplateOverridesRequest{{}}
		}
		for _, o := range overrides {
			if o.InstanceRequirements != nil {
				return nil, wire.Errorf("UnsupportedOperation", "The sandbox does not choose instance types by requirements; name the types.")
			}
			p := &pool{lifecycle: sh.lifecycle, priority: aws.ToFloat64(o.Priority), weight: 1}
			if o.Priority == nil {
				p.priority = math.Inf(1)
			}
			if w := aws.ToFloat64(o.WeightedCapacity); w > 0 {
				p.weight = w
			}
			p.origin = &types.LaunchTemplateAndOverridesResponse{
				LaunchTemplateSpecification: &types.FleetLaunchTemplateSpecification{
					LaunchTemplateId: template.Desc.LaunchTemplateId, Version: spec.Version,
				},
				Overrides: &types.FleetLaunchTemplateOverrides{},
			}
			if err := convert(o, p.origin.Overrides); err != nil {
				return nil, err
			}
			request, err := fleetOrder(in, o, sh)
			if err != nil {
				return nil, err
			}
			request.template, request.fleetID = version, fleetID
			request.data = forLaunch(version.Data, request.data)
			p.plan, p.refused = s.plan(ctx, request)
			pools = append(pools, p)
		}
	}
	return pools, nil
}

// fleetOrder is what an override and the fleet add to a template.
func fleetOrder(in *sdk.CreateFleetInput, o types.FleetLaunchTemplateOverridesRequest, sh share) (order, error) {
	request := order{subnetID: aws.ToString(o.SubnetId)}
	if err := convert(o, &request.data); err != nil {
		return request, err
	}
	if o.AvailabilityZone != nil {
		if request.data.Placement == nil {
			request.data.Placement = &types.LaunchTemplatePlacementRequest{}
		}
		request.data.Placement.AvailabilityZone = o.AvailabilityZone
	}
	for _, t := range in.TagSpecifications {
		if t.ResourceType == types.ResourceTypeFleet {
			continue // instant fleets are not kept
		}
		request.data.TagSpecifications = append(request.data.TagSpecifications, types.LaunchTemplateTagSpecificationRequest{
			ResourceType: t.ResourceType, Tags: t.Tags,
		})
	}
	if sh.lifecycle == types.InstanceLifecycleSpot {
		request.data.InstanceMarketOptions = &types.LaunchTemplateInstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot}
	}
	return request, nil
}

func (s *Service) fillFleet(in *sdk.CreateFleetInput, fleetID string, shares []share, pools []*pool) (*sdk.CreateFleetOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ids, err := s.recall("CreateFleet", in.ClientToken, in); err != nil {
		return nil, err
	} else if len(ids) > 0 {
		return s.repeatFleet(ids), nil
	}
	ids := []string{fleetID}
	note := func(more []string) error {
		ids = append(ids, more...)
		return s.remember("CreateFleet", in.ClientToken, in, ids...)
	}
	if err := note(nil); err != nil {
		return nil, err
	}
	for _, sh := range shares {
		var own []*pool
		for _, p := range pools {
			if p.lifecycle == sh.lifecycle {
				own = append(own, p)
			}
		}
		if err := s.fillShare(sh, own, note); err != nil {
			return nil, err
		}
	}
	out := &sdk.CreateFleetOutput{FleetId: aws.String(fleetID)}
	for _, p := range pools {
		if err := cmp.Or(p.refused, p.err); err != nil {
			out.Errors = append(out.Errors, p.describeError(err))
		}
		if len(p.made) == 0 {
			continue
		}
		group := types.CreateFleetInstance{
			InstanceType: p.plan.data.InstanceType, Lifecycle: p.lifecycle, LaunchTemplateAndOverrides: p.origin,
		}
		for _, i := range p.made {
			group.InstanceIds = append(group.InstanceIds, instanceKey(i))
		}
		out.Instances = append(out.Instances, group)
	}
	return out, nil
}

// fillShare launches as much of the share as there is, and notes the IDs of each
// launch before it. s.mu is held.
func (s *Service) fillShare(sh share, pools []*pool, note func(ids []string) error) error {
	pools = slices.DeleteFunc(slices.Clone(pools), func(p *pool) bool { return p.refused != nil })
	pools = rank(sh, pools)
	bucket := s.bestBucket(sh, pools)
	if bucket == nil {
		return nil
	}
	if s.supply(bucket, sh.target) < sh.least {
		for _, p := range pools { // they all were too small
			_, p.err = s.possible(p.plan, math.MaxInt32, math.MaxInt32)
		}
		return nil
	}
	rest := sh.target
	take := func(p *pool, units float64) error {
		want := int(math.Ceil(units / p.weight))
		n, err := s.possible(p.plan, 0, want)
		if err == nil && n > 0 {
			ids := make([]string, n)
			for i := range ids {
				ids[i] = region.NewID("i")
			}
			// First the token: repeated, a request that died here finds what it got.
			if err := note(ids); err != nil {
				return err
			}
			var made []*instance
			made, err = s.launch(p.plan, ids)
			p.made = append(p.made, made...)
			rest -= float64(len(made)) * p.weight
		}
		if err == nil && n < want {
			_, err = s.possible(p.plan, want-n, want-n)
		}
		p.err = err
		var refused *wire.Error
		if err != nil && !errors.As(err, &refused) {
			return err // ours, not the pool's
		}
		return nil
	}
	if sh.strategy == string(types.SpotAllocationStrategyDiversified) {
		each := math.Ceil(sh.target / float64(len(bucket)))
		for _, p := range bucket {
			if err := take(p, min(each, rest)); err != nil {
				return err
			}
		}
	}
	for _, p := range bucket {
		if rest <= 0 {
			break
		}
		if err := take(p, rest); err != nil {
			return err
		}
	}
	return nil
}

// rank orders pools by preference. The sandbox has no prices, so the cheapest is
// the smallest: fewest vCPUs, then least memory.
func rank(sh share, pools []*pool) []*pool {
	switch sh.strategy {
	case string(types.FleetOnDemandAllocationStrategyPrioritized), string(types.SpotAllocationStrategyCapacityOptimizedPrioritized):
		slices.SortStableFunc(pools, func(a, b *pool) int { return cmp.Compare(a.priority, b.priority) })
	case "", string(types.FleetOnDemandAllocationStrategyLowestPrice), string(types.SpotAllocationStrategyPriceCapacityOptimized):
		slices.SortStableFunc(pools, func(a, b *pool) int {
			return cmp.Or(cmp.Compare(a.plan.vcpus, b.plan.vcpus), cmp.Compare(*a.plan.info.MemoryInfo.SizeInMiB, *b.plan.info.MemoryInfo.SizeInMiB))
		})
	}
	return pools
}

// bestBucket returns the pools that may be used together: all, or those of one
// instance type or zone: the first that can give everything, else what gives most.
func (s *Service) bestBucket(sh share, pools []*pool) []*pool {
	if !sh.single && !sh.singleZone {
		return pools
	}
	type key struct{ kind, zone string }
	var keys []key
	buckets := map[key][]*pool{}
	for _, p := range pools {
		var k key
		if sh.single {
			k.kind = p.instanceType()
		}
		if sh.singleZone {
			k.zone = p.plan.az
		}
		if buckets[k] == nil {
			keys = append(keys, k)
		}
		buckets[k] = append(buckets[k], p)
	}
	var best []*pool
	most := -1.0
	for _, k := range keys {
		if n := s.supply(buckets[k], sh.target); n > most {
			best, most = buckets[k], n
		}
		if most >= sh.target {
			break
		}
	}
	return best
}

// supply returns how much of the target the pools can give together.
func (s *Service) supply(pools []*pool, target float64) float64 {
	total := 0.0
	free := map[string]int{}      // instances by type
	addresses := map[string]int{} // by subnet
	for _, p := range pools {
		n, err := s.possible(p.plan, 0, int(math.Ceil(target/p.weight)))
		if err != nil {
			continue
		}
		kind := p.instanceType()
		if left, limited := s.freeCapacity(kind); limited && p.plan.claim.target == nil && len(s.claimed(p.plan)) == 0 {
			if _, seen := free[kind]; !seen {
				free[kind] = left
			}
			n = min(n, free[kind])
			free[kind] -= n
		}
		for _, nic := range p.plan.nics {
			if nic.eni != nil {
				continue
			}
			id := *nic.subnet.SubnetId
			if _, seen := addresses[id]; !seen {
				addresses[id] = s.addrs.available(nic.subnet)
			}
			n = min(n, addresses[id]/(1+nic.secondary))
			addresses[id] -= n * (1 + nic.secondary)
		}
		total += float64(n) * p.weight
	}
	return total
}

func (p *pool) describeError(err error) types.CreateFleetError {
	code, message := "InternalError", err.Error()
	var refused *wire.Error
	if errors.As(err, &refused) {
		code, message = refused.Code, refused.Message
	}
	return types.CreateFleetError{
		ErrorCode: aws.String(code), ErrorMessage: aws.String(message), Lifecycle: p.lifecycle, LaunchTemplateAndOverrides: p.origin,
	}
}

// repeatFleet answers a request that was answered before.
func (s *Service) repeatFleet(ids []string) *sdk.CreateFleetOutput {
	out := &sdk.CreateFleetOutput{FleetId: aws.String(ids[0])}
	for _, id := range ids[1:] {
		i := s.instances.get(id)
		if i == nil {
			continue
		}
		lifecycle := types.InstanceLifecycleOnDemand
		if i.Desc.InstanceLifecycle == types.InstanceLifecycleTypeSpot {
			lifecycle = types.InstanceLifecycleSpot
		}
		last := len(out.Instances) - 1
		if last < 0 || out.Instances[last].InstanceType != i.Desc.InstanceType || out.Instances[last].Lifecycle != lifecycle {
			out.Instances = append(out.Instances, types.CreateFleetInstance{InstanceType: i.Desc.InstanceType, Lifecycle: lifecycle})
			last++
		}
		out.Instances[last].InstanceIds = append(out.Instances[last].InstanceIds, id)
	}
	return out
}
