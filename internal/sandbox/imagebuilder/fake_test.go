//go:build linux

package imagebuilder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/smithy-go"

	"pcluster/internal/component"
	"pcluster/internal/component/act"
)

// fakeEC2 has machines on which the real executor runs the plan of the build, with
// folders of the test for their disks. A machine outlives the service, as real ones
// do.
type fakeEC2 struct {
	t  *testing.T
	mu sync.Mutex

	images    map[string]*ec2types.Image
	instances map[string]*fakeInstance
	byToken   map[string]string
	vpcs      map[string]bool
	subnets   map[string]bool
	made      int
	launches  []*ec2.RunInstancesInput

	refuse map[string]error       // of an operation, until it is taken away
	boot   func(*fakeInstance)    // nil: the executor runs
	taken  ec2types.ImageState    // what becomes of an image; empty: available
	called func(operation string) // at each call, before it does anything
	shared []ec2types.LaunchPermission
	work   sync.WaitGroup

	// dead is set while the daemon is: its calls do nothing. A call that finds dying
	// set does its work, of which the daemon does not hear any more.
	dead, dying atomic.Bool
}

// errDied is what a daemon hears that has died: nothing.
var errDied = errors.New("the daemon is dead")

// unheard says whether the daemon dies while its call is under way.
func (f *fakeEC2) unheard() bool {
	if f.dying.CompareAndSwap(true, false) {
		f.dead.Store(true)
		return true
	}
	return false
}

type fakeInstance struct {
	id, image string
	state     ec2types.InstanceStateName
	reason    string
	tags      []ec2types.Tag
	logs      string // its LogDirectory
	plan      string // the folder of the plan
	cancel    context.CancelFunc
}

const parentAMI = "ami-0parent"

func newFakeEC2(t *testing.T) *fakeEC2 {
	f := &fakeEC2{t: t, images: map[string]*ec2types.Image{}, instances: map[string]*fakeInstance{}, byToken: map[string]string{},
		vpcs: map[string]bool{}, subnets: map[string]bool{}, refuse: map[string]error{}}
	f.images[parentAMI] = &ec2types.Image{ImageId: aws.String(parentAMI), RootDeviceName: aws.String("/dev/xvda"), State: ec2types.ImageStateAvailable,
		Architecture: ec2types.ArchitectureValuesX8664}
	t.Cleanup(func() {
		f.mu.Lock()
		for _, i := range f.instances {
			i.cancel()
		}
		f.mu.Unlock()
		f.work.Wait()
	})
	return f
}

func (f *fakeEC2) call(operation string) error {
	if f.called != nil {
		f.called(operation)
	}
	f.mu.Lock() // unlocked by the caller
	if f.dead.Load() {
		return errDied
	}
	return f.refuse[operation]
}

func apiError(code, message string) error {
	return &smithy.GenericAPIError{Code: code, Message: message}
}

func (f *fakeEC2) newID(kind string) string {
	f.made++
	return fmt.Sprintf("%s-%d", kind, f.made)
}

func (f *fakeEC2) RunOver(_ context.Context, in *ec2.RunInstancesInput, over []string) (*ec2.RunInstancesOutput, error) {
	err := f.call("RunInstances")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if id, ok := f.byToken[*in.ClientToken]; ok {
		return &ec2.RunInstancesOutput{Instances: []ec2types.Instance{{InstanceId: &id}}}, nil
	}
	if f.images[*in.ImageId] == nil {
		return nil, apiError("InvalidAMIID.NotFound", "The image id '["+*in.ImageId+"]' does not exist")
	}
	f.launches = append(f.launches, in)
	ctx, cancel := context.WithCancel(context.Background())
	i := &fakeInstance{id: f.newID("i"), image: *in.ImageId, state: ec2types.InstanceStateNameRunning, cancel: cancel,
		logs: f.t.TempDir(), plan: filepath.Join(f.t.TempDir(), "plan"), tags: in.TagSpecifications[0].Tags}
	// The layers may go while the machine runs: it keeps what it has mounted.
	if err := os.CopyFS(i.plan, os.DirFS(filepath.Join(over[len(over)-1], toolsPath))); err != nil {
		return nil, err
	}
	f.instances[i.id], f.byToken[*in.ClientToken] = i, i.id
	f.work.Go(func() {
		if f.boot != nil {
			f.boot(i)
			return
		}
		f.execute(ctx, i)
	})
	if f.unheard() {
		return nil, errDied
	}
	return &ec2.RunInstancesOutput{Instances: []ec2types.Instance{{InstanceId: &i.id}}}, nil
}

