package main

import (
	"encoding/json"
	"strings"

	"pcluster/internal/facts"
)

// paper is an account in the form of the cases.
type paper struct {
	Types map[string]struct {
		VCPUs      int      `json:"vcpus"`
		Cores      int      `json:"cores"`
		Threads    *int     `json:"threads_per_core"`
		Memory     *int     `json:"memory_mib"`
		Arch       []string `json:"arch"`
		EFA        bool     `json:"efa"`
		Cards      int      `json:"network_cards"`
		GPUs       []device `json:"gpus"`
		Inference  []device `json:"accelerators"`
		Storage    bool     `json:"instance_storage"`
		Usage      []string `json:"usage_classes"`
		Strategies []string `json:"placement_strategies"`
		Offered    *bool    `json:"offered"`
		AZs        []string `json:"azs"`
	} `json:"instance_types"`
	Subnets map[string]struct {
		AZ, VPC, CIDR string
		Public        bool `json:"public_ip_on_launch"`
	} `json:"subnets"`
	VPCs map[string]struct {
		Support   *bool `json:"dns_support"`
		Hostnames *bool `json:"dns_hostnames"`
	} `json:"vpcs"`
	Groups map[string]struct {
		VPC      string
		Inbound  []trafficRule
		Outbound []trafficRule
	} `json:"security_groups"`
	Images map[string]struct {
		Arch        string
		Size        int `json:"volume_size"`
		Description string
		Tags        map[string]string
		Official    bool
		Name        string
	} `json:"images"`
	KeyPairs        map[string]string `json:"key_pairs"`
	PlacementGroups []string          `json:"placement_groups"`
	Reservations    map[string]struct {
		InstanceType   string `json:"instance_type"`
		AZ             string
		Total          int
		Type           string `json:"reservation_type"`
		PlacementGroup string `json:"placement_group_arn"`
	} `json:"capacity_reservations"`
	Volumes map[string]struct {
		AZ, State string
		Attached  []string `json:"attached_to"`
	} `json:"volumes"`
	Snapshots map[string]struct {
		Size  int
		State string
	} `json:"snapshots"`
	EFS map[string]struct {
		OneZone any `json:"one_zone"`
		Targets []struct {
			Subnet string
			Groups []string `json:"security_groups"`
		} `json:"mount_targets"`
	} `json:"efs_file_systems"`
	FSx        map[string]fsxFact `json:"fsx_file_systems"`
	FSxVolumes map[string]string  `json:"fsx_volumes"`
	Caches     map[string]fsxFact `json:"file_caches"`
	Backups    []string           `json:"fsx_backups"`
	Buckets    map[string]struct {
		Region, Versioning string
		Error              *refusal
	} `json:"s3_buckets"`
	Objects  []string       `json:"s3_objects"`
	HTTPS    map[string]any `json:"https"`
	Roles    []string       `json:"iam_roles"`
	Profiles []string       `json:"iam_instance_profiles"`
	Policies []string       `json:"iam_policies"`
	Secrets  map[string]struct {
		Value string
		Error *refusal
	} `json:"secrets"`
	Parameters  []string `json:"ssm_parameters"`
	HostedZones map[string]struct {
		Private *bool
		VPCs    []string
		Domain  string
	} `json:"hosted_zones"`
	Addresses []string           `json:"elastic_ips"`
	Refused   map[string]refusal `json:"run_instances"`
}

type device struct {
	Manufacturer string
	Count        int
}

type trafficRule struct {
	Protocol    string
	Ports       []int
	CIDRs       []string
	Groups      []string
	PrefixLists []string `json:"prefix_lists"`
}

type fsxFact struct {
	Type, VPC  string
	Subnets    []string
	Interfaces []string `json:"network_interfaces"`
}

type refusal struct{ Code, Message string }

// awsPolicies exist in every account.
var awsPolicies = []string{"CloudWatchAgentServerPolicy", "AmazonS3ReadOnlyAccess", "AmazonS3FullAccess", "AmazonSSMManagedInstanceCore"}

