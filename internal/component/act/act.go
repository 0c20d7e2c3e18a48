//go:build unix

// Package act carries out the actions of component documents on the machine it
// runs on: commands, files, downloads. It implements component.Actor; what runs
// when, and what expressions mean, is decided in package component.
//
// Start at [Machine.Act]. Actions are grouped in files by what they touch.
package act

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"pcluster/internal/component"
)

// S3 is the part of S3 that documents use; *s3.Client has it.
type S3 interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	PutObject(context.Context, *s3.PutObjectInput, ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	ListObjectsV2(context.Context, *s3.ListObjectsV2Input, ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
}

// ImageBuilder is the part of Image Builder that documents use.
type ImageBuilder interface {
	GetComponent(context.Context, *imagebuilder.GetComponentInput, ...func(*imagebuilder.Options)) (*imagebuilder.GetComponentOutput, error)
}

// A Machine is this machine as documents see it.
type Machine struct {
	Dir string // for scripts, while they run
	// S3 and ImageBuilder return clients on first use: most documents need none,
	// and to find credentials takes a while.
	S3           func(context.Context) (S3, error)
	ImageBuilder func(context.Context) (ImageBuilder, error)
	// Pause is how long the first repeat of a download waits; 0: a second.
	Pause time.Duration
	// Grace is how long a command may take to end when its time is up; 0: five
	// seconds.
	Grace time.Duration
}

var _ component.Actor = (*Machine)(nil)

// A call is one action with one of its inputs.
type call struct {
	*Machine
	in  map[string]any
	log func(string)
}

// text returns an input, empty if it is not there.
func (c *call) text(name string) string {
	s, _ := c.in[name].(string)
	return s
}

// flag returns a boolean input.
func (c *call) flag(name string, otherwise bool) bool {
	switch strings.ToLower(c.text(name)) {
	case "":
		return otherwise
	case "true", "yes", "on":
		return true
	}
	return false
}

func (c *call) texts(name string) []string {
	list, _ := c.in[name].([]any)
	out := make([]string, 0, len(list))
	for _, v := range list {
		s, _ := v.(string)
		out = append(out, s)
	}
	return out
}

func (c *call) logf(format string, args ...any) { c.log(fmt.Sprintf(format, args...)) }

type output = map[string]string

// modules are the actions. Each is called once for each input.
var modules = map[string]func(context.Context, *call) (output, error){
	"ExecuteBash":          executeBash,
	"ExecuteBinary":        executeBinary,
	"S3Download":           s3Download,
	"S3Upload":             s3Upload,
	"WebDownload":          webDownload,
	"AppendFile":           appendFile,
	"CopyFile":             copyFile,
	"CopyFolder":           copyFolder,
	"CreateFile":           createFile,
	"CreateFolder":         createFolder,
	"CreateSymlink":        createSymlink,
	"DeleteFile":           deleteFile,
	"DeleteFolder":         deleteFolder,
	"ListFiles":            listFiles,
	"MoveFile":             moveFile,
	"MoveFolder":           moveFolder,
	"ReadFile":             readFile,
	"SetFileEncoding":      setFileEncoding,
	"SetFileOwner":         setOwner,
	"SetFolderOwner":       setOwner,
	"SetFilePermissions":   setPermissions,
	"SetFolderPermissions": setPermissions,
	"Reboot":               reboot,
	"UpdateOS":             updateOS,
}

// Act implements component.Actor.
func (m *Machine) Act(ctx context.Context, action string, in component.Input, log func(string)) (component.Outputs, error) {
	module, ok := modules[action]
	if !ok {
		return nil, fmt.Errorf("there is no action %s", action)
	}
	inputs, ok := in.([]any)
	if !ok {
		inputs = []any{in}
	}
	var outputs component.Outputs
	for _, one := range inputs {
		mapping, _ := one.(map[string]any)
		out, err := module(ctx, &call{m, mapping, log})
		if err != nil {
			return nil, err
		}
		if out != nil {
			outputs = append(outputs, out)
		}
	}
	if action == "WebDownload" { // one output for all, as AWS documents it
		var all []string
		for _, o := range outputs {
			all = append(all, o["destination"])
		}
		outputs = component.Outputs{{"destination": strings.Join(all, "\n")}}
	}
	return outputs, nil
}

// reboot asks for a restart. How the machine is restarted is the executor's matter.
func reboot(_ context.Context, c *call) (output, error) {
	seconds, err := strconv.Atoi(c.text("delaySeconds"))
	if err != nil {
		seconds = 0
	}
	return nil, &component.Reboot{Delay: time.Duration(seconds) * time.Second}
}

// BinaryExists implements component.Facts.
func (m *Machine) BinaryExists(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}

// FileExists implements component.Facts.
func (m *Machine) FileExists(path string) bool {
	st, err := os.Stat(path)
	return err == nil && !st.IsDir()
}

// FolderExists implements component.Facts.
func (m *Machine) FolderExists(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// FileHash implements component.Facts.
func (m *Machine) FileHash(algorithm, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h, err := newHash(algorithm)
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func newHash(algorithm string) (hash.Hash, error) {
	switch strings.ToUpper(algorithm) {
	case "MD5":
		return md5.New(), nil
	case "SHA1":
		return sha1.New(), nil
	case "SHA256":
		return sha256.New(), nil
	case "SHA512":
		return sha512.New(), nil
	}
	return nil, fmt.Errorf("unknown algorithm %q: there are MD5, SHA1, SHA256 and SHA512", algorithm)
}

// Load implements component.Actor: a file, an object of S3 or a component of
// Image Builder.
func (m *Machine) Load(ctx context.Context, name, bucketOwner string) ([]byte, error) {
	switch {
	case strings.HasPrefix(name, "s3://"):
		client, err := m.S3(ctx)
		if err != nil {
			return nil, err
		}
		bucket, key, err := splitURL(name)
		if err != nil {
			return nil, err
		}
		in := &s3.GetObjectInput{Bucket: &bucket, Key: &key}
		if bucketOwner != "" {
			in.ExpectedBucketOwner = &bucketOwner
		}
		out, err := client.GetObject(ctx, in)
		if err != nil {
			return nil, err
		}
		defer out.Body.Close()
		return io.ReadAll(io.LimitReader(out.Body, component.MaxBytes+1))
	case strings.HasPrefix(name, "arn:"):
		client, err := m.ImageBuilder(ctx)
		if err != nil {
			return nil, err
		}
		out, err := client.GetComponent(ctx, &imagebuilder.GetComponentInput{ComponentBuildVersionArn: &name})
		if err != nil {
			return nil, err
		}
		if out.Component == nil || out.Component.Data == nil {
			return nil, errors.New("the component has no document")
		}
		return []byte(*out.Component.Data), nil
	case strings.HasPrefix(name, "http://"), strings.HasPrefix(name, "https://"):
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, name, nil)
		if err != nil {
			return nil, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("the server answers %s", resp.Status)
		}
		return io.ReadAll(io.LimitReader(resp.Body, component.MaxBytes+1))
	}
	return os.ReadFile(name)
}
