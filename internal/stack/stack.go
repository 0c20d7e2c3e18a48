// Package stack turns a cluster file, and facts about the account, into the
// CloudFormation templates of the cluster. It is pure: the same input gives the
// same bytes, and nothing is asked of AWS.
//
// Start with [Synthesize]. Resources are functions from the configuration to a
// value of package cfn, grouped by topic: network.go, storage.go, iam.go,
// headnode.go, queues.go and so on. Names, logical IDs and tags are interfaces
// that users' policies and scripts rely on, so they don't change lightly.
//
// What waits for what is kept short. The head node launches as soon as its
// network interface, its permissions, volumes and the tables exist: it mounts file systems
// when they are ready, and launches compute nodes when their templates are. The
// fleet goes first when the stack is deleted: see cleanup.go.
package stack

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"pcluster/internal/cfn"
	"pcluster/internal/config"
	"pcluster/internal/facts"
)

// Params is what a template says about the deployment rather than the cluster.
type Params struct {
	ClusterName string
	Region      string
	Account     string
	Partition   string // aws, aws-cn or aws-us-gov
	Bucket      string
	ArtifactDir string // key prefix of the cluster's artifacts, without a slash at the end

	ConfigKey            string // the file with implied values, for the head node
	ConfigVersion        string // S3 version of ConfigKey
	OriginalVersion      string // S3 version of the user's file; becomes the ConfigVersion parameter
	InstanceTypesKey     string // DescribeInstanceTypes answers of all types in the file
	InstanceTypesVersion string

	LogGroupName string // empty: named after the cluster and Timestamp
	Timestamp    string // YYYYMMDDHHMMSS in UTC; part of the wait condition's IDs
	OfficialAMI  string // empty: the snapshot's

	// Programs maps amd64 and arm64 to the SHA-256, in hex, of the node program.
	Programs map[string]string
	// LambdaZipKey is the key in Bucket of the clean-up function's code.
	LambdaZipKey string
	// LambdaArchitecture is x86_64, which it is when empty, or arm64.
	LambdaArchitecture string
}

// Templates is what Synthesize returns: everything to upload and to pass to CreateStack.
type Templates struct {
	Root   []byte // JSON
	Nested []Nested
	// Parameters to pass with Root.
	Parameters map[string]string
}

// A Nested is the template of a stack in the cluster's stack.
type Nested struct {
	ID   string // logical ID of the stack in Root
	Key  string // S3 key in the cluster's bucket
	Body []byte // JSON
}

// ProgramKey returns the S3 key of the node program for an architecture as Go
// names it, and what the clean-up function's code is called beside it.
func ProgramKey(sum, arch string) string {
	return "parallelcluster/" + config.ToolVersion + "/programs/" + sum + "/pcluster-node-linux-" + arch
}

// LambdaKey returns the S3 key of the clean-up function's code.
func LambdaKey(sum, arch string) string {
	return "parallelcluster/" + config.ToolVersion + "/programs/" + sum + "/lambda-" + arch + ".zip"
}

// Synthesize returns the templates of a cluster.
func Synthesize(c *config.Cluster, f facts.Snapshot, p Params) (*Templates, error) {
	b := &builder{c: c, f: &f, p: p, t: cfn.New("ParallelCluster " + p.ClusterName), admitted: map[admission]bool{}}
	if b.official = p.OfficialAMI; b.official == "" {
		b.official = f.OfficialAMI
	}
	if b.logGroup = p.LogGroupName; b.logGroup == "" {
		b.logGroup = "/aws/parallelcluster/" + p.ClusterName + "-" + p.Timestamp[:min(12, len(p.Timestamp))]
	}
	b.parameters()
	b.logs()
	b.securityGroups()
	b.sharedStorage()
	if !b.batch() {
		b.tables()
		b.dns()
	}
	b.cleanupFunction()
	b.headNetwork()
	if b.batch() {
		b.batchQueue()
		b.jobDefinitions()
		b.batchUser()
	}
	b.headPermissions()
	b.headNode()
	if !b.batch() {
		b.queues()
		b.fleetCleanup()
		b.loginNodes()
	}
	b.additionalResources()
	b.monitoring()
	b.outputs()
	root, err := b.t.JSON()
	if err := errors.Join(append(b.errs, err)...); err != nil {
		return nil, fmt.Errorf("template of cluster %s: %w", p.ClusterName, err)
	}
	return &Templates{Root: root, Nested: b.nested, Parameters: map[string]string{}}, nil
}

