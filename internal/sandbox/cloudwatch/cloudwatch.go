// Package cloudwatch is the region's CloudWatch: custom metrics, alarms on them,
// and dashboards. Alarms and dashboards are kept; metrics are in memory, by the
// minute and for a day, and start anew with the daemon. Alarms change their state
// by what the metrics say when somebody looks; their actions do not run.
//
// Where to start: alarms.go for what a stack makes, series.go for metrics.
package cloudwatch

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cw "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// A Service is CloudWatch of a region. It is safe for concurrent use.
type Service struct {
	id  *region.Identity
	now func() time.Time

	mu         sync.Mutex // held over every change of tables
	alarms     *store.Table[alarm]
	dashboards *store.Table[dashboard]
	tags       *store.Table[map[string]string] // by ARN

	metrics metrics
}

type dashboard struct {
	Name     string
	Body     string
	Modified time.Time
}

// New opens the region's alarms and dashboards.
func New(db *store.DB, id *region.Identity) (*Service, error) {
	s := &Service{id: id, now: time.Now, metrics: metrics{series: map[string]*series{}}}
	return s, errors.Join(
		store.OpenTable(db, "cloudwatch.alarms", &s.alarms),
		store.OpenTable(db, "cloudwatch.dashboards", &s.dashboards),
		store.OpenTable(db, "cloudwatch.tags", &s.tags),
	)
}

// Register attaches the operations to the API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "PutMetricData", s.PutMetricData)
	wire.Handle(m, "ListMetrics", s.ListMetrics)
	wire.Handle(m, "GetMetricStatistics", s.GetMetricStatistics)
	wire.Handle(m, "GetMetricData", s.GetMetricData)
	wire.Handle(m, "PutMetricAlarm", s.PutMetricAlarm)
	wire.Handle(m, "PutCompositeAlarm", s.PutCompositeAlarm)
	wire.Handle(m, "DescribeAlarms", s.DescribeAlarms)
	wire.Handle(m, "DescribeAlarmsForMetric", s.DescribeAlarmsForMetric)
	wire.Handle(m, "SetAlarmState", s.SetAlarmState)
	wire.Handle(m, "EnableAlarmActions", s.EnableAlarmActions)
	wire.Handle(m, "DisableAlarmActions", s.DisableAlarmActions)
	wire.Handle(m, "DeleteAlarms", s.DeleteAlarms)
	wire.Handle(m, "PutDashboard", s.PutDashboard)
	wire.Handle(m, "GetDashboard", s.GetDashboard)
	wire.Handle(m, "ListDashboards", s.ListDashboards)
	wire.Handle(m, "DeleteDashboards", s.DeleteDashboards)
	wire.Handle(m, "TagResource", s.TagResource)
	wire.Handle(m, "UntagResource", s.UntagResource)
	wire.Handle(m, "ListTagsForResource", s.ListTagsForResource)
}

func badValue(format string, args ...any) error {
	return wire.Errorf("InvalidParameterValue", format, args...)
}

func (s *Service) dashboardARN(name string) string {
	return s.id.GlobalARN("cloudwatch", "dashboard/"+name)
}

func dashboardMissing(name string) error {
	return &wire.Error{Code: "DashboardNotFoundError", Message: "Dashboard " + name + " does not exist", Status: http.StatusNotFound}
}

