package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"pcluster/internal/cluster"
	"pcluster/internal/cluster/clustertest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func golden(t *testing.T, name string, v any) {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func request(name string) cluster.CreateRequest {
	return cluster.CreateRequest{Name: name, Configuration: []byte(clustertest.ClusterFile), File: "cluster.yaml", RollbackOnFailure: true, SuppressValidators: []string{"ALL"}}
}

func create(t *testing.T, cloud *clustertest.Cloud, name string) *cluster.Operator {
	t.Helper()
	cloud.Know()
	o := cloud.Operator(quiet())
	if _, err := o.Create(t.Context(), request(name)); err != nil {
		t.Fatal(err)
	}
	return o
}

func status(t *testing.T, err error, want int, text string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if e := cluster.AsError(err); e.Status != want || !strings.Contains(e.Body.Message, text) {
		t.Errorf("%d %s\nwant %d with %q", e.Status, e.Body.Message, want, text)
	}
}

func TestCreateUploadsWhatTheStackNeeds(t *testing.T) {
	cloud := clustertest.New()
	cloud.Know()
	o := cloud.Operator(quiet())
	created, err := o.Create(t.Context(), request("Demo"))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "created.json", created)
	sums := regexp.MustCompile(`[0-9a-f]{64}`)
	objects := cloud.Objects()
	for i := range objects {
		objects[i] = sums.ReplaceAllString(objects[i], "<sha256>")
	}
	golden(t, "objects.json", objects)
	golden(t, "buckets.json", cloud.Buckets())
	dir := "parallelcluster/3.16.100/clusters/demo-0000000000000001"
	if got := string(cloud.Body(dir + "/configs/cluster-config.yaml")); got != clustertest.ClusterFile {
		t.Errorf("the user's file has changed:\n%s", got)
	}
	if got := cloud.Parameter("Demo", "ArtifactS3RootDirectory"); got != dir {
		t.Error(got)
	}

	// What the first one made is there for the second.
	before := len(cloud.Calls())
	if _, err := o.Create(t.Context(), request("Other")); err != nil {
		t.Fatal(err)
	}
	for _, call := range cloud.Calls()[before:] {
		if call == "CreateBucket" || call == "PutBucketPolicy" {
			t.Error(call)
		}
	}
}

