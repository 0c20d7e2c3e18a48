package cfn

// A Tag of a resource.
type Tag struct {
	Key   string
	Value Text
}

// Tags of a resource.
type Tags []Tag

// LogGroup is AWS::Logs::LogGroup.
type LogGroup struct {
	LogGroupName    Text
	RetentionInDays int  `json:",omitempty"`
	Tags            Tags `json:",omitempty"`
}

func (LogGroup) kind() kind { return kind{"AWS::Logs::LogGroup", []Attribute{Arn}} }

// MetricFilter is AWS::Logs::MetricFilter.
type MetricFilter struct {
	LogGroupName          Text
	FilterPattern         string
	FilterName            Text `json:",omitempty"`
	MetricTransformations []MetricTransformation
}

func (MetricFilter) kind() kind { return kind{"AWS::Logs::MetricFilter", nil} }

// MetricTransformation is a metric that a filter makes.
type MetricTransformation struct {
	MetricNamespace string
	MetricName      string
	MetricValue     string
	Unit            string            `json:",omitempty"`
	Dimensions      []MetricDimension `json:",omitempty"`
}

// MetricDimension is a dimension of a metric.
type MetricDimension struct {
	Key   string
	Value string
}

// Alarm is AWS::CloudWatch::Alarm.
type Alarm struct {
	AlarmName          Text
	AlarmDescription   Text   `json:",omitempty"`
	Namespace          string `json:",omitempty"`
	MetricName         string `json:",omitempty"`
	Statistic          string `json:",omitempty"`
	ComparisonOperator string
	Threshold          int
	Period             int
	EvaluationPeriods  int
	DatapointsToAlarm  int
	TreatMissingData   string           `json:",omitempty"`
	Dimensions         []AlarmDimension `json:",omitempty"`
}

func (Alarm) kind() kind { return kind{"AWS::CloudWatch::Alarm", []Attribute{Arn}} }

// AlarmDimension is a dimension of an alarm's metric.
type AlarmDimension struct {
	Name  string
	Value Text
}

// CompositeAlarm is AWS::CloudWatch::CompositeAlarm.
type CompositeAlarm struct {
	AlarmName        Text
	AlarmDescription Text `json:",omitempty"`
	AlarmRule        Text
}

func (CompositeAlarm) kind() kind { return kind{"AWS::CloudWatch::CompositeAlarm", []Attribute{Arn}} }

// Dashboard is AWS::CloudWatch::Dashboard.
type Dashboard struct {
	DashboardName Text
	DashboardBody Text
}

func (Dashboard) kind() kind { return kind{"AWS::CloudWatch::Dashboard", nil} }

// Table is AWS::DynamoDB::Table.
type Table struct {
	TableName              Text
	AttributeDefinitions   []TableAttribute
	KeySchema              []KeyElement
	GlobalSecondaryIndexes []TableIndex `json:",omitempty"`
	BillingMode            string
	Tags                   Tags `json:",omitempty"`
}

func (Table) kind() kind { return kind{"AWS::DynamoDB::Table", []Attribute{Arn}} }

// TableAttribute is an attribute of a table that is part of a key.
type TableAttribute struct {
	AttributeName string
	AttributeType string
}

// KeyElement is a part of a table's key.
type KeyElement struct {
	AttributeName string
	KeyType       string
}

// TableIndex is a global secondary index.
type TableIndex struct {
	IndexName  string
	KeySchema  []KeyElement
	Projection TableProjection
}

// TableProjection says what an index holds.
type TableProjection struct {
	ProjectionType string
}

// HostedZone is AWS::Route53::HostedZone.
type HostedZone struct {
	Name           Text
	VPCs           []ZoneVPC
	HostedZoneTags Tags `json:",omitempty"`
}

func (HostedZone) kind() kind { return kind{"AWS::Route53::HostedZone", nil} }

// ZoneVPC is a VPC in which a private zone answers.
type ZoneVPC struct {
	VPCId     Text
	VPCRegion Text
}

