package fleet

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"pcluster/internal/slurm"
)

// Tags by which the fleet's instances are found.
const (
	tagCluster  = "parallelcluster:cluster-name"
	tagNodeType = "parallelcluster:node-type"
	tagQueue    = "parallelcluster:queue-name"
	tagResource = "parallelcluster:compute-resource-name"
)

// ec2API is the part of EC2 that the fleet needs; *ec2.Client has it.
type ec2API interface {
	statusAPI
	RunInstances(context.Context, *ec2.RunInstancesInput, ...func(*ec2.Options)) (*ec2.RunInstancesOutput, error)
	CreateFleet(context.Context, *ec2.CreateFleetInput, ...func(*ec2.Options)) (*ec2.CreateFleetOutput, error)
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)
	TerminateInstances(context.Context, *ec2.TerminateInstancesInput, ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error)
	GetConsoleOutput(context.Context, *ec2.GetConsoleOutputInput, ...func(*ec2.Options)) (*ec2.GetConsoleOutputOutput, error)
}

// EC2 launches and ends the instances of one cluster.
type EC2 struct {
	API       ec2API
	Cluster   string
	Resources slurm.Resources
	// LaunchTemplates maps queue/resource to the ID of its launch template. The
	// template of all others is named cluster-queue-resource.
	LaunchTemplates map[string]string
	// RunOverrides and FleetOverrides are JSON files of the user, by queue and
	// resource, with members to replace in requests. They may be missing.
	RunOverrides, FleetOverrides string

	once   sync.Once
	launch *bucket
}

// EC2 refills an account's budget of launch requests at two a second.
const (
	launchRate  = 2.0
	launchBurst = 5
)

func (c *EC2) limit(ctx context.Context) error {
	c.once.Do(func() { c.launch = newBucket(launchRate, launchBurst) })
	return c.launch.take(ctx)
}

// Launch carries out a launch, which may be one that was carried out before.
func (c *EC2) Launch(ctx context.Context, l Launch) Outcome {
	out := Outcome{Token: l.Token}
	r, err := c.Resources.Of(l.Queue, l.Resource)
	if err == nil {
		err = c.untilAnswered(ctx, func() error {
			// Of compute resources with a list of instance types, even of one, the
			// launch template says neither type nor subnet: a fleet request does.
			if r.API == slurm.CreateFleet {
				out.Instances, out.Short, err = c.createFleet(ctx, l, r)
			} else {
				out.Instances, err = c.runInstances(ctx, l)
			}
			return err
		})
	}
	if err != nil {
		out.Code, out.Message = describe(err)
	}
	return out
}

// describe returns EC2's code and message of an error, and a code of ours for
// errors that never got to EC2.
func describe(err error) (code, message string) {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode(), api.ErrorMessage()
	}
	if errors.Is(err, errOverrides) {
		return "LaunchOverrides", err.Error()
	}
	return "RequestFailed", err.Error()
}

// Attempts and pauses of a launch that EC2 leaves unanswered or throttles, on top of
// the SDK's own. EC2 lets an account launch a thousand instances at once and then two
// a second (AWS documentation: Request throttling for the Amazon EC2 API), so that what
// is throttled may need minutes: it is tried for as long as the caller has patience.
// A job that gave up would have to give back what it has, and begin anew with less.
const (
	launchAttempts  = 8
	launchPause     = time.Second
	unansweredPause = time.Minute // at most
	throttledPause  = 10 * time.Second
)

// unanswered are codes of failures after which the instances may exist all the same.
var unanswered = []string{"InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable"}

// mayHaveLaunched says whether an error leaves open if the launch was carried out. To
// ask again, with the same token, is then the only way to learn of the instances, or
// to have them.
func mayHaveLaunched(err error) bool {
	if errors.Is(err, errNoAddresses) || errors.Is(err, errOverrides) {
		return false
	}
	code, said := codeOf(err)
	return err != nil && (!said || slices.Contains(unanswered, code))
}

func (c *EC2) untilAnswered(ctx context.Context, call func() error) error {
	pause := launchPause
	for attempt := 1; ; attempt++ {
		if err := c.limit(ctx); err != nil {
			return err
		}
		err := call()
		most := unansweredPause
		if code, _ := codeOf(err); code == "RequestLimitExceeded" || code == "Throttling" {
			most = throttledPause
		} else if attempt >= launchAttempts || !mayHaveLaunched(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(min(pause, most)):
		}
		pause = min(2*pause, unansweredPause)
	}
}

func codeOf(err error) (code string, ok bool) {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode(), true
	}
	return "", false
}

