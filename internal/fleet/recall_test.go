package fleet

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"pcluster/internal/slurm"
)

// lostMemory is a fleet that remembers nothing, and has read the table of names.
func lostMemory(t *testing.T, recorded map[string]string) *story {
	s := newStory(t, AllOrNothing)
	s.step(Observed{Restarted: true, Recorded: recorded})
	return s
}

func fleetInstance(id, addr string) Instance {
	return Instance{ID: id, State: "running", Addr: addr, Queue: "q", Resource: "a", Token: "of " + id, Launched: noon.Add(-time.Hour)}
}

func TestANodeIsNotLaunchedBesideItsForgottenInstance(t *testing.T) {
	s := lostMemory(t, map[string]string{"q-dy-a-1": "i-1", "q-dy-a-2": "i-2"})
	s.step(Observed{Resumed: []Request{request(job("7", "q-dy-a-1"))}})
	s.expect("ends of what may not live any more", s.do.Terminate, []string(nil))
	_, ending := s.mem.Ending["i-1"]
	s.expect("it is to end, if it does", ending, true)
	one, two := fleetInstance("i-1", "10.0.0.1"), fleetInstance("i-2", "10.0.0.2")
	busy := slurm.Node{Name: "q-dy-a-2", Addr: "elsewhere", State: "DOWN+CLOUD", Partitions: []string{"q"}, Reason: "mine"}
	s.policy.KeepDown = true
	s.now = s.now.Add(repeatTermination)
	s.step(Observed{Slurm: s.view(busy), EC2: s.ec2(one, two)})
	s.expect("it ends when it is seen", s.do.Terminate, []string{"i-1"})

	s.step(Observed{Resumed: []Request{request(job("8", "q-dy-a-2"))}})
	s.expect("what is seen already ends at once", s.do.Terminate, []string{"i-2"})
	s.expect("and the node is launched", s.launching("q-dy-a-2"), true)
}

func TestForgottenInstancesOfNodesThatAreOffEndSoon(t *testing.T) {
	s := lostMemory(t, map[string]string{"q-dy-a-1": "i-1", "q-dy-a-2": "i-2", "q-dy-a-3": "i-3"})
	off := slurm.Node{Name: "q-dy-a-1", Addr: "q-dy-a-1", State: "IDLE+CLOUD+POWERED_DOWN", Partitions: []string{"q"}}
	on := slurm.Node{Name: "q-dy-a-2", Addr: "10.0.0.2", State: "ALLOCATED+CLOUD", Partitions: []string{"q"}}
	silent := slurm.Node{Name: "q-dy-a-3", Addr: "10.0.0.9", State: "DOWN+CLOUD+NOT_RESPONDING", Partitions: []string{"q"}, Reason: "mine"}
	s.policy.KeepDown = true
	live := []Instance{fleetInstance("i-1", "10.0.0.1"), fleetInstance("i-2", "10.0.0.2"), fleetInstance("i-3", "10.0.0.3")}
	look := func() { s.step(Observed{Slurm: s.view(off, on, silent), EC2: s.ec2(live...)}) }
	look()
	s.now = s.now.Add(orphanGrace)
	look()
	s.expect("only that of the node that is off", s.do.Terminate, []string{"i-1"})
	s.expect("owner", s.mem.Assigned["q-dy-a-2"].Instance, "i-2")
	live = live[1:]
	s.now = s.now.Add(DefaultPolicy().OrphanTimeout)
	look()
	s.expect("what may have been somebody's, later", s.do.Terminate, []string{"i-3"})
}

func TestAnAddressUsedAgainIsNotTakenForTheNodes(t *testing.T) {
	s := lostMemory(t, map[string]string{"q-dy-a-1": "i-1", "q-dy-a-2": "i-2"})
	lost := slurm.Node{Name: "q-dy-a-1", Addr: "10.0.0.1", State: "ALLOCATED+CLOUD", Partitions: []string{"q"}}
	s.step(Observed{Slurm: s.view(lost), EC2: s.ec2(fleetInstance("i-2", "10.0.0.1"))})
	s.expect("owner", s.mem.Assigned["q-dy-a-1"].Instance, "")
	s.expect("the node is lost", s.do.Nodes, []slurm.NodeUpdate{
		{Nodes: []string{"q-dy-a-1"}, State: slurm.StateDown, Reason: "pcluster: no instance of the fleet has its address"},
		{Nodes: []string{"q-dy-a-1"}, State: slurm.StatePowerDownForce},
	})
}

