package cloudwatch

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// evaluate brings the states of all alarms up to date: those on metrics first,
// then composite ones until nothing changes.
func (s *Service) evaluate() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	all := s.alarms.All()
	for i, a := range all {
		if a.Metric == nil || a.ByHand != nil && now.Sub(*a.ByHand) < time.Minute {
			continue // CloudWatch looks once a minute, so that is how long a state set by hand stands
		}
		state, reason := s.metricState(a.Metric, now)
		if state == a.state() || state == "" {
			continue
		}
		all[i] = a.withState(state, reason, nil, now)
		if err := s.alarms.Put(a.name(), all[i]); err != nil {
			return err
		}
	}
	for range all { // as deep as composite alarms can be nested
		changed := false
		for i, a := range all {
			if a.Metric != nil {
				continue
			}
			state := s.compositeState(a.Composite)
			if state == a.state() {
				continue
			}
			changed = true
			all[i] = a.withState(state, fmt.Sprintf("The rule is now %s: %s", state, *a.Composite.AlarmRule), nil, now)
			if err := s.alarms.Put(a.name(), all[i]); err != nil {
				return err
			}
		}
		if !changed {
			break
		}
	}
	return nil
}

// metricState returns the state that the metric gives an alarm, or "" when it
// says nothing new: there is no data and never was.
func (s *Service) metricState(m *types.MetricAlarm, now time.Time) (types.StateValue, string) {
	if m.MetricName == nil || m.Statistic == "" || m.Threshold == nil || *m.Period < minute {
		return "", "" // metric math, percentiles and seconds are not evaluated
	}
	period, n := int64(*m.Period), int64(*m.EvaluationPeriods)
	end := now.Unix() - now.Unix()%period
	found := s.metrics.query(*m.Namespace, *m.MetricName, m.Dimensions, end-n*period, end, period, m.Unit)
	var values []float64
	for _, b := range found {
		v, _ := b.stat(string(m.Statistic))
		values = append(values, v)
	}
	needed := int(n)
	if m.DatapointsToAlarm != nil {
		needed = int(*m.DatapointsToAlarm)
	}
	return judge(values, int(n), needed, *m.Threshold, m.ComparisonOperator, aws.ToString(m.TreatMissingData), m.StateValue)
}

// judge decides an alarm by the datapoints of its n periods, some of which may be
// missing.
func judge(values []float64, n, needed int, threshold float64, op types.ComparisonOperator, missing string, was types.StateValue) (types.StateValue, string) {
	breaching := 0
	for _, v := range values {
		if breaches(v, threshold, op) {
			breaching++
		}
	}
	absent := max(0, n-len(values))
	reason := fmt.Sprintf("%d of %d datapoints %v breach the threshold (%s %v); %d are missing", breaching, n, values, op, threshold, absent)
	if missing == "breaching" {
		breaching += absent
	}
	switch {
	case breaching >= needed:
		return types.StateValueAlarm, reason
	case len(values) > 0, missing == "notBreaching", missing == "breaching":
		return types.StateValueOk, reason
	case missing == "ignore":
		return "", ""
	case was == types.StateValueInsufficientData:
		return "", ""
	}
	return types.StateValueInsufficientData, reason
}

func breaches(v, threshold float64, op types.ComparisonOperator) bool {
	switch op {
	case types.ComparisonOperatorGreaterThanOrEqualToThreshold:
		return v >= threshold
	case types.ComparisonOperatorGreaterThanThreshold:
		return v > threshold
	case types.ComparisonOperatorLessThanThreshold:
		return v < threshold
	case types.ComparisonOperatorLessThanOrEqualToThreshold:
		return v <= threshold
	}
	return false // operators of anomaly detection
}

func (s *Service) compositeState(c *types.CompositeAlarm) types.StateValue {
	rule, err := parseRule(*c.AlarmRule)
	if err != nil {
		return types.StateValueInsufficientData // cannot be: it was parsed when it came
	}
	if rule.holds(func(name string) types.StateValue {
		a, ok := s.alarms.Get(alarmOf(name))
		if !ok {
			return types.StateValueInsufficientData
		}
		return a.state()
	}) {
		return types.StateValueAlarm
	}
	return types.StateValueOk
}

