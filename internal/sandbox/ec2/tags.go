package ec2

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

const maxTags = 50 // per resource, those of AWS not counted

// A kind is a kind of resource that has tags.
type kind struct {
	noun  noun
	name  types.ResourceType
	retag func(id string, fn func([]types.Tag) []types.Tag) error // store.ErrNotFound without such a resource
	each  func(fn func(id string, tags []types.Tag))
	// tagsOf returns the tags of a resource, and none of one that does not exist.
	tagsOf func(id string) []types.Tag
}

func kindOf[T any](t *table[T], n noun, name types.ResourceType, key func(*T) string, tags func(*T) *[]types.Tag) kind {
	return kind{
		noun: n,
		name: name,
		retag: func(id string, fn func([]types.Tag) []types.Tag) error {
			return t.set(id, func(row *T) { p := tags(row); *p = fn(*p) })
		},
		each: func(fn func(string, []types.Tag)) {
			for _, row := range t.all() {
				fn(key(row), *tags(row))
			}
		},
		tagsOf: func(id string) []types.Tag {
			row := t.get(id)
			if row == nil {
				return nil
			}
			return *tags(row)
		},
	}
}

func (s *Service) taggable() []kind {
	return []kind{
		kindOf(s.vpcs, nounVPC, types.ResourceTypeVpc, vpcKey, func(v *vpcRow) *[]types.Tag { return &v.Desc.Tags }),
		kindOf(s.subnets, nounSubnet, types.ResourceTypeSubnet, subnetKey, func(v *types.Subnet) *[]types.Tag { return &v.Tags }),
		kindOf(s.routes, nounRoutes, types.ResourceTypeRouteTable, routesKey, func(v *types.RouteTable) *[]types.Tag { return &v.Tags }),
		kindOf(s.gateways, nounGateway, types.ResourceTypeInternetGateway, gatewayKey, func(v *types.InternetGateway) *[]types.Tag { return &v.Tags }),
		kindOf(s.nats, nounNAT, types.ResourceTypeNatgateway, natKey, func(v *types.NatGateway) *[]types.Tag { return &v.Tags }),
		kindOf(s.groups, nounGroup, types.ResourceTypeSecurityGroup, groupKey, func(v *securityGroup) *[]types.Tag { return &v.Tags }),
		kindOf(s.enis, nounENI, types.ResourceTypeNetworkInterface, eniKey, func(v *types.NetworkInterface) *[]types.Tag { return &v.TagSet }),
		kindOf(s.eips, nounAllocated, types.ResourceTypeElasticIp, eipKey, func(v *types.Address) *[]types.Tag { return &v.Tags }),
		kindOf(s.keys, nounKeyPair, types.ResourceTypeKeyPair, keyPairID, func(v *types.KeyPairInfo) *[]types.Tag { return &v.Tags }),
		kindOf(s.images, nounImage, types.ResourceTypeImage, imageKey, func(v *image) *[]types.Tag { return &v.Desc.Tags }),
		kindOf(s.snapshots, nounSnapshot, types.ResourceTypeSnapshot, snapshotKey, func(v *types.Snapshot) *[]types.Tag { return &v.Tags }),
		kindOf(s.volumes, nounVolume, types.ResourceTypeVolume, volumeKey, func(v *volume) *[]types.Tag { return &v.Desc.Tags }),
		kindOf(s.templates, nounTemplate, types.ResourceTypeLaunchTemplate, templateKey, func(v *launchTemplate) *[]types.Tag { return &v.Desc.Tags }),
		kindOf(s.placements, nounPlacement, types.ResourceTypePlacementGroup, placementKey, func(v *types.PlacementGroup) *[]types.Tag { return &v.Tags }),
		kindOf(s.reservations, nounReservation, types.ResourceTypeCapacityReservation, reservationKey, func(v *types.CapacityReservation) *[]types.Tag { return &v.Tags }),
		kindOf(s.instances, nounInstance, types.ResourceTypeInstance, instanceKey, func(v *instance) *[]types.Tag { return &v.Desc.Tags }),
		s.ruleTags(),
	}
}

