package stack

import (
	"crypto/sha1"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pcluster/internal/cfn"
	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/node/spec"
)

// queueBuilder builds the nested stack of the queues. What it takes from the root
// stack becomes a parameter.
type queueBuilder struct {
	*builder
	t      *cfn.Template
	inputs inputs
}

// inputs are values of a root stack that a nested one uses.
type inputs struct {
	t      *cfn.Template
	values map[string]cfn.Text
}

// take returns the value inside of the nested stack: itself if it is plain text.
func (in *inputs) take(name string, value cfn.Text) cfn.Text {
	if _, plain := value.(string); plain {
		return value
	}
	if in.values == nil {
		in.values = map[string]cfn.Text{}
	}
	in.values[name] = value
	return in.t.Parameter(name, "").Ref()
}

// queues adds the nested stack with permissions, placement groups and launch
// templates of compute nodes. The head node launches by the templates' names.
//
// Queues with very much in them are spread over several stacks. Which one a queue
// is in depends on its name alone, so that it stays there when others come and go,
// unless the number of stacks changes.
func (b *builder) queues() {
	before := len(b.errs)
	for _, stacks := range []int{1, 4, 16} {
		b.errs, b.queueStacks = b.errs[:before], nil
		parts := b.queueParts(stacks)
		tooLarge := slices.ContainsFunc(parts, func(p queuePart) bool { return errors.Is(p.err, cfn.ErrLimit) })
		if tooLarge && stacks < 16 {
			continue
		}
		for _, p := range parts {
			if p.err != nil {
				b.errorf("stack %s: %w", p.id, p.err)
			}
			b.queueStacks = append(b.queueStacks, b.nestBody(p.id, p.body, p.inputs.values))
		}
		return
	}
}

// A queuePart is a nested stack of queues.
type queuePart struct {
	queueBuilder
	id   string
	body []byte
	err  error
}

// queueParts spreads the queues over a number of stacks, of which those without
// queues are left out.
func (b *builder) queueParts(stacks int) []queuePart {
	parts := make([]queuePart, stacks)
	for i := range b.c.Scheduling.SlurmQueues {
		q := &b.c.Scheduling.SlurmQueues[i]
		n := int(sha1.Sum([]byte(q.Name))[0]) % stacks
		p := &parts[n]
		if p.t == nil {
			p.id = "QueuesStack"
			if n > 0 {
				p.id += strconv.Itoa(n + 1)
			}
			p.queueBuilder = queueBuilder{builder: b, t: cfn.New("ParallelCluster " + b.p.ClusterName + ": queues")}
			p.inputs.t = p.t
		}
		p.queue(q)
	}
	parts = slices.DeleteFunc(parts, func(p queuePart) bool { return p.t == nil })
	for i := range parts {
		parts[i].body, parts[i].err = parts[i].t.JSON()
	}
	return parts
}

func (b *queueBuilder) queue(q *config.SlurmQueue) {
	profile := b.permissions(q)
	for i := range q.ComputeResources {
		r := &q.ComputeResources[i]
		var placement cfn.Text
		if g := b.builder.placementOf(q, r); g.Managed() {
			placement = b.t.Add("PlacementGroup"+hash16(q.Name+"-"+r.Name), cfn.PlacementGroup{Strategy: "cluster"}).Ref()
		} else {
			placement = optional(g.Existing())
		}
		b.t.Add(templateID(q, r), b.launchTemplate(q, r, profile, placement))
	}
}

// templateID is the logical ID of a compute resource's launch template.
func templateID(q *config.SlurmQueue, r *config.ComputeResource) string {
	return "LaunchTemplate" + hash16(q.Name+r.Name)
}

// placementOf returns the compute resource's placement group, if it has one.
func (b *builder) placementOf(q *config.SlurmQueue, r *config.ComputeResource) *config.PlacementGroup {
	return q.PlacementGroupOf(r)
}

// permissions adds role, policies and profile of a queue's nodes, as far as the
// file does not bring them, and returns the profile's name.
func (b *queueBuilder) permissions(q *config.SlurmQueue) cfn.Text {
	if q.Iam.InstanceProfile != "" {
		return lastPart(q.Iam.InstanceProfile)
	}
	suffix := hash16(q.Name)
	var role cfn.Text
	if q.Iam.InstanceRole != "" {
		role = lastPart(q.Iam.InstanceRole)
	} else {
		role = b.t.Add("Role"+suffix, b.nodeRole("Role"+suffix, q.Iam.AdditionalIamPolicies)).Ref()
		policies := b.policiesOf("queue "+q.Name, b.t, role)
		add := func(id, name string, statements []cfn.Statement) { policies(id+suffix, name, statements) }
		add("ParallelClusterPolicies", "parallelcluster", slices.Concat([]cfn.Statement{
			allow([]string{"s3:GetObject"}, b.programs()),
			b.ownRecord(),
		}, b.report(), b.startupTime(), b.mountEFS(func(r storageResource) cfn.Text { return b.inputs.take(r.handle.ID(), r.handle.Ref()) })))
		add("SlurmPolicies", "parallelcluster-slurm-compute", []cfn.Statement{
			allow([]string{"dynamodb:Query"}, b.arn("dynamodb", "table/"+NodeTable(b.p.ClusterName)+"/index/*")),
		})
		if len(q.Iam.S3Access) > 0 {
			add("S3AccessPolicies", "S3Access", b.s3Access(q.Iam.S3Access))
		}
	}
	return b.t.Add("InstanceProfile"+suffix, cfn.InstanceProfile{
		InstanceProfileName: b.iamName("InstanceProfile"+suffix, "AWS::IAM::InstanceProfile"), Path: b.nodePath(), Roles: []cfn.Text{role},
	}).Ref()
}

