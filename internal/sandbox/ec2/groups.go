package ec2

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// securityGroup keeps rules one by one, as DescribeSecurityGroupRules shows them;
// DescribeSecurityGroups gathers them by protocol and ports.
type securityGroup struct {
	ID, Name, Description, VPC string
	Owner, ARN                 string
	Tags                       []types.Tag
	Rules                      []rule
}

func groupKey(g *securityGroup) string { return g.ID }

func groupTags(g *securityGroup) []types.Tag { return g.Tags }

func eachRule(egress bool, get func(rule) []string) attribute[securityGroup] {
	return func(g *securityGroup) []string {
		var out []string
		for _, r := range g.Rules {
			if r.Egress == egress {
				out = append(out, get(r)...)
			}
		}
		return out
	}
}

var groupAttributes = func() map[string]attribute[securityGroup] {
	m := map[string]attribute[securityGroup]{
		"group-id":    func(g *securityGroup) []string { return word(g.ID) },
		"group-name":  func(g *securityGroup) []string { return word(g.Name) },
		"description": func(g *securityGroup) []string { return word(g.Description) },
		"vpc-id":      func(g *securityGroup) []string { return word(g.VPC) },
		"owner-id":    func(g *securityGroup) []string { return word(g.Owner) },
	}
	for prefix, egress := range map[string]bool{"ip-permission.": false, "egress.ip-permission.": true} {
		m[prefix+"cidr"] = eachRule(egress, func(r rule) []string { return word(r.Peer.CIDR4) })
		m[prefix+"ipv6-cidr"] = eachRule(egress, func(r rule) []string { return word(r.Peer.CIDR6) })
		m[prefix+"group-id"] = eachRule(egress, func(r rule) []string { return word(r.Peer.Group) })
		m[prefix+"protocol"] = eachRule(egress, func(r rule) []string { return word(r.Protocol) })
		m[prefix+"from-port"] = eachRule(egress, func(r rule) []string { return number(r.From) })
		m[prefix+"to-port"] = eachRule(egress, func(r rule) []string { return number(r.To) })
	}
	return m
}()

func newGroup(id *region.Identity, groupID, name, description, vpcID string) *securityGroup {
	g := &securityGroup{
		ID: groupID, Name: name, Description: description, VPC: vpcID,
		Owner: id.Account(), ARN: id.ARN("ec2", "security-group/"+groupID),
	}
	g.Rules = []rule{newRule(g.ID, true, "-1", nil, nil, peer{CIDR4: "0.0.0.0/0"}, "")}
	return g
}

// describe renders the group as DescribeSecurityGroups shows it.
func (g *securityGroup) describe() types.SecurityGroup {
	return types.SecurityGroup{
		GroupId:             aws.String(g.ID),
		GroupName:           aws.String(g.Name),
		Description:         aws.String(g.Description),
		VpcId:               aws.String(g.VPC),
		OwnerId:             aws.String(g.Owner),
		SecurityGroupArn:    aws.String(g.ARN),
		Tags:                g.Tags,
		IpPermissions:       permissions(g, false),
		IpPermissionsEgress: permissions(g, true),
	}
}

