//go:build linux

package permissions

import (
	"maps"
	"slices"
	"testing"

	"pcluster/internal/sandbox/iam/policy"
)

// tagged is the context of a resource with tags.
func tagged(pairs ...string) (out []string) {
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, "aws:ResourceTag/"+pairs[i], pairs[i+1])
	}
	return out
}

// Tags as clusters of the account have them.
const (
	clusterName = "parallelcluster:cluster-name"
	nodeType    = "parallelcluster:node-type"
	imageID     = "parallelcluster:image_id"
)

// refusedRoles are what roles of stacks must not do, by whose roles they are: calls that
// nothing but a condition keeps from being allowed.
func refusedRoles() map[string][]need {
	foreign := tagged(clusterName, "another", nodeType, "Compute")
	head := []need{
		ask("tags on what is there already", "ec2:CreateTags", ec2ARN("instance/i-1")),
		ask("instances of another cluster", "ec2:TerminateInstances", ec2ARN("instance/i-1"), foreign...),
		ask("the head node itself", "ec2:TerminateInstances", ec2ARN("instance/i-1"), tagged(clusterName, goldenCluster, nodeType, "HeadNode")...),
		ask("the console of another cluster", "ec2:GetConsoleOutput", ec2ARN("instance/i-1"), foreign...),
		ask("its own console", "ec2:GetConsoleOutput", ec2ARN("instance/i-1"), tagged(clusterName, goldenCluster, nodeType, "HeadNode")...),
		ask("a template of another cluster", "ec2:RunInstances", ec2ARN("launch-template/lt-1"), foreign...),
		ask("a volume of another cluster", "ec2:AttachVolume", ec2ARN("volume/vol-1"), foreign...),
		ask("roles for something else than nodes", "iam:PassRole", "arn:aws:iam::671250183987:role/parallelcluster/demo/demo-RoleX", "iam:PassedToService", "lambda.amazonaws.com"),
		ask("roles for something else than nodes", "iam:PassRole", "arn:aws:iam::671250183987:role/path/demo/name-RoleX", "iam:PassedToService", "lambda.amazonaws.com"),
	}
	metrics := ask("metrics of AWS's own", "cloudwatch:PutMetricData", "*", "cloudwatch:namespace", "AWS/EC2")
	state := ask("the state of the fleet", "dynamodb:PutItem", "arn:aws:dynamodb:"+goldenPlace+"table/parallelcluster-"+goldenCluster, "dynamodb:LeadingKeys", "COMPUTE_FLEET")
	return map[string][]need{
		"head":     append(head, metrics),
		"compute":  {metrics, state},
		"login":    {metrics, state},
		"function": {ask("instances of another cluster", "ec2:TerminateInstances", ec2ARN("instance/i-1"), foreign...)},
		"job":      {ask("what is not jobs'", "s3:ListBucket", goldenBucket, "s3:prefix", "parallelcluster/3.16.100/clusters/")},
	}
}

// Every condition of a role of a stack keeps it from something, which is refused for no
// other reason.
func TestConditionsOfRolesRefuse(t *testing.T) {
	refused, used := refusedRoles(), map[string]bool{}
	for _, r := range stackRoles(t) {
		for _, n := range refused[r.kind] {
			if policy.Evaluate(r.policies, nil, n.Request) == policy.Allowed {
				t.Errorf("%s: the %s role may %s (%s)", r.file, r.kind, n.Request.Action, n.Caller)
			}
		}
		for i, d := range r.policies {
			for j, s := range d.Statements {
				without(s, func(c policy.Condition, less *policy.Statement) {
					policies, found := replaced(r.policies, i, j, less), false
					for _, n := range refused[r.kind] {
						if policy.Evaluate(policies, nil, n.Request) == policy.Allowed {
							used[r.kind+n.Caller+n.Request.Action+n.Request.Resource], found = true, true
						}
					}
					if !found {
						t.Errorf("%s: nothing shows what the %s role may without the condition %s of %v on %v", r.file, r.kind, c.Key, s.Actions, s.Resources)
					}
				})
			}
		}
	}
	for kind, list := range refused {
		for _, n := range list {
			if !used[kind+n.Caller+n.Request.Action+n.Request.Resource] {
				t.Errorf("no condition keeps the %s role from %s on %s (%s)", kind, n.Request.Action, n.Request.Resource, n.Caller)
			}
		}
	}
}

