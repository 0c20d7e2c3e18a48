package s3

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"syscall"

	"pcluster/internal/sandbox/wire"
)

// statuses are the HTTP statuses of the codes that are not plain bad requests.
var statuses = map[string]int{
	"AccessDenied":                                   http.StatusForbidden,
	"BucketAlreadyOwnedByYou":                        http.StatusConflict,
	"BucketNotEmpty":                                 http.StatusConflict,
	"InternalError":                                  http.StatusInternalServerError,
	"InvalidBucketState":                             http.StatusConflict,
	"InvalidRange":                                   http.StatusRequestedRangeNotSatisfiable,
	"MethodNotAllowed":                               http.StatusMethodNotAllowed,
	"MissingContentLength":                           http.StatusLengthRequired,
	"NoSuchBucket":                                   http.StatusNotFound,
	"NoSuchBucketPolicy":                             http.StatusNotFound,
	"NoSuchCORSConfiguration":                        http.StatusNotFound,
	"NoSuchKey":                                      http.StatusNotFound,
	"NoSuchLifecycleConfiguration":                   http.StatusNotFound,
	"NoSuchObjectLockConfiguration":                  http.StatusNotFound,
	"NoSuchPublicAccessBlockConfiguration":           http.StatusNotFound,
	"NoSuchTagSet":                                   http.StatusNotFound,
	"NoSuchUpload":                                   http.StatusNotFound,
	"NoSuchVersion":                                  http.StatusNotFound,
	"NoSuchWebsiteConfiguration":                     http.StatusNotFound,
	"NotImplemented":                                 http.StatusNotImplemented,
	"NotModified":                                    http.StatusNotModified,
	"ObjectLockConfigurationNotFoundError":           http.StatusNotFound,
	"OwnershipControlsNotFoundError":                 http.StatusNotFound,
	"PreconditionFailed":                             http.StatusPreconditionFailed,
	"ReplicationConfigurationNotFoundError":          http.StatusNotFound,
	"ServerSideEncryptionConfigurationNotFoundError": http.StatusNotFound,
}

// refuse returns an error with S3's code and message. Fields are further members
// of the error document, alternating names and values.
func refuse(code, message string, fields ...string) *wire.Error {
	e := &wire.Error{Code: code, Message: message, Status: statuses[code]}
	if e.Status == 0 {
		e.Status = http.StatusBadRequest
	}
	for i := 0; i+1 < len(fields); i += 2 {
		if e.Fields == nil {
			e.Fields = map[string]string{}
		}
		e.Fields[fields[i]] = fields[i+1]
	}
	return e
}

func errNoSuchBucket(name string) *wire.Error {
	return refuse("NoSuchBucket", "The specified bucket does not exist", "BucketName", name)
}

func errNoSuchKey(key string) *wire.Error {
	return refuse("NoSuchKey", "The specified key does not exist.", "Key", key)
}

func errInvalidArgument(message, name, value string) *wire.Error {
	return refuse("InvalidArgument", message, "ArgumentName", name, "ArgumentValue", value)
}

func errPrecondition(condition string) *wire.Error {
	return refuse("PreconditionFailed", "At least one of the pre-conditions you specified did not hold", "Condition", condition)
}

func errNotImplemented(what string) *wire.Error {
	return refuse("NotImplemented", "The sandbox's S3 does not implement "+what+".")
}

var errMalformedXML = refuse("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")

// asError turns any error into one that S3 would send. Causes that are the
// machine's own (a full disk) stay readable in the message.
func asError(err error) *wire.Error {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		if e.Status != 0 {
			return e
		}
		return refuse(e.Code, e.Message)
	}
	if errors.Is(err, syscall.ENOSPC) {
		return refuse("InternalError", fmt.Sprintf("We encountered an internal error: the region's disk is full (%v).", err))
	}
	return refuse("InternalError", fmt.Sprintf("We encountered an internal error: %v. Please try again.", err))
}

// writeError sends err as S3's error document; statuses and requests that allow
// no body get the headers only.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	h := w.Header()
	if e.Status == http.StatusNotModified || r.Method == http.MethodHead {
		w.WriteHeader(e.Status)
		return
	}
	// The body may be unread; without this the connection would be cut under a
	// client that is still sending and so never sees why.
	_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
	body := []byte(xml.Header + "<Error>")
	body = appendElement(body, "Code", e.Code)
	body = appendElement(body, "Message", e.Message)
	names := make([]string, 0, len(e.Fields))
	for name := range e.Fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		body = appendElement(body, name, e.Fields[name])
	}
	body = appendElement(body, "Resource", r.URL.Path)
	body = appendElement(body, "RequestId", h.Get("X-Amz-Request-Id"))
	body = appendElement(body, "HostId", h.Get("X-Amz-Id-2"))
	body = append(body, "</Error>"...)
	h.Set("Content-Type", "application/xml")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.Status)
	_, _ = w.Write(body)
}

func appendElement(b []byte, name, text string) []byte {
	b = append(b, '<')
	b = append(b, name...)
	b = append(b, '>')
	b = append(b, escapeXML(text)...)
	b = append(b, "</"...)
	b = append(b, name...)
	return append(b, '>')
}
