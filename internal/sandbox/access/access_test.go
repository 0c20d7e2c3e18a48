package access

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	scaling "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	batchtypes "github.com/aws/aws-sdk-go-v2/service/batch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/efs"
	efstypes "github.com/aws/aws-sdk-go-v2/service/efs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	r53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// testWorld has one launch template, one instance with a tag, one profile.
type testWorld struct{}

func (testWorld) Tags(arn string) map[string]string {
	if strings.HasSuffix(arn, "instance/i-1") {
		return map[string]string{"parallelcluster:cluster-name": "demo"}
	}
	return nil
}

func (testWorld) Template(*types.LaunchTemplateSpecification) (string, *types.ResponseLaunchTemplateData) {
	return "lt-1", &types.ResponseLaunchTemplateData{
		ImageId: aws.String("ami-1"), KeyName: aws.String("mine"),
		NetworkInterfaces:  []types.LaunchTemplateInstanceNetworkInterfaceSpecification{{SubnetId: aws.String("subnet-1"), Groups: []string{"sg-1"}}},
		IamInstanceProfile: &types.LaunchTemplateIamInstanceProfileSpecification{Name: aws.String("profile")},
		TagSpecifications:  []types.LaunchTemplateTagSpecification{{ResourceType: "instance", Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}},
	}
}

func (testWorld) ProfileRole(string) string { return "arn:aws:iam::1:role/r" }
func (testWorld) Boundary(role string) string {
	if role == "bound" {
		return "arn:aws:iam::1:policy/fence"
	}
	return ""
}
func (testWorld) ARN(kind, name string) string {
	return "arn:aws:x:r:1:" + kind + "/" + name
}

var testPlace = Place{"aws", "r", "1"}

