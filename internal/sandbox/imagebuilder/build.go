//go:build linux

package imagebuilder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/smithy-go"
	"github.com/google/uuid"

	"pcluster/internal/component"
	"pcluster/internal/component/act"
	"pcluster/internal/sandbox/store"
)

// A stage is what a build does next. Each can be begun again.
type stage string

const (
	launching    stage = "launch the build machine"
	building     stage = "build"
	stopping     stage = "stop the build machine"
	capturing    stage = "make the AMI"
	startingTest stage = "launch the test machine"
	runningTests stage = "test"
	distributing stage = "distribute"
	notifying    stage = "tell of it"
	failing      stage = "clean up"
	done         stage = "done"
)

// testAllowance is how long a test machine may take when nothing is said, as in
// Image Builder.
const testAllowance = 720 * time.Minute

// bootAllowance is how long a machine may take to begin with its components.
const bootAllowance = 10 * time.Minute

// work makes a build go on until it ends.
func (s *Service) work(arn string) {
	s.workers.Go(func() {
		pause := s.cfg.Poll
		for s.ctx.Err() == nil {
			v, ok := s.images.Get(arn)
			if !ok || v.Stage == done {
				return
			}
			again, err := s.step(&v)
			if err != nil && s.ctx.Err() == nil {
				s.cfg.Log.Error("image build does not go on", "image", arn, "stage", string(v.Stage), "error", err)
				pause = min(2*pause, 30*time.Second)
			} else {
				pause = s.cfg.Poll
			}
			if again && err == nil {
				continue
			}
			select {
			case <-time.After(pause):
			case <-s.ctx.Done():
			}
		}
	})
}

// step does what the build's stage says. It returns whether the next step can
// follow at once. An error is one of this daemon's, after which the step is tried
// again; what is wrong with the build ends it by fail.
func (s *Service) step(v *image) (again bool, err error) {
	if v.Cancel && v.Stage != failing && v.Stage != notifying {
		return true, s.fail(v, types.ImageStatusCancelled, "The build was cancelled.")
	}
	switch v.Stage {
	case launching:
		return true, s.launch(v, component.Build)
	case building:
		return s.follow(v, v.Build, stopping)
	case stopping:
		return s.stop(v)
	case capturing:
		return s.awaitAMI(v)
	case startingTest:
		return true, s.launch(v, component.Test)
	case runningTests:
		return s.follow(v, v.Test, distributing)
	case distributing:
		return true, s.distribute(v)
	case failing:
		return true, s.cleanUp(v)
	case notifying:
		s.notify(v) // twice, perhaps, if the daemon dies now
		return true, s.update(v, func(v *image) { v.Stage, v.Documents = done, nil })
	}
	return false, fmt.Errorf("unknown stage %q", v.Stage)
}

