#!/bin/bash
# Installs what Slurm runs before and after jobs and tasks. Runs on the head node;
# the compute nodes see /opt/slurm.
#
#   setup_slurm.sh KEY=VALUE        the tag that accounts for the cluster's costs
set -euo pipefail

tag=${1:?usage: setup_slurm.sh KEY=VALUE}
source=${SCRIPTS_URI:-s3://sboinfrastructureassets/scripts}
target=/opt/slurm/etc/scripts

[[ $tag == ?*=?* ]] || { echo "setup_slurm.sh: the cost tag must be KEY=VALUE, not '$tag'" >&2; exit 2; }

download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
# A download that fails once, as networks do, must not cost the cluster.
for try in 1 2 3; do
	aws s3 cp --only-show-errors --recursive --exclude '*' --include 'slurm.*' "$source/" "$download/" && break
	[ "$try" -lt 3 ] || { echo "setup_slurm.sh: $source can't be downloaded" >&2; exit 1; }
	sleep "$try"
done

install -d -m 0755 "$target" "$target/prolog.d" "$target/epilog.d"
for script in slurm.prolog slurm.epilog slurm.taskprolog slurm.taskepilog; do
	[ -f "$download/$script" ] || { echo "setup_slurm.sh: $source/$script is missing" >&2; exit 1; }
	# Through a new file, since a node may be running the old one.
	install -m 0755 "$download/$script" "$target/.$script.new"
	mv -f "$target/.$script.new" "$target/$script"
done
# Slurm runs prolog.d/* and epilog.d/* in order of their names; the cluster's own are 90_*.
ln -sfn ../slurm.prolog "$target/prolog.d/80_slurm.prolog"
ln -sfn ../slurm.epilog "$target/epilog.d/80_slurm.epilog"

# Read by slurm.epilog, which notes it with every job in the system's log.
printf 'COST_TAG=%q\n' "$tag" > "$target/.slurm.cost.new"
chmod 0644 "$target/.slurm.cost.new"
mv -f "$target/.slurm.cost.new" "$target/slurm.cost"
