package ec2

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/md5" //nolint:gosec // EC2's fingerprints of imported RSA keys are MD5
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // EC2's fingerprints of its own RSA keys are SHA-1
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

func keyPairID(v *types.KeyPairInfo) string { return *v.KeyPairId }

var keyAttributes = map[string]attribute[types.KeyPairInfo]{
	"key-name":    func(v *types.KeyPairInfo) []string { return one(v.KeyName) },
	"key-pair-id": func(v *types.KeyPairInfo) []string { return one(v.KeyPairId) },
	"fingerprint": func(v *types.KeyPairInfo) []string { return one(v.KeyFingerprint) },
}

func (s *Service) keyNamed(name string) *types.KeyPairInfo {
	for _, v := range s.keys.all() {
		if *v.KeyName == name {
			return v
		}
	}
	return nil
}

// DescribeKeyPairs lists key pairs, with their public keys where asked.
func (s *Service) DescribeKeyPairs(_ context.Context, in *sdk.DescribeKeyPairsInput) (*sdk.DescribeKeyPairsOutput, error) {
	filters := in.Filters
	var unknown []string
	for _, name := range in.KeyNames {
		if s.keyNamed(name) == nil {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return nil, nounKeyPair.notFound(strings.Join(unknown, ", "))
	}
	if len(in.KeyNames) > 0 {
		filters = append(slices.Clone(filters), types.Filter{Name: aws.String("key-name"), Values: in.KeyNames})
	}
	l := of(s.keys, nounKeyPair, keyPairID, keyAttributes, func(v *types.KeyPairInfo) []types.Tag { return v.Tags })
	rows, _, err := l.describe(in.KeyPairIds, filters, nil, nil)
	if err != nil {
		return nil, err
	}
	if !aws.ToBool(in.IncludePublicKey) {
		for i := range rows {
			rows[i].PublicKey = nil
		}
	}
	return &sdk.DescribeKeyPairsOutput{KeyPairs: rows}, nil
}

// CreateKeyPair makes a key pair and hands out its private half, which nobody
// keeps.
func (s *Service) CreateKeyPair(ctx context.Context, in *sdk.CreateKeyPairInput) (*sdk.CreateKeyPairOutput, error) {
	tags, err := newTags(ctx, in.TagSpecifications, types.ResourceTypeKeyPair)
	if err != nil {
		return nil, err
	}
	if err := checkKeyName(in.KeyName); err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	// Before the lock: an RSA key takes its time.
	pair, material, err := newKeyPair(*in.KeyName, in.KeyType)
	if err != nil {
		return nil, err
	}
	pair.Tags, pair.CreateTime = tags, aws.Time(s.now().UTC())
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.putKey(pair); err != nil {
		return nil, err
	}
	return &sdk.CreateKeyPairOutput{
		KeyName: pair.KeyName, KeyPairId: pair.KeyPairId, KeyFingerprint: pair.KeyFingerprint,
		KeyMaterial: aws.String(material), Tags: tags,
	}, nil
}

func (s *Service) putKey(pair *types.KeyPairInfo) error {
	if s.keyNamed(*pair.KeyName) != nil {
		return wire.Errorf("InvalidKeyPair.Duplicate", "The keypair already exists")
	}
	return s.keys.put(*pair.KeyPairId, pair)
}

func checkKeyName(name *string) error {
	switch n := aws.ToString(name); {
	case n == "":
		return missing("KeyName")
	case len(n) > 255:
		return invalidValue("Value (%s) for parameter keyName is invalid. Length exceeds maximum of 255.", n)
	}
	return nil
}

// newKeyPair makes a key. RSA keys come as PKCS #1 and Ed25519 keys in OpenSSH's
// own format, both as PEM.
func newKeyPair(name string, kind types.KeyType) (pair *types.KeyPairInfo, material string, err error) {
	pair = &types.KeyPairInfo{KeyName: aws.String(name), KeyPairId: aws.String(region.NewID("key")), KeyType: kind}
	switch kind {
	case types.KeyTypeEd25519:
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, "", fmt.Errorf("generate key: %w", err)
		}
		wireKey := sshString(nil, []byte("ssh-ed25519"))
		wireKey = sshString(wireKey, public)
		pair.PublicKey = aws.String(authorizedKey("ssh-ed25519", wireKey, name))
		pair.KeyFingerprint = aws.String(sha256Fingerprint(wireKey))
		return pair, string(pem.EncodeToMemory(openSSHPrivate(public, private, wireKey))), nil
	case "", types.KeyTypeRsa:
		pair.KeyType = types.KeyTypeRsa
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, "", fmt.Errorf("generate key: %w", err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			return nil, "", fmt.Errorf("encode key: %w", err)
		}
		sum := sha1.Sum(der) //nolint:gosec // see the import
		pair.KeyFingerprint = aws.String(colons(sum[:]))
		pair.PublicKey = aws.String(authorizedKey("ssh-rsa", rsaWire(&private.PublicKey), name))
		block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)}
		return pair, string(pem.EncodeToMemory(block)), nil
	}
	return nil, "", invalidValue("Invalid value '%s' for keyType", kind)
}

