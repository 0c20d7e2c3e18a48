package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/cluster"
	"pcluster/internal/cluster/clustertest"
)

// follow returns what a watch sees, one line for each event.
func follow(t *testing.T, o *cluster.Operator, stackID string, begun cluster.Status) []string {
	t.Helper()
	var lines []string
	for e, err := range o.Watch(t.Context(), stackID, begun) {
		switch {
		case err != nil:
			lines = append(lines, "error: "+err.Error())
		case e.Boot != nil:
			lines = append(lines, fmt.Sprintf("%s %s %s", e.Boot.Node, e.Boot.Step, e.Boot.Status))
		default:
			lines = append(lines, strings.TrimSpace(e.Stack.LogicalID+" "+e.Stack.Status+" "+e.Stack.Reason))
		}
	}
	return lines
}

const nested = "arn:aws:cloudformation:us-east-1:111122223333:stack/demo-Queues/1"

func TestWatchShowsStackAndBootUntilTheEnd(t *testing.T) {
	cloud := clustertest.New()
	o := create(t, cloud, "demo")
	created, err := o.Describe(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	group := "/aws/parallelcluster/demo-202603141200"
	cloud.SetParameter("demo", "ClusterCWLogGroup", group)
	resource := func(id, physical, kind, status string) { cloud.Event("demo", id, physical, kind, status, "") }
	journal := func(text string) { cloud.Ship(group, "ip-10-0-0-5.i-0aa.boot", text) }
	cloud.Next = []func(){
		func() {
			for i := range 12 { // more than a page
				resource(fmt.Sprintf("Role%d", i), "r", "AWS::IAM::Role", "CREATE_COMPLETE")
			}
		},
		func() { resource("HeadNode", "", "AWS::EC2::Instance", "CREATE_IN_PROGRESS") },
		func() {
			resource("HeadNode", "i-0aa", "AWS::EC2::Instance", "CREATE_IN_PROGRESS")
			cloud.Ship(group, "ip-10-0-0-9.i-0bb.boot", `{"step":"of another node","status":"done"}`)
		},
		func() {
			journal(`{"time":"2026-03-14T12:00:01Z","step":"storage","status":"start"}`)
			journal(`no JSON`)
		},
		func() {},
		func() {
			journal(`{"time":"2026-03-14T12:00:03Z","step":"storage","status":"done","seconds":2}`)
			cloud.StackEvent("demo", "CREATE_COMPLETE", "")
		},
		func() { t.Error("looked on after the end") },
	}
	want := []string{"demo CREATE_IN_PROGRESS User Initiated"}
	for i := range 12 {
		want = append(want, fmt.Sprintf("Role%d CREATE_COMPLETE", i))
	}
	want = append(want, "HeadNode CREATE_IN_PROGRESS", "HeadNode CREATE_IN_PROGRESS",
		"ip-10-0-0-5 storage start", "ip-10-0-0-5 storage done", "demo CREATE_COMPLETE")
	if diff := cmp.Diff(want, follow(t, o, created.CloudformationStackArn, cluster.CreateInProgress)); diff != "" {
		t.Error(diff)
	}
}

func TestWatchOfADeletionSkipsTheCreation(t *testing.T) {
	cloud := clustertest.New()
	o := create(t, cloud, "demo")
	cloud.Event("demo", "HeadNode", "i-0aa", "AWS::EC2::Instance", "CREATE_COMPLETE", "")
	cloud.StackEvent("demo", "CREATE_COMPLETE", "")
	deleting, err := o.Delete(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	cloud.Next = []func(){
		func() { cloud.Event("demo", "HeadNode", "i-0aa", "AWS::EC2::Instance", "DELETE_COMPLETE", "") },
		func() { cloud.StackEvent("demo", "DELETE_COMPLETE", "") },
	}
	want := []string{"demo DELETE_IN_PROGRESS User Initiated", "HeadNode DELETE_COMPLETE", "demo DELETE_COMPLETE"}
	if diff := cmp.Diff(want, follow(t, o, deleting.Cluster.CloudformationStackArn, cluster.DeleteInProgress)); diff != "" {
		t.Error(diff)
	}
}

func TestWatchOfADeletionEndsWhenNothingIsLeftToAsk(t *testing.T) {
	cloud := clustertest.New()
	o := create(t, cloud, "demo")
	deleting, err := o.Delete(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	cloud.Next = []func(){func() {}, func() {
		cloud.Refuse["DescribeStackEvents"] = clustertest.Fault("ValidationError", "Stack [demo] does not exist")
	}}
	want := []string{"demo DELETE_IN_PROGRESS User Initiated", "demo DELETE_COMPLETE"}
	if diff := cmp.Diff(want, follow(t, o, deleting.Cluster.CloudformationStackArn, cluster.DeleteInProgress)); diff != "" {
		t.Error(diff)
	}
}

func TestWatchBearsALineThatIsLostForAWhile(t *testing.T) {
	cloud := clustertest.New()
	o := create(t, cloud, "demo")
	lost := func() {
		cloud.Refuse["DescribeStackEvents"] = errors.New("no route to host")
	}
	cloud.Next = []func(){lost, lost, lost, func() {
		delete(cloud.Refuse, "DescribeStackEvents")
		cloud.StackEvent("demo", "CREATE_COMPLETE", "")
	}}
	want := []string{"demo CREATE_IN_PROGRESS User Initiated", "demo CREATE_COMPLETE"}
	if diff := cmp.Diff(want, follow(t, o, "demo", cluster.CreateInProgress)); diff != "" {
		t.Error(diff)
	}
	lost()
	if got := follow(t, o, "demo", cluster.CreateInProgress); len(got) != 1 || got[0] != "error: no route to host" {
		t.Error(got)
	}
}

func TestWatchFollowsNestedStacks(t *testing.T) {
	cloud := clustertest.New()
	o := create(t, cloud, "demo")
	cloud.Nest("demo-Queues", nested)
	cloud.Next = []func(){
		func() {
			cloud.StackEvent(nested, "CREATE_IN_PROGRESS", "")
			cloud.Event("demo", "Queues", nested, "AWS::CloudFormation::Stack", "CREATE_IN_PROGRESS", "")
			cloud.Event(nested, "Template", "lt-1", "AWS::EC2::LaunchTemplate", "CREATE_COMPLETE", "")
		},
		func() {
			cloud.StackEvent(nested, "CREATE_COMPLETE", "")
			cloud.Event("demo", "Queues", nested, "AWS::CloudFormation::Stack", "CREATE_COMPLETE", "")
		},
		func() { cloud.StackEvent("demo", "CREATE_COMPLETE", "") },
	}
	got := strings.Join(follow(t, o, "demo", cluster.CreateInProgress), "\n")
	if !strings.Contains(got, "Template CREATE_COMPLETE") || !strings.HasSuffix(got, "demo CREATE_COMPLETE") {
		t.Error(got)
	}

	// The deletion of a nested stack does not tell of its creation either.
	if _, err := o.Delete(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	cloud.Next = []func(){
		func() { cloud.Event("demo", "Queues", nested, "AWS::CloudFormation::Stack", "DELETE_IN_PROGRESS", "") },
		func() {
			cloud.StackEvent(nested, "DELETE_IN_PROGRESS", "")
			cloud.Event(nested, "Template", "lt-1", "AWS::EC2::LaunchTemplate", "DELETE_COMPLETE", "")
		},
		func() { cloud.StackEvent("demo", "DELETE_COMPLETE", "") },
	}
	got = strings.Join(follow(t, o, "demo", cluster.DeleteInProgress), "\n")
	if strings.Contains(got, "CREATE_") || !strings.Contains(got, "Template DELETE_COMPLETE") {
		t.Error(got)
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	cloud := clustertest.New()
	o := create(t, cloud, "demo")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for _, err := range o.Watch(ctx, "demo", cluster.CreateInProgress) {
		cancel()
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Error(last)
	}
}
