package ec2

import (
	"errors"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func (r *testRegion) reserve(t *testing.T, kind string, n int32, match types.InstanceMatchCriteria) string {
	t.Helper()
	out, err := r.CreateCapacityReservation(t.Context(), &sdk.CreateCapacityReservationInput{
		InstanceType: aws.String(kind), InstanceCount: aws.Int32(n), AvailabilityZone: aws.String("us-east-1a"),
		InstancePlatform: types.CapacityReservationInstancePlatformLinuxUnix, InstanceMatchCriteria: match,
	})
	if err != nil {
		t.Fatal(err)
	}
	return *out.CapacityReservation.CapacityReservationId
}

// stands returns the state of a reservation, and how many places it has and are free.
func (r *testRegion) stands(t *testing.T, id string) (state types.CapacityReservationState, total, free int32) {
	t.Helper()
	out, err := r.DescribeCapacityReservations(t.Context(), &sdk.DescribeCapacityReservationsInput{CapacityReservationIds: []string{id}})
	if err != nil {
		t.Fatal(err)
	}
	v := out.CapacityReservations[0]
	return v.State, *v.TotalInstanceCount, *v.AvailableInstanceCount
}

func (r *testRegion) expectStands(t *testing.T, id string, state types.CapacityReservationState, total, free int32) {
	t.Helper()
	if s, n, f := r.stands(t, id); s != state || n != total || f != free {
		t.Errorf("%s is %s with %d of %d free, want %s with %d of %d", id, s, f, n, state, free, total)
	}
}

func targeting(id string) func(*sdk.RunInstancesInput) {
	return func(in *sdk.RunInstancesInput) {
		in.CapacityReservationSpecification = &types.CapacityReservationSpecification{
			CapacityReservationTarget: &types.CapacityReservationTarget{CapacityReservationId: aws.String(id)},
		}
	}
}

func inBlock(in *sdk.RunInstancesInput) {
	in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeCapacityBlock}
	in.InstanceType = "p5.4xlarge"
}

