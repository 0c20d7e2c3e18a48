package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"pcluster/internal/slurm"
)

// fakeEC2 has a number of instances to give, whatever their kind. It does not tell
// addresses of a fleet's instances at once, and counts requests that it refuses as
// too many.
type fakeEC2 struct {
	ec2API    // nil: a call that no test foresees panics
	capacity  int
	throttled int // requests to refuse
	lost      int // answers that don't arrive
	hidden    int // descriptions that don't show the newest instance
	tokens    map[string][]types.Instance
	instances []types.Instance
	described int
	fleets    []*ec2.CreateFleetInput
	runs      []*ec2.RunInstancesInput
}

func (f *fakeEC2) launch(n int) []types.Instance {
	var out []types.Instance
	for range n {
		id := len(f.instances) + 1
		i := types.Instance{
			InstanceId: aws.String(fmt.Sprintf("i-%d", id)), State: &types.InstanceState{Name: "pending"},
			PrivateIpAddress: aws.String(fmt.Sprintf("10.0.0.%d", id)), PrivateDnsName: aws.String("name"),
		}
		f.instances = append(f.instances, i)
		out = append(out, i)
	}
	return out
}

func (f *fakeEC2) RunInstances(_ context.Context, in *ec2.RunInstancesInput, _ ...func(*ec2.Options)) (*ec2.RunInstancesOutput, error) {
	if f.throttled > 0 {
		f.throttled--
		return nil, &smithy.GenericAPIError{Code: "RequestLimitExceeded"}
	}
	f.runs = append(f.runs, in)
	all, known := f.tokens[*in.ClientToken]
	if !known {
		n := min(int(*in.MaxCount), f.capacity)
		if n < int(*in.MinCount) {
			return nil, &smithy.GenericAPIError{Code: InsufficientCapacity, Message: "none left"}
		}
		all = f.launch(n)
		f.tokens[*in.ClientToken] = all
	}
	if f.lost > 0 {
		f.lost--
		return nil, errors.New("read: connection timed out")
	}
	return &ec2.RunInstancesOutput{Instances: all}, nil
}

func (f *fakeEC2) CreateFleet(_ context.Context, in *ec2.CreateFleetInput, _ ...func(*ec2.Options)) (*ec2.CreateFleetOutput, error) {
	f.fleets = append(f.fleets, in)
	n := min(int(*in.TargetCapacitySpecification.TotalTargetCapacity), f.capacity)
	if n == 0 {
		return &ec2.CreateFleetOutput{Errors: []types.CreateFleetError{{ErrorCode: aws.String("VcpuLimitExceeded"), ErrorMessage: aws.String("too many")}}}, nil
	}
	var ids []string
	for _, i := range f.launch(n) {
		ids = append(ids, *i.InstanceId)
	}
	return &ec2.CreateFleetOutput{Instances: []types.CreateFleetInstance{{InstanceIds: ids}}}, nil
}

func (f *fakeEC2) DescribeInstances(_ context.Context, in *ec2.DescribeInstancesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	f.described++
	var found []types.Instance
	for at, i := range f.instances {
		if at == len(f.instances)-1 && f.hidden > 0 {
			f.hidden--
			continue
		}
		if slices.Contains(in.Filters[0].Values, *i.InstanceId) {
			if f.described == 1 {
				i.PrivateIpAddress = nil
			}
			found = append(found, i)
		}
	}
	return &ec2.DescribeInstancesOutput{Reservations: []types.Reservation{{Instances: found}}}, nil
}

func (f *fakeEC2) TerminateInstances(_ context.Context, in *ec2.TerminateInstancesInput, _ ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error) {
	for _, id := range in.InstanceIds {
		at := slices.IndexFunc(f.instances, func(i types.Instance) bool { return *i.InstanceId == id })
		if at < 0 {
			return nil, &smithy.GenericAPIError{Code: "InvalidInstanceID.NotFound"}
		}
	}
	for _, id := range in.InstanceIds {
		at := slices.IndexFunc(f.instances, func(i types.Instance) bool { return *i.InstanceId == id })
		f.instances[at].State = &types.InstanceState{Name: "shutting-down"}
	}
	return &ec2.TerminateInstancesOutput{}, nil
}

