package autoscaling

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
)

// Transitions that hooks wait in, and what may come of it.
const (
	launching   = "autoscaling:EC2_INSTANCE_LAUNCHING"
	terminating = "autoscaling:EC2_INSTANCE_TERMINATING"

	proceed = "CONTINUE"
	abandon = "ABANDON"
)

// A hook without a time of its own waits an hour; heartbeats extend it to at most
// 48 hours, or a hundred times its own time.
const (
	defaultHeartbeat = 3600
	longestWait      = 48 * 3600
)

// hook returns a group's hook of the given name, nil without one.
func (g *group) hook(name string) *types.LifecycleHook {
	for i := range g.Hooks {
		if *g.Hooks[i].LifecycleHookName == name {
			return &g.Hooks[i]
		}
	}
	return nil
}

func newHook(group string, in sdk.PutLifecycleHookInput) (types.LifecycleHook, error) {
	h := types.LifecycleHook{
		AutoScalingGroupName: &group, LifecycleHookName: in.LifecycleHookName, LifecycleTransition: in.LifecycleTransition,
		DefaultResult: or(in.DefaultResult, abandon), HeartbeatTimeout: or(in.HeartbeatTimeout, defaultHeartbeat),
		NotificationMetadata: in.NotificationMetadata,
	}
	switch t := aws.ToString(h.LifecycleTransition); {
	case aws.ToString(in.NotificationTargetARN) != "":
		return h, invalid("The sandbox's lifecycle hooks notify nobody")
	case t != launching && t != terminating:
		return h, invalid("Lifecycle hook transition %s is not valid: it must be one of %s, %s", t, launching, terminating)
	case *h.DefaultResult != proceed && *h.DefaultResult != abandon:
		return h, invalid("Default Result %s is not valid: it must be one of %s, %s", *h.DefaultResult, proceed, abandon)
	case *h.HeartbeatTimeout < 30 || *h.HeartbeatTimeout > 7200:
		return h, invalid("Heartbeat timeout %d is not valid: it must be between 30 and 7200 seconds", *h.HeartbeatTimeout)
	}
	h.GlobalTimeout = aws.Int32(min(longestWait, 100**h.HeartbeatTimeout))
	return h, nil
}

// PutLifecycleHook adds a hook to a group, or replaces one.
func (s *Service) PutLifecycleHook(_ context.Context, in *sdk.PutLifecycleHookInput) (*sdk.PutLifecycleHookOutput, error) {
	return nil, s.change(in.AutoScalingGroupName, func(g *group) error {
		merged := *in
		if old := g.hook(*in.LifecycleHookName); old != nil {
			merged.LifecycleTransition = or(in.LifecycleTransition, *old.LifecycleTransition)
			merged.DefaultResult = or(in.DefaultResult, *old.DefaultResult)
			merged.HeartbeatTimeout = or(in.HeartbeatTimeout, *old.HeartbeatTimeout)
		}
		h, err := newHook(g.name(), merged)
		if err != nil {
			return err
		}
		g.dropHook(*in.LifecycleHookName)
		g.Hooks = append(g.Hooks, h)
		return nil
	})
}

func (g *group) dropHook(name string) {
	g.Hooks = slices.DeleteFunc(g.Hooks, func(h types.LifecycleHook) bool { return *h.LifecycleHookName == name })
}

// DescribeLifecycleHooks lists the hooks of a group.
func (s *Service) DescribeLifecycleHooks(_ context.Context, in *sdk.DescribeLifecycleHooksInput) (*sdk.DescribeLifecycleHooksOutput, error) {
	g, err := s.group(in.AutoScalingGroupName)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeLifecycleHooksOutput{LifecycleHooks: []types.LifecycleHook{}}
	for _, h := range g.Hooks {
		if len(in.LifecycleHookNames) == 0 || slices.Contains(in.LifecycleHookNames, *h.LifecycleHookName) {
			out.LifecycleHooks = append(out.LifecycleHooks, h)
		}
	}
	return out, nil
}

