package ec2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/machine"
	"pcluster/internal/sandbox/store"
)

// The life of an instance: its row says what should be, and its worker makes the
// machine follow. Requests, exits of machines and the start of the daemon change
// the row and kick the worker; whatever a worker was doing when the daemon died,
// the next one does again from the row.

// terminatedFor is how long a terminated instance stays visible.
const terminatedFor = 15 * time.Minute

// newsWithin is how soon after a start the ends of machines are told that came
// while no daemon was there.
const newsWithin = time.Second

// consoleKept is how much of an ended machine's console is kept, as in EC2.
const consoleKept = 64 << 10

// workers runs at most one worker for each instance.
type workers struct {
	s      *Service
	ctx    context.Context
	cancel context.CancelFunc
	boots  chan struct{} // a place for each machine that may boot at the same time

	mu     sync.Mutex
	idle   *sync.Cond // no worker is active
	active map[string]*worker
}

type worker struct {
	again     bool // the row changed since the worker looked
	interrupt context.CancelFunc
}

func (w *workers) init(s *Service) {
	w.s = s
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.boots = make(chan struct{}, s.cfg.Boots)
	w.idle = sync.NewCond(&w.mu)
	w.active = map[string]*worker{}
}

// kick makes a worker look at the instance's row. One that is waiting for a boot
// which is no longer wanted gives up.
func (w *workers) kick(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx.Err() != nil {
		return
	}
	if a := w.active[id]; a != nil {
		a.again = true
		if a.interrupt != nil {
			a.interrupt()
		}
		return
	}
	a := &worker{}
	w.active[id] = a
	go w.run(id, a)
}

func (w *workers) run(id string, a *worker) {
	pause := time.Second
	for {
		err := w.s.follow(w.ctx, id, a)
		if err != nil && w.ctx.Err() == nil {
			w.s.log.Error("instance does not follow its state yet", "instance", id, "error", err)
			select {
			case <-time.After(pause):
				pause = min(2*pause, time.Minute)
			case <-w.ctx.Done():
			}
		}
		w.mu.Lock()
		if w.ctx.Err() != nil || err == nil && !a.again {
			delete(w.active, id)
			if len(w.active) == 0 {
				w.idle.Broadcast()
			}
			w.mu.Unlock()
			return
		}
		a.again = false
		w.mu.Unlock()
	}
}

// interruptible returns a context that ends when the instance's row is found to
// want something else than a boot.
func (w *workers) interruptible(ctx context.Context, id string, a *worker) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	a.interrupt = func() {
		if i := w.s.instances.get(id); i == nil || i.Parked || i.state() != types.InstanceStateNamePending && i.state() != types.InstanceStateNameRunning {
			cancel()
		}
	}
	a.interrupt() // what was missed before
	return ctx, func() {
		w.mu.Lock()
		a.interrupt = nil
		w.mu.Unlock()
		cancel()
	}
}

// wait returns when no worker is active.
func (w *workers) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.idle.Broadcast()
	})
	defer stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.active) > 0 && ctx.Err() == nil {
		w.idle.Wait()
	}
	return ctx.Err()
}

