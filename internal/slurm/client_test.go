package slurm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const shownNodes = `NodeName=debug-dy-t3micro-1 Arch=x86_64 CoresPerSocket=1  CPUAlloc=0 CPUEfctv=2 CPUTot=2 CPULoad=0.00 AvailableFeatures=dynamic,t3.micro ActiveFeatures=dynamic Gres=(null) NodeAddr=10.9.1.1 NodeHostName=debug-dy-t3micro-1 Version=24.11.5 OS=Linux 6.18 #1 SMP @0  RealMemory=972 AllocMem=0 FreeMem=22414 Sockets=2 Boards=1 State=DOWN+CLOUD+NOT_RESPONDING+POWERING_UP ThreadsPerCore=1 TmpDisk=0 Weight=1000 Owner=N/A MCS_label=N/A Partitions=debug,all  BootTime=2026-11-23T02:51:08 SlurmdStartTime=2026-11-23T02:51:08 LastBusyTime=Unknown ResumeAfterTime=None CfgTRES=cpu=2,mem=972M,billing=2 AllocTRES= CurrentWatts=0 AveWatts=0  Reason=(Code:InsufficientInstanceCapacity)State=odd, resuming nodes [root@2026-11-23T02:53:41] InstanceId=i-123 InstanceType=t3.micro
NodeName=q-st-c-1 CoresPerSocket=1  NodeAddr=q-st-c-1 NodeHostName=q-st-c-1  State=IDLE+CLOUD+POWERED_DOWN ThreadsPerCore=1 Partitions=q  BootTime=None SlurmdStartTime=None LastBusyTime=Unknown

`

