package cluster

import (
	"context"
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
)

// An Event is something that happened while a cluster was created or deleted:
// either to a resource of its stack or in the boot of its head node.
type Event struct {
	Time  time.Time
	Stack *StackEvent
	Boot  *BootStep
}

// OfStack reports whether the event is about the cluster's stack as a whole.
func (e Event) OfStack() bool { return e.Stack != nil && e.Stack.ofStack() }

// A BootStep is one line of the journal that a node keeps of its boot.
type BootStep struct {
	Node    string    `json:"-"` // host name
	Time    time.Time `json:"time"`
	Step    string    `json:"step"`
	Status  string    `json:"status"` // start, done, failed, skipped
	Seconds float64   `json:"seconds"`
	Detail  string    `json:"detail"`
}

// patience is how many looks in a row may fail.
const patience = 10

// bootStream is the last part of the name of the log stream that a journal is
// shipped to.
const bootStream = ".boot"

// Watch follows an operation on a stack, named by the status with which it
// began, and ends after the event that ended it. It asks CloudFormation and
// CloudWatch Logs again and again, since neither calls back; an error of the
// latter only means fewer events.
func (o *Operator) Watch(ctx context.Context, stackID string, begun Status) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		w := &watcher{o: o, begun: string(begun), stacks: []*watchedStack{{id: stackID, root: true}}}
		failures := 0
		for started := o.Now(); ; {
			events, err := w.look(ctx)
			if err != nil {
				// The stack does not care whether we look: what a laptop loses on the way
				// from one network to another comes back.
				if failures++; failures > patience || ctx.Err() != nil {
					yield(Event{}, err)
					return
				}
				o.Log.Warn("look at stack " + stackID + ": " + err.Error())
			} else {
				failures = 0
			}
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
			}
			if w.ended {
				return
			}
			pause := o.Poll
			if o.Now().Sub(started) > 2*time.Minute {
				pause *= 6 // what takes that long is not in a hurry
			}
			if err := sleep(ctx, pause); err != nil {
				yield(Event{}, err)
				return
			}
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// A watcher remembers what of a stack and its head node has been seen.
type watcher struct {
	o        *Operator
	begun    string
	stacks   []*watchedStack // the root and, as they appear, those nested in it
	ended    bool
	headNode string // instance ID
	journal  journal
}

type watchedStack struct {
	id       string
	root     bool
	began    bool
	lastSeen string // ID of the newest event that was looked at
}

func (w *watcher) look(ctx context.Context) ([]Event, error) {
	var seen []Event
	for i := 0; i < len(w.stacks); i++ { // grows on the way
		news, err := w.news(ctx, w.stacks[i])
		if err != nil && kindOf(err) == missing && w.begun == string(DeleteInProgress) && w.stacks[i].root {
			// Deleted, and forgotten before we looked again.
			s := w.stacks[i]
			news, err = []StackEvent{{
				ID: "gone", Time: w.o.Now(), StackID: s.id, PhysicalID: s.id, LogicalID: stackName(s.id),
				ResourceType: "AWS::CloudFormation::Stack", Status: string(DeleteComplete),
			}}, nil
		}
		if err != nil {
			return seen, err
		}
		for _, e := range news {
			seen = append(seen, Event{Time: e.Time, Stack: &e})
			w.note(w.stacks[i], e)
		}
	}
	for _, step := range w.journal.read(ctx, w) {
		seen = append(seen, Event{Time: step.Time, Boot: &step})
	}
	// The end of the stack stays last: a step that was written before it may have
	// been shipped after it.
	slices.SortStableFunc(seen, func(a, b Event) int {
		if a.OfStack() != b.OfStack() && w.ended {
			if a.OfStack() && !strings.HasSuffix(a.Stack.Status, "_IN_PROGRESS") {
				return 1
			}
			if b.OfStack() && !strings.HasSuffix(b.Stack.Status, "_IN_PROGRESS") {
				return -1
			}
		}
		return a.Time.Compare(b.Time)
	})
	return seen, nil
}

// stackName returns the name in a stack's ID.
func stackName(id string) string {
	if parts := strings.Split(id, "/"); len(parts) == 3 {
		return parts[1]
	}
	return id
}

