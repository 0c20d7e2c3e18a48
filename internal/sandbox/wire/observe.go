package wire

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"time"

	"pcluster/internal/sandbox/region"
)

// A Call is one request that was answered, for a log of requests.
type Call struct {
	Service   string // as in [NewService]; "s3" for S3
	Operation string // empty when the request could not be understood
	Caller    Caller
	Err       error // as the service returned it; nil for success
	Status    int   // HTTP status
	RequestID string
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

// requestID returns the ID that the endpoint gave a request, or makes one.
func requestID(ctx context.Context) string {
	if c, ok := ctx.Value(callKey{}).(*Call); ok {
		return c.RequestID
	}
	return newRequestID()
}

func newRequestID() string {
	h := region.Hex(32)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

type interceptKey struct{}

func interceptFrom(ctx context.Context) func(operation string, input any) error {
	fn, _ := ctx.Value(interceptKey{}).(func(string, any) error)
	return fn
}

// unpack undoes the compression that clients of CloudWatch apply to large
// requests.
func unpack(r *http.Request, data []byte) ([]byte, error) {
	if r.Header.Get("Content-Encoding") != "gzip" {
		return data, nil
	}
	bad := func(err error) error {
		return Errorf("SerializationException", "the request body is not gzip: %v", err)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, bad(err)
	}
	out, err := io.ReadAll(io.LimitReader(z, maxBody))
	if err != nil {
		return nil, bad(err)
	}
	return out, nil
}
