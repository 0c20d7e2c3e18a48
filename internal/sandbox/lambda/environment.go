package lambda

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
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

// maxEnvironments bounds the processes of all functions, as a laptop has to carry
// them. AWS allows a thousand.
const maxEnvironments = 50

// maxPayload is the size of events and answers that Lambda takes.
const maxPayload = 6 << 20

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
	if q := aws.ToString(in.Qualifier); q != "" && q != "$LATEST" {
		return nil, &wire.Error{Code: "ResourceNotFoundException", Message: "Function not found: " + s.arn(f.Name) + ":" + q, Status: 404}
	}
	if len(payload) > maxPayload {
		return nil, &wire.Error{Code: "RequestTooLargeException", Message: fmt.Sprintf("%d byte payload is too large for the Invoke operation (limit %d bytes)", len(payload), maxPayload), Status: 413}
	}
	switch in.InvocationType {
	case types.InvocationTypeDryRun:
		return &lambda.InvokeOutput{StatusCode: 204}, nil
	case types.InvocationTypeEvent:
		return &lambda.InvokeOutput{StatusCode: 202}, s.queue(f, payload)
	}
	// A caller who goes away does not end the function.
	r, err := s.run(context.WithoutCancel(ctx), f, payload)
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
	if healthy {
		s.give(f, e)
	} else {
		s.drop(e)
	}
	return r, nil
}

// drop ends an environment for good.
func (s *Service) drop(e *environment) {
	e.stop()
	s.mu.Lock()
	delete(s.environments, e)
	s.mu.Unlock()
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
		go s.drop(e)
		list = s.idle[f.Name]
	}
	if len(s.environments)+s.opening >= maxEnvironments {
		s.mu.Unlock()
		return nil, &wire.Error{Code: "TooManyRequestsException", Message: "Rate Exceeded.", Status: 429, Fields: map[string]string{"Reason": "ConcurrentInvocationLimitExceeded"}}
	}
	s.opening++
	s.mu.Unlock()
	e, err := s.newEnvironment(ctx, f)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opening--
	if err != nil {
		return nil, err
	}
	if s.closed { // meanwhile
		go e.stop()
		return nil, wire.Errorf("ServiceException", "The region is going down.")
	}
	s.environments[e] = true
	return e, nil
}

// give keeps an environment warm for a while.
func (s *Service) give(f function, e *environment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if current, ok := s.functions.Get(f.Name); s.closed || !ok || current.Revision != e.revision {
		go s.drop(e)
		return
	}
	s.idle[f.Name] = append(s.idle[f.Name], e)
	e.expire = time.AfterFunc(warmFor, func() {
		s.mu.Lock()
		s.idle[f.Name] = slices.DeleteFunc(s.idle[f.Name], func(o *environment) bool { return o == e })
		s.mu.Unlock()
		s.drop(e)
	})
}