func (c *EC2) template(l Launch) (id, name *string) {
	if id := c.LaunchTemplates[l.Queue+"/"+l.Resource]; id != "" {
		return aws.String(id), nil
	}
	return nil, aws.String(c.Cluster + "-" + l.Queue + "-" + l.Resource)
}

func (c *EC2) runInstances(ctx context.Context, l Launch) ([]Instance, error) {
	id, name := c.template(l)
	in := &ec2.RunInstancesInput{
		ClientToken:    aws.String(l.Token),
		MinCount:       aws.Int32(int32(l.Min)),
		MaxCount:       aws.Int32(int32(len(l.Nodes))),
		LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateId: id, LaunchTemplateName: name, Version: aws.String("$Latest")},
	}
	if err := override(c.RunOverrides, l, in); err != nil {
		return nil, err
	}
	res, err := c.API.RunInstances(ctx, in)
	if err != nil {
		return nil, err
	}
	instances := make([]Instance, len(res.Instances))
	for i := range res.Instances {
		instances[i] = instance(&res.Instances[i])
		instances[i].Queue, instances[i].Resource = l.Queue, l.Resource
	}
	return instances, nil
}

// override replaces members of a request by those in the user's file, each as a whole.
func override(file string, l Launch, request any) error {
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errOverrides, err)
	}
	var all map[string]map[string]map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return fmt.Errorf("%w in %s: by queue and compute resource, members of the request: %w", errOverrides, file, err)
	}
	members := reflect.ValueOf(request).Elem()
	for _, name := range sortedKeys(all[l.Queue][l.Resource]) {
		member := members.FieldByName(name)
		if !member.IsValid() || !member.CanSet() {
			return fmt.Errorf("%w in %s: queue %s, compute resource %s: requests have no member %s", errOverrides, file, l.Queue, l.Resource, name)
		}
		value := reflect.New(member.Type())
		if err := json.Unmarshal(all[l.Queue][l.Resource][name], value.Interface()); err != nil {
			return fmt.Errorf("%w in %s: queue %s, compute resource %s, member %s: %w", errOverrides, file, l.Queue, l.Resource, name, err)
		}
		member.Set(value.Elem())
	}
	return nil
}

var errOverrides = errors.New("launch overrides")

func (c *EC2) createFleet(ctx context.Context, l Launch, r slurm.Resource) ([]Instance, []Shortage, error) {
	in := c.fleetRequest(l, r)
	if err := override(c.FleetOverrides, l, in); err != nil {
		return nil, nil, err
	}
	res, err := c.API.CreateFleet(ctx, in)
	if err != nil {
		return nil, nil, err
	}
	short := shortages(res.Errors)
	var ids []string
	for _, i := range res.Instances {
		ids = append(ids, i.InstanceIds...)
	}
	if len(ids) == 0 {
		return nil, short, fleetError(res.Errors)
	}
	instances, err := c.withAddresses(ctx, ids, l)
	return instances, short, err
}

// shortages are the pools that a fleet found empty.
func shortages(errs []types.CreateFleetError) []Shortage {
	var out []Shortage
	for _, e := range errs {
		if e.LaunchTemplateAndOverrides == nil || e.LaunchTemplateAndOverrides.Overrides == nil {
			continue
		}
		o := e.LaunchTemplateAndOverrides.Overrides
		out = append(out, Shortage{Pool{string(o.InstanceType), aws.ToString(o.SubnetId)}, aws.ToString(e.ErrorCode)})
	}
	return out
}

// fleetError is why a fleet is empty: the one error that EC2 names, or that there is
// no capacity, which is what several errors come to.
func fleetError(errs []types.CreateFleetError) error {
	codes := make(map[string]string)
	for _, e := range errs {
		codes[aws.ToString(e.ErrorCode)] = aws.ToString(e.ErrorMessage)
	}
	if len(codes) == 1 {
		for code, message := range codes {
			return &smithy.GenericAPIError{Code: code, Message: message}
		}
	}
	return &smithy.GenericAPIError{Code: InsufficientCapacity, Message: "no instance type and subnet of the compute resource has capacity"}
}

