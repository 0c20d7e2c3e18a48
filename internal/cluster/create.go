package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"golang.org/x/sync/errgroup"

	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/stack"
	"pcluster/internal/validate"
)

// A CreateRequest asks for a cluster.
type CreateRequest struct {
	Name               string
	Configuration      []byte // text of the cluster file
	File               string // its path, for messages
	SuppressValidators []string
	FailureLevel       string // INFO, WARNING or ERROR; empty: ERROR
	DryRun             bool
	RollbackOnFailure  bool
}

// Create begins to create a cluster: it validates the file, uploads what the
// nodes need and creates the stack. It returns as soon as CloudFormation has
// accepted the stack. If it fails before that, nothing of the cluster is left.
func (o *Operator) Create(ctx context.Context, r CreateRequest) (*Created, error) {
	if len(bytes.TrimSpace(r.Configuration)) == 0 {
		return nil, badRequest("configuration is required and cannot be empty")
	}
	account := o.accountLater(ctx)
	if err := o.checkNameFree(ctx, r.Name); err != nil {
		return nil, err
	}
	c, source, messages, err := o.check(ctx, r)
	if err != nil {
		return nil, err
	}
	if r.DryRun {
		return nil, &Error{Status: http.StatusPreconditionFailed, Body: ErrorBody{Message: DryRunMessage, ValidationMessages: messages}}
	}
	owner, err := account()
	if err != nil {
		return nil, err
	}
	id, err := o.deploy(ctx, r, c, source, owner)
	if err != nil {
		return nil, err
	}
	return &Created{
		Cluster: Summary{
			ClusterName:               r.Name,
			CloudformationStackStatus: string(CreateInProgress),
			CloudformationStackArn:    id,
			Region:                    o.Region,
			Version:                   config.ToolVersion,
			ClusterStatus:             CreateInProgress,
			Scheduler:                 &Scheduler{Type: c.Scheduling.Scheduler},
		},
		ValidationMessages: messages,
	}, nil
}

// An account is whose cluster it is going to be.
type account struct {
	id        string
	partition string
}

// accountLater begins to ask who calls and returns a function that waits for the
// answer.
func (o *Operator) accountLater(ctx context.Context) func() (account, error) {
	var (
		a    account
		err  error
		done = make(chan struct{})
	)
	go func() {
		defer close(done)
		var out *sts.GetCallerIdentityOutput
		if out, err = o.STS.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}); err != nil {
			return
		}
		a = account{id: aws.ToString(out.Account), partition: partition(o.Region)}
		if parsed, perr := arn.Parse(aws.ToString(out.Arn)); perr == nil {
			a.partition = parsed.Partition
		}
	}()
	return func() (account, error) { <-done; return a, err }
}

// checkNameFree refuses a name that a stack has, ours or not: the cluster's stack
// is going to be called so.
func (o *Operator) checkNameFree(ctx context.Context, name string) error {
	exists, err := o.StackExists(ctx, name)
	if exists {
		return badRequest("Cluster %s already exists.", name)
	}
	return err
}

// StackExists says whether there is a stack of that name, ours or not.
func (o *Operator) StackExists(ctx context.Context, name string) (bool, error) {
	_, err := o.stackOf(ctx, name)
	if err != nil && kindOf(err) == missing {
		return false, nil
	}
	return err == nil, err
}

