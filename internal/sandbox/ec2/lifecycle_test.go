package ec2

import (
	"encoding/base64"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/machine"
	"pcluster/internal/sandbox/store"
)

func TestInstanceIsPendingAtOnceAndRunsWhenItsMachineBooted(t *testing.T) {
	r := newRegion(t)
	r.machines.hold = make(chan struct{})
	out := ok[*sdk.RunInstancesOutput](t)(r.RunInstances(t.Context(), r.request(1)))
	i := out.Instances[0]
	if i.State.Name != types.InstanceStateNamePending || aws.ToString(i.PrivateIpAddress) == "" || *i.PrivateDnsName == "" {
		t.Errorf("launched as %s with address %q", i.State.Name, aws.ToString(i.PrivateIpAddress))
	}
	close(r.machines.hold)
	r.settle()
	if got := r.stateOf(*i.InstanceId); got != types.InstanceStateNameRunning {
		t.Errorf("after boot: %s", got)
	}
	spec := r.machines.up[*i.InstanceId]
	if spec.VCPUs != 2 || spec.MemoryMiB != 1024 || spec.TypeName != "t3.micro" || spec.Hostname != "ip-10-0-1-4" ||
		spec.Interfaces[0].Addr.String() != *i.PrivateIpAddress || spec.Interfaces[0].Subnet.String() != "10.0.1.0/24" ||
		!slices.Equal(spec.Interfaces[0].GroupIDs, []string{testGroup}) || !slices.Equal(spec.Layers, []string{"/images/base"}) {
		t.Errorf("machine: %+v", spec)
	}
	if len(spec.Files) != 2 || !strings.Contains(string(spec.Files[0].Content), "name: ec2-user") || string(spec.Files[1].Content) != "alinux2023\n" {
		t.Errorf("files of the image: %+v", spec.Files)
	}
}

func TestHowInstancesEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		behavior types.ShutdownBehavior
		end      func(r *testRegion, id string)
		want     types.InstanceStateName
		reason   string
	}{
		"shut down from inside, to stop": {
			"stop", func(r *testRegion, id string) { r.machines.end(id, machine.PoweredOff) },
			types.InstanceStateNameStopped, "Client.InstanceInitiatedShutdown",
		},
		"shut down from inside, to terminate": {
			"terminate", func(r *testRegion, id string) { r.machines.end(id, machine.PoweredOff) },
			types.InstanceStateNameTerminated, "Client.InstanceInitiatedShutdown",
		},
		"default is to stop": {
			"", func(r *testRegion, id string) { r.machines.end(id, machine.PoweredOff) },
			types.InstanceStateNameStopped, "Client.InstanceInitiatedShutdown",
		},
		"machine dies": {
			"stop", func(r *testRegion, id string) { r.machines.end(id, machine.Died) },
			types.InstanceStateNameTerminated, "Server.InternalError",
		},
		"machine is stopped by someone else": {
			"stop", func(r *testRegion, id string) { r.machines.end(id, machine.Stopped) },
			types.InstanceStateNameTerminated, "Server.InternalError",
		},
		"rebooted from inside": {
			"terminate", func(r *testRegion, id string) { r.machines.end(id, machine.Rebooted) },
			types.InstanceStateNameRunning, "",
		},
		"rebooted by the API": {
			"terminate", func(r *testRegion, id string) {
				ok[*sdk.RebootInstancesOutput](r.t)(r.RebootInstances(r.t.Context(), &sdk.RebootInstancesInput{InstanceIds: []string{id}}))
			},
			types.InstanceStateNameRunning, "",
		},
		"stopped by the API": {
			"terminate", func(r *testRegion, id string) {
				ok[*sdk.StopInstancesOutput](r.t)(r.StopInstances(r.t.Context(), &sdk.StopInstancesInput{InstanceIds: []string{id}}))
			},
			types.InstanceStateNameStopped, "Client.UserInitiatedShutdown",
		},
		"terminated by the API": {
			"stop", func(r *testRegion, id string) {
				ok[*sdk.TerminateInstancesOutput](r.t)(r.TerminateInstances(r.t.Context(), &sdk.TerminateInstancesInput{InstanceIds: []string{id}}))
			},
			types.InstanceStateNameTerminated, "Client.UserInitiatedShutdown",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegion(t)
			in := r.request(1)
			in.InstanceInitiatedShutdownBehavior = tt.behavior
			id := r.run1(in)
			tt.end(r, id)
			r.settle()
			i := r.instance(id)
			if i.State.Name != tt.want {
				t.Errorf("state %s, want %s", i.State.Name, tt.want)
			}
			reason := ""
			if i.StateReason != nil {
				reason = *i.StateReason.Code
			}
			if reason != tt.reason {
				t.Errorf("reason %q, want %q", reason, tt.reason)
			}
			_, up := r.machines.up[id]
			if up != (tt.want == types.InstanceStateNameRunning) {
				t.Errorf("machine up: %v", up)
			}
			_, disk := r.machines.disks[id]
			if disk == (tt.want == types.InstanceStateNameTerminated) {
				t.Errorf("disk kept: %v", disk)
			}
		})
	}
}

