package stack

import (
	"slices"
	"strings"

	"pcluster/internal/cfn"
	"pcluster/internal/config"
)

// allow returns a statement.
func allow(actions []string, resources ...cfn.Text) cfn.Statement {
	return cfn.Statement{Action: actions, Resource: resources}
}

// when adds a condition to a statement.
func when(s cfn.Statement, test string, pairs map[string]cfn.Text) cfn.Statement {
	if s.Condition == nil {
		s.Condition = map[string]map[string]cfn.Text{}
	}
	s.Condition[test] = pairs
	return s
}

// trust lets a service take a role.
func trust(service string) cfn.PolicyDocument {
	return cfn.Allow(cfn.Statement{Action: []string{"sts:AssumeRole"}, Principal: map[string]cfn.Text{"Service": service}})
}

// instances trusts EC2, whose name ends in the partition's suffix.
func (b *builder) instances() cfn.PolicyDocument { return trust("ec2." + b.urlSuffix()) }

// role returns a role for a kind of nodes.
func (b *builder) nodeRole(id string, policies []config.IamPolicy) cfn.Role {
	var managed []cfn.Text
	for _, p := range policies {
		if !slices.Contains(managed, cfn.Text(p.Policy)) {
			managed = append(managed, p.Policy)
		}
	}
	return cfn.Role{
		RoleName: b.iamName(id, "AWS::IAM::Role"), Path: b.nodePath(), AssumeRolePolicyDocument: b.instances(),
		ManagedPolicyArns: managed, PermissionsBoundary: b.c.Iam.PermissionsBoundary,
	}
}

// report is what nodes of every kind need to write their logs, and metrics of an
// agent that the user runs: to the cluster's log group and to the agent's namespaces.
func (b *builder) report() []cfn.Statement {
	if !b.logging() {
		return nil
	}
	group := b.arn("logs", "log-group:"+b.logGroup)
	return []cfn.Statement{
		allow([]string{"logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"}, group, group+":*"),
		measure("CWAgent", metricNamespace),
	}
}

// startupTime is what compute nodes need to publish how long they took, where they may
// not report anything else.
func (b *builder) startupTime() []cfn.Statement {
	if b.logging() || !b.c.DevSettings.ComputeStartupTimeMetricEnabled {
		return nil
	}
	return []cfn.Statement{measure(metricNamespace)}
}

// measure allows to publish metrics in some namespaces.
func measure(namespaces ...string) cfn.Statement {
	return when(allow([]string{"cloudwatch:PutMetricData"}, "*"), "StringEquals", map[string]cfn.Text{"cloudwatch:namespace": namespaces})
}

// ownRecord lets a node say which configuration it has, and change nothing else in
// the table, the state of the fleet above all.
func (b *builder) ownRecord() cfn.Statement {
	return when(allow([]string{"dynamodb:PutItem"}, b.arn("dynamodb", "table/"+StateTable(b.p.ClusterName))),
		"ForAllValues:StringLike", map[string]cfn.Text{"dynamodb:LeadingKeys": []string{"CLUSTER_CONFIG.*"}})
}

// policyName returns a policy's name, which has the prefix if there is one.
func (b *builder) policyName(name string) cfn.Text {
	if n := b.iamName(name, "AWS::IAM::Policy"); n != nil {
		return n
	}
	return name
}

// maxInline is how many characters, without blanks, IAM takes in all inline policies
// of a role.
const maxInline = 10240

// policiesOf returns a function that adds inline policies to a role, as long as IAM
// takes them.
func (b *builder) policiesOf(who string, t *cfn.Template, role cfn.Text) func(id, name string, statements []cfn.Statement) cfn.Handle {
	total := 0
	return func(id, name string, statements []cfn.Statement) cfn.Handle {
		document := cfn.Allow(statements...)
		text, err := cfn.JSON(document) // about: references are longer than what they become
		if err != nil {
			b.errorf("policy %s: %w", name, err)
		}
		if before := total; before <= maxInline {
			if total += len(text); total > maxInline {
				b.errorf("the role of %s needs policies of more than the %d characters that IAM takes: use fewer different subnets, security groups, "+
					"AMIs, roles, reservations or S3Access entries, or give a role of your own in Iam.InstanceRole", who, maxInline)
			}
		}
		return t.Add(id, cfn.Policy{PolicyName: b.policyName(name), PolicyDocument: document, Roles: []cfn.Text{role}})
	}
}

