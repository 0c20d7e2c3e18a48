package ec2

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/wire"
)

// A rule lets one kind of traffic in or out, from or to one peer.
type rule struct {
	ID          string // sgr-…
	Group       string // that it belongs to
	Egress      bool
	Protocol    string // tcp, udp, icmp, icmpv6, a number, or -1 for all
	From, To    *int32 // ports, or ICMP type and code; nil where the protocol has none
	Peer        peer
	Description string
	Tags        []types.Tag
}

// A peer is the other side of a rule; exactly one field is set.
type peer struct {
	CIDR4, CIDR6, Group string
}

func (p peer) String() string { return p.CIDR4 + p.CIDR6 + p.Group }

func newRule(group string, egress bool, protocol string, from, to *int32, p peer, description string) rule {
	return rule{
		ID: region.NewID("sgr"), Group: group, Egress: egress,
		Protocol: protocol, From: from, To: to, Peer: p, Description: description,
	}
}

// same reports whether two rules let the same traffic pass.
func (r rule) same(o rule) bool {
	return r.Egress == o.Egress && r.Protocol == o.Protocol && r.Peer == o.Peer && samePorts(r, o)
}

func samePorts(a, b rule) bool {
	eq := func(x, y *int32) bool { return (x == nil) == (y == nil) && (x == nil || *x == *y) }
	return eq(a.From, b.From) && eq(a.To, b.To)
}

// String is how EC2 names the rule in its errors.
func (r rule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "peer: %s, ", r.Peer)
	switch {
	case r.Protocol == "-1":
		b.WriteString("ALL, ")
	case r.From != nil && r.To != nil:
		fmt.Fprintf(&b, "%s, from port: %d, to port: %d, ", strings.ToUpper(r.Protocol), *r.From, *r.To)
	default:
		fmt.Fprintf(&b, "%s, ", strings.ToUpper(r.Protocol))
	}
	return b.String() + "ALLOW"
}

func (r rule) describe(owner, arn string) types.SecurityGroupRule {
	d := types.SecurityGroupRule{
		SecurityGroupRuleId:  aws.String(r.ID),
		SecurityGroupRuleArn: aws.String(arn),
		GroupId:              aws.String(r.Group),
		GroupOwnerId:         aws.String(owner),
		IsEgress:             aws.Bool(r.Egress),
		IpProtocol:           aws.String(r.Protocol),
		FromPort:             aws.Int32(-1),
		ToPort:               aws.Int32(-1),
		Tags:                 r.Tags,
	}
	if r.From != nil {
		d.FromPort = r.From
	}
	if r.To != nil {
		d.ToPort = r.To
	}
	if r.Description != "" {
		d.Description = aws.String(r.Description)
	}
	switch {
	case r.Peer.CIDR4 != "":
		d.CidrIpv4 = aws.String(r.Peer.CIDR4)
	case r.Peer.CIDR6 != "":
		d.CidrIpv6 = aws.String(r.Peer.CIDR6)
	default:
		d.ReferencedGroupInfo = &types.ReferencedSecurityGroup{GroupId: aws.String(r.Peer.Group), UserId: aws.String(owner)}
	}
	return d
}

// permissions gathers a group's rules of one direction by protocol and ports.
func permissions(g *securityGroup, egress bool) []types.IpPermission {
	var out []types.IpPermission
	var first []rule // a rule of each permission
	for _, r := range g.Rules {
		if r.Egress != egress {
			continue
		}
		i := slices.IndexFunc(first, func(f rule) bool { return f.Protocol == r.Protocol && samePorts(f, r) })
		if i < 0 {
			i = len(first)
			first = append(first, r)
			out = append(out, types.IpPermission{IpProtocol: aws.String(r.Protocol), FromPort: r.From, ToPort: r.To})
		}
		var description *string
		if r.Description != "" {
			description = aws.String(r.Description)
		}
		switch p := &out[i]; {
		case r.Peer.CIDR4 != "":
			p.IpRanges = append(p.IpRanges, types.IpRange{CidrIp: aws.String(r.Peer.CIDR4), Description: description})
		case r.Peer.CIDR6 != "":
			p.Ipv6Ranges = append(p.Ipv6Ranges, types.Ipv6Range{CidrIpv6: aws.String(r.Peer.CIDR6), Description: description})
		default:
			p.UserIdGroupPairs = append(p.UserIdGroupPairs, types.UserIdGroupPair{
				GroupId: aws.String(r.Peer.Group), UserId: aws.String(g.Owner), Description: description,
			})
		}
	}
	return out
}

