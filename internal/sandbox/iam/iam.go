// Package iam is the region's identity and access management: roles, policies,
// instance profiles, users and access keys, under AWS's names, limits and errors.
//
// It keeps what permissions people wrote and hands out credentials, but it does
// not judge: every caller may do everything. Package wire asks it who owns an
// access key ([Service.LookupKey]); the metadata service and Lambda get the
// credentials of roles from it ([Service.RoleCredentials]).
//
// Where to start: [New], then roles.go. What roles and users have in common,
// inline and attached policies, is in grants.go.
package iam

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// A Service is IAM of one region's account. It is safe for concurrent use.
type Service struct {
	id  *region.Identity
	now func() time.Time

	// mu is held over every change, so that what spans tables stays true.
	mu       sync.Mutex
	roles    *store.Table[role]
	users    *store.Table[user]
	profiles *store.Table[profile]
	policies *store.Table[policy] // by ARN
	keys     *store.Table[accessKey]
	sessions *store.Table[sessionKey] // by access key ID

	documents sync.Map          // policies that were read, by their text
	current   map[string]string // "role ID session name" → access key ID handed out last
}

// New opens the account's tables. On first start it makes the user admin, whose
// access key [Service.RootCredentials] returns.
func New(db *store.DB, id *region.Identity) (*Service, error) {
	s := &Service{id: id, now: time.Now, current: map[string]string{}}
	if err := errors.Join(
		store.OpenTable(db, "iam.roles", &s.roles),
		store.OpenTable(db, "iam.users", &s.users),
		store.OpenTable(db, "iam.profiles", &s.profiles),
		store.OpenTable(db, "iam.policies", &s.policies),
		store.OpenTable(db, "iam.keys", &s.keys),
		store.OpenTable(db, "iam.sessions", &s.sessions),
	); err != nil {
		return nil, err
	}
	if err := s.restoreSessions(); err != nil {
		return nil, err
	}
	return s, s.makeAdmin()
}

// Register attaches the operations to IAM's API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "CreateRole", s.CreateRole)
	wire.Handle(m, "GetRole", s.GetRole)
	wire.Handle(m, "ListRoles", s.ListRoles)
	wire.Handle(m, "UpdateRole", s.UpdateRole)
	wire.Handle(m, "UpdateRoleDescription", s.UpdateRoleDescription)
	wire.Handle(m, "UpdateAssumeRolePolicy", s.UpdateAssumeRolePolicy)
	wire.Handle(m, "DeleteRole", s.DeleteRole)
	wire.Handle(m, "CreateServiceLinkedRole", s.CreateServiceLinkedRole)
	wire.Handle(m, "PutRolePermissionsBoundary", s.PutRolePermissionsBoundary)
	wire.Handle(m, "DeleteRolePermissionsBoundary", s.DeleteRolePermissionsBoundary)
	wire.Handle(m, "TagRole", s.TagRole)
	wire.Handle(m, "UntagRole", s.UntagRole)
	wire.Handle(m, "ListRoleTags", s.ListRoleTags)
	wire.Handle(m, "PutRolePolicy", s.PutRolePolicy)
	wire.Handle(m, "GetRolePolicy", s.GetRolePolicy)
	wire.Handle(m, "DeleteRolePolicy", s.DeleteRolePolicy)
	wire.Handle(m, "ListRolePolicies", s.ListRolePolicies)
	wire.Handle(m, "AttachRolePolicy", s.AttachRolePolicy)
	wire.Handle(m, "DetachRolePolicy", s.DetachRolePolicy)
	wire.Handle(m, "ListAttachedRolePolicies", s.ListAttachedRolePolicies)

	wire.Handle(m, "CreatePolicy", s.CreatePolicy)
	wire.Handle(m, "GetPolicy", s.GetPolicy)
	wire.Handle(m, "ListPolicies", s.ListPolicies)
	wire.Handle(m, "DeletePolicy", s.DeletePolicy)
	wire.Handle(m, "CreatePolicyVersion", s.CreatePolicyVersion)
	wire.Handle(m, "GetPolicyVersion", s.GetPolicyVersion)
	wire.Handle(m, "ListPolicyVersions", s.ListPolicyVersions)
	wire.Handle(m, "SetDefaultPolicyVersion", s.SetDefaultPolicyVersion)
	wire.Handle(m, "DeletePolicyVersion", s.DeletePolicyVersion)
	wire.Handle(m, "ListEntitiesForPolicy", s.ListEntitiesForPolicy)
	wire.Handle(m, "TagPolicy", s.TagPolicy)
	wire.Handle(m, "UntagPolicy", s.UntagPolicy)
	wire.Handle(m, "ListPolicyTags", s.ListPolicyTags)

	wire.Handle(m, "CreateInstanceProfile", s.CreateInstanceProfile)
	wire.Handle(m, "GetInstanceProfile", s.GetInstanceProfile)
	wire.Handle(m, "ListInstanceProfiles", s.ListInstanceProfiles)
	wire.Handle(m, "ListInstanceProfilesForRole", s.ListInstanceProfilesForRole)
	wire.Handle(m, "DeleteInstanceProfile", s.DeleteInstanceProfile)
	wire.Handle(m, "AddRoleToInstanceProfile", s.AddRoleToInstanceProfile)
	wire.Handle(m, "RemoveRoleFromInstanceProfile", s.RemoveRoleFromInstanceProfile)
	wire.Handle(m, "TagInstanceProfile", s.TagInstanceProfile)
	wire.Handle(m, "UntagInstanceProfile", s.UntagInstanceProfile)
	wire.Handle(m, "ListInstanceProfileTags", s.ListInstanceProfileTags)

	wire.Handle(m, "CreateUser", s.CreateUser)
	wire.Handle(m, "GetUser", s.GetUser)
	wire.Handle(m, "ListUsers", s.ListUsers)
	wire.Handle(m, "DeleteUser", s.DeleteUser)
	wire.Handle(m, "TagUser", s.TagUser)
	wire.Handle(m, "UntagUser", s.UntagUser)
	wire.Handle(m, "ListUserTags", s.ListUserTags)
	wire.Handle(m, "PutUserPolicy", s.PutUserPolicy)
	wire.Handle(m, "GetUserPolicy", s.GetUserPolicy)
	wire.Handle(m, "DeleteUserPolicy", s.DeleteUserPolicy)
	wire.Handle(m, "ListUserPolicies", s.ListUserPolicies)
	wire.Handle(m, "AttachUserPolicy", s.AttachUserPolicy)
	wire.Handle(m, "DetachUserPolicy", s.DetachUserPolicy)
	wire.Handle(m, "ListAttachedUserPolicies", s.ListAttachedUserPolicies)
	wire.Handle(m, "ListGroupsForUser", s.ListGroupsForUser)
	wire.Handle(m, "CreateAccessKey", s.CreateAccessKey)
	wire.Handle(m, "ListAccessKeys", s.ListAccessKeys)
	wire.Handle(m, "UpdateAccessKey", s.UpdateAccessKey)
	wire.Handle(m, "DeleteAccessKey", s.DeleteAccessKey)
	wire.Handle(m, "ListAccountAliases", s.ListAccountAliases)
}