// Whatever else is to be said of a node that is not off, its instance is its own.
func TestForgottenInstancesOfNodesInEveryStateAreKept(t *testing.T) {
	for _, state := range []slurm.State{
		"IDLE+CLOUD+MAINTENANCE", "MIXED+CLOUD+MAINT", "ALLOCATED+CLOUD+POWER_DOWN", "ALLOCATED+CLOUD+DRAIN", "DOWN+CLOUD", "IDLE+CLOUD+NOT_RESPONDING",
		"ALLOCATED+CLOUD+NOT_RESPONDING+POWERING_UP", "IDLE+CLOUD+REBOOT_ISSUED", "MIXED+CLOUD+COMPLETING",
	} {
		t.Run(string(state), func(t *testing.T) {
			s := lostMemory(t, map[string]string{"q-dy-a-1": "i-1"})
			s.policy.KeepDown = true
			n := slurm.Node{Name: "q-dy-a-1", Addr: "10.0.0.1", State: state, Partitions: []string{"q"}}
			for range 3 {
				s.step(Observed{Slurm: s.view(n), EC2: s.ec2(fleetInstance("i-1", "10.0.0.1"))})
				s.expect("terminated", s.do.Terminate, []string(nil))
				s.now = s.now.Add(DefaultPolicy().OrphanTimeout)
			}
			s.expect("owner", s.mem.Assigned["q-dy-a-1"].Instance, "i-1")
		})
	}
}

func TestRowsOfInstancesThatAreGoneAreForgotten(t *testing.T) {
	s := lostMemory(t, map[string]string{"q-dy-a-1": "i-1", "q-dy-a-2": "i-2", "alien": "i-3"})
	s.expect("recorded", s.mem.Recorded, map[string]string{"q-dy-a-1": "i-1", "q-dy-a-2": "i-2"})
	gone := fleetInstance("i-2", "10.0.0.2")
	gone.State = "terminated"
	s.step(Observed{Slurm: s.view(), EC2: s.ec2(gone)})
	s.expect("EC2 may not show the one yet, and the other has ended", s.mem.Recorded, map[string]string{"q-dy-a-1": "i-1"})
	s.now = s.now.Add(DefaultPolicy().MissingTimeout)
	s.step(Observed{Slurm: s.view(), EC2: s.ec2()})
	s.expect("recorded in the end", s.mem.Recorded, map[string]string{})
	s.expect("the table is not read again", s.mem.Recalled, true)
}

// rowTable is a table that returns a part of what it is asked for.
type rowTable struct {
	dynamoAPI
	rows map[string]string
}

func (r *rowTable) BatchGetItem(_ context.Context, in *dynamodb.BatchGetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error) {
	out := &dynamodb.BatchGetItemOutput{Responses: make(map[string][]map[string]ddb.AttributeValue)}
	for table, asked := range in.RequestItems {
		keys := asked.Keys
		if len(keys) > 100 {
			return nil, &smithy.GenericAPIError{Code: "ValidationException", Message: "Too many items requested for the BatchGetItem call"}
		}
		if len(keys) > 60 {
			out.UnprocessedKeys = map[string]ddb.KeysAndAttributes{table: {Keys: keys[60:]}}
			keys = keys[:60]
		}
		for _, k := range keys {
			node := k["Id"].(*ddb.AttributeValueMemberS)
			if id, ok := r.rows[node.Value]; ok {
				out.Responses[table] = append(out.Responses[table], map[string]ddb.AttributeValue{"Id": node, "InstanceId": &ddb.AttributeValueMemberS{Value: id}})
			}
		}
	}
	return out, nil
}

func TestRowsAreReadInPieces(t *testing.T) {
	want := make(map[string]string)
	nodes := []string{"never-started"}
	for i := range 100 {
		want[fmt.Sprintf("q-dy-a-%d", i)] = fmt.Sprintf("i-%d", i)
		nodes = append(nodes, fmt.Sprintf("q-dy-a-%d", i))
	}
	r := &Records{DynamoDB: &rowTable{rows: want}, Table: "t"}
	if got, err := r.Recorded(t.Context(), nodes); err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

// A fleet without a memory does nothing before the table has answered.
func TestATableThatDoesNotAnswerIsWaitedFor(t *testing.T) {
	t.Parallel()
	h := newHouse(t, 3)
	h.registry.silent = 1
	h.registry.table["q-dy-a-1"] = "i-old"
	h.start()
	h.resume()
	h.until("addresses in Slurm", func() bool { return h.slurm.node("q-dy-a-2").Addr != "q-dy-a-2" })
	h.stop()
	mem, err := (&stateFile{path: filepath.Join(h.dir, "fleet.json")}).load(noon)
	if err != nil {
		t.Fatal(err)
	}
	if _, ending := mem.Ending["i-old"]; !ending || !mem.Recalled {
		t.Errorf("the memory knows nothing of the table: %+v", mem)
	}
}