func (c *EC2) fleetRequest(l Launch, r slurm.Resource) *ec2.CreateFleetInput {
	id, name := c.template(l)
	var overrides []types.FleetLaunchTemplateOverridesRequest
	kinds, places := make(map[string]bool), make(map[string]bool)
	for _, at := range pools(&r) {
		if slices.Contains(l.Without, at) {
			continue
		}
		kinds[at.Type], places[at.Subnet] = true, true
		o := types.FleetLaunchTemplateOverridesRequest{InstanceType: types.InstanceType(at.Type)}
		if at.Subnet != "" {
			o.SubnetId = aws.String(at.Subnet)
		}
		if strings.Contains(r.AllocationStrategy, "prioritized") {
			first := slices.IndexFunc(r.Instances, func(t slurm.ResourceType) bool { return t.InstanceType == at.Type })
			o.Priority = aws.Float64(float64(first))
		}
		if r.MaxPrice != nil && r.CapacityType == "spot" {
			o.MaxPrice = aws.String(strconv.FormatFloat(*r.MaxPrice, 'f', -1, 64))
		}
		overrides = append(overrides, o)
	}
	oneType, oneSubnet := len(kinds) == 1, len(places) == 1
	// EC2 takes a minimum only if it has not to choose among both.
	var least *int32
	if oneType || oneSubnet {
		least = aws.Int32(int32(l.Min))
	}
	in := &ec2.CreateFleetInput{
		ClientToken: aws.String(l.Token),
		Type:        types.FleetTypeInstant,
		LaunchTemplateConfigs: []types.FleetLaunchTemplateConfigRequest{{
			LaunchTemplateSpecification: &types.FleetLaunchTemplateSpecificationRequest{
				LaunchTemplateId: id, LaunchTemplateName: name, Version: aws.String("$Latest"),
			},
			Overrides: overrides,
		}},
		TargetCapacitySpecification: &types.TargetCapacitySpecificationRequest{
			TotalTargetCapacity:       aws.Int32(int32(len(l.Nodes))),
			DefaultTargetCapacityType: types.DefaultTargetCapacityType(r.CapacityType),
		},
	}
	if r.CapacityType == "spot" {
		in.SpotOptions = &types.SpotOptionsRequest{
			SingleInstanceType: aws.Bool(oneType), SingleAvailabilityZone: aws.Bool(oneSubnet), MinTargetCapacity: least,
			AllocationStrategy: types.SpotAllocationStrategy(r.AllocationStrategy),
		}
		return in
	}
	in.OnDemandOptions = &types.OnDemandOptionsRequest{
		SingleInstanceType: aws.Bool(oneType), SingleAvailabilityZone: aws.Bool(oneSubnet), MinTargetCapacity: least,
		AllocationStrategy: types.FleetOnDemandAllocationStrategy(r.AllocationStrategy),
		CapacityReservationOptions: &types.CapacityReservationOptionsRequest{
			UsageStrategy: types.FleetCapacityReservationUsageStrategyUseCapacityReservationsFirst,
		},
	}
	return in
}

// How often instances of a fleet are asked for their addresses: for a minute, as it
// may take EC2 that long to show what it has launched.
const (
	addressAttempts = 16
	addressPause    = 100 * time.Millisecond
	addressPauseMax = 5 * time.Second
)

var errNoAddresses = errors.New("EC2 does not tell")

// withAddresses returns instances by their IDs. CreateFleet does not say their
// addresses, and DescribeInstances does not know them at once. Instances whose
// address can't be learned are terminated: nobody would ever reach them.
func (c *EC2) withAddresses(ctx context.Context, ids []string, l Launch) ([]Instance, error) {
	found := make(map[string]Instance)
	var last error
	for attempt := range addressAttempts {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(min(addressPause<<attempt, addressPauseMax)):
		}
		last = nil
		for batch := range slices.Chunk(missing(ids, found), describeBatch) {
			// A filter, as EC2 refuses requests for IDs that it does not know yet.
			all, err := c.describe(ctx, &ec2.DescribeInstancesInput{Filters: []types.Filter{{Name: aws.String("instance-id"), Values: batch}}})
			last = errors.Join(last, err)
			for _, i := range all {
				if i.Addr != "" && i.Hostname != "" {
					i.Queue, i.Resource = l.Queue, l.Resource
					found[i.ID] = i
				}
			}
		}
		if len(found) == len(ids) {
			break
		}
	}
	var out []Instance
	for _, id := range ids {
		if i, ok := found[id]; ok {
			out = append(out, i)
		}
	}
	without := missing(ids, found)
	if len(without) > 0 {
		last = errors.Join(last, c.Terminate(ctx, without))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("addresses of new instances %s: %w", strings.Join(ids, ", "), errors.Join(errNoAddresses, last))
	}
	return out, nil
}

// describeBatch is the most values that a filter takes.
const describeBatch = 200

func missing(ids []string, found map[string]Instance) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { _, ok := found[id]; return ok })
}

