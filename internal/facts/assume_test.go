package facts

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

// assume gathers facts about the file, and returns what had to be assumed, sorted.
func assume(t *testing.T, m *Memory) (Snapshot, []string, []error) {
	t.Helper()
	var mu sync.Mutex
	var notes []string
	s, errs := Gather(context.Background(), Assumed(m, "us-east-1", func(text string) {
		mu.Lock()
		defer mu.Unlock()
		notes = append(notes, text)
	}), parse(t))
	slices.Sort(notes)
	return s, notes, errs
}

func TestAssumptionsStandForWhatIsNotAsked(t *testing.T) {
	m := account()
	m.Partial = true
	m.Subnets, m.Official = nil, nil
	s, notes, errs := assume(t, m)
	want := []string{
		"subnet subnet-12345678 is in zone us-east-1a and VPC vpc-00000000000000000",
		"the official AMI of alinux2023 for x86_64 is ami-00000000000000000, with its root volume at /dev/xvda",
	}
	if len(errs) > 0 || !slices.Equal(notes, want) {
		t.Errorf("%q %v", notes, errs)
	}
	if s.Addresses["1.2.3.4"].AllocationID != "eipalloc-1" {
		t.Error("what is known was assumed:", s.Addresses)
	}
}

func TestAnswersOfAWSAreNotReplacedByAssumptions(t *testing.T) {
	m := account()
	m.Subnets = nil
	m.Refused = map[string]*Error{"1.2.3.4": NewError("UnauthorizedOperation", "no")}
	_, notes, errs := assume(t, m)
	if err := errors.Join(errs...); len(errs) != 2 || !NotFound(errs[1]) || Code(errs[0]) != "UnauthorizedOperation" || len(notes) > 0 {
		t.Errorf("%q %v", notes, err)
	}
}
