package imds

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/ec2"
)

// A node is a value or a folder of nodes.
type node struct {
	value    func(context.Context) ([]byte, error)
	children map[string]*node
	label    string // shown in listings in place of the name
}

func folder() *node { return &node{children: map[string]*node{}} }

// at returns the folder under the path, made if need be.
func (n *node) at(path string) *node {
	for name := range strings.SplitSeq(path, "/") {
		if n.children[name] == nil {
			n.children[name] = folder()
		}
		n = n.children[name]
	}
	return n
}

// set puts text under the path; nothing is put for empty text.
func (n *node) set(path, text string) {
	if text != "" {
		n.compute(path, func(context.Context) ([]byte, error) { return []byte(text), nil })
	}
}

func (n *node) compute(path string, value func(context.Context) ([]byte, error)) {
	dir, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	if dir != "" {
		n = n.at(dir)
	}
	n.children[name] = &node{value: value}
}

// find returns the node under the path, nil if there is none.
func (n *node) find(path string) *node {
	path = strings.Trim(path, "/")
	if path == "" {
		return n
	}
	for name := range strings.SplitSeq(path, "/") {
		if n = n.children[name]; n == nil {
			return nil
		}
	}
	return n
}

// list is a folder's content, one name a line; those of folders end in a slash.
func (n *node) list() []byte {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		child := n.children[name]
		switch {
		case child.label != "":
			lines = append(lines, child.label)
		case child.value == nil:
			lines = append(lines, name+"/")
		default:
			lines = append(lines, name)
		}
	}
	return []byte(strings.Join(lines, "\n"))
}

// tree is everything that an instance can read below a version.
func (h *handler) tree(m ec2.Metadata) *node {
	root := folder()
	if len(m.UserData) > 0 {
		root.compute("user-data", func(context.Context) ([]byte, error) { return m.UserData, nil })
	}
	h.identity(root.at("dynamic"), m)
	h.metadata(root.at("meta-data"), m)
	return root
}

func (h *handler) metadata(n *node, m ec2.Metadata) {
	i := m.Instance
	n.set("ami-id", aws.ToString(i.ImageId))
	n.set("ami-launch-index", strconv.Itoa(int(aws.ToInt32(i.AmiLaunchIndex))))
	n.set("ami-manifest-path", "(unknown)")
	n.set("hostname", aws.ToString(i.PrivateDnsName))
	n.set("instance-action", "none")
	n.set("instance-id", aws.ToString(i.InstanceId))
	n.set("instance-life-cycle", lifeCycle(i))
	n.set("instance-type", string(i.InstanceType))
	n.set("local-hostname", aws.ToString(i.PrivateDnsName))
	n.set("local-ipv4", aws.ToString(i.PrivateIpAddress))
	n.set("public-hostname", aws.ToString(i.PublicDnsName))
	n.set("public-ipv4", aws.ToString(i.PublicIpAddress))
	n.set("profile", "default-hvm")
	n.set("reservation-id", m.Reservation)
	n.set("security-groups", groupNames(i.SecurityGroups))
	n.set("system", "nitro")
	n.set("services/domain", "amazonaws.com")
	n.set("services/partition", "aws")
	n.set("metrics/vhostmd", `<?xml version="1.0" encoding="UTF-8"?>`)
	n.set("events/maintenance/history", "[]")
	n.set("events/maintenance/scheduled", scheduled(m.Events))

	p := i.Placement
	n.set("placement/availability-zone", aws.ToString(p.AvailabilityZone))
	n.set("placement/availability-zone-id", aws.ToString(p.AvailabilityZoneId))
	n.set("placement/region", m.Region)
	n.set("placement/group-name", aws.ToString(p.GroupName))

	n.set("block-device-mapping/ami", strings.TrimPrefix(aws.ToString(i.RootDeviceName), "/dev/"))
	n.set("block-device-mapping/root", aws.ToString(i.RootDeviceName))
	ebs := 0
	for _, d := range i.BlockDeviceMappings {
		if aws.ToString(d.DeviceName) == aws.ToString(i.RootDeviceName) {
			continue
		}
		ebs++
		n.set("block-device-mapping/ebs"+strconv.Itoa(ebs), strings.TrimPrefix(aws.ToString(d.DeviceName), "/dev/"))
	}
	if m.PublicKey != "" {
		key := n.at("public-keys/0")
		key.label = "0=" + aws.ToString(i.KeyName)
		key.set("openssh-key", m.PublicKey+"\n")
	}
	if m.SpotAction != nil {
		at := m.SpotAction.UTC().Format(time.RFC3339)
		n.set("spot/instance-action", `{"action":"terminate","time":"`+at+`"}`)
		n.set("spot/termination-time", at)
		// A recommendation comes before the notice, or with it.
		n.set("events/recommendations/rebalance", `{"noticeTime":"`+m.SpotAction.Add(-2*time.Minute).UTC().Format(time.RFC3339)+`"}`)
	}
	if m.TargetState != "" {
		n.set("autoscaling/target-lifecycle-state", m.TargetState)
	}
	if i.MetadataOptions.InstanceMetadataTags == types.InstanceMetadataTagsStateEnabled {
		tags := n.at("tags/instance")
		for _, t := range i.Tags {
			value := []byte(aws.ToString(t.Value))
			tags.children[aws.ToString(t.Key)] = &node{value: func(context.Context) ([]byte, error) { return value, nil }}
		}
	}
	h.role(n, m)
	network(n, m)
}

