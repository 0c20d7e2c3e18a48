package logs

import (
	"bufio"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/s3"
	"pcluster/internal/sandbox/wire"
)

// Objects is the part of S3 that exports need. *s3.Service has it.
type Objects interface {
	HasBucket(name string) bool
	Put(ctx context.Context, bucket, key string, body io.Reader, meta map[string]string) (s3.Entry, error)
}

// An exportTask is a row; its key is its ID.
type exportTask struct {
	Task         types.ExportTask
	StreamPrefix string
}

func (t exportTask) active() bool {
	switch t.Task.Status.Code {
	case types.ExportTaskStatusCodePending, types.ExportTaskStatusCodeRunning, types.ExportTaskStatusCodePendingCancel:
		return true
	}
	return false
}

// CreateExportTask starts to write the events of a group to a bucket. As in AWS
// there is one task at a time.
func (s *Service) CreateExportTask(_ context.Context, in *cloudwatchlogs.CreateExportTaskInput) (*cloudwatchlogs.CreateExportTaskOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.groupOf(in.LogGroupName, nil)
	if err != nil {
		return nil, err
	}
	bucket := aws.ToString(in.Destination)
	switch {
	case s.objects == nil:
		return nil, wire.Errorf("ServiceUnavailableException", "The region's logs are not connected to its S3.")
	case !s.objects.HasBucket(bucket):
		return nil, wire.Errorf("InvalidParameterException", "GetBucketAcl call on the given bucket failed. The bucket %s does not exist.", bucket)
	case aws.ToInt64(in.From) >= aws.ToInt64(in.To):
		return nil, wire.Errorf("InvalidParameterException", "The specified time range is invalid: from must be before to.")
	}
	for _, t := range s.exports.All() {
		if t.active() {
			return nil, wire.Errorf("LimitExceededException", "Resource limit exceeded.")
		}
	}
	prefix := strings.Trim(aws.ToString(in.DestinationPrefix), "/")
	if prefix == "" {
		prefix = "exportedlogs"
	}
	h := region.Hex(32)
	id := fmt.Sprintf("%s-%s-4%s-a%s-%s", h[:8], h[8:12], h[13:16], h[17:20], h[20:])
	t := exportTask{StreamPrefix: aws.ToString(in.LogStreamNamePrefix), Task: types.ExportTask{
		TaskId: &id, TaskName: in.TaskName, LogGroupName: aws.String(g.Name), Destination: &bucket, DestinationPrefix: &prefix, From: in.From, To: in.To,
		Status: &types.ExportTaskStatus{Code: types.ExportTaskStatusCodePending}, ExecutionInfo: &types.ExportTaskExecutionInfo{CreationTime: aws.Int64(s.now().UnixMilli())},
	}}
	if err := s.exports.Put(id, t); err != nil {
		return nil, err
	}
	go s.export(id)
	return &cloudwatchlogs.CreateExportTaskOutput{TaskId: &id}, nil
}

// setStatus moves a task on. A task that is to be cancelled is not moved back.
func (s *Service) setStatus(id string, code types.ExportTaskStatusCode, message string) (exportTask, error) {
	return s.exports.Update(id, func(t *exportTask) error {
		if t.Task.Status.Code == types.ExportTaskStatusCodePendingCancel && code == types.ExportTaskStatusCodeRunning {
			return nil
		}
		t.Task.Status = &types.ExportTaskStatus{Code: code, Message: &message}
		if !t.active() {
			info := *t.Task.ExecutionInfo
			info.CompletionTime = aws.Int64(s.now().UnixMilli())
			t.Task.ExecutionInfo = &info
		}
		return nil
	})
}

// export carries out a task, perhaps for the second time: objects are replaced.
func (s *Service) export(id string) {
	t, err := s.setStatus(id, types.ExportTaskStatusCodeRunning, "Started successfully")
	if err != nil {
		return // the disk is full or the task gone: there is nobody to tell
	}
	code, message := types.ExportTaskStatusCodeCompleted, "Completed successfully"
	if err := s.exportStreams(context.Background(), t); err != nil {
		code, message = types.ExportTaskStatusCodeFailed, err.Error()
	}
	if t, ok := s.exports.Get(id); ok && t.Task.Status.Code == types.ExportTaskStatusCodePendingCancel {
		code, message = types.ExportTaskStatusCodeCancelled, "Cancelled by user"
	}
	_, _ = s.setStatus(id, code, message)
}

