// Package permissions holds the policies that we publish for users (docs/iam) against
// what the lives of clusters and of an image asked permission for in a region.
//
// The records in testdata are what a region with machines wrote while a user with the
// policies created, used and deleted a cluster of Slurm, one of AWS Batch, and an image.
// The same lives, in test/e2e, tell when they are no longer true, and make them anew:
//
//	go test ./test/e2e -run 'TestSmallCluster|TestBatchCluster|TestSeedImage' -record
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

// lives are the records, each with the kit of who lived it: of a cluster of Slurm, of one
// of AWS Batch, and of an image.
var lives = []struct{ file, kit string }{
	{"testdata/life.jsonl", "clusters"}, {"testdata/batch.jsonl", "clusters"}, {"testdata/image.jsonl", "images"},
}

// A need is one permission that a call asked for.
type need = record.Need

// readLives returns what the lives with machines asked for, by the kits of their users.
func readLives(t *testing.T) map[string][]need {
	t.Helper()
	out := map[string][]need{}
	for _, life := range lives {
		needs, err := record.Load(life.file)
		if err != nil {
			t.Fatal(err)
		}
		out[life.kit] = append(out[life.kit], needs...)
	}
	return out
}

// readNeeds returns what all lives asked for.
func readNeeds(t *testing.T) []need {
	t.Helper()
	return slices.Concat(slices.Collect(maps.Values(readLives(t)))...)
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

// why says what statements of the policies are for, by the policy's name and their Sid.
var why = map[string]map[string]string{
	"readonly": {
		"Look": "checks of the file, and what exists", "Stacks": "look at clusters and builds", "Fleet": "status of the fleet", "Logs": "read logs",
		"Builds": "parents of images, and builds", "Files": "files of clusters and images",
	},
	"clusters": {
		"MakeStacks": "create clusters", "EndStacks": "delete clusters", "LaunchUse": "what the head node's launch names",
		"LaunchNew": "head node, launch templates, shared volumes", "TagNew": "tags from the start", "OwnEC2": "change and delete what has the tag of a cluster",
		"Tables": "state of the fleet and of nodes", "Function": "ends the fleet when the stack goes", "LogGroups": "logs: keep, export", "Watch": "dashboard and alarms",
		"MakeZone": "names of nodes", "Zone": "names of nodes", "Doorbell": "have the fleet hear at once of a request", "Buckets": "the bucket of artifacts",
		"Artifacts": "files of clusters",
	},
	"clusters-iam": {
		"Roles": "roles of nodes, builds and functions", "RolesOwn": "roles of nodes, builds and functions", "Profiles": "roles of nodes and builds",
		"PassRoles": "give roles to nodes, builds and functions",
	},
	"login-nodes": {
		"MakeBalancers": "addresses of login pools", "OwnBalancers": "addresses of login pools", "Groups": "nodes of login pools",
	},
	"batch": {
		"Compute": "environment, queue and definitions of jobs", "Repository": "images of jobs", "Project": "builds the image of jobs",
		"PassRoles": "give roles to jobs and to the build of their image",
	},
	"images": {
		"MakeStacks": "build images", "EndStacks": "delete images that failed", "Builds": "what Image Builder is told of the build",
		"Topics": "tells the function of the image", "Function": "tags the image and deletes the stack", "LogGroups": "logs: keep, export, delete",
		"EndImages": "delete the AMI", "EndSnapshots": "delete the AMI's disks", "Buckets": "the bucket of artifacts", "Artifacts": "files of images",
		"EndSubscriptions": "tells the function of the image",
	},
}

// TestTableOfCalls holds docs/aws-calls.md against the record.
func TestTableOfCalls(t *testing.T) {
	rows, used := map[string]bool{}, map[string]bool{}
	for kit, needs := range readLives(t) {
		policies := documents(t, kits[kit]...)
		for _, n := range needs {
			reason, statement := purpose(n), "role of the "+n.Caller
			if n.Caller == "pcluster" || n.Caller == "CloudFormation" {
				_, at := policy.Explain(policies, nil, n.Request)
				if at.Policy < 0 {
					t.Errorf("no statement allows %s on %s", n.Request.Action, n.Request.Resource)
					continue
				}
				name, sid := kits[kit][at.Policy], policies[at.Policy].Statements[at.Statement].Sid
				if reason, statement = why[name][sid], name+": "+sid; reason == "" {
					t.Errorf("statement %s of %s has no reason", sid, name)
				}
			}
			used[statement] = true
			rows[fmt.Sprintf("| %s | %s | %s | %s | %s |\n", n.Operation, n.Request.Action, n.Caller, reason, statement)] = true
		}
	}
	for name, reasons := range why {
		for sid := range reasons {
			if !used[name+": "+sid] {
				t.Errorf("no call needs statement %s of %s: it needs no reason here", sid, name)
			}
		}
	}
	text := "# AWS calls\n\nWhat the lives of a cluster of Slurm and of one of AWS Batch, with default roles and a shared volume, and that of an image call,\n" +
		"and what allows it. CloudFormation calls in the user's name, or in that of the function that deletes the stack of a finished\n" +
		"image. Statements are named after the policies in [iam](iam) that have them; nodes, builds and functions have roles of the\n" +
		"stack, in which nothing is that nothing needs (test/permissions).\n\n" +
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
