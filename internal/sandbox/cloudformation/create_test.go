package cloudformation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/google/go-cmp/cmp"
)

func TestCreateFollowsDependenciesInParallel(t *testing.T) {
	r := newRig(t, Config{})
	r.cloud.hold["Net"], r.cloud.hold["Disk"] = true, true
	tpl := with(things("Net", "Disk", "Card < Net", `Box < Card Disk : "Size": 3, "Metadata": {"Box": {"Ref": "Net"}}`),
		"Outputs", `{"Id": {"Value": {"Ref": "Box"}, "Description": "the box"}, "Size": {"Value": {"Fn::GetAtt": ["Box", "Size"]}}}`)
	id := r.create("s", tpl, func(in *sdk.CreateStackInput) {
		in.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("hpc")}}
	})
	r.eventually("creation of independent resources at once", func() bool {
		net, _ := r.find("s").resource("Net")
		disk, _ := r.find("s").resource("Disk")
		return net.PhysicalID != "" && disk.PhysicalID != ""
	})
	r.cloud.mu.Lock()
	clear(r.cloud.hold)
	r.cloud.mu.Unlock()
	r.wants("s", "CREATE_COMPLETE")
	if diff := cmp.Diff([]string{"Box size=3", "Card", "Disk", "Net"}, r.cloud.have()); diff != "" {
		t.Errorf("things (-want +got):\n%s", diff)
	}
	events := r.history("s")
	inSequence(t, events, "s CREATE_IN_PROGRESS User Initiated", "Net CREATE_IN_PROGRESS", "Net CREATE_IN_PROGRESS Resource creation Initiated",
		"Net CREATE_COMPLETE", "Card CREATE_IN_PROGRESS", "Card CREATE_COMPLETE", "Box CREATE_IN_PROGRESS", "Box CREATE_COMPLETE", "s CREATE_COMPLETE")
	inSequence(t, events, "Disk CREATE_COMPLETE", "Box CREATE_IN_PROGRESS")

	st := r.describe1("s")
	if got := aws.ToString(st.Outputs[1].OutputValue); got != "3" {
		t.Errorf("output Size = %q", got)
	}
	for _, thing := range r.cloud.things {
		want := map[string]string{"team": "hpc", "aws:cloudformation:stack-name": "s", "aws:cloudformation:stack-id": id, "aws:cloudformation:logical-id": thing.Logical}
		if diff := cmp.Diff(want, thing.Tags); diff != "" {
			t.Errorf("tags of %s (-want +got):\n%s", thing.Logical, diff)
		}
	}
	res, err := r.DescribeStackResource(context.Background(), &sdk.DescribeStackResourceInput{StackName: aws.String("s"), LogicalResourceId: aws.String("Box")})
	if err != nil {
		t.Fatal(err)
	}
	net, _ := r.find("s").resource("Net")
	if got, want := *res.StackResourceDetail.Metadata, `{"Box":"`+net.PhysicalID+`"}`; got != want {
		t.Errorf("metadata = %s, want %s", got, want)
	}
}

func TestFailedCreationRollsBack(t *testing.T) {
	r := newRig(t, Config{})
	r.cloud.hold["Slow"], r.cloud.hold["Bad"] = true, true
	r.create("s", things("Net", "Slow < Net", "Bad < Net", "Never < Bad"))
	r.eventually("Slow and Bad", func() bool {
		slow, _ := r.find("s").resource("Slow")
		bad, _ := r.find("s").resource("Bad")
		return slow.PhysicalID != "" && bad.PhysicalID != ""
	})
	r.cloud.mu.Lock()
	r.cloud.refuse["ready Bad"] = "no room"
	r.cloud.mu.Unlock()
	r.wants("s", "ROLLBACK_COMPLETE")
	if got := r.cloud.have(); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
	events := r.history("s")
	inSequence(t, events, "Bad CREATE_IN_PROGRESS", `Bad CREATE_FAILED Resource handler returned message: "no room (Service: Cloud, Status Code: 400, Error Code: Broken)"…`,
		"Slow CREATE_FAILED Resource creation cancelled",
		"s ROLLBACK_IN_PROGRESS The following resource(s) failed to create: [Bad, Slow]. Rollback requested by user.",
		"Slow DELETE_IN_PROGRESS", "Slow DELETE_COMPLETE", "Net DELETE_IN_PROGRESS", "Net DELETE_COMPLETE", "s ROLLBACK_COMPLETE")
	if slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, "Never") }) {
		t.Error("a resource that waits for the failed one was touched")
	}
}