// update changes the row of a build.
func (s *Service) update(v *image, change func(*image)) error {
	_, err := s.images.Update(v.key(), func(row *image) error {
		change(row)
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil // deleted: there is nothing left to note
	}
	return err
}

func (s *Service) nowp() *time.Time {
	t := s.cfg.Now().UTC()
	return &t
}

// begin adds a workflow with its first step.
func (v *image) begin(s *Service, t types.WorkflowType, name, action string) {
	v.Workflows = append(slices.Clone(v.Workflows), workflow{ID: "wf-" + uuid.NewString(), Type: t, Status: types.WorkflowExecutionStatusRunning, Start: s.nowp()})
	v.beginStep(s, name, action)
}

// beginStep ends the running step of the last workflow, and begins another.
func (v *image) beginStep(s *Service, name, action string) {
	v.endStep(s, types.WorkflowStepExecutionStatusCompleted, "", "")
	w := &v.Workflows[len(v.Workflows)-1]
	w.Steps = append(slices.Clone(w.Steps), workflowStep{ID: "step-" + uuid.NewString(), Name: name, Action: action, Status: types.WorkflowStepExecutionStatusRunning, Start: s.nowp()})
}

func (v *image) endStep(s *Service, status types.WorkflowStepExecutionStatus, message, outputs string) {
	if len(v.Workflows) == 0 {
		return
	}
	v.Workflows = slices.Clone(v.Workflows)
	w := &v.Workflows[len(v.Workflows)-1]
	w.Steps = slices.Clone(w.Steps)
	for i := range w.Steps {
		if st := &w.Steps[i]; st.Status == types.WorkflowStepExecutionStatusRunning {
			st.Status, st.Message, st.End = status, message, s.nowp()
			if outputs != "" {
				st.Outputs = outputs
			}
		}
	}
}

func (v *image) endWorkflow(s *Service, status types.WorkflowExecutionStatus, message string) {
	if len(v.Workflows) == 0 {
		return
	}
	step := map[types.WorkflowExecutionStatus]types.WorkflowStepExecutionStatus{
		types.WorkflowExecutionStatusCompleted: types.WorkflowStepExecutionStatusCompleted, types.WorkflowExecutionStatusFailed: types.WorkflowStepExecutionStatusFailed,
		types.WorkflowExecutionStatusCancelled: types.WorkflowStepExecutionStatusCancelled}[status]
	v.endStep(s, step, message, "")
	if w := &v.Workflows[len(v.Workflows)-1]; w.End == nil {
		w.Status, w.Message, w.End = status, message, s.nowp()
	}
}

// refusal says whether an error is the answer of a service, which would be the same
// again.
func refusal(err error) (string, bool) {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode() + ": " + api.ErrorMessage(), true
	}
	return "", false
}

// launch starts the machine for the build or for its test.
func (s *Service) launch(v *image, phase string) error {
	test := phase == component.Test
	infra := v.Desc.InfrastructureConfiguration
	role, plan := "Build", []string{component.Build, component.Validate}
	parent := aws.ToString(v.Desc.ImageRecipe.ParentImage)
	if test {
		role, plan, parent = "Test", []string{component.Test}, v.AMI
	} else if strings.HasPrefix(parent, "arn:") {
		found, ok := s.imageOf(parent)
		if !ok || len(found.OutputResources.Amis) == 0 {
			return s.fail(v, types.ImageStatusFailed, "The parent image "+parent+" has no AMI in this region.")
		}
		parent = *found.OutputResources.Amis[0].Image
	}
	size, err := s.rootDevice(v, parent)
	if message, refused := refusal(err); refused {
		return s.fail(v, types.ImageStatusFailed, "Parent image "+parent+": "+message)
	}
	if err != nil {
		return err
	}
	over, err := s.layers(v, strings.ToLower(role), plan)
	if err != nil {
		return err
	}
	in := &ec2.RunInstancesInput{
		ImageId: &parent, MinCount: aws.Int32(1), MaxCount: aws.Int32(1), ClientToken: aws.String(v.Execution + "-" + strings.ToLower(role)),
		InstanceType: "m5.large", SecurityGroupIds: infra.SecurityGroupIds, SubnetId: infra.SubnetId, KeyName: infra.KeyPair,
		MetadataOptions: &ec2types.InstanceMetadataOptionsRequest{HttpTokens: ec2types.HttpTokensStateRequired},
	}
	if !test && size != nil {
		in.BlockDeviceMappings = []ec2types.BlockDeviceMapping{*size}
	}
	if len(infra.InstanceTypes) > 0 {
		in.InstanceType = ec2types.InstanceType(infra.InstanceTypes[0])
	}
	if p := aws.ToString(infra.InstanceProfileName); p != "" {
		in.IamInstanceProfile = &ec2types.IamInstanceProfileSpecification{Name: &p}
	}
	if o := infra.InstanceMetadataOptions; o != nil {
		if aws.ToString(o.HttpTokens) == "optional" {
			in.MetadataOptions.HttpTokens = ec2types.HttpTokensStateOptional
		}
		in.MetadataOptions.HttpPutResponseHopLimit = o.HttpPutResponseHopLimit
	}
	tags := map[string]string{"Name": role + " instance for " + *v.Desc.Name, "CreatedBy": "EC2 Image Builder", "Ec2ImageBuilderArn": v.key()}
	maps.Copy(tags, infra.ResourceTags)
	for _, resource := range []ec2types.ResourceType{ec2types.ResourceTypeInstance, ec2types.ResourceTypeVolume} {
		in.TagSpecifications = append(in.TagSpecifications, ec2types.TagSpecification{ResourceType: resource, Tags: ec2Tags(tags)})
	}
	out, err := s.cfg.EC2.RunOver(s.ctx, in, over)
	if message, refused := refusal(err); refused {
		return s.fail(v, types.ImageStatusFailed, "The "+strings.ToLower(role)+" instance can't be launched: "+message)
	}
	if err != nil {
		return err
	}
	id := *out.Instances[0].InstanceId
	return s.update(v, func(v *image) {
		v.Console = 0
		outputs := fmt.Sprintf(`{"instanceId":%q}`, id)
		if test {
			v.Test, v.Stage = id, runningTests
			v.Desc.State = &types.ImageState{Status: types.ImageStatusTesting}
			v.begin(s, types.WorkflowTypeTest, "LaunchTestInstance", "LaunchInstance")
			v.endStep(s, types.WorkflowStepExecutionStatusCompleted, "", outputs)
			v.beginStep(s, "ApplyTestComponents", "ExecuteComponents")
			return
		}
		v.Build, v.Stage = id, building
		v.Desc.State = &types.ImageState{Status: types.ImageStatusBuilding}
		v.begin(s, types.WorkflowTypeBuild, "LaunchBuildInstance", "LaunchInstance")
		v.endStep(s, types.WorkflowStepExecutionStatusCompleted, "", outputs)
		v.beginStep(s, "ApplyBuildComponents", "ExecuteComponents")
	})
}

