package wire

import (
	"context"
	"time"
)

// A Call is one request that was answered, for a log of requests.
type Call struct {
	Service   string // as in [NewService]; "s3" for S3
	Operation string // empty when the request could not be understood
	Caller    Caller
	Err       error // as the service returned it; nil for success
	Status    int   // HTTP status
	Start     time.Time
	Duration  time.Duration
}

type callKey struct{}

// Note names the operation and its outcome for the request log. Services that
// are not a [Service] call it (S3); for the others it is done.
func Note(ctx context.Context, operation string, err error) {
	if c, ok := ctx.Value(callKey{}).(*Call); ok {
		c.Operation, c.Err = operation, err
	}
}
