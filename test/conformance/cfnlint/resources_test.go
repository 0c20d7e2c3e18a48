//go:build linux

package cfnlint

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

	"go.yaml.in/yaml/v3"

	"pcluster/internal/sandbox"
)

var update = flag.Bool("update", false, "write docs/resources.md")

const (
	resourcesPage = "../../../docs/resources.md"
	goldens       = "../../../internal/stack/testdata"
	peerVerdicts  = "../../peer/verdicts-stacks.yaml"
	journeysDir   = "../region/journeys"
)

// purposes says what each type of resource is in the stacks for.
var purposes = map[string]string{
	"AWS::AutoScaling::AutoScalingGroup":             "the nodes of a login pool, with hooks for their coming and going",
	"AWS::Batch::ComputeEnvironment":                 "AWS Batch: the instances",
	"AWS::Batch::JobDefinition":                      "AWS Batch: serial jobs, and jobs on several nodes",
	"AWS::Batch::JobQueue":                           "AWS Batch: the queue",
	"AWS::CloudFormation::CustomResource":            "calls of the stack's function: what is to be undone when the stack goes",
	"AWS::CloudFormation::Stack":                     "nested stacks, so that the largest files fit CloudFormation's limits",
	"AWS::CloudFormation::WaitCondition":             "the stack is complete when the head node says that it is ready",
	"AWS::CloudFormation::WaitConditionHandle":       "where the head node says so",
	"AWS::CloudWatch::Alarm":                         "health, processor, memory and disk of the head node, and the heartbeat of its fleet daemon",
	"AWS::CloudWatch::CompositeAlarm":                "one alarm for all of them",
	"AWS::CloudWatch::Dashboard":                     "metrics and logs of the cluster on one screen",
	"AWS::CodeBuild::Project":                        "AWS Batch: builds the image of the jobs",
	"AWS::DynamoDB::Table":                           "state of the fleet; which node an instance is",
	"AWS::EC2::EIP":                                  "public address of the head node",
	"AWS::EC2::EIPAssociation":                       "the address's place at the head node",
	"AWS::EC2::Instance":                             "the head node",
	"AWS::EC2::LaunchTemplate":                       "how instances of a compute resource, a login pool and the head node are launched",
	"AWS::EC2::NetworkInterface":                     "the head node's, which has an address before the node exists",
	"AWS::EC2::PlacementGroup":                       "nodes of a compute resource, close to each other",
	"AWS::EC2::SecurityGroup":                        "head, compute and login nodes, file systems, load balancers",
	"AWS::EC2::SecurityGroupEgress":                  "rules between groups that refer to each other",
	"AWS::EC2::SecurityGroupIngress":                 "rules between groups that refer to each other",
	"AWS::EC2::Volume":                               "shared volumes, single or in RAID",
	"AWS::ECR::Repository":                           "AWS Batch: images of the jobs",
	"AWS::EFS::FileSystem":                           "shared file systems, and the cluster's own where `SharedStorageType` is `Efs`",
	"AWS::EFS::MountTarget":                          "a file system's address in each zone of the nodes",
	"AWS::ElasticLoadBalancingV2::Listener":          "a login pool's port",
	"AWS::ElasticLoadBalancingV2::LoadBalancer":      "a login pool's address",
	"AWS::ElasticLoadBalancingV2::TargetGroup":       "a login pool's nodes that answer",
	"AWS::FSx::DataRepositoryAssociation":            "a folder of a Lustre file system that mirrors a bucket",
	"AWS::FSx::FileSystem":                           "FSx for Lustre",
	"AWS::IAM::InstanceProfile":                      "roles for instances",
	"AWS::IAM::Policy":                               "permissions of roles, each on the cluster's own resources",
	"AWS::IAM::Role":                                 "head, compute and login nodes, the function, AWS Batch",
	"AWS::Lambda::Function":                          "the stack's function, which cleans up",
	"AWS::Logs::LogGroup":                            "logs of the nodes, and of the function",
	"AWS::Logs::MetricFilter":                        "what the fleet's events and failed boots are counted by",
	"AWS::Route53::HostedZone":                       "names of the nodes",
	"AWS::ImageBuilder::Component":                   "image: what is installed and tested",
	"AWS::ImageBuilder::DistributionConfiguration":   "image: name, tags and sharing of the AMI",
	"AWS::ImageBuilder::Image":                       "image: the build itself",
	"AWS::ImageBuilder::ImageRecipe":                 "image: parent, components in order, root volume",
	"AWS::ImageBuilder::InfrastructureConfiguration": "image: the machines that build and test",
	"AWS::Lambda::Permission":                        "who may call the stack's function",
	"AWS::SNS::Subscription":                         "image: the function hears of it",
	"AWS::SNS::Topic":                                "image: where the end of the build is told",
}

// corpusTypes counts the files of the corpus by the types of resources that they have.
func corpusTypes(t *testing.T) (byType map[string]int, files int) {
	all := examples(t)
	for _, l := range languages {
		made, _ := l.corpus(t)
		all = append(all, made...)
	}
	byType = map[string]int{}
	for _, f := range all {
		has := map[string]bool{}
		for _, body := range templates(t, f) {
			maps.Copy(has, typesOf(t, body))
		}
		for kind := range has {
			byType[kind]++
		}
	}
	return byType, len(all)
}

func typesOf(t *testing.T, template []byte) map[string]bool {
	t.Helper()
	var body struct {
		Resources map[string]struct{ Type string }
	}
	if err := json.Unmarshal(template, &body); err != nil {
		t.Fatal(err)
	}
	has := map[string]bool{}
	for _, r := range body.Resources {
		has[r.Type] = true
	}
	return has
}

