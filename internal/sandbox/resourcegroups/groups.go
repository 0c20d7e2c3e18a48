// Package resourcegroups is Resource Groups of the region: groups with a configuration
// and members that are named one by one, as groups of capacity reservations are. Groups
// that a query makes are refused.
package resourcegroups

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroups"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroups/types"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// A Service is Resource Groups of a region. It is safe for concurrent use.
type Service struct {
	id *region.Identity

	mu     sync.Mutex // held over changes
	groups *store.Table[group]
}

// group is a row; its key is its name.
type group struct {
	Name, Description string
	Configuration     []types.GroupConfigurationItem
	Members           []string // ARNs
	Tags              map[string]string
}

// New opens the region's groups.
func New(db *store.DB, id *region.Identity) (*Service, error) {
	s := &Service{id: id}
	return s, store.OpenTable(db, "resourcegroups.groups", &s.groups)
}

// Register attaches the operations to the API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "CreateGroup", s.CreateGroup)
	wire.Handle(m, "DeleteGroup", s.DeleteGroup)
	wire.Handle(m, "GetGroup", s.GetGroup)
	wire.Handle(m, "GetGroupConfiguration", s.GetGroupConfiguration)
	wire.Handle(m, "ListGroups", s.ListGroups)
	wire.Handle(m, "UpdateGroup", s.UpdateGroup)
	wire.Handle(m, "Tag", s.Tag)
	wire.Handle(m, "Untag", s.Untag)
	wire.Handle(m, "GetTags", s.GetTags)
	wire.Handle(m, "GroupResources", s.GroupResources)
	wire.Handle(m, "UngroupResources", s.UngroupResources)
	wire.Handle(m, "ListGroupResources", s.ListGroupResources)
}

// named returns the name in what requests call a group: its name or ARN, in the member
// of today or that of old.
func (s *Service) named(today, old *string) string {
	name := aws.ToString(today)
	if name == "" {
		name = aws.ToString(old)
	}
	return strings.TrimPrefix(name, s.id.ARN("resource-groups", "group/"))
}

var errToken = wire.Errorf("BadRequestException", "The next token is not valid")

func (s *Service) find(name string) (group, error) {
	g, ok := s.groups.Get(name)
	if !ok {
		return g, wire.Errorf("NotFoundException", "Cannot find group %s", name)
	}
	return g, nil
}

func (s *Service) described(g group) *types.Group {
	return &types.Group{Name: &g.Name, GroupArn: aws.String(s.id.ARN("resource-groups", "group/"+g.Name)), Description: &g.Description}
}

func configured(g group) *types.GroupConfiguration {
	return &types.GroupConfiguration{Configuration: g.Configuration, Status: types.GroupConfigurationStatusUpdateComplete}
}

