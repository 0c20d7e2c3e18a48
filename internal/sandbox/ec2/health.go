package ec2

import (
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// Health is what EC2 is to say of instances, whatever they are like: somebody wants
// to see what comes of it. It is kept in memory only.
type health struct {
	mu  sync.Mutex
	ill map[string]*illness
}

type illness struct {
	instance, system time.Time // since when the check fails; zero if it does not
	events           []types.InstanceStatusEvent
}

// of returns what is wrong with an instance, as a copy.
func (h *health) of(id string) illness {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := h.ill[id]; i != nil {
		return *i
	}
	return illness{}
}

func (h *health) change(id string, f func(*illness)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ill == nil {
		h.ill = make(map[string]*illness)
	}
	next := &illness{}
	if old := h.ill[id]; old != nil {
		*next = *old
	}
	f(next)
	h.ill[id] = next
}

// Impair lets a status check of a running instance fail from now on: that of its
// host, or that of its operating system.
func (s *Service) Impair(id string, host bool) error {
	if err := s.mustRun(id); err != nil {
		return err
	}
	now := s.now()
	s.health.change(id, func(i *illness) {
		if host {
			i.system = now
			return
		}
		i.instance = now
	})
	return nil
}

// Schedule announces that something will be done to an instance at a time. Nothing
// happens when it has come.
func (s *Service) Schedule(id, code string, at time.Time) error {
	if err := s.mustRun(id); err != nil {
		return err
	}
	known := types.EventCode("").Values()
	valid := false
	var names []string
	for _, c := range known {
		names = append(names, string(c))
		valid = valid || string(c) == code
	}
	if !valid {
		return wire.Errorf("InvalidParameterValue", "%q is no event: there are %s", code, strings.Join(names, ", "))
	}
	event := types.InstanceStatusEvent{
		Code: types.EventCode(code), Description: aws.String("The region was told to schedule " + code), NotBefore: aws.Time(at.UTC().Truncate(time.Second)),
		NotAfter: aws.Time(at.UTC().Truncate(time.Second).Add(time.Hour)), InstanceEventId: aws.String("instance-event-" + region.Hex(17)),
	}
	s.health.change(id, func(i *illness) { i.events = append(i.events[:len(i.events):len(i.events)], event) })
	return nil
}

func (s *Service) mustRun(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := find(s.instances, nounInstance, id)
	if err == nil && i.state() != types.InstanceStateNameRunning {
		err = i.incorrectState("broken")
	}
	return err
}

// Heal makes all instances well, and says how many were not.
func (s *Service) Heal() int {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	n := len(s.health.ill)
	s.health.ill = nil
	return n
}

// checks returns the summary of an instance's status check that fails since a time,
// or that of a check that does not, if it is zero.
func checks(since time.Time) *types.InstanceStatusSummary {
	if since.IsZero() {
		return &types.InstanceStatusSummary{
			Status:  types.SummaryStatusOk,
			Details: []types.InstanceStatusDetails{{Name: types.StatusNameReachability, Status: types.StatusTypePassed}},
		}
	}
	return &types.InstanceStatusSummary{
		Status:  types.SummaryStatusImpaired,
		Details: []types.InstanceStatusDetails{{Name: types.StatusNameReachability, Status: types.StatusTypeFailed, ImpairedSince: aws.Time(since.UTC().Truncate(time.Second))}},
	}
}
