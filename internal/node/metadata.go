package node

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// The instance metadata service hands out the credentials of the node's role, which
// may do far more than a user of the cluster. Head and login nodes keep users from it
// by a chain of packet filter rules, which goes by the sender's user.
const (
	metadataChain  = "PARALLELCLUSTER_IMDS"
	metadataScript = "/opt/parallelcluster/scripts/imds/imds-access.sh"
	metadataRules  = "/etc/parallelcluster/sysconfig/iptables.rules"
	metadataRules6 = "/etc/parallelcluster/sysconfig/ip6tables.rules"
)

// A family is a version of IP, with its packet filter and the service's address there.
type family struct {
	filter  string // iptables or ip6tables
	address string
	rules   string // what the node begins with after a restart
}

func families() []family {
	return []family{
		{"iptables", "169.254.169.254", metadataRules},
		{"ip6tables", "fd00:ec2::254", metadataRules6},
	}
}

// A metadataRule lets a user reach the service, or not. Users are numbers: names may
// come from a directory that is not there yet when the rules are restored.
type metadataRule struct {
	uid   int
	allow bool
}

// A metadataPolicy says who reaches the service: the first rule of a user decides, and
// who has none is refused. Without rules the service is open to everybody.
type metadataPolicy []metadataRule

// set returns the policy in which users are allowed or refused, whatever they were before.
func (p metadataPolicy) set(allow bool, uids ...int) metadataPolicy {
	p = p.unset(uids...)
	for _, uid := range uids {
		if !slices.Contains(p, metadataRule{uid, allow}) {
			p = append(p, metadataRule{uid, allow})
		}
	}
	return p
}

// unset returns the policy without rules for users. Those who had none but these are
// refused from now on, as all others.
func (p metadataPolicy) unset(uids ...int) metadataPolicy {
	return slices.DeleteFunc(slices.Clone(p), func(r metadataRule) bool { return slices.Contains(uids, r.uid) })
}

// restore returns the policy in the form that iptables-restore reads, with closed
// telling whether those without a rule are refused.
func (p metadataPolicy) restore(closed bool) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "*filter\n:%s - [0:0]\n", metadataChain)
	for _, r := range p {
		verdict := "REJECT"
		if r.allow {
			verdict = "ACCEPT"
		}
		fmt.Fprintf(&b, "-A %s -m owner --uid-owner %d -j %s\n", metadataChain, r.uid, verdict)
	}
	if closed {
		fmt.Fprintf(&b, "-A %s -j REJECT\n", metadataChain)
	}
	b.WriteString("COMMIT\n")
	return b.Bytes()
}

// parseMetadataPolicy reads what restore wrote.
func parseMetadataPolicy(rules []byte) (p metadataPolicy, err error) {
	lines := bufio.NewScanner(bytes.NewReader(rules))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) != 8 || words[0] != "-A" || words[4] != "--uid-owner" {
			continue
		}
		uid, err := strconv.Atoi(words[5])
		if err != nil {
			return nil, fmt.Errorf("rule %q: %w", lines.Text(), err)
		}
		p = append(p, metadataRule{uid, words[7] == "ACCEPT"})
	}
	return p, lines.Err()
}

// protectMetadata leaves the metadata service of this node to its administrators.
func (h *Host) protectMetadata(ctx context.Context, users ...string) error {
	if err := h.installMetadataScript(); err != nil {
		return err
	}
	uids, err := h.uids(ctx, users)
	if err != nil {
		return err
	}
	return h.setMetadataPolicy(ctx, metadataPolicy(nil).set(true, uids...), true)
}

func (h *Host) installMetadataScript() error {
	return h.write(metadataScript, 0o744, rootUser, []byte("#!/bin/sh\nexec "+Program+" imds-access \"$@\"\n"))
}

// setMetadataPolicy writes the rules down, for the next start of the machine, and has
// the kernel keep them.
func (h *Host) setMetadataPolicy(ctx context.Context, p metadataPolicy, closed bool) error {
	for _, f := range families() {
		if err := h.write(f.rules, 0o600, rootUser, p.restore(closed)); err != nil {
			return err
		}
	}
	return h.restoreMetadata(ctx)
}

// restoreMetadata has the kernel keep the rules that were written down.
func (h *Host) restoreMetadata(ctx context.Context) error {
	for _, f := range families() {
		if f.filter == "ip6tables" && !h.exists("/proc/net/if_inet6") {
			continue
		}
		if !h.has(f.filter) {
			return fmt.Errorf("the image has no %s, which keeps users from the instance metadata service: "+
				"install the package iptables in it, or, for the head node, set HeadNode/Imds/Secured to false", f.filter)
		}
		if _, err := h.Run(ctx, f.filter+"-restore", "--noflush", h.path(f.rules)); err != nil {
			return err
		}
		hook := []string{"OUTPUT", "--destination", f.address, "--jump", metadataChain}
		if _, err := h.Run(ctx, f.filter, append([]string{"--check"}, hook...)...); err == nil {
			continue
		}
		if _, err := h.Run(ctx, f.filter, append([]string{"--insert"}, hook...)...); err != nil {
			return err
		}
	}
	return nil
}

// uids returns the numbers of users, who may be a directory's.
func (h *Host) uids(ctx context.Context, users []string) ([]int, error) {
	var uids []int
	for _, u := range users {
		out, err := h.Run(ctx, "id", "-u", u)
		if err != nil {
			return nil, fmt.Errorf("no user %s: %w", u, err)
		}
		uid, err := strconv.Atoi(strings.TrimSpace(out))
		if err != nil {
			return nil, err
		}
		uids = append(uids, uid)
	}
	return uids, nil
}

const metadataUsage = `usage: imds-access.sh OPTION

  --allow USER,...   let users reach the instance metadata service, and keep it from all who are not allowed
  --deny USER,...    keep it from users
  --unset USER,...   remove the rules of users
  --flush            let everybody reach it
  --restore          have the kernel keep the rules that hold, as at the start of the machine
`

// metadataAccess is what administrators call as imds-access.sh.
func metadataAccess(ctx context.Context, h *Host, args []string) error {
	if len(args) == 0 || len(args) > 2 {
		return errors.New(metadataUsage)
	}
	option := args[0]
	switch {
	case option == "--flush" && len(args) == 1:
		return h.setMetadataPolicy(ctx, nil, false)
	case option == "--restore" && len(args) == 1:
		return h.restoreMetadata(ctx)
	case !slices.Contains([]string{"--allow", "--deny", "--unset"}, option) || len(args) != 2:
		return errors.New(metadataUsage)
	}
	if os.Geteuid() != 0 {
		return errors.New("only root may change who reaches the instance metadata service")
	}
	return h.changeMetadata(ctx, option, strings.Split(args[1], ",")...)
}

// changeMetadata allows or refuses users, or removes their rules, as the option says.
func (h *Host) changeMetadata(ctx context.Context, option string, users ...string) error {
	old, err := h.read(metadataRules)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	p, err := parseMetadataPolicy(old)
	if err != nil {
		return fmt.Errorf("%s: %w", metadataRules, err)
	}
	uids, err := h.uids(ctx, users)
	if err != nil {
		return err
	}
	if option == "--unset" {
		closed := bytes.Contains(old, []byte("-A "+metadataChain+" -j REJECT"))
		return h.setMetadataPolicy(ctx, p.unset(uids...), closed)
	}
	return h.setMetadataPolicy(ctx, p.set(option == "--allow", uids...), true)
}
