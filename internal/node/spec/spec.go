// Package spec is what a node is told at launch: the contract between the stack,
// which writes it into user data, and pcluster-node, which boots by it. It holds
// types only.
//
// The JSON is a part of the dna.json that scripts on ParallelCluster nodes read
// (/etc/chef/dna.json, one object under "cluster"), so key names are fixed where
// that file has them; what is ours on top is listed last. The rest of that file the
// node finds out.
package spec

// Path is where user data leaves the file for pcluster-node, mode 0600: the head
// node's has the URL that signals the stack.
const Path = "/etc/parallelcluster/node.json"

// InternalStorage is the name, in Storage too, of the file system behind the cluster's own
// shared directories, where HeadNode.SharedStorageType is Efs.
const InternalStorage = "internal_pcluster_shared"

// Kinds of nodes, as in "node_type".
const (
	Head    = "HeadNode"
	Compute = "ComputeFleet"
	Login   = "LoginNode"
)

// A File is the whole document.
type File struct {
	Cluster Node `json:"cluster"`
}

// A Node describes one node, or all nodes that share a launch template.
type Node struct {
	NodeType    string `json:"node_type"`
	StackName   string `json:"stack_name"`
	StackARN    string `json:"stack_arn"`
	ClusterName string `json:"cluster_name"`
	Region      string `json:"region"`
	BaseOS      string `json:"base_os"`      // Image.Os of the file; the node itself believes /etc/os-release
	ClusterUser string `json:"cluster_user"` // default user of that OS
	Scheduler   string `json:"scheduler"`

	LogGroup           string `json:"log_group_name"` // NONE when logging is off
	CWLoggingEnabled   string `json:"cw_logging_enabled"`
	LogRotationEnabled string `json:"log_rotation_enabled"`

	Bucket         string `json:"cluster_s3_bucket"`
	ConfigKey      string `json:"cluster_config_s3_key"` // the file with implied values
	ConfigVersion  string `json:"cluster_config_version"`
	InstanceTypes  string `json:"instance_types_data_s3_key,omitempty"` // head only
	InstanceTypesV string `json:"instance_types_data_version,omitempty"`

	DynamoDBTable      string `json:"ddb_table"`
	SlurmDynamoDBTable string `json:"slurm_ddb_table"`
	DNSDomain          string `json:"dns_domain"`  // "demo.pcluster", NONE when managed DNS is off
	HostedZone         string `json:"hosted_zone"` // NONE when managed DNS is off
	UsePrivateHostname string `json:"use_private_hostname"`

	HeadNodePrivateIP string `json:"head_node_private_ip,omitempty"` // compute and login
	// InternalFileSystem is the EFS file system of the cluster's own shared directories,
	// where they are not on the head node. Compute and login; the head node finds it as
	// it finds other storage.
	InternalFileSystem string `json:"internal_file_system,omitempty"`
	Queue              string `json:"scheduler_queue_name,omitempty"`
	ComputeResource    string `json:"scheduler_compute_resource_name,omitempty"`
	Pool               string `json:"pool_name,omitempty"`
	EnableEFA          string `json:"enable_efa,omitempty"` // efa or NONE
	LaunchTemplateID   string `json:"launch_template_id"`   // logical, in its stack

	// Login nodes: the group that waits for the node to say that it is ready, and later
	// that its users are gone.
	ScalingGroup    string `json:"auto_scaling_group_name,omitempty"`
	LaunchingHook   string `json:"launching_lifecycle_hook_name,omitempty"`
	TerminatingHook string `json:"terminating_lifecycle_hook_name,omitempty"`

	// Ours.
	Version    string `json:"pcluster_version"`
	WaitHandle string `json:"wait_condition_handle,omitempty"` // head: pre-signed URL for the signal
	// Storage maps the name of each managed SharedStorage entry to the logical ID
	// of its file system or volume in the stack (several, comma-joined, for RAID),
	// so that the head node need not launch after them. Head only.
	Storage map[string]string `json:"managed_storage,omitempty"`
	// LaunchTemplates maps "queue/compute-resource" to the launch template's ID.
	// Head only; compute resources not in it use the name <cluster>-<queue>-<cr>.
	LaunchTemplates map[string]string `json:"launch_templates,omitempty"`
}