func TestWhatFollowsAFailedCreation(t *testing.T) {
	for name, tt := range map[string]struct {
		set    func(*sdk.CreateStackInput)
		status string
		left   int
	}{
		"rollback by default":  {func(*sdk.CreateStackInput) {}, "ROLLBACK_COMPLETE", 0},
		"disabled rollback":    {func(in *sdk.CreateStackInput) { in.DisableRollback = aws.Bool(true) }, "CREATE_FAILED", 1},
		"OnFailure DO_NOTHING": {func(in *sdk.CreateStackInput) { in.OnFailure = types.OnFailureDoNothing }, "CREATE_FAILED", 1},
		"OnFailure DELETE":     {func(in *sdk.CreateStackInput) { in.OnFailure = types.OnFailureDelete }, "DELETE_COMPLETE", 0},
		"rollback keeps retained": {func(in *sdk.CreateStackInput) {
			in.TemplateBody = aws.String(things(`Net : "DeletionPolicy": "Retain"`, "Bad < Net"))
		}, "ROLLBACK_COMPLETE", 1},
		"but not RetainExceptOnCreate": {func(in *sdk.CreateStackInput) {
			in.TemplateBody = aws.String(things(`Net : "DeletionPolicy": "RetainExceptOnCreate"`, "Bad < Net"))
		}, "ROLLBACK_COMPLETE", 0},
		"nor if the request says so": {func(in *sdk.CreateStackInput) {
			in.TemplateBody, in.RetainExceptOnCreate = aws.String(things(`Net : "DeletionPolicy": "Retain"`, "Bad < Net")), aws.Bool(true)
		}, "ROLLBACK_COMPLETE", 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.cloud.refuse["create Bad"] = "no room"
			id := r.create("s", things("Net", "Bad < Net"), tt.set)
			r.wants(id, tt.status)
			if got := r.cloud.have(); len(got) != tt.left {
				t.Errorf("left: %v, want %d", got, tt.left)
			}
		})
	}
}

