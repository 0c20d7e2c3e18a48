package config

// Kinds of shared storage.
const (
	Ebs        = "Ebs"
	Efs        = "Efs"
	FsxLustre  = "FsxLustre"
	FsxOpenZfs = "FsxOpenZfs"
	FsxOntap   = "FsxOntap"
	FileCache  = "FileCache"
)

// SharedStorage is a file system that all nodes mount. After Parse the settings
// of its StorageType are never nil for Ebs, Efs and FsxLustre, which can be made
// with defaults alone.
type SharedStorage struct {
	MountDir           string              `req:"yes" match:"path" update:"SHARED_STORAGE_UPDATE_POLICY" doc:"Where it is mounted."`
	Name               string              `req:"yes" update:"UNSUPPORTED" doc:"Name of the entry."`
	StorageType        string              `req:"yes" oneof:"Ebs FsxLustre FsxOpenZfs FsxOntap Efs FileCache" update:"UNSUPPORTED" doc:"Kind of storage."`
	EbsSettings        *EbsSettings        `update:"IGNORED" doc:"An EBS volume or several in a RAID."`
	EfsSettings        *EfsSettings        `update:"IGNORED" doc:"An EFS file system."`
	FsxLustreSettings  *FsxLustreSettings  `only:"slurm" update:"IGNORED" doc:"An FSx for Lustre file system."`
	FsxOpenZfsSettings *FsxOpenZfsSettings `only:"slurm" since:"3.2.0" update:"UNSUPPORTED" doc:"An existing FSx for OpenZFS volume."`
	FsxOntapSettings   *FsxOntapSettings   `only:"slurm" since:"3.2.0" update:"UNSUPPORTED" doc:"An existing FSx for ONTAP volume."`
	FileCacheSettings  *FileCacheSettings  `only:"slurm" since:"3.7.0" update:"UNSUPPORTED" doc:"An existing File Cache."`
}

// Managed says whether the cluster makes the storage, and deletes it.
func (s *SharedStorage) Managed() bool {
	switch s.StorageType {
	case Ebs:
		return s.EbsSettings == nil || s.EbsSettings.VolumeId == ""
	case Efs:
		return s.EfsSettings == nil || s.EfsSettings.FileSystemId == ""
	case FsxLustre:
		return s.FsxLustreSettings == nil || s.FsxLustreSettings.FileSystemId == ""
	}
	return false
}

// ExistingID returns the identifier of storage that the cluster does not make.
func (s *SharedStorage) ExistingID() string {
	switch {
	case s.StorageType == Ebs && s.EbsSettings != nil:
		return s.EbsSettings.VolumeId
	case s.StorageType == Efs && s.EfsSettings != nil:
		return s.EfsSettings.FileSystemId
	case s.StorageType == FsxLustre && s.FsxLustreSettings != nil:
		return s.FsxLustreSettings.FileSystemId
	case s.StorageType == FsxOpenZfs && s.FsxOpenZfsSettings != nil:
		return s.FsxOpenZfsSettings.VolumeId
	case s.StorageType == FsxOntap && s.FsxOntapSettings != nil:
		return s.FsxOntapSettings.VolumeId
	case s.StorageType == FileCache && s.FileCacheSettings != nil:
		return s.FileCacheSettings.FileCacheId
	}
	return ""
}

// EbsSettings describe a shared EBS volume.
type EbsSettings struct {
	VolumeType     string `default:"gp3" oneof:"standard io1 io2 gp2 st1 sc1 gp3" update:"UNSUPPORTED" doc:"EBS volume type."`
	Iops           *int   `update:"SUPPORTED" implied:"3000 for gp3, 100 for io1 and io2" doc:"I/O operations per second."`
	Size           *int   `default:"40" update:"UNSUPPORTED" doc:"GiB, of each volume."`
	Encrypted      bool   `default:"true" update:"UNSUPPORTED" doc:"Encrypts the volume."`
	KmsKeyId       string `update:"UNSUPPORTED" doc:"KMS key to encrypt with."`
	SnapshotId     string `match:"snapshot" update:"UNSUPPORTED" doc:"Snapshot to make the volume from."`
	Throughput     *int   `update:"SUPPORTED" implied:"125 for gp3" doc:"MiB/s."`
	VolumeId       string `match:"volume" update:"UNSUPPORTED" doc:"Existing volume."`
	DeletionPolicy string `oneof:"Delete Retain Snapshot" update:"SUPPORTED" implied:"Delete unless VolumeId is given" doc:"What happens to the volume in the end."`
	Raid           *Raid  `update:"UNSUPPORTED" doc:"Joins several volumes."`
}

// Raid is an array of EBS volumes.
type Raid struct {
	Type            int `req:"yes" oneof:"0 1" update:"UNSUPPORTED" doc:"0 stripes, 1 mirrors."`
	NumberOfVolumes int `default:"2" range:"2..5" update:"UNSUPPORTED" doc:"Volumes in the array."`
}

