package facts

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// Memory is a Source that answers from values: an account on paper. What is not
// in it does not exist. Its JSON has the field names below.
type Memory struct {
	Types           map[string]InstanceType
	NotOffered      []string // types that EC2 knows but the region does not offer
	TypeZones       map[string][]string
	Subnets         map[string]Subnet
	VPCs            map[string]VPC
	Groups          map[string]SecurityGroup
	PublicSubnets   []string
	Addresses       map[string]Address
	KeyPairs        map[string]KeyPair
	Images          map[string]Image
	Official        map[string]string // OS and architecture with a blank between → image ID
	PlacementGroups map[string]PlacementGroup
	Reservations    map[string]Reservation
	Volumes         map[string]Volume
	Snapshots       map[string]VolumeSnapshot
	EFSs            map[string]EFS
	FSxs            map[string]FSx
	FSxVolumes      map[string]FSx
	FileCaches      map[string]FSx
	Backups         []string
	Roles           []string
	Profiles        []string
	Policies        []string
	Buckets         map[string]Bucket
	Objects         []string // bucket/key
	URLs            []string
	Secrets         map[string]string // ARN → text
	HostedZones     map[string]HostedZone

	// Refused maps what is asked for, an ID, a name or an ARN, to the error that
	// AWS answers; for trial launches, an instance type.
	Refused map[string]*Error
}

// ReadMemory reads a Memory from JSON.
func ReadMemory(data []byte) (*Memory, error) {
	m := &Memory{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("read facts: %w", err)
	}
	return m, nil
}

var _ Source = (*Memory)(nil)

// answer looks up what has a name.
func answer[T any](m *Memory, in map[string]T, name, code string) (T, error) {
	var none T
	if e, ok := m.Refused[name]; ok {
		return none, e
	}
	if v, ok := in[name]; ok {
		return v, nil
	}
	return none, missing(code, "%s does not exist", name)
}

func (m *Memory) has(in []string, name, code string) error {
	if e, ok := m.Refused[name]; ok {
		return e
	}
	if slices.Contains(in, name) {
		return nil
	}
	return missing(code, "%s does not exist", name)
}

// InstanceTypes implements Source.
func (m *Memory) InstanceTypes(_ context.Context, names []string) (map[string]InstanceType, error) {
	out := map[string]InstanceType{}
	for _, n := range names {
		if t, ok := m.Types[n]; ok {
			out[n] = t
		}
	}
	return out, nil
}

// Offered implements Source.
func (m *Memory) Offered(context.Context) (map[string]bool, error) {
	out := map[string]bool{}
	for n := range m.Types {
		out[n] = !slices.Contains(m.NotOffered, n)
	}
	return out, nil
}

// Zones implements Source. A type without zones of its own is offered in those of all subnets.
func (m *Memory) Zones(_ context.Context, instanceType string) ([]string, error) {
	zones := slices.Clone(m.TypeZones[instanceType])
	if zones == nil {
		for _, s := range m.Subnets {
			zones = append(zones, s.AZ)
		}
	}
	slices.Sort(zones)
	return slices.Compact(zones), nil
}

// Subnet implements Source.
func (m *Memory) Subnet(_ context.Context, id string) (Subnet, error) {
	s, err := answer(m, m.Subnets, id, "InvalidSubnetID.NotFound")
	s.ID = id
	return s, err
}

// VPC implements Source.
func (m *Memory) VPC(_ context.Context, id string) (VPC, error) {
	return answer(m, m.VPCs, id, "InvalidVpcID.NotFound")
}

// SecurityGroup implements Source.
func (m *Memory) SecurityGroup(_ context.Context, id string) (SecurityGroup, error) {
	g, err := answer(m, m.Groups, id, "InvalidGroup.NotFound")
	g.ID = id
	return g, err
}

// InternetFacing implements Source.
func (m *Memory) InternetFacing(_ context.Context, subnetID string) (bool, error) {
	return slices.Contains(m.PublicSubnets, subnetID), nil
}

// Address implements Source.
func (m *Memory) Address(_ context.Context, publicIP string) (Address, error) {
	a, err := answer(m, m.Addresses, publicIP, "InvalidAddress.NotFound")
	a.PublicIP = publicIP
	return a, err
}

// KeyPair implements Source.
func (m *Memory) KeyPair(_ context.Context, name string) (KeyPair, error) {
	k, err := answer(m, m.KeyPairs, name, "InvalidKeyPair.NotFound")
	k.Name = name
	return k, err
}

