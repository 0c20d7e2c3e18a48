package access

import (
	"reflect"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// ec2Kinds are what the IDs of EC2's resources begin with, and what they are called in
// ARNs.
var ec2Kinds = map[string]string{
	"i": "instance", "vol": "volume", "eni": "network-interface", "subnet": "subnet", "sg": "security-group", "sgr": "security-group-rule",
	"vpc": "vpc", "rtb": "route-table", "igw": "internet-gateway", "nat": "natgateway", "eipalloc": "elastic-ip", "ami": "image",
	"snap": "snapshot", "lt": "launch-template", "key": "key-pair", "pg": "placement-group", "cr": "capacity-reservation", "fleet": "fleet",
}

// resource is the ARN of a resource of EC2 by its ID, or nothing.
func (a *asker) resource(id string) string {
	prefix, rest, ok := strings.Cut(id, "-")
	kind, known := ec2Kinds[prefix]
	if !ok || !known || rest == "" {
		return ""
	}
	p := a.place
	if kind == "image" || kind == "snapshot" {
		p.Account = ""
	}
	return p.arn("ec2", kind+"/"+id)
}

// ec2 asks for a call of EC2.
func (a *asker) ec2() {
	action := "ec2:" + a.call.Operation
	switch in := a.call.Input.(type) {
	case *ec2.RunInstancesInput:
		a.runInstances(in)
		return
	case *ec2.CreateFleetInput:
		a.createFleet(in)
		return
	}
	if strings.HasPrefix(a.call.Operation, "Describe") || strings.HasPrefix(a.call.Operation, "Get") && a.call.Operation != "GetConsoleOutput" && a.call.Operation != "GetLaunchTemplateData" {
		a.ask(action, "*", nil)
		return
	}
	context := map[string][]string{}
	tags := a.specifiedTags()
	if a.call.Operation == "CreateTags" || a.call.Operation == "DeleteTags" {
		tags = a.requestTags()
	}
	tagConditions(context, tags)
	asked := false
	for _, id := range a.ids() {
		if arn := a.resource(id); arn != "" {
			a.ask(action, arn, context)
			asked = true
		}
	}
	if kind := associated[a.call.Operation]; kind != "" && a.text("AssociationId") != "" {
		a.ask(action, a.world.ARN(kind, a.text("AssociationId")), context)
		asked = true
	}
	if name := a.text("GroupName"); name != "" && strings.HasSuffix(a.call.Operation, "PlacementGroup") {
		a.ask(action, a.place.arn("ec2", "placement-group/"+name), context)
		asked = true
	}
	if name := a.text("LaunchTemplateName"); name != "" && a.call.Operation != "CreateLaunchTemplate" {
		if id, _ := a.world.Template(&types.LaunchTemplateSpecification{LaunchTemplateName: &name}); id != "" {
			a.ask(action, a.resource(id), context)
			asked = true
		}
	}
	made, ok := strings.CutPrefix(a.call.Operation, "Create")
	if a.call.Operation == "AllocateAddress" {
		made, ok = "ElasticIp", true
	}
	if ok && made != "Tags" {
		if kind := kindOfName(made); kind != "" {
			p := a.place
			if kind == "image" || kind == "snapshot" {
				p.Account = ""
			}
			a.ask(action, p.arn("ec2", kind+"/*"), context)
			asked = true
			if len(tags) > 0 {
				create := map[string][]string{"ec2:createaction": {a.call.Operation}}
				tagConditions(create, tags)
				a.ask("ec2:CreateTags", p.arn("ec2", kind+"/*"), create)
			}
		}
	}
	if !asked {
		a.ask(action, "*", context)
	}
}

// associated are the kinds of associations that operations end.
var associated = map[string]string{"DisassociateAddress": "address-association", "DisassociateRouteTable": "route-association"}

// kindOfName is the kind of resource that an operation makes: SecurityGroup.
func kindOfName(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('-')
		}
		b.WriteRune(r)
	}
	kind := strings.ToLower(b.String())
	if kind == "nat-gateway" {
		return "natgateway"
	}
	for _, k := range ec2Kinds {
		if k == kind {
			return kind
		}
	}
	return ""
}

// ids are the IDs in the members of the input whose names say so.
func (a *asker) ids() []string {
	var out []string
	if a.in.Kind() != reflect.Struct {
		return nil
	}
	for i := range a.in.NumField() {
		name := a.in.Type().Field(i).Name
		if strings.HasSuffix(name, "Id") || strings.HasSuffix(name, "Ids") || name == "Resources" {
			out = append(out, a.texts(name)...)
		}
	}
	return out
}

// specifiedTags are the tags of what a call makes.
func (a *asker) specifiedTags() map[string]string {
	out := map[string]string{}
	if a.in.Kind() != reflect.Struct {
		return out
	}
	v := a.in.FieldByName("TagSpecifications")
	if !v.IsValid() {
		return out
	}
	list, _ := v.Interface().([]types.TagSpecification)
	for _, s := range list {
		for _, t := range s.Tags {
			out[aws.ToString(t.Key)] = aws.ToString(t.Value)
		}
	}
	return out
}

// A launch is what a launch of instances touches, whoever asked for what of it.
type launch struct {
	images, subnets, groups, types []string
	key, profile, placement        string
	reservation                    string
	template                       string
	tags                           map[string]map[string]string // by kind of resource
}

