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

// TestPublishedPoliciesAreManagedPolicies: IAM takes 6,144 characters without blanks.
func TestPublishedPoliciesAreManagedPolicies(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(directory, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("policies in docs/iam: %v, %v", files, err)
	}
	known := []string{"boundary", "clusters-iam-unbounded"}
	for _, kit := range kits {
		known = append(known, kit...)
	}
	for _, f := range files {
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(text(t, f))); err != nil {
			t.Fatal(err)
		}
		if compact.Len() > 6144 {
			t.Errorf("%s has %d characters", f, compact.Len())
		}
		name := strings.TrimSuffix(filepath.Base(f), ".json")
		if !slices.Contains(known, name) {
			t.Errorf("%s is in no kit: nothing tests it", f)
		}
		sids := map[string]bool{}
		for _, s := range documents(t, name)[0].Statements {
			if s.Sid == "" || sids[s.Sid] {
				t.Errorf("%s: statement %q has no name of its own", f, s.Sid)
			}
			sids[s.Sid] = true
		}
	}
}

// users are the permissions that the user needs: for calls of pcluster, and for those
// that CloudFormation makes in the user's name.
func users(all []need) []need {
	return slices.DeleteFunc(slices.Clone(all), func(n need) bool { return n.Caller != "pcluster" && n.Caller != "CloudFormation" })
}

// why says what statements of the policies of who makes clusters are for, by their Sid.
var why = map[string]string{
	"Look": "checks of the file, and what exists", "Stacks": "look at clusters", "Fleet": "status of the fleet", "Logs": "read logs", "Files": "files of clusters",
	"MakeStacks": "create clusters", "EndStacks": "delete clusters", "LaunchUse": "what the head node's launch names",
	"LaunchNew": "head node, launch templates, shared volumes", "TagNew": "tags from the start", "OwnEC2": "change and delete what has the tag of a cluster",
	"Tables": "state of the fleet and of nodes", "Function": "ends the fleet when the stack goes", "LogGroups": "logs: keep, export", "Watch": "dashboard and alarms",
	"MakeZone": "names of nodes", "Zone": "names of nodes", "Buckets": "the bucket of artifacts", "Artifacts": "files of clusters",
	"Roles": "roles of nodes and of the function", "RolesOwn": "roles of nodes and of the function", "Profiles": "roles of nodes",
	"PassRoles": "give roles to nodes and to the function",
}

// TestTableOfCalls holds docs/aws-calls.md against the record.
func TestTableOfCalls(t *testing.T) {
	policies := documents(t, kits["clusters"]...)
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
