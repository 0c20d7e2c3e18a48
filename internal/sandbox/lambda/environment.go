package lambda

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	cwltypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	"github.com/google/uuid"

	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/wire"
)

// warmFor is how long an environment waits for its next event.
const warmFor = 10 * time.Second

// initTimeout bounds the start of a runtime (Lambda's init phase).
const initTimeout = 10 * time.Second

// Invoke runs a function with an event: in a warm environment if one is idle, else
// in a new one.
func (s *Service) Invoke(ctx context.Context, in *lambda.InvokeInput) (*lambda.InvokeOutput, error) {
	f, err := s.find(in.FunctionName)
	if err != nil {
		return nil, err
	}
	payload := in.Payload
	if len(payload) == 0 {
		payload = []byte("{}")
	}
	if !json.Valid(payload) {
		return nil, wire.Errorf("InvalidRequestContentException", "Could not parse request body into json")
	}
	switch in.InvocationType {
	case types.InvocationTypeDryRun:
		return &lambda.InvokeOutput{StatusCode: 204}, nil
	case types.InvocationTypeEvent:
		s.running.Add(1)
		go func() {
			defer s.running.Done()
			if r, err := s.run(context.WithoutCancel(ctx), f, payload); err != nil {
				s.cfg.Log.Error("invoke function", "function", f.Name, "err", err)
			} else if r.failed != "" {
				s.cfg.Log.Warn("function failed", "function", f.Name, "answer", string(r.payload))
			}
		}()
		return &lambda.InvokeOutput{StatusCode: 202}, nil
	}
	r, err := s.run(ctx, f, payload)
	if err != nil {
		return nil, err
	}
	out := &lambda.InvokeOutput{StatusCode: 200, ExecutedVersion: aws.String("$LATEST"), Payload: r.payload}
	if r.failed != "" {
		out.FunctionError = aws.String(r.failed)
	}
	if in.LogType == types.LogTypeTail {
		tail := r.log
		if len(tail) > 4096 {
			tail = tail[len(tail)-4096:]
		}
		out.LogResult = aws.String(base64.StdEncoding.EncodeToString([]byte(tail)))
	}
	return out, nil
}

// A response is the end of an invocation.
type response struct {
	payload []byte
	failed  string // Unhandled, or empty
	log     string
}

// functionError is the payload of an invocation that Lambda itself ended.
func functionError(kind, format string, args ...any) response {
	text, _ := json.Marshal(map[string]string{"errorType": kind, "errorMessage": fmt.Sprintf(format, args...)}) // two strings can't fail
	return response{payload: text, failed: "Unhandled"}
}

func (s *Service) run(ctx context.Context, f function, payload []byte) (response, error) {
	e, err := s.take(ctx, f)
	if err != nil {
		var r *runtimeError
		if errors.As(err, &r) {
			return functionError(r.kind, "%s", r.message), nil
		}
		return response{}, err
	}
	r, healthy := e.invoke(ctx, payload)
	s.ship(ctx, f, e.stream, r.log)
	if healthy {
		s.give(f, e)
	} else {
		e.stop()
	}
	return r, nil
}

// take returns an idle environment of the function as it is now, or a new one.
func (s *Service) take(ctx context.Context, f function) (*environment, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, wire.Errorf("ServiceException", "The region is going down.")
	}
	for list := s.idle[f.Name]; len(list) > 0; {
		e := list[len(list)-1]
		s.idle[f.Name] = list[:len(list)-1]
		if e.expire.Stop() && e.revision == f.Revision {
			s.mu.Unlock()
			return e, nil
		}
		go e.stop()
		list = s.idle[f.Name]
	}
	s.mu.Unlock()
	return s.newEnvironment(ctx, f)
}

// give keeps an environment warm for a while.
func (s *Service) give(f function, e *environment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if current, ok := s.functions.Get(f.Name); s.closed || !ok || current.Revision != e.revision {
		go e.stop()
		return
	}
	s.idle[f.Name] = append(s.idle[f.Name], e)
	e.expire = time.AfterFunc(warmFor, func() {
		s.mu.Lock()
		s.idle[f.Name] = slices.DeleteFunc(s.idle[f.Name], func(o *environment) bool { return o == e })
		s.mu.Unlock()
		e.stop()
	})
}

// retire ends the idle environments of a function that changed. s.mu is held.
func (s *Service) retire(name string) {
	for _, e := range s.idle[name] {
		if e.expire.Stop() {
			go e.stop()
		}
	}
	delete(s.idle, name)
}

// A runtimeError is a function that can't start.
type runtimeError struct{ kind, message string }

func (e *runtimeError) Error() string { return e.kind + ": " + e.message }