func ec2Tags(tags map[string]string) (out []ec2types.Tag) {
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, ec2types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return out
}

// rootDevice is the root disk that the recipe wants, nil for the parent's own.
func (s *Service) rootDevice(v *image, parent string) (*ec2types.BlockDeviceMapping, error) {
	out, err := s.cfg.EC2.DescribeImages(s.ctx, &ec2.DescribeImagesInput{ImageIds: []string{parent}})
	if err != nil {
		return nil, err
	}
	if len(out.Images) == 0 {
		return nil, &smithy.GenericAPIError{Code: "InvalidAMIID.NotFound", Message: "The image id '[" + parent + "]' does not exist"}
	}
	for _, m := range v.Desc.ImageRecipe.BlockDeviceMappings {
		if m.Ebs == nil || aws.ToString(m.DeviceName) != aws.ToString(out.Images[0].RootDeviceName) {
			continue
		}
		return &ec2types.BlockDeviceMapping{DeviceName: m.DeviceName, Ebs: &ec2types.EbsBlockDevice{
			VolumeSize: m.Ebs.VolumeSize, VolumeType: ec2types.VolumeType(m.Ebs.VolumeType), Encrypted: m.Ebs.Encrypted, KmsKeyId: m.Ebs.KmsKeyId,
			DeleteOnTermination: aws.Bool(true), Iops: m.Ebs.Iops, Throughput: m.Ebs.Throughput,
		}}, nil
	}
	return nil, nil
}

// instance returns an instance as EC2 sees it, nil when it is forgotten.
func (s *Service) instance(id string) (*ec2types.Instance, error) {
	out, err := s.cfg.EC2.DescribeInstances(s.ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}})
	if _, refused := refusal(err); refused {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &out.Reservations[0].Instances[0], nil
}

// lostState says whether an instance can't go on with its components, and what has
// become of it.
func lostState(inst *ec2types.Instance) (state string, lost bool) {
	if inst == nil {
		return "gone before its components are done", true
	}
	switch inst.State.Name {
	case ec2types.InstanceStateNameShuttingDown, ec2types.InstanceStateNameTerminated, ec2types.InstanceStateNameStopped:
	default:
		return "", false
	}
	state = string(inst.State.Name) + " before its components are done"
	if inst.StateReason != nil {
		state += ": " + aws.ToString(inst.StateReason.Message)
	}
	return state, true
}

