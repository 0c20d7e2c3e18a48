// Package storage mounts a cluster's shared file systems on its nodes.
//
// The head node finds out what each SharedStorage entry of the file is by now
// ([Resolver]): managed ones are resources of the stack that may still be in the
// making while the node boots. What it finds it writes down for the other nodes
// ([Save], [Load]), which need no permission to ask AWS. [Entry.On] turns an
// entry into the mount of one node, and [Mounter] brings it about: a line in
// /etc/fstab, the directory, the mount.
package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"pcluster/internal/config"
)

// An Entry is one shared file system, resolved.
type Entry struct {
	Name string `json:"name"`
	Type string `json:"type"` // config.Ebs, config.Efs, …
	Dir  string `json:"dir"`  // where all nodes mount it, absolute

	Volumes   []string `json:"volumes,omitempty"` // EBS volume IDs; several for RAID
	RaidLevel *int     `json:"raid_level,omitempty"`

	FileSystem  string `json:"file_system,omitempty"` // fs-…, fc-… or fsvol-…
	DNSName     string `json:"dns_name,omitempty"`
	MountName   string `json:"mount_name,omitempty"` // Lustre's
	Path        string `json:"path,omitempty"`       // junction or volume path of ONTAP and OpenZFS
	TLS         bool   `json:"tls,omitempty"`
	IAM         bool   `json:"iam,omitempty"`
	AccessPoint string `json:"access_point,omitempty"`
}

// FromHead says whether other nodes get the file system from the head node over
// NFS, as the volumes that are attached to it.
func (e Entry) FromHead() bool { return e.Type == config.Ebs }

// A Mount is what a node puts into its /etc/fstab.
type Mount struct {
	Name    string // of the entry, for messages
	Kind    string // EBS volume, EFS, FSX or RAID array: part of failure texts
	Source  string
	Dir     string
	FSType  string
	Options []string
	Shared  bool // the directory is open to all users (mode 1777), as shared storage is; not so the cluster's own
	passing bool // until the next boot
}

// Line returns the line of /etc/fstab.
func (m Mount) Line() string {
	return fmt.Sprintf("%s %s %s %s 0 0", m.Source, m.Dir, m.FSType, strings.Join(m.Options, ","))
}

// kind is how the failure texts call the storage.
func (e Entry) kind() string {
	switch {
	case e.Type == config.Ebs && e.RaidLevel != nil:
		return "RAID array"
	case e.Type == config.Ebs:
		return "EBS volume"
	case e.Type == config.Efs:
		return "EFS"
	default:
		return "FSX"
	}
}

// On returns how a node mounts the entry. head is the head node's address; an
// empty one means that this is the head node, whose own volumes [Mounter.Volume]
// mounts.
func (e Entry) On(head string) Mount {
	m := Mount{Name: e.Name, Kind: e.kind(), Dir: e.Dir, Shared: e.Dir != "/home"}
	switch e.Type {
	case config.Ebs:
		return nfs(m, head+":"+e.Dir)
	case config.Efs:
		m.Source, m.FSType, m.Options = e.FileSystem+":/", "efs", []string{"_netdev", "noresvport"}
		if e.TLS {
			m.Options = append(m.Options, "tls")
		}
		if e.IAM {
			m.Options = append(m.Options, "iam")
		}
		if e.AccessPoint != "" {
			m.Options = append(m.Options, "accesspoint="+e.AccessPoint)
		}
	case config.FsxLustre, config.FileCache:
		m.Source, m.FSType = e.DNSName+"@tcp:/"+e.MountName, "lustre"
		m.Options = []string{"defaults", "_netdev", "flock", "user_xattr", "noatime", "noauto", "x-systemd.automount"}
		if e.Type == config.FileCache {
			m.Options = append(m.Options, "x-systemd.requires=network.service")
		}
	case config.FsxOntap:
		m.Source, m.FSType, m.Options = e.DNSName+":"+e.Path, "nfs", []string{"defaults"}
	case config.FsxOpenZfs:
		m.Source, m.FSType, m.Options = e.DNSName+":"+e.Path, "nfs", []string{"nfsvers=4.2"}
	}
	return m
}

func nfs(m Mount, source string) Mount {
	m.Source, m.FSType, m.Options = source, "nfs", []string{"hard", "_netdev", "noatime"}
	return m
}

// HeadExport returns the mount of a directory that the head node exports for the
// cluster itself, such as /opt/slurm.
func HeadExport(head, dir string) Mount {
	return nfs(Mount{Name: dir, Kind: "NFS directory", Dir: dir}, head+":"+dir)
}

// Absolute returns a MountDir of the file as a path: the leading slash is
// optional there.
func Absolute(dir string) string { return "/" + strings.TrimPrefix(dir, "/") }

// Save writes the resolved entries for the other nodes.
func Save(path string, entries []Entry) error {
	data, err := json.MarshalIndent(entries, "", "  ")
	if err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// Load reads what Save wrote.
func Load(path string) ([]Entry, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return entries, nil
}

// AddLine puts a line into an fstab-like file unless it is there already. A line
// for the same directory is replaced: a file system may have got another address.
func AddLine(path, line string) error {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := strings.Fields(line)[1]
	var lines []string
	for old := range strings.Lines(string(data)) {
		old = strings.TrimRight(old, "\n")
		if old == line {
			return nil
		}
		if f := strings.Fields(old); len(f) > 1 && f[1] == dir && !strings.HasPrefix(f[0], "#") {
			continue
		}
		lines = append(lines, old)
	}
	lines = append(lines, line)
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(tmp, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
