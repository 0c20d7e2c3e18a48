package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"pcluster/internal/config"
)

// Users of a directory are found by SSSD. The head node alone knows the password: it
// writes SSSD's file, and leaves it for the others on shared storage.
const (
	sssdFile        = "/etc/sssd/sssd.conf"
	sharedSSSD      = sharedDir + "/directory_service/sssd.conf"
	sharedLoginSSSD = sharedLoginDir + "/directory_service/sssd.conf"
	unitSSSD        = "sssd.service"
	sssdTitle       = "# Written by the head node."
)

// sssdConf is SSSD's file for a directory. What the user sets has the last word.
func sssdConf(d *config.DirectoryService, password string) []byte {
	var domain config.Settings
	set := func(key, value string) {
		if i := slices.IndexFunc(domain, func(s config.Setting) bool { return s.Key == key }); i >= 0 {
			domain[i].Value = value
		} else if value != "" {
			domain = append(domain, config.Setting{Key: key, Value: value})
		}
	}
	set("id_provider", "ldap")
	set("ldap_schema", "AD")
	set("ldap_uri", ldapURIs(d.DomainAddr))
	set("ldap_search_base", searchBase(d.DomainName))
	set("ldap_default_bind_dn", d.DomainReadOnlyUser)
	set("ldap_default_authtok", password)
	set("ldap_tls_reqcert", d.LdapTlsReqCert)
	set("ldap_tls_cacert", d.LdapTlsCaCert)
	if d.LdapAccessFilter != "" {
		set("access_provider", "ldap")
		set("ldap_access_filter", d.LdapAccessFilter)
	}
	set("cache_credentials", "True")
	set("default_shell", "/bin/bash")
	set("fallback_homedir", "/home/%u")
	set("ldap_id_mapping", "True")
	set("ldap_referrals", "False")
	set("use_fully_qualified_names", "False")
	for _, s := range d.AdditionalSssdConfigs {
		set(s.Key, s.Value)
	}
	var b strings.Builder
	b.WriteString(sssdTitle + " Settings of the domain come from DirectoryService in the cluster file.\n[domain/default]\n")
	for _, s := range domain {
		fmt.Fprintf(&b, "%s = %s\n", s.Key, s.Value)
	}
	b.WriteString("\n[sssd]\nconfig_file_version = 2\nservices = nss, pam, ssh\ndomains = default\nfull_name_format = %1$s\n" +
		"\n[nss]\nfilter_users = nobody,root\nfilter_groups = nobody,root\n" +
		"\n[pam]\noffline_credentials_expiration = 7\n")
	return []byte(b.String())
}

// ldapURIs are the servers, each with a scheme.
func ldapURIs(addresses string) string {
	var out []string
	for a := range strings.SplitSeq(addresses, ",") {
		if a = strings.TrimSpace(a); !strings.Contains(a, "://") {
			a = "ldaps://" + a
		}
		out = append(out, a)
	}
	return strings.Join(out, ",")
}

// searchBase is the distinguished name of a domain.
func searchBase(domain string) string {
	if domain = strings.TrimSpace(domain); strings.Contains(domain, "=") {
		return domain
	}
	return "DC=" + strings.ReplaceAll(domain, ".", ",DC=")
}

// makeDirectory joins the head node to the directory, and leaves SSSD's file for the
// other nodes.
func (h *Host) makeDirectory(ctx context.Context, secrets vault, d *config.DirectoryService) error {
	if err := h.writeSSSD(ctx, secrets, d); err != nil {
		return err
	}
	return h.join(ctx, d, true)
}

func (h *Host) writeSSSD(ctx context.Context, secrets vault, d *config.DirectoryService) error {
	password, err := secrets.secret(ctx, d.PasswordSecretArn)
	if err != nil {
		return fmt.Errorf("password of the directory: %w", err)
	}
	file := sssdConf(d, strings.TrimRight(password, "\n"))
	for _, path := range []string{sharedSSSD, sharedLoginSSSD} {
		if err := h.dir(path[:strings.LastIndexByte(path, '/')], 0o700, rootUser); err != nil {
			return err
		}
		if err := h.write(path, 0o600, rootUser, file); err != nil {
			return err
		}
	}
	return h.write(sssdFile, 0o600, rootUser, file)
}

// passwordInterval is how often the other nodes look whether the head node's file has
// another password.
const passwordInterval = 10 * time.Second

