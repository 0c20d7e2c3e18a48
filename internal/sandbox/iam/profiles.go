package iam

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"pcluster/internal/sandbox/store"
)

// A profile carries a role to EC2 instances.
type profile struct {
	Name    string
	Path    string
	ID      string // AIPA…
	Created time.Time
	Tags    []tag  `json:",omitempty"`
	Role    string `json:",omitempty"` // name; a profile has at most one
}

func (s *Service) sdkProfile(p profile) types.InstanceProfile {
	out := types.InstanceProfile{
		Arn: aws.String(s.arn("instance-profile", p.Path, p.Name)), InstanceProfileName: aws.String(p.Name), InstanceProfileId: aws.String(p.ID),
		Path: aws.String(p.Path), CreateDate: aws.Time(p.Created), Roles: []types.Role{},
	}
	if len(p.Tags) > 0 {
		out.Tags = sdkTags(p.Tags)
	}
	if r, ok := s.roles.Get(p.Role); ok && p.Role != "" {
		sdk := s.sdkRole(r)
		sdk.Tags, sdk.MaxSessionDuration, sdk.PermissionsBoundary = nil, nil, nil
		out.Roles = append(out.Roles, sdk)
	}
	return out
}

func noSuchProfile(name *string) error {
	return noSuchEntity("Instance Profile %s cannot be found.", aws.ToString(name))
}

func (s *Service) profile(name *string) (profile, error) {
	p, ok := s.profiles.Get(aws.ToString(name))
	if !ok {
		return p, noSuchProfile(name)
	}
	return p, nil
}

func (s *Service) updateProfile(name *string, fn func(*profile) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.profiles.Update(aws.ToString(name), fn)
	if errors.Is(err, store.ErrNotFound) {
		return noSuchProfile(name)
	}
	return err
}

// InstanceProfileRole returns an instance profile, given by name or ARN, and its
// role. A profile without a role has an empty role name.
func (s *Service) InstanceProfileRole(_ context.Context, nameOrARN string) (profileARN, profileID, roleARN, roleName string, err error) {
	name := nameOrARN
	if strings.HasPrefix(name, "arn:") {
		name = name[strings.LastIndexByte(name, '/')+1:]
	}
	p, err := s.profile(&name)
	if err != nil {
		return "", "", "", "", err
	}
	profileARN = s.arn("instance-profile", p.Path, p.Name)
	if strings.HasPrefix(nameOrARN, "arn:") && nameOrARN != profileARN {
		return "", "", "", "", noSuchProfile(&nameOrARN)
	}
	if r, ok := s.roles.Get(p.Role); ok && p.Role != "" {
		roleARN, roleName = s.arn("role", r.Path, r.Name), r.Name
	}
	return profileARN, p.ID, roleARN, roleName, nil
}

// CreateInstanceProfile makes a profile without a role.
func (s *Service) CreateInstanceProfile(_ context.Context, in *iam.CreateInstanceProfileInput) (*iam.CreateInstanceProfileOutput, error) {
	p := profile{
		Name: aws.ToString(in.InstanceProfileName), Path: pathOf(in.Path), ID: uniqueID("AIPA"),
		Created: s.now().UTC().Truncate(time.Second), Tags: tagsOf(in.Tags),
	}
	if err := checkTags(p.Tags); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	made, err := s.profiles.Insert(p.Name, p)
	if err != nil {
		return nil, err
	}
	if !made {
		return nil, alreadyExists("Instance Profile %s already exists.", p.Name)
	}
	out := s.sdkProfile(p)
	return &iam.CreateInstanceProfileOutput{InstanceProfile: &out}, nil
}

// GetInstanceProfile returns a profile.
func (s *Service) GetInstanceProfile(_ context.Context, in *iam.GetInstanceProfileInput) (*iam.GetInstanceProfileOutput, error) {
	p, err := s.profile(in.InstanceProfileName)
	if err != nil {
		return nil, err
	}
	out := s.sdkProfile(p)
	return &iam.GetInstanceProfileOutput{InstanceProfile: &out}, nil
}

// ListInstanceProfiles lists profiles by name.
func (s *Service) ListInstanceProfiles(_ context.Context, in *iam.ListInstanceProfilesInput) (*iam.ListInstanceProfilesOutput, error) {
	rows, next, truncated, err := s.profilesWhere(func(p profile) bool { return strings.HasPrefix(p.Path, pathOf(in.PathPrefix)) }, in.Marker, in.MaxItems)
	return &iam.ListInstanceProfilesOutput{InstanceProfiles: rows, Marker: next, IsTruncated: truncated}, err
}

