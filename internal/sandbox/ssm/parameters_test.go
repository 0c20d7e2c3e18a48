package ssm

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire/wiretest"
)

func client(t *testing.T) *ssm.Client {
	t.Helper()
	s, err := New(store.Memory(), region.NewIdentity("", ""))
	if err != nil {
		t.Fatal(err)
	}
	return ssm.NewFromConfig(wiretest.Serve(t, map[string]wiretest.Registrar{"ssm": s}).Config())
}

func put(t *testing.T, c *ssm.Client, name, value string) {
	t.Helper()
	_, err := c.PutParameter(context.Background(), &ssm.PutParameterInput{Name: &name, Value: &value, Type: types.ParameterTypeString, Overwrite: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
}

func code(err error) string {
	var e interface{ ErrorCode() string }
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

func TestVersionsAndLabelsSelect(t *testing.T) {
	c := client(t)
	ctx := context.Background()
	for _, v := range []string{"one", "two", "three"} {
		put(t, c, "/p/q", v)
	}
	if _, err := c.LabelParameterVersion(ctx, &ssm.LabelParameterVersionInput{Name: aws.String("/p/q"), ParameterVersion: aws.Int64(2), Labels: []string{"stable"}}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/p/q": "three", "/p/q:1": "one", "/p/q:stable": "two", "arn:aws:ssm:us-east-1:111122223333:parameter/p/q": "three",
		"/p/q:9": "ParameterVersionNotFound", "/p/q:none": "ParameterVersionNotFound", "/p": "ParameterNotFound",
	} {
		out, err := c.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
		got := code(err)
		if err == nil {
			got = *out.Parameter.Value
		}
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestPaths(t *testing.T) {
	c := client(t)
	for _, n := range []string{"/a/x", "/a/b/y", "/ab/z", "plain"} {
		put(t, c, n, "v")
	}
	for path, want := range map[string][2]string{
		"/a":   {"/a/x", "/a/b/y /a/x"},
		"/a/b": {"/a/b/y", "/a/b/y"},
		"/":    {"plain", "/a/b/y /a/x /ab/z plain"},
		"/no":  {"", ""},
	} {
		for i, deep := range []bool{false, true} {
			var names []string
			p := ssm.NewGetParametersByPathPaginator(c, &ssm.GetParametersByPathInput{Path: &path, Recursive: &deep, MaxResults: aws.Int32(1)})
			for p.HasMorePages() {
				out, err := p.NextPage(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				for _, q := range out.Parameters {
					names = append(names, *q.Name)
				}
			}
			slices.Sort(names)
			if got := strings.Join(names, " "); got != want[i] {
				t.Errorf("%s, recursive %v: %s, want %s", path, deep, got, want[i])
			}
		}
	}
	out, err := c.DescribeParameters(context.Background(), &ssm.DescribeParametersInput{ParameterFilters: []types.ParameterStringFilter{
		{Key: aws.String("Name"), Option: aws.String("BeginsWith"), Values: []string{"/a"}}, {Key: aws.String("Path"), Values: []string{"/ab"}},
	}})
	if err != nil || len(out.Parameters) != 1 || *out.Parameters[0].Name != "/ab/z" {
		t.Errorf("filtered: %+v, %v", out, err)
	}
}

func TestRefusals(t *testing.T) {
	c := client(t)
	ctx := context.Background()
	put(t, c, "exists", "v")
	for name, tt := range map[string]struct {
		in   ssm.PutParameterInput
		want string
	}{
		"exists":          {ssm.PutParameterInput{Name: aws.String("exists"), Value: aws.String("v"), Type: "String"}, "ParameterAlreadyExists"},
		"no type":         {ssm.PutParameterInput{Name: aws.String("n"), Value: aws.String("v")}, "ValidationException"},
		"reserved":        {ssm.PutParameterInput{Name: aws.String("/aws/x"), Value: aws.String("v"), Type: "String"}, "ValidationException"},
		"too long":        {ssm.PutParameterInput{Name: aws.String("n"), Value: aws.String(strings.Repeat("x", 4097)), Type: "String"}, "ValidationException"},
		"pattern":         {ssm.PutParameterInput{Name: aws.String("n"), Value: aws.String("v1"), Type: "String", AllowedPattern: aws.String(`\d+`)}, "ParameterPatternMismatchException"},
		"unreadable name": {ssm.PutParameterInput{Name: aws.String("a b"), Value: aws.String("v"), Type: "String"}, "ValidationException"},
	} {
		if _, err := c.PutParameter(ctx, &tt.in); code(err) != tt.want {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
}
