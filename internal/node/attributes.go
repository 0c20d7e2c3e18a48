package node

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"runtime"
	"strconv"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/node/spec"
	"pcluster/internal/node/storage"
)

// attributesFile is where scripts find what ParallelCluster tells its nodes. A node is
// told less; the rest follows from the cluster file and from what the storage turned out
// to be.
const attributesFile = "/etc/chef/dna.json"

// shellVariables is a part of them for shell scripts.
const shellVariables = "/etc/parallelcluster/cfnconfig"

// An attributeSet is the object under "cluster".
type attributeSet = map[string]any

// toldAttributes are those that the node got at launch.
func toldAttributes(n *spec.Node) (attributeSet, error) {
	data, err := json.Marshal(public(*n))
	if err != nil {
		return nil, err
	}
	out := attributeSet{}
	return out, json.Unmarshal(data, &out)
}

// public returns what any user of the node may know: not the URL that signals the stack.
func public(n spec.Node) spec.Node {
	n.WaitHandle = ""
	return n
}

// attributes are all attributes of a node. Storage that is still in the making has no
// identifiers yet.
func attributes(n *spec.Node, c *config.Cluster, entries []storage.Entry) (attributeSet, error) {
	out, err := toldAttributes(n)
	if err != nil {
		return nil, err
	}
	own := ofKind(n, c)
	maps.Copy(out, attributeSet{
		"shared_storage_type": strings.ToLower(c.HeadNode.SharedStorageType), "default_user_home": strings.ToLower(c.DeploymentSettings.DefaultUserHome),
		"ephemeral_dir": own.ephemeral, "proxy": or(own.proxy),
		"custom_node_package": c.DevSettings.NodePackage, "custom_awsbatchcli_package": c.DevSettings.AwsBatchCliPackage,
		"enable_intel_hpc_platform":            strconv.FormatBool(c.AdditionalPackages.IntelSoftware.IntelHpcPlatform),
		"disable_sudo_access_for_default_user": strconv.FormatBool(c.DeploymentSettings.DisableSudoAccessForDefaultUser),
		"directory_service":                    directoryAttributes(n, c.DirectoryService),
	})
	maps.Copy(out, own.more)
	if c.HeadNode.SharedStorageType == config.Efs {
		entries = append([]storage.Entry{storage.InternalEntry(n.InternalFileSystem)}, entries...)
	}
	maps.Copy(out, storageAttributes(n, entries))
	return out, nil
}

// kindAttributes are what differs between kinds of nodes.
type kindAttributes struct {
	ephemeral, proxy string
	more             attributeSet
}

func ofKind(n *spec.Node, c *config.Cluster) kindAttributes {
	switch n.NodeType {
	case spec.Head:
		h := &c.HeadNode
		more := attributeSet{
			"change_set_s3_key": path.Dir(n.ConfigKey) + "/change-set.json", "head_node_imds_secured": strconv.FormatBool(h.Imds.Secured),
			"compute_node_bootstrap_timeout": c.DevSettings.Timeouts.ComputeNodeBootstrapTimeout,
		}
		addDesktop(more, h.Dcv, "head_node")
		return kindAttributes{h.LocalStorage.EphemeralVolume.MountDir, h.Networking.Proxy.HttpProxyAddress, more}
	case spec.Login:
		out := kindAttributes{ephemeral: "/scratch", more: attributeSet{}}
		if p, err := poolOf(c, n.Pool); err == nil {
			out.proxy = p.Networking.Proxy.HttpProxyAddress
			addDesktop(out.more, p.Dcv, "login_node")
		}
		return out
	}
	out := kindAttributes{more: attributeSet{"enable_efa_gdr": none}}
	for i := range c.Scheduling.SlurmQueues {
		q := &c.Scheduling.SlurmQueues[i]
		if q.Name != n.Queue {
			continue
		}
		out.ephemeral, out.proxy = q.ComputeSettings.LocalStorage.EphemeralVolume.MountDir, q.Networking.Proxy.HttpProxyAddress
		for _, r := range q.ComputeResources {
			if r.Name == n.ComputeResource && r.Efa.GdrSupport {
				out.more["enable_efa_gdr"] = "compute"
			}
		}
	}
	return out
}

