package slurm

import (
	"context"
	"strings"
)

// A Reservation keeps nodes from jobs.
type Reservation struct {
	Name  string
	Nodes string // hostlist
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
			all = append(all, Reservation{name, field(line, "Nodes")})
		}
	}
	return all, nil
}

// Reserve makes reservations for maintenance that have no end, or gives those that
// exist other nodes.
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
		commands[i] = "create reservation reservationname=" + r.Name + " user=slurm starttime=now duration=infinite flags=maint nodes=" + r.Nodes
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