// An environment is one process of a function and the runtime API that it talks
// to.
type environment struct {
	f        function
	arn      string
	revision string
	stream   string // of its log
	expire   *time.Timer

	listener net.Listener
	server   *http.Server
	cmd      *exec.Cmd
	exited   chan struct{}

	next     chan invocation // to the process
	done     chan response   // from the process
	stopOnce sync.Once

	logMu sync.Mutex
	log   strings.Builder
}

// An invocation is one event under way.
type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
}

func (s *Service) newEnvironment(ctx context.Context, f function) (*environment, error) {
	if !strings.HasPrefix(string(f.Runtime), "provided") {
		return nil, &runtimeError{"Runtime.InvalidRuntime", fmt.Sprintf("this region runs functions of the runtimes provided.al2023 and provided.al2, not %s", f.Runtime)}
	}
	dir := s.codeDir(f)
	program := filepath.Join(dir, "bootstrap")
	if info, err := os.Stat(program); err != nil || info.Mode()&0o111 == 0 {
		return nil, &runtimeError{"Runtime.InvalidEntrypoint", "the code has no executable file bootstrap"}
	}
	key, secret, token, _, err := s.cfg.Credentials.RoleCredentials(ctx, f.Role, f.Name)
	if err != nil {
		return nil, fmt.Errorf("credentials of function %s: %w", f.Name, err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &environment{
		f: f, arn: s.arn(f.Name), revision: f.Revision, listener: listener, exited: make(chan struct{}),
		next: make(chan invocation), done: make(chan response, 1),
		stream: s.now().UTC().Format("2006/01/02") + "/[$LATEST]" + region.Hex(32),
	}
	e.server = &http.Server{Handler: e.runtimeAPI()}
	go func() { _ = e.server.Serve(listener) }() // ends with stop
	e.cmd = exec.Command(program)
	e.cmd.Dir = dir
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	e.cmd.Env = append([]string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=en_US.UTF-8", "TZ=:UTC", "HOME=/tmp",
		"AWS_LAMBDA_RUNTIME_API=" + listener.Addr().String(), "_HANDLER=" + f.Handler, "LAMBDA_TASK_ROOT=" + dir, "LAMBDA_RUNTIME_DIR=" + dir,
		"AWS_LAMBDA_FUNCTION_NAME=" + f.Name, "AWS_LAMBDA_FUNCTION_VERSION=$LATEST", fmt.Sprintf("AWS_LAMBDA_FUNCTION_MEMORY_SIZE=%d", f.Memory),
		"AWS_LAMBDA_LOG_GROUP_NAME=" + f.logGroup(), "AWS_LAMBDA_LOG_STREAM_NAME=" + e.stream, "AWS_EXECUTION_ENV=AWS_Lambda_" + string(f.Runtime),
		"AWS_REGION=" + s.id.Name(), "AWS_DEFAULT_REGION=" + s.id.Name(),
		"AWS_ACCESS_KEY_ID=" + key, "AWS_SECRET_ACCESS_KEY=" + secret, "AWS_SESSION_TOKEN=" + token,
		"AWS_ENDPOINT_URL=" + s.cfg.Endpoint(), "SSL_CERT_FILE=" + s.cfg.CABundle, "AWS_CA_BUNDLE=" + s.cfg.CABundle,
	}, variables(f.Variables)...)
	output, err := e.cmd.StdoutPipe()
	if err == nil {
		e.cmd.Stderr = e.cmd.Stdout
		err = s.startProcess(e.cmd)
	}
	if err != nil {
		_ = e.server.Close()
		return nil, &runtimeError{"Runtime.InvalidEntrypoint", err.Error()}
	}
	go e.collect(output)
	return e, nil
}

// A start asks the service's starter for a process.
type start struct {
	cmd   *exec.Cmd
	reply chan<- error
}

// startProcesses starts functions' processes from one thread that lives as long
// as the service: the kernel kills them when the thread that started them ends
// (Pdeathsig), which must mean the daemon's end, and Go ends threads at will.
func (s *Service) startProcesses() {
	runtime.LockOSThread() // never unlocked: the thread goes with the goroutine
	for st := range s.starts {
		st.reply <- st.cmd.Start()
	}
}

func (s *Service) startProcess(cmd *exec.Cmd) error {
	reply := make(chan error)
	s.starts <- start{cmd, reply}
	return <-reply
}

func variables(m map[string]string) []string {
	var list []string
	for k, v := range m {
		list = append(list, k+"="+v)
	}
	return list
}

// collect keeps what the process prints, and notices its end.
func (e *environment) collect(output io.Reader) {
	r := bufio.NewReader(output)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			e.logMu.Lock()
			e.log.WriteString(line)
			e.logMu.Unlock()
		}
		if err != nil {
			break
		}
	}
	_ = e.cmd.Wait() // how it ended does not matter: it should not have
	close(e.exited)
}

func (e *environment) takeLog() string {
	e.logMu.Lock()
	defer e.logMu.Unlock()
	text := e.log.String()
	e.log.Reset()
	return text
}