// Instances returns all instances of the fleet that EC2 still shows, ended ones too.
func (c *EC2) Instances(ctx context.Context) ([]Instance, error) {
	return c.describe(ctx, &ec2.DescribeInstancesInput{
		Filters: []types.Filter{
			{Name: aws.String("tag:" + tagCluster), Values: []string{c.Cluster}},
			{Name: aws.String("tag:" + tagNodeType), Values: []string{"Compute"}},
		},
		MaxResults: aws.Int32(1000),
	})
}

func (c *EC2) describe(ctx context.Context, in *ec2.DescribeInstancesInput) ([]Instance, error) {
	var out []Instance
	for {
		res, err := c.API.DescribeInstances(ctx, in, readLeanly)
		if err != nil {
			return out, fmt.Errorf("describe instances: %w", err)
		}
		for _, r := range res.Reservations {
			for i := range r.Instances {
				out = append(out, instance(&r.Instances[i]))
			}
		}
		if aws.ToString(res.NextToken) == "" {
			return out, nil
		}
		in.NextToken = res.NextToken
	}
}

// terminateBatch is the most instances that EC2 ends by one request.
const terminateBatch = 1000

// Terminate ends instances. Those that EC2 does not know any more are ended already;
// as it then refuses the whole request, they are found by asking one by one.
func (c *EC2) Terminate(ctx context.Context, ids []string) error {
	var errs []error
	for start := 0; start < len(ids); start += terminateBatch {
		batch := ids[start:min(start+terminateBatch, len(ids))]
		_, err := c.API.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: batch})
		if code, _ := codeOf(err); code != "InvalidInstanceID.NotFound" {
			if err != nil {
				errs = append(errs, fmt.Errorf("terminate %s: %w", strings.Join(batch, ", "), err))
			}
			continue
		}
		if len(batch) == 1 {
			continue
		}
		for _, id := range batch {
			errs = append(errs, c.Terminate(ctx, []string{id}))
		}
	}
	return errors.Join(errs...)
}

// Console returns what an instance has printed. EC2 keeps it for an hour after the
// end of the instance, and may take minutes until it has any.
func (c *EC2) Console(ctx context.Context, id string) (string, error) {
	out, err := c.API.GetConsoleOutput(ctx, &ec2.GetConsoleOutputInput{InstanceId: aws.String(id)})
	if err != nil {
		return "", fmt.Errorf("console of %s: %w", id, err)
	}
	text, err := base64.StdEncoding.DecodeString(aws.ToString(out.Output))
	if err != nil {
		return "", fmt.Errorf("console of %s: %w", id, err)
	}
	return string(text), nil
}

func instance(i *types.Instance) Instance {
	out := Instance{
		ID:       aws.ToString(i.InstanceId),
		Addr:     aws.ToString(i.PrivateIpAddress),
		Subnet:   aws.ToString(i.SubnetId),
		Hostname: aws.ToString(i.PrivateDnsName),
		Launched: aws.ToTime(i.LaunchTime),
		Token:    aws.ToString(i.ClientToken),
	}
	if i.State != nil {
		out.State = string(i.State.Name)
	}
	for _, n := range i.NetworkInterfaces {
		if n.Attachment != nil && aws.ToInt32(n.Attachment.DeviceIndex) == 0 && aws.ToInt32(n.Attachment.NetworkCardIndex) == 0 && n.PrivateIpAddress != nil {
			out.Addr = *n.PrivateIpAddress
		}
	}
	for _, t := range i.Tags {
		switch aws.ToString(t.Key) {
		case tagQueue:
			out.Queue = aws.ToString(t.Value)
		case tagResource:
			out.Resource = aws.ToString(t.Value)
		}
	}
	return out
}

// A bucket of tokens lets burst requests pass at once, and rate a second in the
// long run.
type bucket struct {
	mu     sync.Mutex
	rate   float64
	burst  float64
	tokens float64
	last   time.Time
}

func newBucket(rate float64, burst int) *bucket {
	return &bucket{rate: rate, burst: float64(burst), tokens: float64(burst), last: time.Now()}
}

// take waits for a token.
func (b *bucket) take(ctx context.Context) error {
	b.mu.Lock()
	now := time.Now()
	b.tokens = min(b.burst, b.tokens+now.Sub(b.last).Seconds()*b.rate)
	b.last = now
	b.tokens-- // below zero: tokens that are still to come are taken in advance
	wait := time.Duration(max(0, -b.tokens) / b.rate * float64(time.Second))
	b.mu.Unlock()
	if wait == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(wait):
		return nil
	}
}
