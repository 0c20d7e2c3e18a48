package cluster

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"
)

func TestProgramBecomesTheCodeOfAFunction(t *testing.T) {
	body := []byte(strings.Repeat("a program ", 10000))
	var plain, named bytes.Buffer
	zw := gzip.NewWriter(&plain)
	zw.Write(body)
	zw.Close()
	zw = gzip.NewWriter(&named) // a longer header, as gzip without -n writes
	zw.Name = "pcluster-node"
	zw.Write(body)
	zw.Close()

	for name, files := range map[string]fstest.MapFS{
		"as make build writes it": {"pcluster-node-linux-arm64.gz": {Data: plain.Bytes()}},
		"with a name in it":       {"pcluster-node-linux-arm64.gz": {Data: named.Bytes()}},
		"in two members":          {"pcluster-node-linux-arm64.gz": {Data: append(bytes.Clone(plain.Bytes()), plain.Bytes()...)}},
		"not compressed":          {"pcluster-node-linux-arm64": {Data: body}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Programs{files}.open("arm64")
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(p.body, body) {
				t.Errorf("%d bytes, want %d", len(p.body), len(body))
			}
			code, err := p.lambda()
			if err != nil {
				t.Fatal(err)
			}
			zr, err := zip.NewReader(bytes.NewReader(code), int64(len(code)))
			if err != nil {
				t.Fatal(err)
			}
			if len(zr.File) != 1 || zr.File[0].Name != "bootstrap" || zr.File[0].Mode().Perm() != 0o755 {
				t.Fatalf("%+v", zr.File)
			}
			f, err := zr.File[0].Open()
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(f) // which checks the sum
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			unzip(t, code)
		})
	}
}

// unzip asks another reader of zip files, where there is one.
func unzip(t *testing.T, code []byte) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		return
	}
	path := t.TempDir() + "/code.zip"
	if err := os.WriteFile(path, code, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(python, "-m", "zipfile", "-t", path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestMissingProgramSaysHowToGetIt(t *testing.T) {
	_, err := Programs{fstest.MapFS{}}.open("amd64")
	if err == nil || !strings.Contains(err.Error(), "make build") {
		t.Error(err)
	}
}
