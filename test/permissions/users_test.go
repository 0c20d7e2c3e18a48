//go:build linux

package permissions

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"pcluster/internal/cluster"
	"pcluster/internal/configure"
	"pcluster/internal/image"
	"pcluster/internal/sandbox"
	"pcluster/internal/sandbox/iam/policy"
	"pcluster/internal/stack"
)

// kits are the published policies that people get together, by what they do.
var kits = map[string][]string{
	"clusters": {"readonly", "clusters", "clusters-iam", "storage", "login-nodes", "keys", "batch"},
	"images":   {"readonly", "images", "clusters-iam"},
	"network":  {"readonly", "network"},
	"look":     {"readonly"},
}

// TestPublishedPolicies lets people do their work with the published policies in a
// region that enforces them, and then asks of each action whether it was needed.
func TestPublishedPolicies(t *testing.T) {
	r := newTrial(t)
	people := map[string]aws.Config{}
	for name, kit := range kits {
		people[name] = r.user(t, name, kit...)
	}
	files, err := filepath.Glob("testdata/files/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("cluster files: %v, %v", files, err)
	}
	maker, viewer := r.operator(people["clusters"]), r.operator(people["look"])
	for _, f := range append(files, "testdata/images/image.yaml") {
		if _, err := r.region.Adopt(t.Context(), f, []byte(text(t, f))); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".yaml")
		t.Run("who makes clusters makes and deletes "+name, func(t *testing.T) {
			if err := r.create(t, maker, name, f); err != nil {
				t.Fatal(err)
			}
			r.use(t, maker, name)
			r.look(t, viewer, name)
			if _, err := viewer.Delete(t.Context(), name); !refusedCall(err) {
				t.Errorf("who looks deletes a cluster: %v", err)
			}
			if err := r.delete(t, maker, name); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("who builds images builds and deletes them", func(t *testing.T) {
		r.build(t, image.New(r.operator(people["images"]), people["images"]), image.New(viewer, people["look"]))
	})
	t.Run("who makes networks makes and deletes one", func(t *testing.T) { r.network(t, people["network"]) })
	t.Run("nobody gets more than the boundary allows", func(t *testing.T) { r.escalate(t, r.user(t, "intruder", kits["clusters"]...)) })

	needs := map[string][]need{"look": nil}
	for kit, list := range readLives(t) {
		needs[kit] = slices.Concat(users(list), written[kit])
	}
	for who, more := range r.needs(t) {
		needs[who] = append(needs[who], more...)
	}
	t.Run("allow what was recorded with machines, and what the region has not", func(t *testing.T) {
		names := strings.NewReplacer("small", "another-cluster", "existing", "another-cluster", "storage", "x", "login", "y", "lab", "another-image", "restarted", "another-image")
		for who, list := range needs {
			policies := documents(t, kits[who]...)
			for _, n := range list {
				if policy.Evaluate(policies, nil, n.Request) != policy.Allowed {
					t.Errorf("%s: %s may not %s on %s", who, n.Caller, n.Request.Action, n.Request.Resource)
					continue
				}
				// Tags and names that users choose must not matter.
				other := n.Request.With("aws:RequestTag/cost-centre", "42").With("aws:ResourceTag/cost-centre", "42")
				other.Resource = names.Replace(other.Resource)
				if policy.Evaluate(policies, nil, other) != policy.Allowed {
					t.Errorf("%s: with another name and a tag more, %s may not %s on %s", who, n.Caller, other.Action, other.Resource)
				}
			}
		}
	})
	t.Run("nothing is superfluous", func(t *testing.T) { superfluous(t, needs) })
}

// use does what can be done to a cluster between its creation and its end.
func (r *trial) use(t *testing.T, o *cluster.Operator, name string) {
	t.Helper()
	r.look(t, o, name)
	if name == "batch" {
		for _, status := range []cluster.FleetStatus{cluster.FleetDisabled, cluster.FleetEnabled} {
			if _, err := o.UpdateComputeFleet(t.Context(), name, status); err != nil {
				t.Error(err)
			}
		}
		r.export(t, o, name)
		return
	}
	// The head node says that the fleet runs.
	_, err := dynamodb.NewFromConfig(r.admin).PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(stack.StateTable(name)), Item: map[string]ddb.AttributeValue{
		"Id":   &ddb.AttributeValueMemberS{Value: "COMPUTE_FLEET"},
		"Data": &ddb.AttributeValueMemberM{Value: map[string]ddb.AttributeValue{"status": &ddb.AttributeValueMemberS{Value: "RUNNING"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.UpdateComputeFleet(t.Context(), name, cluster.FleetStopRequested); err != nil {
		t.Error(err)
	}
	r.export(t, o, name)
	if err := o.DeleteInstances(t.Context(), name, true); err != nil {
		t.Error(err)
	}
}

// export exports the logs of a cluster, in which a node has written something.
func (r *trial) export(t *testing.T, o *cluster.Operator, name string) {
	t.Helper()
	made, err := cloudformation.NewFromConfig(r.admin).DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{StackName: &name})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range made.Stacks[0].Parameters {
		if *p.ParameterKey == "ClusterCWLogGroup" {
			r.say(t, *p.ParameterValue, "ip-10-0-1-5.i-0123456789abcdef0.cloud-init")
		}
	}
	if _, err := o.ExportLogs(t.Context(), cluster.ClusterExport{ExportRequest: cluster.ExportRequest{
		Name: name, From: time.Now().Add(-time.Hour), To: time.Now(), OutputFile: filepath.Join(t.TempDir(), "logs.tar.gz"),
	}}, func(string) {}); err != nil {
		t.Error(err)
	}
}

// look looks at everything that there is to see of a cluster.
func (r *trial) look(t *testing.T, o *cluster.Operator, name string) {
	t.Helper()
	ctx := t.Context()
	for what, err := range map[string]error{
		"list":         second(o.List(ctx, nil, "")),
		"describe":     second(o.Describe(ctx, name)),
		"instances":    second(o.DescribeInstances(ctx, name, cluster.InstanceFilter{})),
		"login":        second(o.HeadNodeLogin(ctx, name)),
		"log streams":  second(o.ListLogStreams(ctx, name, cluster.LogFilter{})),
		"log":          second(o.GetLogEvents(ctx, name, cluster.LogQuery{Stream: "none"})),
		"stack events": second(o.GetStackEvents(ctx, name, "")),
	} {
		if refusedCall(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := o.DescribeComputeFleet(ctx, name); err != nil {
		t.Errorf("fleet: %v", err)
	}
}

// build builds an image as far as a region without machines goes, gives it up, and
// deletes one that is ready.
func (r *trial) build(t *testing.T, o, viewer *image.Operator) {
	ctx, file := t.Context(), "testdata/images/image.yaml"
	request := image.BuildRequest{ID: "lab", Configuration: []byte(text(t, file)), File: file, DryRun: true}
	_, _ = o.Build(ctx, request) // asks for all facts
	request.DryRun, request.SuppressValidators = false, []string{"ALL"}
	if _, err := o.Build(ctx, request); err != nil {
		t.Fatal(err)
	}
	api := cloudformation.NewFromConfig(r.admin)
	for {
		out, err := api.DescribeStackResources(ctx, &cloudformation.DescribeStackResourcesInput{StackName: aws.String("lab")})
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(out.StackResources, func(s cfntypes.StackResource) bool {
			return *s.LogicalResourceId == stack.ImageResource && s.PhysicalResourceId != nil
		}) {
			break
		}
		if s, err := api.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: aws.String("lab")}); err != nil || s.Stacks[0].StackStatus != "CREATE_IN_PROGRESS" {
			t.Fatalf("stack of the image: %v", r.settled(t, "lab", "CREATE_COMPLETE"))
		}
		time.Sleep(20 * time.Millisecond)
	}
	for who, o := range map[string]*image.Operator{"who builds": o, "who looks": viewer} {
		for what, err := range map[string]error{
			"list":         second(o.List(ctx, "PENDING", "")),
			"describe":     second(o.Describe(ctx, "lab")),
			"log streams":  second(o.ListLogStreams(ctx, "lab", "")),
			"log":          second(o.GetLogEvents(ctx, "lab", cluster.LogQuery{Stream: "none"})),
			"stack events": second(o.GetStackEvents(ctx, "lab", "")),
		} {
			if refusedCall(err) {
				t.Errorf("%s, %s: %v", who, what, err)
			}
		}
	}
	id := ""
	if s, err := o.CloudFormation.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: aws.String("lab")}); err != nil {
		t.Fatal(err)
	} else {
		id = *s.Stacks[0].StackId
	}
	if _, err := o.CloudFormation.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: &id}); err != nil {
		t.Fatal(err)
	}
	if err := r.settled(t, id, "DELETE_COMPLETE"); err != nil {
		t.Error(err)
	}
	r.ready(t, "ready")
	r.say(t, stack.ImageLogGroup("ready"), "1.0.0/1")
	if _, err := o.ExportLogs(ctx, cluster.ExportRequest{
		Name: "ready", From: time.Now().Add(-time.Hour), To: time.Now(), OutputFile: filepath.Join(t.TempDir(), "logs.tar.gz"),
	}, func(string) {}); err != nil {
		t.Error(err)
	}
	if _, err := o.Delete(ctx, "ready", false); err != nil {
		t.Errorf("delete a finished image: %v", err)
	}
}

// ready makes an AMI as a build leaves it.
func (r *trial) ready(t *testing.T, id string) {
	t.Helper()
	ctx, api := t.Context(), ec2.NewFromConfig(r.admin)
	subnets, err := api.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{})
	if err != nil {
		t.Fatal(err)
	}
	run, err := api.RunInstances(ctx, &ec2.RunInstancesInput{
		ImageId: aws.String("ami-0123456789abcdef0"), InstanceType: "c5.large", MinCount: aws.Int32(1), MaxCount: aws.Int32(1), SubnetId: subnets.Subnets[0].SubnetId,
	})
	if err != nil {
		t.Fatal(err)
	}
	tags := []types.Tag{{Key: aws.String("CreatedBy"), Value: aws.String("EC2 Image Builder")}}
	of := slices.Clone(tags)
	for k, v := range map[string]string{"image_id": id, "build_status": "available", "s3_bucket": r.bucket(t), "s3_image_dir": "parallelcluster/images/ready"} {
		of = append(of, types.Tag{Key: aws.String("parallelcluster:" + k), Value: aws.String(v)})
	}
	made, err := api.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: run.Instances[0].InstanceId, Name: &id, NoReboot: aws.Bool(true), TagSpecifications: []types.TagSpecification{
		{ResourceType: types.ResourceTypeImage, Tags: of}, {ResourceType: types.ResourceTypeSnapshot, Tags: tags},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := ec2.NewImageAvailableWaiter(api, func(o *ec2.ImageAvailableWaiterOptions) { o.MinDelay = 20 * time.Millisecond }).
		Wait(ctx, &ec2.DescribeImagesInput{ImageIds: []string{*made.ImageId}}, time.Minute); err != nil {
		t.Fatal(err)
	}
}

// bucket is the account's bucket of artifacts, with something of an image in it.
func (r *trial) bucket(t *testing.T) string {
	t.Helper()
	ctx, api := t.Context(), s3.NewFromConfig(r.admin, func(o *s3.Options) { o.UsePathStyle = true })
	all, err := api.ListBuckets(ctx, &s3.ListBucketsInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range all.Buckets {
		if !strings.HasPrefix(*b.Name, "parallelcluster-") {
			continue
		}
		if _, err := api.PutObject(ctx, &s3.PutObjectInput{Bucket: b.Name, Key: aws.String("parallelcluster/images/ready/file"), Body: strings.NewReader("x")}); err != nil {
			t.Fatal(err)
		}
		return *b.Name
	}
	t.Fatal("no command made the bucket of artifacts")
	return ""
}

// network lets pcluster configure make a network, and deletes its stack.
func (r *trial) network(t *testing.T, cfg aws.Config) {
	ctx := t.Context()
	var said bytes.Buffer
	err := configure.Run(ctx, configure.NewConsole(strings.NewReader("\n\n\n\n\n\n\n\n\ny\n1\n1\n"), &said, false), configure.Request{
		File: filepath.Join(t.TempDir(), "cluster.yaml"), Region: cfg.Region, Supported: []string{cfg.Region}, Systems: []string{"ubuntu2404"},
		Open: func(context.Context, string) (*configure.Cloud, error) {
			return configure.NewCloud(cfg, slog.New(slog.DiscardHandler)), nil
		},
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	api := cloudformation.NewFromConfig(cfg)
	out, err := api.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range out.Stacks {
		if !strings.HasPrefix(*s.StackName, "parallelclusternetworking-") {
			continue
		}
		if _, err := api.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: s.StackId}); err != nil {
			t.Error(err)
		}
		if err := r.settled(t, *s.StackId, "DELETE_COMPLETE"); err != nil {
			t.Error(err)
		}
		return
	}
	t.Error("there is no stack of a network")
}

// escalate tries what somebody who may make roles would try to get more.
func (r *trial) escalate(t *testing.T, cfg aws.Config) {
	ctx, api, admin := t.Context(), iam.NewFromConfig(cfg), iam.NewFromConfig(r.admin)
	boundary, name := aws.String("arn:aws:iam::111122223333:policy/parallelcluster-boundary"), aws.String("mine")
	path, trust := aws.String("/parallelcluster/"), aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)
	all := aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
	for _, role := range []iam.CreateRoleInput{{RoleName: aws.String("older"), Path: path}, {RoleName: aws.String("other"), Path: aws.String("/admin/")}} {
		role.AssumeRolePolicyDocument = trust
		if _, err := admin.CreateRole(ctx, &role); err != nil {
			t.Fatal(err)
		}
	}
	role := &iam.CreateRoleInput{RoleName: name, Path: path, AssumeRolePolicyDocument: trust}
	wider, elsewhere := *role, *role
	wider.PermissionsBoundary = aws.String("arn:aws:iam::aws:policy/AdministratorAccess")
	elsewhere.Path, elsewhere.PermissionsBoundary = aws.String("/admin/"), boundary
	admins := aws.String("arn:aws:iam::aws:policy/AdministratorAccess")
	for what, err := range map[string]error{
		"a role without a boundary":             second(api.CreateRole(ctx, role)),
		"a role with another boundary":          second(api.CreateRole(ctx, &wider)),
		"a role with another path":              second(api.CreateRole(ctx, &elsewhere)),
		"a policy for a role without boundary":  second(api.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("older"), PolicyName: name, PolicyDocument: all})),
		"AWS's for a role without boundary":     second(api.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("older"), PolicyArn: admins})),
		"a policy for a role of another path":   second(api.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("other"), PolicyName: name, PolicyDocument: all})),
		"another text of the boundary":          second(api.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: boundary, PolicyDocument: all, SetAsDefault: true})),
		"a policy for themselves":               second(api.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("intruder"), PolicyName: name, PolicyDocument: all})),
		"AWS's for themselves":                  second(api.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: aws.String("intruder"), PolicyArn: admins})),
		"a key of somebody else":                second(api.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("images")})),
		"a stack that is no cluster":            second(cloudformation.NewFromConfig(cfg).CreateStack(ctx, &cloudformation.CreateStackInput{StackName: name, TemplateBody: aws.String(`{"Resources":{"T":{"Type":"AWS::SNS::Topic"}}}`)})),
		"a cluster with somebody else's powers": second(cloudformation.NewFromConfig(cfg).CreateStack(ctx, &cloudformation.CreateStackInput{StackName: name, TemplateBody: aws.String(`{"Resources":{"T":{"Type":"AWS::SNS::Topic"}}}`), RoleARN: aws.String("arn:aws:iam::111122223333:role/admin/other"), Tags: []cfntypes.Tag{{Key: aws.String("parallelcluster:cluster-name"), Value: name}}})),
	} {
		if !refusedCall(err) {
			t.Errorf("who makes clusters gets %s: %v", what, err)
		}
	}
	// What stays possible is inside the boundary, and the boundary can't be taken off.
	role.PermissionsBoundary = boundary
	if _, err := api.CreateRole(ctx, role); err != nil {
		t.Fatal(err)
	}
	if _, err := api.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: name, PolicyDocument: all}); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"a role freed of its boundary": second(api.DeleteRolePermissionsBoundary(ctx, &iam.DeleteRolePermissionsBoundaryInput{RoleName: name})),
		"a role with a wider boundary": second(api.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: name, PermissionsBoundary: admins})),
		"a role that others may take":  second(api.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: trust})),
	} {
		if !refusedCall(err) {
			t.Errorf("who makes clusters gets %s: %v", what, err)
		}
	}
	inside, err := sts.NewFromConfig(r.admin).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::111122223333:role/parallelcluster/mine"), RoleSessionName: name})
	if err != nil {
		t.Fatal(err)
	}
	c := inside.Credentials
	cfg = r.as(*c.AccessKeyId, *c.SecretAccessKey)
	cfg.Credentials = credentials.NewStaticCredentialsProvider(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
	if _, err := ec2.NewFromConfig(cfg).DescribeInstances(ctx, &ec2.DescribeInstancesInput{}); err != nil {
		t.Errorf("a role with the boundary does what nodes do: %v", err)
	}
	for what, err := range map[string]error{
		"makes a user":             second(iam.NewFromConfig(cfg).CreateUser(ctx, &iam.CreateUserInput{UserName: name})),
		"makes a role":             second(iam.NewFromConfig(cfg).CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("next"), Path: path, AssumeRolePolicyDocument: trust, PermissionsBoundary: boundary})),
		"changes a policy of its":  second(iam.NewFromConfig(cfg).PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: name, PolicyDocument: all})),
		"reads somebody's bucket":  second(s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(ownBucket)})),
		"makes a key of AWS's use": second(iam.NewFromConfig(cfg).CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("images")})),
	} {
		if !refusedCall(err) || !strings.Contains(err.Error(), "no permissions boundary allows") {
			t.Errorf("a role with the boundary, allowed all, %s: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// refusedCall reports the refusal of a call for want of permission.
func refusedCall(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && slices.Contains([]string{"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"}, api.ErrorCode()) ||
		err != nil && strings.Contains(err.Error(), "not authorized to perform")
}

// needs returns what people asked permission for while they did their work, by who
// they are. It is an error if they were refused anything but what the test tries.
func (r *trial) needs(t *testing.T) map[string][]need {
	t.Helper()
	f, err := os.Open(r.record)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out, seen := map[string][]need{}, map[string]bool{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var p sandbox.Permission
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		_, who, _ := strings.Cut(p.Caller, ":user/")
		switch {
		case kits[who] == nil, who == "look" && p.Operation == "DeleteStack":
			continue
		case !p.Allowed:
			t.Errorf("%s: refused %s:%s, which asks for %v", who, p.Service, p.Operation, p.Requests)
			continue
		}
		for _, q := range p.Requests {
			n := need{Caller: "pcluster", Operation: p.Service + ":" + p.Operation, Request: q}
			if q.Context["aws:calledvia"] != nil {
				n.Caller = "CloudFormation"
			}
			if k := who + n.Key(); !seen[k] && !strings.Contains(q.Resource, ownBucket) && q.Action != "secretsmanager:GetSecretValue" {
				seen[k] = true
				out[who] = append(out[who], n)
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// documents reads published policies by their names.
func documents(t *testing.T, names ...string) []policy.Document {
	t.Helper()
	var out []policy.Document
	for _, n := range names {
		d, err := policy.Parse(text(t, filepath.Join(directory, n+".json")))
		if err != nil {
			t.Fatalf("%s: %v", n, err)
		}
		out = append(out, d)
	}
	return out
}

// superfluous drops each action of each policy in turn: somebody who has the policy
// must then be unable to do their work.
func superfluous(t *testing.T, needs map[string][]need) {
	all, calls := map[string]bool{}, handled(t)
	for _, kit := range kits {
		for _, name := range kit {
			all[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		d := documents(t, name)[0]
		for j, s := range d.Statements {
			for k, action := range s.Actions {
				mutant := policy.Document{Version: d.Version, Statements: slices.Clone(d.Statements)}
				mutant.Statements[j].Actions = slices.Delete(slices.Clone(s.Actions), k, k+1)
				missed := false
				for who, kit := range kits {
					if !slices.Contains(kit, name) || missed {
						continue
					}
					policies := documents(t, kit...)
					policies[slices.Index(kit, name)] = mutant
					missed = slices.ContainsFunc(needs[who], func(n need) bool {
						return policy.Like(strings.ToLower(action), strings.ToLower(n.Request.Action)) && policy.Evaluate(policies, nil, n.Request) != policy.Allowed
					}) || slices.ContainsFunc(calls[who], func(a string) bool {
						return policy.Like(strings.ToLower(action), strings.ToLower(a)) && !allows(policies, a)
					})
				}
				if !missed {
					t.Errorf("%s.json: nobody needs %s of statement %s", name, action, s.Sid)
				}
			}
		}
	}
}
