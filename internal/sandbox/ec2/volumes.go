package ec2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/machine"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// volume is an EBS volume. Behind it is a sparse file, but for root volumes: they
// are the disk of the machine, which package machine keeps.
type volume struct {
	Desc         types.Volume
	Root         bool
	Modification *types.VolumeModification `json:",omitempty"`
}

func volumeKey(v *volume) string { return *v.Desc.VolumeId }

func (s *Service) volumeFile(id string) string { return filepath.Join(s.cfg.Dir, "volumes", id) }

func ofAttachment(get func(types.VolumeAttachment) []string) attribute[volume] {
	return func(v *volume) []string {
		if len(v.Desc.Attachments) == 0 {
			return nil
		}
		return get(v.Desc.Attachments[0])
	}
}

var volumeAttributes = map[string]attribute[volume]{
	"volume-id":                        func(v *volume) []string { return one(v.Desc.VolumeId) },
	"availability-zone":                func(v *volume) []string { return one(v.Desc.AvailabilityZone) },
	"create-time":                      func(v *volume) []string { return instant(v.Desc.CreateTime) },
	"encrypted":                        func(v *volume) []string { return yesNo(v.Desc.Encrypted) },
	"multi-attach-enabled":             func(v *volume) []string { return yesNo(v.Desc.MultiAttachEnabled) },
	"size":                             func(v *volume) []string { return number(v.Desc.Size) },
	"snapshot-id":                      func(v *volume) []string { return one(v.Desc.SnapshotId) },
	"status":                           func(v *volume) []string { return word(v.Desc.State) },
	"volume-type":                      func(v *volume) []string { return word(v.Desc.VolumeType) },
	"attachment.attach-time":           ofAttachment(func(a types.VolumeAttachment) []string { return instant(a.AttachTime) }),
	"attachment.delete-on-termination": ofAttachment(func(a types.VolumeAttachment) []string { return yesNo(a.DeleteOnTermination) }),
	"attachment.device":                ofAttachment(func(a types.VolumeAttachment) []string { return one(a.Device) }),
	"attachment.instance-id":           ofAttachment(func(a types.VolumeAttachment) []string { return one(a.InstanceId) }),
	"attachment.status":                ofAttachment(func(a types.VolumeAttachment) []string { return word(a.State) }),
}

