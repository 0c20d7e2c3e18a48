//go:build unix

package act

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"pcluster/internal/component"
)

// objects is S3 in memory, by bucket/key.
type objects map[string]string

func (o objects) GetObject(_ context.Context, in *s3.GetObjectInput, _ ...func(*s3.Options)) (*s3.GetObjectOutput, error) {
	v, ok := o[*in.Bucket+"/"+*in.Key]
	if !ok {
		return nil, &smithy.GenericAPIError{Code: "NoSuchKey", Message: "The specified key does not exist."}
	}
	return &s3.GetObjectOutput{Body: io.NopCloser(strings.NewReader(v))}, nil
}

func (o objects) PutObject(_ context.Context, in *s3.PutObjectInput, _ ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	data, err := io.ReadAll(in.Body)
	o[*in.Bucket+"/"+*in.Key] = string(data)
	return &s3.PutObjectOutput{}, err
}

func (o objects) ListObjectsV2(_ context.Context, in *s3.ListObjectsV2Input, _ ...func(*s3.Options)) (*s3.ListObjectsV2Output, error) {
	out := &s3.ListObjectsV2Output{}
	for k := range o {
		if key, ok := strings.CutPrefix(k, *in.Bucket+"/"); ok && strings.HasPrefix(key, *in.Prefix) {
			out.Contents = append(out.Contents, s3types.Object{Key: aws.String(key)})
		}
	}
	return out, nil
}

// act runs one action in a fresh folder, in which D stands for that folder.
func act(t *testing.T, dir, action string, store objects, inputs ...map[string]any) (component.Outputs, error, string) {
	t.Helper()
	var list []any
	for _, in := range inputs {
		list = append(list, replaced(in, dir))
	}
	var in any = list
	if strings.HasPrefix(action, "Execute") {
		in = list[0]
	}
	var log bytes.Buffer
	m := &Machine{Dir: dir, Pause: time.Millisecond, S3: func(context.Context) (S3, error) { return store, nil }}
	out, err := m.Act(t.Context(), action, in, func(l string) { log.WriteString(l + "\n") })
	return out, err, log.String()
}

func replaced(v any, dir string) any {
	switch v := v.(type) {
	case string:
		return strings.ReplaceAll(v, "D/", dir+"/")
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = replaced(v[i], dir)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k := range v {
			out[k] = replaced(v[k], dir)
		}
		return out
	}
	return v
}

