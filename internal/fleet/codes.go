package fleet

import (
	"regexp"
	"slices"
)

// Codes of our own, next to EC2's, in the reason of a node that could not start.
const (
	// LimitedCapacity: there were instances, but not enough for the job.
	LimitedCapacity = "LimitedInstanceCapacity"
	// InsufficientCapacity is EC2's word for none left.
	InsufficientCapacity = "InsufficientInstanceCapacity"
	invalidNodeName      = "InvalidNodenameError"
	assignmentFailed     = "Exception"
)

// capacityCodes are EC2's ways to say that trying again soon is pointless.
var capacityCodes = []string{
	InsufficientCapacity, "InsufficientHostCapacity", "InsufficientReservedInstanceCapacity",
	"MaxSpotInstanceCountExceeded", "Unsupported", "SpotMaxPriceTooLow",
}

// NoCapacity reports an error code that means that EC2 has no such instance to give.
func NoCapacity(code string) bool { return slices.Contains(capacityCodes, code) }

var codePattern = regexp.MustCompile(`\(Code:([^)]*)\)`)

// reasonCode returns the code in a node's reason, or nothing.
func reasonCode(reason string) string {
	if m := codePattern.FindStringSubmatch(reason); m != nil {
		return m[1]
	}
	return ""
}

// failureReason is the reason of a node that could not be launched. The code in
// front is what tools look for.
func failureReason(code, message string) string {
	if message == "" {
		message = "EC2 has not enough instances for all nodes"
	}
	return "(Code:" + code + ")" + message
}

// FailureType sorts a code into the classes that the event log counts.
func FailureType(code string) string {
	switch {
	case NoCapacity(code) || code == LimitedCapacity:
		return "ice-failures"
	case code == "VcpuLimitExceeded":
		return "vcpu-limit-failures"
	case code == "VolumeLimitExceeded" || code == "InsufficientVolumeCapacity":
		return "volume-limit-failures"
	case code == "UnauthorizedOperation":
		return "iam-policy-errors"
	}
	return "other-failures"
}

// FailureTypes are all classes, in the order of the event log.
var FailureTypes = []string{
	"ice-failures", "vcpu-limit-failures", "volume-limit-failures", "iam-policy-errors", "other-failures",
}
