package fsx

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/fsx"
	"github.com/aws/aws-sdk-go-v2/service/fsx/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/s3"
	"pcluster/internal/sandbox/wire"
)

// A task is one row.
type task struct {
	Description types.DataRepositoryTask
	Token       string
}

func (t task) unfinished() bool {
	switch t.Description.Lifecycle {
	case types.DataRepositoryTaskLifecyclePending, types.DataRepositoryTaskLifecycleExecuting, types.DataRepositoryTaskLifecycleCanceling:
		return true
	}
	return false
}

func (s *Service) task(id string) (task, error) {
	t, ok := s.tasks.Get(id)
	if !ok {
		return t, wire.Errorf("DataRepositoryTaskNotFound", "Data repository task '%s' does not exist.", id)
	}
	return t, nil
}

// CreateDataRepositoryTask starts to copy changed files or objects between a file
// system and its repositories.
func (s *Service) CreateDataRepositoryTask(_ context.Context, in *sdk.CreateDataRepositoryTaskInput) (*sdk.CreateDataRepositoryTaskOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.fileSystem(*in.FileSystemId); err != nil {
		return nil, err
	}
	if in.Type != types.DataRepositoryTaskTypeExport && in.Type != types.DataRepositoryTaskTypeImport {
		return nil, wire.Errorf("UnsupportedOperation", "The sandbox has no data repository tasks of type %s: its file systems hold all their data.", in.Type)
	}
	if in.Report != nil && aws.ToBool(in.Report.Enabled) {
		return nil, wire.Errorf("UnsupportedOperation", "The sandbox writes no completion reports of data repository tasks.")
	}
	for _, t := range s.tasks.All() {
		switch {
		case in.ClientRequestToken != nil && t.Token == *in.ClientRequestToken:
			return &sdk.CreateDataRepositoryTaskOutput{DataRepositoryTask: &t.Description}, nil
		case t.unfinished() && *t.Description.FileSystemId == *in.FileSystemId:
			return nil, wire.Errorf("DataRepositoryTaskExecuting", "The file system %s has a data repository task that is executing: %s.", *in.FileSystemId, *t.Description.TaskId)
		}
	}
	repos := s.repositories(*in.FileSystemId)
	if len(repos) == 0 {
		return nil, badRequest("The file system %s has no data repository.", *in.FileSystemId)
	}
	paths := in.Paths
	for i, p := range paths {
		if p == "/" {
			paths[i] = ""
		}
	}
	id := region.NewID("task")
	t := task{Token: aws.ToString(in.ClientRequestToken), Description: types.DataRepositoryTask{
		TaskId: &id, ResourceARN: aws.String(s.id.ARN("fsx", "task/"+id)), FileSystemId: in.FileSystemId, Type: in.Type, Paths: paths, Report: in.Report,
		Tags: in.Tags, CreationTime: aws.Time(s.now().UTC()), Lifecycle: types.DataRepositoryTaskLifecyclePending,
	}}
	if err := s.tasks.Put(id, t); err != nil {
		return nil, err
	}
	s.busy.Go(func() { s.runTask(id) })
	return &sdk.CreateDataRepositoryTaskOutput{DataRepositoryTask: &t.Description}, nil
}

// repositories returns what a file system is tied to.
func (s *Service) repositories(fsID string) []repository {
	var out []repository
	if f, ok := s.fileSystems.Get(fsID); ok {
		if repo, ok := f.repository(); ok {
			out = append(out, repo)
		}
	}
	for _, a := range s.associationsOf(fsID) {
		out = append(out, a.repository())
	}
	return out
}

// runTask carries out a task that may have been begun before.
func (s *Service) runTask(id string) {
	t, err := s.tasks.Update(id, func(t *task) error {
		if t.Description.Lifecycle == types.DataRepositoryTaskLifecyclePending {
			t.Description.Lifecycle = types.DataRepositoryTaskLifecycleExecuting
			t.Description.StartTime = aws.Time(s.now().UTC())
		}
		return nil
	})
	if err != nil {
		return // its row is gone
	}
	var done, failed int64
	var cause error
	count := func(err error) error {
		if err != nil {
			failed, cause = failed+1, err
		} else {
			done++
		}
		if now, err := s.task(id); err != nil || now.Description.Lifecycle == types.DataRepositoryTaskLifecycleCanceling {
			return errCanceled
		}
		return s.ctx.Err()
	}
	for _, repo := range s.repositories(*t.Description.FileSystemId) {
		if err = s.runTaskOn(t, repo, count); err != nil {
			break
		}
	}
	if s.ctx.Err() != nil {
		return // the next process does it again
	}
	_, _ = s.tasks.Update(id, func(t *task) error {
		d := &t.Description
		d.EndTime = aws.Time(s.now().UTC())
		d.Status = &types.DataRepositoryTaskStatus{TotalCount: aws.Int64(done + failed), SucceededCount: &done, FailedCount: &failed, LastUpdatedTime: d.EndTime}
		d.Lifecycle = types.DataRepositoryTaskLifecycleSucceeded
		switch {
		case errors.Is(err, errCanceled):
			d.Lifecycle = types.DataRepositoryTaskLifecycleCanceled
		case err != nil:
			cause = err
			fallthrough
		case failed > 0:
			d.Lifecycle = types.DataRepositoryTaskLifecycleFailed
			d.FailureDetails = &types.DataRepositoryTaskFailureDetails{Message: aws.String(cause.Error())}
		}
		return nil
	})
}

