//go:build linux

package image

import (
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// hostSources returns apt sources for a Debian suite that use the mirrors which
// this host uses for its own Debian packages, in the one-line format; it is empty
// on a host without any.
func hostSources(suite string) (string, error) { return sourcesIn("/etc/apt", suite) }

func sourcesIn(dir, suite string) (string, error) {
	found, err := allSources(dir)
	return translate(found, suite), err
}

// Mirrors returns the names of the hosts that this host's apt fetches packages from,
// and of Debian's own mirrors, which the machines' image may know.
func Mirrors() ([]string, error) { return mirrorsIn("/etc/apt") }

func mirrorsIn(dir string) ([]string, error) {
	found, err := allSources(dir)
	names := []string{"deb.debian.org", "security.debian.org"}
	for _, s := range found {
		if u, err := url.Parse(s.uri); err == nil && u.Hostname() != "" {
			names = append(names, strings.ToLower(u.Hostname()))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

// allSources reads the sources of apt's configuration in a directory.
func allSources(dir string) ([]source, error) {
	files, err := filepath.Glob(filepath.Join(dir, "sources.list.d", "*"))
	if err != nil {
		return nil, err
	}
	files = append([]string{filepath.Join(dir, "sources.list")}, files...)
	var found []source
	for _, file := range files {
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		switch filepath.Ext(file) {
		case ".list":
			found = append(found, parseList(string(data))...)
		case ".sources":
			found = append(found, parseDeb822(string(data))...)
		}
	}
	return found, nil
}

// A source is one suite of one archive.
type source struct{ uri, suite, components string }

// parseList reads the one-line format.
func parseList(text string) []source {
	var found []source
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			_, rest, _ = strings.Cut(rest, "]")
		}
		if f := strings.Fields(rest); len(f) >= 2 {
			found = append(found, source{f[0], f[1], strings.Join(f[2:], " ")})
		}
	}
	return found
}

// parseDeb822 reads the format in paragraphs.
func parseDeb822(text string) []source {
	var found []source
	for _, paragraph := range strings.Split(text, "\n\n") {
		fields, last := map[string]string{}, ""
		for _, line := range strings.Split(paragraph, "\n") {
			switch {
			case strings.HasPrefix(line, "#"):
			case strings.HasPrefix(line, " "), strings.HasPrefix(line, "\t"):
				fields[last] += " " + strings.TrimSpace(line)
			default:
				key, value, _ := strings.Cut(line, ":")
				last = strings.ToLower(key)
				fields[last] = strings.TrimSpace(value)
			}
		}
		if !slices.Contains(strings.Fields(fields["types"]), "deb") || strings.EqualFold(fields["enabled"], "no") {
			continue
		}
		for _, uri := range strings.Fields(fields["uris"]) {
			for _, suite := range strings.Fields(fields["suites"]) {
				found = append(found, source{uri, suite, fields["components"]})
			}
		}
	}
	return found
}

// releases are the suites of Debian itself, by which its mirrors are told from
// other archives.
var releases = []string{"buster", "bullseye", "bookworm", "trixie", "forky", "sid", "stable", "oldstable", "testing", "unstable"}

// translate turns sources of the host's release into those of another suite.
func translate(found []source, suite string) string {
	var lines []string
	add := func(s string) {
		if !slices.Contains(lines, s) {
			lines = append(lines, s)
		}
	}
	for _, s := range found {
		release, pocket, _ := strings.Cut(s.suite, "-")
		release, _, _ = strings.Cut(release, "/")
		if !slices.Contains(releases, release) || !slices.Contains(strings.Fields(s.components), "main") {
			continue
		}
		switch {
		case pocket == "security" || strings.HasSuffix(s.suite, "/updates"):
			add("deb " + s.uri + " " + suite + "-security main")
		case pocket == "":
			add("deb " + s.uri + " " + suite + " main")
		case pocket == "updates":
			add("deb " + s.uri + " " + suite + "-updates main")
		}
	}
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasSuffix(l, " "+suite+" main") }) {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}
