//go:build linux

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCapacityBlock is the time before, in and after a capacity block, and a queue with
// a capacity reservation that has less room than the queue has nodes.
func TestCapacityBlock(t *testing.T) {
	const block, room = "cr-0123456789abcdef0", "cr-0123456789abcdef1"
	r := startRegion(t)
	file := filepath.Join(root, "test", "e2e", "testdata", "block.yaml")
	r.must(t, "pcluster", "sandbox", "adopt", "-c", file)
	r.must(t, "pcluster", "sandbox", "fault", "block", block, "--start", "1h", "--end", "2h")
	r.must(t, "pcluster", "create-cluster", "-n", "block", "-c", file, "--wait")
	c := r.enter(t, "block", filepath.Join(r.home, "keys", "block-key.pem"), "ubuntu")
	c.configureFleet(t, "capacity_block_interval = 2", "insufficient_capacity_timeout = 600")

	state := func(id string) string {
		return strings.TrimSpace(r.must(t, "aws", "ec2", "describe-capacity-reservations", "--capacity-reservation-ids", id,
			"--query", "CapacityReservations[0].[State,AvailableInstanceCount]", "--output", "text"))
	}
	var job, blocked string
	for _, s := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"before it begins its nodes are reserved, and jobs wait", func(t *testing.T) {
			eventually(t, patience, "its nodes are reserved", func() bool {
				return strings.Contains(c.head(t, "scontrol -o show reservation"), "ReservationName=pcluster-"+block+" ")
			})
			if got := c.head(t, "scontrol -o show reservation pcluster-"+block); !strings.Contains(got, "Nodes=block-st-gpu-[1-2]") || !strings.Contains(got, "MAINT") {
				t.Errorf("the reservation is %s", got)
			}
			job = c.batch(t, "-p block -N 2")
			eventually(t, patience, "Slurm tells that the nodes are reserved", func() bool {
				return strings.Contains(c.head(t, "squeue -h -o %r -j "+job), "ReqNodeNotAvail")
			})
			// Of the hour some minutes have passed since.
			c.expectWhy(t, "job", job, "It can't have instances: capacity block "+block+" is scheduled, and begins at", "in 5")
			c.expectWhy(t, "node", "block-st-gpu-1", "capacity block "+block+" is scheduled")
			if ids := c.computeInstances(t); len(ids) > 0 {
				t.Errorf("there are instances: %v", ids)
			}
		}},
		{"a reservation has room for as many as it was made for", func(t *testing.T) {
			r.must(t, "aws", "ec2", "modify-capacity-reservation", "--capacity-reservation-id", room, "--instance-count", "1")
			c.completes(t, c.batch(t, "-p reserved"))
			if got := state(room); got != "active\t0" {
				t.Errorf("the reservation is %q", got)
			}
			id := c.batch(t, "-p reserved -N 2 --exclusive")
			eventually(t, patience, "Slurm tells that the reservation is full", func() bool {
				return strings.Contains(c.head(t, "scontrol -o show node reserved-dy-room-2"), "(Code:ReservationCapacityExceeded)")
			})
			c.expectWhy(t, "job", id, "ReservationCapacityExceeded")
			c.head(t, "scancel "+id)
		}},
		{"when it begins its nodes are launched, and the job runs", func(t *testing.T) {
			r.must(t, "pcluster", "sandbox", "fault", "block", block, "--start", "3s", "--end", "1h")
			c.completes(t, job)
			if got := state(block); got != "active\t0" {
				t.Errorf("the block is %q", got)
			}
			if out := c.ssh(t, "scontrol -o show reservation pcluster-"+block); out.code == 0 {
				t.Errorf("it is still reserved: %s", out.stdout)
			}
		}},
		{"shortly before its end only jobs start that can end in time", func(t *testing.T) {
			r.must(t, "pcluster", "sandbox", "fault", "block", block, "--start", "-1h", "--end", "35m") // its instances end in 5
			eventually(t, patience, "its nodes are reserved", func() bool { return c.ssh(t, "scontrol -o show reservation pcluster-"+block).code == 0 })
			long := c.batch(t, "-p block")
			c.completes(t, c.batch(t, "-p block --time 1"))
			if s := c.jobState(t, long); s != "PENDING" {
				t.Errorf("a job without a time limit is %s", s)
			}
			c.expectWhy(t, "job", long, "The instances of capacity block "+block+" end at", "sbatch --time")
			c.head(t, "scancel "+long)
			r.must(t, "pcluster", "sandbox", "fault", "block", block, "--start", "-1h", "--end", "1h")
			eventually(t, patience, "they are not any more", func() bool { return c.ssh(t, "scontrol -o show reservation pcluster-"+block).code != 0 })
		}},
		{"at its end its instances end, and the job goes back to the queue", func(t *testing.T) {
			blocked = c.head(t, "sbatch --parsable --requeue -o /dev/null -p block -N 2 --wrap 'sleep 600'")
			eventually(t, patience, "the job runs", func() bool { return c.jobState(t, blocked) == "RUNNING" })
			// The end is put where the fleet daemon sees it first, and then happens.
			r.must(t, "pcluster", "sandbox", "fault", "block", block, "--start", "-1h", "--end", "5s")
			eventually(t, patience, "its nodes are off, and reserved", func() bool {
				return strings.Contains(c.head(t, "sinfo -h -p block -o %T"), "maint") &&
					strings.Contains(c.head(t, "scontrol -o show reservation"), "ReservationName=pcluster-"+block+" ") &&
					strings.Contains(c.head(t, "scontrol -o show node block-st-gpu-1"), "POWERED_DOWN")
			})
			eventually(t, patience, "the job is queued", func() bool { return c.jobState(t, blocked) == "PENDING" })
			c.expectWhy(t, "job", blocked, "It can't have instances: capacity block "+block+" is expired.")
			c.expectWhy(t, "node", "block-st-gpu-1", "It can't have instances: capacity block "+block+" is expired.")
			left := r.must(t, "aws", "ec2", "describe-instances", "--filters", "Name=instance-type,Values=p5.4xlarge",
				"Name=instance-state-name,Values=pending,running", "--query", "Reservations[].Instances[].InstanceId", "--output", "text")
			if strings.TrimSpace(left) != "" {
				t.Errorf("instances outlive the block: %s", left)
			}
		}},
		{"a block that begins again under a reservation of running jobs", func(t *testing.T) {
			r.must(t, "pcluster", "sandbox", "fault", "block", block, "--end", "1h")
			eventually(t, patience, "the job runs again", func() bool { return c.jobState(t, blocked) == "RUNNING" })
			// EC2 says that it is over while its instances still live: running jobs go on.
			c.head(t, "sudo scontrol create reservation reservationname=upkeep user=slurm starttime=now duration=infinite flags=maint,ignore_jobs nodes=block-st-gpu-[1-2]")
			time.Sleep(12 * time.Second) // looks of the daemon at nodes in maintenance
			if s := c.jobState(t, blocked); s != "RUNNING" {
				t.Errorf("a job under a maintenance reservation is %s", s)
			}
			c.head(t, "sudo scontrol delete reservationname=upkeep")
			c.head(t, "scancel "+blocked)
		}},
	} {
		if !t.Run(s.name, s.run) {
			c.explain(t)
			return
		}
	}
}
