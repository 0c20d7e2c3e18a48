package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"pcluster/internal/config"
	"pcluster/internal/fleet"
	"pcluster/internal/node/awsb"
	"pcluster/internal/node/cleanup"
	"pcluster/internal/slurm"
)

const usage = `usage: pcluster-node COMMAND

  boot                      make this machine the node that it was told to be
  fleet                     keep the cluster's compute fleet (head node)
  fleet-status [--status S] print the fleet's status, or request another
  computemgtd               tell the head node how this one is (compute nodes)
  loginmgtd                 let users go before the node does (login nodes)
  logs                      ship this node's logs to CloudWatch
  why job ID, why node NAME what keeps a job or a node (head node)
  imds-access OPTION        say who reaches the instance metadata service (head and login nodes)
  update-database-password  take the accounting database's password from its secret
  update-directory-password take the directory's password from its secret (head node)
  update-munge-key [-d]     take munge's key from its secret, or make a new one, while
                            no other node runs (head node); -d: whatever login nodes do
  login-nodes-stopped       fail while login nodes run (head node)
  dcv-authenticator         say who may enter remote desktops (head and login nodes)
  dcv-connect FOLDER        make a session and print how to enter it
  component DIR             run the components of an image build (build and test machines)
  tag-image NAME=VALUE...   tag the image that this machine was launched of (test machines)
  version                   print the version

Commands for jobs of AWS Batch, by links with their names: awsbsub, awsbstat, awsbout,
awsbkill, awsbqueues, awsbhosts.

Programs that Slurm runs: slurmctld on the head node, slurmd before a job

  resume NODES, suspend NODES, resume-failed NODES, prolog-slurmctld
  health-check
`

// Run is the command line of pcluster-node. It returns the exit status. Called by the
// name of one of slurmctld's programs, or of the commands for jobs of AWS Batch, it is
// that program; started by Lambda's runtime, it is the stack's clean-up function.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") != "" {
		return status(cleanup.Run(ctx), stderr)
	}
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	name, rest := filepath.Base(args[0]), args[1:]
	if op, ok := fleetPrograms[name]; ok {
		return slurmProgram(ctx, op, rest, stderr)
	}
	if slices.Contains(awsb.Commands, name) {
		return awsb.Run(ctx, name, rest, stdout, stderr)
	}
	if len(rest) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	command, rest := rest[0], rest[1:]
	h := ThisHost()
	switch command {
	case "boot":
		return status(Boot(ctx, h), stderr)
	case "fleet":
		return status(runFleet(ctx, h), stderr)
	case "fleet-status":
		return status(fleetStatus(ctx, h, stdout, rest), stderr)
	case "computemgtd":
		return status(runWatch(ctx, h), stderr)
	case "loginmgtd":
		return status(runParting(ctx, h), stderr)
	case "why":
		return status(explain(ctx, h, &slurm.Client{Run: slurm.Exec}, stdout, rest), stderr)
	case "logs":
		return status(runLogs(ctx, h), stderr)
	case "update-directory-password":
		return status(updateDirectoryPassword(ctx, h), stderr)
	case "update-munge-key":
		return status(updateMungeKey(ctx, h, rest), stderr)
	case "login-nodes-stopped":
		return status(checkLoginNodesStopped(ctx, h), stderr)
	case "update-database-password":
		return status(updateDatabasePassword(ctx, h), stderr)
	case "health-check":
		return healthCheck(ctx, h, os.Getenv, stderr)
	case "dcv-authenticator":
		return status(runAuthenticator(ctx, h), stderr)
	case "dcv-connect":
		return status(connectDesktop(ctx, h, rest, stdout), stderr)
	case "imds-access":
		return status(metadataAccess(ctx, h, rest), stderr)
	case "component":
		if len(rest) != 1 {
			fmt.Fprint(stderr, usage)
			return 2
		}
		return status(runComponents(ctx, rest[0], stdout), stderr)
	case "tag-image":
		return status(tagImage(ctx, rest), stderr)
	case "version", "--version":
		fmt.Fprintln(stdout, config.ToolVersion)
		return 0
	case "prolog-slurmctld":
		return slurmProgram(ctx, fleet.OpJobReady, rest, stderr)
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
		return 0
	}
	if slices.Contains([]string{fleet.OpResume, fleet.OpSuspend, fleet.OpResumeFailed}, command) {
		return slurmProgram(ctx, command, rest, stderr)
	}
	fmt.Fprintf(stderr, "pcluster-node: unknown command %q\n%s", command, usage)
	return 2
}

func status(err error, stderr io.Writer) int {
	if err == nil || errors.Is(err, context.Canceled) {
		return 0
	}
	fmt.Fprintf(stderr, "pcluster-node: %v\n", err)
	return 1
}

// slurmProgram tells the fleet daemon what slurmctld wants. The prolog of a job never
// fails, since slurmctld would hold the job: without the daemon it starts later.
func slurmProgram(ctx context.Context, op string, args []string, stderr io.Writer) int {
	err := tellFleet(ctx, op, args, os.Getenv)
	if op == fleet.OpJobReady {
		if err != nil {
			fmt.Fprintf(stderr, "pcluster-node: %v\n", err)
		}
		return 0
	}
	return status(err, stderr)
}
