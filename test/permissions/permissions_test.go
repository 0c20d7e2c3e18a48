// Package permissions holds the policies that we publish for users (docs/iam) against
// what a cluster's life asked permission for in a region.
//
// The records in testdata are what a region with machines wrote while a user with the
// policies created, used and deleted a cluster of Slurm, and one of AWS Batch. The same
// lives, in test/e2e, tell when they are no longer true, and make them anew:
//
//	go test ./test/e2e -run 'TestSmallCluster|TestBatchCluster' -record
//
// docs/aws-calls.md is made from the record, with -update.
package permissions

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pcluster/internal/sandbox/iam/policy"
	"pcluster/test/permissions/record"
)

var update = flag.Bool("update", false, "write docs/aws-calls.md")

const table = "../../docs/aws-calls.md"

// lives are the records: of a cluster of Slurm, and of one of AWS Batch.
var lives = []string{"testdata/life.jsonl", "testdata/batch.jsonl"}

// A need is one permission that a call asked for.
type need = record.Need

// readNeeds returns what the lives of clusters with machines asked for.
func readNeeds(t *testing.T) []need {
	t.Helper()
	var out []need
	for _, file := range lives {
		needs, err := record.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, needs...)
	}
	return out
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
	"MakeZone": "names of nodes", "Zone": "names of nodes", "Doorbell": "have the fleet hear at once of a request", "Buckets": "the bucket of artifacts", "Artifacts": "files of clusters",
	"Roles": "roles of nodes and of the function", "RolesOwn": "roles of nodes and of the function", "Profiles": "roles of nodes",
	"PassRoles": "give roles to nodes and to the function", "MakeBalancers": "addresses of login pools", "OwnBalancers": "addresses of login pools",
	"Compute": "environment, queue and definitions of jobs", "Repository": "images of jobs", "Project": "builds the image of jobs",
	"Groups": "nodes of login pools", "FirstGroup": "nodes of login pools",
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
	text := "# AWS calls\n\nWhat the lives of a cluster of Slurm and of one of AWS Batch, with default roles and a shared volume, call, and what allows it. CloudFormation calls in the\n" +
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