// types returns the instance types of a compute resource; a capacity reservation
// may say which.
func (b *builder) types(q *config.SlurmQueue, r *config.ComputeResource) []facts.InstanceType {
	names := r.InstanceTypes()
	if len(names) == 0 {
		if target := q.ReservationOf(r); target != nil {
			names = []string{b.f.Reservations[target.CapacityReservationId].InstanceType}
		}
	}
	var out []facts.InstanceType
	for _, n := range names {
		t := b.f.Types[n]
		t.Name = n
		out = append(out, t)
	}
	return out
}

func (b *queueBuilder) launchTemplate(q *config.SlurmQueue, r *config.ComputeResource, profile, placement cfn.Text) cfn.LaunchTemplate {
	kinds := b.types(q, r)
	ami := b.c.QueueAMI(q, b.official)
	if ami == "" {
		b.errorf("queue %s: there is no AMI for %s; give Image.CustomAmi", q.Name, b.c.Image.Os)
	}
	tags := b.nodeTags(compute, func(s *tagSet) {
		s.set(config.ToolTagPrefix+"queue-name", q.Name)
		s.set(config.ToolTagPrefix+"compute-resource-name", r.Name)
	}, q.Tags, r.Tags)
	efa := "NONE"
	if r.Efa.Enabled {
		efa = "true"
	}
	data := cfn.LaunchTemplateData{
		ImageId: ami, IamInstanceProfile: &cfn.InstanceProfileName{Name: profile},
		InstanceInitiatedShutdownBehavior: "terminate",
		MetadataOptions:                   b.metadata(),
		Monitoring:                        &cfn.MonitoringOption{Enabled: b.c.Monitoring.DetailedMonitoring},
		NetworkInterfaces:                 b.interfaces(q, r, kinds),
		BlockDeviceMappings:               b.disks(ami, q.ComputeSettings.LocalStorage.RootVolume, true),
		TagSpecifications: []cfn.TagSpecification{
			{ResourceType: "instance", Tags: b.instanceTags(tags, compute, kinds[0].Architecture(), efa)},
			{ResourceType: "volume", Tags: cfn.Tags(tags)},
		},
		UserData: b.userDataOf(q, r),
	}
	if o := r.LaunchTemplateOverrides; o != nil {
		data.NetworkInterfaces = b.overrides(q, r, *o)
	}
	if !r.Flexible() {
		data.InstanceType = kinds[0].Name
	}
	optimized := cfn.Bool(true)
	for _, k := range kinds {
		if ebsOptimized(k) == nil {
			optimized = nil
		}
	}
	data.EbsOptimized = optimized
	if placement != nil {
		data.Placement = &cfn.Placement{GroupName: placement}
	}
	switch q.CapacityType {
	case config.Spot:
		data.InstanceMarketOptions = &cfn.MarketOptions{MarketType: "spot", SpotOptions: &cfn.SpotOptions{
			SpotInstanceType: "one-time", InstanceInterruptionBehavior: "terminate"}}
		if r.SpotPrice != nil {
			data.InstanceMarketOptions.SpotOptions.MaxPrice = strconv.FormatFloat(*r.SpotPrice, 'f', -1, 64)
		}
	case config.CapacityBlock:
		data.InstanceMarketOptions = &cfn.MarketOptions{MarketType: "capacity-block"}
	}
	if target := q.ReservationOf(r); target != nil {
		data.CapacityReservationSpecification = &cfn.ReservationSpec{CapacityReservationTarget: cfn.ReservationTarget{
			CapacityReservationId: target.CapacityReservationId, CapacityReservationResourceGroupArn: target.CapacityReservationResourceGroupArn,
		}}
	}
	return cfn.LaunchTemplate{LaunchTemplateName: LaunchTemplateName(b.p.ClusterName, q.Name, r.Name), LaunchTemplateData: data, TagSpecifications: b.ofTemplate()}
}

