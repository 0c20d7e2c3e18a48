package region

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/fsx"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroups"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"pcluster/internal/awsclient"
	"pcluster/internal/sandbox/wire/model"
	"pcluster/internal/sandbox/wire/wiretest"
)

// A call is one request, as data.
type call struct {
	Service   string         `json:"service"`
	Operation string         `json:"operation"`
	Input     map[string]any `json:"input"`
	Key       string         `json:"key"`
	Secret    string         `json:"secret"`
	Token     string         `json:"token,omitempty"`
	Presign   int            `json:"presign,omitempty"` // seconds that the URL to be made is good for
}

// A failure is an error of AWS.
type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// A client makes calls. Its answers have the names of AWS's API models. The error is
// for what is wrong with the client, or the call, rather than AWS's answer.
type client interface {
	call(context.Context, call) (answer any, refused *failure, err error)
}

// python is a client in a process of drive.py.
type python struct {
	in  io.WriteCloser
	out *bufio.Scanner
}

// newPython starts drive.py, through the given interpreter.
func newPython(t *testing.T, interpreter, mode, endpoint string) *python {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), interpreter, "drive.py", mode)
	cmd.Env = []string{"CONFORMANCE_ENDPOINT=" + endpoint, "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1", "AWS_PAGER="}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil && t.Context().Err() == nil {
			t.Errorf("drive.py %s: %v\n%s", mode, err, stderr.String())
		}
	})
	p := &python{in: in, out: bufio.NewScanner(out)}
	p.out.Buffer(nil, 16<<20)
	return p
}

func (p *python) call(_ context.Context, c call) (any, *failure, error) {
	if c.Input == nil {
		c.Input = map[string]any{}
	}
	line, err := json.Marshal(c)
	if err != nil {
		return nil, nil, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return nil, nil, err
	}
	if !p.out.Scan() {
		return nil, nil, errors.Join(errors.New("drive.py has ended"), p.out.Err())
	}
	var answer struct {
		Output  any
		Error   *failure
		Trouble string
	}
	if err := json.Unmarshal(p.out.Bytes(), &answer); err != nil {
		return nil, nil, err
	}
	if answer.Trouble != "" {
		return nil, nil, errors.New(answer.Trouble)
	}
	return answer.Output, answer.Error, nil
}

// goSDK is aws-sdk-go-v2.
type goSDK struct {
	endpoint string
	clients  map[string]any // by service and credentials
}

func (g goSDK) config(c call) aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(g.endpoint),
		Credentials: credentials.NewStaticCredentialsProvider(c.Key, c.Secret, c.Token),
		Retryer:     wiretest.OnlyConnections, APIOptions: awsclient.Options,
		HTTPClient: http.DefaultClient,
	}
}

func pathStyle(o *s3.Options) { o.UsePathStyle = true }

// newClient returns the SDK's client of a service, by the name of its API model.
func newClient(service string, cfg aws.Config) any {
	switch service {
	case "autoscaling":
		return autoscaling.NewFromConfig(cfg)
	case "cloudformation":
		return cloudformation.NewFromConfig(cfg)
	case "cloudwatch":
		return cloudwatch.NewFromConfig(cfg)
	case "dynamodb":
		return dynamodb.NewFromConfig(cfg)
	case "ec2":
		return ec2.NewFromConfig(cfg)
	case "efs":
		return efs.NewFromConfig(cfg)
	case "elbv2":
		return elasticloadbalancingv2.NewFromConfig(cfg)
	case "fsx":
		return fsx.NewFromConfig(cfg)
	case "iam":
		return iam.NewFromConfig(cfg)
	case "imagebuilder":
		return imagebuilder.NewFromConfig(cfg)
	case "lambda":
		return lambda.NewFromConfig(cfg)
	case "logs":
		return cloudwatchlogs.NewFromConfig(cfg)
	case "batch":
		return batch.NewFromConfig(cfg)
	case "codebuild":
		return codebuild.NewFromConfig(cfg)
	case "ecr":
		return ecr.NewFromConfig(cfg)
	case "ecs":
		return ecs.NewFromConfig(cfg)
	case "kms":
		return kms.NewFromConfig(cfg)
	case "route53":
		return route53.NewFromConfig(cfg)
	case "s3":
		return s3.NewFromConfig(cfg, pathStyle)
	case "resource-groups":
		return resourcegroups.NewFromConfig(cfg)
	case "secretsmanager":
		return secretsmanager.NewFromConfig(cfg)
	case "sns":
		return sns.NewFromConfig(cfg)
	case "ssm":
		return ssm.NewFromConfig(cfg)
	case "sts":
		return sts.NewFromConfig(cfg)
	}
	return nil
}

