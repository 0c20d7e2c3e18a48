package cloudwatch

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cw "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire/wiretest"
)

func TestJudge(t *testing.T) {
	const (
		ok, alarm, nodata = types.StateValueOk, types.StateValueAlarm, types.StateValueInsufficientData
		above             = types.ComparisonOperatorGreaterThanThreshold
	)
	for name, tt := range map[string]struct {
		values    []float64
		n, needed int
		missing   string
		was       types.StateValue
		want      types.StateValue
	}{
		"all above":                           {[]float64{2, 3}, 2, 2, "", ok, alarm},
		"one of two needed":                   {[]float64{0, 3}, 2, 1, "", ok, alarm},
		"too few above":                       {[]float64{0, 3}, 2, 2, "", alarm, ok},
		"at the threshold is not above":       {[]float64{1}, 1, 1, "", alarm, ok},
		"no data any more":                    {nil, 2, 2, "", ok, nodata},
		"never had data":                      {nil, 2, 2, "", nodata, ""},
		"missing counts as breaching":         {[]float64{3}, 3, 3, "breaching", ok, alarm},
		"missing counts as fine":              {nil, 1, 1, "notBreaching", nodata, ok},
		"missing is ignored, the state stays": {nil, 1, 1, "ignore", alarm, ""},
	} {
		if got, _ := judge(tt.values, tt.n, tt.needed, 1, above, tt.missing, tt.was); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestRules(t *testing.T) {
	states := map[string]types.StateValue{"a": types.StateValueAlarm, "o k": types.StateValueOk, "i": types.StateValueInsufficientData}
	for text, want := range map[string]bool{
		`ALARM(a)`:                               true,
		`ALARM("o k")`:                           false,
		`OK("o k") AND INSUFFICIENT_DATA(i)`:     true,
		`FALSE OR (ALARM(a) AND NOT ALARM(i))`:   true,
		`NOT (ALARM(a) OR FALSE)`:                false,
		`ALARM(i) OR ALARM("o k") OR ALARM( a )`: true,
		`TRUE AND FALSE OR TRUE`:                 true,
	} {
		r, err := parseRule(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := r.holds(func(n string) types.StateValue { return states[n] }); got != want {
			t.Errorf("%s is %v", text, got)
		}
	}
	for _, text := range []string{"", "ALARM", "ALARM()", "ALARM(a", "ALARM(a) OR", "(TRUE", "TRUE FALSE", "XOR(a)", `ALARM("a)`, "NOT"} {
		if _, err := parseRule(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func TestAlarmFollowsItsMetric(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := store.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	id := region.NewIdentity("", "")
	s, err := New(db, id)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 7, 1, 12, 0, 30, 0, time.UTC)
	s.now = func() time.Time { return now }
	c := cw.NewFromConfig(wiretest.Serve(t, map[string]wiretest.Registrar{"cloudwatch": s}).Config())
	ctx := context.Background()
	dims := []types.Dimension{{Name: aws.String("InstanceId"), Value: aws.String("i-1")}, {Name: aws.String("A"), Value: aws.String("b")}}
	if _, err := c.PutMetricAlarm(ctx, &cw.PutMetricAlarmInput{
		AlarmName: aws.String("disk"), Namespace: aws.String("n"), MetricName: aws.String("used"), Dimensions: dims, Statistic: types.StatisticMaximum,
		Period: aws.Int32(60), EvaluationPeriods: aws.Int32(1), Threshold: aws.Float64(90), ComparisonOperator: types.ComparisonOperatorGreaterThanThreshold,
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutCompositeAlarm(ctx, &cw.PutCompositeAlarmInput{AlarmName: aws.String("node"), AlarmRule: aws.String("ALARM(disk)")}); err != nil {
		t.Fatal(err)
	}
	state := func() []types.StateValue {
		out, err := c.DescribeAlarms(ctx, &cw.DescribeAlarmsInput{AlarmNames: []string{"disk", "node"}})
		if err != nil {
			t.Fatal(err)
		}
		return []types.StateValue{out.MetricAlarms[0].StateValue, out.CompositeAlarms[0].StateValue}
	}
	put := func(v float64) {
		slices.Reverse(dims) // order does not matter
		if _, err := c.PutMetricData(ctx, &cw.PutMetricDataInput{Namespace: aws.String("n"), MetricData: []types.MetricDatum{{
			MetricName: aws.String("used"), Dimensions: dims, Value: &v, Timestamp: aws.Time(now.Add(-time.Minute)),
		}}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := state(); got[0] != types.StateValueInsufficientData || got[1] != types.StateValueOk {
		t.Errorf("without data: %v", got)
	}
	put(95)
	if got := state(); got[0] != types.StateValueAlarm || got[1] != types.StateValueAlarm {
		t.Errorf("at 95: %v", got)
	}
	now = now.Add(time.Minute)
	put(10)
	if got := state(); got[0] != types.StateValueOk || got[1] != types.StateValueOk {
		t.Errorf("at 10: %v", got)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = store.Open(path); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if s, err = New(db, id); err != nil {
		t.Fatal(err)
	}
	out, err := s.DescribeAlarms(ctx, &cw.DescribeAlarmsInput{})
	if err != nil || len(out.MetricAlarms) != 1 || len(out.CompositeAlarms) != 0 || *out.MetricAlarms[0].Threshold != 90 {
		t.Errorf("after a restart: %+v, %v", out, err)
	}
}

func TestMetricsAreForgottenAfterADay(t *testing.T) {
	s, err := New(store.Memory(), region.NewIdentity("", ""))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	s.now = func() time.Time { return now }
	for range 3 * 24 * 60 {
		if _, err := s.PutMetricData(context.Background(), &cw.PutMetricDataInput{Namespace: aws.String("n"), MetricData: []types.MetricDatum{{MetricName: aws.String("m"), Value: aws.Float64(1)}}}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Minute)
	}
	for _, sr := range s.metrics.series {
		if len(sr.buckets) > 24*60+1 {
			t.Errorf("%d buckets are kept", len(sr.buckets))
		}
	}
}

func TestDashboardsAreDeletedTogetherOrNotAtAll(t *testing.T) {
	s, err := New(store.Memory(), region.NewIdentity("", ""))
	if err != nil {
		t.Fatal(err)
	}
	c := cw.NewFromConfig(wiretest.Serve(t, map[string]wiretest.Registrar{"cloudwatch": s}).Config())
	ctx := context.Background()
	if _, err := c.PutDashboard(ctx, &cw.PutDashboardInput{DashboardName: aws.String("d"), DashboardBody: aws.String(`{"widgets":[]}`)}); err != nil {
		t.Fatal(err)
	}
	var missing *types.DashboardNotFoundError
	if _, err := c.DeleteDashboards(ctx, &cw.DeleteDashboardsInput{DashboardNames: []string{"d", "none"}}); !errors.As(err, &missing) {
		t.Errorf("missing dashboard: %v", err)
	}
	if _, err := c.GetDashboard(ctx, &cw.GetDashboardInput{DashboardName: aws.String("d")}); err != nil {
		t.Errorf("the other dashboard: %v", err)
	}
}
