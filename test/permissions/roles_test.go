package permissions

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pcluster/internal/sandbox/iam/policy"
)

// goldens are templates of clusters and images that have, between them, all that a role
// of a stack may be allowed.
const goldens = "../../internal/stack/testdata"

// What the golden templates are made for.
const (
	goldenPlace   = "us-east-2:671250183987:"
	goldenBucket  = "arn:aws:s3:::parallelcluster-0123456789abcdef-v1-do-not-delete"
	goldenPrefix  = goldenBucket + "/parallelcluster/"
	goldenCluster = "demo"
)

// A use is a call that a role is for: who makes it, in which file of ours, or else for
// whom it is made. References of a template stand in resources as <ID> and <ID.Attribute>.
type use struct {
	role     string // of roleOf
	action   string
	resource string
	context  map[string][]string
	by       string // file and operation; or why somebody else calls
}

func ec2ARN(rest string) string { return "arn:aws:ec2:" + goldenPlace + rest }

var (
	clusterTag = map[string][]string{"aws:resourcetag/parallelcluster:cluster-name": {goldenCluster}}
	computeTag = map[string][]string{"aws:resourcetag/parallelcluster:cluster-name": {goldenCluster}, "aws:resourcetag/parallelcluster:node-type": {"Compute"}}
)

const (
	fleetEC2  = "internal/fleet/ec2.go"
	records   = "internal/fleet/records.go"
	nodeAWS   = "internal/node/aws.go"
	cleanUp   = "internal/node/cleanup/cleanup.go"
	resolving = "internal/node/storage/resolve.go"
	attaching = "internal/node/storage/attach.go"
	agent     = "the CloudWatch agent, where a user runs it"
	mounting  = "the mount helper of EFS"
	scripts   = "scripts of the user, who gave S3Access"
)

