//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pcluster/internal/slurm"
)

// A real slurmctld with many nodes, all of them in the region's EC2 and in the fleet
// daemon: those of queue light have a slurmd each, which runs on the head node beside
// a thousand others; their instances never boot. Those of queue many are off.
const (
	lightNodes = 1000
	stepNodes  = 500
)

// large measures what takes a cluster of ten thousand nodes. It has a region to itself,
// as its account is another one than the seed's.
func (b *bench) large(ctx context.Context) error {
	for _, args := range [][]string{{"destroy"}, {"up", "--port", "4580"}} {
		if _, err := b.output(ctx, append([]string{b.bin, "sandbox"}, args...)...); err != nil {
			return err
		}
	}
	if err := b.useRegion(ctx); err != nil {
		return err
	}
	file := filepath.Join(b.root, "bench", "testdata", "many.yaml")
	if _, err := b.output(ctx, b.bin, "sandbox", "adopt", "-c", file); err != nil {
		return err
	}
	const name = "large"
	if _, err := b.output(ctx, b.bin, "create-cluster", "-n", name, "-c", file, "--wait"); err != nil {
		return err
	}
	ip, err := b.output(ctx, b.bin, "describe-cluster", "-n", name, "--query", "headNode.privateIpAddress")
	if err != nil {
		return err
	}
	b.ip, b.user, b.key = strings.Trim(strings.TrimSpace(ip), `"`), "ubuntu", filepath.Join(b.home, "keys", "many-key.pem")
	if err := b.observation(ctx); err != nil {
		return err
	}
	if err := b.lightFleet(ctx); err != nil {
		log, _ := b.head(ctx, "tail -n 5 /var/log/slurmctld.log /var/log/parallelcluster/clustermgtd; sinfo -h -o '%P %D %T %E'")
		return fmt.Errorf("%w\n%s", err, log)
	}
	_, err = b.output(ctx, b.bin, "delete-cluster", "-n", name, "--wait")
	return err
}

// observation measures one look of the fleet daemon at Slurm, on the head node.
func (b *bench) observation(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if _, err := b.output(ctx, "scp", "-q", "-i", b.key, "-o", "BatchMode=yes", self, b.user+"@"+b.ip+":bench"); err != nil {
		return err
	}
	for range 5 {
		out, err := b.head(ctx, "./bench -observe")
		if err != nil {
			return err
		}
		var seen observed
		if err := json.Unmarshal([]byte(out), &seen); err != nil {
			return fmt.Errorf("observation: %w: %s", err, out)
		}
		r := b.table.add("slurmctld with 10,000 CLOUD nodes: one full observation", "s", 1, seen.Seconds)
		r.note = fmt.Sprintf("%d nodes, %d partitions; the daemon's look of every few seconds", seen.Nodes, seen.Partitions)
		if seen.Nodes < 10000 {
			return fmt.Errorf("slurmctld shows %d nodes", seen.Nodes)
		}
	}
	return nil
}

type observed struct {
	Seconds           float64
	Nodes, Partitions int
}

// observe looks at this machine's Slurm as the fleet daemon does, and prints how long
// that takes.
func observe(ctx context.Context) error {
	c := &slurm.Client{Run: slurm.Exec}
	start := time.Now()
	nodes, err := c.Nodes(ctx, "")
	if err != nil {
		return err
	}
	partitions, err := c.Partitions(ctx)
	if err != nil {
		return err
	}
	if _, err := c.ConfiguringJobs(ctx); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(observed{time.Since(start).Seconds(), len(nodes), len(partitions)})
}

