package component

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// fakeActor is a machine on which a command is a word and what follows it:
// say TEXT, fail, hang, reboot (once), flaky N (fails N times).
type fakeActor struct {
	did      []string
	files    map[string]string
	failures map[string]int
	rebooted map[string]bool
	steps    int // that it takes part in; 0: any number
}

func (f *fakeActor) BinaryExists(name string) bool { return name == "sh" }
func (f *fakeActor) FileExists(path string) bool   { _, ok := f.files[path]; return ok }
func (f *fakeActor) FolderExists(path string) bool { return path == "/" }
func (f *fakeActor) FileHash(_, path string) (string, error) {
	if v, ok := f.files[path]; ok {
		return fmt.Sprintf("%x", v), nil
	}
	return "", errors.New("no such file")
}

func (f *fakeActor) Load(_ context.Context, name, _ string) ([]byte, error) {
	if v, ok := f.files[name]; ok {
		return []byte(v), nil
	}
	return nil, errors.New("no such file")
}

func (f *fakeActor) Act(ctx context.Context, action string, in Input, log func(string)) (Outputs, error) {
	if f.steps > 0 && len(f.did) > f.steps {
		return nil, errors.New("enough")
	}
	if action == "Reboot" {
		f.did = append(f.did, "Reboot")
		return nil, &Reboot{}
	}
	m, _ := in.(map[string]any)
	list, _ := m["commands"].([]any)
	var said []string
	for _, c := range list {
		command, _ := c.(string)
		f.did = append(f.did, command)
		word, rest, _ := strings.Cut(command, " ")
		switch word {
		case "say":
			log(rest)
			said = append(said, rest)
		case "fail":
			return nil, errors.New("it failed " + rest)
		case "hang":
			<-ctx.Done()
			return nil, ctx.Err()
		case "reboot":
			if !f.rebooted[command] {
				f.rebooted[command] = true
				return nil, &Reboot{Again: true}
			}
		case "flaky":
			if f.failures[command]++; f.failures[command] < 3 {
				return nil, errors.New("not yet")
			}
		}
	}
	return Outputs{{"stdout": strings.Join(said, "\n")}}, nil
}

func newFake() *fakeActor {
	return &fakeActor{files: map[string]string{"/there": "abc"}, failures: map[string]int{}, rebooted: map[string]bool{}}
}

func bashStep(name, command string, more ...string) string {
	s := "      - name: " + name + "\n        action: ExecuteBash\n        inputs: {commands: ['" + command + "']}\n"
	for _, m := range more {
		s += "        " + m + "\n"
	}
	return s
}

func mustParse(t *testing.T, text string) *Document {
	t.Helper()
	d, problems := Parse([]byte(text))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return d
}

