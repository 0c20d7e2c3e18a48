package validate

import (
	"net/netip"
	"slices"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

// groupsExist judges a list of security groups.
func groupsExist(k *check, path string, list []string) {
	for i, id := range list {
		if _, err := k.src.SecurityGroup(k.ctx, id); err != nil {
			k.errorf(at(path, i), "the security group %s can't be used: %v", id, err)
		}
	}
}

// oneVPC judges all subnets of a cluster together.
func oneVPC(k *check) {
	type place struct{ path, id string }
	list := []place{{"HeadNode.Networking.SubnetId", k.c.HeadNode.Networking.SubnetId}}
	k.queues(func(path string, q *config.SlurmQueue) {
		for i, id := range q.Networking.SubnetIds {
			list = append(list, place{at(path+".Networking.SubnetIds", i), id})
		}
	})
	for i, q := range k.c.Scheduling.AwsBatchQueues {
		for j, id := range q.Networking.SubnetIds {
			list = append(list, place{at(at("Scheduling.AwsBatchQueues", i)+".Networking.SubnetIds", j), id})
		}
	}
	k.pools(func(path string, p *config.LoginPool) {
		for i, id := range p.Networking.SubnetIds {
			list = append(list, place{at(path+".Networking.SubnetIds", i), id})
		}
	})
	seen := map[string]bool{}
	list = slices.DeleteFunc(list, func(p place) bool {
		twice := seen[p.id]
		seen[p.id] = true
		return twice
	})
	vpcs := make([]string, len(list))
	for i, p := range list {
		s, err := k.src.Subnet(k.ctx, p.id)
		if err != nil {
			k.errorf(p.path, "the subnet %s can't be used: %v", p.id, err)
			return
		}
		vpcs[i] = s.VPC
	}
	for i, p := range list {
		if vpcs[i] != vpcs[0] {
			k.errorf(p.path, "the subnet %s is in %s, but %s is in %s; all nodes have to be in one VPC", p.id, vpcs[i], list[0].id, vpcs[0])
		}
	}
	vpc, err := k.src.VPC(k.ctx, vpcs[0])
	if err != nil {
		k.errorf(list[0].path, "the VPC %s can't be looked up: %v", vpcs[0], err)
		return
	}
	if !vpc.DNSSupport {
		k.errorf(list[0].path, "DNS support is off in the VPC %s", vpcs[0])
	}
	if !vpc.DNSHostnames {
		k.errorf(list[0].path, "DNS host names are off in the VPC %s", vpcs[0])
	}
}

func queueSubnets(k *check, path string, q *config.SlurmQueue) {
	path += ".Networking.SubnetIds"
	repeated(k, "the subnet", q.Networking.SubnetIds, func(i int) string { return at(path, i) })
	byZone := map[string]string{}
	for i, id := range q.Networking.SubnetIds {
		s, ok := k.subnets[id]
		if !ok {
			if len(q.Networking.SubnetIds) > 1 {
				k.subnet(id) // notes that nobody could be asked
			}
			continue
		}
		if other := byZone[s.AZ]; other != "" && other != id {
			k.errorf(at(path, i), "the subnets %s and %s are both in %s; a queue takes one for each availability zone", other, id, s.AZ)
		}
		byZone[s.AZ] = id
	}
}

func singleTypeSubnet(k *check, path string, q *config.SlurmQueue) {
	if len(q.Networking.SubnetIds) < 2 {
		return
	}
	for _, r := range q.ComputeResources {
		if !r.Flexible() {
			k.errorf(path+".Networking.SubnetIds", "a queue with several subnets takes compute resources with Instances, but %s has InstanceType", r.Name)
			k.hint("write the type as the one item of Instances")
			return
		}
	}
}

// elasticIP: true asks for a new address, false for none.
func elasticIP(k *check) {
	ip := string(k.c.HeadNode.Networking.ElasticIp)
	if ip == "" || strings.EqualFold(ip, "true") || strings.EqualFold(ip, "false") {
		return
	}
	if _, err := k.src.Address(k.ctx, ip); err != nil {
		k.errorf("HeadNode.Networking.ElasticIp", "the Elastic IP %s can't be used: %v", ip, err)
		k.hint("give true for a new address")
	}
}

// mixedGroups: nodes with groups of their own are not in the managed group, so
// that others may not reach them.
func mixedGroups(k *check) {
	head := len(k.c.HeadNode.Networking.SecurityGroups) > 0
	var own, managed []string
	k.queues(func(_ string, q *config.SlurmQueue) {
		if len(q.Networking.SecurityGroups) > 0 {
			own = append(own, q.Name)
		} else {
			managed = append(managed, q.Name)
		}
	})
	const advice = "make sure that the rules let head and compute nodes reach each other"
	switch {
	case head && len(managed) > 0:
		k.warnf("HeadNode.Networking.SecurityGroups", "the head node has SecurityGroups, but the queues %s have not", strings.Join(managed, ", "))
		k.hint("%s", advice)
	case !head && len(own) > 0:
		k.warnf("HeadNode.Networking", "the queues %s have SecurityGroups, but the head node has not", strings.Join(own, ", "))
		k.hint("%s", advice)
	}
}

// publicWithManyCards: EC2 gives public addresses to instances with one network
// interface only, and EFA means a second one even on one card.
func publicWithManyCards(k *check, r *resource) {
	least, _ := r.cards()
	several := least > 1 || r.Efa.Enabled && k.c.DevSettings.EfaInterfaceType == ""
	if !several {
		return
	}
	if p := r.queue.Networking.AssignPublicIp; p != nil && *p {
		k.errorf(r.queuePath+".Networking.AssignPublicIp", "EC2 gives no public addresses to instances with several network interfaces, as those of %s have", r.Name)
	}
	for i, id := range r.queue.Networking.SubnetIds {
		if s, ok := k.subnet(id); ok && s.PublicIP {
			k.errorf(at(r.queuePath+".Networking.SubnetIds", i),
				"the subnet %s assigns public addresses, which EC2 refuses for instances with several network interfaces, as those of %s have", id, r.Name)
		}
	}
}

func hostedZone(k *check) {
	const path, most = "Scheduling.SlurmSettings.Dns.HostedZoneId", 190
	id := k.c.Scheduling.SlurmSettings.Dns.HostedZoneId
	if id == "" {
		return
	}
	zone, err := k.src.HostedZone(k.ctx, id)
	if err != nil {
		k.errorf(path, "the hosted zone %s can't be used: %v", id, err)
		return
	}
	if !zone.Private {
		k.errorf(path, "the hosted zone %s is public, but has to be private", id)
	} else if s, ok := k.headSubnet(); ok && !slices.Contains(zone.VPCs, s.VPC) {
		k.errorf(path, "the hosted zone %s does not belong to the VPC %s of the head node", id, s.VPC)
	}
	if n := len(k.o.ClusterName) + len(zone.Name); n > most {
		k.errorf(path, "cluster name and zone name have %d characters together, but at most %d are possible", n, most)
	}
}

// functionVPC judges where functions of a stack run.
func functionVPC(k *check, path string, groups, subnets []string) {
	vpcs := func(path, what string, list []string, ask func(id string) (string, error)) ([]string, bool) {
		var out []string
		for i, id := range list {
			vpc, err := ask(id)
			if err != nil {
				k.errorf(at(path, i), "the %s %s can't be used: %v", what, id, err)
				return nil, false
			}
			if !slices.Contains(out, vpc) {
				out = append(out, vpc)
			}
		}
		if len(out) > 1 {
			k.errorf(path, "each %s has to be in one VPC, but they are in %s", what, strings.Join(out, ", "))
		}
		return out, true
	}
	g, okG := vpcs(path+".SecurityGroupIds", "security group", groups, func(id string) (string, error) {
		v, err := k.src.SecurityGroup(k.ctx, id)
		return v.VPC, err
	})
	s, okS := vpcs(path+".SubnetIds", "subnet", subnets, func(id string) (string, error) {
		v, err := k.src.Subnet(k.ctx, id)
		return v.VPC, err
	})
	if okG && okS && !slices.Equal(slices.Sorted(slices.Values(g)), slices.Sorted(slices.Values(s))) {
		k.errorf(path, "the security groups are in %s, but the subnets are in %s", strings.Join(g, ", "), strings.Join(s, ", "))
	}
}

// nodeGroups returns the security groups of the head node and of each queue.
// Groups that the cluster makes match nothing before it exists.
func (e *env) nodeGroups() [][]string {
	set := func(own, more []string, managed string) []string {
		if len(own) == 0 && managed != "" {
			own = []string{managed}
		}
		return slices.Concat(own, more)
	}
	n := e.c.HeadNode.Networking
	out := [][]string{set(n.SecurityGroups, n.AdditionalSecurityGroups, e.o.HeadGroup)}
	e.queues(func(_ string, q *config.SlurmQueue) {
		out = append(out, set(q.Networking.SecurityGroups, q.Networking.AdditionalSecurityGroups, e.o.ComputeGroup))
	})
	for _, q := range e.c.Scheduling.AwsBatchQueues {
		out = append(out, set(q.Networking.SecurityGroups, q.Networking.AdditionalSecurityGroups, e.o.ComputeGroup))
	}
	return out
}

// A direction of traffic, as seen from a security group.
type direction func(facts.SecurityGroup) []facts.Rule

func inbound(g facts.SecurityGroup) []facts.Rule  { return g.Ingress }
func outbound(g facts.SecurityGroup) []facts.Rule { return g.Egress }

// opens says whether security groups let the cluster's nodes reach a port of
// what they protect. Nodes are known by their groups, or by the subnets that they
// are in. A rule with blocks of addresses counts for those alone.
func (k *check) opens(groups []facts.SecurityGroup, subnets []string, protocol string, port int, way direction) bool {
	var sources []string
	var blocks []netip.Prefix
	for _, g := range groups {
		for _, r := range way(g) {
			switch {
			case !lets(r, protocol, port):
			case len(r.PrefixLists) > 0:
				return true
			case len(r.CIDRs) > 0:
				for _, c := range r.CIDRs {
					if p, err := netip.ParsePrefix(c); err == nil {
						blocks = append(blocks, p.Masked())
					}
				}
			default:
				sources = append(sources, r.Groups...)
			}
		}
	}
	byGroup := len(sources) > 0
	for _, set := range k.nodeGroups() {
		byGroup = byGroup && slices.ContainsFunc(set, func(id string) bool { return slices.Contains(sources, id) })
	}
	if byGroup {
		return true
	}
	blocks = merge(blocks)
	return len(blocks) > 0 && !slices.ContainsFunc(subnets, func(id string) bool {
		p, err := netip.ParsePrefix(k.subnets[id].CIDR)
		return err != nil || !slices.ContainsFunc(blocks, func(b netip.Prefix) bool { return b.Bits() <= p.Bits() && b.Contains(p.Addr()) })
	})
}

// merge joins blocks that are the two halves of a larger one.
func merge(blocks []netip.Prefix) []netip.Prefix {
	have := map[netip.Prefix]bool{}
	for _, b := range blocks {
		have[b] = true
	}
	for bits := 32; bits > 0; bits-- {
		for b := range have {
			if b.Bits() != bits || !b.Addr().Is4() {
				continue
			}
			whole := netip.PrefixFrom(b.Addr(), bits-1).Masked()
			low := netip.PrefixFrom(whole.Addr(), bits)
			upper := whole.Addr().As4()
			upper[(bits-1)/8] |= 1 << (7 - (bits-1)%8)
			if have[low] && have[netip.PrefixFrom(netip.AddrFrom4(upper), bits)] {
				have[whole] = true
			}
		}
	}
	out := make([]netip.Prefix, 0, len(have))
	for b := range have {
		out = append(out, b)
	}
	return out
}

// lets says whether a rule is about a port of a protocol, by name or number.
func lets(r facts.Rule, protocol string, port int) bool {
	switch r.Protocol {
	case "-1":
		return true
	case protocol, map[string]string{"tcp": "6", "udp": "17"}[protocol]:
		return r.From <= port && port <= r.To
	}
	return false
}

// groupsOf describes security groups.
func (k *check) groupsOf(ids []string) ([]facts.SecurityGroup, error) {
	var out []facts.SecurityGroup
	for _, id := range ids {
		g, err := k.src.SecurityGroup(k.ctx, id)
		if err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	return out, nil
}
