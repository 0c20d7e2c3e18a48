package node

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/config"
)

func TestSSSDConfiguration(t *testing.T) {
	for name, tt := range map[string]struct {
		d    config.DirectoryService
		want string // of the domain
	}{
		"least": {
			config.DirectoryService{DomainName: "corp.example.com", DomainAddr: "a.example, ldap://b.example", DomainReadOnlyUser: "cn=reader", LdapTlsReqCert: "hard"},
			`id_provider = ldap
ldap_schema = AD
ldap_uri = ldaps://a.example,ldap://b.example
ldap_search_base = DC=corp,DC=example,DC=com
ldap_default_bind_dn = cn=reader
ldap_default_authtok = pass = word
ldap_tls_reqcert = hard
cache_credentials = True
default_shell = /bin/bash
fallback_homedir = /home/%u
ldap_id_mapping = True
ldap_referrals = False
use_fully_qualified_names = False
`},
		"all, and what the user sets last": {
			config.DirectoryService{
				DomainName: "dc=example,dc=com", DomainAddr: "ldaps://x", DomainReadOnlyUser: "r", LdapTlsReqCert: "never", LdapTlsCaCert: "/ca.pem", LdapAccessFilter: "(a=b)",
				AdditionalSssdConfigs: config.Settings{{Key: "ldap_schema", Value: "rfc2307"}, {Key: "debug_level", Value: "0x1ff"}, {Key: "default_shell", Value: "/bin/zsh"}},
			},
			`id_provider = ldap
ldap_schema = rfc2307
ldap_uri = ldaps://x
ldap_search_base = dc=example,dc=com
ldap_default_bind_dn = r
ldap_default_authtok = pass = word
ldap_tls_reqcert = never
ldap_tls_cacert = /ca.pem
access_provider = ldap
ldap_access_filter = (a=b)
cache_credentials = True
default_shell = /bin/zsh
fallback_homedir = /home/%u
ldap_id_mapping = True
ldap_referrals = False
use_fully_qualified_names = False
debug_level = 0x1ff
`},
	} {
		t.Run(name, func(t *testing.T) {
			got := string(sssdConf(&tt.d, "pass = word"))
			_, domain, _ := strings.Cut(got, "[domain/default]\n")
			domain, rest, _ := strings.Cut(domain, "\n[sssd]\n")
			if diff := cmp.Diff(tt.want, domain); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if !strings.Contains(rest, "services = nss, pam, ssh\ndomains = default\n") {
				t.Errorf("the rest is\n%s", rest)
			}
		})
	}
}

// directoryHost is a machine with SSSD, as Debian has it.
func directoryHost(t *testing.T) (*Host, *[]string) {
	h, ran := testHost(t)
	for path, content := range map[string]string{
		"/usr/sbin/sssd": "", "/usr/sbin/pam-auth-update": "", unitDir + "sssd.service": "", unitDir + "ssh.service": "",
		"/etc/nsswitch.conf":                          "passwd:         files systemd\ngroup:          files systemd sss\nshadow: files\nhosts: files dns\n",
		"/etc/ssh/sshd_config":                        "Include /etc/ssh/sshd_config.d/*.conf\nPasswordAuthentication no\n",
		"/etc/pam.d/sshd":                             "session required pam_unix.so",
		"/etc/pam.d/su":                               "session required pam_unix.so\n",
		"/usr/lib/x86_64-linux-gnu/libnss_slurm.so.2": "",
	} {
		put(t, h, path, content)
	}
	return h, ran
}

// password is a Secrets Manager with the directory's.
func password(s string) fakeSecrets { return fakeSecrets{"arn:secret": s} }

var corp = &config.DirectoryService{DomainName: "corp.example.com", DomainAddr: "ldaps://corp.example.com", DomainReadOnlyUser: "cn=reader", PasswordSecretArn: "arn:secret", GenerateSshKeysForUsers: true}

