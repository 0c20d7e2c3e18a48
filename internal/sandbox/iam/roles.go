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

type role struct {
	Name        string
	Path        string
	ID          string // AROA…
	Created     time.Time
	Trust       string
	Description string `json:",omitempty"`
	MaxSession  int32
	Tags        []tag `json:",omitempty"`
	grants
}

const (
	defaultSession = 3600
	roleInlineSize = 10240
)

func (s *Service) sdkRole(r role) types.Role {
	out := types.Role{
		Arn: aws.String(s.arn("role", r.Path, r.Name)), RoleName: aws.String(r.Name), RoleId: aws.String(r.ID), Path: aws.String(r.Path),
		CreateDate: aws.Time(r.Created), AssumeRolePolicyDocument: aws.String(encoded(r.Trust)), MaxSessionDuration: aws.Int32(r.MaxSession),
		PermissionsBoundary: boundaryOf(r.Boundary),
	}
	if r.Description != "" {
		out.Description = aws.String(r.Description)
	}
	if len(r.Tags) > 0 {
		out.Tags = sdkTags(r.Tags)
	}
	return out
}

func (s *Service) role(name *string) (role, error) {
	r, ok := s.roles.Get(aws.ToString(name))
	if !ok {
		return r, noSuchRole(name)
	}
	return r, nil
}

func noSuchRole(name *string) error {
	return noSuchEntity("The role with name %s cannot be found.", aws.ToString(name))
}

// updateRole changes a role under the service's lock.
func (s *Service) updateRole(name *string, fn func(*role) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.roles.Update(aws.ToString(name), fn)
	if errors.Is(err, store.ErrNotFound) {
		return noSuchRole(name)
	}
	return err
}

// CreateRole makes a role.
func (s *Service) CreateRole(_ context.Context, in *iam.CreateRoleInput) (*iam.CreateRoleOutput, error) {
	if err := checkTrust(aws.ToString(in.AssumeRolePolicyDocument)); err != nil {
		return nil, err
	}
	r := role{
		Name: aws.ToString(in.RoleName), Path: pathOf(in.Path), ID: uniqueID("AROA"), Created: s.now().UTC().Truncate(time.Second),
		Trust: aws.ToString(in.AssumeRolePolicyDocument), Description: aws.ToString(in.Description), MaxSession: defaultSession,
		Tags: tagsOf(in.Tags), grants: grants{Boundary: aws.ToString(in.PermissionsBoundary)},
	}
	if in.MaxSessionDuration != nil {
		r.MaxSession = *in.MaxSessionDuration
	}
	if err := checkTags(r.Tags); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkBoundary(r.Boundary); err != nil {
		return nil, err
	}
	made, err := s.roles.Insert(r.Name, r)
	if err != nil {
		return nil, err
	}
	if !made {
		return nil, alreadyExists("Role with name %s already exists.", r.Name)
	}
	out := s.sdkRole(r)
	return &iam.CreateRoleOutput{Role: &out}, nil
}

func (s *Service) checkBoundary(arn string) error {
	if arn == "" || s.policyExists(arn) {
		return nil
	}
	return noSuchEntity("Scope ARN: %s does not exist or is not attachable.", arn)
}