// flat are the members with which old requests describe a single rule.
type flat struct {
	protocol, cidr, groupID, groupName *string
	from, to                           *int32
}

// parseRules turns a request's permissions into rules of the group.
func (s *Service) parseRules(g *securityGroup, egress bool, perms []types.IpPermission, f flat) ([]rule, error) {
	if len(perms) == 0 {
		if f.protocol == nil && f.cidr == nil && f.groupID == nil && f.groupName == nil {
			return nil, missing("ipPermissions")
		}
		p := types.IpPermission{IpProtocol: f.protocol, FromPort: f.from, ToPort: f.to}
		if f.cidr != nil {
			p.IpRanges = []types.IpRange{{CidrIp: f.cidr}}
		}
		if f.groupID != nil || f.groupName != nil {
			p.UserIdGroupPairs = []types.UserIdGroupPair{{GroupId: f.groupID, GroupName: f.groupName}}
			if p.IpProtocol == nil {
				p.IpProtocol = aws.String("-1")
			}
		}
		perms = []types.IpPermission{p}
	}
	var rules []rule
	for _, p := range perms {
		protocol, err := parseProtocol(aws.ToString(p.IpProtocol))
		if err != nil {
			return nil, err
		}
		from, to, err := parsePorts(protocol, p.FromPort, p.ToPort)
		if err != nil {
			return nil, err
		}
		add := func(other peer, description *string) {
			rules = append(rules, newRule(g.ID, egress, protocol, from, to, other, aws.ToString(description)))
		}
		for _, r := range p.IpRanges {
			block, err := netip.ParsePrefix(aws.ToString(r.CidrIp))
			if err != nil || !block.Addr().Is4() {
				return nil, invalidValue("CIDR block %s is malformed", aws.ToString(r.CidrIp))
			}
			add(peer{CIDR4: block.Masked().String()}, r.Description)
		}
		for _, r := range p.Ipv6Ranges {
			block, err := netip.ParsePrefix(aws.ToString(r.CidrIpv6))
			if err != nil || !block.Addr().Is6() {
				return nil, invalidValue("CIDR block %s is malformed", aws.ToString(r.CidrIpv6))
			}
			add(peer{CIDR6: block.Masked().String()}, r.Description)
		}
		for _, r := range p.UserIdGroupPairs {
			other, err := s.pairedGroup(g, r)
			if err != nil {
				return nil, err
			}
			add(peer{Group: other.ID}, r.Description)
		}
		for _, r := range p.PrefixListIds { // none exist here
			return nil, wire.Errorf("InvalidPrefixListID.NotFound", "The prefix list ID '%s' does not exist", aws.ToString(r.PrefixListId))
		}
	}
	if len(rules) == 0 {
		return nil, missing("cidrIp, cidrIpv6, prefixListId or a security group in ipPermissions")
	}
	return rules, nil
}

func (s *Service) pairedGroup(g *securityGroup, pair types.UserIdGroupPair) (*securityGroup, error) {
	if pair.GroupId != nil {
		other, err := find(s.groups, nounGroup, *pair.GroupId)
		if err == nil && other.VPC != g.VPC {
			return nil, wire.Errorf("InvalidGroup.NotFound", "You have specified two resources that belong to different networks.")
		}
		return other, err
	}
	name := aws.ToString(pair.GroupName)
	if other := s.groupNamed(name, g.VPC); other != nil {
		return other, nil
	}
	return nil, nounGroup.notFound(name)
}

func parseProtocol(p string) (string, error) {
	switch p = strings.ToLower(p); p {
	case "":
		return "", missing("ipProtocol")
	case "all", "-1":
		return "-1", nil
	case "tcp", "6":
		return "tcp", nil
	case "udp", "17":
		return "udp", nil
	case "icmp", "1":
		return "icmp", nil
	case "icmpv6", "58":
		return "icmpv6", nil
	}
	var n int
	if _, err := fmt.Sscanf(p, "%d", &n); err != nil || n < 0 || n > 255 || fmt.Sprint(n) != p {
		return "", wire.Errorf("InvalidPermission.Malformed", "Unsupported IP protocol %q  - supported: [tcp, udp, icmp, -1]", p)
	}
	return p, nil
}

