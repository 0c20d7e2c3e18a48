//go:build linux

package imagebuilder

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"runtime"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/uuid"

	"pcluster/internal/component"
	"pcluster/internal/component/act"
)

// A trial runs a component on a machine that exists for it alone. Nothing of it is
// written down: the tag of its machine and of its network says what they are for, by
// which a daemon that comes back throws them away.

const trialCreator = "pcluster component run"

// trialNetwork is where trials run that name no subnet: a range which nobody uses for
// machines (RFC 2544), since networks of a region may not overlap.
const trialNetwork = "198.18.255.0/26"

// Try runs a document on a machine that is made for it. It says what happens, and
// returns when the machine is gone, also when ctx is done first. A document that
// failed is no error, but an outcome.
func (s *Service) Try(ctx context.Context, t component.Trial, say func(component.TrialEvent)) (out *component.Outcome, err error) {
	if _, problems := component.Parse([]byte(t.Document)); problems.Err() != nil {
		return nil, problems.Err()
	}
	parent, kind, err := s.trialImage(t)
	if err != nil {
		return nil, err
	}
	v := &image{Execution: uuid.NewString(), Documents: []plannedDocument{{ARN: t.Name, Text: t.Document, Parameters: t.Parameters}}}
	over, err := s.layers(v, "trial", t.Phases)
	if err != nil {
		return nil, err
	}
	defer s.removeLayers(v)
	id, err := s.launchTrial(ctx, t, parent, kind, over, v.Execution)
	if err != nil {
		return nil, err
	}
	defer func() {
		if eerr := s.endTrial(id); err == nil {
			err = eerr
		}
	}()
	say(component.TrialEvent{Machine: id})
	return s.followTrial(ctx, id, say)
}

// trialImage finds the image of a trial, and a type of instance that can run it.
func (s *Service) trialImage(t component.Trial) (ami string, kind ec2types.InstanceType, err error) {
	architecture := map[string]string{"amd64": "x86_64", "arm64": "arm64"}[runtime.GOARCH]
	ami = t.ParentImage
	switch {
	case strings.HasPrefix(ami, "arn:"):
		found, ok := s.imageOf(ami)
		if !ok || len(found.OutputResources.Amis) == 0 {
			return "", "", fmt.Errorf("the image %s has no AMI in this region", ami)
		}
		ami = *found.OutputResources.Amis[0].Image
	case !strings.HasPrefix(ami, "ami-"):
		var ok bool
		if ami, ok = s.cfg.EC2.ManagedImage(cmp.Or(t.ParentImage, "debian12"), architecture); !ok {
			return "", "", fmt.Errorf("%q is neither an AMI, nor the ARN of an image, nor an operating system", t.ParentImage)
		}
	}
	out, err := s.cfg.EC2.DescribeImages(s.ctx, &ec2.DescribeImagesInput{ImageIds: []string{ami}})
	if message, refused := refusal(err); refused || err == nil && len(out.Images) == 0 {
		return "", "", fmt.Errorf("the image %s can't be used: %s", ami, cmp.Or(message, "it does not exist"))
	}
	if err != nil {
		return "", "", err
	}
	kind = ec2types.InstanceTypeM5Large
	if out.Images[0].Architecture == ec2types.ArchitectureValuesArm64 {
		kind = ec2types.InstanceTypeM6gLarge
	}
	return ami, cmp.Or(ec2types.InstanceType(t.InstanceType), kind), nil
}

