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

// trust makes the root file system of the calling thread trust certificates: the
// region's, which is the first, and those by which the host trusts what is between it
// and the world. It does what update-ca-certificates would do, which takes half a
// second to find out that nothing else has changed.
func trust(certsPEM []byte) error {
	name := trustName
	for i, rest := 1, certsPEM; len(bytes.TrimSpace(rest)) > 0; i++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return errors.New("a certificate for machines to trust is not PEM")
		}
		if err := trustOne(name, block); err != nil {
			return fmt.Errorf("certificate %d for machines to trust: %w", i, err)
		}
		name = fmt.Sprintf("%s-host-%d", trustName, i)
	}
	if len(certsPEM) == 0 {
		return nil
	}
	bundle, err := os.ReadFile(trustBundle)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(bundle) > 0 && !bytes.HasSuffix(bundle, []byte("\n")) {
		bundle = append(bundle, '\n')
	}
	return File{Path: trustBundle, Mode: 0o644, Content: append(bundle, certsPEM...)}.write()
}

func trustOne(name string, block *pem.Block) error {
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	hash, err := subjectHash(cert)
	if err != nil {
		return err
	}
	for _, path := range []string{trustSources + "/" + name + ".crt", trustDir + "/" + name + ".pem"} {
		if err := (File{Path: path, Mode: 0o644, Content: pem.EncodeToMemory(block)}).write(); err != nil {
			return err
		}
	}
	link := trustDir + "/" + hash + ".0"
	_ = os.Remove(link)
	return os.Symlink(name+".pem", link)
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