func addDesktop(to attributeSet, d config.Dcv, kind string) {
	to["dcv_enabled"], to["dcv_port"] = "false", none
	if d.Enabled {
		to["dcv_enabled"], to["dcv_port"] = kind, d.Port
	}
}

// directoryAttributes are what a node may know of the directory of the cluster's users.
func directoryAttributes(n *spec.Node, d *config.DirectoryService) attributeSet {
	if d == nil {
		return attributeSet{"enabled": "false"}
	}
	out := attributeSet{
		"enabled": "true", "domain_read_only_user": d.DomainReadOnlyUser, "generate_ssh_keys_for_users": strconv.FormatBool(d.GenerateSshKeysForUsers),
	}
	if n.NodeType != spec.Head {
		return out
	}
	sssd := map[string]string{}
	for _, s := range d.AdditionalSssdConfigs {
		sssd[s.Key] = s.Value
	}
	out["domain_name"], out["domain_addr"], out["password_secret_arn"] = d.DomainName, d.DomainAddr, d.PasswordSecretArn
	out["ldap_tls_ca_cert"], out["ldap_tls_req_cert"], out["ldap_access_filter"] = or(d.LdapTlsCaCert), d.LdapTlsReqCert, or(d.LdapAccessFilter)
	out["additional_sssd_configs"] = sssd
	return out
}

// kindsOfFSx are the types of FSx file systems, as attributes have them.
var kindsOfFSx = map[string]string{
	config.FsxLustre: "LUSTRE", config.FsxOpenZfs: "OPENZFS", config.FsxOntap: "ONTAP", config.FileCache: "FILECACHE",
}

// storageAttributes are lists, joined by commas, with an element for each storage.
func storageAttributes(n *spec.Node, entries []storage.Entry) attributeSet {
	var volumes, ebsDirs []string
	var efsIDs, efsDirs, tls, iam, points []string
	var fsxIDs, fsxDirs, mountNames, names, paths, kinds []string
	var raid []string
	raidDir, raidType := "", ""
	for _, e := range entries {
		switch {
		case e.RaidLevel != nil:
			raid, raidDir, raidType = e.Volumes, e.Dir, strconv.Itoa(*e.RaidLevel)
		case e.Type == config.Ebs:
			ebsDirs = append(ebsDirs, e.Dir)
			volumes = append(volumes, or(strings.Join(e.Volumes, ",")))
		case e.Type == config.Efs:
			efsIDs, efsDirs = append(efsIDs, or(e.FileSystem)), append(efsDirs, e.Dir)
			tls, iam, points = append(tls, strconv.FormatBool(e.TLS)), append(iam, strconv.FormatBool(e.IAM)), append(points, cmp.Or(e.AccessPoint, "none"))
		default:
			fsxIDs, fsxDirs, kinds = append(fsxIDs, or(e.FileSystem)), append(fsxDirs, e.Dir), append(kinds, kindsOfFSx[e.Type])
			mountNames, names, paths = append(mountNames, e.MountName), append(names, e.DNSName), append(paths, e.Path)
		}
	}
	out := attributeSet{"raid_shared_dir": raidDir, "raid_type": raidType}
	lists := map[string][]string{
		"ebs_shared_dirs": ebsDirs,
		"efs_fs_ids":      efsIDs, "efs_shared_dirs": efsDirs, "efs_encryption_in_transits": tls, "efs_iam_authorizations": iam, "efs_access_point_ids": points,
		"fsx_fs_ids": fsxIDs, "fsx_shared_dirs": fsxDirs, "fsx_mount_names": mountNames, "fsx_dns_names": names,
		"fsx_volume_junction_paths": paths, "fsx_fs_types": kinds,
	}
	if n.NodeType == spec.Head {
		lists["volume"], lists["raid_vol_ids"] = volumes, raid
	}
	for key, list := range lists {
		out[key] = strings.Join(list, ",")
	}
	return out
}

