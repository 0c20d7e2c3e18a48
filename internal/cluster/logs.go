package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/smithy-go"
)

// LogStreams is one page of log streams (ListClusterLogStreamsResponse,
// ListImageLogStreamsResponse).
type LogStreams struct {
	LogStreams []LogStream `json:"logStreams"`
	NextToken  string      `json:"nextToken,omitempty"`
}

// A LogStream is one log of one machine. Clients want all keys.
type LogStream struct {
	Arn                 string `json:"logStreamArn"`
	CreationTime        Time   `json:"creationTime"`
	Name                string `json:"logStreamName"`
	FirstEventTimestamp Time   `json:"firstEventTimestamp"`
	LastEventTimestamp  Time   `json:"lastEventTimestamp"`
	LastIngestionTime   Time   `json:"lastIngestionTime"`
	UploadSequenceToken string `json:"uploadSequenceToken"`
}

// LogEvents is one page of a log stream (GetClusterLogEventsResponse,
// GetImageLogEventsResponse).
type LogEvents struct {
	NextToken string     `json:"nextToken,omitempty"`
	PrevToken string     `json:"prevToken,omitempty"`
	Events    []LogEvent `json:"events"`
}

// A LogEvent is one line of a log.
type LogEvent struct {
	Message   string `json:"message"`
	Timestamp Time   `json:"timestamp"`
}

// StackEvents is one page of a stack's events, newest first
// (GetClusterStackEventsResponse, GetImageStackEventsResponse).
type StackEvents struct {
	NextToken string         `json:"nextToken,omitempty"`
	Events    []HistoryEvent `json:"events"`
}

// A HistoryEvent is one event of a stack as CloudFormation tells it (StackEvent
// of the API).
type HistoryEvent struct {
	EventID              string `json:"eventId"`
	PhysicalResourceID   string `json:"physicalResourceId"`
	ResourceStatus       string `json:"resourceStatus"`
	ResourceStatusReason string `json:"resourceStatusReason,omitempty"`
	ClientRequestToken   string `json:"clientRequestToken,omitempty"`
	ResourceProperties   string `json:"resourceProperties,omitempty"` // JSON as a string
	StackID              string `json:"stackId"`
	StackName            string `json:"stackName"`
	LogicalResourceID    string `json:"logicalResourceId"`
	ResourceType         string `json:"resourceType"`
	Timestamp            Time   `json:"timestamp"`
}

// A LogFilter selects log streams of a cluster by filters as users write them:
// Name=private-dns-name,Values=ip-10-0-0-5 or Name=node-type,Values=HeadNode.
type LogFilter struct {
	Filters   []string
	NextToken string
}

// logFilter is what one filter looks like.
const logFilter = `Name=(private-dns-name|node-type),Values=[\w\-_.,]+`

// LogFilters is what one or, with blanks between, several filters look like.
var LogFilters = regexp.MustCompile(`^(` + logFilter + `)(\s+` + logFilter + `)*$`)

var oneLogFilter = regexp.MustCompile(`^(` + logFilter + `)$`)

// ListLogStreams returns one page of a cluster's log streams.
func (o *Operator) ListLogStreams(ctx context.Context, cluster string, f LogFilter) (*LogStreams, error) {
	for _, filter := range f.Filters {
		if !oneLogFilter.MatchString(filter) {
			return nil, badRequest("provided filters parameter '%s' must be in the form %s.", filter, oneLogFilter)
		}
	}
	s, err := o.clusterStack(ctx, cluster)
	if err != nil {
		return nil, err
	}
	group := s.parameter(parameterLogGroup)
	if group == "" {
		return nil, loggingIsOff(http.StatusBadRequest, cluster)
	}
	prefix, err := o.streamPrefix(ctx, cluster, f.Filters)
	if err != nil {
		return nil, err
	}
	streams, err := ReadLogStreams(ctx, o.Logs, group, prefix, f.NextToken)
	if kindOf(err) == missing {
		return nil, loggingIsOff(http.StatusNotFound, cluster)
	}
	return streams, err
}

func loggingIsOff(status int, cluster string) *Error {
	message := "CloudWatch logging is not enabled for cluster " + cluster + "."
	if status == http.StatusBadRequest {
		return badRequest("%s", message)
	}
	return refuse(status, "%s", message)
}

