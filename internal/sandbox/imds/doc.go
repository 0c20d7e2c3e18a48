// Package imds is the sandbox's instance metadata service: what a machine finds at
// http://169.254.169.254.
//
// Callers are told apart by their source address. Both versions of the protocol
// are spoken; an instance whose options require tokens gets 401 without one. Tokens
// are signed, not remembered, so they outlive the daemon. The hop limit of the
// options is shown by EC2 but not enforced here.
//
// [New] returns the handler; tree.go says what there is to read.
package imds
