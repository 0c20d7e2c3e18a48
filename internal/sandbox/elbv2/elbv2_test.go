package elbv2

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/miekg/dns"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// fakeEC2 has two subnets and instances whose addresses are on loopback.
type fakeEC2 struct {
	instances map[string]ec2types.Instance
	enis      map[string]string // address by ID
}

func (f *fakeEC2) DescribeSubnets(_ context.Context, in *ec2.DescribeSubnetsInput) (*ec2.DescribeSubnetsOutput, error) {
	out := &ec2.DescribeSubnetsOutput{}
	for _, id := range in.SubnetIds {
		zone, ok := map[string]string{"subnet-a": "us-east-1a", "subnet-b": "us-east-1b"}[id]
		if !ok {
			return nil, wire.Errorf("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", id)
		}
		out.Subnets = append(out.Subnets, ec2types.Subnet{SubnetId: &id, VpcId: aws.String("vpc-1"), AvailabilityZone: &zone})
	}
	return out, nil
}

func (f *fakeEC2) DescribeVpcs(context.Context, *ec2.DescribeVpcsInput) (*ec2.DescribeVpcsOutput, error) {
	return &ec2.DescribeVpcsOutput{}, nil
}

func (f *fakeEC2) DescribeSecurityGroups(_ context.Context, in *ec2.DescribeSecurityGroupsInput) (*ec2.DescribeSecurityGroupsOutput, error) {
	return &ec2.DescribeSecurityGroupsOutput{SecurityGroups: []ec2types.SecurityGroup{{GroupId: &in.GroupIds[0], VpcId: aws.String("vpc-1")}}}, nil
}

func (f *fakeEC2) DescribeInstances(_ context.Context, in *ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error) {
	i, ok := f.instances[in.InstanceIds[0]]
	if !ok {
		return nil, wire.Errorf("InvalidInstanceID.NotFound", "no such instance")
	}
	return &ec2.DescribeInstancesOutput{Reservations: []ec2types.Reservation{{Instances: []ec2types.Instance{i}}}}, nil
}

func (f *fakeEC2) CreateNetworkInterface(context.Context, *ec2.CreateNetworkInterfaceInput) (*ec2.CreateNetworkInterfaceOutput, error) {
	id, addr := fmt.Sprintf("eni-%d", len(f.enis)), fmt.Sprintf("127.0.7.%d", len(f.enis)+1)
	f.enis[id] = addr
	return &ec2.CreateNetworkInterfaceOutput{NetworkInterface: &ec2types.NetworkInterface{NetworkInterfaceId: &id, PrivateIpAddress: &addr}}, nil
}

func (f *fakeEC2) ModifyNetworkInterfaceAttribute(context.Context, *ec2.ModifyNetworkInterfaceAttributeInput) (*ec2.ModifyNetworkInterfaceAttributeOutput, error) {
	return nil, nil
}

func (f *fakeEC2) DeleteNetworkInterface(_ context.Context, in *ec2.DeleteNetworkInterfaceInput) (*ec2.DeleteNetworkInterfaceOutput, error) {
	delete(f.enis, *in.NetworkInterfaceId)
	return nil, nil
}

// loopback is a network on which all addresses are this host's.
type loopback struct{ closed map[string]bool }

func (loopback) AddAddress(netip.Addr) error    { return nil }
func (loopback) RemoveAddress(netip.Addr) error { return nil }

func (loopback) Listen(network, address string) (net.Listener, error) {
	return net.Listen(network, address)
}

func (loopback) DialFrom(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
	return d.DialContext(ctx, "tcp4", to.String())
}

func (l loopback) Allowed(from, to netip.Addr, _ string, _ int) bool {
	return !l.closed[from.String()+">"+to.String()]
}

