package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/node/awsb"
)

// runner runs the real commands one after the other, as somebody at a terminal does. It
// tells the account when each is over.
const runner = `
import contextlib, importlib, io, json, os, sys, urllib.request

class Terminal(io.StringIO):
    def isatty(self):
        return True

out, lines, sys.stdin = [], json.load(sys.stdin), Terminal()
for argv in lines:
    o, e, status = io.StringIO(), io.StringIO(), 0
    sys.argv = argv
    with contextlib.redirect_stdout(o), contextlib.redirect_stderr(e):
        try:
            importlib.import_module("awsbatch." + argv[0]).main()
        except SystemExit as x:
            status = x.code
            if isinstance(status, str):
                e.write(status)
                status = 1
    out.append({"Out": o.getvalue(), "Err": e.getvalue(), "Status": status or 0})
    urllib.request.urlopen(urllib.request.Request(os.environ["AWS_ENDPOINT_URL"] + "/over", method="POST"))
json.dump(out, sys.stdout)
`

// batchOnPaper is an account with a queue and a job of each kind. It answers with what it
// has, always the same, and writes down what it is asked to change.
type batchOnPaper struct {
	sync.Mutex
	jobs    map[string]map[string]any
	order   []string
	changes []string
}

type object = map[string]any

// over stands between the changes of one command and those of the next.
const over = "over"

const (
	paperARN   = "arn:aws:batch:us-east-1:111122223333:"
	paperQueue = paperARN + "job-queue/PclusterJobQueue-1"
)

func newBatchOnPaper() *batchOnPaper {
	b := &batchOnPaper{jobs: map[string]map[string]any{}}
	const began = 1767323045000
	container := func(more object) object {
		c := object{"image": "i", "vcpus": 2, "memory": 512, "command": []string{"/bin/bash", "-c", "echo 'a b' $HOME"}, "environment": []object{{"name": "PCLUSTER_JOB_S3_URL", "value": "s3://bucket/dir/batch/job-1/"}}}
		for k, v := range more {
			c[k] = v
		}
		return c
	}
	add := func(id, status string, more object) {
		j := object{"jobId": id, "jobArn": paperARN + "job/" + id, "jobName": "name-" + id[:2], "jobQueue": paperQueue, "status": status, "createdAt": began, "jobDefinition": paperARN + "job-definition/PclusterJobDefinitionSerial-1:1", "dependsOn": []any{}, "attempts": []any{}, "parameters": object{}}
		for k, v := range more {
			j[k] = v
		}
		b.jobs[id], b.order = j, append(b.order, id)
	}
	ran := func(more object) object {
		o := object{"startedAt": began + 61000, "stoppedAt": began + 125000}
		for k, v := range more {
			o[k] = v
		}
		return o
	}
	stream := object{"logStreamName": "PclusterJobDefinitionSerial-1/default/0123456789abcdef"}
	with := func(code int) object { o := container(stream); o["exitCode"] = code; return o }
	add("a1-done", "SUCCEEDED", ran(object{"container": with(0)}))
	why := with(3)
	why["reason"] = "OutOfMemoryError: Container killed due to memory usage"
	add("b1-failed", "FAILED", ran(object{"container": why, "statusReason": "Essential container in task exited"}))
	add("c1-runs", "RUNNING", object{"startedAt": began + 61000, "container": container(stream)})
	add("d1-waits", "RUNNABLE", object{"container": container(nil)})
	add("e1-new", "SUBMITTED", object{"container": container(nil), "dependsOn": []object{{"jobId": "c1-runs"}}})
	add("f1-array", "PENDING", object{"container": container(nil), "arrayProperties": object{"size": 2, "statusSummary": object{"RUNNING": 1, "SUCCEEDED": 1, "FAILED": 0}}})
	add("f1-array:0", "SUCCEEDED", ran(object{"container": with(0), "arrayProperties": object{"index": 0}}))
	add("f1-array:1", "RUNNING", object{"startedAt": began + 61000, "container": container(stream), "arrayProperties": object{"index": 1}})
	nodes := object{"numNodes": 2, "mainNode": 0, "nodeRangeProperties": []object{{"targetNodes": "0:", "container": container(nil)}}}
	mnp := paperARN + "job-definition/PclusterJobDefinitionMNP-1:1"
	add("g1-nodes", "RUNNING", object{"startedAt": began + 61000, "nodeProperties": nodes, "jobDefinition": mnp})
	for n, id := range []string{"g1-nodes#0", "g1-nodes#1"} {
		add(id, "RUNNING", object{"startedAt": began + 61000, "jobDefinition": mnp, "container": container(stream), "nodeProperties": object{"nodeIndex": n, "isMainNode": n == 0}, "nodeDetails": object{"nodeIndex": n, "isMainNode": n == 0}})
	}
	return b
}

