package wire

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"pcluster/internal/sandbox/wire/model"
)

// An Authenticator knows access keys. Package iam is one.
type Authenticator interface {
	// LookupKey returns who owns the access key, its secret, and the session token
	// that must come with it (empty for long-term keys).
	LookupKey(accessKeyID string) (caller Caller, secret, token string, ok bool)
}

// An Endpoint answers for all services of a region. Fields must not change once
// it serves.
//
// Behind it, requests have a [Caller] in their context, unless they are
// anonymous. The S3 handler gets bodies without aws-chunked framing: trailing
// headers (checksums) are in Request.Trailer once the body has been read. When
// reading a body fails with an [*Error], the signature or the hash of the
// payload was wrong, and that error is the answer.
type Endpoint struct {
	Auth     Authenticator
	Services map[string]http.Handler // by the names that [NewService] takes
	S3       http.Handler
	Signals  http.Handler // CloudFormation's wait handles and custom resources' answers
	Log      *slog.Logger // requests at level debug, unknown operations at warn; nil: no log

	// Region returns the region's name; requests signed for another region are
	// refused, except those to global services. Nil accepts any.
	Region func() string

	// Observe, if set, is told of every answered request. It must not block.
	Observe func(Call)

	// Intercept, if set, is asked before each operation of a [Service], of which it sees
	// the input, the SDK's struct; an error
	// becomes the answer, and it may take its time. Faults such as throttling enter here.
	Intercept func(ctx context.Context, c Caller, service, operation string, input any) error

	// Now is the clock of signature checks; nil means time.Now.
	Now func() time.Time
}

// aliases maps names in signatures and host names to names of services, where
// they differ.
var aliases = map[string]string{
	"elasticfilesystem":    "efs",
	"monitoring":           "cloudwatch",
	"elasticloadbalancing": "elbv2",
	"s3express":            "s3",
}

// targets maps the prefix of X-Amz-Target to the service.
var targets = map[string]string{
	"AWSSimbaAPIService_v20180301":         "fsx",
	"AmazonSSM":                            "ssm",
	"TrentService":                         "kms",
	"AmazonEC2ContainerRegistry_V20150921": "ecr",
	"AmazonEC2ContainerServiceV20141113":   "ecs",
	"CodeBuild_20161006":                   "codebuild",
	"DynamoDB_20120810":                    "dynamodb",
	"GraniteServiceVersion20100801":        "cloudwatch",
	"Logs_20140328":                        "logs",
	"secretsmanager":                       "secretsmanager",
}

// globalServices are asked in us-east-1 from everywhere.
var globalServices = map[string]bool{"iam": true, "sts": true, "route53": true}

const signalPath = "/_cfn/"

// ServeHTTP finds the service that the request is for, checks its signature and
// hands it over.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call := &Call{Start: time.Now(), RequestID: newRequestID()}
	sw := &statusWriter{ResponseWriter: w}
	ctx := context.WithValue(r.Context(), callKey{}, call)
	r = r.WithContext(ctx)
	if r.Body == nil {
		r.Body = http.NoBody
	}
	body := &countedBody{ReadCloser: r.Body}
	r.Body = body
	e.guarded(sw, r, call)
	if sw.status >= http.StatusBadRequest {
		body.drain(r)
	}
	call.Status, call.Duration = orStatus(sw.status), time.Since(call.Start)
	e.log(r, call)
	if e.Observe != nil {
		e.Observe(*call)
	}
}

// guarded answers a request even when a service panics over it: the daemon goes
// on, the caller and the log learn why.
func (e *Endpoint) guarded(w *statusWriter, r *http.Request, call *Call) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler {
			panic(p)
		}
		call.Err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		if w.status == 0 {
			e.refuse(w, r, e.handler(call.Service), call, fmt.Errorf("panic: %v", p))
		}
	}()
	e.serve(w, r, call)
}

