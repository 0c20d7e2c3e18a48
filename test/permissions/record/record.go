// Package record reads what a region wrote about permissions (`pcluster sandbox up
// --record FILE`), as tests of policies look at it: each kind of permission once, and
// who needs it. Start at [Read].
package record

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"pcluster/internal/sandbox/iam/policy"
)

// A Need is one permission that a call asked for.
type Need struct {
	Caller    string // pcluster, CloudFormation, or who has a role of a stack: head node, clean-up function, ...
	Operation string // service and operation; of S3: the action
	Request   policy.Request
}

// callers are who the roles of a stack belong to, by a part of their names.
var callers = []struct{ part, name string }{
	{"CleanupResources", "clean-up function"}, {"RoleHeadNode", "head node"}, {"QueuesStack", "compute node"},
	{"LoginNodesStack", "login node"}, {"PclusterCodeBuildRole", "build of the jobs' image"}, {"PclusterJobRole", "job"},
	{":assumed-role/ParallelClusterImage-", "machine of an image's build"}, {":assumed-role/ParallelClusterImageCleanup-", "image's clean-up function"},
}

// Read reads the record of the life of a cluster or an image: what its user and the roles
// of its stack asked for, by [Need.Key]. CloudFormation is the caller of what it does in the
// user's name; what it does in that of a role is the role's. What the account's administrator
// did is left out, and so are objects in buckets of the user's own, whose names begin with
// own. A refusal is an error: nothing in such a life is to be refused.
func Read(path, own string) ([]Need, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []Need
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
		switch {
		case strings.HasSuffix(call.Caller, ":user/admin"):
			continue
		case !call.Allowed:
			return nil, fmt.Errorf("%s was refused %s:%s, which asks for %v", call.Caller, call.Service, call.Operation, call.Requests)
		}
		caller := "pcluster"
		for _, c := range callers {
			if strings.Contains(call.Caller, c.part) {
				caller = c.name
			}
		}
		for _, r := range call.Requests {
			n := Need{caller, call.Service + ":" + call.Operation, r}
			if caller == "pcluster" && r.Context["aws:calledvia"] != nil {
				n.Caller = "CloudFormation"
			}
			if call.Service == "s3" {
				n.Operation = r.Action
				if strings.HasPrefix(r.Resource, "arn:aws:s3:::"+own) {
					continue
				}
			}
			if k := n.Key(); !seen[k] {
				seen[k] = true
				out = append(out, n)
			}
		}
	}
	slices.SortFunc(out, func(a, b Need) int { return strings.Compare(a.Key(), b.Key()) })
	return out, lines.Err()
}

var (
	// ids end in * where what is asked for is not there: not yet, or no longer.
	ids = regexp.MustCompile(`[/-](?:[0-9a-zA-Z._-]*[0-9][0-9a-zA-Z._-]*|\*)`)
	// random are what CloudFormation and we append to names; most have digits.
	random = regexp.MustCompile(`-(?:[A-Z0-9]{12,}|[a-z0-9]{12}(?:[a-z0-9]{4})?)\b`)
	uuids  = regexp.MustCompile(`[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
)

// Key tells kinds of permissions apart: IDs don't count.
func (n Need) Key() string {
	resource := ids.ReplaceAllString(random.ReplaceAllString(uuids.ReplaceAllString(n.Request.Resource, "-0"), "-0"), "-*")
	return strings.Join([]string{n.Caller, n.Operation, n.Request.Action, resource}, " ")
}

// Load reads what [Save] wrote.
func Load(path string) ([]Need, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []Need
	for line := range bytes.Lines(data) {
		var n Need
		if err := json.Unmarshal(line, &n); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		out = append(out, n)
	}
	return out, nil
}

// Save writes needs to a file, a line for each.
func Save(path string, needs []Need) error {
	var out bytes.Buffer
	for _, n := range needs {
		line, err := json.Marshal(n)
		if err != nil {
			return err
		}
		out.Write(append(line, '\n'))
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}
