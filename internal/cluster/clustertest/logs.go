package clustertest

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
)

// CloudWatch Logs.

type logGroup struct {
	created time.Time
	streams map[string]*logStream
}

type logStream struct {
	created time.Time
	events  []logtypes.OutputLogEvent
}

// Ship adds a message to a log stream, which it makes.
func (c *Cloud) Ship(group, stream, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.openStream(group, stream)
	s.events = append(s.events, logtypes.OutputLogEvent{Message: &message, Timestamp: aws.Int64(c.Now().UnixMilli()), IngestionTime: aws.Int64(c.Now().UnixMilli())})
}

// OpenStream makes a log stream without events.
func (c *Cloud) OpenStream(group, stream string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.openStream(group, stream)
}

func (c *Cloud) openStream(group, stream string) *logStream {
	g := c.groups[group]
	if g == nil {
		g = &logGroup{created: c.Now().Add(-time.Hour), streams: map[string]*logStream{}}
		c.groups[group] = g
	}
	s := g.streams[stream]
	if s == nil {
		s = &logStream{created: c.Now().Add(-time.Minute)}
		g.streams[stream] = s
	}
	return s
}

func (c *Cloud) logGroup(name *string) (*logGroup, error) {
	if g := c.groups[*name]; g != nil {
		return g, nil
	}
	return nil, Fault("ResourceNotFoundException", "The specified log group does not exist.")
}

func (c *Cloud) DescribeLogGroups(_ context.Context, in *cloudwatchlogs.DescribeLogGroupsInput, _ ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.DescribeLogGroupsOutput, error) {
	unlock, err := c.begin("DescribeLogGroups")
	defer unlock()
	if err != nil {
		return nil, err
	}
	out := &cloudwatchlogs.DescribeLogGroupsOutput{}
	for _, name := range slices.Sorted(maps.Keys(c.groups)) {
		if !strings.HasPrefix(name, aws.ToString(in.LogGroupNamePrefix)) || name <= aws.ToString(in.NextToken) {
			continue
		}
		if len(out.LogGroups) == 1 { // one to a page
			out.NextToken = out.LogGroups[0].LogGroupName
			break
		}
		out.LogGroups = append(out.LogGroups, logtypes.LogGroup{LogGroupName: &name, CreationTime: aws.Int64(c.groups[name].created.UnixMilli())})
	}
	return out, nil
}

// DescribeLogStreams returns three streams to a page.
func (c *Cloud) DescribeLogStreams(_ context.Context, in *cloudwatchlogs.DescribeLogStreamsInput, _ ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.DescribeLogStreamsOutput, error) {
	unlock, err := c.begin("DescribeLogStreams")
	defer unlock()
	if err != nil {
		return nil, err
	}
	g, err := c.logGroup(in.LogGroupName)
	if err != nil {
		return nil, err
	}
	out := &cloudwatchlogs.DescribeLogStreamsOutput{}
	for _, name := range slices.Sorted(maps.Keys(g.streams)) {
		if !strings.HasPrefix(name, aws.ToString(in.LogStreamNamePrefix)) || name <= aws.ToString(in.NextToken) {
			continue
		}
		if len(out.LogStreams) == 3 {
			out.NextToken = out.LogStreams[2].LogStreamName
			break
		}
		s := g.streams[name]
		found := logtypes.LogStream{
			LogStreamName: &name, CreationTime: aws.Int64(s.created.UnixMilli()), StoredBytes: aws.Int64(0),
			Arn: aws.String("arn:aws:logs:" + c.Region + ":" + Account + ":log-group:" + *in.LogGroupName + ":log-stream:" + name),
		}
		if n := len(s.events); n > 0 {
			found.FirstEventTimestamp, found.LastEventTimestamp, found.LastIngestionTime = s.events[0].Timestamp, s.events[n-1].Timestamp, s.events[n-1].IngestionTime
			found.UploadSequenceToken = aws.String("token")
		}
		out.LogStreams = append(out.LogStreams, found)
	}
	return out, nil
}

// GetLogEvents has tokens that are positions, f/ for what follows and b/ for what
// comes before.
func (c *Cloud) GetLogEvents(_ context.Context, in *cloudwatchlogs.GetLogEventsInput, _ ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.GetLogEventsOutput, error) {
	unlock, err := c.begin("GetLogEvents")
	defer unlock()
	if err != nil {
		return nil, err
	}
	g, err := c.logGroup(in.LogGroupName)
	if err != nil {
		return nil, err
	}
	s := g.streams[*in.LogStreamName]
	if s == nil {
		return nil, Fault("ResourceNotFoundException", "The specified log stream does not exist.")
	}
	events := within(s.events, in.StartTime, in.EndTime)
	limit := int(aws.ToInt32(in.Limit))
	if limit == 0 {
		limit = 10000
	}
	var from, to int
	switch token := aws.ToString(in.NextToken); {
	case strings.HasPrefix(token, "b/"):
		fmt.Sscanf(token, "b/%d", &to)
		from = max(to-limit, 0)
	case token != "":
		fmt.Sscanf(token, "f/%d", &from)
		to = min(from+limit, len(events))
	case aws.ToBool(in.StartFromHead):
		to = min(limit, len(events))
	default:
		from, to = max(len(events)-limit, 0), len(events)
	}
	return &cloudwatchlogs.GetLogEventsOutput{
		Events: events[from:to], NextForwardToken: aws.String(fmt.Sprintf("f/%d", to)), NextBackwardToken: aws.String(fmt.Sprintf("b/%d", from)),
	}, nil
}