// follow makes the machine what the row says, until they agree.
func (s *Service) follow(ctx context.Context, id string, a *worker) error {
	for {
		i := s.instances.get(id)
		if i == nil {
			return nil
		}
		var err error
		switch {
		case i.Parked:
			return s.halt(ctx, id)
		case i.Capture != nil && (i.state() == types.InstanceStateNameRunning || i.state() == types.InstanceStateNameStopped):
			err = s.capture(ctx, i)
		case i.state() == types.InstanceStateNamePending:
			err = s.boot(ctx, i, a)
		case i.state() == types.InstanceStateNameRunning && i.Reboot:
			err = s.reboot(ctx, i, a)
		case i.state() == types.InstanceStateNameStopping:
			err = s.stop(ctx, i)
		case i.state() == types.InstanceStateNameShuttingDown:
			err = s.terminate(ctx, i)
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (s *Service) isUp(id string) bool { return slices.Contains(s.cfg.Machines.Running(), id) }

// startMachine boots the machine in its turn.
func (s *Service) startMachine(ctx context.Context, i *instance) error {
	id := instanceKey(i)
	select {
	case s.work.boots <- struct{}{}:
		defer func() { <-s.work.boots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	layers := i.Layers
	if len(layers) == 0 {
		var err error
		if layers, err = s.cfg.BaseLayers(ctx); err != nil {
			return fmt.Errorf("base image: %w", err)
		}
		// The disk is made of these layers from now on, whatever the base image
		// will be next time.
		s.mu.Lock()
		err = s.instances.set(id, func(i *instance) { i.Layers = layers })
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	layers = slices.Concat(layers, i.Over)
	s.enforce() // nothing reaches the machine that its groups would not let through
	return s.cfg.Machines.Start(ctx, s.spec(i, layers))
}

func (s *Service) boot(ctx context.Context, i *instance, a *worker) error {
	id := instanceKey(i)
	bootCtx, done := s.work.interruptible(ctx, id, a)
	defer done()
	var failed error
	if !s.isUp(id) {
		failed = s.startMachine(bootCtx, i)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err() // the daemon ends; the next one boots it again
	}
	_, err := s.instances.update(id, func(i *instance) error {
		if i.Parked || i.state() != types.InstanceStateNamePending {
			return nil // changed its mind meanwhile
		}
		if failed != nil {
			s.log.Error("machine does not boot", "instance", id, "error", failed)
			i.fail("Server.InternalError: Internal error on launch")
			return nil
		}
		i.Desc.State, i.Desc.StateReason = stateOf(types.InstanceStateNameRunning), nil
		return nil
	})
	return err
}

func (s *Service) reboot(ctx context.Context, i *instance, a *worker) error {
	id := instanceKey(i)
	bootCtx, done := s.work.interruptible(ctx, id, a)
	defer done()
	if err := s.halt(bootCtx, id); err != nil && bootCtx.Err() == nil {
		return err
	}
	failed := s.startMachine(bootCtx, i)
	down := !s.isUp(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	_, err := s.instances.update(id, func(i *instance) error {
		if i.Parked || i.state() != types.InstanceStateNameRunning {
			return nil
		}
		if failed != nil {
			s.log.Error("machine does not come back", "instance", id, "error", failed)
			i.fail("Server.InternalError: Internal error on launch")
			return nil
		}
		// A machine that went down again at once wants the same once more.
		i.Reboot = down
		return nil
	})
	return err
}

// halt shuts the machine down, if it is up.
func (s *Service) halt(ctx context.Context, id string) error {
	if !s.isUp(id) {
		return nil
	}
	err := s.cfg.Machines.Stop(ctx, id)
	if err != nil && s.isUp(id) {
		return errors.Join(err, s.cfg.Machines.Kill(context.WithoutCancel(ctx), id))
	}
	return nil
}

func (s *Service) stop(ctx context.Context, i *instance) error {
	id := instanceKey(i)
	if i.Crash && s.isUp(id) {
		if err := s.cfg.Machines.Kill(ctx, id); err != nil {
			return err
		}
	}
	if err := s.halt(ctx, id); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.instances.set(id, func(i *instance) {
		if i.state() == types.InstanceStateNameStopping {
			i.Desc.State, i.Crash, i.Reboot = stateOf(types.InstanceStateNameStopped), false, false
		}
	})
}

func (s *Service) terminate(ctx context.Context, i *instance) error {
	id := instanceKey(i)
	if s.isUp(id) {
		if !i.Crash {
			grace, cancel := context.WithTimeout(ctx, s.cfg.Grace)
			_ = s.cfg.Machines.Stop(grace, id) // if it won't, it is killed
			cancel()
		}
		if s.isUp(id) {
			if err := s.cfg.Machines.Kill(ctx, id); err != nil {
				return err
			}
		}
	}
	s.saveConsole(id)
	if err := s.cfg.Machines.Remove(ctx, id); err != nil {
		return fmt.Errorf("remove machine: %w", err)
	}
	defer s.enforce()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.release(s.instances.get(id))
}

// release frees what a terminated instance had and marks it. s.mu is held.
func (s *Service) release(i *instance) error {
	id := instanceKey(i)
	for _, m := range i.Desc.BlockDeviceMappings {
		v := s.volumes.get(*m.Ebs.VolumeId)
		if v == nil {
			continue
		}
		// The disk of a machine goes with it, even if somebody asked to keep it.
		if v.Root || aws.ToBool(m.Ebs.DeleteOnTermination) {
			if err := s.dropVolume(*m.Ebs.VolumeId); err != nil {
				return err
			}
		} else if err := s.volumes.set(*m.Ebs.VolumeId, func(v *volume) { v.Desc.Attachments, v.Desc.State = nil, types.VolumeStateAvailable }); err != nil {
			return err
		}
	}
	for _, n := range i.Desc.NetworkInterfaces {
		eniID := *n.NetworkInterfaceId
		if s.enis.get(eniID) == nil {
			continue
		}
		free := s.detachENI
		if aws.ToBool(n.Attachment.DeleteOnTermination) {
			free = s.dropENI
		}
		if err := free(eniID); err != nil {
			return err
		}
	}
	if i.Capture != nil { // its image will never be
		if err := s.abandonImage(i.Capture.Image); err != nil {
			return err
		}
	}
	err := s.instances.set(id, func(i *instance) {
		i.Capture = nil
		i.Desc.State = stateOf(types.InstanceStateNameTerminated)
		i.describeInterfaces(nil)
		i.Desc.NetworkInterfaces, i.Desc.BlockDeviceMappings = nil, nil
		i.Desc.IamInstanceProfile = nil
		i.UserData, i.Layers, i.Over, i.Files = "", nil, nil, nil
		i.Reboot, i.Crash, i.Parked = false, false, false
		i.Ended = aws.Time(s.now())
	})
	return errors.Join(err, s.sweepLayers())
}

// fail gives an instance up because its machine is gone.
func (i *instance) fail(message string) {
	i.Desc.State = stateOf(types.InstanceStateNameShuttingDown)
	i.Desc.StateReason = &types.StateReason{Code: aws.String("Server.InternalError"), Message: aws.String(message)}
	i.Desc.StateTransitionReason = aws.String("Server.InternalError")
	i.Crash, i.Reboot = true, false
}

var stateCodes = map[types.InstanceStateName]int32{
	types.InstanceStateNamePending:      0,
	types.InstanceStateNameRunning:      16,
	types.InstanceStateNameShuttingDown: 32,
	types.InstanceStateNameTerminated:   48,
	types.InstanceStateNameStopping:     64,
	types.InstanceStateNameStopped:      80,
}

func stateOf(name types.InstanceStateName) *types.InstanceState {
	return &types.InstanceState{Name: name, Code: aws.Int32(stateCodes[name])}
}

// Exited is to be called when a machine has ended.
func (s *Service) Exited(_ context.Context, e machine.Exit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	up := s.isUp(e.ID)
	_, err := s.instances.update(e.ID, func(i *instance) error {
		live := i.state() == types.InstanceStateNameRunning || i.state() == types.InstanceStateNamePending
		if !live || i.Parked {
			return nil // it was to end
		}
		if up {
			return nil // old news: the machine has been started again since
		}
		switch e.Reason {
		case machine.Rebooted:
			i.Reboot = true
		case machine.PoweredOff:
			i.Desc.StateReason = &types.StateReason{
				Code: aws.String("Client.InstanceInitiatedShutdown"), Message: aws.String("Client.InstanceInitiatedShutdown: Instance initiated shutdown"),
			}
			i.Desc.StateTransitionReason = aws.String("")
			i.Desc.State = stateOf(types.InstanceStateNameStopping)
			if i.Shutdown == types.ShutdownBehaviorTerminate {
				i.Desc.State = stateOf(types.InstanceStateNameShuttingDown)
			}
		case machine.Stopped:
			if !i.Reboot && i.Capture == nil { // not by this service, then
				i.fail("Server.InternalError: Internal server error")
			}
		default:
			i.fail("Server.InternalError: Internal server error")
		}
		return nil
	})
	switch {
	case errors.Is(err, store.ErrNotFound): // long forgotten
	case err != nil:
		s.log.Error("end of a machine is not noted", "instance", e.ID, "reason", string(e.Reason), "error", err)
	default:
		s.work.kick(e.ID)
	}
}

// ResumeAll takes up the region where the last daemon left it: it finds the
// machines that still run, gives up instances whose machine is gone, goes on with
// what was under way, and starts what [Service.StopAll] stopped. It returns while
// machines still boot.
func (s *Service) ResumeAll(ctx context.Context) error {
	if err := errors.Join(s.putOfficial(), s.putManaged(), s.forgetTokens(), s.network()); err != nil {
		return err
	}
	s.mu.Lock()
	err := s.sweepLayers()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	up := map[string]bool{}
	for _, id := range s.cfg.Machines.Running() {
		up[id] = true
		i := s.instances.get(id)
		if i != nil && i.state() != types.InstanceStateNameTerminated {
			if i.state() == types.InstanceStateNameStopped {
				if err := s.halt(ctx, id); err != nil {
					return err
				}
			}
			continue
		}
		if !strings.HasPrefix(id, nounInstance.prefix+"-") {
			continue // another service's
		}
		s.log.Warn("machine without an instance is removed", "machine", id)
		if err := errors.Join(s.cfg.Machines.Kill(ctx, id), s.cfg.Machines.Remove(ctx, id)); err != nil {
			return err
		}
	}
	if err := s.sweep(); err != nil {
		return err
	}
	for _, i := range s.instances.all() {
		if i.state() == types.InstanceStateNameRunning && !i.Parked && !i.Reboot && !up[instanceKey(i)] {
			go s.lost(instanceKey(i))
		}
	}
	for _, v := range s.volumes.all() {
		if v.Desc.State == types.VolumeStateCreating {
			go s.fillVolume(*v.Desc.VolumeId, *v.Desc.SnapshotId)
		}
	}
	for _, v := range s.snapshots.all() {
		if v.State == types.SnapshotStatePending {
			source := s.volumes.get(*v.VolumeId)
			go s.takeSnapshot(*v.SnapshotId, *v.VolumeId, source == nil || !source.Root)
		}
	}
	for _, i := range s.instances.all() {
		s.work.kick(instanceKey(i))
		if i.SpotAction != nil && i.Ended == nil {
			go s.takeAway(instanceKey(i), i.SpotAction.Sub(s.now()))
		}
	}
	for _, r := range s.reservations.all() {
		if isBlock(r) && s.now().Before(*r.EndDate) {
			s.watchBlock(r)
		}
	}
	return s.unpark()
}

// lost gives an instance up whose machine was gone when the daemon came back,
// unless the news of how it ended arrives meanwhile.
func (s *Service) lost(id string) {
	select {
	case <-time.After(newsWithin):
	case <-s.work.ctx.Done():
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	up := s.isUp(id)
	_, err := s.instances.update(id, func(i *instance) error {
		if i.state() == types.InstanceStateNameRunning && !i.Parked && !i.Reboot && !up {
			i.fail("Server.InternalError: Internal server error")
		}
		return nil
	})
	if err != nil {
		s.log.Error("loss of a machine is not noted", "instance", id, "error", err)
		return
	}
	s.work.kick(id)
}

// sweep removes what a launch left that died half way: interfaces and volumes of
// instances that never came to be, and files of volumes that nobody knows.
func (s *Service) sweep() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, eni := range s.enis.all() {
		if a := eni.Attachment; a == nil || s.instances.get(*a.InstanceId) != nil {
			continue
		}
		free := s.detachENI
		if aws.ToBool(eni.Attachment.DeleteOnTermination) {
			free = s.dropENI
		}
		if err := free(*eni.NetworkInterfaceId); err != nil {
			return err
		}
	}
	for _, v := range s.volumes.all() {
		for _, a := range v.Desc.Attachments {
			if s.instances.get(*a.InstanceId) != nil {
				continue
			}
			if err := s.dropVolume(*v.Desc.VolumeId); err != nil {
				return err
			}
		}
	}
	files, err := os.ReadDir(filepath.Join(s.cfg.Dir, "volumes"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if s.volumes.get(f.Name()) == nil {
			if err := os.Remove(s.volumeFile(f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// StopAll shuts down all machines; their instances will run again after
// [Service.ResumeAll], with their disks, and so will what is launched meanwhile by
// machines that are not down yet. It returns when all are down.
func (s *Service) StopAll(ctx context.Context) error {
	s.mu.Lock()
	s.parked = true
	var ids []string
	for _, i := range s.instances.all() {
		if i.state() != types.InstanceStateNamePending && i.state() != types.InstanceStateNameRunning {
			continue
		}
		ids = append(ids, instanceKey(i))
		if err := s.instances.set(instanceKey(i), func(i *instance) { i.Parked = true }); err != nil {
			s.mu.Unlock()
			return err
		}
	}
	s.mu.Unlock()
	for _, id := range ids {
		s.work.kick(id)
	}
	if err := s.work.wait(ctx); err != nil {
		return fmt.Errorf("stop machines: %w", err)
	}
	return nil
}

// unpark starts the machines that [Service.StopAll] stopped, oldest first.
func (s *Service) unpark() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parked = false
	var parked []*instance
	for _, i := range s.instances.all() {
		if i.Parked {
			parked = append(parked, i)
		}
	}
	slices.SortStableFunc(parked, func(a, b *instance) int { return a.Desc.LaunchTime.Compare(*b.Desc.LaunchTime) })
	for _, i := range parked {
		err := s.instances.set(instanceKey(i), func(i *instance) {
			i.Parked, i.Reboot = false, false
			i.Desc.State = stateOf(types.InstanceStateNamePending)
		})
		if err != nil {
			return err
		}
		s.work.kick(instanceKey(i))
	}
	return nil
}

// Close ends the work on instances without touching their machines; a new Service
// on the same tables goes on.
func (s *Service) Close() error {
	s.work.cancel()
	s.removing.Wait()
	return s.work.wait(context.Background())
}

func (s *Service) consoleFile(id string) string { return filepath.Join(s.cfg.Dir, "consoles", id) }

// saveConsole keeps the end of a machine's console output, which is often read
// when the machine is gone.
func (s *Service) saveConsole(id string) {
	out, err := s.cfg.Machines.Console(id)
	if err != nil || len(out) == 0 {
		return // it never said anything
	}
	if err := os.WriteFile(s.consoleFile(id), tail(out), 0o600); err != nil {
		s.log.Error("console output is lost", "instance", id, "error", err)
	}
}

func tail(out []byte) []byte {
	if len(out) <= consoleKept {
		return out
	}
	out = out[len(out)-consoleKept:]
	if i := bytes.IndexByte(out, '\n'); i >= 0 {
		out = out[i+1:]
	}
	return out
}

// purge forgets instances that were terminated long ago. s.mu is held.
func (s *Service) purge() error {
	for _, i := range s.instances.all() {
		if !s.expired(i) {
			continue
		}
		id := instanceKey(i)
		if err := os.Remove(s.consoleFile(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("forget console of %s: %w", id, err)
		}
		if err := s.instances.delete(id); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) expired(i *instance) bool {
	return i.Ended != nil && s.now().Sub(*i.Ended) > terminatedFor
}