// executorEnd says why the executor on a machine ended without a word, empty if it
// did not.
func (s *Service) executorEnd(id string) string {
	data, err := s.cfg.EC2.Output(id, endFile, 0, 1<<10)
	if err != nil || len(data) == 0 {
		return ""
	}
	return "the executor ended before its components were done: " + strings.TrimSpace(string(data))
}

// follow waits until the executor on a machine is done.
func (s *Service) follow(v *image, id string, next stage) (again bool, err error) {
	inst, err := s.instance(id)
	if err != nil {
		return false, err
	}
	outcome, oerr := s.cfg.EC2.Output(id, act.OutcomeFile, 0, 4<<20)
	more, err := s.pump(v, id)
	if err != nil || more {
		return more, err
	}
	if oerr == nil {
		var out component.Outcome
		if err := json.Unmarshal(outcome, &out); err != nil {
			return false, err
		}
		if out.Status == component.Failed {
			w := v.Workflows[len(v.Workflows)-1]
			return true, s.fail(v, types.ImageStatusFailed, fmt.Sprintf("Workflow Execution ID: '%s' failed with reason: %s", w.ID, out.FailureMessage))
		}
		return true, s.update(v, func(v *image) {
			v.Stage = next
			if next == stopping {
				v.beginStep(s, "CreateOutputAMI", "CreateImage")
			}
		})
	}
	role := map[stage]string{stopping: "build", distributing: "test"}[next]
	if state, lost := lostState(inst); lost {
		return true, s.fail(v, types.ImageStatusFailed, fmt.Sprintf("The %s instance %s is %s", role, id, state))
	}
	if why := s.executorEnd(id); why != "" {
		return true, s.fail(v, types.ImageStatusFailed, fmt.Sprintf("On the %s instance %s, %s", role, id, why))
	}
	if w := &v.Workflows[len(v.Workflows)-1]; v.Console == 0 && s.cfg.Now().Sub(*w.Start) > bootAllowance {
		return true, s.fail(v, types.ImageStatusFailed, fmt.Sprintf("The %s instance %s has not begun its components in %d minutes; its console output may say why", role, id, bootAllowance/time.Minute))
	}
	if next == distributing {
		allowance := testAllowance
		if c := v.Desc.ImageTestsConfiguration; c != nil && c.TimeoutMinutes != nil {
			allowance = time.Duration(*c.TimeoutMinutes) * time.Minute
		}
		if start := v.Workflows[len(v.Workflows)-1].Start; s.cfg.Now().Sub(*start) > allowance {
			return true, s.fail(v, types.ImageStatusFailed, fmt.Sprintf("The tests took longer than the %d minutes that timeoutMinutes allows", int(allowance/time.Minute)))
		}
	}
	return false, nil
}

// pumped is how much of a console is read at once.
const pumped = 256 << 10

// logGroup is where the log of a build is.
func (v *image) logGroup() string { return "/aws/imagebuilder/" + *v.Desc.Name }

// A consoleLine is a line that the executor on a machine has said.
type consoleLine struct {
	At   int64 // milliseconds since 1970
	Text string
}

// console reads what the executor on a machine has said from an offset on. It
// returns where to go on, and whether there may be more already.
func (s *Service) console(id string, offset int64) (said []consoleLine, next int64, more bool, err error) {
	data, err := s.cfg.EC2.Output(id, act.PlanConsole, offset, pumped)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, offset, false, nil
	}
	if err != nil {
		return nil, offset, false, err
	}
	full := len(data) == pumped
	end := bytes.LastIndexByte(data, '\n') + 1
	if end == 0 && full {
		end = len(data) // a line without end
	}
	last := s.cfg.Now().Add(-24 * time.Hour).UnixMilli()
	for line := range strings.Lines(string(data[:end])) {
		stamp, text, _ := strings.Cut(strings.TrimRight(line, "\n"), " ")
		at, err := strconv.ParseInt(stamp, 10, 64)
		if err != nil {
			at, text = last, strings.TrimRight(line, "\n")
		}
		last = max(at, last)
		said = append(said, consoleLine{last, text})
	}
	return said, offset + int64(end), full, nil
}

