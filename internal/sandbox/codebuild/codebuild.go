// Package codebuild is CodeBuild of the region, as far as projects build images for
// ECR from a source in S3.
//
// The region has no container engine, so that a build is not what it is on AWS, and
// says so in its log. Of a buildspec it follows the commands that build, tag and push
// an image with docker, and refuses all others. Of a Dockerfile it takes what the image
// begins with (ENTRYPOINT, CMD, ENV, WORKDIR) and the files that it copies out of the
// context; what the image is made from (FROM) is the region's own machine image, and
// what is run in it (RUN) is not run. Start at [Service.StartBuild], then build.go.
package codebuild

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	sdk "github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/codebuild/types"
	"github.com/aws/smithy-go"
	"github.com/google/uuid"

	"pcluster/internal/sandbox/ecr"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// Images take what builds make; package ecr has it.
type Images interface {
	Registry() string
	Push(repository, tag, digest string, v ecr.Image, files string) error
}

// Logs is the part of CloudWatch Logs that builds use.
type Logs interface {
	CreateLogGroup(context.Context, *cloudwatchlogs.CreateLogGroupInput) (*cloudwatchlogs.CreateLogGroupOutput, error)
	CreateLogStream(context.Context, *cloudwatchlogs.CreateLogStreamInput) (*cloudwatchlogs.CreateLogStreamOutput, error)
	PutLogEvents(context.Context, *cloudwatchlogs.PutLogEventsInput) (*cloudwatchlogs.PutLogEventsOutput, error)
}

// Objects are the sources of builds.
type Objects interface {
	Object(ctx context.Context, bucket, key, version string) ([]byte, error)
}

// A Config is what a Service needs of its surroundings.
type Config struct {
	Images  Images
	Logs    Logs
	Objects Objects
	// May says why a session of a project's role may not do something; nil: it may do
	// everything.
	May func(role, session, action, resource string) error
	Log *slog.Logger
	Now func() time.Time // nil: time.Now
}

// A Service is CodeBuild of a region. It is safe for concurrent use.
type Service struct {
	id  *region.Identity
	cfg Config

	mu       sync.Mutex // held over changes
	projects *store.Table[types.Project]
	builds   *store.Table[build]

	ctx     context.Context
	end     context.CancelFunc
	workers sync.WaitGroup
}

// build is a row; its key is its ID.
type build struct {
	Desc  types.Build
	Token string
	Spec  string // of the project or the call; empty: buildspec.yml of the source
	Stop  bool
}

// New opens the region's projects. Builds that were under way begin again when
// [Service.Start] is called.
func New(db *store.DB, id *region.Identity, cfg Config) (*Service, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Service{id: id, cfg: cfg}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s, errors.Join(
		store.OpenTable(db, "codebuild.projects", &s.projects),
		store.OpenTable(db, "codebuild.builds", &s.builds),
	)
}

// Start begins the builds again that an earlier daemon did not finish.
func (s *Service) Start() {
	for _, b := range s.builds.All() {
		if !b.Desc.BuildComplete {
			s.work(*b.Desc.Id)
		}
	}
}

// Close ends the work on builds.
func (s *Service) Close() {
	s.end()
	s.workers.Wait()
}

// Register attaches the operations to the API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "CreateProject", s.CreateProject)
	wire.Handle(m, "UpdateProject", s.UpdateProject)
	wire.Handle(m, "DeleteProject", s.DeleteProject)
	wire.Handle(m, "BatchGetProjects", s.BatchGetProjects)
	wire.Handle(m, "ListProjects", s.ListProjects)
	wire.Handle(m, "StartBuild", s.StartBuild)
	wire.Handle(m, "StopBuild", s.StopBuild)
	wire.Handle(m, "BatchGetBuilds", s.BatchGetBuilds)
	wire.Handle(m, "ListBuilds", s.ListBuilds)
	wire.Handle(m, "ListBuildsForProject", s.ListBuildsForProject)
}

func invalid(format string, args ...any) error {
	return wire.Errorf("InvalidInputException", format, args...)
}

func (s *Service) missing(arn string) error {
	return &wire.Error{Code: "ResourceNotFoundException", Message: "Project cannot be found: " + arn, Status: http.StatusBadRequest}
}

// nameOf returns the name of a project that is given by name or ARN.
func nameOf(project *string) string {
	name := aws.ToString(project)
	if _, n, ok := strings.Cut(name, ":project/"); ok {
		return n
	}
	return name
}