// interfaces are one per network card of the type with the fewest. With EFA each
// card has an adapter: on the first card beside an ordinary interface, on others
// alone; or the two in one, if DevSettings.EfaInterfaceType asks for that.
func (b *queueBuilder) interfaces(q *config.SlurmQueue, r *config.ComputeResource, kinds []facts.InstanceType) []cfn.LaunchInterface {
	kind := kinds[0]
	for _, k := range kinds[1:] {
		if len(k.Cards()) < len(kind.Cards()) {
			kind = k
		}
	}
	cards := kind.Cards()
	// Of some types the first card takes no adapter: it is for all other traffic.
	plainFirst := kind.NetworkInfo.EfaInfo != nil && kind.NetworkInfo.EfaInfo.MaximumEfaInterfaces < len(cards)
	combined := b.c.DevSettings.EfaInterfaceType == "efa"
	var subnet cfn.Text
	if !r.Flexible() {
		subnet = q.Networking.SubnetIds[0] // of others the fleet request says
	}
	nodeGroups := b.groupsOf(q)
	var out []cfn.LaunchInterface
	for i, card := range cards {
		n := cfn.LaunchInterface{NetworkCardIndex: cfn.Int(card.NetworkCardIndex), SubnetId: subnet, Groups: nodeGroups}
		if i > 0 {
			n.DeviceIndex = cardDevice(card)
		}
		separate := false
		switch {
		case !r.Efa.Enabled, i == 0 && plainFirst:
		case combined, i == 0 && card.MaximumNetworkInterfaces == 1:
			n.InterfaceType = "efa"
		case i == 0:
			separate = true
		default:
			n.InterfaceType = "efa-only"
		}
		if i == 0 {
			n.AssociatePublicIpAddress = q.Networking.AssignPublicIp
		} else if n.InterfaceType != "efa-only" {
			n.AssociatePublicIpAddress = cfn.Bool(false)
		}
		out = append(out, n)
		if separate {
			out = append(out, cfn.LaunchInterface{
				DeviceIndex: 1, NetworkCardIndex: n.NetworkCardIndex, InterfaceType: "efa-only", SubnetId: subnet, Groups: nodeGroups,
			})
		}
	}
	return out
}

// overrides are the network interfaces of the user's launch template, which replace
// ours as a whole. It may set nothing else.
func (b *queueBuilder) overrides(q *config.SlurmQueue, r *config.ComputeResource, o config.LaunchTemplateOverrides) []cfn.LaunchInterface {
	theirs := b.f.Templates[o]
	where := fmt.Sprintf("queue %s, compute resource %s: version %d of launch template %s", q.Name, r.Name, o.Version, o.LaunchTemplateId)
	if len(theirs.Interfaces) == 0 {
		b.errorf("%s has no network interfaces", where)
	}
	if len(theirs.Others) > 0 {
		b.errorf("%s may set network interfaces only, but it sets %s, too", where, strings.Join(theirs.Others, ", "))
	}
	var out []cfn.LaunchInterface
	for _, n := range theirs.Interfaces {
		out = append(out, cfn.LaunchInterface{
			DeviceIndex: n.DeviceIndex, NetworkCardIndex: cfn.Int(n.NetworkCardIndex), InterfaceType: n.InterfaceType,
			SubnetId: optional(n.Subnet), Groups: ids(n.Groups), AssociatePublicIpAddress: n.PublicIP,
		})
	}
	return out
}

// groupsOf returns the security groups of a queue's nodes.
func (b *queueBuilder) groupsOf(q *config.SlurmQueue) groups {
	if len(q.Networking.SecurityGroups) > 0 {
		return ids(q.Networking.SecurityGroups)
	}
	managed := groups{b.inputs.take("ComputeSecurityGroup", b.computeGroup.Att(cfn.GroupID))}
	return managed.union(ids(q.Networking.AdditionalSecurityGroups))
}

// userDataOf tells a compute node what its resource's nodes have in common; its
// name it learns when it runs.
func (b *queueBuilder) userDataOf(q *config.SlurmQueue, r *config.ComputeResource) cfn.Text {
	n := b.common(spec.Compute)
	n.Queue, n.ComputeResource, n.LaunchTemplateID = q.Name, r.Name, templateID(q, r)
	n.EnableEFA = "NONE"
	if r.Efa.Enabled {
		n.EnableEFA = "efa"
	}
	member := b.memberScript(&b.inputs, n, q.Networking.Proxy.HttpProxyAddress)
	member.oneThread = r.DisableSimultaneousMultithreading
	return b.userData(member)
}

// memberScript is the user data of nodes other than the head, who have to find it.
func (b *builder) memberScript(in *inputs, n spec.Node, proxy string) script {
	values := map[string]cfn.Text{}
	fill := func(name string, value cfn.Text) string {
		v := in.take(name, value)
		if text, plain := v.(string); plain {
			return text
		}
		values[name] = v
		return variable(name)
	}
	n.HeadNodePrivateIP = fill("HeadNodePrivateIp", b.eni.Att(cfn.PrimaryPrivateIP))
	if b.zone != nil {
		n.HostedZone = fill("HostedZone", b.zone)
	}
	for _, s := range b.storage {
		if s.name == spec.InternalStorage {
			n.InternalFileSystem = fill(s.handle.ID(), s.handle.Ref())
		}
	}
	return script{
		node: n, values: values, proxy: proxy, timeout: b.c.DevSettings.Timeouts.ComputeNodeBootstrapTimeout, onFailure: powerOff,
	}
}
