package fsx

import "pcluster/internal/sandbox/wire"

// Register attaches the operations to FSx's API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "CancelDataRepositoryTask", s.CancelDataRepositoryTask)
	wire.Handle(m, "CreateDataRepositoryAssociation", s.CreateDataRepositoryAssociation)
	wire.Handle(m, "CreateDataRepositoryTask", s.CreateDataRepositoryTask)
	wire.Handle(m, "CreateFileSystem", s.CreateFileSystem)
	wire.Handle(m, "CreateFileSystemFromBackup", s.CreateFileSystemFromBackup)
	wire.Handle(m, "DeleteDataRepositoryAssociation", s.DeleteDataRepositoryAssociation)
	wire.Handle(m, "DeleteFileSystem", s.DeleteFileSystem)
	wire.Handle(m, "DescribeBackups", s.DescribeBackups)
	wire.Handle(m, "DescribeDataRepositoryAssociations", s.DescribeDataRepositoryAssociations)
	wire.Handle(m, "DescribeDataRepositoryTasks", s.DescribeDataRepositoryTasks)
	wire.Handle(m, "DescribeFileCaches", s.DescribeFileCaches)
	wire.Handle(m, "DescribeFileSystems", s.DescribeFileSystems)
	wire.Handle(m, "DescribeStorageVirtualMachines", s.DescribeStorageVirtualMachines)
	wire.Handle(m, "DescribeVolumes", s.DescribeVolumes)
	wire.Handle(m, "ListTagsForResource", s.ListTagsForResource)
	wire.Handle(m, "TagResource", s.TagResource)
	wire.Handle(m, "UntagResource", s.UntagResource)
	wire.Handle(m, "UpdateDataRepositoryAssociation", s.UpdateDataRepositoryAssociation)
	wire.Handle(m, "UpdateFileSystem", s.UpdateFileSystem)
}
