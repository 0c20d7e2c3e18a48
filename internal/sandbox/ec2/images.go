package ec2

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/machine"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// image is an AMI and what a machine that boots from it is made of.
type image struct {
	Desc        types.Image
	Layers      []string       `json:",omitempty"` // none: the region's base image
	Files       []machine.File `json:",omitempty"`
	Permissions []types.LaunchPermission
}

func imageKey(v *image) string { return *v.Desc.ImageId }

func mappings(get func(types.BlockDeviceMapping) []string) attribute[image] {
	return func(v *image) []string {
		var out []string
		for _, m := range v.Desc.BlockDeviceMappings {
			out = append(out, get(m)...)
		}
		return out
	}
}

func ofEBS(get func(*types.EbsBlockDevice) []string) attribute[image] {
	return mappings(func(m types.BlockDeviceMapping) []string {
		if m.Ebs == nil {
			return nil
		}
		return get(m.Ebs)
	})
}

var imageAttributes = map[string]attribute[image]{
	"architecture":                     func(v *image) []string { return word(v.Desc.Architecture) },
	"boot-mode":                        func(v *image) []string { return word(v.Desc.BootMode) },
	"creation-date":                    func(v *image) []string { return one(v.Desc.CreationDate) },
	"description":                      func(v *image) []string { return one(v.Desc.Description) },
	"ena-support":                      func(v *image) []string { return yesNo(v.Desc.EnaSupport) },
	"hypervisor":                       func(v *image) []string { return word(v.Desc.Hypervisor) },
	"image-id":                         func(v *image) []string { return one(v.Desc.ImageId) },
	"image-type":                       func(v *image) []string { return word(v.Desc.ImageType) },
	"is-public":                        func(v *image) []string { return yesNo(v.Desc.Public) },
	"name":                             func(v *image) []string { return one(v.Desc.Name) },
	"manifest-location":                func(v *image) []string { return one(v.Desc.ImageLocation) },
	"owner-alias":                      func(v *image) []string { return one(v.Desc.ImageOwnerAlias) },
	"owner-id":                         func(v *image) []string { return one(v.Desc.OwnerId) },
	"platform":                         func(v *image) []string { return word(v.Desc.Platform) },
	"root-device-name":                 func(v *image) []string { return one(v.Desc.RootDeviceName) },
	"root-device-type":                 func(v *image) []string { return word(v.Desc.RootDeviceType) },
	"source-instance-id":               func(v *image) []string { return one(v.Desc.SourceInstanceId) },
	"state":                            func(v *image) []string { return word(v.Desc.State) },
	"virtualization-type":              func(v *image) []string { return word(v.Desc.VirtualizationType) },
	"block-device-mapping.device-name": mappings(func(m types.BlockDeviceMapping) []string { return one(m.DeviceName) }),
	"block-device-mapping.snapshot-id": ofEBS(func(e *types.EbsBlockDevice) []string { return one(e.SnapshotId) }),
	"block-device-mapping.volume-size": ofEBS(func(e *types.EbsBlockDevice) []string { return number(e.VolumeSize) }),
	"block-device-mapping.volume-type": ofEBS(func(e *types.EbsBlockDevice) []string { return word(e.VolumeType) }),
	"block-device-mapping.encrypted":   ofEBS(func(e *types.EbsBlockDevice) []string { return yesNo(e.Encrypted) }),
	"block-device-mapping.delete-on-termination": ofEBS(func(e *types.EbsBlockDevice) []string { return yesNo(e.DeleteOnTermination) }),
}

