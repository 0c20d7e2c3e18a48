package validate

import (
	"fmt"
	"net/netip"
	"path"

	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

var storageRules = []rule{
	{"SharedStorageNameValidator", storageNames},
	{"SharedStorageMountDirValidator", reservedDirectories},
	{"SharedFileCacheNotHomeValidator", cacheNotHome},
	{"DuplicateMountDirValidator", sameDirectories},
	{"OverlappingMountDirValidator", nestedDirectories},
	{"NumberOfStorageValidator", storageCounts},
	{"DeletionPolicyValidator", deletionPolicies},
	{"KmsKeyIdEncryptedValidator", keyNeedsEncryption},
	{"EfsMountOptionsValidator", efsOptions},
	{"EfsAccessPointOptionsValidator", efsAccessPoint},
	{"EfsIdValidator", efsExists},
}

// validStorageName reports whether the name has only characters that names of
// storage may have, and at most 256 of them.
func validStorageName(name string) bool {
	return utf8.RuneCountInString(name) <= 256 && !strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !strings.ContainsRune("_+-=.:@/", r)
	})
}

func storageNames(k *check) {
	try := func(path, name string) {
		switch {
		case !validStorageName(name):
			k.errorf(path, "%q has characters that names of storage can't have", name)
			k.hint("letters, digits and _+-=.:@/ are fine")
		case len(name) > 30:
			k.errorf(path, "%q has %d characters, more than 30", name, len(name))
		case name == "default":
			k.errorf(path, "storage can't be called default")
		}
	}
	k.storages(func(path string, s *config.SharedStorage) {
		try(path+".Name", s.Name)
		if s.StorageType == config.FsxLustre {
			for i, d := range s.FsxLustreSettings.DataRepositoryAssociations {
				try(fmt.Sprintf("%s.FsxLustreSettings.DataRepositoryAssociations[%d].Name", path, i), d.Name)
			}
		}
	})
}

var reserved = strings.Fields(`/bin /boot /dev /etc /lib /lib64 /media /mnt /opt /opt/parallelcluster /opt/parallelcluster/shared
	/opt/parallelcluster/shared_login_nodes /opt/slurm /opt/intel /proc /root /run /sbin /srv /sys /tmp /usr /var`)

// absolute adds the leading slash that users may leave out.
func absolute(dir string) string { return "/" + strings.TrimPrefix(dir, "/") }

func reservedDirectories(k *check) {
	k.storages(func(path string, s *config.SharedStorage) {
		if slices.Contains(reserved, absolute(s.MountDir)) {
			k.errorf(path+".MountDir", "%s is a directory of the system; nothing can be mounted there", s.MountDir)
		}
	})
}

func cacheNotHome(k *check) {
	k.storages(func(path string, s *config.SharedStorage) {
		if s.StorageType == config.FileCache && absolute(s.MountDir) == "/home" {
			k.errorf(path+".MountDir", "a File Cache can't be mounted at /home")
		}
	})
}

// mounted is a directory that something is mounted at.
type mounted struct {
	path, dir string
	ephemeral bool
}

// mounts returns the shared directories, and those of instance store on nodes that have any.
func (e *env) mounts() []mounted {
	var out []mounted
	e.storages(func(path string, s *config.SharedStorage) {
		out = append(out, mounted{path + ".MountDir", absolute(s.MountDir), false})
	})
	if t, ok := e.head(); ok && t.InstanceStorageInfo != nil {
		out = append(out, mounted{"HeadNode.LocalStorage.EphemeralVolume.MountDir", absolute(e.c.HeadNode.LocalStorage.EphemeralVolume.MountDir), true})
	}
	seen := map[string]bool{}
	e.resources(func(r resource) {
		if seen[r.queuePath] || !slices.ContainsFunc(r.types, func(t facts.InstanceType) bool { return t.InstanceStorageInfo != nil }) {
			return
		}
		seen[r.queuePath] = true
		dir := r.queue.ComputeSettings.LocalStorage.EphemeralVolume.MountDir
		out = append(out, mounted{r.queuePath + ".ComputeSettings.LocalStorage.EphemeralVolume.MountDir", absolute(dir), true})
	})
	return out
}

func sameDirectories(k *check) {
	at := map[string]mounted{}
	for _, m := range k.mounts() {
		other, taken := at[m.dir]
		switch {
		case !taken:
			at[m.dir] = m
		case m.ephemeral && !other.ephemeral:
			k.warnf(other.path, "%s is also where instance store is mounted, which is then left out", m.dir)
		case !m.ephemeral:
			k.errorf(m.path, "%s is given twice as a place to mount", m.dir)
		}
	}
}

