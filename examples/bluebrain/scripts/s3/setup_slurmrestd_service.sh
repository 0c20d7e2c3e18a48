#!/bin/bash
# Runs Slurm's REST API as a service on the head node. It listens on the loopback
# interface only: reach it with ssh -L 6840:localhost:6840. Users authenticate with
# a token: export $(scontrol token lifespan=3600), then
#   curl -H "X-SLURM-USER-NAME: $USER" -H "X-SLURM-USER-TOKEN: $SLURM_JWT" http://localhost:6840/slurm/v0.0.41/ping
set -euo pipefail

port=6840 # slurmctld has 6820 to 6829
etc=/opt/slurm/etc
state=$(sed -n 's/^StateSaveLocation=//Ip' "$etc/slurm.conf" | tail -n 1)
key=${state:-/var/spool/slurm.state}/jwt_hs256.key
restd=/opt/slurm/sbin/slurmrestd

"$restd" -V >/dev/null || { echo "setup_slurmrestd_service.sh: $restd does not run on this image" >&2; exit 1; }

# The key that signs tokens. Who can read it can be anybody, so only Slurm can.
if [ ! -s "$key" ]; then
	(umask 077 && head -c 32 /dev/urandom > "$key.new")
	chown slurm:slurm "$key.new"
	chmod 0600 "$key.new"
	mv -f "$key.new" "$key"
fi

# jwt FILE: lets the daemon that reads FILE accept tokens; says whether that is new.
jwt() {
	[ -f "$1" ] || return 1
	! grep -q '^AuthAltTypes=' "$1" || return 1
	printf '\n# Tokens, by setup_slurmrestd_service.sh\nAuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key=%s\n' "$key" >> "$1"
}
restart() {
	if systemctl is-active --quiet "$1"; then systemctl restart "$1"; fi
}
if jwt "$etc/slurmdbd.conf"; then restart slurmdbd.service; fi
if jwt "$etc/slurm.conf"; then restart slurmctld.service; fi

# slurmrestd refuses to be root or Slurm's own user.
id -u slurmrestd >/dev/null 2>&1 || useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin slurmrestd

# A name of our own: Debian's package has a slurmrestd.service with other ideas.
cat > /etc/systemd/system/cluster-slurmrestd.service <<UNIT
[Unit]
Description=REST API of Slurm
After=network-online.target slurmctld.service
Wants=network-online.target

[Service]
User=slurmrestd
Environment=SLURM_CONF=$etc/slurm.conf SLURM_JWT=daemon
ExecStart=$restd -a rest_auth/jwt 127.0.0.1:$port
Restart=on-failure
RestartSec=2
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --quiet cluster-slurmrestd.service
systemctl restart cluster-slurmrestd.service

for _ in $(seq 100); do
	if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then exit 0; fi
	sleep 0.1
done
echo "setup_slurmrestd_service.sh: nothing answers on port $port:" >&2
journalctl --no-pager -n 20 -u cluster-slurmrestd.service >&2 || true
exit 1
