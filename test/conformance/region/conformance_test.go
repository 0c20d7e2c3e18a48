//go:build linux

// Package region plays journeys, written once as data, against a region through
// three real clients: the AWS CLI, boto3 and aws-sdk-go-v2. Expectations must be met
// through each. Where moto has the operations, the same journeys are played against
// it as a second opinion.
//
// Journeys are the files under journeys; drive.py makes the calls of the clients that
// are Python's. How they went is kept in results.json, from which docs/sandbox-coverage.md
// is made; `go test -update` writes both, and a test holds the page against what the
// region has now.
package region

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmespath/go-jmespath"

	"pcluster/internal/sandbox"
)

var update = flag.Bool("update", false, "write results.json and docs/sandbox-coverage.md")

// patience is how long a state may take to be reached.
const patience = 30 * time.Second

// A result is how a journey went with one client.
type result struct {
	skipped string
	failed  []string    // steps that did not do what was expected
	answers map[int]any // of steps that succeeded, by index
	passed  int
	differs []int // steps of moto's, from 1, that did otherwise, as is known
}

// A player makes the steps of journeys through one client.
type player struct {
	client
	own      identity
	endpoint string
	packages map[string]any // code of a Lambda function, source of a build, by the variables that they are in
	moto     bool
	skew     func(time.Duration) // sets the region's clock
	log      func(format string, args ...any)
}

// play makes the steps of a journey and judges the answers.
func (p player) play(ctx context.Context, j journey) result {
	r := result{answers: map[int]any{}}
	vars := variables{"now_ms": float64(time.Now().UnixMilli())}
	maps.Copy(vars, p.packages)
	for i, s := range j.Steps {
		p.skew(s.Skew)
		var problem string
		for n := range max(1, s.Times) {
			vars["n"] = float64(n + 1)
			if problem = p.step(ctx, s, vars, func(answer any) { r.answers[i] = answer }); problem != "" {
				break
			}
		}
		p.skew(0)
		moto := p.moto
		switch {
		case problem == "":
			r.passed++
		case moto && s.Moto != "":
			r.differs = append(r.differs, i+1)
			p.log("moto differs in step %d, %s: %s", i+1, s.what(), problem)
		default:
			r.failed = append(r.failed, fmt.Sprintf("step %d, %s: %s", i+1, s.what(), problem))
			if s.Save != nil {
				return r // what follows needs it
			}
		}
	}
	return r
}

