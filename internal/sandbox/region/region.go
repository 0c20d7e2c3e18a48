// Package region is what every service of the sandbox knows of where it runs:
// the name of the region, the account, and how identifiers and ARNs look there.
package region

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"sync"
)

// Defaults of a region that nobody named.
const (
	DefaultName    = "us-east-1"
	DefaultAccount = "111122223333"
)

// Partition is the only AWS partition that the sandbox plays.
const Partition = "aws"

// An Identity is the region's name and account. It is shared by all services and
// may change only while the region is empty: the first adopted cluster file
// decides, so that the ARNs in that file come true.
type Identity struct {
	mu            sync.RWMutex
	name, account string
}

// NewIdentity returns an identity; empty arguments mean the defaults.
func NewIdentity(name, account string) *Identity {
	id := &Identity{name: DefaultName, account: DefaultAccount}
	id.Set(name, account)
	return id
}

// Set replaces what is not empty.
func (i *Identity) Set(name, account string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if name != "" {
		i.name = name
	}
	if account != "" {
		i.account = account
	}
}

// Name returns the region's name, such as us-east-1.
func (i *Identity) Name() string {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.name
}

// Account returns the twelve digits of the account.
func (i *Identity) Account() string {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.account
}

// AZs returns the names of the region's availability zones.
func (i *Identity) AZs() []string {
	n := i.Name()
	return []string{n + "a", n + "b", n + "c"}
}

// ARN returns arn:aws:service:region:account:resource.
func (i *Identity) ARN(service, resource string) string {
	return "arn:" + Partition + ":" + service + ":" + i.Name() + ":" + i.Account() + ":" + resource
}

// GlobalARN returns an ARN without a region, as IAM's are.
func (i *Identity) GlobalARN(service, resource string) string {
	return "arn:" + Partition + ":" + service + "::" + i.Account() + ":" + resource
}

// NewID returns a fresh identifier in EC2's long form: the prefix, a dash, 17
// hexadecimal digits.
func NewID(prefix string) string { return prefix + "-0" + Hex(16) }

// Hex returns n random hexadecimal digits.
func Hex(n int) string {
	b := make([]byte, (n+1)/2)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)[:n]
}

// NewMungeKey returns a fresh munge key as Secrets Manager holds it for a
// cluster: base64 of 128 random bytes.
func NewMungeKey() string {
	b := make([]byte, 128)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return base64.StdEncoding.EncodeToString(b)
}