func (s *Service) kindOfID(id string) (kind, error) {
	prefix, _, _ := strings.Cut(id, "-")
	for _, k := range s.kinds {
		if k.noun.prefix == prefix {
			return k, nil
		}
	}
	return kind{}, wire.Errorf("InvalidID", "The ID '%s' is not valid", id)
}

// retag changes the tags of all the resources, or of none if one does not exist.
func (s *Service) retag(ids []string, fn func([]types.Tag) []types.Tag) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	kinds := make([]kind, len(ids))
	same := func(tags []types.Tag) []types.Tag { return tags }
	for i, id := range ids {
		k, err := s.kindOfID(id)
		if err != nil {
			return err
		}
		if err := k.retag(id, same); errors.Is(err, store.ErrNotFound) {
			return k.noun.notFound(id)
		} else if err != nil {
			return err
		}
		kinds[i] = k
	}
	for i, id := range ids {
		if err := kinds[i].retag(id, fn); err != nil {
			return err
		}
	}
	return nil
}

// CreateTags adds tags to resources, or overwrites their values.
func (s *Service) CreateTags(ctx context.Context, in *sdk.CreateTagsInput) (*sdk.CreateTagsOutput, error) {
	if len(in.Resources) == 0 {
		return nil, missing("resourceIdSet")
	}
	if len(in.Tags) == 0 {
		return nil, missing("tagSet")
	}
	if err := checkTags(ctx, in.Tags); err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	err := s.retag(in.Resources, func(tags []types.Tag) []types.Tag { return mergeTags(tags, in.Tags) })
	if err != nil {
		return nil, err
	}
	return &sdk.CreateTagsOutput{}, nil
}