// step makes one call, for as often as the step says, and returns what is wrong with
// the answers.
func (p player) step(ctx context.Context, s step, vars variables, keep func(any)) string {
	if s.Fetch != "" {
		return p.fetch(ctx, s, vars)
	}
	request, err := p.request(s, vars)
	if err != nil {
		return err.Error()
	}
	if s.Pages != nil {
		return p.all(ctx, *s.Pages, request, keep)
	}
	wait := patience
	if p.moto && s.Moto != "" {
		wait = time.Second
	}
	deadline := time.Now().Add(wait)
	for {
		answer, refused, err := p.call(ctx, request)
		if err != nil {
			return "the client: " + err.Error()
		}
		done, problem := judge(s, answer, refused, vars)
		if done {
			if problem == "" {
				keep(answer)
			}
			return problem
		}
		if time.Now().After(deadline) {
			return "not in time: " + problem
		}
		select {
		case <-ctx.Done():
			return ctx.Err().Error()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// request fills in the step's call.
func (p player) request(s step, vars variables) (call, error) {
	name := s.Call
	if s.Presign != "" {
		name = s.Presign
	}
	request := call{Key: p.own.Key, Secret: p.own.Secret}
	request.Service, request.Operation, _ = strings.Cut(name, ".")
	if s.Presign != "" {
		request.Presign = 60
	}
	if s.As != nil {
		for _, part := range []struct {
			from string
			to   *string
		}{{s.As.Key, &request.Key}, {s.As.Secret, &request.Secret}, {s.As.Token, &request.Token}} {
			if part.from == "" {
				continue
			}
			text, err := vars.text(part.from)
			if err != nil {
				return call{}, err
			}
			*part.to = text
		}
	}
	in, err := vars.fill(map[string]any(s.In))
	if err == nil {
		in, err = generic(in)
	}
	request.Input, _ = in.(map[string]any)
	return request, err
}

// all takes page after page.
func (p player) all(ctx context.Context, how pages, request call, keep func(any)) string {
	seen := map[string]bool{}
	request.Input = maps.Clone(request.Input)
	for n := 1; ; n++ {
		answer, refused, err := p.call(ctx, request)
		switch {
		case err != nil:
			return "the client: " + err.Error()
		case refused != nil:
			return fmt.Sprintf("page %d fails with %s: %s", n, refused.Code, refused.Message)
		}
		found, err := jmespath.Search(how.Items, answer)
		if err != nil {
			return err.Error()
		}
		items, _ := found.([]any)
		if len(items) > how.Most {
			return fmt.Sprintf("page %d has %d items, more than %d: %s", n, len(items), how.Most, show(found))
		}
		for _, item := range items {
			if key := show(item); seen[key] {
				return fmt.Sprintf("%s is on two pages", key)
			} else {
				seen[key] = true
			}
		}
		if n == 1 {
			keep(answer)
		}
		next, err := jmespath.Search(how.Out, answer)
		if err != nil {
			return err.Error()
		}
		if next == nil || next == "" {
			break
		}
		request.Input[how.In] = next
	}
	if len(seen) != how.Count {
		return fmt.Sprintf("all pages have %d items, want %d", len(seen), how.Count)
	}
	return ""
}

// judge holds an answer against what the step expects. It reports false when the
// call is to be made again.
func judge(s step, answer any, refused *failure, vars variables) (done bool, problem string) {
	if refused != nil {
		says, err := vars.text(s.Says)
		switch {
		case err != nil:
			return true, err.Error()
		case s.Error == "":
			return true, "fails with " + refused.Code + ": " + refused.Message
		case refused.Code != s.Error:
			return true, fmt.Sprintf("fails with %s (%s), want %s", refused.Code, refused.Message, s.Error)
		case !regexp.MustCompile(says).MatchString(refused.Message):
			return true, fmt.Sprintf("says %q, want %q", refused.Message, says)
		}
		return true, ""
	}
	if s.Until != "" {
		if s.Error != "" {
			return false, "no failure yet"
		}
		text, err := vars.text(s.Until)
		if err != nil {
			return true, err.Error()
		}
		ok, err := holds(text, answer)
		if err != nil {
			return true, err.Error()
		}
		if !ok {
			return false, text + " is not true of " + show(answer)
		}
	}
	if s.Error != "" {
		return true, "succeeds, want " + s.Error
	}
	want, err := vars.fill(map[string]any(s.Expect))
	if err == nil {
		want, err = generic(want)
	}
	if err != nil {
		return true, err.Error()
	}
	if s.Expect != nil {
		if m := mismatch("answer", want, answer); m != "" {
			return true, m
		}
	}
	for _, expression := range s.Check {
		text, err := vars.text(expression)
		if err != nil {
			return true, err.Error()
		}
		if ok, err := holds(text, answer); err != nil || !ok {
			return true, fmt.Sprintf("%s is not true (%v) of %s", text, err, show(answer))
		}
	}
	for name, expression := range s.Save {
		v, err := jmespath.Search(expression, answer)
		if err != nil || v == nil {
			return true, fmt.Sprintf("%s is nothing (%v) in %s", expression, err, show(answer))
		}
		vars[name] = v
	}
	return true, ""
}

// fetch gets or puts what is at a URL. Hosts of AWS are the region's, as its DNS says.
func (p player) fetch(ctx context.Context, s step, vars variables) string {
	target, err := vars.text(s.Fetch)
	if err != nil {
		return err.Error()
	}
	for from, to := range s.Replace {
		target = strings.Replace(target, from, to, 1)
	}
	host := ""
	if u, err := url.Parse(target); err == nil && strings.HasSuffix(u.Host, ".amazonaws.com") {
		host = u.Host
		target = p.endpoint + u.RequestURI()
	}
	method, body := http.MethodGet, io.Reader(nil)
	if s.Send != "" {
		method, body = http.MethodPut, strings.NewReader(s.Send)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return err.Error()
	}
	if host != "" {
		req.Host = host
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	if resp.StatusCode != s.Status || !regexp.MustCompile(s.Body).Match(got) {
		return fmt.Sprintf("status %d, body %.300s; want %d, %s", resp.StatusCode, got, s.Status, s.Body)
	}
	return ""
}

// interpreter finds a Python that has the modules, "" without one.
func interpreter(modules ...string) string {
	candidates := []string{"python3"}
	if aws, err := exec.LookPath("aws"); err == nil {
		candidates = append([]string{filepath.Join(filepath.Dir(aws), "python3")}, candidates...)
	}
	for _, venv := range []string{"journeys", "aws-cli"} {
		candidates = append(candidates, filepath.Join("..", "..", "..", ".cache", venv, "bin", "python3"))
	}
	for _, c := range candidates {
		if exec.Command(c, "-c", "import "+strings.Join(modules, ", ")).Run() == nil {
			return c
		}
	}
	return ""
}

// startMoto serves moto on loopback, and returns "" and why where it can't be had.
func startMoto(t *testing.T) (endpoint, why string) {
	t.Helper()
	python := interpreter("moto.server", "botocore")
	if python == "" {
		return "", "moto is not installed (make journeys fetches it)"
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	cmd := exec.CommandContext(t.Context(), python, "-m", "moto.server", "-H", "127.0.0.1", "-p", fmt.Sprint(port))
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	if err := cmd.Start(); err != nil {
		return "", err.Error()
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	endpoint = fmt.Sprintf("http://127.0.0.1:%d", port)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if resp, err := http.Get(endpoint + "/moto-api/data.json"); err == nil {
			resp.Body.Close()
			return endpoint, ""
		}
	}
	return "", "moto does not come up"
}

var clientNames = []string{"aws-sdk-go-v2", "boto3", "AWS CLI"}

func TestJourneys(t *testing.T) {
	journeys := loadJourneys(t)
	played := map[string]map[string]result{} // by client, then journey
	packages := map[string]any{"function": functionCode(t), "source": buildSource(t)}
	var mu sync.Mutex
	run := func(t *testing.T, name string, p player) {
		for _, j := range journeys {
			why := j.Not[name]
			if p.moto {
				why = j.Moto
			}
			if why != "" {
				mu.Lock()
				played[name][j.Name] = result{skipped: why}
				mu.Unlock()
				continue
			}
			t.Run(j.Name, func(t *testing.T) {
				p := p
				p.log = t.Logf
				r := p.play(t.Context(), j)
				for _, f := range r.failed {
					t.Error(f)
				}
				mu.Lock()
				defer mu.Unlock()
				played[name][j.Name] = r
			})
		}
	}
	t.Run("clients", func(t *testing.T) {
		for _, name := range append(slices.Clone(clientNames), "moto") {
			played[name] = map[string]result{}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				if name == "moto" {
					endpoint, why := startMoto(t)
					if why != "" {
						t.Skip("skipped: ", why)
					}
					run(t, name, player{
						client: newPython(t, interpreter("moto.server", "botocore"), "boto3", endpoint), own: identity{Key: "AKIAMOTO", Secret: "secret"},
						endpoint: endpoint, packages: packages, moto: true, skew: func(time.Duration) {},
					})
					return
				}
				region, err := sandbox.OpenLight(t.Context(), t.TempDir(), nil)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := region.Close(); err != nil {
						t.Error(err)
					}
				})
				own := identity{}
				own.Key, own.Secret = region.Credentials()
				var c client
				switch name {
				case "aws-sdk-go-v2":
					c = goSDK{endpoint: region.URL(), clients: map[string]any{}}
				case "boto3":
					python := interpreter("botocore")
					if python == "" {
						t.Skip("skipped: boto3 is not installed (make journeys fetches it)")
					}
					c = newPython(t, python, "boto3", region.URL())
				case "AWS CLI":
					if _, err := exec.LookPath("aws"); err != nil && interpreter("awscli") == "" {
						t.Skip("skipped: the AWS CLI is not installed (make journeys fetches it)")
					}
					python := interpreter("awscli", "botocore")
					if python == "" {
						python = interpreter("botocore")
					}
					c = newPython(t, python, "cli", region.URL())
				}
				run(t, name, player{client: c, own: own, endpoint: region.URL(), packages: packages, skew: region.SetClockAhead})
			})
		}
	})
	compareWithMoto(t, journeys, played["boto3"], played["moto"])
	if *update && !t.Failed() {
		change(t, func(r *results) { r.Journeys = summed(journeys, played) })
	}
}

// compareWithMoto holds the shapes of answers to the same calls against each other:
// what both have must be of the same kind.
func compareWithMoto(t *testing.T, journeys []journey, ours, motos map[string]result) {
	if len(motos) == 0 || len(ours) == 0 {
		return
	}
	for _, j := range journeys {
		for i, s := range j.Steps {
			mine, ok1 := ours[j.Name].answers[i]
			its, ok2 := motos[j.Name].answers[i]
			if !ok1 || !ok2 || s.Moto != "" {
				continue
			}
			if _, other := onlyIn(shape(its), shape(mine)); len(other) > 0 {
				t.Errorf("%s, step %d, %s: moto has other kinds of values: %s", j.Name, i+1, s.what(), strings.Join(other, ", "))
			}
		}
	}
}
