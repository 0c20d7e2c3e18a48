package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"pcluster/internal/awsclient"
	"pcluster/internal/sandbox/wire/model"
)

// keyring is an Authenticator of a few keys.
type keyring map[string]key

type key struct {
	caller        Caller
	secret, token string
}

func (k keyring) LookupKey(id string) (Caller, string, string, bool) {
	found, ok := k[id]
	return found.caller, found.secret, found.token, ok
}

const longTerm, session, ended = "AKIAROOT", "ASIAROLE", "ASIAENDED"

func testKeys() keyring {
	return keyring{
		longTerm: {Caller{AccessKeyID: longTerm, ARN: "arn:aws:iam::111122223333:root", AccountID: "111122223333"}, "root/secret+", ""},
		session:  {Caller{AccessKeyID: session, ARN: "arn:aws:sts::111122223333:assumed-role/r/s", Expires: time.Now().Add(time.Hour)}, "role secret", "the-token"},
		ended:    {Caller{AccessKeyID: ended, Expires: time.Now().Add(-time.Minute)}, "old", "old-token"},
	}
}

// testEndpoint is an endpoint over HTTP whose services answer nothing but
// GetCallerIdentity, and whose S3 echoes what it was sent.
func testEndpoint(t *testing.T) (*Endpoint, *httptest.Server) {
	t.Helper()
	e := &Endpoint{Auth: testKeys(), Services: map[string]http.Handler{}, Region: func() string { return "us-east-1" }}
	for _, name := range Models() {
		s, err := NewService(name)
		if err != nil {
			t.Fatal(err)
		}
		if name == "sts" {
			Handle(s, "GetCallerIdentity", func(ctx context.Context, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
				c := CallerFrom(ctx)
				return &sts.GetCallerIdentityOutput{Arn: &c.ARN, Account: &c.AccountID, UserId: &c.SourceIP}, nil
			})
		}
		e.Services[name] = s
	}
	e.S3 = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var refused *Error
		if errors.As(err, &refused) {
			failS3(w, r, "id", refused)
			return
		}
		w.Header().Set("X-Caller", CallerFrom(r.Context()).AccessKeyID)
		w.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
		w.Header().Set("X-Encoding", r.Header.Get("Content-Encoding"))
		for name, v := range r.Trailer {
			w.Header().Set("Trailer-"+name, v[0])
		}
		w.Header().Set("Etag", fmt.Sprintf("%q", body))
		if r.Method == http.MethodGet {
			fmt.Fprintf(w, "caller %q", CallerFrom(r.Context()).AccessKeyID)
		}
	})
	srv := httptest.NewServer(e)
	t.Cleanup(srv.Close)
	return e, srv
}

func config(srv *httptest.Server, id, secret, token string) aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &srv.URL, HTTPClient: srv.Client(),
		Credentials:                credentials.NewStaticCredentialsProvider(id, secret, token),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported, // as config.LoadDefaultConfig sets it
		Retryer:                    func() aws.Retryer { return aws.NopRetryer{} }, APIOptions: awsclient.Options,
	}
}

