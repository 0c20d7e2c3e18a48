//go:build linux

package sandbox

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"pcluster/internal/awsclient"
	"pcluster/internal/sandbox/wire/wiretest"
)

// TestPermissionsAreEnforced: a user with policies may do what they say, nothing else,
// and is told so in each service's own way.
func TestPermissionsAreEnforced(t *testing.T) {
	ctx := t.Context()
	region, err := OpenLight(ctx, t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := region.Close(); err != nil {
			t.Error(err)
		}
	})
	config := func(key, secret string) aws.Config {
		return aws.Config{
			Region: "us-east-1", BaseEndpoint: aws.String(region.URL()), Credentials: credentials.NewStaticCredentialsProvider(key, secret, ""),
			Retryer: wiretest.OnlyConnections, APIOptions: awsclient.Options,
		}
	}
	root := config(region.Credentials())
	iam := awsiam.NewFromConfig(root)
	for _, err := range []error{
		second(iam.CreateUser(ctx, &awsiam.CreateUserInput{UserName: aws.String("ann")})),
		second(iam.PutUserPolicy(ctx, &awsiam.PutUserPolicyInput{UserName: aws.String("ann"), PolicyName: aws.String("some"), PolicyDocument: aws.String(`{
			"Version": "2012-10-17", "Statement": [
			{"Effect": "Allow", "Action": ["ec2:DescribeVpcs", "s3:ListBucket"], "Resource": "*"},
			{"Effect": "Allow", "Action": "ec2:CreateVpc", "Resource": "*", "Condition": {"StringEquals": {"aws:RequestTag/team": "blue"}}},
			{"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*", "Condition": {"StringEquals": {"ec2:CreateAction": "CreateVpc"}}},
			{"Effect": "Allow", "Action": "ec2:DeleteVpc", "Resource": "arn:aws:ec2:us-east-1:*:vpc/*", "Condition": {"StringEquals": {"aws:ResourceTag/team": "blue"}}},
			{"Effect": "Allow", "Action": "dynamodb:*", "Resource": "arn:aws:dynamodb:*:*:table/mine"},
			{"Effect": "Deny", "Action": "dynamodb:DeleteTable", "Resource": "*"}]}`)})),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	key, err := iam.CreateAccessKey(ctx, &awsiam.CreateAccessKeyInput{UserName: aws.String("ann")})
	if err != nil {
		t.Fatal(err)
	}
	ann := config(*key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey)
	ec2, ddb := awsec2.NewFromConfig(ann), dynamodb.NewFromConfig(ann)
	s3 := awss3.NewFromConfig(ann, func(o *awss3.Options) { o.UsePathStyle = true })
	if _, err := awss3.NewFromConfig(root, func(o *awss3.Options) { o.UsePathStyle = true }).CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String("data-of-all")}); err != nil {
		t.Fatal(err)
	}
	vpc := func(team string) (string, error) {
		out, err := ec2.CreateVpc(ctx, &awsec2.CreateVpcInput{CidrBlock: aws.String("10.8.0.0/16"), TagSpecifications: []types.TagSpecification{
			{ResourceType: types.ResourceTypeVpc, Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String(team)}}},
		}})
		if err != nil {
			return "", err
		}
		return *out.Vpc.VpcId, nil
	}
	blue, err := vpc("blue")
	if err != nil {
		t.Fatalf("a vpc with the tag that the policy asks for: %v", err)
	}
	_, red := vpc("red")
	other, err := awsec2.NewFromConfig(root).CreateVpc(ctx, &awsec2.CreateVpcInput{CidrBlock: aws.String("10.7.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		what string
		err  error
		code string // empty: allowed
		says string
	}{
		{"describe", second(ec2.DescribeVpcs(ctx, &awsec2.DescribeVpcsInput{})), "", ""},
		{"create with another tag", red, "UnauthorizedOperation", "ec2:CreateVpc"},
		{"delete an untagged vpc", second(ec2.DeleteVpc(ctx, &awsec2.DeleteVpcInput{VpcId: other.Vpc.VpcId})), "UnauthorizedOperation", "vpc/" + *other.Vpc.VpcId},
		{"delete the blue vpc", second(ec2.DeleteVpc(ctx, &awsec2.DeleteVpcInput{VpcId: &blue})), "", ""},
		{"own table, which does not exist", second(ddb.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String("mine")})), "ResourceNotFoundException", ""},
		{"another table", second(ddb.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String("yours")})), "AccessDeniedException", "dynamodb:DescribeTable on resource: arn:aws:dynamodb:us-east-1:111122223333:table/yours"},
		{"explicit deny", second(ddb.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: aws.String("mine")})), "AccessDeniedException", "explicit deny"},
		{"stacks", second(cloudformation.NewFromConfig(ann).ListStacks(ctx, &cloudformation.ListStacksInput{})), "AccessDenied", "user/ann is not authorized to perform: cloudformation:ListStacks"},
		{"list objects", second(s3.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: aws.String("data-of-all")})), "", ""},
		{"put an object", second(s3.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String("data-of-all"), Key: aws.String("k"), Body: strings.NewReader("x")})), "AccessDenied", "s3:PutObject"},
		{"who am I", second(sts.NewFromConfig(ann).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})), "", ""},
	} {
		var api smithy.APIError
		switch {
		case tt.err == nil && tt.code != "":
			t.Errorf("%s: allowed", tt.what)
		case tt.err != nil && (!errors.As(tt.err, &api) || api.ErrorCode() != tt.code || !strings.Contains(api.ErrorMessage(), tt.says)):
			t.Errorf("%s: %v, want %q with %q", tt.what, tt.err, tt.code, tt.says)
		}
	}
}

func second[T any](_ T, err error) error { return err }
