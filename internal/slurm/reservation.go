package slurm

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// A Reservation keeps nodes from jobs.
type Reservation struct {
	Name  string
	Nodes string        // hostlist
	In    time.Duration // until it begins; of one to be made
}

// Reservations returns all reservations, also those of users.
func (c *Client) Reservations(ctx context.Context) ([]Reservation, error) {
	out, err := c.query(ctx, "scontrol", "-o", "show", "reservations")
	if err != nil {
		return nil, err
	}
	var all []Reservation
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if name := field(line, "ReservationName"); name != "" {
			all = append(all, Reservation{Name: name, Nodes: field(line, "Nodes")})
		}
	}
	return all, nil
}

// Reserve makes reservations for maintenance that have no end, or gives those that
// exist other nodes. Jobs that run there go on.
func (c *Client) Reserve(ctx context.Context, all ...Reservation) error {
	old, err := c.Reservations(ctx)
	if err != nil {
		return err
	}
	exists := make(map[string]bool)
	for _, r := range old {
		exists[r.Name] = true
	}
	commands := make([]string, len(all))
	for i, r := range all {
		start := "now"
		if r.In > 0 {
			start += fmt.Sprintf("+%dseconds", int(r.In.Seconds()))
		}
		commands[i] = "create reservation reservationname=" + r.Name + " user=slurm starttime=" + start + " duration=infinite flags=maint,ignore_jobs nodes=" + r.Nodes
		if exists[r.Name] {
			commands[i] = "update reservationname=" + r.Name + " nodes=" + r.Nodes
		}
	}
	return c.script(ctx, commands)
}

// Release ends reservations.
func (c *Client) Release(ctx context.Context, names ...string) error {
	commands := make([]string, len(names))
	for i, name := range names {
		commands[i] = "delete reservationname=" + name
	}
	return c.script(ctx, commands)
}
