package image

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	ibtypes "github.com/aws/aws-sdk-go-v2/service/imagebuilder/types"
	"github.com/google/go-cmp/cmp"

	"pcluster/internal/cluster"
	"pcluster/internal/cluster/clustertest"
	"pcluster/internal/facts"
)

// What describe-image and lists say of a build, by the status of its stack. Scripts
// compare these words.
func TestStatusOfABuild(t *testing.T) {
	for stack, want := range map[string]struct{ describe, list string }{
		"CREATE_IN_PROGRESS":                           {BuildInProgress, BuildInProgress},
		"UPDATE_IN_PROGRESS":                           {BuildInProgress, BuildInProgress},
		"UPDATE_COMPLETE_CLEANUP_IN_PROGRESS":          {BuildInProgress, BuildInProgress},
		"UPDATE_ROLLBACK_IN_PROGRESS":                  {BuildInProgress, BuildInProgress},
		"UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS": {BuildInProgress, BuildInProgress},
		"REVIEW_IN_PROGRESS":                           {BuildInProgress, "REVIEW_IN_PROGRESS"},
		"IMPORT_IN_PROGRESS":                           {BuildInProgress, "IMPORT_IN_PROGRESS"},
		"IMPORT_ROLLBACK_IN_PROGRESS":                  {BuildInProgress, "IMPORT_ROLLBACK_IN_PROGRESS"},
		"CREATE_FAILED":                                {BuildFailed, BuildFailed},
		"ROLLBACK_IN_PROGRESS":                         {BuildFailed, BuildFailed},
		"ROLLBACK_FAILED":                              {BuildFailed, BuildFailed},
		"ROLLBACK_COMPLETE":                            {BuildFailed, BuildFailed},
		"UPDATE_ROLLBACK_FAILED":                       {BuildFailed, BuildFailed},
		"UPDATE_ROLLBACK_COMPLETE":                     {BuildFailed, BuildFailed},
		"IMPORT_ROLLBACK_FAILED":                       {BuildFailed, "IMPORT_ROLLBACK_FAILED"},
		"IMPORT_ROLLBACK_COMPLETE":                     {BuildFailed, "IMPORT_ROLLBACK_COMPLETE"},
		"CREATE_COMPLETE":                              {BuildComplete, BuildComplete},
		"UPDATE_COMPLETE":                              {BuildComplete, BuildComplete},
		"IMPORT_COMPLETE":                              {BuildComplete, "IMPORT_COMPLETE"},
		"DELETE_IN_PROGRESS":                           {"DELETE_IN_PROGRESS", "DELETE_IN_PROGRESS"},
		"DELETE_FAILED":                                {"DELETE_FAILED", "DELETE_FAILED"},
		"DELETE_COMPLETE":                              {"DELETE_COMPLETE", "DELETE_COMPLETE"},
		"UPDATE_FAILED":                                {"", "UPDATE_FAILED"},
	} {
		if got, ok := statusOf(stack); got != want.describe || ok != (want.describe != "") {
			t.Errorf("describe-image says %q of %s, want %q", got, stack, want.describe)
		}
		if got := summaryStatus(stack); got != want.list {
			t.Errorf("lists say %q of %s, want %q", got, stack, want.list)
		}
	}
	for _, s := range cfntypes.StackStatus("").Values() {
		if _, ok := statusOf(string(s)); !ok && s != cfntypes.StackStatusUpdateFailed {
			t.Errorf("%s has no status", s)
		}
	}
}

// A world is a cloud with what images need beside clusters: AMIs, instances and the
// images of Image Builder, by their ARN.
type world struct {
	*clustertest.Cloud
	amis      []ec2types.Image
	snapshots map[string]bool
	instances map[string]string // the AMI of each
	shared    map[string][]ec2types.LaunchPermission
	images    map[string]*ibtypes.Image
	resource  map[string]cfntypes.StackResourceDetail // ParallelClusterImage, by stack
	groups    map[string]bool
}

