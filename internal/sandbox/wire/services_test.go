package wire

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go/encoding/cbor"

	"pcluster/internal/sandbox/wire/model"
)

// A dialect is a service in one of the protocols that it speaks.
type dialect struct {
	*model.Model
	speaks string
}

// dialects are those of all services that have a model.
func dialects(t *testing.T) (all []dialect) {
	t.Helper()
	for _, name := range Models() {
		m, err := model.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range m.Protocols {
			all = append(all, dialect{m, p})
		}
	}
	return all
}

func (d dialect) String() string { return d.Name + " in " + d.speaks }

func (d dialect) signingName() string { return orElse(d.SigningName, d.EndpointPrefix) }

var label = regexp.MustCompile(`\{\w+\+?\}`)

// request makes a request for an operation, as short as the protocol allows.
func (d dialect) request(t *testing.T, op *model.Operation) (*http.Request, []byte) {
	t.Helper()
	method, target, body, header := http.MethodPost, "/", "", http.Header{}
	switch d.speaks {
	case model.EC2, model.Query:
		body = url.Values{"Action": {op.Name}, "Version": {d.APIVersion}}.Encode()
		header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	case model.JSON:
		body = "{}"
		header.Set("Content-Type", "application/x-amz-json-"+d.JSONVersion)
		header.Set("X-Amz-Target", d.TargetPrefix+"."+op.Name)
	case model.CBOR:
		body = "\xa0"
		header.Set("Content-Type", "application/cbor")
		header.Set("Smithy-Protocol", "rpc-v2-cbor")
		target = "/service/" + d.TargetPrefix + "/operation/" + op.Name
	default:
		method, target = op.Method, label.ReplaceAllString(op.URI, "x")
	}
	r, err := http.NewRequest(method, "http://"+d.EndpointPrefix+".us-east-1.amazonaws.com"+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	return r, []byte(body)
}

// sign signs a request, in its header or its URL, at a time.
func (d dialect) sign(t *testing.T, r *http.Request, body []byte, who aws.Credentials, region string, at time.Time, presigned bool) {
	t.Helper()
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	if !presigned {
		if err := v4.NewSigner().SignHTTP(context.Background(), who, r, hash, d.signingName(), region, at); err != nil {
			t.Fatal(err)
		}
		return
	}
	q := r.URL.Query()
	q.Set("X-Amz-Expires", "60")
	r.URL.RawQuery = q.Encode()
	signed, headers, err := v4.NewSigner().PresignHTTP(context.Background(), who, r, hash, d.signingName(), region, at)
	if err != nil {
		t.Fatal(err)
	}
	if r.URL, err = url.Parse(signed); err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, headers)
}

// refusal reads an error in the form that clients of the protocol understand.
func refusal(t *testing.T, speaks string, w *httptest.ResponseRecorder) (code, message string) {
	t.Helper()
	body := w.Body.Bytes()
	if id := w.Header().Get("X-Amzn-Requestid"); id == "" {
		t.Error("the answer has no request ID")
	}
	var err error
	switch speaks {
	case model.EC2:
		var v struct {
			XMLName xml.Name `xml:"Response"`
			Code    string   `xml:"Errors>Error>Code"`
			Message string   `xml:"Errors>Error>Message"`
			ID      string   `xml:"RequestID"`
		}
		if err = xml.Unmarshal(body, &v); err == nil && v.ID == "" {
			err = fmt.Errorf("no RequestID in %s", body)
		}
		code, message = v.Code, v.Message
	case model.Query, model.RestXML:
		var v struct {
			XMLName xml.Name `xml:"ErrorResponse"`
			Type    string   `xml:"Error>Type"`
			Code    string   `xml:"Error>Code"`
			Message string   `xml:"Error>Message"`
			ID      string   `xml:"RequestId"`
		}
		if err = xml.Unmarshal(body, &v); err == nil && (v.ID == "" || v.Type != "Sender") {
			err = fmt.Errorf("no RequestId, or not the sender's fault, in %s", body)
		}
		code, message = v.Code, v.Message
	case model.CBOR:
		var v cbor.Value
		if v, err = cbor.Decode(body); err == nil {
			members, _ := v.(cbor.Map)
			c, _ := members["__type"].(cbor.String)
			m, _ := members["message"].(cbor.String)
			code, message = string(c), string(m)
		}
		if w.Header().Get("Smithy-Protocol") != "rpc-v2-cbor" {
			t.Error("the answer does not name its protocol")
		}
	default:
		var v map[string]string
		err = json.Unmarshal(body, &v)
		code, message = v["__type"], v["message"]+v["Message"]
		if got := w.Header().Get("X-Amzn-Errortype"); got != code {
			t.Errorf("the header says %q, the body %q", got, code)
		}
	}
	if err != nil {
		t.Errorf("the answer is not of the protocol: %v", err)
	}
	if w.Code < 400 || w.Code > 499 {
		t.Errorf("status %d", w.Code)
	}
	return code, message
}

