package cloudformation

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/google/go-cmp/cmp"
)

func TestDeleteGoesBackwards(t *testing.T) {
	r := newRig(t, Config{})
	r.up("Net", "Card < Net", "Box < Card", `Log : "DeletionPolicy": "Retain"`)
	id := r.all()[0].id
	r.delete("s")
	r.wants(id, "DELETE_COMPLETE")
	if diff := cmp.Diff([]string{"Log"}, r.cloud.have()); diff != "" {
		t.Errorf("things (-want +got):\n%s", diff)
	}
	events := r.history(id)
	inSequence(t, events, "s DELETE_IN_PROGRESS User Initiated", "Box DELETE_IN_PROGRESS", "Box DELETE_COMPLETE", "Card DELETE_IN_PROGRESS", "Card DELETE_COMPLETE",
		"Net DELETE_IN_PROGRESS", "Net DELETE_COMPLETE", "s DELETE_COMPLETE")
	inSequence(t, events, "Log DELETE_SKIPPED", "s DELETE_COMPLETE")

	ctx := context.Background()
	if _, err := r.DescribeStacks(ctx, &sdk.DescribeStacksInput{StackName: aws.String("s")}); err == nil || err.Error() != "ValidationError: Stack with id s does not exist" {
		t.Errorf("describe by name: %v", err)
	}
	if st := r.describe1(id); st.StackStatus != types.StackStatusDeleteComplete || st.DeletionTime == nil {
		t.Errorf("describe by ID: %v", st.StackStatus)
	}
	if all, _ := r.DescribeStacks(ctx, &sdk.DescribeStacksInput{}); len(all.Stacks) != 0 {
		t.Error("a deleted stack is among all stacks")
	}
	if list, _ := r.ListStacks(ctx, &sdk.ListStacksInput{StackStatusFilter: []types.StackStatus{types.StackStatusDeleteComplete}}); len(list.StackSummaries) != 1 {
		t.Error("a deleted stack is not listed")
	}
	r.delete("s") // nothing there: no error
	if second := r.create("s", things("A")); second == id {
		t.Error("the name is not free again")
	}
	r.wants("s", "CREATE_COMPLETE")
}

func TestDeleteThatFailsCanBeRepeatedWithout(t *testing.T) {
	r := newRig(t, Config{})
	r.up("Net", "Stuck < Net", "Free")
	id := r.all()[0].id
	r.cloud.refuse["delete Stuck"] = "held"
	r.delete("s")
	r.wants("s", "DELETE_FAILED")
	if diff := cmp.Diff([]string{"Net", "Stuck"}, r.cloud.have()); diff != "" {
		t.Errorf("things (-want +got):\n%s", diff)
	}
	inSequence(t, r.history("s"), `Stuck DELETE_FAILED Resource handler returned message: "held…`, "s DELETE_FAILED The following resource(s) failed to delete: [Stuck].")
	delete(r.cloud.things, "x")
	ctx := context.Background()
	if _, err := r.DeleteStack(ctx, &sdk.DeleteStackInput{StackName: aws.String("s"), RetainResources: []string{"Nope"}}); err == nil {
		t.Error("a resource that does not exist can be retained")
	}
	if _, err := r.DeleteStack(ctx, &sdk.DeleteStackInput{StackName: aws.String("s"), RetainResources: []string{"Stuck", "Net"}}); err != nil {
		t.Fatal(err)
	}
	r.wants(id, "DELETE_COMPLETE")
	inSequence(t, r.history(id), "Stuck DELETE_SKIPPED", "s DELETE_COMPLETE")
}

func TestForcedDeleteLeavesWhatCannotBeDeleted(t *testing.T) {
	r := newRig(t, Config{})
	r.up("Stuck", "Free")
	id := r.all()[0].id
	r.cloud.refuse["delete Stuck"] = "held"
	r.delete("s")
	r.wants("s", "DELETE_FAILED")
	if _, err := r.DeleteStack(context.Background(), &sdk.DeleteStackInput{StackName: aws.String("s"), DeletionMode: types.DeletionModeForceDeleteStack}); err != nil {
		t.Fatal(err)
	}
	r.wants(id, "DELETE_COMPLETE")
}