// summary is what ListJobs says of a job.
func summary(j map[string]any) object {
	out := object{}
	for _, k := range []string{"jobId", "jobArn", "jobName", "status", "createdAt", "startedAt", "stoppedAt", "statusReason", "arrayProperties", "nodeProperties"} {
		if v, ok := j[k]; ok {
			out[k] = v
		}
	}
	if c, ok := j["container"].(map[string]any); ok {
		short := object{}
		for _, k := range []string{"exitCode", "reason"} {
			if v, ok := c[k]; ok {
				short[k] = v
			}
		}
		out["container"] = short
	}
	if n, ok := out["nodeProperties"].(map[string]any); ok {
		short := object{}
		for k, v := range n {
			if k != "nodeRangeProperties" && k != "mainNode" {
				short[k] = v
			}
		}
		out["nodeProperties"] = short
	}
	return out
}

func (b *batchOnPaper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	b.Lock()
	defer b.Unlock()
	answer := func(v any) { w.Header().Set("Content-Type", "application/json"); _ = json.NewEncoder(w).Encode(v) }
	target := r.Header.Get("X-Amz-Target")
	var in map[string]any
	_ = json.Unmarshal(body, &in)
	switch {
	case r.URL.Path == "/over":
		b.changes = append(b.changes, over)
	case strings.HasSuffix(target, ".GetLogEvents"):
		events := []object{}
		for i, line := range []string{"first line", "second line", "third line"} {
			events = append(events, object{"timestamp": 1767323106000 + 1000*i, "message": line, "ingestionTime": 1767323107000})
		}
		if n, ok := in["limit"].(float64); ok && int(n) < len(events) {
			if in["startFromHead"] == true {
				events = events[:int(n)]
			} else {
				events = events[len(events)-int(n):]
			}
		}
		if in["nextToken"] != nil {
			events = []object{}
		}
		answer(object{"events": events, "nextForwardToken": "f/1", "nextBackwardToken": "b/1"})
	case strings.HasSuffix(target, ".ListContainerInstances"):
		answer(object{"containerInstanceArns": []string{"arn:aws:ecs:us-east-1:111122223333:container-instance/c/1", "arn:aws:ecs:us-east-1:111122223333:container-instance/c/2"}})
	case strings.HasSuffix(target, ".DescribeContainerInstances"):
		var out []object
		for i := 1; i <= 2; i++ {
			resource := func(cpu, memory int) []object {
				return []object{{"name": "CPU", "type": "INTEGER", "integerValue": cpu}, {"name": "MEMORY", "type": "INTEGER", "integerValue": memory}}
			}
			out = append(out, object{"containerInstanceArn": fmt.Sprintf("arn:aws:ecs:us-east-1:111122223333:container-instance/c/%d", i), "ec2InstanceId": fmt.Sprintf("i-000000000000000%d", i), "status": "ACTIVE",
				"attributes": []object{{"name": "ecs.instance-type", "value": "c5.large"}}, "registeredResources": resource(2048, 3844), "remainingResources": resource(1024*(i-1), 3332), "runningTasksCount": 2 - i, "pendingTasksCount": 0})
		}
		answer(object{"containerInstances": out, "failures": []any{}})
	case r.URL.Path == "/v1/describejobqueues":
		answer(object{"jobQueues": []object{{"jobQueueName": "PclusterJobQueue-1", "jobQueueArn": paperQueue, "state": "ENABLED", "status": "VALID", "statusReason": "JobQueue Healthy", "priority": 1,
			"computeEnvironmentOrder": []object{{"order": 1, "computeEnvironment": paperARN + "compute-environment/ce"}}}}})
	case r.URL.Path == "/v1/describecomputeenvironments":
		answer(object{"computeEnvironments": []object{{"computeEnvironmentName": "ce", "computeEnvironmentArn": paperARN + "compute-environment/ce", "ecsClusterArn": "arn:aws:ecs:us-east-1:111122223333:cluster/c", "state": "ENABLED", "status": "VALID", "type": "MANAGED"}}})
	case r.URL.Path == "/v1/describejobs":
		out := []any{}
		for _, id := range in["jobs"].([]any) {
			if j, ok := b.jobs[id.(string)]; ok {
				out = append(out, j)
			}
		}
		answer(object{"jobs": out})
	case r.URL.Path == "/v1/listjobs":
		out := []any{}
		for _, id := range b.order {
			j := b.jobs[id]
			parent, child := "", false
			if p, _, ok := strings.Cut(id, ":"); ok {
				parent, child = p, true
			} else if p, _, ok := strings.Cut(id, "#"); ok {
				parent, child = p, true
			}
			of, _ := in["arrayJobId"].(string)
			if s, ok := in["multiNodeJobId"].(string); ok {
				of = s
			}
			if status, ok := in["jobStatus"]; ok && status != j["status"] || !ok && j["status"] != "RUNNING" {
				continue
			}
			if of == "" && !child || of != "" && of == parent {
				out = append(out, summary(j))
			}
		}
		answer(object{"jobSummaryList": out})
	case r.URL.Path == "/v1/submitjob", r.URL.Path == "/v1/terminatejob":
		text, _ := json.Marshal(in) // in order
		b.changes = append(b.changes, r.URL.Path+" "+string(text))
		if r.URL.Path == "/v1/submitjob" {
			answer(object{"jobId": "new-job", "jobName": in["jobName"]})
		} else {
			answer(object{})
		}
	case r.Method == http.MethodPut:
		b.changes = append(b.changes, "put "+r.URL.Path+" "+content(r, body))
	case strings.Contains(string(body), "Action=DescribeStacks"):
		var outputs, parameters strings.Builder
		for k, v := range map[string]string{"BatchComputeEnvironmentArn": paperARN + "compute-environment/ce", "BatchJobQueueArn": paperQueue, "BatchJobDefinitionArn": paperARN + "job-definition/PclusterJobDefinitionSerial-1:1",
			"BatchJobDefinitionMnpArn": paperARN + "job-definition/PclusterJobDefinitionMNP-1:1", "HeadNodePrivateIP": "10.0.0.1", "BatchCliRequirements": "aws-parallelcluster-awsbatch-cli<2.0.0"} {
			fmt.Fprintf(&outputs, "<member><OutputKey>%s</OutputKey><OutputValue>%s</OutputValue></member>", k, strings.ReplaceAll(v, "<", "&lt;"))
		}
		for k, v := range map[string]string{"ResourcesS3Bucket": "bucket", "ArtifactS3RootDirectory": "dir", "Scheduler": "awsbatch", "ProxyServer": "NONE"} {
			fmt.Fprintf(&parameters, "<member><ParameterKey>%s</ParameterKey><ParameterValue>%s</ParameterValue></member>", k, v)
		}
		fmt.Fprintf(w, `<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult><Stacks><member><StackName>jobs</StackName><StackId>arn:aws:cloudformation:us-east-1:111122223333:stack/jobs/1</StackId><StackStatus>CREATE_COMPLETE</StackStatus><CreationTime>2026-01-02T03:04:05Z</CreationTime><Outputs>%s</Outputs><Parameters>%s</Parameters></member></Stacks></DescribeStacksResult></DescribeStacksResponse>`, &outputs, &parameters)
	case strings.Contains(string(body), "Action=DescribeInstances"):
		fmt.Fprint(w, `<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><reservationSet>`)
		for i := 1; i <= 2; i++ {
			public := ""
			if i == 1 {
				public = "<ipAddress>192.0.2.1</ipAddress><dnsName>ec2-192-0-2-1.compute-1.amazonaws.com</dnsName>"
			}
			fmt.Fprintf(w, `<item><instancesSet><item><instanceId>i-000000000000000%d</instanceId><instanceType>c5.large</instanceType><privateIpAddress>10.0.0.%d</privateIpAddress><privateDnsName>ip-10-0-0-%d.ec2.internal</privateDnsName>%s</item></instancesSet></item>`, i, i, i, public)
		}
		fmt.Fprint(w, `</reservationSet></DescribeInstancesResponse>`)
	default:
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.URL, target, body)
	}
}

