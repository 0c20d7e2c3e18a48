//go:build linux

package machine

import (
	"bytes"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Where Debian keeps trusted certificates.
const (
	trustDir     = "/etc/ssl/certs"
	trustBundle  = trustDir + "/ca-certificates.crt"
	trustSources = "/usr/local/share/ca-certificates"
	trustName    = "sandbox-region" // of the region's certificate
)

// trust makes the root file system of the calling thread trust a certificate. It
// does what update-ca-certificates would do, which takes half a second to find out
// that nothing else has changed.
func trust(certPEM []byte) error {
	if len(certPEM) == 0 {
		return nil
	}
	block, _ := pem.Decode(certPEM)
	if block == nil {
		return errors.New("the region's certificate is not PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("the region's certificate: %w", err)
	}
	hash, err := subjectHash(cert)
	if err != nil {
		return err
	}
	for _, path := range []string{trustSources + "/" + trustName + ".crt", trustDir + "/" + trustName + ".pem"} {
		if err := (File{Path: path, Mode: 0o644, Content: certPEM}).write(); err != nil {
			return err
		}
	}
	link := trustDir + "/" + hash + ".0"
	_ = os.Remove(link)
	if err := os.Symlink(trustName+".pem", link); err != nil {
		return err
	}
	bundle, err := os.ReadFile(trustBundle)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(bundle) > 0 && !bytes.HasSuffix(bundle, []byte("\n")) {
		bundle = append(bundle, '\n')
	}
	return File{Path: trustBundle, Mode: 0o644, Content: append(bundle, certPEM...)}.write()
}

// subjectHash returns the name under which OpenSSL looks for a certificate in a
// directory: a digest of the subject in a canonical form, in which texts are UTF-8
// in lower case with single spaces.
func subjectHash(cert *x509.Certificate) (string, error) {
	var names []asn1.RawValue // RDNs: sets of sequences of OID and value
	if _, err := asn1.Unmarshal(cert.RawSubject, &names); err != nil {
		return "", fmt.Errorf("subject of the certificate: %w", err)
	}
	h := sha1.New()
	for _, rdn := range names {
		var attrs []struct {
			Type  asn1.ObjectIdentifier
			Value asn1.RawValue
		}
		if _, err := asn1.UnmarshalWithParams(rdn.FullBytes, &attrs, "set"); err != nil {
			return "", fmt.Errorf("subject of the certificate: %w", err)
		}
		for i := range attrs {
			v := &attrs[i].Value
			switch v.Tag {
			case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagT61String, asn1.TagIA5String:
				text := strings.ToLower(strings.Join(strings.Fields(string(v.Bytes)), " "))
				*v = asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(text)}
			}
		}
		der, err := asn1.MarshalWithParams(attrs, "set")
		if err != nil {
			return "", err
		}
		h.Write(der)
	}
	return fmt.Sprintf("%08x", binary.LittleEndian.Uint32(h.Sum(nil))), nil
}
