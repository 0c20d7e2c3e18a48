package logs

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/s3"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire/wiretest"
)

const (
	demo = "/aws/parallelcluster/demo"
	ctld = "ip-10-0-1-5.i-1.slurmctld"
)

func put(t *testing.T, s *Service, stream string, events ...types.InputLogEvent) {
	t.Helper()
	_, err := s.CreateLogStream(t.Context(), &cloudwatchlogs.CreateLogStreamInput{LogGroupName: aws.String(demo), LogStreamName: &stream})
	if err != nil && !strings.Contains(err.Error(), "ResourceAlreadyExists") {
		t.Fatal(err)
	}
	if _, err := s.PutLogEvents(t.Context(), &cloudwatchlogs.PutLogEventsInput{LogGroupName: aws.String(demo), LogStreamName: &stream, LogEvents: events}); err != nil {
		t.Fatal(err)
	}
}

func at(d time.Duration, message string) types.InputLogEvent {
	return types.InputLogEvent{Timestamp: aws.Int64(noon.Add(d).UnixMilli()), Message: &message}
}

func TestLongStreamIsFoundByPositionAndTime(t *testing.T) {
	s, done := filled(t, t.TempDir(), 3000)
	defer done()
	for name, tt := range map[string]struct {
		in   cloudwatchlogs.GetLogEventsInput
		want string // first and last message, and how many
	}{
		"head":                 {cloudwatchlogs.GetLogEventsInput{StartFromHead: aws.Bool(true), Limit: aws.Int32(2)}, "event 0 event 1 2"},
		"tail":                 {cloudwatchlogs.GetLogEventsInput{Limit: aws.Int32(2)}, "event 2998 event 2999 2"},
		"from a time":          {cloudwatchlogs.GetLogEventsInput{StartFromHead: aws.Bool(true), StartTime: aws.Int64(noon.Add(-1000 * time.Second).UnixMilli()), Limit: aws.Int32(5)}, "event 2000 event 2004 5"},
		"up to a time":         {cloudwatchlogs.GetLogEventsInput{EndTime: aws.Int64(noon.Add(-2744 * time.Second).UnixMilli()), Limit: aws.Int32(1)}, "event 255 event 255 1"},
		"between times":        {cloudwatchlogs.GetLogEventsInput{StartTime: aws.Int64(noon.Add(-2744 * time.Second).UnixMilli()), EndTime: aws.Int64(noon.Add(-2742 * time.Second).UnixMilli())}, "event 256 event 257 2"},
		"before the beginning": {cloudwatchlogs.GetLogEventsInput{EndTime: aws.Int64(noon.Add(-time.Hour).UnixMilli())}, "0"},
		"everything":           {cloudwatchlogs.GetLogEventsInput{StartFromHead: aws.Bool(true)}, "event 0 event 2999 3000"},
	} {
		in := tt.in
		in.LogGroupName, in.LogStreamName = aws.String(demo), aws.String(ctld)
		out, err := s.GetLogEvents(t.Context(), &in)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(len(out.Events))
		if n := len(out.Events); n > 0 {
			got = fmt.Sprint(*out.Events[0].Message, " ", *out.Events[n-1].Message, " ", n)
		}
		if got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
	// The end gives the same token until something comes.
	last := get(t, s, true, 10, token("f", 3000))
	put(t, s, ctld, at(time.Second, "new"))
	if next := get(t, s, true, 10, last.NextForwardToken); len(last.Events) != 0 || *last.NextForwardToken != *token("f", 3000) || len(next.Events) != 1 || *next.Events[0].Message != "new" {
		t.Errorf("after the end: %v, then %v", last.Events, next.Events)
	}
}

func TestAnswersAreNoMoreThanAMegabyte(t *testing.T) {
	s, done := filled(t, t.TempDir(), 1)
	defer done()
	big := strings.Repeat("x", 300<<10)
	for i := range 6 {
		put(t, s, ctld, at(time.Duration(i)*time.Second, big))
	}
	head, end := get(t, s, true, 10_000, nil), get(t, s, false, 10_000, nil)
	if len(head.Events) != 4 || len(end.Events) != 3 {
		t.Errorf("answers have %d and %d events", len(head.Events), len(end.Events))
	}
	if rest := get(t, s, true, 10_000, head.NextForwardToken); len(rest.Events) != 3 {
		t.Errorf("the rest has %d events", len(rest.Events))
	}
	if rest := get(t, s, false, 10_000, end.NextBackwardToken); len(rest.Events) != 4 {
		t.Errorf("the rest before has %d events", len(rest.Events))
	}
}

func TestBatchesOutOfOrderAreReadInOrder(t *testing.T) {
	s, done := filled(t, t.TempDir(), 1)
	defer done()
	put(t, s, "mixed", at(3*time.Second, "c"), at(5*time.Second, "e"))
	put(t, s, "mixed", at(2*time.Second, "b"), at(4*time.Second, "d"))
	out, err := s.GetLogEvents(t.Context(), &cloudwatchlogs.GetLogEventsInput{LogGroupName: aws.String(demo), LogStreamName: aws.String("mixed"), StartTime: aws.Int64(noon.Add(3 * time.Second).UnixMilli())})
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, e := range out.Events {
		got += *e.Message
	}
	if got != "cde" {
		t.Errorf("read %s", got)
	}
}

func TestLineOfAKilledDaemonSpoilsNothing(t *testing.T) {
	dir := t.TempDir()
	s, done := filled(t, dir, 2)
	st, err := s.streamOf(aws.String(demo), nil, aws.String(ctld))
	if err != nil {
		t.Fatal(err)
	}
	done()
	f, err := os.OpenFile(filepath.Join(s.dir, st.File), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"t":177,"i":1,"m":"half`); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if err := os.WriteFile(filepath.Join(s.dir, "orphan"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, done = open(t, dir)
	defer done()
	if got := len(get(t, s, true, 10, nil).Events); got != 2 {
		t.Errorf("%d events after the kill", got)
	}
	put(t, s, ctld, at(time.Second, "next"))
	if out := get(t, s, true, 10, nil); len(out.Events) != 3 || *out.Events[2].Message != "next" {
		t.Errorf("after the next event: %d events", len(out.Events))
	}
	if _, err := os.Stat(filepath.Join(s.dir, "orphan")); !os.IsNotExist(err) {
		t.Error("a file of no stream is left")
	}
}

func TestSearchGoesOnWhereItEnded(t *testing.T) {
	s, done := filled(t, t.TempDir(), 700)
	defer done()
	for i := range 300 {
		put(t, s, "other", at(time.Duration(i-300)*time.Second, fmt.Sprint("other ", i))) // same times as the last of the first
	}
	for _, limit := range []int32{1, 7, 999, 10_000} {
		seen := map[string]bool{}
		var last int64
		in := &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String(demo), Limit: &limit}
		if limit == 1 {
			in.StartTime = aws.Int64(noon.Add(-20 * time.Second).UnixMilli())
		}
		for {
			out, err := s.FilterLogEvents(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range out.Events {
				if key := *e.LogStreamName + *e.Message; seen[key] || *e.Timestamp < last {
					t.Fatalf("limit %d: %s again or out of order", limit, key)
				} else {
					seen[key], last = true, *e.Timestamp
				}
			}
			if in.NextToken = out.NextToken; in.NextToken == nil {
				break
			}
		}
		want := 1000
		if limit == 1 {
			want = 40
		}
		if len(seen) != want {
			t.Errorf("limit %d: found %d events, want %d", limit, len(seen), want)
		}
	}
}

// recorder is a CloudWatch that writes down what it is told.
type recorder []string

func (r *recorder) PutMetricData(_ context.Context, in *cloudwatch.PutMetricDataInput) (*cloudwatch.PutMetricDataOutput, error) {
	for _, d := range in.MetricData {
		text := fmt.Sprintf("%s/%s=%g", *in.Namespace, *d.MetricName, *d.Value)
		for _, dim := range d.Dimensions {
			text += " " + *dim.Name + ":" + *dim.Value
		}
		*r = append(*r, text)
	}
	return &cloudwatch.PutMetricDataOutput{}, nil
}

func TestMetricFiltersMeasure(t *testing.T) {
	s, done := filled(t, t.TempDir(), 1)
	defer done()
	var got recorder
	s.metrics = &got
	_, err := s.PutMetricFilter(t.Context(), &cloudwatchlogs.PutMetricFilterInput{LogGroupName: aws.String(demo), FilterName: aws.String("f"),
		FilterPattern: aws.String(`{ $.event-type = "node-launch-failure-count" && $.detail.failure-type = "ice-failures" }`),
		MetricTransformations: []types.MetricTransformation{{MetricNamespace: aws.String("ParallelCluster"), MetricName: aws.String("InsufficientCapacityErrors"),
			MetricValue: aws.String("$.detail.count"), Dimensions: map[string]string{"ClusterName": "$.cluster-name"}}}})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "clustermgtd_events",
		at(0, `{"cluster-name":"demo","event-type":"node-launch-failure-count","detail":{"failure-type":"ice-failures","count":3}}`),
		at(0, `{"cluster-name":"demo","event-type":"node-launch-failure-count","detail":{"failure-type":"other","count":9}}`), at(0, "no json"))
	if want := "[ParallelCluster/InsufficientCapacityErrors=3 ClusterName:demo]"; fmt.Sprint(got) != want {
		t.Errorf("measured %v, want %s", got, want)
	}
}

func TestExport(t *testing.T) {
	dir := t.TempDir()
	db := store.Memory()
	id := region.NewIdentity("", "")
	objects, err := s3.New(db, id, filepath.Join(dir, "s3"))
	if err != nil {
		t.Fatal(err)
	}
	if err := objects.AdoptBucket(t.Context(), "bucket", false); err != nil {
		t.Fatal(err)
	}
	s, done := filled(t, dir, 1000)
	defer done()
	s.objects = objects
	put(t, s, "other", at(0, "not wanted"))
	in := &cloudwatchlogs.CreateExportTaskInput{LogGroupName: aws.String(demo), LogStreamNamePrefix: aws.String("ip-"), Destination: aws.String("bucket"), DestinationPrefix: aws.String("p"),
		From: aws.Int64(noon.Add(-500 * time.Second).UnixMilli()), To: aws.Int64(noon.UnixMilli())}
	out, err := s.CreateExportTask(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	for until := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		tasks, err := s.DescribeExportTasks(t.Context(), &cloudwatchlogs.DescribeExportTasksInput{TaskId: out.TaskId})
		if err != nil {
			t.Fatal(err)
		}
		if code := tasks.ExportTasks[0].Status.Code; code == types.ExportTaskStatusCodeCompleted {
			break
		} else if time.Now().After(until) || code == types.ExportTaskStatusCodeFailed {
			t.Fatalf("task is %s: %s", code, aws.ToString(tasks.ExportTasks[0].Status.Message))
		}
	}
	var keys []string
	if err := objects.Walk(t.Context(), "bucket", "p/", func(key string, _ int64, _ func() (io.ReadCloser, error)) error { keys = append(keys, key); return nil }); err != nil {
		t.Fatal(err)
	}
	want := "p/" + *out.TaskId + "/" + ctld + "/000000.gz"
	// Keys are in order, and the task's ID may stand on either side.
	if expected := []string{want, "p/aws-logs-write-test"}; !slices.Equal(keys, slices.Sorted(slices.Values(expected))) {
		t.Fatalf("objects: %v, want %v", keys, expected)
	}
	data, err := objects.Object(t.Context(), "bucket", want, "")
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil || strings.Count(string(text), "\n") != 500 || !strings.HasPrefix(string(text), "2026-03-01T11:51:40.000Z event 500\n") {
		t.Errorf("exported %d lines, %v: %.60s", strings.Count(string(text), "\n"), err, text)
	}
	in.Destination = aws.String("nobody")
	_, err = s.CreateExportTask(t.Context(), in)
	wantCode(t, err, "InvalidParameterException")
	_, err = s.CancelExportTask(t.Context(), &cloudwatchlogs.CancelExportTaskInput{TaskId: out.TaskId})
	wantCode(t, err, "InvalidOperationException")
}

// TestBoto3 is how Python programs read logs.
func TestBoto3(t *testing.T) {
	s, err := New(store.Memory(), region.NewIdentity("", ""), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out, ok := wiretest.Serve(t, map[string]wiretest.Registrar{"logs": s}).Python(t, `
import boto3, time
logs = boto3.client("logs")
logs.create_log_group(logGroupName="/g", tags={"a": "b"})
logs.put_retention_policy(logGroupName="/g", retentionInDays=14)
for stream in ("s1", "s2"):
    logs.create_log_stream(logGroupName="/g", logStreamName=stream)
    now = int(time.time() * 1000)
    logs.put_log_events(logGroupName="/g", logStreamName=stream, logEvents=[{"timestamp": now - 100 + i, "message": f"{stream} {i}"} for i in range(30)])
pages = logs.get_paginator("filter_log_events").paginate(logGroupName="/g", filterPattern='"s2"', PaginationConfig={"PageSize": 7})
assert sum(len(p["events"]) for p in pages) == 30
first = logs.get_log_events(logGroupName="/g", logStreamName="s1", startFromHead=True, limit=20)
rest = logs.get_log_events(logGroupName="/g", logStreamName="s1", startFromHead=True, nextToken=first["nextForwardToken"])
assert [e["message"] for e in rest["events"]] == [f"s1 {i}" for i in range(20, 30)]
end = logs.get_log_events(logGroupName="/g", logStreamName="s1", nextToken=rest["nextForwardToken"])
assert end["events"] == [] and end["nextForwardToken"] == rest["nextForwardToken"]
group = logs.describe_log_groups(logGroupNamePrefix="/g")["logGroups"][0]
assert group["retentionInDays"] == 14 and group["storedBytes"] > 0, group
assert logs.list_tags_for_resource(resourceArn=group["logGroupArn"])["tags"] == {"a": "b"}
streams = logs.describe_log_streams(logGroupName="/g", orderBy="LastEventTime", descending=True)["logStreams"]
assert [s["logStreamName"] for s in streams] == ["s2", "s1"] and streams[0]["lastEventTimestamp"], streams
logs.delete_log_group(logGroupName="/g")
assert logs.describe_log_groups()["logGroups"] == []
`)
	if !ok {
		t.Error(out)
	}
}

func TestTimeOfALine(t *testing.T) {
	for line, want := range map[string]int64{
		`{"t":177,"i":1,"m":"text"}` + "\n":       177,
		`{"t":177,"i":1,"m":"ends in \\"}` + "\n": 177,
		`{"t":177,"i":1,"m":"half \"}` + "\n":     -1,
		`{"t":177,"i":1,"m":"half` + "\n":         -1,
		`{"t":17`:                                 -1,
		"\n":                                      -1,
		`{"t":x,"i":1,"m":""}` + "\n":             -1,
	} {
		got, ok := timeOf([]byte(line))
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d", line, got, want)
		}
	}
}
