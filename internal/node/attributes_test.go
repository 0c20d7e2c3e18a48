package node

import (
	"encoding/json"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/config"
	"pcluster/internal/node/spec"
	"pcluster/internal/node/storage"
)

// documented are the attributes that ParallelCluster gives each kind of node, under
// "cluster".
var documented = map[string]string{
	"all": `stack_name stack_arn base_os region scheduler node_type cluster_user shared_storage_type default_user_home ephemeral_dir proxy
		log_group_name cw_logging_enabled log_rotation_enabled cluster_s3_bucket cluster_config_s3_key cluster_config_version
		custom_node_package custom_awsbatchcli_package enable_intel_hpc_platform disable_sudo_access_for_default_user launch_template_id
		dns_domain hosted_zone use_private_hostname directory_service ebs_shared_dirs efs_fs_ids efs_shared_dirs efs_encryption_in_transits
		efs_iam_authorizations efs_access_point_ids fsx_fs_ids fsx_shared_dirs fsx_mount_names fsx_dns_names fsx_volume_junction_paths
		fsx_fs_types raid_shared_dir raid_type`,
	spec.Head: `volume raid_vol_ids ddb_table slurm_ddb_table dcv_enabled dcv_port instance_types_data_version instance_types_data_s3_key
		change_set_s3_key head_node_imds_secured compute_node_bootstrap_timeout`,
	spec.Compute: `cluster_name enable_efa enable_efa_gdr scheduler_queue_name scheduler_compute_resource_name slurm_ddb_table head_node_private_ip`,
	spec.Login:   `cluster_name pool_name head_node_private_ip dcv_enabled dcv_port`,
}

const attributesCluster = `
Region: us-east-1
Image: {Os: alinux2023}
HeadNode:
  InstanceType: c5.large
  Networking: {SubnetId: subnet-0123456789abcdef0, Proxy: {HttpProxyAddress: "http://proxy:3128"}}
  LocalStorage: {EphemeralVolume: {MountDir: /fast}}
  Dcv: {Enabled: true, Port: 9000}
LoginNodes: {Pools: [{Name: people, InstanceType: c5.large, Count: 1, Networking: {SubnetIds: [subnet-0123456789abcdef0]}, Dcv: {Enabled: true}}]}
Scheduling:
  Scheduler: slurm
  SlurmQueues:
  - Name: q
    Networking: {SubnetIds: [subnet-0123456789abcdef0]}
    ComputeResources: [{Name: c, InstanceType: c5n.18xlarge, Efa: {Enabled: true, GdrSupport: true}}]
SharedStorage:
- {Name: data, MountDir: data, StorageType: Ebs}
- {Name: more, MountDir: /more, StorageType: Ebs, EbsSettings: {VolumeId: vol-0123456789abcdef0}}
- {Name: array, MountDir: /array, StorageType: Ebs, EbsSettings: {Raid: {Type: 1}}}
- {Name: nfs, MountDir: /nfs, StorageType: Efs, EfsSettings: {FileSystemId: fs-0123456789abcdef0, EncryptionInTransit: true, AccessPointId: fsap-0123456789abcdef0}}
- {Name: mine, MountDir: /mine, StorageType: Efs}
- {Name: lustre, MountDir: /lustre, StorageType: FsxLustre, FsxLustreSettings: {FileSystemId: fs-0123456789abcdef1}}
- {Name: zfs, MountDir: /zfs, StorageType: FsxOpenZfs, FsxOpenZfsSettings: {VolumeId: fsvol-0123456789abcdef0}}
DirectoryService:
  DomainName: corp.example.com
  DomainAddr: ldaps://corp.example.com
  PasswordSecretArn: arn:aws:secretsmanager:us-east-1:111122223333:secret:directory-AbCdEf
  DomainReadOnlyUser: cn=reader
  AdditionalSssdConfigs: {debug_level: "0x1ff"}
DeploymentSettings: {DefaultUserHome: Local, DisableSudoAccessForDefaultUser: true}
DevSettings:
  Cookbook: {ExtraChefAttributes: '{"cluster": {"nvidia": {"enabled": "yes"}, "directory_service": {"disabled_on_compute_nodes": "true"}}, "own": 1}'}
`

