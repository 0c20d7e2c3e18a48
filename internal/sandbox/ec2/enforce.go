package ec2

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"

	"pcluster/internal/sandbox/vpc"
)

// An enforcer makes the network do what the tables say: it pushes the security
// groups of the whole region, and the public addresses of interfaces. Requests
// that come while a push runs share the next one.
type enforcer struct {
	s      *Service
	wanted atomic.Uint64 // pushes asked for

	mu   sync.Mutex
	done uint64 // the last one that a finished push covered
	err  error  // of that push
}

func (e *enforcer) init(s *Service) { e.s = s }

// enforce returns when what the tables said at the call is in force. s.mu must not
// be held.
func (s *Service) enforce() {
	if err := s.rules.push(); err != nil {
		s.log.Error("security groups are not in force", "error", err)
	}
}

func (e *enforcer) push() error {
	mine := e.wanted.Add(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done >= mine {
		return e.err
	}
	covers := e.wanted.Load()
	e.err = e.s.cfg.Network.SetGroups(e.s.networkGroups())
	e.done = covers
	return e.err
}

// networkGroups renders the security groups with the addresses of the interfaces
// that have them.
func (s *Service) networkGroups() []vpc.Group {
	rows := s.groups.all()
	groups := make([]vpc.Group, len(rows))
	index := make(map[string]int, len(rows))
	for i, g := range rows {
		groups[i].ID = g.ID
		index[g.ID] = i
		for _, r := range g.Rules {
			n := vpc.Rule{Protocol: r.Protocol, GroupID: r.Peer.Group, FromPort: -1, ToPort: -1}
			if r.From != nil {
				n.FromPort = int(*r.From)
			}
			if r.To != nil {
				n.ToPort = int(*r.To)
			}
			if cidr := r.Peer.CIDR4 + r.Peer.CIDR6; cidr != "" {
				n.CIDR = netip.MustParsePrefix(cidr)
			}
			if r.Egress {
				groups[i].Egress = append(groups[i].Egress, n)
			} else {
				groups[i].Ingress = append(groups[i].Ingress, n)
			}
		}
	}
	for _, eni := range s.enis.all() {
		addrs := privateAddrs(eni)
		for _, g := range eni.Groups {
			if i, ok := index[*g.GroupId]; ok {
				groups[i].Members = append(groups[i].Members, addrs...)
			}
		}
	}
	return groups
}

// network tells the network all it has to know, as after a start of the region.
func (s *Service) network() error {
	var errs []error
	for _, subnet := range s.subnets.all() {
		errs = append(errs, s.cfg.Network.AddSubnet(netip.MustParsePrefix(*subnet.CidrBlock)))
	}
	errs = append(errs, s.rules.push())
	for _, eni := range s.enis.all() {
		if a := eni.Association; a != nil && aws.ToString(a.PublicIp) != "" {
			errs = append(errs, s.cfg.Network.SetPublic(netip.MustParseAddr(*eni.PrivateIpAddress), netip.MustParseAddr(*a.PublicIp)))
		}
	}
	return errors.Join(errs...)
}
