package cloudformation

import "pcluster/internal/sandbox/wire"

// Register offers the service's operations to clients.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "CancelUpdateStack", s.CancelUpdateStack)
	wire.Handle(m, "ContinueUpdateRollback", s.ContinueUpdateRollback)
	wire.Handle(m, "CreateChangeSet", s.CreateChangeSet)
	wire.Handle(m, "CreateStack", s.CreateStack)
	wire.Handle(m, "DeleteChangeSet", s.DeleteChangeSet)
	wire.Handle(m, "DeleteStack", s.DeleteStack)
	wire.Handle(m, "DescribeChangeSet", s.DescribeChangeSet)
	wire.Handle(m, "DescribeStackEvents", s.DescribeStackEvents)
	wire.Handle(m, "DescribeStackResource", s.DescribeStackResource)
	wire.Handle(m, "DescribeStackResources", s.DescribeStackResources)
	wire.Handle(m, "DescribeStacks", s.DescribeStacks)
	wire.Handle(m, "ExecuteChangeSet", s.ExecuteChangeSet)
	wire.Handle(m, "GetTemplate", s.GetTemplate)
	wire.Handle(m, "GetTemplateSummary", s.GetTemplateSummary)
	wire.Handle(m, "ListChangeSets", s.ListChangeSets)
	wire.Handle(m, "ListExports", s.ListExports)
	wire.Handle(m, "ListImports", s.ListImports)
	wire.Handle(m, "ListStackResources", s.ListStackResources)
	wire.Handle(m, "ListStacks", s.ListStacks)
	wire.Handle(m, "RollbackStack", s.RollbackStack)
	wire.Handle(m, "SignalResource", s.SignalResource)
	wire.Handle(m, "UpdateStack", s.UpdateStack)
	wire.Handle(m, "UpdateTerminationProtection", s.UpdateTerminationProtection)
	wire.Handle(m, "ValidateTemplate", s.ValidateTemplate)
}
