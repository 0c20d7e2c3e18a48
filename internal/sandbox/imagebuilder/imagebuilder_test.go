//go:build linux

package imagebuilder

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder/types"
	"github.com/aws/smithy-go"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

func TestAPI(t *testing.T) {
	api, err := wire.NewService("imagebuilder")
	if err != nil {
		t.Fatal(err)
	}
	new(Service).Register(api)
	if err := api.Compile(); err != nil {
		t.Error(err)
	}
}

// objects is S3 in memory, by bucket/key.
type objects map[string]string

func (o objects) Object(_ context.Context, bucket, key, _ string) ([]byte, error) {
	if v, ok := o[bucket+"/"+key]; ok {
		return []byte(v), nil
	}
	return nil, os.ErrNotExist
}

func newService(t *testing.T, o objects) *Service {
	t.Helper()
	s, err := New(store.Memory(), region.NewIdentity("", "671250183987"), Config{Dir: t.TempDir(), Objects: o})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

const document = "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - {name: one, action: ExecuteBash, inputs: {commands: [ls]}}\n"

func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

func TestComponents(t *testing.T) {
	s := newService(t, objects{"b/packages.yaml": document, "b/bad.yaml": "a: 1"})
	create := func(version, uri, token string) (string, error) {
		out, err := s.CreateComponent(t.Context(), &sdk.CreateComponentInput{Name: aws.String("packages"), SemanticVersion: &version, Platform: types.PlatformLinux, Uri: &uri, ClientToken: &token})
		if err != nil {
			return "", err
		}
		return *out.ComponentBuildVersionArn, nil
	}
	arn, err := create("1.0.0", "s3://b/packages.yaml", "t1")
	if want := "arn:aws:imagebuilder:us-east-1:671250183987:component/packages/1.0.0/1"; arn != want || err != nil {
		t.Errorf("ARN %q, %v, want %q", arn, err, want)
	}
	if again, err := create("1.0.0", "s3://b/packages.yaml", "t1"); again != arn || err != nil {
		t.Errorf("the same request again: %q, %v", again, err)
	}
	for name, tt := range map[string]struct{ version, uri, want string }{
		"the same once more": {"1.0.0", "s3://b/packages.yaml", "ResourceAlreadyExistsException"},
		"malformed document": {"1.0.1", "s3://b/bad.yaml", "InvalidParameterValueException"},
		"no document":        {"1.0.1", "s3://b/none.yaml", "InvalidParameterValueException"},
		"no version":         {"1.0", "s3://b/packages.yaml", "InvalidParameterValueException"},
	} {
		if _, err := create(tt.version, tt.uri, name); code(err) != tt.want {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	for _, want := range []string{"1.0.0/1", "1.0.0", "x.x.x", "1.x.x"} {
		got, err := s.GetComponent(t.Context(), &sdk.GetComponentInput{ComponentBuildVersionArn: aws.String("arn:aws:imagebuilder:us-east-1:671250183987:component/packages/" + want)})
		if err != nil || *got.Component.Arn != arn {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestNewestVersion(t *testing.T) {
	arns := []string{"a:component/p/1.9.0/1", "a:component/p/1.10.0/2", "a:component/p/1.10.0/10", "a:component/q/3.0.0/1"}
	for want, best := range map[string]string{
		"a:component/p/x.x.x": "a:component/p/1.10.0/10", "a:component/p/1.9.x": "a:component/p/1.9.0/1", "a:component/p/1.10.0/2": "a:component/p/1.10.0/2", "a:component/r/x.x.x": "",
	} {
		if got, _ := resolve(arns, want); got != best {
			t.Errorf("%s is %q, want %q", want, got, best)
		}
	}
}

// A component that was adopted does nothing, and makes room for the real one, which
// has to get the very ARN that the image file names.
func TestAdoptedComponentMakesRoom(t *testing.T) {
	s := newService(t, nil)
	const arn = "arn:aws:imagebuilder:us-east-1:671250183987:component/packages/1.0.0/1"
	for _, want := range []bool{true, false} {
		if made, err := s.AdoptComponent(arn); made != want || err != nil {
			t.Errorf("made %t, %v, want %t", made, err, want)
		}
	}
	if _, err := s.AdoptComponent("arn:aws:imagebuilder:us-east-1:111122223333:component/packages/1.0.0/1"); err == nil {
		t.Error("a component of another account was adopted")
	}
	out, err := s.CreateComponent(t.Context(), &sdk.CreateComponentInput{Name: aws.String("packages"), SemanticVersion: aws.String("1.0.0"), Platform: types.PlatformLinux, Data: aws.String(document)})
	if err != nil || *out.ComponentBuildVersionArn != arn {
		t.Fatalf("%v, %v", out, err)
	}
	if got, err := s.GetComponent(t.Context(), &sdk.GetComponentInput{ComponentBuildVersionArn: aws.String(arn)}); err != nil || *got.Component.Data != document {
		t.Errorf("%v, %v", got, err)
	}
}