func (g goSDK) call(ctx context.Context, c call) (any, *failure, error) {
	cfg := g.config(c)
	who := c.Service + " " + c.Key + " " + c.Secret + " " + c.Token
	sdk := g.clients[who]
	if sdk == nil {
		if sdk = newClient(c.Service, cfg); sdk == nil {
			return nil, nil, fmt.Errorf("no client of %s", c.Service)
		}
		g.clients[who] = sdk
	}
	method := reflect.ValueOf(sdk).MethodByName(c.Operation)
	if !method.IsValid() {
		return nil, nil, fmt.Errorf("the SDK's %s has no %s", c.Service, c.Operation)
	}
	in := reflect.New(method.Type().In(1).Elem())
	if err := decode("input", in.Elem(), c.Input); err != nil {
		return nil, nil, err
	}
	if c.Presign > 0 {
		presigner := s3.NewPresignClient(s3.NewFromConfig(cfg, pathStyle), s3.WithPresignExpires(time.Duration(c.Presign)*time.Second))
		signed := reflect.ValueOf(presigner).MethodByName("Presign" + c.Operation).Call([]reflect.Value{reflect.ValueOf(ctx), in})
		if err, _ := signed[1].Interface().(error); err != nil {
			return nil, nil, err
		}
		return map[string]any{"url": signed[0].Elem().FieldByName("URL").String()}, nil, nil
	}
	results := method.Call([]reflect.Value{reflect.ValueOf(ctx), in})
	if err, _ := results[1].Interface().(error); err != nil {
		var refused smithy.APIError
		if !errors.As(err, &refused) {
			return nil, nil, err
		}
		return nil, &failure{refused.ErrorCode(), refused.ErrorMessage()}, nil
	}
	e := encoder{}
	var output string
	if m, err := model.Load(c.Service); err == nil {
		e.model, output = m, m.Operations[c.Operation].Output
	}
	answer, err := e.encode(results[0].Elem(), output)
	if answer == nil {
		answer = map[string]any{}
	}
	return answer, nil, err
}

var (
	timeType   = reflect.TypeFor[time.Time]()
	readerType = reflect.TypeFor[io.Reader]()
	closerType = reflect.TypeFor[io.ReadCloser]()
	itemType   = reflect.TypeFor[ddb.AttributeValue]()
)

// base64Prefix is before the contents of files that are no text.
const base64Prefix = "base64:"

func content(v any) ([]byte, error) {
	text := fmt.Sprint(v)
	if coded, ok := strings.CutPrefix(text, base64Prefix); ok {
		return base64.StdEncoding.DecodeString(coded)
	}
	return []byte(text), nil
}

// decode fills one of the SDK's values from data.
func decode(path string, into reflect.Value, v any) error {
	wrong := func() error { return fmt.Errorf("%s: %s does not fit %s", path, show(v), into.Type()) }
	switch {
	case into.Kind() == reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		return decode(path, into.Elem(), v)
	case into.Type() == readerType:
		data, err := content(v)
		into.Set(reflect.ValueOf(bytes.NewReader(data)))
		return err
	case into.Type() == itemType:
		return decodeItem(path, into, v)
	case into.Type() == timeType:
		when, err := time.Parse(time.RFC3339, fmt.Sprint(v))
		into.Set(reflect.ValueOf(when))
		return err
	}
	switch into.Kind() {
	case reflect.Struct:
		members, ok := v.(map[string]any)
		if !ok {
			return wrong()
		}
		for k, e := range members {
			field := into.FieldByNameFunc(func(name string) bool { return strings.EqualFold(name, k) })
			if !field.IsValid() {
				return fmt.Errorf("%s: %s has no %s", path, into.Type(), k)
			}
			if err := decode(path+"."+k, field, e); err != nil {
				return err
			}
		}
	case reflect.Map:
		members, ok := v.(map[string]any)
		if !ok {
			return wrong()
		}
		into.Set(reflect.MakeMap(into.Type()))
		for k, e := range members {
			elem := reflect.New(into.Type().Elem()).Elem()
			if err := decode(path+"."+k, elem, e); err != nil {
				return err
			}
			into.SetMapIndex(reflect.ValueOf(k).Convert(into.Type().Key()), elem)
		}
	case reflect.Slice:
		if into.Type().Elem().Kind() == reflect.Uint8 {
			data, err := content(v)
			into.SetBytes(data)
			return err
		}
		list, ok := v.([]any)
		if !ok {
			return wrong()
		}
		into.Set(reflect.MakeSlice(into.Type(), len(list), len(list)))
		for i, e := range list {
			if err := decode(fmt.Sprintf("%s[%d]", path, i), into.Index(i), e); err != nil {
				return err
			}
		}
	case reflect.String:
		s, ok := v.(string)
		if !ok {
			return wrong()
		}
		into.SetString(s)
	case reflect.Bool:
		b, ok := v.(bool)
		if !ok {
			return wrong()
		}
		into.SetBool(b)
	case reflect.Int32, reflect.Int64:
		n, ok := v.(float64)
		if text, is := v.(string); is { // a number of the SDK's that is text in the model
			var err error
			n, err = strconv.ParseFloat(text, 64)
			ok = err == nil
		}
		if !ok {
			return wrong()
		}
		into.SetInt(int64(n))
	case reflect.Float64:
		n, ok := v.(float64)
		if !ok {
			return wrong()
		}
		into.SetFloat(n)
	default:
		return wrong()
	}
	return nil
}

