package fault

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pcluster/internal/sandbox/wire"
)

func TestCallsAreRefusedAsOftenAsAsked(t *testing.T) {
	var s Set
	if _, err := s.Add(Fault{Kind: Refuse, Of: "ec2:RunInstances", Code: "RequestLimitExceeded", Times: 2}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, true, false} {
		err := s.Call(t.Context(), "ec2", "RunInstances")
		var refusal *wire.Error
		if errors.As(err, &refusal) != want || want && (refusal.Code != "RequestLimitExceeded" || refusal.Status != 503) {
			t.Errorf("call %d: %v", i+1, err)
		}
	}
	if err := s.Call(t.Context(), "ec2", "DescribeInstances"); err != nil {
		t.Errorf("another operation: %v", err)
	}
	if left := s.List(); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
}

func TestFaultsEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Set
		if _, err := s.Add(Fault{Kind: Refuse, Of: "dynamodb:*", Code: "InternalServerError", Until: time.Now().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		if s.Call(t.Context(), "dynamodb", "GetItem") == nil {
			t.Error("not refused")
		}
		time.Sleep(time.Minute)
		if err := s.Call(t.Context(), "dynamodb", "GetItem"); err != nil {
			t.Errorf("after its time: %v", err)
		}
	})
}

func TestCallsAreHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Set
		if _, err := s.Add(Fault{Kind: Delay, Of: "ec2:DescribeInstances", After: 30 * time.Second}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := s.Call(t.Context(), "ec2", "DescribeInstances"); err != nil || time.Since(began) != 30*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Call(ctx, "ec2", "DescribeInstances"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a client that went away: %v", err)
		}
		if n := s.Clear(); n != 1 {
			t.Errorf("%d faults were cleared", n)
		}
	})
}

func TestMachinesThatNeverBoot(t *testing.T) {
	var s Set
	if _, err := s.Add(Fault{Kind: Boot, Of: "c5.large", Times: 1}); err != nil {
		t.Fatal(err)
	}
	if !s.Boots("t3.small") || s.Boots("c5.large") || !s.Boots("c5.large") {
		t.Error("one c5.large is not to boot, nothing else")
	}
}

func TestUnclearFaultsAreRefused(t *testing.T) {
	for _, f := range []Fault{
		{},
		{Kind: "fire", Of: "ec2:RunInstances"},
		{Kind: Refuse, Of: "RunInstances", Code: "X"},
		{Kind: Refuse, Of: "ec2:RunInstances"},
		{Kind: Refuse, Of: "ec2:", Code: "X"},
		{Kind: Delay, Of: "ec2:RunInstances"},
		{Kind: Delay, Of: "ec2:RunInstances", After: 2 * time.Hour},
		{Kind: Boot, Of: "ec2:RunInstances"},
		{Kind: Boot, Of: "c5.large", Times: -1},
	} {
		var s Set
		if _, err := s.Add(f); err == nil {
			t.Errorf("%+v is accepted", f)
		}
	}
}
