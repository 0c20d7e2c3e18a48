package cloudformation

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"pcluster/internal/sandbox/cloudformation/resource"
)

const waiting = `{"Resources": {
	"Handle": {"Type": "AWS::CloudFormation::WaitConditionHandle"},
	"Wait": {"Type": "AWS::CloudFormation::WaitCondition", "Properties": {"Handle": {"Ref": "Handle"}, "Count": 2, "Timeout": "1800"}}},
	"Outputs": {"Data": {"Value": {"Fn::GetAtt": ["Wait", "Data"]}}}}`

// handle returns the URL of the stack's wait handle once there is one.
func (r *rig) handle(stack string) string {
	r.t.Helper()
	url := ""
	r.eventually("handle", func() bool {
		row, _ := r.find(stack).resource("Handle")
		url = row.PhysicalID
		return row.Status == "CREATE_COMPLETE"
	})
	return url
}

// put sends a signal as a machine would.
func (r *rig) put(url, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r.SignalHandler().ServeHTTP(w, httptest.NewRequest(http.MethodPut, url, strings.NewReader(body)))
	return w
}

func TestWaitCondition(t *testing.T) {
	good := `{"Status": "SUCCESS", "UniqueId": "%s", "Data": "d%s", "Reason": "fine"}`
	for name, tt := range map[string]struct {
		signals []string
		status  string
		event   string
	}{
		"enough successes": {[]string{fmt.Sprintf(good, "1", "1"), fmt.Sprintf(good, "2", "2")}, "CREATE_COMPLETE", "Wait CREATE_COMPLETE"},
		"a failure": {[]string{fmt.Sprintf(good, "1", "1"), `{"Status": "FAILURE", "UniqueId": "node", "Data": "", "Reason": "Failed to run chef recipe"}`},
			"ROLLBACK_COMPLETE", "Wait CREATE_FAILED WaitCondition received failed message: 'Failed to run chef recipe' for uniqueId: node"},
		"no signal":             {nil, "ROLLBACK_COMPLETE", "Wait CREATE_FAILED WaitCondition timed out. Received 0 conditions when expecting 2"},
		"the same signal twice": {[]string{fmt.Sprintf(good, "1", "1"), fmt.Sprintf(good, "1", "1")}, "ROLLBACK_COMPLETE", "Wait CREATE_FAILED WaitCondition timed out. Received 1 conditions when expecting 2"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				began := time.Now()
				r.create("s", waiting)
				url := r.handle("s")
				if !strings.HasPrefix(url, "https://cloudformation-waitcondition-us-east-1.s3.amazonaws.com/arn:aws:cloudformation:us-east-1:111122223333:stack%2Fs%2F") {
					t.Errorf("handle = %s", url)
				}
				for _, body := range tt.signals {
					if w := r.put(url, body); w.Code != http.StatusOK || w.Header().Get("ETag") == "" {
						t.Errorf("PUT: %d %s", w.Code, w.Body)
					}
				}
				synctest.Wait()
				if strings.Contains(tt.event, "timed out") {
					time.Sleep(1801 * time.Second)
				}
				row := r.wants("s", tt.status)
				inSequence(t, r.history("s"), "Wait CREATE_IN_PROGRESS", tt.event)
				if tt.status == "CREATE_COMPLETE" && row.Outputs[0].Value != `{"1":"d1","2":"d2"}` {
					t.Errorf("Data = %s", row.Outputs[0].Value)
				}
				if took := time.Since(began); strings.Contains(tt.event, "timed out") != (took > 30*time.Minute) {
					t.Errorf("took %v", took)
				}
				r.close()
			})
		})
	}
}

func TestSignalsThatAreRefused(t *testing.T) {
	r := newRig(t, Config{})
	r.create("s", waiting)
	url := r.handle("s")
	for name, tt := range map[string]struct {
		url, body string
		code      int
	}{
		"wrong signature": {url + "x", `{"Status": "SUCCESS", "UniqueId": "1"}`, http.StatusForbidden},
		"no JSON":         {url, "hello", http.StatusBadRequest},
		"no unique ID":    {url, `{"Status": "SUCCESS"}`, http.StatusBadRequest},
		"unknown status":  {url, `{"Status": "OK", "UniqueId": "1"}`, http.StatusBadRequest},
		"too long":        {url, `{"Status": "SUCCESS", "UniqueId": "1", "Data": "` + strings.Repeat("x", 5000) + `"}`, http.StatusBadRequest},
	} {
		if w := r.put(tt.url, tt.body); w.Code != tt.code {
			t.Errorf("%s: %d %s, want %d", name, w.Code, w.Body, tt.code)
		}
	}
}

