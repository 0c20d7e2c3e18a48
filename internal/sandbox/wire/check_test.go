package wire

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroups"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroups/types"

	"pcluster/internal/sandbox/wire/model"
)

func TestCheckSaysWhatTheModelHasAgainstAnInput(t *testing.T) {
	m, err := model.Load("resource-groups")
	if err != nil {
		t.Fatal(err)
	}
	good := &resourcegroups.CreateGroupInput{Name: aws.String("odcr"), Configuration: []types.GroupConfigurationItem{{Type: aws.String("AWS::EC2::CapacityReservationPool")}}}
	if err := Check(m, "CreateGroup", good); err != nil {
		t.Error(err)
	}
	bad := &resourcegroups.CreateGroupInput{Name: aws.String("a b"), Configuration: []types.GroupConfigurationItem{{}}}
	err = Check(m, "CreateGroup", bad)
	for _, want := range []string{"Name: Member must satisfy regular expression", "Configuration.1.member.Type: Member must not be null"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: does not say %q", err, want)
		}
	}
	if err := Check(m, "MakeGroup", good); err == nil {
		t.Error("an operation that is not in the model is not refused")
	}
}
