//go:build linux

package machine

import (
	"errors"
	"fmt"
	"os"
)

// recover finds what earlier processes left: machines that run are watched again,
// ends that nobody saw are dealt with, and what belongs to no machine is removed.
func (m *Manager) recover() error {
	entries, err := os.ReadDir(m.cfg.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || !validID(e.Name()) {
			continue
		}
		if err := m.recoverMachine(e.Name()); err != nil {
			return fmt.Errorf("recover machine %s: %w", e.Name(), err)
		}
	}
	return m.sweep()
}

func (m *Manager) recoverMachine(id string) error {
	in, err := m.get(id, true)
	if err != nil {
		return err
	}
	in.op.Lock()
	defer in.op.Unlock()
	ok, err := in.load()
	if err != nil {
		return err
	}
	if !ok { // its directory was made, or its disk is being removed: nobody counts on it
		if err := m.release(in); err != nil {
			return err
		}
		m.forget(in)
		return nil
	}
	switch {
	case in.rec.Up && in.rec.Leader.alive() && in.rec.Nspawn.alive():
		for i := range in.rec.Spec.Interfaces {
			if err := m.cfg.Network.Adopt(port(in.rec.Spec, i)); err != nil {
				return err
			}
		}
		return m.watch(in)
	case in.rec.Up:
		exit := Exit{ID: id, Reason: in.reason(), At: endOf(in)}
		if err := m.release(in); err != nil {
			return err
		}
		go m.cfg.OnExit(exit)
		return nil
	default:
		return m.release(in)
	}
}

// sweep removes cgroups and interfaces that no machine owns.
func (m *Manager) sweep() error {
	ids, err := m.cgroups.known()
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		m.mu.Lock()
		_, mine := m.machines[id]
		m.mu.Unlock()
		if mine {
			continue
		}
		m.log.Warn("removing what is left of an unknown machine", "id", id)
		dirs := m.cgroups.paths(id)
		if err := killAll(dirs); err != nil {
			errs = append(errs, err)
			continue
		}
		for _, dir := range dirs {
			errs = append(errs, removeCgroup(dir))
		}
	}
	return errors.Join(append(errs, m.sweepPorts())...)
}

func (m *Manager) sweepPorts() error {
	if m.cfg.Network == nil {
		return nil
	}
	var used []string
	m.mu.Lock()
	for _, in := range m.machines {
		if in.alive() {
			for _, nic := range in.rec.Spec.Interfaces {
				used = append(used, nic.ID)
			}
		}
	}
	m.mu.Unlock()
	removed, err := m.cfg.Network.Retain(used)
	if len(removed) > 0 {
		m.log.Warn("removed interfaces that no machine has", "ids", removed)
	}
	return err
}
