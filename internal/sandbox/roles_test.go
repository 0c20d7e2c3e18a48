//go:build linux

package sandbox

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"pcluster/internal/awsclient"
	"pcluster/internal/sandbox/wire/wiretest"
)

const cleanersTemplate = `{"Resources": {
	"Group": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/own"}},
	"Cleaner": {"Type": "AWS::IAM::Role", "DependsOn": "Group", "Properties": {"RoleName": "cleaner",
		"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]},
		"Policies": [{"PolicyName": "clean", "PolicyDocument": {"Version": "2012-10-17", "Statement": [
			{"Effect": "Allow", "Action": %s, "Resource": "*"}]}}]}}}}`

// A stack that deletes itself, by a role of its own, does so to the end: what the role
// might do when it began counts, though the role goes before the rest.
func TestAStackIsDeletedByItsOwnRole(t *testing.T) {
	for name, tt := range map[string]struct{ actions, want string }{
		"it may":               {`["cloudformation:DeleteStack", "iam:*", "logs:*"]`, "DELETE_COMPLETE"},
		"it may not do it all": {`["cloudformation:DeleteStack", "iam:*", "logs:Describe*"]`, "DELETE_FAILED"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			region, config := lightRegion(t)
			admin := config(region.Credentials())
			cfn := cloudformation.NewFromConfig(admin)
			id := created(t, cfn, &cloudformation.CreateStackInput{
				StackName: aws.String("own"), Capabilities: capabilities, TemplateBody: aws.String(fmt.Sprintf(cleanersTemplate, tt.actions)),
			})
			session, err := sts.NewFromConfig(admin).AssumeRole(ctx, &sts.AssumeRoleInput{
				RoleArn: aws.String("arn:aws:iam::111122223333:role/cleaner"), RoleSessionName: aws.String("cleaning"),
			})
			if err != nil {
				t.Fatal(err)
			}
			c := session.Credentials
			cleaner := config(*c.AccessKeyId, *c.SecretAccessKey)
			cleaner.Credentials = credentials.NewStaticCredentialsProvider(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
			if _, err := cloudformation.NewFromConfig(cleaner).DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: &id}); err != nil {
				t.Fatal(err)
			}
			status, reasons := settled(t, cfn, id)
			if status != tt.want {
				t.Errorf("the stack is %s, want %s: %s", status, tt.want, reasons)
			}
			if refused := strings.Contains(reasons, "assumed-role/cleaner/cleaning is not authorized to perform: logs:DeleteLogGroup"); refused != (tt.want == "DELETE_FAILED") {
				t.Errorf("reasons: %s", reasons)
			}
		})
	}
}

