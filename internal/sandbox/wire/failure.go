package wire

import (
	"errors"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"

	"pcluster/internal/sandbox/wire/model"
)

// errorFrom turns what a service returned into a refusal with a status.
func (x *exchange) errorFrom(err error) *Error {
	var e *Error
	var apiErr smithy.APIError
	var auth *authFault
	switch {
	case errors.As(err, &auth):
		e = x.authError(auth)
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
		e = &Error{Code: x.internalCode(), Message: "Internal error in the sandbox: " + err.Error(), Status: http.StatusInternalServerError}
	}
	if e.Status == 0 {
		e.Status = x.statusOf(e.Code)
	}
	return e
}

func (x *exchange) statusOf(code string) int {
	if s := x.Exception(code); s != nil {
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
	if x.ec2() {
		switch {
		case code == "RequestLimitExceeded":
			return http.StatusServiceUnavailable
		case strings.HasPrefix(code, "Insufficient") && strings.HasSuffix(code, "Capacity"):
			return http.StatusInternalServerError // EC2 counts it among its own errors
		}
	}
	return http.StatusBadRequest
}

func (x *exchange) internalCode() string {
	switch x.speaks {
	case model.EC2:
		return "InternalError"
	case model.Query, model.RestXML:
		return "InternalFailure"
	}
	return "InternalServerError"
}

// violationCode is the code for an input that breaks the model's rules.
func (x *exchange) violationCode() string {
	switch x.Name {
	case "logs", "ecr":
		return "InvalidParameterException"
	case "route53":
		return "InvalidInput"
	case "sns":
		return "InvalidParameter"
	case "cloudwatch":
		return "ValidationError"
	}
	if x.speaks == model.Query {
		return "ValidationError"
	}
	return "ValidationException"
}

// inputError gives a request that could not be decoded its code.
func (x *exchange) inputError(err error) error {
	var bad *inputError
	if !errors.As(err, &bad) {
		return err
	}
	switch x.speaks {
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

// authError is the protocol's error for what is wrong with a signature.
func (x *exchange) authError(f *authFault) *Error {
	if x.ec2() {
		switch f.kind {
		case authMissing:
			return &Error{Code: "MissingAuthenticationToken", Message: "Request is missing Authentication Token", Status: http.StatusForbidden}
		case authIncomplete:
			return &Error{Code: "IncompleteSignature", Message: f.message, Status: http.StatusBadRequest}
		case authExpired, authSkewed, authLapsed:
			return &Error{Code: "RequestExpired", Message: "Request has expired. " + f.message, Status: http.StatusBadRequest}
		case authRegion:
			return &Error{Code: "AuthFailure", Message: f.message, Status: http.StatusUnauthorized}
		}
		return &Error{Code: "AuthFailure", Message: "AWS was not able to validate the provided access credentials", Status: http.StatusUnauthorized}
	}
	names := xmlAuthCodes
	status := http.StatusForbidden
	switch x.speaks {
	case model.JSON, model.CBOR:
		names, status = jsonAuthCodes, http.StatusBadRequest
	case model.RestJSON:
		names = jsonAuthCodes
	}
	return &Error{Code: names[f.kind], Message: f.message, Status: status}
}

var xmlAuthCodes = map[authKind]string{
	authMissing:    "MissingAuthenticationToken",
	authIncomplete: "IncompleteSignature",
	authUnknownKey: "InvalidClientTokenId",
	authBadToken:   "InvalidClientTokenId",
	authMismatch:   "SignatureDoesNotMatch",
	authExpired:    "ExpiredToken",
	authSkewed:     "SignatureDoesNotMatch",
	authLapsed:     "ExpiredToken",
	authRegion:     "SignatureDoesNotMatch",
}

var jsonAuthCodes = map[authKind]string{
	authMissing:    "MissingAuthenticationTokenException",
	authIncomplete: "IncompleteSignatureException",
	authUnknownKey: "UnrecognizedClientException",
	authBadToken:   "UnrecognizedClientException",
	authMismatch:   "InvalidSignatureException",
	authExpired:    "ExpiredTokenException",
	authSkewed:     "InvalidSignatureException",
	authLapsed:     "InvalidSignatureException",
	authRegion:     "InvalidSignatureException",
}
