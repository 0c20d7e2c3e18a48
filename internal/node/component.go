package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"pcluster/internal/component"
	"pcluster/internal/component/act"
)

// runComponents carries out the plan of an image build in dir, on the machine that
// builds or tests the image, and restarts the machine where a document asks for it:
// the unit that runs this runs it again then.
func runComponents(ctx context.Context, dir string, stdout io.Writer) error {
	err := act.RunPlan(ctx, dir, act.LogDirectory, act.Here(), func(line string) { fmt.Fprintln(stdout, line) })
	reboot, ok := errors.AsType[*component.Reboot](err)
	if !ok {
		return err
	}
	select {
	case <-time.After(reboot.Delay):
	case <-ctx.Done():
		return ctx.Err()
	}
	if out, err := exec.CommandContext(ctx, "systemctl", "reboot").CombinedOutput(); err != nil {
		return fmt.Errorf("restart the machine: %w: %s", err, out)
	}
	return nil
}