// execute runs the plan of a machine, through its restarts.
func (f *fakeEC2) execute(ctx context.Context, i *fakeInstance) {
	for {
		err := act.RunPlan(ctx, i.plan, i.logs, &act.Machine{}, nil)
		if _, again := errors.AsType[*component.Reboot](err); !again {
			return
		}
	}
}

func (f *fakeEC2) DescribeInstances(_ context.Context, in *ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error) {
	err := f.call("DescribeInstances")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	ids := in.InstanceIds
	if len(ids) == 0 {
		ids = slices.Sorted(maps.Keys(f.instances))
	}
	out := &ec2.DescribeInstancesOutput{}
	for _, id := range ids {
		i, ok := f.instances[id]
		if !ok {
			return nil, apiError("InvalidInstanceID.NotFound", "The instance ID '"+id+"' does not exist")
		}
		if len(in.Filters) > 0 && !slices.ContainsFunc(i.tags, func(t ec2types.Tag) bool {
			return "tag:"+*t.Key == *in.Filters[0].Name && slices.Contains(in.Filters[0].Values, *t.Value)
		}) {
			continue
		}
		d := ec2types.Instance{InstanceId: &i.id, State: &ec2types.InstanceState{Name: i.state}}
		if i.reason != "" {
			d.StateReason = &ec2types.StateReason{Message: &i.reason}
		}
		out.Reservations = append(out.Reservations, ec2types.Reservation{Instances: []ec2types.Instance{d}})
	}
	return out, nil
}

// end changes the state of instances that are not terminated.
func (f *fakeEC2) end(operation string, ids []string, state ec2types.InstanceStateName) error {
	err := f.call(operation)
	defer f.mu.Unlock()
	for _, id := range ids {
		if i := f.instances[id]; err == nil && i != nil && i.state != ec2types.InstanceStateNameTerminated {
			i.state = state
			i.cancel()
		}
	}
	return err
}

// lose is what happens to a machine whose host fails.
func (f *fakeEC2) lose(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.instances[id]
	i.state, i.reason = ec2types.InstanceStateNameTerminated, "Server.InternalError: the host failed"
	i.cancel()
}

func (f *fakeEC2) StopInstances(_ context.Context, in *ec2.StopInstancesInput) (*ec2.StopInstancesOutput, error) {
	return &ec2.StopInstancesOutput{}, f.end("StopInstances", in.InstanceIds, ec2types.InstanceStateNameStopped)
}

func (f *fakeEC2) TerminateInstances(_ context.Context, in *ec2.TerminateInstancesInput) (*ec2.TerminateInstancesOutput, error) {
	return &ec2.TerminateInstancesOutput{}, f.end("TerminateInstances", in.InstanceIds, ec2types.InstanceStateNameTerminated)
}

func (f *fakeEC2) TakeImage(_ context.Context, in *ec2.CreateImageInput) (*ec2.CreateImageOutput, error) {
	err := f.call("CreateImage")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if f.instances[*in.InstanceId].state != ec2types.InstanceStateNameStopped {
		return nil, apiError("IncorrectState", "the instance is not stopped")
	}
	id := f.newID("ami")
	state := ec2types.ImageStateAvailable
	if f.taken != "" {
		state = f.taken
	}
	f.images[id] = &ec2types.Image{ImageId: &id, Name: in.Name, State: state, SourceInstanceId: in.InstanceId, RootDeviceName: aws.String("/dev/xvda"),
		Tags: in.TagSpecifications[0].Tags, Description: in.Description}
	if f.unheard() {
		return nil, errDied
	}
	return &ec2.CreateImageOutput{ImageId: &id}, nil
}

