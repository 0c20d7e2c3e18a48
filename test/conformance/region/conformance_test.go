//go:build linux

// Package region plays journeys, written once as data, against a region through
// three real clients: the AWS CLI, boto3 and aws-sdk-go-v2. Expectations must be met
// through each. Where moto has the operations, the same journeys are played against
// it as a second opinion.
//
// Journeys are the files under journeys; drive.py makes the calls of the clients that
// are Python's. `go test -update` writes docs/sandbox-coverage.md.
package region

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
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
	"pcluster/internal/sandbox/wire/model"
)

var update = flag.Bool("update", false, "write docs/sandbox-coverage.md")

// patience is how long a state may take to be reached.
const patience = 30 * time.Second

// A result is how a journey went with one client.
type result struct {
	skipped string
	failed  []string    // steps that did not do what was expected
	answers map[int]any // of steps that succeeded, by index
	passed  int
	differs []int // steps of moto's that did otherwise, as is known
}

// play makes the steps of a journey and judges the answers.
func play(ctx context.Context, j journey, c client, own identity, moto bool) result {
	r := result{answers: map[int]any{}}
	vars := variables{}
	for i, s := range j.Steps {
		wait := patience
		if moto && s.Moto != "" {
			wait = time.Second
		}
		problem := playStep(ctx, s, c, own, vars, wait, func(answer any) { r.answers[i] = answer })
		switch {
		case problem == "":
			r.passed++
		case moto && s.Moto != "":
			r.differs = append(r.differs, i)
		default:
			r.failed = append(r.failed, fmt.Sprintf("step %d, %s: %s", i+1, s.what(), problem))
			if s.Save != nil {
				return r // what follows needs it
			}
		}
	}
	return r
}

