package efs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/efs/types"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

func (s *Service) accessPoint(id string) (types.AccessPointDescription, error) {
	p, ok := s.accessPoints.Get(bareID(id))
	if !ok {
		return p, wire.Errorf("AccessPointNotFound", "Access Point %s does not exist.", bareID(id))
	}
	return p, nil
}

// CreateAccessPoint makes an entrance to a directory of a file system. The
// directory is created if the request says as whose.
func (s *Service) CreateAccessPoint(_ context.Context, in *sdk.CreateAccessPointInput) (*sdk.CreateAccessPointOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.fileSystem(*in.FileSystemId)
	if err != nil {
		return nil, err
	}
	fsID := *f.Description.FileSystemId
	for _, p := range s.accessPoints.All() {
		if in.ClientToken != nil && aws.ToString(p.ClientToken) == *in.ClientToken {
			return nil, &wire.Error{Code: "AccessPointAlreadyExists", Status: 409,
				Message: fmt.Sprintf("Access point already exists with client token %s", *in.ClientToken),
				Fields:  map[string]string{"AccessPointId": *p.AccessPointId}}
		}
	}
	root := types.RootDirectory{Path: aws.String("/")}
	if in.RootDirectory != nil {
		if root.CreationInfo = in.RootDirectory.CreationInfo; in.RootDirectory.Path != nil {
			root.Path = in.RootDirectory.Path
		}
	}
	if info := root.CreationInfo; info != nil && *root.Path != "/" {
		if err := s.makeRoot(fsID, *root.Path, info); err != nil {
			return nil, err
		}
	}
	id := region.NewID("fsap")
	p := types.AccessPointDescription{
		AccessPointId: &id, AccessPointArn: aws.String(s.id.ARN("elasticfilesystem", "access-point/"+id)), ClientToken: in.ClientToken, FileSystemId: &fsID,
		LifeCycleState: types.LifeCycleStateAvailable, Name: nameOf(in.Tags), OwnerId: aws.String(s.id.Account()),
		PosixUser: in.PosixUser, RootDirectory: &root, Tags: in.Tags,
	}
	if err := s.accessPoints.Put(id, p); err != nil {
		return nil, err
	}
	return &sdk.CreateAccessPointOutput{
		AccessPointArn: p.AccessPointArn, AccessPointId: p.AccessPointId, ClientToken: p.ClientToken, FileSystemId: p.FileSystemId,
		LifeCycleState: types.LifeCycleStateCreating, Name: p.Name, OwnerId: p.OwnerId, PosixUser: p.PosixUser, RootDirectory: p.RootDirectory, Tags: p.Tags,
	}, nil
}

// makeRoot creates the root directory of an access point, unless it exists.
func (s *Service) makeRoot(fsID, path string, info *types.CreationInfo) error {
	mode, err := strconv.ParseUint(aws.ToString(info.Permissions), 8, 12)
	if err != nil {
		return wire.Errorf("BadRequest", "Permissions must be an octal number: %s", aws.ToString(info.Permissions))
	}
	// Instances own these files: a link of theirs must not lead us out.
	root, err := os.OpenRoot(s.inside(fsID, "/"))
	if err != nil {
		return err
	}
	defer root.Close()
	rel := strings.TrimPrefix(path, "/")
	if _, err := root.Stat(rel); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := root.MkdirAll(rel, 0o755); err != nil {
		return fmt.Errorf("root directory of access point: %w", err)
	}
	return errors.Join(root.Chmod(rel, fs.FileMode(mode)&fs.ModePerm), root.Chown(rel, int(aws.ToInt64(info.OwnerUid)), int(aws.ToInt64(info.OwnerGid))))
}

// DescribeAccessPoints lists access points: one, those of a file system, or all.
func (s *Service) DescribeAccessPoints(_ context.Context, in *sdk.DescribeAccessPointsInput) (*sdk.DescribeAccessPointsOutput, error) {
	if in.AccessPointId != nil {
		p, err := s.accessPoint(*in.AccessPointId)
		if err != nil {
			return nil, err
		}
		return &sdk.DescribeAccessPointsOutput{AccessPoints: []types.AccessPointDescription{p}}, nil
	}
	all := s.accessPoints.All()
	if in.FileSystemId != nil {
		f, err := s.fileSystem(*in.FileSystemId)
		if err != nil {
			return nil, err
		}
		all = slices.DeleteFunc(all, func(p types.AccessPointDescription) bool { return *p.FileSystemId != *f.Description.FileSystemId })
	}
	found, next, err := paged(all, func(p types.AccessPointDescription) string { return *p.AccessPointId }, in.NextToken, page.Limit(in.MaxResults, 100))
	return &sdk.DescribeAccessPointsOutput{AccessPoints: found, NextToken: next}, err
}

// DeleteAccessPoint removes the entrance, not the directory.
func (s *Service) DeleteAccessPoint(_ context.Context, in *sdk.DeleteAccessPointInput) (*sdk.DeleteAccessPointOutput, error) {
	p, err := s.accessPoint(*in.AccessPointId)
	if err != nil {
		return nil, err
	}
	return &sdk.DeleteAccessPointOutput{}, s.accessPoints.Delete(*p.AccessPointId)
}