func newWorld(t *testing.T) (*world, *Operator) {
	t.Helper()
	m, err := facts.Read([]byte(`{"instance_types": {"c5.large": {}}, "images": {"ami-0a0a0a0a": {}}}`))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Cloud: clustertest.New(), snapshots: map[string]bool{}, instances: map[string]string{}, shared: map[string][]ec2types.LaunchPermission{},
		images: map[string]*ibtypes.Image{}, resource: map[string]cfntypes.StackResourceDetail{}, groups: map[string]bool{}}
	w.Facts = m
	return w, &Operator{Operator: w.Operator(slog.New(slog.NewTextHandler(io.Discard, nil))), Stacks: w, Images: amis{w}, Builder: w, Groups: groups{w}}
}

func (w *world) DescribeStackResource(_ context.Context, in *cloudformation.DescribeStackResourceInput, _ ...func(*cloudformation.Options)) (*cloudformation.DescribeStackResourceOutput, error) {
	d, ok := w.resource[*in.StackName]
	if !ok {
		return nil, clustertest.Fault("ValidationError", "Resource %s does not exist for stack %s", *in.LogicalResourceId, *in.StackName)
	}
	return &cloudformation.DescribeStackResourceOutput{StackResourceDetail: &d}, nil
}

func (w *world) GetImage(_ context.Context, in *imagebuilder.GetImageInput, _ ...func(*imagebuilder.Options)) (*imagebuilder.GetImageOutput, error) {
	v, ok := w.images[*in.ImageBuildVersionArn]
	if !ok {
		return nil, clustertest.Fault("ResourceNotFoundException", "no such image")
	}
	return &imagebuilder.GetImageOutput{Image: v}, nil
}

// amis is EC2 of a world.
type amis struct{ w *world }

func (a amis) DescribeImages(_ context.Context, in *ec2.DescribeImagesInput, _ ...func(*ec2.Options)) (*ec2.DescribeImagesOutput, error) {
	out := &ec2.DescribeImagesOutput{}
	for _, v := range a.w.amis {
		ok := true
		for _, f := range in.Filters {
			key, isTag := strings.CutPrefix(*f.Name, "tag:")
			ok = ok && slices.ContainsFunc(v.Tags, func(t ec2types.Tag) bool {
				return isTag && *t.Key == key && slices.Contains(f.Values, *t.Value) || !isTag && *f.Name == "tag-key" && slices.Contains(f.Values, *t.Key)
			})
		}
		if ok {
			out.Images = append(out.Images, v)
		}
	}
	return out, nil
}

func (a amis) DescribeInstances(_ context.Context, in *ec2.DescribeInstancesInput, _ ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	out := &ec2.DescribeInstancesOutput{}
	for id, ami := range a.w.instances {
		if slices.Contains(in.Filters[0].Values, ami) {
			state := ec2types.InstanceStateNameRunning
			if strings.HasPrefix(id, "i-gone") {
				state = ec2types.InstanceStateNameTerminated
			}
			out.Reservations = append(out.Reservations, ec2types.Reservation{Instances: []ec2types.Instance{{InstanceId: &id, State: &ec2types.InstanceState{Name: state}}}})
		}
	}
	return out, nil
}

func (a amis) DescribeImageAttribute(_ context.Context, in *ec2.DescribeImageAttributeInput, _ ...func(*ec2.Options)) (*ec2.DescribeImageAttributeOutput, error) {
	return &ec2.DescribeImageAttributeOutput{LaunchPermissions: a.w.shared[*in.ImageId]}, nil
}

func (a amis) DeregisterImage(_ context.Context, in *ec2.DeregisterImageInput, _ ...func(*ec2.Options)) (*ec2.DeregisterImageOutput, error) {
	a.w.amis = slices.DeleteFunc(a.w.amis, func(v ec2types.Image) bool { return *v.ImageId == *in.ImageId })
	return &ec2.DeregisterImageOutput{}, nil
}

