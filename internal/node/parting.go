package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"golang.org/x/sys/unix"

	"pcluster/internal/config"
	"pcluster/internal/node/logs"
	"pcluster/internal/node/spec"
)

// targetState is where the metadata service says what Auto Scaling is going to do with
// this instance. (AWS documentation: Retrieve the target lifecycle state through
// instance metadata.)
const targetState = "autoscaling/target-lifecycle-state"

const (
	partingInterval = 2 * time.Second
	lastCall        = time.Minute // before the end, for a second warning
)

// A parting ends the life of a login node as its users would like it: they are told,
// nobody new comes in, and the node goes when the last of them has, or when their time
// is up. That end is Auto Scaling's: its hook lets the instance live that long.
type parting struct {
	*Host
	spec     *spec.Node
	instance string
	grace    func(context.Context) time.Duration // zero: unknown
	metadata func(ctx context.Context, path string) (string, bool, error)
	tell     func(text string) error // users who are logged in
	scaling  scalingAPI
	log      *slog.Logger
	interval time.Duration
	now      func() time.Time
}

// runParting is the daemon of login nodes. It runs before the node is set up, too: one
// that Auto Scaling gives up by then has nobody to wait for.
func runParting(ctx context.Context, h *Host) error {
	told, err := h.ReadSpec()
	if err != nil {
		return err
	}
	n, err := newNode(ctx, h, told)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(h.path(logs.Dir+"/loginmgtd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	cfg, err := awsConfig(ctx, told)
	if err != nil {
		return err
	}
	api := imds.NewFromConfig(cfg)
	p := &parting{
		Host: h, spec: told, instance: n.self.InstanceID, grace: n.grace,
		metadata: func(ctx context.Context, path string) (string, bool, error) { return metadataIfAny(ctx, api, path) },
		tell:     func(text string) error { return broadcast(h.path("/dev/pts"), firstPerson, text) },
		scaling:  n.scaling, log: slog.New(newLogHandler(file)), interval: partingInterval, now: time.Now,
	}
	go h.followDirectory(ctx, sharedLoginSSSD, p.log)
	return p.run(ctx)
}

// configPatience is how long the head node's file may take to be read when the node is
// about to go. The head node may have gone before.
const configPatience = 5 * time.Second

// grace returns how long users have, or zero if the cluster file can't be read.
func (n *node) grace(ctx context.Context) time.Duration {
	found := make(chan time.Duration, 1)
	go func() {
		var minutes int
		if data, err := n.read(clusterConfig); err == nil {
			if n.config, err = config.ParseImplied(clusterConfig, data); err == nil {
				if pool, err := n.pool(); err == nil {
					minutes = pool.GracetimePeriod
				}
			}
		}
		found <- time.Duration(minutes) * time.Minute
	}()
	select {
	case d := <-found:
		return d
	case <-time.After(configPatience):
	case <-ctx.Done():
	}
	return 0
}

func (p *parting) run(ctx context.Context) error {
	if err := p.summons(ctx); err != nil {
		return err
	}
	called, grace := p.now(), p.grace(ctx)
	end := called.Add(grace)
	p.log.Info("this login node is going to be terminated", "within", grace)
	if err := p.closeDoor(ctx); err != nil {
		p.log.Error("new users can't be kept out", "error", err)
	}
	p.warn(end)
	last := grace <= lastCall
	for {
		people, err := p.people(ctx)
		if err != nil {
			p.log.Error("who is logged in can't be told", "error", err)
		} else if len(people) == 0 {
			break
		}
		if !last && end.Sub(p.now()) <= lastCall {
			last = true
			p.warn(end)
		}
		if !sleep(ctx, p.interval) {
			return nil
		}
	}
	p.log.Info("nobody is logged in any more")
	if _, err := p.scaling.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{
		AutoScalingGroupName: aws.String(p.spec.ScalingGroup), LifecycleHookName: aws.String(p.spec.TerminatingHook),
		InstanceId: aws.String(p.instance), LifecycleActionResult: aws.String("CONTINUE"),
	}); err != nil {
		p.log.Error("the node waits for its time to be up", "error", err)
	}
	<-ctx.Done()
	return nil
}

// summons waits until Auto Scaling wants this instance to go.
func (p *parting) summons(ctx context.Context) error {
	complained := false
	for {
		state, _, err := p.metadata(ctx, targetState)
		switch {
		case err == nil && state == "Terminated":
			return nil
		case err != nil && ctx.Err() == nil && !complained:
			p.log.Error("what Auto Scaling wants can't be asked for", "error", err)
		}
		complained = err != nil
		if !sleep(ctx, p.interval) {
			return ctx.Err()
		}
	}
}

// closeDoor lets only the default user log in from now on.
func (p *parting) closeDoor(ctx context.Context) error {
	return p.sshdSetting(ctx, "AllowUsers "+p.spec.ClusterUser)
}

// warn tells all who are logged in.
func (p *parting) warn(end time.Time) {
	when := "soon"
	if left := end.Sub(p.now()); left > 0 {
		when = fmt.Sprintf("at %s UTC, in %d minutes, at the latest", end.UTC().Format("15:04"), int(left.Round(time.Minute).Minutes()))
	}
	text := "This login node is going to be terminated " + when + ". Please save your work and log out; jobs in Slurm go on."
	if err := p.tell(text); err != nil {
		p.log.Error("users can't be warned", "error", err)
	}
}

// broadcast writes to the terminals in a directory that belong to users from least on.
// The program wall would do the same, but only where sshd tells logind about terminals,
// which some distributions' does not.
func broadcast(dir string, least uint32, text string) error {
	terminals, err := filepath.Glob(filepath.Join(dir, "[0-9]*"))
	if err != nil {
		return err
	}
	message := "\r\n\aMessage of the cluster (" + time.Now().UTC().Format("15:04") + " UTC):\r\n" + text + "\r\n"
	var errs []error
	for _, t := range terminals {
		var info unix.Stat_t
		if err := unix.Stat(t, &info); err != nil || info.Uid < least {
			continue // it has gone, or is the system's
		}
		// A terminal that nobody reads must not hold us up.
		f, err := os.OpenFile(t, os.O_WRONLY|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		_, err = f.WriteString(message)
		errs = append(errs, err, f.Close())
	}
	return errors.Join(errs...)
}

// people returns who has a session on this machine, other than system users.
func (p *parting) people(ctx context.Context) ([]string, error) {
	out, err := p.Run(ctx, "loginctl", "list-sessions", "--no-legend")
	if err != nil {
		return nil, err
	}
	return peopleIn(out), nil
}

// firstPerson is the least number of a user that is not the system's.
const firstPerson = 1000

// peopleIn reads a list of sessions: number, user's number, user's name, and more that
// differs between versions. Newer ones list the manager of a user's services, too.
func peopleIn(sessions string) []string {
	var out []string
	for line := range strings.Lines(sessions) {
		f := strings.Fields(line)
		if len(f) < 3 || slices.Contains(f, "manager") {
			continue
		}
		if uid, err := strconv.Atoi(f[1]); err == nil && uid >= firstPerson && !slices.Contains(out, f[2]) {
			out = append(out, f[2])
		}
	}
	return out
}

// sleep waits, and says whether it was let sleep.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