// scheduled lists events in the form of the metadata service. (AWS documentation: View
// scheduled events that affect your Amazon EC2 instances.)
func scheduled(events []types.InstanceStatusEvent) string {
	type event struct {
		NotBefore, Code, Description, EventId, NotAfter, State string //nolint:revive // as AWS spells them
	}
	list := make([]event, 0, len(events))
	for _, e := range events {
		const form = "2 Jan 2006 15:04:05 GMT"
		list = append(list, event{
			aws.ToTime(e.NotBefore).UTC().Format(form), string(e.Code), aws.ToString(e.Description), aws.ToString(e.InstanceEventId),
			aws.ToTime(e.NotAfter).UTC().Format(form), "active",
		})
	}
	text, err := json.Marshal(list)
	if err != nil {
		return "[]"
	}
	return string(text)
}

func lifeCycle(i types.Instance) string {
	if i.InstanceLifecycle == types.InstanceLifecycleTypeSpot {
		return "spot"
	}
	return "on-demand"
}

func groupNames(groups []types.GroupIdentifier) string {
	var names []string
	for _, g := range groups {
		names = append(names, aws.ToString(g.GroupName))
	}
	return strings.Join(names, "\n")
}

// role is what an instance with a profile finds of it: fresh credentials of its
// role above all.
func (h *handler) role(n *node, m ec2.Metadata) {
	p := m.Instance.IamInstanceProfile
	if p == nil || m.Role == "" {
		return
	}
	n.compute("iam/info", func(context.Context) ([]byte, error) {
		return json.MarshalIndent(struct {
			Code, LastUpdated                     string
			InstanceProfileArn, InstanceProfileId string // as AWS spells them
		}{"Success", h.now().UTC().Format(time.RFC3339), aws.ToString(p.Arn), aws.ToString(p.Id)}, "", "  ")
	})
	n.compute("iam/security-credentials/"+m.Role, func(ctx context.Context) ([]byte, error) {
		// The session of an instance's credentials is named after it.
		id, secret, token, expires, err := h.credentials.RoleCredentials(ctx, m.RoleARN, aws.ToString(m.Instance.InstanceId))
		if err != nil {
			return nil, err
		}
		return json.MarshalIndent(struct {
			Code, LastUpdated, Type            string
			AccessKeyID                        string `json:"AccessKeyId"`
			SecretAccessKey, Token, Expiration string
		}{
			"Success", h.now().UTC().Format(time.RFC3339), "AWS-HMAC", id, secret, token, expires.UTC().Format(time.RFC3339),
		}, "", "  ")
	})
}

