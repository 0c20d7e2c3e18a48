// Package elbv2 is the sandbox's Elastic Load Balancing: network load balancers
// whose DNS name really leads to their targets.
//
// A balancer has a network interface of EC2 in each of its subnets. The region's
// network answers on the addresses of these; for each listener the daemon accepts
// connections there and carries them to a healthy target. Security groups of the
// balancer and of the target are asked as if the packets had passed them. What
// differs from AWS: targets see the balancer's address, never the client's, and a
// target's health is found out when somebody asks or connects, not by a clock, so
// that a target is in service as soon as it answers.
//
// Application and gateway load balancers, UDP and TLS are refused. Start at [New];
// forward.go carries the connections.
package elbv2

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/miekg/dns"

	"pcluster/internal/sandbox/page"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// EC2 is the part of EC2 that balancers and targets live in.
type EC2 interface {
	DescribeSubnets(context.Context, *ec2.DescribeSubnetsInput) (*ec2.DescribeSubnetsOutput, error)
	DescribeSecurityGroups(context.Context, *ec2.DescribeSecurityGroupsInput) (*ec2.DescribeSecurityGroupsOutput, error)
	DescribeVpcs(context.Context, *ec2.DescribeVpcsInput) (*ec2.DescribeVpcsOutput, error)
	DescribeInstances(context.Context, *ec2.DescribeInstancesInput) (*ec2.DescribeInstancesOutput, error)
	CreateNetworkInterface(context.Context, *ec2.CreateNetworkInterfaceInput) (*ec2.CreateNetworkInterfaceOutput, error)
	ModifyNetworkInterfaceAttribute(context.Context, *ec2.ModifyNetworkInterfaceAttributeInput) (*ec2.ModifyNetworkInterfaceAttributeOutput, error)
	DeleteNetworkInterface(context.Context, *ec2.DeleteNetworkInterfaceInput) (*ec2.DeleteNetworkInterfaceOutput, error)
}

// Network carries the connections; a *vpc.Network does.
type Network interface {
	// AddAddress makes the region itself answer on an address. Doing it again
	// changes nothing.
	AddAddress(netip.Addr) error
	RemoveAddress(netip.Addr) error
	Listen(network, address string) (net.Listener, error)
	// DialFrom connects from one of the region's own addresses. Security groups
	// are not asked.
	DialFrom(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error)
	Allowed(from, to netip.Addr, protocol string, port int) bool
}

// A Config is what a Service needs of its surroundings.
type Config struct {
	EC2     EC2
	Network Network
	// Names, if set, is told the DNS names of all balancers when one comes or goes.
	Names func([]string)
	Log   *slog.Logger
}

// A Service is Elastic Load Balancing v2 of a region.
type Service struct {
	id  *region.Identity
	cfg Config
	now func() time.Time

	// mu makes a check and the change that depends on it one step, and guards the maps.
	mu        sync.Mutex
	balancers *store.Table[balancer]
	groups    *store.Table[targetGroup]
	listeners *store.Table[listener]
	open      map[string][]net.Listener // sockets of listeners, by ARN
	turn      map[string]int            // of targets, by target group
	well      map[string]time.Time      // targets whose last health check was good, and when
}

// A balancer is one row; its addresses are those of its network interfaces.
type balancer struct {
	Desc       types.LoadBalancer
	Tags       []types.Tag
	Attributes map[string]string
	NICs       []nic
}

type nic struct {
	ENI  string
	Addr netip.Addr
}

type targetGroup struct {
	Desc       types.TargetGroup // without balancers
	Tags       []types.Tag
	Attributes map[string]string
	Targets    []target
}

type target struct {
	Desc  types.TargetDescription
	Since time.Time
}

type listener struct {
	Desc       types.Listener
	Tags       []types.Tag
	Attributes map[string]string
}

// New opens the tables of the service. It carries no connections before [Service.Start].
func New(db *store.DB, id *region.Identity, cfg Config) (*Service, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Service{id: id, cfg: cfg, now: time.Now, open: map[string][]net.Listener{}, turn: map[string]int{}, well: map[string]time.Time{}}
	return s, errors.Join(
		store.OpenTable(db, "elbv2.balancers", &s.balancers),
		store.OpenTable(db, "elbv2.targetgroups", &s.groups),
		store.OpenTable(db, "elbv2.listeners", &s.listeners),
	)
}

// Start carries connections again after a start of the daemon.
func (s *Service) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, b := range s.balancers.All() {
		for _, n := range b.NICs {
			errs = append(errs, s.cfg.Network.AddAddress(n.Addr))
		}
	}
	for _, l := range s.listeners.All() {
		errs = append(errs, s.listen(l))
	}
	s.tellNames()
	return errors.Join(errs...)
}

