package node

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"pcluster/internal/node/spec"
	"pcluster/internal/slurm"
)

const none = "NONE" // how the node's description says that there is no such thing

// given returns a value of the node's description, or nothing for NONE.
func given(value string) string {
	if value == none {
		return ""
	}
	return value
}

// takeName gives a compute node its name in Slurm, also as its host name.
func (h *Host) takeName(n *spec.Node, self *Identity, name string) error {
	if err := h.write(pluginDir+"/slurm_nodename", 0o644, rootUser, []byte(name)); err != nil {
		return err
	}
	data, err := json.Marshal(nodeSpec{
		Region: n.Region, ClusterName: n.ClusterName, Scheduler: n.Scheduler, NodeRole: n.NodeType, InstanceID: self.InstanceID,
		Compute: nodeCompute{
			Queue: n.Queue, Resource: n.ComputeResource, Name: name, NodeType: kindOf(name), InstanceID: self.InstanceID,
			InstanceType: self.InstanceType, AZ: self.AZ, Address: self.Addr, Hostname: self.Hostname,
		},
	})
	if err != nil {
		return err
	}
	if err := h.write(nodeSpecFile, 0o644, rootUser, data); err != nil {
		return err
	}
	if n.UsePrivateHostname == "true" {
		return h.hosts(self, self.Short(), self.domain())
	}
	if err := h.setHostname(name); err != nil {
		return err
	}
	domain := given(n.DNSDomain)
	if domain == "" {
		domain = self.domain()
	}
	return h.hosts(self, name, strings.TrimSuffix(domain, "."))
}

// kindOf says whether a node always runs or comes with the jobs.
func kindOf(name string) string {
	switch n, ok := slurm.ParseNodeName(name); {
	case !ok:
		return ""
	case n.Static:
		return "static"
	}
	return "dynamic"
}

const nodeSpecFile = pluginDir + "/slurm_node_spec.json"

// A nodeSpec is slurm_node_spec.json.
type nodeSpec struct {
	Region      string      `json:"region"`
	ClusterName string      `json:"cluster_name"`
	Scheduler   string      `json:"scheduler"`
	NodeRole    string      `json:"node_role"`
	InstanceID  string      `json:"instance_id"`
	Compute     nodeCompute `json:"compute"`
}

type nodeCompute struct {
	Queue        string `json:"queue-name"`
	Resource     string `json:"compute-resource"`
	Name         string `json:"name"`
	NodeType     string `json:"node-type"`
	InstanceID   string `json:"instance-id"`
	InstanceType string `json:"instance-type"`
	AZ           string `json:"availability-zone"`
	Address      string `json:"address"`
	Hostname     string `json:"hostname"`
}

// setHostname sets the host name now and for later boots. hostnamectl would do the
// same by way of D-Bus, which takes longer than the rest of this step.
func (h *Host) setHostname(name string) error {
	if err := h.write("/etc/hostname", 0o644, rootUser, []byte(name+"\n")); err != nil {
		return err
	}
	if h.exists("/etc/cloud/cloud.cfg.d") {
		if err := h.write("/etc/cloud/cloud.cfg.d/99-pcluster-hostname.cfg", 0o644, rootUser, []byte("preserve_hostname: true\n")); err != nil {
			return err
		}
	}
	if h.Root != "" {
		return nil
	}
	return unix.Sethostname([]byte(name))
}

// hosts puts the node's own names into /etc/hosts.
func (h *Host) hosts(self *Identity, short, domain string) error {
	names := short
	if domain != "" {
		names = short + "." + domain + " " + short
	}
	old, err := h.read("/etc/hosts")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lines := []string{self.Addr + " " + names}
	for line := range strings.Lines(string(old)) {
		line = strings.TrimRight(line, "\n")
		if f := strings.Fields(line); len(f) > 0 && f[0] == self.Addr {
			continue
		}
		lines = append(lines, line)
	}
	return h.write("/etc/hosts", 0o644, rootUser, []byte(strings.Join(lines, "\n")+"\n"))
}

const resolvConf = "/etc/resolv.conf"

// searchDomain lets names of the cluster's nodes be used without its domain.
func (h *Host) searchDomain(ctx context.Context, domain string) error {
	domain = strings.TrimSuffix(given(domain), ".")
	if domain == "" {
		return nil
	}
	if target, err := os.Readlink(h.path(resolvConf)); err == nil && strings.Contains(target, "systemd/resolve") {
		content := "[Resolve]\nDomains=" + domain + "\n"
		if err := h.write("/etc/systemd/resolved.conf.d/pcluster.conf", 0o644, rootUser, []byte(content)); err != nil {
			return err
		}
		return h.systemctl(ctx, "try-restart", "systemd-resolved.service")
	}
	if h.exists("/etc/dhcp/dhclient.conf") {
		old, err := h.read("/etc/dhcp/dhclient.conf")
		if err != nil {
			return err
		}
		line := "append domain-name \" " + domain + "\";"
		if !strings.Contains(string(old), line) {
			if err := h.write("/etc/dhcp/dhclient.conf", 0o644, rootUser, append(old, "\n"+line+"\n"...)); err != nil {
				return err
			}
		}
	}
	old, err := h.read(resolvConf)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// In place: the file may be a mount, or a link to one that others watch.
	return os.WriteFile(h.path(resolvConf), search(string(old), domain), 0o644)
}

// search returns the content of resolv.conf with one more domain to search.
func search(old, domain string) []byte {
	var lines []string
	found := false
	for line := range strings.Lines(old) {
		line = strings.TrimRight(line, "\n")
		if f := strings.Fields(line); len(f) > 0 && (f[0] == "search" || f[0] == "domain") {
			found = true
			has := false
			for _, d := range f[1:] {
				has = has || d == domain
			}
			if !has {
				line = "search " + strings.Join(append(f[1:], domain), " ")
			}
		}
		lines = append(lines, line)
	}
	if !found {
		lines = append([]string{"search " + domain}, lines...)
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}
