package iam

import (
	"maps"
	"slices"
	"strings"

	language "pcluster/internal/sandbox/iam/policy"
	"pcluster/internal/sandbox/wire"
)

// Permissions are what the policies of a principal say.
type Permissions struct {
	Policies []language.Document
	Boundary *language.Document
	// Unknown are attached policies whose text the region does not have: some of AWS's
	// own, and adopted ones that have no second version yet.
	Unknown []string
}

// Unlimited reports the permissions of an administrator.
func (p *Permissions) Unlimited() bool {
	return p.Boundary == nil && slices.ContainsFunc(p.Policies, func(d language.Document) bool {
		return len(d.Statements) == 1 && !d.Statements[0].Deny && len(d.Statements[0].Conditions) == 0 &&
			slices.Equal(d.Statements[0].Actions, []string{"*"}) && slices.Equal(d.Statements[0].Resources, []string{"*"})
	})
}

// PermissionsOf returns what a caller may do: the policies of the user, or of the role
// whose session it is.
func (s *Service) PermissionsOf(c wire.Caller) Permissions {
	var g grants
	_, name, _ := strings.Cut(c.ARN, "/")
	switch {
	case strings.Contains(c.ARN, ":assumed-role/"):
		name, _, _ = strings.Cut(name, "/")
		r, _ := s.roles.Get(name)
		g = r.grants
	default:
		u, _ := s.users.Get(c.ARN[strings.LastIndexByte(c.ARN, '/')+1:])
		g = u.grants
	}
	var out Permissions
	for _, name := range slices.Sorted(maps.Keys(g.Inline)) {
		out.add(s, g.Inline[name])
	}
	for _, arn := range g.Attached {
		text, ok := s.defaultText(arn)
		if !ok {
			out.Unknown = append(out.Unknown, arn)
			continue
		}
		out.add(s, text)
	}
	if g.Boundary != "" {
		if text, ok := s.defaultText(g.Boundary); ok {
			if d, err := s.parsed(text); err == nil {
				out.Boundary = &d
			}
		}
	}
	return out
}

func (p *Permissions) add(s *Service, text string) {
	if d, err := s.parsed(text); err == nil { // checked when it came
		p.Policies = append(p.Policies, d)
	}
}

// defaultText returns the text of a managed policy that is in force.
func (s *Service) defaultText(arn string) (string, bool) {
	p, err := s.policy(&arn)
	if err != nil || p.Adopted && p.Default == "v1" {
		return "", false
	}
	for _, v := range p.Versions {
		if v.ID == p.Default {
			return v.Document, true
		}
	}
	return "", false
}

// parsed reads a policy once for all the calls that it is asked for.
func (s *Service) parsed(text string) (language.Document, error) {
	if d, ok := s.documents.Load(text); ok {
		return d.(language.Document), nil
	}
	d, err := language.Parse(text)
	if err == nil {
		s.documents.Store(text, d)
	}
	return d, err
}

// RoleARN returns the ARN of a role by its name, or nothing.
func (s *Service) RoleARN(name string) string {
	r, ok := s.roles.Get(name)
	if !ok {
		return ""
	}
	return s.arn("role", r.Path, r.Name)
}

// BoundaryOf returns the ARN of a role's permissions boundary by the role's name, or
// nothing.
func (s *Service) BoundaryOf(role string) string {
	r, _ := s.roles.Get(role)
	return r.Boundary
}

// ProfileARN returns the ARN of an instance profile by its name, or nothing.
func (s *Service) ProfileARN(name string) string {
	p, ok := s.profiles.Get(name)
	if !ok {
		return ""
	}
	return s.arn("instance-profile", p.Path, p.Name)
}
