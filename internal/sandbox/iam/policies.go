package iam

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"pcluster/internal/sandbox/store"
)

// A policy is a managed policy of the account.
type policy struct {
	ARN         string
	Name        string
	Path        string
	ID          string // ANPA…
	Description string `json:",omitempty"`
	Created     time.Time
	Updated     time.Time
	Tags        []tag `json:",omitempty"`
	Versions    []policyVersion
	Default     string // ID of a version
	Next        int    // number of the next version
	Adopted     bool   `json:",omitempty"` // a file names it: nobody has said yet what it allows
}

type policyVersion struct {
	ID       string // v1
	Document string
	Created  time.Time
}

const (
	maxVersions       = 5
	managedPolicySize = 6144
)

// isAWS reports whether an ARN can be that of one of AWS's own managed policies.
// The sandbox takes any that looks like one: it has no list that would be complete
// tomorrow.
func isAWS(arn string) bool {
	partition, rest, ok := strings.Cut(arn, ":iam::aws:policy/")
	if !ok || !strings.HasPrefix(partition, "arn:aws") {
		return false
	}
	path, name, hasPath := strings.Cut(rest, "/")
	if !hasPath {
		name = rest
	} else if !slices.Contains([]string{"service-role", "job-function", "aws-service-role", "root-task"}, path) {
		return false
	}
	return len(name) >= 3 && len(name) <= 128 && name[0] >= 'A' && name[0] <= 'Z' &&
		strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

func (s *Service) policyExists(arn string) bool {
	if isAWS(arn) {
		return true
	}
	_, ok := s.policies.Get(arn)
	return ok
}

func (s *Service) checkAttachable(arn string) error {
	if !s.policyExists(arn) {
		return noSuchEntity("Policy %s does not exist or is not attachable.", arn)
	}
	return nil
}

func noSuchPolicy(arn string) error { return noSuchEntity("Policy %s was not found.", arn) }

// policy returns a policy of the account or one of AWS's own.
func (s *Service) policy(arn *string) (policy, error) {
	a := aws.ToString(arn)
	if isAWS(a) {
		return awsManaged(a), nil
	}
	p, ok := s.policies.Get(a)
	if !ok {
		return p, noSuchPolicy(a)
	}
	return p, nil
}

// awsManaged returns one of AWS's own policies.
func awsManaged(arn string) policy {
	path, name := splitPolicyARN(arn)
	made := time.Date(2015, 2, 6, 18, 40, 0, 0, time.UTC)
	p := policy{ARN: arn, Name: name, Path: path, ID: "ANPA" + fixedID(name), Created: made, Updated: made, Default: "v1"}
	if doc, ok := awsDocuments[name]; ok {
		p.Versions = []policyVersion{{ID: "v1", Document: doc, Created: made}}
	}
	return p
}

// fixedID makes the unchanging part of the ID of one of AWS's policies.
func fixedID(name string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	var h uint64 = 14695981039346656037
	b := make([]byte, 17)
	for i := range b {
		for _, c := range []byte(name) {
			h = (h ^ uint64(c) ^ uint64(i)<<8) * 1099511628211
		}
		b[i] = alphabet[h>>32%32]
	}
	return string(b)
}

// awsDocuments are those of AWS's own policies that clusters and image builds have.
// (AWS Managed Policy Reference Guide. Of longer ones, what these need of them.)
var awsDocuments = map[string]string{
	"AdministratorAccess": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`,
	"AWSLambdaBasicExecutionRole": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["logs:CreateLogGroup",` +
		`"logs:CreateLogStream","logs:PutLogEvents"],"Resource":"*"}]}`,
	"AWSLambdaVPCAccessExecutionRole": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["logs:CreateLogGroup",` +
		`"logs:CreateLogStream","logs:PutLogEvents","ec2:CreateNetworkInterface","ec2:DescribeNetworkInterfaces",` +
		`"ec2:DeleteNetworkInterface","ec2:AssignPrivateIpAddresses","ec2:UnassignPrivateIpAddresses"],"Resource":"*"}]}`,
	"AmazonSSMManagedInstanceCore": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ssm:DescribeAssociation",` +
		`"ssm:GetDeployablePatchSnapshotForInstance","ssm:GetDocument","ssm:DescribeDocument","ssm:GetManifest","ssm:GetParameter",` +
		`"ssm:GetParameters","ssm:ListAssociations","ssm:ListInstanceAssociations","ssm:PutInventory","ssm:PutComplianceItems",` +
		`"ssm:PutConfigurePackageResult","ssm:UpdateAssociationStatus","ssm:UpdateInstanceAssociationStatus","ssm:UpdateInstanceInformation",` +
		`"ssmmessages:*","ec2messages:*"],"Resource":"*"}]}`,
	"CloudWatchAgentServerPolicy": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["cloudwatch:PutMetricData",` +
		`"ec2:DescribeVolumes","ec2:DescribeTags","logs:PutLogEvents","logs:PutRetentionPolicy","logs:DescribeLogStreams",` +
		`"logs:DescribeLogGroups","logs:CreateLogStream","logs:CreateLogGroup"],"Resource":"*"},` +
		`{"Effect":"Allow","Action":"ssm:GetParameter","Resource":"arn:aws:ssm:*:*:parameter/AmazonCloudWatch-*"}]}`,
	"EC2InstanceProfileForImageBuilder": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"imagebuilder:GetComponent","Resource":"*"},` +
		`{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::ec2imagebuilder*"},` +
		`{"Effect":"Allow","Action":["logs:CreateLogStream","logs:CreateLogGroup","logs:PutLogEvents"],"Resource":"arn:aws:logs:*:*:log-group:/aws/imagebuilder/*"}]}`,
	"AmazonS3ReadOnlyAccess": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:Get*","s3:List*","s3:Describe*",` +
		`"s3-object-lambda:Get*","s3-object-lambda:List*"],"Resource":"*"}]}`,
}