func TestWaitConditionGoesOnAfterARestart(t *testing.T) {
	r := newRig(t, Config{})
	id := r.create("s", waiting)
	url := r.handle("s")
	r.put(url, `{"Status": "SUCCESS", "UniqueId": "1", "Data": "a"}`)
	r.restart()
	if got := r.handle(id); got != url {
		t.Errorf("handle changed from %s to %s", url, got)
	}
	r.put(url, `{"Status": "SUCCESS", "UniqueId": "2", "Data": "b"}`)
	r.wants("s", "CREATE_COMPLETE")
}

func TestCreationPolicyWaitsForSignals(t *testing.T) {
	ctx := context.Background()
	policy := `A : "CreationPolicy": {"ResourceSignal": {"Count": 2, "Timeout": "PT15M"}}`
	for _, status := range []types.ResourceSignalStatus{"SUCCESS", "FAILURE"} {
		r := newRig(t, Config{})
		r.create("s", things(policy))
		r.eventually("thing", func() bool { a, _ := r.find("s").resource("A"); return a.PhysicalID != "" })
		for i := range 2 {
			_, err := r.SignalResource(ctx, &sdk.SignalResourceInput{StackName: aws.String("s"), LogicalResourceId: aws.String("A"), UniqueId: aws.String(fmt.Sprint(i)), Status: status})
			if err != nil && status == "SUCCESS" {
				t.Fatal(err)
			}
		}
		if status == "SUCCESS" {
			r.wants("s", "CREATE_COMPLETE")
			inSequence(t, r.history("s"), "A CREATE_IN_PROGRESS Received SUCCESS signal with UniqueId 0", "A CREATE_COMPLETE")
		} else {
			r.wants("s", "ROLLBACK_COMPLETE")
			inSequence(t, r.history("s"), "A CREATE_FAILED Received …")
		}
	}
}

func TestStackTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.cloud.hold["Slow"] = true
		r.create("s", things("Net", "Slow < Net"), func(in *sdk.CreateStackInput) { in.TimeoutInMinutes = aws.Int32(5) })
		time.Sleep(301 * time.Second)
		r.wants("s", "ROLLBACK_COMPLETE")
		inSequence(t, r.history("s"), "Slow CREATE_FAILED Resource creation cancelled", "s ROLLBACK_IN_PROGRESS Stack creation time exceeded the specified timeout. Rollback requested by user.")
		if got := r.cloud.have(); len(got) != 0 {
			t.Errorf("left behind: %v", got)
		}
		r.close()
	})
}

// functions is a Lambda of one function, which answers custom resources.
type functions struct {
	resource.Lambda // nil: no other call is expected
	mu              sync.Mutex
	rig             *rig
	asked           []string
	answer          func(event map[string]any) (body string, failure string) // "" answers nothing
}

func (f *functions) Invoke(_ context.Context, in *lambda.InvokeInput) (*lambda.InvokeOutput, error) {
	var event map[string]any
	if err := json.Unmarshal(in.Payload, &event); err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.asked = append(f.asked, fmt.Sprint(event["RequestType"], " ", event["PhysicalResourceId"], " ", event["ResourceProperties"]))
	body, failure := f.answer(event)
	f.mu.Unlock()
	if failure != "" {
		return &lambda.InvokeOutput{StatusCode: 200, FunctionError: aws.String("Unhandled"), Payload: []byte(`{"errorMessage": "` + failure + `"}`)}, nil
	}
	if body != "" {
		f.rig.put(event["ResponseURL"].(string), body)
	}
	return &lambda.InvokeOutput{StatusCode: 200}, nil
}

func (f *functions) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.asked...)
}

