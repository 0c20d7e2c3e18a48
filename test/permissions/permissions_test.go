// Package permissions holds the policies that we publish for users (docs/iam) against
// what a cluster's life asked permission for in a region.
//
// The record in testdata is made from what `pcluster sandbox up --record FILE` wrote
// while the user of the policies created, used and deleted a cluster:
//
//	go test ./test/permissions -record FILE
//
// and docs/aws-calls.md from that record, with -update.
package permissions

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pcluster/internal/sandbox/iam/policy"
)

var (
	recorded = flag.String("record", "", "make testdata of this record of a region")
	update   = flag.Bool("update", false, "write docs/aws-calls.md")
)

const (
	testdata = "testdata/life.jsonl"
	table    = "../../docs/aws-calls.md"
)

// A need is one permission that a call asked for.
type need struct {
	Caller    string // pcluster, CloudFormation, head node, compute node, clean-up function
	Operation string // service and operation
	Request   policy.Request
}

// callers are who the roles of a cluster belong to, by a part of their names.
var callers = []struct{ part, name string }{
	{"CleanupResources", "clean-up function"}, {"RoleHeadNode", "head node"}, {"QueuesStack", "compute node"},
}

// readRecord reads a region's record: each kind of permission once.
func readRecord(path string) ([]need, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []need
	seen := map[string]bool{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var call struct {
			Caller, Service, Operation string
			Allowed                    bool
			Requests                   []policy.Request
		}
		if err := json.Unmarshal(lines.Bytes(), &call); err != nil {
			return nil, err
		}
		caller := "pcluster"
		for _, c := range callers {
			if strings.Contains(call.Caller, c.part) {
				caller = c.name
			}
		}
		switch {
		case strings.HasSuffix(call.Caller, ":user/admin"):
			continue // what the test prepared
		case !call.Allowed:
			return nil, fmt.Errorf("%s was refused %s:%s", call.Caller, call.Service, call.Operation)
		}
		for _, r := range call.Requests {
			n := need{caller, call.Service + ":" + call.Operation, r}
			if r.Context["aws:calledvia"] != nil {
				n.Caller = "CloudFormation"
			}
			if call.Service == "s3" {
				n.Operation = r.Action
				if strings.Contains(r.Resource, ":::small-") {
					continue // the user's own bucket, for which they have a policy of their own
				}
			}
			if k := n.key(); !seen[k] {
				seen[k] = true
				out = append(out, n)
			}
		}
	}
	slices.SortFunc(out, func(a, b need) int { return strings.Compare(a.key(), b.key()) })
	return out, lines.Err()
}

var ids = regexp.MustCompile(`[/-][0-9a-zA-Z.-]*[0-9][0-9a-zA-Z.-]*`)

// key tells kinds of permissions apart: IDs don't count.
func (n need) key() string {
	return strings.Join([]string{n.Caller, n.Operation, n.Request.Action, ids.ReplaceAllString(n.Request.Resource, "-*")}, " ")
}

func readNeeds(t *testing.T) []need {
	t.Helper()
	data, err := os.ReadFile(testdata)
	if err != nil {
		t.Fatal(err)
	}
	var out []need
	for line := range bytes.Lines(data) {
		var n need
		if err := json.Unmarshal(line, &n); err != nil {
			t.Fatal(err)
		}
		out = append(out, n)
	}
	return out
}

// TestRecord makes testdata of a new record.
func TestRecord(t *testing.T) {
	if *recorded == "" {
		t.Skip("it is for making testdata: -record FILE")
	}
	needs, err := readRecord(*recorded)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, n := range needs {
		line, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(line, '\n'))
	}
	if err := os.WriteFile(testdata, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// published are the policies of docs/iam.
func published(t *testing.T) []policy.Document {
	t.Helper()
	files, err := filepath.Glob("../../docs/iam/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("policies in docs/iam: %v, %v", files, err)
	}
	var out []policy.Document
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, text); err != nil {
			t.Fatal(err)
		}
		if compact.Len() > 6144 {
			t.Errorf("%s has %d characters; IAM takes 6144 in a managed policy", f, compact.Len())
		}
		d, err := policy.Parse(string(text))
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		out = append(out, d)
	}
	return out
}

// users are the permissions that the user needs: for calls of pcluster, and for those
// that CloudFormation makes in the user's name.
func users(all []need) []need {
	return slices.DeleteFunc(slices.Clone(all), func(n need) bool { return n.Caller != "pcluster" && n.Caller != "CloudFormation" })
}

// refused returns a permission that the policies do not give, or nil.
func refused(policies []policy.Document, needs []need) *need {
	for i := range needs {
		if policy.Evaluate(policies, nil, needs[i].Request) != policy.Allowed {
			return &needs[i]
		}
	}
	return nil
}

