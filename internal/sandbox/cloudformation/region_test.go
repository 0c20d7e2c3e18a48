package cloudformation

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	awsddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	awsefs "github.com/aws/aws-sdk-go-v2/service/efs"
	awsfsx "github.com/aws/aws-sdk-go-v2/service/fsx"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"
	awsr53 "github.com/aws/aws-sdk-go-v2/service/route53"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/awsclient"
	"pcluster/internal/sandbox/cloudformation/resource"
	"pcluster/internal/sandbox/cloudformation/template"
	watch "pcluster/internal/sandbox/cloudwatch"
	"pcluster/internal/sandbox/dynamodb"
	"pcluster/internal/sandbox/ec2"
	"pcluster/internal/sandbox/efs"
	"pcluster/internal/sandbox/fsx"
	"pcluster/internal/sandbox/iam"
	"pcluster/internal/sandbox/lambda"
	"pcluster/internal/sandbox/logs"
	"pcluster/internal/sandbox/machine"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/route53"
	"pcluster/internal/sandbox/s3"
	"pcluster/internal/sandbox/secretsmanager"
	"pcluster/internal/sandbox/ssm"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/vpc"
	"pcluster/internal/sandbox/wire"
)

// quietMachines boots machines that do nothing.
type quietMachines struct {
	mu sync.Mutex
	up map[string]bool
}

func (m *quietMachines) set(id string, up bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.up == nil {
		m.up = map[string]bool{}
	}
	delete(m.up, id)
	if up {
		m.up[id] = true
	}
	return nil
}

func (m *quietMachines) Start(_ context.Context, s machine.Spec) error              { return m.set(s.ID, true) }
func (m *quietMachines) Stop(_ context.Context, id string) error                    { return m.set(id, false) }
func (m *quietMachines) Kill(_ context.Context, id string) error                    { return m.set(id, false) }
func (m *quietMachines) Remove(context.Context, string) error                       { return nil }
func (m *quietMachines) Capture(context.Context, string, string, bool) error        { return nil }
func (m *quietMachines) ReadFile(string, string, int64, int) ([]byte, error)        { return nil, nil }
func (m *quietMachines) AttachVolume(context.Context, string, machine.Volume) error { return nil }
func (m *quietMachines) DetachVolume(context.Context, string, machine.Volume) error { return nil }
func (m *quietMachines) Console(string) ([]byte, error)                             { return nil, nil }
func (m *quietMachines) Running() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for id := range m.up {
		out = append(out, id)
	}
	return out
}

type noNetwork struct{}

func (noNetwork) AddSubnet(netip.Prefix) error    { return nil }
func (noNetwork) SetGroups([]vpc.Group) error     { return nil }
func (noNetwork) SetPublic(_, _ netip.Addr) error { return nil }

// realRegion is a region of the real services, without machines.
type realRegion struct {
	cfn    *Service
	types  map[string]*resource.Type
	ec2    *ec2.Service
	iam    *iam.Service
	efs    *efs.Service
	fsx    *fsx.Service
	logs   *logs.Service
	ddb    *dynamodb.Service
	dns    *route53.Service
	lambda *lambda.Service
	watch  *watch.Service
	s3     *awss3.Client

	restart func() // of CloudFormation alone
}

