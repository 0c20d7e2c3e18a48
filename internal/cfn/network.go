package cfn

// InternetGateway is AWS::EC2::InternetGateway.
type InternetGateway struct {
	Tags Tags `json:",omitempty"`
}

func (InternetGateway) kind() kind { return kind{"AWS::EC2::InternetGateway", nil} }

// VPCGatewayAttachment is AWS::EC2::VPCGatewayAttachment.
type VPCGatewayAttachment struct {
	VpcId             Text
	InternetGatewayId Text
}

func (VPCGatewayAttachment) kind() kind { return kind{"AWS::EC2::VPCGatewayAttachment", nil} }

// Subnet is AWS::EC2::Subnet.
type Subnet struct {
	VpcId               Text
	CidrBlock           Text
	AvailabilityZone    Text
	MapPublicIpOnLaunch bool
	Tags                Tags `json:",omitempty"`
}

func (Subnet) kind() kind { return kind{"AWS::EC2::Subnet", nil} }

// NatGateway is AWS::EC2::NatGateway.
type NatGateway struct {
	AllocationId Text
	SubnetId     Text
	Tags         Tags `json:",omitempty"`
}

func (NatGateway) kind() kind { return kind{"AWS::EC2::NatGateway", nil} }

// RouteTable is AWS::EC2::RouteTable.
type RouteTable struct {
	VpcId Text
	Tags  Tags `json:",omitempty"`
}

func (RouteTable) kind() kind { return kind{"AWS::EC2::RouteTable", nil} }

// Route is AWS::EC2::Route, through one of the gateways.
type Route struct {
	RouteTableId         Text
	DestinationCidrBlock string
	GatewayId            Text `json:",omitempty"`
	NatGatewayId         Text `json:",omitempty"`
}

func (Route) kind() kind { return kind{"AWS::EC2::Route", nil} }

// SubnetRouteTableAssociation is AWS::EC2::SubnetRouteTableAssociation.
type SubnetRouteTableAssociation struct {
	SubnetId     Text
	RouteTableId Text
}

func (SubnetRouteTableAssociation) kind() kind {
	return kind{"AWS::EC2::SubnetRouteTableAssociation", nil}
}