func TestAReservationHasPlacesThatInstancesTake(t *testing.T) {
	r := newRegion(t)
	if err := r.SetCapacity("t3.micro", 3); err != nil {
		t.Fatal(err)
	}
	id := r.reserve(t, "t3.micro", 2, types.InstanceMatchCriteriaTargeted)
	_, err := r.CreateCapacityReservation(t.Context(), &sdk.CreateCapacityReservationInput{
		InstanceType: aws.String("t3.micro"), InstanceCount: aws.Int32(2), AvailabilityZone: aws.String("us-east-1a"), InstancePlatform: "Linux/UNIX",
	})
	refused(t, err, "InsufficientInstanceCapacity")

	// What is reserved is nobody else's.
	_, err = r.RunInstances(t.Context(), r.request(2))
	refused(t, err, "InsufficientInstanceCapacity")
	in := r.request(2)
	targeting(id)(in)
	out, err := r.RunInstances(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if got := aws.ToString(out.Instances[0].CapacityReservationId); got != id {
		t.Errorf("the instance is in %q", got)
	}
	r.expectStands(t, id, "active", 2, 0)
	in = r.request(1)
	targeting(id)(in)
	_, err = r.RunInstances(t.Context(), in)
	refused(t, err, "ReservationCapacityExceeded")
	if _, err := r.RunInstances(t.Context(), r.request(1)); err != nil {
		t.Errorf("beside the reservation: %v", err)
	}

	ended := *out.Instances[0].InstanceId
	if _, err := r.TerminateInstances(t.Context(), &sdk.TerminateInstancesInput{InstanceIds: []string{ended}}); err != nil {
		t.Fatal(err)
	}
	r.settle()
	r.expectStands(t, id, "active", 2, 1)

	if _, err := r.CancelCapacityReservation(t.Context(), &sdk.CancelCapacityReservationInput{CapacityReservationId: aws.String(id)}); err != nil {
		t.Fatal(err)
	}
	r.expectStands(t, id, "cancelled", 0, 0)
	_, err = r.RunInstances(t.Context(), in)
	refused(t, err, "InvalidCapacityReservationState")
}

func TestOpenReservationsAreUsedByWhoDoesNotMindThem(t *testing.T) {
	r := newRegion(t)
	id := r.reserve(t, "t3.micro", 1, "")
	none := r.request(1)
	none.CapacityReservationSpecification = &types.CapacityReservationSpecification{CapacityReservationPreference: "none"}
	for i, tt := range []struct {
		in   *sdk.RunInstancesInput
		want string
	}{{none, ""}, {r.request(1), id}, {r.request(1), ""}} {
		out, err := r.RunInstances(t.Context(), tt.in)
		if err != nil {
			t.Fatal(err)
		}
		if got := aws.ToString(out.Instances[0].CapacityReservationId); got != tt.want {
			t.Errorf("instance %d is in %q, want %q", i, got, tt.want)
		}
	}
}

func TestInstancesTargetAGroupOfReservations(t *testing.T) {
	r := newRegion(t)
	id := r.reserve(t, "t3.micro", 1, types.InstanceMatchCriteriaTargeted)
	r.cfg.ReservationGroup = func(arn string) ([]string, error) {
		if arn != "arn:gpus" {
			return nil, errors.New("no such group")
		}
		return []string{"cr-00000000000000000", id}, nil
	}
	in := func(arn string) *sdk.RunInstancesInput {
		in := r.request(1)
		in.CapacityReservationSpecification = &types.CapacityReservationSpecification{
			CapacityReservationTarget: &types.CapacityReservationTarget{CapacityReservationResourceGroupArn: aws.String(arn)},
		}
		return in
	}
	for i, want := range []string{id, ""} { // what is not reserved is had on demand
		out, err := r.RunInstances(t.Context(), in("arn:gpus"))
		if err != nil {
			t.Fatal(err)
		}
		if got := aws.ToString(out.Instances[0].CapacityReservationId); got != want {
			t.Errorf("instance %d is in %q, want %q", i, got, want)
		}
	}
	_, err := r.RunInstances(t.Context(), in("arn:none"))
	refused(t, err, "InvalidParameterValue")
}

func TestOrdersThatDoNotFitAReservation(t *testing.T) {
	r := newRegion(t)
	plain := r.reserve(t, "c5.large", 1, types.InstanceMatchCriteriaTargeted)
	if err := r.AdoptReservation(t.Context(), "cr-0123456789abcdef0", "p5.4xlarge", "us-east-1a", 1, true); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change []func(*sdk.RunInstancesInput)
		code   string
	}{
		"unknown":                   {[]func(*sdk.RunInstancesInput){targeting("cr-00000000000000000")}, "InvalidCapacityReservationId.NotFound"},
		"no ID":                     {[]func(*sdk.RunInstancesInput){targeting("mine")}, "InvalidCapacityReservationId.Malformed"},
		"another type":              {[]func(*sdk.RunInstancesInput){targeting(plain)}, "InvalidParameterCombination"},
		"a block needs its market":  {[]func(*sdk.RunInstancesInput){targeting("cr-0123456789abcdef0")}, "InvalidParameterCombination"},
		"no block":                  {[]func(*sdk.RunInstancesInput){targeting(plain), inBlock}, "InvalidParameterCombination"},
		"a block that is not named": {[]func(*sdk.RunInstancesInput){inBlock}, "MissingParameter"},
		"spot": {[]func(*sdk.RunInstancesInput){targeting(plain), func(in *sdk.RunInstancesInput) {
			in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: "spot"}
		}}, "InvalidParameterCombination"},
	} {
		t.Run(name, func(t *testing.T) {
			in := r.request(1)
			for _, change := range tt.change {
				change(in)
			}
			_, err := r.RunInstances(t.Context(), in)
			refused(t, err, tt.code)
		})
	}
}

