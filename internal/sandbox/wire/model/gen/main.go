// Command gen makes the files of folder data from the API models that botocore
// ships: for each service that the sandbox speaks for, one gzip file of lines
// "kind TAB name TAB JSON", with nothing in it that the codec does not use.
//
// It is run by hand (go generate) with botocore installed for python3, or with
// -botocore pointing at its data directory. Arguments are names of other services: a
// test has the model of S3, which does not speak through the codec.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"pcluster/internal/sandbox/wire/model"
)

var services = []string{
	"autoscaling", "batch", "cloudformation", "cloudwatch", "codebuild", "dynamodb", "ec2", "ecr", "ecs", "efs", "elbv2", "fsx", "iam", "imagebuilder",
	"kms", "lambda", "logs", "resource-groups", "route53", "secretsmanager", "sns", "ssm", "sts",
}

func main() {
	botocore := flag.String("botocore", "", "botocore's data directory; by default that of python3's botocore")
	out := flag.String("out", "data", "directory to write")
	flag.Parse()
	names := services
	if flag.NArg() > 0 {
		names = flag.Args()
	}
	if err := run(*botocore, *out, names); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(botocore, out string, names []string) error {
	if botocore == "" {
		dir, err := exec.Command("python3", "-c", "import botocore, os; print(os.path.dirname(botocore.__file__), end='')").Output()
		if err != nil {
			return fmt.Errorf("find botocore: %w", err)
		}
		botocore = filepath.Join(string(dir), "data")
	}
	for _, name := range names {
		versions, err := filepath.Glob(filepath.Join(botocore, name, "*", "service-2.json.gz"))
		if err != nil || len(versions) == 0 {
			return fmt.Errorf("no model of %s in %s", name, botocore)
		}
		slices.Sort(versions)
		src, err := read(versions[len(versions)-1])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := write(filepath.Join(out, name+".gz"), src); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// The structs below are the parts of botocore's files that we keep.
type source struct {
	Metadata struct {
		model.Metadata
		AwsQueryCompatible *struct{} `json:"awsQueryCompatible"`
	} `json:"metadata"`
	Operations map[string]operation `json:"operations"`
	Shapes     map[string]*shape    `json:"shapes"`
}

type operation struct {
	HTTP struct {
		Method       string `json:"method"`
		RequestURI   string `json:"requestUri"`
		ResponseCode int    `json:"responseCode"`
	} `json:"http"`
	Input  *struct{ Shape, LocationName string }  `json:"input"`
	Output *struct{ Shape, ResultWrapper string } `json:"output"`
	Errors []struct{ Shape string }               `json:"errors"`
}

type shape struct {
	Type            string   `json:"type"`
	Members         members  `json:"members"`
	Required        []string `json:"required"`
	Payload         string   `json:"payload"`
	Member          *member  `json:"member"`
	Key             *member  `json:"key"`
	Value           *member  `json:"value"`
	Flattened       bool     `json:"flattened"`
	Enum            []string `json:"enum"`
	Pattern         string   `json:"pattern"`
	Min             *float64 `json:"min"`
	Max             *float64 `json:"max"`
	TimestampFormat string   `json:"timestampFormat"`
	Streaming       bool     `json:"streaming"`
	EventStream     bool     `json:"eventstream"`
	Union           bool     `json:"union"`
	Sensitive       bool     `json:"sensitive"`
	LocationName    string   `json:"locationName"`
	Exception       bool     `json:"exception"`
	Fault           bool     `json:"fault"`
	Error           struct {
		Code           string `json:"code"`
		HTTPStatusCode int    `json:"httpStatusCode"`
		SenderFault    bool   `json:"senderFault"`
	} `json:"error"`
}

type member struct {
	Shape           string `json:"shape"`
	Location        string `json:"location"`
	LocationName    string `json:"locationName"`
	QueryName       string `json:"queryName"`
	Flattened       bool   `json:"flattened"`
	TimestampFormat string `json:"timestampFormat"`
}

// members keeps the order of the model, which is the order of XML elements.
type members []model.Member

func (ms *members) UnmarshalJSON(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil {
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var m member
		if err := d.Decode(&m); err != nil {
			return err
		}
		*ms = append(*ms, *m.keep(name.(string)))
	}
	return nil
}

func (m *member) keep(name string) *model.Member {
	if m == nil {
		return nil
	}
	return &model.Member{
		Name: name, Shape: m.Shape, Location: m.Location, LocationName: m.LocationName, QueryName: m.QueryName,
		Flattened: m.Flattened, TimestampFormat: m.TimestampFormat,
	}
}

func (s *shape) keep() model.Shape {
	elem := s.Member
	if s.Type == "map" {
		elem = s.Value
	}
	return model.Shape{
		Type: s.Type, Members: s.Members, Required: s.Required, Payload: s.Payload,
		Elem: elem.keep(""), Key: s.Key.keep(""), Flattened: s.Flattened,
		Enum: s.Enum, Pattern: s.Pattern, Min: s.Min, Max: s.Max, TimestampFormat: s.TimestampFormat,
		Streaming: s.Streaming, EventStream: s.EventStream, Union: s.Union, Sensitive: s.Sensitive, LocationName: s.LocationName,
		Exception: s.Exception || s.Error.Code != "", Fault: s.Fault, ErrorCode: s.Error.Code, ErrorStatus: s.Error.HTTPStatusCode,
	}
}

func read(path string) (*source, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	src := &source{}
	if err := json.Unmarshal(text, src); err != nil {
		return nil, err
	}
	return src, nil
}

func write(path string, src *source) error {
	var b bytes.Buffer
	line := func(kind, name string, v any) error {
		body, err := marshal(v)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\n", kind, name, body)
		return nil
	}
	meta := src.Metadata.Metadata
	meta.QueryCompatible = src.Metadata.AwsQueryCompatible != nil
	if err := line("metadata", "", meta); err != nil {
		return err
	}

	used := map[string]bool{}
	codes, errs := map[string]string{}, map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(src.Operations)) {
		o := src.Operations[name]
		op := model.Operation{Method: o.HTTP.Method, URI: o.HTTP.RequestURI, Status: o.HTTP.ResponseCode}
		if o.Input != nil {
			op.Input, op.InputRoot = o.Input.Shape, o.Input.LocationName
			reach(src, op.Input, used)
		}
		if o.Output != nil {
			op.Output, op.Wrapper = o.Output.Shape, o.Output.ResultWrapper
			reach(src, op.Output, used)
		}
		for _, e := range o.Errors {
			reach(src, e.Shape, used)
			errs[e.Shape] = true
			codes[orElse(src.Shapes[e.Shape].Error.Code, e.Shape)] = e.Shape
		}
		if err := line("operation", name, op); err != nil {
			return err
		}
	}
	for shape := range errs {
		codes[shape] = shape // a shape's own name is its own, whatever another's code is
	}
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		fmt.Fprintf(&b, "exception\t%s\t%s\n", code, codes[code])
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		if err := line("shape", name, src.Shapes[name].keep()); err != nil {
			return err
		}
	}

	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(b.Bytes()); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	fmt.Printf("%-20s %4d operations %5d shapes %8d bytes, packed %7d\n",
		strings.TrimSuffix(filepath.Base(path), ".gz"), len(src.Operations), len(used), b.Len(), packed.Len())
	return os.WriteFile(path, packed.Bytes(), 0o644)
}

func marshal(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// reach marks the shape and all that it refers to.
func reach(src *source, name string, used map[string]bool) {
	if used[name] {
		return
	}
	used[name] = true
	s := src.Shapes[name]
	for _, m := range s.Members {
		reach(src, m.Shape, used)
	}
	for _, m := range []*member{s.Member, s.Key, s.Value} {
		if m != nil {
			reach(src, m.Shape, used)
		}
	}
}

func orElse(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}
