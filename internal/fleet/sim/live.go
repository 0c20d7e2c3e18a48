package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"

	"pcluster/internal/fleet"
	"pcluster/internal/slurm"
)

// A Live is a cloud and a Slurm in the time of the process, for the real daemon:
// [Live.API], [Live.Tables] and [Live.Scheduler] are what it talks to, and its
// [Live.Listen] is where slurmctld's programs find it. Under testing/synctest the
// time of the process is virtual.
type Live struct {
	Cloud *Cloud
	Slurm *Slurm
	// Intercept, if set, is given every call in place of its being made. It may make
	// it, twice, or not at all.
	Intercept func(operation string, call func() error) error
	// Named hears who an instance is told to be.
	Named func(i *Instance, node string)

	cluster   string
	resources slurm.Resources
	status    fleet.Status
	names     map[string]string // node to instance, as the table has it

	mu       sync.Mutex
	clock    *Clock
	wake     chan struct{}
	listener *pipeListener
}

// NewLive returns a world in which nothing has happened. Run makes its time pass.
func NewLive(cluster string, resources slurm.Resources, queues map[string]string, timeouts Timeouts, limits Limits, seed uint64) (*Live, error) {
	clock := NewClock(time.Now())
	s, err := NewSlurm(clock, queues, timeouts)
	if err != nil {
		return nil, err
	}
	l := &Live{
		Cloud: NewCloud(clock, seed, limits, Faults{}), Slurm: s, Named: func(*Instance, string) {},
		cluster: cluster, resources: resources, status: fleet.Running, names: make(map[string]string), clock: clock, wake: make(chan struct{}, 1),
	}
	l.Cloud.Booted = s.Register
	l.Cloud.Ended = s.Lost
	return l, nil
}

// Connect has slurmctld's programs speak to the daemon, until the context ends.
func (l *Live) Connect(ctx context.Context) {
	send := func(m fleet.Message) { go l.deliver(ctx, m) }
	l.Slurm.Resume = func(r fleet.Request) {
		type job struct {
			ID    json.Number `json:"job_id"`
			Nodes string      `json:"nodes_resume"`
		}
		var jobs []job
		for _, j := range r.Jobs {
			jobs = append(jobs, job{json.Number(j.ID), slurm.Compress(j.Nodes)})
		}
		m := fleet.Message{Op: fleet.OpResume, Nodes: slurm.Compress(r.Nodes)}
		m.ResumeFile, _ = json.Marshal(map[string]any{"jobs": jobs})
		send(m)
	}
	l.Slurm.Suspend = func(nodes []string) { send(fleet.Message{Op: fleet.OpSuspend, Nodes: slurm.Compress(nodes)}) }
	l.Slurm.ResumeFail = func(nodes []string) {
		send(fleet.Message{Op: fleet.OpResumeFailed, Nodes: slurm.Compress(nodes)})
	}
}

// Run lets what is due happen until the context ends.
func (l *Live) Run(ctx context.Context) {
	for {
		l.mu.Lock()
		l.clock.Advance(time.Now())
		next, any := l.clock.Next()
		l.mu.Unlock()
		var due <-chan time.Time
		if any {
			due = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return
		case <-due:
		case <-l.wake:
		}
	}
}

// Do does something in the world, now.
func (l *Live) Do(f func()) {
	_ = l.now(func() error { f(); return nil })
}

func (l *Live) now(f func() error) error {
	l.mu.Lock()
	l.clock.Advance(time.Now())
	err := f()
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return err
}

func (l *Live) call(operation string, f func() error) error {
	if l.Intercept != nil {
		return l.Intercept(operation, func() error { return l.now(f) })
	}
	return l.now(f)
}