func (l *launch) specify(kind types.ResourceType, tags []types.Tag) {
	if l.tags[string(kind)] == nil {
		l.tags[string(kind)] = map[string]string{}
	}
	for _, t := range tags {
		l.tags[string(kind)][aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
}

// fromTemplate takes over what a launch template says.
func (l *launch) fromTemplate(d *types.ResponseLaunchTemplateData) {
	l.images, l.key = given(l.images, aws.ToString(d.ImageId)), aws.ToString(d.KeyName)
	l.groups = append(l.groups, d.SecurityGroupIds...)
	for _, n := range d.NetworkInterfaces {
		l.subnets, l.groups = given(l.subnets, aws.ToString(n.SubnetId)), append(l.groups, n.Groups...)
	}
	if p := d.IamInstanceProfile; p != nil {
		l.profile = aws.ToString(p.Name) + aws.ToString(p.Arn)
	}
	if p := d.Placement; p != nil {
		l.placement = aws.ToString(p.GroupName)
	}
	if s := d.CapacityReservationSpecification; s != nil && s.CapacityReservationTarget != nil {
		l.reservation = aws.ToString(s.CapacityReservationTarget.CapacityReservationId)
	}
	for _, s := range d.TagSpecifications {
		l.specify(s.ResourceType, s.Tags)
	}
}

func given(list []string, value string) []string {
	if value == "" {
		return list
	}
	return append(list, value)
}

func (a *asker) runInstances(in *ec2.RunInstancesInput) {
	l := launch{tags: map[string]map[string]string{}}
	if in.LaunchTemplate != nil {
		if id, data := a.world.Template(in.LaunchTemplate); data != nil {
			l.template = id
			l.fromTemplate(data)
		}
	}
	if in.ImageId != nil {
		l.images = []string{*in.ImageId}
	}
	if in.KeyName != nil {
		l.key = *in.KeyName
	}
	if in.SubnetId != nil {
		l.subnets = []string{*in.SubnetId}
	}
	if len(in.SecurityGroupIds) > 0 {
		l.groups = in.SecurityGroupIds
	}
	for _, n := range in.NetworkInterfaces {
		l.subnets, l.groups = given(l.subnets, aws.ToString(n.SubnetId)), append(l.groups, n.Groups...)
	}
	if p := in.IamInstanceProfile; p != nil {
		l.profile = aws.ToString(p.Name) + aws.ToString(p.Arn)
	}
	if p := in.Placement; p != nil && p.GroupName != nil {
		l.placement = *p.GroupName
	}
	for _, s := range in.TagSpecifications {
		l.specify(s.ResourceType, s.Tags)
	}
	a.launch("RunInstances", &l)
}

// createFleet asks for an instant fleet, for which the caller needs both the fleet's
// action and that of the launches that it makes.
func (a *asker) createFleet(in *ec2.CreateFleetInput) {
	a.ask("ec2:CreateFleet", a.place.arn("ec2", "fleet/*"), nil)
	for _, c := range in.LaunchTemplateConfigs {
		l := launch{tags: map[string]map[string]string{}}
		s := c.LaunchTemplateSpecification
		if s == nil {
			continue
		}
		id, data := a.world.Template(&types.LaunchTemplateSpecification{LaunchTemplateId: s.LaunchTemplateId, LaunchTemplateName: s.LaunchTemplateName, Version: s.Version})
		if data != nil {
			l.template = id
			l.fromTemplate(data)
			a.ask("ec2:CreateFleet", a.resource(id), nil)
		}
		for _, o := range c.Overrides {
			l.subnets = given(l.subnets, aws.ToString(o.SubnetId))
		}
		for _, s := range in.TagSpecifications {
			l.specify(s.ResourceType, s.Tags)
		}
		a.launch("CreateFleet", &l)
	}
}

// launch asks for everything that a launch touches. (AWS documentation: Example
// policies to control access the Amazon EC2 API, "Launch instances (RunInstances)".)
func (a *asker) launch(creator string, l *launch) {
	context := func(kind string) map[string][]string {
		c := map[string][]string{}
		tagConditions(c, l.tags[kind])
		return c
	}
	run := func(resource string, c map[string][]string) { a.ask("ec2:RunInstances", resource, c) }
	for _, kind := range []string{"instance", "network-interface", "volume"} {
		run(a.place.arn("ec2", kind+"/*"), context(kind))
	}
	for _, list := range [][]string{l.images, l.subnets, l.groups} {
		slices.Sort(list)
		for _, id := range slices.Compact(list) {
			if arn := a.resource(id); arn != "" {
				run(arn, nil)
			}
		}
	}
	if l.template != "" {
		run(a.resource(l.template), nil)
	}
	if l.key != "" {
		run(a.place.arn("ec2", "key-pair/"+l.key), nil)
	}
	if l.placement != "" {
		run(a.place.arn("ec2", "placement-group/"+l.placement), nil)
	}
	if l.reservation != "" {
		run(a.resource(l.reservation), nil)
	}
	for _, kind := range []string{"instance", "network-interface", "volume", "spot-instances-request"} {
		if len(l.tags[kind]) > 0 {
			c := context(kind)
			c["ec2:createaction"] = []string{creator}
			a.ask("ec2:CreateTags", a.place.arn("ec2", kind+"/*"), c)
		}
	}
	if l.profile != "" {
		if role := a.world.ProfileRole(l.profile); role != "" {
			a.ask("iam:PassRole", role, map[string][]string{"iam:passedtoservice": {"ec2.amazonaws.com"}})
		}
	}
}