// greeter is a server on an address that says its name and whom it sees.
func greeter(t *testing.T, addr, name string, port int) int {
	t.Helper()
	l, err := net.Listen("tcp4", net.JoinHostPort(addr, strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			fmt.Fprintf(c, "%s sees %s\n", name, host)
			c.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func instance(id, addr string, state ec2types.InstanceStateName) ec2types.Instance {
	return ec2types.Instance{InstanceId: &id, PrivateIpAddress: &addr, VpcId: aws.String("vpc-1"), State: &ec2types.InstanceState{Name: state}}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.7.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func call(addr string, port int) string {
	c, err := net.Dial("tcp4", net.JoinHostPort(addr, strconv.Itoa(port)))
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	line, _ := bufio.NewReader(c).ReadString('\n')
	return line
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("got error %v, want %s", err, code)
	}
}

// A balancer as login nodes have it: connections reach healthy targets in turn,
// through restarts of the daemon, and no others.
func TestConnectionsReachHealthyTargets(t *testing.T) {
	ctx := t.Context()
	db := store.Memory()
	port := greeter(t, "127.0.8.1", "one", 0)
	greeter(t, "127.0.8.2", "two", port)
	e := &fakeEC2{enis: map[string]string{}, instances: map[string]ec2types.Instance{
		"i-1": instance("i-1", "127.0.8.1", "running"), "i-2": instance("i-2", "127.0.8.2", "running"),
		"i-3": instance("i-3", "127.0.8.3", "running"), "i-4": instance("i-4", "127.0.8.4", "stopped"),
	}}
	network := loopback{closed: map[string]bool{}}
	var names []string
	s, err := New(db, region.NewIdentity("", ""), Config{EC2: e, Network: network, Names: func(n []string) { names = n }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	made, err := s.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{Name: aws.String("Login"), Type: "network", Subnets: []string{"subnet-a"}, SecurityGroups: []string{"sg-1"}})
	if err != nil {
		t.Fatal(err)
	}
	balancer := made.LoadBalancers[0]
	group, err := s.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{Name: aws.String("tg"), Protocol: "TCP", Port: aws.Int32(int32(port)), VpcId: aws.String("vpc-1")})
	if err != nil {
		t.Fatal(err)
	}
	arn := group.TargetGroups[0].TargetGroupArn
	front := freePort(t)
	if _, err := s.CreateListener(ctx, &elb.CreateListenerInput{
		LoadBalancerArn: balancer.LoadBalancerArn, Port: aws.Int32(int32(front)), Protocol: "TCP",
		DefaultActions: []types.Action{{Type: "forward", TargetGroupArn: arn}},
	}); err != nil {
		t.Fatal(err)
	}
	if got := call("127.0.7.1", front); got != "" {
		t.Errorf("without targets: %q", got)
	}
	_, err = s.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: arn, Targets: []types.TargetDescription{{Id: aws.String("i-4")}}})
	wantCode(t, err, "InvalidTarget")
	for _, id := range []string{"i-1", "i-2", "i-3"} {
		if _, err := s.RegisterTargets(ctx, &elb.RegisterTargetsInput{TargetGroupArn: arn, Targets: []types.TargetDescription{{Id: &id}}}); err != nil {
			t.Fatal(err)
		}
	}
	health, err := s.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: arn})
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]types.TargetHealthStateEnum{}
	for _, d := range health.TargetHealthDescriptions {
		states[*d.Target.Id] = d.TargetHealth.State
	}
	if states["i-1"] != "healthy" || states["i-2"] != "healthy" || states["i-3"] != "initial" {
		t.Errorf("health %v", states)
	}
	served := map[string]int{}
	for range 6 {
		served[call("127.0.7.1", front)]++
	}
	if served["one sees 127.0.7.1\n"] == 0 || served["two sees 127.0.7.1\n"] == 0 || len(served) != 2 {
		t.Errorf("served %v", served)
	}

	// Security groups of the target, then of the balancer, shut it off.
	network.closed["127.0.7.1>127.0.8.1"] = true
	for range 4 {
		if got := call("127.0.7.1", front); got != "two sees 127.0.7.1\n" {
			t.Errorf("with target one shut off: %q", got)
		}
	}
	network.closed["127.0.0.1>127.0.7.1"] = true
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	c, err := d.Dial("tcp4", fmt.Sprintf("127.0.7.1:%d", front))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("a caller came in whom the balancer's security groups refuse")
	}
	c.Close()
	clear(network.closed)

	host := *balancer.DNSName
	if len(names) != 1 || names[0] != host {
		t.Errorf("names %v", names)
	}
	answers, known := s.Lookup(host+".", dns.TypeA, netip.Addr{})
	if !known || len(answers) != 1 || answers[0].(*dns.A).A.String() != "127.0.7.1" {
		t.Errorf("DNS %v %v", answers, known)
	}

	// The next daemon goes on where this one ends.
	s.Close()
	if got := call("127.0.7.1", front); got == "one sees 127.0.7.1\n" || got == "two sees 127.0.7.1\n" {
		t.Errorf("a service that ended serves: %q", got)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if got := call("127.0.7.1", front); got != "one sees 127.0.7.1\n" && got != "two sees 127.0.7.1\n" {
		t.Errorf("after the start: %q", got)
	}

	_, err = s.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: arn})
	wantCode(t, err, "ResourceInUse")
	if _, err := s.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: balancer.LoadBalancerArn}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: arn}); err != nil {
		t.Error(err)
	}
	if len(e.enis) != 0 || len(names) != 0 {
		t.Errorf("left behind: interfaces %v, names %v", e.enis, names)
	}
}