// DescribeVolumes lists volumes, root volumes included.
func (s *Service) DescribeVolumes(_ context.Context, in *sdk.DescribeVolumesInput) (*sdk.DescribeVolumesOutput, error) {
	l := of(s.volumes, nounVolume, volumeKey, volumeAttributes, func(v *volume) []types.Tag { return v.Desc.Tags })
	rows, next, err := l.describe(in.VolumeIds, in.Filters, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeVolumesOutput{Volumes: make([]types.Volume, len(rows)), NextToken: next}
	for i := range rows {
		out.Volumes[i] = rows[i].Desc
	}
	return out, nil
}

// A volumeSpec is what a new volume shall be.
type volumeSpec struct {
	zone             string
	size             *int32
	kind             types.VolumeType
	iops, throughput *int32
	snapshotID       *string
	encrypted        *bool
	key              *string // for encryption, by any of its names
	tags             []types.Tag
}

// volumeLimits are sizes in GiB.
var volumeLimits = map[types.VolumeType]struct{ least, most int32 }{
	types.VolumeTypeStandard: {1, 1024},
	types.VolumeTypeGp2:      {1, 16384},
	types.VolumeTypeGp3:      {1, 65536},
	types.VolumeTypeIo1:      {4, 16384},
	types.VolumeTypeIo2:      {4, 65536},
	types.VolumeTypeSc1:      {125, 16384},
	types.VolumeTypeSt1:      {125, 16384},
}

// describeVolume works out what a volume of the spec is, or why there can be none.
func (s *Service) describeVolume(spec volumeSpec) (*volume, error) {
	size := aws.ToInt32(spec.size)
	encrypted := aws.ToBool(spec.encrypted)
	if spec.snapshotID != nil && *spec.snapshotID != "" {
		snap, err := find(s.snapshots, nounSnapshot, *spec.snapshotID)
		if err != nil {
			return nil, err
		}
		if size == 0 {
			size = *snap.VolumeSize
		}
		if size < *snap.VolumeSize {
			return nil, invalidValue("Volume of size %dGB is smaller than snapshot '%s', expect size >= %dGB", size, *spec.snapshotID, *snap.VolumeSize)
		}
		encrypted = encrypted || aws.ToBool(snap.Encrypted)
		spec.key = cmp.Or(spec.key, snap.KmsKeyId)
	} else {
		spec.snapshotID = aws.String("")
	}
	if size == 0 {
		return nil, missing("size/snapshot")
	}
	var key *string
	switch {
	case encrypted:
		key = aws.String(s.cfg.KeyARN(cmp.Or(aws.ToString(spec.key), "alias/aws/ebs")))
	case aws.ToString(spec.key) != "":
		return nil, wire.Errorf("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set.")
	}
	limits, ok := volumeLimits[spec.kind]
	switch {
	case !ok:
		return nil, wire.Errorf("UnknownVolumeType", "Unsupported volume type '%s' for volume creation.", spec.kind)
	case size < limits.least:
		return nil, invalidValue("Volume of %dGiB is too small; minimum is %dGiB.", size, limits.least)
	case size > limits.most:
		return nil, invalidValue("Volume of %dGiB is too large; maximum is %dGiB.", size, limits.most)
	}
	iops, throughput := spec.iops, spec.throughput
	switch spec.kind {
	case types.VolumeTypeIo1, types.VolumeTypeIo2:
		if iops == nil {
			return nil, wire.Errorf("MissingParameter", "The parameter iops must be specified for %s volumes.", spec.kind)
		}
	case types.VolumeTypeGp3:
		if iops == nil {
			iops = aws.Int32(3000)
		}
		if throughput == nil {
			throughput = aws.Int32(125)
		}
		if *iops < 3000 || *iops > 80000 {
			return nil, invalidValue("Volume iops of %d is out of range; it must be between 3000 and 80000.", *iops)
		}
	default:
		if iops != nil && spec.kind != types.VolumeTypeGp2 {
			return nil, invalidCombination("The parameter iops is not supported for %s volumes.", spec.kind)
		}
	}
	if throughput != nil && spec.kind != types.VolumeTypeGp3 {
		return nil, invalidCombination("The parameter throughput is not supported for %s volumes.", spec.kind)
	}
	if spec.kind == types.VolumeTypeGp2 {
		iops = aws.Int32(min(max(100, 3*size), 16000))
	}
	id := region.NewID("vol")
	return &volume{Desc: types.Volume{
		VolumeId:           aws.String(id),
		VolumeArn:          aws.String(s.id.ARN("ec2", "volume/"+id)),
		OwnerId:            aws.String(s.id.Account()),
		AvailabilityZone:   aws.String(spec.zone),
		AvailabilityZoneId: aws.String(s.zoneID(spec.zone)),
		CreateTime:         aws.Time(s.now().UTC()),
		Encrypted:          aws.Bool(encrypted),
		KmsKeyId:           key,
		MultiAttachEnabled: aws.Bool(false),
		Size:               aws.Int32(size),
		SnapshotId:         spec.snapshotID,
		State:              types.VolumeStateAvailable,
		Tags:               spec.tags,
		VolumeType:         spec.kind,
		Iops:               iops,
		Throughput:         throughput,
	}}, nil
}

// CreateVolume makes a volume, empty or from a snapshot.
func (s *Service) CreateVolume(ctx context.Context, in *sdk.CreateVolumeInput) (*sdk.CreateVolumeOutput, error) {
	tags, err := newTags(ctx, in.TagSpecifications, types.ResourceTypeVolume)
	if err != nil {
		return nil, err
	}
	zone, err := s.zone(in.AvailabilityZone, in.AvailabilityZoneId)
	if err != nil {
		return nil, err
	}
	if in.AvailabilityZone == nil && in.AvailabilityZoneId == nil {
		return nil, missing("AvailabilityZone")
	}
	kind := in.VolumeType
	if kind == "" {
		kind = types.VolumeTypeGp2
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.describeVolume(volumeSpec{
		zone: zone, size: in.Size, kind: kind, iops: in.Iops, throughput: in.Throughput,
		snapshotID: in.SnapshotId, encrypted: in.Encrypted, key: in.KmsKeyId, tags: tags,
	})
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	v, err = once(s, "CreateVolume", in.ClientToken, in, s.volumes, *v.Desc.VolumeId, func() error { return s.putVolume(v) })
	if err != nil {
		return nil, err
	}
	d := v.Desc
	return &sdk.CreateVolumeOutput{
		VolumeId: d.VolumeId, AvailabilityZone: d.AvailabilityZone, AvailabilityZoneId: d.AvailabilityZoneId, CreateTime: d.CreateTime,
		Encrypted: d.Encrypted, KmsKeyId: d.KmsKeyId, Iops: d.Iops, MultiAttachEnabled: d.MultiAttachEnabled, Size: d.Size,
		SnapshotId: d.SnapshotId, State: types.VolumeStateCreating, Tags: d.Tags, Throughput: d.Throughput, VolumeType: d.VolumeType,
	}, nil
}

// putVolume enters a volume and makes its file. One that comes from a snapshot
// with data is filled in the background. s.mu is held.
func (s *Service) putVolume(v *volume) error {
	id := *v.Desc.VolumeId
	file, err := os.OpenFile(s.volumeFile(id), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("create volume %s: %w", id, err)
	}
	err = file.Truncate(int64(*v.Desc.Size) << 30)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("create volume %s: %w", id, err)
	}
	source := *v.Desc.SnapshotId
	if source != "" {
		if _, err := os.Stat(s.snapshotFile(source)); errors.Is(err, fs.ErrNotExist) {
			source = "" // of an image's root disk: nothing to copy
		} else if err != nil {
			return fmt.Errorf("create volume %s: %w", id, err)
		}
	}
	if source != "" {
		v.Desc.State = types.VolumeStateCreating
	}
	if err := s.volumes.put(id, v); err != nil {
		return err
	}
	if source != "" {
		go s.fillVolume(id, source)
	}
	return nil
}

// fillVolume copies a snapshot's data into a new volume and makes that available.
func (s *Service) fillVolume(id, snapshotID string) {
	err := copySparse(s.volumeFile(id), s.snapshotFile(snapshotID))
	state := types.VolumeStateAvailable
	if err != nil {
		s.log.Error("volume could not be made from its snapshot", "volume", id, "snapshot", snapshotID, "error", err)
		state = types.VolumeStateError
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.volumes.set(id, func(v *volume) { v.Desc.State = state }); err != nil {
		s.log.Error("volume keeps its state", "volume", id, "error", err)
	}
}

// DeleteVolume deletes a volume that is not attached.
func (s *Service) DeleteVolume(_ context.Context, in *sdk.DeleteVolumeInput) (*sdk.DeleteVolumeOutput, error) {
	id := aws.ToString(in.VolumeId)
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := find(s.volumes, nounVolume, id)
	if err != nil {
		return nil, err
	}
	if len(v.Desc.Attachments) > 0 {
		return nil, wire.Errorf("VolumeInUse", "Volume %s is currently attached to %s", id, *v.Desc.Attachments[0].InstanceId)
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	return &sdk.DeleteVolumeOutput{}, s.dropVolume(id)
}

func (s *Service) dropVolume(id string) error {
	if err := s.volumes.delete(id); err != nil {
		return err
	}
	if err := os.Remove(s.volumeFile(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete volume %s: %w", id, err)
	}
	return nil
}

var deviceName = regexp.MustCompile(`^(/dev/)?(sd[a-z]([1-9][0-9]?)?|xvd[a-z][a-z]?([1-9][0-9]?)?|hd[a-z]([1-9][0-9]?)?)$`)

// AttachVolume attaches a volume to an instance in its zone. A running machine has
// the device when it returns.
func (s *Service) AttachVolume(ctx context.Context, in *sdk.AttachVolumeInput) (*sdk.AttachVolumeOutput, error) {
	id, instanceID, device := aws.ToString(in.VolumeId), aws.ToString(in.InstanceId), aws.ToString(in.Device)
	running, attachment, err := s.beginAttach(id, instanceID, device, in.DryRun)
	if err != nil {
		return nil, err
	}
	if running {
		if err := s.cfg.Machines.AttachVolume(ctx, instanceID, machine.Volume{ID: id, Path: s.volumeFile(id), Device: device}); err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			return nil, errors.Join(fmt.Errorf("attach %s to %s: %w", id, instanceID, err), s.forgetAttachment(id, instanceID))
		}
	}
	return &sdk.AttachVolumeOutput{
		VolumeId: in.VolumeId, InstanceId: in.InstanceId, Device: in.Device, AttachTime: attachment.AttachTime,
		DeleteOnTermination: attachment.DeleteOnTermination, State: types.VolumeAttachmentStateAttaching,
	}, nil
}

func (s *Service) beginAttach(id, instanceID, device string, dry *bool) (running bool, a types.VolumeAttachment, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := find(s.volumes, nounVolume, id)
	if err != nil {
		return false, a, err
	}
	inst, err := find(s.instances, nounInstance, instanceID)
	if err != nil {
		return false, a, err
	}
	state := inst.state()
	switch {
	case !deviceName.MatchString(device):
		return false, a, invalidValue("Value (%s) for parameter device is invalid. %s is not a valid EBS device name.", device, device)
	case len(v.Desc.Attachments) > 0:
		return false, a, wire.Errorf("VolumeInUse", "%s is already attached to an instance", id)
	case v.Desc.State != types.VolumeStateAvailable:
		return false, a, wire.Errorf("IncorrectState", "Volume '%s' is in the '%s' state.", id, v.Desc.State)
	case state != types.InstanceStateNameRunning && state != types.InstanceStateNameStopped:
		return false, a, wire.Errorf("IncorrectState", "Instance '%s' is not 'running'.", instanceID)
	case *v.Desc.AvailabilityZone != *inst.Desc.Placement.AvailabilityZone:
		return false, a, wire.Errorf("InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", id, instanceID)
	}
	for _, m := range inst.Desc.BlockDeviceMappings {
		if *m.DeviceName == device {
			return false, a, invalidValue("Invalid value '%s' for unixDevice. Attachment point %s is already in use", device, device)
		}
	}
	if err := dryRun(dry); err != nil {
		return false, a, err
	}
	a, err = s.noteAttachment(v, instanceID, device, false)
	return state == types.InstanceStateNameRunning, a, err
}

// noteAttachment writes an attachment into the volume and its instance. s.mu is
// held.
func (s *Service) noteAttachment(v *volume, instanceID, device string, deleteWith bool) (types.VolumeAttachment, error) {
	a := types.VolumeAttachment{
		AttachTime: aws.Time(s.now().UTC()), DeleteOnTermination: aws.Bool(deleteWith), Device: aws.String(device),
		InstanceId: aws.String(instanceID), VolumeId: v.Desc.VolumeId, State: types.VolumeAttachmentStateAttached,
	}
	err := s.volumes.set(*v.Desc.VolumeId, func(v *volume) {
		v.Desc.Attachments, v.Desc.State = []types.VolumeAttachment{a}, types.VolumeStateInUse
	})
	if err != nil {
		return a, err
	}
	return a, s.instances.set(instanceID, func(i *instance) {
		have := i.Desc.BlockDeviceMappings
		i.Desc.BlockDeviceMappings = append(have[:len(have):len(have)], blockDevice(a))
	})
}

func blockDevice(a types.VolumeAttachment) types.InstanceBlockDeviceMapping {
	return types.InstanceBlockDeviceMapping{
		DeviceName: a.Device,
		Ebs: &types.EbsInstanceBlockDevice{
			VolumeId: a.VolumeId, AttachTime: a.AttachTime, DeleteOnTermination: a.DeleteOnTermination,
			Status: types.AttachmentStatusAttached,
		},
	}
}

// forgetAttachment makes a volume available again. s.mu is held.
func (s *Service) forgetAttachment(id, instanceID string) error {
	err := s.volumes.set(id, func(v *volume) { v.Desc.Attachments, v.Desc.State = nil, types.VolumeStateAvailable })
	if err != nil || s.instances.get(instanceID) == nil {
		return err
	}
	return s.instances.set(instanceID, func(i *instance) {
		var rest []types.InstanceBlockDeviceMapping
		for _, m := range i.Desc.BlockDeviceMappings {
			if m.Ebs == nil || *m.Ebs.VolumeId != id {
				rest = append(rest, m)
			}
		}
		i.Desc.BlockDeviceMappings = rest
	})
}

// DetachVolume takes a volume from its instance.
func (s *Service) DetachVolume(ctx context.Context, in *sdk.DetachVolumeInput) (*sdk.DetachVolumeOutput, error) {
	id := aws.ToString(in.VolumeId)
	running, a, err := s.beginDetach(in)
	if err != nil {
		return nil, err
	}
	if running {
		v := machine.Volume{ID: id, Path: s.volumeFile(id), Device: *a.Device}
		if err := s.cfg.Machines.DetachVolume(ctx, *a.InstanceId, v); err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			return nil, errors.Join(fmt.Errorf("detach %s from %s: %w", id, *a.InstanceId, err),
				s.volumes.set(id, func(v *volume) { v.Desc.Attachments = []types.VolumeAttachment{a} }))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.forgetAttachment(id, *a.InstanceId); err != nil {
		return nil, err
	}
	return &sdk.DetachVolumeOutput{
		VolumeId: in.VolumeId, InstanceId: a.InstanceId, Device: a.Device, AttachTime: a.AttachTime,
		DeleteOnTermination: a.DeleteOnTermination, State: types.VolumeAttachmentStateDetaching,
	}, nil
}

func (s *Service) beginDetach(in *sdk.DetachVolumeInput) (running bool, a types.VolumeAttachment, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := aws.ToString(in.VolumeId)
	v, err := find(s.volumes, nounVolume, id)
	if err != nil {
		return false, a, err
	}
	if len(v.Desc.Attachments) == 0 {
		return false, a, wire.Errorf("IncorrectState", "Volume '%s' is in the '%s' state.", id, v.Desc.State)
	}
	a = v.Desc.Attachments[0]
	if in.InstanceId != nil && *in.InstanceId != *a.InstanceId || in.Device != nil && *in.Device != *a.Device {
		return false, a, wire.Errorf("InvalidAttachment.NotFound", "The volume '%s' is not attached to instance '%s' as device '%s'.",
			id, aws.ToString(in.InstanceId), aws.ToString(in.Device))
	}
	inst := s.instances.get(*a.InstanceId)
	running = inst != nil && inst.state() == types.InstanceStateNameRunning
	if v.Root {
		return false, a, wire.Errorf("OperationNotPermitted", "Unable to detach root volume '%s' from instance '%s'", id, *a.InstanceId)
	}
	if err := dryRun(in.DryRun); err != nil {
		return false, a, err
	}
	going := a
	going.State = types.VolumeAttachmentStateDetaching
	return running, a, s.volumes.set(id, func(v *volume) { v.Desc.Attachments = []types.VolumeAttachment{going} })
}

// ModifyVolume changes type, performance or size; a volume can only grow. A
// machine that has the volume sees the new size after its next start.
func (s *Service) ModifyVolume(_ context.Context, in *sdk.ModifyVolumeInput) (*sdk.ModifyVolumeOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := find(s.volumes, nounVolume, aws.ToString(in.VolumeId))
	if err != nil {
		return nil, err
	}
	d := v.Desc
	if in.Size != nil && *in.Size < *d.Size {
		return nil, invalidValue("New size cannot be smaller than existing size")
	}
	spec := volumeSpec{zone: *d.AvailabilityZone, size: d.Size, kind: d.VolumeType}
	if in.Size != nil {
		spec.size = in.Size
	}
	if in.VolumeType != "" {
		spec.kind = in.VolumeType
	} else if d.VolumeType != types.VolumeTypeGp2 {
		spec.iops, spec.throughput = d.Iops, d.Throughput
	}
	if in.Iops != nil {
		spec.iops = in.Iops
	}
	if in.Throughput != nil {
		spec.throughput = in.Throughput
	}
	changed, err := s.describeVolume(spec)
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	now := s.now().UTC()
	m := &types.VolumeModification{
		VolumeId: d.VolumeId, ModificationState: types.VolumeModificationStateCompleted, Progress: aws.Int64(100),
		StartTime: aws.Time(now), EndTime: aws.Time(now),
		OriginalSize: d.Size, OriginalIops: d.Iops, OriginalThroughput: d.Throughput, OriginalVolumeType: d.VolumeType,
		TargetSize: changed.Desc.Size, TargetIops: changed.Desc.Iops, TargetThroughput: changed.Desc.Throughput, TargetVolumeType: changed.Desc.VolumeType,
	}
	if !v.Root && *m.TargetSize > *m.OriginalSize {
		if err := os.Truncate(s.volumeFile(*d.VolumeId), int64(*m.TargetSize)<<30); err != nil {
			return nil, fmt.Errorf("grow volume %s: %w", *d.VolumeId, err)
		}
	}
	err = s.volumes.set(*d.VolumeId, func(v *volume) {
		v.Desc.Size, v.Desc.Iops, v.Desc.Throughput, v.Desc.VolumeType = m.TargetSize, m.TargetIops, m.TargetThroughput, m.TargetVolumeType
		v.Modification = m
	})
	if err != nil {
		return nil, err
	}
	shown := *m
	shown.ModificationState, shown.Progress, shown.EndTime = types.VolumeModificationStateModifying, aws.Int64(0), nil
	return &sdk.ModifyVolumeOutput{VolumeModification: &shown}, nil
}

// DescribeVolumesModifications lists the last change of each volume that had one.
func (s *Service) DescribeVolumesModifications(_ context.Context, in *sdk.DescribeVolumesModificationsInput) (*sdk.DescribeVolumesModificationsOutput, error) {
	l := of(s.volumes, nounVolume, volumeKey, map[string]attribute[volume]{
		"volume-id": func(v *volume) []string { return one(v.Desc.VolumeId) },
		"modification-state": func(v *volume) []string {
			if v.Modification == nil {
				return nil
			}
			return word(v.Modification.ModificationState)
		},
	}, nil)
	rows, next, err := l.describe(in.VolumeIds, in.Filters, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	out := &sdk.DescribeVolumesModificationsOutput{NextToken: next}
	for _, v := range rows {
		if v.Modification != nil {
			out.VolumesModifications = append(out.VolumesModifications, *v.Modification)
		}
	}
	return out, nil
}
