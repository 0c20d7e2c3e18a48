package node

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/google/go-cmp/cmp"

	"pcluster/internal/config"
	"pcluster/internal/node/spec"
)

// refusedMetrics is a CloudWatch that takes nothing.
type refusedMetrics struct{}

func (refusedMetrics) PutMetricData(context.Context, *cloudwatch.PutMetricDataInput, ...func(*cloudwatch.Options)) (*cloudwatch.PutMetricDataOutput, error) {
	return nil, errors.New("AccessDenied")
}

func TestStartupTimeIsPublishedIfTheFileAsksForIt(t *testing.T) {
	var out bytes.Buffer
	n := &node{
		spec: &spec.Node{ClusterName: "demo", BaseOS: "alinux2023"}, self: &Identity{InstanceID: "i-1", InstanceType: "c5.large"},
		config: &config.Cluster{}, out: &out,
	}
	got := metricsOf{}
	n.publishStartupTime(t.Context(), got, 42*time.Second)
	if len(got) != 0 {
		t.Errorf("published though the file does not ask for it: %v", got)
	}
	n.config.DevSettings.ComputeStartupTimeMetricEnabled = true
	n.publishStartupTime(t.Context(), got, 42*time.Second)
	want := metricsOf{"ParallelCluster StartupTime": {"ClusterName": "demo", "InstanceID": "i-1", "InstanceType": "c5.large", "OS": "alinux2023"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	n.publishStartupTime(t.Context(), refusedMetrics{}, time.Second)
	if !strings.Contains(out.String(), "AccessDenied") {
		t.Errorf("a refused call is noted nowhere: %q", out.String())
	}
}