// ListInstanceProfilesForRole lists the profiles that carry a role.
func (s *Service) ListInstanceProfilesForRole(_ context.Context, in *iam.ListInstanceProfilesForRoleInput) (*iam.ListInstanceProfilesForRoleOutput, error) {
	if _, err := s.role(in.RoleName); err != nil {
		return nil, err
	}
	rows, next, truncated, err := s.profilesWhere(func(p profile) bool { return p.Role == *in.RoleName }, in.Marker, in.MaxItems)
	return &iam.ListInstanceProfilesForRoleOutput{InstanceProfiles: rows, Marker: next, IsTruncated: truncated}, err
}

func (s *Service) profilesWhere(fits func(profile) bool, marker *string, items *int32) ([]types.InstanceProfile, *string, bool, error) {
	var found []profile
	for _, p := range s.profiles.All() {
		if fits(p) {
			found = append(found, p)
		}
	}
	rows, next, truncated, err := cut(found, func(p profile) string { return p.Name }, marker, items)
	out := make([]types.InstanceProfile, 0, len(rows))
	for _, p := range rows {
		out = append(out, s.sdkProfile(p))
	}
	return out, next, truncated, err
}

// DeleteInstanceProfile deletes a profile without a role.
func (s *Service) DeleteInstanceProfile(_ context.Context, in *iam.DeleteInstanceProfileInput) (*iam.DeleteInstanceProfileOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.profile(in.InstanceProfileName)
	if err != nil {
		return nil, err
	}
	if p.Role != "" {
		return nil, deleteConflict("Cannot delete entity, must remove roles from instance profile first.")
	}
	return &iam.DeleteInstanceProfileOutput{}, s.profiles.Delete(p.Name)
}

// AddRoleToInstanceProfile puts a role into a profile.
func (s *Service) AddRoleToInstanceProfile(_ context.Context, in *iam.AddRoleToInstanceProfileInput) (*iam.AddRoleToInstanceProfileOutput, error) {
	return &iam.AddRoleToInstanceProfileOutput{}, s.updateProfile(in.InstanceProfileName, func(p *profile) error {
		r, err := s.role(in.RoleName)
		if err != nil {
			return err
		}
		if p.Role != "" {
			return limitExceeded("Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
		}
		p.Role = r.Name
		return nil
	})
}

// RemoveRoleFromInstanceProfile takes the role out of a profile.
func (s *Service) RemoveRoleFromInstanceProfile(_ context.Context, in *iam.RemoveRoleFromInstanceProfileInput) (*iam.RemoveRoleFromInstanceProfileOutput, error) {
	return &iam.RemoveRoleFromInstanceProfileOutput{}, s.updateProfile(in.InstanceProfileName, func(p *profile) error {
		if p.Role == "" || p.Role != aws.ToString(in.RoleName) {
			return noSuchEntity("The role with name %s cannot be found.", aws.ToString(in.RoleName))
		}
		p.Role = ""
		return nil
	})
}

// TagInstanceProfile adds or replaces tags.
func (s *Service) TagInstanceProfile(_ context.Context, in *iam.TagInstanceProfileInput) (*iam.TagInstanceProfileOutput, error) {
	return &iam.TagInstanceProfileOutput{}, s.updateProfile(in.InstanceProfileName, func(p *profile) error {
		p.Tags = withTags(p.Tags, in.Tags)
		return checkTags(p.Tags)
	})
}

// UntagInstanceProfile removes tags.
func (s *Service) UntagInstanceProfile(_ context.Context, in *iam.UntagInstanceProfileInput) (*iam.UntagInstanceProfileOutput, error) {
	return &iam.UntagInstanceProfileOutput{}, s.updateProfile(in.InstanceProfileName, func(p *profile) error {
		p.Tags = withoutTags(p.Tags, in.TagKeys)
		return nil
	})
}

// ListInstanceProfileTags lists tags.
func (s *Service) ListInstanceProfileTags(_ context.Context, in *iam.ListInstanceProfileTagsInput) (*iam.ListInstanceProfileTagsOutput, error) {
	p, err := s.profile(in.InstanceProfileName)
	if err != nil {
		return nil, err
	}
	return &iam.ListInstanceProfileTagsOutput{Tags: sdkTags(p.Tags)}, nil
}
