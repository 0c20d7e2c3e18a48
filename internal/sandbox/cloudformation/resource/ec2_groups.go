package resource

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/cloudformation/template"
)

// ruleProperties are those of a rule, inline or as a resource of its own.
var ruleProperties = []string{
	"CidrIp", "CidrIpv6", "Description", "FromPort", "GroupId", "GroupName", "IpProtocol", "ToPort",
	"SourcePrefixListId", "SourceSecurityGroupId", "SourceSecurityGroupName", "SourceSecurityGroupOwnerId",
	"DestinationPrefixListId", "DestinationSecurityGroupId",
}

// securityGroupTypes are security groups and their rules.
func securityGroupTypes(api EC2) []*Type {
	return []*Type{securityGroupType(api), ruleType(api, "Ingress"), ruleType(api, "Egress")}
}

// permission returns a rule of a template as EC2 wants it.
func permission(rule map[string]any) (types.IpPermission, error) {
	text := func(name string) string { s, _ := template.Text(rule[name]); return s }
	p := types.IpPermission{IpProtocol: aws.String(text("IpProtocol"))}
	for name, into := range map[string]**int32{"FromPort": &p.FromPort, "ToPort": &p.ToPort} {
		if text(name) == "" {
			continue
		}
		n, err := strconv.ParseInt(text(name), 10, 32)
		if err != nil {
			return p, fmt.Errorf("%s must be an integer", name)
		}
		*into = aws.Int32(int32(n))
	}
	var description *string
	if d := text("Description"); d != "" {
		description = &d
	}
	for _, name := range []string{"SourceSecurityGroupId", "DestinationSecurityGroupId", "SourceSecurityGroupName"} {
		if text(name) == "" {
			continue
		}
		pair := types.UserIdGroupPair{Description: description}
		if name == "SourceSecurityGroupName" {
			pair.GroupName = aws.String(text(name))
		} else {
			pair.GroupId = aws.String(text(name))
		}
		if owner := text("SourceSecurityGroupOwnerId"); owner != "" {
			pair.UserId = aws.String(owner)
		}
		p.UserIdGroupPairs = append(p.UserIdGroupPairs, pair)
	}
	if cidr := text("CidrIp"); cidr != "" {
		p.IpRanges = []types.IpRange{{CidrIp: aws.String(cidr), Description: description}}
	}
	if cidr := text("CidrIpv6"); cidr != "" {
		p.Ipv6Ranges = []types.Ipv6Range{{CidrIpv6: aws.String(cidr), Description: description}}
	}
	for _, name := range []string{"SourcePrefixListId", "DestinationPrefixListId"} {
		if id := text(name); id != "" {
			p.PrefixListIds = append(p.PrefixListIds, types.PrefixListId{PrefixListId: aws.String(id), Description: description})
		}
	}
	if len(p.UserIdGroupPairs)+len(p.IpRanges)+len(p.Ipv6Ranges)+len(p.PrefixListIds) == 0 {
		return p, fmt.Errorf("a rule needs a source or destination: one of CidrIp, CidrIpv6, a prefix list or a security group")
	}
	return p, nil
}

func authorize(ctx context.Context, api EC2, direction, group string, rule map[string]any) (ruleID string, err error) {
	p, err := permission(rule)
	if err != nil {
		return "", err
	}
	var rules []types.SecurityGroupRule
	if direction == "Egress" {
		out, err := api.AuthorizeSecurityGroupEgress(ctx, &ec2.AuthorizeSecurityGroupEgressInput{GroupId: &group, IpPermissions: []types.IpPermission{p}})
		if err != nil {
			return "", err
		}
		rules = out.SecurityGroupRules
	} else {
		out, err := api.AuthorizeSecurityGroupIngress(ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: &group, IpPermissions: []types.IpPermission{p}})
		if err != nil {
			return "", err
		}
		rules = out.SecurityGroupRules
	}
	for _, r := range rules {
		return aws.ToString(r.SecurityGroupRuleId), nil
	}
	return "", nil
}

