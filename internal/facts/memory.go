package facts

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Memory is a Source that answers from values: an account on paper. What is not
// in it does not exist. [Read] makes one from a file.
type Memory struct {
	Types             map[string]InstanceType
	NotOffered        []string // types that EC2 knows but the region does not offer
	TypeZones         map[string][]string
	Subnets           map[string]Subnet
	VPCs              map[string]VPC
	Groups            map[string]SecurityGroup
	PublicSubnets     []string
	Addresses         map[string]Address
	KeyPairs          map[string]KeyPair
	Images            map[string]Image
	Official          map[string]string // OS and architecture with a blank between → image ID
	Builder           map[string]string // ARN of Image Builder → image ID
	Built             []string          // IDs of images that build-image made
	PlacementGroups   map[string]PlacementGroup
	Templates         map[string]LaunchTemplate // by ID, a slash, and version
	Reservations      map[string]Reservation
	ReservationGroups map[string]ReservationGroup
	Interfaces        map[string]NetworkInterface
	Volumes           map[string]Volume
	Snapshots         map[string]VolumeSnapshot
	BatchNames        []string
	EFSs              map[string]EFS
	FSxs              map[string]FSx
	FSxVolumes        map[string]FSx
	FileCaches        map[string]FSx
	Backups           []string
	Keys              []string
	Roles             []string
	Profiles          []string
	Policies          []string
	Buckets           map[string]Bucket
	Objects           []string          // bucket/key
	Sites             map[string]string // URL → status, or hang
	Secrets           map[string]string // ARN → text
	Parameters        []string
	HostedZones       map[string]HostedZone

	// Partial says that there is more in the account than stands here: what is not
	// in it may exist, and the answer is ErrOffline. See [OnUnanswered].
	Partial bool
	// Catalog knows instance types that Types has not; it may be nil.
	Catalog func(name string) (InstanceType, bool)

	// Refused maps what is asked for, an ID, a name or an ARN, to the error that
	// AWS answers.
	Refused map[string]*Error
	// Launches maps instance types to what EC2 answers to trial launches.
	Launches map[string]*Error
}

var _ Source = (*Memory)(nil)

type unansweredKey struct{}

// OnUnanswered returns a context whose questions to a partial [Memory] call f
// where there is no answer.
func OnUnanswered(ctx context.Context, f func()) context.Context {
	return context.WithValue(ctx, unansweredKey{}, f)
}

// absent is the answer about what is not in the memory.
func (m *Memory) absent(ctx context.Context, name, code string) error {
	if !m.Partial {
		return missing(code, "%s does not exist", name)
	}
	if f, ok := ctx.Value(unansweredKey{}).(func()); ok {
		f()
	}
	return ErrOffline
}

// answer looks up what has a name.
func answer[T any](ctx context.Context, m *Memory, in map[string]T, name, code string) (T, error) {
	var none T
	if e, ok := m.Refused[name]; ok {
		return none, e
	}
	if v, ok := in[name]; ok {
		return v, nil
	}
	return none, m.absent(ctx, name, code)
}

func (m *Memory) has(ctx context.Context, in []string, name, code string) error {
	if e, ok := m.Refused[name]; ok {
		return e
	}
	if slices.Contains(in, name) {
		return nil
	}
	return m.absent(ctx, name, code)
}

// Ahead implements Source: there is nothing to prepare.
func (m *Memory) Ahead(context.Context, Questions) {}

// InstanceTypes implements Source.
func (m *Memory) InstanceTypes(_ context.Context, names []string) (map[string]InstanceType, error) {
	out := map[string]InstanceType{}
	for _, n := range names {
		if t, ok := m.Types[n]; ok {
			out[n] = t
		} else if m.Catalog != nil {
			if t, ok := m.Catalog(n); ok {
				out[n] = t
			}
		}
	}
	return out, nil
}

