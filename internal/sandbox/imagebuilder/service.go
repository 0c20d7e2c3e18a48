//go:build linux

// Package imagebuilder is EC2 Image Builder of the region: components, recipes,
// infrastructure and distribution configurations, and images, which are really
// built. A build machine boots from the parent image, the executor of package
// component runs the documents on it, its disk becomes an AMI, a test machine boots
// from that and runs the tests.
//
// The row of an image says how far its build is, and everything that is made for it
// is written down before; a daemon that comes back goes on where the last one
// stopped (build.go). A component can also be tried on a machine of its own, without
// an image (trial.go). Pipelines, container images and workflows of one's own are
// not part of it.
package imagebuilder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	sdk "github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// EC2 is the part of EC2 that builds use; *ec2.Service of the region has it.
type EC2 interface {
	RunOver(ctx context.Context, in *ec2.RunInstancesInput, over []string) (*ec2.RunInstancesOutput, error)
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error)
	StopInstances(context.Context, *ec2.StopInstancesInput) (*ec2.StopInstancesOutput, error)
	TerminateInstances(context.Context, *ec2.TerminateInstancesInput) (*ec2.TerminateInstancesOutput, error)
	TakeImage(context.Context, *ec2.CreateImageInput) (*ec2.CreateImageOutput, error)
	DescribeImages(context.Context, *ec2.DescribeImagesInput) (*ec2.DescribeImagesOutput, error)
	DeregisterImage(context.Context, *ec2.DeregisterImageInput) (*ec2.DeregisterImageOutput, error)
	ModifyImageAttribute(context.Context, *ec2.ModifyImageAttributeInput) (*ec2.ModifyImageAttributeOutput, error)
	CreateTags(context.Context, *ec2.CreateTagsInput) (*ec2.CreateTagsOutput, error)
	CreateVpc(context.Context, *ec2.CreateVpcInput) (*ec2.CreateVpcOutput, error)
	DescribeVpcs(context.Context, *ec2.DescribeVpcsInput) (*ec2.DescribeVpcsOutput, error)
	DeleteVpc(context.Context, *ec2.DeleteVpcInput) (*ec2.DeleteVpcOutput, error)
	LetOut(vpcID string) error
	CreateSubnet(context.Context, *ec2.CreateSubnetInput) (*ec2.CreateSubnetOutput, error)
	DescribeSubnets(context.Context, *ec2.DescribeSubnetsInput) (*ec2.DescribeSubnetsOutput, error)
	DeleteSubnet(context.Context, *ec2.DeleteSubnetInput) (*ec2.DeleteSubnetOutput, error)
	// Output reads a file that the machine of an instance has written.
	Output(instanceID, path string, offset int64, limit int) ([]byte, error)
	// ManagedImage returns the AMI of an operating system as its maker publishes it,
	// by the system's name in a cluster file and an architecture.
	ManagedImage(os, architecture string) (imageID string, ok bool)
}

// Logs is the part of CloudWatch Logs that builds use.
type Logs interface {
	CreateLogGroup(context.Context, *cloudwatchlogs.CreateLogGroupInput) (*cloudwatchlogs.CreateLogGroupOutput, error)
	CreateLogStream(context.Context, *cloudwatchlogs.CreateLogStreamInput) (*cloudwatchlogs.CreateLogStreamOutput, error)
	PutLogEvents(context.Context, *cloudwatchlogs.PutLogEventsInput) (*cloudwatchlogs.PutLogEventsOutput, error)
}

// SNS takes the news of builds.
type SNS interface {
	Publish(context.Context, *sns.PublishInput) (*sns.PublishOutput, error)
}

// Objects are documents that components are made of.
type Objects interface {
	Object(ctx context.Context, bucket, key, version string) ([]byte, error)
}

// A Config is what a Service needs of its surroundings.
type Config struct {
	Dir     string // for the layers that put the executor on machines
	EC2     EC2
	Logs    Logs
	SNS     SNS
	Objects Objects
	// Program returns the node program, which carries the executor.
	Program func() ([]byte, error)
	Log     *slog.Logger
	Now     func() time.Time // nil: time.Now
	Poll    time.Duration    // between looks at a machine; 0: 100 ms
}

// A Service is Image Builder of a region. It is safe for concurrent use.
type Service struct {
	id  *region.Identity
	cfg Config

	mu              sync.Mutex // held over changes that depend on what is there
	components      *store.Table[types.Component]
	recipes         *store.Table[types.ImageRecipe]
	infrastructures *store.Table[types.InfrastructureConfiguration]
	distributions   *store.Table[types.DistributionConfiguration]
	images          *store.Table[image]
	tokens          *store.Table[string]

	ctx     context.Context
	end     context.CancelFunc
	workers sync.WaitGroup
	program sync.Mutex
	trials  sync.Mutex // held over changes of the trials' network
}

