// Package metrics checks that the metrics of a cluster come about: the events that nodes
// really write, as golden files have them, go through the metric filters of the stack's
// golden templates, which a region's CloudWatch Logs evaluates.
package metrics

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/google/go-cmp/cmp"

	"pcluster/internal/sandbox/logs"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
)

const (
	stacks   = "../../../internal/stack/testdata/*.template.json"
	ofFleet  = "../../../internal/fleet/testdata/events.golden"
	ofNodes  = "../../../internal/node/testdata/events.golden"
	logGroup = "/aws/parallelcluster/demo"
)

// sums adds up what is measured, by metric; dimensions are those that each metric has.
type sums struct {
	values     map[string]float64
	dimensions map[string]map[string]string
}

func (s *sums) PutMetricData(_ context.Context, in *cloudwatch.PutMetricDataInput) (*cloudwatch.PutMetricDataOutput, error) {
	for _, d := range in.MetricData {
		s.values[*d.MetricName] += *d.Value
		s.dimensions[*d.MetricName] = map[string]string{}
		for _, dim := range d.Dimensions {
			s.dimensions[*d.MetricName][*dim.Name] = *dim.Value
		}
	}
	return &cloudwatch.PutMetricDataOutput{}, nil
}

// a filter is what templates have of AWS::Logs::MetricFilter.
type filter struct {
	Type       string
	Properties struct {
		FilterPattern         string
		MetricTransformations []struct {
			MetricNamespace, MetricName, MetricValue, Unit string
			Dimensions                                     []struct{ Key, Value string }
		}
	}
}

// filters are those of all golden templates, by metric. All templates have the same.
func filters(t *testing.T) map[string]filter {
	t.Helper()
	files, err := filepath.Glob(stacks)
	if err != nil || len(files) == 0 {
		t.Fatalf("no templates: %v", err)
	}
	out := map[string]filter{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var template struct{ Resources map[string]json.RawMessage }
		if err := json.Unmarshal(data, &template); err != nil {
			t.Fatal(err)
		}
		for id, raw := range template.Resources {
			if !strings.Contains(string(raw), `"AWS::Logs::MetricFilter"`) {
				continue
			}
			var f filter
			if err := json.Unmarshal(raw, &f); err != nil {
				t.Fatalf("%s of %s: %v", id, file, err)
			}
			out[f.Properties.MetricTransformations[0].MetricName] = f
		}
	}
	return out
}

// events are the lines of golden files.
func events(t *testing.T, files ...string) []types.InputLogEvent {
	t.Helper()
	var out []types.InputLogEvent
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "{") {
				out = append(out, types.InputLogEvent{Message: aws.String(lines.Text()), Timestamp: aws.Int64(time.Now().UnixMilli())})
			}
		}
	}
	return out
}

func TestEveryMetricOfAClusterIsMeasured(t *testing.T) {
	db, err := store.Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	got := &sums{values: map[string]float64{}, dimensions: map[string]map[string]string{}}
	s, err := logs.New(db, region.NewIdentity("us-east-2", "671250183987"), t.TempDir(), logs.WithMetrics(got))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateLogGroup(t.Context(), &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String(logGroup)}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateLogStream(t.Context(), &cloudwatchlogs.CreateLogStreamInput{LogGroupName: aws.String(logGroup), LogStreamName: aws.String("s")}); err != nil {
		t.Fatal(err)
	}
	for name, f := range filters(t) {
		in := &cloudwatchlogs.PutMetricFilterInput{LogGroupName: aws.String(logGroup), FilterName: &name, FilterPattern: &f.Properties.FilterPattern}
		for _, m := range f.Properties.MetricTransformations {
			dimensions := map[string]string{}
			for _, d := range m.Dimensions {
				dimensions[d.Key] = d.Value
			}
			in.MetricTransformations = append(in.MetricTransformations, types.MetricTransformation{
				MetricName: &m.MetricName, MetricNamespace: &m.MetricNamespace, MetricValue: &m.MetricValue, Dimensions: dimensions, Unit: types.StandardUnit(m.Unit),
			})
		}
		if _, err := s.PutMetricFilter(t.Context(), in); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if _, err := s.PutLogEvents(t.Context(), &cloudwatchlogs.PutLogEventsInput{
		LogGroupName: aws.String(logGroup), LogStreamName: aws.String("s"), LogEvents: events(t, ofFleet, ofNodes),
	}); err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		"ClustermgtdHeartbeat": 1, "IamPolicyErrors": 1, "VcpuLimitErrors": 1, "VolumeLimitErrors": 1, "InsufficientCapacityErrors": 2,
		"OtherInstanceLaunchFailures": 1, "InstanceBootstrapTimeoutErrors": 2, "EC2HealthCheckErrors": 1, "ScheduledEventHealthCheckErrors": 1,
		"NoCorrespondingInstanceErrors": 1, "SlurmNodeNotRespondingErrors": 1, "MaxDynamicNodeIdleTime": 90, "GpuHealthCheckFailures": 1,
		"OnNodeStartDownloadErrors": 1, "OnNodeStartRunErrors": 1, "OnNodeConfiguredDownloadErrors": 1, "OnNodeConfiguredRunErrors": 1,
	}
	if diff := cmp.Diff(want, got.values); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for name := range filters(t) {
		if _, ok := want[name]; !ok {
			t.Errorf("a filter for %s, which no event is expected for", name)
		}
		dimensions := map[string]string{"ClusterName": "demo"}
		if name == "ClustermgtdHeartbeat" {
			dimensions["InstanceId"] = "i-head"
		}
		if diff := cmp.Diff(dimensions, got.dimensions[name]); diff != "" {
			t.Errorf("dimensions of %s (-want +got):\n%s", name, diff)
		}
	}
}