// pump brings what the executor has said into CloudWatch Logs. It returns whether
// there may be more.
func (s *Service) pump(v *image, id string) (more bool, err error) {
	said, next, more, err := s.console(id, v.Console)
	if err != nil {
		return false, nil // of a machine that is going away
	}
	var events []logtypes.InputLogEvent
	for _, line := range said {
		text := line.Text
		if text == "" {
			text = " "
		}
		events = append(events, logtypes.InputLogEvent{Timestamp: aws.Int64(line.At), Message: aws.String(text[:min(len(text), 200<<10)])})
	}
	if err := s.log(v, events); err != nil {
		return false, err
	}
	if next > v.Console {
		v.Console = next
		err = s.update(v, func(row *image) { row.Console = next })
	}
	return more, err
}

// log writes events into the stream of the build.
func (s *Service) log(v *image, events []logtypes.InputLogEvent) error {
	group, stream := v.logGroup(), *v.Desc.Version
	for batch := range slices.Chunk(events, 1000) {
		in := &cloudwatchlogs.PutLogEventsInput{LogGroupName: &group, LogStreamName: &stream, LogEvents: batch}
		_, err := s.cfg.Logs.PutLogEvents(s.ctx, in)
		if code, _ := refusal(err); strings.HasPrefix(code, "ResourceNotFoundException") {
			_, _ = s.cfg.Logs.CreateLogGroup(s.ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &group}) // may be there
			_, _ = s.cfg.Logs.CreateLogStream(s.ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: &group, LogStreamName: &stream})
			_, err = s.cfg.Logs.PutLogEvents(s.ctx, in)
		}
		if err != nil {
			return fmt.Errorf("log of %s: %w", v.key(), err)
		}
	}
	return nil
}

// say writes a line of the service's own into the log.
func (s *Service) say(v *image, format string, args ...any) {
	err := s.log(v, []logtypes.InputLogEvent{{Timestamp: aws.Int64(s.cfg.Now().UnixMilli()), Message: aws.String(fmt.Sprintf(format, args...))}})
	if err != nil {
		s.cfg.Log.Warn("image build can't log", "error", err)
	}
}

// stop shuts the build machine down, and asks for its image.
func (s *Service) stop(v *image) (again bool, err error) {
	inst, err := s.instance(v.Build)
	if err != nil {
		return false, err
	}
	switch {
	case inst == nil || inst.State.Name == ec2types.InstanceStateNameTerminated || inst.State.Name == ec2types.InstanceStateNameShuttingDown:
		return true, s.fail(v, types.ImageStatusFailed, "The build instance "+v.Build+" was terminated before its image was made")
	case inst.State.Name == ec2types.InstanceStateNameRunning:
		_, err := s.cfg.EC2.StopInstances(s.ctx, &ec2.StopInstancesInput{InstanceIds: []string{v.Build}})
		return false, err
	case inst.State.Name != ec2types.InstanceStateNameStopped:
		return false, nil
	}
	// Made before the daemon died?
	known, err := s.cfg.EC2.DescribeImages(s.ctx, &ec2.DescribeImagesInput{Owners: []string{"self"},
		Filters: []ec2types.Filter{{Name: aws.String("source-instance-id"), Values: []string{v.Build}}}})
	if err != nil {
		return false, err
	}
	ami := ""
	if len(known.Images) > 0 {
		ami = *known.Images[0].ImageId
	} else {
		tags := map[string]string{"CreatedBy": "EC2 Image Builder", "Ec2ImageBuilderArn": v.key()}
		maps.Copy(tags, v.Desc.ImageRecipe.AmiTags)
		d := s.distribution(v)
		var description *string
		if d != nil {
			maps.Copy(tags, d.AmiTags)
			description = d.Description
		}
		out, err := s.cfg.EC2.TakeImage(s.ctx, &ec2.CreateImageInput{InstanceId: &v.Build, Name: &v.AMIName, Description: description,
			TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeImage, Tags: ec2Tags(tags)}, {ResourceType: ec2types.ResourceTypeSnapshot, Tags: ec2Tags(tags)}}})
		if message, refused := refusal(err); refused {
			return true, s.fail(v, types.ImageStatusFailed, "The AMI can't be made: "+message)
		}
		if err != nil {
			return false, err
		}
		ami = *out.ImageId
	}
	return true, s.update(v, func(v *image) { v.AMI, v.Stage = ami, capturing })
}