// CreateServiceLinkedRole makes the role that an AWS service acts with.
func (s *Service) CreateServiceLinkedRole(_ context.Context, in *iam.CreateServiceLinkedRoleInput) (*iam.CreateServiceLinkedRoleOutput, error) {
	service := aws.ToString(in.AWSServiceName)
	label, ok := strings.CutSuffix(service, ".amazonaws.com")
	if !ok {
		return nil, wire.Errorf("InvalidInput", "%s is not the name of an AWS service: such names end in .amazonaws.com", service)
	}
	name := "AWSServiceRoleFor" + serviceTitle(label)
	if suffix := aws.ToString(in.CustomSuffix); suffix != "" {
		name += "_" + suffix
	}
	r := role{
		Name: name, Path: "/aws-service-role/" + service + "/", ID: uniqueID("AROA"), Created: s.now().UTC().Truncate(time.Second),
		Trust:       `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"` + service + `"},"Action":"sts:AssumeRole"}]}`,
		Description: aws.ToString(in.Description), MaxSession: defaultSession,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	made, err := s.roles.Insert(r.Name, r)
	if err != nil {
		return nil, err
	}
	if !made {
		return nil, wire.Errorf("InvalidInput", "Service role name %s has been taken in this account, please try a different suffix.", name)
	}
	out := s.sdkRole(r)
	return &iam.CreateServiceLinkedRoleOutput{Role: &out}, nil
}

// serviceTitle is how the names of service-linked roles spell a service.
func serviceTitle(label string) string {
	switch label {
	case "spot":
		return "EC2Spot"
	case "spotfleet":
		return "EC2SpotFleet"
	case "fsx":
		return "AmazonFSx"
	case "s3.data-source.lustre.fsx":
		return "FSxS3Access"
	case "elasticfilesystem":
		return "AmazonElasticFileSystem"
	case "imagebuilder":
		return "ImageBuilder"
	case "autoscaling":
		return "AutoScaling"
	case "elasticloadbalancing":
		return "ElasticLoadBalancing"
	}
	return strings.ToUpper(label[:1]) + label[1:]
}

// GetRole returns a role.
func (s *Service) GetRole(_ context.Context, in *iam.GetRoleInput) (*iam.GetRoleOutput, error) {
	r, err := s.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	out := s.sdkRole(r)
	return &iam.GetRoleOutput{Role: &out}, nil
}

// ListRoles lists roles by name.
func (s *Service) ListRoles(_ context.Context, in *iam.ListRolesInput) (*iam.ListRolesOutput, error) {
	var found []role
	for _, r := range s.roles.All() {
		if strings.HasPrefix(r.Path, pathOf(in.PathPrefix)) {
			found = append(found, r)
		}
	}
	rows, next, truncated, err := cut(found, func(r role) string { return r.Name }, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := &iam.ListRolesOutput{IsTruncated: truncated, Marker: next}
	for _, r := range rows {
		l := s.sdkRole(r)
		l.Tags, l.PermissionsBoundary = nil, nil // lists leave them out
		out.Roles = append(out.Roles, l)
	}
	return out, nil
}

// UpdateRole changes description and session length.
func (s *Service) UpdateRole(_ context.Context, in *iam.UpdateRoleInput) (*iam.UpdateRoleOutput, error) {
	return &iam.UpdateRoleOutput{}, s.updateRole(in.RoleName, func(r *role) error {
		if in.Description != nil {
			r.Description = *in.Description
		}
		if in.MaxSessionDuration != nil {
			r.MaxSession = *in.MaxSessionDuration
		}
		return nil
	})
}

// UpdateRoleDescription changes the description.
func (s *Service) UpdateRoleDescription(_ context.Context, in *iam.UpdateRoleDescriptionInput) (*iam.UpdateRoleDescriptionOutput, error) {
	err := s.updateRole(in.RoleName, func(r *role) error { r.Description = aws.ToString(in.Description); return nil })
	if err != nil {
		return nil, err
	}
	r, err := s.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	out := s.sdkRole(r)
	return &iam.UpdateRoleDescriptionOutput{Role: &out}, nil
}

// UpdateAssumeRolePolicy replaces the trust policy.
func (s *Service) UpdateAssumeRolePolicy(_ context.Context, in *iam.UpdateAssumeRolePolicyInput) (*iam.UpdateAssumeRolePolicyOutput, error) {
	if err := checkTrust(aws.ToString(in.PolicyDocument)); err != nil {
		return nil, err
	}
	return &iam.UpdateAssumeRolePolicyOutput{}, s.updateRole(in.RoleName, func(r *role) error { r.Trust = *in.PolicyDocument; return nil })
}

// DeleteRole deletes a role that has no policies and is in no instance profile.
func (s *Service) DeleteRole(_ context.Context, in *iam.DeleteRoleInput) (*iam.DeleteRoleOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	for _, p := range s.profiles.All() {
		if p.Role == r.Name {
			return nil, deleteConflict("Cannot delete entity, must remove roles from instance profile first.")
		}
	}
	if err := r.deletable(); err != nil {
		return nil, err
	}
	if err := s.forgetSessions(r.ID); err != nil {
		return nil, err
	}
	return &iam.DeleteRoleOutput{}, s.roles.Delete(r.Name)
}

// PutRolePermissionsBoundary sets a role's boundary.
func (s *Service) PutRolePermissionsBoundary(_ context.Context, in *iam.PutRolePermissionsBoundaryInput) (*iam.PutRolePermissionsBoundaryOutput, error) {
	return &iam.PutRolePermissionsBoundaryOutput{}, s.updateRole(in.RoleName, func(r *role) error {
		r.Boundary = aws.ToString(in.PermissionsBoundary)
		return s.checkBoundary(r.Boundary)
	})
}

// DeleteRolePermissionsBoundary takes a role's boundary away.
func (s *Service) DeleteRolePermissionsBoundary(_ context.Context, in *iam.DeleteRolePermissionsBoundaryInput) (*iam.DeleteRolePermissionsBoundaryOutput, error) {
	return &iam.DeleteRolePermissionsBoundaryOutput{}, s.updateRole(in.RoleName, func(r *role) error { r.Boundary = ""; return nil })
}

// TagRole adds or replaces tags.
func (s *Service) TagRole(_ context.Context, in *iam.TagRoleInput) (*iam.TagRoleOutput, error) {
	return &iam.TagRoleOutput{}, s.updateRole(in.RoleName, func(r *role) error {
		r.Tags = withTags(r.Tags, in.Tags)
		return checkTags(r.Tags)
	})
}

// UntagRole removes tags.
func (s *Service) UntagRole(_ context.Context, in *iam.UntagRoleInput) (*iam.UntagRoleOutput, error) {
	return &iam.UntagRoleOutput{}, s.updateRole(in.RoleName, func(r *role) error { r.Tags = withoutTags(r.Tags, in.TagKeys); return nil })
}

// ListRoleTags lists tags.
func (s *Service) ListRoleTags(_ context.Context, in *iam.ListRoleTagsInput) (*iam.ListRoleTagsOutput, error) {
	r, err := s.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	return &iam.ListRoleTagsOutput{Tags: sdkTags(r.Tags)}, nil
}

// PutRolePolicy sets an inline policy.
func (s *Service) PutRolePolicy(_ context.Context, in *iam.PutRolePolicyInput) (*iam.PutRolePolicyOutput, error) {
	return &iam.PutRolePolicyOutput{}, s.updateRole(in.RoleName, func(r *role) (err error) {
		r.grants, err = r.put("role", r.Name, aws.ToString(in.PolicyName), aws.ToString(in.PolicyDocument), roleInlineSize)
		return err
	})
}

// GetRolePolicy returns an inline policy.
func (s *Service) GetRolePolicy(_ context.Context, in *iam.GetRolePolicyInput) (*iam.GetRolePolicyOutput, error) {
	r, err := s.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	doc, err := r.document("role", aws.ToString(in.PolicyName))
	if err != nil {
		return nil, err
	}
	return &iam.GetRolePolicyOutput{RoleName: in.RoleName, PolicyName: in.PolicyName, PolicyDocument: &doc}, nil
}

// DeleteRolePolicy removes an inline policy.
func (s *Service) DeleteRolePolicy(_ context.Context, in *iam.DeleteRolePolicyInput) (*iam.DeleteRolePolicyOutput, error) {
	return &iam.DeleteRolePolicyOutput{}, s.updateRole(in.RoleName, func(r *role) (err error) {
		r.grants, err = r.remove("role", aws.ToString(in.PolicyName))
		return err
	})
}

// ListRolePolicies lists the names of inline policies.
func (s *Service) ListRolePolicies(_ context.Context, in *iam.ListRolePoliciesInput) (*iam.ListRolePoliciesOutput, error) {
	r, err := s.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	names, next, truncated, err := cut(r.inlineNames(), itself, in.Marker, in.MaxItems)
	return &iam.ListRolePoliciesOutput{PolicyNames: names, Marker: next, IsTruncated: truncated}, err
}

func itself(s string) string { return s }

// AttachRolePolicy attaches a managed policy.
func (s *Service) AttachRolePolicy(_ context.Context, in *iam.AttachRolePolicyInput) (*iam.AttachRolePolicyOutput, error) {
	return &iam.AttachRolePolicyOutput{}, s.updateRole(in.RoleName, func(r *role) (err error) {
		if err := s.checkAttachable(aws.ToString(in.PolicyArn)); err != nil {
			return err
		}
		r.grants, err = r.attach("Role", *in.PolicyArn)
		return err
	})
}

// DetachRolePolicy detaches a managed policy.
func (s *Service) DetachRolePolicy(_ context.Context, in *iam.DetachRolePolicyInput) (*iam.DetachRolePolicyOutput, error) {
	return &iam.DetachRolePolicyOutput{}, s.updateRole(in.RoleName, func(r *role) (err error) {
		r.grants, err = r.detach(aws.ToString(in.PolicyArn))
		return err
	})
}

// ListAttachedRolePolicies lists the attached managed policies.
func (s *Service) ListAttachedRolePolicies(_ context.Context, in *iam.ListAttachedRolePoliciesInput) (*iam.ListAttachedRolePoliciesOutput, error) {
	r, err := s.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	rows, next, truncated, err := cut(r.attachedUnder(in.PathPrefix), attachedARN, in.Marker, in.MaxItems)
	return &iam.ListAttachedRolePoliciesOutput{AttachedPolicies: rows, Marker: next, IsTruncated: truncated}, err
}

func attachedARN(p types.AttachedPolicy) string { return *p.PolicyArn }
