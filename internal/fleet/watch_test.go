package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/slurm"
)

// calls counts what is asked of AWS, by operation, and can have none of it answered.
type calls struct {
	mu    sync.Mutex
	count map[string]int
	down  atomic.Bool
	hangs atomic.Bool // until its caller has no more patience
}

func (c *calls) met(operation string) error {
	c.mu.Lock()
	c.count[operation]++
	c.mu.Unlock()
	if c.down.Load() {
		return errors.New("dial tcp: i/o timeout")
	}
	return nil
}

func (c *calls) total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, k := range c.count {
		n += k
	}
	return n
}

// quietEC2 has a thousand instances with which nothing happens.
type quietEC2 struct {
	ec2API
	*calls
	instances []types.Instance
}

func (q quietEC2) DescribeInstances(ctx context.Context, in *ec2.DescribeInstancesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	if err := q.met("DescribeInstances"); err != nil {
		return nil, err
	}
	if q.hangs.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	var begin int
	if in.NextToken != nil {
		if _, err := fmt.Sscan(*in.NextToken, &begin); err != nil {
			return nil, err
		}
	}
	end := min(begin+int(aws.ToInt32(in.MaxResults)), len(q.instances))
	out := &ec2.DescribeInstancesOutput{Reservations: []types.Reservation{{Instances: q.instances[begin:end]}}}
	if end < len(q.instances) {
		out.NextToken = aws.String(fmt.Sprint(end))
	}
	return out, nil
}

func (q quietEC2) DescribeInstanceStatus(context.Context, *ec2.DescribeInstanceStatusInput, ...func(*ec2.Options)) (*ec2.DescribeInstanceStatusOutput, error) {
	return &ec2.DescribeInstanceStatusOutput{}, q.met("DescribeInstanceStatus")
}

func (q quietEC2) TerminateInstances(context.Context, *ec2.TerminateInstancesInput, ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error) {
	return &ec2.TerminateInstancesOutput{}, q.met("TerminateInstances")
}

type quietTable struct {
	dynamoAPI
	*calls
}

func (q quietTable) GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	return &dynamodb.GetItemOutput{Item: NewStatusItem(Running, noon)}, q.met("GetItem")
}

func (q quietTable) UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	return &dynamodb.UpdateItemOutput{}, q.met("UpdateItem")
}

func (q quietTable) BatchWriteItem(context.Context, *dynamodb.BatchWriteItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error) {
	return &dynamodb.BatchWriteItemOutput{}, q.met("BatchWriteItem")
}

func (q quietTable) BatchGetItem(context.Context, *dynamodb.BatchGetItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error) {
	return &dynamodb.BatchGetItemOutput{}, q.met("BatchGetItem")
}

// downSlurm is a slurmctld that can be killed.
type downSlurm struct {
	*fakeSlurm
	down    *atomic.Bool
	asked   *atomic.Int64
	updates *atomic.Int64
}

func (d downSlurm) err() error {
	if d.down.Load() {
		return errors.New("Unable to contact slurm controller (connect failure)")
	}
	return nil
}

func (d downSlurm) Nodes(ctx context.Context, list string) ([]slurm.Node, error) {
	d.asked.Add(1)
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.fakeSlurm.Nodes(ctx, list)
}

func (d downSlurm) Partitions(ctx context.Context) ([]slurm.Partition, error) {
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.fakeSlurm.Partitions(ctx)
}

func (d downSlurm) UpdateNodes(ctx context.Context, u ...slurm.NodeUpdate) error {
	d.updates.Add(1)
	if err := d.err(); err != nil {
		return err
	}
	return d.fakeSlurm.UpdateNodes(ctx, u...)
}

// nobody calls this listener.
type nobody struct{ ctx context.Context }

func (n nobody) Accept() (net.Conn, error) { <-n.ctx.Done(); return nil, n.ctx.Err() }
func (nobody) Close() error                { return nil }
func (nobody) Addr() net.Addr              { return nil }

