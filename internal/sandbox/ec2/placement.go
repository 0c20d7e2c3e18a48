package ec2

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

var nounPlacement = noun{"pg", "InvalidPlacementGroup", "The Placement Group '%s' is unknown."}

func placementKey(v *types.PlacementGroup) string { return *v.GroupId }

var placementAttributes = map[string]attribute[types.PlacementGroup]{
	"group-name":   func(v *types.PlacementGroup) []string { return one(v.GroupName) },
	"group-arn":    func(v *types.PlacementGroup) []string { return one(v.GroupArn) },
	"spread-level": func(v *types.PlacementGroup) []string { return word(v.SpreadLevel) },
	"state":        func(v *types.PlacementGroup) []string { return word(v.State) },
	"strategy":     func(v *types.PlacementGroup) []string { return word(v.Strategy) },
}

// findPlacement finds a group by name or ID, nil without one.
func (s *Service) findPlacement(nameOrID string) *types.PlacementGroup {
	if nameOrID == "" {
		return nil
	}
	for _, v := range s.placements.all() {
		if *v.GroupName == nameOrID || *v.GroupId == nameOrID {
			return v
		}
	}
	return nil
}

func unknownPlacement(name string) error {
	return wire.Errorf("InvalidPlacementGroup.Unknown", "The Placement Group '%s' is unknown.", name)
}

// DescribePlacementGroups lists placement groups.
func (s *Service) DescribePlacementGroups(_ context.Context, in *sdk.DescribePlacementGroupsInput) (*sdk.DescribePlacementGroupsOutput, error) {
	filters := in.Filters
	for _, name := range slices.Concat(in.GroupNames, in.GroupIds) {
		if s.findPlacement(name) == nil {
			return nil, unknownPlacement(name)
		}
	}
	if len(in.GroupNames) > 0 {
		filters = append(slices.Clone(filters), types.Filter{Name: aws.String("group-name"), Values: in.GroupNames})
	}
	l := of(s.placements, nounPlacement, placementKey, placementAttributes, func(v *types.PlacementGroup) []types.Tag { return v.Tags })
	rows, _, err := l.describe(in.GroupIds, filters, nil, nil)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribePlacementGroupsOutput{PlacementGroups: rows}, nil
}

// CreatePlacementGroup makes a group. Where its instances run is all the same
// here.
func (s *Service) CreatePlacementGroup(ctx context.Context, in *sdk.CreatePlacementGroupInput) (*sdk.CreatePlacementGroupOutput, error) {
	tags, err := newTags(ctx, in.TagSpecifications, types.ResourceTypePlacementGroup)
	if err != nil {
		return nil, err
	}
	name := aws.ToString(in.GroupName)
	if name == "" {
		return nil, missing("GroupName")
	}
	if in.Strategy == "" && in.PartitionCount == nil {
		return nil, missing("Strategy")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.findPlacement(name) != nil {
		return nil, wire.Errorf("InvalidPlacementGroup.Duplicate", "The Placement Group '%s' already exists.", name)
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	v := &types.PlacementGroup{
		GroupId:        aws.String(region.NewID("pg")),
		GroupName:      in.GroupName,
		GroupArn:       aws.String(s.id.ARN("ec2", "placement-group/"+name)),
		Strategy:       in.Strategy,
		PartitionCount: in.PartitionCount,
		SpreadLevel:    in.SpreadLevel,
		State:          types.PlacementGroupStateAvailable,
		Tags:           tags,
	}
	if v.Strategy == "" {
		v.Strategy = types.PlacementStrategyPartition
	}
	if err := s.placements.put(*v.GroupId, v); err != nil {
		return nil, err
	}
	return &sdk.CreatePlacementGroupOutput{PlacementGroup: v}, nil
}

// DeletePlacementGroup deletes a group without instances.
func (s *Service) DeletePlacementGroup(_ context.Context, in *sdk.DeletePlacementGroupInput) (*sdk.DeletePlacementGroupOutput, error) {
	name := aws.ToString(in.GroupName)
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.findPlacement(name)
	if v == nil {
		return nil, unknownPlacement(name)
	}
	for _, i := range s.instances.all() {
		if i.state() != types.InstanceStateNameTerminated && aws.ToString(i.Desc.Placement.GroupId) == *v.GroupId {
			return nil, wire.Errorf("InvalidPlacementGroup.InUse", "The Placement Group '%s' is in use and may not be deleted.", name)
		}
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	return &sdk.DeletePlacementGroupOutput{}, s.placements.delete(*v.GroupId)
}
