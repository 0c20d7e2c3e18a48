package config

// A Cluster is a cluster file with its implied values.
type Cluster struct {
	Region              string             `update:"UNSUPPORTED" implied:"what the option, the environment or the profile says" doc:"Region to deploy in."`
	Image               Image              `req:"yes" update:"UNSUPPORTED" doc:"Operating system and base AMI of all nodes."`
	HeadNode            HeadNode           `req:"yes" update:"SUPPORTED" doc:"The node that runs the scheduler."`
	LoginNodes          *LoginNodes        `only:"slurm" since:"3.7.0" update:"LOGIN_NODES_STOP" doc:"Pools of nodes for users to log in to."`
	Scheduling          Scheduling         `req:"yes" update:"UNSUPPORTED" doc:"Scheduler, its settings and its queues."`
	SharedStorage       []SharedStorage    `id:"Name" update:"SHARED_STORAGE_UPDATE_POLICY" doc:"File systems that all nodes mount."`
	Iam                 Iam                `update:"IGNORED" doc:"Settings for all IAM resources of the cluster."`
	Monitoring          Monitoring         `update:"IGNORED" doc:"Logs, dashboard, alarms and metrics."`
	Tags                []Tag              `id:"Key" update:"SUPPORTED" doc:"Tags of the stack and of everything in it."`
	AdditionalPackages  AdditionalPackages `update:"UNSUPPORTED" doc:"Optional software."`
	DirectoryService    *DirectoryService  `only:"slurm" since:"3.1.1" update:"COMPUTE_AND_LOGIN_NODES_STOP" doc:"Users from an Active Directory or LDAP server."`
	DeploymentSettings  DeploymentSettings `since:"3.4.0" update:"UNSUPPORTED" doc:"How the cluster is deployed."`
	Imds                Imds               `since:"3.3.0" update:"UNSUPPORTED" doc:"Instance metadata service of all nodes."`
	CustomS3Bucket      string             `update:"READ_ONLY_RESOURCE_BUCKET" implied:"a bucket of the account and region that is made on first use" doc:"Bucket for the cluster's artifacts; must have versioning on."`
	AdditionalResources string             `update:"SUPPORTED" doc:"URL of a CloudFormation template to launch with the cluster."`
	DevSettings         DevSettings        `update:"SUPPORTED" doc:"Settings for the development of clusters, not for production."`

	doc *Document // where the values came from
}

// Image says what the nodes boot.
type Image struct {
	Os        string `req:"yes" oneof:"alinux2 alinux2023 ubuntu2204 ubuntu2404 rhel8 rocky8 rhel9 rocky9 debian12" update:"UNSUPPORTED" doc:"Operating system of all nodes."`
	CustomAmi string `match:"ami" update:"UNSUPPORTED" implied:"official AMI for the operating system" doc:"AMI of all nodes that have none of their own."`
}

// A HeadNode is the node that runs the scheduler.
type HeadNode struct {
	InstanceType                      string            `req:"yes" update:"UNSUPPORTED" doc:"EC2 instance type; all nodes share its architecture."`
	DisableSimultaneousMultithreading bool              `default:"false" update:"UNSUPPORTED" doc:"Leaves one thread per core."`
	Networking                        HeadNetworking    `req:"yes" update:"UNSUPPORTED" doc:"Subnet, addresses and security groups."`
	Ssh                               Ssh               `update:"SUPPORTED" doc:"Access with SSH."`
	LocalStorage                      HeadLocalStorage  `update:"SUPPORTED" doc:"Disks of the node itself."`
	SharedStorageType                 string            `default:"Ebs" oneof:"Ebs Efs" since:"3.8.0" update:"UNSUPPORTED" doc:"What the cluster's own shared directories live on."`
	Dcv                               Dcv               `update:"UNSUPPORTED" doc:"Remote desktop."`
	CustomActions                     HeadCustomActions `update:"IGNORED" doc:"Scripts of the user that the node runs."`
	Iam                               NodeIam           `update:"SUPPORTED" doc:"Permissions of the node."`
	Imds                              HeadImds          `update:"UNSUPPORTED" doc:"Who may use the metadata service on the node."`
	Image                             NodeImage         `update:"UNSUPPORTED" doc:"AMI of this node alone."`
}