func newRealRegion(t *testing.T) *realRegion {
	t.Helper()
	db, err := store.Open(t.TempDir() + "/region.db")
	if err != nil {
		t.Fatal(err)
	}
	id := region.NewIdentity("", "")
	r := &realRegion{}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	r.iam, err = iam.New(db, id)
	must(err)
	secret, err := secretsmanager.New(db, id)
	must(err)
	parameters, err := ssm.New(db, id)
	must(err)
	r.watch, err = watch.New(db, id)
	must(err)
	r.logs, err = logs.New(db, id, t.TempDir())
	must(err)
	r.ddb, err = dynamodb.New(db, id)
	must(err)
	objects, err := s3.New(db, id, t.TempDir())
	must(err)
	r.ec2, err = ec2.New(db, id, ec2.Config{
		Dir: t.TempDir(), Machines: &quietMachines{}, Network: noNetwork{}, Profiles: r.iam, Log: log, Grace: time.Millisecond,
		BaseLayers: func(context.Context) ([]string, error) { return []string{"/layer"}, nil },
	})
	must(err)
	r.dns, err = route53.New(db, id, r.ec2)
	must(err)
	r.efs, err = efs.New(db, id, t.TempDir(), r.ec2)
	must(err)
	r.fsx, err = fsx.New(db, id, t.TempDir(), r.ec2, objects)
	must(err)
	r.fsx.Start(t.Context())

	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	r.lambda, err = lambda.New(db, id, lambda.Config{
		Dir: t.TempDir(), Objects: objects, Credentials: r.iam, Logs: r.logs, Log: log, Endpoint: func() string { return server.URL },
	})
	must(err)
	r.s3 = awss3.NewFromConfig(aws.Config{
		APIOptions: awsclient.Options,
		Region:     id.Name(), BaseEndpoint: aws.String(server.URL), Credentials: credentials.NewStaticCredentialsProvider("AKIA", "secret", ""),
	}, func(o *awss3.Options) { o.UsePathStyle = true })
	services := resource.Services{
		EC2: r.ec2, IAM: r.iam, EFS: r.efs, FSx: r.fsx, Logs: r.logs, DynamoDB: r.ddb, Route53: r.dns, Lambda: r.lambda, CloudWatch: r.watch,
		S3: r.s3, SecretsManager: secret, SSM: parameters,
	}
	r.types = resource.Types(services)
	r.restart = func() {
		if r.cfn != nil {
			r.cfn.Close()
		}
		var err error
		r.cfn, err = New(db, id, Config{Services: services, Objects: objects, Parameters: parameters, Secrets: secret, Endpoint: server.URL, Log: log})
		must(err)
		r.cfn.Start(t.Context())
	}
	r.restart()
	mux.HandleFunc("/_cfn/", func(w http.ResponseWriter, req *http.Request) { r.cfn.SignalHandler().ServeHTTP(w, req) })
	root := wire.Caller{AccessKeyID: "AKIA", AccountID: id.Account(), ARN: "arn:aws:iam::" + id.Account() + ":root", UserID: id.Account()}
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		objects.ServeHTTP(w, req.WithContext(wire.WithCaller(req.Context(), root)))
	})
	t.Cleanup(func() {
		r.cfn.Close()
		r.lambda.Close()
		_ = db.Close()
	})
	return r
}

// bootstrap is a custom resource's function in shell: it answers with the round
// that it was asked about.
const bootstrap = `#!/bin/sh
api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation
while :; do
	headers=$(mktemp) && event=$(curl -sS -D "$headers" "$api/next") || exit 1
	id=$(tr -d '\r' < "$headers" | sed -n 's/^Lambda-Runtime-Aws-Request-Id: //p')
	rm -f "$headers"
	url=$(echo "$event" | sed 's/.*"ResponseURL":"\([^"]*\)".*/\1/')
	round=$(echo "$event" | sed 's/.*"ResourceProperties":{"Round":"\([^"]*\)".*/\1/')
	curl -sS -X PUT -d "{\"Status\":\"SUCCESS\",\"PhysicalResourceId\":\"custom\",\"Data\":{\"Round\":\"$round from $ROUND\"}}" "$url"
	curl -sS -X POST -d '{}' "$api/$id/response"
done
`

func (r *realRegion) put(t *testing.T, bucket, key string, body []byte) {
	t.Helper()
	if _, err := r.s3.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(key), Body: bytes.NewReader(body)}); err != nil {
		t.Fatal(err)
	}
}

// prepare makes what testdata/everything.yaml refers to, and returns its
// parameters.
func (r *realRegion) prepare(t *testing.T, body []byte) func(round string) []types.Parameter {
	t.Helper()
	ctx := t.Context()
	if _, err := r.s3.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String("materials")}); err != nil {
		t.Fatal(err)
	}
	var code bytes.Buffer
	z := zip.NewWriter(&code)
	h := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate}
	h.SetMode(0o755)
	w, err := z.CreateHeader(h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(bootstrap)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	r.put(t, "materials", "function.zip", code.Bytes())
	r.put(t, "materials", "data/file", []byte("content"))
	r.put(t, "materials", "everything.yaml", body)
	r.put(t, "materials", "child.json", []byte(`{"Parameters": {"Round": {"Type": "Number"}}, "Resources": {"Log": {"Type": "AWS::Logs::LogGroup", "Properties": {"Tags": [{"Key": "Round", "Value": {"Ref": "Round"}}]}}}, "Outputs": {"Round": {"Value": {"Ref": "Round"}}}}`))
	if err := r.ec2.AdoptImage(ctx, "ami-0123456789abcdef0", "image", "alinux2023", nil); err != nil {
		t.Fatal(err)
	}
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBMwZP7ZJ3lzY5WYk3Nq9sFc8u1bTq3mZ7Qm3mU1QkqE somebody"
	return func(round string) []types.Parameter {
		var out []types.Parameter
		for k, v := range map[string]string{"Round": round, "Bucket": "materials", "CodeKey": "function.zip", "Image": "ami-0123456789abcdef0", "KeyMaterial": key} {
			out = append(out, types.Parameter{ParameterKey: aws.String(k), ParameterValue: aws.String(v)})
		}
		return out
	}
}

