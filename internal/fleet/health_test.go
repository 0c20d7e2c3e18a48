package fleet

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/slurm"
)

// ready is a story in which node q-dy-a-1 is in service, as i-1 at 10.0.0.1.
func ready(t *testing.T) *story {
	s := newStory(t, AllOrNothing)
	s.mem.Assigned = map[string]Assignment{"q-dy-a-1": {
		Node: "q-dy-a-1", Instance: "i-1", Addr: "10.0.0.1", Since: noon.Add(-time.Hour), Named: true, Seen: true, Ready: true,
	}}
	return s
}

// booting is the same while the node powers up.
func booting(t *testing.T) *story {
	s := ready(t)
	a := s.mem.Assigned["q-dy-a-1"]
	a.Ready, a.Since = false, noon
	s.mem.Assigned["q-dy-a-1"] = a
	return s
}

// looks shows the planner node q-dy-a-1 in a state, and more.
func (s *story) looks(state slurm.State, seen Observed) Actions {
	s.now = s.now.Add(10 * time.Second)
	seen.Slurm = &SlurmView{At: s.now, Partitions: map[string]string{"q": "UP", "r": "UP"}, Nodes: []slurm.Node{
		{Name: "q-dy-a-1", Addr: "10.0.0.1", State: state, Partitions: []string{"q"}, SlurmdStarted: noon.Add(-time.Hour)},
	}}
	return s.step(seen)
}

// states lists the last step's updates of nodes by state.
func (s *story) states() string {
	var out []string
	for _, u := range s.do.Nodes {
		out = append(out, u.State)
	}
	return strings.Join(out, " ")
}

func ailing(check string, since, until time.Time) *HealthView {
	return &HealthView{At: noon, Ailments: []Ailment{
		{Instance: "i-other", Check: SystemCheck, Text: "of another cluster"},
		{Instance: "i-1", Check: check, Since: since, Until: until, Text: "is not well"},
	}}
}

func TestAilingNodes(t *testing.T) {
	long, soon, later := noon.Add(-time.Hour), noon.Add(time.Minute), noon.Add(3*24*time.Hour)
	for name, tt := range map[string]struct {
		state  slurm.State
		health *HealthView
		change func(*Policy)
		want   string // states that the node is given
		ends   bool   // its instance at once
		jobs   bool   // its jobs go back to the queue
	}{
		"one that fails its instance check is drained and ends its jobs": {"ALLOCATED+CLOUD", ailing(InstanceCheck, long, time.Time{}), nil, "drain", false, false},
		"one that does not answer Slurm either is replaced":              {"ALLOCATED+CLOUD+NOT_RESPONDING", ailing(InstanceCheck, long, time.Time{}), nil, "down power_down_force", true, false},
		"one on a broken host is replaced":                               {"ALLOCATED+CLOUD", ailing(SystemCheck, long, time.Time{}), nil, "down power_down_force", true, false},
		"a check that has just begun to fail may be a mistake":           {"ALLOCATED+CLOUD", ailing(SystemCheck, noon, time.Time{}), nil, "", false, false},
		"the user sets how long a check may fail":                        {"IDLE+CLOUD", ailing(SystemCheck, noon, time.Time{}), func(p *Policy) { p.HealthTimeout = 0 }, "down power_down_force", true, false},
		"checks don't matter if the user says so":                        {"IDLE+CLOUD", ailing(SystemCheck, long, time.Time{}), func(p *Policy) { p.IgnoreChecks = true }, "", false, false},
		"checks lag behind a reboot":                                     {"IDLE+CLOUD", ailing(SystemCheck, long, time.Time{}), func(p *Policy) { p.HealthGrace = 2 * time.Hour }, "", false, false},
		"one that reboots is left alone":                                 {"IDLE+CLOUD+REBOOT_ISSUED", ailing(SystemCheck, long, time.Time{}), nil, "", false, false},
		"one that is drained already is not drained again":               {"ALLOCATED+CLOUD+DRAIN", ailing(InstanceCheck, long, time.Time{}), nil, "", false, false},
		"an event to come drains it":                                     {"ALLOCATED+CLOUD", ailing(EventCheck, time.Time{}, later), nil, "drain", false, false},
		"an event that is near sends its jobs away":                      {"ALLOCATED+CLOUD", ailing(EventCheck, time.Time{}, soon), nil, "drain", false, true},
		"an event that is near counts on a young node, too":              {"ALLOCATED+CLOUD", ailing(EventCheck, time.Time{}, soon), func(p *Policy) { p.HealthGrace = 2 * time.Hour }, "drain", false, true},
		"one that is far does not":                                       {"ALLOCATED+CLOUD", ailing(EventCheck, time.Time{}, later), func(p *Policy) { p.HealthGrace = 2 * time.Hour }, "", false, false},
		"events don't matter if the user says so":                        {"ALLOCATED+CLOUD", ailing(EventCheck, time.Time{}, soon), func(p *Policy) { p.IgnoreEvents = true }, "", false, false},
		"one in a maintenance reservation is the user's":                 {"IDLE+CLOUD+MAINTENANCE", ailing(SystemCheck, long, time.Time{}), nil, "", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := ready(t)
			if tt.change != nil {
				tt.change(&s.policy)
			}
			s.step(Observed{Health: tt.health})
			s.looks(tt.state, Observed{})
			s.expect("states", s.states(), tt.want)
			s.expect("ended", len(s.do.Terminate) > 0, tt.ends)
			s.expect("requeued", len(s.do.Requeue) > 0, tt.jobs)
		})
	}
}

