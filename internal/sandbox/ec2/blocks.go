package ec2

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/facts/catalog"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// Capacity blocks are reservations that are bought for a time to come. They are paid,
// scheduled, active, and at their end EC2 takes the instances away. (AWS documentation:
// Capacity Blocks for ML.)

const (
	blockEndsBefore = 30 * time.Minute // the instances end so long before a block does
	shortBlock      = 24 * time.Hour   // no block that is bought is shorter
	mostInBlock     = 64
)

// blockEnd is when the instances of a block are taken away. One whose times somebody
// has moved closer together than they can be bought has them until its end.
func blockEnd(r *types.CapacityReservation) time.Time {
	if r.EndDate.Sub(*r.StartDate) < shortBlock {
		return *r.EndDate
	}
	return r.EndDate.Add(-blockEndsBefore)
}

func takesBlocks(instanceType string) bool {
	info, ok := catalog.InstanceType(instanceType)
	return ok && slices.Contains(info.SupportedUsageClasses, types.UsageClassTypeCapacityBlock)
}

// DescribeCapacityBlockOfferings offers a block in each zone that has the type, from
// the next time on at which blocks begin.
func (s *Service) DescribeCapacityBlockOfferings(_ context.Context, in *sdk.DescribeCapacityBlockOfferingsInput) (*sdk.DescribeCapacityBlockOfferingsOutput, error) {
	if in.UltraserverType != nil {
		return nil, wire.Errorf("UnsupportedOperation", "The sandbox has no UltraServers.")
	}
	hours, count, kind := int(aws.ToInt32(in.CapacityDurationHours)), int(aws.ToInt32(in.InstanceCount)), aws.ToString(in.InstanceType)
	switch {
	case in.CapacityDurationHours == nil:
		return nil, missing("CapacityDurationHours")
	case in.InstanceCount == nil:
		return nil, missing("InstanceCount")
	case kind == "":
		return nil, missing("InstanceType")
	case !takesBlocks(kind):
		return nil, invalidValue("The instance type '%s' has no capacity blocks.", kind)
	case count < 1 || count > mostInBlock:
		return nil, invalidValue("A capacity block has 1 to %d instances, not %d.", mostInBlock, count)
	case hours < 24 || hours > 182*24 || hours%24 != 0 || hours > 14*24 && hours%(7*24) != 0:
		return nil, invalidValue("A capacity block lasts 1 to 14 days, or up to 26 weeks, not %d hours.", hours)
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	earliest := s.now().Add(30 * time.Minute)
	if in.StartDateRange != nil && in.StartDateRange.After(earliest) {
		earliest = *in.StartDateRange
	}
	start := nextBlock(earliest)
	end := start.Add(time.Duration(hours) * time.Hour)
	out := &sdk.DescribeCapacityBlockOfferingsOutput{}
	if in.EndDateRange != nil && end.After(*in.EndDateRange) {
		return out, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.forgetOffers(); err != nil {
		return nil, err
	}
	for _, zone := range s.id.AZs() {
		if !s.offered(kind, zone) {
			continue
		}
		o := &types.CapacityBlockOffering{
			AvailabilityZone: aws.String(zone), CapacityBlockDurationHours: in.CapacityDurationHours, CapacityBlockDurationMinutes: aws.Int32(int32(hours * 60)),
			CapacityBlockOfferingId: aws.String("cb-" + region.Hex(17)), CurrencyCode: aws.String("USD"), UpfrontFee: aws.String("0.00"),
			StartDate: aws.Time(start), EndDate: aws.Time(end), InstanceCount: in.InstanceCount, InstanceType: in.InstanceType,
			Tenancy: types.CapacityReservationTenancyDefault,
		}
		if err := s.offers.put(*o.CapacityBlockOfferingId, o); err != nil {
			return nil, err
		}
		out.CapacityBlockOfferings = append(out.CapacityBlockOfferings, *o)
	}
	return out, nil
}

// nextBlock returns when the next block begins: they do so at half past eleven.
func nextBlock(after time.Time) time.Time {
	after = after.UTC()
	start := time.Date(after.Year(), after.Month(), after.Day(), 11, 30, 0, 0, time.UTC)
	if start.Before(after) {
		start = start.AddDate(0, 0, 1)
	}
	return start
}

// forgetOffers drops offers that have begun.
func (s *Service) forgetOffers() error {
	for _, o := range s.offers.all() {
		if !o.StartDate.After(s.now()) {
			if err := s.offers.delete(*o.CapacityBlockOfferingId); err != nil {
				return err
			}
		}
	}
	return nil
}

// PurchaseCapacityBlock buys a block that was offered.
func (s *Service) PurchaseCapacityBlock(ctx context.Context, in *sdk.PurchaseCapacityBlockInput) (*sdk.PurchaseCapacityBlockOutput, error) {
	tags, err := newTags(ctx, in.TagSpecifications, types.ResourceTypeCapacityReservation)
	if err != nil {
		return nil, err
	}
	if in.InstancePlatform == "" {
		return nil, missing("InstancePlatform")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.offers.get(aws.ToString(in.CapacityBlockOfferingId))
	if o == nil || !o.StartDate.After(s.now()) {
		return nil, wire.Errorf("InvalidCapacityBlockOfferingId.NotFound", "The capacity block offering '%s' does not exist or is no longer for sale.", aws.ToString(in.CapacityBlockOfferingId))
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	r := &types.CapacityReservation{
		InstanceType: o.InstanceType, AvailabilityZone: o.AvailabilityZone, TotalInstanceCount: o.InstanceCount,
		InstancePlatform: in.InstancePlatform, EbsOptimized: aws.Bool(true), Tenancy: o.Tenancy,
		InstanceMatchCriteria: types.InstanceMatchCriteriaTargeted, Tags: tags,
	}
	id := region.NewID("cr")
	if err := s.putBlock(id, r, *o.StartDate, *o.EndDate); err != nil {
		return nil, err
	}
	if err := s.offers.delete(*o.CapacityBlockOfferingId); err != nil {
		return nil, err
	}
	shown := s.shown(*s.reservations.get(id))
	return &sdk.PurchaseCapacityBlockOutput{CapacityReservation: &shown, CapacityBlocks: []types.CapacityBlock{s.blockOf(&shown)}}, nil
}

// putBlock writes a block down. s.mu is held.
func (s *Service) putBlock(id string, r *types.CapacityReservation, start, end time.Time) error {
	r.ReservationType, r.EndDateType = types.CapacityReservationTypeCapacityBlock, types.EndDateTypeLimited
	r.StartDate, r.EndDate = aws.Time(start), aws.Time(end)
	r.CapacityBlockId = aws.String(region.NewID("cb"))
	if err := s.putReservation(id, r); err != nil {
		return err
	}
	s.watchBlock(r)
	return nil
}

func (s *Service) blockOf(r *types.CapacityReservation) types.CapacityBlock {
	return types.CapacityBlock{
		AvailabilityZone: r.AvailabilityZone, AvailabilityZoneId: r.AvailabilityZoneId, CapacityBlockId: r.CapacityBlockId,
		CapacityReservationIds: []string{*r.CapacityReservationId}, CreateDate: r.CreateDate, StartDate: r.StartDate, EndDate: r.EndDate,
		State: types.CapacityBlockResourceState(r.State), Tags: r.Tags,
	}
}

// MoveBlock gives a capacity block other times, from now: one that is bought can't be
// waited for in a test.
func (s *Service) MoveBlock(id string, start, end time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := find(s.reservations, nounReservation, id)
	switch {
	case err != nil:
		return err
	case !isBlock(r):
		return fmt.Errorf("%s %w", id, errNoBlock)
	case end <= start || end <= 0:
		return fmt.Errorf("a capacity block that begins in %v can't end in %v", start, end)
	}
	now := s.now().UTC()
	next := *r
	next.StartDate, next.EndDate = aws.Time(now.Add(start)), aws.Time(now.Add(end))
	if err := s.reservations.put(id, &next); err != nil {
		return err
	}
	s.watchBlock(&next)
	return nil
}

// watchBlock ends the instances of a block when its time is over.
func (s *Service) watchBlock(r *types.CapacityReservation) {
	id, at := *r.CapacityReservationId, blockEnd(r)
	go func() {
		select {
		case <-time.After(at.Sub(s.now())):
			s.endBlock(id)
		case <-s.work.ctx.Done(): // the next daemon does it
		}
	}()
}

// endBlock takes away the instances of a block that is about to end.
func (s *Service) endBlock(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.reservations.get(id); r == nil || s.now().Before(blockEnd(r)) {
		return // it was moved
	}
	for _, i := range s.instances.all() {
		if aws.ToString(i.Desc.CapacityReservationId) != id || !i.takesRoom() || i.state() == types.InstanceStateNameShuttingDown {
			continue
		}
		err := s.instances.set(instanceKey(i), func(i *instance) {
			i.Desc.State, i.Reboot, i.Parked = stateOf(types.InstanceStateNameShuttingDown), false, false
			i.Desc.StateReason = &types.StateReason{
				Code: aws.String("Server.CapacityBlockExpired"), Message: aws.String("Server.CapacityBlockExpired: The capacity block has ended"),
			}
			i.Desc.StateTransitionReason = aws.String("Server.CapacityBlockExpired")
		})
		if err != nil {
			s.log.Error("instance of a capacity block stays", "instance", instanceKey(i), "block", id, "error", err)
			continue
		}
		s.work.kick(instanceKey(i))
	}
}
