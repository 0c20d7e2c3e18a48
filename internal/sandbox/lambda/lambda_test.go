package lambda

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"pcluster/internal/sandbox/logs"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
)

// program is a function as users write them, with Lambda's own Go runtime.
const program = `package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	lambda.Start(func(ctx context.Context, in map[string]string) (map[string]string, error) {
		fmt.Println("got", in["do"])
		if count := in["count"]; count != "" {
			f, err := os.OpenFile(count, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				return nil, err
			}
			f.WriteString(in["do"] + "\n")
			f.Close()
		}
		switch in["do"] {
		case "fail":
			return nil, errors.New("no luck")
		case "exit":
			os.Exit(3)
		case "hang":
			time.Sleep(time.Hour)
		}
		return map[string]string{"key": os.Getenv("AWS_ACCESS_KEY_ID"), "endpoint": os.Getenv("AWS_ENDPOINT_URL"), "mine": os.Getenv("MINE"), "pid": fmt.Sprint(os.Getpid())}, nil
	})
}
`

// code builds the program once for all tests of the package.
var code = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp(".", "_program-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600); err != nil {
		return nil, err
	}
	bin := filepath.Join(dir, "bootstrap")
	cmd := exec.Command("go", "build", "-o", bin, "./"+dir)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.New(string(out))
	}
	data, err := os.ReadFile(bin)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	h := &zip.FileHeader{Name: "bootstrap"}
	h.SetMode(0o755)
	w, err := z.CreateHeader(h)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
})

type fixed struct{}

func (fixed) Object(context.Context, string, string, string) ([]byte, error) {
	return nil, errors.New("NoSuchKey")
}

func (fixed) RoleCredentials(context.Context, string, string) (string, string, string, time.Time, error) {
	return "ASIAEXAMPLE", "secret", "token", time.Time{}, nil
}

func open(t *testing.T) *Service {
	t.Helper()
	return openOn(t, store.Memory())
}

func openOn(t *testing.T, db *store.DB) *Service {
	t.Helper()
	id := region.NewIdentity("", "")
	l, err := logs.New(store.Memory(), id, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(db, id, Config{
		Dir: t.TempDir(), Objects: fixed{}, Credentials: fixed{}, Logs: l,
		Endpoint: func() string { return "https://127.0.0.1:4566" }, CABundle: "/nowhere.pem",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func create(t *testing.T, s *Service, timeout int32) {
	t.Helper()
	z, err := code()
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: aws.String("f"), Role: aws.String("arn:aws:iam::111122223333:role/f"), Runtime: types.RuntimeProvidedal2023, Handler: aws.String("bootstrap"),
		Code: &types.FunctionCode{ZipFile: z}, Timeout: &timeout, Environment: &types.Environment{Variables: map[string]string{"MINE": "yes"}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func invoke(t *testing.T, s *Service, do string) (map[string]string, *lambda.InvokeOutput) {
	t.Helper()
	out, err := s.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("f"), Payload: []byte(`{"do":"` + do + `"}`), LogType: types.LogTypeTail})
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]string
	_ = json.Unmarshal(out.Payload, &answer)
	return answer, out
}

func TestFunctionRunsWarmWithItsRole(t *testing.T) {
	s := open(t)
	create(t, s, 60)
	first, out := invoke(t, s, "work")
	if out.FunctionError != nil || first["key"] != "ASIAEXAMPLE" || first["endpoint"] != "https://127.0.0.1:4566" || first["mine"] != "yes" {
		t.Fatalf("answer %v, error %v", first, aws.ToString(out.FunctionError))
	}
	if second, _ := invoke(t, s, "work"); second["pid"] != first["pid"] {
		t.Error("the second event was not given to the warm process")
	}
	if _, err := s.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("f"), Environment: &types.Environment{Variables: map[string]string{"MINE": "changed"}}}); err != nil {
		t.Fatal(err)
	}
	if third, _ := invoke(t, s, "work"); third["pid"] == first["pid"] || third["mine"] != "changed" {
		t.Errorf("after the change the old process answered: %v", third)
	}
}

func TestFailuresOfFunctionsAreAnswers(t *testing.T) {
	s := open(t)
	create(t, s, 60)
	within := func(seconds int32) {
		t.Helper()
		if _, err := s.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("f"), Timeout: &seconds}); err != nil {
			t.Fatal(err)
		}
	}
	for do, want := range map[string]string{"fail": "no luck", "exit": "Runtime.ExitError", "hang": "Task timed out after 1.00 seconds"} {
		if do == "hang" {
			within(1)
		}
		if _, out := invoke(t, s, do); aws.ToString(out.FunctionError) != "Unhandled" || !strings.Contains(string(out.Payload), want) {
			t.Errorf("%s: error %q, payload %s", do, aws.ToString(out.FunctionError), out.Payload)
		}
		within(60)
		if _, out := invoke(t, s, "work"); out.FunctionError != nil {
			t.Errorf("after %s the next event failed: %s", do, out.Payload)
		}
	}
}

func TestNoProcessOutlivesTheService(t *testing.T) {
	s := open(t)
	create(t, s, 60)
	answer, _ := invoke(t, s, "work")
	s.Close()
	if _, err := os.Stat("/proc/" + answer["pid"]); err == nil {
		t.Error("the function's process is still there")
	}
}

