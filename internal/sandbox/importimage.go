//go:build linux

package sandbox

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

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
	// What makes a system one of this region is the upper layer of its own image.
	return r.ec2.ImportImage(ctx, name, filepath.Join(dir, "root"), architecture, r.layers[len(r.layers)-1:], importedSize)
}

// ImportImage makes an AMI of a tar archive or OCI layout on this host.
func (c *Client) ImportImage(ctx context.Context, name, source string) (imageID string, err error) {
	var out struct{ ImageID string }
	err = c.do(ctx, "POST", "/import-image", url.Values{"name": {name}, "source": {source}}, nil, &out)
	return out.ImageID, err
}