// New opens the region's Image Builder. Builds go on when [Service.Start] is called.
func New(db *store.DB, id *region.Identity, cfg Config) (*Service, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Poll == 0 {
		cfg.Poll = 100 * time.Millisecond
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Service{id: id, cfg: cfg}
	s.ctx, s.end = context.WithCancel(context.Background())
	if err := errors.Join(
		store.OpenTable(db, "imagebuilder.components", &s.components),
		store.OpenTable(db, "imagebuilder.recipes", &s.recipes),
		store.OpenTable(db, "imagebuilder.infrastructures", &s.infrastructures),
		store.OpenTable(db, "imagebuilder.distributions", &s.distributions),
		store.OpenTable(db, "imagebuilder.images", &s.images),
		store.OpenTable(db, "imagebuilder.tokens", &s.tokens),
	); err != nil {
		return nil, err
	}
	return s, os.MkdirAll(cfg.Dir, 0o700)
}

// Start goes on with the builds that were under way.
func (s *Service) Start() {
	for _, v := range s.images.All() {
		if v.Stage != done {
			s.work(v.key())
		}
	}
	s.sweepTrials()
	s.sweepLayers()
}

// Close ends the work on builds; a new Service on the same tables goes on.
func (s *Service) Close() {
	s.end()
	s.workers.Wait()
}

// Register attaches the operations to the API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "CreateComponent", s.CreateComponent)
	wire.Handle(m, "GetComponent", s.GetComponent)
	wire.Handle(m, "ListComponents", s.ListComponents)
	wire.Handle(m, "ListComponentBuildVersions", s.ListComponentBuildVersions)
	wire.Handle(m, "DeleteComponent", s.DeleteComponent)
	wire.Handle(m, "CreateImageRecipe", s.CreateImageRecipe)
	wire.Handle(m, "GetImageRecipe", s.GetImageRecipe)
	wire.Handle(m, "ListImageRecipes", s.ListImageRecipes)
	wire.Handle(m, "DeleteImageRecipe", s.DeleteImageRecipe)
	wire.Handle(m, "CreateInfrastructureConfiguration", s.CreateInfrastructureConfiguration)
	wire.Handle(m, "GetInfrastructureConfiguration", s.GetInfrastructureConfiguration)
	wire.Handle(m, "ListInfrastructureConfigurations", s.ListInfrastructureConfigurations)
	wire.Handle(m, "DeleteInfrastructureConfiguration", s.DeleteInfrastructureConfiguration)
	wire.Handle(m, "CreateDistributionConfiguration", s.CreateDistributionConfiguration)
	wire.Handle(m, "GetDistributionConfiguration", s.GetDistributionConfiguration)
	wire.Handle(m, "ListDistributionConfigurations", s.ListDistributionConfigurations)
	wire.Handle(m, "DeleteDistributionConfiguration", s.DeleteDistributionConfiguration)
	wire.Handle(m, "CreateImage", s.CreateImage)
	wire.Handle(m, "GetImage", s.GetImage)
	wire.Handle(m, "ListImages", s.ListImages)
	wire.Handle(m, "ListImageBuildVersions", s.ListImageBuildVersions)
	wire.Handle(m, "DeleteImage", s.DeleteImage)
	wire.Handle(m, "CancelImageCreation", s.CancelImageCreation)
	wire.Handle(m, "ListWorkflowExecutions", s.ListWorkflowExecutions)
	wire.Handle(m, "GetWorkflowExecution", s.GetWorkflowExecution)
	wire.Handle(m, "ListWorkflowStepExecutions", s.ListWorkflowStepExecutions)
	wire.Handle(m, "TagResource", s.TagResource)
	wire.Handle(m, "UntagResource", s.UntagResource)
	wire.Handle(m, "ListTagsForResource", s.ListTagsForResource)
}

// Errors of the API.

func invalid(format string, args ...any) error {
	return &wire.Error{Code: "InvalidParameterValueException", Message: fmt.Sprintf(format, args...), Status: 400}
}

func notFound(arn string) error {
	return &wire.Error{Code: "ResourceNotFoundException", Message: fmt.Sprintf("The resource ARN '%s' does not exist.", arn), Status: 404}
}

func exists(what, arn string) error {
	return &wire.Error{Code: "ResourceAlreadyExistsException", Message: fmt.Sprintf("The %s already exists: %s", what, arn), Status: 400}
}

func inUse(arn, by string) error {
	return &wire.Error{Code: "ResourceDependencyException", Message: fmt.Sprintf("Resource dependency error: the resource ARN '%s' has other resources depended on it: %s", arn, by), Status: 400}
}

