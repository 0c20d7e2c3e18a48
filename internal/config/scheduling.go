package config

// Schedulers.
const (
	Slurm    = "slurm"
	AWSBatch = "awsbatch"
)

// Capacity types of a queue.
const (
	OnDemand      = "ONDEMAND"
	Spot          = "SPOT"
	CapacityBlock = "CAPACITY_BLOCK"
)

// Scheduling is the scheduler with its queues.
type Scheduling struct {
	Scheduler        string            `req:"yes" oneof:"slurm awsbatch" update:"UNSUPPORTED" doc:"The scheduler."`
	ScalingStrategy  string            `default:"all-or-nothing" oneof:"all-or-nothing best-effort greedy-all-or-nothing" only:"slurm" since:"3.8.0" update:"SUPPORTED" doc:"What to do when EC2 can't give all nodes of a job."`
	SlurmSettings    SlurmSettings     `only:"slurm" update:"IGNORED" doc:"Settings of Slurm for the whole cluster."`
	SlurmQueues      []SlurmQueue      `id:"Name" only:"slurm" update:"RESIZE_UPDATE_STRATEGY_ON_REMOVE" doc:"Queues, which are Slurm's partitions."`
	AwsBatchSettings *AwsBatchSettings `only:"awsbatch" update:"COMPUTE_FLEET_STOP" doc:"Settings of AWS Batch; there are none."`
	AwsBatchQueues   []AwsBatchQueue   `items:"1..1" id:"Name" only:"awsbatch" update:"COMPUTE_FLEET_STOP" doc:"The job queue of AWS Batch."`
}

// SlurmSettings are Slurm's, for the whole cluster.
type SlurmSettings struct {
	ScaledownIdletime              int               `default:"10" range:"-1.." update:"COMPUTE_FLEET_STOP" doc:"Minutes that a dynamic node may idle; -1 keeps nodes for ever."`
	QueueUpdateStrategy            string            `default:"COMPUTE_FLEET_STOP" oneof:"DRAIN COMPUTE_FLEET_STOP TERMINATE" since:"3.2.0" update:"IGNORED" doc:"What an update does to nodes of queues that change."`
	EnableMemoryBasedScheduling    bool              `default:"false" since:"3.2.0" update:"COMPUTE_FLEET_STOP" doc:"Makes memory a resource that Slurm hands out."`
	MungeKeySecretArn              string            `since:"3.8.0" update:"COMPUTE_AND_LOGIN_NODES_STOP" implied:"a key that the cluster makes" doc:"Secret with the munge key in base64."`
	CustomSlurmSettings            []Settings        `since:"3.6.0" update:"SUPPORTED" doc:"Lines to add to slurm.conf, one per map."`
	CustomSlurmSettingsIncludeFile string            `since:"3.6.0" update:"SUPPORTED" doc:"URL (https or s3) of a file to append to slurm.conf."`
	Database                       *Database         `since:"3.3.0" update:"COMPUTE_FLEET_STOP" doc:"Database for job accounting."`
	ExternalSlurmdbd               *ExternalSlurmdbd `since:"3.10.0" update:"SUPPORTED" doc:"A slurmdbd outside the cluster."`
	Dns                            Dns               `update:"UNSUPPORTED" doc:"Names of compute nodes."`
}

// A Database keeps Slurm's accounts.
type Database struct {
	Uri               string `req:"yes" update:"COMPUTE_FLEET_STOP" doc:"Host, or host and port, of the server."`
	UserName          string `req:"yes" update:"COMPUTE_FLEET_STOP" doc:"User of the database."`
	PasswordSecretArn string `req:"yes" match:"dbsecret" update:"COMPUTE_FLEET_STOP" doc:"Secret with the password."`
	DatabaseName      string `match:"dbname" len:"1..64" since:"3.8.0" update:"SUPPORTED" implied:"cluster name with _ for -" doc:"Name of the database."`
}

// ExternalSlurmdbd is a slurmdbd outside the cluster.
type ExternalSlurmdbd struct {
	Host string `req:"yes" update:"SUPPORTED" doc:"Name or address of the host."`
	Port int    `default:"6819" update:"SUPPORTED" doc:"TCP port."`
}

// Dns says how compute nodes get their names.
type Dns struct {
	DisableManagedDns bool   `default:"false" update:"UNSUPPORTED" doc:"Makes no hosted zone and no records."`
	HostedZoneId      string `update:"UNSUPPORTED" implied:"a zone made for the cluster" doc:"Existing private hosted zone."`
	UseEc2Hostnames   bool   `default:"false" since:"3.1.1" update:"UNSUPPORTED" doc:"Leaves compute nodes the host names that EC2 gives."`
}