// A stack with a role does what the role may, and not what its caller may.
func TestAStackActsForTheRoleThatItIsGiven(t *testing.T) {
	ctx := t.Context()
	region, config := lightRegion(t)
	admin := config(region.Credentials())
	iam, cfn := awsiam.NewFromConfig(admin), cloudformation.NewFromConfig(admin)
	role, err := iam.CreateRole(ctx, &awsiam.CreateRoleInput{RoleName: aws.String("deployer"), AssumeRolePolicyDocument: aws.String(
		`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "cloudformation.amazonaws.com"}, "Action": "sts:AssumeRole"}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	group := aws.String(`{"Resources": {"Group": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/deployed"}}}}`)
	id := created(t, cfn, &cloudformation.CreateStackInput{StackName: aws.String("refused"), RoleARN: role.Role.Arn, TemplateBody: group})
	if status, reasons := settled(t, cfn, id); status != "ROLLBACK_COMPLETE" || !strings.Contains(reasons, "assumed-role/deployer/AWSCloudFormation is not authorized to perform: logs:") {
		t.Errorf("by a role without permissions the stack is %s: %s", status, reasons)
	}
	if _, err := iam.PutRolePolicy(ctx, &awsiam.PutRolePolicyInput{RoleName: aws.String("deployer"), PolicyName: aws.String("logs"), PolicyDocument: aws.String(
		`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "logs:*", "Resource": "*"}]}`)}); err != nil {
		t.Fatal(err)
	}
	id = created(t, cfn, &cloudformation.CreateStackInput{StackName: aws.String("made"), RoleARN: role.Role.Arn, TemplateBody: group})
	if status, reasons := settled(t, cfn, id); status != "CREATE_COMPLETE" {
		t.Errorf("by a role with permissions the stack is %s: %s", status, reasons)
	}
	// The stack keeps its role.
	if _, err := cfn.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: &id}); err != nil {
		t.Fatal(err)
	}
	if status, reasons := settled(t, cfn, id); status != "DELETE_COMPLETE" {
		t.Errorf("deleted by its role the stack is %s: %s", status, reasons)
	}
}

// CloudFormation reads a template in the name of who asks for the stack.
func TestTemplatesAreReadInTheCallersName(t *testing.T) {
	ctx := t.Context()
	region, config := lightRegion(t)
	admin := config(region.Credentials())
	s3 := awss3.NewFromConfig(admin, func(o *awss3.Options) { o.UsePathStyle = true })
	iam := awsiam.NewFromConfig(admin)
	for _, err := range []error{
		second(s3.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String("stacks-of-all")})),
		second(s3.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String("stacks-of-all"), Key: aws.String("t.json"), Body: strings.NewReader(`{"Resources": {"H": {"Type": "AWS::CloudFormation::WaitConditionHandle"}}}`)})),
		second(iam.CreateUser(ctx, &awsiam.CreateUserInput{UserName: aws.String("ann")})),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := iam.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: aws.String("ann")})
	if err != nil {
		t.Fatal(err)
	}
	ann := cloudformation.NewFromConfig(config(*key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey))
	create := func(actions string) error {
		if _, err := iam.PutUserPolicy(ctx, &awsiam.PutUserPolicyInput{UserName: aws.String("ann"), PolicyName: aws.String("p"), PolicyDocument: aws.String(
			`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ` + actions + `, "Resource": "*"}]}`)}); err != nil {
			t.Fatal(err)
		}
		_, err := ann.CreateStack(ctx, &cloudformation.CreateStackInput{StackName: aws.String("anns"), TemplateURL: aws.String("https://stacks-of-all.s3.us-east-1.amazonaws.com/t.json")})
		return err
	}
	if err := create(`["cloudformation:*"]`); err == nil || !strings.Contains(err.Error(), "s3:GetObject") {
		t.Errorf("a template that its caller may not read: %v", err)
	}
	if err := create(`["cloudformation:*", "s3:GetObject"]`); err != nil {
		t.Errorf("a template that its caller may read: %v", err)
	}
}

var capabilities = []types.Capability{types.CapabilityCapabilityNamedIam}

func lightRegion(t *testing.T) (*Light, func(key, secret string) aws.Config) {
	t.Helper()
	region, err := OpenLight(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := region.Close(); err != nil {
			t.Error(err)
		}
	})
	return region, func(key, secret string) aws.Config {
		return aws.Config{
			Region: "us-east-1", BaseEndpoint: aws.String(region.URL()), Credentials: credentials.NewStaticCredentialsProvider(key, secret, ""), Retryer: wiretest.OnlyConnections, APIOptions: awsclient.Options,
		}
	}
}

func created(t *testing.T, cfn *cloudformation.Client, in *cloudformation.CreateStackInput) string {
	t.Helper()
	out, err := cfn.CreateStack(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	settled(t, cfn, *out.StackId)
	return *out.StackId
}

// settled waits for the end of a stack's operation and returns the status, and why
// resources failed.
func settled(t *testing.T, cfn *cloudformation.Client, id string) (status, reasons string) {
	t.Helper()
	for {
		out, err := cfn.DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{StackName: &id})
		if err != nil {
			t.Fatal(err)
		}
		if status = string(out.Stacks[0].StackStatus); !strings.HasSuffix(status, "_IN_PROGRESS") {
			break
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	events, err := cfn.DescribeStackEvents(t.Context(), &cloudformation.DescribeStackEventsInput{StackName: &id})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range events.StackEvents {
		if strings.HasSuffix(string(e.ResourceStatus), "_FAILED") {
			all = append(all, *e.LogicalResourceId+": "+aws.ToString(e.ResourceStatusReason))
		}
	}
	return status, strings.Join(all, "\n")
}
