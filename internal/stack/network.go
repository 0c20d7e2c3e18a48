package stack

import (
	"fmt"
	"slices"
	"strings"

	"pcluster/internal/cfn"
	"pcluster/internal/config"
)

// groups are security groups: IDs, or references to managed ones.
type groups []cfn.Text

func ids(list []string) groups {
	var out groups
	for _, id := range list {
		out = append(out, id)
	}
	return out
}

// union adds groups that are not there yet.
func (g groups) union(more groups) groups {
	for _, m := range more {
		if !slices.Contains(g, m) {
			g = append(g, m)
		}
	}
	return g
}

// securityGroups adds the managed groups with their rules, for nodes whose groups
// the file does not give.
func (b *builder) securityGroups() {
	vpc := b.f.VPC(b.c)
	b.loginGroups = map[string]cfn.Handle{}
	tags := func(name string) cfn.Tags { return cfn.Tags{{Key: "Name", Value: name}} }

	if len(b.c.HeadNode.Networking.SecurityGroups) == 0 {
		g := b.t.Add("HeadNodeSecurityGroup", cfn.SecurityGroup{
			GroupDescription:     "Enable access to the head node",
			VpcId:                vpc,
			SecurityGroupIngress: entry(b.c.HeadNode.Ssh.AllowedIps, b.c.HeadNode.Dcv),
			Tags:                 tags(b.p.ClusterName + " head node"),
		})
		b.headGroup = &g
	}
	if slices.ContainsFunc(b.networks(), func(n config.BatchNetworking) bool { return len(n.SecurityGroups) == 0 }) {
		g := b.t.Add("ComputeSecurityGroup", cfn.SecurityGroup{
			GroupDescription: "Allow access to compute nodes",
			VpcId:            vpc,
			Tags:             tags(b.p.ClusterName + " compute nodes"),
		})
		b.computeGroup = &g
	}
	for _, p := range b.pools() {
		if len(p.Networking.SecurityGroups) == 0 {
			b.loginGroups[p.Name] = b.t.Add(plain(p.Name)+"LoginNodesSecurityGroup", cfn.SecurityGroup{
				GroupDescription:     "Enable access to the login nodes",
				VpcId:                vpc,
				SecurityGroupIngress: entry(p.Ssh.AllowedIps, p.Dcv),
				Tags:                 tags(b.p.ClusterName + " login nodes"),
			})
		}
	}

	if b.headGroup != nil {
		b.admit(*b.headGroup, "Compute", b.computeGroups(), everything)
		b.loginNeeds(b.admit(*b.headGroup, "Login", b.loginNodeGroups(), slurmctldPorts, nfsPort)...)
	}
	if b.computeGroup != nil {
		own := groups{b.computeGroup.Att(cfn.GroupID)}
		b.release(*b.computeGroup, "Self", own)
		b.t.Add("ComputeSecurityGroupEgressAll", cfn.SecurityGroupEgress{
			GroupId: b.computeGroup.Att(cfn.GroupID), IpProtocol: "-1", CidrIp: "0.0.0.0/0",
		})
		b.admit(*b.computeGroup, "Self", own, everything)
		b.admit(*b.computeGroup, "Head", b.headGroups(), everything)
		b.admit(*b.computeGroup, "Login", b.loginNodeGroups(), everything)
		b.admit(*b.computeGroup, "Compute", b.customComputeGroups(), everything)
	}
	for _, p := range b.pools() {
		if g, ok := b.loginGroups[p.Name]; ok {
			b.loginNeeds(b.admit(g, "Head", b.headGroups(), everything)...)
			b.loginNeeds(b.admit(g, "Compute", b.computeGroups(), everything)...)
		}
	}
}

// entry are the ports that people come in by.
func entry(sshFrom string, dcv config.Dcv) []cfn.GroupRule {
	rule := func(port int, from string) cfn.GroupRule {
		r := cfn.GroupRule{IpProtocol: "tcp", FromPort: cfn.Int(port), ToPort: cfn.Int(port)}
		if strings.HasPrefix(from, "pl-") {
			r.SourcePrefixListId = from
		} else {
			r.CidrIp = from
		}
		return r
	}
	rules := []cfn.GroupRule{rule(22, sshFrom)}
	if dcv.Enabled {
		rules = append(rules, rule(dcv.Port, dcv.AllowedIps))
	}
	return rules
}

// ports that a rule lets through.
type ports struct {
	protocol string
	from, to int
}

var (
	everything     = ports{protocol: "-1"}
	slurmctldPorts = ports{"tcp", 6819, 6829}
	nfsPort        = ports{"tcp", 2049, 2049}
	lustrePort     = ports{"tcp", 988, 988}
)

// admission is a rule of a managed group, to tell whether it is there already.
type admission struct {
	into   string
	source cfn.Text
	ports
}

