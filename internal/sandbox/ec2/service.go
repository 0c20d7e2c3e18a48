package ec2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/machine"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/vpc"
)

// Machines boots and ends the machines behind instances; a *machine.Manager does.
// Calls for different machines may come at the same time.
type Machines interface {
	// Start boots the machine and returns when its init runs and its network is
	// attached. A machine that ran before gets its old disk.
	Start(ctx context.Context, s machine.Spec) error
	Stop(ctx context.Context, id string) error // clean shutdown, killed after a while; the disk is kept
	Kill(ctx context.Context, id string) error // like a power cut; the disk is kept
	Remove(ctx context.Context, id string) error
	AttachVolume(ctx context.Context, id string, v machine.Volume) error
	DetachVolume(ctx context.Context, id string, v machine.Volume) error
	// Capture makes a layer of what the machine changed on its disk. With move, the
	// disk is taken from a machine that does not run.
	Capture(ctx context.Context, id, dir string, move bool) error
	// ReadFile reads a file that the machine wrote.
	ReadFile(id, path string, offset int64, limit int) ([]byte, error)
	Running() []string // must not wait for whoever is told of exits
	Console(id string) ([]byte, error)
}

// Network carries the packets of the region; a *vpc.Network does.
type Network interface {
	// AddSubnet makes the subnet's gateway and resolver answer. Adding one again
	// changes nothing.
	AddSubnet(prefix netip.Prefix) error
	// SetGroups replaces all security groups at once.
	SetGroups(groups []vpc.Group) error
	// SetPublic makes public the public address of private; the zero Addr takes
	// it away.
	SetPublic(private, public netip.Addr) error
}

// Profiles knows IAM's instance profiles.
type Profiles interface {
	InstanceProfileRole(ctx context.Context, nameOrARN string) (profileARN, profileID, roleARN, roleName string, err error)
}

// A Config is what a Service needs of its surroundings.
type Config struct {
	Dir      string // for the files behind volumes and snapshots, and consoles of ended instances
	Machines Machines
	Network  Network
	Profiles Profiles
	// BaseLayers returns the layers of the region's base image, lowest first, on
	// which every image without layers of its own boots.
	BaseLayers func(context.Context) ([]string, error)
	// ReservationGroup returns the IDs of the capacity reservations in a resource group;
	// nil: there are no such groups.
	ReservationGroup func(arn string) ([]string, error)
	// KeyARN returns the ARN of a key of KMS that is given by any of its names; nil: the
	// names are ARNs.
	KeyARN func(name string) string

	Log   *slog.Logger     // nil: slog.Default()
	Now   func() time.Time // nil: time.Now
	Boots int              // machines that may boot at the same time; 0: 4
	// Grace is how long a machine may take to shut down when its instance is
	// terminated; 0: two seconds.
	Grace time.Duration
}

// A Service answers EC2's API for one region. Its methods may be called
// concurrently.
type Service struct {
	id  *region.Identity
	cfg Config
	log *slog.Logger
	now func() time.Time

	// mu is held by whatever changes rows that depend on each other, which is
	// nearly everything; never while waiting for a machine.
	mu sync.Mutex

	vpcs           *table[vpcRow]
	subnets        *table[types.Subnet]
	routes         *table[types.RouteTable]
	gateways       *table[types.InternetGateway]
	nats           *table[types.NatGateway]
	groups         *table[securityGroup]
	enis           *table[types.NetworkInterface]
	eips           *table[types.Address]
	keys           *table[types.KeyPairInfo]
	images         *table[image]
	snapshots      *table[types.Snapshot]
	volumes        *table[volume]
	snapshotLayers *table[layerSet]
	templates      *table[launchTemplate]
	placements     *table[types.PlacementGroup]
	reservations   *table[types.CapacityReservation]
	offers         *table[types.CapacityBlockOffering]
	instances      *table[instance]
	tokens         *table[token]
	capacity       *table[int]
	secrets        *table[string]

	health health

	kinds    []kind // everything that can be tagged
	tokenKey []byte // signs session tokens of the metadata service
	addrs    addressBook
	rules    enforcer
	work     workers

	removing sync.WaitGroup // of layers

	parked bool // the region is going down: new instances wait for its return
}

// tokenSecret is the name of the key in the table of secrets.
const tokenSecret = "imds-token"

// New opens the tables of EC2 in db. Machines are not touched before [Service.ResumeAll].
func New(db *store.DB, id *region.Identity, cfg Config) (*Service, error) {
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	cfg.Boots = cmp.Or(cfg.Boots, 4)
	cfg.Grace = cmp.Or(cfg.Grace, 2*time.Second)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.KeyARN == nil {
		cfg.KeyARN = func(name string) string { return name }
	}
	s := &Service{id: id, cfg: cfg, log: cfg.Log, now: cfg.Now}
	err := errors.Join(
		open(db, "ec2.vpcs", &s.vpcs),
		open(db, "ec2.subnets", &s.subnets),
		open(db, "ec2.route-tables", &s.routes),
		open(db, "ec2.internet-gateways", &s.gateways),
		open(db, "ec2.nat-gateways", &s.nats),
		open(db, "ec2.security-groups", &s.groups),
		open(db, "ec2.network-interfaces", &s.enis),
		open(db, "ec2.addresses", &s.eips),
		open(db, "ec2.key-pairs", &s.keys),
		open(db, "ec2.images", &s.images),
		open(db, "ec2.snapshots", &s.snapshots),
		open(db, "ec2.volumes", &s.volumes),
		open(db, "ec2.snapshot-layers", &s.snapshotLayers),
		open(db, "ec2.launch-templates", &s.templates),
		open(db, "ec2.placement-groups", &s.placements),
		open(db, "ec2.capacity-reservations", &s.reservations),
		open(db, "ec2.capacity-block-offerings", &s.offers),
		open(db, "ec2.instances", &s.instances),
		open(db, "ec2.client-tokens", &s.tokens),
		open(db, "ec2.capacity", &s.capacity),
		open(db, "ec2.secrets", &s.secrets),
	)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{"volumes", "snapshots", "consoles"} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, dir), 0o700); err != nil {
			return nil, fmt.Errorf("make room for EC2's files: %w", err)
		}
	}
	if s.secrets.get(tokenSecret) == nil {
		if err := s.secrets.put(tokenSecret, aws.String(region.Hex(64))); err != nil {
			return nil, err
		}
	}
	s.tokenKey = []byte(*s.secrets.get(tokenSecret))
	s.kinds = s.taggable()
	for _, eni := range s.enis.all() {
		s.addrs.take(eni)
	}
	s.rules.init(s)
	s.work.init(s)
	return s, nil
}
