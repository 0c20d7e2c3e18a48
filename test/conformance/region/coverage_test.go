//go:build linux

package region

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"pcluster/internal/sandbox"
	"pcluster/internal/sandbox/wire/model"
)

const (
	resultsFile  = "results.json"
	coverageFile = "../../../docs/sandbox-coverage.md"
)

// results are how the journeys went when they were last played, which needs the clients
// and moto; this file is kept so that the page can be made, and checked, without them.
type results struct {
	Journeys  []summary
	Terraform string // which one with which provider; empty: it was not tried
}

// A summary is how one journey went.
type summary struct {
	Name, Sum string // of the file as it was played
	Passed    map[string]int
	Skipped   map[string]string // clients that did not play it, and why
	Differs   []int             // steps, from 1, that moto does otherwise
}

func readResults(t *testing.T) results {
	t.Helper()
	data, err := os.ReadFile(resultsFile)
	if err != nil {
		t.Fatal(err)
	}
	var r results
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatalf("%s: %v", resultsFile, err)
	}
	return r
}

// change writes results that are new, and the page with them.
func change(t *testing.T, fn func(*results)) {
	t.Helper()
	r := readResults(t)
	fn(&r)
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(resultsFile, append(data, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(coverageFile, []byte(coverage(t, loadJourneys(t), r)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func summed(journeys []journey, played map[string]map[string]result) []summary {
	var out []summary
	for _, j := range journeys {
		s := summary{Name: j.Name, Sum: j.sum, Passed: map[string]int{}, Skipped: map[string]string{}}
		for client, all := range played {
			r, ok := all[j.Name]
			switch {
			case !ok:
			case r.skipped != "":
				s.Skipped[client] = r.skipped
			default:
				s.Passed[client] = r.passed
			}
			if client == "moto" {
				s.Differs = r.differs
			}
		}
		out = append(out, s)
	}
	return out
}

// The page says what the region has and what was last seen of the journeys as they are.
func TestCoverageIsCurrent(t *testing.T) {
	if *update {
		change(t, func(*results) {})
	}
	journeys, r := loadJourneys(t), readResults(t)
	for i, j := range journeys {
		if i >= len(r.Journeys) || r.Journeys[i].Name != j.Name || r.Journeys[i].Sum != j.sum {
			t.Fatalf("journeys/%s.yaml is not as it was played last: make journeys", j.Name)
		}
	}
	page, err := os.ReadFile(coverageFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != coverage(t, journeys, r) {
		t.Errorf("docs/sandbox-coverage.md is not what the region has: go test ./test/conformance/region -run Coverage -update")
	}
}

// batchLimits is what a region without a container engine does about containers.
const batchLimits = `
## AWS Batch, CodeBuild, ECR

The region has no container engine. What that means, and what its answers say:

- A build of CodeBuild follows the commands "docker build", "docker tag", "docker push", a login to ECR, and "echo" of a buildspec in S3;
  any other command fails the build with the reason. Of a Dockerfile it takes COPY, ENTRYPOINT, CMD, ENV, WORKDIR and ARG; what FROM
  names is not used, and RUN is not run. The log of the build says so, line by line.
- An image in ECR is what such a build has pushed: files, and how to begin. Clients of Docker can't push or pull.
- A job of Batch, and each node of one on several, gets a machine of its own, as the compute environment says. Its command runs there as
  root, above the region's Debian with the files of the job's image, with the job role's credentials in its environment. So it finds
  Debian's programs (Open MPI among them), whatever the image's Dockerfile installs.
- No machine runs ahead of jobs: MinvCpus is kept, and starts nothing. What is desired are the vCPUs of the jobs that have machines.
- Refused where they are asked for: Fargate, EKS, jobs of several containers, scheduling policies, volumes, secrets and users of containers,
  sources of builds that are not in S3. Of ECS there are the machines of compute environments alone.
`

// permissionLimits is what the region does not ask of policies.
const permissionLimits = `
## Permissions

Each call is judged by the policies of whoever makes it, boundaries and policies of buckets included. What is not asked for:

- The use of KMS keys. Nothing is encrypted, so that volumes, file systems, secrets and objects with a key take none of kms:CreateGrant,
  kms:GenerateDataKey, kms:Decrypt, and the policy of a key is kept and shown, and forbids nothing. On AWS the roles and users of a cluster with
  a key of yours need these, and the key's policy must let them.
- What agents do that the region's machines don't have. The instances of AWS Batch have AWS's policy AmazonEC2ContainerServiceforEC2Role
  for the agent of ECS, requests of Spot Instances AmazonEC2SpotFleetTaggingRole for the Spot service: nobody acts by them here, so that no test
  shows which of their statements is needed. They are AWS's own, and what AWS documentation asks for.
`

// coverage makes the page of what the region can do.
func coverage(t *testing.T, journeys []journey, r results) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(`# What the region answers

Made by ` + "`make journeys`" + ` from test/conformance/region/results.json and the region itself; do not edit. A test fails when it is
not current.

## Journeys

Each journey is a list of calls with what is expected of the answers (test/conformance/region/journeys). It is played through three
real clients against a region, and through boto3 against moto 5 as a second opinion: numbers are steps that did what
is expected, of all steps. Values that both moto and the region send are of the same kinds. The region is a light one,
whose instances run without machines; the end-to-end tests have machines.

`)
	players := append(slices.Clone(clientNames), "moto")
	fmt.Fprintf(&b, "| Journey | %s |\n|---|%s\n", strings.Join(players, " | "), strings.Repeat("---|", len(players)))
	var remarks, skips []string
	for i, j := range journeys {
		if i >= len(r.Journeys) {
			break // it was never played; the test says so
		}
		s := r.Journeys[i]
		fmt.Fprintf(&b, "| %s |", j.Title)
		for _, name := range players {
			passed, ok := s.Passed[name]
			switch {
			case ok:
				fmt.Fprintf(&b, " %d/%d |", passed, len(j.Steps))
			case s.Skipped[name] != "":
				b.WriteString(" – |")
				skips = append(skips, fmt.Sprintf("- %s, %s: %s.", j.Name, name, s.Skipped[name]))
			default:
				b.WriteString(" not played |")
			}
		}
		b.WriteString("\n")
		for _, d := range s.Differs {
			if d <= len(j.Steps) {
				step := j.Steps[d-1]
				remarks = append(remarks, fmt.Sprintf("- %s, step %d (%s): %s.", j.Name, d, step.what(), step.Moto))
			}
		}
	}
	b.WriteString("\n### Not played\n\n" + strings.Join(skips, "\n") + "\n")
	b.WriteString("\n### Where moto differs\n\n" + strings.Join(remarks, "\n") + "\n")

	b.WriteString("\n## Terraform\n\n")
	if r.Terraform == "" {
		b.WriteString("Not tried: `terraform init` found no AWS provider.\n")
	} else {
		config, err := os.ReadFile(terraformFile)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s applied the %d resources of test/conformance/region/%s in a light region, then found nothing to change, then destroyed them.\n"+
			"FSx is not among them: the provider waits ten minutes before it looks whether a file system is gone.\n",
			r.Terraform, strings.Count(string(config), "\nresource "), terraformFile)
	}

	played := map[string]map[string]bool{}
	for _, j := range journeys {
		for _, s := range j.Steps {
			for _, call := range []string{s.Call, s.Presign} {
				if service, op, ok := strings.Cut(call, "."); ok {
					if played[service] == nil {
						played[service] = map[string]bool{}
					}
					played[service][op] = true
				}
			}
		}
	}
	region, err := sandbox.OpenLight(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := region.Close(); err != nil {
			t.Error(err)
		}
	}()
	operations, err := region.Operations()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]int{}
	for _, name := range model.Names() {
		m, err := model.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		known[name] = len(m.Operations)
	}
	all, answered := s3Operations(t, region)
	known["s3"], operations["s3"] = len(all), answered
	names := slices.Sorted(maps.Keys(known))
	b.WriteString(batchLimits)
	b.WriteString(permissionLimits)
	b.WriteString("\n## Operations\n\nOther operations are refused with AWS's error for unknown ones, which names the operation. S3's are counted by what aws-sdk-go-v2 knows.\n\n" +
		"| Service | AWS has | Answered | In journeys |\n|---|---|---|---|\n")
	for _, name := range names {
		fmt.Fprintf(&b, "| %s | %d | %d | %d |\n", name, known[name], len(operations[name]), len(played[name]))
	}
	for _, name := range names {
		if len(operations[name]) > 0 {
			fmt.Fprintf(&b, "\n**%s**: %s\n", name, strings.Join(operations[name], ", "))
		}
	}
	b.WriteString("\n## Resource types of CloudFormation\n\nStacks with others are refused. Which ones clusters have: [resources](resources.md).\n\n" +
		strings.Join(region.ResourceTypes(), ", ") + "\n")
	return b.String()
}
