package cfn

// SecurityGroup is AWS::EC2::SecurityGroup.
type SecurityGroup struct {
	GroupDescription     Text
	VpcId                Text
	SecurityGroupIngress []GroupRule `json:",omitempty"`
	Tags                 Tags        `json:",omitempty"`
}

func (SecurityGroup) kind() kind { return kind{"AWS::EC2::SecurityGroup", []Attribute{GroupID}} }

// GroupRule is a rule inside of a security group.
type GroupRule struct {
	Description        Text `json:",omitempty"`
	IpProtocol         string
	FromPort           *int `json:",omitempty"`
	ToPort             *int `json:",omitempty"`
	CidrIp             Text `json:",omitempty"`
	SourcePrefixListId Text `json:",omitempty"`
}

// SecurityGroupIngress is AWS::EC2::SecurityGroupIngress.
type SecurityGroupIngress struct {
	GroupId               Text
	IpProtocol            string
	FromPort              *int `json:",omitempty"`
	ToPort                *int `json:",omitempty"`
	SourceSecurityGroupId Text `json:",omitempty"`
	CidrIp                Text `json:",omitempty"`
	Description           Text `json:",omitempty"`
}

func (SecurityGroupIngress) kind() kind { return kind{"AWS::EC2::SecurityGroupIngress", nil} }

// SecurityGroupEgress is AWS::EC2::SecurityGroupEgress.
type SecurityGroupEgress struct {
	GroupId                    Text
	IpProtocol                 string
	FromPort                   *int `json:",omitempty"`
	ToPort                     *int `json:",omitempty"`
	DestinationSecurityGroupId Text `json:",omitempty"`
	CidrIp                     Text `json:",omitempty"`
	Description                Text `json:",omitempty"`
}

func (SecurityGroupEgress) kind() kind { return kind{"AWS::EC2::SecurityGroupEgress", nil} }

// NetworkInterface is AWS::EC2::NetworkInterface.
type NetworkInterface struct {
	Description     Text `json:",omitempty"`
	SubnetId        Text
	GroupSet        []Text
	SourceDestCheck *bool `json:",omitempty"`
	Tags            Tags  `json:",omitempty"`
}

func (NetworkInterface) kind() kind {
	return kind{"AWS::EC2::NetworkInterface", []Attribute{PrimaryPrivateIP}}
}

// EIP is AWS::EC2::EIP.
type EIP struct {
	Domain string
	Tags   Tags `json:",omitempty"`
}

func (EIP) kind() kind { return kind{"AWS::EC2::EIP", []Attribute{AllocationID}} }

// EIPAssociation is AWS::EC2::EIPAssociation.
type EIPAssociation struct {
	AllocationId       Text
	NetworkInterfaceId Text
}

func (EIPAssociation) kind() kind { return kind{"AWS::EC2::EIPAssociation", nil} }

// Volume is AWS::EC2::Volume.
type Volume struct {
	AvailabilityZone Text
	Size             *int   `json:",omitempty"`
	VolumeType       string `json:",omitempty"`
	Iops             *int   `json:",omitempty"`
	Throughput       *int   `json:",omitempty"`
	Encrypted        *bool  `json:",omitempty"`
	KmsKeyId         Text   `json:",omitempty"`
	SnapshotId       Text   `json:",omitempty"`
	Tags             Tags   `json:",omitempty"`
}

func (Volume) kind() kind { return kind{"AWS::EC2::Volume", nil} }

// PlacementGroup is AWS::EC2::PlacementGroup.
type PlacementGroup struct {
	Strategy string
	Tags     Tags `json:",omitempty"`
}

func (PlacementGroup) kind() kind { return kind{"AWS::EC2::PlacementGroup", nil} }

// Instance is AWS::EC2::Instance, of a launch template.
type Instance struct {
	LaunchTemplate LaunchTemplateVersion
	Tags           Tags `json:",omitempty"`
}

func (Instance) kind() kind {
	return kind{"AWS::EC2::Instance", []Attribute{PrivateIP, PrivateDNSName}}
}

// LaunchTemplateVersion names a version of a launch template.
type LaunchTemplateVersion struct {
	LaunchTemplateId Text
	Version          Text
}

