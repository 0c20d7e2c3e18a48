package wire

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/fsx"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"
)

// clients makes the real client of each service, all of whose requests go to the
// given transport.
func clients(transport http.RoundTripper) map[string]any {
	cfg := aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String("http://sandbox.test"),
		Credentials:  credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "secret", ""),
		HTTPClient:   &http.Client{Transport: transport},
		Retryer:      func() aws.Retryer { return aws.NopRetryer{} },
	}
	return map[string]any{
		"cloudformation": cloudformation.NewFromConfig(cfg),
		"cloudwatch":     cloudwatch.NewFromConfig(cfg),
		"dynamodb":       dynamodb.NewFromConfig(cfg, func(o *dynamodb.Options) { o.DisableValidateResponseChecksum = true }),
		"ec2":            ec2.NewFromConfig(cfg),
		"efs":            efs.NewFromConfig(cfg),
		"elbv2":          elasticloadbalancingv2.NewFromConfig(cfg),
		"fsx":            fsx.NewFromConfig(cfg),
		"iam":            iam.NewFromConfig(cfg),
		"lambda":         lambda.NewFromConfig(cfg),
		"logs":           cloudwatchlogs.NewFromConfig(cfg),
		"route53":        route53.NewFromConfig(cfg),
		"secretsmanager": secretsmanager.NewFromConfig(cfg),
		"ssm":            ssm.NewFromConfig(cfg),
		"sts":            sts.NewFromConfig(cfg),
	}
}

// handlerTransport answers requests by calling a handler.
type handlerTransport struct{ http.Handler }

func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	in := httptest.NewRequest(r.Method, r.URL.String(), nil)
	in.Header = r.Header
	in.Host = r.URL.Host
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		in.Body = io.NopCloser(bytes.NewReader(body))
		in.ContentLength = int64(len(body))
	}
	w := httptest.NewRecorder()
	t.ServeHTTP(w, in)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// strange lists operations that cannot make the round trip, and why.
var strange = map[string]string{
	"dynamodb.DescribeEndpoints": "the client drops it when the endpoint is given",

	"lambda.InvokeWithResponseStream": "answers with an event stream",
	"logs.StartLiveTail":              "answers with an event stream",
	"logs.GetLogObject":               "answers with an event stream",

	"ssm.GetExecutionPreview":   "has a union that nobody uses",
	"ssm.ListNodes":             "has a union that nobody uses",
	"ssm.StartExecutionPreview": "has a union that nobody uses",
}

// Every operation that model and SDK share: what the client sends is what the
// handler gets, and what the handler returns is what the client gets.
func TestRoundTripOfAllOperationsWithRealClients(t *testing.T) {
	for _, name := range Models() {
		s, err := NewService(name)
		if err != nil {
			t.Fatal(err)
		}
		s.unchecked = true
		client, ok := clients(handlerTransport{s})[name]
		if !ok {
			continue
		}
		t.Run(name, func(t *testing.T) { roundTrips(t, s, reflect.ValueOf(client)) })
	}
}

func roundTrips(t *testing.T, s *Service, client reflect.Value) {
	a, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	tried, absent := 0, []string{}
	for i := range client.NumMethod() {
		name, method := client.Type().Method(i).Name, client.Method(i)
		mt := method.Type()
		if mt.NumIn() != 3 || mt.NumOut() != 2 {
			continue
		}
		if _, ok := a.Operations[name]; !ok {
			absent = append(absent, name)
			continue
		}
		if why, ok := strange[s.name+"."+name]; ok {
			t.Logf("%s left out: %s", name, why)
			continue
		}
		tried++
		t.Run(name, func(t *testing.T) { roundTrip(t, s, name, method) })
	}
	sort.Strings(absent)
	t.Logf("%d operations of %d in the model; newer than the model: %s", tried, len(a.Operations), strings.Join(absent, " "))
	if tried == 0 {
		t.Error("no operation was tried")
	}
}

