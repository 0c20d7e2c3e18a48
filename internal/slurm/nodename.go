package slurm

import (
	"fmt"
	"regexp"
	"strconv"
)

// Kinds of nodes: the first MinCount of a compute resource always run, the rest
// come with the jobs.
const (
	static  = "st"
	dynamic = "dy"
)

// A NodeName is the name of a node of ours, in parts: queue-st-resource-1.
type NodeName struct {
	Queue    string
	Resource string // compute resource
	Static   bool
	Index    int // from 1, counted apart for static and dynamic nodes
}

// nodeNamePattern splits at the last -st- or -dy- that leaves a name on both sides.
var nodeNamePattern = regexp.MustCompile(`^([a-z0-9\-]+)-(st|dy)-([a-z0-9\-]+)-(\d+)$`)

// ParseNodeName takes a name apart. It reports false for names that are not ours,
// such as nodes that users add to slurm.conf.
func ParseNodeName(name string) (NodeName, bool) {
	m := nodeNamePattern.FindStringSubmatch(name)
	if m == nil {
		return NodeName{}, false
	}
	n, err := strconv.Atoi(m[4])
	if err != nil {
		return NodeName{}, false
	}
	return NodeName{Queue: m[1], Resource: m[3], Static: m[2] == static, Index: n}, true
}

// String returns the name as Slurm knows it.
func (n NodeName) String() string {
	return fmt.Sprintf("%s-%s-%s-%d", n.Queue, n.kind(), n.Resource, n.Index)
}

func (n NodeName) kind() string {
	if n.Static {
		return static
	}
	return dynamic
}

// nodeRange returns the hostlist of count nodes of a compute resource.
func nodeRange(queue, kind, resource string, count int) string {
	return fmt.Sprintf("%s-%s-%s-[1-%d]", queue, kind, resource, count)
}
