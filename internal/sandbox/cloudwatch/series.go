package cloudwatch

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cw "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/wire"
)

// metrics holds what was measured, by metric and minute.
type metrics struct {
	mu     sync.Mutex
	series map[string]*series
}

const (
	keepMetrics = 24 * time.Hour
	minute      = 60 // seconds, the resolution
)

type series struct {
	namespace, name string
	dimensions      []types.Dimension // sorted by name
	buckets         []bucket          // sorted by time, then unit
}

// A bucket is what was measured in a minute, or in a longer period.
type bucket struct {
	at                   int64 // Unix seconds, start
	unit                 types.StandardUnit
	count, sum, min, max float64
}

func (b *bucket) add(o bucket) {
	if b.count == 0 {
		b.min, b.max = o.min, o.max
	}
	b.count, b.sum, b.min, b.max = b.count+o.count, b.sum+o.sum, min(b.min, o.min), max(b.max, o.max)
}

// stat returns one of CloudWatch's statistics.
func (b *bucket) stat(name string) (float64, bool) {
	switch name {
	case "SampleCount":
		return b.count, true
	case "Sum":
		return b.sum, true
	case "Minimum":
		return b.min, true
	case "Maximum":
		return b.max, true
	case "Average":
		return b.sum / b.count, true
	}
	return 0, false // percentiles need what we do not keep
}

func sortedDimensions(list []types.Dimension) []types.Dimension {
	out := slices.Clone(list)
	slices.SortFunc(out, func(a, b types.Dimension) int { return strings.Compare(aws.ToString(a.Name), aws.ToString(b.Name)) })
	return out
}

func seriesKey(namespace, name string, sorted []types.Dimension) string {
	var b strings.Builder
	b.WriteString(namespace + "\x00" + name)
	for _, d := range sorted {
		b.WriteString("\x00" + aws.ToString(d.Name) + "\x01" + aws.ToString(d.Value))
	}
	return b.String()
}

// PutMetricData takes measurements.
func (s *Service) PutMetricData(_ context.Context, in *cw.PutMetricDataInput) (*cw.PutMetricDataOutput, error) {
	data := slices.Clone(in.MetricData)
	for _, e := range in.EntityMetricData {
		data = append(data, e.MetricData...)
	}
	if strings.HasPrefix(aws.ToString(in.Namespace), "AWS/") {
		return nil, badValue("The value AWS/ for parameter Namespace is invalid: it is reserved")
	}
	if len(data) == 0 {
		return nil, wire.Errorf("MissingParameter", "The parameter MetricData is required.")
	}
	now := s.now()
	buckets := make([][]bucket, len(data))
	for i, d := range data {
		b, err := bucketsOf(d, now)
		if err != nil {
			return nil, err
		}
		buckets[i] = b
	}
	s.metrics.mu.Lock()
	defer s.metrics.mu.Unlock()
	for i, d := range data {
		dims := sortedDimensions(d.Dimensions)
		key := seriesKey(*in.Namespace, *d.MetricName, dims)
		sr := s.metrics.series[key]
		if sr == nil {
			sr = &series{namespace: *in.Namespace, name: *d.MetricName, dimensions: dims}
			s.metrics.series[key] = sr
		}
		for _, b := range buckets[i] {
			sr.add(b)
		}
		sr.forget(now.Add(-keepMetrics).Unix())
	}
	return &cw.PutMetricDataOutput{}, nil
}