// awaitAMI waits for the AMI, and ends the build machine.
func (s *Service) awaitAMI(v *image) (again bool, err error) {
	out, err := s.cfg.EC2.DescribeImages(s.ctx, &ec2.DescribeImagesInput{ImageIds: []string{v.AMI}})
	if _, refused := refusal(err); refused || err == nil && len(out.Images) == 0 {
		return true, s.fail(v, types.ImageStatusFailed, "The AMI "+v.AMI+" is gone")
	}
	if err != nil {
		return false, err
	}
	switch ami := out.Images[0]; ami.State {
	case ec2types.ImageStatePending:
		return false, nil
	case ec2types.ImageStateAvailable:
	default:
		why := ""
		if ami.StateReason != nil {
			why = ": " + aws.ToString(ami.StateReason.Message)
		}
		return true, s.fail(v, types.ImageStatusFailed, "The AMI could not be made"+why)
	}
	if err := s.terminate(v.Build); err != nil {
		return false, err
	}
	next := distributing
	if c := v.Desc.ImageTestsConfiguration; (c == nil || c.ImageTestsEnabled == nil || *c.ImageTestsEnabled) && v.has(component.Test) {
		next = startingTest
	}
	return true, s.update(v, func(v *image) {
		v.Stage = next
		v.endStep(s, types.WorkflowStepExecutionStatusCompleted, "", fmt.Sprintf(`{"imageId":%q}`, v.AMI))
		v.beginStep(s, "TerminateBuildInstance", "TerminateInstance")
		v.endWorkflow(s, types.WorkflowExecutionStatusCompleted, "")
	})
}

// has says whether any document has the phase.
func (v *image) has(phase string) bool {
	return slices.ContainsFunc(v.Documents, func(d plannedDocument) bool {
		doc, _ := component.Parse([]byte(d.Text))
		return doc.Phase(phase) != nil
	})
}

