//go:build linux

package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
)

// A recipe makes one layer.
type recipe struct {
	name        string
	ingredients []string // all that decides what comes out
	needs       int64    // free bytes
	build       func(ctx context.Context, dir string, progress io.Writer) error
}

// dir is where the layer is kept once it is whole.
func (r recipe) dir(cacheDir string) string {
	h := sha256.New()
	for _, s := range append([]string{r.name, runtime.GOARCH}, r.ingredients...) {
		fmt.Fprintf(h, "%d:%s", len(s), s)
	}
	return filepath.Join(cacheDir, r.name+"-"+hex.EncodeToString(h.Sum(nil))[:12])
}
