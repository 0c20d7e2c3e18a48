package codebuild

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/codebuild/types"
	"go.yaml.in/yaml/v3"
)

func logEvent(at int64, line string) logtypes.InputLogEvent {
	if line == "" {
		line = " " // CloudWatch Logs takes no empty ones
	}
	return logtypes.InputLogEvent{Timestamp: &at, Message: &line}
}

// work makes a build in the background.
func (s *Service) work(id string) {
	s.workers.Go(func() {
		b, ok := s.builds.Get(id)
		if !ok {
			return
		}
		err := s.build(&b)
		if s.ctx.Err() != nil {
			return // the next daemon begins it again
		}
		if err != nil {
			s.cfg.Log.Error("build does not go on", "build", id, "error", err)
		}
	})
}

// A phase is one of a buildspec, in their order.
type phase struct {
	kind types.BuildPhaseType
	name string // in the buildspec
}

var phases = []phase{
	{types.BuildPhaseTypeInstall, "install"}, {types.BuildPhaseTypePreBuild, "pre_build"}, {types.BuildPhaseTypeBuild, "build"}, {types.BuildPhaseTypePostBuild, "post_build"},
}

// A spec is a buildspec, as far as builds here go.
type spec struct {
	Env struct {
		Variables map[string]string `yaml:"variables"`
	} `yaml:"env"`
	Phases map[string]struct {
		Commands []string `yaml:"commands"`
	} `yaml:"phases"`
}

// errStopped ends a build that somebody stopped.
var errStopped = errors.New("the build was stopped")

// build makes a build and writes down how it went. An error is one of this daemon's.
func (s *Service) build(b *build) error {
	d := &b.Desc
	dir, err := os.MkdirTemp("", "pcluster-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d.Phases = nil
	status := types.StatusTypeSucceeded
	source := ""
	run := func(kind types.BuildPhaseType, code string, do func() error) {
		p := types.BuildPhase{PhaseType: kind, StartTime: s.now(), PhaseStatus: types.StatusTypeSucceeded}
		d.CurrentPhase = aws.String(string(kind))
		err := s.stopped(*d.Id)
		if err == nil {
			err = do()
		}
		if err != nil {
			status, p.PhaseStatus = types.StatusTypeFailed, types.StatusTypeFailed
			if errors.Is(err, errStopped) {
				status, p.PhaseStatus = types.StatusTypeStopped, types.StatusTypeStopped
			}
			p.Contexts = []types.PhaseContext{{StatusCode: aws.String(code), Message: aws.String(err.Error())}}
			s.log(d, err.Error())
		}
		p.EndTime = s.now()
		p.DurationInSeconds = aws.Int64(int64(p.EndTime.Sub(*p.StartTime) / time.Second))
		d.Phases = append(d.Phases, p)
	}
	run(types.BuildPhaseTypeSubmitted, "ACCESS_DENIED", func() error { return s.openLog(d) })
	if status == types.StatusTypeSucceeded {
		s.log(d, "This sandbox has no container engine. Of Dockerfiles it takes the files that are copied and what the image begins with; what runs in the image is not run, and",
			"jobs find the sandbox's machine image below those files, not the one that the Dockerfile names.")
		run(types.BuildPhaseTypeDownloadSource, "CLIENT_ERROR", func() (err error) { source, err = s.source(b, dir); return err })
	}
	var plan spec
	if status == types.StatusTypeSucceeded {
		run(types.BuildPhaseTypeProvisioning, "YAML_FILE_ERROR", func() (err error) { plan, err = readSpec(b.Spec, source); return err })
	}
	e := &engine{service: s, build: d, source: source, variables: map[string]string{}, images: map[string]*made{}}
	e.learn(s.id.Name(), plan)
	for _, p := range phases {
		if status != types.StatusTypeSucceeded {
			break
		}
		if commands := plan.Phases[p.name].Commands; len(commands) > 0 {
			run(p.kind, "COMMAND_EXECUTION_ERROR", func() error {
				for _, command := range commands {
					s.log(d, "Running command "+command)
					if err := e.command(command); err != nil {
						return fmt.Errorf("Error while executing command: %s. Reason: %w", command, err)
					}
				}
				return nil
			})
		}
	}
	if s.ctx.Err() != nil {
		return nil
	}
	d.Phases = append(d.Phases, types.BuildPhase{PhaseType: types.BuildPhaseTypeCompleted, StartTime: s.now()})
	d.CurrentPhase, d.BuildStatus, d.BuildComplete, d.EndTime = aws.String("COMPLETED"), status, true, s.now()
	_, err = s.builds.Update(*d.Id, func(row *build) error { row.Desc = *d; return nil })
	return err
}

func (s *Service) stopped(id string) error {
	if b, ok := s.builds.Get(id); !ok || b.Stop {
		return errStopped
	}
	return nil
}

// source unpacks the source of a build.
func (s *Service) source(b *build, dir string) (string, error) {
	location := strings.TrimPrefix(aws.ToString(b.Desc.Source.Location), "arn:aws:s3:::")
	bucket, key, _ := strings.Cut(location, "/")
	for _, action := range []string{"s3:GetObject", "s3:GetObjectVersion"} { // a build keeps to the version that it found
		if err := s.may(&b.Desc, action, "arn:aws:s3:::"+bucket+"/"+key); err != nil {
			return "", fmt.Errorf("source s3://%s: AccessDenied: %w", location, err)
		}
	}
	data, err := s.cfg.Objects.Object(s.ctx, bucket, key, aws.ToString(b.Desc.SourceVersion))
	if err != nil {
		return "", fmt.Errorf("source s3://%s: %w", location, err)
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return "", fmt.Errorf("source s3://%s: %w", location, err)
	}
	source := filepath.Join(dir, "src")
	for _, f := range archive.File {
		if err := unpack(source, f); err != nil {
			return "", fmt.Errorf("source s3://%s: %s: %w", location, f.Name, err)
		}
	}
	return source, nil
}

func unpack(dir string, f *zip.File) error {
	if !filepath.IsLocal(f.Name) {
		return errors.New("leads out of the archive")
	}
	path := filepath.Join(dir, f.Name)
	if f.FileInfo().IsDir() {
		return os.MkdirAll(path, 0o755)
	}
	if !f.Mode().IsRegular() {
		return errors.New("is no regular file")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644|f.Mode()&0o111)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

// readSpec reads the buildspec: a text, or a file of the source.
func readSpec(text, source string) (plan spec, err error) {
	if !strings.Contains(text, "\n") {
		name := text
		if name == "" {
			name = "buildspec.yml"
		}
		if !filepath.IsLocal(name) {
			return plan, fmt.Errorf("%s leads out of the source", name)
		}
		data, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return plan, fmt.Errorf("YAML file %s does not exist in the source", name)
		}
		text = string(data)
	}
	if err := yaml.Unmarshal([]byte(text), &plan); err != nil {
		return plan, fmt.Errorf("buildspec: %w", err)
	}
	if len(plan.Phases) == 0 {
		return plan, errors.New("the buildspec has no phases")
	}
	for name := range plan.Phases {
		if !slices.ContainsFunc(phases, func(p phase) bool { return p.name == name }) {
			return plan, fmt.Errorf("the buildspec has a phase %s, which does not exist", name)
		}
	}
	return plan, nil
}