const custom = `{"Resources": {
	"First": {"Type": "Test::Cloud::Thing"},
	"Clean": {"Type": "AWS::CloudFormation::CustomResource", "Properties": {"ServiceToken": "arn:aws:lambda:us-east-1:111122223333:function:f", "N": 1, "On": true, "First": {"Ref": "First"}}},
	"Last": {"Type": "Test::Cloud::Thing", "Properties": {"Size": {"Fn::GetAtt": ["Clean", "Answer"]}}}}}`

func newCustomRig(t *testing.T, answer func(map[string]any) (string, string)) (*rig, *functions) {
	f := &functions{answer: answer}
	r := newRig(t, Config{Endpoint: "http://127.0.0.1:4566", Services: resource.Services{Lambda: f}})
	f.rig = r
	return r, f
}

func TestCustomResource(t *testing.T) {
	r, f := newCustomRig(t, func(event map[string]any) (string, string) {
		return `{"Status": "SUCCESS", "PhysicalResourceId": "mine", "Data": {"Answer": 42}}`, ""
	})
	id := r.create("s", custom)
	r.wants("s", "CREATE_COMPLETE")
	r.update("s", strings.Replace(custom, `"N": 1`, `"N": 2`, 1))
	r.wants("s", "UPDATE_COMPLETE")
	r.delete("s")
	r.wants(id, "DELETE_COMPLETE")
	want := []string{
		"Create <nil> map[First:thing-1 N:1 On:true ServiceToken:arn:aws:lambda:us-east-1:111122223333:function:f]",
		"Update mine map[First:thing-1 N:2 On:true ServiceToken:arn:aws:lambda:us-east-1:111122223333:function:f]",
		"Delete mine map[First:thing-1 N:2 On:true ServiceToken:arn:aws:lambda:us-east-1:111122223333:function:f]",
	}
	if got := f.requests(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("requests:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if n := r.answerTable.Len(); n != 0 {
		t.Errorf("%d response URLs are still open", n)
	}
}

func TestCustomResourceThatChangesItsIDIsReplaced(t *testing.T) {
	n := 0
	r, f := newCustomRig(t, func(event map[string]any) (string, string) {
		n++
		return fmt.Sprintf(`{"Status": "SUCCESS", "PhysicalResourceId": "id-%d", "Data": {"Answer": 1}}`, n), ""
	})
	r.create("s", custom)
	r.wants("s", "CREATE_COMPLETE")
	r.update("s", strings.Replace(custom, `"N": 1`, `"N": 2`, 1))
	r.wants("s", "UPDATE_COMPLETE")
	asked := f.requests()
	if len(asked) != 3 || !strings.HasPrefix(asked[1], "Update id-1") || !strings.HasPrefix(asked[2], "Delete id-1") {
		t.Errorf("requests:\n%s", strings.Join(asked, "\n"))
	}
	if row, _ := r.find("s").resource("Clean"); row.PhysicalID != "id-2" {
		t.Errorf("physical ID = %s", row.PhysicalID)
	}
}

func TestFailuresOfCustomResources(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(map[string]any) (string, string)
		reason string
		asked  string
	}{
		"it says so": {func(e map[string]any) (string, string) {
			if e["RequestType"] == "Create" {
				return `{"Status": "FAILED", "Reason": "no bucket", "PhysicalResourceId": "half"}`, ""
			}
			return `{"Status": "SUCCESS"}`, ""
		}, "Clean CREATE_FAILED Received response status [FAILED] from custom resource. Message returned: no bucket (RequestId: …", "Create,Delete"},
		"it crashes": {func(e map[string]any) (string, string) {
			if e["RequestType"] == "Create" {
				return "", "exit status 1"
			}
			return `{"Status": "SUCCESS"}`, ""
		}, "Clean CREATE_FAILED Function arn:aws:lambda:us-east-1:111122223333:function:f failed without a response: exit status 1", "Create,Create,Create,Delete"},
		"it answers nothing": {func(e map[string]any) (string, string) {
			if e["RequestType"] == "Create" {
				return "", ""
			}
			return `{"Status": "SUCCESS"}`, ""
		}, "Clean CREATE_FAILED CloudFormation did not receive a response from your Custom Resource.…", "Create,Delete"},
		"it answers nonsense": {func(e map[string]any) (string, string) {
			if e["RequestType"] == "Create" {
				return "nonsense", ""
			}
			return `{"Status": "SUCCESS"}`, ""
		}, "Clean CREATE_FAILED Received response status [FAILED] from custom resource. Message returned: Invalid JSON in response object…", "Create,Delete"},
		"the attribute is missing": {func(e map[string]any) (string, string) {
			return `{"Status": "SUCCESS", "PhysicalResourceId": "x"}`, ""
		}, "Last CREATE_FAILED CustomResource attribute error: Vendor response doesn't contain Answer attribute in object x", "Create,Delete"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, f := newCustomRig(t, tt.answer)
				r.create("s", custom)
				for r.find("s").snapshot().Op != nil {
					time.Sleep(time.Minute)
				}
				r.wants("s", "ROLLBACK_COMPLETE")
				inSequence(t, r.history("s"), tt.reason)
				var verbs []string
				for _, a := range f.requests() {
					verbs = append(verbs, strings.Fields(a)[0])
				}
				if got := strings.Join(verbs, ","); got != tt.asked {
					t.Errorf("requests %s, want %s", got, tt.asked)
				}
				r.close()
			})
		})
	}
}

