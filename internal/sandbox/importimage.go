//go:build linux

package sandbox

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/ec2"
	"pcluster/internal/sandbox/image"
)

// importedSize is the size of an imported image's root volume, in GiB: what a machine
// of it can write unless its launch asks for more.
const importedSize = 8

// importImage makes an AMI of a root file system on the host.
func (r *Region) importImage(ctx context.Context, name, source string) (imageID string, err error) {
	dir, err := os.MkdirTemp(r.home.path("ec2"), "import-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	arch, err := image.Unpack(source, filepath.Join(dir, "root"))
	if err != nil {
		return "", err
	}
	if arch == "" {
		arch = runtime.GOARCH
	}
	architecture, ok := map[string]types.ArchitectureValues{"amd64": types.ArchitectureValuesX8664, "arm64": types.ArchitectureValuesArm64}[arch]
	if !ok {
		return "", fmt.Errorf("%s is for %s: machines are amd64 or arm64", source, arch)
	}
	return r.ec2.ImportImage(ctx, ec2.Import{
		Name: name, Dir: filepath.Join(dir, "root"), System: systemOf(filepath.Join(dir, "root")), Architecture: architecture,
		// What makes a system one of this region is the upper layer of its own image.
		Settings: r.layers[len(r.layers)-1:],
		SizeGiB:  importedSize,
	})
}

// systemOf is the operating system of a root file system, as cluster files name it, or
// "" if it does not say. Links of the root cannot lead out of it.
func systemOf(dir string) string {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return ""
	}
	defer root.Close()
	// The first is mostly a link to the second, and not followed if it is an absolute one.
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		if text, err := root.ReadFile(name); err == nil {
			return systemName(string(text))
		}
	}
	return ""
}

// systemName is the name that cluster files have, or would have, for the operating
// system of an os-release file.
func systemName(osRelease string) string {
	fields := map[string]string{}
	for line := range strings.Lines(osRelease) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		fields[key] = strings.Trim(value, `"'`)
	}
	id, version := fields["ID"], fields["VERSION_ID"]
	switch id {
	case "amzn":
		return "alinux" + version
	case "ubuntu":
		return "ubuntu" + strings.ReplaceAll(version, ".", "")
	}
	major, _, _ := strings.Cut(version, ".")
	return id + major
}

// ImportImage makes an AMI of a tar archive or OCI layout on this host.
func (c *Client) ImportImage(ctx context.Context, name, source string) (imageID string, err error) {
	var out struct{ ImageID string }
	err = c.do(ctx, "POST", "/import-image", url.Values{"name": {name}, "source": {source}}, nil, &out)
	return out.ImageID, err
}
