package cloudformation

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/google/go-cmp/cmp"
)

// up makes a stack named s.
func (r *rig) up(lines ...string) {
	r.t.Helper()
	r.create("s", things(lines...))
	r.wants("s", "CREATE_COMPLETE")
}

func TestUpdateChangesReplacesAddsAndRemoves(t *testing.T) {
	r := newRig(t, Config{})
	r.up(`Same : "Size": 1`, `Grow : "Size": 1`, `Swap : "Kind": "a"`, "User < Swap", "Old")
	r.update("s", things(`Same : "Size": "1"`, `Grow : "Size": 2`, `Swap : "Kind": "b"`, "User < Swap", "New < Grow"))
	r.wants("s", "UPDATE_COMPLETE")
	if diff := cmp.Diff([]string{"Grow size=2", "New", "Same size=1", "Swap kind=b", "User"}, r.cloud.have()); diff != "" {
		t.Errorf("things (-want +got):\n%s", diff)
	}
	if got := r.cloud.done("update"); !slices.Equal(slices.Sorted(slices.Values(got)), []string{"Grow", "User"}) {
		t.Errorf("updated in place: %v, want Grow, and User as it uses another Swap", got)
	}
	swap, _ := r.find("s").resource("Swap")
	for _, thing := range r.cloud.things {
		if thing.Logical == "User" && !slices.Contains(uses(thing.Props), swap.PhysicalID) {
			t.Error("User still uses the Swap that was replaced")
		}
	}
	events := r.history("s")
	inSequence(t, events, "s UPDATE_IN_PROGRESS User Initiated",
		"Swap UPDATE_IN_PROGRESS Requested update requires the creation of a new physical resource; hence creating one.", "Swap UPDATE_IN_PROGRESS Resource creation Initiated", "Swap UPDATE_COMPLETE",
		"User UPDATE_IN_PROGRESS", "User UPDATE_COMPLETE", "s UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "Swap DELETE_IN_PROGRESS", "Swap DELETE_COMPLETE", "s UPDATE_COMPLETE")
	inSequence(t, events, "New CREATE_IN_PROGRESS", "New CREATE_COMPLETE", "s UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "Old DELETE_IN_PROGRESS", "Old DELETE_COMPLETE", "s UPDATE_COMPLETE")
	if slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, "Same UPDATE") }) {
		t.Error("Same did not change, but was updated")
	}
	if _, ok := r.find("s").resource("Old"); ok {
		t.Error("Old is still a resource of the stack")
	}
	r.delete("s")
	r.wants(r.all()[0].id, "DELETE_COMPLETE")
	if got := r.cloud.have(); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

func TestUpdateWithoutChangesIsRefused(t *testing.T) {
	r := newRig(t, Config{})
	r.up(`A : "Size": 1`)
	for name, tpl := range map[string]string{
		"the same":              things(`A : "Size": 1`),
		"a number as a string":  things(`A : "Size": "1"`),
		"another description":   with(things(`A : "Size": 1`), "Description", `"new words"`),
		"an unused parameter":   with(things(`A : "Size": 1`), "Parameters", `{"P": {"Type": "String", "Default": "x"}}`),
		"a resource not wanted": with(with(things(`A : "Size": 1`), "Conditions", `{"No": {"Fn::Equals": ["a", "b"]}}`), "Resources", `{"B": {"Type": "Test::Cloud::Thing", "Condition": "No"}}`),
	} {
		_, err := r.UpdateStack(context.Background(), &sdk.UpdateStackInput{StackName: aws.String("s"), TemplateBody: aws.String(tpl)})
		if err == nil || err.Error() != "ValidationError: No updates are to be performed." {
			t.Errorf("%s: %v", name, err)
		}
	}
	if row := r.wants("s", "CREATE_COMPLETE"); row.Updated != nil {
		t.Error("a refused update left a trace")
	}
	_, err := r.UpdateStack(context.Background(), &sdk.UpdateStackInput{StackName: aws.String("nope"), TemplateBody: aws.String(things("A"))})
	if err == nil || err.Error() != "ValidationError: Stack [nope] does not exist" {
		t.Errorf("update of no stack: %v", err)
	}
}