func (e *Endpoint) serve(w http.ResponseWriter, r *http.Request, call *Call) {
	call.Caller.SourceIP = sourceIP(r)
	if e.Signals != nil && (strings.HasPrefix(r.Host, "cloudformation-waitcondition-") || strings.HasPrefix(r.URL.Path, signalPath)) {
		call.Service, call.Operation = "cloudformation", "signal"
		e.Signals.ServeHTTP(w, r)
		return
	}
	sig, err := parseSignature(r)
	call.Service = serviceOf(r, sig)
	h := e.handler(call.Service)
	if h == nil {
		err := Errorf("UnknownService", "The sandbox has no service %q, which was asked for %s", call.Service, operationOf(r))
		Note(r.Context(), "", err)
		failUnknown(w, r, call.RequestID, err.(*Error))
		return
	}
	if err == nil {
		r, err = e.authenticate(r, sig, call)
	}
	if err != nil {
		Note(r.Context(), "", err)
		e.refuse(w, r, h, call, err)
		return
	}
	if e.Intercept != nil {
		ctx := r.Context()
		intercept := func(operation string, input any) error {
			return e.Intercept(ctx, call.Caller, call.Service, operation, input)
		}
		r = r.WithContext(context.WithValue(r.Context(), interceptKey{}, intercept))
	}
	h.ServeHTTP(w, r)
}

func (e *Endpoint) handler(service string) http.Handler {
	if service == "s3" {
		return e.S3
	}
	return e.Services[service]
}

// serviceOf returns the service that a request is for: what its signature says,
// else the target header, else the host name, else S3.
func serviceOf(r *http.Request, sig *signature) string {
	name := ""
	switch target, _, ok := strings.Cut(r.Header.Get("X-Amz-Target"), "."); {
	case sig != nil:
		name = sig.service
	case ok && targets[target] != "":
		name = targets[target]
	default:
		name = "s3"
		host, _, _ := strings.Cut(r.Host, ":")
		if rest, ok := strings.CutSuffix(host, ".amazonaws.com"); ok && BucketOfHost(host) == "" {
			name, _, _ = strings.Cut(rest, ".")
			if strings.HasPrefix(name, "s3-") {
				name = "s3"
			}
		}
	}
	if alias, ok := aliases[name]; ok {
		return alias
	}
	return name
}

func (e *Endpoint) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

// authenticate returns the request with its caller in the context and its body
// checked, or ready to be checked while it is read.
func (e *Endpoint) authenticate(r *http.Request, sig *signature, call *Call) (*http.Request, error) {
	s3 := call.Service == "s3"
	if sig == nil {
		if s3 && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			return r, nil // anonymous; what it may see is S3's decision
		}
		return r, fault(authMissing, "Missing Authentication Token")
	}
	caller, secret, token, ok := e.Auth.LookupKey(sig.keyID)
	switch {
	case !ok, sig.token == "" && token != "": // the keys of a session are nobody's without its token
		return r, fault(authUnknownKey, "The security token included in the request is invalid.")
	case !hmac.Equal([]byte(token), []byte(sig.token)):
		return r, fault(authBadToken, "The security token included in the request is invalid.")
	}
	caller.SourceIP = call.Caller.SourceIP
	call.Caller = caller
	now := e.now()
	if !caller.Expires.IsZero() && !now.Before(caller.Expires) {
		return r, fault(authExpired, "The security token included in the request is expired")
	}
	if err := e.checkRegion(sig, call.Service); err != nil {
		return r, err
	}
	if err := sig.checkTime(now); err != nil {
		return r, err
	}
	payload, err := payloadHash(r, sig, s3)
	if err != nil {
		return r, err
	}
	if !sig.matches(r, secret, payload) {
		return r, fault(authMismatch, "The request signature we calculated does not match the signature you provided. "+
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	r = r.WithContext(WithCaller(r.Context(), caller))
	if s3 {
		return r, guardBody(r, payload, sig, secret)
	}
	return r, nil
}

func (e *Endpoint) checkRegion(sig *signature, service string) error {
	if e.Region == nil || sig.v2 {
		return nil
	}
	name := e.Region()
	if sig.region == name || globalServices[service] && sig.region == "us-east-1" {
		return nil
	}
	if service == "s3" {
		return &Error{
			Code:    "AuthorizationHeaderMalformed",
			Message: "The authorization header is malformed; the region '" + sig.region + "' is wrong; expecting '" + name + "'",
			Status:  http.StatusBadRequest, Fields: map[string]string{"Region": name},
		}
	}
	return fault(authRegion, "Credential should be scoped to a valid region, not '"+sig.region+"': the sandbox is "+name+".")
}

// payloadHash returns the body's hash as it stands in the signature. Bodies of S3
// are streamed, so their hash is taken from the header and checked while reading;
// all others are read now.
func payloadHash(r *http.Request, sig *signature, s3 bool) (string, error) {
	stated := r.Header.Get("X-Amz-Content-Sha256")
	if s3 {
		switch {
		case stated != "":
			return stated, nil
		case sig.presigned:
			return unsignedPayload, nil
		}
		return "", &Error{Code: "InvalidRequest", Message: "Missing required header for this request: x-amz-content-sha256", Status: http.StatusBadRequest}
	}
	data, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return "", &Error{Code: "RequestTimeout", Message: "The request body did not arrive: " + err.Error(), Status: http.StatusBadRequest}
	}
	if len(data) > maxBody {
		return "", &Error{Code: "RequestEntityTooLarge", Message: "The request body is larger than " + strconv.Itoa(maxBody) + " bytes", Status: http.StatusRequestEntityTooLarge}
	}
	sum := sha256.Sum256(data)
	if data, err = unpack(r, data); err != nil {
		return "", err
	}
	r.Body = &memBody{Reader: bytes.NewReader(data), data: data}
	if stated == unsignedPayload {
		return stated, nil
	}
	return hex.EncodeToString(sum[:]), nil
}

