//go:build linux

package image

import (
	"context"
	"net/url"
	"os/exec"
	"strings"
)

// Proxies are those by which apt of this host reaches its mirrors.
type Proxies map[string]string // by the name of the setting, in lower case

// AptProxies reads them. A host without apt has none.
func AptProxies(ctx context.Context) Proxies {
	out, err := exec.CommandContext(ctx, "apt-config", "dump", "--format", "%F %v%n").Output()
	if err != nil {
		return nil
	}
	return parseProxies(string(out))
}

func parseProxies(dump string) Proxies {
	all := Proxies{}
	for line := range strings.Lines(dump) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name = strings.ToLower(name); strings.HasPrefix(name, "acquire::http") && strings.Contains(name, "::proxy") && value != "" {
			all[name] = value
		}
	}
	return all
}

// For returns the proxy for a URL, nil for none. A setting for its host counts more
// than that for all, and HTTPS without a setting of its own goes by HTTP's.
func (p Proxies) For(u *url.URL) (*url.URL, error) {
	names := []string{"acquire::" + u.Scheme + "::proxy"}
	if u.Scheme == "https" {
		names = append(names, "acquire::http::proxy")
	}
	for _, name := range names {
		for _, setting := range []string{name + "::" + strings.ToLower(u.Hostname()), name} {
			switch value := p[setting]; value {
			case "":
			case "DIRECT", "false":
				return nil, nil
			default:
				return url.Parse(value)
			}
		}
	}
	return nil, nil
}
