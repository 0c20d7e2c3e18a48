package node

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"
)

// fakeTags keeps the tags of images, and refuses one.
type fakeTags map[string]map[string]string

func (f fakeTags) CreateTags(_ context.Context, in *ec2.CreateTagsInput, _ ...func(*ec2.Options)) (*ec2.CreateTagsOutput, error) {
	for _, id := range in.Resources {
		tags, ok := f[id]
		if !ok {
			return nil, &smithy.GenericAPIError{Code: "InvalidAMIID.NotFound"}
		}
		for _, tag := range in.Tags {
			tags[*tag.Key] = *tag.Value
		}
	}
	return &ec2.CreateTagsOutput{}, nil
}

// fakeMetadata is the metadata of an instance, by path.
type fakeMetadata map[string]string

func (f fakeMetadata) GetMetadata(_ context.Context, in *imds.GetMetadataInput, _ ...func(*imds.Options)) (*imds.GetMetadataOutput, error) {
	text, ok := f[in.Path]
	if !ok {
		return nil, errors.New("404")
	}
	return &imds.GetMetadataOutput{Content: io.NopCloser(strings.NewReader(text))}, nil
}

func TestTestMachinesTagTheirImage(t *testing.T) {
	images := fakeTags{"ami-1": {}}
	instance := fakeMetadata{"ami-id": "ami-1"}
	if err := tagImageOf(t.Context(), instance, images, []string{"parallelcluster:os=debian12", "parallelcluster:slurm_version=24.11.5", "empty="}); err != nil {
		t.Fatal(err)
	}
	if got := images["ami-1"]; len(got) != 3 || got["parallelcluster:os"] != "debian12" || got["parallelcluster:slurm_version"] != "24.11.5" {
		t.Errorf("tags %v", got)
	}
	for want, tags := range map[string][]string{`"os" is no tag`: {"a=b", "os"}, `"=x" is no tag`: {"=x"}} {
		if err := tagImageOf(t.Context(), instance, images, tags); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", tags, err, want)
		}
	}
	if err := tagImageOf(t.Context(), fakeMetadata{"ami-id": "ami-2"}, images, []string{"a=b"}); err == nil || !strings.Contains(err.Error(), "tag image ami-2: ") {
		t.Errorf("an image of somebody else: %v", err)
	}
}
