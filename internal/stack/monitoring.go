package stack

import (
	"strings"

	"pcluster/internal/cfn"
	"pcluster/internal/config"
)

func (b *builder) logging() bool { return b.c.Monitoring.Logs.CloudWatch.Enabled }

// retention is 0 for ever.
func (b *builder) retention() int { return b.c.Monitoring.Logs.CloudWatch.RetentionInDays }

// logs adds the log group that all nodes write to.
func (b *builder) logs() {
	if !b.logging() {
		return
	}
	h := b.t.Add("CloudWatchLogGroup", cfn.LogGroup{LogGroupName: b.logGroup, RetentionInDays: b.retention()},
		cfn.OnDelete(b.c.Monitoring.Logs.CloudWatch.DeletionPolicy))
	b.clusterLog = &h
}

// eventful says whether the nodes' events become metrics.
func (b *builder) eventful() bool {
	return b.logging() && !b.batch() && !isolated(b.p.Region)
}

// monitoring adds alarms, metrics that come from logs, and the dashboard.
func (b *builder) monitoring() {
	var alarms []string
	if b.c.Monitoring.Alarms.Enabled {
		if b.eventful() {
			b.heartbeat()
		}
		alarms = b.alarms()
	}
	if b.c.Monitoring.Dashboards.CloudWatch.Enabled {
		if b.eventful() {
			b.metricFilters()
		}
		b.dashboard(alarms)
	}
}

// heartbeatMetric is counted once a minute while the fleet daemon is well.
const heartbeatMetric = "ClustermgtdHeartbeat"

// heartbeat adds the metric by which the daemon of the fleet is known to be well.
func (b *builder) heartbeat() {
	b.metricFilter(heartbeatMetric, `{ $.event-type = "clustermgtd-heartbeat" }`, "1", "Count", cfn.MetricDimension{Key: "InstanceId", Value: "$.instance-id"})
}

// missingHeartbeats is for how many minutes in a row there may be none.
const missingHeartbeats = 10

// alarms returns the names of the head node's alarms.
func (b *builder) alarms() []string {
	var handles []cfn.Handle
	var names, rule []string
	alarm := func(kind string, a cfn.Alarm, options ...cfn.Option) {
		name := b.p.ClusterName + "-HeadNode-" + kind
		a.AlarmName, a.Statistic, a.Period = name, "Maximum", 60
		a.Dimensions = append([]cfn.AlarmDimension{{Name: "InstanceId", Value: b.head.Ref()}}, a.Dimensions...)
		handles = append(handles, b.t.Add("HeadNode"+kind+"Alarm", a, options...))
		names = append(names, name)
		rule = append(rule, `ALARM("`+name+`")`)
	}
	add := func(kind, namespace, metric string, threshold int, dimensions ...cfn.AlarmDimension) {
		alarm(kind, cfn.Alarm{
			Namespace: namespace, MetricName: metric, ComparisonOperator: "GreaterThanThreshold", Threshold: threshold,
			EvaluationPeriods: 1, DatapointsToAlarm: 1, Dimensions: dimensions,
		})
	}
	add("Health", "AWS/EC2", "StatusCheckFailed", 0)
	add("Cpu", "AWS/EC2", "CPUUtilization", 90)
	add("Mem", "CWAgent", "mem_used_percent", 90)
	add("Disk", "CWAgent", "disk_used_percent", 90, cfn.AlarmDimension{Name: "path", Value: "/"})
	if b.eventful() {
		// After the head node is ready: until then there is no heartbeat, and none is bad.
		alarm(heartbeatMetric, cfn.Alarm{
			Namespace: metricNamespace, MetricName: heartbeatMetric, ComparisonOperator: "LessThanThreshold", Threshold: 1,
			EvaluationPeriods: missingHeartbeats, DatapointsToAlarm: missingHeartbeats, TreatMissingData: "breaching",
			Dimensions: []cfn.AlarmDimension{{Name: "ClusterName", Value: b.p.ClusterName}},
		}, cfn.DependsOn(b.headReady))
	}
	all := b.p.ClusterName + "-HeadNode"
	b.t.Add("HeadNodeAlarm", cfn.CompositeAlarm{AlarmName: all, AlarmRule: strings.Join(rule, " OR ")}, cfn.DependsOn(handles...))
	return append(names, all)
}

