//go:build linux

package sandbox

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/miekg/dns"

	"pcluster/internal/sandbox/image"
	"pcluster/internal/sandbox/outside"
	"pcluster/internal/sandbox/vpc"
)

// openOutside makes the gateway by which machines get out. Without being asked the
// region lets them reach the mirrors of packages only: what else a cluster's scripts
// would do in the world is for the production cluster to do.
func (r *Region) openOutside(ctx context.Context) error {
	mirrors, err := image.Mirrors()
	if err != nil {
		return err
	}
	proxies := image.AptProxies(ctx)
	proxy := func(u *url.URL) (*url.URL, error) {
		if by, err := http.ProxyFromEnvironment(&http.Request{URL: u}); err != nil || by != nil {
			return by, err
		}
		return proxies.For(u)
	}
	exists := func(name string) bool {
		if by, err := proxy(&url.URL{Scheme: "https", Host: name}); err != nil || by != nil {
			return true // the proxy knows
		}
		return hostKnows(ctx, name)
	}
	r.outside = outside.New(outside.Config{
		Names: outside.Names{Some: mirrors, All: r.settings.Internet, Exists: exists}, Way: r.ec2.Outward, Proxy: proxy, Log: r.log,
	})
	return nil
}

// hostKnows says whether this host knows a name, or can't tell.
func hostKnows(ctx context.Context, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := net.DefaultResolver.LookupHost(ctx, name)
	dnsErr, failed := errors.AsType[*net.DNSError](err)
	return !failed || !dnsErr.IsNotFound
}

// listenOutside opens the gateway's doors inside the region.
func (r *Region) listenOutside(ctx context.Context, srv *servers) error {
	plain, err := r.net.Listen("tcp", vpc.OutsideAddr+":80")
	if err != nil {
		return err
	}
	srv.start(plain, r.outside, func(net.Listener) context.Context { return ctx })
	secure, err := r.net.Listen("tcp", vpc.OutsideAddr+":443")
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { secure.Close() })
	go func() {
		if err := r.outside.ServeTLS(ctx, secure); err != nil {
			r.log.Error("machines do not get out by HTTPS any more", "err", err)
		}
	}()
	return nil
}

// outsideNames are the names that machines may reach, in the region's DNS.
func (r *Region) outsideNames() vpc.Source {
	lookup := r.outside.Lookup(netip.MustParseAddr(vpc.OutsideAddr))
	return lookupFunc(func(name string, qtype uint16, _ netip.Addr) ([]dns.RR, bool) { return lookup(name, qtype) })
}

// hostTrust are the directories of what a host was made to trust: Debian's and its
// relatives', Red Hat's and theirs.
var hostTrust = []string{"/usr/local/share/ca-certificates", "/etc/pki/ca-trust/source/anchors"}

// hostAuthorities returns the certificates in directories of a host, such as that of a
// proxy which looks into TLS: machines that get out by this host meet it, too.
func hostAuthorities(dirs ...string) []byte {
	var files []string
	for _, dir := range dirs {
		for _, pattern := range []string{"*.crt", "*.pem"} {
			found, _ := filepath.Glob(filepath.Join(dir, pattern)) // the pattern is one
			files = append(files, found...)
		}
	}
	var all []byte
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // the host does not trust it, either
		}
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			if _, err := x509.ParseCertificate(block.Bytes); err == nil {
				all = append(all, pem.EncodeToMemory(block)...)
			}
		}
	}
	return all
}