// tree shows the files below a folder, with what is in them.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if to, err := os.Readlink(path); err == nil {
			out[rel] = "-> " + strings.Replace(to, dir, "D", 1)
			return nil
		}
		data, err := os.ReadFile(path)
		out[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFileActions(t *testing.T) {
	type in = map[string]any
	start := map[string]string{"a.log": "a", "b.log": "b", "f/x": "x", "f/g/y": "y", "u.txt": "ä"}
	for name, tt := range map[string]struct {
		action string
		inputs []in
		change map[string]string // of start; "" takes a file away
		output string            // as name=value
		fails  string
	}{
		"append":                   {action: "AppendFile", inputs: []in{{"path": "D/a.log", "content": "+"}}, change: map[string]string{"a.log": "a+"}},
		"append to nothing":        {action: "AppendFile", inputs: []in{{"path": "D/n", "content": "+"}}, fails: "no such file"},
		"create":                   {action: "CreateFile", inputs: []in{{"path": "D/n/m/c", "content": "c"}, {"path": "D/a.log"}}, change: map[string]string{"n/m/c": "c", "a.log": "\x00"}},
		"create, do not overwrite": {action: "CreateFile", inputs: []in{{"path": "D/a.log", "overwrite": "false"}}, fails: "overwrite is false"},
		"create in UTF-16":         {action: "CreateFile", inputs: []in{{"path": "D/c", "content": "aä", "encoding": "UTF-16-BE"}}, change: map[string]string{"c": "\x00a\x00\xe4"}},
		"encoding":                 {action: "SetFileEncoding", inputs: []in{{"path": "D/u.txt", "encoding": "utf-32"}}, change: map[string]string{"u.txt": "\xe4\x00\x00\x00"}},
		"link":                     {action: "CreateSymlink", inputs: []in{{"path": "D/l/l", "target": "D/a.log"}}, change: map[string]string{"l/l": "-> D/a.log"}},
		"link to nothing":          {action: "CreateSymlink", inputs: []in{{"path": "D/l", "target": "D/nothing"}}, fails: "no such file"},
		"link over a file":         {action: "CreateSymlink", inputs: []in{{"path": "D/b.log", "target": "D/a.log", "force": "true"}}, fails: "is no link"},
		"delete":                   {action: "DeleteFile", inputs: []in{{"path": "D/a.log"}}, change: map[string]string{"a.log": ""}},
		"delete many":              {action: "DeleteFile", inputs: []in{{"path": "D/*log"}}, change: map[string]string{"a.log": "", "b.log": ""}},
		"delete nothing":           {action: "DeleteFile", inputs: []in{{"path": "D/nothing"}}, fails: "no such file"},
		"delete a full folder":     {action: "DeleteFolder", inputs: []in{{"path": "D/f"}}, fails: "not empty"},
		"delete it anyway":         {action: "DeleteFolder", inputs: []in{{"path": "D/f", "force": "true"}}, change: map[string]string{"f/x": "", "f/g/y": ""}},
		"delete everything":        {action: "DeleteFolder", inputs: []in{{"path": "/", "force": "true"}}, fails: "can't be deleted"},
		"copy":                     {action: "CopyFile", inputs: []in{{"source": "D/a.log", "destination": "D/n/c"}}, change: map[string]string{"n/c": "a"}},
		"copy many":                {action: "CopyFile", inputs: []in{{"source": "D/*.log", "destination": "D/n/"}}, change: map[string]string{"n/a.log": "a", "n/b.log": "b"}},
		"copy many to one":         {action: "CopyFile", inputs: []in{{"source": "D/*.log", "destination": "D/n"}}, fails: "has to end with a slash"},
		"copy a folder as file":    {action: "CopyFile", inputs: []in{{"source": "D/f", "destination": "D/n"}}, fails: "is a folder"},
		"copy a folder":            {action: "CopyFolder", inputs: []in{{"source": "D/f", "destination": "D/n/"}}, change: map[string]string{"n/f/x": "x", "n/f/g/y": "y"}},
		"move":                     {action: "MoveFile", inputs: []in{{"source": "D/a.log", "destination": "D/b.log"}}, change: map[string]string{"a.log": "", "b.log": "a"}},
		"move, do not overwrite":   {action: "MoveFile", inputs: []in{{"source": "D/a.log", "destination": "D/b.log", "overwrite": "false"}}, fails: "overwrite is false"},
		"move a folder":            {action: "MoveFolder", inputs: []in{{"source": "D/f", "destination": "D/h"}}, change: map[string]string{"f/x": "", "f/g/y": "", "h/x": "x", "h/g/y": "y"}},
		"list":                     {action: "ListFiles", inputs: []in{{"path": "D/f"}}, output: "files=D/f/x"},
		"list all":                 {action: "ListFiles", inputs: []in{{"path": "D/f", "recursive": "true", "fileNamePattern": "*"}}, output: "files=D/f/g/y,D/f/x"},
		"list nowhere":             {action: "ListFiles", inputs: []in{{"path": "D/nowhere"}}, fails: "no such file"},
		"read":                     {action: "ReadFile", inputs: []in{{"path": "D/u.txt"}}, output: "content=ä"},
		"read as UTF-16":           {action: "ReadFile", inputs: []in{{"path": "D/a.log", "encoding": "utf16"}}, fails: "has not the encoding"},
		"owner that is nobody":     {action: "SetFileOwner", inputs: []in{{"path": "D/a.log", "owner": "no-such-user"}}, fails: "there is no user no-such-user"},
		"permissions":              {action: "SetFolderPermissions", inputs: []in{{"path": "D/f", "permissions": "rwx"}}, fails: "octal digits"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			want := map[string]string{}
			for f, text := range start {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, f), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				want[f] = text
			}
			for f, text := range tt.change {
				if want[f] = text; text == "" {
					delete(want, f)
				} else if text == "\x00" {
					want[f] = ""
				}
			}
			out, err, _ := act(t, dir, tt.action, nil, tt.inputs...)
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("error %v, want %q", err, tt.fails)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if k, v, ok := strings.Cut(tt.output, "="); ok && strings.ReplaceAll(out[0][k], dir, "D") != v {
				t.Errorf("output %v, want %s", out, tt.output)
			}
		})
	}
}