// A quiet fleet of n nodes in service runs in the bubble of a test.
type quiet struct {
	*calls
	slurm downSlurm
	ec2   *quietEC2
	log   bytes.Buffer // only one line at a time
	d     *Daemon
	stop  context.CancelFunc
	ended chan error
}

func newQuiet(t *testing.T, n int) *quiet {
	q := &quiet{calls: &calls{count: make(map[string]int)}, ended: make(chan error, 1)}
	q.ec2 = &quietEC2{calls: q.calls}
	var names []string
	before := time.Now().Add(-time.Hour)
	mem := NewMemory(before)
	mem.Assigned = make(map[string]Assignment)
	for i := range n {
		name := fmt.Sprintf("q-dy-a-%d", i+1)
		id, addr := fmt.Sprintf("i-%d", i+1), fmt.Sprintf("10.0.%d.%d", i/250, i%250)
		names = append(names, name)
		mem.Assigned[name] = Assignment{Node: name, Instance: id, Addr: addr, Since: before, Named: true, Seen: true, Ready: true}
		q.ec2.instances = append(q.ec2.instances, types.Instance{
			InstanceId: aws.String(id), State: &types.InstanceState{Name: "running"}, PrivateIpAddress: aws.String(addr),
			PrivateDnsName: aws.String("name"), LaunchTime: aws.Time(before),
		})
	}
	slurm := newFakeSlurm(names...)
	slurm.changed = make(chan struct{}, 1_000_000)
	for _, name := range names {
		slurm.nodes[name].State, slurm.nodes[name].Addr = "IDLE+CLOUD", mem.Assigned[name].Addr
	}
	q.slurm = downSlurm{slurm, new(atomic.Bool), new(atomic.Int64), new(atomic.Int64)}
	file := stateFile{path: filepath.Join(t.TempDir(), "fleet.json")}
	if err := file.save(mem); err != nil {
		t.Fatal(err)
	}
	q.d = &Daemon{
		Scheduler: q.slurm, Cloud: &EC2{API: *q.ec2, Cluster: "demo"},
		Registry:  &Records{DynamoDB: quietTable{calls: q.calls}},
		Status:    &StatusItem{DynamoDB: quietTable{calls: q.calls}},
		Policy:    func() (Policy, error) { return policy(AllOrNothing), nil },
		Listen:    func(ctx context.Context) (net.Listener, error) { return nobody{ctx}, nil },
		StateFile: file.path, Log: slog.New(slog.NewTextHandler(&q.log, nil)),
	}
	return q
}

func (q *quiet) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	q.stop = cancel
	go func() { q.ended <- q.d.Run(ctx) }()
}

func (q *quiet) end(t *testing.T) {
	q.stop()
	if err := <-q.ended; err != nil {
		t.Error(err)
	}
}

func (q *quiet) lines(level string) int { return strings.Count(q.log.String(), "level="+level) }

// An hour of an idle cluster of a thousand nodes may cost 120 calls.
func TestAnIdleFleetAsksLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuiet(t, 1000)
		q.run(t)
		time.Sleep(10 * time.Minute) // somebody who has just started it may change his mind
		synctest.Wait()
		clear(q.count)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := q.total(); n > 120 || q.count["DescribeInstances"] < 10 || q.count["DescribeInstanceStatus"] < 15 || q.count["GetItem"] < 55 {
			t.Errorf("%d calls in an hour: %v", n, q.count)
		}
		t.Logf("%d calls in an hour: %v", q.total(), q.count)
		if q.slurm.updates.Load() != 0 {
			t.Errorf("nodes were changed:\n%s", q.log.String())
		}
		q.end(t)
	})
}

// Whatever happens while EC2 can't be reached, its silence costs no node.
func TestAnHourWithoutEC2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuiet(t, 20)
		q.run(t)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		q.log.Reset()
		q.down.Store(true)
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := q.lines("WARN") + q.lines("ERROR"); n < 3 || n > 40 {
			t.Errorf("%d lines of complaint:\n%s", n, q.log.String())
		}
		q.down.Store(false)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if !strings.Contains(q.log.String(), "EC2 answers again") {
			t.Errorf("nobody says that it is over:\n%s", q.log.String())
		}
		if q.slurm.updates.Load() != 0 {
			t.Errorf("nodes were changed:\n%s", q.log.String())
		}
		q.end(t)
	})
}