func playStep(ctx context.Context, s step, c client, own identity, vars variables, wait time.Duration, keep func(any)) string {
	if s.Fetch != "" {
		return fetch(ctx, s, vars)
	}
	name := s.Call
	if s.Presign != "" {
		name = s.Presign
	}
	request := call{Key: own.Key, Secret: own.Secret}
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
				return err.Error()
			}
			*part.to = text
		}
	}
	in, err := vars.fill(map[string]any(s.In))
	if err == nil {
		in, err = generic(in)
	}
	if err != nil {
		return err.Error()
	}
	request.Input, _ = in.(map[string]any)
	deadline := time.Now().Add(wait)
	for {
		answer, refused, err := c.call(ctx, request)
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

// judge holds an answer against what the step expects. It reports false when the
// call is to be made again.
func judge(s step, answer any, refused *failure, vars variables) (done bool, problem string) {
	if refused != nil {
		switch {
		case s.Error == "":
			return true, "fails with " + refused.Code + ": " + refused.Message
		case refused.Code != s.Error:
			return true, fmt.Sprintf("fails with %s (%s), want %s", refused.Code, refused.Message, s.Error)
		case !regexp.MustCompile(s.Says).MatchString(refused.Message):
			return true, fmt.Sprintf("says %q, want %q", refused.Message, s.Says)
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

func fetch(ctx context.Context, s step, vars variables) string {
	url, err := vars.text(s.Fetch)
	if err != nil {
		return err.Error()
	}
	for from, to := range s.Replace {
		url = strings.Replace(url, from, to, 1)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	if resp.StatusCode != s.Status || !regexp.MustCompile(s.Body).Match(body) {
		return fmt.Sprintf("status %d, body %.300s; want %d, %s", resp.StatusCode, body, s.Status, s.Body)
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
	results := map[string]map[string]result{} // by client, then journey
	var mu sync.Mutex
	run := func(t *testing.T, name string, c client, own identity, moto bool) {
		for _, j := range journeys {
			if moto && j.Moto != "" {
				mu.Lock()
				results[name][j.Name] = result{skipped: j.Moto}
				mu.Unlock()
				continue
			}
			t.Run(j.Name, func(t *testing.T) {
				r := play(t.Context(), j, c, own, moto)
				for _, f := range r.failed {
					t.Error(f)
				}
				mu.Lock()
				defer mu.Unlock()
				results[name][j.Name] = r
			})
		}
	}
	t.Run("clients", func(t *testing.T) {
		for _, name := range append(slices.Clone(clientNames), "moto") {
			results[name] = map[string]result{}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				if name == "moto" {
					endpoint, why := startMoto(t)
					if why != "" {
						t.Skip("skipped: ", why)
					}
					run(t, name, newPython(t, interpreter("moto.server", "botocore"), "boto3", endpoint), identity{Key: "AKIAMOTO", Secret: "secret"}, true)
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
				run(t, name, c, own, false)
			})
		}
	})
	compareWithMoto(t, journeys, results["boto3"], results["moto"])
	if *update && !t.Failed() {
		writeCoverage(t, journeys, results)
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

// writeCoverage writes the page of what the region can do.
func writeCoverage(t *testing.T, journeys []journey, results map[string]map[string]result) {
	t.Helper()
	var b strings.Builder
	b.WriteString(`# What the region answers

Written by ` + "`make journeys`" + ` (` + "`go test ./test/conformance/region -update`" + `); do not edit.

## Journeys

Each journey is a list of calls with what is expected of the answers (test/conformance/region/journeys). It is played through three
real clients against a region, and through boto3 against moto 5 as a second opinion: numbers are steps that did what
is expected, of all steps. Values that both moto and the region send are of the same kinds. The region is a light one,
whose instances run without machines; the end-to-end tests have machines.

`)
	fmt.Fprintf(&b, "| Journey | %s | moto |\n|---|%s---|\n", strings.Join(clientNames, " | "), strings.Repeat("---|", len(clientNames)))
	var remarks []string
	for _, j := range journeys {
		fmt.Fprintf(&b, "| %s |", j.Title)
		for _, name := range append(slices.Clone(clientNames), "moto") {
			r, ok := results[name][j.Name]
			switch {
			case !ok:
				b.WriteString(" not played |")
			case r.skipped != "":
				b.WriteString(" – |")
			default:
				fmt.Fprintf(&b, " %d/%d |", r.passed, len(j.Steps))
			}
		}
		b.WriteString("\n")
		if j.Moto != "" {
			remarks = append(remarks, fmt.Sprintf("- %s: not played: %s.", j.Name, j.Moto))
		}
		for _, i := range results["moto"][j.Name].differs {
			s := j.Steps[i]
			remarks = append(remarks, fmt.Sprintf("- %s, step %d (%s): %s.", j.Name, i+1, s.what(), s.Moto))
		}
	}
	b.WriteString("\n### Where moto differs\n\n" + strings.Join(remarks, "\n") + "\n")

	region, err := sandbox.OpenLight(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer region.Close()
	operations, err := region.Operations()
	if err != nil {
		t.Fatal(err)
	}
	played := map[string]map[string]bool{}
	for _, j := range journeys {
		for _, s := range j.Steps {
			if service, op, ok := strings.Cut(s.Call, "."); ok {
				if played[service] == nil {
					played[service] = map[string]bool{}
				}
				played[service][op] = true
			}
		}
	}
	b.WriteString("\n## Operations\n\nOther operations are refused with AWS's error for unknown ones, which names the operation. S3 has no API model here.\n\n| Service | In AWS's model | Answered | In journeys |\n|---|---|---|---|\n")
	for _, name := range model.Names() {
		m, err := model.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d |\n", name, len(m.Operations), len(operations[name]), len(played[name]))
	}
	fmt.Fprintf(&b, "| s3 | | | %d |\n", len(played["s3"]))
	for _, name := range model.Names() {
		if len(operations[name]) > 0 {
			fmt.Fprintf(&b, "\n**%s**: %s\n", name, strings.Join(operations[name], ", "))
		}
	}
	b.WriteString("\n## Terraform\n\nNot tried: Terraform's registry is out of reach of these tests, and building Terraform and its AWS provider from source is too much for one.\n")
	if err := os.MkdirAll("../../../docs", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("../../../docs/sandbox-coverage.md", []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
