//go:build linux

package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"pcluster/internal/sandbox/fault"
)

// ErrDown is returned by a [Client] when no daemon answers.
var ErrDown = errors.New("the region is not up: run pcluster sandbox up")

// A Client gives orders to a region's daemon over its control socket. Only root
// can: whoever can give them can run commands on the host.
type Client struct {
	home Home
	http *http.Client
}

// NewClient returns a client of the region in home. It does not connect yet.
func NewClient(home Home) *Client {
	return &Client{home: home, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", home.Control())
		},
	}}}
}

// send sends one order. The caller closes the answer's body.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body []byte) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "region", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var netErr *net.OpError
		if errors.As(err, &netErr) && netErr.Op == "dial" {
			return nil, ErrDown
		}
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return nil, errors.New(string(bytes.TrimSpace(data)))
}

// do sends one order and decodes the answer into out, if not nil.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body []byte, out any) error {
	resp, err := c.send(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

// Ping succeeds when the daemon is ready.
func (c *Client) Ping(ctx context.Context) error { return c.do(ctx, "GET", "/ping", nil, nil, nil) }

// Status describes the region.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.do(ctx, "GET", "/status", nil, nil, &s)
}

// Adopt makes what the cluster file refers to and does not own.
func (c *Client) Adopt(ctx context.Context, name string, file []byte) (Adoption, error) {
	var a Adoption
	return a, c.do(ctx, "POST", "/adopt", url.Values{"name": {name}}, file, &a)
}

// SetCapacity limits how many instances of a type can run at once; n < 0 lifts
// the limit. More get InsufficientInstanceCapacity.
func (c *Client) SetCapacity(ctx context.Context, instanceType string, n int) error {
	return c.do(ctx, "POST", "/capacity", url.Values{"type": {instanceType}, "n": {fmt.Sprint(n)}}, nil, nil)
}

// Break begins a fault, and returns it with its ID.
func (c *Client) Break(ctx context.Context, f fault.Fault) (fault.Fault, error) {
	body, err := json.Marshal(f)
	if err != nil {
		return f, err
	}
	return f, c.do(ctx, "POST", "/faults", nil, body, &f)
}

// Cut breaks the connection between an instance and another, or, without another,
// between it and all the world.
func (c *Client) Cut(ctx context.Context, instance, other string) error {
	return c.do(ctx, "POST", "/faults/cut", url.Values{"instance": {instance}, "other": {other}}, nil, nil)
}

// Kill takes the power of an instance's machine away.
func (c *Client) Kill(ctx context.Context, instance string) error {
	return c.do(ctx, "POST", "/faults/kill", url.Values{"instance": {instance}}, nil, nil)
}

// MoveBlock gives a capacity block other times, counted from now.
func (c *Client) MoveBlock(ctx context.Context, block string, start, end time.Duration) error {
	return c.do(ctx, "POST", "/faults/block", url.Values{"block": {block}, "start": {start.String()}, "end": {end.String()}}, nil, nil)
}

// Interrupt gives a spot instance notice of its end.
func (c *Client) Interrupt(ctx context.Context, instance string, notice time.Duration) error {
	return c.do(ctx, "POST", "/faults/interrupt", url.Values{"instance": {instance}, "notice": {notice.String()}}, nil, nil)
}

// Impair lets a status check of an instance fail: that of its host, or its own.
func (c *Client) Impair(ctx context.Context, instance string, host bool) error {
	return c.do(ctx, "POST", "/faults/impair", url.Values{"instance": {instance}, "host": {fmt.Sprint(host)}}, nil, nil)
}

// ScheduleEvent announces that AWS will do something to an instance after a time.
func (c *Client) ScheduleEvent(ctx context.Context, instance, code string, in time.Duration) error {
	return c.do(ctx, "POST", "/faults/event", url.Values{"instance": {instance}, "code": {code}, "in": {in.String()}}, nil, nil)
}

// Faults lists what is broken.
func (c *Client) Faults(ctx context.Context) (Faults, error) {
	var f Faults
	return f, c.do(ctx, "GET", "/faults", nil, nil, &f)
}

// Mend ends all faults, and says how many.
func (c *Client) Mend(ctx context.Context) (int, error) {
	var out struct{ Ended int }
	return out.Ended, c.do(ctx, "DELETE", "/faults", nil, nil, &out)
}

// Down stops all machines, keeps the state, and ends the daemon.
func (c *Client) Down(ctx context.Context) error { return c.do(ctx, "POST", "/down", nil, nil, nil) }

// Connect opens a TCP connection to an address or name inside the region. It can be
// closed for writing alone (CloseWrite), as a TCP connection can.
func (c *Client) Connect(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", c.home.Control())
	if err != nil {
		return nil, ErrDown
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", address, address); err != nil {
		conn.Close()
		return nil, err
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, &http.Request{Method: "CONNECT"})
	if err != nil {
		conn.Close()
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		msg, _ := io.ReadAll(resp.Body)
		conn.Close()
		return nil, fmt.Errorf("connect to %s: %s", address, bytes.TrimSpace(msg))
	}
	return bufferedConn{conn, r}, nil
}

// A bufferedConn first hands out what came with the answer to CONNECT.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (b bufferedConn) Read(p []byte) (int, error) { return b.r.Read(p) }

// CloseWrite tells the other side that nothing more comes.
func (b bufferedConn) CloseWrite() error { return b.Conn.(*net.UnixConn).CloseWrite() }