// decodeItem fills a value of DynamoDB's, which is one of several types.
func decodeItem(path string, into reflect.Value, v any) error {
	members, ok := v.(map[string]any)
	if !ok || len(members) != 1 {
		return fmt.Errorf("%s: %s is no value of DynamoDB's", path, show(v))
	}
	for kind, e := range members {
		var value any
		switch kind {
		case "S":
			value = &ddb.AttributeValueMemberS{}
		case "N":
			value = &ddb.AttributeValueMemberN{}
		case "BOOL":
			value = &ddb.AttributeValueMemberBOOL{}
		case "NULL":
			value = &ddb.AttributeValueMemberNULL{}
		case "SS":
			value = &ddb.AttributeValueMemberSS{}
		case "L":
			value = &ddb.AttributeValueMemberL{}
		case "M":
			value = &ddb.AttributeValueMemberM{}
		default:
			return fmt.Errorf("%s: values of kind %s are not in the suite yet", path, kind)
		}
		if err := decode(path, reflect.ValueOf(value).Elem().FieldByName("Value"), e); err != nil {
			return err
		}
		into.Set(reflect.ValueOf(value))
	}
	return nil
}

// An encoder turns the SDK's values into data with the names of the API's model,
// or where there is none, the SDK's.
type encoder struct{ model *model.Model }

func (e encoder) encode(v reflect.Value, shape string) (any, error) {
	switch {
	case v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface:
		if v.IsNil() {
			return nil, nil
		}
		if v.Type() == closerType {
			data, err := io.ReadAll(v.Interface().(io.ReadCloser))
			return string(data), err
		}
		if v.Type() == itemType {
			kind := strings.TrimPrefix(v.Elem().Type().Elem().Name(), "AttributeValueMember")
			value, err := e.encode(v.Elem().Elem().FieldByName("Value"), "")
			return map[string]any{kind: value}, err
		}
		return e.encode(v.Elem(), shape)
	case v.Type() == timeType:
		return v.Interface().(time.Time).Format(time.RFC3339), nil
	}
	var s *model.Shape
	if e.model != nil && shape != "" {
		s = e.model.Shape(shape)
	}
	below := func(m *model.Member) string {
		if s == nil || m == nil {
			return ""
		}
		return m.Shape
	}
	switch v.Kind() {
	case reflect.Struct:
		out := map[string]any{}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if !f.IsExported() || f.Name == "ResultMetadata" {
				continue
			}
			name, child := f.Name, ""
			if s != nil {
				for i := range s.Members {
					if m := &s.Members[i]; strings.EqualFold(m.Name, f.Name) {
						name, child = m.Name, m.Shape
					}
				}
			}
			if f.Type.Kind() != reflect.Pointer && v.Field(i).IsZero() {
				continue // not there
			}
			value, err := e.encode(v.Field(i), child)
			if err != nil {
				return nil, err
			}
			if value != nil {
				out[name] = value
			}
		}
		return out, nil
	case reflect.Map:
		out := map[string]any{}
		for _, k := range v.MapKeys() {
			var m *model.Member
			if s != nil {
				m = s.Elem
			}
			value, err := e.encode(v.MapIndex(k), below(m))
			if err != nil {
				return nil, err
			}
			out[fmt.Sprint(k.Interface())] = value
		}
		return out, nil
	case reflect.Slice:
		if v.IsNil() {
			return nil, nil
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return string(v.Bytes()), nil
		}
		out := make([]any, v.Len())
		for i := range out {
			var m *model.Member
			if s != nil {
				m = s.Elem
			}
			value, err := e.encode(v.Index(i), below(m))
			if err != nil {
				return nil, err
			}
			out[i] = value
		}
		return out, nil
	case reflect.String:
		return v.String(), nil
	case reflect.Bool:
		return v.Bool(), nil
	case reflect.Int32, reflect.Int64:
		return float64(v.Int()), nil
	case reflect.Float64:
		return v.Float(), nil
	}
	return v.Interface(), nil
}