// Close ends the listeners; connections under way end with the daemon.
func (s *Service) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for arn := range s.open {
		s.unlisten(arn)
	}
}

// Register attaches the operations to the API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "AddTags", s.AddTags)
	wire.Handle(m, "CreateListener", s.CreateListener)
	wire.Handle(m, "CreateLoadBalancer", s.CreateLoadBalancer)
	wire.Handle(m, "CreateTargetGroup", s.CreateTargetGroup)
	wire.Handle(m, "DeleteListener", s.DeleteListener)
	wire.Handle(m, "DeleteLoadBalancer", s.DeleteLoadBalancer)
	wire.Handle(m, "DeleteTargetGroup", s.DeleteTargetGroup)
	wire.Handle(m, "DeregisterTargets", s.DeregisterTargets)
	wire.Handle(m, "DescribeListeners", s.DescribeListeners)
	wire.Handle(m, "DescribeListenerAttributes", s.DescribeListenerAttributes)
	wire.Handle(m, "ModifyListenerAttributes", s.ModifyListenerAttributes)
	wire.Handle(m, "DescribeLoadBalancerAttributes", s.DescribeLoadBalancerAttributes)
	wire.Handle(m, "DescribeLoadBalancers", s.DescribeLoadBalancers)
	wire.Handle(m, "DescribeTags", s.DescribeTags)
	wire.Handle(m, "DescribeTargetGroupAttributes", s.DescribeTargetGroupAttributes)
	wire.Handle(m, "DescribeTargetGroups", s.DescribeTargetGroups)
	wire.Handle(m, "DescribeTargetHealth", s.DescribeTargetHealth)
	wire.Handle(m, "ModifyListener", s.ModifyListener)
	wire.Handle(m, "ModifyLoadBalancerAttributes", s.ModifyLoadBalancerAttributes)
	wire.Handle(m, "ModifyTargetGroup", s.ModifyTargetGroup)
	wire.Handle(m, "ModifyTargetGroupAttributes", s.ModifyTargetGroupAttributes)
	wire.Handle(m, "RegisterTargets", s.RegisterTargets)
	wire.Handle(m, "RemoveTags", s.RemoveTags)
	wire.Handle(m, "SetSecurityGroups", s.SetSecurityGroups)
}

// Lookup answers for the names of balancers in the region's DNS.
func (s *Service) Lookup(name string, qtype uint16, _ netip.Addr) ([]dns.RR, bool) {
	host := strings.ToLower(strings.TrimSuffix(name, "."))
	if !strings.HasSuffix(host, ".amazonaws.com") || !strings.Contains(host, ".elb.") {
		return nil, false
	}
	for _, b := range s.balancers.All() {
		if aws.ToString(b.Desc.DNSName) != host {
			continue
		}
		var out []dns.RR
		for _, n := range b.NICs {
			if qtype == dns.TypeA {
				out = append(out, &dns.A{Hdr: dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: n.Addr.AsSlice()})
			}
		}
		return out, true
	}
	return nil, false
}

// tellNames passes the names of all balancers on.
func (s *Service) tellNames() {
	if s.cfg.Names == nil {
		return
	}
	names := []string{}
	for _, b := range s.balancers.All() {
		names = append(names, aws.ToString(b.Desc.DNSName))
	}
	slices.Sort(names)
	s.cfg.Names(names)
}

func (s *Service) arn(resource string) string { return s.id.ARN("elasticloadbalancing", resource) }

// lastParts returns an ARN's resource without its kind: net/name/id of a balancer.
func lastParts(arn string) string {
	_, rest, _ := strings.Cut(arn[strings.LastIndex(arn, ":")+1:], "/")
	return rest
}

func invalid(format string, args ...any) error {
	return wire.Errorf("ValidationError", format, args...)
}

func noLoadBalancer() error {
	return wire.Errorf("LoadBalancerNotFound", "One or more load balancers not found")
}

func noTargetGroup() error {
	return wire.Errorf("TargetGroupNotFound", "One or more target groups not found")
}

func noListener() error { return wire.Errorf("ListenerNotFound", "One or more listeners not found") }

// validName checks the name of a balancer or target group.
func validName(kind, name string) error {
	switch {
	case name == "" || len(name) > 32:
		return invalid("The %s name '%s' cannot be longer than '32' characters", kind, name)
	case strings.HasPrefix(name, "-") || strings.HasSuffix(name, "-"):
		return invalid("The %s name '%s' cannot begin or end with '-'", kind, name)
	case strings.HasPrefix(name, "internal-"):
		return invalid("The %s name '%s' cannot begin with 'internal-'", kind, name)
	}
	for _, c := range name {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return invalid("The %s name '%s' can only contain characters that are alphanumeric characters and hyphens(-)", kind, name)
		}
	}
	return nil
}