var root = aws.Credentials{AccessKeyID: longTerm, SecretAccessKey: "root/secret+"}

// Of each service that has a model, every operation of AWS's is refused by its name.
func TestEveryOperationOfAWSIsRefusedByName(t *testing.T) {
	e, _ := testEndpoint(t)
	for _, d := range dialects(t) {
		t.Run(d.String(), func(t *testing.T) {
			for _, name := range slices.Sorted(maps.Keys(d.Operations)) {
				if d.Name == "sts" && name == "GetCallerIdentity" {
					continue // the one that is there
				}
				r, body := d.request(t, d.Operations[name])
				d.sign(t, r, body, root, "us-east-1", time.Now(), false)
				w := httptest.NewRecorder()
				e.ServeHTTP(w, r)
				code, message := refusal(t, d.speaks, w)
				want := "UnknownOperationException"
				if d.speaks == model.EC2 || d.speaks == model.Query {
					want = "InvalidAction"
				}
				if code != want || !strings.Contains(message, name) {
					t.Errorf("%s: %s %q, want %s", name, code, message, want)
				}
			}
		})
	}
}

// What is wrong with a signature is said by each service, in each protocol, with the code
// that it has there.
func TestEveryServiceChecksSignatures(t *testing.T) {
	e, _ := testEndpoint(t)
	now := time.Now()
	type code struct{ ec2, xml, json string }
	for fault, tt := range map[string]struct {
		who       aws.Credentials
		region    string
		age       time.Duration
		presigned bool
		spoil     func(*http.Request)
		want      code
	}{
		"unknown key":  {who: aws.Credentials{AccessKeyID: "AKIANOBODY", SecretAccessKey: "x"}, want: code{"AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException"}},
		"wrong secret": {who: aws.Credentials{AccessKeyID: longTerm, SecretAccessKey: "x"}, want: code{"AuthFailure", "SignatureDoesNotMatch", "InvalidSignatureException"}},
		"wrong token":  {who: aws.Credentials{AccessKeyID: session, SecretAccessKey: "role secret", SessionToken: "x"}, want: code{"AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException"}},
		"no token":     {who: aws.Credentials{AccessKeyID: session, SecretAccessKey: "role secret"}, want: code{"AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException"}},
		"credentials that ended": {
			who: aws.Credentials{AccessKeyID: ended, SecretAccessKey: "old", SessionToken: "old-token"}, want: code{"RequestExpired", "ExpiredToken", "ExpiredTokenException"}},
		"no signature":   {spoil: func(r *http.Request) { r.Header.Del("Authorization") }, want: code{"MissingAuthenticationToken", "MissingAuthenticationToken", "MissingAuthenticationTokenException"}},
		"half of one":    {spoil: func(r *http.Request) { r.Header.Set("Authorization", sigAlgorithm+" Credential=x") }, want: code{"IncompleteSignature", "IncompleteSignature", "IncompleteSignatureException"}},
		"old":            {age: 20 * time.Minute, want: code{"RequestExpired", "SignatureDoesNotMatch", "InvalidSignatureException"}},
		"of the future":  {age: -20 * time.Minute, want: code{"RequestExpired", "SignatureDoesNotMatch", "InvalidSignatureException"}},
		"changed header": {spoil: func(r *http.Request) { r.Header.Set("X-Amz-Date", now.Add(time.Second).UTC().Format(sigDate)) }, want: code{"AuthFailure", "SignatureDoesNotMatch", "InvalidSignatureException"}},
		"changed body": {spoil: func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("other")) },
			want: code{"AuthFailure", "SignatureDoesNotMatch", "InvalidSignatureException"}},
		"presigned and over": {age: 2 * time.Minute, presigned: true, want: code{"RequestExpired", "ExpiredToken", "InvalidSignatureException"}},
		"presigned, then changed": {presigned: true, spoil: func(r *http.Request) { r.URL.RawQuery += "&more=1" },
			want: code{"AuthFailure", "SignatureDoesNotMatch", "InvalidSignatureException"}},
		"another region": {region: "eu-west-1", want: code{"AuthFailure", "SignatureDoesNotMatch", "InvalidSignatureException"}},
	} {
		for _, d := range dialects(t) {
			if fault == "another region" && globalServices[d.Name] {
				tt.region = "eu-central-1" // not even theirs
			}
			t.Run(fault+", "+d.String(), func(t *testing.T) {
				op := d.Operations[slices.Min(slices.Collect(maps.Keys(d.Operations)))]
				r, body := d.request(t, op)
				who, region := tt.who, orElse(tt.region, "us-east-1")
				if who.AccessKeyID == "" {
					who = root
				}
				d.sign(t, r, body, who, region, now.Add(-tt.age), tt.presigned)
				if tt.spoil != nil {
					tt.spoil(r)
				}
				w := httptest.NewRecorder()
				e.ServeHTTP(w, r)
				want := tt.want.json
				switch d.speaks {
				case model.EC2:
					want = tt.want.ec2
				case model.Query, model.RestXML:
					want = tt.want.xml
				}
				if got, message := refusal(t, d.speaks, w); got != want || message == "" {
					t.Errorf("%s %q, want %s", got, message, want)
				}
			})
		}
	}
}

