package route53

import "pcluster/internal/sandbox/wire"

// Register attaches the operations to Route 53's API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "AssociateVPCWithHostedZone", s.AssociateVPCWithHostedZone)
	wire.Handle(m, "ChangeResourceRecordSets", s.ChangeResourceRecordSets)
	wire.Handle(m, "ChangeTagsForResource", s.ChangeTagsForResource)
	wire.Handle(m, "CreateHostedZone", s.CreateHostedZone)
	wire.Handle(m, "DeleteHostedZone", s.DeleteHostedZone)
	wire.Handle(m, "DisassociateVPCFromHostedZone", s.DisassociateVPCFromHostedZone)
	wire.Handle(m, "GetChange", s.GetChange)
	wire.Handle(m, "GetHostedZone", s.GetHostedZone)
	wire.Handle(m, "GetHostedZoneCount", s.GetHostedZoneCount)
	wire.Handle(m, "ListHostedZones", s.ListHostedZones)
	wire.Handle(m, "ListHostedZonesByName", s.ListHostedZonesByName)
	wire.Handle(m, "ListHostedZonesByVPC", s.ListHostedZonesByVPC)
	wire.Handle(m, "ListQueryLoggingConfigs", s.ListQueryLoggingConfigs)
	wire.Handle(m, "ListResourceRecordSets", s.ListResourceRecordSets)
	wire.Handle(m, "ListTagsForResource", s.ListTagsForResource)
	wire.Handle(m, "ListTagsForResources", s.ListTagsForResources)
	wire.Handle(m, "UpdateHostedZoneComment", s.UpdateHostedZoneComment)
}