// without calls f with a statement less one of its conditions.
func without(s policy.Statement, f func(c policy.Condition, less *policy.Statement)) {
	for i, c := range s.Conditions {
		less := s
		less.Conditions = slices.Delete(slices.Clone(s.Conditions), i, i+1)
		f(c, &less)
	}
}

// refusedPeople are what people with the published policies must not do, by the policy
// that has the condition.
var refusedPeople = map[string][]need{
	"clusters": {
		ask("stacks of no cluster", "cloudformation:CreateStack", "arn:aws:cloudformation:us-east-1:111122223333:stack/web/*"),
		ask("stacks of no cluster", "cloudformation:DeleteStack", "arn:aws:cloudformation:us-east-1:111122223333:stack/web/1"),
		ask("tags on what is there already", "ec2:CreateTags", "arn:aws:ec2:us-east-1:111122223333:instance/i-1"),
		ask("instances of no cluster", "ec2:TerminateInstances", "arn:aws:ec2:us-east-1:111122223333:instance/i-1"),
		ask("records of others", "route53:ChangeResourceRecordSets", "arn:aws:route53:::hostedzone/Z1", "route53:ChangeResourceRecordSetsNormalizedRecordNames", "www.example.com"),
	},
	"clusters-iam": {
		ask("roles without the boundary", "iam:CreateRole", "arn:aws:iam::111122223333:role/parallelcluster/x/x-RoleHeadNode-1"),
		ask("roles for other services", "iam:PassRole", "arn:aws:iam::111122223333:role/parallelcluster/x/x-RoleHeadNode-1", "iam:PassedToService", "glue.amazonaws.com"),
	},
	"clusters-iam-unbounded": {
		ask("roles for other services", "iam:PassRole", "arn:aws:iam::111122223333:role/parallelcluster/x/x-RoleHeadNode-1", "iam:PassedToService", "glue.amazonaws.com"),
	},
	"batch": {
		ask("roles for other services", "iam:PassRole", "arn:aws:iam::111122223333:role/parallelcluster/x/x-PclusterJobRole-1", "iam:PassedToService", "glue.amazonaws.com"),
		ask("roles of other services", "iam:CreateServiceLinkedRole", "arn:aws:iam::111122223333:role/aws-service-role/es.amazonaws.com/AWSServiceRoleForAmazonElasticsearchService", "iam:AWSServiceName", "es.amazonaws.com"),
	},
	"images": {
		ask("stacks of no image", "cloudformation:CreateStack", "arn:aws:cloudformation:us-east-1:111122223333:stack/web/*"),
		ask("stacks of no image", "cloudformation:DeleteStack", "arn:aws:cloudformation:us-east-1:111122223333:stack/web/1"),
		ask("images of others", "ec2:DeregisterImage", "arn:aws:ec2:us-east-1::image/ami-1"),
		ask("snapshots of others", "ec2:DeleteSnapshot", "arn:aws:ec2:us-east-1::snapshot/snap-1"),
		ask("roles of other services", "iam:CreateServiceLinkedRole", "arn:aws:iam::111122223333:role/aws-service-role/es.amazonaws.com/AWSServiceRoleForAmazonElasticsearchService", "iam:AWSServiceName", "es.amazonaws.com"),
	},
	"keys": {
		ask("use of the key by oneself", "kms:Decrypt", "arn:aws:kms:us-east-1:111122223333:key/k"),
		ask("grants for people", "kms:CreateGrant", "arn:aws:kms:us-east-1:111122223333:key/k"),
	},
	"login-nodes": {
		ask("balancers of no cluster", "elasticloadbalancing:CreateLoadBalancer", "arn:aws:elasticloadbalancing:us-east-1:111122223333:loadbalancer/net/web/*"),
		ask("balancers of no cluster", "elasticloadbalancing:DeleteLoadBalancer", "arn:aws:elasticloadbalancing:us-east-1:111122223333:loadbalancer/net/web/1"),
		ask("roles of other services", "iam:CreateServiceLinkedRole", "arn:aws:iam::111122223333:role/aws-service-role/es.amazonaws.com/AWSServiceRoleForAmazonElasticsearchService", "iam:AWSServiceName", "es.amazonaws.com"),
	},
	"network": {
		ask("tags on what is there already", "ec2:CreateTags", "arn:aws:ec2:us-east-1:111122223333:subnet/subnet-1"),
		ask("networks of others", "ec2:DeleteSubnet", "arn:aws:ec2:us-east-1:111122223333:subnet/subnet-1"),
	},
	"storage": {
		ask("file systems of no cluster", "elasticfilesystem:CreateFileSystem", "arn:aws:elasticfilesystem:us-east-1:111122223333:file-system/*"),
		ask("file systems of no cluster", "elasticfilesystem:DeleteFileSystem", "arn:aws:elasticfilesystem:us-east-1:111122223333:file-system/fs-1"),
		ask("tags of no cluster", "elasticfilesystem:TagResource", "arn:aws:elasticfilesystem:us-east-1:111122223333:file-system/fs-1"),
		ask("file systems of no cluster", "fsx:DeleteFileSystem", "arn:aws:fsx:us-east-1:111122223333:file-system/fs-1"),
		ask("roles of other services", "iam:CreateServiceLinkedRole", "arn:aws:iam::111122223333:role/aws-service-role/es.amazonaws.com/AWSServiceRoleForAmazonElasticsearchService", "iam:AWSServiceName", "es.amazonaws.com"),
	},
	"boundary": {
		ask("tags on what is there already", "ec2:CreateTags", "arn:aws:ec2:us-east-1:111122223333:network-interface/eni-1"),
		ask("instances of no cluster", "ec2:TerminateInstances", "arn:aws:ec2:us-east-1:111122223333:instance/i-1"),
		ask("roles for other services", "iam:PassRole", "arn:aws:iam::111122223333:role/parallelcluster/x/x-RoleHeadNode-1", "iam:PassedToService", "glue.amazonaws.com"),
		ask("records of others", "route53:ChangeResourceRecordSets", "arn:aws:route53:::hostedzone/Z1", "route53:ChangeResourceRecordSetsNormalizedRecordNames", "www.example.com"),
		ask("stacks of no image", "cloudformation:DeleteStack", "arn:aws:cloudformation:us-east-1:111122223333:stack/web/1"),
		ask("images of others", "ec2:CreateTags", "arn:aws:ec2:us-east-1::image/ami-1"),
	},
}