func testEC2(capacity int) (*EC2, *fakeEC2) {
	api := &fakeEC2{capacity: capacity, tokens: make(map[string][]types.Instance)}
	price := 0.5
	return &EC2{API: api, Cluster: "demo", Resources: slurm.Resources{"q": {
		"one": {API: slurm.RunInstances, Instances: []slurm.ResourceType{{InstanceType: "c5.large"}}},
		"listed": {
			API: slurm.CreateFleet, CapacityType: "on-demand", AllocationStrategy: "lowest-price",
			Instances: []slurm.ResourceType{{InstanceType: "c5.large"}}, Networking: &slurm.ResourceNetworks{SubnetIDs: []string{"subnet-1"}},
		},
		"any": {
			API: slurm.CreateFleet, CapacityType: "spot", AllocationStrategy: "capacity-optimized", MaxPrice: &price,
			Instances:  []slurm.ResourceType{{InstanceType: "c5.large"}, {InstanceType: "c6i.large"}},
			Networking: &slurm.ResourceNetworks{SubnetIDs: []string{"subnet-1", "subnet-2"}},
		},
	}}}, api
}

func launchOf(resource string, n, least int) Launch {
	l := Launch{Token: "t", Queue: "q", Resource: resource, Min: least}
	for i := range n {
		l.Nodes = append(l.Nodes, fmt.Sprintf("q-dy-%s-%d", resource, i+1))
	}
	return l
}

func TestRunInstances(t *testing.T) {
	c, api := testEC2(3)
	out := c.Launch(t.Context(), launchOf("one", 2, 2))
	if out.Code != "" || len(out.Instances) != 2 || out.Instances[1].Addr != "10.0.0.2" || out.Instances[1].Resource != "one" {
		t.Errorf("got %+v", out)
	}
	in := api.runs[0]
	if *in.LaunchTemplate.LaunchTemplateName != "demo-q-one" || *in.ClientToken != "t" || *in.MinCount != 2 {
		t.Errorf("asked for %+v", in)
	}
	api.capacity = 1
	another := launchOf("one", 2, 2)
	another.Token = "u"
	if out := c.Launch(t.Context(), another); out.Code != InsufficientCapacity || len(out.Instances) > 0 {
		t.Errorf("without capacity: %+v", out)
	}
}