func TestACapacityBlockFromItsOfferToItsEnd(t *testing.T) {
	r := newRegion(t)
	ask := &sdk.DescribeCapacityBlockOfferingsInput{InstanceType: aws.String("p5.4xlarge"), InstanceCount: aws.Int32(2), CapacityDurationHours: aws.Int32(48)}
	offers, err := r.DescribeCapacityBlockOfferings(t.Context(), ask)
	if err != nil || len(offers.CapacityBlockOfferings) == 0 {
		t.Fatalf("%v, %v", offers, err)
	}
	offer := offers.CapacityBlockOfferings[0]
	// The clock shows half past nine.
	if want := time.Date(2025, 11, 3, 11, 30, 0, 0, time.UTC); !offer.StartDate.Equal(want) || !offer.EndDate.Equal(want.Add(48*time.Hour)) {
		t.Errorf("offered from %v to %v", offer.StartDate, offer.EndDate)
	}
	buy := &sdk.PurchaseCapacityBlockInput{CapacityBlockOfferingId: offer.CapacityBlockOfferingId, InstancePlatform: "Linux/UNIX"}
	bought, err := r.PurchaseCapacityBlock(t.Context(), buy)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.PurchaseCapacityBlock(t.Context(), buy)
	refused(t, err, "InvalidCapacityBlockOfferingId.NotFound")
	id := *bought.CapacityReservation.CapacityReservationId
	in := r.request(1)
	inBlock(in)
	targeting(id)(in)

	r.expectStands(t, id, "payment-pending", 2, 0)
	r.clock.advance(time.Minute)
	r.expectStands(t, id, "scheduled", 2, 0)
	_, err = r.RunInstances(t.Context(), in)
	refused(t, err, "InvalidCapacityReservationState")
	_, err = r.CancelCapacityReservation(t.Context(), &sdk.CancelCapacityReservationInput{CapacityReservationId: aws.String(id)})
	refused(t, err, "UnsupportedOperation")

	r.clock.advance(2 * time.Hour)
	r.expectStands(t, id, "active", 2, 2)
	out, err := r.RunInstances(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if i := out.Instances[0]; i.InstanceLifecycle != "capacity-block" || aws.ToString(i.CapacityReservationId) != id {
		t.Errorf("the instance is %q in %q", i.InstanceLifecycle, aws.ToString(i.CapacityReservationId))
	}
	r.expectStands(t, id, "active", 2, 1)
	r.settle()

	live := func() int { return r.inReservation(id) }
	r.clock.advance(46 * time.Hour)
	if r.endBlock(id); live() != 1 {
		t.Error("the instance ended too early")
	}
	r.clock.advance(90 * time.Minute) // less than half an hour before the end
	r.endBlock(id)
	r.settle()
	if live() != 0 {
		t.Error("the instance outlives its block")
	}
	r.expectStands(t, id, "active", 2, 2)
	r.clock.advance(time.Hour)
	r.expectStands(t, id, "expired", 0, 0)
}

func TestBlocksThatAreNotForSale(t *testing.T) {
	r := newRegion(t)
	for name, tt := range map[string]struct {
		kind         string
		count, hours int32
	}{
		"a type without blocks": {"c5.large", 1, 24},
		"too many":              {"p5.4xlarge", 65, 24},
		"half a day":            {"p5.4xlarge", 1, 12},
		"sixteen days":          {"p5.4xlarge", 1, 16 * 24},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.DescribeCapacityBlockOfferings(t.Context(), &sdk.DescribeCapacityBlockOfferingsInput{
				InstanceType: aws.String(tt.kind), InstanceCount: aws.Int32(tt.count), CapacityDurationHours: aws.Int32(tt.hours),
			})
			refused(t, err, "InvalidParameterValue")
		})
	}
}
