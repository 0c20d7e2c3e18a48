//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
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
// head and compute nodes know its user, who runs a job. The cluster's own directories are
// on a file system.
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
	eventually(t, patience, "the directory answers", func() bool {
		return r.run(t, "pcluster", "sandbox", "exec", "bash", "-c", "</dev/tcp/10.0.1.200/389").code == 0
	})

	r.must(t, "pcluster", "create-cluster", "-n", "people", "-c", file, "--wait")
	c := r.enter(t, "people", filepath.Join(r.home, "keys", "directory-key.pem"), "ubuntu")
	eventually(t, patience, "the head node knows the directory's user", func() bool {
		out := c.ssh(t, "id alice")
		return out.code == 0 && strings.TrimSpace(out.stdout) == "uid=5001(alice) gid=5000(physics) groups=5000(physics)"
	})
	head := one("aws", "ec2", "describe-instances", "--filters", "Name=tag:Name,Values=HeadNode", "--query", "Reservations[].Instances[].InstanceId")
	// The home is made at the first login; su is one.
	if got := asRoot(t, head, `su - alice -c 'pwd; srun -p work sh -c "id -un; id -gn; pwd"'`); got != "/home/alice\nalice\nphysics\n/home/alice" {
		t.Errorf("alice's job says %q", got)
	}
	// They hold the password. SSSD itself gives its group the right to read its own.
	for _, file := range []string{"/etc/sssd/sssd.conf", "/opt/parallelcluster/shared/directory_service/sssd.conf"} {
		if mode := asRoot(t, head, "stat -c %a "+file); !strings.HasSuffix(mode, "0") {
			t.Errorf("%s has mode %s", file, mode)
		}
	}
	compute := c.computeInstances(t)
	if len(compute) != 1 {
		t.Fatalf("compute instances: %v, want one", compute)
	}
	t.Run("the cluster's own directories are on a file system", func(t *testing.T) { ownDirectories(t, c, head, compute[0]) })
	t.Run("the default user has a home on each node, and no sudo", func(t *testing.T) { localUser(t, c, head, compute[0]) })
	t.Run("nodes that run get another password of the directory", func(t *testing.T) {
		r.must(t, "aws", "secretsmanager", "put-secret-value", "--secret-string", "another-secret",
			"--secret-id", "arn:aws:secretsmanager:us-east-1:111122223333:secret:directory-AbCdEf")
		asRoot(t, head, "/opt/parallelcluster/scripts/directory_service/update_directory_service_password.sh")
		const told = "grep -c 'authtok = another-secret' /etc/sssd/sssd.conf || true"
		if got := asRoot(t, head, told); got != "1" {
			t.Error("the head node has the old one")
		}
		eventually(t, patience, "the compute node has the new one", func() bool { return asRoot(t, compute[0], told) == "1" })
	})
	r.must(t, "pcluster", "delete-cluster", "-n", "people", "--wait")
	r.must(t, "aws", "ec2", "terminate-instances", "--instance-ids", server)
}

// asRoot runs a command line on a machine as root, whom SSH does not let in; it returns
// trimmed output.
func asRoot(t *testing.T, instance, line string) string {
	t.Helper()
	out, err := exec.Command("nsenter", "--target", strconv.Itoa(leader(t, instance)), "--all", "--", "bash", "-lc", line).CombinedOutput()
	if err != nil {
		t.Fatalf("on %s: %s: %v\n%s", instance, line, err, out)
	}
	return strings.TrimSpace(string(out))
}

// ownDirectories looks for what the head node would share otherwise.
func ownDirectories(t *testing.T, c *cluster, head, compute string) {
	fs := strings.TrimSpace(c.must(t, "aws", "efs", "describe-file-systems", "--query", "FileSystems[0].FileSystemId", "--output", "text"))
	for _, dir := range []string{"/opt/parallelcluster/shared", "/opt/slurm", "/home"} {
		for _, node := range []string{head, compute} {
			asRoot(t, node, "mountpoint -q "+dir+" && grep -q '^"+fs+":"+dir+" "+dir+" efs ' /etc/fstab")
		}
	}
	if got := asRoot(t, head, "cat /etc/exports 2>/dev/null || true"); strings.Contains(got, "/") {
		t.Errorf("the head node exports %s", got)
	}
	// What a directory had when the file system came is there.
	asRoot(t, compute, "test -s /opt/parallelcluster/shared/cluster-config.yaml && test -d /home/alice")
}

// localUser looks at the default user of the nodes.
func localUser(t *testing.T, c *cluster, head, compute string) {
	for _, node := range []string{head, compute} {
		if got := asRoot(t, node, `su - ubuntu -c 'pwd; sudo -n true 2>/dev/null || echo no'; findmnt -nT /local/home/ubuntu -o TARGET`); got != "/local/home/ubuntu\nno\n/" {
			t.Errorf("on %s: %q", node, got)
		}
	}
	if got := c.head(t, "srun -p work pwd; tr -d ' ' < /etc/chef/dna.json | grep -E '\"(default_user_home|shared_storage_type)\"'"); got != "/local/home/ubuntu\n\"default_user_home\":\"local\",\n\"shared_storage_type\":\"efs\"," {
		t.Errorf("a job of the user's, and what scripts are told: %q", got)
	}
}
