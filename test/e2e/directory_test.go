//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// directoryServer makes a machine an LDAP server with one user in it.
const directoryServer = `#!/bin/bash
set -eu
export DEBIAN_FRONTEND=noninteractive
debconf-set-selections <<'END'
slapd slapd/no_configuration boolean false
slapd slapd/domain string corp.example
slapd shared/organization string corp
slapd slapd/password1 password a-secret
slapd slapd/password2 password a-secret
END
apt-get -q update
apt-get -q -y --no-install-recommends install slapd ldap-utils
ldapadd -x -D cn=admin,dc=corp,dc=example -w a-secret <<'END'
dn: cn=physics,dc=corp,dc=example
objectClass: posixGroup
cn: physics
gidNumber: 5000

dn: uid=alice,dc=corp,dc=example
objectClass: account
objectClass: posixAccount
uid: alice
cn: Alice
uidNumber: 5001
gidNumber: 5000
homeDirectory: /home/alice
loginShell: /bin/bash
END
`

// TestDirectory has a real LDAP server in the region's network, and a cluster whose
// head and compute nodes know its user, who runs a job.
func TestDirectory(t *testing.T) {
	r := startRegion(t)
	file := filepath.Join(root, "test", "e2e", "testdata", "directory.yaml")
	r.must(t, "pcluster", "sandbox", "adopt", "-c", file)
	r.must(t, "aws", "secretsmanager", "put-secret-value", "--secret-string", "a-secret",
		"--secret-id", "arn:aws:secretsmanager:us-east-1:111122223333:secret:directory-AbCdEf")

	script := filepath.Join(r.work, "directory.sh")
	if err := os.WriteFile(script, []byte(directoryServer), 0o644); err != nil {
		t.Fatal(err)
	}
	one := func(args ...string) string { return strings.TrimSpace(r.must(t, append(args, "--output", "text")...)) }
	vpc := one("aws", "ec2", "describe-subnets", "--subnet-ids", "subnet-0aaaaaaaaaaaaaaaa", "--query", "Subnets[0].VpcId")
	group := one("aws", "ec2", "create-security-group", "--group-name", "ldap", "--description", "LDAP", "--vpc-id", vpc, "--query", "GroupId")
	r.must(t, "aws", "ec2", "authorize-security-group-ingress", "--group-id", group, "--protocol", "tcp", "--port", "389", "--cidr", "10.0.0.0/8")
	server := one("aws", "ec2", "run-instances", "--image-id", "ami-0123456789abcdef0", "--instance-type", "t3.small", "--subnet-id", "subnet-0aaaaaaaaaaaaaaaa",
		"--private-ip-address", "10.0.1.200", "--security-group-ids", group, "--user-data", "file://"+script, "--query", "Instances[0].InstanceId")
	eventually(t, 120*time.Second, "the directory answers", func() bool {
		return r.run(t, "pcluster", "sandbox", "exec", "bash", "-c", "</dev/tcp/10.0.1.200/389").code == 0
	})

	r.must(t, "pcluster", "create-cluster", "-n", "people", "-c", file, "--wait")
	c := r.enter(t, "people", filepath.Join(r.home, "keys", "directory-key.pem"), "ubuntu")
	eventually(t, 30*time.Second, "the head node knows the directory's user", func() bool {
		out := c.ssh(t, "id alice")
		return out.code == 0 && strings.TrimSpace(out.stdout) == "uid=5001(alice) gid=5000(physics) groups=5000(physics)"
	})
	// The home is made at the first login; su is one.
	if got := c.head(t, `sudo su - alice -c 'pwd; srun -p work sh -c "id -un; id -gn; pwd"'`); got != "/home/alice\nalice\nphysics\n/home/alice" {
		t.Errorf("alice's job says %q", got)
	}
	// They hold the password. SSSD itself gives its group the right to read its own.
	for _, file := range []string{"/etc/sssd/sssd.conf", "/opt/parallelcluster/shared/directory_service/sssd.conf"} {
		if mode := c.head(t, "sudo stat -c %a "+file); !strings.HasSuffix(mode, "0") {
			t.Errorf("%s has mode %s", file, mode)
		}
	}
	r.must(t, "pcluster", "delete-cluster", "-n", "people", "--wait")
	r.must(t, "aws", "ec2", "terminate-instances", "--instance-ids", server)
}