var (
	resourceName = regexp.MustCompile(`^[-_A-Za-z-0-9][-_A-Za-z0-9 ]{1,126}[-_A-Za-z-0-9]$`)
	semantic     = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+$`)
	slugged      = regexp.MustCompile(`[^a-z0-9-]+`)
)

func checkName(name *string) error {
	if !resourceName.MatchString(aws.ToString(name)) {
		return invalid("The value supplied for parameter 'name' is not valid: %q", aws.ToString(name))
	}
	return nil
}

func checkVersion(version *string) error {
	if !semantic.MatchString(aws.ToString(version)) {
		return invalid("The value supplied for parameter 'semanticVersion' is not valid. The semantic version has to be in the format <major>.<minor>.<patch>, not %q", aws.ToString(version))
	}
	return nil
}

// slug is a name as ARNs have it.
func slug(name string) string { return slugged.ReplaceAllString(strings.ToLower(name), "-") }

func (s *Service) arn(resource string) string { return s.id.ARN("imagebuilder", resource) }

func (s *Service) stamp() *string {
	return aws.String(s.cfg.Now().UTC().Format("2006-01-02T15:04:05.000Z"))
}

// once answers a request that was made before with the same token.
func (s *Service) once(operation string, token *string) (arn string, ok bool) {
	return s.tokens.Get(operation + "/" + aws.ToString(token))
}

func (s *Service) remember(operation string, token *string, arn string) error {
	if aws.ToString(token) == "" {
		return nil
	}
	return s.tokens.Put(operation+"/"+*token, arn)
}

// page returns the part of a list that a request asks for.
func page[T any](all []T, token *string, most *int32, key func(T) string) (part []T, next *string) {
	i := 0
	if t := aws.ToString(token); t != "" {
		i, _ = slices.BinarySearchFunc(all, t, func(v T, t string) int { return strings.Compare(key(v), t) })
	}
	n := 25
	if most != nil {
		n = int(*most)
	}
	if i+n < len(all) {
		next = aws.String(key(all[i+n]))
	}
	return all[i:min(len(all), i+n)], next
}

// keep says whether a value passes filters.
func keep(filters []types.Filter, values map[string]string) bool {
	for _, f := range filters {
		v, ok := values[aws.ToString(f.Name)]
		if !ok || !slices.Contains(f.Values, v) {
			return false
		}
	}
	return true
}

// Tags.

func (s *Service) tagsOf(arn string, change func(map[string]string) map[string]string) (map[string]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out map[string]string
	apply := func(tags *map[string]string) error {
		out = map[string]string{}
		for k, v := range *tags {
			out[k] = v
		}
		if change != nil {
			out = change(out)
			*tags = out
		}
		return nil
	}
	var err error
	switch kind(arn) {
	case "component":
		_, err = s.components.Update(arn, func(v *types.Component) error { return apply(&v.Tags) })
	case "image-recipe":
		_, err = s.recipes.Update(arn, func(v *types.ImageRecipe) error { return apply(&v.Tags) })
	case "infrastructure-configuration":
		_, err = s.infrastructures.Update(arn, func(v *types.InfrastructureConfiguration) error { return apply(&v.Tags) })
	case "distribution-configuration":
		_, err = s.distributions.Update(arn, func(v *types.DistributionConfiguration) error { return apply(&v.Tags) })
	case "image":
		_, err = s.images.Update(arn, func(v *image) error { return apply(&v.Desc.Tags) })
	default:
		return nil, invalid("The value supplied for parameter 'resourceArn' is not valid: %q", arn)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound(arn)
	}
	return out, err
}

// kind is what an ARN is of.
func kind(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 {
		return ""
	}
	k, _, _ := strings.Cut(parts[5], "/")
	return k
}

// TagResource adds tags.
func (s *Service) TagResource(_ context.Context, in *sdk.TagResourceInput) (*sdk.TagResourceOutput, error) {
	_, err := s.tagsOf(aws.ToString(in.ResourceArn), func(t map[string]string) map[string]string {
		for k, v := range in.Tags {
			t[k] = v
		}
		return t
	})
	return &sdk.TagResourceOutput{}, err
}

// UntagResource removes tags.
func (s *Service) UntagResource(_ context.Context, in *sdk.UntagResourceInput) (*sdk.UntagResourceOutput, error) {
	_, err := s.tagsOf(aws.ToString(in.ResourceArn), func(t map[string]string) map[string]string {
		for _, k := range in.TagKeys {
			delete(t, k)
		}
		return t
	})
	return &sdk.UntagResourceOutput{}, err
}

// ListTagsForResource lists tags.
func (s *Service) ListTagsForResource(_ context.Context, in *sdk.ListTagsForResourceInput) (*sdk.ListTagsForResourceOutput, error) {
	tags, err := s.tagsOf(aws.ToString(in.ResourceArn), nil)
	return &sdk.ListTagsForResourceOutput{Tags: tags}, err
}
