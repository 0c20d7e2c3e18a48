package node

import (
	"context"
	"log/slog"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/google/go-cmp/cmp"
)

func TestMemoryInUse(t *testing.T) {
	got, err := memoryUsed([]byte("MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    250 kB\nCached:          150 kB\n"))
	if err != nil || got != 75 {
		t.Errorf("%v, %v, want 75", got, err)
	}
	for _, bad := range []string{"", "MemTotal: 1000 kB\nMemAvailable: 2000 kB\n", "MemAvailable: 1 kB\n"} {
		if got, err := memoryUsed([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}

// metricsOf is a CloudWatch that notes what it gets.
type metricsOf map[string]map[string]string

func (m metricsOf) PutMetricData(_ context.Context, in *cloudwatch.PutMetricDataInput, _ ...func(*cloudwatch.Options)) (*cloudwatch.PutMetricDataOutput, error) {
	for _, d := range in.MetricData {
		of := map[string]string{}
		for _, dim := range d.Dimensions {
			of[*dim.Name] = *dim.Value
		}
		if v := aws.ToFloat64(d.Value); v >= 0 && v <= 100 {
			m[*in.Namespace+" "+*d.MetricName] = of
		}
	}
	return &cloudwatch.PutMetricDataOutput{}, nil
}

func TestTheHeadNodeIsMeasuredAsItsAlarmsAsk(t *testing.T) {
	h, _ := testHost(t)
	put(t, h, "/proc/meminfo", "MemTotal: 4 kB\nMemAvailable: 1 kB\n")
	got := metricsOf{}
	v := &vitals{Host: h, instance: "i-1", api: got, log: slog.New(slog.DiscardHandler)}
	if err := v.measure(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := metricsOf{
		"CWAgent mem_used_percent":  {"InstanceId": "i-1"},
		"CWAgent disk_used_percent": {"InstanceId": "i-1", "path": "/"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