func network(n *node, m ec2.Metadata) {
	for at, eni := range m.Interfaces {
		mac := aws.ToString(eni.MacAddress)
		if at == 0 {
			n.set("mac", mac)
		}
		var ids, addrs []string
		for _, g := range eni.Groups {
			ids = append(ids, aws.ToString(g.GroupId))
		}
		for _, p := range eni.PrivateIpAddresses {
			addrs = append(addrs, aws.ToString(p.PrivateIpAddress))
		}
		i := n.at("network/interfaces/macs/" + mac)
		i.set("device-number", strconv.Itoa(int(aws.ToInt32(eni.Attachment.DeviceIndex))))
		i.set("interface-id", aws.ToString(eni.NetworkInterfaceId))
		i.set("local-hostname", aws.ToString(eni.PrivateDnsName))
		i.set("local-ipv4s", strings.Join(addrs, "\n"))
		i.set("mac", mac)
		i.set("owner-id", m.Account)
		i.set("security-group-ids", strings.Join(ids, "\n"))
		i.set("security-groups", groupNames(eni.Groups))
		i.set("subnet-id", aws.ToString(eni.SubnetId))
		i.set("subnet-ipv4-cidr-block", eni.SubnetCIDR)
		i.set("vpc-id", aws.ToString(eni.VpcId))
		i.set("vpc-ipv4-cidr-block", eni.VPCCIDR)
		i.set("vpc-ipv4-cidr-blocks", eni.VPCCIDR)
		if len(m.Interfaces) > 1 {
			i.set("network-card", strconv.Itoa(int(aws.ToInt32(eni.Attachment.NetworkCardIndex))))
		}
		if a := eni.Association; a != nil {
			i.set("public-hostname", aws.ToString(a.PublicDnsName))
			i.set("public-ipv4s", aws.ToString(a.PublicIp))
			i.set("ipv4-associations/"+aws.ToString(a.PublicIp), aws.ToString(eni.PrivateIpAddress))
		}
	}
}

// identity is the document by which an instance shows who it is. Its signatures
// have the right form, but no one can check them: only AWS has AWS's key.
func (h *handler) identity(n *node, m ec2.Metadata) {
	i := m.Instance
	addr, _ := netip.ParseAddr(aws.ToString(i.PrivateIpAddress))
	document, err := json.MarshalIndent(struct {
		AccountID               string   `json:"accountId"`
		Architecture            string   `json:"architecture"`
		AvailabilityZone        string   `json:"availabilityZone"`
		BillingProducts         []string `json:"billingProducts"`
		DevpayProductCodes      []string `json:"devpayProductCodes"`
		MarketplaceProductCodes []string `json:"marketplaceProductCodes"`
		ImageID                 string   `json:"imageId"`
		InstanceID              string   `json:"instanceId"`
		InstanceType            string   `json:"instanceType"`
		KernelID                *string  `json:"kernelId"`
		PendingTime             string   `json:"pendingTime"`
		PrivateIP               string   `json:"privateIp"`
		RamdiskID               *string  `json:"ramdiskId"`
		Region                  string   `json:"region"`
		Version                 string   `json:"version"`
	}{
		AccountID: m.Account, Architecture: string(i.Architecture), AvailabilityZone: aws.ToString(i.Placement.AvailabilityZone),
		ImageID: aws.ToString(i.ImageId), InstanceID: aws.ToString(i.InstanceId), InstanceType: string(i.InstanceType),
		PendingTime: i.LaunchTime.UTC().Format(time.RFC3339), PrivateIP: addr.String(), Region: m.Region, Version: "2017-09-30",
	}, "", "  ")
	if err != nil {
		return // strings always marshal
	}
	n.set("instance-identity/document", string(document))
	n.set("instance-identity/signature", seal(document, 128))
	n.set("instance-identity/pkcs7", seal(document, 1100))
	n.set("instance-identity/rsa2048", seal(document, 1400))
	n.set("fws/instance-monitoring", string(monitoring(i)))
}

func monitoring(i types.Instance) types.MonitoringState {
	if i.Monitoring == nil {
		return types.MonitoringStateDisabled
	}
	return i.Monitoring.State
}

// seal makes size bytes that depend on the document, in lines of base64.
func seal(document []byte, size int) string {
	var raw []byte
	for block := sha256.Sum256(document); len(raw) < size; block = sha256.Sum256(block[:]) {
		raw = append(raw, block[:]...)
	}
	text := base64.StdEncoding.EncodeToString(raw[:size])
	var lines []string
	for len(text) > 64 {
		lines, text = append(lines, text[:64]), text[64:]
	}
	return strings.Join(append(lines, text), "\n")
}