// deliver is a program of slurmctld's: it tries for a minute to reach a daemon.
func (l *Live) deliver(ctx context.Context, m fleet.Message) {
	deadline := time.Now().Add(time.Minute)
	for ctx.Err() == nil && time.Now().Before(deadline) {
		if l.say(ctx, m) == nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (l *Live) say(ctx context.Context, m fleet.Message) error {
	l.mu.Lock()
	listener := l.listener
	l.mu.Unlock()
	if listener == nil {
		return net.ErrClosed
	}
	conn, err := listener.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	// A daemon that ends leaves its end of a pipe open, unlike that of a socket.
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if err := json.NewEncoder(conn).Encode(m); err != nil {
		return err
	}
	var reply fleet.Reply
	return json.NewDecoder(conn).Decode(&reply)
}

// Listen is the daemon's, in place of its socket.
func (l *Live) Listen(context.Context) (net.Listener, error) {
	p := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	l.mu.Lock()
	l.listener = p
	l.mu.Unlock()
	return p, nil
}

// A pipeListener hands out pipes, which wait without the system's knowing.
type pipeListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (p *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipeListener) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// An API is EC2's.
type API struct{ l *Live }

// API returns EC2 as the SDK has it.
func (l *Live) API() API { return API{l} }

// RunInstances launches from the template of a compute resource.
func (a API) RunInstances(_ context.Context, in *ec2.RunInstancesInput, _ ...func(*ec2.Options)) (*ec2.RunInstancesOutput, error) {
	out := &ec2.RunInstancesOutput{}
	err := a.l.call("RunInstances", func() error {
		r, err := a.request(in.LaunchTemplate.LaunchTemplateName, in.ClientToken)
		if err != nil {
			return err
		}
		r.Min, r.Max = int(*in.MinCount), int(*in.MaxCount)
		all, err := a.l.Cloud.Launch(r)
		for _, i := range all {
			out.Instances = append(out.Instances, a.show(i.Instance, i.state(a.l.clock.Now())))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// request begins the request of a launch from a template.
func (a API) request(template, token *string) (LaunchRequest, error) {
	for queue, all := range a.l.resources {
		for name, res := range all {
			if a.l.cluster+"-"+queue+"-"+name == aws.ToString(template) {
				return LaunchRequest{Token: aws.ToString(token), Queue: queue, Resource: name, Offers: offers(res)}, nil
			}
		}
	}
	return LaunchRequest{}, apiError("InvalidLaunchTemplateName.NotFoundException", "no template "+aws.ToString(template))
}

// CreateFleet launches what the overrides name, in their order.
func (a API) CreateFleet(_ context.Context, in *ec2.CreateFleetInput, _ ...func(*ec2.Options)) (*ec2.CreateFleetOutput, error) {
	out := &ec2.CreateFleetOutput{}
	err := a.l.call("CreateFleet", func() error {
		config := in.LaunchTemplateConfigs[0]
		r, err := a.request(config.LaunchTemplateSpecification.LaunchTemplateName, in.ClientToken)
		if err != nil {
			return err
		}
		r.Fleet, r.Max, r.Offers = true, int(*in.TargetCapacitySpecification.TotalTargetCapacity), nil
		for _, o := range config.Overrides {
			r.Offers = append(r.Offers, Offer{string(o.InstanceType), aws.ToString(o.SubnetId)})
		}
		switch {
		case in.SpotOptions != nil:
			r.Min = int(aws.ToInt32(in.SpotOptions.MinTargetCapacity))
		case in.OnDemandOptions != nil:
			r.Min = int(aws.ToInt32(in.OnDemandOptions.MinTargetCapacity))
		}
		all, err := a.l.Cloud.Launch(r)
		if code, message := codeOf(err); code == fleet.InsufficientCapacity {
			out.Errors = []types.CreateFleetError{{ErrorCode: &code, ErrorMessage: &message}}
			return nil
		}
		var ids []string
		for _, i := range all {
			ids = append(ids, i.ID)
		}
		if len(ids) > 0 {
			out.Instances = []types.CreateFleetInstance{{InstanceIds: ids}}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DescribeInstances describes the fleet, or instances by a filter of their IDs.
func (a API) DescribeInstances(_ context.Context, in *ec2.DescribeInstancesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	out := &ec2.DescribeInstancesOutput{}
	err := a.l.call("DescribeInstances", func() error {
		all, err := a.l.Cloud.Describe()
		if err != nil {
			return err
		}
		for _, f := range in.Filters {
			if aws.ToString(f.Name) == "instance-id" {
				all = slices.DeleteFunc(all, func(i fleet.Instance) bool { return !slices.Contains(f.Values, i.ID) })
			}
		}
		begin, _ := strconv.Atoi(aws.ToString(in.NextToken))
		end := len(all)
		if most := int(aws.ToInt32(in.MaxResults)); most > 0 && begin+most < end {
			end = begin + most
			out.NextToken = aws.String(strconv.Itoa(end))
		}
		page := make([]types.Instance, 0, end-begin)
		for _, i := range all[begin:end] {
			page = append(page, a.show(i, i.State))
		}
		out.Reservations = []types.Reservation{{Instances: page}}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (a API) show(i fleet.Instance, state string) types.Instance {
	return types.Instance{
		InstanceId: &i.ID, PrivateIpAddress: &i.Addr, PrivateDnsName: &i.Hostname, LaunchTime: &i.Launched, ClientToken: &i.Token,
		State: &types.InstanceState{Name: types.InstanceStateName(state)},
		Tags: []types.Tag{
			{Key: aws.String("parallelcluster:cluster-name"), Value: &a.l.cluster},
			{Key: aws.String("parallelcluster:queue-name"), Value: &i.Queue},
			{Key: aws.String("parallelcluster:compute-resource-name"), Value: &i.Resource},
		},
	}
}

// TerminateInstances ends instances.
func (a API) TerminateInstances(_ context.Context, in *ec2.TerminateInstancesInput, _ ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error) {
	if err := a.l.call("TerminateInstances", func() error { return a.l.Cloud.Terminate(in.InstanceIds) }); err != nil {
		return nil, err
	}
	return &ec2.TerminateInstancesOutput{}, nil
}

// DescribeInstanceStatus finds all well.
func (a API) DescribeInstanceStatus(context.Context, *ec2.DescribeInstanceStatusInput, ...func(*ec2.Options)) (*ec2.DescribeInstanceStatusOutput, error) {
	return &ec2.DescribeInstanceStatusOutput{}, a.l.call("DescribeInstanceStatus", func() error { return nil })
}

// GetConsoleOutput has none.
func (a API) GetConsoleOutput(context.Context, *ec2.GetConsoleOutputInput, ...func(*ec2.Options)) (*ec2.GetConsoleOutputOutput, error) {
	return &ec2.GetConsoleOutputOutput{}, a.l.call("GetConsoleOutput", func() error { return nil })
}

// Tables are DynamoDB and Route 53.
type Tables struct{ l *Live }

// Tables returns the tables of the cluster and its zone.
func (l *Live) Tables() Tables { return Tables{l} }

// BatchWriteItem tells instances who they are.
func (t Tables) BatchWriteItem(_ context.Context, in *dynamodb.BatchWriteItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error) {
	return &dynamodb.BatchWriteItemOutput{}, t.l.call("BatchWriteItem", func() error {
		for _, all := range in.RequestItems {
			for _, w := range all {
				node := w.PutRequest.Item["Id"].(*ddb.AttributeValueMemberS).Value
				id := w.PutRequest.Item["InstanceId"].(*ddb.AttributeValueMemberS).Value
				i := t.l.Cloud.Instance(id)
				if i == nil {
					return fmt.Errorf("%s is to be %s, which does not exist", node, id)
				}
				t.l.Named(i, node)
				i.Name, t.l.names[node] = node, id
			}
		}
		return nil
	})
}

// BatchGetItem tells which instance was told last to be a node.
func (t Tables) BatchGetItem(_ context.Context, in *dynamodb.BatchGetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error) {
	out := &dynamodb.BatchGetItemOutput{Responses: make(map[string][]map[string]ddb.AttributeValue)}
	return out, t.l.call("BatchGetItem", func() error {
		for table, asked := range in.RequestItems {
			for _, key := range asked.Keys {
				node := key["Id"].(*ddb.AttributeValueMemberS).Value
				if id, ok := t.l.names[node]; ok {
					out.Responses[table] = append(out.Responses[table], map[string]ddb.AttributeValue{
						"Id": key["Id"], "InstanceId": &ddb.AttributeValueMemberS{Value: id},
					})
				}
			}
		}
		return nil
	})
}

// GetItem returns the fleet's status.
func (t Tables) GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	out := &dynamodb.GetItemOutput{}
	return out, t.l.call("GetItem", func() error {
		out.Item = fleet.NewStatusItem(t.l.status, t.l.clock.Now())
		return nil
	})
}

// UpdateItem changes the fleet's status, if it is still what the caller thinks.
func (t Tables) UpdateItem(_ context.Context, in *dynamodb.UpdateItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	return &dynamodb.UpdateItemOutput{}, t.l.call("UpdateItem", func() error {
		from := in.ExpressionAttributeValues[":from"].(*ddb.AttributeValueMemberS).Value
		if from != string(t.l.status) {
			return &ddb.ConditionalCheckFailedException{}
		}
		t.l.status = fleet.Status(in.ExpressionAttributeValues[":to"].(*ddb.AttributeValueMemberS).Value)
		return nil
	})
}

// ChangeResourceRecordSets makes names resolve, which nobody does here.
func (t Tables) ChangeResourceRecordSets(context.Context, *route53.ChangeResourceRecordSetsInput, ...func(*route53.Options)) (*route53.ChangeResourceRecordSetsOutput, error) {
	return &route53.ChangeResourceRecordSetsOutput{}, t.l.call("ChangeResourceRecordSets", func() error { return nil })
}

// A Scheduler is Slurm as the daemon has it.
type Scheduler struct{ l *Live }

// Scheduler returns Slurm as the daemon has it.
func (l *Live) Scheduler() Scheduler { return Scheduler{l} }

// Nodes returns the nodes of a hostlist, or all.
func (s Scheduler) Nodes(_ context.Context, hostlist string) (nodes []slurm.Node, err error) {
	names, err := slurm.Expand(hostlist)
	if err != nil {
		return nil, err
	}
	err = s.l.call("scontrol show nodes", func() error { nodes = s.l.Slurm.Look(names); return nil })
	return nodes, err
}

// Partitions returns the queues.
func (s Scheduler) Partitions(context.Context) (all []slurm.Partition, err error) {
	err = s.l.call("scontrol show partitions", func() error { all = s.l.Slurm.Partitions(); return nil })
	return all, err
}

// ConfiguringJobs returns the jobs whose nodes start.
func (s Scheduler) ConfiguringJobs(context.Context) (jobs []slurm.Job, err error) {
	err = s.l.call("squeue -t CF", func() error { jobs = s.l.Slurm.Configuring(); return nil })
	return jobs, err
}

// UpdateNodes changes nodes.
func (s Scheduler) UpdateNodes(_ context.Context, updates ...slurm.NodeUpdate) error {
	return s.l.call("scontrol update nodes", func() error {
		for _, u := range updates {
			s.l.Slurm.Update(u)
			if len(u.Addrs) > 0 {
				for _, i := range s.l.Cloud.Live() {
					if !i.booted.IsZero() && !i.booted.After(s.l.clock.Now()) {
						s.l.Slurm.Register(i)
					}
				}
			}
		}
		return nil
	})
}

// SetPartitions gives queues a state.
func (s Scheduler) SetPartitions(_ context.Context, state string, names ...string) error {
	return s.l.call("scontrol update partitions", func() error { s.l.Slurm.SetPartitions(state, names...); return nil })
}

// CommentJobs writes what nobody reads here.
func (s Scheduler) CommentJobs(context.Context, string, ...string) error {
	return s.l.call("scontrol update jobs comment", func() error { return nil })
}

// JobsOn returns the jobs that have any of the nodes.
func (s Scheduler) JobsOn(_ context.Context, hostlist string) (places []slurm.Place, err error) {
	names, err := slurm.Expand(hostlist)
	if err != nil {
		return nil, err
	}
	err = s.l.call("squeue -w", func() error {
		for _, id := range s.l.Slurm.JobsOn(names) {
			places = append(places, slurm.Place{Job: id})
		}
		return nil
	})
	return places, err
}

// StartJobs lets jobs that wait for a time start after a delay instead.
func (s Scheduler) StartJobs(_ context.Context, after time.Duration, before ...slurm.Place) error {
	ids := make([]string, len(before))
	for i, p := range before {
		ids[i] = p.Job
	}
	return s.l.call("scontrol update jobs starttime", func() error { s.l.Slurm.StartJobs(after, ids); return nil })
}

// RequeueJobs sends jobs back to the queue.
func (s Scheduler) RequeueJobs(_ context.Context, ids ...string) error {
	return s.l.call("scontrol requeue", func() error { s.l.Slurm.RequeueJobs(ids); return nil })
}
