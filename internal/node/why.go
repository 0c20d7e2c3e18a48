package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"pcluster/internal/fleet/record"
	"pcluster/internal/fleet/why"
	"pcluster/internal/slurm"
)

// errWhyUsage is a mistake in the arguments of pcluster-node why.
var errWhyUsage = errors.New("usage: pcluster-node why job ID|node NAME [--json]")

// explain answers what keeps a job or a node, on the head node.
func explain(ctx context.Context, h *Host, slurmctld *slurm.Client, out io.Writer, args []string) error {
	asJSON := slices.Contains(args, "--json")
	args = slices.DeleteFunc(slices.Clone(args), func(s string) bool { return s == "--json" })
	if len(args) != 2 {
		return errWhyUsage
	}
	facts := why.Facts{Now: time.Now()}
	var err error
	if facts.Record, err = record.Read(h.path(FleetRecord), time.Time{}); err != nil {
		return err
	}
	var answer why.Answer
	switch about, name := args[0], args[1]; about {
	case "job":
		facts.Job, facts.SlurmError = slurmctld.JobStatus(ctx, name)
		answer = why.ExplainJob(name, facts)
	case "node":
		facts.Nodes, facts.SlurmError = slurmctld.Nodes(ctx, name)
		if facts.SlurmError != nil && strings.Contains(facts.SlurmError.Error(), "not found") {
			facts.SlurmError = nil // Slurm has answered: there is none
		}
		answer = why.ExplainNode(name, facts)
	default:
		return errWhyUsage
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(answer)
	}
	width := 100
	if columns, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && columns > 0 {
		width = columns
	}
	_, err = fmt.Fprint(out, answer.Text(width))
	return err
}
