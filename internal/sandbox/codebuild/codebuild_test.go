package codebuild

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	sdk "github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/codebuild/types"
	awsecr "github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/google/go-cmp/cmp"

	"pcluster/internal/sandbox/ecr"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/stack/batchimage"
)

// surroundings are those of a service: a bucket, a log, and real repositories.
type surroundings struct {
	mu      sync.Mutex
	objects map[string][]byte
	lines   []string
}

func (f *surroundings) Object(_ context.Context, bucket, key, _ string) ([]byte, error) {
	if data, ok := f.objects[bucket+"/"+key]; ok {
		return data, nil
	}
	return nil, errors.New("NoSuchKey")
}

func (f *surroundings) CreateLogGroup(context.Context, *cloudwatchlogs.CreateLogGroupInput) (*cloudwatchlogs.CreateLogGroupOutput, error) {
	return &cloudwatchlogs.CreateLogGroupOutput{}, nil
}

func (f *surroundings) CreateLogStream(context.Context, *cloudwatchlogs.CreateLogStreamInput) (*cloudwatchlogs.CreateLogStreamOutput, error) {
	return &cloudwatchlogs.CreateLogStreamOutput{}, nil
}

func (f *surroundings) PutLogEvents(_ context.Context, in *cloudwatchlogs.PutLogEventsInput) (*cloudwatchlogs.PutLogEventsOutput, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range in.LogEvents {
		f.lines = append(f.lines, *e.Message)
	}
	return &cloudwatchlogs.PutLogEventsOutput{}, nil
}

const registry = "111122223333.dkr.ecr.us-east-1.amazonaws.com"