// retire ends the idle environments of a function that changed. s.mu is held.
func (s *Service) retire(name string) {
	for _, e := range s.idle[name] {
		if e.expire.Stop() {
			go s.drop(e)
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
	opened   time.Time
	initTook time.Duration // until the first event was taken; negative from the second on
	memory   int           // MB, the most there was
	ship     func(text string)

	next     chan invocation // to the process
	done     chan response   // from the process
	stopOnce sync.Once

	output *os.File // the pipe that the process prints to
	marks  chan string
	ended  chan struct{} // closed when all output is in the log, after the end of the process

	logMu   sync.Mutex
	log     strings.Builder // printed, and not shipped yet
	tail    []byte          // the end of the running invocation's log
	initErr []byte          // what the runtime said of its failure to start
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
		opened: time.Now(), f: f, arn: s.arn(f.Name), revision: f.Revision, listener: listener, exited: make(chan struct{}),
		next: make(chan invocation), done: make(chan response, 1), marks: make(chan string, 1), ended: make(chan struct{}),
		stream: s.now().UTC().Format("2006/01/02") + "/[$LATEST]" + region.Hex(32),
	}
	e.ship = func(text string) { s.ship(f, e.stream, text) }
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
	output, input, err := os.Pipe()
	if err == nil {
		e.output = input
		e.cmd.Stdout, e.cmd.Stderr = input, input
		if err = s.startProcess(e.cmd); err != nil {
			_, _ = output.Close(), input.Close()
		}
	}
	if err != nil {
		_ = e.server.Close()
		return nil, &runtimeError{"Runtime.InvalidEntrypoint", err.Error()}
	}
	go e.collect(output)
	go func() {
		_ = e.cmd.Wait() // how it ended is in ProcessState
		_ = input.Close()
		close(e.exited)
	}()
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
	for {
		select {
		case st := <-s.starts:
			st.reply <- st.cmd.Start()
		case <-s.end:
			return
		}
	}
}

func (s *Service) startProcess(cmd *exec.Cmd) error {
	reply := make(chan error, 1)
	select {
	case s.starts <- start{cmd, reply}:
		return <-reply
	case <-s.end:
		return errors.New("the region is going down")
	}
}

func variables(m map[string]string) []string {
	var list []string
	for k, v := range m {
		list = append(list, k+"="+v)
	}
	return list
}

// mark begins a line that the service itself writes into the pipe, behind all
// that the process has printed so far.
const mark = "\x00lambda-mark "

// collect keeps what the process prints.
func (e *environment) collect(output io.ReadCloser) {
	defer close(e.ended)
	defer output.Close()
	r := bufio.NewReader(output)
	for {
		line, err := r.ReadString('\n')
		if text, id, marked := strings.Cut(line, mark); marked {
			e.keep(text)
			select {
			case e.marks <- strings.TrimSuffix(id, "\n"):
			default: // of one that gave up
			}
		} else {
			e.keep(line)
		}
		if err != nil {
			return
		}
	}
}

func (e *environment) keep(text string) {
	if text == "" {
		return
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	e.logMu.Lock()
	defer e.logMu.Unlock()
	e.log.WriteString(text)
}

// collected returns when all that the process printed before is in the log.
func (e *environment) collected(id string) {
	patience := time.Minute // for a busy host
	if _, err := e.output.WriteString(mark + id + "\n"); err != nil {
		// The process has ended, and what it has left behind may hold the pipe.
		patience = 5 * time.Second
	}
	deadline := time.After(patience)
	for {
		select {
		case <-e.ended:
			return
		case got := <-e.marks:
			if got == id {
				return
			}
		case <-deadline:
			return
		}
	}
}

// print adds a line of Lambda's own to the log.
func (e *environment) print(format string, args ...any) {
	e.logMu.Lock()
	defer e.logMu.Unlock()
	fmt.Fprintf(&e.log, format+"\n", args...)
}

// flush ships what was printed since the last time.
func (e *environment) flush() {
	e.logMu.Lock()
	text := e.log.String()
	e.log.Reset()
	e.tail = append(e.tail, text...)
	if over := len(e.tail) - maxTail; over > 0 {
		e.tail = slices.Clone(e.tail[over:])
	}
	e.logMu.Unlock()
	if text != "" {
		e.ship(text)
	}
}

// peakMemory is the most memory that the process had so far, in MB.
func (e *environment) peakMemory() int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.cmd.Process.Pid)) // gone after a crash
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb := 0
			_, _ = fmt.Sscan(rest, &kb)
			return (kb + 1023) / 1024
		}
	}
	return e.memory
}

// stop ends the process with all its children and the runtime API.
func (e *environment) stop() {
	e.stopOnce.Do(func() {
		_ = syscall.Kill(-e.cmd.Process.Pid, syscall.SIGKILL)
		_ = e.server.Close()
		<-e.exited
	})
}

// flushEvery is how often the log of a running invocation is shipped.
const flushEvery = time.Second

// maxTail is how much of the log an invocation returns to callers that ask.
const maxTail = 4096