func revoke(ctx context.Context, api EC2, direction, group string, rule map[string]any) error {
	p, err := permission(rule)
	if err != nil {
		return err
	}
	if direction == "Egress" {
		_, err = api.RevokeSecurityGroupEgress(ctx, &ec2.RevokeSecurityGroupEgressInput{GroupId: &group, IpPermissions: []types.IpPermission{p}})
	} else {
		_, err = api.RevokeSecurityGroupIngress(ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: &group, IpPermissions: []types.IpPermission{p}})
	}
	return gone(err)
}

func ruleType(api EC2, direction string) *Type {
	required := []string{"IpProtocol"}
	if direction == "Egress" {
		required = append(required, "GroupId")
	}
	group := func(ctx context.Context, r *Request) (string, error) {
		if id := r.String("GroupId"); id != "" {
			return id, nil
		}
		name := r.String("GroupName")
		out, err := api.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{filter("group-name", name)}})
		if err != nil {
			return "", err
		}
		if len(out.SecurityGroups) == 0 {
			return "", fmt.Errorf("no security group is named %q", name)
		}
		return aws.ToString(out.SecurityGroups[0].GroupId), nil
	}
	return &Type{
		Name:       "AWS::EC2::SecurityGroup" + direction,
		Attributes: []string{"Id"},
		Replaces:   slices.DeleteFunc(slices.Clone(ruleProperties), func(p string) bool { return p == "Description" }),
		properties: only(ruleProperties...).requires(required...),
		Create: func(ctx context.Context, r *Request) error {
			group, err := group(ctx, r)
			if err != nil {
				return err
			}
			id, err := authorize(ctx, api, direction, group, r.Props)
			// CloudFormation lets several resources stand for the same rule.
			if err != nil && !alreadyExists(err) {
				return err
			}
			if id == "" {
				id = r.LogicalID
			}
			r.Set("Id", id)
			return r.Created(id)
		},
		Update: func(ctx context.Context, r *Request) error { // of the description: the rule is written anew
			group, err := group(ctx, r)
			if err != nil {
				return err
			}
			if err := revoke(ctx, api, direction, group, r.Before); err != nil {
				return err
			}
			_, err = authorize(ctx, api, direction, group, r.Props)
			if alreadyExists(err) {
				err = nil
			}
			return err
		},
		Delete: func(ctx context.Context, r *Request) error {
			group, err := group(ctx, r)
			if err != nil {
				return gone(err)
			}
			return revoke(ctx, api, direction, group, r.Props)
		},
	}
}

