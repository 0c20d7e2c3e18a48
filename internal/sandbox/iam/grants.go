package iam

import (
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// grants is what roles and users have in common: inline policies, attached
// managed policies and a boundary. It is a value; changes return a new one.
type grants struct {
	Inline   map[string]string `json:",omitempty"` // name → document
	Attached []string          `json:",omitempty"` // ARNs, in the order of attachment
	Boundary string            `json:",omitempty"` // ARN
}

const maxAttached = 10

// put returns the grants with an inline policy. limit is what all inline
// policies of the entity may measure together.
func (g grants) put(kind, owner, name, text string, limit int) (grants, error) {
	if err := checkPermissions(text); err != nil {
		return g, err
	}
	inline := maps.Clone(g.Inline)
	if inline == nil {
		inline = map[string]string{}
	}
	inline[name] = text
	size := 0
	for _, doc := range inline {
		size += documentSize(doc)
	}
	if size > limit {
		return g, limitExceeded("Maximum policy size of %d bytes exceeded for %s %s", limit, kind, owner)
	}
	g.Inline = inline
	return g, nil
}

func (g grants) remove(kind, name string) (grants, error) {
	if _, ok := g.Inline[name]; !ok {
		return g, noSuchEntity("The %s policy with name %s cannot be found.", kind, name)
	}
	g.Inline = maps.Clone(g.Inline)
	delete(g.Inline, name)
	return g, nil
}

func (g grants) document(kind, name string) (string, error) {
	doc, ok := g.Inline[name]
	if !ok {
		return "", noSuchEntity("The %s policy with name %s cannot be found.", kind, name)
	}
	return encoded(doc), nil
}

func (g grants) inlineNames() []string { return slices.Sorted(maps.Keys(g.Inline)) }

// attach returns the grants with a managed policy; attaching twice is no error.
func (g grants) attach(kind, arn string) (grants, error) {
	if slices.Contains(g.Attached, arn) {
		return g, nil
	}
	if len(g.Attached) >= maxAttached {
		return g, limitExceeded("Cannot exceed quota for PoliciesPer%s: %d", kind, maxAttached)
	}
	g.Attached = append(slices.Clone(g.Attached), arn)
	return g, nil
}

func (g grants) detach(arn string) (grants, error) {
	i := slices.Index(g.Attached, arn)
	if i < 0 {
		return g, noSuchEntity("Policy %s was not found.", arn)
	}
	g.Attached = slices.Delete(slices.Clone(g.Attached), i, i+1)
	return g, nil
}

// deletable refuses to delete an entity that still has policies.
func (g grants) deletable() error {
	switch {
	case len(g.Attached) > 0:
		return deleteConflict("Cannot delete entity, must detach all policies first.")
	case len(g.Inline) > 0:
		return deleteConflict("Cannot delete entity, must delete policies first.")
	}
	return nil
}

// attachedUnder lists the attached policies whose paths begin with prefix.
func (g grants) attachedUnder(prefix *string) []types.AttachedPolicy {
	var out []types.AttachedPolicy
	for _, arn := range slices.Sorted(slices.Values(g.Attached)) {
		path, name := splitPolicyARN(arn)
		if strings.HasPrefix(path, pathOf(prefix)) {
			out = append(out, types.AttachedPolicy{PolicyArn: aws.String(arn), PolicyName: aws.String(name)})
		}
	}
	return out
}

// splitPolicyARN returns path and name of a managed policy.
func splitPolicyARN(arn string) (path, name string) {
	_, rest, _ := strings.Cut(arn, ":policy")
	i := strings.LastIndexByte(rest, '/')
	return rest[:i+1], rest[i+1:]
}