func TestCreateRefusesBeforeItTouchesAnything(t *testing.T) {
	for name, tt := range map[string]struct {
		change  func(*cluster.CreateRequest)
		status  int
		message string
	}{
		"empty file":       {func(r *cluster.CreateRequest) { r.Configuration = []byte(" \n") }, 400, "Bad Request: configuration is required"},
		"name that exists": {func(r *cluster.CreateRequest) { r.Name = "taken" }, 400, "Bad Request: Cluster taken already exists."},
		"no YAML":          {func(r *cluster.CreateRequest) { r.Configuration = []byte("Region: [") }, 400, "Bad Request: "},
		"unknown key": {func(r *cluster.CreateRequest) {
			r.Configuration = bytes.Replace(r.Configuration, []byte("MaxCount"), []byte("MaxCoutn"), 1)
		}, 400, "Invalid cluster configuration."},
		"dry run": {func(r *cluster.CreateRequest) { r.DryRun = true }, 412, "Request would have succeeded, but DryRun flag is set."},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := clustertest.New()
			o := create(t, cloud, "taken")
			objects := cloud.Objects()
			r := request("demo")
			tt.change(&r)
			_, err := o.Create(t.Context(), r)
			status(t, err, tt.status, tt.message)
			if diff := cmp.Diff(objects, cloud.Objects()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnknownKeyIsOneMessageWithPlaceAndNearestKey(t *testing.T) {
	cloud := clustertest.New()
	cloud.Know()
	r := request("demo")
	r.Configuration = bytes.Replace(r.Configuration, []byte("MaxCount"), []byte("MaxCoutn"), 1)
	_, err := cloud.Operator(quiet()).Create(t.Context(), r)
	e := cluster.AsError(err)
	if len(e.Body.ConfigurationValidationErrors) != 1 {
		t.Fatalf("%+v", e.Body)
	}
	m := e.Body.ConfigurationValidationErrors[0]
	if m.Type != "ConfigSchemaValidator" || m.Level != "ERROR" || !strings.HasPrefix(m.Message, "[('Scheduling', ['line 17, ") || !strings.Contains(m.Message, "MaxCount") {
		t.Errorf("%+v", m)
	}
	if len(e.Problems) != 1 || e.Problems[0].Pos.Line != 17 || e.File != "cluster.yaml" || len(e.Text) == 0 {
		t.Errorf("%+v", e.Problems)
	}
}

// ofClusters returns the objects that belong to one cluster alone.
func ofClusters(cloud *clustertest.Cloud) []string {
	return slices.DeleteFunc(cloud.Objects(), func(key string) bool { return !strings.Contains(key, "/clusters/") })
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	cloud := clustertest.New()
	cloud.Know()
	cloud.Refuse["CreateStack"] = clustertest.Fault("LimitExceededException", "too many stacks")
	_, err := cloud.Operator(quiet()).Create(t.Context(), request("demo"))
	status(t, err, 500, "create stack demo: too many stacks (LimitExceededException)")
	if left := ofClusters(cloud); len(left) > 0 {
		t.Error(left)
	}
}

func TestFailedCreateSaysWhatItCouldNotRemove(t *testing.T) {
	cloud := clustertest.New()
	cloud.Know()
	cloud.Refuse["CreateStack"] = clustertest.Fault("LimitExceededException", "too many stacks")
	cloud.Refuse["ListObjectVersions"] = clustertest.Fault("AccessDenied", "no")
	_, err := cloud.Operator(quiet()).Create(t.Context(), request("demo"))
	status(t, err, 500, "too many stacks (LimitExceededException); objects below s3://parallelcluster-5b831fb59db489f1-v1-do-not-delete/parallelcluster/3.16.100/clusters/demo-0000000000000001/ are left")
}

func TestInterruptBeforeTheStackLeavesNothing(t *testing.T) {
	cloud := clustertest.New()
	cloud.Know()
	o := cloud.Operator(quiet())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.S3 = impatient{cloud, cancel}
	_, err := o.Create(ctx, request("demo"))
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if left := ofClusters(cloud); len(left) > 0 {
		t.Error(left)
	}
	if slices.Contains(cloud.Calls(), "CreateStack") {
		t.Error("the stack was created")
	}
}

func TestInterruptAfterTheStackWasAcceptedIsNoFailure(t *testing.T) {
	cloud := clustertest.New()
	cloud.Know()
	o := cloud.Operator(quiet())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.CloudFormation = lostAnswer{cloud, cancel}
	created, err := o.Create(ctx, request("demo"))
	if err != nil {
		t.Fatal(err)
	}
	if created.Cluster.CloudformationStackArn == "" || cloud.Body("parallelcluster/3.16.100/clusters/demo-0000000000000001/configs/cluster-config.yaml") == nil {
		t.Errorf("%+v", created)
	}
}

func TestDescribe(t *testing.T) {
	cloud := clustertest.New()
	o := create(t, cloud, "demo")
	cloud.Launch("i-0aa", "t3.medium", "10.0.0.5", "203.0.113.7", "parallelcluster:cluster-name", "demo", "parallelcluster:node-type", "HeadNode")

	describe := func(name string) {
		t.Helper()
		d, err := o.Describe(t.Context(), "demo")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, d)
	}
	describe("describe-in-progress.json")

	cloud.StackEvent("demo", "CREATE_COMPLETE", "")
	cloud.SetFleet("demo", "RUNNING", "2026-03-14 12:01:00 UTC")
	describe("describe-complete.json")

	cloud.Event("demo", "HeadNodeWaitCondition", "", "AWS::CloudFormation::WaitCondition", "CREATE_FAILED",
		"WaitCondition received failed message: 'Failed to execute OnNodeConfigured script 1 s3://b/setup.sh, exit code 3: no such user' for uniqueId: i-0aa")
	cloud.StackEvent("demo", "ROLLBACK_COMPLETE", "")
	describe("describe-failed.json")
}

func TestDescribeWithoutABucketStillDescribes(t *testing.T) {
	cloud := clustertest.New()
	o := create(t, cloud, "demo")
	cloud.Refuse["HeadBucket"] = clustertest.Fault("403", "Forbidden")
	cloud.Refuse["DescribeInstances"] = clustertest.Fault("UnauthorizedOperation", "no")
	d, err := o.Describe(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	if d.ClusterConfiguration.URL != "NOT_AVAILABLE" || d.HeadNode != nil || d.ComputeFleetStatus != "UNKNOWN" {
		t.Errorf("%+v", d)
	}
}

func TestClustersOfOtherToolsAreLeftAlone(t *testing.T) {
	cloud := clustertest.New()
	o := create(t, cloud, "demo")
	_, err := o.Describe(t.Context(), "nobody")
	status(t, err, 404, "Cluster 'nobody' does not exist or belongs to an incompatible ParallelCluster major version.")
	for _, version := range []string{"2.11.9", "4.0.0", ""} {
		cloud.Tag("demo", "parallelcluster:version", version)
		_, err := o.Describe(t.Context(), "demo")
		status(t, err, 400, "Bad Request: Cluster 'demo' belongs to an incompatible ParallelCluster major version.")
		_, err = o.Delete(t.Context(), "demo")
		status(t, err, 400, "incompatible")
	}
}

func TestListPagesAndFilters(t *testing.T) {
	cloud := clustertest.New()
	o := create(t, cloud, "one")
	create(t, cloud, "two")
	create(t, cloud, "three")
	cloud.Tag("two", "parallelcluster:version", "2.11.9") // of another tool, yet a cluster
	cloud.StackEvent("one", "ROLLBACK_COMPLETE", "")

	first, err := o.List(t.Context(), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "list.json", first)
	var names []string
	for token := first.NextToken; token != ""; {
		page, err := o.List(t.Context(), []string{"CREATE_FAILED"}, token)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Clusters {
			names = append(names, c.ClusterName)
		}
		token = page.NextToken
	}
	if diff := cmp.Diff([]string{"one"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestDescribeInstances(t *testing.T) {
	cloud := clustertest.New()
	tags := func(more ...string) []string {
		return append([]string{"parallelcluster:cluster-name", "demo"}, more...)
	}
	cloud.Launch("i-1", "t3.medium", "10.0.0.5", "203.0.113.7", tags("parallelcluster:node-type", "HeadNode")...)
	cloud.Launch("i-2", "t3.micro", "10.0.0.6", "", tags("parallelcluster:node-type", "Compute", "parallelcluster:queue-name", "q1")...)
	cloud.Launch("i-3", "t3.micro", "10.0.0.7", "", tags("parallelcluster:node-type", "Compute", "parallelcluster:queue-name", "q2")...)
	cloud.Launch("i-4", "t3.small", "10.0.0.8", "", tags("parallelcluster:node-type", "LoginNode", "parallelcluster:login-nodes-pool-name", "login")...)
	cloud.Launch("i-5", "t3.micro", "10.0.0.9", "", "parallelcluster:cluster-name", "other")
	o := cloud.Operator(quiet())
	page, err := o.DescribeInstances(t.Context(), "demo", cluster.InstanceFilter{})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "instances.json", page)
	for want, f := range map[string]cluster.InstanceFilter{
		"i-4":     {NextToken: page.NextToken},
		"i-2 i-3": {NodeType: "ComputeNode"},
		"i-3":     {QueueName: "q2"},
		"i-1":     {NodeType: "HeadNode"},
	} {
		page, err := o.DescribeInstances(t.Context(), "demo", f)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, i := range page.Instances {
			ids = append(ids, i.InstanceID)
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%+v: %s, want %s", f, got, want)
		}
	}
	none, err := o.DescribeInstances(t.Context(), "nobody", cluster.InstanceFilter{})
	if err != nil || none.Instances == nil || len(none.Instances) != 0 {
		t.Errorf("%+v, %v", none, err)
	}
}

func TestUpdateComputeFleet(t *testing.T) {
	cloud := clustertest.New()
	o := create(t, cloud, "demo")
	_, err := o.UpdateComputeFleet(t.Context(), "demo", cluster.FleetStopRequested)
	status(t, err, 400, "CREATE_IN_PROGRESS")
	cloud.StackEvent("demo", "CREATE_COMPLETE", "")
	_, err = o.UpdateComputeFleet(t.Context(), "demo", cluster.FleetStopRequested)
	status(t, err, 500, "Table: parallelcluster-demo not found")
	cloud.SetFleet("demo", "RUNNING", "2026-03-14 11:00:00.123456+00:00")
	_, err = o.UpdateComputeFleet(t.Context(), "demo", cluster.FleetEnabled)
	status(t, err, 400, "Bad Request: ")

	fleet, err := o.UpdateComputeFleet(t.Context(), "demo", cluster.FleetStopRequested)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "fleet-stop-requested.json", fleet)
	before := len(cloud.Calls())
	if fleet, err = o.UpdateComputeFleet(t.Context(), "demo", cluster.FleetStopRequested); err != nil || fleet.Status != cluster.FleetStopRequested {
		t.Errorf("%+v, %v", fleet, err)
	}
	if slices.Contains(cloud.Calls()[before:], "UpdateItem") {
		t.Error("asked for what was asked for already")
	}
	cloud.SetFleet("demo", "PROTECTED", "2026-03-14 11:00:00 UTC")
	if fleet, err = o.UpdateComputeFleet(t.Context(), "demo", cluster.FleetStartRequested); err != nil || fleet.Status != cluster.FleetStartRequested {
		t.Errorf("out of protected mode: %+v, %v", fleet, err)
	}
	cloud.Refuse["UpdateItem"] = clustertest.Fault("ConditionalCheckFailedException", "The conditional request failed")
	_, err = o.UpdateComputeFleet(t.Context(), "demo", cluster.FleetStopRequested)
	status(t, err, 400, "Please retry")
}

// A head node that has hung a doorbell hears of requests at once; who may not ring it
// makes requests all the same.
func TestUpdateComputeFleetRings(t *testing.T) {
	cloud := clustertest.New()
	o := create(t, cloud, "demo")
	cloud.StackEvent("demo", "CREATE_COMPLETE", "")
	cloud.SetFleet("demo", "RUNNING", "2026-03-14 11:00:00.123456+00:00")
	cloud.HangDoorbell("demo", "Z1", "compute-fleet.demo.pcluster")
	if _, err := o.UpdateComputeFleet(t.Context(), "demo", cluster.FleetStopRequested); err != nil {
		t.Fatal(err)
	}
	if rung := cloud.Rung(); !slices.Equal(rung, []string{"Z1 compute-fleet.demo.pcluster"}) {
		t.Errorf("rung: %q", rung)
	}
	cloud.Refuse["ChangeResourceRecordSets"] = clustertest.Fault("AccessDenied", "You may not.")
	fleet, err := o.UpdateComputeFleet(t.Context(), "demo", cluster.FleetStartRequested)
	if err != nil || fleet.Status != cluster.FleetStartRequested {
		t.Errorf("%+v, %v", fleet, err)
	}
}

func TestDelete(t *testing.T) {
	cloud := clustertest.New()
	o := create(t, cloud, "demo")
	for range 2 { // the second finds it under way
		deleting, err := o.Delete(t.Context(), "demo")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "deleting.json", deleting)
	}
	if n := len(slices.DeleteFunc(cloud.Calls(), func(s string) bool { return s != "DeleteStack" })); n != 1 {
		t.Errorf("DeleteStack was called %d times", n)
	}
}

func TestDeleteThatFailsTerminatesTheComputeFleet(t *testing.T) {
	cloud := clustertest.New()
	o := create(t, cloud, "demo")
	for _, id := range []string{"i-1", "i-2", "i-3", "i-4"} {
		cloud.Launch(id, "t3.micro", "10.0.0.6", "", "parallelcluster:cluster-name", "demo", "parallelcluster:node-type", "Compute")
	}
	cloud.Launch("i-head", "t3.medium", "10.0.0.5", "", "parallelcluster:cluster-name", "demo", "parallelcluster:node-type", "HeadNode")
	cloud.Refuse["DeleteStack"] = clustertest.Fault("TokenAlreadyExistsException", "no")
	_, err := o.Delete(t.Context(), "demo")
	status(t, err, 500, "did not delete successfully")
	left, err := o.DescribeInstances(t.Context(), "demo", cluster.InstanceFilter{})
	if err != nil || len(left.Instances) != 1 || left.Instances[0].InstanceID != "i-head" {
		t.Errorf("%+v, %v", left, err)
	}
}

func TestErrorsSayWhatToTry(t *testing.T) {
	operation := func(err error) error {
		return &smithy.OperationError{ServiceID: "CloudFormation", OperationName: "DescribeStacks", Err: err}
	}
	for name, tt := range map[string]struct {
		err    error
		status int
		want   string
	}{
		"nobody listens": {
			operation(&url.Error{Op: "Post", URL: "http://127.0.0.1:4566/", Err: syscall.ECONNREFUSED}), 500,
			"CloudFormation DescribeStacks: http://127.0.0.1:4566 cannot be reached (connection refused); check the region, the network and AWS_ENDPOINT_URL",
		},
		"throttled":       {operation(clustertest.Fault("Throttling", "Rate exceeded")), 429, "CloudFormation DescribeStacks: Rate exceeded (Throttling)"},
		"wrong key":       {operation(clustertest.Fault("InvalidClientTokenId", "The security token is invalid")), 500, "AWS_PROFILE"},
		"none of it":      {errors.New("out of luck"), 500, "out of luck"},
		"without a field": {operation(&smithy.InvalidParamsError{Context: "X"}), 400, "CloudFormation DescribeStacks: 0 validation error(s) found."},
	} {
		t.Run(name, func(t *testing.T) { status(t, tt.err, tt.status, tt.want) })
	}
}

// lostAnswer is CloudFormation behind a line that breaks just after CreateStack
// was heard.
type lostAnswer struct {
	*clustertest.Cloud
	cancel func()
}

func (l lostAnswer) CreateStack(ctx context.Context, in *cloudformation.CreateStackInput, opts ...func(*cloudformation.Options)) (*cloudformation.CreateStackOutput, error) {
	if _, err := l.Cloud.CreateStack(ctx, in, opts...); err != nil {
		return nil, err
	}
	l.cancel()
	return nil, context.Canceled
}

// impatient is S3 to somebody who presses Ctrl-C when the template goes up.
type impatient struct {
	*clustertest.Cloud
	cancel func()
}

func (i impatient) PutObject(ctx context.Context, in *s3.PutObjectInput, opts ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	if strings.HasSuffix(*in.Key, ".cfn.yaml") {
		i.cancel()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return i.Cloud.PutObject(ctx, in, opts...)
}