// LaunchTemplate is AWS::EC2::LaunchTemplate.
type LaunchTemplate struct {
	LaunchTemplateName Text `json:",omitempty"`
	LaunchTemplateData LaunchTemplateData
	TagSpecifications  []TagSpecification `json:",omitempty"`
}

func (LaunchTemplate) kind() kind {
	return kind{"AWS::EC2::LaunchTemplate", []Attribute{LatestVersionNumber, DefaultVersionNumber}}
}

// LaunchTemplateData is how to launch.
type LaunchTemplateData struct {
	ImageId                           Text                 `json:",omitempty"`
	InstanceType                      string               `json:",omitempty"`
	KeyName                           string               `json:",omitempty"`
	EbsOptimized                      *bool                `json:",omitempty"`
	IamInstanceProfile                *InstanceProfileName `json:",omitempty"`
	InstanceInitiatedShutdownBehavior string               `json:",omitempty"`
	InstanceMarketOptions             *MarketOptions       `json:",omitempty"`
	CapacityReservationSpecification  *ReservationSpec     `json:",omitempty"`
	CpuOptions                        *CPUOptions          `json:",omitempty"`
	Placement                         *Placement           `json:",omitempty"`
	Monitoring                        *MonitoringOption    `json:",omitempty"`
	MetadataOptions                   *MetadataOptions     `json:",omitempty"`
	NetworkInterfaces                 []LaunchInterface    `json:",omitempty"`
	BlockDeviceMappings               []BlockDevice        `json:",omitempty"`
	TagSpecifications                 []TagSpecification   `json:",omitempty"`
	UserData                          Text                 `json:",omitempty"`
}

// InstanceProfileName names an instance profile.
type InstanceProfileName struct {
	Name Text
}

// MarketOptions say how an instance is bought.
type MarketOptions struct {
	MarketType  string
	SpotOptions *SpotOptions `json:",omitempty"`
}

// SpotOptions are terms of Spot instances.
type SpotOptions struct {
	SpotInstanceType             string
	InstanceInterruptionBehavior string
	MaxPrice                     string `json:",omitempty"`
}

// ReservationSpec names a capacity reservation.
type ReservationSpec struct {
	CapacityReservationTarget ReservationTarget
}

// ReservationTarget is a reservation or a group of them.
type ReservationTarget struct {
	CapacityReservationId               string `json:",omitempty"`
	CapacityReservationResourceGroupArn string `json:",omitempty"`
}

// CPUOptions are cores and threads.
type CPUOptions struct {
	CoreCount      int
	ThreadsPerCore int
}

// Placement of an instance.
type Placement struct {
	GroupName Text `json:",omitempty"`
}

// MonitoringOption turns detailed monitoring on.
type MonitoringOption struct {
	Enabled bool
}

// MetadataOptions of an instance.
type MetadataOptions struct {
	HttpTokens string
}

// LaunchInterface is a network interface to attach or to make.
type LaunchInterface struct {
	DeviceIndex              int
	NetworkCardIndex         *int   `json:",omitempty"`
	InterfaceType            string `json:",omitempty"`
	NetworkInterfaceId       Text   `json:",omitempty"`
	SubnetId                 Text   `json:",omitempty"`
	Groups                   []Text `json:",omitempty"`
	AssociatePublicIpAddress *bool  `json:",omitempty"`
}

// BlockDevice is a disk.
type BlockDevice struct {
	DeviceName  string
	VirtualName string `json:",omitempty"`
	Ebs         *Ebs   `json:",omitempty"`
}

// Ebs is a disk that is an EBS volume.
type Ebs struct {
	VolumeSize          *int   `json:",omitempty"`
	VolumeType          string `json:",omitempty"`
	Iops                *int   `json:",omitempty"`
	Throughput          *int   `json:",omitempty"`
	Encrypted           *bool  `json:",omitempty"`
	KmsKeyId            string `json:",omitempty"`
	DeleteOnTermination *bool  `json:",omitempty"`
}

// TagSpecification tags what is made along with something.
type TagSpecification struct {
	ResourceType string
	Tags         Tags
}