func TestCreateStackRefuses(t *testing.T) {
	role := `{"Resources": {"R": {"Type": "AWS::IAM::Role"}}}`
	r := newRig(t, Config{})
	r.types["AWS::IAM::Role"] = r.cloud.thingType()
	r.create("taken", things("A"))
	for name, tt := range map[string]struct {
		set  func(*sdk.CreateStackInput)
		want string
	}{
		"bad name":        {func(in *sdk.CreateStackInput) { in.StackName = aws.String("1x") }, "ValidationError: 1 validation error detected: Value '1x' at 'stackName' failed"},
		"taken name":      {func(in *sdk.CreateStackInput) { in.StackName = aws.String("taken") }, "AlreadyExistsException: Stack [taken] already exists"},
		"no template":     {func(in *sdk.CreateStackInput) { in.TemplateBody = nil }, "ValidationError: Either Template URL or Template Body must be specified."},
		"broken template": {func(in *sdk.CreateStackInput) { in.TemplateBody = aws.String("{") }, "ValidationError: Template format error: JSON not well-formed."},
		"unknown type":    {func(in *sdk.CreateStackInput) { in.TemplateBody = aws.String(things(`A: "Type": "AWS::Foo::Bar"`)) }, "ValidationError: Template format error: Unrecognized resource types: [AWS::Foo::Bar]"},
		"cycle":           {func(in *sdk.CreateStackInput) { in.TemplateBody = aws.String(things("A < B", "B < A")) }, "ValidationError: Circular dependency between resources: [A, B]"},
		"unresolved":      {func(in *sdk.CreateStackInput) { in.TemplateBody = aws.String(things("A < B")) }, "ValidationError: Template format error: Unresolved resource dependencies [B] in the Resources block of the template"},
		"capability":      {func(in *sdk.CreateStackInput) { in.TemplateBody = aws.String(role) }, "InsufficientCapabilitiesException: Requires capabilities : [CAPABILITY_IAM]"},
		"parameter":       {func(in *sdk.CreateStackInput) { in.Parameters = []types.Parameter{{ParameterKey: aws.String("X")}} }, "ValidationError: Parameters: [X] do not exist in the template"},
		"reserved tag": {func(in *sdk.CreateStackInput) {
			in.Tags = []types.Tag{{Key: aws.String("aws:x"), Value: aws.String("y")}}
		}, "ValidationError: aws: prefixed tag key names are not allowed for external use."},
		"both rollbacks": {func(in *sdk.CreateStackInput) {
			in.OnFailure, in.DisableRollback = types.OnFailureDelete, aws.Bool(true)
		}, "ValidationError: You can specify either DisableRollback or OnFailure, but not both."},
		"template URL": {func(in *sdk.CreateStackInput) {
			in.TemplateBody, in.TemplateURL = nil, aws.String("ftp://x/y")
		}, "ValidationError: TemplateURL must be a supported URL."},
	} {
		t.Run(name, func(t *testing.T) {
			in := &sdk.CreateStackInput{StackName: aws.String("s"), TemplateBody: aws.String(things("A"))}
			tt.set(in)
			_, err := r.CreateStack(context.Background(), in)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("CreateStack: %v, want %s", err, tt.want)
			}
		})
	}
	if _, err := r.DescribeStacks(context.Background(), &sdk.DescribeStacksInput{StackName: aws.String("s")}); err == nil || err.Error() != "ValidationError: Stack with id s does not exist" {
		t.Errorf("DescribeStacks: %v", err)
	}
}

func TestRepeatedCreateWithTheSameTokenIsTheSame(t *testing.T) {
	r := newRig(t, Config{})
	token := func(in *sdk.CreateStackInput) { in.ClientRequestToken = aws.String("once") }
	if a, b := r.create("s", things("A"), token), r.create("s", things("A"), token); a != b {
		t.Errorf("second stack %s, first %s", b, a)
	}
	r.wants("s", "CREATE_COMPLETE")
}

func TestConditionsParametersAndNoEcho(t *testing.T) {
	r := newRig(t, Config{})
	tpl := with(things(`A: "Size": {"Ref": "Size"}, "Secret": {"Ref": "Secret"}`, `B: "Condition": "Big"`), "Parameters", `{"Size": {"Type": "Number", "Default": 1}, "Secret": {"Type": "String", "NoEcho": true}}`)
	tpl = with(tpl, "Conditions", `{"Big": {"Fn::Equals": [{"Ref": "Size"}, "5"]}}`)
	tpl = with(tpl, "Outputs", `{"B": {"Condition": "Big", "Value": {"Ref": "B"}}, "Stack": {"Value": {"Fn::Sub": "${AWS::StackName} ${AWS::Region} ${AWS::AccountId}"}}}`)
	set := func(size string) func(*sdk.CreateStackInput) {
		return func(in *sdk.CreateStackInput) {
			in.Parameters = []types.Parameter{{ParameterKey: aws.String("Secret"), ParameterValue: aws.String("hush")}, {ParameterKey: aws.String("Size"), ParameterValue: aws.String(size)}}
		}
	}
	r.create("small", tpl, set("1"))
	r.create("big", tpl, set("5"))
	r.wants("small", "CREATE_COMPLETE")
	r.wants("big", "CREATE_COMPLETE")
	if diff := cmp.Diff([]string{"A size=1", "A size=5", "B"}, r.cloud.have()); diff != "" {
		t.Errorf("things (-want +got):\n%s", diff)
	}
	st := r.describe1("small")
	if len(st.Outputs) != 1 || *st.Outputs[0].OutputValue != "small us-east-1 111122223333" {
		t.Errorf("outputs = %v", st.Outputs)
	}
	if *st.Parameters[0].ParameterKey != "Secret" || *st.Parameters[0].ParameterValue != "****" {
		t.Errorf("parameter is shown: %v", *st.Parameters[0].ParameterValue)
	}
}