func TestPublishedPoliciesAllowTheLifeOfACluster(t *testing.T) {
	needs := users(readNeeds(t))
	if len(needs) < 50 {
		t.Fatalf("the record has %d permissions of users: too few to be the life of a cluster", len(needs))
	}
	if n := refused(published(t), needs); n != nil {
		t.Errorf("%s may not %s on %s", n.Caller, n.Request.Action, n.Request.Resource)
	}
}

// Tags and names that users choose must not matter.
func TestPublishedPoliciesDoNotDependOnNames(t *testing.T) {
	policies := published(t)
	for _, n := range users(readNeeds(t)) {
		r := n.Request
		r.Resource = strings.ReplaceAll(r.Resource, "small", "another-cluster")
		r = r.With("aws:RequestTag/cost-centre", "42").With("aws:ResourceTag/cost-centre", "42")
		if policy.Evaluate(policies, nil, r) != policy.Allowed {
			t.Errorf("with another name and a tag more, %s may not %s on %s", n.Caller, r.Action, r.Resource)
		}
	}
}

// Each statement is needed, and each action in it: without it, the life of a cluster
// comes to an end.
func TestNothingInPublishedPoliciesIsSuperfluous(t *testing.T) {
	needs, policies := users(readNeeds(t)), published(t)
	for i, d := range policies {
		for j, s := range d.Statements {
			for k, action := range s.Actions {
				if slices.Contains(unrecorded[s.Sid], action) {
					continue
				}
				s.Actions = slices.Delete(slices.Clone(d.Statements[j].Actions), k, k+1)
				mutant := slices.Clone(policies)
				mutant[i].Statements = slices.Clone(d.Statements)
				mutant[i].Statements[j] = s
				if refused(mutant, needs) == nil {
					t.Errorf("nothing in the record needs %s of statement %s", action, s.Sid)
				}
			}
		}
	}
}

// unrecorded are actions by statement that the recorded life did not come to.
var unrecorded = map[string][]string{
	"Facts":           {"cloudformation:ListStacks"},                                                                                   // ListStacks is what DescribeStacks of all stacks takes too
	"Stacks":          {"cloudformation:UpdateStack"},                                                                                  // cluster.Operator.Update
	"CleanUpFunction": {"lambda:InvokeFunction"},                                                                                       // by CloudFormation, for custom resources; the region does not ask
	"StacksOwn":       {"cloudformation:DescribeStackResource", "cloudformation:DescribeStackResources", "cloudformation:GetTemplate"}, // describe-cluster of one whose creation failed
}

// why says what statements are for, by their Sid.
var why = map[string]string{
	"Facts": "checks of the file, and what exists", "Stacks": "create and update clusters", "StacksOwn": "look at clusters and delete them",
	"LaunchUse": "what the head node's launch names", "LaunchNew": "head node, launch templates, shared volumes", "TagNew": "tags from the start",
	"OwnEC2": "change and delete what has the tag of a cluster", "Tables": "state of the fleet and of nodes", "CleanUpFunction": "ends the fleet when the stack goes",
	"LogGroups": "logs: keep, read, export", "Watch": "dashboard and alarms", "MakeZone": "names of nodes", "Zone": "names of nodes",
	"Buckets": "the bucket of artifacts", "Artifacts": "files of clusters", "Roles": "roles of nodes and of the function", "Profiles": "roles of nodes",
	"PassRoles": "give roles to nodes and to the function",
}

// TestTableOfCalls holds docs/aws-calls.md against the record.
func TestTableOfCalls(t *testing.T) {
	policies := published(t)
	rows := map[string]bool{}
	for _, n := range readNeeds(t) {
		reason, statement := "", "role of the "+n.Caller
		if n.Caller == "pcluster" || n.Caller == "CloudFormation" {
			_, at := policy.Explain(policies, nil, n.Request)
			if at.Policy < 0 {
				t.Errorf("no statement allows %s on %s", n.Request.Action, n.Request.Resource)
				continue
			}
			sid := policies[at.Policy].Statements[at.Statement].Sid
			if reason, statement = why[sid], sid; reason == "" {
				t.Errorf("statement %s has no reason", sid)
			}
		} else {
			reason = purpose(n)
		}
		rows[fmt.Sprintf("| %s | %s | %s | %s | %s |\n", n.Operation, n.Request.Action, n.Caller, reason, statement)] = true
	}
	text := "# AWS calls\n\nWhat the life of a cluster with default roles and a shared volume calls, and what allows it. CloudFormation calls in the\n" +
		"user's name. Statements are those of the policies in [iam](iam); nodes and the function have roles of\n" +
		"the stack, in which nothing is that nothing needs (test/permissions).\n\n" +
		"| Call | Action | Caller | Why | Statement |\n|---|---|---|---|---|\n" + strings.Join(slices.Sorted(maps.Keys(rows)), "")
	if *update {
		if err := os.WriteFile(table, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != text {
		t.Error("docs/aws-calls.md is not what the record says: go test ./test/permissions -update")
	}
}
