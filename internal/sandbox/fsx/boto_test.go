package fsx

import (
	"testing"

	"pcluster/internal/sandbox/wire/wiretest"
)

// TestBoto3 is how the file systems of a cluster look to a Python program.
func TestBoto3(t *testing.T) {
	needRoot(t)
	w := newWorld(t, t.TempDir())
	w.put("containers/a.sif", "image", nil)
	out, ok := wiretest.Serve(t, map[string]wiretest.Registrar{"fsx": w.Service}).Python(t, `
import boto3, time
fsx = boto3.client("fsx")
fs = fsx.create_file_system(FileSystemType="LUSTRE", StorageCapacity=1200, SubnetIds=["subnet-0aaaaaaa"], FileSystemTypeVersion="2.15",
    Tags=[{"Key": "Name", "Value": "FsxLustre-Persistent"}],
    LustreConfiguration={"DeploymentType": "PERSISTENT_2", "PerUnitStorageThroughput": 250, "DataCompressionType": "LZ4"})["FileSystem"]
assert fs["Lifecycle"] == "CREATING", fs
fid = fs["FileSystemId"]
fs = fsx.describe_file_systems(FileSystemIds=[fid])["FileSystems"][0]
assert fs["Lifecycle"] == "AVAILABLE" and len(fs["LustreConfiguration"]["MountName"]) == 8, fs
dra = fsx.create_data_repository_association(FileSystemId=fid, FileSystemPath="/containers", DataRepositoryPath="s3://data/containers",
    BatchImportMetaDataOnCreate=True, S3={"AutoImportPolicy": {"Events": ["NEW", "CHANGED", "DELETED"]}})["Association"]
for _ in range(1000):
    found = fsx.describe_data_repository_associations(Filters=[{"Name": "file-system-id", "Values": [fid]}])["Associations"]
    if found[0]["Lifecycle"] != "CREATING":
        break
    time.sleep(0.01)
assert found[0]["Lifecycle"] == "AVAILABLE" and found[0]["AssociationId"] == dra["AssociationId"], found
assert fsx.describe_backups()["Backups"] == [] and fsx.describe_file_caches()["FileCaches"] == []
try:
    fsx.describe_file_systems(FileSystemIds=["fs-00000000000000000"])
    raise SystemExit("no error")
except fsx.exceptions.FileSystemNotFound:
    pass
assert fsx.delete_file_system(FileSystemId=fid)["Lifecycle"] == "DELETING"
`)
	if !ok {
		t.Error(out)
	}
}