func (s *Service) sdkPolicy(p policy) types.Policy {
	out := types.Policy{
		Arn: aws.String(p.ARN), PolicyName: aws.String(p.Name), PolicyId: aws.String(p.ID), Path: aws.String(p.Path),
		DefaultVersionId: aws.String(p.Default), CreateDate: aws.Time(p.Created), UpdateDate: aws.Time(p.Updated),
		IsAttachable: true, PermissionsBoundaryUsageCount: aws.Int32(0),
	}
	if p.Description != "" {
		out.Description = aws.String(p.Description)
	}
	if len(p.Tags) > 0 {
		out.Tags = sdkTags(p.Tags)
	}
	users := s.attachments(p.ARN)
	out.AttachmentCount = aws.Int32(int32(len(users.roles) + len(users.users)))
	out.PermissionsBoundaryUsageCount = aws.Int32(int32(users.boundaries))
	return out
}

type attachments struct {
	roles      []role
	users      []user
	boundaries int
}

func (s *Service) attachments(arn string) attachments {
	var a attachments
	for _, r := range s.roles.All() {
		if slices.Contains(r.Attached, arn) {
			a.roles = append(a.roles, r)
		}
		if r.Boundary == arn {
			a.boundaries++
		}
	}
	for _, u := range s.users.All() {
		if slices.Contains(u.Attached, arn) {
			a.users = append(a.users, u)
		}
		if u.Boundary == arn {
			a.boundaries++
		}
	}
	return a
}

func (s *Service) updatePolicy(arn *string, fn func(*policy) error) (policy, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := aws.ToString(arn)
	if isAWS(a) {
		return policy{}, noSuchPolicy(a) // AWS's own are not ours to change
	}
	p, err := s.policies.Update(a, func(p *policy) error {
		p.Updated = s.now().UTC().Truncate(time.Second)
		return fn(p)
	})
	if errors.Is(err, store.ErrNotFound) {
		return p, noSuchPolicy(a)
	}
	return p, err
}

func checkManaged(text string) error {
	if err := checkPermissions(text); err != nil {
		return err
	}
	if documentSize(text) > managedPolicySize {
		return limitExceeded("Cannot exceed quota for PolicySize: %d", managedPolicySize)
	}
	return nil
}

// CreatePolicy makes a managed policy.
func (s *Service) CreatePolicy(_ context.Context, in *iam.CreatePolicyInput) (*iam.CreatePolicyOutput, error) {
	if err := checkManaged(aws.ToString(in.PolicyDocument)); err != nil {
		return nil, err
	}
	path := pathOf(in.Path)
	p := s.newPolicy(s.arn("policy", path, *in.PolicyName), *in.PolicyDocument)
	p.Description, p.Tags = aws.ToString(in.Description), tagsOf(in.Tags)
	if err := checkTags(p.Tags); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.policies.All() {
		if other.Name == p.Name {
			return nil, alreadyExists("A policy called %s already exists. Duplicate names are not allowed.", p.Name)
		}
	}
	if err := s.policies.Put(p.ARN, p); err != nil {
		return nil, err
	}
	out := s.sdkPolicy(p)
	return &iam.CreatePolicyOutput{Policy: &out}, nil
}

func (s *Service) newPolicy(arn, doc string) policy {
	path, name := splitPolicyARN(arn)
	now := s.now().UTC().Truncate(time.Second)
	return policy{
		ARN: arn, Name: name, Path: path, ID: uniqueID("ANPA"), Created: now, Updated: now, Default: "v1", Next: 2,
		Versions: []policyVersion{{ID: "v1", Document: doc, Created: now}},
	}
}