// note learns from an event where else to look, and whether it was the last.
func (w *watcher) note(s *watchedStack, e StackEvent) {
	switch {
	case e.ofStack():
		w.ended = w.ended || s.root && !strings.HasSuffix(e.Status, "_IN_PROGRESS")
	case e.ResourceType == "AWS::CloudFormation::Stack" && e.PhysicalID != "":
		if !slices.ContainsFunc(w.stacks, func(s *watchedStack) bool { return s.id == e.PhysicalID }) {
			w.stacks = append(w.stacks, &watchedStack{id: e.PhysicalID})
		}
	case s.root && e.LogicalID == "HeadNode" && strings.HasPrefix(e.PhysicalID, "i-"):
		w.headNode = e.PhysicalID
	}
}

// news returns the events of a stack since the last look, oldest first.
func (w *watcher) news(ctx context.Context, s *watchedStack) ([]StackEvent, error) {
	var news []StackEvent
	newest := s.lastSeen
	in := &cloudformation.DescribeStackEventsInput{StackName: &s.id}
pages:
	for first := true; ; first = false {
		out, err := w.o.CloudFormation.DescribeStackEvents(ctx, in)
		if err != nil {
			return nil, err
		}
		for i, e := range out.StackEvents {
			event := stackEvent(e)
			if first && i == 0 {
				newest = event.ID
			}
			if event.ID == s.lastSeen {
				break pages
			}
			news = append(news, event)
			if !s.began && event.ofStack() && event.Status == w.begun {
				s.began = true
				break pages // what came before belongs to an earlier operation
			}
		}
		if aws.ToString(out.NextToken) == "" {
			break
		}
		in.NextToken = out.NextToken
	}
	if !s.began {
		return nil, nil // not recorded yet
	}
	s.lastSeen = newest
	slices.Reverse(news)
	return news, nil
}

// A journal reads what the head node ships of its boot.
type journal struct {
	group  string // empty until the stack has been asked
	none   bool   // the cluster has no log group
	stream string // empty until it exists
	token  *string
}

// read returns the steps since the last look. Whatever goes wrong, the stack
// tells how the story ends.
func (j *journal) read(ctx context.Context, w *watcher) []BootStep {
	if w.headNode == "" || w.begun != string(CreateInProgress) || j.none {
		return nil
	}
	if j.group == "" {
		s, err := w.o.stackOf(ctx, w.stacks[0].id)
		if err != nil {
			return nil
		}
		j.group = s.parameter(parameterLogGroup)
		j.none = j.group == ""
		if j.none {
			return nil
		}
	}
	if j.stream == "" {
		out, err := w.o.Logs.DescribeLogStreams(ctx, &cloudwatchlogs.DescribeLogStreamsInput{
			LogGroupName: &j.group, OrderBy: logtypes.OrderByLastEventTime, Descending: aws.Bool(true), Limit: aws.Int32(50),
		})
		if err != nil {
			return nil // the group may not be there yet
		}
		for _, s := range out.LogStreams {
			if name := aws.ToString(s.LogStreamName); strings.HasSuffix(name, w.headNode+bootStream) {
				j.stream = name
			}
		}
		if j.stream == "" {
			return nil
		}
	}
	host, _, _ := strings.Cut(j.stream, ".")
	var steps []BootStep
	for {
		out, err := w.o.Logs.GetLogEvents(ctx, &cloudwatchlogs.GetLogEventsInput{
			LogGroupName: &j.group, LogStreamName: &j.stream, StartFromHead: aws.Bool(true), NextToken: j.token,
		})
		if err != nil {
			return steps
		}
		for _, e := range out.Events {
			var step BootStep
			if json.Unmarshal([]byte(aws.ToString(e.Message)), &step) != nil || step.Step == "" {
				continue
			}
			step.Node = host
			if step.Time.IsZero() {
				step.Time = time.UnixMilli(aws.ToInt64(e.Timestamp)).UTC()
			}
			steps = append(steps, step)
		}
		// The service repeats the token at the end of a stream.
		same := aws.ToString(j.token) == aws.ToString(out.NextForwardToken)
		j.token = out.NextForwardToken
		if same || len(out.Events) == 0 {
			return steps
		}
	}
}
