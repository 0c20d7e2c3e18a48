package ec2

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/facts/catalog"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// Capacity reservations keep room for instances of a type in a zone. What state one
// has follows from its times and the clock; how much of it is used follows from the
// instances. Those of type capacity-block are bought: see blocks.go.

var nounReservation = noun{"cr", "InvalidCapacityReservationId", "The capacity reservation ID '%s' does not exist"}

func reservationKey(r *types.CapacityReservation) string { return *r.CapacityReservationId }

var reservationAttributes = map[string]attribute[types.CapacityReservation]{
	"instance-type":           func(r *types.CapacityReservation) []string { return one(r.InstanceType) },
	"owner-id":                func(r *types.CapacityReservation) []string { return one(r.OwnerId) },
	"instance-platform":       func(r *types.CapacityReservation) []string { return word(r.InstancePlatform) },
	"availability-zone":       func(r *types.CapacityReservation) []string { return one(r.AvailabilityZone) },
	"availability-zone-id":    func(r *types.CapacityReservation) []string { return one(r.AvailabilityZoneId) },
	"tenancy":                 func(r *types.CapacityReservation) []string { return word(r.Tenancy) },
	"state":                   func(r *types.CapacityReservation) []string { return word(r.State) },
	"start-date":              func(r *types.CapacityReservation) []string { return instant(r.StartDate) },
	"end-date":                func(r *types.CapacityReservation) []string { return instant(r.EndDate) },
	"end-date-type":           func(r *types.CapacityReservation) []string { return word(r.EndDateType) },
	"instance-match-criteria": func(r *types.CapacityReservation) []string { return word(r.InstanceMatchCriteria) },
	"placement-group-arn":     func(r *types.CapacityReservation) []string { return one(r.PlacementGroupArn) },
}

func isBlock(r *types.CapacityReservation) bool {
	return r.ReservationType == types.CapacityReservationTypeCapacityBlock
}

// paymentTakes is for how long the price of a capacity block is being paid.
const paymentTakes = 2 * time.Second

// stateAt returns the state of a reservation at a time.
func stateAt(r *types.CapacityReservation, now time.Time) types.CapacityReservationState {
	switch {
	case r.State == types.CapacityReservationStateCancelled:
		return r.State
	case isBlock(r) && now.Before(r.CreateDate.Add(paymentTakes)):
		return types.CapacityReservationStatePaymentPending
	case r.StartDate != nil && now.Before(*r.StartDate):
		return types.CapacityReservationStateScheduled
	case r.EndDate != nil && !now.Before(*r.EndDate):
		return types.CapacityReservationStateExpired
	}
	return types.CapacityReservationStateActive
}

// inReservation counts the instances that take the place of a reservation.
func (s *Service) inReservation(id string) (used int) {
	for _, i := range s.instances.all() {
		if aws.ToString(i.Desc.CapacityReservationId) == id && i.takesRoom() {
			used++
		}
	}
	return used
}

// takesRoom says whether an instance counts against a capacity.
func (i *instance) takesRoom() bool {
	return i.state() != types.InstanceStateNameTerminated && i.state() != types.InstanceStateNameStopped
}

// available returns how many more instances a reservation can take; none unless it is
// active.
func (s *Service) available(r *types.CapacityReservation) int {
	if stateAt(r, s.now()) != types.CapacityReservationStateActive {
		return 0
	}
	return max(0, int(*r.TotalInstanceCount)-s.inReservation(*r.CapacityReservationId))
}

// shown is a reservation as it is now.
func (s *Service) shown(r types.CapacityReservation) types.CapacityReservation {
	r.State = stateAt(&r, s.now())
	switch r.State {
	case types.CapacityReservationStateCancelled, types.CapacityReservationStateExpired:
		r.TotalInstanceCount, r.AvailableInstanceCount = aws.Int32(0), aws.Int32(0)
	default:
		r.AvailableInstanceCount = aws.Int32(int32(s.available(&r)))
	}
	return r
}

// reserved is the capacity of an instance type that active reservations keep.
func (s *Service) reserved(instanceType string) (n int) {
	for _, r := range s.reservations.all() {
		if *r.InstanceType == instanceType && stateAt(r, s.now()) == types.CapacityReservationStateActive {
			n += int(*r.TotalInstanceCount)
		}
	}
	return n
}