func TestUpdateOfTagsOutputsAndMetadata(t *testing.T) {
	r := newRig(t, Config{})
	r.up("A")
	r.update("s", things("A"), func(in *sdk.UpdateStackInput) {
		in.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("hpc")}}
	})
	r.wants("s", "UPDATE_COMPLETE")
	for _, thing := range r.cloud.things {
		if thing.Tags["team"] != "hpc" {
			t.Errorf("tags of the thing: %v", thing.Tags)
		}
	}
	r.update("s", with(things("A"), "Outputs", `{"O": {"Value": {"Ref": "A"}}}`))
	r.wants("s", "UPDATE_COMPLETE")
	if st := r.describe1("s"); len(st.Outputs) != 1 || len(st.Tags) != 1 {
		t.Errorf("outputs %v, tags %v", st.Outputs, st.Tags)
	}
	r.update("s", things(`A : "Metadata": {"x": 1}`))
	r.wants("s", "UPDATE_COMPLETE")
	if got := r.cloud.done("update"); len(got) != 1 {
		t.Errorf("updates of the thing: %v, want one, for the tag", got)
	}
	inSequence(t, r.history("s"), "A UPDATE_IN_PROGRESS", "A UPDATE_COMPLETE", "A UPDATE_IN_PROGRESS", "A UPDATE_COMPLETE")
}

func TestUpdateKeepsPreviousValuesThatAreAskedFor(t *testing.T) {
	r := newRig(t, Config{})
	tpl := with(things(`A : "Size": {"Ref": "P"}`), "Parameters", `{"P": {"Type": "String"}, "Q": {"Type": "String", "Default": "q"}}`)
	r.create("s", tpl, func(in *sdk.CreateStackInput) {
		in.Parameters = []types.Parameter{{ParameterKey: aws.String("P"), ParameterValue: aws.String("7")}}
	})
	r.wants("s", "CREATE_COMPLETE")
	in := &sdk.UpdateStackInput{StackName: aws.String("s"), UsePreviousTemplate: aws.Bool(true)}
	if _, err := r.UpdateStack(context.Background(), in); err == nil || err.Error() != "ValidationError: Parameters: [P] must have values" {
		t.Errorf("update without the parameter: %v", err)
	}
	in.Parameters = []types.Parameter{{ParameterKey: aws.String("P"), UsePreviousValue: aws.Bool(true)}, {ParameterKey: aws.String("Q"), ParameterValue: aws.String("r")}}
	if _, err := r.UpdateStack(context.Background(), in); err == nil || err.Error() != "ValidationError: No updates are to be performed." {
		t.Errorf("update with the previous value: %v", err)
	}
	in.Parameters[0] = types.Parameter{ParameterKey: aws.String("P"), ParameterValue: aws.String("8")}
	if _, err := r.UpdateStack(context.Background(), in); err != nil {
		t.Fatal(err)
	}
	r.wants("s", "UPDATE_COMPLETE")
	if diff := cmp.Diff([]string{"A size=8"}, r.cloud.have()); diff != "" {
		t.Error(diff)
	}
}

