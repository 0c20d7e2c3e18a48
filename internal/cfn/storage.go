package cfn

// EFSFileSystem is AWS::EFS::FileSystem.
type EFSFileSystem struct {
	Encrypted                    bool
	KmsKeyId                     Text   `json:",omitempty"`
	PerformanceMode              string `json:",omitempty"`
	ThroughputMode               string `json:",omitempty"`
	ProvisionedThroughputInMibps *int   `json:",omitempty"`
	FileSystemTags               Tags   `json:",omitempty"`
}

func (EFSFileSystem) kind() kind {
	return kind{"AWS::EFS::FileSystem", []Attribute{Arn, FileSystemID}}
}

// MountTarget is AWS::EFS::MountTarget.
type MountTarget struct {
	FileSystemId   Text
	SubnetId       Text
	SecurityGroups []Text
}

func (MountTarget) kind() kind { return kind{"AWS::EFS::MountTarget", nil} }

// FSxFileSystem is AWS::FSx::FileSystem, for Lustre.
type FSxFileSystem struct {
	FileSystemType        string
	FileSystemTypeVersion string `json:",omitempty"`
	StorageCapacity       *int   `json:",omitempty"`
	StorageType           string `json:",omitempty"`
	SubnetIds             []Text
	SecurityGroupIds      []Text
	KmsKeyId              Text                 `json:",omitempty"`
	BackupId              Text                 `json:",omitempty"`
	LustreConfiguration   *LustreConfiguration `json:",omitempty"`
	Tags                  Tags                 `json:",omitempty"`
}

func (FSxFileSystem) kind() kind {
	return kind{"AWS::FSx::FileSystem", []Attribute{LustreMountName}}
}

// LustreConfiguration is what Lustre alone has.
type LustreConfiguration struct {
	DeploymentType                string `json:",omitempty"`
	DataCompressionType           string `json:",omitempty"`
	ImportPath                    string `json:",omitempty"`
	ExportPath                    string `json:",omitempty"`
	ImportedFileChunkSize         *int   `json:",omitempty"`
	AutoImportPolicy              string `json:",omitempty"`
	WeeklyMaintenanceStartTime    string `json:",omitempty"`
	AutomaticBackupRetentionDays  *int   `json:",omitempty"`
	DailyAutomaticBackupStartTime string `json:",omitempty"`
	CopyTagsToBackups             *bool  `json:",omitempty"`
	PerUnitStorageThroughput      *int   `json:",omitempty"`
	DriveCacheType                string `json:",omitempty"`
}

// DataRepositoryAssociation is AWS::FSx::DataRepositoryAssociation.
type DataRepositoryAssociation struct {
	FileSystemId                Text
	FileSystemPath              string
	DataRepositoryPath          string
	BatchImportMetaDataOnCreate bool
	ImportedFileChunkSize       int           `json:",omitempty"`
	S3                          *RepositoryS3 `json:",omitempty"`
	Tags                        Tags          `json:",omitempty"`
}

func (DataRepositoryAssociation) kind() kind {
	return kind{"AWS::FSx::DataRepositoryAssociation", []Attribute{AssociationID}}
}

// RepositoryS3 says what is kept the same on both sides.
type RepositoryS3 struct {
	AutoExportPolicy *RepositoryEvents `json:",omitempty"`
	AutoImportPolicy *RepositoryEvents `json:",omitempty"`
}

// RepositoryEvents are NEW, CHANGED and DELETED.
type RepositoryEvents struct {
	Events []string
}
