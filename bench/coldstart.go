//go:build linux

package main

import (
	"context"
	"fmt"
)

// coldStart measures how long the job that submit ran last waited after its node had
// registered: by slurmctld's log, and by what the job printed.
func (b *bench) coldStart(ctx context.Context, node string) error {
	out, err := b.head(ctx, `head -1 bench.out; sudo -n grep -hs 'Node `+node+` now responding' /var/log/slurmctld.log /var/log/slurm/slurmctld.log`+
		` | tail -1 | sed 's/^\[\([^]]*\)\].*/\1/' | xargs -I{} date -d {} +%s.%N`)
	if err != nil {
		return err
	}
	var started, registered float64
	if _, err := fmt.Sscan(out, &started, &registered); err != nil {
		return fmt.Errorf("start of the job and its node's registration %q: %w", out, err)
	}
	r := b.table.add("cold node: registered to job start", "ms", 200, (started-registered)*1000)
	r.note = "slurmctld's own look at such jobs comes every 30 s"
	return nil
}