// Every condition of a published policy keeps people from something, which is refused
// whatever other policies of a kit they have.
func TestConditionsOfPublishedPoliciesRefuse(t *testing.T) {
	with := map[string][][]string{"clusters-iam-unbounded": {{"readonly", "clusters", "clusters-iam-unbounded"}}, "boundary": {{"boundary"}}}
	for _, kit := range kits {
		for _, name := range kit {
			with[name] = append(with[name], kit)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(with)) {
		refused, used := refusedPeople[name], map[int]bool{}
		for _, kit := range with[name] {
			policies, at := documents(t, kit...), slices.Index(kit, name)
			for _, n := range refused {
				if policy.Evaluate(policies, nil, n.Request) == policy.Allowed {
					t.Errorf("with %v one may %s on %s (%s)", kit, n.Request.Action, n.Request.Resource, n.Caller)
				}
			}
			for j, s := range policies[at].Statements {
				without(s, func(c policy.Condition, less *policy.Statement) {
					mutant, found := replaced(policies, at, j, less), false
					for k, n := range refused {
						if policy.Evaluate(mutant, nil, n.Request) == policy.Allowed {
							used[k], found = true, true
						}
					}
					if !found {
						t.Errorf("%s.json: nothing shows what may be done without the condition %s of statement %s", name, c.Key, s.Sid)
					}
				})
			}
		}
		for k, n := range refused {
			if !used[k] {
				t.Errorf("%s.json: no condition keeps anybody from %s on %s (%s)", name, n.Request.Action, n.Request.Resource, n.Caller)
			}
		}
	}
}
