package node

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pcluster/internal/config"
	"pcluster/internal/node/dcv"
)

// desktopHost is a machine whose image has DCV's server.
func desktopHost(t *testing.T) (*Host, *[]string) {
	h, ran := testHost(t)
	put(t, h, "/usr/bin/dcv", "")
	put(t, h, "/usr/lib/systemd/system/"+unitDesktop, "")
	return h, ran
}

func TestDesktopsAreSetUp(t *testing.T) {
	h, ran := desktopHost(t)
	if err := h.desktop(t.Context(), "HeadNode.Dcv", config.Dcv{Enabled: true, Port: 9000}, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"useradd -u 403 -g dcvextauth -d /home/dcvextauth -M -s /bin/bash dcvextauth",
		"systemctl restart pcluster_dcv_authenticator.service", "systemctl restart dcvserver.service",
	} {
		if !slices.Contains(*ran, want) {
			t.Errorf("%s was not run: %v", want, *ran)
		}
	}
	if got := get(t, h, dcv.ConfigFile); !strings.Contains(got, "web-port=9000\n") || !strings.Contains(got, `"https://localhost:9001"`) {
		t.Errorf("%s:\n%s", dcv.ConfigFile, got)
	}
	if got := get(t, h, unitDir+unitAuth); !strings.Contains(got, "ExecStart="+Program+" dcv-authenticator\nUser=dcvextauth\n") {
		t.Errorf("%s:\n%s", unitAuth, got)
	}
	for path, mode := range map[string]os.FileMode{
		desktopScript: 0o755, dcv.PrivateKey: 0o600, dcv.Certificate: 0o644, dcv.ConfigFile: 0o644, dcv.Spool: os.ModeDir | os.ModeSticky | 0o733,
		"/var/log/parallelcluster/pcluster_dcv_connect.log": 0o666,
	} {
		if info, err := os.Stat(h.path(path)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v, want mode %v", path, info, err, mode)
		}
	}
}

func TestTheDesktopsServerMayUseTheNodesRole(t *testing.T) {
	for name, tt := range map[string]struct {
		users   string
		guarded bool
		want    bool
	}{
		"where users are kept from it": {"dcv:x:995:995::/:/bin/sh\n", true, true},
		"where they are not":           {"dcv:x:995:995::/:/bin/sh\n", false, false},
		"if it has a user":             {"", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			h, ran := desktopHost(t)
			put(t, h, "/etc/passwd", tt.users)
			put(t, h, "/usr/sbin/iptables", "")
			run := h.Run
			h.Run = func(ctx context.Context, name string, args ...string) (string, error) {
				if name == "id" {
					return "995\n", nil
				}
				return run(ctx, name, args...)
			}
			if err := h.desktop(t.Context(), "HeadNode.Dcv", config.Dcv{Enabled: true, Port: 8443}, tt.guarded); err != nil {
				t.Fatal(err)
			}
			if h.exists(metadataRules) != tt.want || tt.want && !strings.Contains(get(t, h, metadataRules), "--uid-owner 995 -j ACCEPT") {
				t.Errorf("ran %v", *ran)
			}
		})
	}
}

func TestNodesWithoutDCVSayWhatIsMissing(t *testing.T) {
	h, ran := testHost(t)
	err := h.desktop(t.Context(), "HeadNode.Dcv", config.Dcv{Enabled: true, Port: 8443}, true)
	if err == nil || !strings.HasPrefix(err.Error(), "HeadNode.Dcv.Enabled needs Amazon DCV, which this AMI does not have") || len(*ran) > 0 {
		t.Errorf("got %v, ran %v", err, *ran)
	}
}

func TestTheAuthenticatorsCertificateIsMadeInTime(t *testing.T) {
	h, _ := testHost(t)
	now := time.Now()
	made := func(at time.Time) string {
		t.Helper()
		if err := h.desktopCertificate(at); err != nil {
			t.Fatal(err)
		}
		return get(t, h, dcv.Certificate)
	}
	first := made(now)
	if made(now.AddDate(4, 0, 0)) != first {
		t.Error("another one is made while the first is good")
	}
	if made(now.AddDate(4, 11, 0)) == first {
		t.Error("none is made when the first is about to end")
	}
}

func TestThePortOfDesktopsIsAnAttribute(t *testing.T) {
	h, _ := testHost(t)
	for text, want := range map[string]int{`{"cluster": {"dcv_port": 8443}}`: 8443, `{"cluster": {"dcv_port": "NONE"}}`: 0, `{"cluster": {}}`: 0} {
		put(t, h, attributesFile, text)
		if got, err := h.desktopPort(); got != want || (err == nil) != (want > 0) {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
}
