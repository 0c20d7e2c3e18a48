// Package awsclient has what every client of AWS is configured with, on people's machines and
// on nodes: [Options], which mend the SDK for Go.
package awsclient

import (
	"context"
	"io"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Options are for the configuration of all clients (config.WithAPIOptions).
var Options = []func(*middleware.Stack) error{sendOnce}

// sendOnce keeps requests from being sent twice whose answer was quick. When it is there
// before net/http has looked for the end of the request's body, the SDK has closed the body,
// whose WriteTo then says io.EOF. net/http takes that for a failure to send, and breaks the
// connection while the answer is read; the SDK repeats the request, and who creates something
// hears that it exists. Read says io.EOF too, where it means nothing else than the end.
func sendOnce(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("SendOnce",
		func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
			if r, ok := in.Request.(*smithyhttp.Request); ok {
				if body, ok := r.GetStream().(io.ReadSeeker); ok {
					sent, err := r.SetStream(onlyReader{body})
					if err != nil {
						return middleware.DeserializeOutput{}, middleware.Metadata{}, err
					}
					in.Request = sent
				}
			}
			return next.HandleDeserialize(ctx, in)
		}), middleware.After)
}

// onlyReader hides WriteTo.
type onlyReader struct{ io.ReadSeeker }
