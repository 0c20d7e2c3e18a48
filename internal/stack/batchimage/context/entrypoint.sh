#!/bin/bash
# Begins a job in its container: mounts what the cluster shares, fetches what awsbsub
# left for the job, brings the nodes of a job on several together, and runs the command.
#
# From the job definition: PCLUSTER_AWS_REGION, PCLUSTER_HEAD_NODE_IP, and, separated by
# commas, PCLUSTER_SHARED_DIRS, PCLUSTER_RAID_SHARED_DIR, PCLUSTER_EFS_FS_IDS and
# PCLUSTER_EFS_SHARED_DIRS. From awsbsub: PCLUSTER_JOB_S3_URL, the folder of the job's
# script and input files, and PCLUSTER_WORKING_DIR, where it runs, or
# PCLUSTER_PARENT_WORKING_DIR, where it gets a folder of its own. The rest is AWS Batch's.
set -eu

note() { echo "pcluster: $*"; }
fail() { echo "pcluster: $*" >&2; exit 1; }

# absolute prints a directory as files of clusters may write it, with its slash.
absolute() { case $1 in /*) printf '%s' "$1" ;; *) printf '/%s' "$1" ;; esac; }

mount_nfs() { # SERVER:PATH DIRECTORY
    if mountpoint -q "$2"; then return; fi
    mkdir -p "$2"
    local try
    for try in 1 2 3 4 5; do
        if mount -t nfs4 -o hard,_netdev,noatime "$1" "$2"; then return; fi
        sleep "$try"
    done
    fail "can't mount $1 on $2"
}

mount_shared() {
    local dir i ids dirs suffix=amazonaws.com
    case $PCLUSTER_AWS_REGION in cn-*) suffix=amazonaws.com.cn ;; esac
    # Jobs with an image of their own, or without a cluster, may have no head node.
    if [ -n "${PCLUSTER_HEAD_NODE_IP:-}" ]; then
        case ",${PCLUSTER_EFS_SHARED_DIRS:-}," in
        *,/home,* | *,home,*) ;; # not the head node's
        *) mount_nfs "$PCLUSTER_HEAD_NODE_IP:/home" /home ;;
        esac
        for dir in $(tr , ' ' <<<"${PCLUSTER_SHARED_DIRS:-} ${PCLUSTER_RAID_SHARED_DIR:-}"); do
            [ "$dir" = NONE ] || mount_nfs "$PCLUSTER_HEAD_NODE_IP:$(absolute "$dir")" "$(absolute "$dir")"
        done
    fi
    IFS=, read -r -a ids <<<"${PCLUSTER_EFS_FS_IDS:-}"
    IFS=, read -r -a dirs <<<"${PCLUSTER_EFS_SHARED_DIRS:-}"
    for i in "${!ids[@]}"; do
        mount_nfs "${ids[$i]}.efs.$PCLUSTER_AWS_REGION.$suffix:/" "$(absolute "${dirs[$i]}")"
    done
}

fetch_files() {
    [ -n "${PCLUSTER_JOB_S3_URL:-}" ] || return 0
    mkdir -p /tmp/batch
    aws s3 cp --region "$PCLUSTER_AWS_REGION" --recursive --only-show-errors "$PCLUSTER_JOB_S3_URL" /tmp/batch ||
        fail "can't fetch the files of the job from $PCLUSTER_JOB_S3_URL"
    find /tmp/batch -maxdepth 1 -type f -exec chmod +x {} +
}

# address prints this node's own, which the others reach.
address() { ip -o route get "$PCLUSTER_HEAD_NODE_IP" | sed -n 's/.* src \([0-9.]*\).*/\1/p'; }

# meet brings the nodes of a job together: they share a key for ssh, and the main node
# has a list of them in ~/hostfile. They meet in a folder of /home, which all mount.
meet() {
    [ -n "${AWS_BATCH_JOB_NUM_NODES:-}" ] || return 0
    local place=/home/.pcluster-jobs/${AWS_BATCH_JOB_ID%%#*}-${AWS_BATCH_JOB_ATTEMPT:-1} waited=0
    mkdir -p "$place" "$HOME/.ssh" /run/sshd
    chmod 700 /home/.pcluster-jobs "$place" "$HOME/.ssh"
    if [ "$AWS_BATCH_JOB_NODE_INDEX" = "$AWS_BATCH_JOB_MAIN_NODE_INDEX" ]; then
        ssh-keygen -q -t ed25519 -N '' -f "$place/key.new" </dev/null
        mv "$place/key.new.pub" "$place/key.pub"
        mv "$place/key.new" "$place/key"
    fi
    until [ -s "$place/key" ]; do
        [ "$waited" -lt 600 ] || fail "the main node of the job has not come up in ten minutes"
        waited=$((waited + 1))
        sleep 1
    done
    install -m 600 "$place/key" "$HOME/.ssh/id_ed25519"
    cat "$place/key.pub" >>"$HOME/.ssh/authorized_keys"
    chmod 600 "$HOME/.ssh/authorized_keys"
    printf 'Host *\n  Port 2200\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n' >"$HOME/.ssh/config"
    ssh-keygen -A >/dev/null
    "$(PATH=$PATH:/usr/sbin command -v sshd)" -p 2200 -o PidFile=none -o PermitRootLogin=prohibit-password
    address >"$place/node.$AWS_BATCH_JOB_NODE_INDEX.new"
    mv "$place/node.$AWS_BATCH_JOB_NODE_INDEX.new" "$place/node-$AWS_BATCH_JOB_NODE_INDEX"
    [ "$AWS_BATCH_JOB_NODE_INDEX" = "$AWS_BATCH_JOB_MAIN_NODE_INDEX" ] || return 0
    until [ "$(find "$place" -name 'node-*' | wc -l)" -ge "$AWS_BATCH_JOB_NUM_NODES" ]; do
        [ "$waited" -lt 600 ] || fail "$(find "$place" -name 'node-*' | wc -l) of $AWS_BATCH_JOB_NUM_NODES nodes have come up in ten minutes"
        waited=$((waited + 1))
        sleep 1
    done
    cat "$place"/node-* >"$HOME/hostfile"
    rm -rf "$place"
}

# enter goes where the job runs, and puts its input files there.
enter() {
    local dir=${PCLUSTER_WORKING_DIR:-} id=${AWS_BATCH_JOB_ID%%#*}
    if [ -z "$dir" ] && [ -n "${PCLUSTER_PARENT_WORKING_DIR:-}" ]; then
        dir=$PCLUSTER_PARENT_WORKING_DIR/job-$id
        if [ -d "$PCLUSTER_PARENT_WORKING_DIR" ] && [ ! -d "$dir" ]; then
            mkdir -p "$dir"
            chown --reference="$PCLUSTER_PARENT_WORKING_DIR" "$dir"
        fi
    fi
    cd "${dir:-$HOME}" || fail "the job's working directory ${dir:-$HOME} is not there"
    if [ -d /tmp/batch/input ]; then cp -r /tmp/batch/input/. .; fi
}

mount_shared
fetch_files
meet
enter
[ $# -gt 0 ] || fail "the job has no command"
exec "$@"
