package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGeneratedFileIsCurrent(t *testing.T) {
	want, err := generate("../cloudformation/resource")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../behalf_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("behalf_gen.go is not what package resource calls; run go generate ./internal/sandbox (-want +got):\n%s", diff)
	}
}

func TestCalls(t *testing.T) {
	for name, tt := range map[string]struct {
		source  string
		want    calls
		refused string
	}{
		"exported, unexported and nameless interfaces": {
			source: `
				type EFS interface { DeleteFileSystem(context.Context, *efs.DeleteFileSystemInput) (*efs.DeleteFileSystemOutput, error) }
				type policies interface { PutFileSystemPolicy(context.Context, *efs.PutFileSystemPolicyInput) (*efs.PutFileSystemPolicyOutput, error) }
				func f(api EFS) {
					_ = api.(interface { PutBackupPolicy(context.Context, *efs.PutBackupPolicyInput) (*efs.PutBackupPolicyOutput, error) })
				}`,
			want: calls{"efs": {"DeleteFileSystem", "PutFileSystemPolicy", "PutBackupPolicy"}},
		},
		"a service that the file names otherwise": {
			source: `type ELBv2 interface { AddTags(context.Context, *elb.AddTagsInput) (*elb.AddTagsOutput, error) }`,
			want:   calls{"elasticloadbalancingv2": {"AddTags"}},
		},
		"a call of two interfaces is one call": {
			source: `
				type a interface { TagResource(context.Context, *efs.TagResourceInput) (*efs.TagResourceOutput, error) }
				type b interface { a; TagResource(context.Context, *efs.TagResourceInput) (*efs.TagResourceOutput, error) }`,
			want: calls{"efs": {"TagResource"}},
		},
		"the SDK's own client is asked at the endpoint": {
			source: `type S3 interface { CreateBucket(context.Context, *s3.CreateBucketInput, ...func(*s3.Options)) (*s3.CreateBucketOutput, error) }`,
			want:   calls{},
		},
		"methods that call nothing": {
			source: `type named interface { Name() string }`,
			want:   calls{},
		},
		"another operation's input": {
			source:  `type EFS interface { DeleteTags(context.Context, *efs.TagResourceInput) (*efs.TagResourceOutput, error) }`,
			refused: "DeleteTags is no call as services have it",
		},
		"another shape": {
			source:  `type EFS interface { Wait(ctx context.Context, id string) error }`,
			refused: "Wait is no call as services have it",
		},
		"a package that is no service": {
			source:  `type Own interface { Add(context.Context, *template.AddInput) (*template.AddOutput, error) }`,
			refused: `"template", which is no service`,
		},
		"an interface of another package": {
			source:  `type EFS interface { efs.DescribeFileSystemsAPIClient }`,
			refused: "efs.DescribeFileSystemsAPIClient is embedded",
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "types.go")
			source := `package resource
				import (
					"context"
					"github.com/aws/aws-sdk-go-v2/service/efs"
					elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
					"github.com/aws/aws-sdk-go-v2/service/s3"
					"pcluster/internal/sandbox/cloudformation/template"
				)` + "\n" + tt.source
			if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
				t.Fatal(err)
			}
			got := calls{}
			err := got.read(file)
			switch {
			case tt.refused != "":
				if err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("read: %v, want %q", err, tt.refused)
				}
			case err != nil:
				t.Error(err)
			default:
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
			}
		})
	}
}
