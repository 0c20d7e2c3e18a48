package validate

import (
	"encoding/base64"
	"errors"
	"regexp"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

// arnParts returns service and kind of resource of an ARN.
func arnParts(arn string) (service, kind string) {
	if p := strings.SplitN(arn, ":", 7); len(p) >= 6 {
		kind, _, _ = strings.Cut(p[5], "/")
		return p[2], kind
	}
	return "", ""
}

// unreadable reports why a secret can't be read. That is mostly a warning, since
// nodes may read what the caller may not. Secrets Manager has another code than
// SSM for what does not exist, and other than with that, users may have scripts
// that make the secret later.
func (k *check) unreadable(path, arn string, err error) {
	var e *facts.Error
	switch {
	case facts.Code(err) == "ParameterNotFound":
		k.errorf(path, "the parameter %s does not exist", arn)
	case errors.As(err, &e) && e.Denied:
		k.warnf(path, "the secret %s can't be checked: %v; the head node has to be able to read it", arn, err)
	case facts.NotFound(err):
		k.warnf(path, "the secret %s does not exist", arn)
	default:
		k.warnf(path, "the secret %s can't be checked: %v", arn, err)
	}
}

func password(k *check, path, arn string) {
	path += ".PasswordSecretArn"
	switch service, kind := arnParts(arn); {
	case service == "secretsmanager" && kind == "secret":
	case service == "ssm" && kind == "parameter" && k.o.Region == "us-isob-east-1": // has no Secrets Manager
	default:
		k.errorf(path, "%s is not the ARN of a secret in Secrets Manager", arn)
		return
	}
	if err := k.src.Secret(k.ctx, arn); err != nil {
		k.unreadable(path, arn, err)
	}
}

const mungePath = "Scheduling.SlurmSettings.MungeKeySecretArn"

func mungeARN(k *check, arn string) {
	if service, kind := arnParts(arn); service != "secretsmanager" || kind != "secret" {
		k.errorf(mungePath, "%s is not the ARN of a secret in Secrets Manager", arn)
	}
}

func mungeKey(k *check, arn string) {
	text, err := k.src.SecretText(k.ctx, arn)
	if err != nil {
		k.unreadable(mungePath, arn, err)
		return
	}
	key, err := base64.StdEncoding.DecodeString(text)
	switch bits := len(key) * 8; {
	case text == "":
		k.errorf(mungePath, "the secret %s has no text", arn)
	case err != nil || strings.ContainsAny(text, "\r\n"):
		k.errorf(mungePath, "the secret %s is not in base64", arn)
		k.hint("a line break at its end counts")
	case bits < 256 || bits > 8192:
		k.errorf(mungePath, "the munge key has %d bits, but has to have 256 to 8192", bits)
	}
}

var (
	fqdn = regexp.MustCompile(`^([a-zA-Z0-9_-]+)(\.[a-zA-Z0-9_-]+)*$`)
	dn   = regexp.MustCompile(`^((DC|dc)=[a-zA-Z0-9_-]+)(,(DC|dc)=[a-zA-Z0-9_-]+)*$`)
)

func domainName(k *check, d *config.DirectoryService) {
	if name := strings.TrimSuffix(d.DomainName, "\n"); !fqdn.MatchString(name) && !dn.MatchString(name) {
		k.errorf("DirectoryService.DomainName", "%q is neither a DNS name nor a distinguished name of DC parts", d.DomainName)
	}
}

func domainAddr(k *check, d *config.DirectoryService) {
	const path = "DirectoryService.DomainAddr"
	const consent = "ldap_auth_disable_tls_never_use_in_production"
	for _, addr := range strings.Split(d.DomainAddr, ",") {
		addr = strings.TrimSpace(addr)
		scheme, _, given := strings.Cut(addr, "://")
		switch {
		case !given:
			k.warnf(path, "%s has no scheme; ldaps is assumed", addr)
		case scheme == "ldap":
			k.warnf(path, "%s is not encrypted", addr)
			if v, _ := d.AdditionalSssdConfigs.Get(consent); strings.ToLower(v) != "true" {
				k.hint("SSSD takes it only with %s: true in AdditionalSssdConfigs", consent)
			}
		case scheme != "ldaps":
			k.warnf(path, "%s has the scheme %s, which is neither ldaps nor ldap", addr, scheme)
		}
	}
}

func certificates(k *check, d *config.DirectoryService) {
	if d.LdapTlsReqCert != "hard" && d.LdapTlsReqCert != "demand" {
		k.warnf("DirectoryService.LdapTlsReqCert", "with %s nodes may talk to servers that are not who they say", d.LdapTlsReqCert)
	}
}

func sssd(k *check, d *config.DirectoryService) {
	const path = "DirectoryService.AdditionalSssdConfigs"
	if v, ok := d.AdditionalSssdConfigs.Get("id_provider"); ok && v != "ldap" {
		k.errorf(path+".id_provider", "id_provider has to be ldap, not %s", v)
	}
	if v, ok := d.AdditionalSssdConfigs.Get("access_provider"); ok && v != "ldap" && d.LdapAccessFilter != "" {
		k.errorf(path+".access_provider", "access_provider has to be ldap with LdapAccessFilter, not %s", v)
	}
}