func TestTerminatedInstanceLeavesNothing(t *testing.T) {
	r := newRegion(t)
	in := r.request(1)
	in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sdf"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(5)}}}
	id := r.run1(in)
	i := r.instance(id)
	if len(i.BlockDeviceMappings) != 2 || len(r.machines.volumes[id]) != 1 {
		t.Fatalf("devices %+v, machine's volumes %+v", i.BlockDeviceMappings, r.machines.volumes[id])
	}
	ok[*sdk.TerminateInstancesOutput](t)(r.TerminateInstances(t.Context(), &sdk.TerminateInstancesInput{InstanceIds: []string{id}}))
	r.settle()
	i = r.instance(id)
	if i.PrivateIpAddress != nil || i.SubnetId != nil || len(i.NetworkInterfaces)+len(i.BlockDeviceMappings) > 0 {
		t.Errorf("still has %+v", i)
	}
	if r.volumes.rows.Len() != 0 || r.enis.rows.Len() != 0 {
		t.Errorf("%d volumes and %d interfaces are left", r.volumes.rows.Len(), r.enis.rows.Len())
	}
	if g := r.net.group(testGroup); len(g.Members) != 0 {
		t.Errorf("group still has members %v", g.Members)
	}
	console := ok[*sdk.GetConsoleOutputOutput](t)(r.GetConsoleOutput(t.Context(), &sdk.GetConsoleOutputInput{InstanceId: &id}))
	if text, _ := base64.StdEncoding.DecodeString(*console.Output); string(text) != "booted\n" {
		t.Errorf("console %q", text)
	}

	r.clock.advance(terminatedFor + time.Second)
	_, err := r.DescribeInstances(t.Context(), &sdk.DescribeInstancesInput{InstanceIds: []string{id}})
	refused(t, err, "InvalidInstanceID.NotFound")
}

func TestStoppedInstanceKeepsItsDiskAndAddress(t *testing.T) {
	r := newRegion(t)
	id := r.run1(r.request(1))
	before := r.instance(id)
	ids := []string{id}
	ok[*sdk.StopInstancesOutput](t)(r.StopInstances(t.Context(), &sdk.StopInstancesInput{InstanceIds: ids}))
	r.settle()
	ok[*sdk.StartInstancesOutput](t)(r.StartInstances(t.Context(), &sdk.StartInstancesInput{InstanceIds: ids}))
	r.settle()
	after := r.instance(id)
	if after.State.Name != types.InstanceStateNameRunning || *after.PrivateIpAddress != *before.PrivateIpAddress {
		t.Errorf("%s with %s, before %s", after.State.Name, *after.PrivateIpAddress, *before.PrivateIpAddress)
	}
	if got := len(r.machines.boots); got != 2 {
		t.Errorf("%d boots", got)
	}
}

func TestMachineThatDoesNotBootEndsItsInstance(t *testing.T) {
	r := newRegion(t)
	r.machines.broken["t3.micro"] = true
	id := r.run1(r.request(1))
	i := r.instance(id)
	if i.State.Name != types.InstanceStateNameTerminated || *i.StateReason.Code != "Server.InternalError" {
		t.Errorf("%s, %+v", i.State.Name, i.StateReason)
	}
}

func TestTerminationDoesNotWaitForTheBoot(t *testing.T) {
	r := newRegion(t)
	r.machines.hold = make(chan struct{}) // never closed
	out := ok[*sdk.RunInstancesOutput](t)(r.RunInstances(t.Context(), r.request(6)))
	var ids []string
	for _, i := range out.Instances {
		ids = append(ids, *i.InstanceId)
	}
	ok[*sdk.TerminateInstancesOutput](t)(r.TerminateInstances(t.Context(), &sdk.TerminateInstancesInput{InstanceIds: ids}))
	r.settle()
	for _, id := range ids {
		if got := r.stateOf(id); got != types.InstanceStateNameTerminated {
			t.Errorf("%s is %s", id, got)
		}
	}
}

func TestBootsAtTheSameTimeAreLimited(t *testing.T) {
	r := newRegion(t)
	r.runAll(r.request(20))
	if r.machines.most > 4 {
		t.Errorf("%d machines booted at the same time", r.machines.most)
	}
}

