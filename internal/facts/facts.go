// Package facts is what the rest of the tool asks of an AWS account before it
// builds there: instance types, subnets, images, file systems and so on, as plain
// values without SDK types.
//
// [Source] is the one interface. Package live answers from AWS; [Memory] answers
// from values, for tests and for work without an account. Template synthesis does
// not ask a Source: [Gather] collects what a cluster file needs into a [Snapshot].
package facts

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// A Source answers questions about one account in one region. Implementations
// are safe for concurrent use and may remember answers for as long as they live,
// so a Source should not outlive a command by much.
//
// What does not exist is an *Error for which [NotFound] holds. What a source
// can't answer because it asks nobody is [ErrOffline].
type Source interface {
	// Ahead says what is going to be asked, so that a source may get all of a kind
	// at once. Its answers, errors too, are those of the questions themselves.
	Ahead(ctx context.Context, q Questions)

	// InstanceTypes describes types. Those that EC2 does not know are missing in
	// the answer.
	InstanceTypes(ctx context.Context, names []string) (map[string]InstanceType, error)
	// Offered returns the names of all types offered in the region.
	Offered(ctx context.Context) (map[string]bool, error)
	// Zones returns the availability zones that offer a type, sorted.
	Zones(ctx context.Context, instanceType string) ([]string, error)

	Subnet(ctx context.Context, id string) (Subnet, error)
	VPC(ctx context.Context, id string) (VPC, error)
	SecurityGroup(ctx context.Context, id string) (SecurityGroup, error)
	// InternetFacing says whether a subnet has a route to an internet gateway.
	InternetFacing(ctx context.Context, subnetID string) (bool, error)
	Address(ctx context.Context, publicIP string) (Address, error)
	KeyPair(ctx context.Context, name string) (KeyPair, error)

	Image(ctx context.Context, id string) (Image, error)
	// OfficialImage returns the newest official AMI for an operating system and
	// architecture.
	OfficialImage(ctx context.Context, q ImageQuery) (Image, error)
	// BuilderImage returns the ID of the AMI behind an ARN of EC2 Image Builder.
	BuilderImage(ctx context.Context, arn string) (string, error)

	// BuiltImage asks whether there is an AMI that build-image made under an ID.
	BuiltImage(ctx context.Context, id string) error

	PlacementGroup(ctx context.Context, name string) (PlacementGroup, error)
	// LaunchTemplate describes a version of a launch template.
	LaunchTemplate(ctx context.Context, id string, version int) (LaunchTemplate, error)
	Reservation(ctx context.Context, id string) (Reservation, error)
	// ReservationGroup describes a resource group of capacity reservations.
	ReservationGroup(ctx context.Context, arn string) (ReservationGroup, error)
	NetworkInterface(ctx context.Context, id string) (NetworkInterface, error)
	Volume(ctx context.Context, id string) (Volume, error)
	VolumeSnapshot(ctx context.Context, id string) (VolumeSnapshot, error)
	// TrialLaunch asks EC2 whether it would launch. Nil means that it would.
	TrialLaunch(ctx context.Context, l Launch) error
	// BatchTypes returns what AWS Batch takes as instance types in the region:
	// types, families and optimal; nothing if that can't be found out.
	BatchTypes(ctx context.Context) ([]string, error)

	EFS(ctx context.Context, id string) (EFS, error)
	FSx(ctx context.Context, id string) (FSx, error)
	FSxVolume(ctx context.Context, id string) (FSx, error)
	FileCache(ctx context.Context, id string) (FSx, error)
	FSxBackup(ctx context.Context, id string) error
	// Key asks whether a KMS key can be described.
	Key(ctx context.Context, id string) error

	Role(ctx context.Context, name string) error
	InstanceProfile(ctx context.Context, name string) error
	Policy(ctx context.Context, arn string) error

	Bucket(ctx context.Context, name string) (Bucket, error)
	// Object asks whether an object can be read.
	Object(ctx context.Context, bucket, key string) error
	// URL asks whether an https URL can be read.
	URL(ctx context.Context, url string) error

	// Secret asks whether a secret, or an SSM parameter, exists.
	Secret(ctx context.Context, arn string) error
	SecretText(ctx context.Context, arn string) (string, error)
	HostedZone(ctx context.Context, id string) (HostedZone, error)
}

// Questions are what is going to be asked of a [Source], by kind.
type Questions struct {
	Types, Subnets, Groups, Images, Reservations, Volumes, Snapshots, Interfaces []string
}

// ErrOffline is the answer of a source that would have to ask AWS, and may not.
var ErrOffline = errors.New("AWS is not asked")

// An Error is an answer of AWS that is no.
type Error struct {
	Code    string // AWS's code, such as InvalidSubnetID.NotFound
	Message string
	Missing bool // what was asked for does not exist
	Denied  bool // the caller may not ask
}

func (e *Error) Error() string {
	if e.Message == "" {
		return e.Code
	}
	return e.Message
}

