package elbv2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// connectTimeout is how long a target may take to answer. Targets are machines on
// this host.
const connectTimeout = 2 * time.Second

// listen opens the sockets of a listener. s.mu is held.
func (s *Service) listen(l listener) error {
	b, err := s.balancer(l.Desc.LoadBalancerArn)
	if err != nil {
		return err
	}
	arn := *l.Desc.ListenerArn
	for _, n := range b.NICs {
		socket, err := s.cfg.Network.Listen("tcp4", netip.AddrPortFrom(n.Addr, uint16(*l.Desc.Port)).String())
		if err != nil {
			s.unlisten(arn)
			return fmt.Errorf("load balancer: listen for %s: %w", lastParts(arn), err)
		}
		s.open[arn] = append(s.open[arn], socket)
		go s.accept(socket, arn, n.Addr)
	}
	return nil
}

// unlisten closes the sockets of a listener. s.mu is held.
func (s *Service) unlisten(arn string) {
	for _, socket := range s.open[arn] {
		_ = socket.Close()
	}
	delete(s.open, arn)
}

func (s *Service) accept(socket net.Listener, arn string, own netip.Addr) {
	for {
		c, err := socket.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.cfg.Log.Warn("load balancer", "listener", lastParts(arn), "error", err)
			continue
		}
		go func() {
			defer c.Close()
			if err := s.carry(c, arn, own); err != nil {
				s.cfg.Log.Info("load balancer refuses a connection", "listener", lastParts(arn), "from", c.RemoteAddr().String(), "reason", err.Error())
			}
		}()
	}
}

// carry connects a client with a target until both have said all they had to.
func (s *Service) carry(client net.Conn, arn string, own netip.Addr) error {
	l, ok := s.listeners.Get(arn)
	if !ok {
		return noListener()
	}
	b, err := s.balancer(l.Desc.LoadBalancerArn)
	if err != nil {
		return err
	}
	from, err := netip.ParseAddrPort(client.RemoteAddr().String())
	if err != nil {
		return err
	}
	// Whoever comes from the region's own addresses is a person at the host's ssh,
	// whom security groups do not see.
	if caller := from.Addr().Unmap(); len(b.Desc.SecurityGroups) > 0 && caller != own && !caller.IsLinkLocalUnicast() &&
		!s.cfg.Network.Allowed(caller, own, "tcp", int(*l.Desc.Port)) {
		return errors.New("the balancer's security groups do not let it in")
	}
	g, ok := s.groups.Get(l.target())
	if !ok {
		return noTargetGroup()
	}
	s.mu.Lock()
	turn := s.turn[l.target()]
	s.turn[l.target()]++
	s.mu.Unlock()
	err = errors.New("no target is registered")
	for i := range g.Targets {
		t := g.Targets[(turn+i)%len(g.Targets)]
		var remote net.Conn
		if remote, err = s.connect(g, t.Desc, own, g.portOf(t.Desc)); err == nil {
			splice(client, remote)
			return nil
		}
	}
	return err
}

// connect reaches a target from a balancer's address, if the security groups let it.
func (s *Service) connect(g targetGroup, t types.TargetDescription, own netip.Addr, port int) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	addr, err := s.address(ctx, g, t)
	if err != nil {
		return nil, err
	}
	if !s.cfg.Network.Allowed(own, addr, "tcp", port) {
		return nil, errors.New("the target's security groups do not let the balancer in")
	}
	return s.cfg.Network.DialFrom(ctx, own, netip.AddrPortFrom(addr, uint16(port)))
}

func (s *Service) address(ctx context.Context, g targetGroup, t types.TargetDescription) (netip.Addr, error) {
	if g.Desc.TargetType == types.TargetTypeEnumIp {
		return netip.ParseAddr(*t.Id)
	}
	h, err := s.host(ctx, *t.Id)
	if err != nil {
		return netip.Addr{}, err
	}
	if h.state != "running" || !h.addr.IsValid() {
		return netip.Addr{}, errNotRunning
	}
	return h.addr, nil
}

var errNotRunning = errors.New("the target does not run")

// splice copies both ways until both sides are done.
func splice(a, b net.Conn) {
	defer b.Close()
	var both sync.WaitGroup
	half := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // an end without a goodbye is an end
		if c, ok := to.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite()
		}
	}
	both.Go(func() { half(a, b) })
	both.Go(func() { half(b, a) })
	both.Wait()
}

