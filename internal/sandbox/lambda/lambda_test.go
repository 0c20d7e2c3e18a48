package lambda

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
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
	dir, err := os.MkdirTemp(".", "testdata-program-")
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
	id := region.NewIdentity("", "")
	l, err := logs.New(store.Memory(), id, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(store.Memory(), id, Config{
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
	create(t, s, 3)
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
	create(t, s, 1)
	for do, want := range map[string]string{"fail": "no luck", "exit": "Runtime.ExitError", "hang": "Task timed out after 1.00 seconds"} {
		if _, out := invoke(t, s, do); aws.ToString(out.FunctionError) != "Unhandled" || !strings.Contains(string(out.Payload), want) {
			t.Errorf("%s: error %q, payload %s", do, aws.ToString(out.FunctionError), out.Payload)
		}
		if _, out := invoke(t, s, "work"); out.FunctionError != nil {
			t.Errorf("after %s the next event failed: %s", do, out.Payload)
		}
	}
}

func TestNoProcessOutlivesTheService(t *testing.T) {
	s := open(t)
	create(t, s, 3)
	answer, _ := invoke(t, s, "work")
	s.Close()
	if _, err := os.Stat("/proc/" + answer["pid"]); err == nil {
		t.Error("the function's process is still there")
	}
}

func TestWhatIsNotAFunction(t *testing.T) {
	s := open(t)
	create(t, s, 3)
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
