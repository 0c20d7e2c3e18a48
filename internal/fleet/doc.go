// Package fleet decides which EC2 instances a cluster should have, and sees to it.
//
// [Plan] is the decision. It compares what Slurm wants with what EC2 has and what
// it remembers, and returns what is to be launched, terminated and told to Slurm.
// It does no I/O and reads no clock, so tests can show every decision, and
// simulate days of a large cluster.
//
// [Daemon] is the shell around it: it answers Slurm's resume and suspend programs
// on a local socket, watches Slurm, EC2 and the fleet's status, and carries out
// what Plan returns. What must survive a crash is in [Memory], which the daemon
// writes to disk before it acts: whatever was begun is then repeated, with the
// same client tokens, so that nothing is launched twice.
//
// Programs that slurmctld starts use [Dial].
package fleet
