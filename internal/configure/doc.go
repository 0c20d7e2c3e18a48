// Package configure asks what a cluster shall be and writes a file that describes
// it. It reads the choices from AWS and can make a network for the cluster.
//
// Labels, order, defaults and checks of the questions are those of
// ParallelCluster's dialogue, which scripts drive by what it prints; that is why
// a question is a line of text, on a terminal, too.
//
// Start with [Run] in dialogue.go. How a question is asked is in console.go, what
// is asked of AWS in cloud.go, how a network is made in network.go. Where a subnet
// fits (blocks.go) and what the file looks like (file.go) need no AWS.
package configure