func TestDaemonFindsItsMachinesAgain(t *testing.T) {
	r := newRegion(t)
	ids := r.runAll(r.request(3))
	r.shut()
	r.machines.mu.Lock()
	r.machines.exited = nil
	delete(r.machines.up, ids[1]) // died while nobody looked
	r.machines.up["i-0orphan"] = machine.Spec{ID: "i-0orphan"}
	r.machines.mu.Unlock()
	boots := len(r.machines.boots)

	r.open()
	eventually(t, func() bool { return r.stateOf(ids[1]) == types.InstanceStateNameTerminated })
	for n, want := range []types.InstanceStateName{"running", "terminated", "running"} {
		if got := r.stateOf(ids[n]); got != want {
			t.Errorf("instance %d is %s, want %s", n, got, want)
		}
	}
	if len(r.machines.boots) != boots {
		t.Errorf("machines were booted again")
	}
	if _, ok := r.machines.up["i-0orphan"]; ok {
		t.Error("machine without an instance still runs")
	}
	if _, ok := r.ByAddress(r.machines.up[ids[0]].Interfaces[0].Addr); !ok {
		t.Error("its address is not known any more")
	}
}

func TestPendingInstanceBootsAfterRestartOfTheDaemon(t *testing.T) {
	r := newRegion(t)
	r.machines.hold = make(chan struct{})
	out := ok[*sdk.RunInstancesOutput](t)(r.RunInstances(t.Context(), r.request(2)))
	r.shut()
	r.machines.hold = nil
	r.open()
	r.settle()
	for _, i := range out.Instances {
		if got := r.stateOf(*i.InstanceId); got != types.InstanceStateNameRunning {
			t.Errorf("%s is %s", *i.InstanceId, got)
		}
	}
}

func TestDownAndUp(t *testing.T) {
	r := newRegion(t)
	in := r.request(3)
	in.InstanceInitiatedShutdownBehavior = "terminate"
	ids := r.runAll(in)
	ok[*sdk.StopInstancesOutput](t)(r.StopInstances(t.Context(), &sdk.StopInstancesInput{InstanceIds: ids[:1]}))
	if err := r.StopAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(r.machines.up); n != 0 {
		t.Errorf("%d machines still run", n)
	}
	r.shut()
	r.open()
	r.settle()
	for n, want := range []types.InstanceStateName{"stopped", "running", "running"} {
		if got := r.stateOf(ids[n]); got != want {
			t.Errorf("instance %d is %s, want %s", n, got, want)
		}
	}
}

func TestRebootThatNobodySawIsFinished(t *testing.T) {
	r := newRegion(t)
	in := r.request(1)
	in.InstanceInitiatedShutdownBehavior = "terminate"
	id := r.run1(in)
	r.shut()
	r.machines.mu.Lock()
	r.machines.exited = nil
	delete(r.machines.up, id)
	r.machines.mu.Unlock()
	r.open()
	r.Exited(t.Context(), machine.Exit{ID: id, Reason: machine.Rebooted}) // as the manager says when it is opened
	r.settle()
	time.Sleep(newsWithin + 100*time.Millisecond)
	r.settle()
	if got := r.stateOf(id); got != types.InstanceStateNameRunning || len(r.machines.boots) != 2 {
		t.Errorf("%s after %d boots", got, len(r.machines.boots))
	}
}

// A daemon that dies while it writes a launch down leaves some rows. What the next
// one finds must be in order, and the repeated request must get what it asked for.
func TestLaunchThatDiedHalfWay(t *testing.T) {
	r := newRegion(t)
	in := r.request(3)
	in.ClientToken = aws.String("half")
	in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sdf"), Ebs: &types.EbsBlockDevice{VolumeSize: aws.Int32(1)}}}
	ids := r.runAll(in)
	r.shut()
	r.machines.mu.Lock()
	r.machines.exited = nil
	for _, id := range ids[1:] {
		delete(r.machines.up, id)
		delete(r.machines.disks, id)
	}
	r.machines.mu.Unlock()
	db, err := store.Open(filepath.Join(r.dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	var rows *table[instance]
	if err := errors.Join(open(db, "ec2.instances", &rows), rows.delete(ids[1]), rows.delete(ids[2]), db.Close()); err != nil {
		t.Fatal(err)
	}

	r.open()
	r.settle()
	if r.enis.rows.Len() != 1 || r.volumes.rows.Len() != 2 {
		t.Errorf("%d interfaces and %d volumes of one instance", r.enis.rows.Len(), r.volumes.rows.Len())
	}
	again := r.runAll(in)
	if !slices.Equal(again, ids) {
		t.Errorf("repeated: %v, want %v", again, ids)
	}
	for _, id := range ids {
		if got := r.stateOf(id); got != types.InstanceStateNameRunning {
			t.Errorf("%s is %s", id, got)
		}
	}
	r.checkOrder(t)
}