// uses are all calls of the roles of clusters and of image builds.
var uses = slices.Concat([]use{
	{"head", "ec2:DescribeInstances", "*", nil, fleetEC2 + " DescribeInstances"},
	{"head", "ec2:DescribeInstanceStatus", "*", nil, "internal/fleet/health.go DescribeInstanceStatus"},
	{"head", "ec2:DescribeCapacityReservations", "*", nil, "internal/fleet/blocks.go DescribeCapacityReservations"},
	{"head", "ec2:TerminateInstances", ec2ARN("instance/i-1"), computeTag, fleetEC2 + " TerminateInstances"},
	{"head", "ec2:GetConsoleOutput", ec2ARN("instance/i-1"), computeTag, fleetEC2 + " GetConsoleOutput"},
	{"head", "ec2:CreateTags", ec2ARN("instance/*"), map[string][]string{"ec2:createaction": {"RunInstances"}}, fleetEC2 + " RunInstances"},
	{"head", "ec2:CreateTags", ec2ARN("fleet/*"), map[string][]string{"ec2:createaction": {"CreateFleet"}}, fleetEC2 + " CreateFleet"},
	{"head", "iam:PassRole", "arn:aws:iam::671250183987:role/parallelcluster/demo/demo-QueuesStack-RoleX", map[string][]string{"iam:passedtoservice": {"ec2.amazonaws.com"}}, fleetEC2 + " RunInstances"},
	{"head", "iam:PassRole", "arn:aws:iam::671250183987:role/path/demo/name-RoleX", map[string][]string{"iam:passedtoservice": {"ec2.amazonaws.com"}}, fleetEC2 + " RunInstances"},
	{"head", "dynamodb:GetItem", "<DynamoDBTable.Arn>", nil, records + " GetItem"},
	{"head", "dynamodb:UpdateItem", "<DynamoDBTable.Arn>", nil, records + " UpdateItem"},
	{"head", "dynamodb:PutItem", "<DynamoDBTable.Arn>", nil, nodeAWS + " PutItem"},
	{"head", "dynamodb:BatchWriteItem", "<SlurmDynamoDBTable.Arn>", nil, records + " BatchWriteItem"},
	{"head", "dynamodb:BatchGetItem", "<SlurmDynamoDBTable.Arn>", nil, "internal/fleet/recall.go BatchGetItem"},
	{"head", "route53:ChangeResourceRecordSets", "arn:aws:route53:::hostedzone/<Route53HostedZone>", nil, records + " ChangeResourceRecordSets"},
	// An object's version is asked for where the bucket has versions.
	{"head", "s3:GetObjectVersion", goldenPrefix + "3.16.100/clusters/demo-abcdefghijklmnop/configs/cluster-config.yaml", nil, nodeAWS + " GetObject"},
	{"head", "s3:GetObject", goldenPrefix + "3.16.100/clusters/demo-abcdefghijklmnop/configs/cluster-config.yaml", nil, nodeAWS + " GetObject"},
	{"head", "s3:GetObject", goldenPrefix + "3.16.100/programs/0/pcluster-node", nil, "the user data, which fetches the node program"},
	{"head", "s3:GetObject", "arn:aws:s3:::dcv-license.us-east-2/license", nil, "DCV's server, which asks for its licence"},
	{"head", "cloudformation:DescribeStackResource", "<AWS::StackId>", nil, resolving + " DescribeStackResource"},
	{"head", "fsx:DescribeFileSystems", "*", nil, resolving + " DescribeFileSystems"},
	{"head", "fsx:DescribeVolumes", "*", nil, resolving + " DescribeVolumes"},
	{"head", "fsx:DescribeStorageVirtualMachines", "*", nil, resolving + " DescribeStorageVirtualMachines"},
	{"head", "fsx:DescribeFileCaches", "*", nil, resolving + " DescribeFileCaches"},
	{"head", "ec2:DescribeVolumes", "*", nil, attaching + " DescribeVolumes"},
	{"head", "ec2:AttachVolume", ec2ARN("instance/i-1"), clusterTag, attaching + " AttachVolume"},
	{"head", "ec2:AttachVolume", ec2ARN("volume/vol-1"), clusterTag, attaching + " AttachVolume"},
	{"head", "ec2:AttachVolume", ec2ARN("volume/vol-0123456789abcdef0"), nil, attaching + " AttachVolume"},
	{"head", "secretsmanager:GetSecretValue", "arn:aws:secretsmanager:us-east-2:123456789012:secret:munge-abcdef", nil, "internal/node/secrets.go GetSecretValue"},
	{"head", "secretsmanager:GetSecretValue", "arn:aws:secretsmanager:us-east-2:123456789012:secret:db-abcdef", nil, "internal/node/secrets.go GetSecretValue"},
	{"head", "secretsmanager:GetSecretValue", "arn:aws:secretsmanager:us-east-2:123456789012:secret:directory-abcdef", nil, "internal/node/secrets.go GetSecretValue"},
	{"head", "secretsmanager:GetSecretValue", "arn:aws:secretsmanager:us-east-1:671250183987:secret:hpc_slurm_db_password-6LNuBy", nil, "internal/node/secrets.go GetSecretValue"},
	{"head", "resource-groups:ListGroupResources", "arn:aws:resource-groups:us-east-2:123456789012:group/g", nil, "EC2, which looks into the group of reservations that a launch names"},
	{"head", "resource-groups:ListGroupResources", "arn:aws:resource-groups:us-east-2:123456789012:group/h", nil, "EC2, which looks into the group of reservations that a launch names"},
	{"compute", "dynamodb:Query", "arn:aws:dynamodb:" + goldenPlace + "table/parallelcluster-slurm-demo/index/InstanceId", nil, nodeAWS + " Query"},
	{"login", "autoscaling:CompleteLifecycleAction", "arn:aws:autoscaling:" + goldenPlace + "autoScalingGroup:1-2:autoScalingGroupName/demo-people-AutoScalingGroup", nil, nodeAWS + " CompleteLifecycleAction"},
	{"login", "autoscaling:CompleteLifecycleAction", "arn:aws:autoscaling:" + goldenPlace + "autoScalingGroup:1-2:autoScalingGroupName/demo-arm-AutoScalingGroup", nil, nodeAWS + " CompleteLifecycleAction"},
	{"login", "autoscaling:CompleteLifecycleAction", "arn:aws:autoscaling:" + goldenPlace + "autoScalingGroup:1-2:autoScalingGroupName/demo-a-AutoScalingGroup", nil, nodeAWS + " CompleteLifecycleAction"},
	{"login", "s3:GetObject", "arn:aws:s3:::dcv-license.us-east-2/license", nil, "DCV's server, which asks for its licence"},
	{"function", "ec2:DescribeInstances", "*", nil, cleanUp + " DescribeInstances"},
	{"function", "ec2:TerminateInstances", ec2ARN("instance/i-1"), clusterTag, cleanUp + " TerminateInstances"},
	{"function", "route53:ListResourceRecordSets", "arn:aws:route53:::hostedzone/<Route53HostedZone>", nil, cleanUp + " ListResourceRecordSets"},
	{"function", "route53:ChangeResourceRecordSets", "arn:aws:route53:::hostedzone/<Route53HostedZone>", nil, cleanUp + " ChangeResourceRecordSets"},
	{"function", "s3:ListBucketVersions", goldenBucket, nil, cleanUp + " ListObjectVersions"},
	// S3 API Reference, DeleteObjects: the first always, the second for versions.
	{"function", "s3:DeleteObject", goldenPrefix + "3.16.100/clusters/demo-abcdefghijklmnop/configs/x", nil, cleanUp + " DeleteObjects"},
	{"function", "s3:DeleteObjectVersion", goldenPrefix + "3.16.100/clusters/demo-abcdefghijklmnop/configs/x", nil, cleanUp + " DeleteObjects"},
	{"function", "logs:CreateLogStream", "arn:aws:logs:" + goldenPlace + "log-group:/aws/lambda/pcluster-CleanupResources-x:log-stream:y", nil, "Lambda, for the function's output"},
	{"function", "logs:PutLogEvents", "arn:aws:logs:" + goldenPlace + "log-group:/aws/lambda/pcluster-CleanupResources-x:log-stream:y", nil, "Lambda, for the function's output"},
}, launches(), ofAllNodes(), ofBatch(), ofImages(), ofS3Access())

