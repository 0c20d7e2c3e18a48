package machine

import (
	"net/netip"
	"testing"
)

func TestExported(t *testing.T) {
	const table = `# all of it
/home 10.0.0.0/16(rw,sync,no_root_squash) 192.168.0.0/255.255.0.0(ro)
/opt/slurm -sync,no_subtree_check *.ec2.internal(rw) 10.0.0.7(ro)
"/with space" *(rw)
/tab\040too *(rw)
/long \
   10.0.1.9(rw)
/everyone
/data *(ro)
/data/scratch *(rw)
`
	for name, tt := range map[string]struct {
		dir, client string
		name        string
		want        string // rw, ro, or no
	}{
		"in the range":                            {"/home", "10.0.3.4", "", "rw"},
		"below an export":                         {"/home/alice/", "10.0.3.4", "", "rw"},
		"beside an export with a longer name":     {"/homes", "10.0.3.4", "", "no"},
		"out of the export":                       {"/home/../etc", "10.0.3.4", "", "no"},
		"range with a mask":                       {"/home", "192.168.9.9", "", "ro"},
		"stranger":                                {"/home", "172.16.0.1", "", "no"},
		"name with a wildcard, options by dash":   {"/opt/slurm", "10.0.0.8", "ip-10-0-0-8.ec2.internal", "rw"},
		"an address is more specific than a name": {"/opt/slurm", "10.0.0.7", "ip-10-0-0-7.ec2.internal", "ro"},
		"another domain":                          {"/opt/slurm", "10.0.0.8", "host.example.com", "no"},
		"quoted":                                  {"/with space", "10.0.0.1", "", "rw"},
		"octal":                                   {"/tab too", "10.0.0.1", "", "rw"},
		"continued line":                          {"/long", "10.0.1.9", "", "rw"},
		"no client is every client, to read":      {"/everyone", "10.0.1.9", "", "ro"},
		"the deepest export decides":              {"/data/scratch/x", "10.0.1.9", "", "rw"},
		"above it the other":                      {"/data/x", "10.0.1.9", "", "ro"},
	} {
		t.Run(name, func(t *testing.T) {
			readOnly, ok := exported(parseExports(table), tt.dir, netip.MustParseAddr(tt.client), []string{tt.name})
			got := "rw"
			switch {
			case !ok:
				got = "no"
			case readOnly:
				got = "ro"
			}
			if got != tt.want {
				t.Errorf("%s to %s: %s, want %s", tt.dir, tt.client, got, tt.want)
			}
		})
	}
}