// The head node is cut off from EC2 and from its nodes: questions hang instead of being
// refused. slurmctld is told to wait for the nodes all the same, and in time.
func TestACutNetworkHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuiet(t, 3)
		q.run(t)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		q.hangs.Store(true)
		for i := range 3 {
			q.slurm.set(fmt.Sprintf("q-dy-a-%d", i+1), "ALLOCATED+CLOUD+NOT_RESPONDING")
		}
		for range 6 {
			before := q.slurm.updates.Load()
			time.Sleep(30 * time.Second)
			synctest.Wait()
			if q.slurm.updates.Load() == before {
				t.Fatal("slurmctld was not told to wait for half a minute")
			}
		}
		q.end(t)
	})
}

// A file of the user's that can't be read is complained of once, and once it can be that is
// said, too.
func TestAPolicyThatCanNotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuiet(t, 1)
		var broken atomic.Bool
		q.d.Policy = func() (Policy, error) {
			if broken.Load() {
				return policy(AllOrNothing), errors.New("line 7: neither true nor false")
			}
			return policy(AllOrNothing), nil
		}
		q.run(t)
		for range 2 {
			broken.Store(true)
			time.Sleep(time.Hour)
			broken.Store(false)
			time.Sleep(time.Hour)
		}
		synctest.Wait()
		if n := strings.Count(q.log.String(), "line 7"); n != 2 || strings.Count(q.log.String(), "can be read again") != 2 {
			t.Errorf("%d complaints of two mistakes:\n%s", n, q.log.String())
		}
		q.end(t)
	})
}

// slurmctld is gone, comes back, and an instance was lost in the meantime.
func TestAnHourWithoutSlurm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuiet(t, 20)
		q.run(t)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		q.log.Reset()
		q.slurm.down.Store(true)
		time.Sleep(30 * time.Minute)
		q.ec2.instances[2].State.Name = "terminated"
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if n := q.lines("WARN") + q.lines("ERROR"); n < 3 || n > 20 {
			t.Errorf("%d lines of complaint:\n%s", n, q.log.String())
		}
		q.slurm.down.Store(false)
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		for i := range 20 {
			name := fmt.Sprintf("q-dy-a-%d", i+1)
			if off := q.slurm.node(name).State.PoweringDown(); off != (i == 2) {
				t.Errorf("%s is %s", name, q.slurm.node(name).State)
			}
		}
		q.end(t)
	})
}

// A node that does not answer Slurm has EC2 asked at once, and then ever less often.
func TestNodesThatDoNotAnswerAreAskedAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuiet(t, 20)
		q.run(t)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		clear(q.count)
		q.slurm.set("q-dy-a-3", "ALLOCATED+CLOUD+NOT_RESPONDING")
		time.Sleep(slurmInterval + askedEC2Pause)
		synctest.Wait()
		if n := q.count["DescribeInstances"]; n != 1 {
			t.Errorf("EC2 was asked %d times at first", n)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := q.count["DescribeInstances"]; n < 8 || n > 25 {
			t.Errorf("EC2 was asked %d times in ten minutes", n)
		}
		if n := q.count["DescribeInstanceStatus"]; n < 15 || n > 36 {
			t.Errorf("EC2 was asked for the health of instances %d times in ten minutes", n)
		}
		q.end(t)
	})
}

// Slurm's suspend program is heard at once, and not at the next look.
func TestANodeThatIsGivenUpEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuiet(t, 20)
		q.run(t)
		time.Sleep(10*time.Minute + slurmInterval/5)
		synctest.Wait()
		clear(q.count)
		if err := q.d.handle(t.Context(), nil, Message{Op: OpSuspend, Nodes: "q-dy-a-3"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(slurmInterval / 10)
		synctest.Wait()
		if n := q.count["TerminateInstances"]; n != 1 {
			t.Errorf("EC2 was told %d times to end instances:\n%s", n, q.log.String())
		}
		q.end(t)
	})
}