// launches are what EC2 asks for of a launch: the right to use each thing that it
// touches. (Service Authorization Reference, Amazon EC2: RunInstances, CreateFleet.)
func launches() []use {
	var out []use
	for _, action := range []string{"RunInstances", "CreateFleet"} {
		by := fleetEC2 + " " + action
		for _, kind := range []string{"instance/*", "network-interface/*", "volume/*", "placement-group/group"} {
			out = append(out, use{"head", "ec2:" + action, ec2ARN(kind), nil, by})
		}
		for _, id := range []string{"subnet/subnet-0123456789abcdef0", "subnet/subnet-0123456789abcdef1", "subnet/subnet-076ece71c00742d3c",
			"security-group/<ComputeSecurityGroup.GroupId>", "security-group/sg-0123456789abcdef0", "security-group/sg-0b5941ba4f4d1a9ff"} {
			out = append(out, use{"head", "ec2:" + action, ec2ARN(id), nil, by})
		}
		for _, ami := range []string{"ami-00000000000000000", "ami-0123456789abcdef0", "ami-0123456789abcdef3", "ami-042559ee751d3e522"} {
			out = append(out, use{"head", "ec2:" + action, "arn:aws:ec2:us-east-2::image/" + ami, nil, by})
		}
		out = append(out, use{"head", "ec2:" + action, ec2ARN("launch-template/lt-1"), clusterTag, by})
		for _, group := range []string{"g", "h"} {
			out = append(out, use{"head", "ec2:" + action, "arn:aws:resource-groups:us-east-2:123456789012:group/" + group, nil, by})
		}
	}
	out = append(out, use{"head", "ec2:CreateFleet", ec2ARN("fleet/*"), nil, fleetEC2 + " CreateFleet"})
	for _, cr := range []string{"cr-0123456789abcdef0", "cr-0123456789abcdef1", "cr-0123456789abcdef2"} {
		out = append(out, use{"head", "ec2:RunInstances", ec2ARN("capacity-reservation/" + cr), nil, fleetEC2 + " RunInstances"})
	}
	return out
}

// Who measures what the CloudWatch agent would, and what is the cluster's own.
var (
	ofAgent   = map[string]string{"head": "internal/node/vitals.go PutMetricData", "compute": agent, "login": agent}
	ofCluster = map[string]string{"head": scriptsBeside, "compute": "internal/node/startup.go PutMetricData", "login": scriptsBeside}
)

const scriptsBeside = "scripts of the user, beside the cluster's own metrics"

