package resourcegroups

import (
	"errors"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroups"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroups/types"

	"pcluster/internal/facts/live"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire/wiretest"
)

// A group of capacity reservations, as it is made for them, is what our facts tell.
func TestGroupsOfReservations(t *testing.T) {
	s, err := New(store.Memory(), region.NewIdentity("", ""))
	if err != nil {
		t.Fatal(err)
	}
	cfg := wiretest.Serve(t, map[string]wiretest.Registrar{"resource-groups": s}).Config()
	ctx, c := t.Context(), resourcegroups.NewFromConfig(cfg)
	pool := []types.GroupConfigurationItem{
		{Type: aws.String("AWS::EC2::CapacityReservationPool")},
		{Type: aws.String("AWS::ResourceGroups::Generic"), Parameters: []types.GroupConfigurationParameter{
			{Name: aws.String("allowed-resource-types"), Values: []string{"AWS::EC2::CapacityReservation"}},
		}},
	}
	made, err := c.CreateGroup(ctx, &resourcegroups.CreateGroupInput{Name: aws.String("odcr"), Configuration: pool})
	if err != nil {
		t.Fatal(err)
	}
	arn := made.Group.GroupArn
	if _, err := c.CreateGroup(ctx, &resourcegroups.CreateGroupInput{Name: aws.String("odcr"), Configuration: pool}); err == nil {
		t.Error("a second group has the same name")
	}
	const reservation = "arn:aws:ec2:us-east-1:111122223333:capacity-reservation/cr-"
	members := []string{reservation + "1", reservation + "2", reservation + "3"}
	for range 2 { // adding again changes nothing
		if _, err := c.GroupResources(ctx, &resourcegroups.GroupResourcesInput{Group: arn, ResourceArns: members}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.UngroupResources(ctx, &resourcegroups.UngroupResourcesInput{Group: arn, ResourceArns: members[:1]}); err != nil {
		t.Fatal(err)
	}
	got, err := live.New(cfg).ReservationGroup(ctx, *arn)
	if err != nil || !got.Pool || len(got.Reservations) != 2 || got.Reservations[0] != "cr-2" {
		t.Errorf("the facts tell %+v, %v", got, err)
	}
	if ids, err := s.Reservations(*arn); err != nil || !slices.Equal(ids, got.Reservations) {
		t.Errorf("launches are told %v, %v", ids, err)
	}
	first, err := c.ListGroupResources(ctx, &resourcegroups.ListGroupResourcesInput{Group: aws.String("odcr"), MaxResults: aws.Int32(1)})
	if err != nil || len(first.Resources) != 1 || first.NextToken == nil {
		t.Errorf("a page of one: %+v, %v", first, err)
	}
	if _, err := c.DeleteGroup(ctx, &resourcegroups.DeleteGroupInput{Group: arn}); err != nil {
		t.Fatal(err)
	}
	var missing *types.NotFoundException
	if _, err := c.GetGroupConfiguration(ctx, &resourcegroups.GetGroupConfigurationInput{Group: arn}); !errors.As(err, &missing) {
		t.Errorf("after its end: %v", err)
	}
}
