package actions

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"pcluster/internal/config"
)

// bucket is S3 with the objects of one bucket.
type bucket map[string]string

func (b bucket) GetObject(_ context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	data, ok := b[*in.Key]
	if !ok || *in.Bucket != "b" {
		return nil, &smithy.GenericAPIError{Code: "NoSuchKey", Message: "The specified key does not exist."}
	}
	return &s3.GetObjectOutput{Body: io.NopCloser(strings.NewReader(data))}, nil
}

func script(key string, args ...string) config.Script {
	return config.Script{Script: "s3://b/" + key, Args: args}
}

func run(t *testing.T, b bucket, scripts ...config.Script) (log string, err error) {
	t.Helper()
	var out bytes.Buffer
	r := &Runner{S3: b, Dir: t.TempDir(), Log: &out}
	err = r.Run(t.Context(), OnNodeConfigured, scripts)
	if left, _ := os.ReadDir(r.Dir); len(left) != 0 {
		t.Errorf("scripts are left: %v", left)
	}
	return out.String(), err
}

func TestScriptsRunInOrderWithTheirArguments(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	b := bucket{
		"one.sh": "#!/bin/bash\r\nprintf '%s|' \"$@\" >> " + out + "\r\n",
		"two.py": "#!/usr/bin/env python3\nimport os,sys\nopen(sys.argv[1],'a').write(os.environ['cfn_postinstall']+os.environ['cfn_postinstall_args'])\n",
	}
	if _, err := run(t, b, script("one.sh", "a b", "$HOME", ""), script("two.py", out)); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(out)
	if want := "a b|$HOME||'s3://b/two.py'('" + out + "')"; string(got) != want {
		t.Errorf("scripts wrote %q, want %q", got, want)
	}
}

func TestFailureSaysWhichScriptWhichCodeAndWhatItPrinted(t *testing.T) {
	b := bucket{
		"good.sh":  "#!/bin/sh\necho fine\n",
		"bad.sh":   "#!/bin/sh\nseq 1 1000\necho the licence server is away >&2\nexit 7\n",
		"never.sh": "#!/bin/sh\necho must not run\n",
	}
	log, err := run(t, b, script("good.sh"), script("bad.sh"), script("never.sh"))
	var f *Failure
	if !errors.As(err, &f) || f.ExitCode != 7 || f.Step != 2 {
		t.Fatalf("Run: %v", err)
	}
	text := err.Error()
	if !strings.HasPrefix(text, "Failed to execute OnNodeConfigured script 2 of 3 s3://b/bad.sh: exit code 7") ||
		!strings.HasSuffix(text, "the licence server is away") || strings.Contains(text, "\n1\n") {
		t.Errorf("message:\n%s", text)
	}
	if len(text) > 2000 {
		t.Errorf("the message has %d bytes", len(text))
	}
	if !strings.Contains(log, "\n1\n") || strings.Contains(log, "must not run") {
		t.Error("the log should have all output of the scripts that ran, and no other")
	}
}

func TestNothingRunsUnlessAllScriptsAreThere(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	_, err := run(t, bucket{"one.sh": "#!/bin/sh\ntouch " + ran + "\n"}, script("one.sh"), script("missing.sh"))
	if err == nil || !strings.HasPrefix(err.Error(), "Failed to download OnNodeConfigured script 2 of 2 s3://b/missing.sh") {
		t.Errorf("Run: %v", err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the first script ran")
	}
}

func TestScriptWithoutInterpreterIsExplained(t *testing.T) {
	_, err := run(t, bucket{"x": "echo hello\n"}, script("x"))
	if err == nil || !strings.HasPrefix(err.Error(), "Failed to run OnNodeConfigured script s3://b/x") || !strings.Contains(err.Error(), "#!/bin/bash") {
		t.Errorf("Run: %v", err)
	}
}

func TestServiceThatKeepsTheOutputOpenDoesNotHoldTheNodeUp(t *testing.T) {
	_, err := run(t, bucket{"x": "#!/bin/sh\nsleep 30 &\necho $! > \"$1\"\n"}, script("x", filepath.Join(t.TempDir(), "pid")))
	if err != nil {
		t.Error(err)
	}
}

func TestWebScripts(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ok.sh" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, "#!/bin/sh\necho from the web\n")
	}))
	defer srv.Close()
	if log, err := run(t, nil, config.Script{Script: srv.URL + "/ok.sh?sig=secret"}); err != nil || !strings.Contains(log, "from the web") || strings.Contains(log, "secret") {
		t.Errorf("Run: %v, log:\n%s", err, log)
	}
	if _, err := run(t, nil, config.Script{Script: srv.URL + "/other.sh?sig=secret"}); err == nil || !strings.Contains(err.Error(), "404") || strings.Contains(err.Error(), "secret") {
		t.Errorf("Run: %v", err)
	}
}
