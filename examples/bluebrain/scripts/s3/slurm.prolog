#!/bin/bash
# Prolog: runs as root on every node of a job before anything of the job does. It
# makes the directories that slurm.taskprolog tells tasks about:
#
#   SHMDIR   /dev/shm/slurm-<job>          memory, for what processes of a node share
#   TMPDIR   /scratch/slurm-<job>          local disk, where the node has any
#            /tmp/slurm-<job>              else
#
# A prolog that fails takes the node out of service, which is right: a job without
# its directories would fail later, and less clearly.
set -euo pipefail

: "${SLURM_JOB_ID:?not started by slurmd}" "${SLURM_JOB_UID:?not started by slurmd}"

group=$(id -g "$SLURM_JOB_UID")
scratch=/tmp
if mountpoint -q /scratch; then scratch=/scratch; fi

for directory in "/dev/shm/slurm-$SLURM_JOB_ID" "$scratch/slurm-$SLURM_JOB_ID"; do
	# Job IDs come back when the database starts anew, and a requeued job may find
	# what its first run left; whoever else made it, it is not the job's.
	if [ -L "$directory" ] || { [ -e "$directory" ] && [ "$(stat -c %u "$directory")" != "$SLURM_JOB_UID" ]; }; then
		rm -rf --one-file-system "$directory"
	fi
	install -d -m 0700 -o "$SLURM_JOB_UID" -g "$group" "$directory"
done
