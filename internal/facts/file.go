package facts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"pcluster/internal/config"
)

// Read reads an account on paper from YAML or JSON: a mapping of kinds of things
// to what there is of each. All keys are optional, and what is not named does not
// exist. A value {error: {code: …, message: …}} is an error that AWS answers.
//
//	instance_types        name → {vcpus, cores, threads_per_core (2), memory_mib, arch ([x86_64]), efa, network_cards (1),
//	                      gpus and accelerators ([{manufacturer, count}]), instance_storage, usage_classes ([on-demand, spot]),
//	                      placement_strategies ([cluster, partition, spread]), offered (true), azs (all)}
//	subnets               ID → {az, vpc, cidr, public_ip_on_launch}
//	vpcs                  ID → {dns_support (true), dns_hostnames (true)}
//	security_groups       ID → {vpc, inbound, outbound: [{protocol, ports: [from, to], cidrs, groups, prefix_lists}]}
//	images                ID → {arch (x86_64), volume_size (40), description, tags, name, official}
//	key_pairs             name → type
//	placement_groups      [name]
//	launch_templates      ID/version → {network_interfaces: [{device_index, network_card_index, interface_type, subnet, groups, public_ip}]}
//	capacity_reservations ID → {instance_type, az, total, reservation_type, requested_quantity, placement_group_arn}
//	resource_groups       ARN → {capacity_reservation_pool, reservations: [ID]}
//	network_interfaces    ID → {vpc, groups}
//	volumes               ID → {state (available), az, attached_to: [instance ID]}
//	snapshots             ID → {size (40), state (completed)}
//	efs_file_systems      ID → {one_zone, mount_targets: [{subnet or az, security_groups}]}
//	fsx_file_systems      ID → {type, vpc, subnets, network_interfaces}; file_caches alike
//	fsx_volumes           ID → ID of the file system
//	fsx_backups, kms_keys, iam_roles, iam_instance_profiles, iam_policies, ssm_parameters, elastic_ips   [name, ID or ARN]
//	s3_buckets            name → {region, versioning}
//	s3_objects            [bucket/key]
//	https                 URL → status, or hang for a server that does not answer
//	secrets               ARN → {value}
//	hosted_zones          ID → {private (true), vpcs, domain}
//	batch_instance_types  [name]: what AWS Batch takes; null if it does not say
//	imagebuilder_images   ARN → AMI
//	pcluster_images       [ID]: images that build-image made
//	public_subnets        [ID]: subnets with a route to the internet
//	run_instances         instance type → {code, message}: why a trial launch fails
//
// A thing whose zone or VPC is left out is in those of the first subnet.
func Read(data []byte) (*Memory, error) {
	var f paper
	if err := unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("read facts: %w", err)
	}
	return f.memory(), nil
}

