package dynamodb

import "pcluster/internal/sandbox/wire"

// Register attaches the operations to DynamoDB's API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "BatchGetItem", s.BatchGetItem)
	wire.Handle(m, "BatchWriteItem", s.BatchWriteItem)
	wire.Handle(m, "CreateTable", s.CreateTable)
	wire.Handle(m, "DeleteItem", s.DeleteItem)
	wire.Handle(m, "DeleteTable", s.DeleteTable)
	wire.Handle(m, "DescribeContinuousBackups", s.DescribeContinuousBackups)
	wire.Handle(m, "DescribeTable", s.DescribeTable)
	wire.Handle(m, "DescribeTimeToLive", s.DescribeTimeToLive)
	wire.Handle(m, "GetItem", s.GetItem)
	wire.Handle(m, "ListTables", s.ListTables)
	wire.Handle(m, "ListTagsOfResource", s.ListTagsOfResource)
	wire.Handle(m, "PutItem", s.PutItem)
	wire.Handle(m, "Query", s.Query)
	wire.Handle(m, "Scan", s.Scan)
	wire.Handle(m, "TagResource", s.TagResource)
	wire.Handle(m, "TransactGetItems", s.TransactGetItems)
	wire.Handle(m, "TransactWriteItems", s.TransactWriteItems)
	wire.Handle(m, "UntagResource", s.UntagResource)
	wire.Handle(m, "UpdateContinuousBackups", s.UpdateContinuousBackups)
	wire.Handle(m, "UpdateItem", s.UpdateItem)
	wire.Handle(m, "UpdateTable", s.UpdateTable)
	wire.Handle(m, "UpdateTimeToLive", s.UpdateTimeToLive)
}