// A SlurmQueue is a partition of Slurm.
type SlurmQueue struct {
	Name                      string                     `req:"yes" update:"UNSUPPORTED" doc:"Name of the queue."`
	CapacityType              string                     `default:"ONDEMAND" oneof:"ONDEMAND SPOT CAPACITY_BLOCK" update:"QUEUE_UPDATE_STRATEGY" doc:"How instances are bought."`
	AllocationStrategy        string                     `oneof:"lowest-price capacity-optimized price-capacity-optimized prioritized capacity-optimized-prioritized" since:"3.3.0" update:"QUEUE_UPDATE_STRATEGY" implied:"lowest-price if a compute resource has Instances" doc:"How EC2 chooses among instance types."`
	JobExclusiveAllocation    bool                       `default:"false" since:"3.7.0" update:"SUPPORTED" doc:"Gives each job whole nodes."`
	CustomSlurmSettings       Settings                   `since:"3.6.0" update:"SUPPORTED" doc:"Further settings of the partition."`
	Tags                      []Tag                      `id:"Key" since:"3.6.0" update:"QUEUE_UPDATE_STRATEGY" below:"*=QUEUE_UPDATE_STRATEGY" doc:"Tags of the queue's nodes."`
	HealthChecks              HealthChecks               `since:"3.6.0" update:"SUPPORTED" doc:"Checks of a node before a job."`
	CapacityReservationTarget *CapacityReservationTarget `since:"3.3.0" update:"QUEUE_UPDATE_STRATEGY" doc:"Capacity reservation to launch in."`
	Networking                QueueNetworking            `req:"yes" update:"QUEUE_UPDATE_STRATEGY" doc:"Subnets and security groups."`
	ComputeSettings           ComputeSettings            `update:"QUEUE_UPDATE_STRATEGY" doc:"Disks of the nodes."`
	CustomActions             CustomActions              `update:"QUEUE_UPDATE_STRATEGY" below:"*=QUEUE_UPDATE_STRATEGY" doc:"Scripts of the user that the nodes run."`
	Iam                       NodeIam                    `update:"SUPPORTED" below:"InstanceProfile=COMPUTE_FLEET_STOP" doc:"Permissions of the nodes."`
	Image                     NodeImage                  `update:"QUEUE_UPDATE_STRATEGY" below:"*=QUEUE_UPDATE_STRATEGY" doc:"AMI of the queue."`
	ComputeResources          []ComputeResource          `req:"late" id:"Name" update:"RESIZE_UPDATE_STRATEGY_ON_REMOVE" doc:"Groups of equal nodes."`
}

// HealthChecks run before a job.
type HealthChecks struct {
	Gpu GpuCheck `update:"SUPPORTED" doc:"Check of NVIDIA GPUs."`
}

// GpuCheck is a check of NVIDIA GPUs.
type GpuCheck struct {
	Enabled *bool `update:"SUPPORTED" doc:"Turns the check on or off; a compute resource's word beats its queue's."`
}

// A CapacityReservationTarget is a reservation or a group of them.
type CapacityReservationTarget struct {
	CapacityReservationId               string `update:"QUEUE_UPDATE_STRATEGY" doc:"Identifier of the reservation."`
	CapacityReservationResourceGroupArn string `update:"QUEUE_UPDATE_STRATEGY" doc:"ARN of a resource group of reservations."`
}

// QueueNetworking places a queue.
type QueueNetworking struct {
	SubnetIds                []string        `req:"yes" items:"1.." match:"subnet" update:"MANAGED_FSX" doc:"Subnets of the queue, each in an availability zone of its own."`
	AssignPublicIp           *bool           `update:"UNSUPPORTED" implied:"what the subnet says" doc:"Gives nodes public addresses, or none."`
	SecurityGroups           []string        `match:"sg" update:"SUPPORTED" doc:"Security groups in place of the managed one."`
	AdditionalSecurityGroups []string        `match:"sg" update:"SUPPORTED" doc:"Security groups on top of the managed one."`
	PlacementGroup           *PlacementGroup `update:"MANAGED_PLACEMENT_GROUP" doc:"Placement group of each compute resource."`
	Proxy                    Proxy           `update:"QUEUE_UPDATE_STRATEGY" below:"*=QUEUE_UPDATE_STRATEGY" doc:"Proxy of the nodes."`
}

// A PlacementGroup keeps nodes close to each other.
type PlacementGroup struct {
	Enabled *bool  `update:"MANAGED_PLACEMENT_GROUP" doc:"Makes a group per compute resource."`
	Id      string `update:"MANAGED_PLACEMENT_GROUP" doc:"Older spelling of Name."`
	Name    string `since:"3.3.0" update:"MANAGED_PLACEMENT_GROUP" doc:"Existing placement group."`
}