// admit lets traffic from other groups into a managed one. EC2 refuses a rule that
// a group has already, and a group may stand for several kinds of nodes, so what
// was let in before is left out.
func (b *builder) admit(into cfn.Handle, from string, sources groups, through ...ports) []cfn.Handle {
	var rules []cfn.Handle
	for i, source := range sources {
		for j, p := range through {
			a := admission{into.ID(), source, p}
			if b.admitted[a] || b.admitted[admission{into.ID(), source, everything}] {
				continue
			}
			b.admitted[a] = true
			id := fmt.Sprintf("%sIngress%s%d", into.ID(), from, i)
			if j > 0 {
				id += fmt.Sprintf("Port%d", p.from)
			}
			rule := cfn.SecurityGroupIngress{GroupId: into.Att(cfn.GroupID), IpProtocol: p.protocol, SourceSecurityGroupId: source}
			if p != everything {
				rule.FromPort, rule.ToPort = cfn.Int(p.from), cfn.Int(p.to)
			}
			rules = append(rules, b.t.Add(id, rule))
		}
	}
	return rules
}

// release lets all traffic out of a managed group to others.
func (b *builder) release(out cfn.Handle, to string, destinations groups) []cfn.Handle {
	var rules []cfn.Handle
	for i, d := range destinations {
		rules = append(rules, b.t.Add(fmt.Sprintf("%sEgress%s%d", out.ID(), to, i), cfn.SecurityGroupEgress{
			GroupId: out.Att(cfn.GroupID), IpProtocol: "-1", DestinationSecurityGroupId: d,
		}))
	}
	return rules
}

// networks are where compute nodes are, in the order of the queues, as far as
// queues of Slurm and of Batch have it in common.
func (b *builder) networks() []config.BatchNetworking {
	var out []config.BatchNetworking
	for _, q := range b.c.Scheduling.SlurmQueues {
		n := q.Networking
		out = append(out, config.BatchNetworking{SubnetIds: n.SubnetIds, SecurityGroups: n.SecurityGroups, AdditionalSecurityGroups: n.AdditionalSecurityGroups})
	}
	for _, q := range b.c.Scheduling.AwsBatchQueues {
		out = append(out, q.Networking)
	}
	return out
}

// headGroups are the head node's groups, without additional ones.
func (b *builder) headGroups() groups {
	if b.headGroup != nil {
		return groups{b.headGroup.Att(cfn.GroupID)}
	}
	return ids(b.c.HeadNode.Networking.SecurityGroups)
}

// customComputeGroups are the groups that the file gives to queues, sorted.
func (b *builder) customComputeGroups() groups {
	var list []string
	for _, n := range b.networks() {
		list = append(list, n.SecurityGroups...)
	}
	slices.Sort(list)
	return ids(slices.Compact(list))
}

// computeGroups are all groups of compute nodes, without additional ones.
func (b *builder) computeGroups() groups {
	out := b.customComputeGroups()
	if b.computeGroup != nil {
		out = append(out, b.computeGroup.Att(cfn.GroupID))
	}
	return out
}

// loginNodeGroups are all groups of login nodes, without additional ones.
func (b *builder) loginNodeGroups() groups {
	var out groups
	for _, p := range b.pools() {
		if g, ok := b.loginGroups[p.Name]; ok {
			out = append(out, g.Att(cfn.GroupID))
		} else {
			out = out.union(ids(p.Networking.SecurityGroups))
		}
	}
	return out
}

func (b *builder) pools() []config.LoginPool {
	if b.c.LoginNodes == nil {
		return nil
	}
	return b.c.LoginNodes.Pools
}

// headNetwork adds the head node's network interface and public address. The
// interface outlives the instance, so that its address can be known before.
func (b *builder) headNetwork() {
	n := b.c.HeadNode.Networking
	b.eni = b.t.Add("HeadNodeENI", cfn.NetworkInterface{
		Description:     "ParallelCluster head node interface",
		SubnetId:        n.SubnetId,
		GroupSet:        b.headGroups().union(ids(n.AdditionalSecurityGroups)),
		SourceDestCheck: cfn.Bool(false),
	})
	var allocation cfn.Text
	switch ip := string(n.ElasticIp); ip {
	case "", "false":
		return
	case "true":
		allocation = b.t.Add("HeadNodeEIP", cfn.EIP{Domain: "vpc"}).Att(cfn.AllocationID)
	default:
		allocation = b.f.Addresses[ip].AllocationID
	}
	b.t.Add("AssociateEIP", cfn.EIPAssociation{AllocationId: allocation, NetworkInterfaceId: b.eni.Ref()})
}

// dns adds the zone in which compute nodes have names.
func (b *builder) dns() {
	dns := b.c.Scheduling.SlurmSettings.Dns
	switch {
	case dns.DisableManagedDns:
	case dns.HostedZoneId != "":
		b.zone = dns.HostedZoneId
	default:
		b.zone = b.t.Add("Route53HostedZone", cfn.HostedZone{
			Name: b.domain(),
			VPCs: []cfn.ZoneVPC{{VPCId: b.f.VPC(b.c), VPCRegion: cfn.Region}},
		}).Ref()
	}
}