// unmarshal reads JSON or YAML.
func unmarshal(data []byte, v any) error {
	if trimmed := bytes.TrimSpace(data); len(trimmed) == 0 {
		return nil
	} else if trimmed[0] != '{' || json.Unmarshal(trimmed, &struct{}{}) != nil {
		var document any
		if err := yaml.Unmarshal(data, &document); err != nil {
			return err
		}
		var err error
		if data, err = json.Marshal(document); err != nil {
			return fmt.Errorf("keys are not text: %w", err)
		}
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

// paper is the form of the text.
type paper struct {
	InstanceTypes   things[typeFact]  `json:"instance_types"`
	Subnets         things[subnet]    `json:"subnets"`
	VPCs            things[vpc]       `json:"vpcs"`
	SecurityGroups  things[group]     `json:"security_groups"`
	Images          things[image]     `json:"images"`
	KeyPairs        things[string]    `json:"key_pairs"`
	PlacementGroups names             `json:"placement_groups"`
	Templates       things[template]  `json:"launch_templates"`
	Reservations    things[reserved]  `json:"capacity_reservations"`
	ResourceGroups  things[resources] `json:"resource_groups"`
	Interfaces      things[iface]     `json:"network_interfaces"`
	Volumes         things[volume]    `json:"volumes"`
	Snapshots       things[snapshot]  `json:"snapshots"`
	EFS             things[efs]       `json:"efs_file_systems"`
	FSx             things[fsx]       `json:"fsx_file_systems"`
	FSxVolumes      things[string]    `json:"fsx_volumes"`
	FileCaches      things[fsx]       `json:"file_caches"`
	Backups         names             `json:"fsx_backups"`
	Buckets         things[bucket]    `json:"s3_buckets"`
	Objects         names             `json:"s3_objects"`
	HTTPS           map[string]status `json:"https"`
	Keys            names             `json:"kms_keys"`
	Roles           names             `json:"iam_roles"`
	Profiles        names             `json:"iam_instance_profiles"`
	Policies        names             `json:"iam_policies"`
	Secrets         things[secret]    `json:"secrets"`
	Parameters      names             `json:"ssm_parameters"`
	HostedZones     things[zone]      `json:"hosted_zones"`
	Addresses       names             `json:"elastic_ips"`
	Launches        map[string]fault  `json:"run_instances"`
	BatchTypes      []string          `json:"batch_instance_types"`
	Builder         things[string]    `json:"imagebuilder_images"`
	PublicSubnets   []string          `json:"public_subnets"`
	Built           names             `json:"pcluster_images"`

	// Of things that only others ask for.
	Stacks       json.RawMessage `json:"stacks"`
	AccessPoints json.RawMessage `json:"efs_access_points"`
}

type (
	typeFact struct {
		VCPUs         int       `json:"vcpus"`
		Cores         int       `json:"cores"`
		Threads       *int      `json:"threads_per_core"`
		Memory        *int      `json:"memory_mib"`
		Arch          []string  `json:"arch"`
		EFA           bool      `json:"efa"`
		Cards         *int      `json:"network_cards"`
		GPUs          []device  `json:"gpus"`
		Accelerators  []device  `json:"accelerators"`
		Storage       bool      `json:"instance_storage"`
		Usage         *[]string `json:"usage_classes"`
		Placement     *[]string `json:"placement_strategies"`
		Offered       *bool     `json:"offered"`
		AZs           []string  `json:"azs"`
		InterfacesMax *int      `json:"interfaces_per_card"`
	}
	template struct {
		Interfaces []struct {
			Device   int      `json:"device_index"`
			Card     int      `json:"network_card_index"`
			Type     string   `json:"interface_type"`
			Subnet   string   `json:"subnet"`
			Groups   []string `json:"groups"`
			PublicIP *bool    `json:"public_ip"`
		} `json:"network_interfaces"`
	}
	device struct {
		Manufacturer string `json:"manufacturer"`
		Count        int    `json:"count"`
		Name         string `json:"name"`
	}
	subnet struct {
		AZ     string `json:"az"`
		VPC    string `json:"vpc"`
		CIDR   string `json:"cidr"`
		Public bool   `json:"public_ip_on_launch"`
	}
	vpc struct {
		Support *bool `json:"dns_support"`
		Names   *bool `json:"dns_hostnames"`
	}
	group struct {
		VPC      string      `json:"vpc"`
		Inbound  []groupRule `json:"inbound"`
		Outbound []groupRule `json:"outbound"`
	}
	groupRule struct {
		Protocol    any      `json:"protocol"`
		Ports       []int    `json:"ports"`
		CIDRs       []string `json:"cidrs"`
		Groups      []string `json:"groups"`
		PrefixLists []string `json:"prefix_lists"`
	}
	image struct {
		Arch        string            `json:"arch"`
		Size        *int              `json:"volume_size"`
		Description string            `json:"description"`
		Tags        map[string]string `json:"tags"`
		Official    bool              `json:"official"`
		Name        string            `json:"name"`
	}
	reserved struct {
		Type      string `json:"instance_type"`
		AZ        string `json:"az"`
		Total     int    `json:"total"`
		Kind      string `json:"reservation_type"`
		Requested int    `json:"requested_quantity"`
		Placement string `json:"placement_group_arn"`
	}
	resources struct {
		Pool         *bool    `json:"capacity_reservation_pool"`
		Reservations []string `json:"reservations"`
	}
	iface struct {
		VPC    string   `json:"vpc"`
		Groups []string `json:"groups"`
	}
	volume struct {
		State    string   `json:"state"`
		AZ       string   `json:"az"`
		Attached []string `json:"attached_to"`
	}
	snapshot struct {
		Size  *int   `json:"size"`
		State string `json:"state"`
	}
	efs struct {
		OneZone any           `json:"one_zone"` // true, or the zone
		Targets []mountTarget `json:"mount_targets"`
	}
	mountTarget struct {
		ID     string   `json:"id"`
		Subnet string   `json:"subnet"`
		AZ     string   `json:"az"`
		Groups []string `json:"security_groups"`
	}
	fsx struct {
		Type       string   `json:"type"`
		VPC        string   `json:"vpc"`
		Subnets    []string `json:"subnets"`
		Interfaces []string `json:"network_interfaces"`
	}
	bucket struct {
		Region     string `json:"region"`
		Versioning any    `json:"versioning"` // Enabled, Suspended or a boolean
	}
	secret struct {
		Value string `json:"value"`
	}
	zone struct {
		Private *bool    `json:"private"`
		VPCs    []string `json:"vpcs"`
		Domain  string   `json:"domain"`
	}
	fault struct {
		Code    any    `json:"code"`
		Message string `json:"message"`
	}
)

func (f fault) err() *Error {
	return NewError(fmt.Sprint(f.Code), f.Message)
}

// A thing is there, or AWS answers an error.
type thing[T any] struct {
	value T
	err   *Error
}

func (t *thing[T]) UnmarshalJSON(data []byte) error {
	var failure struct {
		Error *json.RawMessage `json:"error"`
	}
	if json.Unmarshal(data, &failure) == nil && failure.Error != nil {
		var f fault
		if json.Unmarshal(*failure.Error, &f) != nil { // a bare code
			f = fault{Code: strings.Trim(string(*failure.Error), `"`)}
		}
		if f.Code == nil {
			f.Code = "InternalError"
		}
		t.err = f.err()
		return nil
	}
	if s, ok := any(&t.value).(*snapshot); ok {
		size := 40
		s.Size = &size // null is for a size that AWS does not tell
	}
	return json.Unmarshal(data, &t.value)
}

type things[T any] map[string]thing[T]

// names is a list of what exists, or a mapping where some of it answers an error.
type names map[string]*Error

func (n *names) UnmarshalJSON(data []byte) error {
	*n = names{}
	var list []string
	if json.Unmarshal(data, &list) == nil {
		for _, name := range list {
			(*n)[name] = nil
		}
		return nil
	}
	var m map[string]thing[json.RawMessage]
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	for name, t := range m {
		(*n)[name] = t.err
	}
	return nil
}

// status is what a web server answers.
type status string

func (s *status) UnmarshalJSON(data []byte) error {
	*s = status(strings.Trim(string(data), `"`))
	return nil
}

func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

func orText(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// memory turns the form of the text into ours.
func (f *paper) memory() *Memory {
	m := &Memory{Refused: map[string]*Error{}, Launches: map[string]*Error{}, BatchNames: f.BatchTypes, PublicSubnets: f.PublicSubnets}
	var first subnet
	if ids := slices.Sorted(maps.Keys(f.Subnets)); len(ids) > 0 {
		first = f.Subnets[ids[0]].value
	}
	vpcOf := func(s string) string { return orText(s, first.VPC) }
	azOf := func(s string) string { return orText(s, first.AZ) }

	m.TypeZones = map[string][]string{}
	m.Types = convert(m, f.InstanceTypes, func(name string, t typeFact) InstanceType {
		if !or(t.Offered, true) {
			m.NotOffered = append(m.NotOffered, name)
		}
		if t.AZs != nil {
			m.TypeZones[name] = t.AZs
		}
		return t.instanceType(name)
	})
	m.Subnets = convert(m, f.Subnets, func(id string, s subnet) Subnet {
		return Subnet{ID: id, AZ: s.AZ, VPC: s.VPC, CIDR: s.CIDR, PublicIP: s.Public}
	})
	m.VPCs = convert(m, f.VPCs, func(_ string, v vpc) VPC {
		return VPC{DNSSupport: or(v.Support, true), DNSHostnames: or(v.Names, true)}
	})
	m.Groups = convert(m, f.SecurityGroups, func(id string, g group) SecurityGroup {
		return SecurityGroup{ID: id, VPC: vpcOf(g.VPC), Ingress: rulesOf(g.Inbound), Egress: rulesOf(g.Outbound)}
	})
	m.Images = convert(m, f.Images, func(id string, i image) Image {
		return Image{ID: id, Name: i.Name, Description: i.Description, Architecture: orText(i.Arch, "x86_64"),
			RootDevice: "/dev/xvda", RootSize: or(i.Size, 40), Tags: i.Tags}
	})
	m.Official = map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(f.Images)) {
		if i := f.Images[id].value; i.Official {
			if key, ok := officialKey(i.Name); ok && (m.Official[key] == "" || m.Images[m.Official[key]].Name < i.Name) {
				m.Official[key] = id
			}
		}
	}
	m.KeyPairs = convert(m, f.KeyPairs, func(name, kind string) KeyPair { return KeyPair{Name: name, Type: kind} })
	m.PlacementGroups = map[string]PlacementGroup{}
	for _, name := range m.existing(f.PlacementGroups) {
		m.PlacementGroups[name] = PlacementGroup{Name: name, Strategy: "cluster"}
	}
	m.Reservations = convert(m, f.Reservations, func(id string, r reserved) Reservation {
		return Reservation{ID: id, InstanceType: r.Type, AZ: azOf(r.AZ), Total: r.Total, Type: orText(r.Kind, "default"), Requested: r.Requested, PlacementGroup: r.Placement}
	})
	m.ReservationGroups = convert(m, f.ResourceGroups, func(_ string, g resources) ReservationGroup {
		return ReservationGroup{Pool: or(g.Pool, false), Reservations: g.Reservations}
	})
	m.Interfaces = convert(m, f.Interfaces, func(id string, n iface) NetworkInterface {
		return NetworkInterface{ID: id, VPC: vpcOf(n.VPC), Groups: n.Groups}
	})
	m.Volumes = convert(m, f.Volumes, func(id string, v volume) Volume {
		return Volume{ID: id, AZ: azOf(v.AZ), State: orText(v.State, "available"), AttachedTo: v.Attached}
	})
	m.Snapshots = convert(m, f.Snapshots, func(id string, s snapshot) VolumeSnapshot {
		return VolumeSnapshot{ID: id, Size: or(s.Size, 0), State: orText(s.State, "completed")}
	})
	m.EFSs = convert(m, f.EFS, func(id string, e efs) EFS {
		out := EFS{ID: id, OneZone: e.OneZone != nil && e.OneZone != false && e.OneZone != ""}
		for _, t := range e.Targets {
			out.MountTargets = append(out.MountTargets, MountTarget{AZ: azOf(orText(t.AZ, m.Subnets[t.Subnet].AZ)), Groups: t.Groups})
		}
		return out
	})
	fileSystem := func(id string, x fsx) FSx {
		out := FSx{ID: id, Type: x.Type, VPC: vpcOf(x.VPC), Subnets: x.Subnets, Interfaces: x.Interfaces}
		if x.Subnets == nil && len(f.Subnets) > 0 {
			out.Subnets = []string{slices.Min(slices.Collect(maps.Keys(f.Subnets)))}
		}
		return out
	}
	m.FSxs = convert(m, f.FSx, fileSystem)
	m.FileCaches = convert(m, f.FileCaches, fileSystem)
	m.FSxVolumes = map[string]FSx{}
	for id, v := range f.FSxVolumes {
		if system, ok := m.FSxs[v.value]; v.err == nil && ok {
			m.FSxVolumes[id] = system
		} else if v.err != nil {
			m.Refused[id] = v.err
		}
	}
	m.Backups, m.Keys, m.Objects = m.existing(f.Backups), m.existing(f.Keys), m.existing(f.Objects)
	m.Roles, m.Profiles, m.Policies = m.existing(f.Roles), m.existing(f.Profiles), m.existing(f.Policies)
	m.Parameters, m.Built = m.existing(f.Parameters), m.existing(f.Built)
	m.Buckets = convert(m, f.Buckets, func(name string, b bucket) Bucket {
		return Bucket{Name: name, Region: orText(b.Region, "us-east-1"), Versioning: b.Versioning == "Enabled" || b.Versioning == true}
	})
	m.Templates = convert(m, f.Templates, func(_ string, t template) (out LaunchTemplate) {
		for _, n := range t.Interfaces {
			out.Interfaces = append(out.Interfaces, TemplateInterface{
				DeviceIndex: n.Device, NetworkCardIndex: n.Card, InterfaceType: n.Type, Subnet: n.Subnet, Groups: n.Groups, PublicIP: n.PublicIP,
			})
		}
		return out
	})
	m.Sites = map[string]string{}
	for url, s := range f.HTTPS {
		m.Sites[url] = string(s)
	}
	m.Secrets = convert(m, f.Secrets, func(_ string, s secret) string { return s.Value })
	m.HostedZones = convert(m, f.HostedZones, func(id string, z zone) HostedZone {
		return HostedZone{ID: id, Name: strings.TrimSuffix(orText(z.Domain, "example.com"), "."), Private: or(z.Private, true), VPCs: z.VPCs}
	})
	m.Addresses = map[string]Address{}
	for _, ip := range m.existing(f.Addresses) {
		m.Addresses[ip] = Address{PublicIP: ip, AllocationID: "eipalloc-" + ip}
	}
	for name, refusal := range f.Launches {
		m.Launches[name] = refusal.err()
	}
	m.Builder = convert(m, f.Builder, func(_ string, ami string) string { return ami })
	return m
}

// convert turns what there is into our form, and keeps what AWS refuses.
func convert[T, U any](m *Memory, in things[T], to func(name string, value T) U) map[string]U {
	out := map[string]U{}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if t := in[name]; t.err != nil {
			m.Refused[name] = t.err
		} else {
			out[name] = to(name, t.value)
		}
	}
	return out
}

func (m *Memory) existing(n names) []string {
	for name, err := range n {
		if err != nil {
			m.Refused[name] = err
		}
	}
	return slices.Sorted(maps.Keys(n))
}

func (t typeFact) instanceType(name string) InstanceType {
	out := InstanceType{
		Name: name, SupportedUsageClasses: or(t.Usage, []string{"on-demand", "spot"}),
		ProcessorInfo:      ProcessorInfo{SupportedArchitectures: t.Arch},
		VCpuInfo:           VCpuInfo{DefaultVCpus: t.VCPUs, DefaultCores: t.Cores, DefaultThreadsPerCore: or(t.Threads, 2)},
		MemoryInfo:         MemoryInfo{SizeInMiB: or(t.Memory, 0)},
		PlacementGroupInfo: PlacementGroupInfo{SupportedStrategies: or(t.Placement, []string{"cluster", "partition", "spread"})},
		NetworkInfo:        NetworkInfo{MaximumNetworkCards: or(t.Cards, 1), EfaSupported: t.EFA},
	}
	if t.Arch == nil {
		out.ProcessorInfo.SupportedArchitectures = []string{"x86_64"}
	}
	for i := range out.NetworkInfo.MaximumNetworkCards {
		out.NetworkInfo.NetworkCards = append(out.NetworkInfo.NetworkCards, NetworkCard{NetworkCardIndex: i, MaximumNetworkInterfaces: or(t.InterfacesMax, 4)})
	}
	if t.EFA {
		out.NetworkInfo.EfaInfo = &EfaInfo{MaximumEfaInterfaces: out.NetworkInfo.MaximumNetworkCards}
	}
	devices := func(list []device) (out []Accelerator) {
		for _, a := range list {
			out = append(out, Accelerator{Name: a.Name, Manufacturer: a.Manufacturer, Count: a.Count})
		}
		return out
	}
	if len(t.GPUs) > 0 {
		out.GpuInfo = &GpuInfo{Gpus: devices(t.GPUs)}
	}
	if len(t.Accelerators) > 0 {
		out.Inference = &InferenceAcceleratorInfo{Accelerators: devices(t.Accelerators)}
	}
	if t.Storage {
		out.InstanceStorageInfo = &InstanceStorageInfo{TotalSizeInGB: 100, NvmeSupport: "required"}
	}
	return out
}

func rulesOf(list []groupRule) []Rule {
	var out []Rule
	for _, r := range list {
		rule := Rule{Protocol: fmt.Sprint(r.Protocol), To: 65535, CIDRs: r.CIDRs, Groups: r.Groups, PrefixLists: r.PrefixLists}
		if n, ok := r.Protocol.(float64); ok {
			rule.Protocol = strconv.Itoa(int(n))
		}
		if len(r.Ports) > 0 {
			rule.From, rule.To = r.Ports[0], r.Ports[len(r.Ports)-1]
		}
		out = append(out, rule)
	}
	return out
}

var officialName = regexp.MustCompile(`^aws-parallelcluster-(\d+\.\d+)\.\d+-(.+)-(x86_64|arm64)(-|$)`)

// officialKey returns operating system and architecture of an official AMI of our
// release, by its name.
func officialKey(name string) (string, bool) {
	p := officialName.FindStringSubmatch(name)
	if p == nil || p[1] != Release() {
		return "", false
	}
	for os, part := range OfficialNames {
		if part == p[2] {
			return os + " " + p[3], true
		}
	}
	return "", false
}

// OfficialNames are the operating systems that have official AMIs, with the part
// of the AMIs' names that stands for them.
var OfficialNames = map[string]string{
	"alinux2": "amzn2-hvm", "alinux2023": "amzn2023-hvm", "ubuntu2204": "ubuntu-2204-lts-hvm", "ubuntu2404": "ubuntu-2404-lts-hvm",
	"rhel8": "rhel8-hvm", "rhel9": "rhel9-hvm",
}

// Release returns the release that our official AMIs have: our version without
// its last number.
func Release() string {
	return config.ToolVersion[:strings.LastIndexByte(config.ToolVersion, '.')]
}