func TestWhatIsNotAFunction(t *testing.T) {
	s := open(t)
	create(t, s, 60)
	code := func(err error) string {
		var api smithy.APIError
		if errors.As(err, &api) {
			return api.ErrorCode()
		}
		return ""
	}
	z := &types.FunctionCode{ZipFile: []byte("no zip")}
	in := lambda.CreateFunctionInput{FunctionName: aws.String("g"), Role: aws.String("arn:aws:iam::1:role/r"), Runtime: types.RuntimePython312, Handler: aws.String("h"), Code: z}
	if _, err := s.CreateFunction(t.Context(), &in); code(err) != "InvalidParameterValueException" {
		t.Errorf("a file that is no zip: %v", err)
	}
	in.FunctionName = aws.String("f")
	if _, err := s.CreateFunction(t.Context(), &in); code(err) != "ResourceConflictException" {
		t.Errorf("a taken name: %v", err)
	}
	if _, err := s.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("nobody")}); code(err) != "ResourceNotFoundException" {
		t.Errorf("an unknown function: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.cfg.Dir, "unpack-*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// lines returns the lines of a file that may not be there yet.
func lines(path string) []string {
	data, _ := os.ReadFile(path)
	return strings.Fields(string(data))
}

func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 60_000 {
		if holds() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("no %s", what)
}

func TestLogTellsStartEndAndReport(t *testing.T) {
	s := open(t)
	create(t, s, 60)
	_, out := invoke(t, s, "work")
	tail, err := base64.StdEncoding.DecodeString(aws.ToString(out.LogResult))
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile(`^START RequestId: (\S+) Version: \$LATEST
got work
END RequestId: \S+
REPORT RequestId: \S+	Duration: [\d.]+ ms	Billed Duration: \d+ ms	Memory Size: 128 MB	Max Memory Used: [1-9]\d* MB	Init Duration: [\d.]+ ms	
$`)
	if !form.Match(tail) {
		t.Errorf("log:\n%s", tail)
	}
	events, err := s.cfg.Logs.(*logs.Service).FilterLogEvents(t.Context(), &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("/aws/lambda/f")})
	if err != nil {
		t.Fatal(err)
	}
	if len(events.Events) != 4 || aws.ToString(events.Events[1].Message) != "got work" {
		t.Errorf("events of the group: %v", events.Events)
	}
	if _, out := invoke(t, s, "work"); strings.Contains(aws.ToString(out.LogResult), base64.StdEncoding.EncodeToString([]byte("Init"))) {
		t.Error("a warm start reports an init duration")
	}
}

func TestEventThatNobodyWaitsForIsTriedThreeTimes(t *testing.T) {
	s := open(t)
	s.retries = []time.Duration{time.Millisecond, time.Millisecond}
	create(t, s, 60)
	for do, want := range map[string]int{"fail": 3, "work": 1} {
		count := filepath.Join(t.TempDir(), "count")
		out, err := s.Invoke(t.Context(), &lambda.InvokeInput{
			FunctionName: aws.String("f"), InvocationType: types.InvocationTypeEvent, Payload: []byte(`{"do": "` + do + `", "count": "` + count + `"}`),
		})
		if err != nil || out.StatusCode != 202 {
			t.Fatalf("Invoke: %v, %v", out, err)
		}
		waitFor(t, "end of the event", func() bool { return s.events.Len() == 0 })
		if got := lines(count); len(got) != want {
			t.Errorf("%s: tried %d times, want %d", do, len(got), want)
		}
	}
}

func TestEventUnderWaySurvivesTheService(t *testing.T) {
	path := filepath.Join(t.TempDir(), "region.db")
	db, err := store.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	s := openOn(t, db)
	create(t, s, 900)
	count := filepath.Join(t.TempDir(), "count")
	if _, err := s.Invoke(t.Context(), &lambda.InvokeInput{
		FunctionName: aws.String("f"), InvocationType: types.InvocationTypeEvent, Payload: []byte(`{"do": "hang", "count": "` + count + `"}`),
	}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "event at work", func() bool { return len(lines(count)) == 1 })
	done := make(chan struct{})
	go func() { s.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("Close waits for a function that hangs")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = store.Open(path); err != nil {
		t.Fatal(err)
	}
	dir := s.cfg.Dir
	s, err = New(db, region.NewIdentity("", ""), Config{Dir: dir, Objects: fixed{}, Credentials: fixed{}, Logs: s.cfg.Logs, Endpoint: func() string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	s.Start(t.Context())
	waitFor(t, "second try", func() bool { return len(lines(count)) == 2 })
	s.Close()
	_ = db.Close()
}

func TestOldCodeIsRemoved(t *testing.T) {
	s := open(t)
	create(t, s, 60)
	var other bytes.Buffer
	z := zip.NewWriter(&other)
	if w, err := z.Create("bootstrap"); err != nil {
		t.Fatal(err)
	} else if _, err := w.Write([]byte("#!/bin/sh\nexit 7\n")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: aws.String("f"), ZipFile: other.Bytes()}); err != nil {
		t.Fatal(err)
	}
	if _, out := invoke(t, s, "work"); !strings.Contains(string(out.Payload), "bootstrap") {
		t.Errorf("a bootstrap that cannot be executed: %s", out.Payload)
	}
	s.pruneCode()
	if dirs, _ := filepath.Glob(filepath.Join(s.cfg.Dir, "*")); len(dirs) != 1 {
		t.Errorf("code: %v", dirs)
	}
	if _, err := s.DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: aws.String("f")}); err != nil {
		t.Fatal(err)
	}
	if dirs, _ := filepath.Glob(filepath.Join(s.cfg.Dir, "*")); len(dirs) != 0 {
		t.Errorf("code after the deletion: %v", dirs)
	}
}

func TestOnlyTheLatestVersionExists(t *testing.T) {
	s := open(t)
	create(t, s, 60)
	_, err := s.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("f"), Qualifier: aws.String("prod")})
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != "ResourceNotFoundException" {
		t.Errorf("Invoke of a version: %v", err)
	}
}