func (f *fakeEC2) DescribeImages(_ context.Context, in *ec2.DescribeImagesInput) (*ec2.DescribeImagesOutput, error) {
	err := f.call("DescribeImages")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	out := &ec2.DescribeImagesOutput{}
	for _, id := range slices.Sorted(maps.Keys(f.images)) {
		v := f.images[id]
		if len(in.ImageIds) > 0 && !slices.Contains(in.ImageIds, id) || len(in.Filters) > 0 && !slices.Contains(in.Filters[0].Values, aws.ToString(v.SourceInstanceId)) {
			continue
		}
		out.Images = append(out.Images, *v)
	}
	return out, nil
}

func (f *fakeEC2) DeregisterImage(_ context.Context, in *ec2.DeregisterImageInput) (*ec2.DeregisterImageOutput, error) {
	err := f.call("DeregisterImage")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if f.images[*in.ImageId] == nil {
		return nil, apiError("InvalidAMIID.NotFound", "no such image")
	}
	delete(f.images, *in.ImageId)
	return &ec2.DeregisterImageOutput{}, nil
}

func (f *fakeEC2) ModifyImageAttribute(_ context.Context, in *ec2.ModifyImageAttributeInput) (*ec2.ModifyImageAttributeOutput, error) {
	err := f.call("ModifyImageAttribute")
	defer f.mu.Unlock()
	if err == nil {
		f.shared = in.LaunchPermission.Add
	}
	return &ec2.ModifyImageAttributeOutput{}, err
}

func (f *fakeEC2) CreateTags(context.Context, *ec2.CreateTagsInput) (*ec2.CreateTagsOutput, error) {
	return &ec2.CreateTagsOutput{}, nil
}

func (f *fakeEC2) LetOut(string) error {
	err := f.call("LetOut")
	f.mu.Unlock()
	return err
}

func (f *fakeEC2) CreateVpc(context.Context, *ec2.CreateVpcInput) (*ec2.CreateVpcOutput, error) {
	err := f.call("CreateVpc")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	id := f.newID("vpc")
	f.vpcs[id] = true
	return &ec2.CreateVpcOutput{Vpc: &ec2types.Vpc{VpcId: &id}}, nil
}

func (f *fakeEC2) DescribeVpcs(context.Context, *ec2.DescribeVpcsInput) (*ec2.DescribeVpcsOutput, error) {
	err := f.call("DescribeVpcs")
	defer f.mu.Unlock()
	out := &ec2.DescribeVpcsOutput{}
	for id := range f.vpcs {
		out.Vpcs = append(out.Vpcs, ec2types.Vpc{VpcId: &id})
	}
	return out, err
}

func (f *fakeEC2) DeleteVpc(_ context.Context, in *ec2.DeleteVpcInput) (*ec2.DeleteVpcOutput, error) {
	err := f.call("DeleteVpc")
	defer f.mu.Unlock()
	delete(f.vpcs, *in.VpcId)
	return &ec2.DeleteVpcOutput{}, err
}

func (f *fakeEC2) CreateSubnet(context.Context, *ec2.CreateSubnetInput) (*ec2.CreateSubnetOutput, error) {
	err := f.call("CreateSubnet")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	id := f.newID("subnet")
	f.subnets[id] = true
	return &ec2.CreateSubnetOutput{Subnet: &ec2types.Subnet{SubnetId: &id}}, nil
}

