package validate

import (
	"slices"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

var volumeRules = []rule{
	{"EbsVolumeThroughputValidator", throughput},
	{"EbsVolumeThroughputIopsValidator", throughputIops},
	{"EbsVolumeTypeSizeValidator", volumeSize},
	{"EbsVolumeIopsValidator", volumeIops},
	{"EbsVolumeSizeSnapshotValidator", snapshotSize},
	{"SharedEbsVolumeIdValidator", existingVolume},
	{"MultiAzEbsVolumeValidator", volumeZone},
	{"MultiAzRootVolumeValidator", rootZone},
	{"RootVolumeEncryptionConsistencyValidator", sameEncryption},
}

// A volume is any EBS volume of the file.
type volume struct {
	path       string
	kind       string
	size       int // 0 if unknown
	iops       *int
	throughput *int
}

// volumes yields the volumes that the cluster makes.
func (e *env) volumes(yield func(v volume)) {
	root := func(path string, r config.RootVolume, ami string) {
		v := volume{path: path, kind: r.VolumeType, iops: r.Iops, throughput: r.Throughput}
		if r.Size != nil {
			v.size = *r.Size
		} else if image, err := e.imageOf(ami); err == nil {
			v.size = image.RootSize
		}
		yield(v)
	}
	root("HeadNode.LocalStorage.RootVolume", e.c.HeadNode.LocalStorage.RootVolume.RootVolume, e.c.HeadAMI(""))
	e.queues(func(path string, q *config.SlurmQueue) {
		root(path+".ComputeSettings.LocalStorage.RootVolume", q.ComputeSettings.LocalStorage.RootVolume, e.c.QueueAMI(q, ""))
	})
	e.storages(func(path string, s *config.SharedStorage) {
		if b := s.EbsSettings; s.StorageType == config.Ebs && b.VolumeId == "" {
			v := volume{path: path + ".EbsSettings", kind: b.VolumeType, iops: b.Iops, throughput: b.Throughput}
			if b.Size != nil {
				v.size = *b.Size
			}
			yield(v)
		}
	})
}

type span struct{ lo, hi int }

var (
	sizes = map[string]span{
		"standard": {1, 1024}, "io1": {4, 16384}, "io2": {4, 65536}, "gp2": {1, 16384}, "gp3": {1, 16384}, "st1": {500, 16384}, "sc1": {500, 16384},
	}
	iopsBounds = map[string]span{"io1": {100, 64000}, "io2": {100, 256000}, "gp3": {3000, 16000}}
	iopsPerGiB = map[string]int{"io1": 50, "io2": 1000, "gp3": 500}
)

func throughput(k *check) {
	k.volumes(func(v volume) {
		if t := v.throughput; v.kind == "gp3" && t != nil && (*t < 125 || *t > 1000) {
			k.errorf(v.path+".Throughput", "the throughput of gp3 volumes is 125 to 1000 MiB/s, not %d", *t)
		}
	})
}

func throughputIops(k *check) {
	k.volumes(func(v volume) {
		if v.kind == "gp3" && v.throughput != nil && v.iops != nil && *v.throughput*4 > *v.iops {
			k.errorf(v.path+".Throughput", "a throughput of %d MiB/s needs %d IOPS, but the volume has %d", *v.throughput, *v.throughput*4, *v.iops)
		}
	})
}

func volumeSize(k *check) {
	k.volumes(func(v volume) {
		if s, ok := sizes[v.kind]; ok && (v.size != 0 || k.c.Has(v.path+".Size")) && (v.size < s.lo || v.size > s.hi) {
			k.errorf(v.path+".Size", "volumes of type %s have %d to %d GiB, not %d", v.kind, s.lo, s.hi, v.size)
		}
	})
}

func volumeIops(k *check) {
	k.volumes(func(v volume) {
		if v.iops == nil {
			return
		}
		s, ok := iopsBounds[v.kind]
		switch n := *v.iops; {
		case !ok:
			k.errorf(v.path+".Iops", "volumes of type %s have no Iops to set", v.kind)
		case n < s.lo || n > s.hi:
			k.errorf(v.path+".Iops", "volumes of type %s have %d to %d IOPS, not %d", v.kind, s.lo, s.hi, n)
		case v.size > 0 && n > v.size*iopsPerGiB[v.kind]:
			k.errorf(v.path+".Iops", "a %s volume of %d GiB has at most %d IOPS, not %d", v.kind, v.size, v.size*iopsPerGiB[v.kind], n)
		}
	})
}

func snapshotSize(k *check) {
	k.storages(func(path string, s *config.SharedStorage) {
		if s.StorageType != config.Ebs || s.EbsSettings.SnapshotId == "" {
			return
		}
		e := s.EbsSettings
		snap, err := k.src.VolumeSnapshot(k.ctx, e.SnapshotId)
		if err != nil {
			k.errorf(path+".EbsSettings.SnapshotId", "the snapshot %s can't be used: %v", e.SnapshotId, err)
			return
		}
		if e.Size != nil && *e.Size < snap.Size {
			k.errorf(path+".EbsSettings.Size", "the volume has %d GiB, but the snapshot %s has %d", *e.Size, snap.ID, snap.Size)
		} else if e.Size != nil && *e.Size > snap.Size {
			k.warnf(path+".EbsSettings.Size", "the volume has %d GiB, but the file system of the snapshot %s has %d and has to be grown", *e.Size, snap.ID, snap.Size)
		}
		if snap.State != "completed" {
			k.warnf(path+".EbsSettings.SnapshotId", "the snapshot %s is not completed, but %s", snap.ID, snap.State)
		}
	})
}

func existingVolume(k *check) {
	k.storages(func(path string, s *config.SharedStorage) {
		if s.StorageType != config.Ebs || s.EbsSettings.VolumeId == "" {
			return
		}
		v, err := k.src.Volume(k.ctx, s.EbsSettings.VolumeId)
		switch {
		case facts.NotFound(err):
			k.errorf(path+".EbsSettings.VolumeId", "the volume %s does not exist", s.EbsSettings.VolumeId)
		case err != nil:
			k.errorf(path+".EbsSettings.VolumeId", "the volume %s can't be used: %v", s.EbsSettings.VolumeId, err)
		case v.State != "available" && (k.o.HeadInstance == "" || !slices.Contains(v.AttachedTo, k.o.HeadInstance)):
			k.errorf(path+".EbsSettings.VolumeId", "the volume %s is not available, but %s", v.ID, v.State)
		}
	})
}

// strayQueues returns the names of queues that are not in the one zone, sorted.
func (e *env) strayQueues(zone string) []string {
	var out []string
	e.queues(func(_ string, q *config.SlurmQueue) {
		if z, ok := e.zones(q.Networking.SubnetIds); ok && (len(z) > 1 || z[0] != zone) {
			out = append(out, q.Name)
		}
	})
	slices.Sort(out)
	return out
}

func volumeZone(k *check) {
	head, ok := k.subnets[k.c.HeadNode.Networking.SubnetId]
	if !ok {
		return
	}
	any := false
	k.storages(func(path string, s *config.SharedStorage) {
		if s.StorageType != config.Ebs {
			return
		}
		any = true
		if id := s.EbsSettings.VolumeId; id != "" {
			if v, err := k.src.Volume(k.ctx, id); err == nil && v.AZ != head.AZ {
				k.errorf(path+".EbsSettings.VolumeId", "the volume %s is in %s, but the head node is in %s", id, v.AZ, head.AZ)
			}
		}
	})
	if stray := k.strayQueues(head.AZ); any && len(stray) > 0 {
		k.infof("SharedStorage", "EBS volumes are in %s, and traffic between availability zones costs time and money; queues elsewhere: %v", head.AZ, stray)
	}
}

func rootZone(k *check) {
	head, ok := k.subnets[k.c.HeadNode.Networking.SubnetId]
	if stray := k.strayQueues(head.AZ); ok && len(k.c.SharedStorage) > 0 && len(stray) > 0 {
		k.infof("SharedStorage", "the head node is in %s, and traffic between availability zones costs time and money; queues elsewhere: %v", head.AZ, stray)
	}
}

func sameEncryption(k *check) {
	first := true
	var want bool
	k.queues(func(path string, q *config.SlurmQueue) {
		got := q.ComputeSettings.LocalStorage.RootVolume.Encrypted
		if first {
			first, want = false, got
		} else if got != want {
			k.warnf(path+".ComputeSettings.LocalStorage.RootVolume.Encrypted", "root volumes of queue %s are encrypted: %v, unlike those of the first queue", q.Name, got)
		}
	})
}
