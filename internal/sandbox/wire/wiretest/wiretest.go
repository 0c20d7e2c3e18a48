// Package wiretest serves services of the sandbox to real clients in tests: the
// SDK's, the aws command, boto3.
package wiretest

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"pcluster/internal/awsclient"
	"pcluster/internal/sandbox/wire"
)

// Registrar is a service of the sandbox.
type Registrar interface{ Register(*wire.Service) }

// A Server is an endpoint on loopback.
type Server struct {
	*wire.Endpoint
	URL        string
	key, token string
	secret     string
}

const account = "111122223333"

// anyone is an Authenticator with one key.
type anyone struct{}

func (anyone) LookupKey(id string) (wire.Caller, string, string, bool) {
	return wire.Caller{AccessKeyID: id, AccountID: account, ARN: "arn:aws:iam::" + account + ":user/tester", UserID: "AIDATESTER"}, "test-secret", "", id == "AKIATESTER"
}

// Serve starts an endpoint for services, by the names of their API models.
func Serve(t testing.TB, services map[string]Registrar) *Server {
	t.Helper()
	e := &wire.Endpoint{Auth: anyone{}, Services: map[string]http.Handler{}}
	for name, s := range services {
		w, err := wire.NewService(name)
		if err != nil {
			t.Fatal(err)
		}
		s.Register(w)
		if err := w.Compile(); err != nil {
			t.Fatal(err)
		}
		e.Services[name] = w
	}
	srv := httptest.NewServer(e)
	t.Cleanup(srv.Close)
	return &Server{Endpoint: e, URL: srv.URL, key: "AKIATESTER", secret: "test-secret"}
}

// As makes the server's clients use other credentials.
func (s *Server) As(key, secret, token string) *Server {
	c := *s
	c.key, c.secret, c.token = key, secret, token
	return &c
}

// Config is for the SDK's clients.
func (s *Server) Config() aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(s.URL),
		Credentials: credentials.NewStaticCredentialsProvider(s.key, s.secret, s.token),
		Retryer:     OnlyConnections, APIOptions: awsclient.Options,
	}
}

// OnlyConnections repeats calls whose connection broke, as every user's client does,
// and none that AWS answered.
func OnlyConnections() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = 3
		o.Retryables = []retry.IsErrorRetryable{retry.RetryableConnectionError{}}
		o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
	})
}

// Env is the environment that points other clients at the server.
func (s *Server) Env() []string {
	env := []string{
		"AWS_ENDPOINT_URL=" + s.URL, "AWS_ACCESS_KEY_ID=" + s.key, "AWS_SECRET_ACCESS_KEY=" + s.secret, "AWS_DEFAULT_REGION=us-east-1",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1", "AWS_PAGER=",
	}
	if s.token != "" {
		env = append(env, "AWS_SESSION_TOKEN="+s.token)
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") {
			env = append(env, v)
		}
	}
	return env
}

// AWS runs the aws command and returns what it prints, errors included. Without
// the command the test is skipped.
func (s *Server) AWS(t testing.TB, args ...string) (out string, ok bool) {
	t.Helper()
	return s.run(t, "aws", args...)
}

// Python runs a program with boto3 and returns what it prints. Without boto3 the
// test is skipped.
func (s *Server) Python(t testing.TB, program string) (out string, ok bool) {
	t.Helper()
	if err := exec.Command("python3", "-c", "import boto3").Run(); err != nil {
		t.Skip("skipped: python3 with boto3 is not installed")
	}
	return s.run(t, "python3", "-c", program)
}

func (s *Server) run(t testing.TB, program string, args ...string) (string, bool) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Skipf("skipped: %s is not installed", program)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = s.Env()
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err == nil
}
