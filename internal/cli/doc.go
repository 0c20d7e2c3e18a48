// Package cli is the command line: it turns arguments into operations of
// package cluster, and their results and refusals into output and exit status.
//
// Names of commands and options, the values they take, output, streams and exit
// statuses are those of the pcluster of AWS ParallelCluster 3, so that scripts
// go on working. Arguments follow the rules of Python's argparse (args.go), which
// cobra knows nothing of; commands of our own that are passed in through
// [Env.Commands] are cobra's to parse.
//
// Start with [Run] in run.go. A command is a file: a constructor that declares
// options, and a run function that knows no cobra. An operation prints one JSON
// document (output.go); other commands print text.
package cli