// open returns a service with a project whose source is the given archive.
func open(t *testing.T, source []byte) (*Service, *ecr.Service, *surroundings) {
	t.Helper()
	db, id := store.Memory(), region.NewIdentity("us-east-1", "111122223333")
	images, err := ecr.New(db, id, filepath.Join(t.TempDir(), "ecr"))
	if err != nil {
		t.Fatal(err)
	}
	f := &surroundings{objects: map[string][]byte{"bucket/source.zip": source}}
	s, err := New(db, id, Config{Images: images, Logs: f, Objects: f})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	_, err = s.CreateProject(t.Context(), &sdk.CreateProjectInput{
		Name: aws.String("p"), ServiceRole: aws.String("arn:aws:iam::111122223333:role/build"), Artifacts: &types.ProjectArtifacts{Type: types.ArtifactsTypeNoArtifacts},
		Source: &types.ProjectSource{Type: types.SourceTypeS3, Location: aws.String("bucket/source.zip")},
		Environment: &types.ProjectEnvironment{Type: types.EnvironmentTypeLinuxContainer, EnvironmentVariables: []types.EnvironmentVariable{
			{Name: aws.String("IMAGE_REPO_NAME"), Value: aws.String("jobs")}, {Name: aws.String("IMAGE"), Value: aws.String("alinux2")},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, images, f
}

// finished starts a build and returns it when it is over.
func finished(t *testing.T, s *Service) types.Build {
	t.Helper()
	out, err := s.StartBuild(t.Context(), &sdk.StartBuildInput{ProjectName: aws.String("p")})
	if err != nil {
		t.Fatal(err)
	}
	s.workers.Wait()
	got, err := s.BatchGetBuilds(t.Context(), &sdk.BatchGetBuildsInput{Ids: []string{*out.Build.Id}})
	if err != nil || len(got.Builds) != 1 {
		t.Fatalf("builds: %v, %v", got, err)
	}
	return got.Builds[0]
}

func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestImageOfClustersIsBuiltAndSaysWhatIsNot(t *testing.T) {
	source, err := batchimage.Archive("alinux2", registry)
	if err != nil {
		t.Fatal(err)
	}
	s, images, f := open(t, source)
	if b := finished(t, s); b.BuildStatus != types.StatusTypeFailed || !strings.Contains(reason(b), "does not exist in the registry") {
		t.Errorf("without a repository: %s: %s", b.BuildStatus, reason(b))
	}
	createRepository(t, images)
	if b := finished(t, s); b.BuildStatus != types.StatusTypeSucceeded || *b.BuildNumber != 2 {
		t.Fatalf("build %d: %s: %s", *b.BuildNumber, b.BuildStatus, reason(b))
	}
	image, files, err := images.Pull(registry + "/jobs:alinux2")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/bin/bash", "/opt/parallelcluster/bin/entrypoint.sh"}, image.Entrypoint); diff != "" {
		t.Errorf("entry point (-want +got):\n%s", diff)
	}
	if _, err := os.Stat(filepath.Join(files, "opt/parallelcluster/bin/entrypoint.sh")); err != nil {
		t.Error(err)
	}
	log := strings.Join(f.lines, "\n")
	for _, want := range []string{"This sandbox has no container engine", "Not used: FROM", "Not run: RUN yum install"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
}

func TestBuildThatCantBeFollowedFailsWithItsReason(t *testing.T) {
	docker := "version: 0.2\nphases:\n  build:\n    commands:\n      - docker build -t " + registry + "/jobs:x .\n      - docker push " + registry + "/jobs:x\n"
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no buildspec":        {map[string]string{"Dockerfile": "FROM a\n"}, "buildspec.yml does not exist"},
		"another command":     {map[string]string{"buildspec.yml": "phases:\n  build:\n    commands: [make all]\n"}, "make all. Reason: this sandbox has no container"},
		"commands in a row":   {map[string]string{"buildspec.yml": "phases:\n  build:\n    commands: ['echo a && rm -rf /']\n"}, "this sandbox has no container"},
		"substitution":        {map[string]string{"buildspec.yml": "phases:\n  build:\n    commands: ['echo $(id)']\n"}, "substitution"},
		"no Dockerfile":       {map[string]string{"buildspec.yml": docker}, "unable to read Dockerfile"},
		"stages":              {map[string]string{"buildspec.yml": docker, "Dockerfile": "FROM a AS b\n"}, "stages"},
		"file out of context": {map[string]string{"buildspec.yml": docker, "Dockerfile": "FROM a\nCOPY ../../etc/passwd /x\n"}, "outside of the build context"},
		"file that is absent": {map[string]string{"buildspec.yml": docker, "Dockerfile": "FROM a\nCOPY x /x\n"}, "x is not in the build context"},
		"unknown instruction": {map[string]string{"buildspec.yml": docker, "Dockerfile": "FROM a\nUSER nobody\n"}, "USER nobody: the instruction is not part"},
	} {
		t.Run(name, func(t *testing.T) {
			s, images, _ := open(t, archive(t, tt.files))
			createRepository(t, images)
			if b := finished(t, s); b.BuildStatus != types.StatusTypeFailed || !strings.Contains(reason(b), tt.want) {
				t.Errorf("%s: %q, want a failure with %q", b.BuildStatus, reason(b), tt.want)
			}
		})
	}
}

// A build does everything in the name of its project's role, which has to be allowed it.
func TestBuildsAskInTheNameOfTheirRole(t *testing.T) {
	source, err := batchimage.Archive("alinux2", registry)
	if err != nil {
		t.Fatal(err)
	}
	const (
		object     = "arn:aws:s3:::bucket/source.zip"
		repository = "arn:aws:ecr:us-east-1:111122223333:repository/jobs"
		stream     = "arn:aws:logs:us-east-1:111122223333:log-group:/aws/codebuild/p:log-stream:ID"
	)
	// What is asked for, and how a build ends that is refused it.
	asked := []struct {
		action, resource string
		phase            types.BuildPhaseType
	}{
		{"logs:CreateLogStream", stream, types.BuildPhaseTypeSubmitted},
		{"logs:PutLogEvents", stream, types.BuildPhaseTypeCompleted}, // without its log
		{"s3:GetObject", object, types.BuildPhaseTypeDownloadSource},
		{"s3:GetObjectVersion", object, types.BuildPhaseTypeDownloadSource},
		{"ecr:GetAuthorizationToken", "*", types.BuildPhaseTypePreBuild},
		{"ecr:BatchCheckLayerAvailability", repository, types.BuildPhaseTypeBuild},
		{"ecr:InitiateLayerUpload", repository, types.BuildPhaseTypeBuild},
		{"ecr:UploadLayerPart", repository, types.BuildPhaseTypeBuild},
		{"ecr:CompleteLayerUpload", repository, types.BuildPhaseTypeBuild},
		{"ecr:PutImage", repository, types.BuildPhaseTypeBuild},
	}
	for _, refused := range asked {
		t.Run(refused.action, func(t *testing.T) {
			s, images, f := open(t, source)
			createRepository(t, images)
			var mu sync.Mutex
			var got []string
			s.cfg.May = func(role, session, action, resource string) error {
				mu.Lock()
				defer mu.Unlock()
				if role != "arn:aws:iam::111122223333:role/build" || !strings.HasPrefix(session, "AWSCodeBuild-") {
					t.Errorf("asked for %s as %s", session, role)
				}
				line := action + " " + strings.Replace(resource, strings.TrimPrefix(session, "AWSCodeBuild-"), "ID", 1)
				if !slices.Contains(got, line) {
					got = append(got, line)
				}
				if action == refused.action {
					return errors.New("no policy allows it")
				}
				return nil
			}
			b := finished(t, s)
			var want []string
			ended := refused.phase == types.BuildPhaseTypeCompleted
			for _, a := range asked {
				if want = append(want, a.action+" "+a.resource); a.action == refused.action && !ended {
					break
				}
			}
			if refused.action == "logs:CreateLogStream" {
				want = append(want, "logs:PutLogEvents "+stream) // why
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("asked for (-want +got):\n%s", diff)
			}
			last := b.Phases[len(b.Phases)-2] // COMPLETED follows
			switch {
			case ended && (b.BuildStatus != types.StatusTypeSucceeded || len(f.lines) != 0):
				t.Errorf("%s, with %d lines of a log that it may not write", b.BuildStatus, len(f.lines))
			case !ended && (b.BuildStatus != types.StatusTypeFailed || last.PhaseType != refused.phase || !strings.Contains(reason(b), "no policy allows it")):
				t.Errorf("%s in %s: %s", b.BuildStatus, last.PhaseType, reason(b))
			}
		})
	}
}

func TestRepeatedTokenStartsOneBuild(t *testing.T) {
	s, _, _ := open(t, nil)
	in := &sdk.StartBuildInput{ProjectName: aws.String("p"), IdempotencyToken: aws.String("once")}
	first, err := s.StartBuild(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.StartBuild(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if *first.Build.Id != *again.Build.Id {
		t.Errorf("builds %s and %s", *first.Build.Id, *again.Build.Id)
	}
}

func TestProjectsOutsideOfTheRegionAreRefused(t *testing.T) {
	s, _, _ := open(t, nil)
	_, err := s.CreateProject(t.Context(), &sdk.CreateProjectInput{Name: aws.String("git"), Artifacts: &types.ProjectArtifacts{Type: types.ArtifactsTypeNoArtifacts},
		Source: &types.ProjectSource{Type: types.SourceTypeGithub, Location: aws.String("https://github.com/a/b")}, Environment: &types.ProjectEnvironment{}})
	if err == nil || !strings.Contains(err.Error(), "InvalidInputException") {
		t.Errorf("a project of GitHub: %v", err)
	}
}

func TestSplitReadsWordsAsShellsDo(t *testing.T) {
	got, err := split(`docker build --tag "$A/${B}:c d" 'x $A' e\ f|g`, func(name string) string { return map[string]string{"A": "reg", "B": "repo"}[name] })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"docker", "build", "--tag", "reg/repo:c d", "x $A", "e f", "|", "g"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// reason returns what a build says about its failure.
func reason(b types.Build) string {
	for _, p := range b.Phases {
		for _, c := range p.Contexts {
			return *c.Message
		}
	}
	return ""
}

func createRepository(t *testing.T, images *ecr.Service) {
	t.Helper()
	if _, err := images.CreateRepository(t.Context(), &awsecr.CreateRepositoryInput{RepositoryName: aws.String("jobs")}); err != nil {
		t.Fatal(err)
	}
}
