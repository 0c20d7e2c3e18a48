package cfn

// Attributes of the types below.
const (
	ComputeEnvironmentARN Attribute = "ComputeEnvironmentArn"
	JobQueueARN           Attribute = "JobQueueArn"
	RepositoryURI         Attribute = "RepositoryUri"
)

// BatchComputeEnvironment is AWS::Batch::ComputeEnvironment.
type BatchComputeEnvironment struct {
	Type             string
	State            string
	ServiceRole      Text `json:",omitempty"` // none: that of the service itself
	ComputeResources BatchComputeResources
	Tags             map[string]Text `json:",omitempty"`
}

func (BatchComputeEnvironment) kind() kind {
	return kind{"AWS::Batch::ComputeEnvironment", []Attribute{ComputeEnvironmentARN}}
}

// BatchComputeResources are the instances of a compute environment.
type BatchComputeResources struct {
	Type               string
	AllocationStrategy string `json:",omitempty"`
	MinvCpus           int
	DesiredvCpus       *int `json:",omitempty"`
	MaxvCpus           int
	BidPercentage      *int `json:",omitempty"`
	InstanceTypes      []string
	Subnets            []Text
	SecurityGroupIds   []Text
	InstanceRole       Text
	SpotIamFleetRole   Text                 `json:",omitempty"`
	LaunchTemplate     *BatchLaunchTemplate `json:",omitempty"`
	Tags               map[string]Text      `json:",omitempty"`
}

// BatchLaunchTemplate is a launch template that Batch launches with.
type BatchLaunchTemplate struct {
	LaunchTemplateId Text
	Version          Text `json:",omitempty"`
}

// BatchJobQueue is AWS::Batch::JobQueue.
type BatchJobQueue struct {
	State                   string `json:",omitempty"`
	Priority                int
	ComputeEnvironmentOrder []BatchQueueEnvironment
	Tags                    map[string]Text `json:",omitempty"`
}

func (BatchJobQueue) kind() kind { return kind{"AWS::Batch::JobQueue", []Attribute{JobQueueARN}} }

// BatchQueueEnvironment is a compute environment that serves a queue.
type BatchQueueEnvironment struct {
	ComputeEnvironment Text
	Order              int
}

// BatchJobDefinition is AWS::Batch::JobDefinition.
type BatchJobDefinition struct {
	Type                string
	ContainerProperties *BatchContainer `json:",omitempty"`
	NodeProperties      *BatchNodes     `json:",omitempty"`
	PropagateTags       *bool           `json:",omitempty"`
	Tags                map[string]Text `json:",omitempty"`
}

func (BatchJobDefinition) kind() kind { return kind{"AWS::Batch::JobDefinition", nil} }

// BatchContainer is what runs on one node.
type BatchContainer struct {
	Image         Text
	JobRoleArn    Text
	Privileged    bool
	Vcpus, Memory int // MiB
	Environment   []BatchVariable
}

// BatchVariable is a variable of a container's environment.
type BatchVariable struct {
	Name  string
	Value Text
}

// BatchNodes are the containers of a job on several nodes.
type BatchNodes struct {
	MainNode            int
	NumNodes            int
	NodeRangeProperties []BatchNodeRange
}

// BatchNodeRange says what runs on some of the nodes.
type BatchNodeRange struct {
	TargetNodes string
	Container   BatchContainer
}

// Repository is AWS::ECR::Repository.
type Repository struct {
	RepositoryName Text `json:",omitempty"`
	EmptyOnDelete  bool `json:",omitempty"`
	Tags           Tags `json:",omitempty"`
}

func (Repository) kind() kind { return kind{"AWS::ECR::Repository", []Attribute{Arn, RepositoryURI}} }

// BuildProject is AWS::CodeBuild::Project.
type BuildProject struct {
	Name                   Text
	Description            string `json:",omitempty"`
	ServiceRole            Text
	TimeoutInMinutes       int
	QueuedTimeoutInMinutes int
	Artifacts              BuildArtifacts
	Source                 BuildSource
	Environment            BuildEnvironment
	LogsConfig             BuildLogs
	Tags                   Tags `json:",omitempty"`
}

func (BuildProject) kind() kind { return kind{"AWS::CodeBuild::Project", []Attribute{Arn}} }

// BuildArtifacts is where a build puts what it makes.
type BuildArtifacts struct{ Type string }

// BuildSource is what a build begins with.
type BuildSource struct {
	Type     string
	Location Text
}

// BuildEnvironment is the container of a build.
type BuildEnvironment struct {
	Type                 string
	ComputeType          string
	Image                string
	PrivilegedMode       bool
	EnvironmentVariables []BuildVariable
}

// BuildVariable is a variable of a build's environment.
type BuildVariable struct {
	Name  string
	Value Text
}

// BuildLogs says where a build logs.
type BuildLogs struct{ CloudWatchLogs BuildLogGroup }

// BuildLogGroup is a log group for builds.
type BuildLogGroup struct {
	Status    string
	GroupName Text
}
