//go:build unix

package act

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
)

// updateOS brings the packages of the system up to date with what manages them:
// all, those to include, or all but those to exclude.
func updateOS(ctx context.Context, c *call) (output, error) {
	include, exclude := c.texts("include"), c.texts("exclude")
	for _, manager := range []struct {
		program string
		update  func(context.Context, *call, []string, []string) error
	}{{"apt-get", aptUpdate}, {"dnf", rpmUpdate("dnf")}, {"yum", rpmUpdate("yum")}} {
		if _, err := exec.LookPath(manager.program); err == nil {
			return nil, manager.update(ctx, c, include, exclude)
		}
	}
	return nil, errors.New("this system has none of apt-get, dnf and yum")
}

func (c *call) env(ctx context.Context, args ...string) error {
	_, err := c.run(ctx, "env", append([]string{"DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"}, args...)...)
	return err
}

func aptUpdate(ctx context.Context, c *call, include, exclude []string) (err error) {
	// Without the option apt calls it a success to have reached no mirror.
	if err := c.env(ctx, "apt-get", "-q", "-y", "-o", "APT::Update::Error-Mode=any", "update"); err != nil {
		return err
	}
	args := []string{"apt-get", "-q", "-y", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"}
	if len(include) > 0 {
		if include = slices.DeleteFunc(include, func(name string) bool { return slices.Contains(exclude, name) }); len(include) == 0 {
			return nil
		}
		return c.env(ctx, append(append(args, "install", "--only-upgrade"), include...)...)
	}
	for i, name := range exclude {
		if err := c.env(ctx, "apt-mark", "hold", name); err != nil {
			return err
		}
		defer func() {
			// Also when the update was cut off.
			if uerr := c.env(context.WithoutCancel(ctx), "apt-mark", "unhold", exclude[i]); uerr != nil {
				err = errors.Join(err, fmt.Errorf("let %s be updated again: %w", exclude[i], uerr))
			}
		}()
	}
	return c.env(ctx, append(args, "upgrade")...)
}

func rpmUpdate(program string) func(context.Context, *call, []string, []string) error {
	return func(ctx context.Context, c *call, include, exclude []string) error {
		args := []string{program, "-y"}
		for _, name := range exclude {
			args = append(args, "--exclude="+name)
		}
		return c.env(ctx, append(append(args, "update"), include...)...)
	}
}