// builder collects the resources of one cluster. Its methods each add what
// belongs to one topic, and leave handles for later ones.
type builder struct {
	c *config.Cluster
	f *facts.Snapshot
	p Params
	t *cfn.Template

	official string // AMI; may be empty
	logGroup string
	nested   []Nested
	errs     []error

	clusterLog   *cfn.Handle
	headGroup    *cfn.Handle // managed security groups, if any
	computeGroup *cfn.Handle
	loginGroups  map[string]cfn.Handle // by pool
	beforeLogin  []cfn.Handle          // what login nodes use until their users are gone
	admitted     map[admission]bool
	eni          cfn.Handle
	storage      []storageResource
	stateTable   cfn.Handle
	nodeTable    cfn.Handle
	zone         cfn.Text // hosted zone ID; nil when managed DNS is off
	cleanup      cfn.Handle
	zoneCleanup  *cfn.Handle
	headPolicies []cfn.Handle
	headProfile  cfn.Text
	head         cfn.Handle
	headReady    cfn.Handle
	queueStacks  []cfn.Handle
	fleetEnd     cfn.Handle
	jobs         batchHandles // of a cluster of AWS Batch
}

func (b *builder) errorf(format string, args ...any) {
	b.errs = append(b.errs, fmt.Errorf(format, args...))
}

// parameters are read back by commands: they are how a stack remembers its cluster.
func (b *builder) parameters() {
	p := func(name, value, description string) { b.t.ParameterWithDefault(name, value, description) }
	p("ClusterUser", config.DefaultUser(b.c.Image.Os), "Default user of the nodes")
	p("ResourcesS3Bucket", b.p.Bucket, "Bucket of the cluster's artifacts")
	p("ArtifactS3RootDirectory", b.p.ArtifactDir, "Prefix of the cluster's artifacts")
	p("Scheduler", b.c.Scheduling.Scheduler, "Scheduler of the cluster")
	if b.official != "" {
		p("OfficialAmi", b.official, "Official AMI when the cluster was created")
	}
	p("ConfigVersion", b.p.OriginalVersion, "Version of the cluster file in the bucket")
	if b.logging() {
		p("ClusterCWLogGroup", b.logGroup, "Log group of the cluster")
	}
	if !b.batch() {
		p("ClusterDNSDomain", b.domain()+".", "Domain of the nodes' names")
	}
}

func (b *builder) outputs() {
	ids := map[string][]cfn.Text{}
	for _, s := range b.storage {
		ids[s.output] = append(ids[s.output], s.ids...)
	}
	for _, name := range []string{"EBSIds", "RAIDIds", "EFSIds", "FSXIds"} {
		var value cfn.Text = ""
		if len(ids[name]) > 0 {
			value = cfn.Join(",", ids[name]...)
		}
		b.t.Output(name, value, "")
	}
	b.t.Output("HeadNodeInstanceID", b.head.Ref(), "ID of the head node instance")
	b.t.Output("HeadNodePrivateIP", b.head.Att(cfn.PrivateIP), "Private IP address of the head node")
	b.t.Output("HeadNodePrivateDnsName", b.head.Att(cfn.PrivateDNSName), "Private DNS name of the head node")
	if b.zone != nil {
		b.t.Output("ClusterHostedZone", b.zone, "ID of the hosted zone of the nodes' names")
	}
	if b.batch() {
		b.batchOutputs()
	}
}

// nest adds a nested stack, and returns it. The values are its parameters.
func (b *builder) nest(id string, t *cfn.Template, values map[string]cfn.Text, options ...cfn.Option) cfn.Handle {
	body, err := t.JSON()
	if err != nil {
		b.errorf("stack %s: %w", id, err)
	}
	return b.nestBody(id, body, values, options...)
}

func (b *builder) nestBody(id string, body []byte, values map[string]cfn.Text, options ...cfn.Option) cfn.Handle {
	sum := sha256.Sum256(body)
	key := b.p.ArtifactDir + "/assets/" + hex.EncodeToString(sum[:])
	b.nested = append(b.nested, Nested{id, key, body})
	return b.t.Add(id, cfn.Stack{TemplateURL: b.objectURL(key), Parameters: values}, options...)
}

func (b *builder) additionalResources() {
	if url := b.c.AdditionalResources; url != "" {
		b.t.Add("AdditionalCfnStack", cfn.Stack{TemplateURL: url})
	}
}

// objectURL returns the https URL of an object in the cluster's bucket.
func (b *builder) objectURL(key string) string {
	return "https://" + b.p.Bucket + ".s3." + b.p.Region + "." + b.urlSuffix() + "/" + key
}

func (b *builder) urlSuffix() string {
	if b.p.Partition == "aws-cn" {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}

// arn returns an ARN in the cluster's account and region.
func (b *builder) arn(service, resource string) string {
	return "arn:" + b.p.Partition + ":" + service + ":" + b.p.Region + ":" + b.p.Account + ":" + resource
}
