package fleet

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"

	"pcluster/internal/fleet/record"
	"pcluster/internal/slurm"
)

func (m *Metrics) text(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	if _, err := m.set.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// busyMetrics are metrics that all have a value.
func busyMetrics() *Metrics {
	m := NewMetrics()
	at := func(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }
	of := map[string]string{"i-1": "q-dy-a-1"}
	m.happened([]record.Entry{
		{Time: at(0), What: record.JobWaits, Nodes: "q-dy-a-[1-2]", Jobs: []string{"7"}},
		{Time: at(1), What: record.Asked, Nodes: "q-dy-a-[1-2]", Jobs: []string{"7"}},
		{Time: at(2), What: record.LaunchAnswered, Queue: "q", Resource: "a", Count: 1},
		{Time: at(2), What: record.LaunchRefused, Queue: "q", Resource: "a", Count: 1, Code: InsufficientCapacity, Class: "capacity"},
		{Time: at(3), What: record.Assigned, Nodes: "q-dy-a-1", Instances: of},
		{Time: at(10), What: record.Booting, Nodes: "q-dy-a-1", Instances: of},
		{Time: at(12), What: record.Booting, Nodes: "q-dy-a-1", Instances: of},
		{Time: at(30), What: record.Booted, Nodes: "q-dy-a-1", Instances: of},
		{Time: at(31), What: record.Registered, Nodes: "q-dy-a-1", Instances: of},
		{Time: at(31.5), What: record.JobReleased, Nodes: "q-dy-a-[1-2]", Jobs: []string{"7"}},
		{Time: at(32), What: record.NodeFailed, Nodes: "q-dy-a-2"},
	})
	mem := NewMemory(noon).clone()
	mem.Status = Running
	mem.Assigned["q-dy-a-1"] = Assignment{Ready: true}
	mem.Ending["i-0"] = noon
	mem.Exhausted["q/a"] = Exhausted{Code: InsufficientCapacity, Until: at(600)}
	mem.Failures["q/b"] = 3
	p := policy(AllOrNothing)
	view := &SlurmView{At: noon, Nodes: []slurm.Node{
		{Name: "q-dy-a-1", State: "ALLOCATED+CLOUD"}, {Name: "q-dy-a-2", State: "DOWN+CLOUD"}, {Name: "q-dy-a-3", State: "IDLE+CLOUD+POWERED_DOWN"},
		{Name: "login", State: "IDLE"},
	}}
	m.stands(&Observed{Slurm: view, EC2: &EC2View{At: noon}}, &mem, &p, 2*time.Millisecond)
	m.calls.Add(1, "EC2", "RunInstances", "ok")
	m.callTime.Observe(0.2, "EC2", "RunInstances")
	return m
}

func TestMetricsTellWhatHappened(t *testing.T) {
	text := busyMetrics().text(t)
	for _, want := range []string{
		`pcluster_fleet_nodes{queue="q",compute_resource="a",state="busy"} 1`,
		`pcluster_fleet_nodes{queue="q",compute_resource="a",state="down"} 1`,
		`pcluster_fleet_nodes{queue="q",compute_resource="a",state="powered_down"} 1`,
		`pcluster_fleet_instances{state="ready"} 1`,
		`pcluster_fleet_instances{state="starting"} 0`,
		`pcluster_fleet_instances{state="ending"} 1`,
		`pcluster_fleet_status{status="RUNNING"} 1`,
		`pcluster_fleet_left_alone_until_seconds{queue="q",compute_resource="a",code="InsufficientInstanceCapacity"} 1.7954358e+09`,
		`pcluster_fleet_failed_starts{queue="q",compute_resource="b"} 3`,
		`pcluster_fleet_nodes_asked_total{queue="q",compute_resource="a"} 2`,
		`pcluster_fleet_instances_launched_total{queue="q",compute_resource="a"} 1`,
		`pcluster_fleet_instances_refused_total{queue="q",compute_resource="a",code="InsufficientInstanceCapacity",class="capacity"} 1`,
		`pcluster_fleet_events_total{what="booting"} 2`,
		`pcluster_fleet_node_start_seconds_sum{stage="launch",queue="q",compute_resource="a"} 2`,
		`pcluster_fleet_node_start_seconds_sum{stage="instance",queue="q",compute_resource="a"} 7`,
		`pcluster_fleet_node_start_seconds_sum{stage="boot",queue="q",compute_resource="a"} 20`,
		`pcluster_fleet_node_start_seconds_sum{stage="register",queue="q",compute_resource="a"} 1`,
		`pcluster_fleet_node_start_seconds_sum{stage="all",queue="q",compute_resource="a"} 30`,
		`pcluster_fleet_node_start_seconds_count{stage="all",queue="q",compute_resource="a"} 1`,
		`pcluster_fleet_job_wait_seconds_sum 31.5`,
		`pcluster_fleet_plan_seconds_sum 0.002`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// slurmctld may see a node before the node says that it has booted.
func TestMetricsOfANodeThatSaysLateThatItHasBooted(t *testing.T) {
	m := NewMetrics()
	at := func(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }
	of := map[string]string{"i-1": "q-dy-a-1"}
	m.happened([]record.Entry{
		{Time: at(1), What: record.Asked, Nodes: "q-dy-a-1"},
		{Time: at(3), What: record.Assigned, Nodes: "q-dy-a-1", Instances: of},
		{Time: at(10), What: record.Booting, Nodes: "q-dy-a-1", Instances: of},
		{Time: at(30), What: record.Registered, Nodes: "q-dy-a-1", Instances: of},
		{Time: at(31), What: record.Booted, Nodes: "q-dy-a-1", Instances: of},
		{Time: at(900), What: record.Suspended, Nodes: "q-dy-a-1", Instances: of},
	})
	text := m.text(t)
	for stage, sum := range map[string]string{"all": "29", "boot": "21", "register": "0"} {
		labels := `{stage="` + stage + `",queue="q",compute_resource="a"} `
		for _, want := range []string{"_sum" + labels + sum, "_count" + labels + "1"} {
			if !strings.Contains(text, "pcluster_fleet_node_start_seconds"+want+"\n") {
				t.Errorf("no line %s", want)
			}
		}
	}
}

// TestMetricsAreDocumented compares names and labels with the table in docs/fleet.md.
func TestMetricsAreDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "fleet.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `((?:pcluster|process)_[a-z0-9_]+)` \\| ([^|]*) \\|").FindAllStringSubmatch(string(page), -1) {
		documented[row[1]] = strings.ReplaceAll(row[2], "`", "")
	}
	shown := make(map[string]string)
	text := busyMetrics().text(t)
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`).FindAllStringSubmatch(text, -1) {
		name := m[1]
		if m[2] == "histogram" {
			name += "_count"
		}
		sample := regexp.MustCompile(`(?m)^` + name + `(?:\{(.*)\})? \S+$`).FindStringSubmatch(text)
		if sample == nil {
			t.Errorf("%s has no value in this test", m[1])
			continue
		}
		var labels []string
		for _, l := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(sample[1], -1) {
			labels = append(labels, l[1])
		}
		shown[m[1]] = strings.Join(labels, ", ")
	}
	if diff := cmp.Diff(shown, documented); diff != "" {
		t.Errorf("metrics (-shown +documented):\n%s", diff)
	}
	for _, name := range slices.Sorted(maps.Keys(shown)) {
		if !strings.Contains(text, "# HELP "+name+" ") {
			t.Errorf("%s has no help", name)
		}
	}
}

func TestRequestsToAWSAreCountedByAttempt(t *testing.T) {
	answers := []int{503, 503, 200, 400}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		status := answers[0]
		answers = answers[1:]
		w.WriteHeader(status)
		switch status {
		case 200:
			_, _ = w.Write([]byte(`<DescribeInstancesResponse/>`))
		default:
			code := map[int]string{503: "RequestLimitExceeded", 400: "UnauthorizedOperation"}[status]
			_, _ = w.Write([]byte(`<Response><Errors><Error><Code>` + code + `</Code><Message>m</Message></Error></Errors></Response>`))
		}
	}))
	defer server.Close()
	m := NewMetrics()
	client := ec2.NewFromConfig(m.Counted(aws.Config{
		Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
		Retryer: func() aws.Retryer { return quickRetryer{aws.NopRetryer{}} },
	}))
	for range 2 {
		_, _ = client.DescribeInstances(context.Background(), &ec2.DescribeInstancesInput{})
	}
	text := m.text(t)
	for _, want := range []string{
		`pcluster_aws_requests_total{service="EC2",operation="DescribeInstances",outcome="RequestLimitExceeded"} 2`,
		`pcluster_aws_requests_total{service="EC2",operation="DescribeInstances",outcome="UnauthorizedOperation"} 1`,
		`pcluster_aws_requests_total{service="EC2",operation="DescribeInstances",outcome="ok"} 1`,
		`pcluster_aws_request_seconds_count{service="EC2",operation="DescribeInstances"} 4`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no line %s in\n%s", want, text)
		}
	}
}

// A quickRetryer tries throttled requests again at once.
type quickRetryer struct{ aws.NopRetryer }

func (quickRetryer) IsErrorRetryable(err error) bool {
	return strings.Contains(err.Error(), "RequestLimitExceeded")
}
func (quickRetryer) MaxAttempts() int                             { return 5 }
func (quickRetryer) RetryDelay(int, error) (time.Duration, error) { return 0, nil }

// sample is a line of Prometheus's text format.
var sample = regexp.MustCompile(`^[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [-+0-9.e]+$`)

func TestPrometheusIsAnswered(t *testing.T) {
	w := httptest.NewRecorder()
	busyMetrics().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/plain; version=0.0.4") {
		t.Errorf("content type %q", got)
	}
	for line := range strings.Lines(w.Body.String()) {
		if !strings.HasPrefix(line, "# ") && !sample.MatchString(strings.TrimSuffix(line, "\n")) {
			t.Errorf("no sample: %s", line)
		}
	}
}

func TestMetricsAreShownWithoutAFleet(t *testing.T) {
	NewMetrics().text(t)
	var none *Metrics
	none.happened([]record.Entry{{What: record.Asked}})
	none.stands(&Observed{}, &Memory{}, &Policy{}, 0)
}