// Image implements Source.
func (m *Memory) Image(_ context.Context, id string) (Image, error) {
	i, err := answer(m, m.Images, id, "InvalidAMIID.NotFound")
	i.ID = id
	return i, err
}

// OfficialImage implements Source.
func (m *Memory) OfficialImage(ctx context.Context, q ImageQuery) (Image, error) {
	id, ok := m.Official[q.OS+" "+q.Architecture]
	if !ok {
		return Image{}, missing("NoOfficialImage", "there is no official AMI for %s on %s", q.OS, q.Architecture)
	}
	return m.Image(ctx, id)
}

// PlacementGroup implements Source.
func (m *Memory) PlacementGroup(_ context.Context, name string) (PlacementGroup, error) {
	return answer(m, m.PlacementGroups, name, "InvalidPlacementGroup.Unknown")
}

// Reservation implements Source.
func (m *Memory) Reservation(_ context.Context, id string) (Reservation, error) {
	r, err := answer(m, m.Reservations, id, "InvalidCapacityReservationId.NotFound")
	r.ID = id
	return r, err
}

// Volume implements Source.
func (m *Memory) Volume(_ context.Context, id string) (Volume, error) {
	v, err := answer(m, m.Volumes, id, "InvalidVolume.NotFound")
	v.ID = id
	return v, err
}

// VolumeSnapshot implements Source.
func (m *Memory) VolumeSnapshot(_ context.Context, id string) (VolumeSnapshot, error) {
	s, err := answer(m, m.Snapshots, id, "InvalidSnapshot.NotFound")
	s.ID = id
	return s, err
}

// TrialLaunch implements Source: it succeeds unless the instance type is refused.
func (m *Memory) TrialLaunch(_ context.Context, l Launch) error {
	if e, ok := m.Refused[l.InstanceType]; ok {
		return e
	}
	return nil
}

// EFS implements Source.
func (m *Memory) EFS(_ context.Context, id string) (EFS, error) {
	e, err := answer(m, m.EFSs, id, "FileSystemNotFound")
	e.ID = id
	return e, err
}

// FSx implements Source.
func (m *Memory) FSx(_ context.Context, id string) (FSx, error) {
	f, err := answer(m, m.FSxs, id, "FileSystemNotFound")
	f.ID = id
	return f, err
}

// FSxVolume implements Source.
func (m *Memory) FSxVolume(_ context.Context, id string) (FSx, error) {
	return answer(m, m.FSxVolumes, id, "VolumeNotFound")
}

// FileCache implements Source.
func (m *Memory) FileCache(_ context.Context, id string) (FSx, error) {
	f, err := answer(m, m.FileCaches, id, "FileCacheNotFound")
	f.ID = id
	return f, err
}

// FSxBackup implements Source.
func (m *Memory) FSxBackup(_ context.Context, id string) error {
	return m.has(m.Backups, id, "BackupNotFound")
}

// Role implements Source.
func (m *Memory) Role(_ context.Context, name string) error {
	return m.has(m.Roles, name, "NoSuchEntity")
}

// InstanceProfile implements Source.
func (m *Memory) InstanceProfile(_ context.Context, name string) error {
	return m.has(m.Profiles, name, "NoSuchEntity")
}

// Policy implements Source.
func (m *Memory) Policy(_ context.Context, arn string) error {
	return m.has(m.Policies, arn, "NoSuchEntity")
}

// Bucket implements Source.
func (m *Memory) Bucket(_ context.Context, name string) (Bucket, error) {
	b, err := answer(m, m.Buckets, name, "NoSuchBucket")
	b.Name = name
	return b, err
}

// Object implements Source.
func (m *Memory) Object(_ context.Context, bucket, key string) error {
	return m.has(m.Objects, bucket+"/"+key, "NotFound")
}

// URL implements Source.
func (m *Memory) URL(_ context.Context, url string) error { return m.has(m.URLs, url, "404") }

// Secret implements Source.
func (m *Memory) Secret(_ context.Context, arn string) error {
	_, err := answer(m, m.Secrets, arn, "ResourceNotFoundException")
	return err
}

// SecretText implements Source.
func (m *Memory) SecretText(_ context.Context, arn string) (string, error) {
	return answer(m, m.Secrets, arn, "ResourceNotFoundException")
}

// HostedZone implements Source.
func (m *Memory) HostedZone(_ context.Context, id string) (HostedZone, error) {
	z, err := answer(m, m.HostedZones, id, "NoSuchHostedZone")
	z.ID = id
	return z, err
}