// Requests to services that are not there are refused in the form that their clients
// understand, with the names of the service and the operation.
func TestUnknownServicesAreNamedWithTheOperation(t *testing.T) {
	e, _ := testEndpoint(t)
	for name, tt := range map[string]struct {
		d    dialect
		op   model.Operation
		want string
	}{
		"query":     {dialect{&model.Model{Metadata: model.Metadata{EndpointPrefix: "rds", APIVersion: "2014-10-31"}}, model.Query}, model.Operation{Name: "DescribeDBInstances"}, "DescribeDBInstances"},
		"json":      {dialect{&model.Model{Metadata: model.Metadata{EndpointPrefix: "sqs", JSONVersion: "1.0", TargetPrefix: "AmazonSQS"}}, model.JSON}, model.Operation{Name: "SendMessage"}, "SendMessage"},
		"cbor":      {dialect{&model.Model{Metadata: model.Metadata{EndpointPrefix: "notes", TargetPrefix: "Notes"}}, model.CBOR}, model.Operation{Name: "ListNotes"}, "ListNotes"},
		"rest-json": {dialect{&model.Model{Metadata: model.Metadata{EndpointPrefix: "pipes"}}, model.RestJSON}, model.Operation{Method: "GET", URI: "/v1/pipes"}, "GET /v1/pipes"},
	} {
		t.Run(name, func(t *testing.T) {
			r, body := tt.d.request(t, &tt.op)
			tt.d.sign(t, r, body, root, "us-east-1", time.Now(), false)
			w := httptest.NewRecorder()
			e.ServeHTTP(w, r)
			code, message := refusal(t, tt.d.speaks, w)
			if code != "UnknownService" || !strings.Contains(message, `"`+tt.d.EndpointPrefix+`"`) || !strings.Contains(message, tt.want) {
				t.Errorf("%s %q, want UnknownService with %s", code, message, tt.want)
			}
		})
	}
}

// S3 has its own words for what is wrong with a signature.
func TestS3ChecksSignatures(t *testing.T) {
	e, _ := testEndpoint(t)
	now := time.Now()
	s3 := dialect{&model.Model{Metadata: model.Metadata{EndpointPrefix: "s3"}}, model.RestXML}
	for fault, tt := range map[string]struct {
		who       aws.Credentials
		region    string
		age       time.Duration
		presigned bool
		spoil     func(*http.Request)
		want      string
	}{
		"unknown key":             {who: aws.Credentials{AccessKeyID: "AKIANOBODY", SecretAccessKey: "x"}, want: "InvalidAccessKeyId"},
		"wrong secret":            {who: aws.Credentials{AccessKeyID: longTerm, SecretAccessKey: "x"}, want: "SignatureDoesNotMatch"},
		"wrong token":             {who: aws.Credentials{AccessKeyID: session, SecretAccessKey: "role secret", SessionToken: "x"}, want: "InvalidToken"},
		"credentials that ended":  {who: aws.Credentials{AccessKeyID: ended, SecretAccessKey: "old", SessionToken: "old-token"}, want: "ExpiredToken"},
		"no signature":            {spoil: func(r *http.Request) { r.Header.Del("Authorization") }, want: "AccessDenied"},
		"old":                     {age: 20 * time.Minute, want: "RequestTimeTooSkewed"},
		"presigned and over":      {age: 2 * time.Minute, presigned: true, want: "AccessDenied"},
		"presigned, then changed": {presigned: true, spoil: func(r *http.Request) { r.URL.Path += "x" }, want: "SignatureDoesNotMatch"},
		"another region":          {region: "eu-west-1", want: "AuthorizationHeaderMalformed"},
	} {
		t.Run(fault, func(t *testing.T) {
			body := []byte("content")
			r := httptest.NewRequest(http.MethodPut, "http://127.0.0.1/bucket/key", bytes.NewReader(body))
			sum := sha256.Sum256(body)
			r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
			who := tt.who
			if who.AccessKeyID == "" {
				who = root
			}
			s3.sign(t, r, body, who, orElse(tt.region, "us-east-1"), now.Add(-tt.age), tt.presigned)
			if tt.spoil != nil {
				tt.spoil(r)
			}
			w := httptest.NewRecorder()
			e.ServeHTTP(w, r)
			var v struct {
				XMLName                  xml.Name `xml:"Error"`
				Code, Message, RequestId string
			}
			if err := xml.Unmarshal(w.Body.Bytes(), &v); err != nil || v.Code != tt.want || v.Message == "" || v.RequestId == "" {
				t.Errorf("%v, %s, want %s", err, w.Body, tt.want)
			}
		})
	}
}
