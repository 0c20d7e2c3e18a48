//go:build linux

package permissions

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pcluster/internal/awsclient"
	"pcluster/internal/cluster"
	"pcluster/internal/node"
	"pcluster/internal/sandbox"
)

// TestMain lets the region of a test start this program as the function of a stack, in
// place of pcluster-node, whose code it runs.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" {
		os.Exit(node.Run(context.Background(), []string{"pcluster-node"}, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// A trial is a region, and what people in it may do.
type trial struct {
	region  *sandbox.Light
	admin   aws.Config
	record  string
	program string // directory with the node program: this test
}

const directory = "../../docs/iam"

// ownBucket is a bucket of the users', which they let themselves use.
const ownBucket = "pool-of-data"

// newTrial opens a region with the boundary that the policies ask for.
func newTrial(t *testing.T) *trial {
	t.Helper()
	region, err := sandbox.OpenLight(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := region.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &trial{region: region, record: filepath.Join(t.TempDir(), "record.jsonl"), program: packSelf(t)}
	if err := region.Record(r.record); err != nil {
		t.Fatal(err)
	}
	r.admin = r.as(region.Credentials())
	if _, err := iam.NewFromConfig(r.admin).CreatePolicy(t.Context(), &iam.CreatePolicyInput{
		PolicyName: aws.String("parallelcluster-boundary"), PolicyDocument: aws.String(text(t, filepath.Join(directory, "boundary.json"))),
	}); err != nil {
		t.Fatal(err)
	}
	return r
}

func text(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (r *trial) as(key, secret string) aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(r.region.URL()), Credentials: credentials.NewStaticCredentialsProvider(key, secret, ""),
		APIOptions: awsclient.Options,
	}
}

// user makes a user with policies, by the names of their files.
func (r *trial) user(t *testing.T, name string, policies ...string) aws.Config {
	t.Helper()
	api := iam.NewFromConfig(r.admin)
	if _, err := api.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name}); err != nil {
		t.Fatal(err)
	}
	for _, p := range policies {
		made, err := api.CreatePolicy(t.Context(), &iam.CreatePolicyInput{
			PolicyName: aws.String(name + "-" + p), PolicyDocument: aws.String(text(t, filepath.Join(directory, p+".json"))),
		})
		if err != nil {
			t.Fatalf("policy %s: %v", p, err)
		}
		if _, err := api.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: &name, PolicyArn: made.Policy.Arn}); err != nil {
			t.Fatal(err)
		}
	}
	// Buckets that files name, and the munge key, are the user's own affair.
	if _, err := api.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("data"), PolicyDocument: aws.String(
		`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::` + ownBucket + `", "arn:aws:s3:::` + ownBucket + `/*"]},
			{"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "arn:aws:secretsmanager:us-east-1:111122223333:secret:munge-AbCdEf"}]}`)}); err != nil {
		t.Fatal(err)
	}
	key, err := api.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		t.Fatal(err)
	}
	return r.as(*key.AccessKey.AccessKeyId, *key.AccessKey.SecretAccessKey)
}

// operator acts on clusters with somebody's credentials.
func (r *trial) operator(cfg aws.Config) *cluster.Operator {
	o := cluster.New(cfg, slog.New(slog.DiscardHandler))
	o.Programs = cluster.ProgramsIn(r.program)
	o.Poll = 20 * time.Millisecond
	return o
}

// packSelf puts this test where operators look for the node program.
func packSelf(t *testing.T) (dir string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	f, err := os.Create(filepath.Join(dir, "pcluster-node-linux-"+runtime.GOARCH+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// say writes a line to a log, as nodes and builds do.
func (r *trial) say(t *testing.T, group, stream string) {
	t.Helper()
	ctx, api := t.Context(), cloudwatchlogs.NewFromConfig(r.admin)
	var exists *types.ResourceAlreadyExistsException
	if _, err := api.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &group}); err != nil && !errors.As(err, &exists) {
		t.Fatal(err)
	}
	if _, err := api.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: &group, LogStreamName: &stream}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{LogGroupName: &group, LogStreamName: &stream, LogEvents: []types.InputLogEvent{
		{Timestamp: aws.Int64(time.Now().Add(-time.Minute).UnixMilli()), Message: aws.String("up")},
	}}); err != nil {
		t.Fatal(err)
	}
}