// AdoptPolicy makes a managed policy with the given ARN unless there is one. The
// document may be one that CreatePolicy would refuse as pointless.
func (s *Service) AdoptPolicy(arn, doc string) error {
	if isAWS(arn) {
		return nil
	}
	if !strings.HasPrefix(arn, s.arn("policy", "/", "")) {
		return fmt.Errorf("%s is not the ARN of a managed policy of account %s", arn, s.id.Account())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.newPolicy(arn, doc)
	p.Adopted = true
	_, err := s.policies.Insert(arn, p)
	return err
}

// GetPolicy returns a managed policy.
func (s *Service) GetPolicy(_ context.Context, in *iam.GetPolicyInput) (*iam.GetPolicyOutput, error) {
	p, err := s.policy(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	out := s.sdkPolicy(p)
	return &iam.GetPolicyOutput{Policy: &out}, nil
}

// ListPolicies lists the account's policies. Of AWS's own it knows those that
// are attached to something.
func (s *Service) ListPolicies(_ context.Context, in *iam.ListPoliciesInput) (*iam.ListPoliciesOutput, error) {
	found := map[string]policy{}
	if in.Scope != types.PolicyScopeTypeAws {
		for _, p := range s.policies.All() {
			found[p.ARN] = p
		}
	}
	if in.Scope != types.PolicyScopeTypeLocal {
		for _, arn := range s.attachedARNs() {
			if isAWS(arn) {
				found[arn] = awsManaged(arn)
			}
		}
	}
	var all []types.Policy
	for _, p := range found {
		sdk := s.sdkPolicy(p)
		if strings.HasPrefix(p.Path, pathOf(in.PathPrefix)) && (!in.OnlyAttached || *sdk.AttachmentCount > 0) {
			sdk.Tags, sdk.Description = nil, nil
			all = append(all, sdk)
		}
	}
	slices.SortFunc(all, func(a, b types.Policy) int { return strings.Compare(*a.Arn, *b.Arn) })
	rows, next, truncated, err := cut(all, func(p types.Policy) string { return *p.Arn }, in.Marker, in.MaxItems)
	return &iam.ListPoliciesOutput{Policies: rows, Marker: next, IsTruncated: truncated}, err
}

func (s *Service) attachedARNs() []string {
	var all []string
	for _, r := range s.roles.All() {
		all = append(all, r.Attached...)
	}
	for _, u := range s.users.All() {
		all = append(all, u.Attached...)
	}
	return all
}

// DeletePolicy deletes a policy that nobody has and that has one version.
func (s *Service) DeletePolicy(_ context.Context, in *iam.DeletePolicyInput) (*iam.DeletePolicyOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.policies.Get(aws.ToString(in.PolicyArn))
	if !ok {
		return nil, noSuchPolicy(aws.ToString(in.PolicyArn))
	}
	a := s.attachments(p.ARN)
	switch {
	case len(a.roles)+len(a.users) > 0:
		return nil, deleteConflict("Cannot delete a policy attached to entities.")
	case a.boundaries > 0:
		return nil, deleteConflict("Cannot delete a policy that is used as a permissions boundary.")
	case len(p.Versions) > 1:
		return nil, deleteConflict("This policy has more than one version. Before you delete a policy, you must delete the policy's versions. " +
			"The default version is deleted with the policy.")
	}
	return &iam.DeletePolicyOutput{}, s.policies.Delete(p.ARN)
}

// CreatePolicyVersion adds a version.
func (s *Service) CreatePolicyVersion(_ context.Context, in *iam.CreatePolicyVersionInput) (*iam.CreatePolicyVersionOutput, error) {
	if err := checkManaged(aws.ToString(in.PolicyDocument)); err != nil {
		return nil, err
	}
	var v policyVersion
	p, err := s.updatePolicy(in.PolicyArn, func(p *policy) error {
		if len(p.Versions) >= maxVersions {
			return limitExceeded("A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", maxVersions)
		}
		v = policyVersion{ID: fmt.Sprintf("v%d", p.Next), Document: *in.PolicyDocument, Created: p.Updated}
		p.Versions = append(slices.Clone(p.Versions), v)
		p.Next++
		if in.SetAsDefault {
			p.Default = v.ID
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := p.sdkVersion(v)
	out.Document = nil // not in this answer
	return &iam.CreatePolicyVersionOutput{PolicyVersion: &out}, nil
}

func (p *policy) sdkVersion(v policyVersion) types.PolicyVersion {
	return types.PolicyVersion{
		VersionId: aws.String(v.ID), CreateDate: aws.Time(v.Created), IsDefaultVersion: v.ID == p.Default, Document: aws.String(encoded(v.Document)),
	}
}

func (p *policy) version(id *string) (int, error) {
	i := slices.IndexFunc(p.Versions, func(v policyVersion) bool { return v.ID == aws.ToString(id) })
	if i < 0 {
		return i, noSuchEntity("Policy %s version %s does not exist or is not attachable.", p.ARN, aws.ToString(id))
	}
	return i, nil
}

// GetPolicyVersion returns a version with its document.
func (s *Service) GetPolicyVersion(_ context.Context, in *iam.GetPolicyVersionInput) (*iam.GetPolicyVersionOutput, error) {
	p, err := s.policy(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	if len(p.Versions) == 0 {
		return nil, noSuchEntity("The sandbox does not have the document of AWS's policy %s.", p.Name)
	}
	i, err := p.version(in.VersionId)
	if err != nil {
		return nil, err
	}
	out := p.sdkVersion(p.Versions[i])
	return &iam.GetPolicyVersionOutput{PolicyVersion: &out}, nil
}

// ListPolicyVersions lists versions, newest first.
func (s *Service) ListPolicyVersions(_ context.Context, in *iam.ListPolicyVersionsInput) (*iam.ListPolicyVersionsOutput, error) {
	p, err := s.policy(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	out := &iam.ListPolicyVersionsOutput{}
	for _, v := range slices.Backward(p.Versions) {
		sdk := p.sdkVersion(v)
		sdk.Document = nil
		out.Versions = append(out.Versions, sdk)
	}
	return out, nil
}

// SetDefaultPolicyVersion chooses the version in force.
func (s *Service) SetDefaultPolicyVersion(_ context.Context, in *iam.SetDefaultPolicyVersionInput) (*iam.SetDefaultPolicyVersionOutput, error) {
	_, err := s.updatePolicy(in.PolicyArn, func(p *policy) error {
		_, err := p.version(in.VersionId)
		p.Default = aws.ToString(in.VersionId)
		return err
	})
	return &iam.SetDefaultPolicyVersionOutput{}, err
}

// DeletePolicyVersion deletes a version that is not in force.
func (s *Service) DeletePolicyVersion(_ context.Context, in *iam.DeletePolicyVersionInput) (*iam.DeletePolicyVersionOutput, error) {
	_, err := s.updatePolicy(in.PolicyArn, func(p *policy) error {
		i, err := p.version(in.VersionId)
		if err != nil {
			return err
		}
		if p.Versions[i].ID == p.Default {
			return deleteConflict("Cannot delete the default version of a policy.")
		}
		p.Versions = slices.Delete(slices.Clone(p.Versions), i, i+1)
		return nil
	})
	return &iam.DeletePolicyVersionOutput{}, err
}

// ListEntitiesForPolicy lists who has a policy attached.
func (s *Service) ListEntitiesForPolicy(_ context.Context, in *iam.ListEntitiesForPolicyInput) (*iam.ListEntitiesForPolicyOutput, error) {
	if _, err := s.policy(in.PolicyArn); err != nil {
		return nil, err
	}
	a := s.attachments(*in.PolicyArn)
	out := &iam.ListEntitiesForPolicyOutput{PolicyGroups: []types.PolicyGroup{}, PolicyRoles: []types.PolicyRole{}, PolicyUsers: []types.PolicyUser{}}
	if in.EntityFilter == "" || in.EntityFilter == types.EntityTypeRole {
		for _, r := range a.roles {
			out.PolicyRoles = append(out.PolicyRoles, types.PolicyRole{RoleName: aws.String(r.Name), RoleId: aws.String(r.ID)})
		}
	}
	if in.EntityFilter == "" || in.EntityFilter == types.EntityTypeUser {
		for _, u := range a.users {
			out.PolicyUsers = append(out.PolicyUsers, types.PolicyUser{UserName: aws.String(u.Name), UserId: aws.String(u.ID)})
		}
	}
	return out, nil
}

// TagPolicy adds or replaces tags.
func (s *Service) TagPolicy(_ context.Context, in *iam.TagPolicyInput) (*iam.TagPolicyOutput, error) {
	_, err := s.updatePolicy(in.PolicyArn, func(p *policy) error {
		p.Tags = withTags(p.Tags, in.Tags)
		return checkTags(p.Tags)
	})
	return &iam.TagPolicyOutput{}, err
}

// UntagPolicy removes tags.
func (s *Service) UntagPolicy(_ context.Context, in *iam.UntagPolicyInput) (*iam.UntagPolicyOutput, error) {
	_, err := s.updatePolicy(in.PolicyArn, func(p *policy) error { p.Tags = withoutTags(p.Tags, in.TagKeys); return nil })
	return &iam.UntagPolicyOutput{}, err
}

// ListPolicyTags lists tags.
func (s *Service) ListPolicyTags(_ context.Context, in *iam.ListPolicyTagsInput) (*iam.ListPolicyTagsOutput, error) {
	p, err := s.policy(in.PolicyArn)
	if err != nil {
		return nil, err
	}
	return &iam.ListPolicyTagsOutput{Tags: sdkTags(p.Tags)}, nil
}
