#!/bin/sh
# Runs when only the essential packages are there. ParallelCluster's images have
# fixed user IDs, which the packages would choose otherwise.
set -eu
root=$1

group() { echo "$1:x:$2:${3:-}" >>"$root/etc/group"; }
user() { # name id home shell
	group "$1" "$2"
	echo "$1:x:$2:$2::$3:$4" >>"$root/etc/passwd"
}
user pcluster-admin 400 /home/pcluster-admin /usr/sbin/nologin
user slurm 401 /home/slurm /bin/bash
user munge 402 /var/lib/munge /usr/sbin/nologin
group pcluster-slurm-share 405 slurm,pcluster-admin

# A small redo log, since the database is copied into each machine that uses it.
mkdir -p "$root/etc/mysql/mariadb.conf.d"
printf '[mariadbd]\ninnodb_log_file_size = 16M\n' >"$root/etc/mysql/mariadb.conf.d/10-image.cnf"