// DeleteTags removes tags from resources: by key, or by key and value where the
// request has a value; without tags it removes all but AWS's own.
func (s *Service) DeleteTags(ctx context.Context, in *sdk.DeleteTagsInput) (*sdk.DeleteTagsOutput, error) {
	if len(in.Resources) == 0 {
		return nil, missing("resourceIdSet")
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	err := s.retag(in.Resources, func(tags []types.Tag) []types.Tag {
		return slices.DeleteFunc(slices.Clone(tags), func(have types.Tag) bool {
			if len(in.Tags) == 0 {
				return !strings.HasPrefix(aws.ToString(have.Key), "aws:")
			}
			return slices.ContainsFunc(in.Tags, func(t types.Tag) bool {
				return aws.ToString(t.Key) == aws.ToString(have.Key) && (t.Value == nil || *t.Value == aws.ToString(have.Value))
			})
		})
	})
	if err != nil {
		return nil, err
	}
	return &sdk.DeleteTagsOutput{}, nil
}

var tagAttributes = map[string]attribute[types.TagDescription]{
	"key":           func(t *types.TagDescription) []string { return one(t.Key) },
	"value":         func(t *types.TagDescription) []string { return one(t.Value) },
	"resource-id":   func(t *types.TagDescription) []string { return one(t.ResourceId) },
	"resource-type": func(t *types.TagDescription) []string { return word(t.ResourceType) },
}

// DescribeTags lists tags of all kinds of resources.
func (s *Service) DescribeTags(_ context.Context, in *sdk.DescribeTagsInput) (*sdk.DescribeTagsOutput, error) {
	var rows []*types.TagDescription
	for _, k := range s.kinds {
		k.each(func(id string, tags []types.Tag) {
			for _, t := range tags {
				rows = append(rows, &types.TagDescription{Key: t.Key, Value: t.Value, ResourceId: aws.String(id), ResourceType: k.name})
			}
		})
	}
	key := func(t *types.TagDescription) string { return *t.ResourceId + "\x00" + *t.Key }
	slices.SortFunc(rows, func(a, b *types.TagDescription) int { return strings.Compare(key(a), key(b)) })
	// DescribeTags alone takes tag:KEY for the key and value of the tag itself.
	asTags := func(t *types.TagDescription) []types.Tag { return []types.Tag{{Key: t.Key, Value: t.Value}} }
	l := listing[types.TagDescription]{rows: func() []*types.TagDescription { return rows }, key: key, attributes: tagAttributes, tags: asTags}
	tags, next, err := l.describe(nil, in.Filters, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeTagsOutput{Tags: tags, NextToken: next}, nil
}

// checkTags refuses what no resource may carry. Tags of AWS's own prefix come only
// from services inside the region, whose calls have no caller.
func checkTags(ctx context.Context, tags []types.Tag) error {
	seen := map[string]bool{}
	for _, t := range tags {
		key, value := aws.ToString(t.Key), aws.ToString(t.Value)
		switch {
		case key == "":
			return invalidValue("Tag key cannot be null or empty")
		case len([]rune(key)) > 127:
			return invalidValue("Tag key exceeds the maximum length of 127 characters")
		case len([]rune(value)) > 255:
			return invalidValue("Tag value exceeds the maximum length of 255 characters")
		case strings.HasPrefix(strings.ToLower(key), "aws:") && wire.CallerFrom(ctx) != (wire.Caller{}):
			return invalidValue("Tag keys starting with 'aws:' are reserved for internal use")
		case seen[key]:
			return invalidValue("Duplicate tag key '%s' specified.", key)
		}
		seen[key] = true
	}
	if len(tags) > maxTags {
		return wire.Errorf("TagLimitExceeded", "More than %d tags specified", maxTags)
	}
	return nil
}

// tagsFor returns the tags that specifications give to one kind of resource.
func tagsFor(specs []types.TagSpecification, kind types.ResourceType) []types.Tag {
	var tags []types.Tag
	for _, s := range specs {
		if s.ResourceType == kind {
			tags = mergeTags(tags, s.Tags)
		}
	}
	return tags
}

// newTags is tagsFor a request that makes resources of one kind and may tag
// nothing else.
func newTags(ctx context.Context, specs []types.TagSpecification, kind types.ResourceType) ([]types.Tag, error) {
	for _, s := range specs {
		if s.ResourceType != kind {
			return nil, invalidValue("'%s' is not a valid taggable resource type for this operation.", s.ResourceType)
		}
		if err := checkTags(ctx, s.Tags); err != nil {
			return nil, err
		}
	}
	return tagsFor(specs, kind), nil
}

// mergeTags returns old with new on top, as a fresh slice sorted by key.
func mergeTags(old, new []types.Tag) []types.Tag {
	if len(old)+len(new) == 0 {
		return nil
	}
	merged := make([]types.Tag, 0, len(old)+len(new))
	merged = append(merged, old...)
	for _, t := range new {
		t.Value = aws.String(aws.ToString(t.Value))
		if i := slices.IndexFunc(merged, func(m types.Tag) bool { return aws.ToString(m.Key) == aws.ToString(t.Key) }); i >= 0 {
			merged[i] = t
		} else {
			merged = append(merged, t)
		}
	}
	slices.SortFunc(merged, func(a, b types.Tag) int { return strings.Compare(aws.ToString(a.Key), aws.ToString(b.Key)) })
	return merged
}

func tag(key, value string) types.Tag {
	return types.Tag{Key: aws.String(key), Value: aws.String(value)}
}

func tagValues(tags []types.Tag, key string) []string {
	for _, t := range tags {
		if aws.ToString(t.Key) == key {
			return []string{aws.ToString(t.Value)}
		}
	}
	return nil
}

func tagKeys(tags []types.Tag) []string {
	keys := make([]string, len(tags))
	for i, t := range tags {
		keys[i] = aws.ToString(t.Key)
	}
	return keys
}

func allTagValues(tags []types.Tag) []string {
	values := make([]string, len(tags))
	for i, t := range tags {
		values[i] = aws.ToString(t.Value)
	}
	return values
}

// TagsOf returns the tags of a resource; nil without any, or without the resource.
func (s *Service) TagsOf(id string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.kindOfID(id)
	if err != nil {
		return nil
	}
	var out map[string]string
	for _, t := range k.tagsOf(id) {
		if out == nil {
			out = make(map[string]string)
		}
		out[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return out
}
