//go:build linux

// Package outside is what the machines of a region reach of the world outside: HTTP
// and HTTPS to the names that they may reach, carried by this host as it reaches them
// itself, with its resolver and its proxies.
//
// Those names have one address in the region, for which the region's router has
// listeners. The name that a client wants is in its request (the Host header, TLS's
// SNI), so that nothing is kept between the question to the DNS and the connection.
// TLS goes through unopened. Whether a machine may get out is for others to say: its
// security groups, before a packet comes here, and [Config.Way].
//
// Start at [Gateway.ServeHTTP] and [Gateway.ServeTLS]; which names there are is in
// names.go.
package outside

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A Config is what a Gateway needs to know.
type Config struct {
	Names Names
	// Way says why the machine at an address has no way out, nil if it has.
	Way func(netip.Addr) error
	// Proxy returns the proxy by which this host reaches a URL; nil: directly.
	Proxy func(*url.URL) (*url.URL, error)
	Log   *slog.Logger
}

// A Gateway carries what machines say to the world outside.
type Gateway struct {
	cfg   Config
	dial  net.Dialer
	proxy *httputil.ReverseProxy
}

// patience is how long this host may take to reach somebody: a machine without a
// mirror is to hear of it soon.
const patience = 5 * time.Second

// New returns a gateway.
func New(cfg Config) *Gateway {
	g := &Gateway{cfg: cfg, dial: net.Dialer{Timeout: patience}}
	transport := &http.Transport{
		Proxy:              func(r *http.Request) (*url.URL, error) { return g.proxyFor(r.URL) },
		DialContext:        g.dial.DialContext,
		DisableCompression: true, // what comes goes on as it is
		IdleConnTimeout:    30 * time.Second,
	}
	g.proxy = &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", r.In.Host
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			refuse(w, http.StatusBadGateway, fmt.Sprintf("this host does not reach %s: %v", r.Host, err))
		},
		ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	return g
}

func (g *Gateway) proxyFor(u *url.URL) (*url.URL, error) {
	if g.cfg.Proxy == nil {
		return nil, nil
	}
	return g.cfg.Proxy(u)
}

// check says why a machine can't reach a name.
func (g *Gateway) check(client, host string) error {
	addr, err := netip.ParseAddrPort(client)
	if err != nil {
		return err
	}
	if err := g.cfg.Way(addr.Addr().Unmap()); err != nil {
		return err
	}
	if !g.cfg.Names.Has(host) {
		return fmt.Errorf("machines of this region do not reach %s (pcluster sandbox up --internet lets them)", host)
	}
	return nil
}

// ServeHTTP carries a request of a machine.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if err := g.check(r.RemoteAddr, host); err != nil {
		refuse(w, http.StatusForbidden, err.Error())
		return
	}
	g.proxy.ServeHTTP(w, r)
}

// refuse answers with a reason in the status line, which is what apt shows.
func refuse(w http.ResponseWriter, status int, reason string) {
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, reason, status)
		return
	}
	defer conn.Close()
	reason = strings.Join(strings.Fields(reason), " ")
	fmt.Fprintf(buf, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n", status, reason, len(reason)+1, reason)
	_ = buf.Flush() // a client that went away needs no answer
}

// ServeTLS carries the connections of a listener until it is closed.
func (g *Gateway) ServeTLS(ctx context.Context, l net.Listener) error {
	var clients sync.WaitGroup
	defer clients.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		clients.Go(func() {
			defer conn.Close()
			if err := g.relay(ctx, conn); err != nil {
				g.cfg.Log.Info("a machine does not get out", "machine", conn.RemoteAddr().String(), "err", err)
			}
		})
	}
}

// relay carries one connection.
func (g *Gateway) relay(ctx context.Context, client net.Conn) error {
	_ = client.SetReadDeadline(time.Now().Add(patience))
	host, hello, err := serverName(client)
	if err != nil {
		return err
	}
	_ = client.SetReadDeadline(time.Time{})
	if err := g.check(client.RemoteAddr().String(), host); err != nil {
		return err
	}
	server, err := g.connect(ctx, host)
	if err != nil {
		return fmt.Errorf("this host does not reach %s: %w", host, err)
	}
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { client.Close(); server.Close() })
	defer stop()
	if _, err := server.Write(hello); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		pass(server, client)
	}()
	pass(client, server)
	<-done
	return nil
}

// pass copies one direction of a connection, and its end.
func pass(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		_ = half.CloseWrite()
		return
	}
	to.Close()
	from.Close()
}

// connect reaches a host's HTTPS as this host does.
func (g *Gateway) connect(ctx context.Context, host string) (net.Conn, error) {
	address := net.JoinHostPort(host, "443")
	proxy, err := g.proxyFor(&url.URL{Scheme: "https", Host: host})
	if err != nil {
		return nil, err
	}
	if proxy == nil {
		return g.dial.DialContext(ctx, "tcp", address)
	}
	port := proxy.Port()
	if port == "" {
		port = map[string]string{"https": "443"}[proxy.Scheme]
	}
	if port == "" {
		port = "80"
	}
	conn, err := g.dial.DialContext(ctx, "tcp", net.JoinHostPort(proxy.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	if proxy.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{ServerName: proxy.Hostname()})
	}
	if err := tunnel(conn, proxy, address); err != nil {
		conn.Close()
		return nil, fmt.Errorf("proxy %s: %w", proxy.Host, err)
	}
	return conn, nil
}

// tunnel asks a proxy for a connection to an address.
func tunnel(conn net.Conn, proxy *url.URL, address string) error {
	_ = conn.SetDeadline(time.Now().Add(patience))
	defer conn.SetDeadline(time.Time{})
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	if u := proxy.User; u != nil {
		password, _ := u.Password()
		basic := &http.Request{Header: http.Header{}}
		basic.SetBasicAuth(u.Username(), password)
		req.Header.Set("Proxy-Authorization", basic.Header.Get("Authorization"))
	}
	if err := req.Write(conn); err != nil {
		return err
	}
	// Byte by byte: what comes after the answer is the server's.
	var head bytes.Buffer
	for one := make([]byte, 1); !bytes.HasSuffix(head.Bytes(), []byte("\r\n\r\n")); {
		if _, err := io.ReadFull(conn, one); err != nil {
			return err
		}
		if head.WriteByte(one[0]); head.Len() > 16<<10 {
			return errors.New("its answer has no end")
		}
	}
	status, _, _ := strings.Cut(head.String(), "\r\n")
	if fields := strings.Fields(status); len(fields) < 2 || fields[1] != "200" {
		return fmt.Errorf("it answers %q", status)
	}
	return nil
}

// errSeen ends the reading of a client's first message.
var errSeen = errors.New("seen")

// serverName reads the first message of a TLS client. It returns the name that the
// client wants, and what was read.
func serverName(conn net.Conn) (name string, hello []byte, err error) {
	read := &recorder{Conn: conn}
	err = tls.Server(read, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		name = h.ServerName
		return nil, errSeen
	}}).Handshake()
	switch {
	case !errors.Is(err, errSeen):
		return "", nil, fmt.Errorf("no TLS: %w", err)
	case name == "":
		return "", nil, errors.New("the client does not say which server it wants (SNI)")
	}
	return name, read.seen.Bytes(), nil
}

// A recorder keeps what is read, and lets nothing be written.
type recorder struct {
	net.Conn
	seen bytes.Buffer
}

func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.seen.Write(p[:n])
	return n, err
}

func (r *recorder) Write(p []byte) (int, error) { return len(p), nil }