func rules(props map[string]any, property string) []map[string]any {
	list, _ := props[property].([]any)
	var out []map[string]any
	for _, e := range list {
		if m, ok := e.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func securityGroupType(api EC2) *Type {
	t := &Type{
		Name:       "AWS::EC2::SecurityGroup",
		Attributes: []string{"GroupId", "VpcId", "Id"},
		Replaces:   []string{"GroupName", "GroupDescription", "VpcId"},
		properties: like[ec2.CreateSecurityGroupInput]("GroupDescription").and("SecurityGroupIngress", "SecurityGroupEgress", "Tags").without("Description"),
	}
	// A group that lists egress rules loses the one that EC2 gives to every group.
	allowAll := map[string]any{"IpProtocol": "-1", "CidrIp": "0.0.0.0/0"}
	t.Create = func(ctx context.Context, r *Request) error {
		id, err := earlier(ctx, api, r, types.ResourceTypeSecurityGroup)
		if err != nil {
			return err
		}
		if id == "" {
			in := input[ec2.CreateSecurityGroupInput](t.properties, r.Props)
			in.GroupName = aws.String(r.Name("GroupName", 255))
			in.TagSpecifications = r.tagSpec(types.ResourceTypeSecurityGroup)
			out, err := api.CreateSecurityGroup(ctx, in)
			if err != nil {
				return err
			}
			id = aws.ToString(out.GroupId)
		}
		if err := r.Created(id); err != nil {
			return err
		}
		r.Set("GroupId", id)
		r.Set("Id", id)
		vpc := r.String("VpcId")
		if vpc == "" {
			out, err := api.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{id}})
			if err != nil {
				return err
			}
			for _, g := range out.SecurityGroups {
				vpc = aws.ToString(g.VpcId)
			}
		}
		r.Set("VpcId", vpc)
		if egress := rules(r.Props, "SecurityGroupEgress"); len(egress) > 0 {
			if !slices.ContainsFunc(egress, func(rule map[string]any) bool { return sameRule(rule, allowAll) }) {
				if err := revoke(ctx, api, "Egress", id, allowAll); err != nil {
					return err
				}
			}
		}
		return changeRules(ctx, api, r, nil)
	}
	t.Update = func(ctx context.Context, r *Request) error {
		had, has := len(rules(r.Before, "SecurityGroupEgress")) > 0, len(rules(r.Props, "SecurityGroupEgress")) > 0
		if had != has {
			change := revoke
			if had {
				change = func(ctx context.Context, api EC2, direction, group string, rule map[string]any) error {
					_, err := authorize(ctx, api, direction, group, rule)
					return err
				}
			}
			if err := change(ctx, api, "Egress", r.PhysicalID, allowAll); err != nil && !alreadyExists(err) {
				return err
			}
		}
		if err := changeRules(ctx, api, r, r.Before); err != nil {
			return err
		}
		return retag(ctx, api, r, r.PhysicalID)
	}
	t.Delete = func(ctx context.Context, r *Request) error {
		return gone(r.Retry(func() error {
			_, err := api.DeleteSecurityGroup(ctx, &ec2.DeleteSecurityGroupInput{GroupId: aws.String(r.PhysicalID)})
			return err
		}, "DependencyViolation"))
	}
	return t
}

func sameRule(a, b map[string]any) bool {
	pa, err1 := permission(a)
	pb, err2 := permission(b)
	if err1 != nil || err2 != nil {
		return false
	}
	key := func(p types.IpPermission) string {
		var b strings.Builder
		fmt.Fprint(&b, aws.ToString(p.IpProtocol), aws.ToInt32(p.FromPort), aws.ToInt32(p.ToPort))
		for _, r := range p.IpRanges {
			b.WriteString(" " + aws.ToString(r.CidrIp))
		}
		for _, r := range p.Ipv6Ranges {
			b.WriteString(" " + aws.ToString(r.CidrIpv6))
		}
		return b.String()
	}
	if aws.ToString(pa.IpProtocol) == "-1" {
		pa.FromPort, pa.ToPort, pb.FromPort, pb.ToPort = nil, nil, nil, nil
	}
	return key(pa) == key(pb)
}

// changeRules makes a group's inline rules those of the request, given those it
// had.
func changeRules(ctx context.Context, api EC2, r *Request, before map[string]any) error {
	for direction, property := range map[string]string{"Ingress": "SecurityGroupIngress", "Egress": "SecurityGroupEgress"} {
		old, want := rules(before, property), rules(r.Props, property)
		has := func(list []map[string]any, rule map[string]any) bool {
			return slices.ContainsFunc(list, func(o map[string]any) bool { return template.Equal(o, rule) })
		}
		for _, rule := range old {
			if !has(want, rule) {
				if err := revoke(ctx, api, direction, r.PhysicalID, rule); err != nil {
					return err
				}
			}
		}
		for _, rule := range want {
			if has(old, rule) {
				continue
			}
			if _, err := authorize(ctx, api, direction, r.PhysicalID, rule); err != nil && !alreadyExists(err) {
				return err
			}
		}
	}
	return nil
}