func nestedDirectories(k *check) {
	seen := map[string]bool{}
	list := k.mounts()
	for _, inner := range list {
		for _, outer := range list {
			if outer.ephemeral && inner.ephemeral || !strings.HasPrefix(inner.dir, path.Clean(outer.dir)+"/") {
				continue
			}
			if pair := outer.dir + " " + inner.dir; !seen[pair] {
				seen[pair] = true
				// No error: earlier releases let such files pass, and the order of mounts makes them work.
				k.warnf(inner.path, "%s lies inside of %s, where something else is mounted", inner.dir, outer.dir)
			}
		}
	}
}

func storageCounts(k *check) {
	n := map[string]int{}
	k.storages(func(_ string, s *config.SharedStorage) {
		switch {
		case s.StorageType == config.Ebs && s.EbsSettings.Raid != nil:
			n["RAID arrays"]++
		case s.StorageType == config.Ebs:
			n["EBS volumes"]++
		case s.StorageType == config.Efs && s.Managed():
			n["new EFS file systems"]++
		case s.StorageType == config.Efs:
			n["existing EFS file systems"]++
		case s.Managed():
			n["new FSx file systems"]++
		default:
			n["existing FSx file systems"]++
		}
	})
	for _, limit := range []struct {
		what string
		most int
	}{
		{"EBS volumes", 5}, {"RAID arrays", 1}, {"new EFS file systems", 1}, {"existing EFS file systems", 20},
		{"new FSx file systems", 1}, {"existing FSx file systems", 20},
	} {
		if n[limit.what] > limit.most {
			k.errorf("SharedStorage", "a cluster can have %d %s, not %d", limit.most, limit.what, n[limit.what])
		}
	}
}

func deletionPolicies(k *check) {
	k.storages(func(path string, s *config.SharedStorage) {
		policy, settings := "", ""
		switch {
		case !s.Managed():
		case s.StorageType == config.Ebs:
			policy, settings = s.EbsSettings.DeletionPolicy, ".EbsSettings"
		case s.StorageType == config.Efs:
			policy, settings = s.EfsSettings.DeletionPolicy, ".EfsSettings"
		case s.StorageType == config.FsxLustre:
			policy, settings = s.FsxLustreSettings.DeletionPolicy, ".FsxLustreSettings"
		}
		switch policy {
		case "Delete":
			k.infof(path+settings+".DeletionPolicy", "%s goes with the cluster, or when it leaves the file, and its data with it", s.Name)
		case "Retain":
			k.infof(path+settings+".DeletionPolicy", "%s stays, and costs, when the cluster is deleted or it leaves the file", s.Name)
		}
	})
}

func keyNeedsEncryption(k *check) {
	k.storages(func(path string, s *config.SharedStorage) {
		key, encrypted, settings := "", true, ""
		switch s.StorageType {
		case config.Ebs:
			key, encrypted, settings = s.EbsSettings.KmsKeyId, s.EbsSettings.Encrypted, ".EbsSettings"
		case config.Efs:
			key, encrypted, settings = s.EfsSettings.KmsKeyId, s.EfsSettings.Encrypted, ".EfsSettings"
		}
		if key != "" && !encrypted {
			k.errorf(path+settings+".KmsKeyId", "a key is given, but %s is not encrypted", s.Name)
			k.hint("set Encrypted to true")
		}
	})
}

func efsOptions(k *check) {
	k.storages(func(path string, s *config.SharedStorage) {
		if s.StorageType == config.Efs && s.EfsSettings.IamAuthorization && !s.EfsSettings.EncryptionInTransit {
			k.errorf(path+".EfsSettings.IamAuthorization", "IamAuthorization needs EncryptionInTransit")
		}
	})
}

func efsAccessPoint(k *check) {
	k.storages(func(path string, s *config.SharedStorage) {
		if s.StorageType != config.Efs || s.EfsSettings.AccessPointId == "" {
			return
		}
		if s.EfsSettings.FileSystemId == "" {
			k.errorf(path+".EfsSettings.AccessPointId", "AccessPointId needs FileSystemId")
		}
		if !s.EfsSettings.EncryptionInTransit {
			k.errorf(path+".EfsSettings.AccessPointId", "AccessPointId needs EncryptionInTransit")
		}
	})
}

