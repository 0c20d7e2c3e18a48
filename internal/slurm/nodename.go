package slurm

import (
	"fmt"
	"strconv"
	"strings"
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

// ParseNodeName takes a name apart, at the last -st- or -dy- that leaves a name on
// both sides. It reports false for names that are not ours, such as nodes that users
// add to slurm.conf.
func ParseNodeName(name string) (NodeName, bool) {
	end := strings.LastIndexByte(name, '-')
	if end < 0 {
		return NodeName{}, false
	}
	index, err := strconv.ParseUint(name[end+1:], 10, 31)
	rest := name[:end]
	mark := max(strings.LastIndex(rest, "-"+static+"-"), strings.LastIndex(rest, "-"+dynamic+"-"))
	if err != nil || mark < 1 || mark+len("-st-") == len(rest) || strings.ContainsFunc(rest, notInNames) {
		return NodeName{}, false
	}
	return NodeName{
		Queue: rest[:mark], Resource: rest[mark+len("-st-"):], Static: rest[mark+1:mark+3] == static, Index: int(index),
	}, true
}

func notInNames(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
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
