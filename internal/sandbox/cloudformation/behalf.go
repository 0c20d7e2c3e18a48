package cloudformation

import (
	"context"
	"encoding/json"
	"strings"

	"pcluster/internal/sandbox/wire"
)

// A principal is in whose name a stack's resources are made: who asked for the stack's
// last operation, or the role that they gave it.
type principal struct {
	ARN, UserID, AccountID string

	// Held is what a role might do when the operation began, in the form of
	// [Config.Permissions]. A role that a stack deletes may be the one in whose name it
	// deletes, as that of an image's function is, and has to last until the end.
	Held json.RawMessage `json:",omitempty"`
}

// principalOf returns in whose name an operation acts: the role's, if there is one, else
// the caller's; nil if the region itself asks.
func (s *Service) principalOf(ctx context.Context, roleARN string) *principal {
	c := wire.CallerFrom(ctx)
	if roleARN != "" {
		name := roleARN[strings.LastIndexByte(roleARN, '/')+1:]
		c = wire.Caller{ARN: s.identity.GlobalARN("sts", "assumed-role/"+name+"/AWSCloudFormation"), AccountID: s.identity.Account()}
	}
	if c.ARN == "" {
		return nil
	}
	p := &principal{ARN: c.ARN, UserID: c.UserID, AccountID: c.AccountID}
	if s.cfg.Permissions != nil && strings.Contains(c.ARN, ":assumed-role/") {
		p.Held = s.cfg.Permissions(c)
	}
	return p
}

// actFor notes who asks for an operation on a stack, and the role that they give it. One
// without a role has the stack's, which the last one gave.
func (s *Service) actFor(ctx context.Context, st *stack, roleARN *string) error {
	role := st.snapshot().Version.RoleARN
	if roleARN != nil {
		role = *roleARN
	}
	if p := s.principalOf(ctx, role); p != nil {
		return s.updateStack(st, func(row *stackRow) { row.By = p })
	}
	return nil
}

type behalfKey struct{}

// behalf returns the context of calls for a stack's resources. Nested stacks act for who
// asked for the outermost one.
func (d *driver) behalf() context.Context {
	row := d.st.snapshot()
	if root := d.s.find(row.Root); row.Root != "" && root != nil {
		row = root.snapshot()
	}
	ctx := context.Background()
	if row.By != nil {
		return context.WithValue(ctx, behalfKey{}, *row.By)
	}
	return ctx
}

// OnBehalf returns in whose name a call for a resource of a stack is made, and for a role
// what it may do. It is not the call's own caller: CloudFormation may do what callers may
// not, such as give tags that begin with "aws:".
func OnBehalf(ctx context.Context) (c wire.Caller, held json.RawMessage, ok bool) {
	p, ok := ctx.Value(behalfKey{}).(principal)
	return wire.Caller{ARN: p.ARN, UserID: p.UserID, AccountID: p.AccountID}, p.Held, ok
}