// or returns none for nothing.
func or(s string) string {
	if s == "" {
		return none
	}
	return s
}

// writeToldAttributes leaves what the node was told, until it knows more. Files of an
// earlier boot have more.
func (h *Host) writeToldAttributes(n *spec.Node) error {
	set, err := toldAttributes(n)
	if err != nil || h.exists(attributesFile) {
		return err
	}
	return h.writeSet(n, attributeSet{"cluster": set}, set)
}

// writeAttributes leaves a node's attributes for scripts, with those that the user adds.
func (h *Host) writeAttributes(n *spec.Node, c *config.Cluster, entries []storage.Entry) error {
	set, err := attributes(n, c, entries)
	if err != nil {
		return err
	}
	document := attributeSet{"cluster": set}
	if text := c.DevSettings.Cookbook.ExtraChefAttributes; text != "" {
		var extra attributeSet
		if err := json.Unmarshal([]byte(text), &extra); err != nil {
			return fmt.Errorf("DevSettings.Cookbook.ExtraChefAttributes: %w", err)
		}
		merge(document, extra)
	}
	return h.writeSet(n, document, set)
}

func (h *Host) writeSet(n *spec.Node, document, set attributeSet) error {
	data, err := json.MarshalIndent(document, "", "    ")
	if err != nil {
		return err
	}
	if err := h.write(shellVariables, 0o644, rootUser, cfnconfig(n, set)); err != nil {
		return err
	}
	return h.write(attributesFile, 0o644, rootUser, append(data, '\n'))
}

// merge puts what is in more into an object, object by object.
func merge(into, more attributeSet) {
	for k, v := range more {
		object, isObject := v.(attributeSet)
		old, wasObject := into[k].(attributeSet)
		if isObject && wasObject {
			merge(old, object)
		} else {
			into[k] = v
		}
	}
}

// cfnconfig are shell variables that ParallelCluster's scripts have always had.
func cfnconfig(n *spec.Node, set attributeSet) []byte {
	var b strings.Builder
	assign := func(name, value string) { fmt.Fprintf(&b, "%s=%s\n", name, value) }
	from := func(name, key string) {
		text, _ := set[key].(string)
		assign(name, or(text))
	}
	fetch := "/opt/parallelcluster/scripts/fetch_and_run"
	assign("stack_name", n.StackName)
	for _, event := range []string{"preinstall", "postinstall", "postupdate"} {
		assign("cfn_"+event, fmt.Sprintf("%q", fetch+" --execute-via-cfnconfig -"+event))
		assign("cfn_"+event+"_args", "()")
	}
	assign("cfn_region", n.Region)
	assign("cfn_scheduler", n.Scheduler)
	assign("cfn_scheduler_slots", "vcpus")
	assign("cfn_instance_slots", strconv.Itoa(runtime.NumCPU()))
	from("cfn_ephemeral_dir", "ephemeral_dir")
	from("cfn_ebs_shared_dirs", "ebs_shared_dirs")
	from("cfn_proxy", "proxy")
	assign("cfn_node_type", n.NodeType)
	assign("cfn_cluster_user", n.ClusterUser)
	switch n.NodeType {
	case spec.Head:
		from("cfn_volume", "volume")
	case spec.Compute:
		assign("cfn_head_node", "ip-"+strings.ReplaceAll(n.HeadNodePrivateIP, ".", "-"))
		assign("cfn_head_node_private_ip", n.HeadNodePrivateIP)
		assign("cfn_scheduler_queue_name", n.Queue)
	}
	return []byte(b.String())
}
