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
	"pcluster/internal/sandbox/wire"
)

type user struct {
	Name    string
	Path    string
	ID      string // AIDA…
	Created time.Time
	Tags    []tag `json:",omitempty"`
	grants
}

const userInlineSize = 2048

func (s *Service) sdkUser(u user) types.User {
	out := types.User{
		Arn: aws.String(s.arn("user", u.Path, u.Name)), UserName: aws.String(u.Name), UserId: aws.String(u.ID), Path: aws.String(u.Path),
		CreateDate: aws.Time(u.Created), PermissionsBoundary: boundaryOf(u.Boundary),
	}
	if len(u.Tags) > 0 {
		out.Tags = sdkTags(u.Tags)
	}
	return out
}

// user returns the named user, or for no name the one who calls.
func (s *Service) user(ctx context.Context, name *string) (user, error) {
	n := aws.ToString(name)
	if name == nil {
		n = s.callerName(ctx)
	}
	u, ok := s.users.Get(n)
	if !ok {
		return u, noSuchEntity("The user with name %s cannot be found.", n)
	}
	return u, nil
}

func (s *Service) callerName(ctx context.Context) string {
	_, name, _ := strings.Cut(wire.CallerFrom(ctx).ARN, ":user/")
	return name[strings.LastIndexByte(name, '/')+1:]
}

func (s *Service) updateUser(name *string, fn func(*user) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.users.Update(aws.ToString(name), fn)
	if errors.Is(err, store.ErrNotFound) {
		return noSuchEntity("The user with name %s cannot be found.", aws.ToString(name))
	}
	return err
}

// CreateUser makes a user.
func (s *Service) CreateUser(_ context.Context, in *iam.CreateUserInput) (*iam.CreateUserOutput, error) {
	u := user{
		Name: aws.ToString(in.UserName), Path: pathOf(in.Path), ID: uniqueID("AIDA"), Created: s.now().UTC().Truncate(time.Second),
		Tags: tagsOf(in.Tags), grants: grants{Boundary: aws.ToString(in.PermissionsBoundary)},
	}
	if err := checkTags(u.Tags); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkBoundary(u.Boundary); err != nil {
		return nil, err
	}
	made, err := s.users.Insert(u.Name, u)
	if err != nil {
		return nil, err
	}
	if !made {
		return nil, alreadyExists("User with name %s already exists.", u.Name)
	}
	out := s.sdkUser(u)
	return &iam.CreateUserOutput{User: &out}, nil
}