func efsExists(k *check) {
	var subnets []string
	subnets = append(subnets, k.c.HeadNode.Networking.SubnetId)
	k.queues(func(_ string, q *config.SlurmQueue) { subnets = append(subnets, q.Networking.SubnetIds...) })
	zones, ok := k.zones(subnets)
	if !ok {
		return // SubnetsValidator says why
	}
	k.storages(func(path string, s *config.SharedStorage) {
		if s.StorageType != config.Efs || s.Managed() {
			return
		}
		path += ".EfsSettings.FileSystemId"
		id := s.ExistingID()
		fs, err := k.src.EFS(k.ctx, id)
		if err != nil {
			k.errorf(path, "the file system %s can't be used: %v", id, err)
			return
		}
		if fs.OneZone && len(zones) > 1 {
			k.errorf(path, "the file system %s is of the one-zone class, but nodes are in %s", id, strings.Join(zones, ", "))
		}
		byZone := map[string]facts.MountTarget{}
		for _, t := range fs.MountTargets {
			byZone[t.AZ] = t
		}
		var without []string
		for _, z := range zones {
			t, ok := byZone[z]
			if !ok {
				without = append(without, z)
				continue
			}
			var here []string
			for _, subnet := range subnets {
				if k.subnets[subnet].AZ == z && !slices.Contains(here, subnet) {
					here = append(here, subnet)
				}
			}
			if !k.open(t.Groups, here, "tcp", 2049, true) {
				k.errorf(path, "the mount target of %s in %s does not let the nodes in at port 2049 (TCP)", id, z)
				k.hint("its security groups, %s, need inbound and outbound rules", strings.Join(t.Groups, ", "))
			}
		}
		if len(without) > 0 && !fs.OneZone {
			k.errorf(path, "the file system %s has no mount target in %s, where nodes are", id, strings.Join(without, ", "))
		}
	})
}

// nodeGroups returns the security groups of the head node and of each queue, as
// far as the file gives them. Groups that the cluster makes match nothing yet.
func (e *env) nodeGroups() [][]string {
	n := e.c.HeadNode.Networking
	out := [][]string{slices.Concat(n.SecurityGroups, n.AdditionalSecurityGroups)}
	e.queues(func(_ string, q *config.SlurmQueue) {
		out = append(out, slices.Concat(q.Networking.SecurityGroups, q.Networking.AdditionalSecurityGroups))
	})
	return out
}

// open says whether security groups let nodes reach a port: inbound, and outbound
// unless only inbound matters. Nodes are known by their groups, or by the subnets
// that they are in.
func (k *check) open(groups, subnets []string, protocol string, port int, both bool) bool {
	direction := func(rules func(facts.SecurityGroup) []facts.Rule) bool {
		var sources []string
		var blocks []netip.Prefix
		for _, id := range groups {
			g, err := k.src.SecurityGroup(k.ctx, id)
			if err != nil {
				continue
			}
			for _, r := range rules(g) {
				if !lets(r, protocol, port) {
					continue
				}
				switch {
				case len(r.PrefixLists) > 0:
					return true
				case len(r.CIDRs) > 0:
					for _, c := range r.CIDRs {
						if p, err := netip.ParsePrefix(c); err == nil {
							blocks = append(blocks, p)
						}
					}
				default:
					sources = append(sources, r.Groups...)
				}
			}
		}
		byGroup := len(sources) > 0
		for _, set := range k.nodeGroups() {
			byGroup = byGroup && slices.ContainsFunc(set, func(id string) bool { return slices.Contains(sources, id) })
		}
		return byGroup || len(blocks) > 0 && !slices.ContainsFunc(subnets, func(id string) bool {
			p, err := netip.ParsePrefix(k.subnets[id].CIDR)
			return err != nil || !slices.ContainsFunc(blocks, func(b netip.Prefix) bool { return b.Bits() <= p.Bits() && b.Contains(p.Addr()) })
		})
	}
	return direction(func(g facts.SecurityGroup) []facts.Rule { return g.Ingress }) &&
		(!both || direction(func(g facts.SecurityGroup) []facts.Rule { return g.Egress }))
}

// lets says whether a rule is about a port of a protocol, by name or number.
func lets(r facts.Rule, protocol string, port int) bool {
	switch r.Protocol {
	case "-1":
		return true
	case protocol, map[string]string{"tcp": "6", "udp": "17"}[protocol]:
		return r.From <= port && port <= r.To
	}
	return false
}