// Existing returns the name of the placement group that is there already, if one is given.
func (g *PlacementGroup) Existing() string {
	if g == nil {
		return ""
	}
	if g.Name != "" {
		return g.Name
	}
	return g.Id
}

// Managed says whether a group is to be made.
func (g *PlacementGroup) Managed() bool {
	return g != nil && g.Existing() == "" && g.Enabled != nil && *g.Enabled
}

// ComputeSettings are settings of a queue's instances.
type ComputeSettings struct {
	LocalStorage LocalStorage `update:"QUEUE_UPDATE_STRATEGY" below:"*=QUEUE_UPDATE_STRATEGY" doc:"Disks of the nodes themselves."`
}

// LocalStorage are a compute node's own disks.
type LocalStorage struct {
	RootVolume      RootVolume      `update:"QUEUE_UPDATE_STRATEGY" doc:"The root volume."`
	EphemeralVolume EphemeralVolume `update:"QUEUE_UPDATE_STRATEGY" doc:"Instance store, if the instance type has any."`
}

// A ComputeResource is a group of equal nodes.
type ComputeResource struct {
	Name                              string                     `req:"yes" update:"UNSUPPORTED" doc:"Name, which becomes part of the nodes' names."`
	InstanceType                      string                     `update:"COMPUTE_FLEET_STOP" implied:"type of the capacity reservation" doc:"EC2 instance type."`
	Instances                         []Instance                 `id:"InstanceType" since:"3.3.0" update:"COMPUTE_FLEET_STOP_ON_REMOVE" doc:"Instance types that EC2 may choose from."`
	MinCount                          int                        `default:"0" range:"0.." update:"RESIZE_UPDATE_STRATEGY_ON_REMOVE" doc:"Nodes that always run."`
	MaxCount                          int                        `default:"10" range:"1.." update:"RESIZE_UPDATE_STRATEGY_ON_REMOVE" doc:"Most nodes, with those that always run."`
	SpotPrice                         *float64                   `range:"0.." update:"QUEUE_UPDATE_STRATEGY" implied:"the on-demand price" doc:"Most to pay for a Spot instance, in USD an hour."`
	DisableSimultaneousMultithreading bool                       `default:"false" update:"COMPUTE_FLEET_STOP" doc:"Leaves one thread per core."`
	SchedulableMemory                 *int                       `since:"3.2.0" update:"QUEUE_UPDATE_STRATEGY" implied:"95 percent of the instance's memory" doc:"MiB that Slurm may hand out."`
	Efa                               Efa                        `update:"QUEUE_UPDATE_STRATEGY" doc:"Elastic Fabric Adapter."`
	CapacityReservationTarget         *CapacityReservationTarget `since:"3.3.0" update:"QUEUE_UPDATE_STRATEGY" doc:"Capacity reservation to launch in, in place of the queue's."`
	Networking                        ResourceNetworking         `since:"3.3.0" update:"MANAGED_PLACEMENT_GROUP" doc:"Placement group."`
	HealthChecks                      HealthChecks               `since:"3.6.0" update:"SUPPORTED" doc:"Checks of a node before a job."`
	CustomSlurmSettings               Settings                   `since:"3.6.0" update:"SUPPORTED" doc:"Further settings of the nodes."`
	Tags                              []Tag                      `id:"Key" since:"3.6.0" update:"QUEUE_UPDATE_STRATEGY" below:"*=QUEUE_UPDATE_STRATEGY" doc:"Tags of the nodes."`
	StaticNodePriority                int                        `default:"1" range:"1..4294967295" since:"3.7.0" update:"SUPPORTED" doc:"Weight of nodes that always run; Slurm takes the lowest first."`
	DynamicNodePriority               int                        `default:"1000" range:"1..4294967295" since:"3.7.0" update:"SUPPORTED" doc:"Weight of all other nodes."`
	LaunchTemplateOverrides           *LaunchTemplateOverrides   `since:"3.15.0" update:"QUEUE_UPDATE_STRATEGY" doc:"Launch template of the user whose network interfaces are used."`
}

// InstanceTypes returns the resource's instance types: the one, or the several.
func (r *ComputeResource) InstanceTypes() []string {
	if r.InstanceType != "" {
		return []string{r.InstanceType}
	}
	types := make([]string, len(r.Instances))
	for i, in := range r.Instances {
		types[i] = in.InstanceType
	}
	return types
}