// A node whose connection ends is lost if EC2 says so: within two seconds.
func TestALostInstanceIsNoticedByItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuiet(t, 20)
		q.run(t)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		conn, theirs := net.Pipe()
		go q.d.listenTo(t.Context(), pipe{theirs, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 600}})
		fmt.Fprintln(conn, `{"cluster":"demo","instance":"i-3","booted":true}`)
		_, _ = conn.Read(make([]byte, 100))
		time.Sleep(time.Minute)
		conn.Close()
		time.Sleep(5 * time.Second) // EC2 takes its time
		q.ec2.instances[2].State.Name = "shutting-down"
		began := time.Now()
		for !q.slurm.node("q-dy-a-3").State.PoweringDown() && time.Since(began) < time.Minute {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		took := time.Since(began)
		t.Logf("noticed %v after EC2 knew", took)
		if took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		q.end(t)
	})
}

func TestRequestsAreSeenSoonerWhenSomebodyIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuiet(t, 1)
		q.run(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := q.count["GetItem"]; n < 19 {
			t.Errorf("the status was asked for %d times in the first minute", n)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		clear(q.count)
		nudge(q.d.statusNow)
		synctest.Wait()
		if n := q.count["GetItem"]; n != 1 {
			t.Errorf("the status was asked for %d times when it had changed", n)
		}
		q.end(t)
	})
}

// slurmctld is killed after it has asked for nodes, and is back in two minutes.
func TestASlurmctldThatIsRestartedCostsNoInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuiet(t, 0)
		cloud := newFakeCloud(3)
		q.d.Cloud = cloud
		q.slurm.fakeSlurm.nodes["q-dy-a-1"] = &slurm.Node{Name: "q-dy-a-1", Addr: "q-dy-a-1", State: "IDLE+CLOUD+POWERED_DOWN", Partitions: []string{"q"}}
		q.run(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		q.slurm.down.Store(true)
		q.slurm.set("q-dy-a-1", risingState)
		q.d.tell(t.Context(), func(o *Observed) { o.Resumed = append(o.Resumed, request(job("7", "q-dy-a-1"))) })
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if addr := q.slurm.node("q-dy-a-1").Addr; addr != "q-dy-a-1" {
			t.Errorf("a slurmctld that is down knows %s", addr)
		}
		q.slurm.down.Store(false)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if addr := q.slurm.node("q-dy-a-1").Addr; addr == "q-dy-a-1" {
			t.Errorf("the node has no address:\n%s", q.log.String())
		}
		if len(cloud.ended) > 0 || cloud.launched() != 1 {
			t.Errorf("%d of %d instances were ended:\n%s", len(cloud.ended), cloud.launched(), q.log.String())
		}
		q.end(t)
	})
}

// A look that was queued before an update, and happens before it, shows nodes as they
// were: nothing is decided by it about them.
func TestALookInFrontOfAnUpdateDecidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuiet(t, 3)
		q.run(t)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		q.ec2.instances[2].State.Name = "terminated"
		// slurmctld is busy; meanwhile two looks are queued. The first finds out, and the
		// second begins when that has been decided on.
		busy := make(chan struct{})
		q.d.inSlurm(t.Context(), func(context.Context) { <-busy })
		ec2 := <-q.d.lookAtEC2(t.Context())
		if ec2.err != nil {
			t.Fatal(ec2.err)
		}
		for range 2 {
			go func() { _, _ = q.d.lookAtSlurm(t.Context(), ec2.view) }()
			time.Sleep(time.Millisecond)
			q.d.inSlurm(t.Context(), func(context.Context) { time.Sleep(100 * time.Millisecond) })
		}
		close(busy)
		time.Sleep(time.Second)
		synctest.Wait()
		if n := strings.Count(q.log.String(), "q-dy-a-3 is lost"); n != 1 {
			t.Errorf("the node was lost %d times:\n%s", n, q.log.String())
		}
		q.end(t)
	})
}