// alarmOf returns the name in an alarm's name or ARN.
func alarmOf(s string) string {
	if _, name, ok := strings.Cut(s, ":alarm:"); ok && strings.HasPrefix(s, "arn:") {
		return name
	}
	return s
}

// A rule is the parsed rule of a composite alarm.
type rule struct {
	op    string // OR, AND, NOT, TRUE, FALSE, or a state
	alarm string
	args  []rule
}

func (r rule) holds(state func(string) types.StateValue) bool {
	holds := func(a rule) bool { return a.holds(state) }
	switch r.op {
	case "OR":
		return slices.ContainsFunc(r.args, holds)
	case "AND":
		return !slices.ContainsFunc(r.args, func(a rule) bool { return !holds(a) })
	case "NOT":
		return !holds(r.args[0])
	case "TRUE", "FALSE":
		return r.op == "TRUE"
	}
	return string(state(r.alarm)) == r.op
}

func (r rule) alarms() []string {
	if r.alarm != "" {
		return []string{r.alarm}
	}
	var out []string
	for _, a := range r.args {
		out = append(out, a.alarms()...)
	}
	return out
}

// parseRule parses an expression such as ALARM("a") AND NOT (OK(b) OR TRUE).
func parseRule(text string) (rule, error) {
	p := ruleParser{rest: text}
	r, err := p.any()
	if err != nil {
		return r, err
	}
	if t := p.next(); t != "" {
		return r, fmt.Errorf("unexpected %q", t)
	}
	return r, nil
}

type ruleParser struct{ rest string }

// peek returns the next word or parenthesis without taking it.
func (p *ruleParser) peek() string {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	if p.rest == "" {
		return ""
	}
	if p.rest[0] == '(' || p.rest[0] == ')' {
		return p.rest[:1]
	}
	if i := strings.IndexAny(p.rest, " \t\r\n()"); i >= 0 {
		return p.rest[:i]
	}
	return p.rest
}

func (p *ruleParser) next() string {
	t := p.peek()
	p.rest = p.rest[len(t):]
	return t
}

func (p *ruleParser) any() (rule, error) { return p.chain("OR", p.all) }
func (p *ruleParser) all() (rule, error) { return p.chain("AND", p.one) }

func (p *ruleParser) chain(op string, part func() (rule, error)) (rule, error) {
	r, err := part()
	if err != nil || p.peek() != op {
		return r, err
	}
	out := rule{op: op, args: []rule{r}}
	for p.peek() == op {
		p.next()
		if r, err = part(); err != nil {
			return r, err
		}
		out.args = append(out.args, r)
	}
	return out, nil
}

func (p *ruleParser) one() (rule, error) {
	switch t := p.next(); t {
	case "NOT":
		r, err := p.one()
		return rule{op: "NOT", args: []rule{r}}, err
	case "TRUE", "FALSE":
		return rule{op: t}, nil
	case "(":
		r, err := p.any()
		if err == nil && p.next() != ")" {
			err = fmt.Errorf("a parenthesis is not closed")
		}
		return r, err
	case "ALARM", "OK", "INSUFFICIENT_DATA":
		name, err := p.name()
		return rule{op: t, alarm: name}, err
	case "":
		return rule{}, fmt.Errorf("the expression ends too early")
	default:
		return rule{}, fmt.Errorf("unexpected %q", t)
	}
}

// name reads ("an alarm") or (an-alarm).
func (p *ruleParser) name() (string, error) {
	if p.next() != "(" {
		return "", fmt.Errorf("a state needs an alarm in parentheses")
	}
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	var name string
	if rest, quoted := strings.CutPrefix(p.rest, `"`); quoted {
		var ok bool
		if name, p.rest, ok = strings.Cut(rest, `"`); !ok {
			return "", fmt.Errorf("a quote is not closed")
		}
	} else {
		i := strings.IndexByte(p.rest, ')')
		if i < 0 {
			return "", fmt.Errorf("a parenthesis is not closed")
		}
		name, p.rest = strings.TrimSpace(p.rest[:i]), p.rest[i:]
	}
	if p.next() != ")" || name == "" {
		return "", fmt.Errorf("a state needs one alarm in parentheses")
	}
	return name, nil
}
