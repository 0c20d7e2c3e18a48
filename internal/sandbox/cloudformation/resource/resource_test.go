package resource

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

func TestGeneratedNames(t *testing.T) {
	name := GeneratedName("stack", "Role", "token", 64)
	if !strings.HasPrefix(name, "stack-Role-") || len(name) != len("stack-Role-")+12 {
		t.Errorf("name = %s", name)
	}
	if again := GeneratedName("stack", "Role", "token", 64); again != name {
		t.Errorf("the same token gives %s and %s", name, again)
	}
	if other := GeneratedName("stack", "Role", "other", 64); other == name {
		t.Error("another token gives the same name")
	}
	for _, limit := range []int{32, 63, 64} {
		if long := GeneratedName(strings.Repeat("s", 100), strings.Repeat("l", 100), "token", limit); len(long) > limit {
			t.Errorf("%d characters, want %d at most: %s", len(long), limit, long)
		}
		if long := GeneratedName("s", strings.Repeat("l", 100), "token", limit); len(long) != limit {
			t.Errorf("%d characters, want %d: %s", len(long), limit, long)
		}
	}
}

func TestTags(t *testing.T) {
	r := &Request{
		Tags: map[string]string{"team": "hpc", "Name": "stack's"}, TagsBefore: map[string]string{"team": "old", "gone": "x"},
		Props:  map[string]any{"Tags": []any{map[string]any{"Key": "Name", "Value": "own"}}},
		Before: map[string]any{"Tags": map[string]any{"was": "here", "Name": "own"}},
	}
	if diff := cmp.Diff([]tag{{"Name", "own"}, {"team", "hpc"}}, r.tagList()); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	set, remove := r.tagChanges()
	if diff := cmp.Diff([]tag{{"team", "hpc"}}, set); diff != "" {
		t.Errorf("tags to set (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"gone", "was"}, remove); diff != "" {
		t.Errorf("tags to remove (-want +got):\n%s", diff)
	}
}

func TestWaitEndsWithTheInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("cause")
		time.AfterFunc(time.Minute, func() { cancel(cause) })
		calls := 0
		err := (&Request{Interrupt: ctx}).Wait(func() (bool, error) { calls++; return false, nil })
		if !errors.Is(err, cause) {
			t.Errorf("Wait: %v", err)
		}
		if calls < int(time.Minute/lastPoll) {
			t.Errorf("asked %d times in a minute", calls)
		}
	})
}

func TestRetryGivesUpAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Request{Interrupt: t.Context()}
		busy := &smithy.GenericAPIError{Code: "DependencyViolation"}
		began := time.Now()
		if err := r.Retry(func() error { return busy }, "DependencyViolation"); !errors.Is(err, busy) {
			t.Errorf("Retry: %v", err)
		}
		if took := time.Since(began); took < retryFor || took > retryFor+time.Second {
			t.Errorf("gave up after %v", took)
		}
		began = time.Now()
		if err := r.Retry(func() error { return busy }, "VolumeInUse"); !errors.Is(err, busy) || time.Since(began) != 0 {
			t.Errorf("an error that is not to be repeated: %v after %v", err, time.Since(began))
		}
	})
}

func TestFailureReason(t *testing.T) {
	err := &smithy.GenericAPIError{Code: "InvalidSubnetID.NotFound", Message: "The subnet ID 'subnet-1' does not exist."}
	want := `Resource handler returned message: "The subnet ID 'subnet-1' does not exist (Service: Ec2, Status Code: 400, Error Code: InvalidSubnetID.NotFound)" (RequestToken: t, HandlerErrorCode: NotFound)`
	if got := FailureReason("AWS::EC2::Instance", "t", err); got != want {
		t.Errorf("reason = %s", got)
	}
	if got := FailureReason("AWS::EC2::Instance", "t", errors.New("plain words")); got != "plain words" {
		t.Errorf("reason = %s", got)
	}
}
