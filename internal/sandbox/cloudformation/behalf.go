package cloudformation

import (
	"context"
	"strings"

	"pcluster/internal/sandbox/wire"
)

// A principal is in whose name a stack's resources are made: who asked for the stack's
// last operation, or the role that they gave it.
type principal struct {
	ARN, UserID, AccountID string
}

// principalOf returns the caller of a request; nil if the region itself asks.
func principalOf(ctx context.Context) *principal {
	c := wire.CallerFrom(ctx)
	if c.ARN == "" {
		return nil
	}
	return &principal{c.ARN, c.UserID, c.AccountID}
}

// actFor notes who asks for an operation on a stack.
func (s *Service) actFor(ctx context.Context, st *stack) error {
	if p := principalOf(ctx); p != nil {
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
	switch {
	case row.Version.RoleARN != "":
		id := d.s.identity
		_, name, _ := strings.Cut(row.Version.RoleARN, ":role/")
		name = name[strings.LastIndexByte(name, '/')+1:]
		return context.WithValue(ctx, behalfKey{}, wire.Caller{ARN: id.GlobalARN("sts", "assumed-role/"+name+"/AWSCloudFormation"), AccountID: id.Account()})
	case row.By != nil:
		return context.WithValue(ctx, behalfKey{}, wire.Caller{ARN: row.By.ARN, UserID: row.By.UserID, AccountID: row.By.AccountID})
	}
	return ctx
}

// OnBehalf returns in whose name a call for a resource of a stack is made. It is not the
// call's own caller: CloudFormation may do what callers may not, such as give tags that
// begin with "aws:".
func OnBehalf(ctx context.Context) (wire.Caller, bool) {
	c, ok := ctx.Value(behalfKey{}).(wire.Caller)
	return c, ok
}
