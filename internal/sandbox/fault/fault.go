// Package fault holds the faults that a region was told to show: calls that are
// refused or answered late, and machines that never boot.
//
// A [Set] is asked by the region's endpoint before each call, and by whoever boots
// machines before each boot. It knows neither services nor machines. Faults are
// kept in memory only: a region that is restarted is sound again.
package fault

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"pcluster/internal/sandbox/wire"
)

// Kinds of faults.
const (
	Refuse = "refuse" // calls are answered with an error
	Delay  = "delay"  // calls are answered late
	Boot   = "boot"   // machines get power and never boot
)

// A Fault is what goes wrong, where, and how often.
type Fault struct {
	ID   int    `json:"id"`
	Kind string `json:"kind"`
	// Of is what the fault befalls: service:Operation of calls, by the names of
	// their API models (ec2:RunInstances, dynamodb:*); the instance type of machines.
	Of string `json:"of"`

	Code  string        `json:"code,omitempty"`  // error code that calls are refused with
	After time.Duration `json:"after,omitempty"` // for which calls are held back

	Times int       `json:"times,omitempty"` // is over after so many; 0: not by number
	Until time.Time `json:"until,omitzero"`  // is over then; zero: not by time
	Met   int       `json:"met"`             // how often it happened
}

// check says what is wrong with a fault that somebody asks for.
func (f *Fault) check() error {
	service, operation, call := strings.Cut(f.Of, ":")
	switch {
	case f.Kind == Boot && (f.Of == "" || call):
		return fmt.Errorf("%q is no instance type", f.Of)
	case f.Kind != Boot && (!call || service == "" || operation == ""):
		return fmt.Errorf("%q: calls are named like ec2:RunInstances or dynamodb:*", f.Of)
	case f.Kind == Refuse && f.Code == "":
		return fmt.Errorf("%s: which error code?", f.Of)
	case f.Kind == Delay && (f.After <= 0 || f.After > time.Hour):
		return fmt.Errorf("%s: calls can be held back for up to an hour, not %v", f.Of, f.After)
	case f.Times < 0:
		return fmt.Errorf("%s: %d times", f.Of, f.Times)
	case f.Kind != Boot && f.Kind != Refuse && f.Kind != Delay:
		return fmt.Errorf("no kind of fault is called %q", f.Kind)
	}
	return nil
}

func (f *Fault) befalls(kind, of string) bool {
	if f.Kind != kind {
		return false
	}
	service, all := strings.CutSuffix(f.Of, ":*")
	return f.Of == of || all && strings.HasPrefix(of, service+":")
}

// A Set is the faults of a region. It may be used concurrently. The zero Set has none.
type Set struct {
	Now func() time.Time // nil: time.Now

	mu     sync.Mutex
	last   int
	faults []*Fault
}

func (s *Set) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

// Add begins a fault and returns it with its ID.
func (s *Set) Add(f Fault) (Fault, error) {
	if err := f.check(); err != nil {
		return Fault{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	f.ID, f.Met = s.last, 0
	s.faults = append(s.faults, &f)
	return f, nil
}

// List returns the faults that are not over, the oldest first.
func (s *Set) List() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
	all := make([]Fault, 0, len(s.faults))
	for _, f := range s.faults {
		all = append(all, *f)
	}
	return all
}

// Clear ends all faults, and says how many.
func (s *Set) Clear() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
	n := len(s.faults)
	s.faults = nil
	return n
}

// forget drops what is over.
func (s *Set) forget() {
	now := s.now()
	s.faults = slices.DeleteFunc(s.faults, func(f *Fault) bool {
		return f.Times > 0 && f.Met >= f.Times || !f.Until.IsZero() && !now.Before(f.Until)
	})
}

// meet returns the oldest fault that befalls something, and counts that it did.
func (s *Set) meet(kind, of string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
	for _, f := range s.faults {
		if f.befalls(kind, of) {
			f.Met++
			return *f, true
		}
	}
	return Fault{}, false
}

// Call is asked before a call is answered. It returns the error that the caller is
// to get instead, or returns late, or neither.
func (s *Set) Call(ctx context.Context, service, operation string) error {
	of := service + ":" + operation
	if f, ok := s.meet(Delay, of); ok {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(f.After):
		}
	}
	if f, ok := s.meet(Refuse, of); ok {
		known := refusals[f.Code]
		return &wire.Error{
			Code: f.Code, Status: known.status,
			Message: cmp.Or(known.message, "The region was told to refuse "+operation+" with this code."),
		}
	}
	return nil
}

// Boots says whether a machine of an instance type is to boot.
func (s *Set) Boots(instanceType string) bool {
	_, hangs := s.meet(Boot, instanceType)
	return !hangs
}

// refusals are the HTTP status and text of errors that AWS gives without a fault of
// the caller's. (AWS documentation: Error codes for the Amazon EC2 API; Common errors.)
var refusals = map[string]struct {
	status  int
	message string
}{
	"RequestLimitExceeded":                   {http.StatusServiceUnavailable, "Request limit exceeded."},
	"Throttling":                             {http.StatusBadRequest, "Rate exceeded"},
	"ThrottlingException":                    {http.StatusBadRequest, "Rate exceeded"},
	"ProvisionedThroughputExceededException": {http.StatusBadRequest, "The level of configured provisioned throughput for the table was exceeded."},
	"InternalError":                          {http.StatusInternalServerError, "An internal error has occurred"},
	"InternalServerError":                    {http.StatusInternalServerError, "An internal error has occurred"},
	"Unavailable":                            {http.StatusServiceUnavailable, "The service is unavailable. Please try again shortly."},
	"InsufficientInstanceCapacity":           {http.StatusInternalServerError, "We currently do not have sufficient capacity of the requested type in the Availability Zone you requested."},
	"VcpuLimitExceeded":                      {http.StatusBadRequest, "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the instance bucket that the specified instance type belongs to."},
}
