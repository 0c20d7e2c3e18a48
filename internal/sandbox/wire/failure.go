package wire

import (
	"errors"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"

	"pcluster/internal/sandbox/wire/model"
)

// errorFrom turns what a service returned into a refusal with a status.
func (a *api) errorFrom(err error) *Error {
	var e *Error
	var apiErr smithy.APIError
	switch {
	case errors.As(err, &e):
		c := *e
		e = &c
	case errors.As(err, &apiErr):
		e = &Error{Code: apiErr.ErrorCode(), Message: apiErr.ErrorMessage()}
		if apiErr.ErrorFault() == smithy.FaultServer {
			e.Status = http.StatusInternalServerError
		}
	default:
		// Not a refusal: a bug or a broken machine. Its text is what helps.
		e = &Error{Code: a.internalCode(), Message: "Internal error in the sandbox: " + err.Error(), Status: http.StatusInternalServerError}
	}
	if e.Status == 0 {
		e.Status = a.statusOf(e.Code)
	}
	return e
}

func (a *api) statusOf(code string) int {
	if s := a.Exception(code); s != nil {
		switch {
		case s.ErrorStatus != 0:
			return s.ErrorStatus
		case s.Fault:
			return http.StatusInternalServerError
		}
	}
	switch code {
	case "InternalError", "InternalFailure", "InternalServerError", "ServerInternal":
		return http.StatusInternalServerError
	case "ServiceUnavailable", "Unavailable", "ServiceUnavailableException":
		return http.StatusServiceUnavailable
	case "AccessDenied", "SignatureDoesNotMatch", "InvalidClientTokenId", "MissingAuthenticationToken", "ExpiredToken", "OptInRequired":
		return http.StatusForbidden
	case "UnauthorizedOperation":
		return http.StatusForbidden
	case "AuthFailure":
		return http.StatusUnauthorized
	}
	if a.ec2() {
		switch {
		case code == "RequestLimitExceeded":
			return http.StatusServiceUnavailable
		case strings.HasPrefix(code, "Insufficient") && strings.HasSuffix(code, "Capacity"):
			return http.StatusInternalServerError // EC2 counts it among its own errors
		}
	}
	return http.StatusBadRequest
}

func (a *api) internalCode() string {
	switch a.Protocols[0] {
	case model.EC2:
		return "InternalError"
	case model.Query, model.RestXML:
		return "InternalFailure"
	}
	return "InternalServerError"
}

// violationCode is the code for an input that breaks the model's rules.
func (a *api) violationCode() string {
	switch a.Name {
	case "logs":
		return "InvalidParameterException"
	case "route53":
		return "InvalidInput"
	case "sns":
		return "InvalidParameter"
	case "cloudwatch":
		return "ValidationError"
	}
	if a.Protocols[0] == model.Query {
		return "ValidationError"
	}
	return "ValidationException"
}

// inputError gives a request that could not be decoded its code.
func (a *api) inputError(err error) error {
	var bad *inputError
	if !errors.As(err, &bad) {
		return err
	}
	switch a.Protocols[0] {
	case model.EC2:
		if bad.unknown {
			return Errorf("UnknownParameter", "The parameter %s is not recognized", bad.path)
		}
		return Errorf("InvalidParameterValue", "Value for parameter %s is invalid: %s", bad.path, bad.reason)
	case model.Query:
		return Errorf("MalformedInput", "%s", bad.Error())
	case model.RestXML:
		return Errorf("InvalidInput", "%s", bad.Error())
	}
	return Errorf("SerializationException", "%s", bad.Error())
}
