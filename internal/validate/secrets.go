package validate

import (
	"encoding/base64"
	"errors"
	"regexp"
	"strings"

	"pcluster/internal/facts"
)

var secretRules = []rule{
	{"PasswordSecretArnValidator", passwords},
	{"ArnServiceAndResourceValidator", mungeARN},
	{"MungeKeySecretSizeAndBase64Validator", mungeKey},
	{"DomainNameValidator", domainName},
	{"DomainAddrValidator", domainAddr},
	{"LdapTlsReqCertValidator", certificates},
	{"AdditionalSssdConfigsValidator", sssd},
}

// arnParts returns service and kind of resource of an ARN.
func arnParts(arn string) (service, kind string) {
	if p := strings.SplitN(arn, ":", 7); len(p) >= 6 {
		kind, _, _ = strings.Cut(p[5], "/")
		return p[2], kind
	}
	return "", ""
}

// unreadable reports why a secret can't be read: it is an error if it does not
// exist, else a warning, since nodes may read what the caller may not.
func (k *check) unreadable(path, arn string, err error) {
	var e *facts.Error
	switch {
	case facts.NotFound(err):
		k.errorf(path, "the secret %s does not exist", arn)
	case errors.As(err, &e) && e.Denied:
		k.warnf(path, "the secret %s can't be checked: %v; the head node has to be able to read it", arn, err)
	default:
		k.warnf(path, "the secret %s can't be checked: %v", arn, err)
	}
}

func passwords(k *check) {
	try := func(path, arn string) {
		switch service, kind := arnParts(arn); {
		case service == "secretsmanager" && kind == "secret":
		case service == "ssm" && kind == "parameter" && k.o.Region == "us-isob-east-1":
		default:
			k.errorf(path, "%s is not the ARN of a secret in Secrets Manager", arn)
			return
		}
		if err := k.src.Secret(k.ctx, arn); err != nil {
			k.unreadable(path, arn, err)
		}
	}
	if d := k.c.DirectoryService; d != nil {
		try("DirectoryService.PasswordSecretArn", d.PasswordSecretArn)
	}
	if d := k.c.Scheduling.SlurmSettings.Database; d != nil {
		try("Scheduling.SlurmSettings.Database.PasswordSecretArn", d.PasswordSecretArn)
	}
}

const mungePath = "Scheduling.SlurmSettings.MungeKeySecretArn"

func mungeARN(k *check) {
	arn := k.c.Scheduling.SlurmSettings.MungeKeySecretArn
	if service, kind := arnParts(arn); arn != "" && (service != "secretsmanager" || kind != "secret") {
		k.errorf(mungePath, "%s is not the ARN of a secret in Secrets Manager", arn)
	}
}

func mungeKey(k *check) {
	arn := k.c.Scheduling.SlurmSettings.MungeKeySecretArn
	if service, _ := arnParts(arn); service != "secretsmanager" {
		return
	}
	text, err := k.src.SecretText(k.ctx, arn)
	if err != nil {
		k.unreadable(mungePath, arn, err)
		return
	}
	key, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(text))
	switch bits := len(key) * 8; {
	case text == "":
		k.errorf(mungePath, "the secret %s has no text", arn)
	case err != nil:
		k.errorf(mungePath, "the secret %s is not in base64", arn)
	case bits < 256 || bits > 8192:
		k.errorf(mungePath, "the munge key has %d bits, but has to have 256 to 8192", bits)
	}
}

var (
	fqdn = regexp.MustCompile(`^([a-zA-Z0-9_-]+)(\.[a-zA-Z0-9_-]+)*$`)
	dn   = regexp.MustCompile(`^((DC|dc)=[a-zA-Z0-9_-]+)(,(DC|dc)=[a-zA-Z0-9_-]+)*$`)
)

func domainName(k *check) {
	if d := k.c.DirectoryService; d != nil && !fqdn.MatchString(d.DomainName) && !dn.MatchString(d.DomainName) {
		k.errorf("DirectoryService.DomainName", "%q is neither a DNS name nor a distinguished name of DC parts", d.DomainName)
	}
}

func domainAddr(k *check) {
	d := k.c.DirectoryService
	if d == nil {
		return
	}
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

func certificates(k *check) {
	if d := k.c.DirectoryService; d != nil && d.LdapTlsReqCert != "hard" && d.LdapTlsReqCert != "demand" {
		k.warnf("DirectoryService.LdapTlsReqCert", "with %s nodes may talk to servers that are not who they say", d.LdapTlsReqCert)
	}
}

func sssd(k *check) {
	d := k.c.DirectoryService
	if d == nil {
		return
	}
	const path = "DirectoryService.AdditionalSssdConfigs"
	if v, ok := d.AdditionalSssdConfigs.Get("id_provider"); ok && v != "ldap" {
		k.errorf(path+".id_provider", "id_provider has to be ldap, not %s", v)
	}
	if v, ok := d.AdditionalSssdConfigs.Get("access_provider"); ok && v != "ldap" && d.LdapAccessFilter != "" {
		k.errorf(path+".access_provider", "access_provider has to be ldap with LdapAccessFilter, not %s", v)
	}
}
