package validate

import (
	"slices"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

// A volume is any EBS volume of a file.
type volume struct {
	path       string
	kind       string
	size       *int // GiB; nil: that of the AMI
	ami        string
	iops       *int
	throughput *int
}

func rootVolume(path string, r *config.RootVolume, ami string) volume {
	return volume{path: path, kind: r.VolumeType, size: r.Size, ami: ami, iops: r.Iops, throughput: r.Throughput}
}

func sharedVolume(path string, b *config.EbsSettings) volume {
	return volume{path: path, kind: b.VolumeType, size: b.Size, iops: b.Iops, throughput: b.Throughput}
}

const headRootPath = "HeadNode.LocalStorage.RootVolume"

func (e *env) headRoot() volume {
	return rootVolume(headRootPath, &e.c.HeadNode.LocalStorage.RootVolume.RootVolume, e.c.HeadAMI(""))
}

func (e *env) queueRoot(path string, q *config.SlurmQueue) volume {
	return rootVolume(path+".ComputeSettings.LocalStorage.RootVolume", &q.ComputeSettings.LocalStorage.RootVolume, e.c.QueueAMI(q, ""))
}

// sizeOf returns the size that a volume is going to have, if it is known.
func (k *check) sizeOf(v volume) (int, bool) {
	if v.size != nil {
		return *v.size, true
	}
	image, err := k.image(v.ami)
	return image.RootSize, err == nil && image.RootSize > 0
}

type span struct{ lo, hi int }

var (
	sizes = map[string]span{
		"standard": {1, 1024}, "io1": {4, 16384}, "io2": {4, 65536}, "gp2": {1, 16384}, "gp3": {1, 16384}, "st1": {500, 16384}, "sc1": {500, 16384},
	}
	iopsBounds = map[string]span{"io1": {100, 64000}, "io2": {100, 256000}, "gp3": {3000, 16000}}
	iopsPerGiB = map[string]int{"io1": 50, "io2": 1000, "gp3": 500}
)

func throughput(k *check, v volume) {
	if t := v.throughput; v.kind == "gp3" && t != nil && (*t < 125 || *t > 1000) {
		k.errorf(v.path+".Throughput", "the throughput of gp3 volumes is 125 to 1000 MiB/s, not %d", *t)
	}
}

func throughputIops(k *check, v volume) {
	if v.kind == "gp3" && v.throughput != nil && v.iops != nil && *v.throughput*4 > *v.iops {
		k.errorf(v.path+".Throughput", "a throughput of %d MiB/s needs %d IOPS, but the volume has %d", *v.throughput, *v.throughput*4, *v.iops)
	}
}

func volumeSize(k *check, v volume) {
	if s, ok := sizes[v.kind]; ok {
		if size, known := k.sizeOf(v); known && (size < s.lo || size > s.hi) {
			k.errorf(v.path+".Size", "volumes of type %s have %d to %d GiB, not %d", v.kind, s.lo, s.hi, size)
		}
	}
}

func volumeIops(k *check, v volume) {
	if v.iops == nil {
		return
	}
	s, ok := iopsBounds[v.kind]
	switch n := *v.iops; {
	case !ok:
		k.errorf(v.path+".Iops", "volumes of type %s have no Iops to set", v.kind)
	case n < s.lo || n > s.hi:
		k.errorf(v.path+".Iops", "volumes of type %s have %d to %d IOPS, not %d", v.kind, s.lo, s.hi, n)
	default:
		if size, known := k.sizeOf(v); known && n > size*iopsPerGiB[v.kind] {
			k.errorf(v.path+".Iops", "a %s volume of %d GiB has at most %d IOPS, not %d", v.kind, size, size*iopsPerGiB[v.kind], n)
		}
	}
}

func snapshotSize(k *check, path string, e *config.EbsSettings) {
	if e.SnapshotId == "" {
		return
	}
	snap, err := k.src.VolumeSnapshot(k.ctx, e.SnapshotId)
	if err != nil {
		k.errorf(path+".SnapshotId", "the snapshot %s can't be used: %v", e.SnapshotId, err)
		return
	}
	if snap.Size == 0 {
		k.errorf(path+".SnapshotId", "EC2 does not say how large the snapshot %s is", e.SnapshotId)
	} else if e.Size != nil && *e.Size < snap.Size {
		k.errorf(path+".Size", "the volume has %d GiB, but the snapshot %s has %d", *e.Size, snap.ID, snap.Size)
	} else if e.Size != nil && *e.Size > snap.Size {
		k.warnf(path+".Size", "the volume has %d GiB, but the file system of the snapshot %s has %d and has to be grown", *e.Size, snap.ID, snap.Size)
	}
	if snap.State != "completed" {
		k.warnf(path+".SnapshotId", "the snapshot %s is not completed, but %s", snap.ID, snap.State)
	}
}

func existingVolume(k *check, path, id string) {
	if id == "" {
		return
	}
	path += ".VolumeId"
	switch v, err := k.src.Volume(k.ctx, id); {
	case facts.NotFound(err):
		k.errorf(path, "the volume %s does not exist", id)
	case err != nil:
		k.errorf(path, "the volume %s can't be used: %v", id, err)
	case v.State != "available" && (k.o.HeadInstance == "" || !slices.Contains(v.AttachedTo, k.o.HeadInstance)):
		k.errorf(path, "the volume %s is not available, but %s", v.ID, v.State)
	}
}

// strayQueues returns the names of queues that are not in the one zone, sorted.
func (k *check) strayQueues(zone string) []string {
	var out []string
	try := func(name string, subnets []string) {
		if z, ok := k.zones(subnets); ok && len(z) > 0 && (len(z) > 1 || z[0] != zone) {
			out = append(out, name)
		}
	}
	k.queues(func(_ string, q *config.SlurmQueue) { try(q.Name, q.Networking.SubnetIds) })
	for _, q := range k.c.Scheduling.AwsBatchQueues {
		try(q.Name, q.Networking.SubnetIds)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// volumeZone: volumes are in one zone, and the head node has to be there.
func volumeZone(k *check) {
	var stray []string
	first := ""
	k.storages(func(path string, s *config.SharedStorage) {
		if s.StorageType != config.Ebs {
			return
		}
		if first == "" {
			first = path
		}
		head, known := k.headSubnet()
		zone := head.AZ
		if id := s.EbsSettings.VolumeId; id != "" {
			v, err := k.src.Volume(k.ctx, id)
			switch {
			case err != nil:
				k.errorf(path+".EbsSettings.VolumeId", "the volume %s can't be used: %v", id, err)
				return
			case known && v.AZ != head.AZ:
				k.errorf(path+".EbsSettings.VolumeId", "the volume %s is in %s, but the head node is in %s", id, v.AZ, head.AZ)
			}
			zone, known = v.AZ, true
		}
		if known {
			stray = append(stray, k.strayQueues(zone)...)
		}
	})
	if slices.Sort(stray); len(stray) > 0 {
		k.infof(first, "EBS volumes are in one availability zone, and traffic between zones costs time and money; queues elsewhere: %v", slices.Compact(stray))
	}
}

func rootZone(k *check) {
	if len(k.c.SharedStorage) == 0 {
		return
	}
	head, ok := k.headSubnet()
	if !ok {
		return
	}
	if stray := k.strayQueues(head.AZ); len(stray) > 0 {
		k.infof("SharedStorage", "the head node is in %s, and traffic between availability zones costs time and money; queues elsewhere: %v", head.AZ, stray)
	}
}

func sameEncryption(k *check) {
	if len(k.c.Scheduling.SlurmQueues) == 0 {
		return
	}
	first := &k.c.Scheduling.SlurmQueues[0]
	want := first.ComputeSettings.LocalStorage.RootVolume.Encrypted
	k.queues(func(path string, q *config.SlurmQueue) {
		if got := q.ComputeSettings.LocalStorage.RootVolume.Encrypted; got != want {
			k.warnf(path+".ComputeSettings.LocalStorage.RootVolume.Encrypted", "root volumes of queue %s are encrypted: %v, unlike those of %s", q.Name, got, first.Name)
		}
	})
}

func kmsKey(k *check, path, id string) {
	if id == "" {
		return
	}
	if err := k.src.Key(k.ctx, id); err != nil {
		k.errorf(path+".KmsKeyId", "the key %s can't be used: %v", id, err)
	}
}

func keyNeedsEncryption(k *check, path, id string, encrypted bool) {
	if id != "" && !encrypted {
		k.errorf(path+".KmsKeyId", "a key is given, but without encryption")
		k.hint("set Encrypted to true")
	}
}
