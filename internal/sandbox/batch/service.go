// Package batch is AWS Batch of the region: compute environments, job queues, job
// definitions, and jobs, which really run.
//
// The region has no container engine. A job, or each node of one on several, gets a
// machine of its own, launched as the compute environment says: with its launch
// template, subnets, groups, role and tags. The machine boots the region's image, and
// above it are the files of the job's image (package ecr); there the job's command runs
// as root, with the environment that Batch gives it and credentials of its role. What
// it writes goes to CloudWatch Logs, and when it ends, the machine is terminated. So no
// machine runs ahead of jobs: MinvCpus is remembered, and starts nothing.
//
// Not part of it: Fargate, EKS, scheduling policies, volumes and secrets of containers.
// They are refused where they are asked for. Start at [Service.SubmitJob], then run.go.
package batch

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"pcluster/internal/sandbox/ecr"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// EC2 is the part of EC2 that jobs use; *ec2.Service of the region has it.
type EC2 interface {
	RunOver(ctx context.Context, in *ec2.RunInstancesInput, over []string) (*ec2.RunInstancesOutput, error)
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error)
	DescribeLaunchTemplateVersions(context.Context, *ec2.DescribeLaunchTemplateVersionsInput) (*ec2.DescribeLaunchTemplateVersionsOutput, error)
	DescribeInstanceTypes(context.Context, *ec2.DescribeInstanceTypesInput) (*ec2.DescribeInstanceTypesOutput, error)
	TerminateInstances(context.Context, *ec2.TerminateInstancesInput) (*ec2.TerminateInstancesOutput, error)
	// Output reads a file that the machine of an instance has written.
	Output(instanceID, path string, offset int64, limit int) ([]byte, error)
	// ManagedImage returns the AMI of an operating system as its maker publishes it.
	ManagedImage(os, architecture string) (imageID string, ok bool)
}

// Images are those that jobs run in; package ecr has them.
type Images interface {
	Pull(name string) (v ecr.Image, files string, err error)
}

// Logs is the part of CloudWatch Logs that jobs use.
type Logs interface {
	CreateLogGroup(context.Context, *cloudwatchlogs.CreateLogGroupInput) (*cloudwatchlogs.CreateLogGroupOutput, error)
	CreateLogStream(context.Context, *cloudwatchlogs.CreateLogStreamInput) (*cloudwatchlogs.CreateLogStreamOutput, error)
	PutLogEvents(context.Context, *cloudwatchlogs.PutLogEventsInput) (*cloudwatchlogs.PutLogEventsOutput, error)
}

// Credentials are those of roles; package iam has them.
type Credentials interface {
	RoleCredentials(ctx context.Context, roleARN, session string) (accessKeyID, secret, token string, expires time.Time, err error)
}

// A Config is what a Service needs of its surroundings.
type Config struct {
	Dir         string // for the layers that put jobs on machines
	EC2         EC2
	Images      Images
	Logs        Logs
	Credentials Credentials
	Log         *slog.Logger
	Now         func() time.Time // nil: time.Now
	Poll        time.Duration    // between looks at jobs; 0: 200 ms
}

// A Service is AWS Batch of a region, and what ECS says of its machines. It is safe for
// concurrent use.
type Service struct {
	id  *region.Identity
	cfg Config

	mu           sync.Mutex // held over changes that depend on what is there
	environments *store.Table[environment]
	queues       *store.Table[types.JobQueueDetail]
	definitions  *store.Table[types.JobDefinition]
	jobs         *store.Table[job]
	types        []string // what compute environments may name; filled when it is first asked for

	ctx     context.Context
	end     context.CancelFunc
	wake    chan struct{}
	workers sync.WaitGroup
}

// environment is a row; its key is its name.
type environment struct {
	Desc types.ComputeEnvironmentDetail
}