// stop ends the process with all its children and the runtime API.
func (e *environment) stop() {
	e.stopOnce.Do(func() {
		_ = syscall.Kill(-e.cmd.Process.Pid, syscall.SIGKILL)
		_ = e.server.Close()
		<-e.exited
	})
}

// invoke hands an event to the process and waits for the answer, the function's
// timeout, or the end of the process. An environment is healthy when it can take
// another event.
func (e *environment) invoke(ctx context.Context, payload []byte) (r response, healthy bool) {
	begin := time.Now()
	inv := invocation{id: uuid.NewString(), payload: payload, deadline: begin.Add(time.Duration(e.f.Timeout) * time.Second)}
	timeout := time.NewTimer(time.Until(inv.deadline))
	defer timeout.Stop()
	select {
	case e.next <- inv:
		select {
		case r = <-e.done:
			healthy = true
		case <-e.exited:
			r = functionError("Runtime.ExitError", "RequestId: %s Error: Runtime exited without providing a reason", inv.id)
		case <-timeout.C:
			r = functionError("Sandbox.Timedout", "RequestId: %s Error: Task timed out after %d.00 seconds", inv.id, e.f.Timeout)
		case <-ctx.Done():
			r = functionError("Sandbox.Failure", "RequestId: %s Error: %v", inv.id, ctx.Err())
		}
	case <-e.exited:
		r = functionError("Runtime.ExitError", "RequestId: %s Error: Runtime exited before it asked for an event", inv.id)
	case <-time.After(initTimeout):
		r = functionError("Sandbox.Timedout", "RequestId: %s Error: the runtime did not ask for an event in %s", inv.id, initTimeout)
	}
	took := float64(time.Since(begin).Microseconds()) / 1000
	r.log = fmt.Sprintf("START RequestId: %s Version: $LATEST\n%sEND RequestId: %s\nREPORT RequestId: %s\tDuration: %.2f ms\tBilled Duration: %.0f ms\tMemory Size: %d MB\t\n",
		inv.id, e.takeLog(), inv.id, inv.id, took, took+1, e.f.Memory)
	return r, healthy
}

// runtimeAPI is the API that runtimes talk to (Lambda Developer Guide, "Using the
// Lambda runtime API for custom runtimes").
func (e *environment) runtimeAPI() http.Handler {
	mux := http.NewServeMux()
	const base = "/2018-06-01/runtime/"
	mux.HandleFunc("GET "+base+"invocation/next", func(w http.ResponseWriter, r *http.Request) {
		select {
		case inv := <-e.next:
			h := w.Header()
			h.Set("Content-Type", "application/json")
			h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
			h.Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(inv.deadline.UnixMilli()))
			h.Set("Lambda-Runtime-Invoked-Function-Arn", e.arn)
			h.Set("Lambda-Runtime-Trace-Id", "Root=1-"+region.Hex(8)+"-"+region.Hex(24))
			_, _ = w.Write(inv.payload) // a runtime that is gone shows as its exit
		case <-r.Context().Done():
		}
	})
	answer := func(failed string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(io.LimitReader(r.Body, 6<<20+1)) // Lambda's limit of responses
			if err != nil || len(body) > 6<<20 {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
			select {
			case e.done <- response{payload: body, failed: failed}:
			default: // the invocation ended before, by its timeout
			}
			w.WriteHeader(http.StatusAccepted)
		}
	}
	mux.HandleFunc("POST "+base+"invocation/{id}/response", answer(""))
	mux.HandleFunc("POST "+base+"invocation/{id}/error", answer("Unhandled"))
	mux.HandleFunc("POST "+base+"init/error", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		e.logMu.Lock()
		e.log.WriteString("init error: " + string(body) + "\n")
		e.logMu.Unlock()
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}

// ship puts an invocation's log into the function's group, which is made when
// missing, as Lambda does. Logs that can't be kept do not fail the invocation.
func (s *Service) ship(ctx context.Context, f function, stream, text string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	group := f.logGroup()
	now := s.now().UnixMilli()
	var events []cwltypes.InputLogEvent
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			events = append(events, cwltypes.InputLogEvent{Message: aws.String(line), Timestamp: aws.Int64(now)})
		}
	}
	put := func() error {
		_, err := s.cfg.Logs.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{LogGroupName: &group, LogStreamName: &stream, LogEvents: events})
		return err
	}
	err := put()
	if isCode(err, "ResourceNotFoundException") {
		_, err = s.cfg.Logs.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &group})
		if err == nil || isCode(err, "ResourceAlreadyExistsException") {
			_, err = s.cfg.Logs.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: &group, LogStreamName: &stream})
		}
		if err == nil {
			err = put()
		}
	}
	if err != nil {
		s.cfg.Log.Warn("keep a function's log", "function", f.Name, "err", err)
	}
}

func isCode(err error, code string) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == code
}