func TestDeleteDuringCreation(t *testing.T) {
	r := newRig(t, Config{})
	r.cloud.hold["Slow"] = true
	id := r.create("s", things("Net", "Slow < Net", "Never < Slow"))
	r.eventually("two things", func() bool { return len(r.cloud.have()) == 2 })
	r.delete("s")
	r.wants(id, "DELETE_COMPLETE")
	if got := r.cloud.have(); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
}

func TestDeletedStacksAreForgottenAtLast(t *testing.T) {
	r := newRig(t, Config{})
	first := ""
	for i := range maxDeleted + 3 {
		id := r.create("s", things("A"))
		r.wants(id, "CREATE_COMPLETE")
		r.delete("s")
		r.wants(id, "DELETE_COMPLETE")
		if i == 0 {
			first = id
		}
	}
	r.eventually("end of the first", func() bool { return r.find(first) == nil })
	r.restart()
	if n := len(r.all()); n != maxDeleted {
		t.Errorf("%d stacks are remembered, want %d", n, maxDeleted)
	}
	if n := r.eventTable.Len(); n > maxDeleted*12 {
		t.Errorf("%d events are stored", n)
	}
}

func TestTerminationProtection(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, Config{})
	r.up("A")
	protect := func(on bool) {
		if _, err := r.UpdateTerminationProtection(ctx, &sdk.UpdateTerminationProtectionInput{StackName: aws.String("s"), EnableTerminationProtection: aws.Bool(on)}); err != nil {
			t.Fatal(err)
		}
	}
	protect(true)
	_, err := r.DeleteStack(ctx, &sdk.DeleteStackInput{StackName: aws.String("s")})
	if err == nil || err.Error() != "ValidationError: Stack [s] cannot be deleted while TerminationProtection is enabled" {
		t.Errorf("DeleteStack: %v", err)
	}
	protect(false)
	r.delete("s")
	r.wants(r.all()[0].id, "DELETE_COMPLETE")
}

func TestExportsAreHeldByTheirImporters(t *testing.T) {
	ctx := context.Background()
	r := newRig(t, Config{})
	export := func(size string) string {
		return with(things(`A : "Size": `+size), "Outputs", `{"O": {"Value": {"Fn::GetAtt": ["A", "Size"]}, "Export": {"Name": {"Fn::Sub": "${AWS::StackName}-size"}}}}`)
	}
	r.create("base", export("4"))
	r.wants("base", "CREATE_COMPLETE")
	r.create("user", things(`B : "Size": {"Fn::ImportValue": "base-size"}`))
	r.wants("user", "CREATE_COMPLETE")
	if diff := cmp.Diff([]string{"A size=4", "B size=4"}, r.cloud.have()); diff != "" {
		t.Error(diff)
	}
	if out, err := r.ListImports(ctx, &sdk.ListImportsInput{ExportName: aws.String("base-size")}); err != nil || len(out.Imports) != 1 || out.Imports[0] != "user" {
		t.Errorf("imports = %v, %v", out, err)
	}
	r.delete("base")
	if row := r.wants("base", "DELETE_FAILED"); row.Reason != "Export base-size cannot be deleted as it is in use by user" {
		t.Errorf("reason = %s", row.Reason)
	}
	r.create("other", things(`C : "Size": {"Fn::ImportValue": "nobody"}`))
	r.wants("other", "ROLLBACK_COMPLETE")
	inSequence(t, r.history("other"), "C CREATE_FAILED No export named nobody found.")

	user := r.find("user").id
	r.delete("user")
	r.wants(user, "DELETE_COMPLETE")
	base := r.find("base").id
	r.delete("base")
	r.wants(base, "DELETE_COMPLETE")

	r.create("base", export("4"))
	r.wants("base", "CREATE_COMPLETE")
	r.create("twin", with(things("D"), "Outputs", `{"O": {"Value": "x", "Export": {"Name": "base-size"}}}`))
	if row := r.wants("twin", "ROLLBACK_COMPLETE"); row.Reason != "" {
		t.Errorf("reason = %s", row.Reason)
	}
	if events := strings.Join(r.history("twin"), "\n"); !strings.Contains(events, "Export with name base-size is already exported by stack base") {
		t.Errorf("events:\n%s", events)
	}
}
