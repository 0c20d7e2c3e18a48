package machine

import (
	"net/netip"
	"path"
	"strings"
)

// An export is a directory that a machine's /etc/exports offers.
type export struct {
	path    string
	clients []exportClient
}

// An exportClient is one host specification of an export with its options.
type exportClient struct {
	host    string // address, address range, name with wildcards, or *
	options []string
}

// parseExports reads /etc/exports as exportfs does: paths may be quoted, a dash
// begins default options of a line, a backslash continues it.
func parseExports(text string) []export {
	var exports []export
	text = strings.ReplaceAll(text, "\\\n", " ")
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		dir, rest := exportPath(line)
		e := export{path: path.Clean(dir)}
		var defaults []string
		for _, word := range strings.Fields(rest) {
			if o, ok := strings.CutPrefix(word, "-"); ok {
				defaults = strings.Split(o, ",")
				continue
			}
			host, options, _ := strings.Cut(word, "(")
			c := exportClient{host: host, options: defaults}
			if c.host == "" {
				c.host = "*"
			}
			if options = strings.TrimSuffix(options, ")"); options != "" {
				c.options = append(append([]string(nil), defaults...), strings.Split(options, ",")...)
			}
			e.clients = append(e.clients, c)
		}
		if len(e.clients) == 0 {
			e.clients = []exportClient{{host: "*", options: defaults}}
		}
		exports = append(exports, e)
	}
	return exports
}

// exportPath splits the path from the rest of a line.
func exportPath(line string) (dir, rest string) {
	if strings.HasPrefix(line, `"`) {
		dir, rest, _ = strings.Cut(line[1:], `"`)
	} else if i := strings.IndexAny(line, " \t"); i >= 0 {
		dir, rest = line[:i], line[i:]
	} else {
		dir = line
	}
	for octal, char := range map[string]string{`\040`: " ", `\011`: "\t", `\134`: `\`} {
		dir = strings.ReplaceAll(dir, octal, char)
	}
	return dir, rest
}

// exported says whether a client may mount dir, and if only for reading. The
// deepest export above dir decides, and in it the client's most specific entry.
// names are those of the client.
func exported(exports []export, dir string, client netip.Addr, names []string) (readOnly, ok bool) {
	dir = path.Clean(dir)
	var best export
	for _, e := range exports {
		if within(e.path, dir) && len(e.path) >= len(best.path) {
			if e.path == best.path {
				e.clients = append(append([]exportClient(nil), best.clients...), e.clients...)
			}
			best = e
		}
	}
	found := 0
	for _, c := range best.clients {
		if rank := c.match(client, names); rank > found {
			found = rank
			readOnly = true // NFS's default
			for _, o := range c.options {
				switch o {
				case "rw":
					readOnly = false
				case "ro":
					readOnly = true
				}
			}
		}
	}
	return readOnly, found > 0
}

// within says whether dir is root or lies below it.
func within(root, dir string) bool {
	return dir == root || root == "/" || strings.HasPrefix(dir, root+"/")
}

// match returns how specifically the entry names the client; 0: not at all.
func (c exportClient) match(client netip.Addr, names []string) int {
	if c.host == "*" {
		return 1
	}
	if a, err := netip.ParseAddr(c.host); err == nil {
		if a == client {
			return 4
		}
		return 0
	}
	if p, ok := exportRange(c.host); ok {
		if p.Contains(client) {
			return 3
		}
		return 0
	}
	for _, n := range names {
		if ok, err := path.Match(strings.ToLower(c.host), strings.ToLower(n)); err == nil && ok {
			if strings.ContainsAny(c.host, "*?[") {
				return 2
			}
			return 4
		}
	}
	return 0
}

// exportRange reads 10.0.0.0/16 and 10.0.0.0/255.255.0.0.
func exportRange(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p, true
	}
	addr, mask, ok := strings.Cut(s, "/")
	a, errA := netip.ParseAddr(addr)
	m, errM := netip.ParseAddr(mask)
	if !ok || errA != nil || errM != nil || !a.Is4() || !m.Is4() {
		return netip.Prefix{}, false
	}
	bits := 0
	for _, b := range m.As4() {
		for ; b&0x80 != 0; b <<= 1 {
			bits++
		}
	}
	return netip.PrefixFrom(a, bits).Masked(), true
}
