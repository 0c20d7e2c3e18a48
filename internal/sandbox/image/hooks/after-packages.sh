#!/bin/sh
# Runs when all packages are installed: takes out what belongs to one machine, and
# what starts at boot without having been asked to.
set -eu
root=$1

rm -f "$root"/etc/munge/munge.key "$root"/etc/ssh/ssh_host_* "$root"/etc/hostname "$root"/etc/resolv.conf
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root/etc/fstab"
rm -rf "$root"/etc/systemd/system/*.wants "$root"/var/log/journal
# With a script left in init.d, enabling a unit of its name asks for links in rc?.d.
rm -rf "$root"/etc/init.d/* "$root"/etc/rc?.d/*
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/log/apt "$root"/var/log/dpkg.log

chroot "$root" localedef -i en_US -f UTF-8 en_US.UTF-8
chroot "$root" passwd -q -l root 2>/dev/null || true

# Slurm under /opt/slurm, as cluster software expects it, and Debian's files behind.
mkdir -p "$root"/opt/slurm/bin "$root"/opt/slurm/sbin "$root"/opt/slurm/lib "$root"/opt/slurm/share
for p in slurm-client slurmctld slurmd slurmdbd slurmrestd; do
	chroot "$root" dpkg -L "$p"
done | sed -n 's,^/usr/s*bin/,&,p' | sort -u | while read -r file; do
	name=${file##*/}
	name=${name%-wlm}
	case $file in
	/usr/sbin/*) ln -sfn "/usr/sbin/$name" "$root/opt/slurm/sbin/$name" ;;
	*) ln -sfn "/usr/bin/$name" "$root/opt/slurm/bin/$name" ;;
	esac
done
plugins=$(cd "$root" && ls -d usr/lib/*/slurm-wlm)
ln -sfn "/$plugins" "$root/opt/slurm/lib/slurm"
mv "$root/etc/slurm" "$root/opt/slurm/etc"
ln -sfn /opt/slurm/etc "$root/etc/slurm"

mkdir -p "$root/opt/parallelcluster" "$root/etc/parallelcluster" "$root/usr/local/bin"
ln -sfn /usr/bin/aws "$root/usr/local/bin/aws"