// DeleteLifecycleHook removes a hook. Instances that wait for it go on.
func (s *Service) DeleteLifecycleHook(_ context.Context, in *sdk.DeleteLifecycleHookInput) (*sdk.DeleteLifecycleHookOutput, error) {
	return nil, s.change(in.AutoScalingGroupName, func(g *group) error {
		if g.hook(*in.LifecycleHookName) == nil {
			return invalid("No Lifecycle Hook found with name: %s", *in.LifecycleHookName)
		}
		g.dropHook(*in.LifecycleHookName)
		for i := range g.Members {
			g.Members[i].complete(func(w wait) bool { return w.Hook == *in.LifecycleHookName })
		}
		return nil
	})
}

// complete ends the waits that fit, and reports whether there was one.
func (m *member) complete(fits func(wait) bool) bool {
	before := len(m.Waits)
	m.Waits = slices.DeleteFunc(m.Waits, fits)
	return len(m.Waits) < before
}

// waiting finds the instance whose lifecycle action a request means.
func (g *group) waiting(hook, instance, token *string) (*member, func(wait) bool, error) {
	if g.hook(*hook) == nil {
		return nil, nil, invalid("No active Lifecycle Action found with token %s", aws.ToString(token))
	}
	fits := func(w wait) bool { return w.Hook == *hook && (token == nil || w.Token == *token) }
	for i := range g.Members {
		m := &g.Members[i]
		if (instance == nil || m.ID == *instance) && slices.ContainsFunc(m.Waits, fits) && (instance != nil || token != nil) {
			return m, fits, nil
		}
	}
	if instance != nil {
		return nil, nil, invalid("No active Lifecycle Action found with instance ID %s", *instance)
	}
	return nil, nil, invalid("No active Lifecycle Action found with token %s", aws.ToString(token))
}

// CompleteLifecycleAction lets an instance go on that waits for a hook, or gives it up.
func (s *Service) CompleteLifecycleAction(_ context.Context, in *sdk.CompleteLifecycleActionInput) (*sdk.CompleteLifecycleActionOutput, error) {
	result := aws.ToString(in.LifecycleActionResult)
	if result != proceed && result != abandon {
		return nil, invalid("Lifecycle action result %s is not valid: it must be one of %s, %s", result, proceed, abandon)
	}
	return nil, s.change(in.AutoScalingGroupName, func(g *group) error {
		m, fits, err := g.waiting(in.LifecycleHookName, in.InstanceId, in.LifecycleActionToken)
		if err != nil {
			return err
		}
		switch {
		case result == proceed:
			m.complete(fits)
		case m.State == types.LifecycleStatePendingWait:
			// The plan ends what has run out of time.
			for i := range m.Waits {
				m.Waits[i].Abandoned = m.Waits[i].Abandoned || fits(m.Waits[i])
			}
		default: // nothing more is waited for
			m.Waits = nil
		}
		return nil
	})
}

// RecordLifecycleActionHeartbeat gives a lifecycle action its hook's time again.
func (s *Service) RecordLifecycleActionHeartbeat(_ context.Context, in *sdk.RecordLifecycleActionHeartbeatInput) (*sdk.RecordLifecycleActionHeartbeatOutput, error) {
	return nil, s.change(in.AutoScalingGroupName, func(g *group) error {
		m, fits, err := g.waiting(in.LifecycleHookName, in.InstanceId, in.LifecycleActionToken)
		if err != nil {
			return err
		}
		for i := range m.Waits {
			if w := &m.Waits[i]; fits(*w) {
				w.Deadline = s.now().Add(seconds(g.hook(w.Hook).HeartbeatTimeout))
				if w.Deadline.After(w.Last) {
					w.Deadline = w.Last
				}
			}
		}
		return nil
	})
}
