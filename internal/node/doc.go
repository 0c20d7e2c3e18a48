// Package node boots the machines of a cluster and runs what they need while they
// live: it is the program pcluster-node.
//
// [Boot] reads what the node was told at launch (package spec) and runs the list
// of steps for its kind: head.go, compute.go and login.go show each at a glance,
// the other files hold the steps by topic. What happens is in the boot journal,
// in the log streams and, if it fails, in the event of the stack.
//
// [Run] is the command line: boot, the fleet daemon, the log shipper, and the
// programs that slurmctld starts.
package node