func nameOf(tags []types.Tag) *string {
	for _, t := range tags {
		if aws.ToString(t.Key) == "Name" {
			return t.Value
		}
	}
	return nil
}

// retag replaces the tags of a file system or access point by what fn makes of
// them; the map fn gets is its own.
func (s *Service) retag(id string, fn func(map[string]string)) error {
	apply := func(old []types.Tag) []types.Tag {
		m := map[string]string{}
		for _, t := range old {
			m[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
		fn(m)
		var tags []types.Tag
		for _, k := range slices.Sorted(maps.Keys(m)) {
			tags = append(tags, types.Tag{Key: &k, Value: aws.String(m[k])})
		}
		return tags
	}
	if strings.HasPrefix(bareID(id), "fsap-") {
		s.mu.Lock()
		defer s.mu.Unlock()
		p, err := s.accessPoint(id)
		if err != nil {
			return err
		}
		p.Tags = apply(p.Tags)
		p.Name = nameOf(p.Tags)
		return s.accessPoints.Put(*p.AccessPointId, p)
	}
	_, err := s.change(&id, func(f *fileSystem) error {
		f.Description.Tags = apply(f.Description.Tags)
		f.Description.Name = nameOf(f.Description.Tags)
		return nil
	})
	return err
}

func (s *Service) tags(id string) ([]types.Tag, error) {
	if strings.HasPrefix(bareID(id), "fsap-") {
		p, err := s.accessPoint(id)
		return p.Tags, err
	}
	f, err := s.fileSystem(id)
	return f.Description.Tags, err
}

// TagResource adds tags to a file system or access point.
func (s *Service) TagResource(_ context.Context, in *sdk.TagResourceInput) (*sdk.TagResourceOutput, error) {
	return &sdk.TagResourceOutput{}, s.retag(*in.ResourceId, func(m map[string]string) {
		for _, t := range in.Tags {
			m[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
	})
}

// UntagResource removes tags.
func (s *Service) UntagResource(_ context.Context, in *sdk.UntagResourceInput) (*sdk.UntagResourceOutput, error) {
	return &sdk.UntagResourceOutput{}, s.retag(*in.ResourceId, func(m map[string]string) {
		for _, k := range in.TagKeys {
			delete(m, k)
		}
	})
}

// ListTagsForResource lists the tags of a file system or access point.
func (s *Service) ListTagsForResource(_ context.Context, in *sdk.ListTagsForResourceInput) (*sdk.ListTagsForResourceOutput, error) {
	tags, err := s.tags(*in.ResourceId)
	if err != nil {
		return nil, err
	}
	tags = slices.SortedFunc(slices.Values(tags), func(a, b types.Tag) int { return strings.Compare(*a.Key, *b.Key) })
	found, next, err := paged(tags, func(t types.Tag) string { return *t.Key }, in.NextToken, page.Limit(in.MaxResults, 100))
	return &sdk.ListTagsForResourceOutput{Tags: found, NextToken: next}, err
}

// DescribeAccountPreferences returns the length of IDs.
func (s *Service) DescribeAccountPreferences(context.Context, *sdk.DescribeAccountPreferencesInput) (*sdk.DescribeAccountPreferencesOutput, error) {
	return &sdk.DescribeAccountPreferencesOutput{ResourceIdPreference: &types.ResourceIdPreference{
		ResourceIdType: types.ResourceIdTypeLongId, Resources: []types.Resource{types.ResourceFileSystem, types.ResourceMountTarget}}}, nil
}

// CreateTags is the older TagResource.
func (s *Service) CreateTags(ctx context.Context, in *sdk.CreateTagsInput) (*sdk.CreateTagsOutput, error) {
	_, err := s.TagResource(ctx, &sdk.TagResourceInput{ResourceId: in.FileSystemId, Tags: in.Tags})
	return &sdk.CreateTagsOutput{}, err
}

// DeleteTags is the older UntagResource.
func (s *Service) DeleteTags(ctx context.Context, in *sdk.DeleteTagsInput) (*sdk.DeleteTagsOutput, error) {
	_, err := s.UntagResource(ctx, &sdk.UntagResourceInput{ResourceId: in.FileSystemId, TagKeys: in.TagKeys})
	return &sdk.DeleteTagsOutput{}, err
}

// DescribeTags is the older ListTagsForResource.
func (s *Service) DescribeTags(ctx context.Context, in *sdk.DescribeTagsInput) (*sdk.DescribeTagsOutput, error) {
	out, err := s.ListTagsForResource(ctx, &sdk.ListTagsForResourceInput{ResourceId: in.FileSystemId, NextToken: in.Marker, MaxResults: in.MaxItems})
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeTagsOutput{Tags: out.Tags, Marker: in.Marker, NextMarker: out.NextToken}, nil
}