// settle waits for the end of an operation and wants its result.
func (r *realRegion) settle(t *testing.T, id, status string) types.Stack {
	t.Helper()
	for range 30_000 {
		out, err := r.cfn.DescribeStacks(t.Context(), &sdk.DescribeStacksInput{StackName: aws.String(id)})
		if err != nil {
			t.Fatal(err)
		}
		st := out.Stacks[0]
		if strings.HasSuffix(string(st.StackStatus), "_IN_PROGRESS") {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if string(st.StackStatus) != status {
			t.Fatalf("stack is %s, want %s:\n%s", st.StackStatus, status, r.failures(t, id))
		}
		return st
	}
	t.Fatalf("the stack does not come to an end:\n%s", r.failures(t, id))
	return types.Stack{}
}

func (r *realRegion) failures(t *testing.T, id string) string {
	var b strings.Builder
	in := &sdk.DescribeStackEventsInput{StackName: aws.String(id)}
	for {
		out, err := r.cfn.DescribeStackEvents(context.Background(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range out.StackEvents {
			if strings.HasSuffix(string(e.ResourceStatus), "_FAILED") {
				fmt.Fprintf(&b, "%s %s %s\n", *e.LogicalResourceId, e.ResourceStatus, aws.ToString(e.ResourceStatusReason))
			}
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			break
		}
	}
	resources, err := r.cfn.ListStackResources(context.Background(), &sdk.ListStackResourcesInput{StackName: aws.String(id)})
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range resources.StackResourceSummaries {
		if strings.HasSuffix(string(res.ResourceStatus), "_IN_PROGRESS") {
			fmt.Fprintf(&b, "%s %s\n", *res.LogicalResourceId, res.ResourceStatus)
		}
	}
	return b.String()
}

func TestEveryTypeOnTheRegionsServices(t *testing.T) {
	body, err := os.ReadFile("testdata/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r := newRealRegion(t)
	ctx := t.Context()
	tpl, err := template.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, name := range tpl.Types() {
		used[name] = true
	}
	for name := range r.types {
		if !used[name] {
			t.Errorf("testdata/everything.yaml has no %s", name)
		}
	}

	parameters := r.prepare(t, body)
	before := r.left(t)
	tags := []types.Tag{{Key: aws.String("team"), Value: aws.String("hpc")}}
	url := aws.String("https://materials.s3.us-east-1.amazonaws.com/everything.yaml")
	start := time.Now()
	created, err := r.cfn.CreateStack(ctx, &sdk.CreateStackInput{
		StackName: aws.String("everything"), TemplateURL: url, Parameters: parameters("1"), Tags: tags, Capabilities: []types.Capability{types.CapabilityCapabilityIam}, DisableRollback: aws.Bool(true),
	})
	if err != nil {
		t.Fatal(err)
	}
	st := r.settle(t, *created.StackId, "CREATE_COMPLETE")
	t.Logf("created in %v", time.Since(start).Round(time.Millisecond))
	outputs := map[string]string{}
	for _, o := range st.Outputs {
		outputs[*o.OutputKey] = *o.OutputValue
	}
	for name, prefix := range map[string]string{"PrivateIp": "10.77.0.", "PrivateDnsName": "ip-10-77-0-", "LustreDNSName": "fs-", "Password": "slurm", "Child": "1", "Answer": "1 from 1"} {
		if !strings.HasPrefix(outputs[name], prefix) {
			t.Errorf("output %s = %q, want %s…", name, outputs[name], prefix)
		}
	}
	instances, err := r.ec2.DescribeInstances(ctx, &awsec2.DescribeInstancesInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, reservation := range instances.Reservations {
		have := map[string]string{}
		for _, tag := range reservation.Instances[0].Tags {
			have[*tag.Key] = *tag.Value
		}
		if have["team"] != "hpc" || have["aws:cloudformation:stack-name"] != "everything" {
			t.Errorf("tags of an instance: %v", have)
		}
	}

	start = time.Now()
	if _, err := r.cfn.UpdateStack(ctx, &sdk.UpdateStackInput{
		StackName: aws.String("everything"), UsePreviousTemplate: aws.Bool(true), Parameters: parameters("2"), Capabilities: []types.Capability{types.CapabilityCapabilityIam}, DisableRollback: aws.Bool(true),
	}); err != nil {
		t.Fatal(err)
	}
	st = r.settle(t, *created.StackId, "UPDATE_COMPLETE")
	t.Logf("updated in %v", time.Since(start).Round(time.Millisecond))
	for _, o := range st.Outputs {
		if *o.OutputKey == "Answer" && *o.OutputValue != "2 from 2" || (*o.OutputKey == "Child" || *o.OutputKey == "Version") && *o.OutputValue != "2" {
			t.Errorf("output %s after the update = %s", *o.OutputKey, *o.OutputValue)
		}
	}
	_, err = r.cfn.UpdateStack(ctx, &sdk.UpdateStackInput{
		StackName: aws.String("everything"), UsePreviousTemplate: aws.Bool(true), Parameters: parameters("2"), Capabilities: []types.Capability{types.CapabilityCapabilityIam},
	})
	if err == nil || err.Error() != "ValidationError: No updates are to be performed." {
		t.Errorf("second update to the same: %v", err)
	}

	start = time.Now()
	if _, err := r.cfn.DeleteStack(ctx, &sdk.DeleteStackInput{StackName: aws.String("everything")}); err != nil {
		t.Fatal(err)
	}
	r.settle(t, *created.StackId, "DELETE_COMPLETE")
	t.Logf("deleted in %v", time.Since(start).Round(time.Millisecond))
	before["snapshots"]++
	if diff := cmp.Diff(before, r.left(t)); diff != "" {
		t.Errorf("what there is (-before +after):\n%s", diff)
	}
}

// Resource types must find what they made when the daemon dies in between.
func TestEveryTypeSurvivesTheDeathOfTheDaemon(t *testing.T) {
	if testing.Short() {
		t.Skip("many runs of a big stack")
	}
	body, err := os.ReadFile("testdata/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r := newRealRegion(t)
	ctx := t.Context()
	parameters := r.prepare(t, body)
	want := r.left(t)
	deaths := 0
	for n := 5; n < 400; n += 29 {
		var mu sync.Mutex
		writes, svc := 0, r.cfn
		svc.write = func() error {
			mu.Lock()
			defer mu.Unlock()
			if writes++; writes <= n {
				return nil
			}
			go svc.stop(errClosed)
			return errors.New("killed")
		}
		created, err := svc.CreateStack(ctx, &sdk.CreateStackInput{
			StackName: aws.String("everything"), TemplateURL: aws.String("https://materials.s3.us-east-1.amazonaws.com/everything.yaml"), Parameters: parameters("1"),
			Capabilities: []types.Capability{types.CapabilityCapabilityIam}, DisableRollback: aws.Bool(true),
		})
		if err != nil {
			t.Fatal(err)
		}
		for svc.ctx.Err() == nil && svc.find(*created.StackId).snapshot().Op != nil {
			time.Sleep(time.Millisecond)
		}
		if svc.ctx.Err() != nil {
			deaths++
		}
		r.restart()
		r.settle(t, *created.StackId, "CREATE_COMPLETE")
		made := r.left(t)
		if made["VPCs"] != want["VPCs"]+1 || made["EFS file systems"] != 1 || made["volumes"] != want["volumes"]+3 || made["addresses"] != 2 {
			t.Errorf("death after write %d: %v", n, made)
		}
		if _, err := r.cfn.DeleteStack(ctx, &sdk.DeleteStackInput{StackName: aws.String("everything")}); err != nil {
			t.Fatal(err)
		}
		r.settle(t, *created.StackId, "DELETE_COMPLETE")
		want["snapshots"]++
		if diff := cmp.Diff(want, r.left(t)); diff != "" {
			t.Fatalf("death after write %d: what there is (-before +after):\n%s", n, diff)
		}
	}
	if deaths < 5 {
		t.Errorf("CloudFormation died only %d times", deaths)
	}
}

// left counts what a stack might leave behind.
func (r *realRegion) left(t *testing.T) map[string]int {
	ctx := t.Context()
	out := map[string]int{}
	count := func(what string, get func() (int, error)) {
		n, err := get()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		out[what] = n
	}
	count("VPCs", func() (int, error) {
		o, err := r.ec2.DescribeVpcs(ctx, &awsec2.DescribeVpcsInput{})
		return len(o.Vpcs), err
	})
	count("groups", func() (int, error) {
		o, err := r.ec2.DescribeSecurityGroups(ctx, &awsec2.DescribeSecurityGroupsInput{})
		return len(o.SecurityGroups), err
	})
	count("interfaces", func() (int, error) {
		o, err := r.ec2.DescribeNetworkInterfaces(ctx, &awsec2.DescribeNetworkInterfacesInput{})
		return len(o.NetworkInterfaces), err
	})
	count("addresses", func() (int, error) {
		o, err := r.ec2.DescribeAddresses(ctx, &awsec2.DescribeAddressesInput{})
		return len(o.Addresses), err
	})
	count("volumes", func() (int, error) {
		o, err := r.ec2.DescribeVolumes(ctx, &awsec2.DescribeVolumesInput{})
		return len(o.Volumes), err
	})
	count("snapshots", func() (int, error) {
		o, err := r.ec2.DescribeSnapshots(ctx, &awsec2.DescribeSnapshotsInput{})
		return len(o.Snapshots), err
	})
	count("subnets", func() (int, error) {
		o, err := r.ec2.DescribeSubnets(ctx, &awsec2.DescribeSubnetsInput{})
		return len(o.Subnets), err
	})
	count("launch templates", func() (int, error) {
		o, err := r.ec2.DescribeLaunchTemplates(ctx, &awsec2.DescribeLaunchTemplatesInput{})
		return len(o.LaunchTemplates), err
	})
	count("placement groups", func() (int, error) {
		o, err := r.ec2.DescribePlacementGroups(ctx, &awsec2.DescribePlacementGroupsInput{})
		return len(o.PlacementGroups), err
	})
	count("key pairs", func() (int, error) {
		o, err := r.ec2.DescribeKeyPairs(ctx, &awsec2.DescribeKeyPairsInput{})
		return len(o.KeyPairs), err
	})
	count("roles", func() (int, error) {
		o, err := r.iam.ListRoles(ctx, &awsiam.ListRolesInput{PathPrefix: aws.String("/everything/")})
		return len(o.Roles), err
	})
	count("users", func() (int, error) {
		o, err := r.iam.ListUsers(ctx, &awsiam.ListUsersInput{})
		return len(o.Users), err
	})
	count("profiles", func() (int, error) {
		o, err := r.iam.ListInstanceProfiles(ctx, &awsiam.ListInstanceProfilesInput{})
		return len(o.InstanceProfiles), err
	})
	count("EFS file systems", func() (int, error) {
		o, err := r.efs.DescribeFileSystems(ctx, &awsefs.DescribeFileSystemsInput{})
		return len(o.FileSystems), err
	})
	count("Lustre file systems", func() (int, error) {
		o, err := r.fsx.DescribeFileSystems(ctx, &awsfsx.DescribeFileSystemsInput{})
		return len(o.FileSystems), err
	})
	count("tables", func() (int, error) {
		o, err := r.ddb.ListTables(ctx, &awsddb.ListTablesInput{})
		return len(o.TableNames), err
	})
	count("zones", func() (int, error) {
		o, err := r.dns.ListHostedZones(ctx, &awsr53.ListHostedZonesInput{})
		return len(o.HostedZones), err
	})
	count("functions", func() (int, error) {
		o, err := r.lambda.ListFunctions(ctx, &awslambda.ListFunctionsInput{})
		return len(o.Functions), err
	})
	count("alarms", func() (int, error) {
		o, err := r.watch.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{})
		return len(o.MetricAlarms) + len(o.CompositeAlarms), err
	})
	count("buckets", func() (int, error) {
		o, err := r.s3.ListBuckets(ctx, &awss3.ListBucketsInput{})
		return len(o.Buckets), err
	})
	count("log groups", func() (int, error) {
		o, err := r.logs.DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{})
		n := len(o.LogGroups)
		for _, g := range o.LogGroups {
			if strings.HasPrefix(aws.ToString(g.LogGroupName), "/aws/lambda/") { // Lambda made it, and it stays
				n--
			}
		}
		return n, err
	})
	return out
}
