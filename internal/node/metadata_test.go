package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// metadataHost is a machine with a packet filter that has no hooks yet.
func metadataHost(t *testing.T) (*Host, *[]string) {
	h, ran := testHost(t)
	for _, p := range []string{"/usr/sbin/iptables", "/usr/sbin/ip6tables", "/proc/net/if_inet6"} {
		put(t, h, p, "")
	}
	uids := map[string]string{"root": "0", "pcluster-admin": "400", "ec2-user": "1000", "alice": "2001", "bob": "2002"}
	h.Run = func(_ context.Context, name string, args ...string) (string, error) {
		*ran = append(*ran, strings.Join(append([]string{name}, args...), " "))
		switch {
		case name == "id" && uids[args[1]] == "":
			return "", fmt.Errorf("id: no such user")
		case name == "id":
			return uids[args[1]] + "\n", nil
		case args[0] == "--check":
			return "", fmt.Errorf("no such rule")
		}
		return "", nil
	}
	return h, ran
}

func rules(chain ...string) string {
	text := "*filter\n:PARALLELCLUSTER_IMDS - [0:0]\n"
	for _, r := range chain {
		text += "-A PARALLELCLUSTER_IMDS " + r + "\n"
	}
	return text + "COMMIT\n"
}

func TestUsersAreKeptFromTheMetadataService(t *testing.T) {
	h, ran := metadataHost(t)
	if err := h.protectMetadata(t.Context(), "root", "pcluster-admin", "ec2-user"); err != nil {
		t.Fatal(err)
	}
	want := rules("-m owner --uid-owner 0 -j ACCEPT", "-m owner --uid-owner 400 -j ACCEPT", "-m owner --uid-owner 1000 -j ACCEPT", "-j REJECT")
	for _, f := range families() {
		if got := get(t, h, f.rules); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", f.rules, got, want)
		}
		for _, command := range []string{
			f.filter + "-restore --noflush " + h.path(f.rules),
			f.filter + " --insert OUTPUT --destination " + f.address + " --jump PARALLELCLUSTER_IMDS",
		} {
			if !slices.Contains(*ran, command) {
				t.Errorf("%q was not run, but %q", command, *ran)
			}
		}
	}
	if !h.exists(metadataScript) {
		t.Error("there is no " + metadataScript)
	}
}

func TestAdministratorsSayWhoReachesTheMetadataService(t *testing.T) {
	h, ran := metadataHost(t)
	for _, step := range []struct {
		args string
		want string
	}{
		{"--allow root,alice", rules("-m owner --uid-owner 0 -j ACCEPT", "-m owner --uid-owner 2001 -j ACCEPT", "-j REJECT")},
		{"--deny alice,bob", rules("-m owner --uid-owner 0 -j ACCEPT", "-m owner --uid-owner 2001 -j REJECT", "-m owner --uid-owner 2002 -j REJECT", "-j REJECT")},
		{"--unset alice", rules("-m owner --uid-owner 0 -j ACCEPT", "-m owner --uid-owner 2002 -j REJECT", "-j REJECT")},
		{"--flush", rules()},
		{"--unset bob", rules()},
	} {
		if err := metadataAccess(t.Context(), h, strings.Fields(step.args)); err != nil {
			t.Fatalf("%s: %v", step.args, err)
		}
		if got := get(t, h, metadataRules); got != step.want {
			t.Errorf("after %s:\n%s\nwant\n%s", step.args, got, step.want)
		}
	}
	before := get(t, h, metadataRules)
	*ran = nil
	for _, bad := range []string{"", "--allow", "--allow a b", "--flush x", "--open alice", "--allow nobody-here"} {
		if err := metadataAccess(t.Context(), h, strings.Fields(bad)); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
	if get(t, h, metadataRules) != before {
		t.Error("a mistake changed the rules")
	}
}

func TestAnImageWithoutPacketFilterIsNamed(t *testing.T) {
	h, _ := testHost(t)
	h.Run = func(context.Context, string, ...string) (string, error) { return "0\n", nil }
	err := h.protectMetadata(t.Context(), "root")
	if err == nil || !strings.Contains(err.Error(), "iptables") || !strings.Contains(err.Error(), "Imds/Secured") {
		t.Errorf("error: %v", err)
	}
}

func TestMetadataRulesAreReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p metadataPolicy
		for range rapid.IntRange(0, 6).Draw(t, "steps") {
			uids := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 3).Draw(t, "users")
			switch allow := rapid.Bool().Draw(t, "allow"); {
			case rapid.Bool().Draw(t, "unset"):
				p = p.unset(uids...)
			default:
				p = p.set(allow, uids...)
				for _, u := range uids {
					if i := slices.IndexFunc(p, func(r metadataRule) bool { return r.uid == u }); i < 0 || p[i].allow != allow {
						t.Fatalf("user %d: not as asked in %v", u, p)
					}
				}
			}
		}
		for i, r := range p {
			if slices.ContainsFunc(p[:i], func(o metadataRule) bool { return o.uid == r.uid }) {
				t.Fatalf("two rules for user %d: %v", r.uid, p)
			}
		}
		got, err := parseMetadataPolicy(p.restore(rapid.Bool().Draw(t, "closed")))
		if err != nil || !slices.Equal(got, p) {
			t.Fatalf("%v became %v, %v", p, got, err)
		}
	})
}