// resolved are the entries of attributesCluster when all of them are known.
func resolved(c *config.Cluster) []storage.Entry {
	var out []storage.Entry
	for i := range c.SharedStorage {
		e := storage.Declared(&c.SharedStorage[i])
		switch e.Name {
		case "data":
			e.Volumes = []string{"vol-d"}
		case "array":
			e.Volumes = []string{"vol-1", "vol-2"}
		case "mine":
			e.FileSystem = "fs-mine"
		case "lustre":
			e.DNSName, e.MountName = "fs-1.fsx.example", "abcd"
		case "zfs":
			e.DNSName, e.Path = "fs-2.fsx.example", "/fsx"
		}
		out = append(out, e)
	}
	return out
}

func attributeSpec(kind string) *spec.Node {
	n := headSpec()
	n.NodeType, n.StackARN, n.BaseOS, n.ConfigKey = kind, "arn:stack", "alinux2023", "prefix/configs/cluster-config-with-implied-values.yaml"
	n.LaunchTemplateID = "LaunchTemplate"
	switch kind {
	case spec.Head:
		n.InstanceTypes, n.InstanceTypesV = "prefix/configs/instance-types-data.json", "v1"
	case spec.Compute:
		n.HeadNodePrivateIP, n.Queue, n.ComputeResource, n.EnableEFA = "10.0.0.1", "q", "c", "efa"
	case spec.Login:
		n.HeadNodePrivateIP, n.Pool = "10.0.0.1", "people"
	}
	return n
}