var errCanceled = errors.New("canceled")

// runTaskOn does a task's part in one repository. count is told of each file.
func (s *Service) runTaskOn(t task, repo repository, count func(error) error) error {
	files, err := s.openFiles(repo)
	if err != nil {
		return fmt.Errorf("file system %s: %w", repo.fsID, err)
	}
	defer files.close()
	// The policies do not matter to a task.
	repo.exports = []types.EventType{types.EventTypeNew, types.EventTypeChanged}
	repo.imports = repo.exports
	l := &link{s: s, repo: repo}
	for _, p := range repo.within(t.Description.Paths) {
		if t.Description.Type == types.DataRepositoryTaskTypeExport {
			if !files.exists(p) {
				continue
			}
			err = files.walk(p, func(p string) error { return count(l.exportFile(s.ctx, files, p)) })
		} else {
			err = s.objects.Entries(s.ctx, repo.bucket, repo.prefix+strings.TrimPrefix(p, "."), func(e s3.Entry) error {
				key := strings.TrimPrefix(e.Key, repo.prefix)
				if p != "." && key != p && !strings.HasPrefix(key, p+"/") {
					return nil
				}
				return count(l.importObject(s.ctx, files, key))
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// within returns the parts of a repository, relative to its directory, that a
// task's paths mean; those are relative to the file system, or S3 URIs.
func (r repository) within(paths []string) []string {
	if len(paths) == 0 {
		return []string{"."}
	}
	var out []string
	for _, p := range paths {
		if bucket, prefix, ok := parseS3Path(p); ok {
			if rest, below := strings.CutPrefix(prefix, r.prefix); below && bucket == r.bucket {
				out = append(out, path.Clean("./"+strings.Trim(rest, "/")))
			}
			continue
		}
		p = strings.Trim(p, "/")
		switch {
		case p == "" || overlap(p, r.path) && len(p) <= len(r.path) || r.path == p:
			out = append(out, ".")
		case r.path == "":
			out = append(out, path.Clean(p))
		case strings.HasPrefix(p, r.path+"/"):
			out = append(out, path.Clean(strings.TrimPrefix(p, r.path+"/")))
		}
	}
	return out
}

// DescribeDataRepositoryTasks lists tasks.
func (s *Service) DescribeDataRepositoryTasks(_ context.Context, in *sdk.DescribeDataRepositoryTasksInput) (*sdk.DescribeDataRepositoryTasksOutput, error) {
	var found []types.DataRepositoryTask
	if len(in.TaskIds) == 0 {
		for _, t := range s.tasks.All() {
			found = append(found, t.Description)
		}
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(in.TaskIds))) {
		t, err := s.task(id)
		if err != nil {
			return nil, err
		}
		found = append(found, t.Description)
	}
	for _, f := range in.Filters {
		var value func(types.DataRepositoryTask) string
		switch f.Name {
		case types.DataRepositoryTaskFilterNameFileSystemId:
			value = func(d types.DataRepositoryTask) string { return aws.ToString(d.FileSystemId) }
		case types.DataRepositoryTaskFilterNameTaskLifecycle:
			value = func(d types.DataRepositoryTask) string { return string(d.Lifecycle) }
		default:
			return nil, badRequest("The filter %s is not supported for data repository tasks.", f.Name)
		}
		found = slices.DeleteFunc(found, func(d types.DataRepositoryTask) bool { return !slices.Contains(f.Values, value(d)) })
	}
	found, next, err := paged(found, func(d types.DataRepositoryTask) string { return *d.TaskId }, in.NextToken, in.MaxResults)
	return &sdk.DescribeDataRepositoryTasksOutput{DataRepositoryTasks: found, NextToken: next}, err
}

// CancelDataRepositoryTask stops a task after the file that it is at.
func (s *Service) CancelDataRepositoryTask(_ context.Context, in *sdk.CancelDataRepositoryTaskInput) (*sdk.CancelDataRepositoryTaskOutput, error) {
	if _, err := s.task(*in.TaskId); err != nil {
		return nil, err
	}
	_, err := s.tasks.Update(*in.TaskId, func(t *task) error {
		if !t.unfinished() {
			return wire.Errorf("DataRepositoryTaskEnded", "The data repository task %s has ended.", *in.TaskId)
		}
		t.Description.Lifecycle = types.DataRepositoryTaskLifecycleCanceling
		return nil
	})
	return &sdk.CancelDataRepositoryTaskOutput{TaskId: in.TaskId, Lifecycle: types.DataRepositoryTaskLifecycleCanceling}, err
}