func TestSignedRequestReachesServiceWithItsCaller(t *testing.T) {
	e, srv := testEndpoint(t)
	var seen []Call
	e.Observe = func(c Call) { seen = append(seen, c) }
	for id, k := range testKeys() {
		if id == ended {
			continue
		}
		out, err := sts.NewFromConfig(config(srv, id, k.secret, k.token)).GetCallerIdentity(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if *out.Arn != k.caller.ARN || *out.UserId != "127.0.0.1" {
			t.Errorf("%s: called as %s from %s", id, *out.Arn, *out.UserId)
		}
		last := seen[len(seen)-1]
		if last.Service != "sts" || last.Operation != "GetCallerIdentity" || last.Caller.AccessKeyID != id || last.Status != 200 || last.Err != nil {
			t.Errorf("observed %+v", last)
		}
	}
}

// Each protocol has its own words for the same fault; the SDK's clients read them.
func TestBadCredentialsAreRefusedInTheProtocolsForm(t *testing.T) {
	e, srv := testEndpoint(t)
	ctx := context.Background()
	calls := map[string]func(aws.Config) error{
		"ec2": func(c aws.Config) error { _, err := ec2.NewFromConfig(c).DescribeRegions(ctx, nil); return err },
		"sts": func(c aws.Config) error { _, err := sts.NewFromConfig(c).GetCallerIdentity(ctx, nil); return err },
		"iam": func(c aws.Config) error { _, err := iam.NewFromConfig(c).ListRoles(ctx, nil); return err },
		"logs": func(c aws.Config) error {
			_, err := cloudwatchlogs.NewFromConfig(c).DescribeLogGroups(ctx, nil)
			return err
		},
		"lambda":  func(c aws.Config) error { _, err := lambda.NewFromConfig(c).ListFunctions(ctx, nil); return err },
		"efs":     func(c aws.Config) error { _, err := efs.NewFromConfig(c).DescribeFileSystems(ctx, nil); return err },
		"route53": func(c aws.Config) error { _, err := route53.NewFromConfig(c).ListHostedZones(ctx, nil); return err },
		"cloudwatch": func(c aws.Config) error {
			_, err := cloudwatch.NewFromConfig(c).ListDashboards(ctx, nil)
			return err
		},
		"s3": func(c aws.Config) error {
			_, err := s3.NewFromConfig(c, func(o *s3.Options) { o.UsePathStyle = true }).PutObject(ctx, &s3.PutObjectInput{
				Bucket: aws.String("b"), Key: aws.String("k"), Body: strings.NewReader("x"),
			})
			return err
		},
	}
	otherRegion := func(c aws.Config) aws.Config { c.Region = "eu-west-1"; return c }
	for fault, tt := range map[string]struct {
		cfg   aws.Config
		skew  time.Duration
		codes map[string]string
	}{
		"unknown key": {config(srv, "AKIANOBODY", "x", ""), 0, map[string]string{
			"ec2": "AuthFailure", "sts": "InvalidClientTokenId", "iam": "InvalidClientTokenId", "logs": "UnrecognizedClientException",
			"lambda": "UnrecognizedClientException", "efs": "UnrecognizedClientException", "route53": "InvalidClientTokenId",
			"cloudwatch": "UnrecognizedClientException", "s3": "InvalidAccessKeyId",
		}},
		"wrong secret": {config(srv, longTerm, "x", ""), 0, map[string]string{
			"ec2": "AuthFailure", "sts": "SignatureDoesNotMatch", "logs": "InvalidSignatureException", "lambda": "InvalidSignatureException",
			"route53": "SignatureDoesNotMatch", "s3": "SignatureDoesNotMatch",
		}},
		"wrong token": {config(srv, session, "role secret", "x"), 0, map[string]string{"sts": "InvalidClientTokenId", "logs": "UnrecognizedClientException"}},
		"no token":    {config(srv, session, "role secret", ""), 0, map[string]string{"sts": "InvalidClientTokenId"}},
		"ended credentials": {config(srv, ended, "old", "old-token"), 0, map[string]string{
			"ec2": "RequestExpired", "sts": "ExpiredToken", "logs": "ExpiredTokenException", "s3": "ExpiredToken",
		}},
		"clock": {config(srv, longTerm, "root/secret+", ""), 20 * time.Minute, map[string]string{
			"ec2": "RequestExpired", "sts": "SignatureDoesNotMatch", "logs": "InvalidSignatureException", "s3": "RequestTimeTooSkewed",
		}},
		"another region": {otherRegion(config(srv, longTerm, "root/secret+", "")), 0, map[string]string{
			"ec2": "AuthFailure", "logs": "InvalidSignatureException", "s3": "AuthorizationHeaderMalformed",
		}},
	} {
		e.Now = func() time.Time { return time.Now().Add(tt.skew) }
		for service, want := range tt.codes {
			err := calls[service](tt.cfg)
			var api smithy.APIError
			if !errors.As(err, &api) {
				t.Errorf("%s, %s: %v, want %s", fault, service, err, want)
			} else if api.ErrorCode() != want || api.ErrorMessage() == "" {
				t.Errorf("%s, %s: %s %q, want %s", fault, service, api.ErrorCode(), api.ErrorMessage(), want)
			}
		}
	}
	e.Now = nil
	// IAM is asked in us-east-1 from everywhere, so that one passes (and is unknown).
	err := calls["iam"](config(srv, longTerm, "root/secret+", ""))
	if code := errorCode(err); code != "InvalidAction" {
		t.Errorf("iam: %v, want InvalidAction", err)
	}
}

func TestUnimplementedOperationsAreRefusedByName(t *testing.T) {
	_, srv := testEndpoint(t)
	cfg := config(srv, longTerm, "root/secret+", "")
	ctx := context.Background()
	for want, call := range map[string]func() error{
		"InvalidAction DescribeVpcs": func() error { _, err := ec2.NewFromConfig(cfg).DescribeVpcs(ctx, nil); return err },
		"InvalidAction ListRoles":    func() error { _, err := iam.NewFromConfig(cfg).ListRoles(ctx, nil); return err },
		"UnknownOperationException ListSecrets": func() error {
			_, err := secretsmanager.NewFromConfig(cfg).ListSecrets(ctx, nil)
			return err
		},
		"UnknownOperationException ListFunctions": func() error { _, err := lambda.NewFromConfig(cfg).ListFunctions(ctx, nil); return err },
		"UnknownOperationException ListHostedZones": func() error {
			_, err := route53.NewFromConfig(cfg).ListHostedZones(ctx, nil)
			return err
		},
		"UnknownOperationException ListDashboards": func() error {
			_, err := cloudwatch.NewFromConfig(cfg).ListDashboards(ctx, nil)
			return err
		},
	} {
		err := call()
		code, name, _ := strings.Cut(want, " ")
		if errorCode(err) != code || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestS3BodiesArriveDecodedAndChecked(t *testing.T) {
	_, srv := testEndpoint(t)
	client := s3.NewFromConfig(config(srv, session, "role secret", "the-token"), func(o *s3.Options) { o.UsePathStyle = true })
	for name, key := range map[string]string{"plain": "a", "odd": "a b/+&=é//x~%41.txt"} {
		out, err := client.PutObject(context.Background(), &s3.PutObjectInput{Bucket: aws.String("b"), Key: &key, Body: strings.NewReader("hello")})
		if err != nil {
			t.Fatalf("%s key: %v", name, err)
		}
		if *out.ETag != `"hello"` {
			t.Errorf("%s key: body %s", name, *out.ETag)
		}
	}
}

func TestUnsignedChunksWithTrailer(t *testing.T) {
	_, srv := testEndpoint(t)
	tls := httptest.NewTLSServer(srv.Config.Handler)
	defer tls.Close()
	client := s3.NewFromConfig(config(tls, longTerm, "root/secret+", ""), func(o *s3.Options) { o.UsePathStyle = true })
	var raw http.Header
	body := struct{ io.Reader }{bytes.NewReader(bytes.Repeat([]byte("0123456789"), 20000))} // cannot seek: goes in chunks
	out, err := client.PutObject(context.Background(), &s3.PutObjectInput{
		Bucket: aws.String("b"), Key: aws.String("k"), Body: body, ContentLength: aws.Int64(200000), ContentEncoding: aws.String("gzip"),
	}, func(o *s3.Options) {
		o.HTTPClient = recordHeader{tls.Client(), &raw}
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(*out.ETag) != 200002 || raw.Get("X-Length") != "200000" || raw.Get("X-Encoding") != "gzip" || raw.Get("Trailer-X-Amz-Checksum-Crc32") == "" {
		raw.Del("Etag")
		t.Errorf("body of %d bytes, headers %v", len(*out.ETag), raw)
	}
}

type recordHeader struct {
	*http.Client
	got *http.Header
}

func (c recordHeader) Do(r *http.Request) (*http.Response, error) {
	resp, err := c.Client.Do(r)
	if err == nil {
		*c.got = resp.Header
	}
	return resp, err
}

// The example of AWS's documentation of signed chunks.
func TestSignedChunks(t *testing.T) {
	e := &Endpoint{
		Auth: keyring{"AKIAIOSFODNN7EXAMPLE": {Caller{AccessKeyID: "x"}, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""}},
		Now:  func() time.Time { return time.Date(2013, 5, 24, 0, 1, 0, 0, time.UTC) },
	}
	var got []byte
	var readErr error
	e.S3 = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got, readErr = io.ReadAll(r.Body) })
	chunk := func(n int, sig string) string {
		return fmt.Sprintf("%x;chunk-signature=%s\r\n%s\r\n", n, sig, strings.Repeat("a", n))
	}
	body := chunk(65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648") +
		chunk(1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497") +
		chunk(0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9")
	send := func(body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("PUT", "/examplebucket/chunkObject.txt", strings.NewReader(body))
		r.Host = "s3.amazonaws.com"
		r.ContentLength = 66824
		for k, v := range map[string]string{
			"X-Amz-Date": "20130524T000000Z", "X-Amz-Storage-Class": "REDUCED_REDUNDANCY", "Content-Encoding": "aws-chunked",
			"X-Amz-Content-Sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "X-Amz-Decoded-Content-Length": "66560", "Content-Length": "66824",
			"Authorization": "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request," +
				"SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class," +
				"Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
		} {
			r.Header.Set(k, v)
		}
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		return w
	}
	if w := send(body); w.Code != 200 || readErr != nil || len(got) != 66560 {
		t.Errorf("status %d %s, read %d bytes: %v", w.Code, w.Body, len(got), readErr)
	}
	send(body[:65000] + "b" + body[65001:])
	if errorCode(readErr) != "SignatureDoesNotMatch" {
		t.Errorf("changed chunk: %v, want SignatureDoesNotMatch", readErr)
	}
	send(body[:66000])
	if !errors.Is(readErr, io.ErrUnexpectedEOF) {
		t.Errorf("cut body: %v, want unexpected EOF", readErr)
	}
}

func TestPresignedURLs(t *testing.T) {
	e, srv := testEndpoint(t)
	client := s3.NewFromConfig(config(srv, session, "role secret", "the-token"), func(o *s3.Options) { o.UsePathStyle = true })
	req, err := s3.NewPresignClient(client).PresignGetObject(context.Background(), &s3.GetObjectInput{
		Bucket: aws.String("b"), Key: aws.String("dir/a b+c.txt"), ResponseContentType: aws.String("text/x y"),
	}, s3.WithPresignExpires(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	get := func(url string) (int, string) {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	if status, body := get(req.URL); status != 200 || body != `caller "ASIAROLE"` {
		t.Errorf("presigned: %d %s", status, body)
	}
	if status, body := get(strings.Replace(req.URL, "dir/", "other/", 1)); status != 403 || !strings.Contains(body, "SignatureDoesNotMatch") {
		t.Errorf("presigned for another key: %d %s", status, body)
	}
	if status, body := get(srv.URL + "/b/public"); status != 200 || body != `caller ""` {
		t.Errorf("anonymous: %d %s", status, body)
	}
	e.Now = func() time.Time { return time.Now().Add(61 * time.Minute) }
	keys := testKeys()
	k := keys[session]
	k.caller.Expires = time.Time{}
	keys[session] = k
	e.Auth = keys
	if status, body := get(req.URL); status != 403 || !strings.Contains(body, "Request has expired") {
		t.Errorf("presigned and over: %d %s", status, body)
	}
	e.Now = nil
	presigned, err := sts.NewPresignClient(sts.NewFromConfig(config(srv, longTerm, "root/secret+", ""))).PresignGetCallerIdentity(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := get(presigned.URL); status != 200 || !strings.Contains(body, "<Arn>arn:aws:iam::111122223333:root</Arn>") {
		t.Errorf("presigned call: %d %s", status, body)
	}
}

func TestRequestsAreRoutedToTheirService(t *testing.T) {
	const scope = "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/%s/aws4_request, SignedHeaders=host, Signature=00"
	for name, tt := range map[string]struct {
		url, scope, target, want string
	}{
		"scope":                  {"http://127.0.0.1/", "ec2", "", "ec2"},
		"scope with alias":       {"http://127.0.0.1/", "elasticfilesystem", "", "efs"},
		"monitoring":             {"http://127.0.0.1/", "monitoring", "", "cloudwatch"},
		"target":                 {"http://127.0.0.1/", "", "DynamoDB_20120810.PutItem", "dynamodb"},
		"host":                   {"http://sts.us-east-1.amazonaws.com/", "", "", "sts"},
		"global host":            {"https://route53.amazonaws.com/x", "", "", "route53"},
		"bucket host":            {"http://my.bucket.s3.us-east-1.amazonaws.com/key", "", "", "s3"},
		"bucket host, no region": {"http://sts.s3.amazonaws.com/key", "", "", "s3"},
		"path-style host":        {"http://s3.us-east-1.amazonaws.com/bucket", "", "", "s3"},
		"legacy host":            {"http://s3-us-west-2.amazonaws.com/bucket", "", "", "s3"},
		"bare path":              {"http://127.0.0.1:4566/bucket/key", "", "", "s3"},
	} {
		r := httptest.NewRequest("POST", tt.url, nil)
		if tt.scope != "" {
			r.Header.Set("Authorization", fmt.Sprintf(scope, tt.scope))
			r.Header.Set("X-Amz-Date", "20260101T000000Z")
		}
		if tt.target != "" {
			r.Header.Set("X-Amz-Target", tt.target)
		}
		sig, err := parseSignature(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := serviceOf(r, sig); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	e := &Endpoint{Signals: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })}
	for _, url := range []string{"https://cloudformation-waitcondition-us-east-1.s3.amazonaws.com/arn?AWSAccessKeyId=x&Signature=y", "http://127.0.0.1/_cfn/response/x"} {
		w := httptest.NewRecorder()
		e.ServeHTTP(w, httptest.NewRequest("PUT", url, nil))
		if w.Code != http.StatusTeapot {
			t.Errorf("PUT %s: %d", url, w.Code)
		}
	}
}

func TestInterceptedCallsFailAsTheProtocolSays(t *testing.T) {
	e, srv := testEndpoint(t)
	e.Intercept = func(_ context.Context, c Caller, service, operation string, _ any) error {
		return Errorf("Throttling", "Rate exceeded: %s %s %s", c.AccessKeyID, service, operation)
	}
	_, err := sts.NewFromConfig(config(srv, longTerm, "root/secret+", "")).GetCallerIdentity(context.Background(), nil)
	if errorCode(err) != "Throttling" || !strings.Contains(err.Error(), "AKIAROOT sts GetCallerIdentity") {
		t.Errorf("%v, want Throttling", err)
	}
	_, err = ssm.NewFromConfig(config(srv, longTerm, "root/secret+", "")).GetParameter(context.Background(), &ssm.GetParameterInput{Name: aws.String("x")})
	if errorCode(err) != "UnknownOperationException" {
		t.Errorf("%v: operations that do not exist are not intercepted", err)
	}
}

func TestPanickingServiceAnswers(t *testing.T) {
	e, srv := testEndpoint(t)
	s, err := NewService("ssm")
	if err != nil {
		t.Fatal(err)
	}
	Handle(s, "GetParameter", func(context.Context, *ssm.GetParameterInput) (*ssm.GetParameterOutput, error) { panic("a bug") })
	e.Services["ssm"] = s
	var seen Call
	e.Observe = func(c Call) { seen = c }
	_, err = ssm.NewFromConfig(config(srv, longTerm, "root/secret+", "")).GetParameter(context.Background(), &ssm.GetParameterInput{Name: aws.String("x")})
	if errorCode(err) != "InternalServerError" || !strings.Contains(err.Error(), "a bug") {
		t.Errorf("%v, want InternalServerError", err)
	}
	if seen.Status != 500 || seen.Err == nil || !strings.Contains(seen.Err.Error(), "endpoint_test.go") {
		t.Errorf("observed %d %v, want the place of the panic", seen.Status, seen.Err)
	}
}

// A client sends the whole of a large body before it looks for an answer, also
// where the answer is a refusal that came early.
func TestRefusalsWaitForTheBody(t *testing.T) {
	_, srv := testEndpoint(t)
	for range 5 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, srv.URL+"/bucket/key", bytes.NewReader(make([]byte, 8<<20)))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := srv.Client().Do(req) // not signed
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusForbidden || answer.Close || !strings.Contains(string(text), "AccessDenied") {
			t.Fatalf("status %d, connection closed %v, %v: %s", answer.StatusCode, answer.Close, err, text)
		}
	}
}

func TestServicesAreKnownByTheNamesInTheirModels(t *testing.T) {
	for _, name := range Models() {
		m, err := model.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		signing := orElse(m.SigningName, m.EndpointPrefix)
		if got := orElse(aliases[signing], signing); got != name {
			t.Errorf("requests to %s are signed for %s, which is taken for %s", name, signing, got)
		}
		if m.TargetPrefix != "" && targets[m.TargetPrefix] != name {
			t.Errorf("target %s of %s is taken for %q", m.TargetPrefix, name, targets[m.TargetPrefix])
		}
	}
}
