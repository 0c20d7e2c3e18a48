//go:build linux

package sandbox

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// hostBundle is where Debian keeps the certificates that the host trusts.
const hostBundle = "/etc/ssl/certs/ca-certificates.crt"

// An authority is the region's own certification authority. Its key never leaves
// the region's home; machines and clients get the certificate only.
type authority struct {
	cert    *x509.Certificate
	certPEM []byte
	key     *ecdsa.PrivateKey

	mu     sync.Mutex
	leaves map[string]*tls.Certificate
}

// openAuthority reads the authority of a region, or makes it, and writes the
// bundle that clients use.
func openAuthority(h Home) (*authority, error) {
	certPEM, err := os.ReadFile(h.path("ca.pem"))
	keyPEM, keyErr := os.ReadFile(h.path("ca.key"))
	if errors.Is(errors.Join(err, keyErr), fs.ErrNotExist) {
		if certPEM, keyPEM, err = newAuthority(h); err != nil {
			return nil, fmt.Errorf("make the region's certification authority: %w", err)
		}
	} else if err := errors.Join(err, keyErr); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("read the region's certification authority: %w", err)
	}
	a := &authority{certPEM: certPEM, key: pair.PrivateKey.(*ecdsa.PrivateKey), leaves: map[string]*tls.Certificate{}}
	if a.cert, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
		return nil, err
	}
	host, err := os.ReadFile(hostBundle)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return a, os.WriteFile(h.CABundle(), append(bytes.TrimRight(host, "\n"), append([]byte("\n"), certPEM...)...), 0o644)
}

func newAuthority(h Home) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "pcluster sandbox " + h.Namespace()},
		NotBefore:             time.Now().Add(-24 * time.Hour),
		NotAfter:              time.Now().AddDate(10, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	return certPEM, keyPEM, errors.Join(
		os.WriteFile(h.path("ca.key"), keyPEM, 0o600),
		os.WriteFile(h.path("ca.pem"), certPEM, 0o644),
	)
}

func serial() *big.Int {
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // never fails (crypto/rand)
	return n
}

// config serves TLS for the loopback addresses and for every AWS name that a
// client asks for, as the interface endpoints of a VPC do.
func (a *authority) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			name := strings.ToLower(hello.ServerName)
			switch {
			case name == "", name == "localhost":
				name = "localhost"
			case strings.HasSuffix(name, ".amazonaws.com"):
			default:
				return nil, fmt.Errorf("no certificate for %q: the region plays amazonaws.com only", name)
			}
			return a.leaf(name)
		},
	}
}

// leaf returns a certificate for the name, made at first use. Certificates live
// in memory: making one takes less than a millisecond.
func (a *authority) leaf(name string) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c, ok := a.leaves[name]; ok {
		return c, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{name},
	}
	if name == "localhost" {
		tmpl.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	a.leaves[name] = c
	return c, nil
}