// DescribeImages lists AMIs: the account's own and the public ones.
func (s *Service) DescribeImages(_ context.Context, in *sdk.DescribeImagesInput) (*sdk.DescribeImagesOutput, error) {
	l := of(s.images, nounImage, imageKey, imageAttributes, func(v *image) []types.Tag { return v.Desc.Tags })
	if len(in.Owners) > 0 {
		all := l.rows
		l.rows = func() []*image {
			var own []*image
			for _, v := range all() {
				if s.ownedBy(v, in.Owners) {
					own = append(own, v)
				}
			}
			return own
		}
	}
	rows, next, err := l.describe(in.ImageIds, in.Filters, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeImagesOutput{Images: make([]types.Image, 0, len(rows)), NextToken: next}
	for i := range rows {
		if len(in.Owners) == 0 || s.ownedBy(&rows[i], in.Owners) {
			out.Images = append(out.Images, rows[i].Desc)
		}
	}
	return out, nil
}

func (s *Service) ownedBy(v *image, owners []string) bool {
	return slices.ContainsFunc(owners, func(o string) bool {
		return o == "self" && *v.Desc.OwnerId == s.id.Account() || o == *v.Desc.OwnerId || o == aws.ToString(v.Desc.ImageOwnerAlias)
	})
}

// newImage describes an AMI whose root disk is a snapshot of the given size, and
// enters that snapshot. s.mu is held.
func (s *Service) newImage(id, name string, sizeGiB int32, rootDevice string) (*image, error) {
	now := s.now().UTC()
	v := &image{Desc: types.Image{
		ImageId:            aws.String(id),
		Name:               aws.String(name),
		ImageLocation:      aws.String(s.id.Account() + "/" + name),
		OwnerId:            aws.String(s.id.Account()),
		CreationDate:       aws.String(now.Format("2006-01-02T15:04:05.000Z")),
		State:              types.ImageStateAvailable,
		Public:             aws.Bool(false),
		Architecture:       architecture(),
		ImageType:          types.ImageTypeValuesMachine,
		Hypervisor:         types.HypervisorTypeXen,
		VirtualizationType: types.VirtualizationTypeHvm,
		EnaSupport:         aws.Bool(true),
		SriovNetSupport:    aws.String("simple"),
		ImdsSupport:        types.ImdsSupportValuesV20,
		PlatformDetails:    aws.String("Linux/UNIX"),
		UsageOperation:     aws.String("RunInstances"),
		RootDeviceName:     aws.String(rootDevice),
		RootDeviceType:     types.DeviceTypeEbs,
	}}
	snap := &types.Snapshot{
		SnapshotId:  aws.String("snap-" + strings.TrimPrefix(id, "ami-")),
		OwnerId:     v.Desc.OwnerId,
		Description: aws.String("Created by CreateImage for " + id),
		StartTime:   aws.Time(now),
		State:       types.SnapshotStateCompleted,
		Progress:    aws.String("100%"),
		VolumeId:    aws.String("vol-ffffffff"), // what EC2 shows for volumes that are gone
		VolumeSize:  aws.Int32(sizeGiB),
		Encrypted:   aws.Bool(false),
		StorageTier: types.StorageTierStandard,
	}
	v.Desc.BlockDeviceMappings = []types.BlockDeviceMapping{{
		DeviceName: aws.String(rootDevice),
		Ebs: &types.EbsBlockDevice{
			SnapshotId: snap.SnapshotId, VolumeSize: aws.Int32(sizeGiB), VolumeType: types.VolumeTypeGp3,
			Iops: aws.Int32(3000), Throughput: aws.Int32(125), DeleteOnTermination: aws.Bool(true), Encrypted: aws.Bool(false),
		},
	}}
	return v, s.snapshots.put(*snap.SnapshotId, snap)
}

// architecture is that of the machines which can boot here: the host's.
func architecture() types.ArchitectureValues {
	if runtime.GOARCH == "arm64" {
		return types.ArchitectureValuesArm64
	}
	return types.ArchitectureValuesX8664
}

// An operatingSystem is one that images claim to have, by its name in a cluster
// file. What boots is the region's own base image: only the default user and the
// name of the root device are as on the original.
type operatingSystem struct {
	name, user, rootDevice, officialName string
}

var operatingSystems = []operatingSystem{
	{"alinux2", "ec2-user", "/dev/xvda", "amzn2-hvm"},
	{"alinux2023", "ec2-user", "/dev/xvda", "amzn2023-hvm"},
	{"ubuntu2204", "ubuntu", "/dev/sda1", "ubuntu-2204-lts-hvm"},
	{"ubuntu2404", "ubuntu", "/dev/sda1", "ubuntu-2404-lts-hvm"},
	{"rhel8", "ec2-user", "/dev/sda1", "rhel8-hvm"},
	{"rhel9", "ec2-user", "/dev/sda1", "rhel9-hvm"},
	{"rocky8", "rocky", "/dev/sda1", ""},
	{"rocky9", "rocky", "/dev/sda1", ""},
	{"debian12", "admin", "/dev/xvda", ""},
}

func operatingSystemNamed(name string) (operatingSystem, error) {
	for _, o := range operatingSystems {
		if o.name == name {
			return o, nil
		}
	}
	return operatingSystem{}, fmt.Errorf("no image of the operating system %q can be made", name)
}

// operatingSystemLike is the operating system of that name, or another release of one that
// can be named: their makers keep the default user from release to release.
func operatingSystemLike(name string) (operatingSystem, error) {
	exact, err := operatingSystemNamed(name)
	if err == nil {
		return exact, nil
	}
	family := func(name string) string { return strings.TrimRight(name, "0123456789") }
	for _, o := range operatingSystems {
		if family(o.name) == family(name) {
			o.name = name
			return o, nil
		}
	}
	return operatingSystem{}, err
}

// files are what an image of the system adds to the base image: cloud-init makes
// the default user that people log in as.
func (o operatingSystem) files() []machine.File {
	return []machine.File{{
		Path: "/etc/cloud/cloud.cfg.d/91_default_user.cfg",
		Mode: 0o644,
		Content: []byte(`users: [default]
system_info:
  default_user:
    name: ` + o.user + `
    gecos: EC2 Default User
    lock_passwd: true
    groups: [adm, systemd-journal]
    sudo: ["ALL=(ALL) NOPASSWD:ALL"]
    shell: /bin/bash
`),
	}, {
		// What images that are built of this one say that they are.
		Path: "/etc/parallelcluster/base_os", Mode: 0o644, Content: []byte(o.name + "\n"),
	}}
}

const (
	officialOwner   = "247102896272" // AWS ParallelCluster's
	officialVersion = "3.16.0"
	officialDate    = "202510011200"
)

// putOfficial enters the public ParallelCluster images, so that files which name
// no image find theirs.
func (s *Service) putOfficial() error {
	for _, o := range operatingSystems {
		if o.officialName == "" {
			continue
		}
		for _, arch := range []types.ArchitectureValues{types.ArchitectureValuesX8664, types.ArchitectureValuesArm64} {
			name := fmt.Sprintf("aws-parallelcluster-%s-%s-%s-%s", officialVersion, o.officialName, arch, officialDate)
			sum := sha256.Sum256([]byte(name))
			id := "ami-0" + hex.EncodeToString(sum[:8])
			if s.images.get(id) != nil {
				continue
			}
			v, err := s.newImage(id, name, 35, o.rootDevice)
			if err != nil {
				return err
			}
			err = s.snapshots.set(*v.Desc.BlockDeviceMappings[0].Ebs.SnapshotId, func(snap *types.Snapshot) {
				snap.OwnerId, snap.OwnerAlias = aws.String(officialOwner), aws.String("amazon")
			})
			if err != nil {
				return err
			}
			v.Desc.Architecture = arch
			v.Desc.OwnerId, v.Desc.ImageOwnerAlias = aws.String(officialOwner), aws.String("amazon")
			v.Desc.ImageLocation = aws.String("amazon/" + name)
			v.Desc.Description = aws.String("AWS ParallelCluster AMI for " + o.name)
			v.Desc.Public = aws.Bool(true)
			v.Desc.CreationDate = aws.String("2025-10-01T12:00:00.000Z")
			v.Desc.DeprecationTime = aws.String("2027-10-01T12:00:00.000Z")
			v.Files = o.files()
			if err := s.images.put(id, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// publisher owns images as the makers of systems publish them.
const publisher = "137112412989" // Amazon's

// managedName is the name of an operating system's image as its maker publishes it.
func managedName(o operatingSystem, arch types.ArchitectureValues) string {
	return o.name + "-base-" + string(arch) + "-2025.10.1"
}

func imageIDOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "ami-0" + hex.EncodeToString(sum[:8])
}

// putManaged enters the images of plain operating systems, on which people build
// their own. They boot what all images here boot.
func (s *Service) putManaged() error {
	for _, o := range operatingSystems {
		for _, arch := range []types.ArchitectureValues{types.ArchitectureValuesX8664, types.ArchitectureValuesArm64} {
			name := managedName(o, arch)
			id := imageIDOf(name)
			if s.images.get(id) != nil {
				continue
			}
			v, err := s.newImage(id, name, 8, o.rootDevice)
			if err != nil {
				return err
			}
			err = s.snapshots.set(*v.Desc.BlockDeviceMappings[0].Ebs.SnapshotId, func(snap *types.Snapshot) {
				snap.OwnerId, snap.OwnerAlias = aws.String(publisher), aws.String("amazon")
			})
			if err != nil {
				return err
			}
			v.Desc.Architecture, v.Desc.Public = arch, aws.Bool(true)
			v.Desc.OwnerId, v.Desc.ImageOwnerAlias = aws.String(publisher), aws.String("amazon")
			v.Desc.ImageLocation, v.Desc.Description = aws.String("amazon/"+name), aws.String("Base image of "+o.name)
			v.Desc.CreationDate = aws.String("2025-10-01T12:00:00.000Z")
			v.Files = o.files()
			if err := s.images.put(id, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// ManagedImage returns the AMI of a plain operating system, by its name in a cluster
// file and an architecture.
func (s *Service) ManagedImage(os, architecture string) (imageID string, ok bool) {
	system, err := operatingSystemNamed(os)
	if err != nil {
		return "", false
	}
	id := imageIDOf(managedName(system, types.ArchitectureValues(architecture)))
	return id, s.images.get(id) != nil
}

// RegisterImage makes an AMI of snapshots. It boots what the root device's snapshot
// was made of if that was an image's, else the region's base image.
func (s *Service) RegisterImage(ctx context.Context, in *sdk.RegisterImageInput) (*sdk.RegisterImageOutput, error) {
	tags, err := newTags(ctx, in.TagSpecifications, types.ResourceTypeImage)
	if err != nil {
		return nil, err
	}
	name := aws.ToString(in.Name)
	rootDevice := aws.ToString(in.RootDeviceName)
	if rootDevice == "" {
		return nil, missing("rootDeviceName")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkImageName(name); err != nil {
		return nil, err
	}
	size := int32(0)
	var layers []string
	for _, m := range in.BlockDeviceMappings {
		if m.Ebs == nil || m.Ebs.SnapshotId == nil {
			continue
		}
		snap, err := find(s.snapshots, nounSnapshot, *m.Ebs.SnapshotId)
		if err != nil {
			return nil, err
		}
		if aws.ToString(m.DeviceName) == rootDevice {
			size = max(aws.ToInt32(snap.VolumeSize), aws.ToInt32(m.Ebs.VolumeSize))
			if set := s.snapshotLayers.get(*m.Ebs.SnapshotId); set != nil {
				layers = set.Layers
			}
		}
	}
	if size == 0 {
		return nil, wire.Errorf("InvalidBlockDeviceMapping", "The block device mapping needs a snapshot for the root device %s.", rootDevice)
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	v, err := s.newImage(region.NewID("ami"), name, size, rootDevice)
	if err != nil {
		return nil, err
	}
	if err := s.snapshots.delete(*v.Desc.BlockDeviceMappings[0].Ebs.SnapshotId); err != nil { // it has its own
		return nil, err
	}
	v.Desc.BlockDeviceMappings = in.BlockDeviceMappings
	v.Layers = layers
	v.Desc.Description, v.Desc.Tags = in.Description, tags
	if in.Architecture != "" {
		v.Desc.Architecture = in.Architecture
	}
	return &sdk.RegisterImageOutput{ImageId: v.Desc.ImageId}, s.images.put(*v.Desc.ImageId, v)
}

// ownImage finds an image that the account may change.
func (s *Service) ownImage(id *string) (*image, error) {
	v, err := find(s.images, nounImage, aws.ToString(id))
	if err != nil {
		return nil, err
	}
	if *v.Desc.OwnerId != s.id.Account() {
		return nil, wire.Errorf("AuthFailure", "Not authorized for image:%s", *id)
	}
	return v, nil
}

// DeregisterImage forgets an AMI; instances that run from it are not affected.
func (s *Service) DeregisterImage(_ context.Context, in *sdk.DeregisterImageInput) (*sdk.DeregisterImageOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.ownImage(in.ImageId)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	if err := s.images.delete(*in.ImageId); err != nil {
		return nil, err
	}
	defer s.logSweep()
	out := &sdk.DeregisterImageOutput{Return: aws.Bool(true)}
	if aws.ToBool(in.DeleteAssociatedSnapshots) {
		for _, m := range v.Desc.BlockDeviceMappings {
			if m.Ebs == nil || m.Ebs.SnapshotId == nil {
				continue
			}
			if err := s.dropSnapshot(*m.Ebs.SnapshotId); err != nil {
				return nil, err
			}
			out.DeleteSnapshotResults = append(out.DeleteSnapshotResults, types.DeleteSnapshotReturnCode{
				SnapshotId: m.Ebs.SnapshotId, ReturnCode: types.SnapshotReturnCodesSuccess,
			})
		}
	}
	return out, nil
}

// DescribeImageAttribute tells one attribute of an image.
func (s *Service) DescribeImageAttribute(_ context.Context, in *sdk.DescribeImageAttributeInput) (*sdk.DescribeImageAttributeOutput, error) {
	v, err := s.ownImage(in.ImageId)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	out := &sdk.DescribeImageAttributeOutput{ImageId: in.ImageId}
	switch in.Attribute {
	case types.ImageAttributeNameDescription:
		out.Description = &types.AttributeValue{Value: v.Desc.Description}
	case types.ImageAttributeNameLaunchPermission:
		out.LaunchPermissions = v.Permissions
	case types.ImageAttributeNameBlockDeviceMapping:
		out.BlockDeviceMappings = v.Desc.BlockDeviceMappings
	case types.ImageAttributeNameSriovNetSupport:
		out.SriovNetSupport = &types.AttributeValue{Value: v.Desc.SriovNetSupport}
	case types.ImageAttributeNameBootMode:
		out.BootMode = &types.AttributeValue{Value: aws.String(string(v.Desc.BootMode))}
	case types.ImageAttributeNameImdsSupport:
		out.ImdsSupport = &types.AttributeValue{Value: aws.String(string(v.Desc.ImdsSupport))}
	default:
		return nil, invalidValue("Value (%s) for parameter attribute is invalid for this image.", in.Attribute)
	}
	return out, nil
}

// ModifyImageAttribute changes an image's description or who may launch it.
func (s *Service) ModifyImageAttribute(_ context.Context, in *sdk.ModifyImageAttributeInput) (*sdk.ModifyImageAttributeOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.ownImage(in.ImageId)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	var add, remove []types.LaunchPermission
	if in.LaunchPermission != nil {
		add, remove = in.LaunchPermission.Add, in.LaunchPermission.Remove
	}
	for _, id := range in.UserIds {
		p := types.LaunchPermission{UserId: aws.String(id)}
		if in.OperationType == types.OperationTypeRemove {
			remove = append(remove, p)
		} else {
			add = append(add, p)
		}
	}
	same := func(a, b types.LaunchPermission) bool {
		return aws.ToString(a.UserId) == aws.ToString(b.UserId) && a.Group == b.Group &&
			aws.ToString(a.OrganizationArn) == aws.ToString(b.OrganizationArn)
	}
	err = s.images.set(*v.Desc.ImageId, func(v *image) {
		if in.Description != nil {
			v.Desc.Description = in.Description.Value
		}
		if aws.ToString(in.Attribute) == "description" && in.Value != nil {
			v.Desc.Description = in.Value
		}
		v.Permissions = slices.DeleteFunc(slices.Concat(v.Permissions, add), func(p types.LaunchPermission) bool {
			return slices.ContainsFunc(remove, func(r types.LaunchPermission) bool { return same(p, r) })
		})
		v.Permissions = slices.CompactFunc(v.Permissions, same)
		v.Desc.Public = aws.Bool(slices.ContainsFunc(v.Permissions, func(p types.LaunchPermission) bool { return p.Group == types.PermissionGroupAll }))
	})
	return &sdk.ModifyImageAttributeOutput{}, err
}
