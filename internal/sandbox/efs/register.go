package efs

import "pcluster/internal/sandbox/wire"

// Register attaches the operations to EFS's API.
func (s *Service) Register(m *wire.Service) {
	wire.Handle(m, "CreateAccessPoint", s.CreateAccessPoint)
	wire.Handle(m, "CreateFileSystem", s.CreateFileSystem)
	wire.Handle(m, "CreateMountTarget", s.CreateMountTarget)
	wire.Handle(m, "CreateTags", s.CreateTags)
	wire.Handle(m, "DeleteAccessPoint", s.DeleteAccessPoint)
	wire.Handle(m, "DeleteFileSystem", s.DeleteFileSystem)
	wire.Handle(m, "DeleteFileSystemPolicy", s.DeleteFileSystemPolicy)
	wire.Handle(m, "DeleteMountTarget", s.DeleteMountTarget)
	wire.Handle(m, "DeleteTags", s.DeleteTags)
	wire.Handle(m, "DescribeAccessPoints", s.DescribeAccessPoints)
	wire.Handle(m, "DescribeAccountPreferences", s.DescribeAccountPreferences)
	wire.Handle(m, "DescribeBackupPolicy", s.DescribeBackupPolicy)
	wire.Handle(m, "DescribeFileSystemPolicy", s.DescribeFileSystemPolicy)
	wire.Handle(m, "DescribeFileSystems", s.DescribeFileSystems)
	wire.Handle(m, "DescribeLifecycleConfiguration", s.DescribeLifecycleConfiguration)
	wire.Handle(m, "DescribeMountTargetSecurityGroups", s.DescribeMountTargetSecurityGroups)
	wire.Handle(m, "DescribeMountTargets", s.DescribeMountTargets)
	wire.Handle(m, "DescribeTags", s.DescribeTags)
	wire.Handle(m, "ListTagsForResource", s.ListTagsForResource)
	wire.Handle(m, "ModifyMountTargetSecurityGroups", s.ModifyMountTargetSecurityGroups)
	wire.Handle(m, "PutBackupPolicy", s.PutBackupPolicy)
	wire.Handle(m, "PutFileSystemPolicy", s.PutFileSystemPolicy)
	wire.Handle(m, "PutLifecycleConfiguration", s.PutLifecycleConfiguration)
	wire.Handle(m, "TagResource", s.TagResource)
	wire.Handle(m, "UntagResource", s.UntagResource)
	wire.Handle(m, "UpdateFileSystem", s.UpdateFileSystem)
	wire.Handle(m, "UpdateFileSystemProtection", s.UpdateFileSystemProtection)
}