// Offered implements Source.
func (m *Memory) Offered(ctx context.Context) (map[string]bool, error) {
	if m.Partial {
		return nil, m.absent(ctx, "", "")
	}
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
func (m *Memory) Subnet(ctx context.Context, id string) (Subnet, error) {
	s, err := answer(ctx, m, m.Subnets, id, "InvalidSubnetID.NotFound")
	s.ID = id
	return s, err
}

// VPC implements Source.
func (m *Memory) VPC(ctx context.Context, id string) (VPC, error) {
	return answer(ctx, m, m.VPCs, id, "InvalidVpcID.NotFound")
}

// SecurityGroup implements Source.
func (m *Memory) SecurityGroup(ctx context.Context, id string) (SecurityGroup, error) {
	g, err := answer(ctx, m, m.Groups, id, "InvalidGroup.NotFound")
	g.ID = id
	return g, err
}

// InternetFacing implements Source.
func (m *Memory) InternetFacing(ctx context.Context, subnetID string) (bool, error) {
	if _, known := m.Subnets[subnetID]; m.Partial && !known {
		return false, m.absent(ctx, subnetID, "InvalidSubnetID.NotFound")
	}
	return slices.Contains(m.PublicSubnets, subnetID), nil
}

// Address implements Source.
func (m *Memory) Address(ctx context.Context, publicIP string) (Address, error) {
	a, err := answer(ctx, m, m.Addresses, publicIP, "InvalidAddress.NotFound")
	a.PublicIP = publicIP
	return a, err
}

// KeyPair implements Source.
func (m *Memory) KeyPair(ctx context.Context, name string) (KeyPair, error) {
	k, err := answer(ctx, m, m.KeyPairs, name, "InvalidKeyPair.NotFound")
	k.Name = name
	return k, err
}

// Image implements Source.
func (m *Memory) Image(ctx context.Context, id string) (Image, error) {
	i, err := answer(ctx, m, m.Images, id, "InvalidAMIID.NotFound")
	i.ID = id
	return i, err
}

// OfficialImage implements Source.
func (m *Memory) OfficialImage(ctx context.Context, q ImageQuery) (Image, error) {
	id, ok := m.Official[q.OS+" "+q.Architecture]
	ok = ok && (q.Owner == "" || q.Owner == "amazon")
	for key, value := range q.Tags {
		ok = ok && m.Images[id].Tags[key] == value
	}
	if !ok {
		if m.Partial {
			return Image{}, m.absent(ctx, "", "")
		}
		return Image{}, missing("NoOfficialImage", "there is no official AMI for %s on %s", q.OS, q.Architecture)
	}
	return m.Image(ctx, id)
}

// BuilderImage implements Source.
func (m *Memory) BuilderImage(ctx context.Context, arn string) (string, error) {
	return answer(ctx, m, m.Builder, arn, "ResourceNotFoundException")
}

// BuiltImage implements Source.
func (m *Memory) BuiltImage(ctx context.Context, id string) error {
	return m.has(ctx, m.Built, id, "NotFound")
}

// PlacementGroup implements Source.
func (m *Memory) PlacementGroup(ctx context.Context, name string) (PlacementGroup, error) {
	return answer(ctx, m, m.PlacementGroups, name, "InvalidPlacementGroup.Unknown")
}

// LaunchTemplate implements Source.
func (m *Memory) LaunchTemplate(ctx context.Context, id string, version int) (LaunchTemplate, error) {
	return answer(ctx, m, m.Templates, id+"/"+strconv.Itoa(version), "InvalidLaunchTemplateId.VersionNotFound")
}

// Reservation implements Source.
func (m *Memory) Reservation(ctx context.Context, id string) (Reservation, error) {
	r, err := answer(ctx, m, m.Reservations, id, "InvalidCapacityReservationId.NotFound")
	r.ID = id
	return r, err
}

// ReservationGroup implements Source.
func (m *Memory) ReservationGroup(ctx context.Context, arn string) (ReservationGroup, error) {
	return answer(ctx, m, m.ReservationGroups, arn, "NotFoundException")
}

// NetworkInterface implements Source.
func (m *Memory) NetworkInterface(ctx context.Context, id string) (NetworkInterface, error) {
	n, err := answer(ctx, m, m.Interfaces, id, "InvalidNetworkInterfaceID.NotFound")
	n.ID = id
	return n, err
}

// Volume implements Source.
func (m *Memory) Volume(ctx context.Context, id string) (Volume, error) {
	v, err := answer(ctx, m, m.Volumes, id, "InvalidVolume.NotFound")
	v.ID = id
	return v, err
}

// VolumeSnapshot implements Source.
func (m *Memory) VolumeSnapshot(ctx context.Context, id string) (VolumeSnapshot, error) {
	s, err := answer(ctx, m, m.Snapshots, id, "InvalidSnapshot.NotFound")
	s.ID = id
	return s, err
}

// TrialLaunch implements Source: it succeeds unless the instance type is refused.
func (m *Memory) TrialLaunch(ctx context.Context, l Launch) error {
	if e, ok := m.Launches[l.InstanceType]; ok {
		return e
	}
	if m.Partial {
		return m.absent(ctx, "", "")
	}
	return nil
}

// BatchTypes implements Source.
func (m *Memory) BatchTypes(ctx context.Context) ([]string, error) {
	if m.Partial && m.BatchNames == nil {
		return nil, m.absent(ctx, "", "")
	}
	return m.BatchNames, nil
}

// EFS implements Source.
func (m *Memory) EFS(ctx context.Context, id string) (EFS, error) {
	e, err := answer(ctx, m, m.EFSs, id, "FileSystemNotFound")
	e.ID = id
	return e, err
}

// FSx implements Source.
func (m *Memory) FSx(ctx context.Context, id string) (FSx, error) {
	f, err := answer(ctx, m, m.FSxs, id, "FileSystemNotFound")
	f.ID = id
	return f, err
}

// FSxVolume implements Source.
func (m *Memory) FSxVolume(ctx context.Context, id string) (FSx, error) {
	return answer(ctx, m, m.FSxVolumes, id, "VolumeNotFound")
}

// FileCache implements Source.
func (m *Memory) FileCache(ctx context.Context, id string) (FSx, error) {
	f, err := answer(ctx, m, m.FileCaches, id, "FileCacheNotFound")
	f.ID = id
	return f, err
}

// FSxBackup implements Source.
func (m *Memory) FSxBackup(ctx context.Context, id string) error {
	return m.has(ctx, m.Backups, id, "BackupNotFound")
}

// Key implements Source. An ARN names the key by its last part.
func (m *Memory) Key(ctx context.Context, id string) error {
	if name := id[strings.LastIndexByte(id, '/')+1:]; slices.Contains(m.Keys, name) && m.Refused[name] == nil {
		return nil
	}
	return m.has(ctx, m.Keys, id, "NotFoundException")
}

// Role implements Source.
func (m *Memory) Role(ctx context.Context, name string) error {
	return m.has(ctx, m.Roles, name, "NoSuchEntity")
}

// InstanceProfile implements Source.
func (m *Memory) InstanceProfile(ctx context.Context, name string) error {
	return m.has(ctx, m.Profiles, name, "NoSuchEntity")
}

// Policy implements Source.
func (m *Memory) Policy(ctx context.Context, arn string) error {
	return m.has(ctx, m.Policies, arn, "NoSuchEntity")
}

// Bucket implements Source.
func (m *Memory) Bucket(ctx context.Context, name string) (Bucket, error) {
	b, err := answer(ctx, m, m.Buckets, name, "NoSuchBucket")
	b.Name = name
	return b, err
}

// Object implements Source.
func (m *Memory) Object(ctx context.Context, bucket, key string) error {
	return m.has(ctx, m.Objects, bucket+"/"+key, "NotFound")
}

// slowness is how long a server that hangs takes to give up.
const slowness = 8 * time.Second

// URL implements Source.
func (m *Memory) URL(ctx context.Context, url string) error {
	status, ok := m.Sites[url]
	switch {
	case !ok && m.Partial:
		return m.absent(ctx, "", "")
	case !ok:
		return missing("NoSuchHost", "there is no such host")
	case status == "hang":
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(slowness):
			return &Error{Code: "Timeout", Message: "the server does not answer"}
		}
	case strings.HasPrefix(status, "2"), strings.HasPrefix(status, "3"):
		return nil
	}
	return NewError(status, "the server answers "+status)
}

// Secret implements Source.
func (m *Memory) Secret(ctx context.Context, arn string) error {
	if _, name, ok := strings.Cut(arn, ":parameter/"); ok && m.Refused[arn] == nil {
		return m.has(ctx, m.Parameters, name, "ParameterNotFound")
	}
	_, err := answer(ctx, m, m.Secrets, arn, "ResourceNotFoundException")
	return err
}

// SecretText implements Source.
func (m *Memory) SecretText(ctx context.Context, arn string) (string, error) {
	return answer(ctx, m, m.Secrets, arn, "ResourceNotFoundException")
}

// HostedZone implements Source.
func (m *Memory) HostedZone(ctx context.Context, id string) (HostedZone, error) {
	z, err := answer(ctx, m, m.HostedZones, id, "NoSuchHostedZone")
	z.ID = id
	return z, err
}