func (s *Service) terminate(id string) error {
	if id == "" {
		return nil
	}
	_, err := s.cfg.EC2.TerminateInstances(s.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
	if _, refused := refusal(err); refused {
		return nil // forgotten
	}
	return err
}

// distribute gives the AMI to whom it is for.
func (s *Service) distribute(v *image) error {
	if err := s.terminate(v.Test); err != nil {
		return err
	}
	if v.Desc.State.Status != types.ImageStatusDistributing {
		err := s.update(v, func(v *image) {
			v.Desc.State = &types.ImageState{Status: types.ImageStatusDistributing}
			if v.Test != "" {
				v.beginStep(s, "TerminateTestInstance", "TerminateInstance")
				v.endWorkflow(s, types.WorkflowExecutionStatusCompleted, "")
			}
			v.begin(s, types.WorkflowTypeDistribution, "DistributeImage", "DistributeImage")
		})
		if err != nil {
			return err
		}
	}
	d := s.distribution(v)
	ami := types.Ami{Region: aws.String(s.id.Name()), Image: &v.AMI, Name: &v.AMIName, AccountId: aws.String(s.id.Account())}
	if d != nil {
		ami.Description = d.Description
		if l := d.LaunchPermission; l != nil && len(l.UserIds)+len(l.UserGroups)+len(l.OrganizationArns)+len(l.OrganizationalUnitArns) > 0 {
			var add []ec2types.LaunchPermission
			for _, id := range l.UserIds {
				add = append(add, ec2types.LaunchPermission{UserId: aws.String(id)})
			}
			for _, g := range l.UserGroups {
				add = append(add, ec2types.LaunchPermission{Group: ec2types.PermissionGroup(g)})
			}
			for _, o := range l.OrganizationArns {
				add = append(add, ec2types.LaunchPermission{OrganizationArn: aws.String(o)})
			}
			for _, o := range l.OrganizationalUnitArns {
				add = append(add, ec2types.LaunchPermission{OrganizationalUnitArn: aws.String(o)})
			}
			_, err := s.cfg.EC2.ModifyImageAttribute(s.ctx, &ec2.ModifyImageAttributeInput{ImageId: &v.AMI, LaunchPermission: &ec2types.LaunchPermissionModifications{Add: add}})
			if message, refused := refusal(err); refused {
				return s.fail(v, types.ImageStatusFailed, "The AMI can't be shared: "+message)
			}
			if err != nil {
				return err
			}
		}
	}
	if err := s.removeLayers(v); err != nil {
		return err
	}
	return s.update(v, func(v *image) {
		v.Desc.State = &types.ImageState{Status: types.ImageStatusAvailable}
		v.Desc.OutputResources = &types.OutputResources{Amis: []types.Ami{ami}}
		v.endWorkflow(s, types.WorkflowExecutionStatusCompleted, "")
		v.Stage = notifying
	})
}

// fail ends a build: what it made is removed, and its reason stays.
func (s *Service) fail(v *image, status types.ImageStatus, reason string) error {
	s.say(v, "%s", reason)
	return s.update(v, func(v *image) {
		v.Reason, v.Stage = reason, failing
		v.Desc.State = &types.ImageState{Status: status, Reason: &reason}
		w := types.WorkflowExecutionStatusFailed
		if status == types.ImageStatusCancelled {
			w = types.WorkflowExecutionStatusCancelled
		}
		v.endWorkflow(s, w, reason)
	})
}

// cleanUp leaves nothing of a failed build: no machine, and no AMI.
func (s *Service) cleanUp(v *image) error {
	keep := !aws.ToBool(v.Desc.InfrastructureConfiguration.TerminateInstanceOnFailure) && v.Desc.State.Status == types.ImageStatusFailed
	if !keep {
		if err := s.terminate(v.Build); err != nil {
			return err
		}
	}
	if err := s.terminate(v.Test); err != nil {
		return err
	}
	if v.AMI != "" {
		_, err := s.cfg.EC2.DeregisterImage(s.ctx, &ec2.DeregisterImageInput{ImageId: &v.AMI, DeleteAssociatedSnapshots: aws.Bool(true)})
		if _, refused := refusal(err); err != nil && !refused {
			return err
		}
	}
	if err := s.removeLayers(v); err != nil {
		return err
	}
	return s.update(v, func(v *image) { v.Stage = notifying })
}

// notify tells the topic of the infrastructure configuration about the image.
func (s *Service) notify(v *image) {
	topic := aws.ToString(v.Desc.InfrastructureConfiguration.SnsTopicArn)
	if topic == "" || s.cfg.SNS == nil {
		return
	}
	message, err := json.Marshal(notification(v))
	if err == nil {
		_, err = s.cfg.SNS.Publish(s.ctx, &sns.PublishInput{TopicArn: &topic, Message: aws.String(string(message))})
	}
	if err != nil {
		s.cfg.Log.Error("news of an image is lost", "image", v.key(), "topic", topic, "error", err)
	}
}

// notification is an image as Image Builder tells topics of it.
func notification(v *image) map[string]any {
	state := map[string]any{"status": v.Desc.State.Status}
	if v.Desc.State.Reason != nil {
		state["reason"] = *v.Desc.State.Reason
	}
	amis := []map[string]any{}
	for _, a := range v.Desc.OutputResources.Amis {
		amis = append(amis, map[string]any{"region": a.Region, "image": a.Image, "name": a.Name, "accountId": a.AccountId})
	}
	return map[string]any{
		"arn": v.Desc.Arn, "name": v.Desc.Name, "version": v.Desc.Version, "platform": v.Desc.Platform, "type": v.Desc.Type,
		"state": state, "dateCreated": v.Desc.DateCreated, "tags": v.Desc.Tags, "outputResources": map[string]any{"amis": amis},
		"imageRecipe":                 map[string]any{"arn": v.Recipe, "name": v.Desc.ImageRecipe.Name, "version": v.Desc.ImageRecipe.Version, "parentImage": v.Desc.ImageRecipe.ParentImage},
		"infrastructureConfiguration": map[string]any{"arn": v.Infrastructure}, "distributionConfiguration": map[string]any{"arn": v.Distribution},
	}
}
