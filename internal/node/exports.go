package node

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
)

const exportsFile = "/etc/exports"

// export lets the nodes in the VPC mount directories of this one.
func (h *Host) export(ctx context.Context, dirs, blocks []string) error {
	old, err := h.read(exportsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := h.write(exportsFile, 0o644, rootUser, exports(string(old), dirs, blocks)); err != nil {
		return err
	}
	// Without them someone else serves what the file says.
	if h.hasUnit("nfs-server.service") {
		if err := h.start(ctx, "nfs-server.service"); err != nil {
			return err
		}
	}
	if h.has("exportfs") {
		_, err := h.Run(ctx, "exportfs", "-ar")
		return err
	}
	return nil
}

// exports returns the content of /etc/exports with a line for each directory, in
// place of an older one.
func exports(old string, dirs, blocks []string) []byte {
	var lines []string
	for line := range strings.Lines(old) {
		line = strings.TrimRight(line, "\n")
		if f := strings.Fields(line); len(f) > 0 && slices.Contains(dirs, f[0]) {
			continue
		}
		lines = append(lines, line)
	}
	for _, d := range dirs {
		line := d
		for _, b := range blocks {
			line += " " + b + "(rw,sync,no_root_squash)"
		}
		lines = append(lines, line)
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}