func bucketsOf(d types.MetricDatum, now time.Time) ([]bucket, error) {
	at := now
	if d.Timestamp != nil {
		at = *d.Timestamp
	}
	if at.After(now.Add(2*time.Hour)) || at.Before(now.Add(-14*24*time.Hour)) {
		return nil, badValue("The parameter MetricData.member.Timestamp %s must specify a time no more than two hours in the future and two weeks in the past.", at.UTC().Format(time.RFC3339))
	}
	start := bucket{at: at.Unix() - at.Unix()%minute, unit: cmp.Or(d.Unit, types.StandardUnitNone)}
	var out []bucket
	one := func(v, count float64) {
		b := start
		b.count, b.sum, b.min, b.max = count, v*count, v, v
		out = append(out, b)
	}
	switch {
	case d.StatisticValues != nil:
		v := d.StatisticValues
		b := start
		b.count, b.sum, b.min, b.max = aws.ToFloat64(v.SampleCount), aws.ToFloat64(v.Sum), aws.ToFloat64(v.Minimum), aws.ToFloat64(v.Maximum)
		if b.count <= 0 {
			return nil, badValue("The parameter MetricData.member.StatisticValues.SampleCount must be greater than 0.")
		}
		out = append(out, b)
	case len(d.Values) > 0:
		if len(d.Counts) > 0 && len(d.Counts) != len(d.Values) {
			return nil, badValue("The parameters MetricData.member.Values and MetricData.member.Counts must be of the same size.")
		}
		for i, v := range d.Values {
			count := 1.0
			if len(d.Counts) > 0 {
				count = d.Counts[i]
			}
			one(v, count)
		}
	case d.Value != nil:
		one(*d.Value, 1)
	default:
		return nil, wire.Errorf("MissingParameter", "At least one of the parameters MetricData.member.Value, Values and StatisticValues must be specified.")
	}
	return out, nil
}

func compareBuckets(a, b bucket) int {
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.unit, b.unit))
}

func (sr *series) add(b bucket) {
	i, found := slices.BinarySearchFunc(sr.buckets, b, compareBuckets)
	if found {
		sr.buckets[i].add(b)
		return
	}
	sr.buckets = slices.Insert(sr.buckets, i, b)
}

func (sr *series) forget(before int64) {
	if i, _ := slices.BinarySearchFunc(sr.buckets, bucket{at: before}, compareBuckets); i > 0 {
		sr.buckets = slices.Delete(sr.buckets, 0, i)
	}
}

// query returns a metric's measurements from start to before end, in periods of
// so many seconds.
func (m *metrics) query(namespace, name string, dimensions []types.Dimension, start, end, period int64, unit types.StandardUnit) []bucket {
	m.mu.Lock()
	defer m.mu.Unlock()
	sr := m.series[seriesKey(namespace, name, sortedDimensions(dimensions))]
	if sr == nil {
		return nil
	}
	start -= start % period
	found := map[bucket]*bucket{} // by time and unit
	for _, b := range sr.buckets {
		if b.at < start || b.at >= end || unit != "" && b.unit != unit {
			continue
		}
		slot := bucket{at: b.at - b.at%period, unit: b.unit}
		if found[slot] == nil {
			sum := slot
			found[slot] = &sum
		}
		found[slot].add(b)
	}
	out := make([]bucket, 0, len(found))
	for _, b := range found {
		out = append(out, *b)
	}
	slices.SortFunc(out, compareBuckets)
	return out
}

// ListMetrics lists what has been measured lately.
func (s *Service) ListMetrics(_ context.Context, in *cw.ListMetricsInput) (*cw.ListMetricsOutput, error) {
	s.metrics.mu.Lock()
	defer s.metrics.mu.Unlock()
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(s.metrics.series)) {
		sr := s.metrics.series[key]
		if in.Namespace != nil && sr.namespace != *in.Namespace || in.MetricName != nil && sr.name != *in.MetricName || !sr.has(in.Dimensions) {
			continue
		}
		keys = append(keys, key)
	}
	rows, next, err := page.Of(keys, func(k string) string { return k }, in.NextToken, 500)
	if err != nil {
		return nil, badValue("NextToken is invalid")
	}
	out := &cw.ListMetricsOutput{NextToken: next, Metrics: []types.Metric{}}
	for _, key := range rows {
		sr := s.metrics.series[key]
		out.Metrics = append(out.Metrics, types.Metric{Namespace: aws.String(sr.namespace), MetricName: aws.String(sr.name), Dimensions: append([]types.Dimension{}, sr.dimensions...)})
	}
	return out, nil
}