// content is what is put, without the framing that a client may have sent it in.
func content(r *http.Request, body []byte) string {
	if !strings.Contains(r.Header.Get("Content-Encoding"), "aws-chunked") {
		return string(body)
	}
	if _, rest, ok := bytes.Cut(body, []byte("\r\n")); ok {
		text, _, _ := bytes.Cut(rest, []byte("\r\n"))
		if bytes.HasPrefix(body, []byte("0\r\n")) {
			return ""
		}
		return string(text)
	}
	return string(body)
}

// essence is what changes are about: which job with what size, needs and dependencies, or
// what is to end, and which files go along. How a job gets its files and variables inside its
// container is between a command and the image of jobs, which each tool brings with it.
func essence(t *testing.T, changes []string) (out []object) {
	t.Helper()
	for _, c := range changes {
		if path, text, put := strings.Cut(strings.TrimPrefix(c, "put "), " "); strings.HasPrefix(c, "put ") {
			if !strings.HasPrefix(path, "/bucket/dir/batch/") {
				t.Errorf("%s is not where jobs' files are", path)
			}
			if put && text != "" && !strings.HasSuffix(path, ".env.sh") {
				out = append(out, object{"file": text})
			}
			continue
		}
		path, text, _ := strings.Cut(c, " ")
		var in map[string]any
		if err := json.Unmarshal([]byte(text), &in); err != nil {
			t.Fatal(err)
		}
		needs, _ := in["containerOverrides"].(map[string]any)
		if nodes, ok := in["nodeOverrides"].(map[string]any); ok {
			for _, p := range nodes["nodePropertyOverrides"].([]any) {
				needs, _ = p.(map[string]any)["containerOverrides"].(map[string]any)
			}
			in["nodes"] = nodes["numNodes"]
			delete(in, "nodeOverrides")
		}
		if needs != nil {
			in["needs"] = []any{needs["vcpus"], needs["memory"]}
			delete(in, "containerOverrides")
		}
		for _, k := range []string{"arrayProperties", "dependsOn"} { // empty is none
			if text := fmt.Sprint(in[k]); text == "map[]" || text == "[]" {
				delete(in, k)
			}
		}
		out = append(out, object{path: in})
	}
	return out
}