func TestHeadNodeJoinsTheDirectory(t *testing.T) {
	h, ran := directoryHost(t)
	for range 2 { // a boot that was interrupted
		if err := h.makeDirectory(t.Context(), password("geheim\n"), corp); err != nil {
			t.Fatal(err)
		}
	}
	own := get(t, h, sssdFile)
	if !strings.Contains(own, "ldap_default_authtok = geheim\n") {
		t.Errorf("sssd.conf:\n%s", own)
	}
	for _, path := range []string{sssdFile, sharedSSSD, sharedLoginSSSD} {
		if info, err := os.Stat(h.path(path)); err != nil || info.Mode().Perm() != 0o600 || get(t, h, path) != own {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if got := get(t, h, "/etc/nsswitch.conf"); got != "passwd:         files systemd sss\ngroup:          files systemd sss\nshadow: files sss\nhosts: files dns\n" {
		t.Errorf("nsswitch.conf:\n%s", got)
	}
	if got := get(t, h, "/etc/ssh/sshd_config"); got != "PasswordAuthentication yes\nInclude /etc/ssh/sshd_config.d/*.conf\nPasswordAuthentication no\n" {
		t.Errorf("sshd_config:\n%s", got)
	}
	for _, service := range []string{"sshd", "su"} {
		if got := get(t, h, "/etc/pam.d/"+service); strings.Count(got, "pam_exec.so") != 1 || !strings.HasPrefix(got, "session required pam_unix.so\nsession optional pam_exec.so") {
			t.Errorf("%s:\n%s", service, got)
		}
	}
	if h.exists("/etc/pam.d/sudo") {
		t.Error("a service that was not there has a file")
	}
	want := []string{"pam-auth-update --package --enable mkhomedir sss", "systemctl try-reload-or-restart ssh.service", "systemctl restart sssd.service",
		"pam-auth-update --package --enable mkhomedir sss", "systemctl restart sssd.service"}
	if diff := cmp.Diff(want, *ran); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestComputeNodesAskSlurmFirst(t *testing.T) {
	h, _ := directoryHost(t)
	put(t, h, sharedSSSD, "of the head node")
	if err := h.takeDirectory(t.Context(), corp, sharedSSSD, false); err != nil {
		t.Fatal(err)
	}
	if got := get(t, h, sssdFile); got != "of the head node" {
		t.Errorf("sssd.conf: %s", got)
	}
	if got := get(t, h, "/etc/nsswitch.conf"); !strings.HasPrefix(got, "passwd: slurm files systemd sss\ngroup: slurm files systemd sss\n") {
		t.Errorf("nsswitch.conf:\n%s", got)
	}
	if strings.Contains(get(t, h, "/etc/ssh/sshd_config"), "PasswordAuthentication yes") || h.exists(keyScript) {
		t.Error("people log in to compute nodes")
	}
}

func TestNodesWithoutSSSDSayWhatIsMissing(t *testing.T) {
	h, _ := testHost(t)
	if err := h.makeDirectory(t.Context(), password("x"), corp); err == nil || !strings.Contains(err.Error(), "DirectoryService needs SSSD") {
		t.Errorf("got %v", err)
	}
}

func TestDistributionsWithAuthselect(t *testing.T) {
	h, ran := directoryHost(t)
	put(t, h, "/usr/bin/authselect", "")
	put(t, h, unitDir+"oddjobd.service", "")
	if err := h.useSSSD(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"authselect select sssd with-mkhomedir --force", "systemctl restart oddjobd.service"}, *ran); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestPasswordOfTheDirectoryIsRefreshed(t *testing.T) {
	h, ran := directoryHost(t)
	if err := h.writeSSSD(t.Context(), password("old"), corp); err != nil {
		t.Fatal(err)
	}
	if err := h.refreshDirectory(t.Context(), password("old"), corp); err != nil || len(*ran) > 0 {
		t.Errorf("the same password: %v, %v", err, *ran)
	}
	if err := h.refreshDirectory(t.Context(), password("new"), corp); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{sssdFile, sharedSSSD, sharedLoginSSSD} {
		if !strings.Contains(get(t, h, path), "ldap_default_authtok = new\n") {
			t.Errorf("%s has the old password", path)
		}
	}
	if diff := cmp.Diff([]string{"systemctl restart sssd.service"}, *ran); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDirectoryCanBeKeptOffComputeNodes(t *testing.T) {
	for attributes, want := range map[string]bool{
		"": false, `{"cluster": {}}`: false, `{"cluster": {"directory_service": {"disabled_on_compute_nodes": "true"}}}`: true,
		`{"cluster": {"directory_service": {"disabled_on_compute_nodes": true}}}`: true, `{"cluster": {"directory_service": {"disabled_on_compute_nodes": false}}}`: false,
	} {
		n := &node{config: &config.Cluster{}}
		n.config.DevSettings.Cookbook.ExtraChefAttributes = attributes
		if got := n.directoryOffCompute(); got != want {
			t.Errorf("%s: %v, want %v", attributes, got, want)
		}
	}
}

func TestKeyScriptIsBash(t *testing.T) {
	cmd := exec.Command("bash", "-n")
	cmd.Stdin = strings.NewReader(keyScriptText)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestNodesFollowThePasswordOfTheDirectory(t *testing.T) {
	h, ran := directoryHost(t)
	adopt := func() bool {
		t.Helper()
		changed, err := h.adoptDirectory(t.Context(), sharedSSSD)
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	put(t, h, sharedSSSD, string(sssdConf(corp, "old")))
	if adopt() || h.exists(sssdFile) {
		t.Error("a node without a directory takes it")
	}
	put(t, h, sssdFile, "[sssd]\n")
	if adopt() || get(t, h, sssdFile) != "[sssd]\n" {
		t.Error("a file that the image brought is replaced")
	}
	put(t, h, sssdFile, string(sssdConf(corp, "old")))
	if adopt() || len(*ran) > 0 {
		t.Errorf("with the same password: %v", *ran)
	}
	put(t, h, sharedSSSD, string(sssdConf(corp, "new")))
	if !adopt() || !strings.Contains(get(t, h, sssdFile), "ldap_default_authtok = new\n") {
		t.Errorf("the new password is not taken:\n%s", get(t, h, sssdFile))
	}
	if diff := cmp.Diff([]string{"systemctl restart sssd.service"}, *ran); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