func (sr *series) has(filters []types.DimensionFilter) bool {
	for _, f := range filters {
		if !slices.ContainsFunc(sr.dimensions, func(d types.Dimension) bool {
			return aws.ToString(d.Name) == aws.ToString(f.Name) && (f.Value == nil || aws.ToString(d.Value) == *f.Value)
		}) {
			return false
		}
	}
	return true
}

func checkPeriod(period int32, start, end *time.Time) error {
	switch {
	case period <= 0 || period%minute != 0:
		return badValue("The parameter Period must be a multiple of %d.", minute)
	case !end.After(*start):
		return badValue("The parameter StartTime must be less than the parameter EndTime.")
	}
	return nil
}

// GetMetricStatistics returns statistics of one metric.
func (s *Service) GetMetricStatistics(_ context.Context, in *cw.GetMetricStatisticsInput) (*cw.GetMetricStatisticsOutput, error) {
	if len(in.ExtendedStatistics) > 0 {
		return nil, badValue("The sandbox does not keep what percentiles need: ExtendedStatistics is not available.")
	}
	if len(in.Statistics) == 0 {
		return nil, wire.Errorf("MissingParameter", "Must specify either Statistics or ExtendedStatistics")
	}
	if err := checkPeriod(*in.Period, in.StartTime, in.EndTime); err != nil {
		return nil, err
	}
	out := &cw.GetMetricStatisticsOutput{Label: in.MetricName, Datapoints: []types.Datapoint{}}
	for _, b := range s.metrics.query(*in.Namespace, *in.MetricName, in.Dimensions, in.StartTime.Unix(), in.EndTime.Unix(), int64(*in.Period), in.Unit) {
		p := types.Datapoint{Timestamp: aws.Time(time.Unix(b.at, 0).UTC()), Unit: b.unit}
		for _, stat := range in.Statistics {
			v, _ := b.stat(string(stat))
			switch stat {
			case types.StatisticSampleCount:
				p.SampleCount = &v
			case types.StatisticSum:
				p.Sum = &v
			case types.StatisticMinimum:
				p.Minimum = &v
			case types.StatisticMaximum:
				p.Maximum = &v
			case types.StatisticAverage:
				p.Average = &v
			}
		}
		out.Datapoints = append(out.Datapoints, p)
	}
	return out, nil
}

// GetMetricData returns statistics of several metrics, without metric math.
func (s *Service) GetMetricData(_ context.Context, in *cw.GetMetricDataInput) (*cw.GetMetricDataOutput, error) {
	out := &cw.GetMetricDataOutput{MetricDataResults: []types.MetricDataResult{}, Messages: []types.MessageData{}}
	for _, q := range in.MetricDataQueries {
		if q.MetricStat == nil || q.MetricStat.Metric == nil {
			return nil, badValue("The sandbox has no metric math: query %s must have a MetricStat.", aws.ToString(q.Id))
		}
		st, m := q.MetricStat, q.MetricStat.Metric
		if err := checkPeriod(aws.ToInt32(st.Period), in.StartTime, in.EndTime); err != nil {
			return nil, err
		}
		label := q.Label
		if label == nil {
			label = m.MetricName
		}
		res := types.MetricDataResult{Id: q.Id, Label: label, StatusCode: types.StatusCodeComplete, Timestamps: []time.Time{}, Values: []float64{}}
		for _, b := range s.metrics.query(aws.ToString(m.Namespace), aws.ToString(m.MetricName), m.Dimensions, in.StartTime.Unix(), in.EndTime.Unix(), int64(*st.Period), st.Unit) {
			v, ok := b.stat(aws.ToString(st.Stat))
			if !ok {
				return nil, badValue("The sandbox does not have the statistic %s.", aws.ToString(st.Stat))
			}
			res.Timestamps, res.Values = append(res.Timestamps, time.Unix(b.at, 0).UTC()), append(res.Values, v)
		}
		if in.ScanBy != types.ScanByTimestampAscending {
			slices.Reverse(res.Timestamps)
			slices.Reverse(res.Values)
		}
		if q.ReturnData == nil || *q.ReturnData {
			out.MetricDataResults = append(out.MetricDataResults, res)
		}
	}
	return out, nil
}
