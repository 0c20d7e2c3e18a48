package logs

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
)

// Metrics takes what metric filters make of events; package cloudwatch has it.
type Metrics interface {
	PutMetricData(context.Context, *cloudwatch.PutMetricDataInput) (*cloudwatch.PutMetricDataOutput, error)
}

// maxData is the most that one PutMetricData takes.
const maxData = 1000

// measure lets the metric filters of a group see new events. Events are stored
// whatever becomes of the metrics, so there is no error.
func (s *Service) measure(ctx context.Context, group string, events []event) {
	if s.metrics == nil || len(events) == 0 {
		return
	}
	byNamespace := map[string][]cwtypes.MetricDatum{}
	var records []*record
	for _, f := range s.filters.All() {
		if f.Group != group {
			continue
		}
		pattern, err := parsePattern(f.Pattern)
		if err != nil {
			continue // was checked when it came
		}
		if records == nil {
			for _, e := range events {
				records = append(records, newRecord(e.Message))
			}
		}
		matched := false
		for i, r := range records {
			if !pattern.matches(r) {
				continue
			}
			matched = true
			for _, t := range f.Transformations {
				if d, ok := datum(t, r, events[i].Time); ok {
					byNamespace[aws.ToString(t.MetricNamespace)] = append(byNamespace[aws.ToString(t.MetricNamespace)], d)
				}
			}
		}
		for _, t := range f.Transformations {
			if !matched && t.DefaultValue != nil {
				byNamespace[aws.ToString(t.MetricNamespace)] = append(byNamespace[aws.ToString(t.MetricNamespace)],
					cwtypes.MetricDatum{MetricName: t.MetricName, Value: t.DefaultValue, Unit: cwtypes.StandardUnit(t.Unit), Timestamp: aws.Time(time.UnixMilli(events[len(events)-1].Time))})
			}
		}
	}
	for namespace, data := range byNamespace {
		for len(data) > 0 {
			n := min(len(data), maxData)
			_, _ = s.metrics.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: &namespace, MetricData: data[:n]})
			data = data[n:]
		}
	}
}

// datum makes a measurement of an event, if the event has what it takes.
func datum(t types.MetricTransformation, r *record, at int64) (cwtypes.MetricDatum, bool) {
	d := cwtypes.MetricDatum{MetricName: t.MetricName, Unit: cwtypes.StandardUnit(t.Unit), Timestamp: aws.Time(time.UnixMilli(at))}
	v, err := strconv.ParseFloat(r.text(aws.ToString(t.MetricValue)), 64)
	if err != nil {
		return d, false
	}
	d.Value = &v
	for name, selector := range t.Dimensions {
		text := r.text(selector)
		if text == "" {
			return d, false
		}
		d.Dimensions = append(d.Dimensions, cwtypes.Dimension{Name: &name, Value: &text})
	}
	return d, true
}

// text returns what a selector ($.a.b) finds in the event; other text is its own.
func (r *record) text(selector string) string {
	if !strings.HasPrefix(selector, "$") {
		return selector
	}
	steps, err := parseSelector(selector)
	if err != nil {
		return ""
	}
	v, _ := walk(r.json(), steps)
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}
