package validate

import (
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

// validStorageName reports whether the name has only characters that names of
// storage may have, and at most 256 of them.
func validStorageName(name string) bool {
	return utf8.RuneCountInString(name) <= 256 && !strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !strings.ContainsRune("_+-=.:@/", r)
	})
}

func storageName(k *check, path, name string) {
	path += ".Name"
	if !validStorageName(name) {
		k.errorf(path, "%q has characters that names of storage can't have", name)
		k.hint("letters, digits and _+-=.:@/ are fine")
	}
	if n := utf8.RuneCountInString(name); n > 30 {
		k.errorf(path, "%q has %d characters, more than 30", name, n)
	}
	if name == "default" {
		k.errorf(path, "storage can't be called default")
	}
}

var reserved = strings.Fields(`/bin /boot /dev /etc /lib /lib64 /media /mnt /opt /opt/parallelcluster /opt/parallelcluster/shared
	/opt/parallelcluster/shared_login_nodes /opt/slurm /opt/intel /proc /root /run /sbin /srv /sys /tmp /usr /var`)

// absolute adds the leading slash that users may leave out.
func absolute(dir string) string { return "/" + strings.TrimPrefix(dir, "/") }

func reservedDirectory(k *check, path, dir string) {
	if slices.Contains(reserved, absolute(dir)) {
		k.errorf(path+".MountDir", "%s is a directory of the system; nothing can be mounted there", dir)
	}
}

func cacheNotHome(k *check, path, dir string) {
	if absolute(dir) == "/home" {
		k.errorf(path+".MountDir", "a File Cache can't be mounted at /home")
	}
}

// A mount is a directory where instance store is mounted.
type mount struct{ path, dir string }

// ephemeral returns the directories of instance store on nodes that have any.
func (e *env) ephemeral() []mount {
	var out []mount
	if t, ok := e.head(); ok && t.InstanceStorageInfo != nil {
		out = append(out, mount{"HeadNode.LocalStorage.EphemeralVolume.MountDir", e.c.HeadNode.LocalStorage.EphemeralVolume.MountDir})
	}
	e.queues(func(path string, q *config.SlurmQueue) {
		if slices.ContainsFunc(e.resourcesOf(path, q), func(r *resource) bool {
			return slices.ContainsFunc(r.types, func(t facts.InstanceType) bool { return t.InstanceStorageInfo != nil })
		}) {
			out = append(out, mount{path + ".ComputeSettings.LocalStorage.EphemeralVolume.MountDir", q.ComputeSettings.LocalStorage.EphemeralVolume.MountDir})
		}
	})
	return out
}

// sameDirectories compares directories as they are written.
func sameDirectories(k *check) {
	storage := k.c.SharedStorage
	dirs := make([]string, len(storage))
	for i := range storage {
		dirs[i] = storage[i].MountDir
	}
	repeated(k, "the directory", dirs, func(i int) string { return at("SharedStorage", i) + ".MountDir" })
	reported := map[string]bool{}
	for _, m := range k.ephemeral() {
		if i := slices.Index(dirs, m.dir); i >= 0 && !reported[m.dir] {
			reported[m.dir] = true
			k.warnf(at("SharedStorage", i)+".MountDir", "%s is also where instance store is mounted, which is then left out", m.dir)
		}
	}
}

// nestedDirectories does not look at the directories of shared storage, which may
// lie inside each other: nodes mount them in the right order. It looks at the
// storage's names, as ParallelCluster does, so that the same files pass.
func nestedDirectories(k *check) {
	var list []mount
	k.storages(func(path string, s *config.SharedStorage) { list = append(list, mount{path + ".Name", s.Name}) })
	for _, m := range k.ephemeral() {
		list = append(list, mount{m.path, m.dir})
	}
	var inner []string
	first := ""
	for _, a := range list {
		for _, b := range list {
			if strings.HasPrefix(path.Clean(absolute(a.dir)), path.Clean(absolute(b.dir))+"/") && !slices.Contains(inner, a.dir) {
				inner = append(inner, a.dir)
				if first == "" {
					first = a.path
				}
			}
		}
	}
	if len(inner) > 0 {
		k.errorf(first, "%s are inside of others", strings.Join(inner, ", "))
	}
}