func ofAllNodes() []use {
	const group = "arn:aws:logs:" + goldenPlace + "log-group:/aws/parallelcluster/demo-202412151030"
	var out []use
	for _, role := range []string{"head", "compute", "login"} {
		out = append(out,
			use{role, "logs:CreateLogStream", group + ":log-stream:ip-10-0-0-1.i-1.slurmd", nil, "internal/node/logs/logs.go CreateLogStream"},
			use{role, "logs:PutLogEvents", group + ":log-stream:ip-10-0-0-1.i-1.slurmd", nil, "internal/node/logs/logs.go PutLogEvents"},
			use{role, "logs:DescribeLogStreams", group, nil, agent},
			use{role, "cloudwatch:PutMetricData", "*", map[string][]string{"cloudwatch:namespace": {"CWAgent"}}, ofAgent[role]},
			use{role, "cloudwatch:PutMetricData", "*", map[string][]string{"cloudwatch:namespace": {"ParallelCluster"}}, ofCluster[role]},
		)
		for _, action := range []string{"ClientMount", "ClientRootAccess", "ClientWrite"} {
			ids := []string{"fs-0123456789abcdef1"}
			if role != "login" {
				ids = append(ids, "<EFSBe51a68478c12bb1>")
			}
			for _, id := range ids {
				out = append(out, use{role, "elasticfilesystem:" + action, "arn:aws:elasticfilesystem:" + goldenPlace + "file-system/" + id, nil, mounting})
			}
		}
		if role != "head" {
			out = append(out,
				use{role, "s3:GetObject", goldenPrefix + "3.16.100/programs/0/pcluster-node", nil, "the user data, which fetches the node program"},
				use{role, "dynamodb:PutItem", "arn:aws:dynamodb:" + goldenPlace + "table/parallelcluster-demo", map[string][]string{"dynamodb:leadingkeys": {"CLUSTER_CONFIG.i-1"}}, nodeAWS + " PutItem"},
			)
		}
	}
	return out
}

// ofS3Access are what the user's scripts do with what S3Access gives: `aws s3 sync`
// both ways, and old versions.
func ofS3Access() []use {
	var out []use
	for _, role := range []string{"head", "compute"} {
		for _, bucket := range []string{"sboinfrastructureassets", "other"} {
			out = append(out, use{role, "s3:ListBucket", "arn:aws:s3:::" + bucket, nil, scripts}, use{role, "s3:GetObject", "arn:aws:s3:::" + bucket + "/x", nil, "internal/node/actions/actions.go GetObject"},
				use{role, "s3:ListMultipartUploadParts", "arn:aws:s3:::" + bucket + "/x", nil, scripts}, use{role, "s3:GetBucketLocation", "arn:aws:s3:::" + bucket, nil, scripts})
		}
		for _, action := range []string{"GetObject", "ListMultipartUploadParts", "PutObject", "PutObjectTagging", "DeleteObject", "DeleteObjectVersion", "AbortMultipartUpload", "RestoreObject"} {
			out = append(out, use{role, "s3:" + action, "arn:aws:s3:::bucket/data/x", nil, scripts})
		}
	}
	return out
}

func (u use) request() policy.Request {
	return policy.Request{Action: u.action, Resource: u.resource, Context: u.context}
}

func (u use) String() string {
	return fmt.Sprintf("%s: %s on %s (%s)", u.role, u.action, u.resource, u.by)
}

// A stackRole is a role of a golden template: whose it is, and what it may do.
type stackRole struct {
	file, kind string
	policies   []policy.Document
}

// roleOf says whose role one of a template is, by parts of the names of the role and of
// the template.
func roleOf(role, template string) string {
	for _, k := range []struct{ role, template, kind string }{
		{"CleanupResources", "", "function"}, {"DeleteStackFunction", "", "image function"}, {"InstanceRole", "", "build instance"},
		{"PclusterCodeBuildRole", "", "build"}, {"PclusterJobRole", "", "job"}, {"PclusterBatchUserRole", "", "batch user"},
		{"", "LoginNodes", "login"}, {"", "Queues", "compute"},
	} {
		if strings.Contains(role, k.role) && strings.Contains(template, k.template) {
			return k.kind
		}
	}
	return "head"
}

// goldenTemplates are the files of all golden templates.
func goldenTemplates(t *testing.T) (files []string) {
	t.Helper()
	for _, pattern := range []string{"*.json", "images/*.json"} {
		more, err := filepath.Glob(filepath.Join(goldens, pattern))
		if err != nil || len(more) == 0 {
			t.Fatalf("no golden templates %s: %v", pattern, err)
		}
		files = append(files, more...)
	}
	return files
}