// guardBody puts the reader before an S3 body that its payload hash calls for.
func guardBody(r *http.Request, payload string, sig *signature, secret string) error {
	switch {
	case payload == unsignedPayload:
		return nil
	case !strings.HasPrefix(payload, streamPrefix):
		r.Body = &hashedBody{ReadCloser: r.Body, want: strings.ToLower(payload), sum: sha256.New()}
		return nil
	}
	body, err := newChunkedBody(r, payload, sig, secret)
	if err != nil {
		return err
	}
	length, err := strconv.ParseInt(r.Header.Get("X-Amz-Decoded-Content-Length"), 10, 64)
	if err != nil || length < 0 {
		return &Error{Code: "MissingContentLength", Message: "You must provide the Content-Length HTTP header.", Status: http.StatusLengthRequired}
	}
	r.Body, r.Trailer, r.ContentLength = body, body.trailer, length
	var rest []string
	for enc := range strings.SplitSeq(r.Header.Get("Content-Encoding"), ",") {
		if enc = strings.TrimSpace(enc); enc != "" && enc != "aws-chunked" {
			rest = append(rest, enc)
		}
	}
	r.Header.Del("Content-Encoding")
	if len(rest) > 0 {
		r.Header.Set("Content-Encoding", strings.Join(rest, ","))
	}
	return nil
}

// A countedBody knows whether anybody has asked for the body.
type countedBody struct {
	io.ReadCloser
	read int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	return n, err
}

// drain reads what is left of the body of a request that was refused. A client
// that is still sending when the connection closes sees a broken connection in
// place of the answer. One that waits to be told to go on is not told.
func (b *countedBody) drain(r *http.Request) {
	const most = 64 << 20 // several parts of an upload
	if b.read == 0 && r.Header.Get("Expect") != "" {
		return
	}
	_, _ = io.CopyN(io.Discard, b.ReadCloser, most) // whatever it says, the answer stands
}

func sourceIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// refuse answers a request that did not get to its service, in the form of that
// service's protocol.
func (e *Endpoint) refuse(w http.ResponseWriter, r *http.Request, h http.Handler, call *Call, err error) {
	if s, ok := h.(*Service); ok {
		s.Fail(w, r, err)
		return
	}
	failS3(w, r, call.RequestID, s3Fault(err))
}

// s3Fault returns the error that S3 has for what is wrong with a signature.
func s3Fault(err error) *Error {
	var ready *Error
	if errors.As(err, &ready) {
		return ready
	}
	var f *authFault
	if !errors.As(err, &f) {
		return &Error{Code: "InternalError", Message: err.Error(), Status: http.StatusInternalServerError}
	}
	switch f.kind {
	case authMissing:
		return &Error{Code: "AccessDenied", Message: "Access Denied", Status: http.StatusForbidden}
	case authIncomplete:
		return &Error{Code: "AuthorizationHeaderMalformed", Message: f.message, Status: http.StatusBadRequest}
	case authUnknownKey:
		return &Error{Code: "InvalidAccessKeyId", Message: "The AWS Access Key Id you provided does not exist in our records.", Status: http.StatusForbidden}
	case authBadToken:
		return &Error{Code: "InvalidToken", Message: "The provided token is malformed or otherwise invalid.", Status: http.StatusBadRequest}
	case authExpired:
		return &Error{Code: "ExpiredToken", Message: "The provided token has expired.", Status: http.StatusBadRequest}
	case authSkewed:
		return &Error{Code: "RequestTimeTooSkewed", Message: "The difference between the request time and the current time is too large.", Status: http.StatusForbidden}
	case authLapsed:
		return &Error{Code: "AccessDenied", Message: f.message, Status: http.StatusForbidden}
	}
	return &Error{Code: "SignatureDoesNotMatch", Message: f.message, Status: http.StatusForbidden}
}