func TestCallsAskForWhatTheyTouch(t *testing.T) {
	template := &types.LaunchTemplateSpecification{LaunchTemplateName: aws.String("t")}
	launched := []string{
		"ec2:RunInstances arn:aws:ec2:r:1:instance/*", "ec2:RunInstances arn:aws:ec2:r:1:network-interface/*", "ec2:RunInstances arn:aws:ec2:r:1:volume/*",
		"ec2:RunInstances arn:aws:ec2:r::image/ami-1", "ec2:RunInstances arn:aws:ec2:r:1:subnet/subnet-1", "ec2:RunInstances arn:aws:ec2:r:1:security-group/sg-1",
		"ec2:RunInstances arn:aws:ec2:r:1:launch-template/lt-1", "ec2:RunInstances arn:aws:ec2:r:1:key-pair/mine",
		"ec2:CreateTags arn:aws:ec2:r:1:instance/*", "iam:PassRole arn:aws:iam::1:role/r",
	}
	for name, tt := range map[string]struct {
		call Call
		want []string
	}{
		"launch": {Call{"ec2", "RunInstances", &ec2.RunInstancesInput{LaunchTemplate: template}}, launched},
		"job needs its queue and its definition": {Call{"batch", "SubmitJob", &batch.SubmitJobInput{JobQueue: aws.String("q"), JobDefinition: aws.String("arn:aws:batch:r:1:job-definition/d:1")}},
			[]string{"batch:SubmitJob arn:aws:batch:r:1:job-definition/d:1", "batch:SubmitJob arn:aws:batch:r:1:job-queue/q"}},
		"end of a job": {Call{"batch", "TerminateJob", &batch.TerminateJobInput{JobId: aws.String("j")}}, []string{"batch:TerminateJob arn:aws:batch:r:1:job/j"}},
		"list of jobs": {Call{"batch", "ListJobs", &batch.ListJobsInput{JobQueue: aws.String("q")}}, []string{"batch:ListJobs *"}},
		"compute environment hands over roles": {Call{"batch", "CreateComputeEnvironment", &batch.CreateComputeEnvironmentInput{ComputeEnvironmentName: aws.String("ce"),
			ComputeResources: &batchtypes.ComputeResource{InstanceRole: aws.String("profile"), SpotIamFleetRole: aws.String("arn:aws:iam::1:role/spot")}}},
			[]string{"batch:CreateComputeEnvironment arn:aws:batch:r:1:compute-environment/ce", "iam:PassRole arn:aws:iam::1:role/spot", "iam:PassRole arn:aws:iam::1:role/r"}},
		"nodes of a job definition hand over their role once": {Call{"batch", "RegisterJobDefinition", &batch.RegisterJobDefinitionInput{JobDefinitionName: aws.String("d"),
			NodeProperties: &batchtypes.NodeProperties{NodeRangeProperties: []batchtypes.NodeRangeProperty{
				{Container: &batchtypes.ContainerProperties{JobRoleArn: aws.String("arn:aws:iam::1:role/j")}}, {Container: &batchtypes.ContainerProperties{JobRoleArn: aws.String("arn:aws:iam::1:role/j")}}}}}},
			[]string{"batch:RegisterJobDefinition arn:aws:batch:r:1:job-definition/d", "iam:PassRole arn:aws:iam::1:role/j"}},
		"builds are of their project": {Call{"codebuild", "BatchGetBuilds", &codebuild.BatchGetBuildsInput{Ids: []string{"p:1"}}}, []string{"codebuild:BatchGetBuilds arn:aws:x:r:1:build/p:1"}},
		"repository with tags": {Call{"ecr", "CreateRepository", &ecr.CreateRepositoryInput{RepositoryName: aws.String("n"), Tags: []ecrtypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}},
			[]string{"ecr:CreateRepository arn:aws:ecr:r:1:repository/n", "ecr:TagResource arn:aws:ecr:r:1:repository/n"}},
		"fleet": {Call{"ec2", "CreateFleet", &ec2.CreateFleetInput{LaunchTemplateConfigs: []types.FleetLaunchTemplateConfigRequest{
			{LaunchTemplateSpecification: &types.FleetLaunchTemplateSpecificationRequest{LaunchTemplateName: aws.String("t")}},
		}}}, append([]string{"ec2:CreateFleet arn:aws:ec2:r:1:fleet/*", "ec2:CreateFleet arn:aws:ec2:r:1:launch-template/lt-1"}, launched...)},
		"terminate": {
			Call{"ec2", "TerminateInstances", &ec2.TerminateInstancesInput{InstanceIds: []string{"i-1", "i-2"}}},
			[]string{"ec2:TerminateInstances arn:aws:ec2:r:1:instance/i-1", "ec2:TerminateInstances arn:aws:ec2:r:1:instance/i-2"},
		},
		"describe": {Call{"ec2", "DescribeInstances", &ec2.DescribeInstancesInput{InstanceIds: []string{"i-1"}}}, []string{"ec2:DescribeInstances *"}},
		"attach": {
			Call{"ec2", "AttachVolume", &ec2.AttachVolumeInput{InstanceId: aws.String("i-1"), VolumeId: aws.String("vol-1")}},
			[]string{"ec2:AttachVolume arn:aws:ec2:r:1:instance/i-1", "ec2:AttachVolume arn:aws:ec2:r:1:volume/vol-1"},
		},
		"group": {
			Call{"ec2", "CreateSecurityGroup", &ec2.CreateSecurityGroupInput{VpcId: aws.String("vpc-1"), TagSpecifications: []types.TagSpecification{{Tags: []types.Tag{{Key: aws.String("k")}}}}}},
			[]string{"ec2:CreateSecurityGroup arn:aws:ec2:r:1:vpc/vpc-1", "ec2:CreateSecurityGroup arn:aws:ec2:r:1:security-group/*", "ec2:CreateTags arn:aws:ec2:r:1:security-group/*"},
		},
		"item":    {Call{"dynamodb", "GetItem", &dynamodb.GetItemInput{TableName: aws.String("t")}}, []string{"dynamodb:GetItem arn:aws:dynamodb:r:1:table/t"}},
		"items":   {Call{"dynamodb", "BatchWriteItem", &dynamodb.BatchWriteItemInput{RequestItems: map[string][]ddb.WriteRequest{"t": nil}}}, []string{"dynamodb:BatchWriteItem arn:aws:dynamodb:r:1:table/t"}},
		"stack":   {Call{"cloudformation", "DescribeStacks", &cloudformation.DescribeStacksInput{StackName: aws.String("s")}}, []string{"cloudformation:DescribeStacks arn:aws:x:r:1:stack/s"}},
		"stacks":  {Call{"cloudformation", "DescribeStacks", &cloudformation.DescribeStacksInput{}}, []string{"cloudformation:DescribeStacks *", "cloudformation:ListStacks *"}},
		"logs":    {Call{"logs", "PutLogEvents", &cloudwatchlogs.PutLogEventsInput{LogGroupName: aws.String("g"), LogStreamName: aws.String("s")}}, []string{"logs:PutLogEvents arn:aws:logs:r:1:log-group:g:log-stream:s"}},
		"records": {Call{"route53", "ChangeResourceRecordSets", &route53.ChangeResourceRecordSetsInput{HostedZoneId: aws.String("/hostedzone/Z1")}}, []string{"route53:ChangeResourceRecordSets arn:aws:route53:::hostedzone/Z1"}},
		"function": {
			Call{"lambda", "CreateFunction", &lambda.CreateFunctionInput{FunctionName: aws.String("f"), Role: aws.String("arn:aws:iam::1:role/f")}},
			[]string{"lambda:CreateFunction arn:aws:lambda:r:1:function:f", "iam:PassRole arn:aws:iam::1:role/f"},
		},
		"nodes of a group": {
			Call{"autoscaling", "CreateAutoScalingGroup", &autoscaling.CreateAutoScalingGroupInput{
				AutoScalingGroupName: aws.String("g"), LaunchTemplate: &scaling.LaunchTemplateSpecification{LaunchTemplateName: aws.String("t")}}},
			append([]string{"autoscaling:CreateAutoScalingGroup arn:aws:autoscaling:r:1:autoScalingGroup:*:autoScalingGroupName/g"}, launched...),
		},
		"address": {
			Call{"ec2", "AllocateAddress", &ec2.AllocateAddressInput{TagSpecifications: []types.TagSpecification{{Tags: []types.Tag{{Key: aws.String("k")}}}}}},
			[]string{"ec2:AllocateAddress arn:aws:ec2:r:1:elastic-ip/*", "ec2:CreateTags arn:aws:ec2:r:1:elastic-ip/*"},
		},
		"NAT": {
			Call{"ec2", "CreateNatGateway", &ec2.CreateNatGatewayInput{SubnetId: aws.String("subnet-1"), AllocationId: aws.String("eipalloc-1")}},
			[]string{"ec2:CreateNatGateway arn:aws:ec2:r:1:elastic-ip/eipalloc-1", "ec2:CreateNatGateway arn:aws:ec2:r:1:subnet/subnet-1", "ec2:CreateNatGateway arn:aws:ec2:r:1:natgateway/*"},
		},
		"route table": {
			Call{"ec2", "DisassociateRouteTable", &ec2.DisassociateRouteTableInput{AssociationId: aws.String("rtbassoc-1")}},
			[]string{"ec2:DisassociateRouteTable arn:aws:x:r:1:route-association/rtbassoc-1"},
		},
		"address that goes": {Call{"ec2", "DisassociateAddress", &ec2.DisassociateAddressInput{AssociationId: aws.String("eipassoc-1")}}, []string{"ec2:DisassociateAddress arn:aws:x:r:1:address-association/eipassoc-1"}},
		"image": {
			Call{"imagebuilder", "CreateImage", &imagebuilder.CreateImageInput{ImageRecipeArn: aws.String("arn:aws:imagebuilder:r:1:image-recipe/one/1.0.0")}},
			[]string{"imagebuilder:CreateImage arn:aws:imagebuilder:r:1:image/one/1.0.0/*"},
		},
		"component": {
			Call{"imagebuilder", "CreateComponent", &imagebuilder.CreateComponentInput{Name: aws.String("One"), SemanticVersion: aws.String("1.0.0")}},
			[]string{"imagebuilder:CreateComponent arn:aws:imagebuilder:r:1:component/one/1.0.0/*"},
		},
		"mount target": {Call{"efs", "DeleteMountTarget", &efs.DeleteMountTargetInput{MountTargetId: aws.String("m")}}, []string{"elasticfilesystem:DeleteMountTarget arn:aws:x:r:1:mount-target/m"}},
		"file system with tags": {
			Call{"efs", "CreateFileSystem", &efs.CreateFileSystemInput{Tags: []efstypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}},
			[]string{"elasticfilesystem:CreateFileSystem *", "elasticfilesystem:TagResource arn:aws:elasticfilesystem:r:1:file-system/*"},
		},
		"invoke": {Call{"lambda", "Invoke", &lambda.InvokeInput{FunctionName: aws.String("f")}}, []string{"lambda:InvokeFunction arn:aws:lambda:r:1:function:f"}},
		"whoami": {Call{"sts", "GetCallerIdentity", &sts.GetCallerIdentityInput{}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, r := range Of(testWorld{}, testPlace, tt.call) {
				got = append(got, r.Action+" "+r.Resource)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("asks for\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func TestConditionKeys(t *testing.T) {
	context := func(c Call, action string) map[string][]string {
		for _, r := range Of(testWorld{}, testPlace, c) {
			if r.Action == action {
				return r.Context
			}
		}
		t.Fatalf("%s is not asked for", action)
		return nil
	}
	launch := Call{"ec2", "RunInstances", &ec2.RunInstancesInput{LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateName: aws.String("t")}}}
	put := Call{"dynamodb", "PutItem", &dynamodb.PutItemInput{TableName: aws.String("t"), Item: map[string]ddb.AttributeValue{"Id": &ddb.AttributeValueMemberS{Value: "CLUSTER_CONFIG.i-1"}}}}
	records := Call{"route53", "ChangeResourceRecordSets", &route53.ChangeResourceRecordSetsInput{HostedZoneId: aws.String("Z1"), ChangeBatch: &r53types.ChangeBatch{
		Changes: []r53types.Change{{ResourceRecordSet: &r53types.ResourceRecordSet{Name: aws.String("Node-1.demo.pcluster.")}}}}}}
	stack := Call{"cloudformation", "CreateStack", &cloudformation.CreateStackInput{StackName: aws.String("s")}}
	for _, tt := range []struct {
		call              Call
		action, key, want string
	}{
		{Call{"ec2", "TerminateInstances", &ec2.TerminateInstancesInput{InstanceIds: []string{"i-1"}}}, "ec2:TerminateInstances", "aws:resourcetag/parallelcluster:cluster-name", "demo"},
		{launch, "ec2:CreateTags", "ec2:createaction", "RunInstances"},
		{launch, "ec2:CreateTags", "aws:requesttag/k", "v"},
		{launch, "iam:PassRole", "iam:passedtoservice", "ec2.amazonaws.com"},
		{Call{"iam", "PutRolePolicy", &iam.PutRolePolicyInput{RoleName: aws.String("bound")}}, "iam:PutRolePolicy", "iam:permissionsboundary", "arn:aws:iam::1:policy/fence"},
		{records, "route53:ChangeResourceRecordSets", "route53:changeresourcerecordsetsnormalizedrecordnames", "node-1.demo.pcluster"},
		{put, "dynamodb:PutItem", "dynamodb:leadingkeys", "CLUSTER_CONFIG.i-1"},
		{stack, "cloudformation:CreateStack", "aws:requestedregion", "r"},
	} {
		if got := context(tt.call, tt.action)[tt.key]; len(got) != 1 || got[0] != tt.want {
			t.Errorf("%s: %s is %v, want %s", tt.action, tt.key, got, tt.want)
		}
	}
}

func TestS3(t *testing.T) {
	for _, tt := range []struct{ method, bucket, key, query, copied, want string }{
		{"GET", "", "", "", "", "s3:ListAllMyBuckets *"},
		{"GET", "b", "", "list-type=2&prefix=p", "", "s3:ListBucket arn:aws:s3:::b"},
		{"GET", "b", "", "versions", "", "s3:ListBucketVersions arn:aws:s3:::b"},
		{"GET", "b", "", "location", "", "s3:GetBucketLocation arn:aws:s3:::b"},
		{"HEAD", "b", "", "", "", "s3:ListBucket arn:aws:s3:::b"},
		{"PUT", "b", "", "", "", "s3:CreateBucket arn:aws:s3:::b"},
		{"PUT", "b", "", "encryption", "", "s3:PutEncryptionConfiguration arn:aws:s3:::b"},
		{"DELETE", "b", "", "policy", "", "s3:DeleteBucketPolicy arn:aws:s3:::b"},
		{"DELETE", "b", "", "lifecycle", "", "s3:PutLifecycleConfiguration arn:aws:s3:::b"},
		{"POST", "b", "", "delete", "", ""},
		{"HEAD", "b", "k", "", "", "s3:GetObject arn:aws:s3:::b/k"},
		{"GET", "b", "k/l", "versionId=1", "", "s3:GetObjectVersion arn:aws:s3:::b/k/l"},
		{"PUT", "b", "k", "partNumber=1&uploadId=2", "", "s3:PutObject arn:aws:s3:::b/k"},
		{"POST", "b", "k", "uploads", "", "s3:PutObject arn:aws:s3:::b/k"},
		{"DELETE", "b", "k", "uploadId=2", "", "s3:AbortMultipartUpload arn:aws:s3:::b/k"},
		{"DELETE", "b", "k", "versionId=2", "", "s3:DeleteObjectVersion arn:aws:s3:::b/k"},
		{"GET", "b", "k", "tagging", "", "s3:GetObjectTagging arn:aws:s3:::b/k"},
		{"PUT", "b", "k", "", "/other/a%20b", "s3:PutObject arn:aws:s3:::b/k, s3:GetObject arn:aws:s3:::other/a b"},
	} {
		query, err := url.ParseQuery(tt.query)
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{}
		if tt.copied != "" {
			header.Set("x-amz-copy-source", tt.copied)
		}
		var got []string
		for _, r := range S3(testPlace, tt.method, tt.bucket, tt.key, query, header) {
			got = append(got, r.Action+" "+r.Resource)
		}
		if strings.Join(got, ", ") != tt.want {
			t.Errorf("%s %s/%s?%s asks for %v, want %s", tt.method, tt.bucket, tt.key, tt.query, got, tt.want)
		}
	}
}
