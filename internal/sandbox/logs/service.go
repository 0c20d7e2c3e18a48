// Package logs is the region's CloudWatch Logs: groups with retention, streams,
// events that can be read and searched, metric filters and tags.
//
// Events are lines of files, one file per stream, which are appended to and read
// as they are asked for, so that memory does not grow with the logs. Groups,
// streams and filters are rows of tables. Start at [New]; events.go has the way
// of an event, index.go how one is found.
package logs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// A Service is the logs of a region. It is safe for concurrent use.
type Service struct {
	id  *region.Identity
	dir string
	now func() time.Time

	objects Objects // nil: no exports
	metrics Metrics // nil: metric filters are only kept

	mu      sync.Mutex // held over every change, and while files are appended to
	groups  *store.Table[group]
	streams *store.Table[stream]
	filters *store.Table[filter]
	exports *store.Table[exportTask]
	indexes map[string]index // by a stream's file; guarded by mu
}

// An Option connects logs to another service.
type Option func(*Service)

// WithObjects lets logs be exported to S3.
func WithObjects(o Objects) Option { return func(s *Service) { s.objects = o } }

// WithMetrics lets metric filters make metrics.
func WithMetrics(m Metrics) Option { return func(s *Service) { s.metrics = m } }

// A group is a row; its key is its name.
type group struct {
	Name      string
	Created   int64 // milliseconds, as all times here
	Retention int32 // days; 0 for ever
	Class     types.LogGroupClass
	KMSKey    string            `json:",omitempty"`
	Tags      map[string]string `json:",omitempty"`
}

// A stream is a row; its key is streamKey.
type stream struct {
	Group, Name             string
	File                    string // in the service's folder
	Created                 int64
	Events, Bytes           int64
	First, Last, LastIngest int64 // 0: no event yet
}

// A filter is a row; its key is streamKey(group, name).
type filter struct {
	Group, Name, Pattern string
	Created              int64
	Transformations      []types.MetricTransformation
}

// New opens the region's logs. Events are kept below dir. Exports that an earlier
// process began are finished.
func New(db *store.DB, id *region.Identity, dir string, options ...Option) (*Service, error) {
	s := &Service{id: id, dir: dir, now: time.Now, indexes: map[string]index{}}
	for _, o := range options {
		o(s)
	}
	if err := errors.Join(
		store.OpenTable(db, "logs.groups", &s.groups),
		store.OpenTable(db, "logs.streams", &s.streams),
		store.OpenTable(db, "logs.filters", &s.filters),
		store.OpenTable(db, "logs.exports", &s.exports),
	); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("log events: %w", err)
	}
	if err := s.sweep(); err != nil {
		return nil, fmt.Errorf("log events in %s: %w", dir, err)
	}
	for _, t := range s.exports.All() {
		if t.active() && s.objects != nil {
			go s.export(*t.Task.TaskId)
		}
	}
	return s, nil
}