func clusterOf(t *testing.T, text string) *config.Cluster {
	t.Helper()
	c, problems := config.Parse("cluster.yaml", []byte(text))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNodesHaveAllDocumentedAttributes(t *testing.T) {
	c := clusterOf(t, attributesCluster)
	for _, kind := range []string{spec.Head, spec.Compute, spec.Login} {
		t.Run(kind, func(t *testing.T) {
			h, _ := testHost(t)
			if err := h.writeAttributes(attributeSpec(kind), c, resolved(c)); err != nil {
				t.Fatal(err)
			}
			var file struct{ Cluster map[string]any }
			if err := json.Unmarshal([]byte(get(t, h, attributesFile)), &file); err != nil {
				t.Fatal(err)
			}
			for _, key := range strings.Fields(documented["all"] + " " + documented[kind]) {
				if _, ok := file.Cluster[key]; !ok {
					t.Errorf("%s is not there", key)
				}
			}
			if _, ok := file.Cluster["volume"]; ok && kind != spec.Head {
				t.Error("the identifiers of volumes are the head node's")
			}
			if strings.Contains(get(t, h, attributesFile), "example.com/secret") {
				t.Error("users can read the URL that signals the stack")
			}
		})
	}
}

func TestAttributesSayWhatTheClusterFileSays(t *testing.T) {
	c := clusterOf(t, attributesCluster)
	want := map[string]map[string]any{
		spec.Head: {
			"shared_storage_type": "ebs", "default_user_home": "local", "ephemeral_dir": "/fast", "proxy": "http://proxy:3128",
			"disable_sudo_access_for_default_user": "true", "dcv_enabled": "head_node", "dcv_port": float64(9000), "head_node_imds_secured": "true",
			"change_set_s3_key": "prefix/configs/change-set.json", "compute_node_bootstrap_timeout": float64(1800),
			"volume": "vol-d,vol-0123456789abcdef0", "ebs_shared_dirs": "/data,/more",
			"raid_vol_ids": "vol-1,vol-2", "raid_shared_dir": "/array", "raid_type": "1",
			"efs_fs_ids": "fs-0123456789abcdef0,fs-mine", "efs_shared_dirs": "/nfs,/mine", "efs_encryption_in_transits": "true,false",
			"efs_iam_authorizations": "false,false", "efs_access_point_ids": "fsap-0123456789abcdef0,none",
			"fsx_fs_ids": "fs-0123456789abcdef1,fsvol-0123456789abcdef0", "fsx_fs_types": "LUSTRE,OPENZFS", "fsx_shared_dirs": "/lustre,/zfs",
			"fsx_mount_names": "abcd,", "fsx_dns_names": "fs-1.fsx.example,fs-2.fsx.example", "fsx_volume_junction_paths": ",/fsx",
			"nvidia": map[string]any{"enabled": "yes"},
			"directory_service": map[string]any{
				"enabled": "true", "domain_name": "corp.example.com", "domain_addr": "ldaps://corp.example.com", "domain_read_only_user": "cn=reader",
				"password_secret_arn": "arn:aws:secretsmanager:us-east-1:111122223333:secret:directory-AbCdEf", "ldap_tls_ca_cert": "NONE",
				"ldap_tls_req_cert": "hard", "ldap_access_filter": "NONE", "generate_ssh_keys_for_users": "true",
				"additional_sssd_configs": map[string]any{"debug_level": "0x1ff"}, "disabled_on_compute_nodes": "true",
			},
		},
		spec.Compute: {
			"enable_efa": "efa", "enable_efa_gdr": "compute", "ephemeral_dir": "/scratch", "proxy": "NONE", "efs_fs_ids": "fs-0123456789abcdef0,fs-mine",
			"directory_service": map[string]any{
				"enabled": "true", "domain_read_only_user": "cn=reader", "generate_ssh_keys_for_users": "true", "disabled_on_compute_nodes": "true",
			},
		},
		spec.Login: {"dcv_enabled": "login_node", "dcv_port": float64(8443), "pool_name": "people", "ephemeral_dir": "/scratch"},
	}
	for kind, expected := range want {
		h, _ := testHost(t)
		if err := h.writeAttributes(attributeSpec(kind), c, resolved(c)); err != nil {
			t.Fatal(err)
		}
		var file map[string]any
		if err := json.Unmarshal([]byte(get(t, h, attributesFile)), &file); err != nil {
			t.Fatal(err)
		}
		if file["own"] != float64(1) {
			t.Errorf("%s: attributes of the user beside \"cluster\" are lost", kind)
		}
		got := map[string]any{}
		all := file["cluster"].(map[string]any)
		for _, key := range slices.Collect(maps.Keys(expected)) {
			got[key] = all[key]
		}
		if diff := cmp.Diff(expected, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
}

func TestStorageInTheMakingHasNoIdentifiersYet(t *testing.T) {
	c := clusterOf(t, attributesCluster)
	var entries []storage.Entry
	for i := range c.SharedStorage {
		entries = append(entries, storage.Declared(&c.SharedStorage[i]))
	}
	set, err := attributes(attributeSpec(spec.Head), c, entries)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"volume": "NONE,vol-0123456789abcdef0", "efs_fs_ids": "fs-0123456789abcdef0,NONE", "efs_shared_dirs": "/nfs,/mine", "raid_vol_ids": "",
	} {
		if set[key] != want {
			t.Errorf("%s is %q, want %q", key, set[key], want)
		}
	}
}

func TestShellVariablesFollowTheAttributes(t *testing.T) {
	c := clusterOf(t, attributesCluster)
	h, _ := testHost(t)
	if err := h.writeAttributes(attributeSpec(spec.Head), c, resolved(c)); err != nil {
		t.Fatal(err)
	}
	script := `. "$1"; echo "$stack_name|$cfn_node_type|$cfn_ephemeral_dir|$cfn_ebs_shared_dirs|$cfn_volume|$cfn_proxy|$cfn_postinstall|${#cfn_postinstall_args[@]}"`
	out, err := exec.Command("bash", "-c", script, "-", h.path(shellVariables)).CombinedOutput()
	want := "demo|HeadNode|/fast|/data,/more|vol-d,vol-0123456789abcdef0|http://proxy:3128|/opt/parallelcluster/scripts/fetch_and_run --execute-via-cfnconfig -postinstall|0\n"
	if err != nil || string(out) != want {
		t.Errorf("%v: got %q, want %q", err, out, want)
	}
}

func TestARebootKeepsTheAttributes(t *testing.T) {
	c := clusterOf(t, attributesCluster)
	h, _ := testHost(t)
	n := attributeSpec(spec.Head)
	self := &Identity{InstanceID: "i-1"}
	if err := h.layout(n, self); err != nil {
		t.Fatal(err)
	}
	if err := h.writeAttributes(n, c, resolved(c)); err != nil {
		t.Fatal(err)
	}
	before := get(t, h, attributesFile) + get(t, h, shellVariables)
	if err := h.layout(n, self); err != nil || get(t, h, attributesFile)+get(t, h, shellVariables) != before {
		t.Errorf("they are others after it (%v)", err)
	}
}