// HeadNetworking places the head node.
type HeadNetworking struct {
	SubnetId                 string   `req:"yes" match:"subnet" update:"UNSUPPORTED" doc:"Subnet of the head node."`
	ElasticIp                Scalar   `update:"UNSUPPORTED" doc:"true for a new Elastic IP, or the public address of an existing one."`
	SecurityGroups           []string `match:"sg" update:"SUPPORTED" doc:"Security groups in place of the managed one."`
	AdditionalSecurityGroups []string `match:"sg" update:"SUPPORTED" doc:"Security groups on top of the managed one."`
	Proxy                    Proxy    `update:"UNSUPPORTED" doc:"Proxy of the node."`
}

// A Proxy is what a node reaches the internet through.
type Proxy struct {
	HttpProxyAddress string `update:"UNSUPPORTED" doc:"URL of an HTTP or HTTPS proxy."`
}

// Ssh says who may log in to a node.
type Ssh struct {
	KeyName    string `update:"UNSUPPORTED" doc:"Name of an EC2 key pair."`
	AllowedIps string `default:"0.0.0.0/0" match:"source" update:"SUPPORTED" doc:"Addresses that may connect: a CIDR block or a prefix list."`
}

// HeadLocalStorage are the head node's own disks.
type HeadLocalStorage struct {
	RootVolume      HeadRootVolume  `update:"SUPPORTED" doc:"The root volume."`
	EphemeralVolume EphemeralVolume `update:"UNSUPPORTED" doc:"Instance store, if the instance type has any."`
}

// HeadRootVolume is a root volume that can outlive its node.
type HeadRootVolume struct {
	RootVolume
	DeleteOnTermination bool `default:"true" update:"UNSUPPORTED" doc:"Whether the volume goes with the node."`
}

// A RootVolume is the disk that a node boots from.
type RootVolume struct {
	Size       *int   `update:"UNSUPPORTED" implied:"size of the AMI" doc:"GiB."`
	Encrypted  bool   `default:"true" update:"UNSUPPORTED" doc:"Encrypts the volume with the account's default key."`
	VolumeType string `default:"gp3" update:"UNSUPPORTED" doc:"EBS volume type: gp3, gp2, io1, io2, st1, sc1 or standard."`
	Iops       *int   `update:"UNSUPPORTED" implied:"3000 for gp3, 100 for io1 and io2" doc:"I/O operations per second."`
	Throughput *int   `update:"UNSUPPORTED" implied:"125 for gp3" doc:"MiB/s."`
}

// An EphemeralVolume joins the instance store disks of a node.
type EphemeralVolume struct {
	MountDir string `default:"/scratch" match:"path" update:"UNSUPPORTED" doc:"Where it is mounted."`
}

// Dcv is a remote desktop.
type Dcv struct {
	Enabled    bool   `req:"late" update:"UNSUPPORTED" doc:"Turns it on."`
	Port       int    `default:"8443" update:"UNSUPPORTED" doc:"TCP port of the server."`
	AllowedIps string `default:"0.0.0.0/0" match:"source" update:"SUPPORTED" doc:"Addresses that may connect: a CIDR block or a prefix list."`
}

// HeadCustomActions are the scripts of head and login nodes.
type HeadCustomActions struct {
	OnNodeStart      *CustomAction `update:"UNSUPPORTED" doc:"Runs before the node is set up."`
	OnNodeConfigured *CustomAction `update:"UNSUPPORTED" doc:"Runs when the node is set up."`
	OnNodeUpdated    *CustomAction `only:"slurm" since:"3.4.0" update:"SUPPORTED" below:"*=SUPPORTED" doc:"Runs when the node has handled an update of the cluster."`
}

// CustomActions are the scripts of compute nodes.
type CustomActions struct {
	OnNodeStart      *CustomAction `update:"UNSUPPORTED" doc:"Runs before the node is set up."`
	OnNodeConfigured *CustomAction `update:"UNSUPPORTED" doc:"Runs when the node is set up."`
}

// A CustomAction is one script or several.
type CustomAction struct {
	Script   string   `update:"UNSUPPORTED" doc:"URL (https or s3) of the script."`
	Args     []string `update:"UNSUPPORTED" doc:"Arguments of the script."`
	Sequence []Script `since:"3.6.0" update:"UNSUPPORTED" doc:"Scripts to run one after the other."`
}

// Scripts returns what the action runs, in order; none for a nil action.
func (a *CustomAction) Scripts() []Script {
	if a == nil {
		return nil
	}
	if a.Script != "" {
		return []Script{{Script: a.Script, Args: a.Args}}
	}
	return a.Sequence
}

// A Script is one element of a sequence.
type Script struct {
	Script string   `req:"yes" update:"UNSUPPORTED" doc:"URL (https or s3) of the script."`
	Args   []string `update:"UNSUPPORTED" doc:"Arguments of the script."`
}