// supported says why the region has no builds of such a source, if it has none.
func supported(source *types.ProjectSource, artifacts *types.ProjectArtifacts, vpc *types.VpcConfig) error {
	switch {
	case source.Type != types.SourceTypeS3:
		return invalid("Sources of type %s lead out of this sandbox: there is S3 alone", source.Type)
	case !strings.Contains(strings.TrimPrefix(aws.ToString(source.Location), "arn:aws:s3:::"), "/"):
		return invalid("Invalid project source: location must be a valid S3 source")
	case artifacts.Type != types.ArtifactsTypeNoArtifacts:
		return invalid("Artifacts of type %s are not part of this sandbox", artifacts.Type)
	case vpc != nil && aws.ToString(vpc.VpcId) != "":
		return invalid("Builds in a VPC are not part of this sandbox")
	}
	return nil
}

// CreateProject makes a project.
func (s *Service) CreateProject(_ context.Context, in *sdk.CreateProjectInput) (*sdk.CreateProjectOutput, error) {
	if err := supported(in.Source, in.Artifacts, in.VpcConfig); err != nil {
		return nil, err
	}
	name, now := aws.ToString(in.Name), s.cfg.Now().UTC()
	p := types.Project{
		Name: &name, Arn: aws.String(s.id.ARN("codebuild", "project/"+name)), Description: in.Description, Source: in.Source, SourceVersion: in.SourceVersion,
		Artifacts: in.Artifacts, Environment: in.Environment, ServiceRole: in.ServiceRole, Cache: in.Cache, Tags: in.Tags, LogsConfig: in.LogsConfig,
		TimeoutInMinutes: in.TimeoutInMinutes, QueuedTimeoutInMinutes: in.QueuedTimeoutInMinutes, EncryptionKey: in.EncryptionKey,
		ConcurrentBuildLimit: in.ConcurrentBuildLimit, ProjectVisibility: types.ProjectVisibilityTypePrivate, Created: &now, LastModified: &now,
	}
	if p.TimeoutInMinutes == nil {
		p.TimeoutInMinutes = aws.Int32(60)
	}
	if p.QueuedTimeoutInMinutes == nil {
		p.QueuedTimeoutInMinutes = aws.Int32(480)
	}
	fresh, err := s.projects.Insert(name, p)
	if err != nil {
		return nil, err
	}
	if !fresh {
		return nil, wire.Errorf("ResourceAlreadyExistsException", "Project already exists: %s", *p.Arn)
	}
	return &sdk.CreateProjectOutput{Project: &p}, nil
}

// UpdateProject changes what is given.
func (s *Service) UpdateProject(_ context.Context, in *sdk.UpdateProjectInput) (*sdk.UpdateProjectOutput, error) {
	name := nameOf(in.Name)
	if _, ok := s.projects.Get(name); !ok {
		return nil, s.missing(s.id.ARN("codebuild", "project/"+name))
	}
	p, err := s.projects.Update(name, func(p *types.Project) error {
		if in.Source != nil {
			p.Source = in.Source
		}
		if in.Artifacts != nil {
			p.Artifacts = in.Artifacts
		}
		if in.Environment != nil {
			p.Environment = in.Environment
		}
		if in.Tags != nil {
			p.Tags = in.Tags
		}
		if in.LogsConfig != nil {
			p.LogsConfig = in.LogsConfig
		}
		for _, f := range []struct{ into, from **string }{
			{&p.Description, &in.Description}, {&p.ServiceRole, &in.ServiceRole}, {&p.SourceVersion, &in.SourceVersion}, {&p.EncryptionKey, &in.EncryptionKey},
		} {
			if *f.from != nil {
				*f.into = *f.from
			}
		}
		for _, f := range []struct{ into, from **int32 }{
			{&p.TimeoutInMinutes, &in.TimeoutInMinutes}, {&p.QueuedTimeoutInMinutes, &in.QueuedTimeoutInMinutes}, {&p.ConcurrentBuildLimit, &in.ConcurrentBuildLimit},
		} {
			if *f.from != nil {
				*f.into = *f.from
			}
		}
		p.LastModified = aws.Time(s.cfg.Now().UTC())
		return supported(p.Source, p.Artifacts, in.VpcConfig)
	})
	return &sdk.UpdateProjectOutput{Project: &p}, err
}

// DeleteProject deletes a project with its builds. One that is gone is no error.
func (s *Service) DeleteProject(_ context.Context, in *sdk.DeleteProjectInput) (*sdk.DeleteProjectOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := nameOf(in.Name)
	for _, b := range s.builds.All() {
		if aws.ToString(b.Desc.ProjectName) == name {
			if err := s.builds.Delete(*b.Desc.Id); err != nil {
				return nil, err
			}
		}
	}
	return &sdk.DeleteProjectOutput{}, s.projects.Delete(name)
}