// paged cuts a list as the Describe operations do.
func paged[T any](rows []T, key func(T) string, marker *string, size *int32) ([]T, *string, error) {
	slices.SortFunc(rows, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	out, next, err := page.Of(rows, key, marker, page.Limit(size, 400))
	if err != nil {
		return nil, nil, invalid("Invalid pagination marker")
	}
	return out, next, nil
}

// tagsOf returns the tags of any of the service's resources.
func (s *Service) tagsOf(arn string) ([]types.Tag, error) {
	switch {
	case strings.Contains(arn, ":loadbalancer/"):
		if b, ok := s.balancers.Get(arn); ok {
			return b.Tags, nil
		}
		return nil, noLoadBalancer()
	case strings.Contains(arn, ":targetgroup/"):
		if g, ok := s.groups.Get(arn); ok {
			return g.Tags, nil
		}
		return nil, noTargetGroup()
	case strings.Contains(arn, ":listener/"):
		if l, ok := s.listeners.Get(arn); ok {
			return l.Tags, nil
		}
		return nil, noListener()
	}
	return nil, invalid("'%s' is not a valid load balancer ARN", arn)
}

// retag replaces the tags of each of the resources.
func (s *Service) retag(arns []string, change func([]types.Tag) []types.Tag) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, arn := range arns {
		if _, err := s.tagsOf(arn); err != nil {
			return err
		}
	}
	var errs []error
	for _, arn := range arns {
		var err error
		switch {
		case strings.Contains(arn, ":loadbalancer/"):
			_, err = s.balancers.Update(arn, func(b *balancer) error { b.Tags = change(b.Tags); return nil })
		case strings.Contains(arn, ":targetgroup/"):
			_, err = s.groups.Update(arn, func(g *targetGroup) error { g.Tags = change(g.Tags); return nil })
		default:
			_, err = s.listeners.Update(arn, func(l *listener) error { l.Tags = change(l.Tags); return nil })
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// AddTags sets tags of resources.
func (s *Service) AddTags(_ context.Context, in *elb.AddTagsInput) (*elb.AddTagsOutput, error) {
	return nil, s.retag(in.ResourceArns, func(tags []types.Tag) []types.Tag { return mergeTags(tags, in.Tags) })
}

// RemoveTags removes tags of resources.
func (s *Service) RemoveTags(_ context.Context, in *elb.RemoveTagsInput) (*elb.RemoveTagsOutput, error) {
	return nil, s.retag(in.ResourceArns, func(tags []types.Tag) []types.Tag {
		return slices.DeleteFunc(slices.Clone(tags), func(t types.Tag) bool { return slices.Contains(in.TagKeys, *t.Key) })
	})
}

// DescribeTags tells the tags of up to 20 resources.
func (s *Service) DescribeTags(_ context.Context, in *elb.DescribeTagsInput) (*elb.DescribeTagsOutput, error) {
	if len(in.ResourceArns) > 20 {
		return nil, invalid("Only 20 resources can be described at a time")
	}
	out := &elb.DescribeTagsOutput{}
	for _, arn := range in.ResourceArns {
		tags, err := s.tagsOf(arn)
		if err != nil {
			return nil, err
		}
		out.TagDescriptions = append(out.TagDescriptions, types.TagDescription{ResourceArn: aws.String(arn), Tags: tags})
	}
	return out, nil
}

func mergeTags(tags, more []types.Tag) []types.Tag {
	out := slices.DeleteFunc(slices.Clone(tags), func(t types.Tag) bool {
		return slices.ContainsFunc(more, func(m types.Tag) bool { return *m.Key == *t.Key })
	})
	for _, t := range more {
		out = append(out, types.Tag{Key: t.Key, Value: aws.String(aws.ToString(t.Value))})
	}
	return out
}

// withAttributes merges changes into the attributes that a resource has. Defaults
// name all that its kind knows.
func withAttributes(kind string, defaults, have, changes map[string]string) (map[string]string, error) {
	out := maps.Clone(have)
	if out == nil {
		out = map[string]string{}
	}
	for _, k := range slices.Sorted(maps.Keys(changes)) {
		if _, known := defaults[k]; !known {
			return nil, wire.Errorf("InvalidConfigurationRequest", "%s attribute key '%s' is not recognized", kind, k)
		}
		out[k] = changes[k]
	}
	return out, nil
}
