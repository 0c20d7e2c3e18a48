package cluster

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"pcluster/internal/facts"
	"pcluster/internal/facts/live"
)

// An Operator carries out operations on the clusters of one region. Its fields
// are the AWS APIs that it calls; [New] fills them from the SDK, tests with
// working models.
type Operator struct {
	Region string

	CloudFormation CloudFormation
	EC2            EC2
	S3             S3
	Presign        Presigner
	DynamoDB       DynamoDB
	Batch          Batch
	Route53        Route53
	Logs           Logs
	LoadBalancers  LoadBalancers
	STS            STS
	HTTP           *http.Client // for what a file refers to elsewhere

	Facts    facts.Source // about what a file refers to
	Programs Programs
	Log      *slog.Logger
	Now      func() time.Time
	Random   func(n int) string // n characters from a-z and 0-9, for the artifact directory
	Poll     time.Duration      // between two looks at a stack that changes
}

// CloudFormation is the part of CloudFormation that operations call.
type CloudFormation interface {
	CreateStack(context.Context, *cloudformation.CreateStackInput, ...func(*cloudformation.Options)) (*cloudformation.CreateStackOutput, error)
	DeleteStack(context.Context, *cloudformation.DeleteStackInput, ...func(*cloudformation.Options)) (*cloudformation.DeleteStackOutput, error)
	DescribeStacks(context.Context, *cloudformation.DescribeStacksInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStacksOutput, error)
	DescribeStackEvents(context.Context, *cloudformation.DescribeStackEventsInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStackEventsOutput, error)
}

// EC2 is the part of EC2 that operations call.
type EC2 interface {
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)
	DescribeImages(context.Context, *ec2.DescribeImagesInput, ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error)
	TerminateInstances(context.Context, *ec2.TerminateInstancesInput, ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error)
}

// S3 is the part of S3 that operations call.
type S3 interface {
	HeadBucket(context.Context, *s3.HeadBucketInput, ...func(*s3.Options)) (*s3.HeadBucketOutput, error)
	CreateBucket(context.Context, *s3.CreateBucketInput, ...func(*s3.Options)) (*s3.CreateBucketOutput, error)
	PutBucketVersioning(context.Context, *s3.PutBucketVersioningInput, ...func(*s3.Options)) (*s3.PutBucketVersioningOutput, error)
	PutBucketEncryption(context.Context, *s3.PutBucketEncryptionInput, ...func(*s3.Options)) (*s3.PutBucketEncryptionOutput, error)
	PutBucketPolicy(context.Context, *s3.PutBucketPolicyInput, ...func(*s3.Options)) (*s3.PutBucketPolicyOutput, error)
	GetBucketPolicy(context.Context, *s3.GetBucketPolicyInput, ...func(*s3.Options)) (*s3.GetBucketPolicyOutput, error)
	GetBucketLocation(context.Context, *s3.GetBucketLocationInput, ...func(*s3.Options)) (*s3.GetBucketLocationOutput, error)
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
	HeadObject(context.Context, *s3.HeadObjectInput, ...func(*s3.Options)) (*s3.HeadObjectOutput, error)
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	ListObjectVersions(context.Context, *s3.ListObjectVersionsInput, ...func(*s3.Options)) (*s3.ListObjectVersionsOutput, error)
	DeleteObjects(context.Context, *s3.DeleteObjectsInput, ...func(*s3.Options)) (*s3.DeleteObjectsOutput, error)
}

// Presigner makes URLs by which an object can be read without credentials.
type Presigner interface {
	PresignGetObject(context.Context, *s3.GetObjectInput, ...func(*s3.PresignOptions)) (*v4.PresignedHTTPRequest, error)
}

// DynamoDB is the part of DynamoDB that operations call.
type DynamoDB interface {
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
}

// Route53 is the part of Route 53 that operations call.
type Route53 interface {
	ChangeResourceRecordSets(context.Context, *route53.ChangeResourceRecordSetsInput, ...func(*route53.Options)) (*route53.ChangeResourceRecordSetsOutput, error)
}

// Batch is the part of AWS Batch that operations call.
type Batch interface {
	DescribeComputeEnvironments(context.Context, *batch.DescribeComputeEnvironmentsInput, ...func(*batch.Options)) (*batch.DescribeComputeEnvironmentsOutput, error)
	UpdateComputeEnvironment(context.Context, *batch.UpdateComputeEnvironmentInput, ...func(*batch.Options)) (*batch.UpdateComputeEnvironmentOutput, error)
}

// Logs is the part of CloudWatch Logs that operations call.
type Logs interface {
	DescribeLogStreams(context.Context, *cloudwatchlogs.DescribeLogStreamsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.DescribeLogStreamsOutput, error)
	DescribeLogGroups(context.Context, *cloudwatchlogs.DescribeLogGroupsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.DescribeLogGroupsOutput, error)
	FilterLogEvents(context.Context, *cloudwatchlogs.FilterLogEventsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.FilterLogEventsOutput, error)
	CreateExportTask(context.Context, *cloudwatchlogs.CreateExportTaskInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.CreateExportTaskOutput, error)
	DescribeExportTasks(context.Context, *cloudwatchlogs.DescribeExportTasksInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.DescribeExportTasksOutput, error)
	CancelExportTask(context.Context, *cloudwatchlogs.CancelExportTaskInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.CancelExportTaskOutput, error)
	GetLogEvents(context.Context, *cloudwatchlogs.GetLogEventsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.GetLogEventsOutput, error)
}

