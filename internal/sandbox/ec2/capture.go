package ec2

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/machine"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// An image that was made from an instance is a stack of layers: those that the
// instance booted from, and one of what it changed. A layer is kept as long as an
// image, a snapshot or an instance needs it.

// capture asks an instance's worker for an image of its disk.
type capture struct {
	Image string
	Stop  bool // shut the machine down for it
	Move  bool // take the disk away: the instance is not going to run again
}

// layerSet is the layers that the root snapshot of an image stands for.
type layerSet struct{ Layers []string }

func (s *Service) layersDir() string { return filepath.Join(s.cfg.Dir, "layers") }

func (s *Service) layerOf(snapshotID string) string { return filepath.Join(s.layersDir(), snapshotID) }

// CreateImage makes an AMI of an instance. Unless NoReboot is set, the instance
// shuts down for it and comes back.
func (s *Service) CreateImage(ctx context.Context, in *sdk.CreateImageInput) (*sdk.CreateImageOutput, error) {
	return s.createImage(ctx, in, false)
}

// TakeImage is CreateImage for an instance that is stopped and will only be
// terminated: its disk becomes the image's layer, without being copied.
func (s *Service) TakeImage(ctx context.Context, in *sdk.CreateImageInput) (*sdk.CreateImageOutput, error) {
	return s.createImage(ctx, in, true)
}