func roundTrip(t *testing.T, s *Service, name string, method reflect.Value) {
	in := reflect.New(method.Type().In(1).Elem())
	out := reflect.New(method.Type().Out(0).Elem())
	var got reflect.Value
	s.handle(name, in.Type().Elem(), out.Type().Elem(), func(_ context.Context, v reflect.Value) (any, error) {
		got = v
		return out.Interface(), nil
	})
	c, err := s.ops[name].compile()
	if err != nil {
		t.Fatal(err)
	}
	f := filler{t: t}
	if c.in != nil {
		f.top(c.in, in.Elem())
	}
	if c.out != nil {
		f.top(c.out, out.Elem())
	}

	res := method.Call([]reflect.Value{reflect.ValueOf(context.Background()), in})
	if err, ok := res[1].Interface().(error); ok {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in.Interface(), got.Interface(), comparing); diff != "" {
		t.Errorf("input (-sent +received):\n%s", diff)
	}
	if diff := cmp.Diff(out.Interface(), res[0].Interface(), comparing); diff != "" {
		t.Errorf("output (-returned +received):\n%s", diff)
	}
}

var comparing = cmp.Options{
	cmp.FilterPath(func(p cmp.Path) bool {
		f, ok := p.Last().(cmp.StructField)
		return ok && (f.Name() == "ResultMetadata" || f.Name()[0] >= 'a')
	}, cmp.Ignore()),
	cmp.Comparer(func(a, b io.Reader) bool {
		return bytes.Equal(rewound(a), rewound(b))
	}),
}

func rewound(r io.Reader) []byte {
	if s, ok := r.(io.Seeker); ok {
		_, _ = s.Seek(0, io.SeekStart)
	}
	b, _ := io.ReadAll(r)
	return b
}

// A filler gives every member of a struct a value, no two the same.
type filler struct {
	t    *testing.T
	n    int
	open []*plan
}

func (f *filler) top(pl *plan, v reflect.Value) {
	for i := range pl.fields {
		fd := &pl.fields[i]
		place := fd.loc
		if fd.name == pl.shape.Payload {
			place = "payload"
		}
		f.value(fd.plan, fd.at(v), place, fd.timeFormat)
	}
}

func (f *filler) value(pl *plan, v reflect.Value, place, timeFormat string) {
	f.n++
	depth := 0
	for _, o := range f.open {
		if o == pl {
			depth++
		}
	}
	f.open = append(f.open, pl)
	defer func() { f.open = f.open[:len(f.open)-1] }()
	switch pl.kind {
	case kindStruct:
		for i := range pl.fields {
			fd := &pl.fields[i]
			if depth > 0 && (fd.plan.kind == kindList || fd.plan.kind == kindMap || fd.plan.kind == kindStruct || fd.plan.kind == kindUnion) {
				continue
			}
			f.value(fd.plan, fd.at(v), "", fd.timeFormat)
		}
	case kindUnion:
		fd := &pl.fields[f.n%len(pl.fields)]
		for depth > 0 && (fd.plan.kind == kindList || fd.plan.kind == kindMap) {
			f.n++
			fd = &pl.fields[f.n%len(pl.fields)]
		}
		_ = pl.setUnion(v, fd, func(e reflect.Value) error { f.value(fd.plan, e, "", ""); return nil })
	case kindList:
		for range 2 {
			_ = pl.addElem(v, func(e reflect.Value) error { f.value(pl.elem, e, place, ""); return nil })
		}
	case kindMap:
		for range 2 {
			f.n++
			_ = pl.setEntry(v, fmt.Sprintf("key-%d", f.n), func(e reflect.Value) error { f.value(pl.elem, e, place, ""); return nil })
		}
	case kindString:
		switch {
		case len(pl.shape.Enum) > 0:
			v.SetString(pl.shape.Enum[f.n%len(pl.shape.Enum)])
		case place == "uri", place == "header", place == "headers":
			v.SetString(fmt.Sprintf("t.e-x_t:%d", f.n))
		default:
			v.SetString(fmt.Sprintf("te xt <&>\"'+%%/é世 %d", f.n))
		}
	case kindInt:
		if place == "statusCode" {
			v.SetInt(202)
			return
		}
		v.SetInt(int64(f.n) - 5)
	case kindFloat:
		v.SetFloat(float64(f.n) + 0.25)
	case kindBool:
		v.SetBool(true)
	case kindBlob:
		v.SetBytes([]byte(fmt.Sprintf("bytes \x00\xff %d", f.n)))
	case kindStream:
		v.Set(reflect.ValueOf(strings.NewReader(fmt.Sprintf("stream %d", f.n))))
	case kindTime:
		t := time.Date(2026, 7, 20, 10, 11, 12, 0, time.UTC).Add(time.Duration(f.n) * time.Second)
		if place == "" && timeFormat != timeHTTP {
			t = t.Add(250 * time.Millisecond)
		}
		v.Set(reflect.ValueOf(t))
	default:
		f.t.Fatalf("no value for kind %d", pl.kind)
	}
}