// PutDashboard makes or replaces a dashboard.
func (s *Service) PutDashboard(_ context.Context, in *cw.PutDashboardInput) (*cw.PutDashboardOutput, error) {
	name := aws.ToString(in.DashboardName)
	if name == "" || len(name) > 255 || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return nil, wire.Errorf("DashboardInvalidInputError", "The dashboard name %q is invalid: it may have letters, digits, - and _", name)
	}
	var body struct{ Widgets []any }
	if err := json.Unmarshal([]byte(aws.ToString(in.DashboardBody)), &body); err != nil {
		return nil, wire.Errorf("DashboardInvalidInputError", "The field DashboardBody must be a valid JSON object: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, exists := s.dashboards.Get(name)
	if err := s.dashboards.Put(name, dashboard{name, *in.DashboardBody, s.now()}); err != nil {
		return nil, err
	}
	if !exists && len(in.Tags) > 0 {
		if err := s.tag(s.dashboardARN(name), in.Tags); err != nil {
			return nil, err
		}
	}
	return &cw.PutDashboardOutput{DashboardValidationMessages: []types.DashboardValidationMessage{}}, nil
}

// GetDashboard returns a dashboard.
func (s *Service) GetDashboard(_ context.Context, in *cw.GetDashboardInput) (*cw.GetDashboardOutput, error) {
	d, ok := s.dashboards.Get(aws.ToString(in.DashboardName))
	if !ok {
		return nil, dashboardMissing(aws.ToString(in.DashboardName))
	}
	return &cw.GetDashboardOutput{DashboardName: &d.Name, DashboardBody: &d.Body, DashboardArn: aws.String(s.dashboardARN(d.Name))}, nil
}

// ListDashboards lists dashboards by name.
func (s *Service) ListDashboards(_ context.Context, in *cw.ListDashboardsInput) (*cw.ListDashboardsOutput, error) {
	var found []dashboard
	for _, d := range s.dashboards.All() {
		if strings.HasPrefix(d.Name, aws.ToString(in.DashboardNamePrefix)) {
			found = append(found, d)
		}
	}
	rows, next, err := page.Of(found, func(d dashboard) string { return d.Name }, in.NextToken, 1000)
	if err != nil {
		return nil, wire.Errorf("InvalidParameterValue", "NextToken is invalid")
	}
	out := &cw.ListDashboardsOutput{NextToken: next}
	for _, d := range rows {
		out.DashboardEntries = append(out.DashboardEntries, types.DashboardEntry{
			DashboardName: aws.String(d.Name), DashboardArn: aws.String(s.dashboardARN(d.Name)), LastModified: aws.Time(d.Modified), Size: aws.Int64(int64(len(d.Body))),
		})
	}
	return out, nil
}

// DeleteDashboards deletes all the named dashboards, or none if one is missing.
func (s *Service) DeleteDashboards(_ context.Context, in *cw.DeleteDashboardsInput) (*cw.DeleteDashboardsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range in.DashboardNames {
		if _, ok := s.dashboards.Get(name); !ok {
			return nil, dashboardMissing(name)
		}
	}
	for _, name := range in.DashboardNames {
		if err := errors.Join(s.dashboards.Delete(name), s.tags.Delete(s.dashboardARN(name))); err != nil {
			return nil, err
		}
	}
	return &cw.DeleteDashboardsOutput{}, nil
}

func (s *Service) tag(arn string, list []types.Tag) error {
	old, _ := s.tags.Get(arn)
	tags := maps.Clone(old)
	if tags == nil {
		tags = map[string]string{}
	}
	for _, t := range list {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return s.tags.Put(arn, tags)
}

// taggable refuses the ARNs of what does not exist.
func (s *Service) taggable(arn string) error {
	if _, name, ok := strings.Cut(arn, ":alarm:"); ok && arn == s.alarmARN(name) {
		if _, exists := s.alarms.Get(name); exists {
			return nil
		}
	}
	if _, name, ok := strings.Cut(arn, ":dashboard/"); ok {
		if _, exists := s.dashboards.Get(name); exists && arn == s.dashboardARN(name) {
			return nil
		}
	}
	return &wire.Error{Code: "ResourceNotFoundException", Message: "Unknown resource " + arn, Status: http.StatusNotFound}
}

// TagResource adds or replaces tags.
func (s *Service) TagResource(_ context.Context, in *cw.TagResourceInput) (*cw.TagResourceOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.taggable(aws.ToString(in.ResourceARN)); err != nil {
		return nil, err
	}
	return &cw.TagResourceOutput{}, s.tag(*in.ResourceARN, in.Tags)
}

// UntagResource removes tags.
func (s *Service) UntagResource(_ context.Context, in *cw.UntagResourceInput) (*cw.UntagResourceOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.taggable(aws.ToString(in.ResourceARN)); err != nil {
		return nil, err
	}
	old, ok := s.tags.Get(*in.ResourceARN)
	if !ok {
		return &cw.UntagResourceOutput{}, nil
	}
	tags := maps.Clone(old)
	for _, k := range in.TagKeys {
		delete(tags, k)
	}
	return &cw.UntagResourceOutput{}, s.tags.Put(*in.ResourceARN, tags)
}

// ListTagsForResource lists tags.
func (s *Service) ListTagsForResource(_ context.Context, in *cw.ListTagsForResourceInput) (*cw.ListTagsForResourceOutput, error) {
	if err := s.taggable(aws.ToString(in.ResourceARN)); err != nil {
		return nil, err
	}
	tags, _ := s.tags.Get(*in.ResourceARN)
	out := &cw.ListTagsForResourceOutput{Tags: []types.Tag{}}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out.Tags = append(out.Tags, types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return out, nil
}