// BatchGetProjects tells of projects by name.
func (s *Service) BatchGetProjects(_ context.Context, in *sdk.BatchGetProjectsInput) (*sdk.BatchGetProjectsOutput, error) {
	out := &sdk.BatchGetProjectsOutput{}
	for _, name := range in.Names {
		if p, ok := s.projects.Get(nameOf(&name)); ok {
			out.Projects = append(out.Projects, p)
		} else {
			out.ProjectsNotFound = append(out.ProjectsNotFound, name)
		}
	}
	return out, nil
}

// ListProjects lists the names of projects.
func (s *Service) ListProjects(context.Context, *sdk.ListProjectsInput) (*sdk.ListProjectsOutput, error) {
	return &sdk.ListProjectsOutput{Projects: s.projects.Keys()}, nil
}

// StartBuild begins a build. A repeated token finds the build that it began.
func (s *Service) StartBuild(_ context.Context, in *sdk.StartBuildInput) (*sdk.StartBuildOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := nameOf(in.ProjectName)
	p, ok := s.projects.Get(name)
	if !ok {
		return nil, s.missing(s.id.ARN("codebuild", "project/"+name))
	}
	number := int64(1)
	for _, b := range s.builds.All() {
		if aws.ToString(b.Desc.ProjectName) != name {
			continue
		}
		if token := aws.ToString(in.IdempotencyToken); token != "" && b.Token == token {
			return &sdk.StartBuildOutput{Build: &b.Desc}, nil
		}
		number = max(number, aws.ToInt64(b.Desc.BuildNumber)+1)
	}
	environment := *p.Environment
	environment.EnvironmentVariables = merged(environment.EnvironmentVariables, in.EnvironmentVariablesOverride)
	id, now := name+":"+uuid.NewString(), s.cfg.Now().UTC()
	b := build{Token: aws.ToString(in.IdempotencyToken), Spec: aws.ToString(p.Source.Buildspec), Desc: types.Build{
		Id: &id, Arn: aws.String(s.id.ARN("codebuild", "build/"+id)), BuildNumber: &number, BuildStatus: types.StatusTypeInProgress, CurrentPhase: aws.String("QUEUED"),
		ProjectName: &name, Source: p.Source, SourceVersion: p.SourceVersion, Environment: &environment, ServiceRole: p.ServiceRole, StartTime: &now,
		TimeoutInMinutes: p.TimeoutInMinutes, QueuedTimeoutInMinutes: p.QueuedTimeoutInMinutes, Initiator: aws.String("user"),
	}}
	if in.BuildspecOverride != nil {
		b.Spec = *in.BuildspecOverride
	}
	if in.SourceVersion != nil {
		b.Desc.SourceVersion = in.SourceVersion
	}
	group, stream := "/aws/codebuild/"+name, id[strings.LastIndexByte(id, ':')+1:]
	config := p.LogsConfig
	if in.LogsConfigOverride != nil {
		config = in.LogsConfigOverride
	}
	if config != nil && config.CloudWatchLogs != nil {
		if g := aws.ToString(config.CloudWatchLogs.GroupName); g != "" {
			group = g
		}
		if prefix := aws.ToString(config.CloudWatchLogs.StreamName); prefix != "" {
			stream = prefix + "/" + stream
		}
	}
	if config == nil || config.CloudWatchLogs == nil || config.CloudWatchLogs.Status == types.LogsConfigStatusTypeEnabled {
		b.Desc.Logs = &types.LogsLocation{GroupName: &group, StreamName: &stream, CloudWatchLogsArn: aws.String(s.id.ARN("logs", "log-group:"+group+":log-stream:"+stream))}
	}
	if err := s.builds.Put(id, b); err != nil {
		return nil, err
	}
	s.work(id)
	return &sdk.StartBuildOutput{Build: &b.Desc}, nil
}

// merged returns variables with others above them.
func merged(variables, over []types.EnvironmentVariable) []types.EnvironmentVariable {
	all := map[string]types.EnvironmentVariable{}
	for _, v := range append(slices.Clone(variables), over...) {
		all[aws.ToString(v.Name)] = v
	}
	var out []types.EnvironmentVariable
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[name])
	}
	return out
}

// StopBuild asks a build to end.
func (s *Service) StopBuild(_ context.Context, in *sdk.StopBuildInput) (*sdk.StopBuildOutput, error) {
	id := aws.ToString(in.Id)
	if _, ok := s.builds.Get(id); !ok {
		return nil, &wire.Error{Code: "ResourceNotFoundException", Message: "Build " + id + " cannot be found", Status: http.StatusBadRequest}
	}
	b, err := s.builds.Update(id, func(b *build) error {
		b.Stop = !b.Desc.BuildComplete
		return nil
	})
	return &sdk.StopBuildOutput{Build: &b.Desc}, err
}

