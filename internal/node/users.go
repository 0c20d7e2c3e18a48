package node

import (
	"context"
	"strconv"
)

// Users and groups of the cluster. The numbers are the same on all nodes and in
// all images, so that files on shared storage belong to the same users everywhere.
const (
	adminID      = 400
	slurmID      = 401
	mungeID      = 402
	slurmShareID = 405
	slurmShare   = "pcluster-slurm-share"
)

// ensureUsers makes the cluster's users, as far as the image has not.
func (h *Host) ensureUsers(ctx context.Context) error {
	for _, u := range []struct {
		name  owner
		id    int
		shell string
	}{
		{adminUser, adminID, "/bin/bash"},
		{slurmUser, slurmID, "/bin/bash"},
		{mungeUser, mungeID, "/usr/sbin/nologin"},
	} {
		if err := h.ensureUser(ctx, string(u.name), u.id, u.shell); err != nil {
			return err
		}
	}
	entry, err := h.entry("/etc/group", slurmShare)
	if err != nil || entry != nil {
		return err
	}
	if _, err := h.Run(ctx, "groupadd", "-g", strconv.Itoa(slurmShareID), slurmShare); err != nil {
		return err
	}
	for _, member := range []owner{slurmUser, adminUser} {
		if _, err := h.Run(ctx, "usermod", "-a", "-G", slurmShare, string(member)); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) ensureUser(ctx context.Context, name string, id int, shell string) error {
	entry, err := h.entry("/etc/passwd", name)
	if err != nil || entry != nil {
		return err
	}
	number := strconv.Itoa(id)
	group, err := h.entry("/etc/group", name)
	if err != nil {
		return err
	}
	if group == nil {
		if _, err := h.Run(ctx, "groupadd", "-g", number, name); err != nil {
			return err
		}
	}
	_, err = h.Run(ctx, "useradd", "-u", number, "-g", name, "-d", "/home/"+name, "-M", "-s", shell, name)
	return err
}