// Errors in IAM's words.
func noSuchEntity(format string, args ...any) error {
	return &wire.Error{Code: "NoSuchEntity", Message: fmt.Sprintf(format, args...), Status: http.StatusNotFound}
}

func alreadyExists(format string, args ...any) error {
	return &wire.Error{Code: "EntityAlreadyExists", Message: fmt.Sprintf(format, args...), Status: http.StatusConflict}
}

func deleteConflict(message string) error {
	return &wire.Error{Code: "DeleteConflict", Message: message, Status: http.StatusConflict}
}

func limitExceeded(format string, args ...any) error {
	return &wire.Error{Code: "LimitExceeded", Message: fmt.Sprintf(format, args...), Status: http.StatusConflict}
}

// arn returns the ARN of an entity of this account.
func (s *Service) arn(kind, path, name string) string {
	return s.id.GlobalARN("iam", kind+path+name)
}

// uniqueID returns an identifier such as AROA… with the given prefix.
func uniqueID(prefix string) string {
	return prefix + randomText(17, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
}

func randomText(n int, alphabet string) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b)
}

// pathOf returns the path of an entity from a request.
func pathOf(p *string) string {
	if p == nil || *p == "" {
		return "/"
	}
	return *p
}

// cut returns one page of rows, which are sorted by key, as IAM's lists do.
func cut[T any](rows []T, key func(T) string, marker *string, items *int32) (_ []T, next *string, truncated bool, err error) {
	out, next, err := page.Of(rows, key, marker, page.Limit(items, 100))
	if err != nil {
		return nil, nil, false, wire.Errorf("ValidationError", "Invalid Marker.")
	}
	return out, next, next != nil, nil
}

// A tag of an entity. Keys are unique without regard to case.
type tag struct{ Key, Value string }

func tagsOf(list []types.Tag) []tag {
	return withTags(nil, list)
}

func withTags(old []tag, list []types.Tag) []tag {
	out := append([]tag(nil), old...)
next:
	for _, t := range list {
		n := tag{aws.ToString(t.Key), aws.ToString(t.Value)}
		for i := range out {
			if strings.EqualFold(out[i].Key, n.Key) {
				out[i] = n
				continue next
			}
		}
		out = append(out, n)
	}
	return out
}

func withoutTags(old []tag, keys []string) []tag {
	var out []tag
next:
	for _, t := range old {
		for _, k := range keys {
			if strings.EqualFold(t.Key, k) {
				continue next
			}
		}
		out = append(out, t)
	}
	return out
}

func sdkTags(list []tag) []types.Tag {
	out := make([]types.Tag, len(list))
	for i, t := range list {
		out[i] = types.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)}
	}
	return out
}

// checkTags refuses more tags than an entity may have.
func checkTags(list []tag) error {
	if len(list) > 50 {
		return limitExceeded("The number of tags has reached the maximum limit: 50")
	}
	return nil
}

func boundaryOf(arn string) *types.AttachedPermissionsBoundary {
	if arn == "" {
		return nil
	}
	return &types.AttachedPermissionsBoundary{
		PermissionsBoundaryArn: aws.String(arn), PermissionsBoundaryType: types.PermissionsBoundaryAttachmentTypePolicy,
	}
}