// GetUser returns a user; without a name, the caller.
func (s *Service) GetUser(ctx context.Context, in *iam.GetUserInput) (*iam.GetUserOutput, error) {
	if in.UserName == nil && strings.Contains(wire.CallerFrom(ctx).ARN, ":assumed-role/") {
		return nil, wire.Errorf("ValidationError", "Must specify userName when calling with non-User credentials")
	}
	u, err := s.user(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	out := s.sdkUser(u)
	return &iam.GetUserOutput{User: &out}, nil
}

// ListUsers lists users by name.
func (s *Service) ListUsers(_ context.Context, in *iam.ListUsersInput) (*iam.ListUsersOutput, error) {
	var found []user
	for _, u := range s.users.All() {
		if strings.HasPrefix(u.Path, pathOf(in.PathPrefix)) {
			found = append(found, u)
		}
	}
	rows, next, truncated, err := cut(found, func(u user) string { return u.Name }, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := &iam.ListUsersOutput{IsTruncated: truncated, Marker: next}
	for _, u := range rows {
		l := s.sdkUser(u)
		l.Tags = nil
		out.Users = append(out.Users, l)
	}
	return out, nil
}

// DeleteUser deletes a user without policies and access keys.
func (s *Service) DeleteUser(ctx context.Context, in *iam.DeleteUserInput) (*iam.DeleteUserOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.user(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	if len(s.keysOf(u.Name)) > 0 {
		return nil, deleteConflict("Cannot delete entity, must delete access keys first.")
	}
	if err := u.deletable(); err != nil {
		return nil, err
	}
	return &iam.DeleteUserOutput{}, s.users.Delete(u.Name)
}

// TagUser adds or replaces tags.
func (s *Service) TagUser(_ context.Context, in *iam.TagUserInput) (*iam.TagUserOutput, error) {
	return &iam.TagUserOutput{}, s.updateUser(in.UserName, func(u *user) error {
		u.Tags = withTags(u.Tags, in.Tags)
		return checkTags(u.Tags)
	})
}

// UntagUser removes tags.
func (s *Service) UntagUser(_ context.Context, in *iam.UntagUserInput) (*iam.UntagUserOutput, error) {
	return &iam.UntagUserOutput{}, s.updateUser(in.UserName, func(u *user) error { u.Tags = withoutTags(u.Tags, in.TagKeys); return nil })
}

// ListUserTags lists tags.
func (s *Service) ListUserTags(ctx context.Context, in *iam.ListUserTagsInput) (*iam.ListUserTagsOutput, error) {
	u, err := s.user(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	return &iam.ListUserTagsOutput{Tags: sdkTags(u.Tags)}, nil
}

// PutUserPolicy sets an inline policy.
func (s *Service) PutUserPolicy(_ context.Context, in *iam.PutUserPolicyInput) (*iam.PutUserPolicyOutput, error) {
	return &iam.PutUserPolicyOutput{}, s.updateUser(in.UserName, func(u *user) (err error) {
		u.grants, err = u.put("user", u.Name, aws.ToString(in.PolicyName), aws.ToString(in.PolicyDocument), userInlineSize)
		return err
	})
}

// GetUserPolicy returns an inline policy.
func (s *Service) GetUserPolicy(ctx context.Context, in *iam.GetUserPolicyInput) (*iam.GetUserPolicyOutput, error) {
	u, err := s.user(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	doc, err := u.document("user", aws.ToString(in.PolicyName))
	if err != nil {
		return nil, err
	}
	return &iam.GetUserPolicyOutput{UserName: in.UserName, PolicyName: in.PolicyName, PolicyDocument: &doc}, nil
}

// DeleteUserPolicy removes an inline policy.
func (s *Service) DeleteUserPolicy(_ context.Context, in *iam.DeleteUserPolicyInput) (*iam.DeleteUserPolicyOutput, error) {
	return &iam.DeleteUserPolicyOutput{}, s.updateUser(in.UserName, func(u *user) (err error) {
		u.grants, err = u.remove("user", aws.ToString(in.PolicyName))
		return err
	})
}

// ListUserPolicies lists the names of inline policies.
func (s *Service) ListUserPolicies(ctx context.Context, in *iam.ListUserPoliciesInput) (*iam.ListUserPoliciesOutput, error) {
	u, err := s.user(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	names, next, truncated, err := cut(u.inlineNames(), itself, in.Marker, in.MaxItems)
	return &iam.ListUserPoliciesOutput{PolicyNames: names, Marker: next, IsTruncated: truncated}, err
}

// AttachUserPolicy attaches a managed policy.
func (s *Service) AttachUserPolicy(_ context.Context, in *iam.AttachUserPolicyInput) (*iam.AttachUserPolicyOutput, error) {
	return &iam.AttachUserPolicyOutput{}, s.updateUser(in.UserName, func(u *user) (err error) {
		if err := s.checkAttachable(aws.ToString(in.PolicyArn)); err != nil {
			return err
		}
		u.grants, err = u.attach("User", *in.PolicyArn)
		return err
	})
}

// DetachUserPolicy detaches a managed policy.
func (s *Service) DetachUserPolicy(_ context.Context, in *iam.DetachUserPolicyInput) (*iam.DetachUserPolicyOutput, error) {
	return &iam.DetachUserPolicyOutput{}, s.updateUser(in.UserName, func(u *user) (err error) {
		u.grants, err = u.detach(aws.ToString(in.PolicyArn))
		return err
	})
}

// ListAttachedUserPolicies lists the attached managed policies.
func (s *Service) ListAttachedUserPolicies(ctx context.Context, in *iam.ListAttachedUserPoliciesInput) (*iam.ListAttachedUserPoliciesOutput, error) {
	u, err := s.user(ctx, in.UserName)
	if err != nil {
		return nil, err
	}
	rows, next, truncated, err := cut(u.attachedUnder(in.PathPrefix), attachedARN, in.Marker, in.MaxItems)
	return &iam.ListAttachedUserPoliciesOutput{AttachedPolicies: rows, Marker: next, IsTruncated: truncated}, err
}

// ListGroupsForUser lists no groups: the account has none.
func (s *Service) ListGroupsForUser(ctx context.Context, in *iam.ListGroupsForUserInput) (*iam.ListGroupsForUserOutput, error) {
	_, err := s.user(ctx, in.UserName)
	return &iam.ListGroupsForUserOutput{Groups: []types.Group{}}, err
}

// ListAccountAliases lists no aliases: the account has none.
func (s *Service) ListAccountAliases(context.Context, *iam.ListAccountAliasesInput) (*iam.ListAccountAliasesOutput, error) {
	return &iam.ListAccountAliasesOutput{AccountAliases: []string{}}, nil
}
