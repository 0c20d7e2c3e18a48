package ec2

import (
	"encoding/base64"
	"net/netip"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Metadata is what an instance may learn of itself from the metadata service.
type Metadata struct {
	Region, Account string
	Instance        types.Instance
	Reservation     string
	UserData        []byte
	PublicKey       string // of the key pair, in the format of authorized_keys; "" without one
	Role, RoleARN   string // of the instance profile; "" without one
	Interfaces      []MetadataInterface
	SpotAction      *time.Time                  // when the instance will be taken away; nil if nobody said so
	Events          []types.InstanceStatusEvent // that are scheduled
	TargetState     string                      // what its Auto Scaling group makes of it; "" outside of groups
	TokenKey        []byte                      // signs session tokens; the same for all instances
}

// A MetadataInterface is a network interface with its surroundings.
type MetadataInterface struct {
	types.NetworkInterface
	SubnetCIDR, VPCCIDR string
}

// Metadata returns the metadata of the instance that has the private address.
func (s *Service) Metadata(addr netip.Addr) (Metadata, bool) {
	i := s.byAddress(addr)
	if i == nil {
		return Metadata{}, false
	}
	m := Metadata{
		Region: s.id.Name(), Account: s.id.Account(), Instance: i.Desc, Reservation: i.Reservation, Role: i.Role, RoleARN: i.RoleARN,
		SpotAction: i.SpotAction, Events: s.health.of(instanceKey(i)).events, TokenKey: s.tokenKey,
	}
	m.UserData, _ = base64.StdEncoding.DecodeString(i.UserData) // checked at launch
	if name := aws.ToString(i.Desc.KeyName); name != "" {
		if key := s.keyNamed(name); key != nil {
			m.PublicKey = *key.PublicKey
		}
	}
	for _, n := range i.Desc.NetworkInterfaces {
		eni := s.enis.get(*n.NetworkInterfaceId)
		if eni == nil {
			continue
		}
		mi := MetadataInterface{NetworkInterface: *eni}
		if subnet := s.subnets.get(*eni.SubnetId); subnet != nil {
			mi.SubnetCIDR = *subnet.CidrBlock
		}
		if v := s.vpcs.get(*eni.VpcId); v != nil {
			mi.VPCCIDR = *v.Desc.CidrBlock
		}
		m.Interfaces = append(m.Interfaces, mi)
	}
	return m, true
}
