package cluster_test

import (
	"archive/zip"
	"bytes"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"

	"pcluster/internal/cluster"
	"pcluster/internal/cluster/clustertest"
)

// createBatch creates a cluster of AWS Batch whose stack is complete.
func createBatch(t *testing.T, cloud *clustertest.Cloud) *cluster.Operator {
	t.Helper()
	cloud.Know()
	o := cloud.Operator(quiet())
	r := request("jobs")
	r.Configuration = []byte(clustertest.BatchFile)
	created, err := o.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if created.Cluster.Scheduler == nil || created.Cluster.Scheduler.Type != "awsbatch" {
		t.Errorf("scheduler: %+v", created.Cluster.Scheduler)
	}
	cloud.StackEvent("jobs", "CREATE_COMPLETE", "")
	return o
}

func TestClusterOfBatchHasTheContextOfItsImage(t *testing.T) {
	cloud := clustertest.New()
	createBatch(t, cloud)
	data := cloud.Body(cloud.Parameter("jobs", "ArtifactS3RootDirectory") + "/custom_resources/scheduler_resources.zip")
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Open("Dockerfile"); err != nil {
		t.Error(err)
	}
}

func TestFleetOfBatchIsItsComputeEnvironment(t *testing.T) {
	cloud := clustertest.New()
	o := createBatch(t, cloud)
	if f, err := o.DescribeComputeFleet(t.Context(), "jobs"); err != nil || f.Status != cluster.FleetUnknown {
		t.Errorf("without a compute environment: %+v, %v", f, err)
	}
	cloud.SetEnvironment("jobs", types.CEStateEnabled)
	if f, err := o.DescribeComputeFleet(t.Context(), "jobs"); err != nil || f.Status != cluster.FleetEnabled || f.LastStatusUpdatedTime != nil {
		t.Errorf("%+v, %v", f, err)
	}
	d, err := o.Describe(t.Context(), "jobs")
	if err != nil || d.ComputeFleetStatus != cluster.FleetEnabled {
		t.Errorf("described: %+v, %v", d, err)
	}
	_, err = o.UpdateComputeFleet(t.Context(), "jobs", cluster.FleetStopRequested)
	status(t, err, 400, "can only be set to `ENABLED` or `DISABLED`")
	if f, err := o.UpdateComputeFleet(t.Context(), "jobs", cluster.FleetDisabled); err != nil || f.Status != cluster.FleetDisabled {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err := o.UpdateComputeFleet(t.Context(), "jobs", cluster.FleetEnabled); err != nil || f.Status != cluster.FleetEnabled {
		t.Errorf("%+v, %v", f, err)
	}
	r := cloud.Environment().ComputeResources
	if aws.ToInt32(r.MinvCpus) != 1 || aws.ToInt32(r.MaxvCpus) != 8 || aws.ToInt32(r.DesiredvCpus) != 2 {
		t.Errorf("enabled with %+v, want the file's vCPUs", r)
	}
	cloud.Refuse["GetObject"] = clustertest.Fault("AccessDenied", "no")
	_, err = o.UpdateComputeFleet(t.Context(), "jobs", cluster.FleetEnabled)
	status(t, err, 500, "configuration of cluster jobs")
	err = o.DeleteInstances(t.Context(), "jobs", false)
	status(t, err, 400, "does not support AWS Batch clusters")
}