func TestCustomResourceIsAskedAgainAfterARestart(t *testing.T) {
	quiet := true
	r, f := newCustomRig(t, func(map[string]any) (string, string) {
		if quiet {
			return "", ""
		}
		return `{"Status": "SUCCESS", "PhysicalResourceId": "mine", "Data": {"Answer": 1}}`, ""
	})
	r.create("s", custom)
	r.eventually("request", func() bool { return len(f.requests()) == 1 })
	f.mu.Lock()
	quiet = false
	f.mu.Unlock()
	r.restart()
	r.wants("s", "CREATE_COMPLETE")
}

func nestedTemplates(child string) (parent string, s3 objects) {
	return with(`{"Resources": {
		"First": {"Type": "Test::Cloud::Thing"},
		"Child": {"Type": "AWS::CloudFormation::Stack", "Properties": {"TemplateURL": "https://bkt.s3.us-east-1.amazonaws.com/assets/child.json", "Parameters": {"Size": 7, "List": ["a", {"Ref": "First"}]}}},
		"Last": {"Type": "Test::Cloud::Thing", "Properties": {"Size": {"Fn::GetAtt": ["Child", "Outputs.Size"]}}}}}`, "Description", `"parent"`), objects{"bkt/assets/child.json": child}
}

const childTemplate = `{"Parameters": {"Size": {"Type": "Number"}, "List": {"Type": "CommaDelimitedList"}},
	"Resources": {"Inner": {"Type": "Test::Cloud::Thing", "Properties": {"Size": {"Ref": "Size"}}}},
	"Outputs": {"Size": {"Value": {"Fn::GetAtt": ["Inner", "Size"]}}}}`

func TestNestedStacks(t *testing.T) {
	parent, s3 := nestedTemplates(childTemplate)
	r := newRig(t, Config{Objects: s3})
	id := r.create("s", parent, func(in *sdk.CreateStackInput) {
		in.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("hpc")}}
	})
	r.wants("s", "CREATE_COMPLETE")
	if got := strings.Join(r.cloud.have(), ", "); got != "First, Inner size=7, Last size=7" {
		t.Errorf("things: %s", got)
	}
	row, _ := r.find("s").resource("Child")
	child := r.describe1(row.PhysicalID)
	if *child.ParentId != id || *child.RootId != id || !strings.HasPrefix(*child.StackName, "s-Child-") || *child.Tags[0].Value != "hpc" {
		t.Errorf("child = %+v", child)
	}
	if *child.Parameters[0].ParameterValue != "a,thing-1" {
		t.Errorf("list parameter = %s", *child.Parameters[0].ParameterValue)
	}

	// Another text at the same URL is a change.
	s3["bkt/assets/child.json"] = strings.Replace(childTemplate, `"Size": {"Ref": "Size"}`, `"Size": 9`, 1)
	r.update("s", parent)
	r.wants("s", "UPDATE_COMPLETE")
	if got := strings.Join(r.cloud.have(), ", "); got != "First, Inner size=9, Last size=9" {
		t.Errorf("things after the update: %s", got)
	}

	r.delete("s")
	r.wants(id, "DELETE_COMPLETE")
	r.wants(row.PhysicalID, "DELETE_COMPLETE")
	if got := r.cloud.have(); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

