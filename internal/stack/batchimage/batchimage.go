// Package batchimage is what the image of a Batch cluster's jobs is built from: a
// build context with a Dockerfile and the program that begins a job. CodeBuild builds
// it when the stack is made (stack/batch.go), from the archive that cluster puts into
// the cluster's artifacts. Start at [Archive].
package batchimage

import (
	"archive/zip"
	"bytes"
	"embed"
	"fmt"
	"strings"
)

//go:embed context
var files embed.FS

// Archive returns the build context of the image for an operating system, by its name
// in cluster files, as a zip that is the same whenever it is made. The image goes to a
// registry, which is a host name.
func Archive(os, registry string) ([]byte, error) {
	dockerfile, err := files.ReadFile("context/Dockerfile." + os)
	if err != nil {
		return nil, fmt.Errorf("jobs of AWS Batch have no image for the operating system %s", os)
	}
	buildspec, err := files.ReadFile("context/buildspec.yml")
	if err != nil {
		return nil, err
	}
	entrypoint, err := files.ReadFile("context/entrypoint.sh")
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, f := range []struct {
		name string
		data []byte
	}{
		{"Dockerfile", dockerfile},
		{"buildspec.yml", []byte(strings.ReplaceAll(string(buildspec), "@REGISTRY@", registry))},
		{"entrypoint.sh", entrypoint},
	} {
		w, err := z.Create(f.name) // without a time
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
