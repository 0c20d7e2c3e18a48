package wire

import (
	"fmt"

	"github.com/aws/smithy-go"
)

// An Error is a refusal in AWS's own terms. It is a [smithy.APIError], so code
// inside the sandbox that calls a service directly classifies it as a client
// would.
type Error struct {
	Code    string // AWS's error code, such as InvalidInstanceID.NotFound
	Message string
	Status  int // HTTP status; 0 lets the protocol choose (400, or what the model says)
	// Fields are further members of the error body that the protocol knows, such
	// as a bucket name; most errors have none.
	Fields map[string]string
}

// Errorf returns an *Error with the given AWS error code and a formatted message.
func Errorf(code, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string                 { return e.Code + ": " + e.Message }
func (e *Error) ErrorCode() string             { return e.Code }
func (e *Error) ErrorMessage() string          { return e.Message }
func (e *Error) ErrorFault() smithy.ErrorFault { return smithy.FaultClient }