func (s *Service) exportStreams(ctx context.Context, t exportTask) error {
	bucket, prefix := *t.Task.Destination, *t.Task.DestinationPrefix
	if _, err := s.objects.Put(ctx, bucket, prefix+"/aws-logs-write-test", strings.NewReader("Permission Check Successful"), nil); err != nil {
		return err
	}
	for _, st := range s.streamsOf(*t.Task.LogGroupName) {
		if !strings.HasPrefix(st.Name, t.StreamPrefix) {
			continue
		}
		if now, ok := s.exports.Get(*t.Task.TaskId); !ok || now.Task.Status.Code == types.ExportTaskStatusCodePendingCancel {
			return nil
		}
		v, err := s.view(st)
		if err != nil {
			return err
		}
		lo, hi, err := s.bounds(v, st.Group, t.Task.From, t.Task.To)
		if err != nil {
			return err
		}
		if lo == hi {
			continue
		}
		key := fmt.Sprintf("%s/%s/%s/000000.gz", prefix, *t.Task.TaskId, strings.ReplaceAll(st.Name, "/", "-"))
		r, w := io.Pipe()
		go func() { w.CloseWithError(writeEvents(w, v, lo, hi)) }()
		_, err = s.objects.Put(ctx, bucket, key, r, nil)
		_ = r.Close() // ends the writer, should S3 have failed
		if err != nil {
			return fmt.Errorf("export log stream %s: %w", st.Name, err)
		}
	}
	return nil
}

// writeEvents writes events as exports have them: compressed, a line each with
// the time before the message.
func writeEvents(w io.Writer, v *view, from, to int) error {
	z := gzip.NewWriter(w)
	b := bufio.NewWriter(z)
	for from < to {
		events, err := v.read(from, min(from+stride, to), maxBytes)
		if err != nil {
			return err
		}
		if len(events) == 0 {
			break // deleted meanwhile
		}
		for _, e := range events {
			fmt.Fprintf(b, "%s %s\n", time.UnixMilli(e.Time).UTC().Format("2006-01-02T15:04:05.000Z"), strings.TrimSuffix(e.Message, "\n"))
		}
		from += len(events)
	}
	if err := b.Flush(); err != nil {
		return err
	}
	return z.Close()
}

// DescribeExportTasks lists tasks: one, those of a status, or all.
func (s *Service) DescribeExportTasks(_ context.Context, in *cloudwatchlogs.DescribeExportTasksInput) (*cloudwatchlogs.DescribeExportTasksOutput, error) {
	var found []types.ExportTask
	for _, t := range s.exports.All() {
		if (in.TaskId == nil || *in.TaskId == *t.Task.TaskId) && (in.StatusCode == "" || in.StatusCode == t.Task.Status.Code) {
			found = append(found, t.Task)
		}
	}
	if in.TaskId != nil && len(found) == 0 {
		return nil, wire.Errorf("ResourceNotFoundException", "The specified export task does not exist.")
	}
	found, next, err := page.Of(found, func(t types.ExportTask) string { return *t.TaskId }, in.NextToken, page.Limit(in.Limit, 50))
	if err != nil {
		return nil, errToken
	}
	return &cloudwatchlogs.DescribeExportTasksOutput{ExportTasks: found, NextToken: next}, nil
}

// CancelExportTask stops a task after the stream that it is at.
func (s *Service) CancelExportTask(_ context.Context, in *cloudwatchlogs.CancelExportTaskInput) (*cloudwatchlogs.CancelExportTaskOutput, error) {
	t, ok := s.exports.Get(*in.TaskId)
	if !ok {
		return nil, wire.Errorf("ResourceNotFoundException", "The specified export task does not exist.")
	}
	if !t.active() {
		return nil, wire.Errorf("InvalidOperationException", "The specified export task has already finished.")
	}
	_, err := s.setStatus(*in.TaskId, types.ExportTaskStatusCodePendingCancel, "")
	return &cloudwatchlogs.CancelExportTaskOutput{}, err
}
