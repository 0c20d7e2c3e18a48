package ec2

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func TestInstancesThatAreToBeIll(t *testing.T) {
	r := newRegion(t)
	id, well := r.run1(r.request(1)), r.run1(r.request(1))
	at := time.Now().Add(time.Hour)
	for _, err := range []error{r.Impair(id, false), r.Impair(id, true), r.Schedule(id, "instance-retirement", at)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	refused(t, r.Schedule(id, "earthquake", at), "InvalidParameterValue")
	refused(t, r.Impair("i-0123456789abcdef0", true), "InvalidInstanceID.NotFound")
	find := func(filter, value string) []types.InstanceStatus {
		out := ok[*sdk.DescribeInstanceStatusOutput](t)(r.DescribeInstanceStatus(t.Context(), &sdk.DescribeInstanceStatusInput{
			Filters: []types.Filter{{Name: aws.String(filter), Values: []string{value}}},
		}))
		return out.InstanceStatuses
	}
	for filter, value := range map[string]string{
		"instance-status.status": "impaired", "system-status.status": "impaired", "event.code": "instance-retirement",
	} {
		got := find(filter, value)
		if len(got) != 1 || *got[0].InstanceId != id {
			t.Errorf("%s %s: %+v", filter, value, got)
			continue
		}
		if d := got[0].SystemStatus.Details[0]; d.Status != types.StatusTypeFailed || d.ImpairedSince == nil {
			t.Errorf("details %+v", d)
		}
	}
	if got := find("instance-status.status", "ok"); len(got) != 1 || *got[0].InstanceId != well {
		t.Errorf("well are %+v", got)
	}
	if n := r.Heal(); n != 1 {
		t.Errorf("%d were healed", n)
	}
	if got := find("instance-status.status", "ok"); len(got) != 2 {
		t.Errorf("well are %+v", got)
	}
}