func TestPermissions(t *testing.T) {
	dir := t.TempDir()
	_, err, _ := act(t, dir, "CreateFolder", nil, map[string]any{"path": "D/x", "permissions": "1750"})
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(dir + "/x")
	if err != nil || st.Mode() != os.ModeDir|os.ModeSticky|0o750 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

func TestCommands(t *testing.T) {
	type in = map[string]any
	for name, tt := range map[string]struct {
		action string
		in     in
		stdout string
		fails  string
		log    string
	}{
		"commands share a shell":          {action: "ExecuteBash", in: in{"commands": []any{"a=1", "echo $a; echo 2", "echo err >&2"}}, stdout: "1\n2", log: "CmdExecution: Stderr: err"},
		"the last status counts":          {action: "ExecuteBash", in: in{"commands": []any{"false", "true"}}},
		"exit status":                     {action: "ExecuteBash", in: in{"commands": []any{"echo no such package >&2; exit 3"}}, fails: "exit status 3: no such package", log: "CmdExecution: ExitCode 3"},
		"binary":                          {action: "ExecuteBinary", in: in{"path": "/bin/echo", "arguments": []any{"a b", "$c"}}, stdout: "a b $c"},
		"no binary":                       {action: "ExecuteBinary", in: in{"path": "D/none"}, fails: "no such file or directory"},
		"what led to the failure":         {action: "ExecuteBash", in: in{"commands": []any{"for i in $(seq 20); do echo line $i >&2; done; echo gone; echo ' ' >&2; exit 2"}}, fails: "exit status 2: line 13\nline 14\nline 15\nline 16\nline 17\nline 18\nline 19\nline 20"},
		"long lines":                      {action: "ExecuteBash", in: in{"commands": []any{"printf 'first\n%700s\n%500s\nlast\n' a b >&2; exit 2"}}, fails: "exit status 2: " + strings.Repeat(" ", 499) + "b\nlast"},
		"one line longer than a reason":   {action: "ExecuteBash", in: in{"commands": []any{"printf 'x%0699d' 0 >&2; exit 2"}}, fails: "exit status 2: x" + strings.Repeat("0", 599)},
		"it complains on its output":      {action: "ExecuteBash", in: in{"commands": []any{"echo archive: FAILED; exit 1"}}, fails: "exit status 1: archive: FAILED"},
		"killed":                          {action: "ExecuteBash", in: in{"commands": []any{"kill -9 $$"}}, fails: "signal: killed"},
		"a service keeps no step waiting": {action: "ExecuteBash", in: in{"commands": []any{"sleep 30 & echo $! >D/pid", "echo on"}}, stdout: "on"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			out, err, log := act(t, dir, tt.action, nil, tt.in)
			if pid, err := os.ReadFile(dir + "/pid"); err == nil {
				p := strings.TrimSpace(string(pid))
				t.Cleanup(func() { _, _, _ = act(t, t.TempDir(), "ExecuteBash", nil, in{"commands": []any{"kill " + p}}) })
			}
			switch {
			case tt.fails != "":
				if err == nil || !strings.HasSuffix(err.Error(), tt.fails) {
					t.Errorf("error %v, want %q", err, tt.fails)
				}
			case err != nil:
				t.Fatal(err)
			case out[0]["stdout"] != tt.stdout:
				t.Errorf("stdout %q, want %q", out[0]["stdout"], tt.stdout)
			}
			if !strings.Contains(log, tt.log) {
				t.Errorf("log %q lacks %q", log, tt.log)
			}
		})
	}
}

