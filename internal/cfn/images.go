package cfn

// ImageComponent is AWS::ImageBuilder::Component.
type ImageComponent struct {
	Name     Text
	Version  string
	Platform string
	Data     Text
	Tags     map[string]Text `json:",omitempty"`
}

func (ImageComponent) kind() kind { return kind{"AWS::ImageBuilder::Component", []Attribute{Arn}} }

// ImageRecipe is AWS::ImageBuilder::ImageRecipe.
type ImageRecipe struct {
	Name                string
	Version             string
	ParentImage         string
	Components          []ImageRecipeComponent
	BlockDeviceMappings []BlockDevice
	Tags                map[string]Text `json:",omitempty"`
}

func (ImageRecipe) kind() kind { return kind{"AWS::ImageBuilder::ImageRecipe", []Attribute{Arn}} }

// ImageRecipeComponent names a component of a recipe.
type ImageRecipeComponent struct{ ComponentArn Text }

// ImageInfrastructure is AWS::ImageBuilder::InfrastructureConfiguration.
type ImageInfrastructure struct {
	Name                       Text
	InstanceProfileName        Text
	InstanceTypes              []string
	SubnetId                   string   `json:",omitempty"`
	SecurityGroupIds           []string `json:",omitempty"`
	TerminateInstanceOnFailure bool
	SnsTopicArn                Text
	InstanceMetadataOptions    *MetadataOptions `json:",omitempty"`
	ResourceTags               map[string]Text  `json:",omitempty"`
	Tags                       map[string]Text  `json:",omitempty"`
}

func (ImageInfrastructure) kind() kind {
	return kind{"AWS::ImageBuilder::InfrastructureConfiguration", []Attribute{Arn}}
}

// ImageDistribution is AWS::ImageBuilder::DistributionConfiguration.
type ImageDistribution struct {
	Name          Text
	Distributions []RegionalImage
	Tags          map[string]Text `json:",omitempty"`
}

func (ImageDistribution) kind() kind {
	return kind{"AWS::ImageBuilder::DistributionConfiguration", []Attribute{Arn}}
}

// RegionalImage is what becomes of an image in a region.
type RegionalImage struct {
	Region                       string
	AmiDistributionConfiguration AMIDistribution
}

// AMIDistribution names, tags and shares an AMI.
type AMIDistribution struct {
	Name                          string
	AmiTags                       map[string]Text `json:",omitempty"`
	LaunchPermissionConfiguration any             `json:",omitempty"`
}

// BuiltImage is AWS::ImageBuilder::Image.
type BuiltImage struct {
	ImageRecipeArn                 Text
	InfrastructureConfigurationArn Text
	DistributionConfigurationArn   Text
	EnhancedImageMetadataEnabled   bool
	Tags                           map[string]Text `json:",omitempty"`
}

func (BuiltImage) kind() kind { return kind{"AWS::ImageBuilder::Image", []Attribute{Arn}} }

// Topic is AWS::SNS::Topic.
type Topic struct {
	TopicName Text
	Tags      Tags `json:",omitempty"`
}

func (Topic) kind() kind { return kind{"AWS::SNS::Topic", nil} }

// Subscription is AWS::SNS::Subscription.
type Subscription struct {
	TopicArn Text
	Protocol string
	Endpoint Text
}

func (Subscription) kind() kind { return kind{"AWS::SNS::Subscription", nil} }

// FunctionPermission is AWS::Lambda::Permission.
type FunctionPermission struct {
	Action       string
	FunctionName Text
	Principal    string
	SourceArn    Text
}

func (FunctionPermission) kind() kind { return kind{"AWS::Lambda::Permission", nil} }
