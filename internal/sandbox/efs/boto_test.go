package efs

import (
	"testing"

	"pcluster/internal/sandbox/wire/wiretest"
)

// TestBoto3 is how a file system looks to a Python program.
func TestBoto3(t *testing.T) {
	s, _ := start(t)
	out, ok := wiretest.Serve(t, map[string]wiretest.Registrar{"efs": s}).Python(t, `
import boto3
efs = boto3.client("efs")
fs = efs.create_file_system(CreationToken="t", Encrypted=True, Tags=[{"Key": "Name", "Value": "home"}])
fid = fs["FileSystemId"]
assert fs["LifeCycleState"] == "creating" and fs["Name"] == "home", fs
try:
    efs.create_file_system(CreationToken="t")
    raise SystemExit("no error")
except efs.exceptions.FileSystemAlreadyExists as e:
    assert e.response["FileSystemId"] == fid, e.response
mt = efs.create_mount_target(FileSystemId=fid, SubnetId="subnet-0aaaaaaa", SecurityGroups=["sg-01111111"])
assert efs.describe_mount_targets(FileSystemId=fid)["MountTargets"][0]["LifeCycleState"] == "available"
assert efs.describe_mount_target_security_groups(MountTargetId=mt["MountTargetId"])["SecurityGroups"] == ["sg-01111111"]
try:
    efs.delete_file_system(FileSystemId=fid)
    raise SystemExit("no error")
except efs.exceptions.FileSystemInUse:
    pass
efs.delete_mount_target(MountTargetId=mt["MountTargetId"])
efs.delete_file_system(FileSystemId=fid)
try:
    efs.describe_file_systems(FileSystemId=fid)
    raise SystemExit("no error")
except efs.exceptions.FileSystemNotFound:
    pass
`)
	if !ok {
		t.Error(out)
	}
}
