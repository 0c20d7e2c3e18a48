package wire

import (
	"context"
	"time"
)

// A Caller is who signed a request.
type Caller struct {
	AccessKeyID string
	AccountID   string
	ARN         string // arn:aws:iam::…:user/… or arn:aws:sts::…:assumed-role/ROLE/SESSION
	UserID      string
	SourceIP    string

	Expires time.Time // when the credentials end; zero: never
}

type callerKey struct{}

// WithCaller returns ctx with the caller in it.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom returns the caller of a request; calls that start inside the
// sandbox (CloudFormation acting for a stack) have none and get the zero value.
func CallerFrom(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}