func TestParseNodes(t *testing.T) {
	want := []Node{{
		Name: "debug-dy-t3micro-1", Addr: "10.9.1.1", Hostname: "debug-dy-t3micro-1",
		State: "DOWN+CLOUD+NOT_RESPONDING+POWERING_UP", Partitions: []string{"debug", "all"},
		Reason: "(Code:InsufficientInstanceCapacity)State=odd, resuming nodes", InstanceID: "i-123",
		SlurmdStarted: time.Date(2026, 11, 23, 2, 51, 8, 0, time.Local),
	}, {
		Name: "q-st-c-1", Addr: "q-st-c-1", Hostname: "q-st-c-1",
		State: "IDLE+CLOUD+POWERED_DOWN", Partitions: []string{"q"},
	}}
	if diff := cmp.Diff(want, parseNodes(shownNodes)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestStates(t *testing.T) {
	for _, tt := range []struct {
		state State
		is    string // names of the predicates that hold
	}{
		{"IDLE+CLOUD", "ready"},
		{"MIXED+CLOUD", "ready job"},
		{"MIXED+CLOUD+NOT_RESPONDING", "job"},
		{"MIXED+CLOUD+NOT_RESPONDING+POWERING_UP", "job up"},
		{"IDLE+CLOUD+POWERED_DOWN", "off"},
		{"IDLE+CLOUD+POWERING_DOWN", "going"},
		{"IDLE+CLOUD+DRAIN+POWER_DOWN", "going drained"},
		{"DOWN+CLOUD", "down"},
		{"DOWN+CLOUD+NOT_RESPONDING+POWERING_UP", "down up"},
		{"DOWN+CLOUD+POWERED_DOWN", "down off"},
		{"DOWN+CLOUD+POWERING_DOWN", "going"},
		{"IDLE+CLOUD+DRAIN", "drained ready"},
		{"ALLOCATED+CLOUD+DRAIN", "job ready"},
		{"IDLE+CLOUD+REBOOT_ISSUED", "ready reboot"},
	} {
		holds := map[string]bool{
			"ready": tt.state.Ready(), "job": tt.state.HasJob(), "up": tt.state.PoweringUp(), "off": tt.state.PoweredDown(),
			"going": tt.state.PoweringDown(), "down": tt.state.Down(), "drained": tt.state.Drained(), "reboot": tt.state.Rebooting(),
		}
		for name, got := range holds {
			if want := strings.Contains(" "+tt.is+" ", " "+name+" "); got != want {
				t.Errorf("%s: %s is %v, want %v", tt.state, name, got, want)
			}
		}
	}
}

func TestUpdatesAreBatchedAndFailApart(t *testing.T) {
	var ran []string
	c := &Client{Run: func(_ context.Context, stdin, name string, args ...string) (string, error) {
		ran = append(ran, stdin)
		if strings.Contains(stdin, "nonsense") {
			return "", errors.New("exit status 1: slurm_update error: Invalid node name specified")
		}
		return "", nil
	}}
	err := c.UpdateNodes(t.Context(),
		NodeUpdate{Nodes: []string{"q-dy-c-2", "q-dy-c-1"}, Addrs: []string{"10.0.0.2", "10.0.0.1"}},
		NodeUpdate{Nodes: []string{"q-dy-c-3", "q-dy-c-4"}, State: StateDown, Reason: "(Code:X) said \"no\"\n"},
		NodeUpdate{Nodes: []string{"nonsense"}, State: StatePowerDownForce})
	if err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.Contains(err.Error(), "nodename=nonsense state=power_down_force") {
		t.Errorf("error does not name the one update that failed: %v", err)
	}
	want := []string{
		"update nodename=q-dy-c-2,q-dy-c-1 nodeaddr=10.0.0.2,10.0.0.1\n" +
			"update nodename=q-dy-c-[3-4] state=down reason=\"(Code:X) said 'no' \"\n" +
			"update nodename=nonsense state=power_down_force\n",
		"update nodename=q-dy-c-2,q-dy-c-1 nodeaddr=10.0.0.2,10.0.0.1\n",
		"update nodename=q-dy-c-[3-4] state=down reason=\"(Code:X) said 'no' \"\n",
		"update nodename=nonsense state=power_down_force\n",
	}
	if diff := cmp.Diff(want, ran); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestConfiguringJobs(t *testing.T) {
	c := &Client{Run: func(context.Context, string, string, ...string) (string, error) {
		return "4|debug-dy-t3micro-[2-3]\n5|\n6|q-st-c-1\n", nil
	}}
	got, err := c.ConfiguringJobs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []Job{{"4", []string{"debug-dy-t3micro-2", "debug-dy-t3micro-3"}}, {"6", []string{"q-st-c-1"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestJobsKeepTheirPlaces shows what slurmctld is told of jobs that came back.
func TestJobsKeepTheirPlaces(t *testing.T) {
	var told string
	c := &Client{Run: func(_ context.Context, stdin, name string, _ ...string) (string, error) {
		if strings.HasSuffix(name, "squeue") {
			return "7|1|0|PD|BeginTime\n8|900|-5|PD|BeginTime\n9|1000|0|PD|Resources\n11|10|0|CG|None\n", nil
		}
		told = stdin
		return "", nil
	}}
	before := []Place{{"7", 1, 0}, {"8", 1000, 0}, {"9", 10, 0}, {"10", 10, 0}, {"11", 10, 0}}
	for after, want := range map[time.Duration]string{
		2 * time.Second: "update jobid=7 starttime=now+2 nice=-2\n" + // before others of its priority
			"update jobid=8 starttime=now+2 nice=-107\n" + // it has lost its age
			"update jobid=9 starttime=now+2\n" + // it is before the others already
			"update jobid=11 starttime=now+2\n", // it still ends on some nodes; 10 is over
		0: "update jobid=7 starttime=now+0 nice=-2\nupdate jobid=8 starttime=now+0 nice=-107\n",
	} {
		if err := c.StartJobs(t.Context(), after, before...); err != nil || told != want {
			t.Errorf("after %v: told %s, want %s, %v", after, told, want, err)
		}
	}
	got, err := c.JobsOn(t.Context(), "n1")
	if diff := cmp.Diff([]Place{{"7", 1, 0}, {"8", 900, -5}, {"9", 1000, 0}, {"11", 10, 0}}, got); diff != "" || err != nil {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
}

func TestJobsThatCanNotBeRead(t *testing.T) {
	for _, text := range []string{"slurm_load_jobs error\n", "7|x|0|PD|None\n", "7|1|y|PD|None\n"} {
		c := &Client{Run: func(context.Context, string, string, ...string) (string, error) { return text, nil }}
		if got, err := c.JobsOn(t.Context(), "n1"); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
}