// lastPart returns what follows the last slash of an ARN: a role's or profile's name.
func lastPart(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// s3Access returns what S3Access grants.
func (b *builder) s3Access(list []config.S3Access) []cfn.Statement {
	read := []string{"s3:Get*", "s3:List*"}
	write := []string{"s3:Get*", "s3:List*", "s3:PutObject*", "s3:DeleteObject*", "s3:AbortMultipartUpload", "s3:RestoreObject"}
	var out []cfn.Statement
	for _, a := range list {
		bucket := "arn:" + b.p.Partition + ":s3:::" + a.BucketName
		resources := []cfn.Text{bucket, bucket + "/*"}
		if a.KeyName != "" {
			resources = []cfn.Text{bucket + "/" + a.KeyName}
		}
		actions := read
		if a.EnableWriteAccess {
			actions = write
		}
		out = append(out, allow(actions, resources...))
	}
	return out
}

// mountEFS returns what mounting with IAM takes, if any file system asks for it.
// ids gives the IDs of managed file systems.
func (b *builder) mountEFS(id func(storageResource) cfn.Text) []cfn.Statement {
	var arns []cfn.Text
	for i := range b.c.SharedStorage {
		s := &b.c.SharedStorage[i]
		if s.StorageType != config.Efs || !s.EfsSettings.IamAuthorization {
			continue
		}
		prefix := b.arn("elasticfilesystem", "file-system/")
		if !s.Managed() {
			arns = append(arns, prefix+s.ExistingID())
			continue
		}
		for _, r := range b.storage {
			if r.name == s.Name {
				arns = append(arns, cfn.Join("", prefix, id(r)))
			}
		}
	}
	if arns == nil {
		return nil
	}
	return []cfn.Statement{allow([]string{
		"elasticfilesystem:ClientMount", "elasticfilesystem:ClientRootAccess", "elasticfilesystem:ClientWrite"}, arns...)}
}

// programs is the node program in the bucket, which nodes fetch if the AMI lacks it.
func (b *builder) programs() cfn.Text {
	return "arn:" + b.p.Partition + ":s3:::" + b.p.Bucket + "/parallelcluster/" + config.ToolVersion + "/programs/*"
}

// headPermissions adds the head node's role, its policies and its profile, as far
// as the file does not bring them.
func (b *builder) headPermissions() {
	iam := b.c.HeadNode.Iam
	if iam.InstanceProfile != "" {
		b.headProfile = lastPart(iam.InstanceProfile)
		return
	}
	var role cfn.Text
	if iam.InstanceRole != "" {
		role = lastPart(iam.InstanceRole)
	} else {
		role = b.t.Add("RoleHeadNode", b.nodeRole("RoleHeadNode", iam.AdditionalIamPolicies)).Ref()
		policies := b.policiesOf("the head node", b.t, role)
		add := func(id, name string, statements []cfn.Statement) {
			b.headPolicies = append(b.headPolicies, policies(id, name, statements))
		}
		statements := b.headStatements
		if b.batch() {
			statements = b.batchHeadStatements
		}
		add("ParallelClusterPoliciesHeadNode", "parallelcluster", statements())
		if !b.batch() {
			add("SlurmPoliciesHeadNode", "parallelcluster-slurm-head-node", []cfn.Statement{allow(
				[]string{"dynamodb:BatchGetItem", "dynamodb:BatchWriteItem"}, b.nodeTable.Att(cfn.Arn))})
		}
		if b.zone != nil {
			add("ParallelClusterSlurmRoute53Policies", "parallelcluster-slurm-route53", []cfn.Statement{allow(
				[]string{"route53:ChangeResourceRecordSets"}, cfn.Join("", "arn:"+b.p.Partition+":route53:::hostedzone/", b.zone))})
		}
		if len(iam.S3Access) > 0 {
			add("S3AccessPoliciesHeadNode", "S3Access", b.s3Access(iam.S3Access))
		}
		if mount := b.mountEFS(func(r storageResource) cfn.Text { return r.handle.Ref() }); mount != nil {
			// The head node does not wait for this one, which waits for file systems.
			policies("EFSPoliciesHeadNode", "parallelcluster-efs", mount)
		}
		if b.batch() {
			// Nor does it wait for the job queue, without which it is ready but for jobs.
			policies("ParallelClusterBatchPoliciesHeadNode", "parallelcluster-awsbatch-head-node", b.jobStatements())
		}
	}
	b.headProfile = b.t.Add("InstanceProfileHeadNode", cfn.InstanceProfile{
		InstanceProfileName: b.iamName("InstanceProfileHeadNode", "AWS::IAM::InstanceProfile"), Path: b.nodePath(), Roles: []cfn.Text{role},
	}).Ref()
}

// headStatements are what the head node may do: watch its instances, launch and
// end compute nodes, attach the cluster's volumes, and read its own artifacts.
func (b *builder) headStatements() []cfn.Statement {
	cluster := map[string]cfn.Text{"aws:ResourceTag/" + config.ToolTagPrefix + "cluster-name": b.p.ClusterName}
	fleet := map[string]cfn.Text{
		"aws:ResourceTag/" + config.ToolTagPrefix + "cluster-name": b.p.ClusterName,
		"aws:ResourceTag/" + config.ToolTagPrefix + "node-type":    compute,
	}
	bucket := "arn:" + b.p.Partition + ":s3:::" + b.p.Bucket
	s := []cfn.Statement{
		allow([]string{"ec2:DescribeInstances", "ec2:DescribeInstanceStatus"}, "*"),
		when(allow([]string{"ec2:CreateTags"}, b.arn("ec2", "*/*")), "StringEquals", map[string]cfn.Text{"ec2:CreateAction": []string{"RunInstances", "CreateFleet"}}),
		allow([]string{"s3:GetObject", "s3:GetObjectVersion"}, bucket+"/"+b.p.ArtifactDir+"/*"),
		allow([]string{"s3:GetObject"}, b.programs()),
		when(allow([]string{"ec2:TerminateInstances"}, b.arn("ec2", "instance/*")), "StringEquals", fleet),
		allow([]string{"ec2:RunInstances", "ec2:CreateFleet"}, b.launchResources()...),
		when(allow([]string{"ec2:RunInstances", "ec2:CreateFleet"}, b.arn("ec2", "launch-template/*")), "StringEquals", cluster),
		when(allow([]string{"iam:PassRole"}, b.passedRoles()...), "StringEquals", map[string]cfn.Text{"iam:PassedToService": "ec2." + b.urlSuffix()}),
		allow([]string{"dynamodb:UpdateItem", "dynamodb:PutItem", "dynamodb:GetItem"}, b.stateTable.Att(cfn.Arn)),
	}
	s = append(s, b.findStorage()...)
	s = append(s, b.attachVolumes()...)
	s = append(s, b.report()...)
	if b.c.HeadNode.Dcv.Enabled {
		s = append(s, allow([]string{"s3:GetObject"}, "arn:"+b.p.Partition+":s3:::dcv-license."+b.p.Region+"/*"))
	}
	if b.logging() {
		s = append(s, when(allow([]string{"ec2:GetConsoleOutput"}, b.arn("ec2", "instance/*")), "StringEquals", fleet))
	}
	s = append(s, b.reservationStatements()...)
	settings := b.c.Scheduling.SlurmSettings
	var secrets []cfn.Text
	secret := func(arn string) {
		if arn == "" || slices.Contains(secrets, cfn.Text(arn)) {
			return
		}
		secrets = append(secrets, arn)
		action := "secretsmanager:GetSecretValue"
		if parts := strings.Split(arn, ":"); len(parts) > 2 && parts[2] == "ssm" {
			action = "ssm:GetParameter"
		}
		s = append(s, allow([]string{action}, arn))
	}
	secret(settings.MungeKeySecretArn)
	if settings.Database != nil {
		secret(settings.Database.PasswordSecretArn)
	}
	if b.c.DirectoryService != nil {
		secret(b.c.DirectoryService.PasswordSecretArn)
	}
	return s
}

// findStorage lets the head node, which may be there before its storage is, ask the
// stack for IDs and FSx for what mounting takes.
func (b *builder) findStorage() []cfn.Statement {
	var out []cfn.Statement
	var fsx []string
	managed := b.c.HeadNode.SharedStorageType == config.Efs
	for i := range b.c.SharedStorage {
		s := &b.c.SharedStorage[i]
		managed = managed || s.Managed()
		switch s.StorageType {
		case config.FsxLustre:
			fsx = append(fsx, "fsx:DescribeFileSystems")
		case config.FsxOpenZfs:
			fsx = append(fsx, "fsx:DescribeFileSystems", "fsx:DescribeVolumes")
		case config.FsxOntap:
			fsx = append(fsx, "fsx:DescribeStorageVirtualMachines", "fsx:DescribeVolumes")
		case config.FileCache:
			fsx = append(fsx, "fsx:DescribeFileCaches")
		}
	}
	if managed {
		out = append(out, allow([]string{"cloudformation:DescribeStackResource"}, cfn.StackID))
	}
	if slices.Sort(fsx); fsx != nil {
		out = append(out, allow(slices.Compact(fsx), "*"))
	}
	return out
}

// attachVolumes lets the head node attach shared volumes to itself: those of the
// stack, which have its tag, and those that the file names.
func (b *builder) attachVolumes() []cfn.Statement {
	var named []cfn.Text
	shared := false
	for i := range b.c.SharedStorage {
		s := &b.c.SharedStorage[i]
		if s.StorageType != config.Ebs {
			continue
		}
		if shared = true; !s.Managed() {
			named = append(named, b.arn("ec2", "volume/"+s.ExistingID()))
		}
	}
	if !shared {
		return nil
	}
	actions := []string{"ec2:AttachVolume"}
	own := map[string]cfn.Text{"aws:ResourceTag/" + config.ToolTagPrefix + "cluster-name": b.p.ClusterName}
	out := []cfn.Statement{
		allow([]string{"ec2:DescribeVolumes"}, "*"),
		when(allow(actions, b.arn("ec2", "instance/*"), b.arn("ec2", "volume/*")), "StringEquals", own),
	}
	if named != nil {
		out = append(out, allow(actions, named...))
	}
	return out
}

// launchResources are what a launch of compute nodes touches.
func (b *builder) launchResources() []cfn.Text {
	subnets, all := b.computeSubnets(), b.computeGroups()
	for _, q := range b.c.Scheduling.SlurmQueues {
		all = all.union(ids(q.Networking.AdditionalSecurityGroups))
		for _, r := range q.ComputeResources {
			if o := r.LaunchTemplateOverrides; o != nil {
				for _, n := range b.f.Templates[*o].Interfaces {
					all = all.union(ids(n.Groups))
					if n.Subnet != "" {
						subnets = append(subnets, n.Subnet)
					}
				}
			}
		}
	}
	var out []cfn.Text
	slices.Sort(subnets)
	for _, id := range slices.Compact(subnets) {
		out = append(out, b.arn("ec2", "subnet/"+id))
	}
	for _, kind := range []string{"fleet", "network-interface", "instance", "volume", "placement-group"} {
		out = append(out, b.arn("ec2", kind+"/*"))
	}
	for _, group := range all {
		if id, plain := group.(string); plain {
			out = append(out, b.arn("ec2", "security-group/"+id))
		} else {
			out = append(out, cfn.Join("", b.arn("ec2", "security-group/"), group))
		}
	}
	var images []string
	for i := range b.c.Scheduling.SlurmQueues {
		images = append(images, b.c.QueueAMI(&b.c.Scheduling.SlurmQueues[i], b.official))
	}
	slices.Sort(images)
	for _, ami := range slices.Compact(images) {
		out = append(out, "arn:"+b.p.Partition+":ec2:"+b.p.Region+"::image/"+ami)
	}
	return out
}

// passedRoles are the roles of compute nodes: those of the stack, and those that
// the file gives to queues.
func (b *builder) passedRoles() []cfn.Text {
	var custom []string
	managed := false
	for _, q := range b.c.Scheduling.SlurmQueues {
		switch {
		case q.Iam.InstanceRole != "":
			custom = append(custom, q.Iam.InstanceRole)
		case q.Iam.InstanceProfile != "":
			custom = append(custom, "arn:"+b.p.Partition+":iam::"+b.p.Account+":role/*") // which role it holds is not known here
		default:
			managed = true
		}
	}
	slices.Sort(custom)
	var out []cfn.Text
	for _, arn := range slices.Compact(custom) {
		out = append(out, arn)
	}
	if managed {
		_, name := b.iamPrefix()
		out = append(out, "arn:"+b.p.Partition+":iam::"+b.p.Account+":role"+b.nodePath()+name+"*")
	}
	return out
}

// reservationStatements let the head node launch in capacity reservations.
func (b *builder) reservationStatements() []cfn.Statement {
	var single, grouped []string
	blocks := false
	for _, q := range b.c.Scheduling.SlurmQueues {
		blocks = blocks || q.CapacityType == config.CapacityBlock
		for i := range q.ComputeResources {
			if r := q.ReservationOf(&q.ComputeResources[i]); r != nil && r.CapacityReservationId != "" {
				single = append(single, r.CapacityReservationId)
			} else if r != nil {
				grouped = append(grouped, r.CapacityReservationResourceGroupArn)
			}
		}
	}
	slices.Sort(single)
	slices.Sort(grouped)
	var out []cfn.Statement
	if blocks {
		out = append(out, allow([]string{"ec2:DescribeCapacityReservations"}, "*"))
	}
	if single = slices.Compact(single); len(single) > 0 {
		var arns []cfn.Text
		for _, id := range single {
			arns = append(arns, b.arn("ec2", "capacity-reservation/"+id))
		}
		out = append(out, allow([]string{"ec2:RunInstances"}, arns...))
	}
	if grouped = slices.Compact(grouped); len(grouped) > 0 {
		var arns []cfn.Text
		for _, arn := range grouped {
			arns = append(arns, arn)
		}
		out = append(out, allow([]string{"ec2:RunInstances", "ec2:CreateFleet", "resource-groups:ListGroupResources"}, arns...))
	}
	return out
}
