// Package slurm writes Slurm's configuration and speaks to Slurm's commands.
//
// The first half is pure. [Render] turns a cluster file and what is known of the
// head node into the files below /opt/slurm/etc; [FleetConfig] says the same
// cluster in the terms of who launches its nodes; [NodeName] and [Expand] know
// how nodes are named and how Slurm abbreviates lists of them.
//
// The second half is [Client], which runs scontrol, sinfo and sacctmgr with
// time-outs, and reads their answers into [Node] and [Partition].
//
// What to do about a node's state is not decided here but in package fleet.
package slurm