// stackRoles reads the roles of all golden templates.
func stackRoles(t *testing.T) []stackRole {
	var out []stackRole
	for _, path := range goldenTemplates(t) {
		name := filepath.Base(path)
		var template struct {
			Resources map[string]struct {
				Type       string
				Properties map[string]any
			}
		}
		if err := json.Unmarshal([]byte(readText(t, path)), &template); err != nil {
			t.Fatal(err)
		}
		roles := map[string][]policy.Document{}
		add := func(role string, document any) {
			text, err := json.Marshal(symbolic(document))
			if err != nil {
				t.Fatal(err)
			}
			d, err := policy.Parse(string(text))
			if err != nil {
				t.Fatalf("%s: %s: %v", name, role, err)
			}
			roles[role] = append(roles[role], d)
		}
		for _, id := range slices.Sorted(maps.Keys(template.Resources)) {
			r := template.Resources[id]
			switch r.Type {
			case "AWS::IAM::Policy":
				for _, role := range r.Properties["Roles"].([]any) {
					add(fmt.Sprint(symbolic(role)), r.Properties["PolicyDocument"])
				}
			case "AWS::IAM::Role":
				inline, _ := r.Properties["Policies"].([]any)
				for _, p := range inline {
					add("<"+id+">", p.(map[string]any)["PolicyDocument"])
				}
			}
		}
		for _, role := range slices.Sorted(maps.Keys(roles)) {
			out = append(out, stackRole{name, roleOf(role, name), roles[role]})
		}
	}
	return out
}

// symbolic puts names for the values of references, which only a stack has.
func symbolic(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["Ref"]; ok && len(v) == 1 {
			return fmt.Sprintf("<%s>", ref)
		}
		if att, ok := v["Fn::GetAtt"].([]any); ok {
			return fmt.Sprintf("<%s.%s>", att...)
		}
		if join, ok := v["Fn::Join"].([]any); ok {
			var parts []string
			for _, p := range join[1].([]any) {
				parts = append(parts, fmt.Sprint(symbolic(p)))
			}
			return strings.Join(parts, join[0].(string))
		}
		if part, ok := v["Fn::Select"].([]any); ok { // of something that is split
			return fmt.Sprintf("<part of %s>", symbolic(part[1].(map[string]any)["Fn::Split"].([]any)[1]))
		}
		out := map[string]any{}
		for k, e := range v {
			out[k] = symbolic(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = symbolic(e)
		}
		return out
	}
	return v
}