// ImportKeyPair enters a public key that the user made.
func (s *Service) ImportKeyPair(ctx context.Context, in *sdk.ImportKeyPairInput) (*sdk.ImportKeyPairOutput, error) {
	tags, err := newTags(ctx, in.TagSpecifications, types.ResourceTypeKeyPair)
	if err != nil {
		return nil, err
	}
	if err := checkKeyName(in.KeyName); err != nil {
		return nil, err
	}
	pair, err := parsePublicKey(string(in.PublicKeyMaterial))
	if err != nil {
		return nil, err
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	pair.KeyName, pair.KeyPairId = in.KeyName, aws.String(region.NewID("key"))
	pair.Tags, pair.CreateTime = tags, aws.Time(s.now().UTC())
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.putKey(pair); err != nil {
		return nil, err
	}
	return &sdk.ImportKeyPairOutput{KeyName: pair.KeyName, KeyPairId: pair.KeyPairId, KeyFingerprint: pair.KeyFingerprint, Tags: tags}, nil
}

// parsePublicKey reads a key in the format of authorized_keys or as PEM.
func parsePublicKey(text string) (*types.KeyPairInfo, error) {
	bad := wire.Errorf("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
	text = strings.TrimSpace(text)
	if block, _ := pem.Decode([]byte(text)); block != nil {
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		rsaKey, ok := key.(*rsa.PublicKey)
		if err != nil || !ok {
			return nil, bad
		}
		text = authorizedKey("ssh-rsa", rsaWire(rsaKey), "")
	}
	fields := strings.Fields(text)
	if len(fields) < 2 {
		return nil, bad
	}
	wireKey, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return nil, bad
	}
	parts := sshStrings(wireKey)
	if len(parts) == 0 || string(parts[0]) != fields[0] {
		return nil, bad
	}
	pair := &types.KeyPairInfo{PublicKey: aws.String(strings.Join(fields, " "))}
	switch {
	case fields[0] == "ssh-ed25519" && len(parts) == 2 && len(parts[1]) == ed25519.PublicKeySize:
		pair.KeyType = types.KeyTypeEd25519
		pair.KeyFingerprint = aws.String(sha256Fingerprint(wireKey))
	case fields[0] == "ssh-rsa" && len(parts) == 3:
		key := &rsa.PublicKey{N: new(big.Int).SetBytes(parts[2]), E: int(new(big.Int).SetBytes(parts[1]).Int64())}
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return nil, bad
		}
		sum := md5.Sum(der) //nolint:gosec // see the import
		pair.KeyType = types.KeyTypeRsa
		pair.KeyFingerprint = aws.String(colons(sum[:]))
	default:
		return nil, bad
	}
	return pair, nil
}

// DeleteKeyPair forgets a key pair. One that does not exist is no error, as in EC2.
func (s *Service) DeleteKeyPair(_ context.Context, in *sdk.DeleteKeyPairInput) (*sdk.DeleteKeyPairOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pair *types.KeyPairInfo
	switch {
	case in.KeyPairId != nil:
		pair = s.keys.get(*in.KeyPairId)
	case in.KeyName != nil:
		pair = s.keyNamed(*in.KeyName)
	default:
		return nil, missing("KeyName")
	}
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	if pair == nil {
		return &sdk.DeleteKeyPairOutput{Return: aws.Bool(true)}, nil
	}
	return &sdk.DeleteKeyPairOutput{Return: aws.Bool(true), KeyPairId: pair.KeyPairId}, s.keys.delete(*pair.KeyPairId)
}

func authorizedKey(kind string, wireKey []byte, comment string) string {
	return strings.TrimSpace(kind + " " + base64.StdEncoding.EncodeToString(wireKey) + " " + comment)
}

func sha256Fingerprint(wireKey []byte) string {
	sum := sha256.Sum256(wireKey)
	return base64.StdEncoding.EncodeToString(sum[:]) // EC2 keeps the padding and has no prefix
}

func colons(sum []byte) string {
	parts := make([]string, len(sum))
	for i := range sum {
		parts[i] = hex.EncodeToString(sum[i : i+1])
	}
	return strings.Join(parts, ":")
}

// sshString appends a string in the encoding of the SSH protocol (RFC 4251).
func sshString(to, s []byte) []byte {
	return append(binary.BigEndian.AppendUint32(to, uint32(len(s))), s...)
}

// sshStrings splits what sshString joined; nil if it is not that.
func sshStrings(data []byte) [][]byte {
	var parts [][]byte
	for len(data) > 0 {
		if len(data) < 4 {
			return nil
		}
		n := int(binary.BigEndian.Uint32(data))
		if n > len(data)-4 {
			return nil
		}
		parts = append(parts, data[4:4+n])
		data = data[4+n:]
	}
	return parts
}

func rsaWire(key *rsa.PublicKey) []byte {
	positive := func(n *big.Int) []byte {
		b := n.Bytes()
		if len(b) > 0 && b[0] >= 0x80 {
			return append([]byte{0}, b...)
		}
		return b
	}
	out := sshString(nil, []byte("ssh-rsa"))
	out = sshString(out, positive(big.NewInt(int64(key.E))))
	return sshString(out, positive(key.N))
}

// openSSHPrivate encodes a key as ssh-keygen writes it, without a passphrase.
func openSSHPrivate(public ed25519.PublicKey, private crypto.PrivateKey, wireKey []byte) *pem.Block {
	check := make([]byte, 4)
	_, _ = rand.Read(check) // never fails
	secret := slices.Concat(check, check)
	secret = sshString(secret, []byte("ssh-ed25519"))
	secret = sshString(secret, public)
	secret = sshString(secret, private.(ed25519.PrivateKey))
	secret = sshString(secret, nil) // comment
	for pad := byte(1); len(secret)%8 != 0; pad++ {
		secret = append(secret, pad)
	}
	out := []byte("openssh-key-v1\x00")
	out = sshString(out, []byte("none"))
	out = sshString(out, []byte("none"))
	out = sshString(out, nil)
	out = binary.BigEndian.AppendUint32(out, 1)
	out = sshString(out, wireKey)
	return &pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: sshString(out, secret)}
}
