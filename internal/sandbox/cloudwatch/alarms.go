package cloudwatch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cw "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// An alarm is a row: exactly one of its parts is set.
type alarm struct {
	Metric    *types.MetricAlarm    `json:",omitempty"`
	Composite *types.CompositeAlarm `json:",omitempty"`
	ByHand    *time.Time            `json:",omitempty"` // when its state was set so
}

func (a alarm) name() string {
	if a.Metric != nil {
		return *a.Metric.AlarmName
	}
	return *a.Composite.AlarmName
}

func (a alarm) state() types.StateValue {
	if a.Metric != nil {
		return a.Metric.StateValue
	}
	return a.Composite.StateValue
}

// withState returns the alarm in another state.
func (a alarm) withState(state types.StateValue, reason string, data *string, now time.Time) alarm {
	if m := a.Metric; m != nil {
		c := *m
		if c.StateValue != state {
			c.StateTransitionedTimestamp = &now
		}
		c.StateValue, c.StateReason, c.StateReasonData, c.StateUpdatedTimestamp = state, &reason, data, &now
		return alarm{Metric: &c}
	}
	c := *a.Composite
	if c.StateValue != state {
		c.StateTransitionedTimestamp = &now
	}
	c.StateValue, c.StateReason, c.StateReasonData, c.StateUpdatedTimestamp = state, &reason, data, &now
	return alarm{Composite: &c}
}

const unchecked = "Unchecked: Initial alarm creation"

func (s *Service) alarmARN(name string) string { return s.id.ARN("cloudwatch", "alarm:"+name) }

func enabled(b *bool) *bool {
	if b == nil {
		return aws.Bool(true)
	}
	return b
}

// PutMetricAlarm makes or replaces an alarm on a metric.
func (s *Service) PutMetricAlarm(_ context.Context, in *cw.PutMetricAlarmInput) (*cw.PutMetricAlarmOutput, error) {
	missing := func(name string) error {
		return wire.Errorf("ValidationError", "The parameter %s is required: an alarm needs it.", name)
	}
	switch {
	case in.EvaluationCriteria != nil || in.EvaluationWindow != nil:
		return nil, wire.Errorf("ValidationError", "The sandbox has alarms on metrics only.")
	case in.EvaluationPeriods == nil:
		return nil, missing("EvaluationPeriods")
	case in.ComparisonOperator == "":
		return nil, missing("ComparisonOperator")
	case len(in.Metrics) > 0 && in.MetricName != nil:
		return nil, wire.Errorf("ValidationError", "MetricName must not be specified if Metrics is set.")
	case len(in.Metrics) == 0 && (in.MetricName == nil || in.Namespace == nil || in.Period == nil):
		return nil, missing("MetricName, Namespace and Period, or Metrics")
	case len(in.Metrics) == 0 && in.Statistic == "" && in.ExtendedStatistic == nil:
		return nil, missing("Statistic or ExtendedStatistic")
	case in.Threshold == nil && in.ThresholdMetricId == nil:
		return nil, missing("Threshold")
	case in.DatapointsToAlarm != nil && *in.DatapointsToAlarm > *in.EvaluationPeriods:
		return nil, wire.Errorf("ValidationError", "DatapointsToAlarm must be less than or equal to EvaluationPeriods.")
	}
	now := s.now()
	m := &types.MetricAlarm{
		AlarmName: in.AlarmName, AlarmArn: aws.String(s.alarmARN(*in.AlarmName)), AlarmDescription: in.AlarmDescription, ActionsEnabled: enabled(in.ActionsEnabled),
		OKActions: nonNil(in.OKActions), AlarmActions: nonNil(in.AlarmActions), InsufficientDataActions: nonNil(in.InsufficientDataActions),
		MetricName: in.MetricName, Namespace: in.Namespace, Statistic: in.Statistic, ExtendedStatistic: in.ExtendedStatistic,
		Dimensions: in.Dimensions, Period: in.Period, Unit: in.Unit, EvaluationPeriods: in.EvaluationPeriods, DatapointsToAlarm: in.DatapointsToAlarm,
		Threshold: in.Threshold, ThresholdMetricId: in.ThresholdMetricId, ComparisonOperator: in.ComparisonOperator, TreatMissingData: in.TreatMissingData,
		EvaluateLowSampleCountPercentile: in.EvaluateLowSampleCountPercentile, Metrics: in.Metrics, AlarmConfigurationUpdatedTimestamp: &now,
		StateValue: types.StateValueInsufficientData, StateReason: aws.String(unchecked), StateUpdatedTimestamp: &now, StateTransitionedTimestamp: &now,
	}
	if len(in.Metrics) == 0 && m.Dimensions == nil {
		m.Dimensions = []types.Dimension{}
	}
	return &cw.PutMetricAlarmOutput{}, s.putAlarm(alarm{Metric: m}, in.Tags)
}