// followDirectory has a node that is not the head take over what an administrator
// refreshes on the head node.
func (h *Host) followDirectory(ctx context.Context, from string, log *slog.Logger) {
	complained := false
	for sleep(ctx, passwordInterval) {
		if !h.exists(bootedFile) {
			continue
		}
		changed, err := h.adoptDirectory(ctx, from)
		switch {
		case changed && err == nil:
			log.Info("the directory's password was taken over from the head node")
		case err != nil && ctx.Err() == nil && !complained:
			log.Error("the head node's file for SSSD can't be taken over", "error", err)
		}
		complained = err != nil
	}
}

// adoptDirectory takes over the head node's file for SSSD if it is another one. A node
// that has none from there needs none.
func (h *Host) adoptDirectory(ctx context.Context, from string) (changed bool, err error) {
	own, err := h.read(sssdFile)
	if errors.Is(err, os.ErrNotExist) || err == nil && !bytes.HasPrefix(own, []byte(sssdTitle)) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	file, err := h.read(from)
	if err != nil || bytes.Equal(file, own) {
		return false, err
	}
	if err := h.write(sssdFile, 0o600, rootUser, file); err != nil {
		return false, err
	}
	return true, h.systemctl(ctx, "restart", unitSSSD)
}

// directory joins a node that is not the head, if the cluster has a directory.
func (n *node) directory(ctx context.Context, from string, people bool) error {
	d := n.config.DirectoryService
	if d == nil {
		return nil
	}
	if !people && n.directoryOffCompute() {
		return nil
	}
	return n.takeDirectory(ctx, d, from, people)
}

// directoryOffCompute says whether the file keeps the directory off compute nodes, by
// an attribute that ParallelCluster has for that.
func (n *node) directoryOffCompute() bool {
	var attributes struct {
		Cluster struct {
			DirectoryService struct {
				Disabled any `json:"disabled_on_compute_nodes"`
			} `json:"directory_service"`
		} `json:"cluster"`
	}
	// A file with other attributes has been refused.
	_ = json.Unmarshal([]byte(n.config.DevSettings.Cookbook.ExtraChefAttributes), &attributes)
	return strings.EqualFold(fmt.Sprint(attributes.Cluster.DirectoryService.Disabled), "true")
}

// takeDirectory joins a node to the directory with the head node's file, which it may
// still be about to write.
func (h *Host) takeDirectory(ctx context.Context, d *config.DirectoryService, from string, people bool) error {
	ctx, cancel := context.WithTimeout(ctx, configWait)
	defer cancel()
	file, err := poll(ctx, 250*time.Millisecond, func() ([]byte, error) { return h.read(from) })
	if err != nil {
		return fmt.Errorf("directory of the cluster's users: %w", err)
	}
	if err := h.write(sssdFile, 0o600, rootUser, file); err != nil {
		return err
	}
	return h.join(ctx, d, people)
}

// join has this machine find users in the directory; people says whether they log in
// here, with their passwords.
func (h *Host) join(ctx context.Context, d *config.DirectoryService, people bool) error {
	if !h.has("sssd") {
		return errors.New("DirectoryService needs SSSD, which this AMI does not have: install it in the AMI (packages sssd-ldap, libnss-sss and libpam-sss of Debian and Ubuntu, sssd elsewhere)")
	}
	if err := h.useSSSD(ctx); err != nil {
		return err
	}
	if !people && h.hasSlurmNames() {
		// slurmd knows who its jobs' users are, so that a large job does not ask the
		// directory from all nodes at once.
		if err := h.nameSource("slurm", true, "passwd", "group"); err != nil {
			return err
		}
	}
	if people {
		if d.GenerateSshKeysForUsers {
			if err := h.generateKeys(); err != nil {
				return err
			}
		}
		if err := h.sshdSetting(ctx, "PasswordAuthentication yes"); err != nil {
			return err
		}
	}
	return h.start(ctx, unitSSSD)
}

// useSSSD has names and logins looked up by SSSD, and homes made at the first login, in
// the way of the distribution.
func (h *Host) useSSSD(ctx context.Context) error {
	switch {
	case h.has("authselect"):
		if _, err := h.Run(ctx, "authselect", "select", "sssd", "with-mkhomedir", "--force"); err != nil {
			return err
		}
		return h.start(ctx, "oddjobd.service")
	case h.has("authconfig"):
		_, err := h.Run(ctx, "authconfig", "--enablemkhomedir", "--enablesssdauth", "--enablesssd", "--updateall")
		return err
	case h.has("pam-auth-update"):
		if _, err := h.Run(ctx, "pam-auth-update", "--package", "--enable", "mkhomedir", "sss"); err != nil {
			return err
		}
	}
	return h.nameSource("sss", false, "passwd", "group", "shadow")
}

