//go:build linux

package outside

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// A world has a server that this host reaches, by a proxy which knows its name, and a
// gateway with its two listeners.
type world struct {
	server, secure *httptest.Server
	asked          chan string // what the proxy was asked for
	plain, tls     net.Listener
}

func newWorld(t *testing.T, names Names, way func(netip.Addr) error) *world {
	t.Helper()
	w := &world{asked: make(chan string, 10)}
	hello := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { fmt.Fprintf(rw, "%s at %s", r.URL.Path, r.Host) })
	w.server, w.secure = httptest.NewServer(hello), httptest.NewTLSServer(hello)
	t.Cleanup(w.server.Close)
	t.Cleanup(w.secure.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.asked <- r.Method + " " + r.Host + " " + r.Header.Get("Proxy-Authorization")
		if strings.HasPrefix(r.Host, "gone.") {
			http.Error(rw, "nobody there", http.StatusServiceUnavailable)
			return
		}
		if r.Method != http.MethodConnect {
			out, err := http.Get(w.server.URL + r.URL.Path)
			if err != nil {
				t.Error(err)
				return
			}
			defer out.Body.Close()
			_, _ = io.Copy(rw, out.Body)
			return
		}
		server, err := net.Dial("tcp", w.secure.Listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		client, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
		go pass(server, client)
		pass(client, server)
	}))
	t.Cleanup(proxy.Close)
	by, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	by.User = url.UserPassword("me", "secret")
	g := New(Config{Names: names, Way: way, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Proxy: func(*url.URL) (*url.URL, error) { return by, nil }})
	for _, l := range []*net.Listener{&w.plain, &w.tls} {
		if *l, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	srv := &http.Server{Handler: g}
	go func() { _ = srv.Serve(w.plain) }()
	t.Cleanup(func() { srv.Close() })
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { served <- g.ServeTLS(ctx, w.tls) }()
	t.Cleanup(func() {
		w.tls.Close()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return w
}

// get asks for a URL as a machine does, for which all names have the gateway's address.
func (w *world) get(u string) (string, error) {
	roots := x509.NewCertPool()
	roots.AddCert(w.secure.Certificate())
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
			if strings.HasSuffix(address, ":443") {
				return net.Dial(network, w.tls.Addr().String())
			}
			return net.Dial(network, w.plain.Addr().String())
		},
	}}
	res, err := client.Get(u)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		return "", errors.New(res.Status)
	}
	return string(body), err
}

func open(netip.Addr) error { return nil }

func TestMachinesReachWhatTheHostReaches(t *testing.T) {
	w := newWorld(t, Names{Some: []string{"mirror.example.com", "gone.example.com"}}, open)
	const auth = " Basic bWU6c2VjcmV0"
	got, err := w.get("http://mirror.example.com/debian/Release")
	if want := "/debian/Release at " + w.server.Listener.Addr().String(); err != nil || got != want {
		t.Errorf("http: %q, %v, want %q", got, err, want)
	}
	if got, want := <-w.asked, "GET mirror.example.com"+auth; got != want {
		t.Errorf("the proxy was asked for %q, want %q", got, want)
	}
	// Its certificate is for example.com: TLS goes through unopened.
	w2 := newWorld(t, Names{All: true}, open)
	if got, err := w2.get("https://www.example.com/x"); err != nil || got != "/x at www.example.com" {
		t.Errorf("https: %q, %v", got, err)
	}
	if got, want := <-w2.asked, "CONNECT www.example.com:443"+auth; got != want {
		t.Errorf("the proxy was asked for %q, want %q", got, want)
	}
	if _, err := w.get("http://gone.example.com/"); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("a mirror that is down: %v", err)
	}
}

func TestMachinesAreToldWhyTheyDoNotGetOut(t *testing.T) {
	closed := func(netip.Addr) error { return errors.New("subnet-1 has no route to the Internet") }
	for name, tt := range map[string]struct {
		names Names
		way   func(netip.Addr) error
		url   string
		want  string
	}{
		"a name that is none of theirs": {Names{Some: []string{"mirror.example.com"}}, open, "http://other.example.com/", "403 machines of this region do not reach other.example.com"},
		"no route":                      {Names{All: true}, closed, "http://www.example.com/", "403 subnet-1 has no route to the Internet"},
		"no route, with TLS":            {Names{All: true}, closed, "https://www.example.com/", "EOF"},
		"AWS":                           {Names{All: true}, open, "http://ec2.us-east-1.api.aws/", "403 machines"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tt.names, tt.way)
			if _, err := w.get(tt.url); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	t.Run("this host reaches nobody", func(t *testing.T) {
		g := New(Config{Names: Names{All: true}, Way: open, Log: slog.New(slog.DiscardHandler)})
		srv := httptest.NewServer(g)
		defer srv.Close()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "nobody.invalid"
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if !strings.HasPrefix(res.Status, "502 this host does not reach nobody.invalid") {
			t.Errorf("%s", res.Status)
		}
	})
}

func TestNames(t *testing.T) {
	some, all := Names{Some: []string{"deb.debian.org"}}, Names{All: true}
	for name, want := range map[string][2]bool{
		"deb.debian.org.":             {true, true},
		"DEB.debian.org":              {true, true},
		"debian.org":                  {false, true},
		"x.deb.debian.org":            {false, true},
		"deb.debian.org.ec2.internal": {false, false},
		"s3.us-east-1.amazonaws.com":  {false, false},
		"ec2.us-east-1.api.aws":       {false, false},
		"head":                        {false, false},
		"10.0.0.1":                    {false, false},
		"1.0.0.10.in-addr.arpa.":      {false, false},
	} {
		if got := [2]bool{some.Has(name), all.Has(name)}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	all.Some, all.Exists = some.Some, func(name string) bool { return name == "www.debian.org" }
	lookup := New(Config{Names: all, Log: slog.New(slog.DiscardHandler)}).Lookup(netip.MustParseAddr("198.18.0.1"))
	for _, tt := range []struct {
		name  string
		qtype uint16
		addr  string
		ok    bool
	}{
		{"deb.debian.org.", dns.TypeA, "198.18.0.1", true},
		{"deb.debian.org.", dns.TypeAAAA, "", true},
		{"www.debian.org.", dns.TypeA, "198.18.0.1", true},
		{"gone.debian.org.", dns.TypeA, "", false},
		{"ec2.internal.", dns.TypeA, "", false},
	} {
		records, ok := lookup(tt.name, tt.qtype)
		addr := ""
		for _, rr := range records {
			addr = rr.(*dns.A).A.String()
		}
		if ok != tt.ok || addr != tt.addr {
			t.Errorf("%s %s: %q, %v", tt.name, dns.TypeToString[tt.qtype], addr, ok)
		}
	}
}