// until runs a document, through its reboots and through a save and load of its
// state after each, as another process would.
func until(t *testing.T, d *Document, f *fakeActor, parameters map[string]string, phases ...string) (*Result, int) {
	t.Helper()
	r := &Result{ExecutionID: "id"}
	for reboots := 0; ; reboots++ {
		var saved []byte
		run := &Run{Documents: []Source{{Document: d, Path: "doc.yaml", Parameters: parameters}}, Phases: phases, Actor: f,
			Log: func(string) {}, Now: time.Now, Save: func(r *Result) (err error) { saved, err = json.Marshal(r); return err }}
		err := run.Do(t.Context(), r)
		if err == nil {
			return r, reboots
		}
		if _, ok := errors.AsType[*Reboot](err); !ok || reboots > 10 {
			t.Fatal(err)
		}
		r = &Result{}
		if err := json.Unmarshal(saved, r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRun(t *testing.T) {
	head := "schemaVersion: 1.0\nparameters:\n  - who:\n      type: string\n      default: world\nconstants:\n  - mark:\n      type: string\n      value: '!'\nphases:\n  - name: build\n    steps:\n"
	test := "  - name: test\n    steps:\n"
	for name, tt := range map[string]struct {
		text       string
		parameters map[string]string
		phases     []string
		did        []string
		status     Status
		message    string
		reboots    int
	}{
		"steps in order": {text: head + bashStep("aa", "say 1") + bashStep("bb", "say 2") + test + bashStep("cc", "say 3"),
			did: []string{"say 1", "say 2", "say 3"}, status: Success},
		"one phase": {text: head + bashStep("aa", "say 1") + test + bashStep("cc", "say 3"), phases: []string{"test"},
			did: []string{"say 3"}, status: Success},
		"parameters and constants": {text: head + bashStep("aa", "say {{ who }}{{mark}} {{ nobody }}"), did: []string{"say world! {{ nobody }}"}, status: Success},
		"parameters that are given": {text: head + bashStep("aa", "say {{ who }}"), parameters: map[string]string{"who": "me", "mark": "?", "else": "x"},
			did: []string{"say me"}, status: Success},
		"outputs and inputs of others": {text: head + bashStep("aa", "say hello") + bashStep("bb", "say {{ build.aa.outputs.stdout }} {{ build.aa.inputs.commands[0] }}"),
			did: []string{"say hello", "say hello say hello"}, status: Success},
		"abort": {text: head + bashStep("aa", "fail a") + bashStep("bb", "say 2") + test + bashStep("cc", "say 3"),
			did: []string{"fail a"}, status: Failed, message: "Document doc.yaml failed: step aa of phase build: it failed a"},
		"continue": {text: head + bashStep("aa", "fail", "onFailure: Continue") + bashStep("bb", "say 2"),
			did: []string{"fail", "say 2"}, status: Failed, message: "Document doc.yaml failed: step aa of phase build: it failed "},
		"ignore": {text: head + bashStep("aa", "fail", "onFailure: Ignore") + bashStep("bb", "say 2"),
			did: []string{"fail", "say 2"}, status: SuccessWithIgnoredFailure},
		"attempts": {text: head + bashStep("aa", "flaky", "maxAttempts: 3"), did: []string{"flaky", "flaky", "flaky"}, status: Success},
		"timeout": {text: head + bashStep("aa", "hang", "timeoutSeconds: 1"), did: []string{"hang"}, status: Failed,
			message: "Document doc.yaml failed: step aa of phase build: it took longer than the 1 seconds that timeoutSeconds allows"},
		"reboot": {text: head + "      - name: rr\n        action: Reboot\n" + bashStep("bb", "say 2"),
			did: []string{"Reboot", "say 2"}, status: Success, reboots: 1},
		"exit status 194 runs the step again": {text: head + bashStep("aa", "reboot") + bashStep("bb", "say 2"),
			did: []string{"reboot", "reboot", "say 2"}, status: Success, reboots: 1},
		"outputs survive a reboot": {text: head + bashStep("aa", "say x") + "      - name: rr\n        action: Reboot\n" + bashStep("bb", "say {{ build.aa.outputs.stdout }}"),
			did: []string{"say x", "Reboot", "say x"}, status: Success, reboots: 1},
		"for": {text: head + bashStep("aa", "say {{ loop.index }}:{{ loop.value }}", "loop: {for: {start: 4, end: 0, updateBy: -2}}") + bashStep("bb", "say {{ build.aa.outputs.stdout }}"),
			did: []string{"say 0:4", "say 1:2", "say 2:0", "say 0:4\n1:2\n2:0"}, status: Success},
		"for each": {text: head + bashStep("aa", "say {{ each.value }}", "loop: {name: each, forEach: [x, '{{ who }}']}"),
			did: []string{"say x", "say world"}, status: Success},
		"for each of a text": {text: head + bashStep("aa", "say {{ loop.value }}", "loop: {forEach: {list: '{{ who }}', delimiter: ;}}"), parameters: map[string]string{"who": "a;b"},
			did: []string{"say a", "say b"}, status: Success},
		"loop that reboots goes on": {text: head + bashStep("aa", "reboot {{ loop.value }}", "loop: {forEach: [x, y]}"),
			did: []string{"reboot x", "reboot x", "reboot y", "reboot y"}, status: Success, reboots: 2},
		"loop stops at a failure": {text: head + bashStep("aa", "{{ loop.value }}", "loop: {forEach: [fail, say]}"), did: []string{"fail"}, status: Failed,
			message: "Document doc.yaml failed: step aa of phase build: iterations 0 failed, the last with: it failed "},
		"condition holds":         {text: head + bashStep("aa", "say 1", "if: {stringEquals: world, value: \"{{ who }}\"}"), did: []string{"say 1"}, status: Success},
		"condition does not hold": {text: head + bashStep("aa", "say 1", "if: {fileExists: /nowhere}"), status: Success},
		"then skip":               {text: head + bashStep("aa", "say 1", "if: {binaryExists: sh, then: Skip}"), status: Success},
		"then skip, but not":      {text: head + bashStep("aa", "say 1", "if: {binaryExists: no, then: Skip}"), did: []string{"say 1"}, status: Success},
		"else abort":              {text: head + bashStep("aa", "say 1", "if: {binaryExists: no, else: Abort}"), status: Failed, message: "Document doc.yaml failed: step aa of phase build: the condition of the step does not hold"},
		"condition is asked once": {text: head + bashStep("aa", "reboot", "if: {not: {fileExists: /made}}"), did: []string{"reboot", "reboot"}, status: Success, reboots: 1},
		"assertion that holds":    {text: head + "      - name: aa\n        action: Assert\n        inputs: {numberGreaterThan: 1, value: '1.5'}\n", status: Success},
		"assertion that does not": {text: head + "      - name: aa\n        action: Assert\n        inputs: {or: [{folderExists: /x}, {stringIsEmpty: a}]}\n", status: Failed, message: "Document doc.yaml failed: step aa of phase build: the condition of the step does not hold"},
		"hash of a file":          {text: head + "      - name: aa\n        action: Assert\n        inputs: {fileMD5Equals: '616263', path: /there}\n", status: Success},
		"document runs document":  {text: head + "      - name: aa\n        action: ExecuteDocument\n        inputs: [{document: inner, phases: build, parameters: [{who: you}]}]\n" + bashStep("bb", "say 2"), did: []string{"say you", "say 2"}, status: Success},
		"one document alone":      {text: head + runs("inner"), did: []string{"say world", "fail"}, status: Failed, message: "Document doc.yaml failed: step aa of phase build: Document inner failed: step tt of phase test: it failed "},
		"documents in a loop": {text: head + "      - name: aa\n        action: ExecuteDocument\n        loop: {forEach: [inner, again]}\n        inputs: {document: '{{ loop.value }}', phases: build, parameters: [{name: who, value: you}]}\n",
			did: []string{"say you", "say 1", "Reboot", "say 2"}, status: Success, reboots: 1},
		"three levels": {text: head + runs("two"), did: []string{"say 1", "Reboot", "say 2"}, status: Success, reboots: 1},
		"four levels": {text: head + runs("three"), status: Failed,
			message: "Document doc.yaml failed: step aa of phase build: Document three failed: step aa of phase build: Document two failed: step aa of phase build: Document one failed: step aa of phase build: documents run documents more than 3 deep"},
		"document that runs itself": {text: head + runs("doc.yaml"), status: Failed, message: "Document doc.yaml failed: step aa of phase build: document doc.yaml runs itself, by way of doc.yaml"},
		"documents that run each other": {text: head + runs("ping"), status: Failed,
			message: "Document doc.yaml failed: step aa of phase build: Document ping failed: step aa of phase build: Document pong failed: step aa of phase build: document ping runs itself, by way of doc.yaml, ping, pong"},
		"document that is not there": {text: head + "      - name: aa\n        action: ExecuteDocument\n        inputs: [{document: none}]\n", status: Failed, message: "Document doc.yaml failed: step aa of phase build: document none: no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			f.files["inner"] = head + bashStep("ii", "say {{ who }}") + test + bashStep("tt", "fail")
			f.files["again"] = head + bashStep("ii", "say 1") + "      - name: rr\n        action: Reboot\n" + bashStep("jj", "say 2")
			f.files["one"], f.files["two"], f.files["three"] = head+runs("again"), head+runs("one"), head+runs("two")
			f.files["ping"], f.files["pong"], f.files["doc.yaml"] = head+runs("pong"), head+runs("ping"), head+runs("doc.yaml")
			r, reboots := until(t, mustParse(t, tt.text), f, tt.parameters, tt.phases...)
			if diff := cmp.Diff(tt.did, f.did); diff != "" {
				t.Errorf("commands (-want +got):\n%s", diff)
			}
			if r.Status != tt.status || r.FailureMessage != tt.message || reboots != tt.reboots {
				t.Errorf("status %s, %q after %d reboots, want %s, %q, %d", r.Status, r.FailureMessage, reboots, tt.status, tt.message, tt.reboots)
			}
		})
	}
}

// runs is a step that runs a document.
func runs(document string) string {
	return "      - name: aa\n        action: ExecuteDocument\n        inputs: {document: " + document + "}\n"
}

// What AWS's documentation shows of a step that runs documents, in detailedoutput.json.
func TestResultOfDocumentsThatDocumentsRun(t *testing.T) {
	const head = "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n"
	f := newFake()
	f.files["good"], f.files["bad"] = head+bashStep("ii", "say 1"), head+bashStep("ii", "fail")
	r, _ := until(t, mustParse(t, head+strings.Replace(runs("'{{ loop.value }}'"), "inputs", "loop: {name: each, forEach: [good, good]}\n        inputs", 1)+strings.Replace(runs("bad"), "aa", "bb", 1)), f, nil)
	steps := r.Documents[0].Phases[0].Steps
	const summary = `{"executionId":"id","status":"success","failedStepCount":0,"executedStepCount":1,"ignoredFailedStepCount":0,"failureMessage":"","logUrl":""}`
	if want := "[" + summary + "," + summary + "]"; steps[0].Outputs != want || steps[0].TimeoutSeconds != -1 || steps[0].MaxAttempts != 1 {
		t.Errorf("%+v, want outputs %s", steps[0], want)
	}
	if loop := asJSON(steps[0].Loop); loop != `{"forEach":["good","good"],"name":"each"}` || steps[1].Loop != nil {
		t.Errorf("loops %s, %v", loop, steps[1].Loop)
	}
	for i, want := range map[int]string{0: "good good", 1: "bad"} {
		var ran []string
		for _, d := range steps[i].DetailedOutput {
			ran = append(ran, d.Documents[0].FilePath)
		}
		if got := strings.Join(ran, " "); got != want {
			t.Errorf("step %d ran %s, want %s", i, got, want)
		}
	}
	if failed := steps[1].DetailedOutput[0].Documents[0].Phases[0].Steps[0]; failed.Status != Failed || failed.FailureMessage != "it failed " {
		t.Errorf("the step that failed: %+v", failed)
	}
}

func TestParameterOutsideOfWhatIsAllowed(t *testing.T) {
	d := mustParse(t, "schemaVersion: 1.0\nparameters:\n  - abc:\n      type: string\n      allowedValues: [a]\nphases:\n  - name: build\n    steps:\n"+bashStep("aa", "say"))
	for _, given := range []map[string]string{nil, {"abc": "b"}} {
		f := newFake()
		if r, _ := until(t, d, f, given); r.Status != Failed || len(f.did) > 0 {
			t.Errorf("parameters %v: %s, and it did %q", given, r.Status, f.did)
		}
	}
}

func TestConditions(t *testing.T) {
	for _, tt := range []struct {
		operator, operand, value string
		want                     bool
	}{
		{"stringEquals", "Testing", "TESTING", false}, {"stringEquals", "a", "a", true},
		{"stringLessThan", "A", "a", false}, {"stringLessThan", "b", "A", true}, {"stringLessThanEquals", "A", "a", true},
		{"stringGreaterThan", "a", "B", true}, {"stringGreaterThanEquals", "0", "a", true}, {"stringGreaterThanEquals", "a", "0", false},
		{"stringIsEmpty", "", "", true}, {"stringIsWhitespace", " ", "", true}, {"stringIsWhitespace", "", "", false},
		{"patternMatches", "^[a-z]+$", "ThisIsValue", true}, {"patternMatches", "^[a-z]+$", "1", false},
		{"numberEquals", "1", "1.0", true}, {"numberEquals", "1", "a10", false}, {"numberLessThan", "2", "1.9", true},
		{"numberGreaterThanEquals", "1", "0.8", false}, {"numberGreaterThan", "1", "1", false}, {"numberLessThanEquals", "-1", "-1", true},
	} {
		c := Condition{Operator: tt.operator, Operand: tt.operand, Value: tt.value}
		if got, err := c.eval(newFake()); got != tt.want || err != nil {
			t.Errorf("%s %q, value %q: %v, %v", tt.operator, tt.operand, tt.value, got, err)
		}
	}
}

// Wherever a run is cut off, and however often, each step that succeeded ran once
// to its end, in order.
func TestRunGoesOnAfterAnyCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "steps")
		text := "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n"
		var want []string
		for i := range n {
			command := fmt.Sprintf("say %d", i)
			text += bashStep(fmt.Sprintf("step%d", i), command)
			want = append(want, command)
		}
		d, problems := Parse([]byte(text))
		if err := problems.Err(); err != nil {
			t.Fatal(err)
		}
		f, saved, cut := newFake(), []byte(`{"executionId":"x"}`), errors.New("cut")
		for {
			r := &Result{}
			if err := json.Unmarshal(saved, r); err != nil {
				t.Fatal(err)
			}
			left := rapid.IntRange(0, 3).Draw(t, "saves until the cut")
			run := &Run{Documents: []Source{{Document: d, Path: "d"}}, Actor: f, Log: func(string) {}, Now: time.Now, Save: func(r *Result) (err error) {
				saved, err = json.Marshal(r)
				if left--; left < 0 {
					return cut // after it was written
				}
				return err
			}}
			if err := run.Do(context.Background(), r); err == nil {
				break
			} else if !errors.Is(err, cut) {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, f.did); diff != "" {
			t.Fatalf("commands (-want +got):\n%s", diff)
		}
	})
}
