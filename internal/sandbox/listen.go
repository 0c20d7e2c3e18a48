//go:build linux

package sandbox

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// tlsRecord is the first byte of every TLS connection (a handshake record).
const tlsRecord = 0x16

// bothListener accepts HTTP and HTTPS on one port, so that clients may use
// either URL.
type bothListener struct {
	net.Listener
	tls *tls.Config
}

func (l bothListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &bothConn{Conn: conn, tls: l.tls}, nil
}

// A bothConn finds out at its first byte what the client speaks.
type bothConn struct {
	net.Conn
	tls  *tls.Config
	once sync.Once
	err  error
}

func (c *bothConn) look() {
	r := bufio.NewReaderSize(c.Conn, 4096)
	first, err := r.Peek(1)
	if err != nil {
		c.err = err
		return
	}
	plain := bufferedConn{c.Conn, r}
	if first[0] == tlsRecord {
		c.Conn = tls.Server(plain, c.tls)
		return
	}
	c.Conn = plain
}

func (c *bothConn) Read(p []byte) (int, error) {
	c.once.Do(c.look)
	if c.err != nil {
		return 0, c.err
	}
	return c.Conn.Read(p)
}

// servers are the region's HTTP listeners.
type servers struct {
	log    *slog.Logger
	list   []*http.Server
	failed chan error
}

// start serves h on l until close. The first failure of any goes to failed.
func (s *servers) start(l net.Listener, h http.Handler, base func(net.Listener) context.Context) {
	srv := &http.Server{
		Handler: h, BaseContext: base,
		ReadHeaderTimeout: time.Minute, IdleTimeout: 5 * time.Minute,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.list = append(s.list, srv)
	go func() {
		if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			select {
			case s.failed <- err:
			default:
			}
		}
	}()
}

// close ends all servers; answers under way get a moment.
func (s *servers) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for _, srv := range s.list {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if srv.Shutdown(ctx) != nil {
				_ = srv.Close()
			}
		}()
	}
	wg.Wait()
}
