package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/fsx"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"pcluster/internal/config"
	"pcluster/internal/node/actions"
	"pcluster/internal/node/spec"
	"pcluster/internal/node/steps"
	"pcluster/internal/node/storage"
	"pcluster/internal/slurm"
)

// A node is what the steps of a boot work on: this machine, what it was told, and
// what earlier steps have found out.
type node struct {
	*Host
	spec *spec.Node
	self *Identity
	out  io.Writer // what scripts print

	s3      *s3.Client
	dynamo  *dynamodb.Client
	secrets *awsVault
	ec2     *ec2.Client
	stack   *cloudformation.Client
	fsx     *fsx.Client
	scaling *autoscaling.Client
	slurm   *slurm.Client

	config  *config.Cluster          // after step "config"
	types   slurm.InstanceTypes      // after step "config", head only
	storage map[string]storage.Entry // after the steps "find …", or "config"
	mounts  *storage.Mounter
	volumes struct { // attached one after the other, under names that are free
		sync.Mutex
		storage.Attacher
	}
	name string // in Slurm, after step "name"; compute only

	began   time.Time // of this boot
	metrics metricsAPI

	limit func(time.Duration) // shortens the time that the boot may take
}

// ReadSpec returns what this node was told at launch.
func (h *Host) ReadSpec() (*spec.Node, error) {
	data, err := h.read(spec.Path)
	if err != nil {
		return nil, fmt.Errorf("description of this node: %w", err)
	}
	var f spec.File
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("description of this node, %s: %w", spec.Path, err)
	}
	return &f.Cluster, nil
}

// Boot makes this machine the node that it was told to be, and says how it went: the
// head node to its stack, the others to the fleet, by staying up or not.
func Boot(ctx context.Context, h *Host) error {
	told, err := h.ReadSpec()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	n, err := newNode(ctx, h, told)
	if err == nil {
		n.limit = func(total time.Duration) {
			time.AfterFunc(time.Until(n.began.Add(total)), func() {
				cancel(fmt.Errorf("the boot took longer than %v", total))
			})
		}
		err = n.boot(ctx)
		if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
			err = fmt.Errorf("%w (%w)", err, cause)
		}
	}
	if err != nil {
		// Whatever ended the context, the bad news must get out.
		return n.failed(context.WithoutCancel(ctx), told, err)
	}
	return nil
}

func newNode(ctx context.Context, h *Host, told *spec.Node) (*node, error) {
	n := &node{Host: h, spec: told, out: os.Stdout, storage: make(map[string]storage.Entry), began: time.Now()}
	cfg, err := awsConfig(ctx, told)
	if err != nil {
		return n, err
	}
	if n.self, err = identify(ctx, imds.NewFromConfig(cfg)); err != nil {
		return n, err
	}
	n.s3, n.dynamo, n.secrets = s3.NewFromConfig(cfg), dynamoClient(cfg), newVault(cfg)
	n.ec2, n.stack, n.fsx = ec2.NewFromConfig(cfg), cloudformation.NewFromConfig(cfg), fsx.NewFromConfig(cfg)
	n.scaling, n.metrics = autoscaling.NewFromConfig(cfg), cloudwatch.NewFromConfig(cfg)
	n.slurm = &slurm.Client{Run: slurm.Exec}
	n.mounts = &storage.Mounter{Own: told.NodeType == spec.Head}
	n.volumes.EC2, n.volumes.InstanceID = n.ec2, n.self.InstanceID
	return n, nil
}

// boot runs the steps for this kind of node.
func (n *node) boot(ctx context.Context) error {
	if err := n.layout(n.spec, n.self); err != nil {
		return err
	}
	var list []steps.Step
	switch n.spec.NodeType {
	case spec.Head:
		log, err := os.OpenFile(n.path("/var/log/cfn-init.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer log.Close()
		n.out = io.MultiWriter(os.Stdout, log)
		// What other steps have to wait for is only known from the file.
		c, err := n.fetchConfig(ctx)
		if err != nil {
			return err
		}
		n.config = c
		list = n.headSteps()
	case spec.Compute:
		list = n.computeSteps()
	case spec.Login:
		list = n.loginSteps()
	default:
		return fmt.Errorf("node type %q in %s is unknown", n.spec.NodeType, spec.Path)
	}
	if err := steps.Run(ctx, n.path(journalFile), list); err != nil {
		return err
	}
	return n.write(bootedFile, 0o644, rootUser, []byte(time.Now().UTC().Format(time.RFC3339)+"\n"))
}

// actions runs the user's scripts for an event.
func (n *node) actions(ctx context.Context, event actions.Event, action *config.CustomAction) error {
	r := &actions.Runner{S3: n.s3, Log: n.out}
	return r.Run(ctx, event, action.Scripts())
}

// reason is the text that says why a boot failed, for the stack's events and for
// tools that look for what they know in it.
func reason(err error) string {
	text := err.Error()
	if strings.HasPrefix(text, "Failed to ") || strings.Contains(text, "Cluster has been set to PROTECTED mode") {
		return text
	}
	var step *steps.Error
	if errors.As(err, &step) {
		return fmt.Sprintf("Failed to bootstrap the head node: step %q: %s", step.Step, text)
	}
	return "Failed to bootstrap the head node: " + text
}

// failed reports a boot that failed, and returns its error.
func (n *node) failed(ctx context.Context, told *spec.Node, err error) error {
	fmt.Fprintf(n.out, "boot failed: %v\n", err)
	if told.NodeType == spec.Head {
		text := reason(err)
		message := errors.Join(
			n.write(bootstrapMessage, 0o644, rootUser, []byte(text+"\n")),
			Signal(ctx, told.WaitHandle, "FAILURE", n.instanceID(), text))
		return errors.Join(err, message)
	}
	if e := n.write(bootstrapMessage, 0o644, rootUser, n.failureEvent(told, err)); e != nil {
		err = errors.Join(err, e)
	}
	// The log shipper looks twice a second.
	select {
	case <-ctx.Done():
	case <-time.After(lastWords):
	}
	// Launch templates end instances that shut down by themselves.
	if _, e := n.Run(ctx, "shutdown", "-h", "now"); e != nil {
		err = errors.Join(err, e)
	}
	return err
}

// bootstrapMessage is the file that says why a node did not come up.
const bootstrapMessage = "/var/log/parallelcluster/bootstrap_error_msg"

// lastWords is how long a failing node waits for its logs to be shipped.
const lastWords = 4 * time.Second

func (n *node) instanceID() string {
	if n.self == nil {
		return "unknown"
	}
	return n.self.InstanceID
}
