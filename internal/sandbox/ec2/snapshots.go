package ec2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sys/unix"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

func snapshotKey(v *types.Snapshot) string { return *v.SnapshotId }

func (s *Service) snapshotFile(id string) string { return filepath.Join(s.cfg.Dir, "snapshots", id) }

var snapshotAttributes = map[string]attribute[types.Snapshot]{
	"snapshot-id":  func(v *types.Snapshot) []string { return one(v.SnapshotId) },
	"description":  func(v *types.Snapshot) []string { return one(v.Description) },
	"encrypted":    func(v *types.Snapshot) []string { return yesNo(v.Encrypted) },
	"owner-id":     func(v *types.Snapshot) []string { return one(v.OwnerId) },
	"owner-alias":  func(v *types.Snapshot) []string { return one(v.OwnerAlias) },
	"progress":     func(v *types.Snapshot) []string { return one(v.Progress) },
	"start-time":   func(v *types.Snapshot) []string { return instant(v.StartTime) },
	"status":       func(v *types.Snapshot) []string { return word(v.State) },
	"storage-tier": func(v *types.Snapshot) []string { return word(v.StorageTier) },
	"volume-id":    func(v *types.Snapshot) []string { return one(v.VolumeId) },
	"volume-size":  func(v *types.Snapshot) []string { return number(v.VolumeSize) },
}

// DescribeSnapshots lists snapshots.
func (s *Service) DescribeSnapshots(_ context.Context, in *sdk.DescribeSnapshotsInput) (*sdk.DescribeSnapshotsOutput, error) {
	l := of(s.snapshots, nounSnapshot, snapshotKey, snapshotAttributes, func(v *types.Snapshot) []types.Tag { return v.Tags })
	if len(in.OwnerIds) > 0 {
		all := l.rows
		l.rows = func() []*types.Snapshot {
			var own []*types.Snapshot
			for _, v := range all() {
				for _, o := range in.OwnerIds {
					if o == *v.OwnerId || o == "self" && *v.OwnerId == s.id.Account() {
						own = append(own, v)
						break
					}
				}
			}
			return own
		}
	}
	rows, next, err := l.describe(in.SnapshotIds, in.Filters, in.NextToken, in.MaxResults)
	if err != nil {
		return nil, err
	}
	return &sdk.DescribeSnapshotsOutput{Snapshots: rows, NextToken: next}, nil
}

// CreateSnapshot copies a volume as it is now. Of root volumes, whose disk is with
// the machine, there is nothing to copy: their snapshots are entries only.
func (s *Service) CreateSnapshot(ctx context.Context, in *sdk.CreateSnapshotInput) (*sdk.CreateSnapshotOutput, error) {
	tags, err := newTags(ctx, in.TagSpecifications, types.ResourceTypeSnapshot)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := find(s.volumes, nounVolume, aws.ToString(in.VolumeId))
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	snap := &types.Snapshot{
		SnapshotId:  aws.String(region.NewID("snap")),
		OwnerId:     aws.String(s.id.Account()),
		Description: aws.String(aws.ToString(in.Description)),
		StartTime:   aws.Time(s.now().UTC()),
		State:       types.SnapshotStatePending,
		Progress:    aws.String("0%"),
		VolumeId:    v.Desc.VolumeId,
		VolumeSize:  v.Desc.Size,
		Encrypted:   v.Desc.Encrypted,
		KmsKeyId:    v.Desc.KmsKeyId,
		StorageTier: types.StorageTierStandard,
		Tags:        tags,
	}
	if err := s.snapshots.put(*snap.SnapshotId, snap); err != nil {
		return nil, err
	}
	go s.takeSnapshot(*snap.SnapshotId, *v.Desc.VolumeId, !v.Root)
	return &sdk.CreateSnapshotOutput{
		SnapshotId: snap.SnapshotId, OwnerId: snap.OwnerId, Description: snap.Description, StartTime: snap.StartTime,
		State: snap.State, Progress: aws.String(""), VolumeId: snap.VolumeId, VolumeSize: snap.VolumeSize, Encrypted: snap.Encrypted, Tags: tags,
	}, nil
}

func (s *Service) takeSnapshot(id, volumeID string, copied bool) {
	var err error
	if copied {
		err = copySparse(s.snapshotFile(id), s.volumeFile(volumeID))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	put := s.snapshots.set(id, func(v *types.Snapshot) {
		v.State, v.Progress = types.SnapshotStateCompleted, aws.String("100%")
		v.CompletionTime = aws.Time(s.now().UTC())
		if err != nil {
			v.State, v.StateMessage = types.SnapshotStateError, aws.String(err.Error())
		}
	})
	if err := errors.Join(err, put); err != nil {
		s.log.Error("snapshot failed", "snapshot", id, "volume", volumeID, "error", err)
	}
}

// DeleteSnapshot deletes a snapshot that no image needs.
func (s *Service) DeleteSnapshot(_ context.Context, in *sdk.DeleteSnapshotInput) (*sdk.DeleteSnapshotOutput, error) {
	id := aws.ToString(in.SnapshotId)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := find(s.snapshots, nounSnapshot, id); err != nil {
		return nil, err
	}
	for _, v := range s.images.all() {
		for _, m := range v.Desc.BlockDeviceMappings {
			if m.Ebs != nil && aws.ToString(m.Ebs.SnapshotId) == id {
				return nil, wire.Errorf("InvalidSnapshot.InUse", "The snapshot %s is currently in use by %s", id, *v.Desc.ImageId)
			}
		}
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	if err := s.dropSnapshot(id); err != nil {
		return nil, err
	}
	return &sdk.DeleteSnapshotOutput{}, s.sweepLayers()
}

func (s *Service) dropSnapshot(id string) error {
	if err := errors.Join(s.snapshots.delete(id), s.snapshotLayers.delete(id)); err != nil {
		return err
	}
	if err := os.Remove(s.snapshotFile(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete snapshot %s: %w", id, err)
	}
	return nil
}

// copySparse makes to hold what from holds, with the same holes: as a clone that
// shares blocks where the file system can do that. What to has beyond the end of
// from stays.
func copySparse(to, from string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	have, err := dst.Stat()
	if err != nil {
		return err
	}
	size := max(info.Size(), have.Size())
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
		return dst.Truncate(size)
	}
	if err := dst.Truncate(size); err != nil {
		return err
	}
	for at := int64(0); at < info.Size(); {
		data, err := unix.Seek(int(src.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // only a hole is left
		} else if err != nil {
			return err
		}
		hole, err := unix.Seek(int(src.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(dst, data), io.NewSectionReader(src, data, hole-data)); err != nil {
			return err
		}
		at = hole
	}
	return nil
}