// NodeIam are the permissions of head and compute nodes.
type NodeIam struct {
	InstanceRole          string      `match:"role" update:"SUPPORTED" implied:"a role made for the cluster" doc:"ARN of an existing role."`
	InstanceProfile       string      `match:"profile" update:"UNSUPPORTED" implied:"a profile made for the cluster" doc:"ARN of an existing instance profile."`
	AdditionalIamPolicies []IamPolicy `id:"Policy" update:"SUPPORTED" doc:"Policies to attach to the role that is made."`
	S3Access              []S3Access  `id:"BucketName" update:"SUPPORTED" doc:"Buckets that the node may use."`
}

// LoginIam are the permissions of login nodes.
type LoginIam struct {
	InstanceRole          string      `match:"role" update:"SUPPORTED" implied:"a role made for the cluster" doc:"ARN of an existing role."`
	InstanceProfile       string      `match:"profile" update:"UNSUPPORTED" implied:"a profile made for the cluster" doc:"ARN of an existing instance profile."`
	AdditionalIamPolicies []IamPolicy `id:"Policy" update:"SUPPORTED" doc:"Policies to attach to the role that is made."`
}

// An IamPolicy is a managed policy to attach.
type IamPolicy struct {
	Policy string `req:"yes" match:"policy" update:"SUPPORTED" doc:"ARN of the policy."`
}

// S3Access lets a node use a bucket, or the objects of it that match KeyName.
type S3Access struct {
	BucketName        string `req:"yes" match:"bucket" update:"SUPPORTED" doc:"Name of the bucket; may have a * in it."`
	KeyName           string `update:"SUPPORTED" doc:"Object key or pattern; absent for the whole bucket."`
	EnableWriteAccess bool   `default:"false" update:"SUPPORTED" doc:"Lets the node write, too."`
}

// HeadImds restricts the metadata service on the head node.
type HeadImds struct {
	Secured bool `default:"true" update:"UNSUPPORTED" doc:"Only root and the cluster's own users may use it."`
}

// A NodeImage overrides the cluster's AMI.
type NodeImage struct {
	CustomAmi string `req:"late" match:"ami" update:"UNSUPPORTED" implied:"Image.CustomAmi, else the official AMI" doc:"AMI to boot."`
}

// A Tag is a key with a value.
type Tag struct {
	Key   string `req:"yes" len:"..128" update:"SUPPORTED" doc:"Key of the tag."`
	Value string `req:"yes" len:"..256" update:"SUPPORTED" doc:"Value of the tag."`
}

// LoginNodes are pools of nodes to log in to.
type LoginNodes struct {
	Pools []LoginPool `req:"yes" id:"Name" update:"LOGIN_NODES_POOLS_UPDATE_POLICY" doc:"The pools."`
}

// A LoginPool is a number of equal login nodes behind one load balancer.
type LoginPool struct {
	Name            string            `req:"yes" update:"LOGIN_NODES_POOL_STOP" doc:"Name of the pool."`
	InstanceType    string            `req:"yes" update:"LOGIN_NODES_POOL_STOP" doc:"EC2 instance type."`
	Count           int               `req:"yes" range:"0.." update:"SUPPORTED" doc:"Number of nodes."`
	GracetimePeriod int               `default:"10" range:"3..120" update:"SUPPORTED" doc:"Minutes that users have left when a node is about to go."`
	Image           NodeImage         `update:"LOGIN_NODES_POOL_STOP" below:"*=LOGIN_NODES_POOL_STOP" doc:"AMI of the pool."`
	Networking      LoginNetworking   `req:"yes" update:"LOGIN_NODES_POOL_STOP" doc:"Subnet and security groups."`
	Ssh             LoginSsh          `update:"LOGIN_NODES_POOL_STOP" doc:"Access with SSH."`
	Dcv             Dcv               `since:"3.11.0" update:"UNSUPPORTED" doc:"Remote desktop."`
	CustomActions   HeadCustomActions `since:"3.11.0" update:"IGNORED" doc:"Scripts of the user that the nodes run."`
	Iam             LoginIam          `update:"LOGIN_NODES_POOL_STOP" below:"AdditionalIamPolicies[].Policy=SUPPORTED, *=LOGIN_NODES_POOL_STOP" doc:"Permissions of the nodes."`
}

// LoginNetworking places a login pool.
type LoginNetworking struct {
	SubnetIds                []string `req:"yes" items:"1..1" match:"subnet" update:"LOGIN_NODES_POOL_STOP" doc:"The subnet of the pool."`
	SecurityGroups           []string `match:"sg" update:"LOGIN_NODES_POOL_STOP" doc:"Security groups in place of the managed one."`
	AdditionalSecurityGroups []string `match:"sg" update:"LOGIN_NODES_POOL_STOP" doc:"Security groups on top of the managed one."`
	Proxy                    Proxy    `update:"LOGIN_NODES_POOL_STOP" below:"*=SUPPORTED" doc:"Proxy of the nodes."`
}