// goldenTypes returns the files with golden templates by the types that they have.
func goldenTypes(t *testing.T) map[string][]string {
	files, err := filepath.Glob(filepath.Join(goldens, "*.json"))
	images, _ := filepath.Glob(filepath.Join(goldens, "images", "*.json")) // the pattern is right
	if err != nil || len(files) == 0 || len(images) == 0 {
		t.Fatal("no golden templates", err)
	}
	files = append(files, images...)
	out := map[string][]string{}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, _, _ := strings.Cut(filepath.Base(path), ".")
		for kind := range typesOf(t, data) {
			if !slices.Contains(out[kind], name) {
				out[kind] = append(out[kind], name)
			}
		}
	}
	return out
}

// A peerVerdict is how a difference between the real tool's stacks and ours was judged.
type peerVerdict struct {
	Verdict, Reason string
	What            []string
}

// verdicts returns those about each type.
func verdicts(t *testing.T, kinds []string) map[string][]peerVerdict {
	data, err := os.ReadFile(peerVerdicts)
	if err != nil {
		t.Fatal(err)
	}
	var all []peerVerdict
	if err := yaml.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	out := map[string][]peerVerdict{}
	for _, v := range all {
		for _, kind := range kinds {
			short := strings.TrimPrefix(kind, "AWS::")
			about := slices.ContainsFunc(v.What, func(what string) bool {
				return slices.ContainsFunc(strings.FieldsFunc(what, func(r rune) bool { return r == ' ' }), func(word string) bool {
					return strings.TrimPrefix(strings.TrimSuffix(word, ":"), "AWS::") == short
				})
			})
			// The comparison speaks of launches, wherever their parts stand.
			if kind == "AWS::EC2::LaunchTemplate" && slices.ContainsFunc(v.What, func(what string) bool { return strings.Contains(what, " launch of ") }) {
				about = true
			}
			if about {
				out[kind] = append(out[kind], v)
			}
		}
	}
	return out
}

// journeysOf returns the journeys in which a type stands in a template, and which moto
// plays as well.
func journeysOf(t *testing.T, kind string) []string {
	files, err := filepath.Glob(filepath.Join(journeysDir, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal("no journeys", err)
	}
	var out []string
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(data, []byte(`"`+kind+`"`)) {
			out = append(out, strings.TrimSuffix(filepath.Base(path), ".yaml"))
		}
	}
	return out
}

// The page says of each type of resource what it is for and what it was held against.
func TestResourcesPageIsCurrent(t *testing.T) {
	page := resourcesDoc(t)
	if *update {
		if err := os.WriteFile(resourcesPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(resourcesPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != page {
		t.Error("docs/resources.md is not what the stacks have: go test ./test/conformance/cfnlint -run ResourcesPage -update")
	}
}

func resourcesDoc(t *testing.T) string {
	counts, files := corpusTypes(t)
	golden := goldenTypes(t)
	for kind := range golden {
		if counts[kind] == 0 {
			t.Errorf("no file of the corpus has %s", kind)
		}
	}
	kinds := slices.Sorted(maps.Keys(counts))
	judged := verdicts(t, kinds)
	region, err := sandbox.OpenLight(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer region.Close()
	made := region.ResourceTypes()

	var b strings.Builder
	fmt.Fprintf(&b, `# Resources of the stacks

Made from the templates, and from what they are held against; do not edit. A test fails when it is not current.

Nobody has run these stacks on AWS yet. This is why we believe that AWS takes them, resource type by resource type:

- **cfn-lint** judges every type by AWS's own schemas: so many of %d cluster and image files, in which every key of the language appears with each
  of its kinds of values (`+"`make cfnlint`"+`).
- **Golden** templates are there to be read, and show every change (internal/stack/testdata).
- **The region** makes the type for real, with the properties that AWS's schema has, and refuses others; end-to-end tests do so.
- **Journeys** are stacks with the type, seen through AWS's clients, and where moto has the type beside moto ([sandbox-coverage](sandbox-coverage.md)).
- **Beside the real tool**: differences between its stacks and ours, for the same files, that were judged; none is unexplained (`+"`make peer`"+`).

| Type | For | cfn-lint | Golden | Region | Journeys | Differences |
|---|---|---|---|---|---|---|
`, files)
	for _, kind := range kinds {
		why, ok := purposes[kind]
		if !ok {
			t.Errorf("purposes does not say what %s is for", kind)
		}
		if len(golden[kind]) == 0 {
			t.Errorf("no golden template has %s", kind)
		}
		inRegion := "yes"
		if !slices.Contains(made, kind) {
			t.Errorf("the region does not make %s", kind)
			inRegion = "no"
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %s | %s | %s | %s |\n", kind, why, counts[kind], some(golden[kind]), inRegion, some(journeysOf(t, kind)), or(tally(judged[kind]), "none"))
	}
	for kind := range purposes {
		if !slices.Contains(kinds, kind) {
			t.Errorf("no stack has %s", kind)
		}
	}
	b.WriteString("\n## Where ours differ from the real tool's, and why\n")
	for _, kind := range kinds {
		if len(judged[kind]) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n**%s**\n\n", kind)
		for _, v := range judged[kind] {
			fmt.Fprintf(&b, "- %s: %s\n", v.Verdict, v.Reason)
		}
	}
	return b.String()
}

// some names the first of a list.
func some(names []string) string {
	const most = 2
	switch {
	case len(names) == 0:
		return "–"
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// tally counts verdicts by their kind.
func tally(all []peerVerdict) string {
	counts := map[string]int{}
	for _, v := range all {
		counts[v.Verdict]++
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[kind], kind))
	}
	return strings.Join(parts, ", ")
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}