// DescribeTargetHealth tries the targets of a group and tells how they are.
func (s *Service) DescribeTargetHealth(_ context.Context, in *elb.DescribeTargetHealthInput) (*elb.DescribeTargetHealthOutput, error) {
	g, err := s.group(in.TargetGroupArn)
	if err != nil {
		return nil, err
	}
	asked := in.Targets
	if len(asked) == 0 {
		for _, t := range g.Targets {
			asked = append(asked, t.Desc)
		}
	}
	own, used := s.balancerOf(*in.TargetGroupArn)
	out := &elb.DescribeTargetHealthOutput{TargetHealthDescriptions: make([]types.TargetHealthDescription, len(asked))}
	var all sync.WaitGroup
	for i, t := range asked {
		if t.Port == nil {
			t.Port = g.Desc.Port
		}
		d := &out.TargetHealthDescriptions[i]
		d.Target, d.HealthCheckPort = &t, aws.String(strconv.Itoa(g.checkPort(t)))
		all.Go(func() { d.TargetHealth = s.health(g, t, own, used) })
	}
	all.Wait()
	return out, nil
}

// checkPort is where a target's health is checked.
func (g targetGroup) checkPort(t types.TargetDescription) int {
	if n, err := strconv.Atoi(aws.ToString(g.Desc.HealthCheckPort)); err == nil {
		return n
	}
	return g.portOf(t)
}

// balancerOf returns the address from which a balancer looks at the targets of a group.
func (s *Service) balancerOf(group string) (netip.Addr, bool) {
	for _, l := range s.listeners.All() {
		if l.target() != group {
			continue
		}
		if b, err := s.balancer(l.Desc.LoadBalancerArn); err == nil && len(b.NICs) > 0 {
			return b.NICs[0].Addr, true
		}
	}
	return netip.Addr{}, false
}

func (s *Service) health(g targetGroup, t types.TargetDescription, own netip.Addr, used bool) *types.TargetHealth {
	state := func(s types.TargetHealthStateEnum, r types.TargetHealthReasonEnum, text string) *types.TargetHealth {
		return &types.TargetHealth{State: s, Reason: r, Description: aws.String(text)}
	}
	since := time.Time{}
	for _, have := range g.Targets {
		if g.sameTarget(have.Desc, t) {
			since = have.Since
		}
	}
	switch {
	case since.IsZero():
		return state(types.TargetHealthStateEnumUnused, types.TargetHealthReasonEnumNotRegistered, "Target is not registered to the target group")
	case !used:
		return state(types.TargetHealthStateEnumUnused, types.TargetHealthReasonEnumNotInUse, "Target group is not configured to receive traffic from the load balancer")
	}
	err := s.recent(g, t, own)
	d := g.Desc
	patience := time.Duration(aws.ToInt32(d.HealthCheckIntervalSeconds)*aws.ToInt32(d.UnhealthyThresholdCount)) * time.Second
	switch {
	case err == nil:
		return &types.TargetHealth{State: types.TargetHealthStateEnumHealthy}
	case errors.Is(err, errNotRunning) || code(err) == "InvalidTarget":
		return state(types.TargetHealthStateEnumUnused, types.TargetHealthReasonEnumInvalidState, "Target is in the stopped state")
	case s.now().Sub(since) < patience:
		return state(types.TargetHealthStateEnumInitial, types.TargetHealthReasonEnumInitialHealthChecking, "Initial health checks in progress")
	}
	return state(types.TargetHealthStateEnumUnhealthy, types.TargetHealthReasonEnumFailedHealthChecks, "Health checks failed")
}

// recent is check, unless one was well within the group's interval: whoever asks often
// would look like an attacker to the target's sshd, which then answers nobody.
func (s *Service) recent(g targetGroup, t types.TargetDescription, own netip.Addr) error {
	key := fmt.Sprint(*g.Desc.TargetGroupArn, *t.Id, g.checkPort(t))
	s.mu.Lock()
	well, known := s.well[key]
	s.mu.Unlock()
	if known && s.now().Sub(well) < time.Duration(aws.ToInt32(g.Desc.HealthCheckIntervalSeconds))*time.Second {
		ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
		defer cancel()
		_, err := s.address(ctx, g, t) // that it has gone is known at once
		return err
	}
	err := s.check(g, t, own)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		delete(s.well, key)
	} else {
		s.well[key] = s.now()
	}
	return err
}

// check makes one health check.
func (s *Service) check(g targetGroup, t types.TargetDescription, own netip.Addr) error {
	port := g.checkPort(t)
	c, err := s.connect(g, t, own, port)
	if err != nil {
		return err
	}
	defer c.Close()
	if g.Desc.HealthCheckProtocol != types.ProtocolEnumHttp {
		return nil
	}
	client := http.Client{
		Timeout:       connectTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
			return c, nil
		}},
	}
	resp, err := client.Get("http://target" + aws.ToString(g.Desc.HealthCheckPath))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return errors.New("health check: " + resp.Status)
	}
	return nil
}