// A healthMetric is counted from events that the nodes log.
type healthMetric struct {
	name  string
	event string
	match string // further conditions
	value string
	unit  string
}

// healthMetrics are what the dashboard shows of the cluster's health.
func (b *builder) healthMetrics() []healthMetric {
	const n = "$.detail.count"
	failure := func(kind string) string { return `$.detail.failure-type = "` + kind + `"` }
	out := []healthMetric{
		{"IamPolicyErrors", "node-launch-failure-count", failure("iam-policy-errors"), n, "Count"},
		{"VcpuLimitErrors", "node-launch-failure-count", failure("vcpu-limit-failures"), n, "Count"},
		{"VolumeLimitErrors", "node-launch-failure-count", failure("volume-limit-failures"), n, "Count"},
		{"InsufficientCapacityErrors", "node-launch-failure-count", failure("ice-failures"), n, "Count"},
		{"OtherInstanceLaunchFailures", "node-launch-failure-count", failure("other-failures"), n, "Count"},
		{"InstanceBootstrapTimeoutErrors", "protected-mode-error-count",
			"(" + failure("static-replacement-timeout-error") + " || " + failure("dynamic-resume-timeout-error") + ")", n, "Count"},
		{"EC2HealthCheckErrors", "nodes-failing-health-check-count", failure("ec2_health_check"), n, "Count"},
		// The first is what ParallelCluster's filter looks for, the second what events have.
		{"ScheduledEventHealthCheckErrors", "nodes-failing-health-check-count",
			"(" + failure("scheduled_event_health_check") + " || " + failure("scheduled_events_check") + ")", n, "Count"},
		{"NoCorrespondingInstanceErrors", "invalid-backing-instance-count", "", n, "Count"},
		{"SlurmNodeNotRespondingErrors", "node-not-responding-down-count", "", n, "Count"},
		{"MaxDynamicNodeIdleTime", "compute-node-idle-time", `$.detail.node-type = "dynamic"`, "$.detail.longest-idle-time", "Seconds"},
	}
	gpu, actions := false, false
	for i := range b.c.Scheduling.SlurmQueues {
		q := &b.c.Scheduling.SlurmQueues[i]
		actions = actions || q.CustomActions != (config.CustomActions{})
		for j := range q.ComputeResources {
			gpu = gpu || q.GpuCheckOf(&q.ComputeResources[j])
		}
	}
	if gpu {
		out = append(out, healthMetric{"GpuHealthCheckFailures", "compute-node-health-check", `$.detail.health-check-name = "Gpu" && $.detail.health-check-result != 0`, "1", "Count"})
	}
	if actions {
		for _, action := range []string{"OnNodeStart", "OnNodeConfigured"} {
			for _, stage := range [][2]string{{"Download", "downloading"}, {"Run", "executing"}} {
				out = append(out, healthMetric{action + stage[0] + "Errors", "custom-action-error",
					`$.detail.action = "` + action + `" && $.detail.stage = "` + stage[1] + `"`, "1", "Count"})
			}
		}
	}
	return out
}

func (b *builder) metricFilters() {
	for _, m := range b.healthMetrics() {
		pattern := `{ $.event-type = "` + m.event + `" && $.scheduler = "slurm"`
		if m.match != "" {
			pattern += " && " + m.match
		}
		b.metricFilter(m.name, pattern+" }", m.value, m.unit)
	}
}

// metricNamespace is where metrics that come from logs are.
const metricNamespace = "ParallelCluster"

func (b *builder) metricFilter(name, pattern, value, unit string, more ...cfn.MetricDimension) {
	b.t.Add(name+"Filter", cfn.MetricFilter{
		LogGroupName: b.clusterLog.Ref(), FilterPattern: pattern,
		MetricTransformations: []cfn.MetricTransformation{{
			MetricNamespace: metricNamespace, MetricName: name, MetricValue: value, Unit: unit,
			Dimensions: append([]cfn.MetricDimension{{Key: "ClusterName", Value: "$.cluster-name"}}, more...),
		}},
	})
}