// streamPrefix returns the prefix that the names of the log streams have which
// filters select: CloudWatch Logs knows no other way to select them.
func (o *Operator) streamPrefix(ctx context.Context, cluster string, filters []string) (string, error) {
	dns, nodeType, err := parseLogFilters(filters)
	if err != nil || nodeType == "" {
		return dns, err
	}
	head, ok, err := o.headNode(ctx, cluster)
	if err != nil {
		return "", fmt.Errorf("head node of cluster %s: %w", cluster, err)
	}
	if !ok {
		return "", badRequest("HeadNode instance not available. Node Type filter cannot be used.")
	}
	label, _, _ := strings.Cut(aws.ToString(head.PrivateDnsName), ".")
	return label, nil
}

func parseLogFilters(filters []string) (dns, nodeType string, _ error) {
	for _, filter := range strings.Fields(strings.Join(filters, " ")) {
		name, value, _ := strings.Cut(strings.TrimPrefix(filter, "Name="), ",Values=")
		if strings.Contains(value, ",") {
			return "", "", badRequest("Filter %s doesn't accept comma separated strings as value.", name)
		}
		switch name {
		case "private-dns-name":
			dns = value
		case "node-type":
			nodeType = value
		}
	}
	switch {
	case nodeType != "" && nodeType != NodeTypeHead:
		return "", "", badRequest("The only accepted value for Node Type filter is 'HeadNode'.")
	case nodeType != "" && dns != "":
		return "", "", badRequest("Private DNS Name and Node Type filters cannot be set at the same time.")
	}
	return dns, nodeType, nil
}

// ReadLogStreams returns one page of the streams of a log group whose names have
// a prefix. Times that a stream without events does not have are those of its
// creation, for clients want them all.
func ReadLogStreams(ctx context.Context, logs Logs, group, prefix, token string) (*LogStreams, error) {
	in := &cloudwatchlogs.DescribeLogStreamsInput{LogGroupName: &group}
	if prefix != "" {
		in.LogStreamNamePrefix = &prefix
	}
	if token != "" {
		in.NextToken = &token
	}
	out, err := logs.DescribeLogStreams(ctx, in)
	if err != nil {
		return nil, err
	}
	page := &LogStreams{LogStreams: []LogStream{}, NextToken: aws.ToString(out.NextToken)}
	for _, s := range out.LogStreams {
		page.LogStreams = append(page.LogStreams, LogStream{
			Arn:                 aws.ToString(s.Arn),
			CreationTime:        milliseconds(s.CreationTime),
			Name:                aws.ToString(s.LogStreamName),
			FirstEventTimestamp: milliseconds(s.FirstEventTimestamp, s.CreationTime),
			LastEventTimestamp:  milliseconds(s.LastEventTimestamp, s.CreationTime),
			LastIngestionTime:   milliseconds(s.LastIngestionTime, s.CreationTime),
			UploadSequenceToken: aws.ToString(s.UploadSequenceToken),
		})
	}
	return page, nil
}

// milliseconds returns the first of the times that is there.
func milliseconds(times ...*int64) Time {
	for _, t := range times {
		if t != nil {
			return Time{time.UnixMilli(*t)}
		}
	}
	return Time{}
}

// A LogQuery says what to read of a log stream. Times are in ISO 8601, the start
// inclusive, the end exclusive.
type LogQuery struct {
	Stream        string
	NextToken     string
	StartFromHead bool
	Limit         int // 0: as many events as fit
	StartTime     string
	EndTime       string
}

// input returns the query as CloudWatch Logs takes it, or what is wrong with it.
func (q LogQuery) input(group string) (*cloudwatchlogs.GetLogEventsInput, error) {
	in := &cloudwatchlogs.GetLogEventsInput{LogGroupName: &group, LogStreamName: &q.Stream, StartFromHead: &q.StartFromHead}
	var err error
	if in.StartTime, err = queryTime("start_time", q.StartTime); err != nil {
		return nil, err
	}
	if in.EndTime, err = queryTime("end_time", q.EndTime); err != nil {
		return nil, err
	}
	if in.StartTime != nil && in.EndTime != nil && *in.StartTime >= *in.EndTime {
		return nil, badRequest("start_time filter must be earlier than end_time filter.")
	}
	switch {
	case q.Limit < 0 || q.Limit > 1<<31-1:
		return nil, badRequest("'limit' must be a positive integer.")
	case q.Limit > 0:
		in.Limit = aws.Int32(int32(q.Limit))
	}
	if q.NextToken != "" {
		in.NextToken = &q.NextToken
	}
	return in, nil
}

// TimeForms says what times look like, for messages.
const TimeForms = "in the ISO 8601 format: YYYY-MM-DDThh:mm:ssZ. (e.g. 1984-09-15T19:20:30Z or 1984-09-15)."

func queryTime(name, text string) (*int64, error) {
	if text == "" {
		return nil, nil
	}
	t, ok := ParseTime(text)
	if !ok {
		return nil, badRequest("%s filter must be %s", name, TimeForms)
	}
	return aws.Int64(t.UnixMilli()), nil
}