func failS3(w http.ResponseWriter, r *http.Request, id string, err *Error) {
	x := xmlEncoder{}
	x.b = append(x.b, xmlHeader...)
	x.open("Error")
	x.textElement("Code", err.Code)
	x.textElement("Message", err.Message)
	x.fields(err)
	x.textElement("Resource", r.URL.Path)
	x.textElement("RequestId", id)
	x.close("Error")
	w.Header().Set("X-Amz-Request-Id", id)
	writeBody(w, r, err.Status, "application/xml", x.b)
}

// operationOf names what a request to a service that does not exist asks for, as far as it
// says so.
func operationOf(r *http.Request) string {
	if _, name, ok := strings.Cut(r.Header.Get("X-Amz-Target"), "."); ok {
		return name
	}
	if _, name, ok := strings.Cut(r.URL.Path, "/operation/"); ok {
		return name
	}
	if isForm(r) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20)) // what is missing of it names nothing
		if form, _ := url.ParseQuery(string(body)); form.Get("Action") != "" {
			return form.Get("Action")
		}
	}
	return r.Method + " " + r.URL.Path
}

func isForm(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
}

// failUnknown answers for a service that does not exist, in the form that the
// client most likely understands.
func failUnknown(w http.ResponseWriter, r *http.Request, id string, err *Error) {
	err.Status = http.StatusBadRequest
	x := &exchange{api: &api{Model: &model.Model{}}, r: r, id: id}
	var p protocol = restProtocol{}
	switch {
	case r.Header.Get("Smithy-Protocol") == "rpc-v2-cbor":
		p = cborProtocol{}
	case r.Header.Get("X-Amz-Target") != "":
		p = jsonProtocol{}
	case isForm(r):
		p = queryProtocol{}
	}
	p.fail(x, err).send(w, x)
}

func writeBody(w http.ResponseWriter, r *http.Request, status int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may be gone
	}
}

func (e *Endpoint) log(r *http.Request, c *Call) {
	if e.Log == nil {
		return
	}
	level := slog.LevelDebug
	if code := errorCode(c.Err); code == "InvalidAction" || code == "UnknownOperationException" || code == "UnknownService" || code == "UnknownParameter" {
		level = slog.LevelWarn
	}
	if c.Status >= http.StatusInternalServerError && c.Service != "s3" && errorCode(c.Err) == "" {
		level = slog.LevelError
	}
	if !e.Log.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("service", c.Service), slog.String("operation", c.Operation), slog.Int("status", c.Status),
		slog.Duration("took", c.Duration), slog.String("caller", c.Caller.ARN), slog.String("from", c.Caller.SourceIP),
	}
	if c.Operation == "" {
		attrs = append(attrs, slog.String("method", r.Method), slog.String("host", r.Host), slog.String("path", r.URL.Path))
	}
	if c.Err != nil {
		attrs = append(attrs, slog.String("error", c.Err.Error()))
	}
	e.Log.LogAttrs(r.Context(), level, "request", attrs...)
}

// errorCode returns the AWS error code in err, or "".
func errorCode(err error) string {
	var coded interface{ ErrorCode() string }
	if errors.As(err, &coded) {
		return coded.ErrorCode()
	}
	return ""
}

// A statusWriter remembers the status of a response.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// ReadFrom lets the kernel copy files to the connection.
func (w *statusWriter) ReadFrom(r io.Reader) (int64, error) { return io.Copy(w.ResponseWriter, r) }

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func orStatus(status int) int {
	if status == 0 {
		return http.StatusOK
	}
	return status
}

var _ http.Handler = (*Endpoint)(nil)
