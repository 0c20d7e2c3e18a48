//go:build linux

package permissions

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pcluster/internal/sandbox/iam/policy"
)

// CloudFormation's own handlers of resource types call more than our region's do: AWS
// lists, in the schema of each type, which actions they may take. (CloudFormation CLI
// User Guide: Resource type schema, handlers.) testdata/handlers.json has those of
// creation, reading and deletion, of the types in our templates, as of August 2026.
//
// Policies allow them but for these, which are for what our templates do not ask for.
var notTaken = map[string]string{
	"autoscaling:EnableMetricsCollection":      "groups have no MetricsCollection",
	"autoscaling:PutNotificationConfiguration": "groups have no notifications",
	"cognito-idp:*":                               "listeners do not authenticate",
	"dynamodb:AssociateTableReplica":              "tables have no replicas",
	"dynamodb:CreateTableReplica":                 "tables have no replicas",
	"dynamodb:*KinesisStreamingDestination":       "tables have no streams; description is allowed",
	"dynamodb:ImportTable":                        "tables begin empty",
	"dynamodb:PutResourcePolicy":                  "tables have no policy",
	"dynamodb:UpdateContinuousBackups":            "tables have no backups",
	"dynamodb:UpdateContributorInsights":          "tables have no contributor insights",
	"dynamodb:UpdateTable":                        "of a later change only",
	"dynamodb:UpdateTimeToLive":                   "records do not expire",
	"dynamodb:Scan":                               "for replicas",
	"dynamodb:Query":                              "for replicas",
	"dynamodb:PutItem":                            "for replicas",
	"dynamodb:DeleteItem":                         "for replicas",
	"dynamodb:BatchWriteItem":                     "for replicas",
	"ec2:AcceptAddressTransfer":                   "addresses are new",
	"ec2:AssociateIamInstanceProfile":             "the launch names the profile",
	"ec2:*LaunchTemplate*":                        "images go into no launch template",
	"ec2:*ssociateAddress":                        "the NAT gateway takes its address itself",
	"ec2:AttachVolume":                            "the head node attaches volumes itself",
	"ec2:CopyVolumes":                             "volumes are no copies",
	"ec2:DeleteTags":                              "tags go with what has them",
	"ec2:DetachVolume":                            "of a later change only",
	"ec2:DisassociateIamInstanceProfile":          "of a later change only",
	"ec2:Get*":                                    "for attributes by which a group would choose instance types",
	"ec2:ModifyInstanceAttribute":                 "the launch says everything",
	"ec2:ModifyInstanceCreditSpecification":       "the launch says everything",
	"ec2:ModifyInstancePlacement":                 "the launch says everything",
	"ec2:ModifyPrivateDnsNameOptions":             "the head node has no PrivateDnsNameOptions",
	"ec2:ModifyPublicIpDnsNameOptions":            "the interface has no PublicIpDnsNameOptions",
	"ec2:ModifyVolumeAttribute":                   "volumes have no AutoEnableIO",
	"ec2:MonitorInstances":                        "the launch says everything",
	"ec2:ReplaceIamInstanceProfileAssociation":    "of a later change only",
	"ec2:StartInstances":                          "of a later change only",
	"ec2:ReplaceRouteTableAssociation":            "subnets are new",
	"ec2:*VpnGateway":                             "networks have no VPN",
	"ecr:PutLifecyclePolicy":                      "the repository has no lifecycle policy",
	"ecr:SetRepositoryPolicy":                     "the repository has no policy",
	"ecr:BatchGetRepositoryScanningConfiguration": "images are no containers",
	"eks:*": "jobs run on ECS",
	"elasticfilesystem:CreateReplicationConfiguration":  "file systems have no replicas",
	"elasticfilesystem:DeleteReplicationConfiguration":  "file systems have no replicas",
	"elasticfilesystem:PutBackupPolicy":                 "file systems have no BackupPolicy",
	"elasticfilesystem:PutFileSystemPolicy":             "file systems have no FileSystemPolicy",
	"elasticfilesystem:PutLifecycleConfiguration":       "file systems have no LifecyclePolicies",
	"elasticfilesystem:UpdateFileSystemProtection":      "file systems have no FileSystemProtection",
	"elasticloadbalancing:ModifyCapacityReservation":    "balancers reserve nothing",
	"elasticloadbalancing:ModifyListenerAttributes":     "listeners have no attributes",
	"elasticloadbalancing:ModifyLoadBalancerAttributes": "balancers have no attributes",
	"elasticloadbalancing:ModifyTargetGroupAttributes":  "target groups have no attributes",
	"elasticloadbalancing:RegisterTargets":              "targets are the Auto Scaling group's",
	"elasticloadbalancing:SetSecurityGroups":            "of a later change only",
	"firehose:*":                                        "log groups deliver nothing",
	"iam:UntagRole":                                     "of a later change only",
	"imagebuilder:StartImagePipelineExecution":          "there is no pipeline",
	"imagebuilder:UntagResource":                        "tags go with what has them",
	"inspector2:*":                                      "images are not scanned",
	"kinesis:*":                                         "tables have no streams",
	"kms:*":                                             "only files with keys of one's own have keys: see keys.json",
	"lambda:PassCapacityProvider":                       "functions have no capacity provider",
	"lambda:PutFunction*":                               "functions have no limits of concurrency or recursion",
	"lambda:PutRuntimeManagementConfig":                 "functions have no RuntimeManagementConfig",
	"logs:CreateLogDelivery":                            "log groups deliver nothing",
	"logs:*DataProtectionPolicy":                        "log groups have no DataProtectionPolicy; reading is allowed",
	"logs:CreateLogStream":                              "for imports of tables",
	"logs:PutLogEvents":                                 "for imports of tables",
	"logs:PutRetentionPolicy":                           "log groups of image builds have no retention",
	"logs:*ResourcePolic*":                              "log groups have no ResourcePolicyDocument",
	"managed-fleets:*":                                  "groups have no managed instances",
	"route53:AssociateVPCWithHostedZone":                "the zone has one VPC, from the start",
	"route53:*QueryLoggingConfig":                       "the zone has no QueryLoggingConfig; listing is allowed",
	"route53:UpdateHostedZoneFeatures":                  "the zone has no features",
	"s3:GetObjectMetadata":                              "for imports of tables; there is no such action",
	"s3:HeadBucket":                                     "components come with their text; there is no such action",
	"s3:REST.PUT.OBJECT":                                "log groups deliver nothing; there is no such action",
	"s3files:*":                                         "functions have no file systems",
	"sns:PutDataProtectionPolicy":                       "topics have no DataProtectionPolicy",
	"ssm:*":                                             "instances have no SsmAssociations, launch templates no parameters for AMIs",
	"vpc-lattice:*":                                     "groups have no traffic sources",
}