// BatchGetBuilds tells of builds by ID.
func (s *Service) BatchGetBuilds(_ context.Context, in *sdk.BatchGetBuildsInput) (*sdk.BatchGetBuildsOutput, error) {
	out := &sdk.BatchGetBuildsOutput{}
	for _, id := range in.Ids {
		if b, ok := s.builds.Get(id[strings.LastIndexByte(id, '/')+1:]); ok {
			out.Builds = append(out.Builds, b.Desc)
		} else {
			out.BuildsNotFound = append(out.BuildsNotFound, id)
		}
	}
	return out, nil
}

// list returns the IDs of builds, the latest first.
func (s *Service) list(project string, order types.SortOrderType) []string {
	var found []build
	for _, b := range s.builds.All() {
		if project == "" || aws.ToString(b.Desc.ProjectName) == project {
			found = append(found, b)
		}
	}
	slices.SortStableFunc(found, func(a, b build) int { return b.Desc.StartTime.Compare(*a.Desc.StartTime) })
	if order == types.SortOrderTypeAscending {
		slices.Reverse(found)
	}
	ids := []string{}
	for _, b := range found {
		ids = append(ids, *b.Desc.Id)
	}
	return ids
}

// ListBuilds lists the IDs of all builds.
func (s *Service) ListBuilds(_ context.Context, in *sdk.ListBuildsInput) (*sdk.ListBuildsOutput, error) {
	return &sdk.ListBuildsOutput{Ids: s.list("", in.SortOrder)}, nil
}

// ListBuildsForProject lists the IDs of a project's builds.
func (s *Service) ListBuildsForProject(_ context.Context, in *sdk.ListBuildsForProjectInput) (*sdk.ListBuildsForProjectOutput, error) {
	name := nameOf(in.ProjectName)
	if _, ok := s.projects.Get(name); !ok {
		return nil, s.missing(s.id.ARN("codebuild", "project/"+name))
	}
	return &sdk.ListBuildsForProjectOutput{Ids: s.list(name, in.SortOrder)}, nil
}

// now is the time for a member of an answer.
func (s *Service) now() *time.Time { return aws.Time(s.cfg.Now().UTC()) }

// may says why the role of a build's project may not do something.
func (s *Service) may(b *types.Build, action, resource string) error {
	if s.cfg.May == nil {
		return nil
	}
	_, id, _ := strings.Cut(*b.Id, ":")
	return s.cfg.May(aws.ToString(b.ServiceRole), "AWSCodeBuild-"+id, action, resource)
}

// openLog makes the log of a build in its role's name. One that is there already is that
// of an earlier daemon.
func (s *Service) openLog(b *types.Build) error {
	if b.Logs == nil {
		return nil
	}
	denied := func(what string, err error) error {
		return fmt.Errorf("ACCESS_DENIED: Service role %s does not allow AWS CodeBuild to create Amazon CloudWatch Logs %s for build %s. Error message: %w",
			aws.ToString(b.ServiceRole), what, aws.ToString(b.Arn), err)
	}
	if err := s.may(b, "logs:CreateLogStream", aws.ToString(b.Logs.CloudWatchLogsArn)); err != nil {
		return denied("log streams", err)
	}
	stream := &cloudwatchlogs.CreateLogStreamInput{LogGroupName: b.Logs.GroupName, LogStreamName: b.Logs.StreamName}
	_, err := s.cfg.Logs.CreateLogStream(s.ctx, stream)
	if isCode(err, "ResourceNotFoundException") {
		if err := s.may(b, "logs:CreateLogGroup", s.id.ARN("logs", "log-group:"+aws.ToString(b.Logs.GroupName))); err != nil {
			return denied("log groups", err)
		}
		if _, err := s.cfg.Logs.CreateLogGroup(s.ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: b.Logs.GroupName}); err != nil {
			return err
		}
		_, err = s.cfg.Logs.CreateLogStream(s.ctx, stream)
	}
	if isCode(err, "ResourceAlreadyExistsException") {
		return nil
	}
	return err
}

func isCode(err error, code string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == code
}

// log writes lines into the log of a build. Without a log, nobody hears them.
func (s *Service) log(b *types.Build, lines ...string) {
	if b.Logs == nil || len(lines) == 0 {
		return
	}
	at := s.cfg.Now().UnixMilli()
	in := &cloudwatchlogs.PutLogEventsInput{LogGroupName: b.Logs.GroupName, LogStreamName: b.Logs.StreamName}
	for _, line := range lines {
		in.LogEvents = append(in.LogEvents, logEvent(at, line))
	}
	err := s.may(b, "logs:PutLogEvents", aws.ToString(b.Logs.CloudWatchLogsArn))
	if err == nil {
		_, err = s.cfg.Logs.PutLogEvents(s.ctx, in)
	}
	if err != nil {
		s.cfg.Log.Warn("a build can't log", "build", *b.Id, "error", fmt.Sprint(err))
	}
}