// CreateGroup makes a group.
func (s *Service) CreateGroup(_ context.Context, in *resourcegroups.CreateGroupInput) (*resourcegroups.CreateGroupOutput, error) {
	if in.ResourceQuery != nil || len(in.Configuration) == 0 {
		return nil, wire.Errorf("BadRequestException", "The sandbox has groups with a configuration only, not with a query")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g := group{Name: *in.Name, Description: aws.ToString(in.Description), Configuration: in.Configuration, Tags: in.Tags}
	if made, err := s.groups.Insert(g.Name, g); err != nil {
		return nil, err
	} else if !made {
		return nil, wire.Errorf("BadRequestException", "A group with name %s already exists", g.Name)
	}
	return &resourcegroups.CreateGroupOutput{Group: s.described(g), GroupConfiguration: configured(g), Tags: g.Tags}, nil
}

// DeleteGroup forgets a group; its members stay.
func (s *Service) DeleteGroup(_ context.Context, in *resourcegroups.DeleteGroupInput) (*resourcegroups.DeleteGroupOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.find(s.named(in.Group, in.GroupName))
	if err != nil {
		return nil, err
	}
	return &resourcegroups.DeleteGroupOutput{Group: s.described(g)}, s.groups.Delete(g.Name)
}

// GetGroup tells of a group.
func (s *Service) GetGroup(_ context.Context, in *resourcegroups.GetGroupInput) (*resourcegroups.GetGroupOutput, error) {
	g, err := s.find(s.named(in.Group, in.GroupName))
	if err != nil {
		return nil, err
	}
	return &resourcegroups.GetGroupOutput{Group: s.described(g)}, nil
}

// GetGroupConfiguration tells what a group is for.
func (s *Service) GetGroupConfiguration(_ context.Context, in *resourcegroups.GetGroupConfigurationInput) (*resourcegroups.GetGroupConfigurationOutput, error) {
	g, err := s.find(s.named(in.Group, nil))
	if err != nil {
		return nil, err
	}
	return &resourcegroups.GetGroupConfigurationOutput{GroupConfiguration: configured(g)}, nil
}

// change changes a group.
func (s *Service) change(name string, fn func(*group)) (group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.find(name)
	if err != nil {
		return g, err
	}
	g.Members, g.Tags = slices.Clone(g.Members), maps.Clone(g.Tags) // others may be reading the row
	fn(&g)
	return g, s.groups.Put(g.Name, g)
}

// ListGroups lists the groups, all of one kind here.
func (s *Service) ListGroups(_ context.Context, in *resourcegroups.ListGroupsInput) (*resourcegroups.ListGroupsOutput, error) {
	if len(in.Filters) > 0 {
		return nil, wire.Errorf("BadRequestException", "The sandbox has no filters of groups")
	}
	some, next, err := page.Of(s.groups.All(), func(g group) string { return g.Name }, in.NextToken, page.Limit(in.MaxResults, 50))
	if err != nil {
		return nil, errToken
	}
	out := &resourcegroups.ListGroupsOutput{NextToken: next}
	for _, g := range some {
		v := s.described(g)
		out.GroupIdentifiers = append(out.GroupIdentifiers, types.GroupIdentifier{GroupName: v.Name, GroupArn: v.GroupArn, Description: v.Description})
		out.Groups = append(out.Groups, *v)
	}
	return out, nil
}

// UpdateGroup changes what a group says of itself.
func (s *Service) UpdateGroup(_ context.Context, in *resourcegroups.UpdateGroupInput) (*resourcegroups.UpdateGroupOutput, error) {
	g, err := s.change(s.named(in.Group, in.GroupName), func(g *group) { g.Description = aws.ToString(in.Description) })
	if err != nil {
		return nil, err
	}
	return &resourcegroups.UpdateGroupOutput{Group: s.described(g)}, nil
}

// Tag adds tags to a group.
func (s *Service) Tag(_ context.Context, in *resourcegroups.TagInput) (*resourcegroups.TagOutput, error) {
	_, err := s.change(s.named(in.Arn, nil), func(g *group) {
		if g.Tags == nil {
			g.Tags = map[string]string{}
		}
		maps.Copy(g.Tags, in.Tags)
	})
	if err != nil {
		return nil, err
	}
	return &resourcegroups.TagOutput{Arn: in.Arn, Tags: in.Tags}, nil
}

// Untag removes tags from a group.
func (s *Service) Untag(_ context.Context, in *resourcegroups.UntagInput) (*resourcegroups.UntagOutput, error) {
	_, err := s.change(s.named(in.Arn, nil), func(g *group) {
		maps.DeleteFunc(g.Tags, func(name, _ string) bool { return slices.Contains(in.Keys, name) })
	})
	if err != nil {
		return nil, err
	}
	return &resourcegroups.UntagOutput{Arn: in.Arn, Keys: in.Keys}, nil
}

// GetTags tells the tags of a group.
func (s *Service) GetTags(_ context.Context, in *resourcegroups.GetTagsInput) (*resourcegroups.GetTagsOutput, error) {
	g, err := s.find(s.named(in.Arn, nil))
	if err != nil {
		return nil, err
	}
	return &resourcegroups.GetTagsOutput{Arn: in.Arn, Tags: g.Tags}, nil
}

// GroupResources adds members, as far as they are of kinds that such groups have.
func (s *Service) GroupResources(_ context.Context, in *resourcegroups.GroupResourcesInput) (*resourcegroups.GroupResourcesOutput, error) {
	out := &resourcegroups.GroupResourcesOutput{}
	_, err := s.change(s.named(in.Group, nil), func(g *group) {
		for _, arn := range in.ResourceArns {
			if typeOf(arn) == "" {
				out.Failed = append(out.Failed, types.FailedResource{ResourceArn: &arn, ErrorCode: aws.String("RESOURCE_TYPE_NOT_SUPPORTED"),
					ErrorMessage: aws.String("Resources of this type can't be in the group")})
				continue
			}
			out.Succeeded = append(out.Succeeded, arn)
			if !slices.Contains(g.Members, arn) {
				g.Members = append(g.Members, arn)
			}
		}
		slices.Sort(g.Members)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// UngroupResources takes members out.
func (s *Service) UngroupResources(_ context.Context, in *resourcegroups.UngroupResourcesInput) (*resourcegroups.UngroupResourcesOutput, error) {
	_, err := s.change(s.named(in.Group, nil), func(g *group) {
		g.Members = slices.DeleteFunc(g.Members, func(arn string) bool { return slices.Contains(in.ResourceArns, arn) })
	})
	if err != nil {
		return nil, err
	}
	return &resourcegroups.UngroupResourcesOutput{Succeeded: in.ResourceArns}, nil
}

// ListGroupResources lists the members of a group.
func (s *Service) ListGroupResources(_ context.Context, in *resourcegroups.ListGroupResourcesInput) (*resourcegroups.ListGroupResourcesOutput, error) {
	g, err := s.find(s.named(in.Group, in.GroupName))
	if err != nil {
		return nil, err
	}
	members, next, err := page.Of(g.Members, func(arn string) string { return arn }, in.NextToken, page.Limit(in.MaxResults, 50))
	if err != nil {
		return nil, errToken
	}
	out := &resourcegroups.ListGroupResourcesOutput{NextToken: next}
	for _, arn := range members {
		id := types.ResourceIdentifier{ResourceArn: &arn, ResourceType: aws.String(typeOf(arn))}
		out.Resources = append(out.Resources, types.ListGroupResourcesItem{Identifier: &id})
		out.ResourceIdentifiers = append(out.ResourceIdentifiers, id)
	}
	return out, nil
}

// Reservations returns the IDs of the capacity reservations in a group, which is given by
// its name or ARN.
func (s *Service) Reservations(nameOrARN string) ([]string, error) {
	g, err := s.find(s.named(&nameOrARN, nil))
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, arn := range g.Members {
		if typeOf(arn) == "AWS::EC2::CapacityReservation" {
			ids = append(ids, arn[strings.LastIndexByte(arn, '/')+1:])
		}
	}
	return ids, nil
}

// Adopt makes the group of capacity reservations with the given ARN and members.
func (s *Service) Adopt(arn string, members []string) error {
	name := s.named(&arn, nil)
	if strings.HasPrefix(name, "arn:") {
		return fmt.Errorf("resource group %s is of another region or account", arn)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(members)
	return s.groups.Put(name, group{Name: name, Description: "adopted", Members: members, Configuration: []types.GroupConfigurationItem{
		{Type: aws.String("AWS::EC2::CapacityReservationPool")},
		{Type: aws.String("AWS::ResourceGroups::Generic"), Parameters: []types.GroupConfigurationParameter{
			{Name: aws.String("allowed-resource-types"), Values: []string{"AWS::EC2::CapacityReservation"}},
		}},
	}})
}

// typeOf names the type of a member, of those that are in groups with a configuration.
func typeOf(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 || parts[2] != "ec2" {
		return ""
	}
	kind, _, _ := strings.Cut(parts[5], "/")
	switch kind {
	case "capacity-reservation":
		return "AWS::EC2::CapacityReservation"
	case "host":
		return "AWS::EC2::Host"
	}
	return ""
}