// sweep removes files and rows that a killed process left without their stream
// or group.
func (s *Service) sweep() error {
	used := map[string]bool{}
	for _, st := range s.streams.All() {
		if _, ok := s.groups.Get(st.Group); !ok {
			if err := s.streams.Delete(streamKey(st.Group, st.Name)); err != nil {
				return err
			}
			continue
		}
		used[st.File] = true
	}
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if !used[f.Name()] {
			if err := os.Remove(filepath.Join(s.dir, f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// streamKey joins names so that a group's rows are neighbours. Names have no
// line feeds (their patterns forbid them).
func streamKey(group, name string) string { return group + "\n" + name }

func (s *Service) arn(group string) *string {
	return aws.String(s.id.ARN("logs", "log-group:"+group+":*"))
}

// groupOf returns the group that a request names, by name or by ARN.
func (s *Service) groupOf(name, identifier *string) (group, error) {
	n := aws.ToString(name)
	if n == "" {
		n = aws.ToString(identifier)
	}
	if _, rest, ok := strings.Cut(n, ":log-group:"); ok {
		n = strings.TrimSuffix(rest, ":*")
	}
	g, ok := s.groups.Get(n)
	if !ok {
		return g, wire.Errorf("ResourceNotFoundException", "The specified log group does not exist.")
	}
	return g, nil
}

// CreateLogGroup makes a group.
func (s *Service) CreateLogGroup(_ context.Context, in *cloudwatchlogs.CreateLogGroupInput) (*cloudwatchlogs.CreateLogGroupOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	class := in.LogGroupClass
	if class == "" {
		class = types.LogGroupClassStandard
	}
	g := group{Name: aws.ToString(in.LogGroupName), Created: s.now().UnixMilli(), Class: class, KMSKey: aws.ToString(in.KmsKeyId), Tags: in.Tags}
	fresh, err := s.groups.Insert(g.Name, g)
	if err != nil {
		return nil, err
	}
	if !fresh {
		return nil, wire.Errorf("ResourceAlreadyExistsException", "The specified log group already exists")
	}
	return &cloudwatchlogs.CreateLogGroupOutput{}, nil
}

// DeleteLogGroup deletes a group with its streams, events and filters.
func (s *Service) DeleteLogGroup(_ context.Context, in *cloudwatchlogs.DeleteLogGroupInput) (*cloudwatchlogs.DeleteLogGroupOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.groupOf(in.LogGroupName, nil)
	if err != nil {
		return nil, err
	}
	for _, st := range s.streamsOf(g.Name) {
		if err := s.deleteStream(st); err != nil {
			return nil, err
		}
	}
	for _, f := range s.filters.All() {
		if f.Group == g.Name {
			if err := s.filters.Delete(streamKey(f.Group, f.Name)); err != nil {
				return nil, err
			}
		}
	}
	return &cloudwatchlogs.DeleteLogGroupOutput{}, s.groups.Delete(g.Name)
}

func (s *Service) streamsOf(group string) []stream {
	var list []stream
	for _, st := range s.streams.All() {
		if st.Group == group {
			list = append(list, st)
		}
	}
	return list
}

func (s *Service) deleteStream(st stream) error {
	delete(s.indexes, st.File)
	if err := os.Remove(filepath.Join(s.dir, st.File)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return s.streams.Delete(streamKey(st.Group, st.Name))
}

// DescribeLogGroups lists groups by name.
func (s *Service) DescribeLogGroups(_ context.Context, in *cloudwatchlogs.DescribeLogGroupsInput) (*cloudwatchlogs.DescribeLogGroupsOutput, error) {
	if in.LogGroupNamePrefix != nil && in.LogGroupNamePattern != nil {
		return nil, wire.Errorf("InvalidParameterException", "LogGroupNamePrefix and LogGroupNamePattern are mutually exclusive parameters.")
	}
	var rows []group
	for _, g := range s.groups.All() {
		if strings.HasPrefix(g.Name, aws.ToString(in.LogGroupNamePrefix)) &&
			strings.Contains(strings.ToLower(g.Name), strings.ToLower(aws.ToString(in.LogGroupNamePattern))) {
			rows = append(rows, g)
		}
	}
	rows, next, err := page.Of(rows, func(g group) string { return g.Name }, in.NextToken, page.Limit(in.Limit, 50))
	if err != nil {
		return nil, errToken
	}
	out := &cloudwatchlogs.DescribeLogGroupsOutput{LogGroups: []types.LogGroup{}, NextToken: next}
	for _, g := range rows {
		out.LogGroups = append(out.LogGroups, s.describeGroup(g))
	}
	return out, nil
}

func (s *Service) describeGroup(g group) types.LogGroup {
	lg := types.LogGroup{
		LogGroupName: aws.String(g.Name), Arn: s.arn(g.Name), LogGroupArn: aws.String(strings.TrimSuffix(*s.arn(g.Name), ":*")),
		CreationTime: aws.Int64(g.Created), LogGroupClass: g.Class, MetricFilterCount: aws.Int32(0),
	}
	if g.Retention > 0 {
		lg.RetentionInDays = aws.Int32(g.Retention)
	}
	if g.KMSKey != "" {
		lg.KmsKeyId = aws.String(g.KMSKey)
	}
	var stored int64
	for _, st := range s.streamsOf(g.Name) {
		stored += st.Bytes
	}
	lg.StoredBytes = aws.Int64(stored)
	for _, f := range s.filters.All() {
		if f.Group == g.Name {
			*lg.MetricFilterCount++
		}
	}
	return lg
}

// retentions are the days that PutRetentionPolicy takes (its API reference).
var retentions = []int32{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

// PutRetentionPolicy sets after how many days events go.
func (s *Service) PutRetentionPolicy(_ context.Context, in *cloudwatchlogs.PutRetentionPolicyInput) (*cloudwatchlogs.PutRetentionPolicyOutput, error) {
	days := aws.ToInt32(in.RetentionInDays)
	if !slices.Contains(retentions, days) {
		return nil, wire.Errorf("InvalidParameterException", "1 validation error detected: Value '%d' at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set", days)
	}
	return &cloudwatchlogs.PutRetentionPolicyOutput{}, s.updateGroup(in.LogGroupName, func(g *group) { g.Retention = days })
}

// DeleteRetentionPolicy keeps events for ever.
func (s *Service) DeleteRetentionPolicy(_ context.Context, in *cloudwatchlogs.DeleteRetentionPolicyInput) (*cloudwatchlogs.DeleteRetentionPolicyOutput, error) {
	return &cloudwatchlogs.DeleteRetentionPolicyOutput{}, s.updateGroup(in.LogGroupName, func(g *group) { g.Retention = 0 })
}

func (s *Service) updateGroup(name *string, change func(*group)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.groupOf(name, nil)
	if err != nil {
		return err
	}
	_, err = s.groups.Update(g.Name, func(g *group) error { change(g); return nil })
	return err
}

// CreateLogStream makes a stream.
func (s *Service) CreateLogStream(_ context.Context, in *cloudwatchlogs.CreateLogStreamInput) (*cloudwatchlogs.CreateLogStreamOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.groupOf(in.LogGroupName, nil)
	if err != nil {
		return nil, err
	}
	st := stream{Group: g.Name, Name: aws.ToString(in.LogStreamName), File: region.Hex(24), Created: s.now().UnixMilli()}
	fresh, err := s.streams.Insert(streamKey(st.Group, st.Name), st)
	if err != nil {
		return nil, err
	}
	if !fresh {
		return nil, wire.Errorf("ResourceAlreadyExistsException", "The specified log stream already exists")
	}
	return &cloudwatchlogs.CreateLogStreamOutput{}, nil
}

// DeleteLogStream deletes a stream with its events.
func (s *Service) DeleteLogStream(_ context.Context, in *cloudwatchlogs.DeleteLogStreamInput) (*cloudwatchlogs.DeleteLogStreamOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.streamOf(in.LogGroupName, nil, in.LogStreamName)
	if err != nil {
		return nil, err
	}
	return &cloudwatchlogs.DeleteLogStreamOutput{}, s.deleteStream(st)
}

func (s *Service) streamOf(groupName, groupID, name *string) (stream, error) {
	g, err := s.groupOf(groupName, groupID)
	if err != nil {
		return stream{}, err
	}
	st, ok := s.streams.Get(streamKey(g.Name, aws.ToString(name)))
	if !ok {
		return st, wire.Errorf("ResourceNotFoundException", "The specified log stream does not exist.")
	}
	return st, nil
}

// DescribeLogStreams lists the streams of a group, by name or by their last event.
func (s *Service) DescribeLogStreams(_ context.Context, in *cloudwatchlogs.DescribeLogStreamsInput) (*cloudwatchlogs.DescribeLogStreamsOutput, error) {
	g, err := s.groupOf(in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	byTime := in.OrderBy == types.OrderByLastEventTime
	if byTime && in.LogStreamNamePrefix != nil {
		return nil, wire.Errorf("InvalidParameterException", "Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	var rows []stream
	for _, st := range s.streamsOf(g.Name) {
		if strings.HasPrefix(st.Name, aws.ToString(in.LogStreamNamePrefix)) {
			rows = append(rows, st)
		}
	}
	key := func(st stream) string { return st.Name }
	if byTime {
		key = func(st stream) string { return fmt.Sprintf("%020d %s", st.Last, st.Name) }
	}
	if aws.ToBool(in.Descending) {
		ascending := key
		// A page goes on after a key, so keys must ascend: turn their bytes round.
		key = func(st stream) string { return complement(ascending(st)) }
	}
	sort.Slice(rows, func(i, j int) bool { return key(rows[i]) < key(rows[j]) })
	rows, next, err := page.Of(rows, key, in.NextToken, page.Limit(in.Limit, 50))
	if err != nil {
		return nil, errToken
	}
	out := &cloudwatchlogs.DescribeLogStreamsOutput{LogStreams: []types.LogStream{}, NextToken: next}
	for _, st := range rows {
		out.LogStreams = append(out.LogStreams, s.describeStream(st))
	}
	return out, nil
}

// complement reverses the order of texts; the end counts as more than any byte.
func complement(s string) string {
	b := []byte(s)
	for i := range b {
		b[i] = ^b[i]
	}
	return string(append(b, 0xff))
}

func (s *Service) describeStream(st stream) types.LogStream {
	ls := types.LogStream{
		LogStreamName: aws.String(st.Name), CreationTime: aws.Int64(st.Created), StoredBytes: aws.Int64(0), // always 0 since 2019, says AWS
		Arn: aws.String(s.id.ARN("logs", "log-group:"+st.Group+":log-stream:"+st.Name)), UploadSequenceToken: aws.String(fmt.Sprintf("%056d", st.Events+1)),
	}
	if st.Events > 0 {
		ls.FirstEventTimestamp, ls.LastEventTimestamp, ls.LastIngestionTime = aws.Int64(st.First), aws.Int64(st.Last), aws.Int64(st.LastIngest)
	}
	return ls
}

// PutMetricFilter makes or replaces a metric filter, which sees the events that
// come from now on.
func (s *Service) PutMetricFilter(_ context.Context, in *cloudwatchlogs.PutMetricFilterInput) (*cloudwatchlogs.PutMetricFilterOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.groupOf(in.LogGroupName, nil)
	if err != nil {
		return nil, err
	}
	if _, err := parsePattern(aws.ToString(in.FilterPattern)); err != nil {
		return nil, err
	}
	f := filter{Group: g.Name, Name: aws.ToString(in.FilterName), Pattern: aws.ToString(in.FilterPattern), Created: s.now().UnixMilli(), Transformations: in.MetricTransformations}
	return &cloudwatchlogs.PutMetricFilterOutput{}, s.filters.Put(streamKey(f.Group, f.Name), f)
}

// DescribeMetricFilters lists metric filters.
func (s *Service) DescribeMetricFilters(_ context.Context, in *cloudwatchlogs.DescribeMetricFiltersInput) (*cloudwatchlogs.DescribeMetricFiltersOutput, error) {
	if in.LogGroupName != nil {
		if _, err := s.groupOf(in.LogGroupName, nil); err != nil {
			return nil, err
		}
	}
	var rows []filter
	for _, f := range s.filters.All() {
		if (in.LogGroupName == nil || f.Group == *in.LogGroupName) && strings.HasPrefix(f.Name, aws.ToString(in.FilterNamePrefix)) &&
			(in.MetricName == nil || slices.ContainsFunc(f.Transformations, func(t types.MetricTransformation) bool {
				return aws.ToString(t.MetricName) == *in.MetricName && aws.ToString(t.MetricNamespace) == aws.ToString(in.MetricNamespace)
			})) {
			rows = append(rows, f)
		}
	}
	rows, next, err := page.Of(rows, func(f filter) string { return streamKey(f.Group, f.Name) }, in.NextToken, page.Limit(in.Limit, 50))
	if err != nil {
		return nil, errToken
	}
	out := &cloudwatchlogs.DescribeMetricFiltersOutput{MetricFilters: []types.MetricFilter{}, NextToken: next}
	for _, f := range rows {
		out.MetricFilters = append(out.MetricFilters, types.MetricFilter{
			FilterName: aws.String(f.Name), LogGroupName: aws.String(f.Group), FilterPattern: aws.String(f.Pattern),
			CreationTime: aws.Int64(f.Created), MetricTransformations: f.Transformations,
		})
	}
	return out, nil
}

// DeleteMetricFilter deletes a metric filter.
func (s *Service) DeleteMetricFilter(_ context.Context, in *cloudwatchlogs.DeleteMetricFilterInput) (*cloudwatchlogs.DeleteMetricFilterOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.groupOf(in.LogGroupName, nil); err != nil {
		return nil, err
	}
	key := streamKey(aws.ToString(in.LogGroupName), aws.ToString(in.FilterName))
	if _, ok := s.filters.Get(key); !ok {
		return nil, wire.Errorf("ResourceNotFoundException", "The specified metric filter does not exist.")
	}
	return &cloudwatchlogs.DeleteMetricFilterOutput{}, s.filters.Delete(key)
}

// TagResource adds tags to a group, which is named by its ARN.
func (s *Service) TagResource(_ context.Context, in *cloudwatchlogs.TagResourceInput) (*cloudwatchlogs.TagResourceOutput, error) {
	return &cloudwatchlogs.TagResourceOutput{}, s.tag(in.ResourceArn, in.Tags)
}

// TagLogGroup is the older form of TagResource.
func (s *Service) TagLogGroup(_ context.Context, in *cloudwatchlogs.TagLogGroupInput) (*cloudwatchlogs.TagLogGroupOutput, error) {
	return &cloudwatchlogs.TagLogGroupOutput{}, s.tag(in.LogGroupName, in.Tags)
}

func (s *Service) tag(resource *string, tags map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.groupOf(resource, nil)
	if err != nil {
		return err
	}
	_, err = s.groups.Update(g.Name, func(g *group) error {
		merged := maps.Clone(g.Tags)
		if merged == nil {
			merged = map[string]string{}
		}
		maps.Copy(merged, tags)
		g.Tags = merged
		return nil
	})
	return err
}

// UntagResource removes tags from a group.
func (s *Service) UntagResource(_ context.Context, in *cloudwatchlogs.UntagResourceInput) (*cloudwatchlogs.UntagResourceOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.groupOf(in.ResourceArn, nil)
	if err != nil {
		return nil, err
	}
	_, err = s.groups.Update(g.Name, func(g *group) error {
		g.Tags = maps.Clone(g.Tags)
		for _, k := range in.TagKeys {
			delete(g.Tags, k)
		}
		return nil
	})
	return &cloudwatchlogs.UntagResourceOutput{}, err
}

// ListTagsForResource returns the tags of a group.
func (s *Service) ListTagsForResource(_ context.Context, in *cloudwatchlogs.ListTagsForResourceInput) (*cloudwatchlogs.ListTagsForResourceOutput, error) {
	g, err := s.groupOf(in.ResourceArn, nil)
	if err != nil {
		return nil, err
	}
	return &cloudwatchlogs.ListTagsForResourceOutput{Tags: g.Tags}, nil
}

// ListTagsLogGroup is the older form of ListTagsForResource.
func (s *Service) ListTagsLogGroup(_ context.Context, in *cloudwatchlogs.ListTagsLogGroupInput) (*cloudwatchlogs.ListTagsLogGroupOutput, error) {
	g, err := s.groupOf(in.LogGroupName, nil)
	if err != nil {
		return nil, err
	}
	return &cloudwatchlogs.ListTagsLogGroupOutput{Tags: g.Tags}, nil
}

// Register attaches the operations to the API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "CancelExportTask", s.CancelExportTask)
	wire.Handle(m, "CreateExportTask", s.CreateExportTask)
	wire.Handle(m, "CreateLogGroup", s.CreateLogGroup)
	wire.Handle(m, "CreateLogStream", s.CreateLogStream)
	wire.Handle(m, "DeleteLogGroup", s.DeleteLogGroup)
	wire.Handle(m, "DeleteLogStream", s.DeleteLogStream)
	wire.Handle(m, "DeleteMetricFilter", s.DeleteMetricFilter)
	wire.Handle(m, "DeleteRetentionPolicy", s.DeleteRetentionPolicy)
	wire.Handle(m, "DescribeExportTasks", s.DescribeExportTasks)
	wire.Handle(m, "DescribeLogGroups", s.DescribeLogGroups)
	wire.Handle(m, "DescribeLogStreams", s.DescribeLogStreams)
	wire.Handle(m, "DescribeMetricFilters", s.DescribeMetricFilters)
	wire.Handle(m, "FilterLogEvents", s.FilterLogEvents)
	wire.Handle(m, "GetLogEvents", s.GetLogEvents)
	wire.Handle(m, "ListTagsForResource", s.ListTagsForResource)
	wire.Handle(m, "ListTagsLogGroup", s.ListTagsLogGroup)
	wire.Handle(m, "PutLogEvents", s.PutLogEvents)
	wire.Handle(m, "PutMetricFilter", s.PutMetricFilter)
	wire.Handle(m, "PutRetentionPolicy", s.PutRetentionPolicy)
	wire.Handle(m, "TagLogGroup", s.TagLogGroup)
	wire.Handle(m, "TagResource", s.TagResource)
	wire.Handle(m, "UntagResource", s.UntagResource)
}