// check parses and validates the file. It also returns whom to ask for facts
// about it; messages are what validation had to say below the level at which it
// stops.
func (o *Operator) check(ctx context.Context, r CreateRequest) (*config.Cluster, facts.Source, []ValidationMessage, error) {
	level := config.Error
	if r.FailureLevel != "" {
		var err error
		if level, err = config.ParseLevel(r.FailureLevel); err != nil {
			return nil, nil, nil, badRequest("%s", err)
		}
	}
	suppress, err := validate.ParseSuppress(r.SuppressValidators)
	if err != nil {
		return nil, nil, nil, badRequest("%s", err)
	}
	reject := func(body ErrorBody, problems config.Problems) error {
		return &Error{Status: http.StatusBadRequest, Body: body, Problems: problems, File: r.File, Text: r.Configuration}
	}
	c, problems := config.Parse(r.File, r.Configuration)
	if p, malformed := problems.Malformed(); malformed {
		return nil, nil, nil, reject(ErrorBody{Message: strings.TrimSpace("Bad Request: " + p.Message + " " + p.Hint)}, problems)
	}
	if len(problems.Shape()) > 0 {
		return nil, nil, nil, reject(ErrorBody{Message: invalidConfiguration, ConfigurationValidationErrors: ShapeMessages(problems)}, problems)
	}
	if c.Region == "" {
		c.Region = o.Region
	}
	if late := problems.Late(); len(late) > 0 {
		return nil, nil, nil, reject(ErrorBody{Message: strings.TrimSuffix(invalidConfiguration, ".") + ": " + late[0].String()}, problems)
	}
	report := validate.Cluster(ctx, c, o.Facts, validate.Options{ClusterName: r.Name, Region: o.Region, Suppress: suppress})
	if len(report.Aborted) > 0 {
		body := ErrorBody{Message: strings.TrimSuffix(invalidConfiguration, ".") + ": " + report.Aborted[0].String()}
		return nil, nil, nil, reject(body, append(problems, report.All()...))
	}
	source, err := facts.Override(o.Facts, c.DevSettings.InstanceTypesData)
	if err != nil {
		return nil, nil, nil, err
	}
	problems = append(problems, report.Found...)
	messages := ValidationMessages(problems)
	if len(problems.At(level)) > 0 {
		return nil, nil, nil, reject(ErrorBody{Message: invalidConfiguration, ConfigurationValidationErrors: messages}, problems)
	}
	return c, source, messages, nil
}

const invalidConfiguration = "Invalid cluster configuration."

// ShapeMessages says what is wrong with the shape of a file in one message, as
// the interface has it: a list of pairs of a section and what is wrong with it.
func ShapeMessages(problems config.Problems) []ValidationMessage {
	sections := map[string][]string{}
	for _, p := range problems.Shape() {
		section, _, _ := strings.Cut(p.Path, ".")
		section, _, _ = strings.Cut(section, "[")
		if section == "" {
			section = "_schema"
		}
		sections[section] = append(sections[section], p.String())
	}
	var pairs []string
	for _, section := range slices.Sorted(maps.Keys(sections)) {
		quoted := make([]string, len(sections[section]))
		for i, text := range sections[section] {
			quoted[i] = "'" + strings.ReplaceAll(text, "'", `\'`) + "'"
		}
		pairs = append(pairs, "('"+section+"', ["+strings.Join(quoted, ", ")+"])")
	}
	if len(pairs) == 0 {
		return nil
	}
	return []ValidationMessage{{Level: config.Error.String(), Type: problems.Shape()[0].Validator, Message: "[" + strings.Join(pairs, ", ") + "]"}}
}

// ValidationMessages returns problems as answers list them.
func ValidationMessages(problems config.Problems) []ValidationMessage {
	var messages []ValidationMessage
	for _, p := range problems {
		messages = append(messages, ValidationMessage{Level: p.Level.String(), Type: p.Validator, Message: p.String()})
	}
	return messages
}

