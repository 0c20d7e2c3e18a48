package stack

import (
	"fmt"
	"slices"
	"strconv"

	"pcluster/internal/cfn"
	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/node/spec"
)

// headTemplate is the logical ID of the head node's launch template.
const headTemplate = "HeadNodeLaunchTemplate"

// headNode adds the head node with its launch template, and the wait condition
// that the node signals when it is ready.
func (b *builder) headNode() {
	handle := b.t.Add("HeadNodeWaitConditionHandle"+b.p.Timestamp, cfn.WaitConditionHandle{})

	h := b.c.HeadNode
	kind := b.f.Types[h.InstanceType]
	tags := b.nodeTags(headNode, nil)
	root := h.LocalStorage.RootVolume
	ami := b.c.HeadAMI(b.official)
	if ami == "" {
		b.errorf("head node: there is no AMI for %s; give Image.CustomAmi", b.c.Image.Os)
	}
	data := cfn.LaunchTemplateData{
		ImageId: ami, InstanceType: h.InstanceType, KeyName: h.Ssh.KeyName,
		EbsOptimized:        ebsOptimized(kind),
		IamInstanceProfile:  &cfn.InstanceProfileName{Name: b.headProfile},
		MetadataOptions:     b.metadata(),
		NetworkInterfaces:   b.headInterfaces(kind),
		BlockDeviceMappings: b.disks(ami, root.RootVolume, root.DeleteOnTermination),
		TagSpecifications: []cfn.TagSpecification{
			{ResourceType: "volume", Tags: cfn.Tags(tags)},
		},
		UserData: b.headUserData(handle),
	}
	template := b.t.Add(headTemplate, cfn.LaunchTemplate{LaunchTemplateData: data, TagSpecifications: b.ofTemplate()})
	before := slices.Clone(b.headPolicies)
	for _, st := range b.storage {
		before = append(before, st.volumes...) // which can't be deleted while the node has them
	}
	b.head = b.t.Add("HeadNode", cfn.Instance{
		LaunchTemplate: cfn.LaunchTemplateVersion{LaunchTemplateId: template.Ref(), Version: template.Att(cfn.LatestVersionNumber)},
		Tags:           b.instanceTags(tags, headNode, kind.Architecture(), "NONE"),
	}, cfn.DependsOn(before...))

	b.headReady = b.t.Add("HeadNodeWaitCondition"+b.p.Timestamp, cfn.WaitCondition{
		Count: 1, Handle: handle.Ref(), Timeout: strconv.Itoa(b.c.DevSettings.Timeouts.HeadNodeBootstrapTimeout),
	}, cfn.DependsOn(b.head)) // so that the clock starts with the node
}

func ebsOptimized(t facts.InstanceType) *bool {
	if s := t.EbsInfo.EbsOptimizedSupport; s == "supported" || s == "default" {
		return cfn.Bool(true)
	}
	return nil
}

func (b *builder) metadata() *cfn.MetadataOptions {
	if b.c.Imds.ImdsSupport == "v1.0" {
		return &cfn.MetadataOptions{HttpTokens: "optional"}
	}
	return &cfn.MetadataOptions{HttpTokens: "required"}
}

// headInterfaces are the interface that is there already and one on each further
// network card.
func (b *builder) headInterfaces(t facts.InstanceType) []cfn.LaunchInterface {
	out := []cfn.LaunchInterface{{DeviceIndex: 0, NetworkInterfaceId: b.eni.Ref()}}
	all := b.headGroups().union(ids(b.c.HeadNode.Networking.AdditionalSecurityGroups))
	for _, card := range t.Cards()[1:] {
		out = append(out, cfn.LaunchInterface{
			DeviceIndex: cardDevice(card), NetworkCardIndex: cfn.Int(card.NetworkCardIndex),
			SubnetId: b.c.HeadNode.Networking.SubnetId, Groups: all,
		})
	}
	return out
}

// cardDevice is the device index of the one interface on a network card that is
// not the first. Cards that take a single interface want it at 0.
func cardDevice(card facts.NetworkCard) int {
	if card.MaximumNetworkInterfaces == 1 {
		return 0
	}
	return 1
}