func parsePorts(protocol string, from, to *int32) (*int32, *int32, error) {
	switch protocol {
	case "tcp", "udp":
		if from == nil || to == nil {
			return nil, nil, invalidValue("Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.")
		}
		if *from == -1 && *to == -1 {
			from, to = aws.Int32(0), aws.Int32(65535)
		}
		if *from < 0 || *to > 65535 || *from > *to {
			return nil, nil, invalidValue("Invalid TCP/UDP port range (%d:%d)", *from, *to)
		}
		return from, to, nil
	case "icmp", "icmpv6":
		if from == nil {
			from = aws.Int32(-1)
		}
		if to == nil {
			to = aws.Int32(-1)
		}
		return from, to, nil
	}
	return nil, nil, nil // EC2 takes and forgets ports of other protocols
}

// authorize adds rules to a group, all or none.
func (s *Service) authorize(ctx context.Context, id, name *string, egress bool, perms []types.IpPermission, f flat, specs []types.TagSpecification, dry *bool) ([]types.SecurityGroupRule, error) {
	tags, err := newTags(ctx, specs, types.ResourceTypeSecurityGroupRule)
	if err != nil {
		return nil, err
	}
	defer s.enforce()
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.findGroup(id, name)
	if err != nil {
		return nil, err
	}
	added, err := s.parseRules(g, egress, perms, f)
	if err != nil {
		return nil, err
	}
	for i, r := range added {
		if slices.ContainsFunc(g.Rules, r.same) {
			return nil, wire.Errorf("InvalidPermission.Duplicate", "the specified rule %q already exists", r)
		}
		if slices.ContainsFunc(added[:i], r.same) {
			return nil, invalidValue("The same permission must not appear multiple times")
		}
		added[i].Tags = tags
	}
	if err := dryRun(dry); err != nil {
		return nil, err
	}
	if err := s.groups.set(g.ID, func(g *securityGroup) { g.Rules = append(slices.Clone(g.Rules), added...) }); err != nil {
		return nil, err
	}
	out := make([]types.SecurityGroupRule, len(added))
	for i, r := range added {
		out[i] = s.describeRule(r)
	}
	return out, nil
}

