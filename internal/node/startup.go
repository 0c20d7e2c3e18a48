package node

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
)

// startupNamespace is where ParallelCluster's own nodes publish their metrics.
const startupNamespace = "ParallelCluster"

// publishStartupTime tells CloudWatch how long this node took from the beginning of its
// boot until Slurm could use it, if the file asks for that
// (DevSettings/ComputeStartupTimeMetricEnabled). A node that nobody hears is still a node,
// so a call that fails is only noted.
func (n *node) publishStartupTime(ctx context.Context, api metricsAPI, took time.Duration) {
	if !n.config.DevSettings.ComputeStartupTimeMetricEnabled {
		return
	}
	of := func(name, value string) types.Dimension { return types.Dimension{Name: &name, Value: &value} }
	_, err := api.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{
		Namespace: aws.String(startupNamespace),
		MetricData: []types.MetricDatum{{
			MetricName: aws.String("StartupTime"), Unit: types.StandardUnitSeconds, Value: aws.Float64(took.Seconds()),
			Dimensions: []types.Dimension{
				of("ClusterName", n.spec.ClusterName), of("InstanceID", n.self.InstanceID),
				of("InstanceType", n.self.InstanceType), of("OS", n.spec.BaseOS),
			},
		}},
	})
	if err != nil {
		fmt.Fprintf(n.out, "the time that the start took is not published: %v\n", err)
	}
}