func (s *Service) launchTrial(ctx context.Context, t component.Trial, ami string, kind ec2types.InstanceType, over []string, token string) (id string, err error) {
	s.trials.Lock() // the network must not go before the machine is in it
	defer s.trials.Unlock()
	subnet := t.Subnet
	if subnet == "" {
		if subnet, err = s.trialSubnet(ctx); err != nil {
			return "", fmt.Errorf("network of the machine: %w", err)
		}
	}
	tags := ec2Tags(map[string]string{"Name": "Trial of component " + path.Base(t.Name), "CreatedBy": trialCreator})
	in := &ec2.RunInstancesInput{
		ImageId: &ami, MinCount: aws.Int32(1), MaxCount: aws.Int32(1), ClientToken: &token, InstanceType: kind,
		SubnetId: &subnet, SecurityGroupIds: t.SecurityGroups, MetadataOptions: &ec2types.InstanceMetadataOptionsRequest{HttpTokens: ec2types.HttpTokensStateRequired},
		TagSpecifications: []ec2types.TagSpecification{{ResourceType: ec2types.ResourceTypeInstance, Tags: tags}, {ResourceType: ec2types.ResourceTypeVolume, Tags: tags}},
	}
	if t.InstanceProfile != "" {
		in.IamInstanceProfile = &ec2types.IamInstanceProfileSpecification{Name: &t.InstanceProfile}
	}
	out, err := s.cfg.EC2.RunOver(ctx, in, over)
	if err != nil {
		s.dropTrialNetwork()
		if message, refused := refusal(err); refused {
			return "", fmt.Errorf("the machine can't be launched: %s", message)
		}
		return "", err
	}
	return *out.Instances[0].InstanceId, nil
}

// trialSubnet returns the trials' own subnet, and makes it if it is not there.
// s.trials is held.
func (s *Service) trialSubnet(ctx context.Context) (string, error) {
	subnets, vpcs, err := s.trialNetworks(ctx)
	if err != nil {
		return "", err
	}
	if len(subnets) > 0 {
		return subnets[0], nil
	}
	tags := func(t ec2types.ResourceType) []ec2types.TagSpecification {
		return []ec2types.TagSpecification{{ResourceType: t, Tags: ec2Tags(map[string]string{"Name": "component trials", "CreatedBy": trialCreator})}}
	}
	if len(vpcs) == 0 { // a daemon may have died between the two
		out, err := s.cfg.EC2.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String(trialNetwork), TagSpecifications: tags(ec2types.ResourceTypeVpc)})
		if err != nil {
			return "", err
		}
		vpcs = []string{*out.Vpc.VpcId}
	}
	if err := s.cfg.EC2.LetOut(vpcs[0]); err != nil {
		return "", err
	}
	out, err := s.cfg.EC2.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: &vpcs[0], CidrBlock: aws.String(trialNetwork), TagSpecifications: tags(ec2types.ResourceTypeSubnet)})
	if err != nil {
		return "", err
	}
	return *out.Subnet.SubnetId, nil
}

var ofTrials = []ec2types.Filter{{Name: aws.String("tag:CreatedBy"), Values: []string{trialCreator}}}

func (s *Service) trialNetworks(ctx context.Context) (subnets, vpcs []string, err error) {
	sn, err := s.cfg.EC2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: ofTrials})
	if err != nil {
		return nil, nil, err
	}
	for _, v := range sn.Subnets {
		subnets = append(subnets, *v.SubnetId)
	}
	vp, err := s.cfg.EC2.DescribeVpcs(ctx, &ec2.DescribeVpcsInput{Filters: ofTrials})
	if err != nil {
		return nil, nil, err
	}
	for _, v := range vp.Vpcs {
		vpcs = append(vpcs, *v.VpcId)
	}
	return subnets, vpcs, nil
}

// dropTrialNetwork removes the trials' network if no machine is in it. s.trials is
// held.
func (s *Service) dropTrialNetwork() {
	ctx := context.WithoutCancel(s.ctx)
	subnets, vpcs, err := s.trialNetworks(ctx)
	for _, id := range subnets {
		if err == nil {
			_, err = s.cfg.EC2.DeleteSubnet(ctx, &ec2.DeleteSubnetInput{SubnetId: &id})
		}
	}
	for _, id := range vpcs {
		if err == nil {
			_, err = s.cfg.EC2.DeleteVpc(ctx, &ec2.DeleteVpcInput{VpcId: &id})
		}
	}
	if code, _ := refusal(err); err != nil && !strings.HasPrefix(code, "DependencyViolation") {
		s.cfg.Log.Error("network of component trials is left", "error", err)
	}
}

