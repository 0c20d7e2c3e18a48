package ec2

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/wire"
)

// change moves instances into another state: allow says of each, before any is
// changed, whether it may; apply changes its row.
func (s *Service) change(ids []string, dry *bool, allow func(*instance) error, apply func(*instance)) ([]types.InstanceStateChange, error) {
	if len(ids) == 0 {
		return nil, missing("InstanceId")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.purge(); err != nil {
		return nil, err
	}
	l := of(s.instances, nounInstance, instanceKey, nil, nil)
	rows, err := l.choose(ids)
	if err != nil {
		return nil, err
	}
	for _, i := range rows {
		if err := allow(i); err != nil {
			return nil, err
		}
	}
	if err := dryRun(dry); err != nil {
		return nil, err
	}
	changes := make([]types.InstanceStateChange, 0, len(rows))
	for _, before := range rows {
		after, err := s.instances.update(instanceKey(before), func(i *instance) error { apply(i); return nil })
		if err != nil {
			return nil, err
		}
		changes = append(changes, types.InstanceStateChange{
			InstanceId: after.Desc.InstanceId, PreviousState: before.Desc.State, CurrentState: after.Desc.State,
		})
		s.work.kick(instanceKey(after))
	}
	return changes, nil
}

func (i *instance) incorrectState(toBe string) error {
	return wire.Errorf("IncorrectInstanceState", "The instance '%s' is not in a state from which it can be %s.", instanceKey(i), toBe)
}

// userInitiated notes that somebody asked for a state by the API.
func (s *Service) userInitiated(i *instance) {
	i.Desc.StateReason = &types.StateReason{
		Code: aws.String("Client.UserInitiatedShutdown"), Message: aws.String("Client.UserInitiatedShutdown: User initiated shutdown"),
	}
	i.Desc.StateTransitionReason = aws.String("User initiated (" + s.now().UTC().Format("2006-01-02 15:04:05") + " GMT)")
}

// TerminateInstances ends instances for good. Ending one twice is no error.
func (s *Service) TerminateInstances(_ context.Context, in *sdk.TerminateInstancesInput) (*sdk.TerminateInstancesOutput, error) {
	changes, err := s.change(in.InstanceIds, in.DryRun, func(i *instance) error {
		if i.KeepAlive {
			return wire.Errorf("OperationNotPermitted",
				"The instance '%s' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.", instanceKey(i))
		}
		return nil
	}, func(i *instance) {
		switch i.state() {
		case types.InstanceStateNameShuttingDown, types.InstanceStateNameTerminated:
			return
		}
		i.Desc.State, i.Reboot, i.Parked = stateOf(types.InstanceStateNameShuttingDown), false, false
		s.userInitiated(i)
	})
	if err != nil {
		return nil, err
	}
	return &sdk.TerminateInstancesOutput{TerminatingInstances: changes}, nil
}

// StopInstances shuts machines down and keeps their disks and addresses.
func (s *Service) StopInstances(_ context.Context, in *sdk.StopInstancesInput) (*sdk.StopInstancesOutput, error) {
	changes, err := s.change(in.InstanceIds, in.DryRun, func(i *instance) error {
		switch i.state() {
		case types.InstanceStateNameRunning, types.InstanceStateNameStopping, types.InstanceStateNameStopped:
		default:
			return i.incorrectState("stopped")
		}
		switch {
		case i.KeepStopped:
			return wire.Errorf("OperationNotPermitted",
				"The instance '%s' may not be stopped. Modify its 'disableApiStop' instance attribute and try again.", instanceKey(i))
		case i.Desc.InstanceLifecycle == types.InstanceLifecycleTypeSpot:
			return wire.Errorf("UnsupportedOperation", "You can't stop the Spot Instance '%s' because it is associated with a one-time Spot Instance request. "+
				"You can only stop Spot Instances associated with persistent Spot Instance requests.", instanceKey(i))
		}
		return nil
	}, func(i *instance) {
		if i.state() == types.InstanceStateNameRunning {
			i.Desc.State, i.Reboot, i.Crash = stateOf(types.InstanceStateNameStopping), false, aws.ToBool(in.Force)
			s.userInitiated(i)
		}
	})
	if err != nil {
		return nil, err
	}
	return &sdk.StopInstancesOutput{StoppingInstances: changes}, nil
}

// StartInstances boots stopped instances again.
func (s *Service) StartInstances(_ context.Context, in *sdk.StartInstancesInput) (*sdk.StartInstancesOutput, error) {
	changes, err := s.change(in.InstanceIds, in.DryRun, func(i *instance) error {
		switch i.state() {
		case types.InstanceStateNamePending, types.InstanceStateNameRunning:
			return nil
		case types.InstanceStateNameStopped:
			name := string(i.Desc.InstanceType)
			if r := s.reservations.get(aws.ToString(i.Desc.CapacityReservationId)); r != nil && s.available(r) > 0 {
				return nil
			}
			if free, limited := s.freeCapacity(name); limited && free < 1 {
				return s.insufficientCapacity(name, *i.Desc.Placement.AvailabilityZone)
			}
			return nil
		}
		return i.incorrectState("started")
	}, func(i *instance) {
		if i.state() == types.InstanceStateNameStopped {
			i.Desc.State, i.Parked = stateOf(types.InstanceStateNamePending), s.parked
			i.Desc.StateReason, i.Desc.StateTransitionReason = nil, aws.String("")
			i.Desc.LaunchTime = aws.Time(s.now().UTC().Truncate(1e9))
		}
	})
	if err != nil {
		return nil, err
	}
	return &sdk.StartInstancesOutput{StartingInstances: changes}, nil
}

// RebootInstances restarts machines; their instances stay running.
func (s *Service) RebootInstances(_ context.Context, in *sdk.RebootInstancesInput) (*sdk.RebootInstancesOutput, error) {
	_, err := s.change(in.InstanceIds, in.DryRun, func(i *instance) error {
		if i.state() != types.InstanceStateNameRunning {
			return i.incorrectState("rebooted")
		}
		return nil
	}, func(i *instance) { i.Reboot = true })
	if err != nil {
		return nil, err
	}
	return &sdk.RebootInstancesOutput{}, nil
}

// SetCapacity limits how many instances of a type the region can have at a time,
// those that exist included; a negative n lifts the limit. Requests beyond it get
// InsufficientInstanceCapacity.
func (s *Service) SetCapacity(instanceType string, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n < 0 {
		return s.capacity.delete(instanceType)
	}
	return s.capacity.put(instanceType, &n)
}

// freeCapacity returns how many more instances of the type can be launched, if
// that is limited at all.
func (s *Service) freeCapacity(instanceType string) (n int, limited bool) {
	most := s.capacity.get(instanceType)
	if most == nil {
		return 0, false
	}
	used := s.reserved(instanceType) // whoever uses it
	for _, i := range s.instances.all() {
		if string(i.Desc.InstanceType) == instanceType && i.takesRoom() && !s.reservedFor(i) {
			used++
		}
	}
	return max(0, *most-used), true
}

func (s *Service) insufficientCapacity(instanceType, zone string) error {
	return serverErrorf("InsufficientInstanceCapacity",
		"We currently do not have sufficient %s capacity in the Availability Zone you requested (%s). "+
			"Our system will be working on provisioning additional capacity.", instanceType, zone)
}

// Interrupt gives a spot instance notice, which it reads from its metadata, and
// takes it away when the time is up.
func (s *Service) Interrupt(_ context.Context, instanceID string, notice time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := find(s.instances, nounInstance, instanceID)
	if err != nil {
		return err
	}
	if i.Desc.InstanceLifecycle != types.InstanceLifecycleTypeSpot || i.state() != types.InstanceStateNameRunning {
		return wire.Errorf("IncorrectInstanceState", "The instance '%s' is not a running spot instance.", instanceID)
	}
	at := s.now().Add(notice)
	if err := s.instances.set(instanceID, func(i *instance) { i.SpotAction = &at }); err != nil {
		return err
	}
	go s.takeAway(instanceID, notice)
	return nil
}

// takeAway ends a spot instance after its notice.
func (s *Service) takeAway(id string, notice time.Duration) {
	select {
	case <-time.After(notice):
	case <-s.work.ctx.Done():
		return // the next daemon does it
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.instances.update(id, func(i *instance) error {
		switch i.state() {
		case types.InstanceStateNameTerminated, types.InstanceStateNameShuttingDown:
			return nil
		}
		i.Desc.State, i.Reboot, i.Parked = stateOf(types.InstanceStateNameShuttingDown), false, false
		i.Desc.StateReason = &types.StateReason{
			Code: aws.String("Server.SpotInstanceTermination"), Message: aws.String("Server.SpotInstanceTermination: Spot instance termination"),
		}
		i.Desc.StateTransitionReason = aws.String("Server.SpotInstanceTermination")
		return nil
	})
	if err != nil {
		s.log.Error("spot instance stays", "instance", id, "error", err)
		return
	}
	s.work.kick(id)
}