// hasSlurmNames says whether the C library can ask slurmd for names.
func (h *Host) hasSlurmNames() bool {
	for _, dir := range []string{"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/lib64"} {
		if h.exists(dir + "/libnss_slurm.so.2") {
			return true
		}
	}
	return false
}

// nameSource adds a source of names to databases of the name service, in front of the
// others or behind them.
func (h *Host) nameSource(source string, first bool, databases ...string) error {
	const file = "/etc/nsswitch.conf"
	old, err := h.read(file)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	for line := range strings.Lines(string(old)) {
		name, sources, ok := strings.Cut(line, ":")
		if ok && slices.Contains(databases, strings.TrimSpace(name)) && !slices.Contains(strings.Fields(sources), source) {
			if first {
				line = name + ": " + source + " " + strings.TrimSpace(sources) + "\n"
			} else {
				line = strings.TrimRight(line, " \t\n") + " " + source + "\n"
			}
		}
		out.WriteString(line)
	}
	if bytes.Equal(out.Bytes(), old) {
		return nil
	}
	return h.write(file, 0o644, rootUser, out.Bytes())
}

// keyScript is run by PAM when somebody logs in. All that it does in the user's home it
// does as the user.
const keyScript = "/opt/parallelcluster/scripts/generate_ssh_key.sh"

const keyScriptText = `#!/bin/bash
# Makes an SSH key for a user who has none, at the first login, and lets it in, so that the
# user gets from node to node.
[ "$PAM_TYPE" = open_session ] || exit 0
entry=$(getent passwd "$PAM_USER") || exit 0
[ "$(cut -d: -f3 <<<"$entry")" -ge 1000 ] || exit 0
home=$(cut -d: -f6 <<<"$entry")
[ -d "$home" ] || exit 0
exec runuser -u "$PAM_USER" -- bash -c '
  cd "$1" && umask 077
  [ ! -e .ssh/id_ed25519 ] || exit 0
  mkdir -p .ssh && ssh-keygen -q -t ed25519 -N "" -f .ssh/id_ed25519 && cat .ssh/id_ed25519.pub >> .ssh/authorized_keys
' - "$home"
`

// generateKeys has an SSH key made for each user at the first login.
func (h *Host) generateKeys() error {
	if err := h.write(keyScript, 0o755, rootUser, []byte(keyScriptText)); err != nil {
		return err
	}
	line := "session optional pam_exec.so log=/var/log/parallelcluster/pam_ssh_key_generator.log " + keyScript + "\n"
	for _, service := range []string{"sshd", "su", "sudo"} {
		path := "/etc/pam.d/" + service
		old, err := h.read(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if strings.Contains(string(old), keyScript) {
			continue
		}
		if n := len(old); n > 0 && old[n-1] != '\n' {
			old = append(old, '\n')
		}
		if err := h.write(path, 0o644, rootUser, append(old, line...)); err != nil {
			return err
		}
	}
	return nil
}

const directoryScript = "/opt/parallelcluster/scripts/directory_service/update_directory_service_password.sh"

// installDirectoryScript writes the program with which an administrator has the head
// node ask for the directory's password again.
func (h *Host) installDirectoryScript() error {
	return h.write(directoryScript, 0o700, rootUser, []byte("#!/bin/sh\nexec "+Program+" update-directory-password\n"))
}

// updateDirectoryPassword takes the directory's password from its secret. The other nodes
// follow.
func updateDirectoryPassword(ctx context.Context, h *Host) error {
	_, c, cfg, err := h.ofCluster(ctx)
	if err != nil {
		return err
	}
	if c.DirectoryService == nil {
		return errors.New("the cluster has no directory service")
	}
	return h.refreshDirectory(ctx, newVault(cfg), c.DirectoryService)
}

func (h *Host) refreshDirectory(ctx context.Context, secrets vault, d *config.DirectoryService) error {
	old, err := h.read(sssdFile)
	if err != nil {
		return err
	}
	if err := h.writeSSSD(ctx, secrets, d); err != nil {
		return err
	}
	if file, err := h.read(sssdFile); err != nil || bytes.Equal(file, old) {
		return err
	}
	return h.systemctl(ctx, "restart", unitSSSD)
}
