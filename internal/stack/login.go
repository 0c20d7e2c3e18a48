package stack

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"pcluster/internal/cfn"
	"pcluster/internal/config"
	"pcluster/internal/node/spec"
)

// poolBuilder builds the nested stack of login nodes.
type poolBuilder struct {
	*builder
	t      *cfn.Template
	inputs inputs
}

// loginNeeds notes what login nodes come after and go before: until their users are
// gone, file systems and the way to them have to be there.
func (b *builder) loginNeeds(more ...cfn.Handle) { b.beforeLogin = append(b.beforeLogin, more...) }

// loginNodes adds the nested stack with permissions, launch template, load
// balancer and Auto Scaling group of each pool. It comes after the head node, and
// goes before the fleet is ended, so that no group replaces what that ends.
func (b *builder) loginNodes() {
	if len(b.pools()) == 0 {
		return
	}
	l := &poolBuilder{builder: b, t: cfn.New("ParallelCluster " + b.p.ClusterName + ": login nodes")}
	l.inputs.t = l.t
	for i := range b.c.LoginNodes.Pools {
		l.pool(&b.c.LoginNodes.Pools[i])
	}
	b.nest("LoginNodesStack", l.t, l.inputs.values, cfn.DependsOn(append(b.beforeLogin, b.head, b.fleetEnd)...))
}

// Names that nodes and commands find a pool by.
func groupName(cluster, pool string) string { return cluster + "-" + pool + "-AutoScalingGroup" }
func hookName(cluster, pool, transition string) string {
	return cluster + "-" + pool + "-LoginNodes" + transition + "LifecycleHook"
}

// loginTemplateID is the logical ID of a pool's launch template.
func loginTemplateID(p *config.LoginPool) string { return "LoginNodeLaunchTemplate" + hash16(p.Name) }

// targetGroupName is short enough for a target group, and still the pool's own.
func targetGroupName(cluster, pool string) string {
	sum := sha256.Sum256([]byte(cluster + pool))
	return strings.Trim(cluster[:min(7, len(cluster))], "-") + "-" + strings.Trim(pool[:min(7, len(pool))], "-") + "-" + hex.EncodeToString(sum[:])[:16]
}

func (b *poolBuilder) pool(p *config.LoginPool) {
	suffix := hash16(p.Name)
	tags := cfn.Tags{{Key: config.ToolTagPrefix + "login-nodes-pool", Value: p.Name}}
	profile, policies := b.permissions(p)
	template := b.t.Add(loginTemplateID(p), b.launchTemplate(p, profile))

	target := b.t.Add("TargetGroup"+suffix, cfn.TargetGroup{
		Name: targetGroupName(b.p.ClusterName, p.Name), Protocol: "TCP", Port: 22, TargetType: "instance",
		HealthCheckProtocol: "TCP", HealthCheckPort: "22", VpcId: b.f.VPC(b.c), Tags: tags,
	})
	scheme := "internal"
	if b.f.InternetFacing[p.Networking.SubnetIds[0]] {
		scheme = "internet-facing"
	}
	balancer := b.t.Add("LoadBalancer"+suffix, cfn.LoadBalancer{
		Type: "network", Scheme: scheme, Subnets: ids(p.Networking.SubnetIds), SecurityGroups: b.balancerGroups(p), Tags: tags,
	})
	listener := b.t.Add("Listener"+suffix, cfn.Listener{
		LoadBalancerArn: balancer.Ref(), Port: 22, Protocol: "TCP",
		DefaultActions: []cfn.ListenerAction{{Type: "forward", TargetGroupArn: target.Ref()}},
	})
	count := strconv.Itoa(p.Count)
	hook := func(transition, event string, seconds int) cfn.LifecycleHook {
		return cfn.LifecycleHook{
			LifecycleHookName: hookName(b.p.ClusterName, p.Name, transition), LifecycleTransition: event, HeartbeatTimeout: seconds, DefaultResult: "ABANDON",
		}
	}
	b.t.Add("AutoScalingGroup"+suffix, cfn.AutoScalingGroup{
		AutoScalingGroupName: groupName(b.p.ClusterName, p.Name), MinSize: count, MaxSize: count, DesiredCapacity: count,
		LaunchTemplate:    cfn.LaunchTemplateVersion{LaunchTemplateId: template.Ref(), Version: template.Att(cfn.LatestVersionNumber)},
		VPCZoneIdentifier: ids(p.Networking.SubnetIds), TargetGroupARNs: []cfn.Text{target.Ref()},
		LifecycleHookSpecificationList: []cfn.LifecycleHook{
			hook("Launching", "autoscaling:EC2_INSTANCE_LAUNCHING", 600),
			hook("Terminating", "autoscaling:EC2_INSTANCE_TERMINATING", p.GracetimePeriod*60),
		},
		Tags: []cfn.GroupTag{{Key: tags[0].Key, Value: p.Name}},
	}, cfn.DependsOn(append(policies, listener)...)) // nodes need their permissions to the end
}

