//go:build linux

package sandbox

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/config"
)

func TestWhatAnImageFileRefersTo(t *testing.T) {
	const file = `
Build:
  ParentImage: arn:aws:imagebuilder:eu-west-1:aws:image/amazon-linux-2023-x86/x.x.x
  InstanceType: m5.large
  SubnetId: subnet-076ece71c00742d3c
  SecurityGroupIds: [sg-0b5941ba4f4d1a9ff]
  Components:
    - {Type: arn, Value: 'arn:aws:imagebuilder:eu-west-1:671250183987:component/packages/1.0.0/1'}
    - {Type: arn, Value: 'arn:aws:imagebuilder:eu-west-1:aws:component/update-linux/x.x.x'}
    - {Type: script, Value: 's3://scripts/one.sh'}
    - {Type: script, Value: 'https://example.com/two.sh'}
  Iam:
    AdditionalIamPolicies:
      - Policy: arn:aws:iam::671250183987:policy/RPMs
CustomS3Bucket: artifacts
`
	f, problems := config.ParseImage("image.yaml", []byte(file))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	want := imageRefs{
		refs: refs{subnets: []string{"subnet-076ece71c00742d3c"}, groups: []string{"sg-0b5941ba4f4d1a9ff"}, buckets: []string{"scripts", "artifacts"},
			policies: []string{"arn:aws:iam::671250183987:policy/RPMs"}, accounts: []string{"671250183987"}, nodes: 2},
		region: "eu-west-1", parent: "arn:aws:imagebuilder:eu-west-1:aws:image/amazon-linux-2023-x86/x.x.x",
		components: []string{"arn:aws:imagebuilder:eu-west-1:671250183987:component/packages/1.0.0/1"},
	}
	if diff := cmp.Diff(want, imageReferences(f), cmp.AllowUnexported(imageRefs{}, refs{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.Build.ParentImage = "ami-0123456789abcdef0"
	if got := imageReferences(f); got.parent != "" || len(got.images) != 1 {
		t.Errorf("parent that is an AMI: %+v", got)
	}
}