// LoginSsh says who may log in to a pool.
type LoginSsh struct {
	AllowedIps string `match:"source" since:"3.11.0" update:"LOGIN_NODES_POOL_STOP" implied:"as for the head node" doc:"Addresses that may connect: a CIDR block or a prefix list."`
}

// Iam are settings for all IAM resources of the cluster.
type Iam struct {
	Roles               IamRoles `update:"SUPPORTED" doc:"Existing roles to use."`
	PermissionsBoundary string   `match:"policy" update:"SUPPORTED" doc:"ARN of the policy that bounds every role that is made."`
	ResourcePrefix      string   `since:"3.4.0" update:"UNSUPPORTED" doc:"Name prefix, path or both, for the IAM resources that are made."`
}

// IamRoles are existing roles to use.
type IamRoles struct {
	LambdaFunctionsRole string `update:"SUPPORTED" implied:"a role made for the cluster" doc:"ARN of the role of the cluster's functions."`
}

// Monitoring says what is watched and how long it is kept.
type Monitoring struct {
	DetailedMonitoring bool       `default:"false" since:"3.6.0" update:"COMPUTE_FLEET_STOP" doc:"Metrics of compute nodes every minute."`
	Logs               Logs       `update:"UNSUPPORTED" doc:"Log files."`
	Dashboards         Dashboards `update:"SUPPORTED" doc:"Dashboards."`
	Alarms             Alarms     `since:"3.8.0" update:"SUPPORTED" doc:"Alarms of the head node."`
}

// Logs says where log files go.
type Logs struct {
	CloudWatch CloudWatchLogs `update:"UNSUPPORTED" doc:"CloudWatch Logs."`
	Rotation   LogRotation    `since:"3.6.0" update:"UNSUPPORTED" doc:"Rotation on the nodes."`
}

// CloudWatchLogs is the cluster's log group.
type CloudWatchLogs struct {
	Enabled         bool   `default:"true" update:"UNSUPPORTED" doc:"Sends the nodes' logs to CloudWatch."`
	RetentionInDays int    `default:"180" oneof:"0 1 3 5 7 14 30 60 90 120 150 180 365 400 545 731 1827 3653" update:"SUPPORTED" doc:"Days that logs are kept; 0 for ever."`
	DeletionPolicy  string `default:"Retain" oneof:"Delete Retain" update:"SUPPORTED" doc:"Whether the log group goes with the cluster."`
}

// LogRotation is rotation of logs on the nodes.
type LogRotation struct {
	Enabled bool `default:"true" update:"UNSUPPORTED" doc:"Rotates the log files on the nodes."`
}

// Dashboards of the cluster.
type Dashboards struct {
	CloudWatch CloudWatchDashboard `update:"SUPPORTED" doc:"The CloudWatch dashboard."`
}

// CloudWatchDashboard is the cluster's dashboard.
type CloudWatchDashboard struct {
	Enabled bool `default:"true" update:"SUPPORTED" doc:"Makes the dashboard."`
}

// Alarms of the head node.
type Alarms struct {
	Enabled bool `default:"true" update:"SUPPORTED" doc:"Makes the alarms."`
}

// AdditionalPackages are optional software.
type AdditionalPackages struct {
	IntelSoftware IntelSoftware `update:"UNSUPPORTED" doc:"Intel's software."`
}

// IntelSoftware is Intel's.
type IntelSoftware struct {
	IntelHpcPlatform bool `default:"false" only:"slurm" update:"UNSUPPORTED" doc:"The Intel HPC platform; no supported operating system has it."`
}