func readText(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Whatever is dropped from what a role of a stack may do, an action, a resource or a value
// of a condition of one statement, something that the role is for is refused.
func TestRolesOfTheStackMayDoNothingMore(t *testing.T) {
	allowed := make([]bool, len(uses))
	roles, kinds := stackRoles(t), map[string]bool{}
	for _, r := range roles {
		kinds[r.kind] = true
		var mine []policy.Request
		for i, u := range uses {
			if u.role == r.kind && policy.Evaluate(r.policies, nil, u.request()) == policy.Allowed {
				allowed[i] = true
				mine = append(mine, u.request())
			}
		}
		for i, d := range r.policies {
			for j, s := range d.Statements {
				each(s, func(what string, less *policy.Statement) {
					policies := replaced(r.policies, i, j, less)
					if !slices.ContainsFunc(mine, func(q policy.Request) bool { return policy.Evaluate(policies, nil, q) != policy.Allowed }) {
						t.Errorf("%s: nothing that the %s role is for needs %s in %v on %v", r.file, r.kind, what, s.Actions, s.Resources)
					}
				})
			}
		}
	}
	for i, u := range uses {
		if !allowed[i] {
			t.Errorf("no role is allowed what it is for: %s", u)
		}
	}
	if len(roles) < 40 || len(kinds) != 9 {
		t.Errorf("%d roles of %d kinds: not those of all golden templates", len(roles), len(kinds))
	}
}

// replaced returns policies with another statement, or none, in the place of one.
func replaced(policies []policy.Document, document, statement int, by *policy.Statement) []policy.Document {
	out := slices.Clone(policies)
	list := slices.Clone(out[document].Statements)
	if by == nil {
		list = slices.Delete(list, statement, statement+1)
	} else {
		list[statement] = *by
	}
	out[document].Statements = list
	return out
}

// each calls f with a statement less one of its actions, one of its resources, or one
// value of a condition; nil stands for what would be nothing.
func each(s policy.Statement, f func(what string, less *policy.Statement)) {
	lists := []func(*policy.Statement) *[]string{
		func(s *policy.Statement) *[]string { return &s.Actions },
		func(s *policy.Statement) *[]string { return &s.Resources },
	}
	for i := range s.Conditions {
		lists = append(lists, func(s *policy.Statement) *[]string { return &s.Conditions[i].Values })
	}
	for _, list := range lists {
		for i, what := range *list(&s) {
			less := s
			less.Conditions = slices.Clone(s.Conditions)
			*list(&less) = slices.Delete(slices.Clone(*list(&s)), i, i+1)
			if len(*list(&less)) == 0 {
				f(what, nil)
			} else {
				f(what, &less)
			}
		}
	}
}

// roleKinds are the callers that have roles of the stack.
var roleKinds = map[string]string{
	"head node": "head", "compute node": "compute", "login node": "login", "clean-up function": "function", "build of the jobs' image": "build", "job": "job",
	"image's clean-up function": "image function", "machine of an image's build": "build instance",
}

// purpose says what a caller's role is allowed something for.
func purpose(n need) string {
	for _, u := range uses {
		if u.role == roleKinds[n.Caller] && u.action == n.Request.Action {
			return u.by
		}
	}
	return ""
}

// The record of a real cluster's life is among what the roles are for, so that the list
// above forgets nothing that happens in every cluster.
func TestRolesAreForWhatTheirNodesDid(t *testing.T) {
	for _, n := range readNeeds(t) {
		if roleKinds[n.Caller] != "" && purpose(n) == "" {
			t.Errorf("the %s calls %s, which is not in the list of what its role is for", n.Caller, n.Request.Action)
		}
	}
}

// unrecorded are calls of the roles of an image's build which do not happen in the life of
// the image that is recorded, and why.
var unrecorded = map[string]string{
	"image function imagebuilder:GetImage":  "CloudFormation on AWS looks whether the image is gone; the region's is told",
	"image function sns:GetTopicAttributes": "CloudFormation on AWS looks at the topic before it deletes it",
	"image function logs:CreateLogStream":   "the region's Lambda writes the output of functions in its own name",
	"image function logs:PutLogEvents":      "the region's Lambda writes the output of functions in its own name",
}

// The roles of an image's build are, but for the above, for nothing that does not happen
// in the life of every image.
func TestRolesOfImagesDidWhatTheyAreFor(t *testing.T) {
	did := map[string]bool{}
	for _, n := range readLives(t)["images"] {
		did[roleKinds[n.Caller]+" "+n.Request.Action] = true
	}
	for _, u := range ofImages() {
		switch what := u.role + " " + u.action; {
		case !did[what] && unrecorded[what] == "":
			t.Errorf("the record of an image's life lacks %s", u)
		case did[what] && unrecorded[what] != "":
			t.Errorf("%s is recorded: it needs no reason", what)
		}
	}
	for what := range unrecorded {
		if !slices.ContainsFunc(ofImages(), func(u use) bool { return u.role+" "+u.action == what }) {
			t.Errorf("no role of an image's build is for %s", what)
		}
	}
}

// A tag that we know nothing of changes nothing.
func TestRolesDoNotCareForOtherTags(t *testing.T) {
	for _, r := range stackRoles(t) {
		for _, u := range uses {
			q := u.request()
			if u.role != r.kind || policy.Evaluate(r.policies, nil, q) != policy.Allowed {
				continue
			}
			if policy.Evaluate(r.policies, nil, q.With("aws:resourcetag/owner", "x").With("aws:requesttag/owner", "x").With("aws:tagkeys", "owner")) != policy.Allowed {
				t.Errorf("%s: with a tag more it is refused: %s", r.file, u)
			}
		}
	}
}

// Calls of ours are where the list says.
func TestUsesOfRolesAreInTheSources(t *testing.T) {
	for _, u := range uses {
		file, operation, ok := strings.Cut(u.by, " ")
		if !ok || !strings.HasPrefix(file, "internal/") {
			continue
		}
		if !strings.Contains(readText(t, filepath.Join("..", "..", file)), operation+"Input") {
			t.Errorf("%s does not call %s", file, operation)
		}
	}
}