// permissions adds role, policy and profile of a pool, as far as the file does not
// bring them, and returns the profile's name and the policy.
func (b *poolBuilder) permissions(p *config.LoginPool) (profile cfn.Text, policies []cfn.Handle) {
	if p.Iam.InstanceProfile != "" {
		return lastPart(p.Iam.InstanceProfile), nil
	}
	suffix := hash16(p.Name)
	role := cfn.Text(lastPart(p.Iam.InstanceRole))
	if p.Iam.InstanceRole == "" {
		role = b.t.Add("Role"+suffix, b.nodeRole("Role"+suffix, p.Iam.AdditionalIamPolicies)).Ref()
		statements := []cfn.Statement{
			allow([]string{"s3:GetObject"}, b.programs()),
			allow([]string{"autoscaling:CompleteLifecycleAction"},
				b.arn("autoscaling", "autoScalingGroup:*:autoScalingGroupName/"+groupName(b.p.ClusterName, p.Name))),
			b.ownRecord(),
		}
		statements = append(statements, b.report()...)
		if p.Dcv.Enabled {
			statements = append(statements, allow([]string{"s3:GetObject"}, "arn:"+b.p.Partition+":s3:::dcv-license."+b.p.Region+"/*"))
		}
		statements = append(statements, b.mountEFS(func(r storageResource) cfn.Text { return b.inputs.take(r.handle.ID(), r.handle.Ref()) })...)
		add := b.policiesOf("login pool "+p.Name, b.t, role)
		policies = append(policies, add("ParallelClusterPolicies"+suffix, "parallelcluster", statements))
	}
	profile = b.t.Add("InstanceProfile"+suffix, cfn.InstanceProfile{
		InstanceProfileName: b.iamName("InstanceProfile"+suffix, "AWS::IAM::InstanceProfile"), Path: b.nodePath(), Roles: []cfn.Text{role},
	}).Ref()
	return profile, policies
}

// groupsOf returns the security groups of a pool's nodes.
func (b *poolBuilder) groupsOf(p *config.LoginPool) groups {
	managed, ok := b.builder.loginGroups[p.Name]
	if !ok {
		return ids(p.Networking.SecurityGroups)
	}
	own := groups{b.inputs.take(plain(p.Name)+"SecurityGroup", managed.Att(cfn.GroupID))}
	return own.union(ids(p.Networking.AdditionalSecurityGroups))
}

// balancerGroups returns the security groups of a pool's load balancer: the pool's
// own, or a managed one that people come in by and that the nodes admit.
func (b *poolBuilder) balancerGroups(p *config.LoginPool) groups {
	if isolated(b.p.Region) {
		return nil // load balancers have none there
	}
	managed, ok := b.builder.loginGroups[p.Name]
	if !ok {
		return ids(p.Networking.SecurityGroups)
	}
	suffix := hash16(p.Name)
	group := b.t.Add("LoadBalancerSecurityGroup"+suffix, cfn.SecurityGroup{
		GroupDescription: "Enable access to the load balancer of login nodes", VpcId: b.f.VPC(b.c),
		SecurityGroupIngress: entry(p.Ssh.AllowedIps, config.Dcv{}),
	})
	b.t.Add("LoginNodesIngressLoadBalancer"+suffix, cfn.SecurityGroupIngress{
		GroupId: b.inputs.take(plain(p.Name)+"SecurityGroup", managed.Att(cfn.GroupID)), IpProtocol: "-1", SourceSecurityGroupId: group.Att(cfn.GroupID),
	})
	return groups{group.Att(cfn.GroupID)}.union(ids(p.Networking.AdditionalSecurityGroups))
}

func (b *poolBuilder) launchTemplate(p *config.LoginPool, profile cfn.Text) cfn.LaunchTemplate {
	ami := b.c.LoginAMI(p, b.official)
	if ami == "" {
		b.errorf("login pool %s: there is no AMI for %s; give Image.CustomAmi", p.Name, b.c.Image.Os)
	}
	kind := b.f.Types[p.InstanceType]
	tags := b.nodeTags(loginNode, func(s *tagSet) { s.set(config.ToolTagPrefix+"login-nodes-pool-name", p.Name) })
	n := b.common(spec.Login)
	n.Pool, n.LaunchTemplateID = p.Name, loginTemplateID(p)
	n.ScalingGroup = groupName(b.p.ClusterName, p.Name)
	n.LaunchingHook, n.TerminatingHook = hookName(b.p.ClusterName, p.Name, "Launching"), hookName(b.p.ClusterName, p.Name, "Terminating")
	return cfn.LaunchTemplate{
		LaunchTemplateName: b.p.ClusterName + "-" + p.Name,
		TagSpecifications:  b.ofTemplate(),
		LaunchTemplateData: cfn.LaunchTemplateData{
			ImageId: ami, InstanceType: p.InstanceType, KeyName: b.c.HeadNode.Ssh.KeyName,
			IamInstanceProfile: &cfn.InstanceProfileName{Name: profile},
			MetadataOptions:    b.metadata(),
			NetworkInterfaces:  []cfn.LaunchInterface{{DeviceIndex: 0, SubnetId: p.Networking.SubnetIds[0], Groups: b.groupsOf(p)}},
			BlockDeviceMappings: b.disks(ami, config.RootVolume{
				Encrypted: true, VolumeType: "gp3", Iops: cfn.Int(3000), Throughput: cfn.Int(125),
			}, true),
			TagSpecifications: []cfn.TagSpecification{
				{ResourceType: "instance", Tags: b.instanceTags(tags, loginNode, kind.Architecture(), "NONE")},
				{ResourceType: "volume", Tags: cfn.Tags(tags)},
			},
			UserData: b.userData(b.memberScript(&b.inputs, n, p.Networking.Proxy.HttpProxyAddress)),
		},
	}
}