// isolatedRootSize is the size in GiB of root volumes in isolated regions, whose AMIs
// are smaller. Elsewhere it is the AMI's.
const isolatedRootSize = 40

// disks are the names under which instance store may show up, and the root volume.
func (b *builder) disks(ami string, root config.RootVolume, deleteOnTermination bool) []cfn.BlockDevice {
	var out []cfn.BlockDevice
	for i := range 24 {
		out = append(out, cfn.BlockDevice{DeviceName: "/dev/xvdb" + string(rune('a'+i)), VirtualName: fmt.Sprintf("ephemeral%d", i)})
	}
	device := b.f.Images[ami].RootDevice
	if device == "" {
		device = "/dev/xvda"
	}
	size := root.Size
	if size == nil && isolated(b.p.Region) {
		size = cfn.Int(isolatedRootSize)
	}
	disk := &cfn.Ebs{
		VolumeSize: size, VolumeType: root.VolumeType, Iops: root.Iops, Encrypted: &root.Encrypted, DeleteOnTermination: &deleteOnTermination,
	}
	if root.VolumeType == "gp3" {
		disk.Throughput = root.Throughput
	}
	return append(out, cfn.BlockDevice{DeviceName: device, Ebs: disk})
}

// common is what all nodes are told.
func (b *builder) common(nodeType string) spec.Node {
	n := spec.Node{
		NodeType: nodeType, StackName: b.p.ClusterName, StackARN: stackARN, ClusterName: b.p.ClusterName, Region: b.p.Region,
		BaseOS: b.c.Image.Os, ClusterUser: config.DefaultUser(b.c.Image.Os), Scheduler: b.c.Scheduling.Scheduler,
		LogGroup: "NONE", CWLoggingEnabled: strconv.FormatBool(b.logging()), LogRotationEnabled: strconv.FormatBool(b.c.Monitoring.Logs.Rotation.Enabled),
		Bucket: b.p.Bucket, ConfigKey: b.p.ConfigKey, ConfigVersion: b.p.ConfigVersion,
		DynamoDBTable: StateTable(b.p.ClusterName), SlurmDynamoDBTable: NodeTable(b.p.ClusterName),
		DNSDomain: "NONE", HostedZone: "NONE",
		UsePrivateHostname: strconv.FormatBool(b.c.Scheduling.SlurmSettings.Dns.UseEc2Hostnames),
		Version:            config.ToolVersion,
	}
	if b.logging() {
		n.LogGroup = b.logGroup
	}
	if b.zone != nil {
		n.DNSDomain = b.domain()
	}
	return n
}

// headUserData tells the head node who it is. The tables and the log group are in
// the values so that they are there when the node is.
func (b *builder) headUserData(handle cfn.Handle) cfn.Text {
	n := b.common(spec.Head)
	n.LaunchTemplateID = headTemplate
	values := map[string]cfn.Text{"WaitHandle": handle.Ref()}
	n.WaitHandle = variable("WaitHandle")
	if b.batch() {
		n.DynamoDBTable, n.SlurmDynamoDBTable = "NONE", "NONE"
	} else {
		values["StateTable"], values["NodeTable"] = b.stateTable.Ref(), b.nodeTable.Ref()
		n.DynamoDBTable, n.SlurmDynamoDBTable = variable("StateTable"), variable("NodeTable")
	}
	if b.clusterLog != nil {
		values["LogGroup"] = b.clusterLog.Ref()
		n.LogGroup = variable("LogGroup")
	}
	if b.zone != nil {
		values["HostedZone"] = b.zone
		n.HostedZone = variable("HostedZone")
	}
	n.InstanceTypes, n.InstanceTypesV = b.p.InstanceTypesKey, b.p.InstanceTypesVersion
	n.Storage = b.managedStorage()
	return b.userData(script{
		node: n, values: values, proxy: b.c.HeadNode.Networking.Proxy.HttpProxyAddress, onFailure: signalFailure,
		oneThread: b.c.HeadNode.DisableSimultaneousMultithreading,
	})
}