func TestBadPropertiesFailTheResource(t *testing.T) {
	r := newRig(t, Config{})
	handle := `Handle: "Type": "AWS::CloudFormation::WaitConditionHandle", "Colour": "red"`
	r.create("s", things(handle))
	r.wants("s", "ROLLBACK_COMPLETE")
	inSequence(t, r.history("s"), "Handle CREATE_FAILED Properties validation failed for resource Handle with message:\n#: extraneous key [Colour] is not permitted")
}

func TestPanicOfAHandlerFailsOnlyTheResource(t *testing.T) {
	r := newRig(t, Config{})
	r.types["Test::Cloud::Thing"].Create = nil // calling it panics
	r.create("s", things("A"))
	r.wants("s", "ROLLBACK_COMPLETE")
	inSequence(t, r.history("s"), "A CREATE_FAILED Internal Failure: …")
}

func TestManyResources(t *testing.T) {
	r := newRig(t, Config{})
	lines := []string{"Root"}
	for i := range 60 {
		lines = append(lines, fmt.Sprintf("Thing%02d < Root", i))
	}
	r.create("s", things(lines...))
	r.wants("s", "CREATE_COMPLETE")
	if made := r.cloud.have(); len(made) != len(lines) {
		t.Errorf("%d of %d things were made: %v", len(made), len(lines), made)
	}
	r.delete("s")
	r.settled(r.all()[0].id)
	if left := r.cloud.have(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestEventsComeInPagesNewestFirst(t *testing.T) {
	r := newRig(t, Config{})
	var lines []string
	for i := range 50 {
		lines = append(lines, fmt.Sprintf("T%02d", i))
	}
	r.create("s", things(lines...))
	r.wants("s", "CREATE_COMPLETE")
	first, err := r.DescribeStackEvents(context.Background(), &sdk.DescribeStackEventsInput{StackName: aws.String("s")})
	if err != nil {
		t.Fatal(err)
	}
	if len(first.StackEvents) != 100 || *first.StackEvents[0].LogicalResourceId != "s" || first.StackEvents[0].ResourceStatus != "CREATE_COMPLETE" || first.NextToken == nil {
		t.Errorf("first page: %d events, first of %s", len(first.StackEvents), *first.StackEvents[0].LogicalResourceId)
	}
	r.delete("s") // more events at the front must not shift the pages
	all := r.history(r.all()[0].id)
	if len(all) < 2+3*50 {
		t.Errorf("only %d events", len(all))
	}
	second, err := r.DescribeStackEvents(context.Background(), &sdk.DescribeStackEventsInput{StackName: aws.String(r.all()[0].id), NextToken: first.NextToken})
	if err != nil {
		t.Fatal(err)
	}
	if len(second.StackEvents) != 52 {
		t.Errorf("second page has %d events, want 52", len(second.StackEvents))
	}
	for i := 1; i < len(first.StackEvents); i++ {
		if !first.StackEvents[i].Timestamp.Before(*first.StackEvents[i-1].Timestamp) {
			t.Fatal("events are not in the order of time")
		}
	}
}
