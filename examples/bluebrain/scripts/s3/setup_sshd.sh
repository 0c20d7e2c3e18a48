#!/bin/bash
# Settings of the SSH server on the head node: keys only, nobody as root, and room
# for many people and pipelines that connect at once.
set -euo pipefail

config=/etc/ssh/sshd_config
settings=$(cat <<'CONF'
# Written by setup_sshd.sh.
PasswordAuthentication no
PermitRootLogin no
ClientAliveInterval 120
ClientAliveCountMax 5
MaxStartups 100:30:300
MaxSessions 50
CONF
)

# sshd takes the first value that it reads, and distributions read the directory
# first. Where they don't, the settings go to the top of the file itself.
if grep -Eqi '^[[:space:]]*Include[[:space:]]+/etc/ssh/sshd_config\.d/' "$config"; then
	install -d -m 0755 /etc/ssh/sshd_config.d
	printf '%s\n' "$settings" > /etc/ssh/sshd_config.d/00-cluster.conf
elif ! grep -q '^# Written by setup_sshd.sh' "$config"; then
	{ printf '%s\n\n' "$settings"; cat "$config"; } > "$config.new"
	chmod --reference="$config" "$config.new"
	mv -f "$config.new" "$config"
fi

install -d -m 0755 /run/sshd # which sshd -t wants on Debian
"$(command -v sshd || echo /usr/sbin/sshd)" -t

# The unit is sshd on Red Hat's and Amazon's systems, ssh on Debian's. Sessions that
# are open stay open.
for unit in sshd.service ssh.service; do
	if systemctl is-active --quiet "$unit"; then
		systemctl reload "$unit"
		break
	fi
done
