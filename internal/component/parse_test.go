package component

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/config"
)

// the seed's component, with commands shortened.
const packages = `name: packages
description: Install tools.
schemaVersion: 1.0
phases:
  - name: build
    steps:
     - name: InstallPackages
       action: ExecuteBash
       inputs:
         commands:
           - |
             #!/bin/bash

             set -euo pipefail
             install htop
  - name: test
    steps:
      - name: TestPackages
        action: ExecuteBash
        inputs:
          commands:
            - |
              which htop
`

func TestParse(t *testing.T) {
	d, problems := Parse([]byte(packages))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	bash := func(name, commands string, line, column int) Step {
		return Step{Name: name, Action: "ExecuteBash", Timeout: 2 * time.Hour, OnFailure: Abort, MaxAttempts: 1,
			Inputs: map[string]any{"commands": []any{commands}}, Pos: config.Pos{Line: line, Column: column}}
	}
	want := &Document{Name: "packages", Description: "Install tools.", Phases: []Phase{
		{Name: "build", Steps: []Step{bash("InstallPackages", "#!/bin/bash\n\nset -euo pipefail\ninstall htop\n", 7, 8)}},
		{Name: "test", Steps: []Step{bash("TestPackages", "which htop\n", 18, 9)}},
	}}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// step makes a document of one step whose keys after its name are given.
func step(lines ...string) string {
	return "schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - name: s\n        " + strings.Join(lines, "\n        ")
}

func TestMistakesAreFoundWithTheirPlace(t *testing.T) {
	const good = "\n        action: Reboot"
	for name, tt := range map[string]struct{ text, want string }{
		"no YAML":                    {"a: [", "1:1 The component must be a valid YAML document"},
		"no mapping":                 {"- a", "it is a list"},
		"empty":                      {"  \n", "cannot be empty"},
		"no schema version":          {"phases: []", "1:1 the component has no schemaVersion"},
		"other schema version":       {"schemaVersion: 2.0\nphases:\n  - name: build\n    steps:\n      - name: s" + good, `1:16 schema version "2.0" is not supported (write schemaVersion: 1.0)`},
		"unknown key":                {"schemaVersion: 1.0\nphasez: []\nphases: []", "2:1 unknown key phasez (did you mean phases?)"},
		"phases are no list":         {"schemaVersion: 1.0\nphases: build", "2:9 here has to be a list of phases, but it is text"},
		"no known phase":             {"schemaVersion: 1.0\nphases:\n  - name: bild\n    steps:\n      - name: s" + good, "3:3 the component has none of the phases build, validate and test"},
		"two phases of a name":       {step("action: Reboot") + "\n  - name: build\n    steps:\n      - name: s" + good, "7:11 there are two phases build"},
		"two steps of a name":        {step("action: Reboot") + "\n      - name: s" + good, "7:9 there are two steps s in the phase build"},
		"phase without steps":        {"schemaVersion: 1.0\nphases:\n  - name: build\n    steps: []", "4:12 the phase build has no steps"},
		"step without action":        {step(), "5:9 the step has no action"},
		"unknown action":             {step("action: ExecuteBsh"), "6:17 unknown action ExecuteBsh (did you mean ExecuteBash?)"},
		"registry":                   {step("action: SetRegistry", "inputs: []"), "6:17 SetRegistry can't be used here: Linux has no registry; write a file with CreateFile instead"},
		"action of Windows":          {step("action: ExecutePowerShell", "inputs: {}"), "6:17 ExecutePowerShell can't be used here: it works on Windows only; use ExecuteBash"},
		"no inputs":                  {step("action: ExecuteBash"), "5:9 ExecuteBash needs inputs"},
		"missing input":              {step("action: ExecuteBash", "inputs: {}"), "7:17 the input of ExecuteBash has no commands"},
		"commands are text":          {step("action: ExecuteBash", "inputs:", "  commands: ls"), "8:21 commands has to be a list of texts, not \"ls\""},
		"no commands":                {step("action: ExecuteBash", "inputs:", "  commands: []"), "8:21 the list of commands is empty"},
		"unquoted expression":        {step("action: ExecuteBash", "inputs:", "  commands:", "    - {{ x }}"), "(an expression in braces has to stand in quotes)"},
		"unknown input":              {step("action: ExecuteBash", "inputs:", "  commands: [ls]", "  shell: zsh"), "9:11 unknown key shell (known: commands)"},
		"action without a name":      {step("action: ''"), `6:17 unknown action "" (known: AppendFile, Assert, `},
		"empty path":                 {step("action: DeleteFile", "inputs:", "  - path: ''"), "8:19 path is empty"},
		"source that is not in S3":   {step("action: S3Download", "inputs:", "  - source: /x", "    destination: /y"), `8:21 source has to be s3://BUCKET/KEY, not "/x"`},
		"destination not in S3":      {step("action: S3Upload", "inputs:", "  - source: /x", "    destination: b/c"), `9:26 destination has to be s3://BUCKET/KEY, not "b/c"`},
		"source that is not in HTTP": {step("action: WebDownload", "inputs:", "  - source: ftp://x/y", "    destination: /y"), `8:21 source has to be a URL that begins with https:// or http://, not "ftp://x/y"`},
		"checksum of no algorithm":   {step("action: WebDownload", "inputs:", "  - source: https://x/y", "    destination: /y", "    checksum: abc"), "8:13 checksum and algorithm belong together (give both, or neither)"},
		"comparison of no numbers":   {step("action: Assert", "inputs: {numberEquals: abc, value: 2}"), `7:32 numberEquals compares numbers, and "abc" is none`},
		"comparison with no number":  {step("action: Reboot", "if: {numberLessThan: 2, value: two}"), `7:40 numberLessThan compares numbers, and "two" is none`},
		"time for a document":        {step("action: ExecuteDocument", "timeoutSeconds: 60", "inputs: {document: d}"), `7:25 timeoutSeconds of ExecuteDocument can be -1 alone, not "60" (remove it; the steps of the document have their own)`},
		"attempts at a document":     {step("action: ExecuteDocument", "maxAttempts: 3", "inputs: {document: d}"), `7:22 maxAttempts of ExecuteDocument can be 1 alone, not "3"`},
		"inputs are no list":         {step("action: CreateFile", "inputs:", "  path: /x"), "8:11 the inputs of CreateFile are a list (write - before the first key)"},
		"permissions":                {step("action: SetFilePermissions", "inputs:", "  - path: /x", "    permissions: rwx"), `9:26 permissions has to be permissions as octal digits, not "rwx"`},
		"flag":                       {step("action: CreateFile", "inputs:", "  - path: /x", "    overwrite: maybe"), `9:24 overwrite has to be true or false, not "maybe"`},
		"algorithm":                  {step("action: WebDownload", "inputs:", "  - source: http://a/b", "    destination: /x", "    algorithm: CRC"), `10:24 algorithm has to be MD5, SHA1, SHA256 or SHA512, not "CRC"`},
		"encoding":                   {step("action: ReadFile", "inputs:", "  - path: /x", "    encoding: latin1"), `9:23 encoding has to be`},
		"timeout of zero":            {step("action: Reboot", "timeoutSeconds: 0"), `7:25 timeoutSeconds has to be a positive number, or -1 for no limit, not "0"`},
		"on failure":                 {step("action: Reboot", "onFailure: retry"), `7:20 onFailure has to be Abort, Continue or Ignore, not "retry"`},
		"attempts":                   {step("action: Reboot", "maxAttempts: many"), `7:22 maxAttempts has to be a number from 1 to 100, not "many"`},
		"step name":                  {"schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - name: a b" + good, `5:15 "a b" is no name for a step: it takes letters, digits, dashes and underscores`},
		"parameter name":             {"parameters:\n  - a:\n      type: string\n" + step("action: Reboot"), `2:5 "a" is no name for a parameter: it takes 3 to 128 letters, digits, dashes and underscores`},
		"parameter type":             {"parameters:\n  - abc:\n      type: number\n" + step("action: Reboot"), `3:13 type "number" is not supported: there is string alone`},
		"parameter's default":        {"parameters:\n  - abc:\n      type: string\n      default: c\n      allowedValues: [a, b]\n" + step("action: Reboot"), `4:16 the default "c" is not one of the allowed values`},
		"constant like parameter":    {"parameters:\n  - abc:\n      type: string\nconstants:\n  - abc:\n      type: string\n      value: x\n" + step("action: Reboot"), `5:5 the name abc is used twice`},
		"constant without value":     {"constants:\n  - abc:\n      type: string\n" + step("action: Reboot"), `3:7 the constant abc has no value`},
		"reference to no step":       {step("action: ExecuteBash", "inputs:", "  commands: ['{{ build.t.outputs.stdout }}']"), "8:22 no step t stands in the phase build before this one"},
		"reference to itself":        {step("action: ExecuteBash", "inputs:", "  commands: ['{{ build.s.outputs.stdout }}']"), "8:22 the step s speaks of itself"},
		"reference to a later phase": {step("action: ExecuteBash", "inputs:", "  commands: ['{{ test.t.outputs.stdout }}']"), "8:22 no phase test stands before this step"},
		"loop without kind":          {step("action: Reboot", "loop:", "  name: l"), "8:11 a loop has either for or forEach"},
		"endless loop":               {step("action: Reboot", "loop:", "  for: {start: 1, end: 5, updateBy: -1}"), "counting from 1 by -1 never reaches 5"},
		"delimiter":                  {step("action: Reboot", "loop:", "  forEach: {list: a, delimiter: '|'}"), "8:41 the delimiter \"|\" is none of"},
		"condition without operator": {step("action: Reboot", "if:", "  then: Skip"), "8:11 the condition has no operator"},
		"unknown operator":           {step("action: Reboot", "if:", "  stringEqual: a", "  value: b"), "8:11 unknown operator stringEqual (did you mean stringEquals?)"},
		"two operators":              {step("action: Reboot", "if:", "  fileExists: a", "  folderExists: b"), "9:11 a condition has one operator, but here are fileExists and folderExists (combine conditions with and, or)"},
		"comparison without value":   {step("action: Reboot", "if:", "  stringEquals: a"), "8:11 stringEquals needs a value to compare with"},
		"bad pattern":                {step("action: Reboot", "if:", "  patternMatches: '('", "  value: b"), "8:27 \"(\" is not a regular expression"},
		"decision":                   {step("action: Reboot", "if:", "  fileExists: a", "  then: Stop"), `9:17 then has to be Abort, Execute or Skip, not "Stop"`},
		"assertion without operator": {step("action: Assert", "inputs: {}"), "7:17 the condition has no operator"},
		"command that is a mapping":  {step("action: ExecuteBash", "inputs:", "  commands:", "    - ls", "    - echo: it"), "10:15 each of commands has to be text, not a mapping (put it in quotes, or after | on a line of its own)"},
		"action that is a list":      {step("action: [Reboot]"), "6:17 here has to be text, but it is a list"},
		"name that is a list":        {"name: [x]\n" + step("action: Reboot"), "1:7 here has to be text, but it is a list"},
		"step without name":          {"schemaVersion: 1.0\nphases:\n  - name: build\n    steps:\n      - action: Reboot", "5:9 the step has no name"},
		"step that is text":          {"schemaVersion: 1.0\nphases:\n  - name: build\n    steps: [Reboot]", "4:13 the step has to be a mapping, but it is text"},
		"phase without name":         {"schemaVersion: 1.0\nphases:\n  - steps:\n      - name: s" + good, "3:5 the phase has no name"},
		"phase that is text":         {"schemaVersion: 1.0\nphases:\n  - build", "3:5 the phase has to be a mapping, but it is text"},
		"steps are no list":          {"schemaVersion: 1.0\nphases:\n  - name: build\n    steps: {}", "4:12 here has to be a list of steps, but it is a mapping"},
		"parameters are no list":     {"parameters: {abc: d}\n" + step("action: Reboot"), "1:14 here has to be a list of parameters, but it is a mapping"},
		"fraction":                   {step("action: Reboot", "timeoutSeconds: 1.5"), `7:25 timeoutSeconds has to be a positive number, or -1 for no limit, not "1.5"`},
		"tab":                        {"schemaVersion: 1.0\nphases:\n\t- name: build\n", "3:1 The component must be a valid YAML document. Line 3, column 1: found character that cannot start any token"},
		"two documents":              {step("action: Reboot") + "\n---\na: b", "There is more than one document in the file"},
		"binary":                     {"\xff\xfea", "It is in UTF-16 (or UTF-32); save it as UTF-8"},
		"tag of YAML":                {step("action: ExecuteBash", "inputs:", "  commands: [!!binary eA==]"), "8:22 The component must be a valid YAML document. The tag !!binary is not known here"},
		"key that stands twice":      {"schemaVersion: 1.0\nname: a\nname: b\nphases: []", "the key name stands twice"},
		"too large":                  {strings.Repeat("#", MaxBytes+1), "more than the 65536 that Image Builder takes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := Parse([]byte(tt.text))
			var got []string
			for _, p := range problems.At(config.Error) {
				s := p.Pos.String() + " " + p.Message
				if p.Hint != "" {
					s += " (" + p.Hint + ")"
				}
				got = append(got, s)
			}
			if len(got) == 0 || !strings.Contains(strings.Join(got, "\n"), tt.want) {
				t.Errorf("found %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAllProblemsAreFoundAtOnce(t *testing.T) {
	_, problems := Parse([]byte(step("action: Nothing", "onFailure: x", "maxAttempts: 0")))
	if len(problems) != 3 || problems[0].Pos.Line != 6 || problems[2].Pos.Line != 8 {
		t.Errorf("found %v", problems)
	}
}

func TestForeignBracesAreLeftAlone(t *testing.T) {
	_, problems := Parse([]byte(step("action: ExecuteBash", "inputs:", "  commands: ['{{ item }} {{ .Values.x }} {{#if}}']")))
	if len(problems.At(config.Error)) > 0 || len(problems) != 1 || problems[0].Level != config.Warning {
		t.Errorf("found %v", problems)
	}
}

func TestBracesThatAreNotClosed(t *testing.T) {
	block := func(lines ...string) string {
		return step("action: ExecuteBash", "inputs:", "  commands:", "    - |") + "\n              " + strings.Join(lines, "\n              ") + "\n"
	}
	for name, tt := range map[string]struct{ text, want string }{
		"in quotes":                {step("action: ExecuteBash", "inputs:", "  commands: ['echo {{ name']"), "8:22 {{ name is not closed, so it stays as it is (close it with }})"},
		"by one brace":             {step("action: ExecuteBash", "inputs:", "  commands: ['echo {{ name }']"), "8:22 {{ name is not closed"},
		"before another":           {step("action: ExecuteBash", "inputs:", "  commands: ['echo {{ one {{ item }}']"), "8:22 {{ one is not closed"},
		"in a script":              {block("set -e", "echo one", "echo {{ name }"), "12:20 {{ name is not closed"},
		"in a script, of no name":  {block("set -e", "echo {{ name }}"), "11:20 nothing is named name"},
		"in a script, with spaces": {block("if true; then", "  echo {{ name", "fi"), "11:22 {{ name is not closed"},
		"of a path":                {step("action: CreateFile", "inputs:", "  - path: '/x/{{ name'"), "8:19 {{ name is not closed"},
		"of others":                {block("awk '{{x}}' <<E", "{{#if a}}{{/if}} {{ }} { {", "E"), ""},
	} {
		_, problems := Parse([]byte(tt.text))
		var got []string
		for _, p := range problems {
			if p.Level != config.Warning {
				t.Errorf("%s: %v is no warning", name, p)
			}
			got = append(got, fmt.Sprintf("%s %s (%s)", p.Pos, p.Message, p.Hint))
		}
		if tt.want == "" {
			tt.want = "nothing is named x" // whose braces are closed
		}
		if !strings.Contains(strings.Join(got, "\n"), tt.want) || tt.want == "nothing is named x" && len(got) != 1 {
			t.Errorf("%s: found %q, want %q", name, got, tt.want)
		}
	}
}

// What looks like a mistake and is none.
func TestGoodDocumentsOfOtherShapes(t *testing.T) {
	for name, text := range map[string]string{
		"one document alone":      step("action: ExecuteDocument", "timeoutSeconds: -1", "maxAttempts: 1", "inputs:", "  document: d.yaml", "  phases: build,validate", "  parameters:", "    - name: who", "      value: you"),
		"a list of documents":     step("action: ExecuteDocument", "inputs: [{document: d.yaml}, {document: 's3://b/e.yaml'}]"),
		"sources that expand":     "constants:\n  - From:\n      type: string\n      value: https://x/y\n" + step("action: WebDownload", "inputs: [{source: '{{ From }}', destination: /y}]"),
		"numbers that expand":     "constants:\n  - One:\n      type: string\n      value: '1'\n" + step("action: Assert", "inputs: {numberEquals: '{{ One }}', value: -1.5e3}"),
		"content that is nothing": step("action: CreateFile", "inputs: [{path: /x, content: ''}]"),
	} {
		if _, problems := Parse([]byte(text)); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
	}
	_, problems := Parse([]byte("parameters:\n  - abc:\n      type: string\n      allowedValues: [a]\n" + step("action: Reboot")))
	if len(problems) != 1 || problems[0].Level != config.Warning || problems[0].Pos != (config.Pos{Line: 4, Column: 22}) {
		t.Errorf("a key that AWS does not know: %v", problems)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(packages))
	f.Add([]byte(step("action: Assert", "inputs:", "  and:", "    - numberEquals: 1", "      value: 1", "    - not: {fileExists: a}")))
	f.Add([]byte(step("action: S3Download", "loop: {name: l, forEach: {list: '{{ a }}', delimiter: ';'}}", "inputs:", "  - {source: 's3://b/*', destination: '{{ l.value }}'}")))
	f.Add([]byte("constants:\n  - abc: {type: string, value: x}\n" + step("action: Reboot")))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, problems := Parse(data)
		for _, p := range problems {
			if p.Message == "" {
				t.Error("a problem says nothing")
			}
		}
		if len(problems.At(config.Error)) > 0 {
			return
		}
		// What is accepted can be run.
		world := &fakeActor{steps: 200}
		run := &Run{Documents: []Source{{Document: d, Path: "f"}}, Actor: world, Log: func(string) {}, Now: time.Now}
		r := &Result{ExecutionID: "x"}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // loops may be long
		defer cancel()
		for range 20 {
			if run.Do(ctx, r) == nil {
				break
			}
		}
	})
}
