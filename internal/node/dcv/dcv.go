// Package dcv lets people in to the remote desktops of a node, which are Amazon DCV's.
//
// DCV's server is the vendor's and comes with the image. It leaves it to us to say who may
// enter a session: [Authenticator] is what it asks ("external authentication" in DCV's
// documentation), on this machine alone. [Connect] runs for a user who came by SSH: it has
// DCV make a session and fetches a token for it, which `pcluster dcv-connect` makes a URL of.
package dcv

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strconv"
	"time"
)

// Where things are on a node. ParallelCluster's users know most of them.
const (
	ConfigFile  = "/etc/dcv/dcv.conf"
	Certificate = "/etc/parallelcluster/ext-auth-certificate.pem"
	PrivateKey  = "/etc/parallelcluster/ext-auth-private-key.pem"
	// Spool is where users show who they are: anybody may make files there, and nobody
	// but their owners and the authenticator may see which.
	Spool = "/var/spool/parallelcluster/pcluster_dcv_authenticator"
	// AuthenticatorLog and ConnectLog are names in the directory of the cluster's logs.
	AuthenticatorLog = "pcluster_dcv_authenticator.log"
	ConnectLog       = "pcluster_dcv_connect.log"
)

// authenticatorPort is where the authenticator of a server listens.
func authenticatorPort(server int) int { return server + 1 }

// Address is where the authenticator of a server that listens on a port is.
func Address(server int) string {
	return net.JoinHostPort("localhost", strconv.Itoa(authenticatorPort(server)))
}

// Config returns the server's configuration. (DCV documentation: DCV Server parameter
// reference.)
func Config(port int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Written by the node program.\n\n[connectivity]\nweb-port=%d\n\n[security]\n", port)
	fmt.Fprintf(&b, "auth-token-verifier=\"https://%s\"\nca-file=\"%s\"\nno-tls-strict=true\nos-auto-lock=false\n", Address(port), Certificate)
	return b.Bytes()
}

// certificateLife is how long a certificate is good.
const certificateLife = 1825 * 24 * time.Hour

// NewCertificate returns a certificate of the authenticator's own, and its key, in PEM.
func NewCertificate(now time.Time) (certificate, key []byte, err error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		NotBefore:   now.Add(-time.Hour), NotAfter: now.Add(certificateLife), // clocks are set late in a boot
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true, // its own authority
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}

// Expires says until when a certificate is good; it is the zero time if it is none.
func Expires(certificate []byte) time.Time {
	block, _ := pem.Decode(certificate)
	if block == nil {
		return time.Time{}
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}
	}
	return c.NotAfter
}