func (f *fakeEC2) DescribeSubnets(context.Context, *ec2.DescribeSubnetsInput) (*ec2.DescribeSubnetsOutput, error) {
	err := f.call("DescribeSubnets")
	defer f.mu.Unlock()
	out := &ec2.DescribeSubnetsOutput{}
	for id := range f.subnets {
		out.Subnets = append(out.Subnets, ec2types.Subnet{SubnetId: &id})
	}
	return out, err
}

func (f *fakeEC2) DeleteSubnet(_ context.Context, in *ec2.DeleteSubnetInput) (*ec2.DeleteSubnetOutput, error) {
	err := f.call("DeleteSubnet")
	defer f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	for _, i := range f.instances {
		if i.state != ec2types.InstanceStateNameTerminated {
			return nil, apiError("DependencyViolation", "the subnet has dependencies")
		}
	}
	delete(f.subnets, *in.SubnetId)
	return &ec2.DeleteSubnetOutput{}, nil
}

func (f *fakeEC2) Output(instanceID, path string, offset int64, limit int) ([]byte, error) {
	f.mu.Lock()
	i, ok := f.instances[instanceID]
	f.mu.Unlock()
	rel, inside := strings.CutPrefix(path, act.LogDirectory)
	if !ok || !inside {
		return nil, fs.ErrNotExist
	}
	data, err := os.ReadFile(filepath.Join(i.logs, rel))
	if err != nil {
		return nil, err
	}
	data = data[min(int(offset), len(data)):]
	return data[:min(limit, len(data))], nil
}

func (f *fakeEC2) ManagedImage(os, architecture string) (string, bool) {
	return parentAMI, os == "debian12" && architecture != "arm64"
}

// left says what of builds is still there.
func (f *fakeEC2) left() (amis, machines []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id := range f.images {
		if id != parentAMI {
			amis = append(amis, id)
		}
	}
	for id, i := range f.instances {
		if i.state != ec2types.InstanceStateNameTerminated {
			machines = append(machines, id)
		}
	}
	return amis, machines
}

// fakeLogs keeps lines by stream.
type fakeLogs struct {
	mu      sync.Mutex
	groups  map[string]bool
	streams map[string][]string
}

func newFakeLogs() *fakeLogs {
	return &fakeLogs{groups: map[string]bool{}, streams: map[string][]string{}}
}

func (l *fakeLogs) CreateLogGroup(_ context.Context, in *cloudwatchlogs.CreateLogGroupInput) (*cloudwatchlogs.CreateLogGroupOutput, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.groups[*in.LogGroupName] = true
	return &cloudwatchlogs.CreateLogGroupOutput{}, nil
}

func (l *fakeLogs) CreateLogStream(_ context.Context, in *cloudwatchlogs.CreateLogStreamInput) (*cloudwatchlogs.CreateLogStreamOutput, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.groups[*in.LogGroupName] {
		return nil, apiError("ResourceNotFoundException", "no group")
	}
	l.streams[*in.LogGroupName+" "+*in.LogStreamName] = []string{}
	return &cloudwatchlogs.CreateLogStreamOutput{}, nil
}

func (l *fakeLogs) PutLogEvents(_ context.Context, in *cloudwatchlogs.PutLogEventsInput) (*cloudwatchlogs.PutLogEventsOutput, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := *in.LogGroupName + " " + *in.LogStreamName
	if l.streams[name] == nil {
		return nil, apiError("ResourceNotFoundException", "no stream")
	}
	for _, e := range in.LogEvents {
		l.streams[name] = append(l.streams[name], *e.Message)
	}
	return &cloudwatchlogs.PutLogEventsOutput{}, nil
}

func (l *fakeLogs) text(group, stream string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.streams[group+" "+stream], "\n")
}

// news takes what is told of builds: each ends with it.
type news chan string

func (n news) Publish(_ context.Context, in *sns.PublishInput) (*sns.PublishOutput, error) {
	n <- *in.Message
	return &sns.PublishOutput{}, nil
}