// The forms of ISO 8601 that [ParseTime] knows; seconds may have a fraction.
var (
	isoDate = []string{"2006-01-02", "20060102"}
	isoTime = []string{"15:04:05", "15:04", "15", "150405", "1504"}
	isoZone = []string{"", "Z07:00", "Z0700", "Z07"}
)

// ParseTime reads a date or a date and time in ISO 8601. Without an offset, it is
// in UTC; elements may be missing from the right.
func ParseTime(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	for _, date := range isoDate {
		if t, err := time.Parse(date, s); err == nil {
			return t, true
		}
		for _, separator := range []string{"T", " "} {
			for _, clock := range isoTime {
				for _, zone := range isoZone {
					if t, err := time.Parse(date+separator+clock+zone, s); err == nil {
						return t.UTC(), true
					}
				}
			}
		}
	}
	return time.Time{}, false
}

// GetLogEvents returns one page of a cluster's log stream.
func (o *Operator) GetLogEvents(ctx context.Context, cluster string, q LogQuery) (*LogEvents, error) {
	if _, err := q.input(""); err != nil {
		return nil, err
	}
	s, err := o.clusterStack(ctx, cluster)
	if err != nil {
		return nil, err
	}
	group := s.parameter(parameterLogGroup)
	if group == "" {
		return nil, loggingIsOff(http.StatusBadRequest, cluster)
	}
	events, err := ReadLogEvents(ctx, o.Logs, group, q)
	if kindOf(err) == missing {
		if MissingStream(err) {
			return nil, refuse(http.StatusNotFound, "The specified log stream %s does not exist.", q.Stream)
		}
		return nil, loggingIsOff(http.StatusNotFound, cluster)
	}
	return events, err
}

// MissingStream reports whether an error of [ReadLogEvents] says that there is a
// group, but not that stream: both have the same code.
func MissingStream(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && kindOf(err) == missing && strings.HasPrefix(api.ErrorMessage(), "The specified log stream")
}

// ReadLogEvents returns one page of a log stream.
func ReadLogEvents(ctx context.Context, logs Logs, group string, q LogQuery) (*LogEvents, error) {
	in, err := q.input(group)
	if err != nil {
		return nil, err
	}
	out, err := logs.GetLogEvents(ctx, in)
	if err != nil {
		return nil, err
	}
	page := &LogEvents{NextToken: aws.ToString(out.NextForwardToken), PrevToken: aws.ToString(out.NextBackwardToken), Events: []LogEvent{}}
	for _, e := range out.Events {
		page.Events = append(page.Events, logEvent(e))
	}
	return page, nil
}

func logEvent(e logtypes.OutputLogEvent) LogEvent {
	return LogEvent{Message: aws.ToString(e.Message), Timestamp: milliseconds(e.Timestamp)}
}

// GetStackEvents returns one page of the events of a cluster's stack.
func (o *Operator) GetStackEvents(ctx context.Context, cluster, token string) (*StackEvents, error) {
	s, err := o.clusterStack(ctx, cluster)
	if err != nil {
		return nil, err
	}
	return ReadStackEvents(ctx, o.CloudFormation, s.id(), token)
}

// ReadStackEvents returns one page of a stack's events.
func ReadStackEvents(ctx context.Context, cfn CloudFormation, stack, token string) (*StackEvents, error) {
	in := &cloudformation.DescribeStackEventsInput{StackName: &stack}
	if token != "" {
		in.NextToken = &token
	}
	out, err := cfn.DescribeStackEvents(ctx, in)
	if err != nil {
		return nil, err
	}
	page := &StackEvents{NextToken: aws.ToString(out.NextToken), Events: []HistoryEvent{}}
	for _, e := range out.StackEvents {
		page.Events = append(page.Events, HistoryEvent{
			EventID:              aws.ToString(e.EventId),
			PhysicalResourceID:   aws.ToString(e.PhysicalResourceId),
			ResourceStatus:       string(e.ResourceStatus),
			ResourceStatusReason: aws.ToString(e.ResourceStatusReason),
			ClientRequestToken:   aws.ToString(e.ClientRequestToken),
			ResourceProperties:   aws.ToString(e.ResourceProperties),
			StackID:              aws.ToString(e.StackId),
			StackName:            aws.ToString(e.StackName),
			LogicalResourceID:    aws.ToString(e.LogicalResourceId),
			ResourceType:         aws.ToString(e.ResourceType),
			Timestamp:            Time{aws.ToTime(e.Timestamp)},
		})
	}
	return page, nil
}