func TestStatus194AsksForAReboot(t *testing.T) {
	_, err, _ := act(t, t.TempDir(), "ExecuteBash", nil, map[string]any{"commands": []any{"exit 194"}})
	if r, ok := errors.AsType[*component.Reboot](err); !ok || !r.Again {
		t.Errorf("error %v", err)
	}
}

func TestTimeoutEndsTheWholeCommand(t *testing.T) {
	dir := t.TempDir()
	m := &Machine{Dir: dir, Grace: 20 * time.Millisecond}
	ctx, cancel := context.WithCancelCause(t.Context())
	began := make(chan struct{})
	go func() {
		<-began
		cancel(errors.New("too late"))
	}()
	_, err := m.Act(ctx, "ExecuteBash", map[string]any{"commands": []any{"trap '' TERM; echo up; sh -c 'sleep 60'"}}, func(l string) {
		if strings.Contains(l, "up") {
			close(began)
		}
	})
	if err == nil || err.Error() != "too late" {
		t.Errorf("error %v", err)
	}
}

func TestTransfers(t *testing.T) {
	sum := sha256.Sum256([]byte("body"))
	tries := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/flaky":
			if tries++; tries < 3 {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			fallthrough
		case "/dir/file":
			_, _ = io.WriteString(w, "body")
		case "/moved":
			http.Redirect(w, r, "/dir/file", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	type in = map[string]any
	store := func() objects {
		return objects{"b/p/one": "1", "b/p/two": "2", "b/p/q/three": "3", "b/other": "o"}
	}
	for name, tt := range map[string]struct {
		action string
		in     in
		files  map[string]string // afterwards; nil: as before
		puts   map[string]string
		output string
		fails  string
	}{
		"object":                 {action: "S3Download", in: in{"source": "s3://b/p/one", "destination": "D/x"}, files: map[string]string{"have/h": "h", "have/k/i": "i", "x": "1"}},
		"object into folder":     {action: "S3Download", in: in{"source": "s3://b/p/one", "destination": "D/have"}, files: map[string]string{"have/h": "h", "have/k/i": "i", "have/one": "1"}},
		"objects":                {action: "S3Download", in: in{"source": "s3://b/p/*", "destination": "D/have"}, files: map[string]string{"have/h": "h", "have/k/i": "i", "have/one": "1", "have/two": "2", "have/q/three": "3"}},
		"no object":              {action: "S3Download", in: in{"source": "s3://b/none", "destination": "D/x"}, fails: "s3://b/none"},
		"no objects":             {action: "S3Download", in: in{"source": "s3://b/none*", "destination": "D/x"}, fails: "no object matches s3://b/none*"},
		"no URL":                 {action: "S3Download", in: in{"source": "b/none", "destination": "D/x"}, fails: "write s3://BUCKET/KEY"},
		"folder must be there":   {action: "S3Download", in: in{"source": "s3://b/other", "destination": "D/no/x"}, fails: "no such file"},
		"upload":                 {action: "S3Upload", in: in{"source": "D/have/h", "destination": "s3://b/new/h"}, puts: map[string]string{"b/new/h": "h"}},
		"upload many":            {action: "S3Upload", in: in{"source": "D/have/*", "destination": "s3://b/new/"}, puts: map[string]string{"b/new/h": "h"}},
		"upload folders":         {action: "S3Upload", in: in{"source": "D/have/*", "destination": "s3://b/new/", "recurse": "true"}, puts: map[string]string{"b/new/h": "h", "b/new/k/i": "i"}},
		"upload of a folder":     {action: "S3Upload", in: in{"source": "D/have", "destination": "s3://b/new"}, fails: "set recurse to true"},
		"download":               {action: "WebDownload", in: in{"source": "URL/dir/file", "destination": "D/n/"}, files: map[string]string{"have/h": "h", "have/k/i": "i", "n/file": "body"}, output: "D/n/file"},
		"redirect and check":     {action: "WebDownload", in: in{"source": "URL/moved", "destination": "D/x", "checksum": hex.EncodeToString(sum[:]), "algorithm": "sha256"}, files: map[string]string{"have/h": "h", "have/k/i": "i", "x": "body"}, output: "D/x"},
		"wrong checksum":         {action: "WebDownload", in: in{"source": "URL/moved", "destination": "D/x", "checksum": "00", "algorithm": "SHA256"}, fails: "is " + hex.EncodeToString(sum[:]) + ", not 00"},
		"a server that recovers": {action: "WebDownload", in: in{"source": "URL/flaky", "destination": "D/x"}, files: map[string]string{"have/h": "h", "have/k/i": "i", "x": "body"}, output: "D/x"},
		"nothing there":          {action: "WebDownload", in: in{"source": "URL/none", "destination": "D/x"}, fails: "404"},
		"do not overwrite":       {action: "WebDownload", in: in{"source": "URL/dir/file", "destination": "D/have/h", "overwrite": "false"}, fails: "overwrite is false"},
		"checksum alone":         {action: "WebDownload", in: in{"source": "URL/moved", "destination": "D/x", "checksum": "00"}, fails: "belong together"},
		"foreign protocol":       {action: "WebDownload", in: in{"source": "ftp://x/y", "destination": "D/x"}, fails: "no http or https URL"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for f, text := range map[string]string{"have/h": "h", "have/k/i": "i"} {
				if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o755), os.WriteFile(filepath.Join(dir, f), []byte(text), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			o := store()
			tt.in["source"] = strings.Replace(tt.in["source"].(string), "URL", server.URL, 1)
			out, err, _ := act(t, dir, tt.action, o, tt.in)
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Fatalf("error %v, want %q", err, tt.fails)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if tt.files == nil {
				tt.files = map[string]string{"have/h": "h", "have/k/i": "i"}
			}
			if diff := cmp.Diff(tt.files, tree(t, dir)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			want := store()
			for k, v := range tt.puts {
				want[k] = v
			}
			if diff := cmp.Diff(want, o); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
			if tt.output != "" && strings.Replace(out[0]["destination"], dir, "D", 1) != tt.output {
				t.Errorf("output %v", out)
			}
		})
	}
}

func TestExecutorKeepsALogFolder(t *testing.T) {
	d, problems := component.Parse([]byte("name: n\nschemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n" +
		"      - {name: one, action: ExecuteBash, inputs: {commands: [echo hello]}}\n      - {name: two, action: Reboot}\n      - {name: three, action: ExecuteBash, inputs: {commands: ['echo no; echo none; exit 7']}}\n"))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	dir, id, err := NewLogFolder(t.TempDir(), time.Date(2021, 7, 1, 12, 34, 56, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if want := "TOE_2021-07-01_12-34-56_UTC-0_" + id; filepath.Base(dir) != want {
		t.Errorf("folder %s, want %s", filepath.Base(dir), want)
	}
	executor := func() *Executor {
		return &Executor{Dir: dir, ExecutionID: id, Sources: []component.Source{{Document: d, Path: "d.yaml"}}, Machine: &Machine{}}
	}
	if _, err := executor().Run(t.Context()); err == nil {
		t.Fatal("the document did not ask for a reboot")
	}
	r, err := executor().Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.Summary(dir), (component.Summary{ExecutionID: id, Status: component.Failed, FailedStepCount: 1, ExecutedStepCount: 3,
		FailureMessage: "Document n failed: step three of phase build: exit status 7: no\nnone", LogURL: dir}); got != want {
		t.Errorf("summary %+v, want %+v", got, want)
	}
	var said []string
	files := tree(t, dir)
	if want := `{"n":{"build":{"one":{"inputs":{"commands":["echo hello"]},"outputs":[{"stdout":"hello"}]},"three":{"inputs":{"commands":["echo no; echo none; exit 7"]},"outputs":null},"two":{"inputs":null,"outputs":null}}}}`; compact(t, files[ChainingFile]) != want {
		t.Errorf("chained values %s, want %s", compact(t, files[ChainingFile]), want)
	}
	for _, want := range []string{" Debug phase build, step one: ExecuteBash, attempt 1 of 1, timeout 7200 s, onFailure Abort\n", "step two: restart of the machine", "step three: failed after "} {
		if !strings.Contains(files[ApplicationFile], want) {
			t.Errorf("the application log lacks %q:\n%s", want, files[ApplicationFile])
		}
	}
	for f, text := range files {
		if f != ConsoleFile {
			continue
		}
		for line := range strings.Lines(text) {
			said = append(said, strings.SplitN(strings.TrimSpace(line), " ", 3)[2])
		}
	}
	want := []string{
		"Info Document d.yaml", "Info Phase build", "Info Step one", "Info ExecuteBash: STARTED EXECUTION", "Info CmdExecution: Stdout: hello", "Info CmdExecution: ExitCode 0",
		"Info ExecuteBash: FINISHED EXECUTION", "Info Step two", "Info Reboot: STARTED EXECUTION", "Info Executor: the machine is going to be restarted",
		"Info Document d.yaml", "Info Phase build", "Info Step two", "Info Executor: the machine was restarted", "Info Step three", "Info ExecuteBash: STARTED EXECUTION",
		"Info CmdExecution: Stdout: no", "Info CmdExecution: Stdout: none", "Info CmdExecution: ExitCode 7",
		"Info ExecuteBash: exit status 7: none", "Info Step three failed: exit status 7: none", "Info Executor: FINISHED EXECUTION OF ALL DOCUMENTS",
		"Info TOE has completed execution with failure - Execution failed!",
	}
	if diff := cmp.Diff(want, said); diff != "" {
		t.Errorf("console (-want +got):\n%s", diff)
	}
}

func compact(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, []byte(text)); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// A validate phase runs on the build machine, and can speak of what the build gave.
func TestPlanChainsItsPhases(t *testing.T) {
	dir, logs := t.TempDir(), t.TempDir()
	doc := "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - {name: one, action: ExecuteBash, inputs: {commands: [echo 4.2.0]}}\n" +
		"  - name: validate\n    steps:\n      - {name: same, action: Assert, inputs: {stringEquals: 4.2.0, value: '{{ build.one.outputs.stdout }}'}}\n"
	plan, err := json.Marshal(Plan{ExecutionID: "e", Phases: []string{"build", "validate"}, Documents: []PlannedDocument{{File: "d.yaml", Path: "arn:d"}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"d.yaml": []byte(doc), PlanFile: plan} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := RunPlan(t.Context(), dir, logs, &Machine{}, nil); err != nil {
		t.Fatal(err)
	}
	var out component.Outcome
	data, err := os.ReadFile(filepath.Join(logs, filepath.Base(OutcomeFile)))
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil || out.Status != component.Success || len(out.Results) != 2 {
		t.Errorf("%v, %+v", err, out)
	}
	if s := out.Summary("x"); s.ExecutedStepCount != 2 || s.ExecutionID != out.Results[1].ExecutionID {
		t.Errorf("summary %+v", s)
	}
	// The folders are those of AWS's executor, one for each phase, and have what it says there is.
	if len(out.Folders) != 2 || out.Folders[0] == out.Folders[1] {
		t.Fatalf("folders %q", out.Folders)
	}
	for i, folder := range out.Folders {
		if ok, _ := filepath.Match("TOE_????-??-??_??-??-??_UTC-0_"+out.Results[i].ExecutionID, folder); !ok {
			t.Errorf("folder %s of the execution %s", folder, out.Results[i].ExecutionID)
		}
		for _, name := range append([]string{DocumentFile}, LogFiles...) {
			if _, err := os.Stat(filepath.Join(logs, folder, name)); err != nil {
				t.Error(err)
			}
		}
	}
	// Whoever begins again finds them.
	again, _, err := phaseFolder(logs, "build", "e")
	if err != nil || filepath.Base(again) != out.Folders[0] {
		t.Errorf("another folder when it begins again: %s, %v", again, err)
	}
}

// TestUpdateOSOfSomePackages runs it on stand-ins of package managers.
func TestUpdateOSOfSomePackages(t *testing.T) {
	for name, tt := range map[string]struct {
		manager          string
		include, exclude []any
		want             string
	}{
		"apt, all":                   {"apt-get", nil, nil, "update; upgrade"},
		"apt, some":                  {"apt-get", []any{"a", "b"}, nil, "update; install --only-upgrade a b"},
		"apt, all but some":          {"apt-get", nil, []any{"a"}, "update; mark hold a; upgrade; mark unhold a"},
		"apt, some but not all":      {"apt-get", []any{"a", "b"}, []any{"b", "c"}, "update; install --only-upgrade a"},
		"apt, some, and all of them": {"apt-get", []any{"a"}, []any{"a"}, "update"},
		"dnf, some but not all":      {"dnf", []any{"a", "b"}, []any{"b"}, "--exclude=b update a b"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			log := filepath.Join(dir, "log")
			for program, word := range map[string]string{tt.manager: "", "apt-mark": "mark "} {
				text := "#!/bin/sh\nfor a; do shift; case \"$a\" in -q|-y|-o|*=confdef|*::*) ;; *) set -- \"$@\" \"$a\" ;; esac; done\necho \"" + word + "$*\" >>" + log + "\n"
				if err := os.WriteFile(filepath.Join(dir, program), []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for _, tool := range []string{"env", "sh"} {
				path, err := exec.LookPath(tool)
				if err == nil {
					err = os.Symlink(path, filepath.Join(dir, tool))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", dir)
			m := &Machine{Dir: dir}
			if _, err := m.Act(t.Context(), "UpdateOS", map[string]any{"include": tt.include, "exclude": tt.exclude}, func(string) {}); err != nil {
				t.Fatal(err)
			}
			done, err := os.ReadFile(log)
			if got := strings.ReplaceAll(strings.TrimSpace(string(done)), "\n", "; "); err != nil || got != tt.want {
				t.Errorf("%q, want %q, %v", got, tt.want, err)
			}
		})
	}
}

// Every module of AWS's list for Linux has an implementation and is known to the
// language (AWS documentation: "Action modules supported by AWSTOE component
// manager"); those of Windows are refused with a reason.
func TestActionModules(t *testing.T) {
	for action, inputs := range map[string]string{
		"Assert": "{stringIsEmpty: ''}", "ExecuteBash": "{commands: [ls]}", "ExecuteBinary": "{path: ls}", "ExecuteDocument": "[{document: d}]",
		"S3Download": "[{source: 's3://b/k', destination: /x}]", "S3Upload": "[{source: /x, destination: 's3://b/k'}]", "WebDownload": "[{source: 'https://a/b', destination: /x}]",
		"AppendFile": "[{path: /x}]", "CopyFile": "[{source: /x, destination: /y}]", "CopyFolder": "[{source: /x, destination: /y}]", "CreateFile": "[{path: /x}]",
		"CreateFolder": "[{path: /x}]", "CreateSymlink": "[{path: /x, target: /y}]", "DeleteFile": "[{path: /x}]", "DeleteFolder": "[{path: /x}]", "ListFiles": "[{path: /x}]",
		"MoveFile": "[{source: /x, destination: /y}]", "MoveFolder": "[{source: /x, destination: /y}]", "ReadFile": "[{path: /x}]", "SetFileEncoding": "[{path: /x}]",
		"SetFileOwner": "[{path: /x, owner: root}]", "SetFolderOwner": "[{path: /x, owner: root}]", "SetFilePermissions": "[{path: /x, permissions: 0600}]",
		"SetFolderPermissions": "[{path: /x, permissions: 0700}]", "Reboot": "{delaySeconds: 1}", "UpdateOS": "{}",
	} {
		if _, problems := component.Parse([]byte("schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - name: s\n        action: " + action + "\n        inputs: " + inputs + "\n")); len(problems) > 0 {
			t.Errorf("%s: %v", action, problems)
		}
		if _, ok := modules[action]; !ok && action != "Assert" && action != "ExecuteDocument" { // those two are the language's own
			t.Errorf("%s is not implemented", action)
		}
	}
	for action, reason := range map[string]string{"SetRegistry": "Linux has no registry", "ExecutePowerShell": "Windows only", "InstallMSI": "Windows only", "UninstallMSI": "Windows only"} {
		_, problems := component.Parse([]byte("schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - name: s\n        action: " + action + "\n        inputs: {}\n"))
		if err := problems.Err(); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%s: %v", action, err)
		}
	}
}