// endTrial terminates the machine of a trial, and waits until it is gone. A daemon
// that goes down meanwhile leaves the rest to the next one.
func (s *Service) endTrial(id string) error {
	ctx := context.WithoutCancel(s.ctx)
	_, err := s.cfg.EC2.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}})
	if _, refused := refusal(err); err != nil && !refused {
		return fmt.Errorf("machine %s is left: %w", id, err)
	}
	for s.ctx.Err() == nil {
		inst, err := s.instance(id)
		if err != nil {
			return fmt.Errorf("machine %s is perhaps left: %w", id, err)
		}
		if inst == nil || inst.State.Name == ec2types.InstanceStateNameTerminated {
			break
		}
		s.wait(s.ctx)
	}
	s.trials.Lock()
	defer s.trials.Unlock()
	s.dropTrialNetwork()
	return nil
}

// sweepTrials ends the trials of a daemon that died.
func (s *Service) sweepTrials() {
	out, err := s.cfg.EC2.DescribeInstances(s.ctx, &ec2.DescribeInstancesInput{Filters: ofTrials})
	if err != nil {
		s.cfg.Log.Error("machines of component trials are perhaps left", "error", err)
		return
	}
	var left []string
	for _, r := range out.Reservations {
		for _, i := range r.Instances {
			if i.State.Name != ec2types.InstanceStateNameTerminated {
				left = append(left, *i.InstanceId)
			}
		}
	}
	s.workers.Go(func() {
		for _, id := range left {
			if err := s.endTrial(id); err != nil {
				s.cfg.Log.Error("component trial", "error", err)
			}
		}
		s.trials.Lock()
		defer s.trials.Unlock()
		s.dropTrialNetwork()
	})
}

// wait pauses between two looks at a machine.
func (s *Service) wait(ctx context.Context) {
	select {
	case <-time.After(s.cfg.Poll):
	case <-ctx.Done():
	}
}

// followTrial hands on what the executor says until it is done.
func (s *Service) followTrial(ctx context.Context, id string, say func(component.TrialEvent)) (*component.Outcome, error) {
	begun, offset := s.cfg.Now(), int64(0)
	for {
		inst, err := s.instance(id)
		if err != nil {
			return nil, err
		}
		outcome, oerr := s.cfg.EC2.Output(id, act.OutcomeFile, 0, 4<<20)
		said, next, more, err := s.console(id, offset)
		if err == nil {
			offset = next
		}
		for _, line := range said {
			say(component.TrialEvent{Line: line.Text})
		}
		switch {
		case more:
			continue
		case oerr == nil:
			out := &component.Outcome{}
			if err := json.Unmarshal(outcome, out); err != nil {
				return nil, err
			}
			s.handOver(id, out, say)
			return out, nil
		}
		if state, lost := lostState(inst); lost {
			return nil, fmt.Errorf("the machine %s is %s", id, state)
		}
		if why := s.executorEnd(id); why != "" {
			return nil, fmt.Errorf("on the machine %s, %s", id, why)
		}
		if offset == 0 && s.cfg.Now().Sub(begun) > bootAllowance {
			return nil, fmt.Errorf("the machine %s has not begun the component in %d minutes", id, bootAllowance/time.Minute)
		}
		s.wait(ctx)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if s.ctx.Err() != nil {
			return nil, fmt.Errorf("the region is going down")
		}
	}
}

// handOver hands the files of the log on, by phase, before they go with the machine.
func (s *Service) handOver(id string, out *component.Outcome, say func(component.TrialEvent)) {
	for i, folder := range out.Folders[:min(len(out.Folders), len(out.Results))] {
		phase := out.Results[i].Phase()
		for _, name := range act.LogFiles {
			data, err := s.cfg.EC2.Output(id, path.Join(act.LogDirectory, path.Base(folder), name), 0, 16<<20)
			if err == nil {
				say(component.TrialEvent{File: path.Join(phase, name), Data: data})
			}
		}
	}
}