// A storageLimit is how much storage of one kind a cluster can have.
type storageLimit struct {
	what  string
	most  int
	count func(*config.SharedStorage) bool
}

func raid(s *config.SharedStorage) bool {
	return s.StorageType == config.Ebs && s.EbsSettings.Raid != nil
}

var storageLimits = []storageLimit{
	{"new EFS file systems", 1, func(s *config.SharedStorage) bool { return s.StorageType == config.Efs && s.Managed() }},
	{"new FSx file systems", 1, func(s *config.SharedStorage) bool { return isFSx(s) && s.Managed() }},
	{"RAID arrays", 1, raid},
	{"existing EFS file systems", 20, func(s *config.SharedStorage) bool { return s.StorageType == config.Efs && !s.Managed() }},
	{"existing FSx file systems", 20, func(s *config.SharedStorage) bool { return isFSx(s) && !s.Managed() }},
	{"EBS volumes", 5, func(s *config.SharedStorage) bool { return s.StorageType == config.Ebs && !raid(s) }},
}

func storageCount(k *check, l storageLimit) {
	n, last := 0, ""
	k.storages(func(path string, s *config.SharedStorage) {
		if l.count(s) {
			n, last = n+1, path
		}
	})
	if n > l.most {
		k.errorf(last, "a cluster can have %d %s, not %d", l.most, l.what, n)
	}
}

func deletionPolicy(k *check, path, name, policy string) {
	switch policy {
	case "Delete":
		k.infof(path+".DeletionPolicy", "%s goes with the cluster, or when it leaves the file, and its data with it", name)
	case "Retain":
		k.infof(path+".DeletionPolicy", "%s stays, and costs, when the cluster is deleted or it leaves the file", name)
	}
}

func efsOptions(k *check, path string, e *config.EfsSettings) {
	if e.IamAuthorization && !e.EncryptionInTransit {
		k.errorf(path+".IamAuthorization", "IamAuthorization needs EncryptionInTransit")
	}
}

func efsAccessPoint(k *check, path string, e *config.EfsSettings) {
	if e.AccessPointId == "" {
		return
	}
	if e.FileSystemId == "" {
		k.errorf(path+".AccessPointId", "AccessPointId needs FileSystemId")
	}
	if !e.EncryptionInTransit {
		k.errorf(path+".AccessPointId", "AccessPointId needs EncryptionInTransit")
	}
}

// efsReachable judges an existing EFS file system: each zone of the cluster needs
// a mount target that lets the nodes in.
func efsReachable(k *check, path, id string) {
	path += ".FileSystemId"
	fs, err := k.src.EFS(k.ctx, id)
	if err != nil {
		k.errorf(path, "the file system %s can't be used: %v", id, err)
		return
	}
	subnets := k.clusterSubnets()
	zones, ok := k.zones(subnets)
	if !ok {
		return // what is missing is reported elsewhere
	}
	if fs.OneZone && len(zones) > 1 {
		k.errorf(path, "the file system %s is of the one-zone class, but nodes are in %s", id, strings.Join(zones, ", "))
	}
	var without []string
	for _, z := range zones {
		i := slices.IndexFunc(fs.MountTargets, func(t facts.MountTarget) bool { return t.AZ == z })
		if i < 0 {
			without = append(without, z)
			continue
		}
		t := fs.MountTargets[i]
		groups, err := k.groupsOf(t.Groups)
		if err != nil {
			k.errorf(path, "the security groups of the mount target of %s in %s can't be looked up: %v", id, z, err)
			continue
		}
		here := slices.DeleteFunc(slices.Clone(subnets), func(s string) bool { return k.subnets[s].AZ != z })
		if !k.opens(groups, here, "tcp", 2049, inbound) || !k.opens(groups, here, "tcp", 2049, outbound) {
			k.errorf(path, "the mount target of %s in %s does not let all nodes in at port 2049 (TCP)", id, z)
			k.hint("its security groups, %s, need inbound and outbound rules", strings.Join(t.Groups, ", "))
		}
	}
	if len(without) > 0 && !fs.OneZone {
		k.errorf(path, "the file system %s has no mount target in %s, where nodes are", id, strings.Join(without, ", "))
	}
}
