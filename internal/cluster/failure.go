package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A StackEvent is one event of a stack, without what nobody looks at.
type StackEvent struct {
	ID           string
	Time         time.Time
	StackID      string
	LogicalID    string
	PhysicalID   string
	ResourceType string
	Status       string
	Reason       string
}

// ofStack reports whether the event is about the stack as a whole.
func (e StackEvent) ofStack() bool {
	return e.ResourceType == "AWS::CloudFormation::Stack" && e.PhysicalID == e.StackID
}

// A failureMark is a piece of text by which the head node, the image or
// CloudFormation say what went wrong. Scripts of users look for the codes.
type failureMark struct {
	mark   string
	code   string
	reason string // empty: the mark itself with a full stop
}

// failureMarks in the order in which they are looked for; the first hit wins.
var failureMarks = []failureMark{
	{"This AMI was created with", "AmiVersionMismatch", "The custom AMI was made by another version of ParallelCluster than the cluster's."},
	{"This AMI was not baked by ParallelCluster", "InvalidAmi", "The custom AMI was not made by ParallelCluster; make it with build-image."},
	{"Failed to execute OnNodeConfigured script", "OnNodeConfiguredExecutionFailure", ""},
	{"Failed to download OnNodeConfigured script", "OnNodeConfiguredDownloadFailure", ""},
	{"Failed to run OnNodeConfigured script", "OnNodeConfiguredFailure", ""},
	{"Failed to execute OnNodeStart script", "OnNodeStartExecutionFailure", ""},
	{"Failed to download OnNodeStart script", "OnNodeStartDownloadFailure", ""},
	{"Failed to run OnNodeStart script", "OnNodeStartFailure", ""},
	{"Failed to mount EBS volume", "EbsMountFailure", ""},
	{"Failed to mount EFS", "EfsMountFailure", ""},
	{"Failed to mount FSX", "FsxMountFailure", ""},
	{"Failed to mount RAID array", "RaidMountFailure", ""},
	{"Failed to run chef recipe", "HeadNodeBootstrapFailure", "Failed to set up the head node."},
	{"Failed to bootstrap the head node", "HeadNodeBootstrapFailure", ""},
	{"Resource creation cancelled", "ResourceCreationFailure", "Failed to create resources that the head node needs to start."},
	{"WaitCondition timed out", "HeadNodeBootstrapFailure", "Cluster creation timed out."},
	{"Cluster has been set to PROTECTED mode due to failures detected in static node provisioning", "StaticNodeBootstrapFailure", ""},
}

// failureOf explains from its events, newest first, why a cluster could not be
// created. The code and the first sentence are those of the interface; what
// follows is the detail that the place of the failure left.
func failureOf(events []StackEvent) Failure {
	cause, hasCause := rootCause(events, "CREATE_FAILED")
	wait := slices.IndexFunc(events, func(e StackEvent) bool {
		return e.ResourceType == "AWS::CloudFormation::WaitCondition" && e.Status == "CREATE_FAILED"
	})
	if wait >= 0 {
		text := events[wait].Reason
		for _, m := range failureMarks {
			if !strings.Contains(text, m.mark) {
				continue
			}
			reason := m.reason
			if reason == "" {
				reason = m.mark + "."
			}
			switch {
			case hasCause && cause.ID != events[wait].ID:
				reason += " " + describeCause(cause)
			case strings.Contains(text, signalPrefix):
				// What the node said may begin with the mark again, and go on after it.
				said := signalled(text)
				if rest, again := strings.CutPrefix(said, m.mark+": "); again {
					said = rest
				}
				reason += " Head node: " + said
			}
			return Failure{FailureCode: m.code, FailureReason: reason}
		}
	}
	f := Failure{FailureCode: "ClusterCreationFailure", FailureReason: "Failed to create the cluster."}
	if hasCause {
		f.FailureReason += " " + describeCause(cause)
	}
	return f
}

// rootCause returns the first event, in time, by which a resource failed with
// the status given. Resources that CloudFormation only gave up because another
// had failed are passed over, and so are stacks, which fail for their resources.
func rootCause(events []StackEvent, status string) (StackEvent, bool) {
	for _, e := range slices.Backward(events) {
		if e.Status == status && e.ResourceType != "AWS::CloudFormation::Stack" && !strings.Contains(e.Reason, "cancelled") {
			return e, true
		}
	}
	for _, e := range slices.Backward(events) {
		if e.Status == status && !strings.Contains(e.Reason, "cancelled") {
			return e, true
		}
	}
	return StackEvent{}, false
}

func describeCause(e StackEvent) string {
	reason := e.Reason
	if strings.Contains(reason, signalPrefix) {
		reason = signalled(reason)
	}
	if reason == "" {
		reason = "no reason given"
	}
	return fmt.Sprintf("%s (%s): %s", e.LogicalID, e.ResourceType, reason)
}

const signalPrefix = "received failed message: '"

// signalled returns what a node said when it signalled that it had failed, out
// of the sentence that CloudFormation makes of it.
func signalled(reason string) string {
	_, text, ok := strings.Cut(reason, signalPrefix)
	if !ok {
		return reason
	}
	if i := strings.LastIndex(text, "' for uniqueId:"); i >= 0 {
		text = text[:i]
	}
	return text
}
