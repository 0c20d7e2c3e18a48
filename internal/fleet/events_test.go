package fleet

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// eventful is an event log and what it writes.
type eventful struct {
	EventLog
	manager, resume bytes.Buffer
	now             time.Time
}

func newEventful() *eventful {
	e := &eventful{now: noon}
	e.EventLog = EventLog{Manager: &e.manager, Resume: &e.resume, Cluster: "demo", InstanceID: "i-head", Now: func() time.Time { return e.now }}
	return e
}

// disturbed is a fleet to which about everything has happened.
func (e *eventful) disturbed(p Policy) {
	of := func(node string) map[string]string { return map[string]string{"i-" + node: node} }
	e.happened([]record.Entry{
		{What: record.Lost, Nodes: "q-dy-a-1", Why: "instance i-1 is terminated"},
		{What: record.Replaced, Nodes: "q-dy-a-2", Why: "it is down: Not responding"},
		{What: record.StartFailed, Nodes: "q-dy-a-3", Instances: of("q-dy-a-3"), Code: tookTooLong},
		{What: record.StartFailed, Nodes: "q-st-a-1", Instances: of("q-st-a-1"), Code: tookTooLong},
		{What: record.StartFailed, Nodes: "q-dy-a-4", Instances: of("q-dy-a-4")},
		{What: record.Terminated, Nodes: "q-st-a-1", Instances: of("q-st-a-1"), Why: "why"},
		{What: record.Assigned, Nodes: "q-st-a-2", Instances: of("q-st-a-2")},
	}, &p)
	e.refuse([]NodeFailure{
		{Node: "q-st-a-1", Code: "UnauthorizedOperation"},
		{Node: "q-dy-b-1", Code: InsufficientCapacity}, {Node: "q-dy-b-2", Code: LimitedCapacity}, {Node: "q-dy-b-3", Code: "VcpuLimitExceeded"},
		{Node: "q-dy-b-4", Code: "VolumeLimitExceeded"}, {Node: "q-dy-b-5", Code: "InternalError"},
	})
	mem := NewMemory(noon).clone()
	mem.Warnings["q-dy-a-5"] = Warning{Ailment: Ailment{Check: SystemCheck}}
	mem.Warnings["q-dy-a-6"] = Warning{Ailment: Ailment{Check: EventCheck}}
	mem.Warnings["q-dy-a-7"] = Warning{Ailment: Ailment{Check: SpotNotice}}
	mem.Assigned["q-dy-a-8"] = Assignment{Node: "q-dy-a-8", Instance: "i-8", Addr: "10.0.0.8", Hostname: "ip-10-0-0-8", Since: noon}
	view := &SlurmView{At: noon, Nodes: []slurm.Node{
		{Name: "q-dy-a-8", Addr: "10.0.0.8", Hostname: "q-dy-a-8", State: "IDLE+CLOUD", Partitions: []string{"q"}, LastBusy: noon.Add(-90 * time.Second)},
		{Name: "q-dy-a-9", State: "IDLE+CLOUD", LastBusy: noon.Add(-30 * time.Second)},
		{Name: "q-dy-a-10", State: "IDLE+CLOUD+POWERED_DOWN", LastBusy: noon.Add(-time.Hour)},
		{Name: "login", State: "IDLE", LastBusy: noon.Add(-time.Hour)},
		{Name: "q-st-a-1", State: "DOWN+CLOUD+NOT_RESPONDING", Reason: "gone"},
	}}
	e.loop(view, &EC2View{At: noon, Instances: []Instance{{ID: "i-8", Launched: noon.Add(-time.Minute)}}}, &mem, &p)
}

func TestEventsHaveParallelClustersShapes(t *testing.T) {
	for name, debug := range map[string]bool{"events": false, "events-debug": true} {
		t.Run(name, func(t *testing.T) {
			e := newEventful()
			p := policy(AllOrNothing)
			p.DebugEvents = debug
			e.disturbed(p)
			got := "clustermgtd.events\n" + e.manager.String() + "slurm_resume.events\n" + e.resume.String()
			path := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEventsAreCountedOnce is about metrics that are sums of events.
func TestEventsAreCountedOnce(t *testing.T) {
	e := newEventful()
	p := policy(AllOrNothing)
	lost := []record.Entry{{What: record.Lost, Nodes: "q-dy-a-1"}}
	mem := NewMemory(noon)
	look := func() { e.loop(&SlurmView{At: e.now}, nil, &mem, &p) }
	look()
	for range 24 { // two minutes
		e.now = e.now.Add(5 * time.Second)
		e.happened(lost, &p)
		lost = nil
		look()
	}
	var total int
	for line := range strings.Lines(e.manager.String()) {
		var got struct {
			Type   string `json:"event-type"`
			Detail struct{ Count int }
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		if got.Type == "invalid-backing-instance-count" {
			total += got.Detail.Count
		}
	}
	if total != 1 {
		t.Errorf("%d lost instances were counted, want 1:\n%s", total, e.manager.String())
	}
}

func TestAnIdleFleetWritesLittleEachMinute(t *testing.T) {
	e := newEventful()
	p := policy(AllOrNothing)
	mem := NewMemory(noon)
	for range 12 {
		e.now = e.now.Add(5 * time.Second)
		e.loop(&SlurmView{At: e.now, Nodes: []slurm.Node{{Name: "q-st-a-1", State: "IDLE+CLOUD"}}}, nil, &mem, &p)
	}
	var types []string
	for line := range strings.Lines(e.manager.String()) {
		var got struct {
			Type string `json:"event-type"`
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		types = append(types, got.Type)
	}
	if diff := cmp.Diff([]string{"clustermgtd-heartbeat", "compute-node-idle-time"}, types); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
