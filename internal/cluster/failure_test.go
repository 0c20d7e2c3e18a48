package cluster

import (
	"slices"
	"testing"
)

func TestFailureOf(t *testing.T) {
	signal := func(text string) string {
		return "WaitCondition received failed message: '" + text + "' for uniqueId: i-0123456789abcdef0"
	}
	wait := func(reason string) StackEvent {
		return StackEvent{ID: "w", LogicalID: "HeadNodeWaitCondition20260314120000", ResourceType: "AWS::CloudFormation::WaitCondition", Status: "CREATE_FAILED", Reason: reason}
	}
	stack := StackEvent{ID: "s", StackID: "arn", PhysicalID: "arn", LogicalID: "demo", ResourceType: "AWS::CloudFormation::Stack", Status: "CREATE_FAILED", Reason: "The following resource(s) failed to create"}
	for name, tt := range map[string]struct {
		events []StackEvent // oldest first
		want   Failure
	}{
		"script of the head node": {
			[]StackEvent{wait(signal("Failed to execute OnNodeConfigured script 2 s3://b/x.sh: exit code 3, it's last line: 'no'")), stack},
			Failure{"OnNodeConfiguredExecutionFailure", "Failed to execute OnNodeConfigured script. Head node: Failed to execute OnNodeConfigured script 2 s3://b/x.sh: exit code 3, it's last line: 'no'"},
		},
		"script that is not there": {
			[]StackEvent{wait(signal("Failed to download OnNodeStart script 1 s3://b/y.sh: 404")), stack},
			Failure{"OnNodeStartDownloadFailure", "Failed to download OnNodeStart script. Head node: Failed to download OnNodeStart script 1 s3://b/y.sh: 404"},
		},
		"file system": {
			[]StackEvent{wait(signal("Failed to mount FSX: timeout")), stack},
			Failure{"FsxMountFailure", "Failed to mount FSX. Head node: timeout"},
		},
		"time": {
			[]StackEvent{wait("WaitCondition timed out. Received 0 conditions when expecting 1"), stack},
			Failure{"HeadNodeBootstrapFailure", "Cluster creation timed out."},
		},
		"another resource, for which the wait was given up": {
			[]StackEvent{
				{ID: "1", LogicalID: "FSX", ResourceType: "AWS::FSx::FileSystem", Status: "CREATE_FAILED", Reason: "Insufficient capacity"},
				{ID: "2", LogicalID: "EIP", ResourceType: "AWS::EC2::EIP", Status: "CREATE_FAILED", Reason: "Resource creation cancelled"},
				wait("Resource creation cancelled"), stack,
			},
			Failure{"ResourceCreationFailure", "Failed to create resources that the head node needs to start. FSX (AWS::FSx::FileSystem): Insufficient capacity"},
		},
		"resource before there was a wait": {
			[]StackEvent{{ID: "1", LogicalID: "RoleHeadNode", ResourceType: "AWS::IAM::Role", Status: "CREATE_FAILED", Reason: "not authorized"}, stack},
			Failure{"ClusterCreationFailure", "Failed to create the cluster. RoleHeadNode (AWS::IAM::Role): not authorized"},
		},
		"something new": {
			[]StackEvent{wait(signal("the moon is full")), stack},
			Failure{"ClusterCreationFailure", "Failed to create the cluster. HeadNodeWaitCondition20260314120000 (AWS::CloudFormation::WaitCondition): the moon is full"},
		},
		"nothing": {nil, Failure{"ClusterCreationFailure", "Failed to create the cluster."}},
	} {
		t.Run(name, func(t *testing.T) {
			slices.Reverse(tt.events)
			if got := failureOf(tt.events); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}
