//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"pcluster/test/permissions/record"
)

var keepRecord = flag.Bool("record", false, "make test/permissions' record of a life anew")

// boundary is the permissions boundary of roles, as docs/iam has it.
const boundary = "parallelcluster-boundary"

// makeBoundary does what administrators do before anybody makes clusters: they put the
// buckets of their users into the published boundary. It returns its ARN.
func (r *region) makeBoundary(t *testing.T, buckets ...string) string {
	t.Helper()
	var document struct {
		Version   string
		Statement []map[string]any
	}
	if err := json.Unmarshal([]byte(published(t, "boundary")), &document); err != nil {
		t.Fatal(err)
	}
	for _, s := range document.Statement {
		if s["Sid"] != "Data" {
			continue
		}
		list, _ := s["Resource"].([]any)
		if len(list) == 0 {
			t.Fatalf("the boundary's statement Data has no list of buckets: %v", s["Resource"])
		}
		for _, b := range buckets {
			list = append(list, "arn:*:s3:::"+b, "arn:*:s3:::"+b+"/*")
		}
		s["Resource"] = list
	}
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	made, err := r.iam(t).CreatePolicy(t.Context(), &iam.CreatePolicyInput{PolicyName: aws.String(boundary), PolicyDocument: aws.String(string(text))})
	if err != nil {
		t.Fatal(err)
	}
	return *made.Policy.Arn
}

// user makes a user with published policies, who may also use a bucket of their own. It
// returns the region with this user's credentials.
func (r *region) user(t *testing.T, name, bucket string, policies ...string) *region {
	t.Helper()
	ctx, api := t.Context(), r.iam(t)
	if _, err := api.CreateUser(ctx, &iam.CreateUserInput{UserName: &name}); err != nil {
		t.Fatal(err)
	}
	for _, p := range policies {
		made, err := api.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("pcluster-" + p), PolicyDocument: aws.String(published(t, p))})
		if err != nil {
			t.Fatalf("policy %s: %v", p, err)
		}
		if _, err := api.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: &name, PolicyArn: made.Policy.Arn}); err != nil {
			t.Fatal(err)
		}
	}
	own := `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::` + bucket + `", "arn:aws:s3:::` + bucket + `/*"]}]}`
	if _, err := api.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("data"), PolicyDocument: &own}); err != nil {
		t.Fatal(err)
	}
	key, err := api.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		t.Fatal(err)
	}
	as := *r
	as.env = append(slices.Clip(r.env), "AWS_ACCESS_KEY_ID="+*key.AccessKey.AccessKeyId, "AWS_SECRET_ACCESS_KEY="+*key.AccessKey.SecretAccessKey)
	return &as
}

func published(t *testing.T, policy string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "iam", policy+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// iam is a client with the region's environment.
func (r *region) iam(t *testing.T) *iam.Client {
	t.Helper()
	env := func(name string) string {
		for _, v := range slices.Backward(r.env) {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				return value
			}
		}
		t.Fatalf("the region's environment has no %s", name)
		return ""
	}
	roots, err := os.ReadFile(env("AWS_CA_BUNDLE"))
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithRegion(env("AWS_REGION")), config.WithBaseEndpoint(env("AWS_ENDPOINT_URL")),
		config.WithCustomCABundle(bytes.NewReader(roots)), config.WithSharedConfigFiles(nil), config.WithSharedCredentialsFiles(nil),
		config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY"), "")))
	if err != nil {
		t.Fatal(err)
	}
	return iam.NewFromConfig(cfg)
}

// checkRecord holds what was asked for in the life of a cluster or an image against the
// records that test/permissions judges policies by: nothing was refused, and nothing is
// missing there. name is that of this life's record; callers are those that have to be in it
// beside the user.
func checkRecord(t *testing.T, file, ownBucket, name string, callers ...string) {
	now, err := record.Read(file, ownBucket)
	if err != nil {
		t.Fatal(err)
	}
	records := filepath.Join(root, "test", "permissions", "testdata")
	if *keepRecord {
		if err := record.Save(filepath.Join(records, name+".jsonl"), now); err != nil {
			t.Fatal(err)
		}
	}
	// What only lives that are long enough ask for is in one of them.
	lives, err := filepath.Glob(filepath.Join(records, "*.jsonl"))
	if err != nil || len(lives) == 0 {
		t.Fatalf("records: %v, %v", lives, err)
	}
	// How far nodes of the cluster that fails come before it is deleted differs; they ask
	// for nothing that those of the other don't.
	key := func(n record.Need) string { return strings.ReplaceAll(n.Key(), "failing", "small") }
	keys := map[string]bool{}
	for _, file := range lives {
		known, err := record.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range known {
			keys[key(n)] = true
		}
	}
	asked := map[string]int{}
	for _, n := range now {
		asked[n.Caller]++
		// Where a busy machine is slow to boot a node, its console is looked at, which is in no
		// record. That head nodes may do so is tested beside the records.
		slow := n.Caller == "head node" && n.Operation == "ec2:GetConsoleOutput"
		if !keys[key(n)] && !slow {
			t.Errorf("%s calls %s, which asks for %s on %s: the record in test/permissions does not know (go test ./test/e2e -run %s -record)",
				n.Caller, n.Operation, n.Request.Action, n.Request.Resource, strings.Split(t.Name(), "/")[0])
		}
	}
	for _, who := range append([]string{"pcluster", "CloudFormation"}, callers...) {
		if asked[who] == 0 {
			t.Errorf("the region recorded nothing of the %s", who)
		}
	}
}

// looksAround does what users do to see what is there, and keeps the logs.
func looksAround(t *testing.T, c *cluster) {
	for _, args := range [][]string{
		{"list-clusters"}, {"describe-cluster", "-n", c.name}, {"describe-cluster-instances", "-n", c.name}, {"describe-compute-fleet", "-n", c.name},
		{"get-cluster-stack-events", "-n", c.name},
	} {
		c.must(t, append([]string{"pcluster"}, args...)...)
	}
	var streams struct {
		LogStreams []struct{ LogStreamName string }
	}
	c.query(t, &streams, "pcluster", "list-cluster-log-streams", "-n", c.name)
	if len(streams.LogStreams) == 0 {
		t.Fatal("the cluster has no log streams")
	}
	c.must(t, "pcluster", "get-cluster-log-events", "-n", c.name, "--log-stream-name", streams.LogStreams[0].LogStreamName, "--limit", "5")
	archive := filepath.Join(c.work, "logs.tar.gz")
	c.must(t, "pcluster", "export-cluster-logs", "-n", c.name, "--output-file", archive)
	if s, err := os.Stat(archive); err != nil || s.Size() == 0 {
		t.Errorf("the logs' archive: %v, %v", s, err)
	}
}