func TestUserOverridesReplaceMembers(t *testing.T) {
	c, api := testEC2(3)
	c.RunOverrides = filepath.Join(t.TempDir(), "overrides.json")
	if err := os.WriteFile(c.RunOverrides, []byte(`{"q": {"one": {"EbsOptimized": true, "CapacityReservationSpecification": {"CapacityReservationPreference": "none"}}}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	c.Launch(t.Context(), launchOf("one", 1, 1))
	if in := api.runs[0]; !*in.EbsOptimized || in.CapacityReservationSpecification.CapacityReservationPreference != "none" || *in.MaxCount != 1 {
		t.Errorf("asked for %+v", in)
	}
	// Members are replaced as a whole, as ParallelCluster does.
	if err := os.WriteFile(c.RunOverrides, []byte(`{"q": {"one": {"LaunchTemplate": {"LaunchTemplateName": "mine"}}}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	c.Launch(t.Context(), launchOf("one", 1, 1))
	if lt := api.runs[1].LaunchTemplate; *lt.LaunchTemplateName != "mine" || lt.Version != nil {
		t.Errorf("the launch template is %+v", lt)
	}
	for text, want := range map[string]string{
		`{"q": `:                                 "unexpected end",
		`{"q": {"one": {"EbsOptimised": true}}}`: "queue q, compute resource one: requests have no member EbsOptimised",
		`{"q": {"one": {"MaxCount": "many"}}}`:   "queue q, compute resource one, member MaxCount",
	} {
		if err := os.WriteFile(c.RunOverrides, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out := c.Launch(t.Context(), launchOf("one", 1, 1))
		if out.Code != "LaunchOverrides" || !strings.Contains(out.Message, want) || !strings.Contains(out.Message, c.RunOverrides) || len(api.runs) != 2 {
			t.Errorf("%s: %+v", text, out)
		}
	}
}

func TestCreateFleet(t *testing.T) {
	t.Parallel()
	c, api := testEC2(5)
	out := c.Launch(t.Context(), launchOf("listed", 2, 2))
	if out.Code != "" || len(out.Instances) != 2 || out.Instances[0].Addr == "" {
		t.Errorf("got %+v", out)
	}
	in := api.fleets[0]
	if *in.OnDemandOptions.MinTargetCapacity != 2 || !*in.OnDemandOptions.SingleAvailabilityZone || *in.ClientToken != "t" {
		t.Errorf("asked for %+v", in.OnDemandOptions)
	}
	c.Launch(t.Context(), launchOf("any", 2, 2))
	in = api.fleets[1]
	if n := len(in.LaunchTemplateConfigs[0].Overrides); n != 4 || in.SpotOptions.MinTargetCapacity != nil || *in.LaunchTemplateConfigs[0].Overrides[0].MaxPrice != "0.5" {
		t.Errorf("asked for %d overrides, %+v", n, in.SpotOptions)
	}
	api.capacity = 0
	if out := c.Launch(t.Context(), launchOf("listed", 2, 2)); out.Code != "VcpuLimitExceeded" {
		t.Errorf("the only error is not reported: %+v", out)
	}
}

// An answer that does not arrive is asked for again, with the same token: otherwise
// the instances would cost money until somebody notices that they are nobody's.
func TestAnswersThatAreLostAreAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, api := testEC2(5)
		api.lost = 3
		out := c.Launch(t.Context(), Launch{Token: "t", Queue: "q", Resource: "one", Nodes: []string{"n1", "n2"}, Min: 2})
		if out.Code != "" || len(out.Instances) != 2 || len(api.instances) != 2 {
			t.Errorf("got %+v; EC2 has %d instances", out, len(api.instances))
		}
	})
}

func TestInstancesThatEC2ShowsLateAreNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, api := testEC2(5)
		api.hidden = 10
		out := c.Launch(t.Context(), Launch{Token: "t", Queue: "q", Resource: "listed", Nodes: []string{"n1", "n2"}, Min: 2})
		if len(out.Instances) != 2 {
			t.Errorf("got %+v", out)
		}
	})
}

// A large launch may need minutes until EC2's budget has what it takes.
func TestThrottledLaunchesArePatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, api := testEC2(1)
		api.throttled = 60
		if out := c.Launch(t.Context(), launchOf("one", 1, 1)); len(out.Instances) != 1 {
			t.Errorf("got %+v", out)
		}
		api.throttled = 60
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		other := launchOf("one", 1, 1)
		other.Token = "u"
		if out := c.Launch(ctx, other); out.Code != "RequestLimitExceeded" {
			t.Errorf("without patience: %+v", out)
		}
	})
}

func TestThrottledLaunchesAreTriedAgain(t *testing.T) {
	t.Parallel()
	c, api := testEC2(1)
	api.throttled = 1
	if out := c.Launch(t.Context(), launchOf("one", 1, 1)); len(out.Instances) != 1 {
		t.Errorf("got %+v", out)
	}
}

func TestTerminatingWhatIsGoneEndsTheRest(t *testing.T) {
	c, api := testEC2(2)
	c.Launch(t.Context(), launchOf("one", 2, 2))
	if err := c.Terminate(t.Context(), []string{"i-1", "i-gone", "i-2"}); err != nil {
		t.Fatal(err)
	}
	for _, i := range api.instances {
		if i.State.Name != "shutting-down" {
			t.Errorf("%s is %s", *i.InstanceId, i.State.Name)
		}
	}
}

func TestBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBucket(10, 2)
		began := time.Now()
		for i, want := range []time.Duration{0, 0, 100 * time.Millisecond} {
			if err := b.take(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(began); got < want || got > want+time.Millisecond {
				t.Errorf("token %d came after %v, want %v", i+1, got, want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		slow := newBucket(0.001, 0)
		if err := slow.take(ctx); err == nil {
			t.Error("a token that comes in 1000 s was taken")
		}
	})
}