// DirectoryService says where users come from.
type DirectoryService struct {
	DomainName              string   `req:"yes" update:"COMPUTE_AND_LOGIN_NODES_STOP" doc:"Domain, as a DNS name or a distinguished name."`
	DomainAddr              string   `req:"yes" update:"COMPUTE_AND_LOGIN_NODES_STOP" doc:"Servers, separated by commas; ldaps unless a scheme is given."`
	PasswordSecretArn       string   `req:"yes" match:"secret" update:"COMPUTE_AND_LOGIN_NODES_STOP" doc:"Secret with the password of DomainReadOnlyUser."`
	DomainReadOnlyUser      string   `req:"yes" update:"COMPUTE_AND_LOGIN_NODES_STOP" doc:"Identity to query the directory with."`
	LdapTlsCaCert           string   `update:"COMPUTE_AND_LOGIN_NODES_STOP" doc:"Path on the nodes of the CA certificates to trust."`
	LdapTlsReqCert          string   `default:"hard" oneof:"never allow try demand hard" update:"COMPUTE_AND_LOGIN_NODES_STOP" doc:"How strictly server certificates are checked."`
	LdapAccessFilter        string   `update:"COMPUTE_AND_LOGIN_NODES_STOP" doc:"LDAP filter that users must match."`
	GenerateSshKeysForUsers bool     `default:"true" update:"COMPUTE_AND_LOGIN_NODES_STOP" doc:"Makes an SSH key for each user at the first login."`
	AdditionalSssdConfigs   Settings `update:"COMPUTE_AND_LOGIN_NODES_STOP" doc:"Further settings of SSSD."`
}

// HomeLocal is the value of DefaultUserHome with which each node has its own.
const HomeLocal = "Local"

// DeploymentSettings say how the cluster is deployed.
type DeploymentSettings struct {
	LambdaFunctionsVpcConfig        *VpcConfig `update:"UNSUPPORTED" doc:"Runs the cluster's functions in a VPC."`
	DisableSudoAccessForDefaultUser bool       `default:"false" only:"slurm" since:"3.9.0" update:"COMPUTE_AND_LOGIN_NODES_STOP" doc:"Takes sudo from the default user."`
	DefaultUserHome                 string     `default:"Shared" oneof:"Shared Local" since:"3.9.0" update:"UNSUPPORTED" doc:"Where the default user's home is."`
}

// VpcConfig places functions in a VPC.
type VpcConfig struct {
	SecurityGroupIds []string `req:"yes" items:"1..5" match:"sg" update:"UNSUPPORTED" doc:"Security groups of the functions."`
	SubnetIds        []string `req:"yes" items:"1..16" match:"subnet" update:"UNSUPPORTED" doc:"Subnets of the functions."`
}

// Imds is the instance metadata service.
type Imds struct {
	ImdsSupport string `default:"v2.0" oneof:"v1.0 v2.0" update:"UNSUPPORTED" doc:"v2.0 demands IMDSv2, v1.0 allows both versions."`
}

// DevSettings are for the development of clusters.
type DevSettings struct {
	Cookbook                        Cookbook         `update:"UNSUPPORTED" doc:"Attributes and archive of a Chef cookbook."`
	NodePackage                     string           `update:"UNSUPPORTED" doc:"URL of a node package."`
	AwsBatchCliPackage              string           `only:"awsbatch" update:"UNSUPPORTED" doc:"URL of a Batch command line package."`
	ClusterTemplate                 string           `update:"SUPPORTED" doc:"URL of a template in place of the generated one."`
	AmiSearchFilters                AmiSearchFilters `update:"UNSUPPORTED" doc:"How the official AMI is found."`
	InstanceTypesData               string           `update:"SUPPORTED" doc:"JSON object of instance types in the form of DescribeInstanceTypes."`
	Timeouts                        Timeouts         `since:"3.2.0" update:"SUPPORTED" doc:"How long nodes may take."`
	ComputeStartupTimeMetricEnabled bool             `default:"false" since:"3.7.0" update:"SUPPORTED" doc:"Publishes how long compute nodes take to start."`
	EfaInterfaceType                string           `oneof:"efa" since:"3.15.0" update:"UNSUPPORTED" doc:"efa for the combined interface in place of an interface plus efa-only."`
}

// Cookbook is accepted for compatibility; the nodes have no Chef.
type Cookbook struct {
	ChefCookbook        string `update:"UNSUPPORTED" doc:"URL of a cookbook archive."`
	ExtraChefAttributes string `update:"UNSUPPORTED" doc:"JSON that is merged into the nodes' attributes."`
}

// AmiSearchFilters narrow the search for the official AMI.
type AmiSearchFilters struct {
	Tags  []Tag  `id:"Key" update:"UNSUPPORTED" below:"*=UNSUPPORTED" doc:"Tags that the AMI must have."`
	Owner string `update:"UNSUPPORTED" doc:"Account that owns the AMI."`
}

// Timeouts in seconds.
type Timeouts struct {
	HeadNodeBootstrapTimeout    int `default:"1800" range:"1.." update:"UNSUPPORTED" doc:"Seconds that the head node may take."`
	ComputeNodeBootstrapTimeout int `default:"1800" range:"1.." update:"SUPPORTED" doc:"Seconds that a compute or login node may take."`
}