func within(events []logtypes.OutputLogEvent, from, to *int64) []logtypes.OutputLogEvent {
	return slices.DeleteFunc(slices.Clone(events), func(e logtypes.OutputLogEvent) bool {
		return from != nil && *e.Timestamp < *from || to != nil && *e.Timestamp >= *to
	})
}

// FilterLogEvents finds at most one event, and that on its second page.
func (c *Cloud) FilterLogEvents(_ context.Context, in *cloudwatchlogs.FilterLogEventsInput, _ ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.FilterLogEventsOutput, error) {
	unlock, err := c.begin("FilterLogEvents")
	defer unlock()
	if err != nil {
		return nil, err
	}
	g, err := c.logGroup(in.LogGroupName)
	if err != nil {
		return nil, err
	}
	if in.NextToken == nil {
		return &cloudwatchlogs.FilterLogEventsOutput{NextToken: aws.String("more")}, nil
	}
	for name, s := range g.streams {
		if events := within(s.events, in.StartTime, in.EndTime); strings.HasPrefix(name, aws.ToString(in.LogStreamNamePrefix)) && len(events) > 0 {
			return &cloudwatchlogs.FilterLogEventsOutput{Events: []logtypes.FilteredLogEvent{{Message: events[0].Message}}}, nil
		}
	}
	return &cloudwatchlogs.FilterLogEventsOutput{}, nil
}

// An exportTask is pending, then running, then completed, each time it is looked at.
type exportTask struct {
	logtypes.ExportTask
	looks int
}

// CreateExportTask exports at once, one object per event, so that tests meet
// streams of several objects.
func (c *Cloud) CreateExportTask(_ context.Context, in *cloudwatchlogs.CreateExportTaskInput, _ ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.CreateExportTaskOutput, error) {
	unlock, err := c.begin("CreateExportTask")
	defer unlock()
	if err != nil {
		return nil, err
	}
	g, err := c.logGroup(in.LogGroupName)
	if err != nil {
		return nil, err
	}
	b, err := c.bucket(in.Destination)
	if err != nil {
		return nil, err
	}
	id := fmt.Sprintf("task-%d", len(c.tasks)+1)
	c.tasks = append(c.tasks, &exportTask{ExportTask: logtypes.ExportTask{TaskId: &id}})
	put := func(key string, body []byte) {
		b.objects = append(b.objects, object{key: key, body: body, version: "1"})
	}
	put(*in.DestinationPrefix+"/aws-logs-write-test", []byte("Permission Check Successful"))
	for name, s := range g.streams {
		if !strings.HasPrefix(name, aws.ToString(in.LogStreamNamePrefix)) {
			continue
		}
		for i, e := range within(s.events, in.From, in.To) {
			var body bytes.Buffer
			z := gzip.NewWriter(&body)
			fmt.Fprintf(z, "%s %s\n", time.UnixMilli(*e.Timestamp).UTC().Format("2006-01-02T15:04:05.000Z"), *e.Message)
			if err := z.Close(); err != nil {
				return nil, err
			}
			put(fmt.Sprintf("%s/%s/%s/%06d.gz", *in.DestinationPrefix, id, name, i), body.Bytes())
		}
	}
	return &cloudwatchlogs.CreateExportTaskOutput{TaskId: &id}, nil
}

func (c *Cloud) DescribeExportTasks(_ context.Context, in *cloudwatchlogs.DescribeExportTasksInput, _ ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.DescribeExportTasksOutput, error) {
	unlock, err := c.begin("DescribeExportTasks")
	defer unlock()
	if err != nil {
		return nil, err
	}
	for _, t := range c.tasks {
		if *t.TaskId != aws.ToString(in.TaskId) {
			continue
		}
		code := logtypes.ExportTaskStatusCodeCompleted
		switch t.looks++; t.looks {
		case 1:
			code = logtypes.ExportTaskStatusCodePending
		case 2:
			code = logtypes.ExportTaskStatusCodeRunning
		}
		if t.Status != nil { // cancelled
			code = t.Status.Code
		}
		shown := t.ExportTask
		shown.Status = &logtypes.ExportTaskStatus{Code: code, Message: aws.String("as told")}
		return &cloudwatchlogs.DescribeExportTasksOutput{ExportTasks: []logtypes.ExportTask{shown}}, nil
	}
	return nil, Fault("ResourceNotFoundException", "The specified export task does not exist.")
}

func (c *Cloud) CancelExportTask(_ context.Context, in *cloudwatchlogs.CancelExportTaskInput, _ ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.CancelExportTaskOutput, error) {
	unlock, err := c.begin("CancelExportTask")
	defer unlock()
	if err != nil {
		return nil, err
	}
	for _, t := range c.tasks {
		if *t.TaskId == *in.TaskId {
			t.Status = &logtypes.ExportTaskStatus{Code: logtypes.ExportTaskStatusCodeCancelled}
		}
	}
	return &cloudwatchlogs.CancelExportTaskOutput{}, nil
}
