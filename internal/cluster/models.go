package cluster

import (
	"encoding/json"
	"time"
)

// The types in this file are the response schemas of the REST API, version 3.
// Clients reject keys they do not know, and people read the keys in the order
// in which the fields stand here, so neither is ours to change.

// A Time prints as the API prints times: UTC, milliseconds, Z.
type Time struct{ time.Time }

// MarshalJSON implements [json.Marshaler].
func (t Time) MarshalJSON() ([]byte, error) {
	return json.Marshal(t.UTC().Format("2006-01-02T15:04:05.000Z"))
}

// A Summary is what lists of clusters and the answers to create and delete say
// about a cluster (ClusterInfoSummary).
type Summary struct {
	ClusterName               string     `json:"clusterName"`
	CloudformationStackStatus string     `json:"cloudformationStackStatus"`
	CloudformationStackArn    string     `json:"cloudformationStackArn"`
	Region                    string     `json:"region"`
	Version                   string     `json:"version"`
	ClusterStatus             Status     `json:"clusterStatus"`
	Scheduler                 *Scheduler `json:"scheduler,omitempty"`
}

// A Scheduler names the scheduler of a cluster: slurm or awsbatch.
type Scheduler struct {
	Type string `json:"type"`
}

// A List is one page of clusters (ListClustersResponse).
type List struct {
	NextToken string    `json:"nextToken,omitempty"`
	Clusters  []Summary `json:"clusters"`
}

// Created answers a create (CreateClusterResponse).
type Created struct {
	Cluster            Summary             `json:"cluster"`
	ValidationMessages []ValidationMessage `json:"validationMessages,omitempty"`
}

// Deleting answers a delete (DeleteClusterResponse).
type Deleting struct {
	Cluster Summary `json:"cluster"`
}

// A ValidationMessage is one thing that validation has to say about a file
// (ConfigValidationMessage).
type ValidationMessage struct {
	Level   string `json:"level"`
	Type    string `json:"type"`
	Message string `json:"message"`
}

// A Description is everything that describe-cluster tells
// (DescribeClusterResponse).
type Description struct {
	CreationTime              Time             `json:"creationTime"`
	HeadNode                  *HeadNode        `json:"headNode,omitempty"`
	Version                   string           `json:"version"`
	ClusterConfiguration      ConfigurationURL `json:"clusterConfiguration"`
	Tags                      []Tag            `json:"tags"`
	CloudFormationStackStatus string           `json:"cloudFormationStackStatus"` // capital F in this schema only
	ClusterName               string           `json:"clusterName"`
	ComputeFleetStatus        FleetStatus      `json:"computeFleetStatus"`
	CloudformationStackArn    string           `json:"cloudformationStackArn"`
	LastUpdatedTime           Time             `json:"lastUpdatedTime"`
	Region                    string           `json:"region"`
	ClusterStatus             Status           `json:"clusterStatus"`
	Scheduler                 *Scheduler       `json:"scheduler,omitempty"`
	LoginNodes                []LoginNodesPool `json:"loginNodes,omitempty"`
	Failures                  []Failure        `json:"failures,omitempty"`
}

// A HeadNode is the head node's instance (EC2Instance).
type HeadNode struct {
	LaunchTime       Time   `json:"launchTime"`
	InstanceID       string `json:"instanceId"`
	PublicIPAddress  string `json:"publicIpAddress,omitempty"`
	InstanceType     string `json:"instanceType"`
	State            string `json:"state"`
	PrivateIPAddress string `json:"privateIpAddress"`
}

// A ConfigurationURL is where the file that the user wrote can be read for an
// hour, or NOT_AVAILABLE.
type ConfigurationURL struct {
	URL string `json:"url"`
}

// A Tag is a tag of the stack.
type Tag struct {
	Value string `json:"value"`
	Key   string `json:"key"`
}

// A LoginNodesPool is a pool of login nodes behind its load balancer.
type LoginNodesPool struct {
	Status         string `json:"status"`
	PoolName       string `json:"poolName,omitempty"`
	Address        string `json:"address,omitempty"`
	Scheme         string `json:"scheme,omitempty"`
	HealthyNodes   *int   `json:"healthyNodes,omitempty"`
	UnhealthyNodes *int   `json:"unhealthyNodes,omitempty"`
}

// A Failure says why a cluster could not be created.
type Failure struct {
	FailureCode   string `json:"failureCode"`
	FailureReason string `json:"failureReason"`
}

// Instances is one page of a cluster's instances
// (DescribeClusterInstancesResponse).
type Instances struct {
	Instances []Instance `json:"instances"`
	NextToken string     `json:"nextToken,omitempty"`
}

// An Instance is one instance of a cluster (ClusterInstance).
type Instance struct {
	LaunchTime       Time   `json:"launchTime"`
	InstanceID       string `json:"instanceId"`
	QueueName        string `json:"queueName,omitempty"`
	PoolName         string `json:"poolName,omitempty"`
	PublicIPAddress  string `json:"publicIpAddress,omitempty"`
	InstanceType     string `json:"instanceType"`
	State            string `json:"state"`
	NodeType         string `json:"nodeType"`
	PrivateIPAddress string `json:"privateIpAddress"`
}

// A Fleet is the status of a cluster's compute fleet
// (DescribeComputeFleetResponse, UpdateComputeFleetResponse).
type Fleet struct {
	Status                FleetStatus `json:"status"`
	LastStatusUpdatedTime *Time       `json:"lastStatusUpdatedTime,omitempty"`
}