func TestANodeIsWarnedOfOnce(t *testing.T) {
	s := ready(t)
	s.step(Observed{Health: ailing(EventCheck, time.Time{}, noon.Add(time.Minute))})
	s.looks("ALLOCATED+CLOUD", Observed{})
	s.expect("states", s.states(), "drain")
	s.step(Observed{Health: ailing(EventCheck, time.Time{}, noon.Add(time.Minute))})
	s.looks("ALLOCATED+CLOUD", Observed{}) // a user has resumed it
	s.expect("states", s.states(), "")
	s.expect("requeued again", len(s.do.Requeue), 0)
}

func TestAWarningEndsWithItsCause(t *testing.T) {
	s := ready(t)
	s.step(Observed{Health: ailing(InstanceCheck, noon, time.Time{})})
	s.expect("warnings", len(s.mem.Warnings), 1)
	s.step(Observed{Health: &HealthView{At: noon.Add(time.Minute)}})
	s.expect("warnings", len(s.mem.Warnings), 0)
}

func TestANodeThatFailsItsChecksWhileItBootsIsReplaced(t *testing.T) {
	s := booting(t)
	s.step(Observed{Health: ailing(InstanceCheck, noon.Add(-time.Hour), time.Time{})})
	s.looks("ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP", Observed{})
	s.expect("states", s.states(), "down power_down_force")
	s.expect("ended", s.do.Terminate, []string{"i-1"})
	s.expect("failures", s.mem.Failures["q/a"], 1)
}

// fakeStatusEC2 knows instances that are not well, and answers as EC2 does.
type fakeStatusEC2 struct {
	ec2API
	all   []types.InstanceStatus
	calls int
}

func (f *fakeStatusEC2) DescribeInstanceStatus(_ context.Context, in *ec2.DescribeInstanceStatusInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstanceStatusOutput, error) {
	f.calls++
	var found []types.InstanceStatus
	for _, s := range f.all {
		has := false
		for _, v := range in.Filters[0].Values {
			switch *in.Filters[0].Name {
			case "instance-status.status":
				has = has || string(s.InstanceStatus.Status) == v
			case "system-status.status":
				has = has || string(s.SystemStatus.Status) == v
			case "event.code":
				for _, e := range s.Events {
					has = has || string(e.Code) == v
				}
			}
		}
		if has {
			found = append(found, s)
		}
	}
	if len(found) > 1 && in.NextToken == nil {
		return &ec2.DescribeInstanceStatusOutput{InstanceStatuses: found[:1], NextToken: aws.String("1")}, nil
	}
	if in.NextToken != nil {
		found = found[1:]
	}
	return &ec2.DescribeInstanceStatusOutput{InstanceStatuses: found}, nil
}

func TestHealthOfInstances(t *testing.T) {
	summary := func(s types.SummaryStatus) *types.InstanceStatusSummary {
		return &types.InstanceStatusSummary{Status: s, Details: []types.InstanceStatusDetails{{ImpairedSince: aws.Time(noon)}}}
	}
	status := func(id string, instance, system types.SummaryStatus, events ...types.InstanceStatusEvent) types.InstanceStatus {
		return types.InstanceStatus{InstanceId: aws.String(id), InstanceStatus: summary(instance), SystemStatus: summary(system), Events: events}
	}
	event := func(code types.EventCode, text string) types.InstanceStatusEvent {
		return types.InstanceStatusEvent{Code: code, Description: aws.String(text), NotBefore: aws.Time(noon)}
	}
	api := &fakeStatusEC2{all: []types.InstanceStatus{
		status("i-1", "impaired", "ok"),
		status("i-2", "impaired", "impaired"),
		status("i-3", "ok", "ok", event("instance-retirement", "The instance is running on degraded hardware")),
		status("i-4", "ok", "ok", event("system-reboot", "[Completed] Scheduled reboot")),
	}}
	c := &EC2{API: api}
	got, err := c.Health(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, a := range got {
		list = append(list, a.Instance+" "+a.Check)
	}
	want := "i-1 ec2_health_check, i-2 ec2_health_check, i-2 ec2_system_check, i-3 scheduled_events_check"
	if s := strings.Join(list, ", "); s != want {
		t.Errorf("got %s, want %s", s, want)
	}
	if got[0].Since != noon || got[3].Until != noon || got[3].Text != "AWS has scheduled instance-retirement of instance i-3 for 2026-11-23 12:00 UTC" {
		t.Errorf("got %+v", got)
	}
}