// EfsSettings describe an EFS file system.
type EfsSettings struct {
	Encrypted             bool   `default:"false" update:"UNSUPPORTED" doc:"Encrypts the file system."`
	KmsKeyId              string `update:"UNSUPPORTED" doc:"KMS key to encrypt with."`
	EncryptionInTransit   bool   `default:"false" since:"3.4.0" update:"UNSUPPORTED" doc:"Mounts with TLS."`
	IamAuthorization      bool   `default:"false" since:"3.4.0" update:"UNSUPPORTED" doc:"Mounts with the node's IAM identity."`
	PerformanceMode       string `default:"generalPurpose" oneof:"generalPurpose maxIO" update:"UNSUPPORTED" doc:"EFS performance mode."`
	ThroughputMode        string `default:"bursting" oneof:"provisioned bursting" update:"SUPPORTED" doc:"EFS throughput mode."`
	ProvisionedThroughput *int   `range:"1..1024" update:"SUPPORTED" doc:"MiB/s, for ThroughputMode provisioned."`
	FileSystemId          string `match:"efs" update:"UNSUPPORTED" doc:"Existing file system."`
	AccessPointId         string `match:"accesspoint" since:"3.11.0" update:"UNSUPPORTED" doc:"Access point of the existing file system."`
	DeletionPolicy        string `oneof:"Delete Retain" since:"3.3.0" update:"SUPPORTED" implied:"Delete unless FileSystemId is given" doc:"What happens to the file system in the end."`
}

// FsxLustreSettings describe an FSx for Lustre file system.
type FsxLustreSettings struct {
	StorageCapacity               *int             `update:"UNSUPPORTED" doc:"GiB."`
	DeploymentType                string           `oneof:"SCRATCH_1 SCRATCH_2 PERSISTENT_1 PERSISTENT_2" update:"UNSUPPORTED" implied:"SCRATCH_2 unless BackupId or FileSystemId is given" doc:"FSx deployment type."`
	StorageType                   string           `oneof:"HDD SSD" update:"UNSUPPORTED" doc:"Kind of disks."`
	PerUnitStorageThroughput      *int             `update:"UNSUPPORTED" doc:"MB/s for each TiB; persistent types only."`
	DriveCacheType                string           `oneof:"READ" update:"UNSUPPORTED" doc:"SSD cache in front of hard disks."`
	DataCompressionType           string           `oneof:"LZ4" update:"SUPPORTED" doc:"Turns compression on."`
	ImportPath                    string           `update:"UNSUPPORTED" doc:"S3 location that the file system starts from."`
	ExportPath                    string           `update:"UNSUPPORTED" doc:"S3 location to export to."`
	ImportedFileChunkSize         *int             `range:"1..512000" update:"UNSUPPORTED" doc:"MiB of an imported file on one disk."`
	AutoImportPolicy              string           `oneof:"NEW NEW_CHANGED NEW_CHANGED_DELETED" update:"UNSUPPORTED" doc:"What is imported from S3 by itself."`
	DataRepositoryAssociations    []DataRepository `id:"Name" since:"3.8.0" update:"SUPPORTED" doc:"Links of directories with S3 locations."`
	WeeklyMaintenanceStartTime    string           `match:"weekly" update:"SUPPORTED" doc:"d:HH:MM in UTC, Monday is 1."`
	AutomaticBackupRetentionDays  *int             `range:"0..35" update:"SUPPORTED" doc:"Days that daily backups are kept."`
	DailyAutomaticBackupStartTime string           `match:"daily" update:"SUPPORTED" doc:"HH:MM in UTC."`
	CopyTagsToBackups             *bool            `update:"UNSUPPORTED" doc:"Gives backups the file system's tags."`
	BackupId                      string           `match:"backup" update:"UNSUPPORTED" doc:"Backup to make the file system from."`
	KmsKeyId                      string           `update:"UNSUPPORTED" doc:"KMS key to encrypt with; persistent types only."`
	FileSystemId                  string           `match:"lustre" update:"UNSUPPORTED" doc:"Existing file system."`
	DeletionPolicy                string           `oneof:"Delete Retain" since:"3.3.0" update:"SUPPORTED" implied:"Delete unless FileSystemId is given" doc:"What happens to the file system in the end."`
}

// A DataRepository links a directory of a Lustre file system with an S3 location.
type DataRepository struct {
	Name                        string   `req:"yes" update:"UNSUPPORTED" doc:"Name of the association."`
	BatchImportMetaDataOnCreate bool     `default:"false" update:"UNSUPPORTED" doc:"Imports what is in S3 when it is made."`
	DataRepositoryPath          string   `req:"yes" update:"UNSUPPORTED" doc:"S3 location."`
	FileSystemPath              string   `req:"yes" match:"line" len:"1..4096" update:"UNSUPPORTED" doc:"Directory in the file system."`
	ImportedFileChunkSize       int      `default:"1024" range:"1..512000" update:"SUPPORTED" doc:"MiB of an imported file on one disk."`
	AutoExportPolicy            []string `items:"..3" oneof:"NEW CHANGED DELETED" update:"SUPPORTED" doc:"Events that are exported to S3."`
	AutoImportPolicy            []string `items:"..3" oneof:"NEW CHANGED DELETED" update:"SUPPORTED" doc:"Events that are imported from S3."`
}

// FsxOpenZfsSettings name an existing volume.
type FsxOpenZfsSettings struct {
	VolumeId string `req:"yes" match:"fsvol" update:"UNSUPPORTED" doc:"The volume."`
}

// FsxOntapSettings name an existing volume.
type FsxOntapSettings struct {
	VolumeId string `req:"yes" match:"fsvol" update:"UNSUPPORTED" doc:"The volume."`
}

// FileCacheSettings name an existing cache.
type FileCacheSettings struct {
	FileCacheId string `req:"yes" match:"cache" update:"UNSUPPORTED" doc:"The cache."`
}
