// Package stack turns a cluster file, and facts about the account, into the
// CloudFormation templates of the cluster. It is pure: the same input gives the
// same bytes, and nothing is asked of AWS.
//
// Start with [Synthesize]. Resources are functions from the configuration to a
// value of package cfn, grouped by topic: network.go, storage.go, iam.go,
// headnode.go, queues.go and so on. Names, logical IDs and tags are interfaces
// that users' policies and scripts rely on, so they don't change lightly.
package stack

// Params is what a template says about the deployment rather than the cluster.
type Params struct {
	ClusterName string
	Region      string
	Account     string
	Partition   string // aws, aws-cn or aws-us-gov
	Bucket      string
	ArtifactDir string // key prefix of the cluster's artifacts, without a slash at the end

	ConfigKey            string // the file with implied values, for the head node
	ConfigVersion        string // S3 version of ConfigKey
	OriginalVersion      string // S3 version of the user's file; becomes the ConfigVersion parameter
	InstanceTypesKey     string // DescribeInstanceTypes answers of all types in the file
	InstanceTypesVersion string

	LogGroupName string // empty: named after the cluster and Timestamp
	Timestamp    string // YYYYMMDDHHMMSS in UTC; part of the wait condition's IDs
	OfficialAMI  string // empty if there is none

	// Programs maps amd64 and arm64 to the SHA-256, in hex, of the node program.
	Programs map[string]string
	// LambdaZipKey is the key in Bucket of the clean-up function's code.
	LambdaZipKey string
}

// Templates is what Synthesize returns: everything to upload and to pass to CreateStack.
type Templates struct {
	Root   []byte            // JSON
	Nested map[string][]byte // by S3 key in the cluster's bucket
	// Parameters to pass with Root.
	Parameters map[string]string
}
