package fleet

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	slurmdPort = "6818"
	// knockPatience has room for a packet that is lost.
	knockPatience = 4 * time.Second
)

// Knock says whether a system answers at an address. That nobody listens at slurmd's port
// is an answer, too: it is the system that refuses.
func Knock(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, knockPatience)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(addr, slurmdPort))
	if err == nil {
		_ = conn.Close()
	}
	return err == nil || errors.Is(err, syscall.ECONNREFUSED)
}

// knock finds out which silent nodes' systems answer.
func (d *Daemon) knock(ctx context.Context, all []Assignment) {
	answered := make([]bool, len(all))
	var wg sync.WaitGroup
	for i, a := range all {
		wg.Go(func() { answered[i] = d.Knock(ctx, a.Addr) })
	}
	wg.Wait()
	i := -1
	all = slices.DeleteFunc(slices.Clone(all), func(Assignment) bool { i++; return !answered[i] })
	if len(all) > 0 && ctx.Err() == nil {
		d.tell(ctx, func(o *Observed) { o.Answered = append(o.Answered, all...) })
	}
}