// invoke hands an event to the process and waits for the answer, the function's
// timeout, or the end of the process. An environment is healthy when it can take
// another event.
func (e *environment) invoke(ctx context.Context, payload []byte) (r response, healthy bool) {
	inv := invocation{id: uuid.NewString(), payload: payload}
	e.logMu.Lock()
	e.tail = nil
	e.logMu.Unlock()
	startUp := time.NewTimer(initTimeout)
	defer startUp.Stop()
	ticker := time.NewTicker(flushEvery)
	defer ticker.Stop()
	var timeout <-chan time.Time
	begin, next := time.Now(), e.next
	offer := func() invocation { // the function's time counts from when it takes the event
		offered := inv
		offered.deadline = time.Now().Add(time.Duration(e.f.Timeout) * time.Second)
		return offered
	}
	waiting := true
	for waiting {
		select {
		case next <- offer():
			next, begin = nil, time.Now()
			if e.initTook == 0 {
				e.initTook = begin.Sub(e.opened)
			} else {
				e.initTook = -1 // a warm start
			}
			startUp.Stop()
			timer := time.NewTimer(time.Duration(e.f.Timeout) * time.Second)
			defer timer.Stop()
			timeout = timer.C
		case r = <-e.done:
			healthy, waiting = true, false
		case <-e.exited:
			select {
			case r = <-e.done: // it answered and ended
			default:
				r = e.exitError(inv.id, next == nil)
			}
			waiting = false
		case <-timeout:
			r = functionError("Sandbox.Timedout", "RequestId: %s Error: Task timed out after %d.00 seconds", inv.id, e.f.Timeout)
			e.print("%s %s Task timed out after %d.00 seconds", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), inv.id, e.f.Timeout)
			waiting = false
		case <-startUp.C:
			r = functionError("Sandbox.Timedout", "RequestId: %s Error: the runtime did not ask for an event in %s", inv.id, initTimeout)
			waiting = false
		case <-ctx.Done():
			r = functionError("Sandbox.Failure", "RequestId: %s Error: %v", inv.id, ctx.Err())
			waiting = false
		case <-ticker.C:
			e.flush()
		}
	}
	took := float64(time.Since(begin).Microseconds()) / 1000
	e.collected(inv.id)
	e.memory = e.peakMemory()
	report := fmt.Sprintf("REPORT RequestId: %s\tDuration: %.2f ms\tBilled Duration: %.0f ms\tMemory Size: %d MB\tMax Memory Used: %d MB\t",
		inv.id, took, math.Ceil(took), e.f.Memory, e.memory)
	if e.initTook > 0 {
		report += fmt.Sprintf("Init Duration: %.2f ms\t", float64(e.initTook.Microseconds())/1000)
	}
	e.print("END RequestId: %s\n%s", inv.id, report)
	e.flush()
	e.logMu.Lock()
	defer e.logMu.Unlock()
	r.log = string(e.tail)
	return r, healthy
}

// exitError is the answer of a process that ended instead of answering. A runtime
// that could not start has said why.
func (e *environment) exitError(id string, began bool) response {
	e.logMu.Lock()
	said := e.initErr
	e.logMu.Unlock()
	switch how := e.cmd.ProcessState.String(); {
	case !began && json.Valid(said):
		return response{payload: said, failed: "Unhandled"}
	case began:
		e.print("RequestId: %s Error: Runtime exited with error: %s", id, how)
		return functionError("Runtime.ExitError", "RequestId: %s Error: Runtime exited with error: %s", id, how)
	default:
		e.print("INIT_REPORT Status: error\tError Type: Runtime.ExitError")
		return functionError("Runtime.ExitError", "RequestId: %s Error: Runtime exited before it asked for an event: %s", id, how)
	}
}

// runtimeAPI is the API that runtimes talk to (Lambda Developer Guide, "Using the
// Lambda runtime API for custom runtimes").
func (e *environment) runtimeAPI() http.Handler {
	mux := http.NewServeMux()
	const base = "/2018-06-01/runtime/"
	mux.HandleFunc("GET "+base+"invocation/next", func(w http.ResponseWriter, r *http.Request) {
		select {
		case inv := <-e.next:
			e.print("START RequestId: %s Version: $LATEST", inv.id) // before the function can print
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
			body, err := io.ReadAll(io.LimitReader(r.Body, maxPayload+1))
			if err != nil || len(body) > maxPayload {
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
		e.print("init error: %s", body)
		e.logMu.Lock()
		e.initErr = body
		e.logMu.Unlock()
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}

// ship puts an invocation's log into the function's group, which is made when
// missing, as Lambda does. Logs that can't be kept do not fail the invocation.
func (s *Service) ship(f function, stream, text string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
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
		// The last words of a function that is deleted do not bring back its group,
		// which may have been deleted with it.
		if _, exists := s.functions.Get(f.Name); !exists {
			return
		}
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