// Flexible says whether EC2 chooses among several instance types.
func (r *ComputeResource) Flexible() bool { return len(r.Instances) > 0 }

// An Instance is one of the types that EC2 may choose.
type Instance struct {
	InstanceType string `req:"yes" update:"COMPUTE_FLEET_STOP" doc:"EC2 instance type."`
}

// Efa is the Elastic Fabric Adapter.
type Efa struct {
	Enabled    bool `default:"false" update:"QUEUE_UPDATE_STRATEGY" doc:"Turns it on."`
	GdrSupport bool `default:"false" update:"QUEUE_UPDATE_STRATEGY" doc:"Has no effect any more."`
}

// ResourceNetworking is the network of one compute resource.
type ResourceNetworking struct {
	PlacementGroup *PlacementGroup `update:"MANAGED_PLACEMENT_GROUP" doc:"Placement group, in place of the queue's."`
}

// LaunchTemplateOverrides names a launch template of the user.
type LaunchTemplateOverrides struct {
	LaunchTemplateId string `req:"yes" update:"QUEUE_UPDATE_STRATEGY" doc:"Identifier of the launch template."`
	Version          int    `req:"yes" range:"1.." update:"QUEUE_UPDATE_STRATEGY" doc:"Its version."`
}

// PlacementGroupOf returns the placement group that holds for a compute resource
// of the queue: its own setting replaces the queue's as a whole. It may be nil.
func (q *SlurmQueue) PlacementGroupOf(r *ComputeResource) *PlacementGroup {
	if r.Networking.PlacementGroup != nil {
		return r.Networking.PlacementGroup
	}
	return q.Networking.PlacementGroup
}

// ReservationOf returns the capacity reservation that holds for a compute
// resource of the queue, or nil.
func (q *SlurmQueue) ReservationOf(r *ComputeResource) *CapacityReservationTarget {
	if r.CapacityReservationTarget != nil {
		return r.CapacityReservationTarget
	}
	return q.CapacityReservationTarget
}

// GpuCheckOf says whether GPUs are checked before jobs on a compute resource of the queue.
func (q *SlurmQueue) GpuCheckOf(r *ComputeResource) bool {
	for _, e := range []*bool{r.HealthChecks.Gpu.Enabled, q.HealthChecks.Gpu.Enabled} {
		if e != nil {
			return *e
		}
	}
	return false
}

// AwsBatchSettings has no keys.
type AwsBatchSettings struct{}

// An AwsBatchQueue is a job queue of AWS Batch.
type AwsBatchQueue struct {
	Name             string                 `req:"yes" update:"UNSUPPORTED" doc:"Name of the queue."`
	CapacityType     string                 `default:"ONDEMAND" oneof:"ONDEMAND SPOT CAPACITY_BLOCK" update:"QUEUE_UPDATE_STRATEGY" doc:"How instances are bought."`
	ComputeResources []BatchComputeResource `req:"late" items:"1..1" id:"Name" update:"COMPUTE_FLEET_STOP" doc:"The compute environment."`
	Networking       BatchNetworking        `req:"yes" update:"COMPUTE_FLEET_STOP" doc:"Subnet and security groups."`
}

// A BatchComputeResource is a compute environment of AWS Batch.
type BatchComputeResource struct {
	Name              string   `req:"yes" update:"UNSUPPORTED" doc:"Name of the compute environment."`
	InstanceTypes     []string `req:"yes" update:"COMPUTE_FLEET_STOP" doc:"Types, families or optimal."`
	MinvCpus          int      `default:"0" range:"0.." update:"SUPPORTED" doc:"Fewest vCPUs."`
	DesiredvCpus      *int     `range:"0.." update:"IGNORED" implied:"MinvCpus" doc:"vCPUs to start with."`
	MaxvCpus          int      `default:"10" range:"1.." update:"AWSBATCH_CE_MAX_RESIZE" doc:"Most vCPUs."`
	SpotBidPercentage *int     `range:"1..100" update:"SUPPORTED" doc:"Most to pay for a Spot instance, in percent of the on-demand price."`
}

// BatchNetworking places a compute environment.
type BatchNetworking struct {
	SubnetIds                []string `req:"yes" items:"1..1" match:"subnet" update:"MANAGED_FSX" doc:"The subnet."`
	AssignPublicIp           *bool    `update:"UNSUPPORTED" implied:"what the subnet says" doc:"Gives nodes public addresses, or none."`
	SecurityGroups           []string `match:"sg" update:"SUPPORTED" doc:"Security groups in place of the managed one."`
	AdditionalSecurityGroups []string `match:"sg" update:"SUPPORTED" doc:"Security groups on top of the managed one."`
}
