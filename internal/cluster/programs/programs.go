// Package programs holds the node programs that pcluster carries: pcluster-node
// for each architecture, compressed. `make build` puts them into bin before it
// builds pcluster; a plain `go build` carries none.
package programs

import (
	"embed"
	"io/fs"
)

//go:embed bin/*
var files embed.FS

// FS returns the programs, as pcluster-node-linux-<arch>.gz.
func FS() fs.FS {
	sub, err := fs.Sub(files, "bin")
	if err != nil {
		panic(err) // bin is a valid path
	}
	return sub
}