// Ours print what the real commands print of the same account, and ask it for the same.
func TestCommandsForJobsDoTheSame(t *testing.T) {
	python := batchPython(t)
	lines := [][]string{
		{"awsbqueues"}, {"awsbqueues", "-d"}, {"awsbqueues", "-d", "PclusterJobQueue-1"},
		{"awsbhosts"}, {"awsbhosts", "-d"}, {"awsbhosts", "-d", "i-0000000000000001"}, {"awsbhosts", "i-0000000000000002"},
		{"awsbstat"}, {"awsbstat", "-s", "ALL"}, {"awsbstat", "-s", "SUCCEEDED,FAILED"}, {"awsbstat", "-e"}, {"awsbstat", "-d"}, {"awsbstat", "-e", "-d", "-s", "ALL"},
		{"awsbstat", "a1-done"}, {"awsbstat", "b1-failed"}, {"awsbstat", "c1-runs", "d1-waits"}, {"awsbstat", "e1-new"}, {"awsbstat", "f1-array"}, {"awsbstat", "-d", "f1-array"},
		{"awsbstat", "f1-array:1"}, {"awsbstat", "g1-nodes"}, {"awsbstat", "-d", "g1-nodes"}, {"awsbstat", "g1-nodes#1"}, {"awsbstat", "none"}, {"awsbstat", "-s", "BAD"},
		{"awsbout", "a1-done"}, {"awsbout", "-hd", "2", "a1-done"}, {"awsbout", "-t", "1", "a1-done"}, {"awsbout", "d1-waits"}, {"awsbout", "f1-array"}, {"awsbout", "f1-array:0"},
		{"awsbout", "g1-nodes"}, {"awsbout", "g1-nodes#0"}, {"awsbout", "none"},
		{"awsbkill", "c1-runs"}, {"awsbkill", "-r", "enough", "c1-runs", "d1-waits"}, {"awsbkill", "f1-array"}, {"awsbkill", "f1-array:1"}, {"awsbkill", "g1-nodes"}, {"awsbkill", "none"},
		{"awsbsub", "sleep", "1"}, {"awsbsub", "-jn", "named", "-a", "3", "--vcpus", "2", "--memory", "256", "hostname"}, {"awsbsub", "-n", "2", "hostname"}, {"awsbsub", "-t", "120", "-r", "3", "hostname", "-f"}, {"awsbsub", "-t", "120", "-r", "3", "hostname"}, {"awsbsub", "-n", "1", "true"}, {"awsbsub"},
		{"awsbsub", "-e", "WORD", "hostname"}, {"awsbsub", "-e", "all", "-eb", "HOME,PATH", "true"}, {"awsbsub", "-d", "jobId=a1-done,type=N_TO_N", "true"}, {"awsbsub", "-d", "jobId=a1-done", "true"},
		{"awsbsub", "-cf", "script.sh", "one", "two"}, {"awsbsub", "-cf", "-if", "in.txt", "script.sh"}, {"awsbsub", "-cf", "missing.sh"}, {"awsbsub", "-a", "1", "true"}, {"awsbsub", "-n", "2", "-a", "2", "true"},
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"script.sh": "#!/bin/sh\necho $1\n", "in.txt": "input\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	account := newBatchOnPaper()
	server := httptest.NewServer(account)
	defer server.Close()
	for k, v := range map[string]string{"HOME": dir, "WORD": "a b", "TZ": "UTC", "AWS_ENDPOINT_URL": server.URL, "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
		"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"} {
		t.Setenv(k, v)
	}
	path, err := filepath.Abs(python)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	local := time.Local
	time.Local = time.UTC
	defer func() { time.Local = local }()
	if err := os.MkdirAll(".parallelcluster", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(awsb.ConfigFile, []byte(awsb.ConfigOf("jobs", "us-east-1")), 0o644); err != nil {
		t.Fatal(err)
	}
	type answer struct {
		Out, Err string
		Status   int
	}
	input, err := json.Marshal(lines)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-c", runner)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), os.Stderr
	data, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var theirs []answer
	if err := json.Unmarshal(data, &theirs); err != nil {
		t.Fatal(err)
	}
	asked := account.taken()
	for i, line := range lines {
		t.Run(strings.Join(line, " "), func(t *testing.T) {
			var out, complaint strings.Builder
			status := awsb.Run(t.Context(), line[0], line[1:], &out, &complaint)
			mine := account.taken()[0]
			if why, ok := otherwise[strings.Join(line, " ")]; ok {
				if out.String() == theirs[i].Out && (status != 0) == (theirs[i].Status != 0) {
					t.Errorf("nothing is different, though %s", why)
				}
				return
			}
			if diff := cmp.Diff(theirs[i].Out, out.String()); diff != "" {
				t.Errorf("output (-real +ours):\n%s", diff)
			}
			if (theirs[i].Status != 0) != (status != 0) {
				t.Errorf("status %d (%s), ours %d (%s)", theirs[i].Status, theirs[i].Err, status, &complaint)
			}
			if diff := cmp.Diff(essence(t, asked[i]), essence(t, mine)); diff != "" {
				t.Errorf("asked for (-real +ours):\n%s", diff)
			}
		})
	}
}

// otherwise are commands of which ours does something else, and why that is better.
var otherwise = map[string]string{
	"awsbstat none":                   "a job that does not exist is an error, and no empty table",
	"awsbstat -s BAD":                 "a state that does not exist is an error, and no empty table",
	"awsbsub -a 1 true":               "a size that Batch refuses is refused at once",
	"awsbsub -n 2 -a 2 true":          "nodes and a size don't go together; the real one drops the size",
	"awsbsub -t 120 -r 3 hostname -f": "what follows the command is its own, options too",
}

// taken returns what was to be changed since it was last called, for each command.
func (b *batchOnPaper) taken() [][]string {
	b.Lock()
	defer b.Unlock()
	out := [][]string{nil}
	for _, c := range b.changes {
		if c == over {
			out = append(out, nil)
			continue
		}
		out[len(out)-1] = append(out[len(out)-1], c)
	}
	b.changes = nil
	return out
}
