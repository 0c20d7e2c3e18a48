package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/smithy-go"

	"pcluster/internal/config"
)

// An Error is an operation that was refused or went wrong, in the words of the
// REST API: a command prints the body, a server answers with the status.
type Error struct {
	Status int // HTTP
	Body   ErrorBody
	// Problems are what is wrong with a file, with places in its text, for people;
	// the body has the same without.
	Problems config.Problems
	File     string
	Text     []byte

	cause error
}

// An ErrorBody is what users see of an [Error]. Which keys are there depends on
// the operation; message always is.
type ErrorBody struct {
	Message                       string              `json:"message"`
	Query                         string              `json:"query,omitempty"` // one that could not be parsed
	ConfigurationValidationErrors []ValidationMessage `json:"configurationValidationErrors,omitempty"`
	ValidationMessages            []ValidationMessage `json:"validationMessages,omitempty"`
}

func (e *Error) Error() string { return e.Body.Message }

// Unwrap returns what went wrong below, if anything.
func (e *Error) Unwrap() error { return e.cause }

// DryRunMessage is what a create that would have worked answers to a dry run.
const DryRunMessage = "Request would have succeeded, but DryRun flag is set."

func refuse(status int, format string, args ...any) *Error {
	return &Error{Status: status, Body: ErrorBody{Message: fmt.Sprintf(format, args...)}}
}

// badRequest is a refusal of what was asked, with the prefix that the API gives
// to all of them but rejected configurations.
func badRequest(format string, args ...any) *Error {
	return refuse(http.StatusBadRequest, "Bad Request: "+format, args...)
}

func notFound(cluster string) *Error {
	return refuse(http.StatusNotFound, "Cluster '%s' does not exist or belongs to an incompatible ParallelCluster major version.", cluster)
}

// AsError returns err in the words of the API: an [*Error] as it is, failures of
// AWS by their kind, and everything else as an internal error with its text.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	status := http.StatusInternalServerError
	switch kindOf(err) {
	case throttled:
		status = http.StatusTooManyRequests
	case invalidParameters:
		status = http.StatusBadRequest
	}
	message := Explain(err)
	if left, ok := errors.AsType[*LeftError](err); ok {
		message = strings.TrimSuffix(message, "\n"+left.Error()) + "; " + left.Error()
	}
	return &Error{Status: status, Body: ErrorBody{Message: message}, cause: err}
}

// A kind of AWS failure says what the caller does next.
type kind int

const (
	other             kind = iota
	throttled              // try again later
	invalidParameters      // the request itself is wrong
	missing                // what was asked for is not there
	conflicting            // somebody else changed it meanwhile
	taken                  // there is one of that name
	refusedBucket          // another service may not use the bucket
	denied                 // these credentials may not
	badCredentials         // these credentials are no credentials
	noCredentials          // there are none
	unreachable            // nobody answered
)

// kindOf classifies failures of AWS calls by their code. It is the one place of
// this package that knows codes.
func kindOf(err error) kind {
	if err == nil {
		return other
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		switch code := api.ErrorCode(); code {
		case "RequestLimitExceeded", "Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException", "SlowDown", "ProvisionedThroughputExceededException":
			return throttled
		case "NoSuchKey", "NoSuchBucket", "NoSuchVersion", "NoSuchBucketPolicy", "NotFound", "404", "ResourceNotFoundException", "LoadBalancerNotFound":
			return missing
		case "InvalidParameterException":
			// CreateExportTask has no code of its own for a bucket whose policy is against it.
			if strings.Contains(api.ErrorMessage(), "has been granted permission") {
				return refusedBucket
			}
		case "ConditionalCheckFailedException":
			return conflicting
		case "AlreadyExistsException":
			return taken
		case "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Forbidden", "403":
			return denied
		case "InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthFailure", "ExpiredToken", "ExpiredTokenException", "IncompleteSignature":
			return badCredentials
		case "ValidationError":
			// DescribeStacks has no code of its own for a stack that is not there.
			if strings.Contains(api.ErrorMessage(), "does not exist") {
				return missing
			}
		}
		return other
	}
	if _, ok := errors.AsType[*smithy.InvalidParamsError](err); ok {
		return invalidParameters
	}
	if _, ok := errors.AsType[*smithy.CanceledError](err); ok && !errors.Is(err, context.DeadlineExceeded) {
		return other
	}
	text := err.Error()
	// The chain of credential providers has no type for "none of them had any".
	if strings.Contains(text, "failed to refresh cached credentials") || strings.Contains(text, "get credentials:") || strings.Contains(text, "static credentials are empty") {
		return noCredentials
	}
	if _, ok := errors.AsType[*url.Error](err); ok {
		return unreachable
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return unreachable
	}
	return other
}

// Explain returns the text of an error without the SDK's nesting: what we were
// doing, which call, what AWS said, and what to try where we know it.
func Explain(err error) string {
	op, isOp := errors.AsType[*smithy.OperationError](err)
	api, isAPI := errors.AsType[smithy.APIError](err)
	call := ""
	if isOp {
		call = op.Service() + " " + op.Operation() + ": "
	}
	switch kindOf(err) {
	case noCredentials:
		return doing(err, op) + call + "no AWS credentials were found; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run 'aws configure'"
	case unreachable:
		const hint = "; check the region, the network and AWS_ENDPOINT_URL"
		u, ok := errors.AsType[*url.Error](err)
		if !ok {
			return err.Error() + hint
		}
		where := u.URL
		if parsed, perr := url.Parse(u.URL); perr == nil {
			where = parsed.Scheme + "://" + parsed.Host
		}
		return doing(err, op) + call + where + " cannot be reached (" + u.Err.Error() + ")" + hint
	case badCredentials:
		before := doing(err, api)
		if isOp {
			before = doing(err, op)
		}
		return before + call + said(api) + "; check AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
	}
	switch {
	case isOp && isAPI:
		return doing(err, op) + call + said(api)
	case isAPI:
		return doing(err, api) + said(api)
	case isOp:
		return doing(err, op) + call + op.Err.Error()
	}
	return err.Error()
}

// doing returns what layers above an error put before it.
func doing(err, inner error) string {
	if before, _, ok := strings.Cut(err.Error(), inner.Error()); ok {
		return before
	}
	return ""
}

func said(api smithy.APIError) string {
	if api.ErrorMessage() == "" {
		return api.ErrorCode()
	}
	return api.ErrorMessage() + " (" + api.ErrorCode() + ")"
}
