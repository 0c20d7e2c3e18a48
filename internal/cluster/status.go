package cluster

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"pcluster/internal/config"
)

// A Status is the state of a cluster as users see it.
type Status string

// Statuses of a cluster.
const (
	CreateInProgress Status = "CREATE_IN_PROGRESS"
	CreateFailed     Status = "CREATE_FAILED"
	CreateComplete   Status = "CREATE_COMPLETE"
	DeleteInProgress Status = "DELETE_IN_PROGRESS"
	DeleteFailed     Status = "DELETE_FAILED"
	DeleteComplete   Status = "DELETE_COMPLETE"
	UpdateInProgress Status = "UPDATE_IN_PROGRESS"
	UpdateComplete   Status = "UPDATE_COMPLETE"
	UpdateFailed     Status = "UPDATE_FAILED"
)

// FilterStatuses are the statuses by which clusters can be listed: a deleted
// cluster is never in a list.
var FilterStatuses = []string{
	string(CreateInProgress), string(CreateFailed), string(CreateComplete), string(DeleteInProgress), string(DeleteFailed),
	string(UpdateInProgress), string(UpdateComplete), string(UpdateFailed),
}

// StatusOf returns the status of a cluster whose stack has the given status.
// What is in no table of the interface passes through.
func StatusOf(stackStatus string) Status {
	switch stackStatus {
	case "ROLLBACK_IN_PROGRESS", "ROLLBACK_FAILED", "ROLLBACK_COMPLETE":
		return CreateFailed
	case "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS":
		return UpdateInProgress
	case "UPDATE_ROLLBACK_FAILED", "UPDATE_ROLLBACK_COMPLETE":
		return UpdateFailed
	}
	return Status(stackStatus)
}

// A FleetStatus is the state of a compute fleet.
type FleetStatus string

// Statuses of a compute fleet. A fleet of Slurm nodes goes from a request
// through a transition to a final state; Batch knows only enabled and disabled.
const (
	FleetStartRequested FleetStatus = "START_REQUESTED"
	FleetStarting       FleetStatus = "STARTING"
	FleetRunning        FleetStatus = "RUNNING"
	FleetProtected      FleetStatus = "PROTECTED"
	FleetStopRequested  FleetStatus = "STOP_REQUESTED"
	FleetStopping       FleetStatus = "STOPPING"
	FleetStopped        FleetStatus = "STOPPED"
	FleetEnabled        FleetStatus = "ENABLED"
	FleetDisabled       FleetStatus = "DISABLED"
	FleetUnknown        FleetStatus = "UNKNOWN"
)

// FleetRequests are the statuses that can be asked for.
var FleetRequests = []string{string(FleetStartRequested), string(FleetStopRequested), string(FleetEnabled), string(FleetDisabled)}

// covers reports whether a fleet in status s already is, or is on its way to,
// what request asks for.
func (s FleetStatus) covers(request FleetStatus) bool {
	switch request {
	case FleetStartRequested:
		return s == FleetStartRequested || s == FleetStarting || s == FleetRunning
	case FleetStopRequested:
		return s == FleetStopRequested || s == FleetStopping || s == FleetStopped
	}
	return false
}

// A version is the version of a tool, comparable by numbers. Suffixes such as
// a0 and b1 mark what came before a release.
type version struct {
	number [3]int
	final  bool // false: a pre-release, which comes before the release of the same number
}

var versionPattern = regexp.MustCompile(`^(\d+)\.(\d+)\.(\d+)((?:a|b|rc|\.dev)\d+)?`)

func parseVersion(s string) (version, bool) {
	m := versionPattern.FindStringSubmatch(s)
	if m == nil {
		return version{}, false
	}
	v := version{final: m[4] == ""}
	for i := range v.number {
		n, err := strconv.Atoi(m[i+1])
		if err != nil {
			return version{}, false
		}
		v.number[i] = n
	}
	return v, true
}

// before reports whether the release numbers of v come before those of w.
func (v version) before(w version) bool {
	for i := range v.number {
		if v.number[i] != w.number[i] {
			return v.number[i] < w.number[i]
		}
	}
	return !v.final && w.final
}

// compatible reports whether this tool may operate on a cluster of version s:
// one of major version 3 that is not newer than the tool.
func compatible(s string) bool {
	v, ok := parseVersion(s)
	tool, _ := parseVersion(config.ToolVersion)
	return ok && v.number[0] >= 3 && !tool.before(v)
}

// keepsFleetInMap reports whether the table of a cluster of version s has the
// status of the fleet in a map; before 3.2.0 it stood on the item itself.
func keepsFleetInMap(s string) bool {
	v, ok := parseVersion(s)
	return !ok || !v.before(version{number: [3]int{3, 2, 0}, final: false})
}

// tableName returns the name of the table that holds the status of the fleet.
func tableName(cluster string) string { return "parallelcluster-" + cluster }

// domain returns the domain of AWS endpoints in the partition of a region.
func domain(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "amazonaws.com.cn"
	case strings.HasPrefix(region, "us-iso-"):
		return "c2s.ic.gov"
	case strings.HasPrefix(region, "us-isob-"):
		return "sc2s.sgov.gov"
	}
	return "amazonaws.com"
}

// partition returns the partition of a region, as ARNs spell it.
func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	case strings.HasPrefix(region, "us-iso-"):
		return "aws-iso"
	case strings.HasPrefix(region, "us-isob-"):
		return "aws-iso-b"
	}
	return "aws"
}

// objectURL returns the URL by which CloudFormation reads an object.
func objectURL(bucket, region, key string) string {
	return fmt.Sprintf("https://%s.s3.%s.%s/%s", bucket, region, domain(region), key)
}