func (a amis) DeleteSnapshot(_ context.Context, in *ec2.DeleteSnapshotInput, _ ...func(*ec2.Options)) (*ec2.DeleteSnapshotOutput, error) {
	if !a.w.snapshots[*in.SnapshotId] {
		return nil, clustertest.Fault("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", *in.SnapshotId)
	}
	delete(a.w.snapshots, *in.SnapshotId)
	return &ec2.DeleteSnapshotOutput{}, nil
}

// groups are the log groups of a world.
type groups struct{ w *world }

func (g groups) DescribeLogGroups(context.Context, *cloudwatchlogs.DescribeLogGroupsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.DescribeLogGroupsOutput, error) {
	return &cloudwatchlogs.DescribeLogGroupsOutput{}, nil
}

func (g groups) DeleteLogGroup(_ context.Context, in *cloudwatchlogs.DeleteLogGroupInput, _ ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.DeleteLogGroupOutput, error) {
	delete(g.w.groups, *in.LogGroupName)
	return &cloudwatchlogs.DeleteLogGroupOutput{}, nil
}

// build begins an image of that ID.
func (w *world) build(t *testing.T, o *Operator, id string) *Building {
	t.Helper()
	b, err := o.Build(t.Context(), BuildRequest{ID: id, Configuration: []byte(file), File: "image.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	w.groups["/aws/imagebuilder/ParallelClusterImage-"+id] = true
	return b
}

// finish lets an image come out of a build, whose stack is still there.
func (w *world) finish(id string, more ...ec2types.Tag) {
	tag := func(k, v string) ec2types.Tag { return ec2types.Tag{Key: &k, Value: &v} }
	w.snapshots["snap-"+id] = true
	w.amis = append(w.amis, ec2types.Image{ImageId: aws.String("ami-" + id), Name: aws.String(id), State: ec2types.ImageStateAvailable, CreationDate: aws.String("2026-01-02T03:04:05.000Z"),
		Tags:                append(more, tag(tagID, id), tag(tagStatus, available), tag(tagVersion, "3.16.100")),
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{Ebs: &ec2types.EbsBlockDevice{SnapshotId: aws.String("snap-" + id)}}, {}}})
}

func TestBuildAndDescribe(t *testing.T) {
	w, o := newWorld(t)
	b := w.build(t, o, "mine")
	if b.Image.ImageBuildStatus != BuildInProgress || b.Image.ImageID != "mine" || b.Image.CloudformationStackStatus != "CREATE_IN_PROGRESS" || b.Image.Ec2AmiInfo != nil {
		t.Errorf("the answer to build: %+v", b.Image)
	}
	describe := func(id string) *Description {
		t.Helper()
		d, err := o.Describe(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if d := describe("mine"); d.ImageBuildStatus != BuildInProgress || d.ImagebuilderImageStatus != "" || d.ImageBuildLogsArn == "" || d.ImageConfiguration.URL == "" {
		t.Errorf("before Image Builder begins: %+v", d)
	}
	const arn = "arn:aws:imagebuilder:us-east-1:111122223333:image/mine/3.16.100/1"
	w.resource["mine"] = cfntypes.StackResourceDetail{PhysicalResourceId: aws.String(arn), ResourceStatus: "CREATE_IN_PROGRESS"}
	w.images[arn] = &ibtypes.Image{State: &ibtypes.ImageState{Status: "TESTING"}}
	if d := describe("mine"); d.ImagebuilderImageStatus != "TESTING" || d.ImagebuilderImageStatusReason != "" {
		t.Errorf("while it is tested: %+v", d)
	}
	if _, err := o.Delete(t.Context(), "mine", true); err == nil || !strings.Contains(err.Error(), "its build is under way") {
		t.Errorf("delete of an image that is being built: %v", err)
	}
	// A second build of the same ID is refused whether the first is under way, failed or done.
	again := func() string {
		_, err := o.Build(t.Context(), BuildRequest{ID: "mine", Configuration: []byte(file)})
		if e, ok := errors.AsType[*cluster.Error](err); ok {
			return e.Body.Message
		}
		return "no refusal"
	}
	const exists = "ParallelCluster image mine already exists."
	if got := again(); got != exists {
		t.Errorf("second build while the first is under way: %s", got)
	}
	w.images[arn].State = &ibtypes.ImageState{Status: "FAILED", Reason: aws.String("the test says no")}
	w.resource["mine"] = cfntypes.StackResourceDetail{PhysicalResourceId: aws.String(arn), ResourceStatus: "CREATE_FAILED"}
	w.StackEvent("mine", "CREATE_FAILED", "The following resource(s) failed to create: [ParallelClusterImage].")
	if d := describe("mine"); d.ImageBuildStatus != BuildFailed || d.ImagebuilderImageStatusReason != "the test says no" {
		t.Errorf("after a failure: %+v", d)
	}
	if got := again(); got != exists {
		t.Errorf("second build after a failure: %s", got)
	}
	// Rolled back: the image of Image Builder is gone, the stack remembers.
	delete(w.images, arn)
	w.Event("mine", "ParallelClusterImage", arn, "AWS::ImageBuilder::Image", "CREATE_FAILED", "the test says no, as the stack heard")
	w.StackEvent("mine", "ROLLBACK_COMPLETE", "")
	if d := describe("mine"); d.ImageBuildStatus != BuildFailed || d.ImagebuilderImageStatusReason != "the test says no, as the stack heard" {
		t.Errorf("after the roll-back: %+v", d)
	}
	if _, err := o.Describe(t.Context(), "other"); err == nil || !strings.Contains(err.Error(), "No image or stack associated with ParallelCluster image id: other.") {
		t.Errorf("an image that is not there: %v", err)
	}
}

// An AMI with its tags is the image, whatever its stack says.
func TestFinishedImageIsCompleteWhateverItsStackSays(t *testing.T) {
	w, o := newWorld(t)
	w.build(t, o, "mine")
	w.finish("mine")
	for _, status := range []string{"CREATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "DELETE_FAILED"} {
		w.StackEvent("mine", status, "")
		d, err := o.Describe(t.Context(), "mine")
		if err != nil || d.ImageBuildStatus != BuildComplete || d.Ec2AmiInfo == nil || d.Ec2AmiInfo.State != "AVAILABLE" || d.CloudformationStackStatus != "" {
			t.Errorf("%s: %v, %+v", status, err, d)
		}
	}
}

func TestList(t *testing.T) {
	w, o := newWorld(t)
	for id, status := range map[string]string{"building": "", "failed": "CREATE_FAILED", "rolled": "ROLLBACK_COMPLETE", "stuck": "DELETE_FAILED", "going": "DELETE_IN_PROGRESS"} {
		w.build(t, o, id)
		if status != "" {
			w.StackEvent(id, status, "")
		}
	}
	w.finish("done")
	for filter, want := range map[string][]string{
		Available: {"done BUILD_COMPLETE ami-done"}, Pending: {"building BUILD_IN_PROGRESS"},
		Failed: {"failed BUILD_FAILED", "rolled BUILD_FAILED", "stuck DELETE_FAILED"},
	} {
		var got []string
		for token := ""; ; {
			page, err := o.List(t.Context(), filter, token)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range page.Images {
				line := v.ImageID + " " + v.ImageBuildStatus
				if v.Ec2AmiInfo != nil {
					line += " " + v.Ec2AmiInfo.AmiID
				}
				got = append(got, line)
			}
			if token = page.NextToken; token == "" {
				break
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", filter, diff)
		}
	}
}

func TestDelete(t *testing.T) {
	everyone := []ec2types.LaunchPermission{{Group: "all"}, {UserId: aws.String("444455556666")}}
	for name, tt := range map[string]struct {
		prepare func(*world)
		force   bool
		refusal string
	}{
		"image that nobody uses":       {prepare: func(w *world) { w.instances["i-gone"], w.instances["i-other"] = "ami-mine", "ami-other" }},
		"image that an instance uses":  {prepare: func(w *world) { w.instances["i-1"] = "ami-mine" }, refusal: "Image mine is used by instances i-1."},
		"the same by force":            {prepare: func(w *world) { w.instances["i-1"] = "ami-mine" }, force: true},
		"image that is shared":         {prepare: func(w *world) { w.shared["ami-mine"] = everyone }, refusal: "Image mine is shared with accounts or group all, 444455556666."},
		"shared image by force":        {prepare: func(w *world) { w.shared["ami-mine"] = everyone }, force: true},
		"snapshot that is gone":        {prepare: func(w *world) { delete(w.snapshots, "snap-mine") }},
		"image whose stack is left":    {prepare: func(w *world) { w.StackEvent("mine", "DELETE_FAILED", "") }},
		"image that is not there":      {prepare: func(w *world) { w.amis = nil; w.StackEvent("mine", "DELETE_COMPLETE", "") }, refusal: "No image or stack associated"},
		"stack of a cluster, no image": {prepare: func(w *world) { w.amis = nil; w.Tag("mine", tagID, "") }, refusal: "No image or stack associated"},
	} {
		t.Run(name, func(t *testing.T) {
			w, o := newWorld(t)
			w.build(t, o, "mine")
			w.finish("mine")
			w.finish("other")
			tt.prepare(w)
			out, err := o.Delete(t.Context(), "mine", tt.force)
			if tt.refusal != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refusal) || len(w.snapshots) != 2 {
					t.Errorf("%v, want %q; snapshots %v", err, tt.refusal, w.snapshots)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if out.Image.ImageBuildStatus != DeleteInProgress || out.Image.ImageID != "mine" {
				t.Errorf("answer %+v", out.Image)
			}
			if len(w.amis) != 1 || *w.amis[0].ImageId != "ami-other" || w.snapshots["snap-mine"] || !w.snapshots["snap-other"] || len(w.groups) > 0 {
				t.Errorf("left: %d AMIs, snapshots %v, log groups %v", len(w.amis), w.snapshots, w.groups)
			}
		})
	}
}

// An AMI that a failed build left is found by Image Builder's tag.
func TestDeleteAfterAFailureTakesTheAMI(t *testing.T) {
	w, o := newWorld(t)
	w.build(t, o, "mine")
	const arn = "arn:aws:imagebuilder:us-east-1:111122223333:image/mine/3.16.100/1"
	w.resource["mine"] = cfntypes.StackResourceDetail{PhysicalResourceId: aws.String(arn), ResourceStatus: "CREATE_FAILED"}
	w.StackEvent("mine", "CREATE_FAILED", "")
	w.amis = []ec2types.Image{{ImageId: aws.String("ami-left"), Tags: []ec2types.Tag{{Key: aws.String("Ec2ImageBuilderArn"), Value: aws.String(arn)}}}}
	if _, err := o.Delete(t.Context(), "mine", false); err != nil || len(w.amis) > 0 {
		t.Errorf("%v; left: %d AMIs", err, len(w.amis))
	}
}

// A build that can't begin leaves nothing.
func TestBuildThatCantBeginLeavesNothing(t *testing.T) {
	w, o := newWorld(t)
	w.Refuse["CreateStack"] = clustertest.Fault("LimitExceededException", "too many stacks")
	_, err := o.Build(t.Context(), BuildRequest{ID: "mine", Configuration: []byte(file)})
	if err == nil || !strings.Contains(err.Error(), "too many stacks") {
		t.Errorf("%v", err)
	}
	if keys := w.Objects(); slices.ContainsFunc(keys, func(k string) bool { return strings.Contains(k, "/images/mine-") }) {
		t.Errorf("left: %v", keys)
	}
}