// source returns the account as our rules ask it.
func (a account) source() (*facts.Memory, error) {
	data, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	var p paper
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, err
	}
	m := &facts.Memory{
		Types: map[string]facts.InstanceType{}, TypeZones: map[string][]string{}, Subnets: map[string]facts.Subnet{},
		VPCs: map[string]facts.VPC{}, Groups: map[string]facts.SecurityGroup{}, KeyPairs: map[string]facts.KeyPair{},
		Images: map[string]facts.Image{}, Official: map[string]string{}, PlacementGroups: map[string]facts.PlacementGroup{},
		Reservations: map[string]facts.Reservation{}, Volumes: map[string]facts.Volume{}, Snapshots: map[string]facts.VolumeSnapshot{},
		EFSs: map[string]facts.EFS{}, FSxs: map[string]facts.FSx{}, FSxVolumes: map[string]facts.FSx{}, FileCaches: map[string]facts.FSx{},
		Backups: p.Backups, Roles: p.Roles, Profiles: p.Profiles, Policies: p.Policies, Buckets: map[string]facts.Bucket{},
		Objects: p.Objects, Secrets: map[string]string{}, HostedZones: map[string]facts.HostedZone{}, Addresses: map[string]facts.Address{},
		Refused: map[string]*facts.Error{},
	}
	for n, t := range p.Types {
		threads := 2
		if t.Threads != nil {
			threads = *t.Threads
		}
		v := facts.InstanceType{Name: n, SupportedUsageClasses: t.Usage}
		if t.Usage == nil {
			v.SupportedUsageClasses = []string{"on-demand", "spot"}
		}
		v.ProcessorInfo.SupportedArchitectures = t.Arch
		if t.Arch == nil {
			v.ProcessorInfo.SupportedArchitectures = []string{"x86_64"}
		}
		v.VCpuInfo = facts.VCpuInfo{DefaultVCpus: t.VCPUs, DefaultCores: t.Cores, DefaultThreadsPerCore: threads}
		if t.Memory != nil {
			v.MemoryInfo.SizeInMiB = *t.Memory
		}
		v.NetworkInfo = facts.NetworkInfo{MaximumNetworkCards: max(t.Cards, 1), EfaSupported: t.EFA}
		for i := range max(t.Cards, 1) {
			v.NetworkInfo.NetworkCards = append(v.NetworkInfo.NetworkCards, facts.NetworkCard{NetworkCardIndex: i, MaximumNetworkInterfaces: 15})
		}
		if t.EFA {
			v.NetworkInfo.EfaInfo = &facts.EfaInfo{MaximumEfaInterfaces: max(t.Cards, 1)}
		}
		v.EbsInfo.EbsOptimizedSupport = "default"
		v.PlacementGroupInfo.SupportedStrategies = t.Strategies
		if t.Strategies == nil {
			v.PlacementGroupInfo.SupportedStrategies = []string{"cluster", "partition", "spread"}
		}
		if t.Storage {
			v.InstanceStorageInfo = &facts.InstanceStorageInfo{TotalSizeInGB: 100}
		}
		if len(t.GPUs) > 0 {
			v.GpuInfo = &facts.GpuInfo{Gpus: devices(t.GPUs)}
		}
		if len(t.Inference) > 0 {
			v.Inference = &facts.InferenceAcceleratorInfo{Accelerators: devices(t.Inference)}
		}
		m.Types[n] = v
		if t.Offered != nil && !*t.Offered {
			m.NotOffered = append(m.NotOffered, n)
		}
		if t.AZs != nil {
			m.TypeZones[n] = t.AZs
		}
	}
	for id, s := range p.Subnets {
		m.Subnets[id] = facts.Subnet{ID: id, AZ: s.AZ, VPC: s.VPC, CIDR: s.CIDR, PublicIP: s.Public}
	}
	yes := func(b *bool) bool { return b == nil || *b }
	for id, v := range p.VPCs {
		m.VPCs[id] = facts.VPC{DNSSupport: yes(v.Support), DNSHostnames: yes(v.Hostnames)}
	}
	for id, g := range p.Groups {
		m.Groups[id] = facts.SecurityGroup{ID: id, VPC: or(g.VPC, "vpc-1"), Ingress: traffic(g.Inbound), Egress: traffic(g.Outbound)}
	}
	for id, i := range p.Images {
		tags := map[string]string{}
		for k, v := range i.Tags {
			tags[k] = installed(v)
		}
		m.Images[id] = facts.Image{ID: id, Name: installed(i.Name), Description: i.Description, Architecture: or(i.Arch, "x86_64"), RootDevice: "/dev/xvda", RootSize: orInt(i.Size, 40), Tags: tags}
		if i.Official {
			rest := strings.TrimPrefix(id, "ami-official-")
			os, arch, _ := strings.Cut(rest, "-")
			m.Official[os+" "+arch] = id
		}
	}
	for n, t := range p.KeyPairs {
		m.KeyPairs[n] = facts.KeyPair{Name: n, Type: t}
	}
	for _, n := range p.PlacementGroups {
		m.PlacementGroups[n] = facts.PlacementGroup{Name: n, Strategy: "cluster"}
	}
	for id, r := range p.Reservations {
		m.Reservations[id] = facts.Reservation{
			ID: id, ARN: "arn:aws:ec2:us-east-1:111122223333:capacity-reservation/" + id, InstanceType: r.InstanceType, AZ: or(r.AZ, "us-east-1a"),
			Total: r.Total, Type: r.Type, PlacementGroup: r.PlacementGroup,
		}
	}
	for id, v := range p.Volumes {
		m.Volumes[id] = facts.Volume{ID: id, AZ: or(v.AZ, "us-east-1a"), State: or(v.State, "available"), AttachedTo: v.Attached}
	}
	for id, s := range p.Snapshots {
		m.Snapshots[id] = facts.VolumeSnapshot{ID: id, Size: orInt(s.Size, 40), State: or(s.State, "completed")}
	}
	for id, e := range p.EFS {
		v := facts.EFS{ID: id, OneZone: e.OneZone != nil && e.OneZone != false}
		for _, t := range e.Targets {
			v.MountTargets = append(v.MountTargets, facts.MountTarget{AZ: p.Subnets[t.Subnet].AZ, Groups: t.Groups})
		}
		m.EFSs[id] = v
	}
	fsx := func(id string, f fsxFact, kind string) facts.FSx {
		return facts.FSx{ID: id, Type: or(f.Type, kind), VPC: or(f.VPC, "vpc-1"), Subnets: f.Subnets, Interfaces: f.Interfaces}
	}
	for id, f := range p.FSx {
		m.FSxs[id] = fsx(id, f, "LUSTRE")
	}
	for id, f := range p.Caches {
		m.FileCaches[id] = fsx(id, f, "FILE_CACHE")
	}
	for id, fs := range p.FSxVolumes {
		m.FSxVolumes[id] = fsx(fs, p.FSx[fs], "")
	}
	for n, b := range p.Buckets {
		m.Buckets[n] = facts.Bucket{Name: n, Region: or(b.Region, "us-east-1"), Versioning: b.Versioning == "Enabled"}
		if b.Error != nil {
			m.Refused[n] = &facts.Error{Code: b.Error.Code, Message: b.Error.Message, Denied: b.Error.Code == "403"}
		}
	}
	for u, status := range p.HTTPS {
		if status == float64(200) {
			m.URLs = append(m.URLs, u)
		}
	}
	for _, n := range awsPolicies {
		m.Policies = append(m.Policies, "arn:aws:iam::aws:policy/"+n)
	}
	for arn, s := range p.Secrets {
		m.Secrets[arn] = s.Value
		if s.Error != nil {
			m.Refused[arn] = &facts.Error{Code: s.Error.Code, Message: s.Error.Message, Denied: strings.Contains(s.Error.Code, "Denied")}
		}
	}
	for id, z := range p.HostedZones {
		m.HostedZones[id] = facts.HostedZone{ID: id, Name: strings.TrimSuffix(or(z.Domain, "cluster.internal."), "."), Private: yes(z.Private), VPCs: z.VPCs}
	}
	for _, ip := range p.Addresses {
		m.Addresses[ip] = facts.Address{PublicIP: ip, AllocationID: "eipalloc-1"}
	}
	for t, r := range p.Refused {
		m.Refused[t] = &facts.Error{Code: r.Code, Message: r.Message, Denied: r.Code == "UnauthorizedOperation"}
	}
	return m, nil
}

func devices(list []device) []facts.Accelerator {
	var out []facts.Accelerator
	for _, d := range list {
		out = append(out, facts.Accelerator{Manufacturer: d.Manufacturer, Count: d.Count})
	}
	return out
}

func traffic(list []trafficRule) []facts.Rule {
	var out []facts.Rule
	for _, r := range list {
		v := facts.Rule{Protocol: r.Protocol, CIDRs: r.CIDRs, Groups: r.Groups, PrefixLists: r.PrefixLists}
		if len(r.Ports) == 2 {
			v.From, v.To = r.Ports[0], r.Ports[1]
		}
		out = append(out, v)
	}
	return out
}

func or(s, dflt string) string {
	if s == "" {
		return dflt
	}
	return s
}

func orInt(n, dflt int) int {
	if n == 0 {
		return dflt
	}
	return n
}