func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// PutCompositeAlarm makes or replaces an alarm on other alarms.
func (s *Service) PutCompositeAlarm(_ context.Context, in *cw.PutCompositeAlarmInput) (*cw.PutCompositeAlarmOutput, error) {
	rule, err := parseRule(aws.ToString(in.AlarmRule))
	if err != nil {
		return nil, wire.Errorf("ValidationError", "AlarmRule is not valid: %v", err)
	}
	var missing []string
	for _, name := range rule.alarms() {
		if _, ok := s.alarms.Get(alarmOf(name)); !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, wire.Errorf("ValidationError", "Could not save the composite alarm as alarms [%s] in the alarm rule do not exist", strings.Join(missing, ", "))
	}
	now := s.now()
	return &cw.PutCompositeAlarmOutput{}, s.putAlarm(alarm{Composite: &types.CompositeAlarm{
		AlarmName: in.AlarmName, AlarmArn: aws.String(s.alarmARN(*in.AlarmName)), AlarmDescription: in.AlarmDescription, AlarmRule: in.AlarmRule,
		ActionsEnabled: enabled(in.ActionsEnabled), OKActions: nonNil(in.OKActions), AlarmActions: nonNil(in.AlarmActions),
		InsufficientDataActions: nonNil(in.InsufficientDataActions), ActionsSuppressor: in.ActionsSuppressor,
		ActionsSuppressorWaitPeriod: in.ActionsSuppressorWaitPeriod, ActionsSuppressorExtensionPeriod: in.ActionsSuppressorExtensionPeriod,
		AlarmConfigurationUpdatedTimestamp: &now, StateValue: types.StateValueInsufficientData, StateReason: aws.String(unchecked),
		StateUpdatedTimestamp: &now, StateTransitionedTimestamp: &now,
	}}, in.Tags)
}

// putAlarm stores an alarm. One that existed keeps its state and its tags.
func (s *Service) putAlarm(a alarm, tags []types.Tag) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, exists := s.alarms.Get(a.name())
	if exists && (old.Metric == nil) != (a.Metric == nil) {
		return wire.Errorf("ValidationError", "An alarm of another type is named %s already.", a.name())
	}
	switch {
	case exists && a.Metric != nil:
		m := old.Metric
		a = a.withState(m.StateValue, aws.ToString(m.StateReason), m.StateReasonData, *m.StateUpdatedTimestamp)
		a.Metric.StateTransitionedTimestamp = m.StateTransitionedTimestamp
	case exists:
		c := old.Composite
		a = a.withState(c.StateValue, aws.ToString(c.StateReason), c.StateReasonData, *c.StateUpdatedTimestamp)
		a.Composite.StateTransitionedTimestamp = c.StateTransitionedTimestamp
	case len(tags) > 0:
		if err := s.tag(s.alarmARN(a.name()), tags); err != nil {
			return err
		}
	}
	return s.alarms.Put(a.name(), a)
}

// DescribeAlarms brings the state of alarms up to date and lists them.
func (s *Service) DescribeAlarms(_ context.Context, in *cw.DescribeAlarmsInput) (*cw.DescribeAlarmsOutput, error) {
	if in.AlarmNamePrefix != nil && len(in.AlarmNames) > 0 {
		return nil, wire.Errorf("ValidationError", "AlarmNamePrefix and AlarmNames cannot be used together.")
	}
	if err := s.evaluate(); err != nil {
		return nil, err
	}
	kinds := in.AlarmTypes
	if len(kinds) == 0 {
		// Callers of before composite alarms get what they know.
		kinds = []types.AlarmType{types.AlarmTypeMetricAlarm}
		if in.ChildrenOfAlarmName != nil || in.ParentsOfAlarmName != nil || len(in.AlarmNames) > 0 {
			kinds = append(kinds, types.AlarmTypeCompositeAlarm)
		}
	}
	fits, err := s.family(in)
	if err != nil {
		return nil, err
	}
	var found []alarm
	for _, a := range s.alarms.All() {
		kind, actions := types.AlarmTypeMetricAlarm, []string(nil)
		if a.Metric == nil {
			kind, actions = types.AlarmTypeCompositeAlarm, slices.Concat(a.Composite.AlarmActions, a.Composite.OKActions, a.Composite.InsufficientDataActions)
		} else {
			actions = slices.Concat(a.Metric.AlarmActions, a.Metric.OKActions, a.Metric.InsufficientDataActions)
		}
		switch {
		case !slices.Contains(kinds, kind),
			in.AlarmNamePrefix != nil && !strings.HasPrefix(a.name(), *in.AlarmNamePrefix),
			len(in.AlarmNames) > 0 && !slices.Contains(in.AlarmNames, a.name()),
			in.StateValue != "" && a.state() != in.StateValue,
			in.ActionPrefix != nil && !slices.ContainsFunc(actions, func(x string) bool { return strings.HasPrefix(x, *in.ActionPrefix) }),
			!fits(a):
			continue
		}
		found = append(found, a)
	}
	rows, next, err := page.Of(found, alarm.name, in.NextToken, page.Limit(in.MaxRecords, 50))
	if err != nil {
		return nil, &wire.Error{Code: "InvalidNextToken", Message: "The next token specified is invalid.", Status: http.StatusBadRequest}
	}
	out := &cw.DescribeAlarmsOutput{NextToken: next, MetricAlarms: []types.MetricAlarm{}, CompositeAlarms: []types.CompositeAlarm{}}
	for _, a := range rows {
		if a.Metric != nil {
			out.MetricAlarms = append(out.MetricAlarms, *a.Metric)
		} else {
			out.CompositeAlarms = append(out.CompositeAlarms, *a.Composite)
		}
	}
	return out, nil
}