// NewError returns the error of a code of AWS.
func NewError(code, message string) *Error {
	e := &Error{Code: code, Message: message}
	if message == "" || message == "UnknownError" {
		e.Message = code
	}
	switch {
	case strings.Contains(code, "NotFound"), strings.HasPrefix(code, "NoSuch"), code == "404",
		code == "InvalidPlacementGroup.Unknown", strings.HasSuffix(code, ".Malformed"):
		e.Missing = true
	case strings.Contains(code, "AccessDenied"), strings.Contains(code, "Unauthorized"), code == "Forbidden", code == "403":
		e.Denied = true
	}
	return e
}

// NotFound says whether the error means that something does not exist.
func NotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Missing
}

// Code returns AWS's code of the error, or nothing.
func Code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func missing(code, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Missing: true}
}

// A Subnet of a VPC.
type Subnet struct {
	ID       string
	AZ       string
	VPC      string
	CIDR     string
	PublicIP bool // gives instances public addresses by itself
}

// A VPC with what matters to name resolution.
type VPC struct {
	DNSSupport   bool
	DNSHostnames bool
}

// A SecurityGroup with its rules.
type SecurityGroup struct {
	ID      string
	VPC     string
	Ingress []Rule
	Egress  []Rule
}

// A Rule lets traffic through a security group.
type Rule struct {
	Protocol    string // -1, tcp, udp, icmp or a number
	From, To    int
	CIDRs       []string
	Groups      []string
	PrefixLists []string
}

// An Address is an Elastic IP.
type Address struct {
	PublicIP     string
	AllocationID string
}

// A KeyPair for SSH.
type KeyPair struct {
	Name string
	Type string // rsa or ed25519
}

// An Image is an AMI.
type Image struct {
	ID           string
	Name         string
	Description  string
	Architecture string
	RootDevice   string // of the first block device mapping, which is the root volume's
	RootSize     int    // GiB; 0 if unknown
	Tags         map[string]string
}

// An ImageQuery asks for an official AMI.
type ImageQuery struct {
	OS           string
	Architecture string
	Owner        string            // amazon, unless DevSettings say otherwise
	Tags         map[string]string // that the AMI must have
}

// A PlacementGroup of instances.
type PlacementGroup struct {
	Name     string
	Strategy string
}

// A LaunchTemplate is a version of a launch template, as far as a compute resource
// may take over what it says.
type LaunchTemplate struct {
	Interfaces []TemplateInterface
	Others     []string // names of other properties that it sets
}

// A TemplateInterface is a network interface of a launch template.
type TemplateInterface struct {
	DeviceIndex      int
	NetworkCardIndex int
	InterfaceType    string // empty, efa or efa-only
	Subnet           string
	Groups           []string
	PublicIP         *bool
}

// A Reservation of capacity.
type Reservation struct {
	ID             string
	ARN            string
	InstanceType   string
	AZ             string
	Total          int
	Type           string // default or capacity-block
	PlacementGroup string // ARN
	// Requested is how many instances were asked for in all, where the reservation
	// grows to that number in steps; else 0.
	Requested int
}

// A ReservationGroup is a resource group.
type ReservationGroup struct {
	Pool         bool // it is of the type of capacity reservation pools
	Reservations []string
}

// A NetworkInterface of a VPC.
type NetworkInterface struct {
	ID     string
	VPC    string
	Groups []string
}

// A Volume of EBS.
type Volume struct {
	ID         string
	AZ         string
	State      string
	AttachedTo []string // instance IDs
}

// A VolumeSnapshot of EBS.
type VolumeSnapshot struct {
	ID    string
	Size  int // GiB
	State string
}

// EFS is a file system of EFS.
type EFS struct {
	ID           string
	OneZone      bool
	MountTargets []MountTarget
}

// A MountTarget of EFS.
type MountTarget struct {
	AZ     string
	Groups []string
}

// FSx is a file system or a cache of FSx.
type FSx struct {
	ID         string
	Type       string // LUSTRE, OPENZFS, ONTAP or FILE_CACHE
	VPC        string
	Subnets    []string
	Interfaces []string
	DNSName    string
	MountName  string
}

// A Bucket of S3.
type Bucket struct {
	Name       string
	Region     string
	Versioning bool
}

// A HostedZone of Route 53.
type HostedZone struct {
	ID      string
	Name    string // without the dot at the end
	Private bool
	VPCs    []string
}

// A Launch is a request to run one instance, to try out.
type Launch struct {
	InstanceType     string
	Image            string
	Subnet           string
	Groups           []string
	KeyName          string
	Interfaces       int // one on each network card
	EFA              bool
	PublicIP         *bool
	PlacementGroup   string
	Spot             bool
	CapacityBlock    bool
	Reservation      string
	ReservationGroup string
	RootDevice       string
	RootSize         int
	RootType         string
	RootIops         int
	RootThroughput   int
	RootEncrypted    bool
	RequireIMDSv2    bool
	Tags             map[string]string
}