func (s *Service) createImage(ctx context.Context, in *sdk.CreateImageInput, move bool) (*sdk.CreateImageOutput, error) {
	ofSnapshot := func(t types.TagSpecification) bool { return t.ResourceType == types.ResourceTypeSnapshot }
	tags, err := newTags(ctx, slices.DeleteFunc(slices.Clone(in.TagSpecifications), ofSnapshot), types.ResourceTypeImage)
	if err != nil {
		return nil, err
	}
	snapshotTags, err := newTags(ctx, slices.DeleteFunc(slices.Clone(in.TagSpecifications), func(t types.TagSpecification) bool { return !ofSnapshot(t) }), types.ResourceTypeSnapshot)
	if err != nil {
		return nil, err
	}
	id, name := aws.ToString(in.InstanceId), aws.ToString(in.Name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkImageName(name); err != nil {
		return nil, err
	}
	inst, err := find(s.instances, nounInstance, id)
	if err != nil {
		return nil, err
	}
	state := inst.state()
	if state != types.InstanceStateNameStopped && (move || state != types.InstanceStateNameRunning) {
		return nil, wire.Errorf("IncorrectState", "Instance '%s' is in state '%s', from which no image can be made.", id, state)
	}
	if inst.Capture != nil {
		return nil, wire.Errorf("IncorrectState", "An image of instance '%s' is being made already: %s", id, inst.Capture.Image)
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	size, device := int32(8), aws.ToString(inst.Desc.RootDeviceName)
	for _, m := range inst.Desc.BlockDeviceMappings {
		if v := s.volumes.get(*m.Ebs.VolumeId); v != nil && v.Root {
			size = *v.Desc.Size
		}
	}
	for _, m := range in.BlockDeviceMappings {
		if m.Ebs != nil && aws.ToString(m.DeviceName) == device {
			size = max(size, aws.ToInt32(m.Ebs.VolumeSize))
		}
	}
	v, err := s.newImage(region.NewID("ami"), name, size, device)
	if err != nil {
		return nil, err
	}
	v.Desc.Description, v.Desc.Tags, v.Desc.SourceInstanceId = in.Description, tags, in.InstanceId
	v.Desc.SourceImageId = inst.Desc.ImageId
	v.Desc.State, v.Desc.Architecture = types.ImageStatePending, inst.Desc.Architecture
	snapshotID := *v.Desc.BlockDeviceMappings[0].Ebs.SnapshotId
	v.Layers = append(slices.Clone(inst.Layers), s.layerOf(snapshotID))
	if parent := s.images.get(aws.ToString(inst.Desc.ImageId)); parent != nil {
		v.Desc.BlockDeviceMappings[0].Ebs.Encrypted = parent.encrypted()
	}
	err = errors.Join(
		s.snapshots.set(snapshotID, func(snap *types.Snapshot) {
			snap.State, snap.Progress, snap.Tags = types.SnapshotStatePending, aws.String("0%"), snapshotTags
			snap.Description = aws.String("Created by CreateImage(" + id + ") for " + *v.Desc.ImageId)
			snap.Encrypted = v.Desc.BlockDeviceMappings[0].Ebs.Encrypted
		}),
		s.snapshotLayers.put(snapshotID, &layerSet{v.Layers}),
		s.images.put(*v.Desc.ImageId, v),
		s.instances.set(id, func(i *instance) {
			i.Capture = &capture{Image: *v.Desc.ImageId, Stop: !aws.ToBool(in.NoReboot), Move: move}
		}),
	)
	if err != nil {
		return nil, err
	}
	s.work.kick(id)
	return &sdk.CreateImageOutput{ImageId: v.Desc.ImageId}, nil
}

func (v *image) encrypted() *bool {
	for _, m := range v.Desc.BlockDeviceMappings {
		if m.Ebs != nil && aws.ToString(m.DeviceName) == aws.ToString(v.Desc.RootDeviceName) && m.Ebs.Encrypted != nil {
			return m.Ebs.Encrypted
		}
	}
	return aws.Bool(false)
}

// checkImageName refuses a name that EC2 would, or that is taken. s.mu is held.
func (s *Service) checkImageName(name string) error {
	if len(name) < 3 || len(name) > 128 {
		return wire.Errorf("InvalidAMIName.Malformed", "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_'")
	}
	for _, v := range s.images.all() {
		if *v.Desc.Name == name && *v.Desc.OwnerId == s.id.Account() {
			return wire.Errorf("InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", name, *v.Desc.ImageId)
		}
	}
	return nil
}

// capture carries out what an instance's row asks for. A daemon that dies in its
// middle begins it again.
func (s *Service) capture(ctx context.Context, i *instance) error {
	id, c := instanceKey(i), i.Capture
	failed := s.captureDisk(ctx, i)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	state, reason := types.ImageStateAvailable, (*types.StateReason)(nil)
	if failed != nil {
		s.log.Error("image could not be made", "image", c.Image, "instance", id, "error", failed)
		state, reason = types.ImageStateFailed, &types.StateReason{Code: aws.String("Server.InternalError"), Message: aws.String(failed.Error())}
	}
	var errs []error
	if v := s.images.get(c.Image); v != nil {
		errs = append(errs, s.images.set(c.Image, func(v *image) { v.Desc.State, v.Desc.StateReason = state, reason }))
		snapshotID := *v.Desc.BlockDeviceMappings[0].Ebs.SnapshotId
		errs = append(errs, s.snapshots.set(snapshotID, func(snap *types.Snapshot) {
			snap.State, snap.Progress, snap.CompletionTime = types.SnapshotStateCompleted, aws.String("100%"), aws.Time(s.now().UTC())
			if failed != nil {
				snap.State, snap.StateMessage = types.SnapshotStateError, aws.String(failed.Error())
			}
		}))
	}
	errs = append(errs, s.instances.set(id, func(i *instance) {
		i.Capture = nil
		// What was shut down for its image comes back.
		i.Reboot = i.Reboot || c.Stop && i.state() == types.InstanceStateNameRunning
	}))
	return errors.Join(append(errs, s.sweepLayers())...)
}

func (s *Service) captureDisk(ctx context.Context, i *instance) error {
	id, c := instanceKey(i), i.Capture
	v := s.images.get(c.Image)
	if v == nil {
		return nil // deregistered meanwhile
	}
	if c.Stop {
		if err := s.halt(ctx, id); err != nil {
			return err
		}
	}
	dir := v.Layers[len(v.Layers)-1]
	if _, err := os.Lstat(dir); err == nil {
		return nil // done before the daemon died
	}
	if err := os.MkdirAll(s.layersDir(), 0o700); err != nil {
		return err
	}
	return s.cfg.Machines.Capture(ctx, id, dir, c.Move)
}

// goneLayer begins the names of layers that are being removed.
const goneLayer = ".gone-"

// sweepLayers removes the layers that nothing needs any more. s.mu is held.
func (s *Service) sweepLayers() error {
	found, err := os.ReadDir(s.layersDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	needed := map[string]bool{}
	need := func(layers []string) {
		for _, l := range layers {
			needed[filepath.Base(l)] = true
		}
	}
	for _, v := range s.images.all() {
		need(v.Layers)
	}
	for _, i := range s.instances.all() {
		need(i.Layers)
	}
	for _, l := range s.snapshotLayers.all() {
		need(l.Layers)
	}
	for _, e := range found {
		if needed[strings.TrimSuffix(e.Name(), ".part")] {
			continue
		}
		// Out of the way first: removing a system's files takes its time. One that is
		// out of the way is being removed, or was left by a daemon that died.
		gone := filepath.Join(s.layersDir(), goneLayer+strings.TrimPrefix(e.Name(), goneLayer))
		if !strings.HasPrefix(e.Name(), goneLayer) {
			if err := os.Rename(filepath.Join(s.layersDir(), e.Name()), gone); err != nil {
				return fmt.Errorf("remove layer %s: %w", e.Name(), err)
			}
		}
		s.removing.Go(func() {
			if err := os.RemoveAll(gone); err != nil {
				s.log.Error("layer is left", "dir", gone, "error", err)
			}
		})
	}
	return nil
}

// RunOver launches instances whose machines have more layers above those of their
// image. The layers are not part of images that are made of the instances.
func (s *Service) RunOver(ctx context.Context, in *sdk.RunInstancesInput, over []string) (*sdk.RunInstancesOutput, error) {
	return s.runInstances(ctx, "", in, over)
}

// Output reads a file that the machine of an instance has written.
func (s *Service) Output(instanceID, path string, offset int64, limit int) ([]byte, error) {
	return s.cfg.Machines.ReadFile(instanceID, path, offset, limit)
}

// An Import is a root file system of the host's that becomes an AMI.
type Import struct {
	Name         string
	Dir          string // which the image takes over
	System       string // its operating system as cluster files name it, or would
	Architecture types.ArchitectureValues
	Settings     []string // layers that make a system one of this region
	SizeGiB      int32    // of the root volume
}

// ImportImage makes an AMI of a root file system. It has the default user and the root
// device of its operating system, if releases of that one are among those that cluster
// files can name.
func (s *Service) ImportImage(_ context.Context, in Import) (imageID string, err error) {
	rootDevice, files := "/dev/xvda", []machine.File(nil)
	if system, err := operatingSystemLike(in.System); err == nil {
		rootDevice, files = system.rootDevice, system.files()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkImageName(in.Name); err != nil {
		return "", err
	}
	v, err := s.newImage(region.NewID("ami"), in.Name, in.SizeGiB, rootDevice)
	if err != nil {
		return "", err
	}
	snapshotID := *v.Desc.BlockDeviceMappings[0].Ebs.SnapshotId
	if err := os.MkdirAll(s.layersDir(), 0o700); err != nil {
		return "", err
	}
	v.Layers = append([]string{s.layerOf(snapshotID)}, in.Settings...)
	v.Files = files
	v.Desc.Architecture = in.Architecture
	v.Desc.Description = aws.String("Imported root file system")
	if err := errors.Join(s.snapshotLayers.put(snapshotID, &layerSet{v.Layers}), s.images.put(*v.Desc.ImageId, v)); err != nil {
		return "", err
	}
	if err := os.Rename(in.Dir, s.layerOf(snapshotID)); err != nil {
		return "", errors.Join(err, s.images.delete(*v.Desc.ImageId), s.snapshots.delete(snapshotID), s.snapshotLayers.delete(snapshotID))
	}
	return *v.Desc.ImageId, nil
}

// logSweep is sweepLayers for callers whose own work is done. s.mu is held.
func (s *Service) logSweep() {
	if err := s.sweepLayers(); err != nil {
		s.log.Error("layers are left", "error", err)
	}
}

// abandonImage gives up an image whose instance ended first. s.mu is held.
func (s *Service) abandonImage(id string) error {
	if s.images.get(id) == nil {
		return nil
	}
	return s.images.set(id, func(v *image) {
		v.Desc.State = types.ImageStateFailed
		v.Desc.StateReason = &types.StateReason{Code: aws.String("Client.InvalidInstance"), Message: aws.String("The instance was terminated before its image was made")}
	})
}