// revoke removes rules from a group, by ID or by what they let pass, all or none.
func (s *Service) revoke(id, name *string, egress bool, perms []types.IpPermission, ruleIDs []string, f flat, dry *bool) error {
	defer s.enforce()
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.findGroup(id, name)
	if err != nil {
		return err
	}
	var gone []rule
	for _, id := range ruleIDs {
		i := slices.IndexFunc(g.Rules, func(r rule) bool { return r.ID == id && r.Egress == egress })
		if i < 0 {
			return wire.Errorf("InvalidSecurityGroupRuleId.NotFound", "The security group rule ID '%s' does not exist", id)
		}
		gone = append(gone, g.Rules[i])
	}
	if len(ruleIDs) == 0 {
		if gone, err = s.parseRules(g, egress, perms, f); err != nil {
			return err
		}
		for _, r := range gone {
			if !slices.ContainsFunc(g.Rules, r.same) {
				return wire.Errorf("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
			}
		}
	}
	if err := dryRun(dry); err != nil {
		return err
	}
	return s.groups.set(g.ID, func(g *securityGroup) {
		g.Rules = slices.DeleteFunc(slices.Clone(g.Rules), func(r rule) bool { return slices.ContainsFunc(gone, r.same) })
	})
}

// AuthorizeSecurityGroupIngress lets traffic in.
func (s *Service) AuthorizeSecurityGroupIngress(ctx context.Context, in *sdk.AuthorizeSecurityGroupIngressInput) (*sdk.AuthorizeSecurityGroupIngressOutput, error) {
	f := flat{protocol: in.IpProtocol, cidr: in.CidrIp, groupName: in.SourceSecurityGroupName, from: in.FromPort, to: in.ToPort}
	rules, err := s.authorize(ctx, in.GroupId, in.GroupName, false, in.IpPermissions, f, in.TagSpecifications, in.DryRun)
	if err != nil {
		return nil, err
	}
	return &sdk.AuthorizeSecurityGroupIngressOutput{Return: aws.Bool(true), SecurityGroupRules: rules}, nil
}

// AuthorizeSecurityGroupEgress lets traffic out.
func (s *Service) AuthorizeSecurityGroupEgress(ctx context.Context, in *sdk.AuthorizeSecurityGroupEgressInput) (*sdk.AuthorizeSecurityGroupEgressOutput, error) {
	f := flat{protocol: in.IpProtocol, cidr: in.CidrIp, groupName: in.SourceSecurityGroupName, from: in.FromPort, to: in.ToPort}
	rules, err := s.authorize(ctx, in.GroupId, nil, true, in.IpPermissions, f, in.TagSpecifications, in.DryRun)
	if err != nil {
		return nil, err
	}
	return &sdk.AuthorizeSecurityGroupEgressOutput{Return: aws.Bool(true), SecurityGroupRules: rules}, nil
}

// RevokeSecurityGroupIngress takes ingress rules away.
func (s *Service) RevokeSecurityGroupIngress(_ context.Context, in *sdk.RevokeSecurityGroupIngressInput) (*sdk.RevokeSecurityGroupIngressOutput, error) {
	f := flat{protocol: in.IpProtocol, cidr: in.CidrIp, groupName: in.SourceSecurityGroupName, from: in.FromPort, to: in.ToPort}
	if err := s.revoke(in.GroupId, in.GroupName, false, in.IpPermissions, in.SecurityGroupRuleIds, f, in.DryRun); err != nil {
		return nil, err
	}
	return &sdk.RevokeSecurityGroupIngressOutput{Return: aws.Bool(true)}, nil
}

// RevokeSecurityGroupEgress takes egress rules away.
func (s *Service) RevokeSecurityGroupEgress(_ context.Context, in *sdk.RevokeSecurityGroupEgressInput) (*sdk.RevokeSecurityGroupEgressOutput, error) {
	f := flat{protocol: in.IpProtocol, cidr: in.CidrIp, groupName: in.SourceSecurityGroupName, from: in.FromPort, to: in.ToPort}
	if err := s.revoke(in.GroupId, nil, true, in.IpPermissions, in.SecurityGroupRuleIds, f, in.DryRun); err != nil {
		return nil, err
	}
	return &sdk.RevokeSecurityGroupEgressOutput{Return: aws.Bool(true)}, nil
}

func (s *Service) describeRule(r rule) types.SecurityGroupRule {
	return r.describe(s.id.Account(), s.id.ARN("ec2", "security-group-rule/"+r.ID))
}

// allRules returns the rules of all groups, sorted by ID.
func (s *Service) allRules() []*rule {
	var rows []*rule
	for _, g := range s.groups.all() {
		for i := range g.Rules {
			rows = append(rows, &g.Rules[i])
		}
	}
	slices.SortFunc(rows, func(a, b *rule) int { return strings.Compare(a.ID, b.ID) })
	return rows
}

func (s *Service) findRule(id string) *rule {
	for _, r := range s.allRules() {
		if r.ID == id {
			return r
		}
	}
	return nil
}

var nounRule = noun{"sgr", "InvalidSecurityGroupRuleId", "The security group rule ID '%s' does not exist"}

var ruleAttributes = map[string]attribute[rule]{
	"group-id":               func(r *rule) []string { return word(r.Group) },
	"security-group-rule-id": func(r *rule) []string { return word(r.ID) },
}

// DescribeSecurityGroupRules lists rules one by one.
func (s *Service) DescribeSecurityGroupRules(_ context.Context, in *sdk.DescribeSecurityGroupRulesInput) (*sdk.DescribeSecurityGroupRulesOutput, error) {
	l := listing[rule]{
		noun: nounRule, rows: s.allRules, get: s.findRule, key: func(r *rule) string { return r.ID },
		attributes: ruleAttributes, tags: func(r *rule) []types.Tag { return r.Tags },
	}
	rows, next, err := l.describe(in.SecurityGroupRuleIds, in.Filters, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeSecurityGroupRulesOutput{NextToken: next}
	for _, r := range rows {
		out.SecurityGroupRules = append(out.SecurityGroupRules, s.describeRule(r))
	}
	return out, nil
}

// ruleTags lets CreateTags and its kin reach the rules inside groups.
func (s *Service) ruleTags() kind {
	return kind{
		noun: nounRule,
		name: types.ResourceTypeSecurityGroupRule,
		retag: func(id string, fn func([]types.Tag) []types.Tag) error {
			r := s.findRule(id)
			if r == nil {
				return store.ErrNotFound
			}
			return s.groups.set(r.Group, func(g *securityGroup) {
				g.Rules = slices.Clone(g.Rules)
				for i := range g.Rules {
					if g.Rules[i].ID == id {
						g.Rules[i].Tags = fn(g.Rules[i].Tags)
					}
				}
			})
		},
		each: func(fn func(string, []types.Tag)) {
			for _, r := range s.allRules() {
				fn(r.ID, r.Tags)
			}
		},
		tagsOf: func(id string) []types.Tag {
			r := s.findRule(id)
			if r == nil {
				return nil
			}
			return r.Tags
		},
	}
}