// reservedFor says whether an instance has its place in a reservation that is active.
func (s *Service) reservedFor(i *instance) bool {
	r := s.reservations.get(aws.ToString(i.Desc.CapacityReservationId))
	return r != nil && stateAt(r, s.now()) == types.CapacityReservationStateActive
}

// DescribeCapacityReservations lists reservations, also those that are over.
func (s *Service) DescribeCapacityReservations(_ context.Context, in *sdk.DescribeCapacityReservationsInput) (*sdk.DescribeCapacityReservationsOutput, error) {
	l := of(s.reservations, nounReservation, reservationKey, reservationAttributes, func(r *types.CapacityReservation) []types.Tag { return r.Tags })
	found, next, err := rendered(l, s.shown).describe(in.CapacityReservationIds, in.Filters, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeCapacityReservationsOutput{CapacityReservations: found, NextToken: next}, nil
}

// GetCapacityReservationUsage tells how much of a reservation is used.
func (s *Service) GetCapacityReservationUsage(_ context.Context, in *sdk.GetCapacityReservationUsageInput) (*sdk.GetCapacityReservationUsageOutput, error) {
	row, err := find(s.reservations, nounReservation, aws.ToString(in.CapacityReservationId))
	if err != nil {
		return nil, err
	}
	r := s.shown(*row)
	out := &sdk.GetCapacityReservationUsageOutput{
		CapacityReservationId: r.CapacityReservationId, InstanceType: r.InstanceType, State: r.State,
		TotalInstanceCount: r.TotalInstanceCount, AvailableInstanceCount: r.AvailableInstanceCount,
	}
	if used := s.inReservation(*r.CapacityReservationId); used > 0 {
		out.InstanceUsages = []types.InstanceUsage{{AccountId: r.OwnerId, UsedInstanceCount: aws.Int32(int32(used))}}
	}
	return out, nil
}

// CreateCapacityReservation keeps capacity on demand from now on.
func (s *Service) CreateCapacityReservation(ctx context.Context, in *sdk.CreateCapacityReservationInput) (*sdk.CreateCapacityReservationOutput, error) {
	tags, err := newTags(ctx, in.TagSpecifications, types.ResourceTypeCapacityReservation)
	if err != nil {
		return nil, err
	}
	if in.StartDate != nil {
		return nil, wire.Errorf("UnsupportedOperation", "The sandbox has no reservations with a start date; capacity blocks have one.")
	}
	zone, err := s.zoneOf(in.AvailabilityZone, in.AvailabilityZoneId)
	if err != nil {
		return nil, err
	}
	r := &types.CapacityReservation{
		InstanceType: in.InstanceType, InstancePlatform: in.InstancePlatform, AvailabilityZone: aws.String(zone),
		TotalInstanceCount: in.InstanceCount, EbsOptimized: aws.Bool(aws.ToBool(in.EbsOptimized)),
		EndDateType: in.EndDateType, EndDate: in.EndDate,
		InstanceMatchCriteria: cmp.Or(in.InstanceMatchCriteria, types.InstanceMatchCriteriaOpen),
		PlacementGroupArn:     in.PlacementGroupArn, Tenancy: cmp.Or(in.Tenancy, types.CapacityReservationTenancyDefault),
		ReservationType: types.CapacityReservationTypeDefault, Tags: tags,
	}
	if err := s.checkReservation(r); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	id := region.NewID("cr")
	made, err := once(s, "CreateCapacityReservation", in.ClientToken, in, s.reservations, id, func() error {
		if free, limited := s.freeCapacity(*r.InstanceType); limited && free < int(*r.TotalInstanceCount) {
			return s.insufficientCapacity(*r.InstanceType, zone)
		}
		return s.putReservation(id, r)
	})
	if err != nil {
		return nil, err
	}
	shown := s.shown(*made)
	return &sdk.CreateCapacityReservationOutput{CapacityReservation: &shown}, nil
}

// zoneOf returns the name of a zone that is given by name or ID.
func (s *Service) zoneOf(name, id *string) (string, error) {
	for _, zone := range s.id.AZs() {
		if zone == aws.ToString(name) || s.zoneID(zone) == aws.ToString(id) {
			return zone, nil
		}
	}
	if name == nil && id == nil {
		return "", missing("AvailabilityZone")
	}
	return "", invalidValue("Invalid availability zone: [%s]", aws.ToString(name)+aws.ToString(id))
}

// checkReservation refuses what can't be reserved.
func (s *Service) checkReservation(r *types.CapacityReservation) error {
	name := aws.ToString(r.InstanceType)
	switch count := aws.ToInt32(r.TotalInstanceCount); {
	case name == "":
		return missing("InstanceType")
	case r.InstancePlatform == "":
		return missing("InstancePlatform")
	case r.TotalInstanceCount == nil:
		return missing("InstanceCount")
	case count < 1:
		return invalidValue("Value (%d) for parameter instanceCount is invalid.", count)
	}
	if _, ok := catalog.InstanceType(name); !ok {
		return invalidValue("Invalid value '%s' for InstanceType.", name)
	}
	if !s.offered(name, *r.AvailabilityZone) {
		return wire.Errorf("Unsupported", "Your requested instance type (%s) is not supported in your requested Availability Zone (%s).", name, *r.AvailabilityZone)
	}
	switch {
	case r.EndDateType == "" && r.EndDate != nil, r.EndDateType == types.EndDateTypeUnlimited && r.EndDate != nil:
		return invalidCombination("EndDate can only be given with the EndDateType limited.")
	case r.EndDateType == types.EndDateTypeLimited && r.EndDate == nil:
		return missing("EndDate")
	case r.EndDate != nil && !r.EndDate.After(s.now()):
		return invalidValue("The end date must be in the future.")
	}
	r.EndDateType = cmp.Or(r.EndDateType, types.EndDateTypeUnlimited)
	return nil
}

// putReservation completes a reservation and writes it down. s.mu is held.
func (s *Service) putReservation(id string, r *types.CapacityReservation) error {
	now := s.now().UTC().Truncate(time.Second)
	r.CapacityReservationId, r.CapacityReservationArn = aws.String(id), aws.String(s.id.ARN("ec2", "capacity-reservation/"+id))
	r.OwnerId, r.AvailabilityZoneId = aws.String(s.id.Account()), aws.String(s.zoneID(*r.AvailabilityZone))
	r.CreateDate, r.State, r.EphemeralStorage = aws.Time(now), types.CapacityReservationStateActive, aws.Bool(false)
	if r.StartDate == nil {
		r.StartDate = aws.Time(now)
	}
	return s.reservations.put(id, r)
}

// ModifyCapacityReservation changes the size or the end of a reservation.
func (s *Service) ModifyCapacityReservation(_ context.Context, in *sdk.ModifyCapacityReservationInput) (*sdk.ModifyCapacityReservationOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.changeable(in.CapacityReservationId)
	if err != nil {
		return nil, err
	}
	next := *old
	next.TotalInstanceCount = cmp.Or(in.InstanceCount, old.TotalInstanceCount)
	if in.EndDateType != "" || in.EndDate != nil {
		next.EndDateType, next.EndDate = in.EndDateType, in.EndDate
	}
	next.InstanceMatchCriteria = cmp.Or(in.InstanceMatchCriteria, old.InstanceMatchCriteria)
	if err := s.checkReservation(&next); err != nil {
		return nil, err
	}
	more := int(*next.TotalInstanceCount - *old.TotalInstanceCount)
	if free, limited := s.freeCapacity(*old.InstanceType); limited && free < more {
		return nil, s.insufficientCapacity(*old.InstanceType, *old.AvailabilityZone)
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	if err := s.reservations.put(*next.CapacityReservationId, &next); err != nil {
		return nil, err
	}
	return &sdk.ModifyCapacityReservationOutput{Return: aws.Bool(true)}, nil
}

// CancelCapacityReservation gives capacity back. Instances that use it go on.
func (s *Service) CancelCapacityReservation(_ context.Context, in *sdk.CancelCapacityReservationInput) (*sdk.CancelCapacityReservationOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.changeable(in.CapacityReservationId)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	err = s.reservations.set(*r.CapacityReservationId, func(r *types.CapacityReservation) { r.State = types.CapacityReservationStateCancelled })
	if err != nil {
		return nil, err
	}
	return &sdk.CancelCapacityReservationOutput{Return: aws.Bool(true)}, nil
}

// changeable finds a reservation that its owner may change. s.mu is held.
func (s *Service) changeable(id *string) (*types.CapacityReservation, error) {
	r, err := find(s.reservations, nounReservation, aws.ToString(id))
	if err != nil {
		return nil, err
	}
	switch state := stateAt(r, s.now()); {
	case isBlock(r):
		return nil, wire.Errorf("UnsupportedOperation", "The capacity block '%s' can be neither changed nor cancelled.", *id)
	case state != types.CapacityReservationStateActive:
		return nil, notActive(*id, state)
	}
	return r, nil
}

func notActive(id string, state types.CapacityReservationState) error {
	return wire.Errorf("InvalidCapacityReservationState", "The capacity reservation '%s' is in the state %s, not active.", id, state)
}

// A claim is which reservations an order may use.
type claim struct {
	target *types.CapacityReservation // this one, or the order fails
	among  []string                   // these before other capacity, by ID
	open   bool                       // any that is open, before other capacity
}

// claims reads what an order says of reservations.
func (p planning) claims(context.Context) error {
	block := p.data.InstanceMarketOptions != nil && p.data.InstanceMarketOptions.MarketType == types.MarketTypeCapacityBlock
	spec := p.data.CapacityReservationSpecification
	if spec == nil {
		spec = &types.LaunchTemplateCapacityReservationSpecificationRequest{}
	}
	target := spec.CapacityReservationTarget
	switch {
	case target == nil && block:
		return missing("CapacityReservationTarget: a capacity block must be named")
	case target == nil:
		p.claim.open = !p.spot && spec.CapacityReservationPreference != types.CapacityReservationPreferenceNone
		return nil
	case p.spot:
		return invalidCombination("Spot instances can't use a capacity reservation.")
	case spec.CapacityReservationPreference == types.CapacityReservationPreferenceOpen || spec.CapacityReservationPreference == types.CapacityReservationPreferenceNone:
		return invalidCombination("CapacityReservationPreference and CapacityReservationTarget can't be given together.")
	case target.CapacityReservationId != nil && target.CapacityReservationResourceGroupArn != nil:
		return invalidCombination("Give either a capacity reservation or a resource group of some.")
	case target.CapacityReservationResourceGroupArn != nil:
		return p.claimGroup(*target.CapacityReservationResourceGroupArn)
	}
	r, err := find(p.reservations, nounReservation, aws.ToString(target.CapacityReservationId))
	if err != nil {
		return err
	}
	id := *r.CapacityReservationId
	switch {
	case isBlock(r) && !block:
		return invalidCombination("The capacity reservation '%s' is a capacity block: instances need the market type capacity-block.", id)
	case !isBlock(r) && block:
		return invalidCombination("The capacity reservation '%s' is no capacity block.", id)
	case *r.InstanceType != string(p.data.InstanceType):
		return invalidCombination("The capacity reservation '%s' is for %s, not for %s.", id, *r.InstanceType, p.data.InstanceType)
	case *r.AvailabilityZone != p.az:
		return invalidCombination("The capacity reservation '%s' is in %s, the subnet is in %s.", id, *r.AvailabilityZone, p.az)
	}
	p.claim.target = r
	return nil
}

// claimGroup lets an order use the reservations of a resource group.
func (p planning) claimGroup(arn string) error {
	if p.cfg.ReservationGroup == nil {
		return wire.Errorf("UnsupportedOperation", "This region has no resource groups.")
	}
	ids, err := p.cfg.ReservationGroup(arn)
	if err != nil {
		return invalidValue("The resource group '%s' can't be used: %v", arn, err)
	}
	p.claim.among = ids
	return nil
}

// claimed lists the reservations that the plan's instances may use, besides other
// capacity: of their type and zone. s.mu is held.
func (s *Service) claimed(p *plan) []*types.CapacityReservation {
	var out []*types.CapacityReservation
	for _, r := range s.reservations.all() {
		wanted := p.claim.open && r.InstanceMatchCriteria == types.InstanceMatchCriteriaOpen || slices.Contains(p.claim.among, *r.CapacityReservationId)
		if wanted && !isBlock(r) && *r.InstanceType == string(p.data.InstanceType) && *r.AvailabilityZone == p.az {
			out = append(out, r)
		}
	}
	return out
}

// capacityFor returns how many instances of the plan there is capacity for, at most
// want, and why if that are fewer than least. s.mu is held.
func (s *Service) capacityFor(p *plan, least, want int) (int, error) {
	name := string(p.data.InstanceType)
	if p.claim.target != nil {
		r := s.reservations.get(*p.claim.target.CapacityReservationId)
		if state := stateAt(r, s.now()); state != types.CapacityReservationStateActive {
			return 0, notActive(*r.CapacityReservationId, state)
		}
		n := min(want, s.available(r))
		if n < least {
			return 0, wire.Errorf("ReservationCapacityExceeded", "The capacity reservation '%s' has room for %d more instances, not for %d.",
				*r.CapacityReservationId, s.available(r), least)
		}
		return n, nil
	}
	free, limited := s.freeCapacity(name)
	if !limited {
		return want, nil
	}
	for _, r := range s.claimed(p) {
		free += s.available(r)
	}
	n := min(want, free)
	if n < least {
		return 0, s.insufficientCapacity(name, p.az)
	}
	return n, nil
}

// occupy returns the reservation that the next instance of a plan takes a place of, or
// nil. s.mu is held.
func (s *Service) occupy(p *plan) *types.CapacityReservation {
	if p.claim.target != nil {
		return p.claim.target
	}
	for _, r := range s.claimed(p) {
		if s.available(r) > 0 {
			return r
		}
	}
	return nil
}

// describeClaim fills in what an instance shows of its reservation.
func (i *instance) describeClaim(p *plan, r *types.CapacityReservation) {
	spec := &types.CapacityReservationSpecificationResponse{CapacityReservationPreference: types.CapacityReservationPreferenceNone}
	if p.claim.open {
		spec.CapacityReservationPreference = types.CapacityReservationPreferenceOpen
	}
	if asked := p.data.CapacityReservationSpecification; asked != nil && asked.CapacityReservationTarget != nil {
		spec.CapacityReservationPreference = ""
		spec.CapacityReservationTarget = &types.CapacityReservationTargetResponse{
			CapacityReservationId:               asked.CapacityReservationTarget.CapacityReservationId,
			CapacityReservationResourceGroupArn: asked.CapacityReservationTarget.CapacityReservationResourceGroupArn,
		}
	}
	i.Desc.CapacityReservationSpecification = spec
	if r != nil {
		i.Desc.CapacityReservationId = r.CapacityReservationId
		if isBlock(r) {
			i.Desc.CapacityBlockId = r.CapacityBlockId
			i.Desc.InstanceLifecycle = types.InstanceLifecycleTypeCapacityBlock
		}
	}
}

// AdoptReservation makes a reservation with the given ID, of capacity from now on; a
// capacity block of it lasts a week.
func (s *Service) AdoptReservation(_ context.Context, id, instanceType, zone string, count int, block bool) error {
	if err := nounReservation.check(id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reservations.get(id) != nil {
		return nil
	}
	r := &types.CapacityReservation{
		InstanceType: aws.String(instanceType), AvailabilityZone: aws.String(zone), TotalInstanceCount: aws.Int32(int32(count)),
		InstancePlatform: types.CapacityReservationInstancePlatformLinuxUnix, EbsOptimized: aws.Bool(true),
		InstanceMatchCriteria: types.InstanceMatchCriteriaTargeted, Tenancy: types.CapacityReservationTenancyDefault,
		ReservationType: types.CapacityReservationTypeDefault,
	}
	if err := s.checkReservation(r); err != nil {
		return err
	}
	if !block {
		return s.putReservation(id, r)
	}
	now := s.now().UTC().Truncate(time.Second)
	return s.putBlock(id, r, now, now.Add(7*24*time.Hour))
}

var errNoBlock = errors.New("is no capacity block")