func TestFailedUpdateIsRolledBack(t *testing.T) {
	r := newRig(t, Config{})
	before := []string{`Grow : "Size": 1`, `Swap : "Kind": "a"`, "User < Swap", "Old"}
	r.up(before...)
	was := r.cloud.have()
	swap, _ := r.find("s").resource("Swap")
	r.cloud.refuse["create Bad"] = "no room"
	r.update("s", things(`Grow : "Size": 2`, `Swap : "Kind": "b"`, "User < Swap", "New < Grow", "Bad < User New"))
	r.wants("s", "UPDATE_ROLLBACK_COMPLETE")
	if diff := cmp.Diff(was, r.cloud.have()); diff != "" {
		t.Errorf("things (-before +after):\n%s", diff)
	}
	if now, _ := r.find("s").resource("Swap"); now.PhysicalID != swap.PhysicalID {
		t.Error("Swap is not the one of before")
	}
	events := r.history("s")
	inSequence(t, events, "Bad CREATE_FAILED…", "s UPDATE_ROLLBACK_IN_PROGRESS The following resource(s) failed to update: [Bad].",
		"Swap UPDATE_COMPLETE", "s UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "Swap DELETE_IN_PROGRESS", "Swap DELETE_COMPLETE", "s UPDATE_ROLLBACK_COMPLETE")
	inSequence(t, events, "s UPDATE_ROLLBACK_IN_PROGRESS…", "Grow UPDATE_IN_PROGRESS", "Grow UPDATE_COMPLETE", "New DELETE_COMPLETE", "s UPDATE_ROLLBACK_COMPLETE")

	// What was rolled back can be updated, and is what a comparison starts from.
	_, err := r.UpdateStack(context.Background(), &sdk.UpdateStackInput{StackName: aws.String("s"), TemplateBody: aws.String(things(before...))})
	if err == nil || !strings.Contains(err.Error(), "No updates") {
		t.Errorf("update to what is there: %v", err)
	}
	delete(r.cloud.refuse, "create Bad")
	r.update("s", things("Bad"))
	r.wants("s", "UPDATE_COMPLETE")
	if diff := cmp.Diff([]string{"Bad"}, r.cloud.have()); diff != "" {
		t.Error(diff)
	}
}

func TestUpdateThatStaysFailedCanBeContinuedOrRolledBack(t *testing.T) {
	for name, tt := range map[string]struct {
		then   func(*rig)
		status string
		want   []string
	}{
		"rolled back": {func(r *rig) {
			if _, err := r.RollbackStack(context.Background(), &sdk.RollbackStackInput{StackName: aws.String("s")}); err != nil {
				r.t.Fatal(err)
			}
		}, "UPDATE_ROLLBACK_COMPLETE", []string{"Grow size=1", "Swap kind=a"}},
		"updated again": {func(r *rig) {
			delete(r.cloud.refuse, "create Bad")
			r.update("s", things(`Grow : "Size": 3`, `Swap : "Kind": "c"`, "New", "Bad < Grow Swap New"))
		}, "UPDATE_COMPLETE", []string{"Bad", "Grow size=3", "New", "Swap kind=c"}},
		"updated again in vain": {func(r *rig) {
			r.update("s", things(`Grow : "Size": 3`, `Swap : "Kind": "c"`, "New", "Bad < Grow Swap New"))
		}, "UPDATE_ROLLBACK_COMPLETE", []string{"Grow size=1", "Swap kind=a"}},
		"deleted": {func(r *rig) { r.delete("s") }, "DELETE_COMPLETE", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.up(`Grow : "Size": 1`, `Swap : "Kind": "a"`)
			id := r.all()[0].id
			r.cloud.refuse["create Bad"] = "no room"
			r.update("s", things(`Grow : "Size": 2`, `Swap : "Kind": "b"`, "New", "Bad < Grow Swap New"), func(in *sdk.UpdateStackInput) { in.DisableRollback = aws.Bool(true) })
			r.wants("s", "UPDATE_FAILED")
			tt.then(r)
			r.wants(id, tt.status)
			if diff := cmp.Diff(tt.want, r.cloud.have()); diff != "" {
				t.Errorf("things (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFailedRollbackCanBeContinued(t *testing.T) {
	r := newRig(t, Config{})
	r.up(`Grow : "Size": 1`, "Other")
	r.cloud.refuse["create Bad"] = "no room"
	r.update("s", things(`Grow : "Size": 2`, "Other", "Bad < Grow"))
	r.wants("s", "UPDATE_ROLLBACK_COMPLETE")
	r.cloud.refuse["update Grow"] = "stuck"
	r.update("s", things(`Grow : "Size": 3`, "Other"))
	r.wants("s", "UPDATE_ROLLBACK_FAILED")
	r.cloud.mu.Lock()
	delete(r.cloud.refuse, "update Grow")
	r.cloud.mu.Unlock()
	if _, err := r.ContinueUpdateRollback(context.Background(), &sdk.ContinueUpdateRollbackInput{StackName: aws.String("s")}); err != nil {
		t.Fatal(err)
	}
	r.wants("s", "UPDATE_ROLLBACK_COMPLETE")
	if diff := cmp.Diff([]string{"Grow size=1", "Other"}, r.cloud.have()); diff != "" {
		t.Error(diff)
	}
}

func TestCancelledUpdateIsRolledBack(t *testing.T) {
	r := newRig(t, Config{})
	r.up(`A : "Size": 1`)
	r.cloud.hold["Slow"] = true
	r.update("s", things(`A : "Size": 2`, "Slow < A"))
	r.eventually("Slow in the making", func() bool {
		slow, _ := r.find("s").resource("Slow")
		return slow.PhysicalID != ""
	})
	if _, err := r.CancelUpdateStack(context.Background(), &sdk.CancelUpdateStackInput{StackName: aws.String("s")}); err != nil {
		t.Fatal(err)
	}
	r.wants("s", "UPDATE_ROLLBACK_COMPLETE")
	if diff := cmp.Diff([]string{"A size=1"}, r.cloud.have()); diff != "" {
		t.Error(diff)
	}
	inSequence(t, r.history("s"), "Slow CREATE_FAILED Resource creation cancelled", "s UPDATE_ROLLBACK_IN_PROGRESS User Initiated")
}

func TestPoliciesOfReplacementAndRemoval(t *testing.T) {
	r := newRig(t, Config{})
	r.up(`Swap : "Kind": "a", "UpdateReplacePolicy": "Retain"`, `Gone : "DeletionPolicy": "Retain"`, "Stay")
	r.update("s", things(`Swap : "Kind": "b", "UpdateReplacePolicy": "Retain"`, "Stay"))
	r.wants("s", "UPDATE_COMPLETE")
	if diff := cmp.Diff([]string{"Gone", "Stay", "Swap kind=a", "Swap kind=b"}, r.cloud.have()); diff != "" {
		t.Errorf("things (-want +got):\n%s", diff)
	}
	inSequence(t, r.history("s"), "s UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "Gone DELETE_SKIPPED")
}

func TestChangeSets(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, Config{})
	created, err := r.CreateChangeSet(ctx, &sdk.CreateChangeSetInput{
		StackName: aws.String("s"), ChangeSetName: aws.String("first"), ChangeSetType: types.ChangeSetTypeCreate, TemplateBody: aws.String(things(`Swap : "Kind": "a"`, "User < Swap", `Grow : "Size": 1`)),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.wants("s", "REVIEW_IN_PROGRESS")
	if len(r.cloud.have()) != 0 {
		t.Error("a change set made something")
	}
	if _, err := r.ExecuteChangeSet(ctx, &sdk.ExecuteChangeSetInput{ChangeSetName: created.Id}); err != nil {
		t.Fatal(err)
	}
	r.wants("s", "CREATE_COMPLETE")

	if _, err := r.CreateChangeSet(ctx, &sdk.CreateChangeSetInput{
		StackName: aws.String("s"), ChangeSetName: aws.String("second"), TemplateBody: aws.String(things(`Swap : "Kind": "b"`, "User < Swap", "New")),
	}); err != nil {
		t.Fatal(err)
	}
	set, err := r.DescribeChangeSet(ctx, &sdk.DescribeChangeSetInput{StackName: aws.String("s"), ChangeSetName: aws.String("second")})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range set.Changes {
		got = append(got, strings.TrimSpace(*c.ResourceChange.LogicalResourceId+" "+string(c.ResourceChange.Action)+" "+string(c.ResourceChange.Replacement)))
	}
	if diff := cmp.Diff([]string{"New Add", "Swap Modify True", "User Modify False", "Grow Remove"}, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if _, err := r.ExecuteChangeSet(ctx, &sdk.ExecuteChangeSetInput{StackName: aws.String("s"), ChangeSetName: aws.String("second")}); err != nil {
		t.Fatal(err)
	}
	r.wants("s", "UPDATE_COMPLETE")
	if diff := cmp.Diff([]string{"New", "Swap kind=b", "User"}, r.cloud.have()); diff != "" {
		t.Error(diff)
	}

	if _, err := r.CreateChangeSet(ctx, &sdk.CreateChangeSetInput{StackName: aws.String("s"), ChangeSetName: aws.String("none"), UsePreviousTemplate: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	set, err = r.DescribeChangeSet(ctx, &sdk.DescribeChangeSetInput{StackName: aws.String("s"), ChangeSetName: aws.String("none")})
	if err != nil {
		t.Fatal(err)
	}
	if set.Status != types.ChangeSetStatusFailed || !strings.HasPrefix(*set.StatusReason, "The submitted information didn't contain changes.") {
		t.Errorf("empty change set: %s, %s", set.Status, aws.ToString(set.StatusReason))
	}
}