// family tells the children or parents of a composite alarm.
func (s *Service) family(in *cw.DescribeAlarmsInput) (func(alarm) bool, error) {
	uses := func(a alarm, name string) bool {
		if a.Composite == nil {
			return false
		}
		rule, err := parseRule(*a.Composite.AlarmRule)
		return err == nil && slices.ContainsFunc(rule.alarms(), func(n string) bool { return alarmOf(n) == name })
	}
	switch {
	case in.ChildrenOfAlarmName != nil:
		parent, ok := s.alarms.Get(alarmOf(*in.ChildrenOfAlarmName))
		if !ok {
			return nil, alarmMissing(*in.ChildrenOfAlarmName)
		}
		return func(a alarm) bool { return uses(parent, a.name()) }, nil
	case in.ParentsOfAlarmName != nil:
		return func(a alarm) bool { return uses(a, alarmOf(*in.ParentsOfAlarmName)) }, nil
	}
	return func(alarm) bool { return true }, nil
}

func alarmMissing(name string) error {
	return &wire.Error{Code: "ResourceNotFound", Message: "Unknown alarm " + name, Status: http.StatusNotFound}
}

// DescribeAlarmsForMetric lists the alarms on a metric.
func (s *Service) DescribeAlarmsForMetric(_ context.Context, in *cw.DescribeAlarmsForMetricInput) (*cw.DescribeAlarmsForMetricOutput, error) {
	if err := s.evaluate(); err != nil {
		return nil, err
	}
	want := seriesKey(*in.Namespace, *in.MetricName, sortedDimensions(in.Dimensions))
	out := &cw.DescribeAlarmsForMetricOutput{MetricAlarms: []types.MetricAlarm{}}
	for _, a := range s.alarms.All() {
		m := a.Metric
		if m == nil || m.MetricName == nil || seriesKey(*m.Namespace, *m.MetricName, sortedDimensions(m.Dimensions)) != want ||
			in.Statistic != "" && m.Statistic != in.Statistic || in.Period != nil && *m.Period != *in.Period || in.Unit != "" && m.Unit != in.Unit {
			continue
		}
		out.MetricAlarms = append(out.MetricAlarms, *m)
	}
	return out, nil
}

func (s *Service) changeAlarm(name string, fn func(*alarm) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.alarms.Update(name, fn)
	if errors.Is(err, store.ErrNotFound) {
		return alarmMissing(name)
	}
	return err
}

// SetAlarmState sets a state by hand, until the metric is looked at again.
func (s *Service) SetAlarmState(_ context.Context, in *cw.SetAlarmStateInput) (*cw.SetAlarmStateOutput, error) {
	return &cw.SetAlarmStateOutput{}, s.changeAlarm(aws.ToString(in.AlarmName), func(a *alarm) error {
		now := s.now()
		*a = a.withState(in.StateValue, aws.ToString(in.StateReason), in.StateReasonData, now)
		a.ByHand = &now
		return nil
	})
}

// EnableAlarmActions marks the actions of alarms as enabled.
func (s *Service) EnableAlarmActions(_ context.Context, in *cw.EnableAlarmActionsInput) (*cw.EnableAlarmActionsOutput, error) {
	return &cw.EnableAlarmActionsOutput{}, s.setActions(in.AlarmNames, true)
}

// DisableAlarmActions marks the actions of alarms as disabled.
func (s *Service) DisableAlarmActions(_ context.Context, in *cw.DisableAlarmActionsInput) (*cw.DisableAlarmActionsOutput, error) {
	return &cw.DisableAlarmActionsOutput{}, s.setActions(in.AlarmNames, false)
}

func (s *Service) setActions(names []string, on bool) error {
	for _, name := range names {
		err := s.changeAlarm(name, func(a *alarm) error {
			if a.Metric != nil {
				m := *a.Metric
				m.ActionsEnabled = &on
				a.Metric = &m
				return nil
			}
			c := *a.Composite
			c.ActionsEnabled = &on
			a.Composite = &c
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// DeleteAlarms deletes alarms; those that do not exist are no error, as with AWS
// when all others could be deleted.
func (s *Service) DeleteAlarms(_ context.Context, in *cw.DeleteAlarmsInput) (*cw.DeleteAlarmsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range in.AlarmNames {
		if err := errors.Join(s.alarms.Delete(name), s.tags.Delete(s.alarmARN(name))); err != nil {
			return nil, fmt.Errorf("delete alarm %s: %w", name, err)
		}
	}
	return &cw.DeleteAlarmsOutput{}, nil
}