// handlers returns the actions of CloudFormation's handlers by type.
func handlers(t *testing.T) map[string][]string {
	t.Helper()
	var out map[string][]string
	if err := json.Unmarshal([]byte(text(t, "testdata/handlers.json")), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// made are the types of resources that people make, by their kit, beside those of
// clusters, which are in the templates of package stack.
var made = map[string][]string{
	"images": {
		"AWS::IAM::InstanceProfile", "AWS::IAM::Role", "AWS::ImageBuilder::Component", "AWS::ImageBuilder::DistributionConfiguration", "AWS::ImageBuilder::Image",
		"AWS::ImageBuilder::ImageRecipe", "AWS::ImageBuilder::InfrastructureConfiguration", "AWS::Lambda::Function", "AWS::Lambda::Permission", "AWS::Logs::LogGroup",
		"AWS::SNS::Subscription", "AWS::SNS::Topic",
	},
	"network": {
		"AWS::EC2::EIP", "AWS::EC2::InternetGateway", "AWS::EC2::NatGateway", "AWS::EC2::Route", "AWS::EC2::RouteTable", "AWS::EC2::Subnet",
		"AWS::EC2::SubnetRouteTableAssociation", "AWS::EC2::VPCGatewayAttachment",
	},
}

// older types have no schema with handlers, or none that call anything.
var older = []string{
	"AWS::CloudFormation::CustomResource", "AWS::CloudFormation::WaitCondition", "AWS::CloudFormation::WaitConditionHandle", "AWS::CodeBuild::Project",
	"AWS::FSx::FileSystem", "AWS::IAM::Policy",
}

// handled returns the actions of handlers that each kit's people need.
func handled(t *testing.T) map[string][]string {
	t.Helper()
	all := handlers(t)
	types := map[string]map[string]bool{"clusters": {}}
	for kit, list := range made {
		types[kit] = map[string]bool{}
		for _, typ := range list {
			types[kit][typ] = true
		}
	}
	files, err := filepath.Glob("../../internal/stack/testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("templates: %v, %v", files, err)
	}
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var template struct {
			Resources map[string]struct{ Type string }
		}
		if err := json.Unmarshal(body, &template); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		for _, r := range template.Resources {
			types["clusters"][r.Type] = true
		}
	}
	out := map[string][]string{}
	for kit, set := range types {
		var actions []string
		for typ := range set {
			if all[typ] == nil && !slices.Contains(older, typ) {
				t.Errorf("testdata/handlers.json does not have %s", typ)
			}
			actions = append(actions, all[typ]...)
		}
		slices.Sort(actions)
		out[kit] = slices.Compact(actions)
	}
	return out
}

// allows reports whether some statement allows an action, on whatever and whenever.
func allows(policies []policy.Document, action string) bool {
	return slices.ContainsFunc(policies, func(d policy.Document) bool {
		return slices.ContainsFunc(d.Statements, func(s policy.Statement) bool {
			return slices.ContainsFunc(s.Actions, func(a string) bool { return policy.Like(strings.ToLower(a), strings.ToLower(action)) })
		})
	})
}

func TestPublishedPoliciesAllowWhatCloudFormationDoes(t *testing.T) {
	used := map[string]bool{}
	for kit, actions := range handled(t) {
		policies := documents(t, kits[kit]...)
		for _, a := range actions {
			if allows(policies, a) {
				continue
			}
			pattern := ""
			for p := range notTaken {
				if policy.Like(p, a) {
					pattern = p
				}
			}
			if used[pattern] = true; pattern == "" {
				t.Errorf("%s: CloudFormation may call %s, which no policy allows and no reason leaves out", kit, a)
			}
		}
	}
	for _, p := range slices.Sorted(maps.Keys(notTaken)) {
		if !used[p] {
			t.Errorf("%s is allowed, or no handler calls it: it needs no reason", p)
		}
	}
}