// deploy uploads what the cluster needs and creates its cfnStack, whose ID it
// returns.
func (o *Operator) deploy(ctx context.Context, r CreateRequest, c *config.Cluster, source facts.Source, owner account) (stackID string, err error) {
	c.SetTag(tagCluster, r.Name)
	c.SetTag(tagVersion, config.ToolVersion)
	snapshot, errs := facts.Gather(ctx, source, c)
	if len(errs) > 0 {
		return "", fmt.Errorf("facts about cluster %s: %w", r.Name, errors.Join(errs...))
	}
	bucket, err := o.ensureBucket(ctx, owner.id, c.CustomS3Bucket)
	if err != nil {
		return "", err
	}
	directory := artifactDirectory(r.Name, o.Random(16))
	defer func() {
		if err == nil {
			return
		}
		// Whatever ended this, an interrupt included, must not end the clean-up.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if id := o.stackFrom(ctx, r.Name, directory); id != "" {
			stackID, err = id, nil
			return
		}
		if cerr := o.removeArtifacts(ctx, bucket, directory); cerr != nil {
			o.Log.Error("artifacts of cluster " + r.Name + ": " + cerr.Error())
			err = errors.Join(err, &LeftError{Bucket: bucket, Prefix: directory + "/"})
		}
	}()
	templates, err := o.upload(ctx, r, c, &snapshot, stack.Params{
		ClusterName: r.Name, Region: o.Region, Account: owner.id, Partition: owner.partition,
		Bucket: bucket, ArtifactDir: directory, OfficialAMI: snapshot.OfficialAMI,
		Timestamp: o.Now().UTC().Format("20060102150405"),
	})
	if err != nil {
		return "", err
	}
	return o.createStack(ctx, r, c, bucket, directory, templates)
}

// A LeftError says what a failed creation could not remove.
type LeftError struct{ Bucket, Prefix string }

func (e *LeftError) Error() string {
	return "objects below s3://" + e.Bucket + "/" + e.Prefix + " are left and can be deleted"
}

// upload puts everything that the stack and its nodes read into the bucket.
func (o *Operator) upload(ctx context.Context, r CreateRequest, c *config.Cluster, snapshot *facts.Snapshot, p stack.Params) (*stack.Templates, error) {
	types, err := json.Marshal(snapshot.Types)
	if err != nil {
		return nil, err
	}
	p.ConfigKey, p.InstanceTypesKey = implicitConfigKey(p.ArtifactDir), instanceTypesKey(p.ArtifactDir)
	put := func(key string, body []byte, version *string) func(context.Context) error {
		return func(ctx context.Context) (err error) {
			v, err := o.put(ctx, p.Bucket, key, body)
			if version != nil {
				*version = v
			}
			return err
		}
	}
	first := []func(context.Context) error{
		put(p.ConfigKey, config.Marshal(c), &p.ConfigVersion),
		put(configKey(p.ArtifactDir), r.Configuration, &p.OriginalVersion),
		put(p.InstanceTypesKey, types, &p.InstanceTypesVersion),
		func(ctx context.Context) (err error) {
			p.Programs, p.LambdaZipKey, err = o.uploadPrograms(ctx, p.Bucket, snapshot.Architecture(c))
			return err
		},
	}
	if c.Scheduling.Scheduler == config.AWSBatch {
		first = append(first, func(ctx context.Context) error { return o.uploadImageContext(ctx, c, p) })
	}
	if err := atOnce(ctx, first...); err != nil {
		return nil, err
	}
	templates, err := stack.Synthesize(c, *snapshot, p)
	if err != nil {
		return nil, err
	}
	if templates.Root, err = o.template(ctx, c.DevSettings.ClusterTemplate, templates.Root); err != nil {
		return nil, err
	}
	work := []func(context.Context) error{put(templateKey(p.ArtifactDir), templates.Root, nil)}
	for _, nested := range templates.Nested {
		work = append(work, put(nested.Key, nested.Body, nil))
	}
	return templates, atOnce(ctx, work...)
}

// implicitConfigKey returns the key of the file with implied values.
func implicitConfigKey(directory string) string {
	return directory + "/configs/cluster-config-with-implied-values.yaml"
}

// instanceTypesKey returns the key of what EC2 says about the file's instance types.
func instanceTypesKey(directory string) string {
	return directory + "/configs/instance-types-data.json"
}