// Function is AWS::Lambda::Function.
type Function struct {
	FunctionName  Text
	Description   string   `json:",omitempty"`
	Architectures []string `json:",omitempty"`
	Runtime       string
	Handler       string
	Code          FunctionCode
	Role          Text
	MemorySize    int
	Timeout       int
	VpcConfig     *FunctionVPC         `json:",omitempty"`
	Environment   *FunctionEnvironment `json:",omitempty"`
	Tags          Tags                 `json:",omitempty"`
}

// FunctionEnvironment is the environment of a function.
type FunctionEnvironment struct{ Variables map[string]Text }

func (Function) kind() kind { return kind{"AWS::Lambda::Function", []Attribute{Arn}} }

// FunctionCode is where a function's code is.
type FunctionCode struct {
	S3Bucket Text
	S3Key    Text
}

// FunctionVPC places a function in a VPC.
type FunctionVPC struct {
	SecurityGroupIds []Text
	SubnetIds        []Text
}

// CustomResource is AWS::CloudFormation::CustomResource, with its properties
// beside ServiceToken.
type CustomResource map[string]Text

func (CustomResource) kind() kind { return kind{"AWS::CloudFormation::CustomResource", nil} }

// Stack is AWS::CloudFormation::Stack.
type Stack struct {
	TemplateURL Text
	Parameters  map[string]Text `json:",omitempty"`
	Tags        Tags            `json:",omitempty"`
}

func (Stack) kind() kind { return kind{"AWS::CloudFormation::Stack", nil} }

// WaitConditionHandle is AWS::CloudFormation::WaitConditionHandle.
type WaitConditionHandle struct{}

func (WaitConditionHandle) kind() kind {
	return kind{"AWS::CloudFormation::WaitConditionHandle", nil}
}

// WaitCondition is AWS::CloudFormation::WaitCondition.
type WaitCondition struct {
	Count   int
	Handle  Text
	Timeout string // seconds
}

func (WaitCondition) kind() kind { return kind{"AWS::CloudFormation::WaitCondition", nil} }

// AutoScalingGroup is AWS::AutoScaling::AutoScalingGroup.
type AutoScalingGroup struct {
	AutoScalingGroupName           Text
	MinSize                        string
	MaxSize                        string
	DesiredCapacity                string
	LaunchTemplate                 LaunchTemplateVersion
	VPCZoneIdentifier              []Text
	TargetGroupARNs                []Text          `json:",omitempty"`
	LifecycleHookSpecificationList []LifecycleHook `json:",omitempty"`
	Tags                           []GroupTag      `json:",omitempty"`
}

func (AutoScalingGroup) kind() kind { return kind{"AWS::AutoScaling::AutoScalingGroup", nil} }

// LifecycleHook pauses instances that come or go.
type LifecycleHook struct {
	LifecycleHookName   Text
	LifecycleTransition string
	HeartbeatTimeout    int
	DefaultResult       string
}

// GroupTag is a tag of an Auto Scaling group.
type GroupTag struct {
	Key               string
	Value             Text
	PropagateAtLaunch bool
}

// TargetGroup is AWS::ElasticLoadBalancingV2::TargetGroup.
type TargetGroup struct {
	Name                Text
	Protocol            string
	Port                int
	TargetType          string
	HealthCheckProtocol string
	HealthCheckPort     string
	VpcId               Text
	Tags                Tags `json:",omitempty"`
}

func (TargetGroup) kind() kind { return kind{"AWS::ElasticLoadBalancingV2::TargetGroup", nil} }

// LoadBalancer is AWS::ElasticLoadBalancingV2::LoadBalancer.
type LoadBalancer struct {
	Type           string
	Scheme         string
	Subnets        []Text
	SecurityGroups []Text `json:",omitempty"`
	Tags           Tags   `json:",omitempty"`
}

func (LoadBalancer) kind() kind {
	return kind{"AWS::ElasticLoadBalancingV2::LoadBalancer", []Attribute{LoadBalancerFullName}}
}

// Listener is AWS::ElasticLoadBalancingV2::Listener.
type Listener struct {
	LoadBalancerArn Text
	Port            int
	Protocol        string
	DefaultActions  []ListenerAction
}

func (Listener) kind() kind { return kind{"AWS::ElasticLoadBalancingV2::Listener", nil} }

// ListenerAction is what a listener does.
type ListenerAction struct {
	Type           string
	TargetGroupArn Text
}