// New opens the region's Batch. Jobs go on when [Service.Start] is called.
func New(db *store.DB, id *region.Identity, cfg Config) (*Service, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Poll == 0 {
		cfg.Poll = 200 * time.Millisecond
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Service{id: id, cfg: cfg, wake: make(chan struct{}, 1)}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s, errors.Join(
		store.OpenTable(db, "batch.environments", &s.environments),
		store.OpenTable(db, "batch.queues", &s.queues),
		store.OpenTable(db, "batch.definitions", &s.definitions),
		store.OpenTable(db, "batch.jobs", &s.jobs),
		os.MkdirAll(cfg.Dir, 0o700),
	)
}

// Start goes on with jobs, the earlier daemon's first.
func (s *Service) Start() {
	s.workers.Go(s.run)
	s.poke()
}

// Close ends the work on jobs; a new Service on the same tables goes on.
func (s *Service) Close() {
	s.end()
	s.workers.Wait()
}

// poke makes the work go on at once.
func (s *Service) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Register attaches the operations to the API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "CreateComputeEnvironment", s.CreateComputeEnvironment)
	wire.Handle(m, "UpdateComputeEnvironment", s.UpdateComputeEnvironment)
	wire.Handle(m, "DeleteComputeEnvironment", s.DeleteComputeEnvironment)
	wire.Handle(m, "DescribeComputeEnvironments", s.DescribeComputeEnvironments)
	wire.Handle(m, "CreateJobQueue", s.CreateJobQueue)
	wire.Handle(m, "UpdateJobQueue", s.UpdateJobQueue)
	wire.Handle(m, "DeleteJobQueue", s.DeleteJobQueue)
	wire.Handle(m, "DescribeJobQueues", s.DescribeJobQueues)
	wire.Handle(m, "RegisterJobDefinition", s.RegisterJobDefinition)
	wire.Handle(m, "DeregisterJobDefinition", s.DeregisterJobDefinition)
	wire.Handle(m, "DescribeJobDefinitions", s.DescribeJobDefinitions)
	wire.Handle(m, "SubmitJob", s.SubmitJob)
	wire.Handle(m, "DescribeJobs", s.DescribeJobs)
	wire.Handle(m, "ListJobs", s.ListJobs)
	wire.Handle(m, "CancelJob", s.CancelJob)
	wire.Handle(m, "TerminateJob", s.TerminateJob)
	wire.Handle(m, "TagResource", s.TagResource)
	wire.Handle(m, "UntagResource", s.UntagResource)
	wire.Handle(m, "ListTagsForResource", s.ListTagsForResource)
}

func invalid(format string, args ...any) error {
	return wire.Errorf("ClientException", format, args...)
}

var errToken = invalid("The next token is not valid")

// elsewhere refuses what the region does not have.
func elsewhere(what string) error {
	return invalid("%s are not part of this sandbox", what)
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$`)

// nameOf returns the name in an ARN, or a name as it is.
func nameOf(nameOrARN *string) string {
	s := aws.ToString(nameOrARN)
	if strings.HasPrefix(s, "arn:") {
		s = s[strings.LastIndexByte(s, '/')+1:]
	}
	return s
}

// taggable returns what changes the tags of a resource.
func (s *Service) taggable(arn string) (tags map[string]string, put func(map[string]string) error, err error) {
	name := nameOf(&arn)
	switch {
	case strings.Contains(arn, ":compute-environment/"):
		if e, ok := s.environments.Get(name); ok {
			return e.Desc.Tags, func(tags map[string]string) error { e.Desc.Tags = tags; return s.environments.Put(name, e) }, nil
		}
	case strings.Contains(arn, ":job-queue/"):
		if q, ok := s.queues.Get(name); ok {
			return q.Tags, func(tags map[string]string) error { q.Tags = tags; return s.queues.Put(name, q) }, nil
		}
	case strings.Contains(arn, ":job-definition/"):
		if d, ok := s.definitions.Get(name); ok {
			return d.Tags, func(tags map[string]string) error { d.Tags = tags; return s.definitions.Put(name, d) }, nil
		}
	case strings.Contains(arn, ":job/"):
		if j, ok := s.jobs.Get(name); ok {
			return j.Desc.Tags, func(tags map[string]string) error { j.Desc.Tags = tags; return s.jobs.Put(name, j) }, nil
		}
	}
	return nil, nil, invalid("Resource %s does not exist", arn)
}

// TagResource adds tags to a resource.
func (s *Service) TagResource(_ context.Context, in *sdk.TagResourceInput) (*sdk.TagResourceOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tags, put, err := s.taggable(aws.ToString(in.ResourceArn))
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, m := range []map[string]string{tags, in.Tags} {
		for k, v := range m {
			all[k] = v
		}
	}
	return &sdk.TagResourceOutput{}, put(all)
}

// UntagResource removes tags from a resource.
func (s *Service) UntagResource(_ context.Context, in *sdk.UntagResourceInput) (*sdk.UntagResourceOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tags, put, err := s.taggable(aws.ToString(in.ResourceArn))
	if err != nil {
		return nil, err
	}
	left := map[string]string{}
	for k, v := range tags {
		left[k] = v
	}
	for _, k := range in.TagKeys {
		delete(left, k)
	}
	return &sdk.UntagResourceOutput{}, put(left)
}

// ListTagsForResource lists the tags of a resource.
func (s *Service) ListTagsForResource(_ context.Context, in *sdk.ListTagsForResourceInput) (*sdk.ListTagsForResourceOutput, error) {
	tags, _, err := s.taggable(aws.ToString(in.ResourceArn))
	return &sdk.ListTagsForResourceOutput{Tags: tags}, err
}

// millis is now, as Batch gives times.
func (s *Service) millis() *int64 { return aws.Int64(s.cfg.Now().UnixMilli()) }
