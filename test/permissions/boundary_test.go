//go:build linux

package permissions

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pcluster/internal/sandbox/iam/policy"
)

// boundary is the permissions boundary of roles that users make.
func boundary(t *testing.T) policy.Document { return documents(t, "boundary")[0] }

// TestBoundaryAllowsTheWorkOfNodes: what the nodes and the functions of clusters and of an
// image asked for while those lived is inside the boundary.
func TestBoundaryAllowsTheWorkOfNodes(t *testing.T) {
	asked := 0
	for _, n := range readNeeds(t) {
		if n.Caller == "pcluster" || n.Caller == "CloudFormation" {
			continue
		}
		asked++
		if policy.Evaluate([]policy.Document{boundary(t)}, nil, n.Request) != policy.Allowed {
			t.Errorf("under the boundary, the %s may not %s on %s", n.Caller, n.Request.Action, n.Request.Resource)
		}
	}
	if asked < 20 {
		t.Errorf("the record has %d permissions of nodes: too few to be the lives of clusters", asked)
	}
}

// roleActions returns the actions that roles of our templates allow.
func roleActions(t *testing.T) []string {
	t.Helper()
	type document struct {
		Statement []struct {
			Action    any
			Principal any
		}
	}
	var out []string
	take := func(d document) {
		for _, s := range d.Statement {
			switch a := s.Action.(type) {
			case string:
				out = append(out, a)
			case []any:
				for _, v := range a {
					out = append(out, v.(string))
				}
			}
		}
	}
	for _, f := range goldenTemplates(t) {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var template struct {
			Resources map[string]struct {
				Type       string
				Properties struct {
					PolicyDocument document
					Policies       []struct{ PolicyDocument document }
				}
			}
		}
		// Other resources have properties of the same names and other shapes.
		var all struct{ Resources map[string]json.RawMessage }
		if err := json.Unmarshal(body, &all); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		kept := map[string]json.RawMessage{}
		for id, r := range all.Resources {
			var of struct{ Type string }
			if err := json.Unmarshal(r, &of); err == nil && (of.Type == "AWS::IAM::Policy" || of.Type == "AWS::IAM::Role") {
				kept[id] = r
			}
		}
		if body, err = json.Marshal(map[string]any{"Resources": kept}); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(body, &template); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		for _, r := range template.Resources {
			take(r.Properties.PolicyDocument)
			for _, p := range r.Properties.Policies {
				take(p.PolicyDocument)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// beyondTemplates are actions of roles that are not in the golden templates: above all of
// AWS's own policies that our templates attach.
var beyondTemplates = map[string][]string{
	"AmazonSSMManagedInstanceCore, on build instances": {
		"ec2messages:GetMessages", "ssm:ListAssociations", "ssm:ListInstanceAssociations", "ssm:PutInventory", "ssm:UpdateInstanceAssociationStatus",
		"ssm:UpdateInstanceInformation", "ssmmessages:OpenDataChannel",
	},
	"EC2InstanceProfileForImageBuilder, on build instances": {"imagebuilder:GetComponent", "logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"},
	"AmazonEC2ContainerServiceforEC2Role, on instances of Batch": {
		"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecs:DeregisterContainerInstance", "ecs:DiscoverPollEndpoint", "ecs:Poll", "ecs:RegisterContainerInstance",
		"ecs:StartTelemetrySession", "ecs:SubmitTaskStateChange", "ecs:UpdateContainerInstancesState",
	},
	"AWSLambdaVPCAccessExecutionRole, of functions in a VPC": {"ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface"},
	"stack.headStatements, with a secret in Parameter Store": {"ssm:GetParameter"},
}

// TestBoundaryFitsTheRolesOfTemplates: whatever a role of ours allows, the boundary
// allows on something, and it allows nothing else.
func TestBoundaryFitsTheRolesOfTemplates(t *testing.T) {
	b, needed := boundary(t), roleActions(t)
	for who, list := range beyondTemplates {
		for _, a := range list {
			if !allows([]policy.Document{b}, a) {
				t.Errorf("the boundary does not allow %s: %s", a, who)
			}
		}
		needed = append(needed, list...)
	}
	for _, a := range needed {
		if a != "sts:AssumeRole" && !allows([]policy.Document{b}, a) {
			t.Errorf("roles of clusters allow %s, and the boundary does not", a)
		}
	}
	for _, s := range b.Statements {
		for _, a := range s.Actions {
			if !slices.ContainsFunc(needed, func(n string) bool { return policy.Like(strings.ToLower(a), strings.ToLower(n)) }) {
				t.Errorf("no role needs %s of the boundary's statement %s", a, s.Sid)
			}
		}
	}
}

// The policies for roles with and without boundary differ in that.
func TestUnboundedPolicyIsTheOtherWithoutTheCondition(t *testing.T) {
	bounded, free := documents(t, "clusters-iam")[0], documents(t, "clusters-iam-unbounded")[0]
	removed := 0
	for i, s := range bounded.Statements {
		bounded.Statements[i].Conditions = slices.DeleteFunc(s.Conditions, func(c policy.Condition) bool {
			if c.Key != "iam:PermissionsBoundary" {
				return false
			}
			removed++
			return true
		})
	}
	if diff := cmp.Diff(bounded, free, cmpopts.EquateEmpty()); diff != "" || removed == 0 {
		t.Errorf("%d conditions removed (-bounded +unbounded):\n%s", removed, diff)
	}
}