// DescribeSecurityGroups lists security groups.
func (s *Service) DescribeSecurityGroups(_ context.Context, in *sdk.DescribeSecurityGroupsInput) (*sdk.DescribeSecurityGroupsOutput, error) {
	filters := in.Filters
	if len(in.GroupNames) > 0 {
		for _, name := range in.GroupNames {
			if !slices.ContainsFunc(s.groups.all(), func(g *securityGroup) bool { return g.Name == name }) {
				return nil, wire.Errorf("InvalidGroup.NotFound", "The security group '%s' does not exist", name)
			}
		}
		filters = append(slices.Clone(filters), types.Filter{Name: aws.String("group-name"), Values: in.GroupNames})
	}
	l := of(s.groups, nounGroup, groupKey, groupAttributes, groupTags)
	rows, next, err := l.describe(in.GroupIds, filters, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeSecurityGroupsOutput{SecurityGroups: make([]types.SecurityGroup, len(rows)), NextToken: next}
	for i := range rows {
		out.SecurityGroups[i] = rows[i].describe()
	}
	return out, nil
}

// CreateSecurityGroup makes a group that lets everything out and nothing in.
func (s *Service) CreateSecurityGroup(ctx context.Context, in *sdk.CreateSecurityGroupInput) (*sdk.CreateSecurityGroupOutput, error) {
	tags, err := newTags(ctx, in.TagSpecifications, types.ResourceTypeSecurityGroup)
	if err != nil {
		return nil, err
	}
	name := aws.ToString(in.GroupName)
	switch {
	case name == "":
		return nil, missing("groupName")
	case in.Description == nil || *in.Description == "":
		return nil, missing("groupDescription")
	case len(name) > 255:
		return nil, invalidValue("Invalid value '%s' for groupName. Character sets beyond ASCII are not supported, and at most 255 characters.", name)
	case len(name) > 3 && name[:3] == "sg-":
		return nil, invalidValue("Group names may not be in the format sg-*.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	vpcID := aws.ToString(in.VpcId)
	if vpcID == "" {
		v := s.defaultVPC()
		if v == nil {
			return nil, wire.Errorf("VPCIdNotSpecified", "No default VPC for this user")
		}
		vpcID = *v.Desc.VpcId
	} else if _, err := find(s.vpcs, nounVPC, vpcID); err != nil {
		return nil, err
	}
	if name == "default" {
		return nil, wire.Errorf("InvalidParameterValue", "Cannot use reserved security group name: default")
	}
	for _, g := range s.groups.all() {
		if g.VPC == vpcID && g.Name == name {
			return nil, wire.Errorf("InvalidGroup.Duplicate", "The security group '%s' already exists for VPC '%s'", name, vpcID)
		}
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	g := newGroup(s.id, region.NewID("sg"), name, *in.Description, vpcID)
	g.Tags = tags
	if err := s.groups.put(g.ID, g); err != nil {
		return nil, err
	}
	return &sdk.CreateSecurityGroupOutput{GroupId: aws.String(g.ID), SecurityGroupArn: aws.String(g.ARN), Tags: tags}, nil
}

// DeleteSecurityGroup deletes a group that no interface has and no other group
// refers to.
func (s *Service) DeleteSecurityGroup(_ context.Context, in *sdk.DeleteSecurityGroupInput) (*sdk.DeleteSecurityGroupOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.findGroup(in.GroupId, in.GroupName)
	if err != nil {
		return nil, err
	}
	if g.Name == "default" {
		return nil, wire.Errorf("CannotDelete", "the specified group: %q name: \"default\" cannot be deleted by a user", g.ID)
	}
	inUse := wire.Errorf("DependencyViolation", "resource %s has a dependent object", g.ID)
	for _, eni := range s.enis.all() {
		if hasGroup(eni.Groups, g.ID) {
			return nil, inUse
		}
	}
	for _, other := range s.groups.all() {
		if other.ID != g.ID && slices.ContainsFunc(other.Rules, func(r rule) bool { return r.Peer.Group == g.ID }) {
			return nil, inUse
		}
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	return &sdk.DeleteSecurityGroupOutput{GroupId: aws.String(g.ID), Return: aws.Bool(true)}, s.groups.delete(g.ID)
}

// findGroup finds a group by what a request gave: an ID, or a name, which means
// the default VPC if that has a group of the name.
func (s *Service) findGroup(id, name *string) (*securityGroup, error) {
	if aws.ToString(id) != "" {
		return find(s.groups, nounGroup, *id)
	}
	if aws.ToString(name) == "" {
		return nil, missing("groupId")
	}
	v := s.defaultVPC()
	if v == nil {
		return nil, wire.Errorf("InvalidGroup.NotFound", "The security group '%s' does not exist in default VPC 'none'", *name)
	}
	if g := s.groupNamed(*name, *v.Desc.VpcId); g != nil {
		return g, nil
	}
	return nil, wire.Errorf("InvalidGroup.NotFound", "The security group '%s' does not exist in default VPC '%s'", *name, *v.Desc.VpcId)
}

func (s *Service) groupNamed(name, vpcID string) *securityGroup {
	for _, g := range s.groups.all() {
		if g.VPC == vpcID && g.Name == name {
			return g
		}
	}
	return nil
}

// groupsFor resolves the groups of an interface: IDs that must lie in the VPC, or
// the VPC's default group when there are none.
func (s *Service) groupsFor(vpcID string, ids []string) ([]types.GroupIdentifier, error) {
	if len(ids) == 0 {
		ids = []string{s.groupNamed("default", vpcID).ID}
	}
	var out []types.GroupIdentifier
	for _, id := range ids {
		g, err := find(s.groups, nounGroup, id)
		if err != nil {
			return nil, err
		}
		if g.VPC != vpcID {
			return nil, wire.Errorf("InvalidGroup.NotFound", "The security group '%s' does not exist in VPC '%s'", id, vpcID)
		}
		if !hasGroup(out, id) {
			out = append(out, types.GroupIdentifier{GroupId: aws.String(g.ID), GroupName: aws.String(g.Name)})
		}
	}
	return out, nil
}

func hasGroup(groups []types.GroupIdentifier, id string) bool {
	return slices.ContainsFunc(groups, func(g types.GroupIdentifier) bool { return aws.ToString(g.GroupId) == id })
}