// LoadBalancers is the part of Elastic Load Balancing that operations call.
type LoadBalancers interface {
	DescribeLoadBalancers(context.Context, *elb.DescribeLoadBalancersInput, ...func(*elb.Options)) (*elb.DescribeLoadBalancersOutput, error)
	DescribeTags(context.Context, *elb.DescribeTagsInput, ...func(*elb.Options)) (*elb.DescribeTagsOutput, error)
	DescribeTargetGroups(context.Context, *elb.DescribeTargetGroupsInput, ...func(*elb.Options)) (*elb.DescribeTargetGroupsOutput, error)
	DescribeTargetHealth(context.Context, *elb.DescribeTargetHealthInput, ...func(*elb.Options)) (*elb.DescribeTargetHealthOutput, error)
}

// STS is the part of STS that operations call.
type STS interface {
	GetCallerIdentity(context.Context, *sts.GetCallerIdentityInput, ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error)
}

// New returns an operator that calls AWS with cfg, which must have a region.
func New(cfg aws.Config, log *slog.Logger) *Operator {
	objects := s3.NewFromConfig(cfg, func(o *s3.Options) {
		// Behind an endpoint of the user's own, a bucket's name is not a host that
		// resolves.
		o.UsePathStyle = o.BaseEndpoint != nil
	})
	return &Operator{
		Region:         cfg.Region,
		CloudFormation: cloudformation.NewFromConfig(cfg),
		EC2:            ec2.NewFromConfig(cfg),
		S3:             objects,
		Presign:        s3.NewPresignClient(objects),
		DynamoDB:       dynamodb.NewFromConfig(cfg),
		Batch:          batch.NewFromConfig(cfg),
		Route53:        route53.NewFromConfig(cfg),
		Logs:           cloudwatchlogs.NewFromConfig(cfg),
		LoadBalancers:  elb.NewFromConfig(cfg),
		STS:            sts.NewFromConfig(cfg),
		HTTP:           &http.Client{Timeout: time.Minute},
		Facts:          live.New(cfg),
		Programs:       Embedded(),
		Log:            log,
		Now:            time.Now,
		Random:         randomName,
		Poll:           500 * time.Millisecond,
	}
}

// Tags and parameters by which a stack is known as a cluster, and by which
// later operations find what belongs to it.
const (
	tagVersion   = "parallelcluster:version"
	tagCluster   = "parallelcluster:cluster-name"
	tagImage     = "parallelcluster:image_id"
	tagNodeType  = "parallelcluster:node-type"
	tagQueue     = "parallelcluster:queue-name"
	tagPool      = "parallelcluster:login-nodes-pool-name"
	tagAttribute = "parallelcluster:attributes"

	parameterScheduler     = "Scheduler"
	parameterBucket        = "ResourcesS3Bucket"
	parameterDirectory     = "ArtifactS3RootDirectory"
	parameterConfigVersion = "ConfigVersion"
	parameterLogGroup      = "ClusterCWLogGroup"
)

// A cfnStack is the stack of a cluster.
type cfnStack struct {
	cfntypes.Stack
}

func (s cfnStack) name() string   { return aws.ToString(s.StackName) }
func (s cfnStack) id() string     { return aws.ToString(s.StackId) }
func (s cfnStack) status() string { return string(s.StackStatus) }

func (s cfnStack) tag(key string) string {
	for _, t := range s.Tags {
		if aws.ToString(t.Key) == key {
			return aws.ToString(t.Value)
		}
	}
	return ""
}

func (s cfnStack) parameter(key string) string {
	for _, p := range s.Parameters {
		if aws.ToString(p.ParameterKey) == key {
			return aws.ToString(p.ParameterValue)
		}
	}
	return ""
}

// isCluster reports whether the stack is a cluster: one of our tags, not nested,
// not the build of an image.
func (s cfnStack) isCluster() bool {
	return s.tag(tagVersion) != "" && s.ParentId == nil && s.tag(tagImage) == ""
}

func (s cfnStack) scheduler() *Scheduler {
	if t := s.parameter(parameterScheduler); t != "" {
		return &Scheduler{Type: t}
	}
	return nil
}

// summary describes the stack's cluster, with the status given: the answers to
// create and delete say what was begun, not what was read back.
func (s cfnStack) summary(region, status string) Summary {
	return Summary{
		ClusterName:               s.name(),
		CloudformationStackStatus: status,
		CloudformationStackArn:    s.id(),
		Region:                    region,
		Version:                   s.tag(tagVersion),
		ClusterStatus:             StatusOf(status),
		Scheduler:                 s.scheduler(),
	}
}

// stackOf reads the stack of that name or ID, which may be of any tool.
func (o *Operator) stackOf(ctx context.Context, name string) (cfnStack, error) {
	out, err := o.CloudFormation.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
	if err != nil {
		return cfnStack{}, err
	}
	if len(out.Stacks) == 0 {
		return cfnStack{}, notFound(name)
	}
	return cfnStack{out.Stacks[0]}, nil
}

// clusterStack reads the stack of a cluster on which this tool may operate.
func (o *Operator) clusterStack(ctx context.Context, name string) (cfnStack, error) {
	s, err := o.stackOf(ctx, name)
	if err != nil {
		if kindOf(err) == missing {
			return cfnStack{}, notFound(name)
		}
		return cfnStack{}, err
	}
	if v := s.tag(tagVersion); !s.isCluster() || !compatible(v) {
		return cfnStack{}, badRequest("Cluster '%s' belongs to an incompatible ParallelCluster major version.", name)
	}
	return s, nil
}