func TestRefusals(t *testing.T) {
	ctx := t.Context()
	s, err := New(store.Memory(), region.NewIdentity("", ""), Config{EC2: &fakeEC2{enis: map[string]string{}}, Network: loopback{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	create := func(name string, kind types.LoadBalancerTypeEnum, subnets ...string) error {
		_, err := s.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{Name: &name, Type: kind, Subnets: subnets})
		return err
	}
	wantCode(t, create("a", "application", "subnet-a"), "OperationNotPermitted")
	wantCode(t, create("-a", "network", "subnet-a"), "ValidationError")
	wantCode(t, create("a", "network"), "ValidationError")
	wantCode(t, create("a", "network", "subnet-x"), "SubnetNotFound")
	wantCode(t, create("a", "network", "subnet-a", "subnet-a"), "InvalidConfigurationRequest")
	if err := create("a", "network", "subnet-a"); err != nil {
		t.Fatal(err)
	}
	if err := create("a", "network", "subnet-a"); err != nil {
		t.Errorf("the same again: %v", err)
	}
	wantCode(t, create("a", "network", "subnet-b"), "DuplicateLoadBalancerName")
	_, err = s.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{Names: []string{"none"}})
	wantCode(t, err, "LoadBalancerNotFound")
	_, err = s.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: aws.String("arn:none")})
	wantCode(t, err, "TargetGroupNotFound")
	_, err = s.DescribeTags(ctx, &elb.DescribeTagsInput{ResourceArns: []string{"arn:aws:elasticloadbalancing:us-east-1:1:loadbalancer/net/x/1"}})
	wantCode(t, err, "LoadBalancerNotFound")
}

// Who asks often does not make the balancer knock often.
func TestHealthChecksKeepTheirInterval(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.8.9:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	knocks := make(chan struct{}, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
			knocks <- struct{}{}
		}
	}()
	e := &fakeEC2{enis: map[string]string{}, instances: map[string]ec2types.Instance{"i-1": instance("i-1", "127.0.8.9", "running")}}
	s, err := New(store.Memory(), region.NewIdentity("", ""), Config{EC2: e, Network: loopback{closed: map[string]bool{}}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	s.now = func() time.Time { return now }
	arn, port := "arn:tg", int32(l.Addr().(*net.TCPAddr).Port)
	g := targetGroup{Desc: types.TargetGroup{TargetGroupArn: &arn, Port: &port, HealthCheckPort: aws.String("traffic-port"), HealthCheckIntervalSeconds: aws.Int32(30)}}
	target := types.TargetDescription{Id: aws.String("i-1"), Port: &port}
	own := netip.MustParseAddr("127.0.7.1")
	look := func(want string) {
		t.Helper()
		got := ""
		if err := s.recent(g, target, own); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("the target is %q, want %q", got, want)
		}
	}
	for range 3 {
		look("")
	}
	<-knocks
	now = now.Add(29 * time.Second)
	look("")
	now = now.Add(time.Second)
	look("")
	<-knocks
	if len(knocks) > 0 {
		t.Error("it knocks more often than the interval says")
	}
	e.instances["i-1"] = instance("i-1", "127.0.8.9", "stopped")
	look(errNotRunning.Error())
}
