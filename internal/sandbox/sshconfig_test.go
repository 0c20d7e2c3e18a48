package sandbox

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHostPatterns(t *testing.T) {
	for network, want := range map[string][]string{
		"10.0.0.0/16":    {"10.0.*"},
		"10.0.1.0/24":    {"10.0.1.*"},
		"10.0.16.0/22":   {"10.0.16.*", "10.0.17.*", "10.0.18.*", "10.0.19.*"},
		"10.0.1.8/30":    {"10.0.1.8", "10.0.1.9", "10.0.1.10", "10.0.1.11"},
		"203.0.113.7/32": {"203.0.113.7"},
	} {
		if diff := cmp.Diff(want, hostPatterns(netip.MustParsePrefix(network))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", network, diff)
		}
	}
}