// startLight starts, for every node that has an instance's address and no slurmd yet,
// one that has the address for its own. Those of one host need folders of their own.
const startLight = `
set -e
sed -e 's,^SlurmdSpoolDir=.*,SlurmdSpoolDir=/var/spool/light/%n,' -e 's,^SlurmdLogFile=.*,SlurmdLogFile=/var/spool/light/%n.log,' \
    -e 's,^SlurmdPidFile=.*,SlurmdPidFile=/var/spool/light/%n.pid,' /opt/slurm/etc/slurm.conf > /opt/slurm/etc/light.conf
grep -q '^SlurmdPidFile' /opt/slurm/etc/light.conf || echo 'SlurmdPidFile=/var/spool/light/%n.pid' >> /opt/slurm/etc/light.conf
mkdir -p /var/spool/light
while [ ! -e /tmp/light-over ]; do
  /opt/slurm/bin/scontrol -o show nodes 2>/dev/null | awk '/^NodeName=light-/ {
      name = addr = ""
      for (i = 1; i <= NF; i++) { if ($i ~ /^NodeName=/) name = substr($i, 10); if ($i ~ /^NodeAddr=/) addr = substr($i, 10) }
      if (addr != name) print name, addr }' | while read name addr; do
    [ ! -e /var/spool/light/$name ] || continue
    mkdir /var/spool/light/$name
    ip addr add $addr/32 dev lo
    /opt/slurm/sbin/slurmd -b -N $name -f /opt/slurm/etc/light.conf
  done
  sleep 0.2
done
`

// lightFleet has a job want a thousand nodes.
func (b *bench) lightFleet(ctx context.Context) error {
	if _, err := b.output(ctx, b.bin, "sandbox", "fault", "boot", "t3.nano"); err != nil {
		return err
	}
	script := filepath.Join(b.work, "light.sh")
	if err := os.WriteFile(script, []byte(startLight), 0o644); err != nil {
		return err
	}
	if _, err := b.output(ctx, "scp", "-q", "-i", b.key, "-o", "BatchMode=yes", script, b.user+"@"+b.ip+":light.sh"); err != nil {
		return err
	}
	if _, err := b.head(ctx, "sudo systemd-run -q --unit=light bash $HOME/light.sh"); err != nil {
		return err
	}
	start := time.Now()
	job, err := b.head(ctx, fmt.Sprintf("sbatch --parsable -p light -N %d -o step.out --wrap 'date +%%s.%%N; srun -N %d -n %d printenv SLURMD_NODENAME 2>/dev/null | sort -u | wc -l; date +%%s.%%N'", lightNodes, stepNodes, stepNodes))
	if err != nil {
		return err
	}
	registered := 0.0
	for deadline := start.Add(20 * time.Minute); ; {
		state, err := b.head(ctx, "sinfo -h -p light -t allocated,mixed,idle -o '%D %t'; squeue -h -j "+job+" -o %T; true")
		if err != nil {
			return err
		}
		up := 0
		for line := range strings.Lines(state) {
			var n int
			var s string
			if k, _ := fmt.Sscan(line, &n, &s); k == 2 && !strings.ContainsAny(s, "#~%*") {
				up += n
			}
		}
		if up == lightNodes && registered == 0 {
			registered = time.Since(start).Seconds()
		}
		if registered > 0 && !strings.Contains(state, "CONFIGURING") && !strings.Contains(state, "RUNNING") {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d light nodes are up after twenty minutes: %s", up, lightNodes, state)
		}
		time.Sleep(500 * time.Millisecond)
	}
	out, err := b.head(ctx, "cat step.out")
	if err != nil {
		return err
	}
	var began, ended float64
	var lines int
	if _, err := fmt.Sscan(out, &began, &lines, &ended); err != nil || lines != stepNodes {
		return errors.Join(fmt.Errorf("the step printed %q", out), err)
	}
	b.table.add("1,000 slurmds as light instances: sbatch to all registered", "s", 300, registered).note = "from RunInstances by the fleet daemon on; both processors start slurmds most of the time"
	b.table.add("  a step of 500 tasks on 500 of them", "s", 60, ended-began)
	_, err = b.head(ctx, "touch /tmp/light-over; scancel "+job+"; sudo sh -c 'kill $(cat /var/spool/light/*.pid)'; true")
	return err
}