// templateKey returns the key of the cluster's template. JSON is YAML, too, and
// users' tools look for this name.
func templateKey(directory string) string {
	return directory + "/templates/aws-parallelcluster.cfn.yaml"
}

// functionArch is the architecture of the stack's functions, as Go names it.
const functionArch = "amd64"

// programArch maps architectures from EC2's names to Go's.
var programArch = map[string]string{"x86_64": "amd64", "arm64": "arm64"}

// uploadPrograms makes sure that the bucket has the node program for the nodes'
// architecture, and for the stack's functions.
func (o *Operator) uploadPrograms(ctx context.Context, bucket, architecture string) (sums map[string]string, lambdaKey string, _ error) {
	arches := []string{functionArch}
	nodeArch := programArch[architecture]
	if nodeArch == "" {
		return nil, "", fmt.Errorf("there is no node program for architecture %q", architecture)
	}
	if nodeArch != functionArch {
		arches = append(arches, nodeArch)
	}
	sums = map[string]string{}
	var work []func(context.Context) error
	for _, arch := range arches {
		program, err := o.Programs.open(arch)
		if err != nil {
			return nil, "", err
		}
		if arch == nodeArch {
			sums[arch] = program.sum
			work = append(work, func(ctx context.Context) error {
				return o.putOnce(ctx, bucket, stack.ProgramKey(program.sum, arch), func() ([]byte, error) { return program.body, nil })
			})
		}
		if arch == functionArch {
			lambdaKey = stack.LambdaKey(program.sum, arch)
			work = append(work, func(ctx context.Context) error { return o.putOnce(ctx, bucket, lambdaKey, program.lambda) })
		}
	}
	return sums, lambdaKey, atOnce(ctx, work...)
}

func (o *Operator) createStack(ctx context.Context, r CreateRequest, c *config.Cluster, bucket, directory string, templates *stack.Templates) (string, error) {
	in := &cloudformation.CreateStackInput{
		StackName:       &r.Name,
		TemplateURL:     aws.String(objectURL(bucket, o.Region, templateKey(directory))),
		Capabilities:    []cfntypes.Capability{cfntypes.CapabilityCapabilityIam, cfntypes.CapabilityCapabilityNamedIam},
		DisableRollback: aws.Bool(!r.RollbackOnFailure),
		// The directory is of this attempt alone, so that a repeat of the call, which
		// the SDK may make, is known for one.
		ClientRequestToken: aws.String("pcluster-" + directory[strings.LastIndexByte(directory, '/')+1:]),
	}
	for _, key := range slices.Sorted(maps.Keys(templates.Parameters)) {
		in.Parameters = append(in.Parameters, cfntypes.Parameter{ParameterKey: aws.String(key), ParameterValue: aws.String(templates.Parameters[key])})
	}
	for _, t := range c.Tags {
		in.Tags = append(in.Tags, cfntypes.Tag{Key: aws.String(t.Key), Value: aws.String(t.Value)})
	}
	out, err := o.CloudFormation.CreateStack(ctx, in)
	if err != nil {
		if kindOf(err) == taken {
			return "", badRequest("Cluster %s already exists.", r.Name)
		}
		return "", fmt.Errorf("create stack %s: %w", r.Name, err)
	}
	return aws.ToString(out.StackId), nil
}

// stackFrom returns the ID of a stack made from an artifact directory, empty if
// there is none: a call that was cut off may have been heard.
func (o *Operator) stackFrom(ctx context.Context, name, directory string) string {
	s, err := o.stackOf(ctx, name)
	if err != nil || s.parameter(parameterDirectory) != directory {
		return ""
	}
	return s.id()
}

// atOnce runs functions at the same time and returns the first error; the others
// are then cancelled.
func atOnce(ctx context.Context, work ...func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, f := range work {
		group.Go(func() error { return f(ctx) })
	}
	return group.Wait()
}
