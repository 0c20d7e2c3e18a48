//go:build linux

package sandbox

import (
	"strings"
	"testing"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

func TestAdoptedRolesAndProfilesAreThere(t *testing.T) {
	l, err := OpenLight(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const file = `
Build:
  ParentImage: arn:aws:imagebuilder:us-east-1:aws:image/amazon-linux-2023-x86/x.x.x
  InstanceType: m5.large
  Iam:
    InstanceProfile: arn:aws:iam::671250183987:instance-profile/build/builder
    CleanupLambdaRole: arn:aws:iam::671250183987:role/cleaner
`
	for range 2 { // the second time, all is there
		out, err := l.r.adopt(t.Context(), "image.yaml", []byte(file))
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, a := range out.Resources {
			all = append(all, a.Kind+" "+a.ID)
		}
		for _, want := range []string{"instance profile builder", "IAM role cleaner"} {
			if !strings.Contains(strings.Join(all, "\n"), want) {
				t.Errorf("adopted %q, want %s", all, want)
			}
		}
	}
	profile, err := l.r.iam.GetInstanceProfile(t.Context(), &iam.GetInstanceProfileInput{InstanceProfileName: awssdk.String("builder")})
	if err != nil {
		t.Fatal(err)
	}
	if got := *profile.InstanceProfile.Arn; got != "arn:aws:iam::671250183987:instance-profile/build/builder" {
		t.Errorf("the profile is %s", got)
	}
	if roles := profile.InstanceProfile.Roles; len(roles) != 1 || *roles[0].RoleName != "builder" {
		t.Errorf("its roles: %+v", roles)
	}
	role, err := l.r.iam.GetRole(t.Context(), &iam.GetRoleInput{RoleName: awssdk.String("cleaner")})
	if err != nil {
		t.Fatal(err)
	}
	if got := *role.Role.Arn; got != "arn:aws:iam::671250183987:role/cleaner" {
		t.Errorf("the role is %s", got)
	}
	attached, err := l.r.iam.ListAttachedRolePolicies(t.Context(), &iam.ListAttachedRolePoliciesInput{RoleName: awssdk.String("cleaner")})
	if err != nil || len(attached.AttachedPolicies) != 1 {
		t.Errorf("its policies: %+v, %v", attached, err)
	}
}