// create makes a cluster. Nobody boots: the test says that the head node is ready.
func (r *trial) create(t *testing.T, o *cluster.Operator, name, file string) error {
	t.Helper()
	request := cluster.CreateRequest{Name: name, Configuration: []byte(text(t, file)), File: file, DryRun: true}
	_, _ = o.Create(t.Context(), request) // asks for all facts; what it finds is that the region is empty
	request.DryRun, request.SuppressValidators = false, []string{"ALL"}
	made, err := o.Create(t.Context(), request)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go r.playHeadNode(ctx, name)
	go r.playLoginNodes(ctx)
	return r.settled(t, made.Cluster.CloudformationStackArn, "CREATE_COMPLETE")
}

func (r *trial) delete(t *testing.T, o *cluster.Operator, name string) error {
	t.Helper()
	s, err := o.Delete(t.Context(), name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go r.playLoginNodes(ctx)
	return r.settled(t, s.Cluster.CloudformationStackArn, "DELETE_COMPLETE")
}

// settled waits until a stack is as wanted. A stack that is not says why.
func (r *trial) settled(t *testing.T, stack, want string) error {
	api := cloudformation.NewFromConfig(r.admin)
	for {
		out, err := api.DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{StackName: &stack})
		if err != nil {
			return err
		}
		status := string(out.Stacks[0].StackStatus)
		switch {
		case status == want:
			return nil
		case strings.HasSuffix(status, "_IN_PROGRESS"):
			time.Sleep(20 * time.Millisecond)
			continue
		}
		events, err := api.DescribeStackEvents(t.Context(), &cloudformation.DescribeStackEventsInput{StackName: &stack})
		if err != nil {
			return err
		}
		slices.Reverse(events.StackEvents)
		var reasons []string
		for _, e := range events.StackEvents {
			if strings.HasSuffix(string(e.ResourceStatus), "_FAILED") {
				reasons = append(reasons, *e.LogicalResourceId+": "+aws.ToString(e.ResourceStatusReason))
			}
		}
		return fmt.Errorf("stack is %s, not %s:\n%s", status, want, strings.Join(reasons, "\n"))
	}
}

// playHeadNode signals that the head node of a cluster is ready when its stack waits for that.
func (r *trial) playHeadNode(ctx context.Context, name string) {
	api := cloudformation.NewFromConfig(r.admin)
	for ctx.Err() == nil {
		out, err := api.DescribeStackResources(ctx, &cloudformation.DescribeStackResourcesInput{StackName: &name})
		if err == nil {
			for _, s := range out.StackResources {
				if *s.ResourceType == "AWS::CloudFormation::WaitConditionHandle" && s.PhysicalResourceId != nil && r.signal(ctx, *s.PhysicalResourceId) == nil {
					return
				}
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// playLoginNodes says for the nodes of Auto Scaling groups that they are up, or done.
func (r *trial) playLoginNodes(ctx context.Context) {
	api := autoscaling.NewFromConfig(r.admin)
	for ; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		out, err := api.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{})
		if err != nil {
			continue
		}
		for _, g := range out.AutoScalingGroups {
			hooks, err := api.DescribeLifecycleHooks(ctx, &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: g.AutoScalingGroupName})
			if err != nil {
				continue
			}
			for _, i := range g.Instances {
				for _, h := range hooks.LifecycleHooks { // of another transition: refused
					_, _ = api.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{
						AutoScalingGroupName: g.AutoScalingGroupName, LifecycleHookName: h.LifecycleHookName, InstanceId: i.InstanceId, LifecycleActionResult: aws.String("CONTINUE"),
					})
				}
			}
		}
	}
}

func (r *trial) signal(ctx context.Context, handle string) error {
	u, err := url.Parse(handle)
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]string{"Status": "SUCCESS", "UniqueId": "head", "Data": "ready", "Reason": ""})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, r.region.URL()+u.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Host = u.Host
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("signal: %s", res.Status)
	}
	return nil
}