func TestFailureInANestedStackReachesTheParent(t *testing.T) {
	parent, s3 := nestedTemplates(childTemplate)
	r := newRig(t, Config{Objects: s3})
	r.cloud.refuse["create Inner"] = "no room"
	r.create("s", parent)
	r.wants("s", "ROLLBACK_COMPLETE")
	inSequence(t, r.history("s"), "Child CREATE_FAILED Embedded stack arn:aws:cloudformation:…", "Child DELETE_COMPLETE", "s ROLLBACK_COMPLETE")
	if events := strings.Join(r.history("s"), "\n"); !strings.Contains(events, "was not successfully created: The following resource(s) failed to create: [Inner].") {
		t.Errorf("events:\n%s", events)
	}
	if got := r.cloud.have(); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

func TestFailedUpdateTakesNestedStacksBack(t *testing.T) {
	parent, s3 := nestedTemplates(childTemplate)
	for name, break_ := range map[string]func(*rig){
		"the parent fails": func(r *rig) { r.cloud.refuse["create Bad"] = "no room" },
		"the child fails":  func(r *rig) { r.cloud.refuse["update Inner=8"] = "no room" },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{Objects: s3})
			r.create("s", parent)
			r.wants("s", "CREATE_COMPLETE")
			break_(r)
			r.update("s", with(strings.Replace(parent, `"Size":7`, `"Size":8`, 1), "Resources", `{"Bad": {"Type": "Test::Cloud::Thing", "DependsOn": "Last"}}`))
			r.wants("s", "UPDATE_ROLLBACK_COMPLETE")
			if got := strings.Join(r.cloud.have(), ", "); got != "First, Inner size=7, Last size=7" {
				t.Errorf("things: %s; events:\n%s", got, strings.Join(r.history("s"), "\n"))
			}
		})
	}
}

func TestCancelledNestedCreationIsDeleted(t *testing.T) {
	parent, s3 := nestedTemplates(childTemplate)
	r := newRig(t, Config{Objects: s3})
	r.cloud.hold["Inner"] = true
	r.create("s", with(parent, "Resources", `{"Bad": {"Type": "Test::Cloud::Thing", "Properties": {"After": {"Ref": "First"}}}}`))
	r.eventually("inner thing", func() bool { return strings.Contains(strings.Join(r.cloud.have(), ","), "Inner") })
	r.cloud.mu.Lock()
	r.cloud.refuse["ready Bad"] = "broken"
	r.cloud.mu.Unlock()
	if row := r.find("s").snapshot(); row.Op != nil { // Bad may have been ready before
		r.delete("s")
	}
	r.settled(r.all()[len(r.all())-1].id)
	r.eventually("end", func() bool { return len(r.cloud.have()) == 0 })
}

func TestTemplateURLs(t *testing.T) {
	for url, want := range map[string]string{
		"https://bkt.s3.us-east-1.amazonaws.com/a/b.json":              "bkt a/b.json ",
		"https://bkt.s3.amazonaws.com/a.json?versionId=v1":             "bkt a.json v1",
		"https://my.dotted.bucket.s3-eu-west-1.amazonaws.com/a%20b":    "my.dotted.bucket a b ",
		"https://s3.us-east-1.amazonaws.com/bkt/a/b.json":              "bkt a/b.json ",
		"https://s3.amazonaws.com/bkt/a":                               "bkt a ",
		"http://127.0.0.1:4566/bkt/a/b.json":                           "bkt a/b.json ",
		"https://bkt.s3.cn-north-1.amazonaws.com.cn/a/b.json":          "bkt a/b.json ",
		"https://bkt.s3.dualstack.us-east-1.amazonaws.com/templates/x": "bkt templates/x ",
	} {
		bucket, key, version, ok := objectOf(url)
		if got := bucket + " " + key + " " + version; !ok || got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
	for _, url := range []string{"s3://bkt/key", "bkt/key", "https://bkt.s3.amazonaws.com/", "https://s3.amazonaws.com/bkt"} {
		if _, _, _, ok := objectOf(url); ok {
			t.Errorf("%s is taken", url)
		}
	}
}
