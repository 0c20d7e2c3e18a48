package fleet

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Codes of our own, next to EC2's, in the reason of a node that could not start.
const (
	// LimitedCapacity: there were instances, but not enough for the job.
	LimitedCapacity = "LimitedInstanceCapacity"
	// InsufficientCapacity is EC2's word for none left.
	InsufficientCapacity = "InsufficientInstanceCapacity"
	invalidNodeName      = "InvalidNodenameError"
	assignmentFailed     = "Exception"
)

// A Class sorts the codes of failed launches by what helps.
type Class string

// The classes of codes.
const (
	Capacity      Class = "capacity"      // EC2 has none to give now: time helps, or another type or zone
	Quota         Class = "quota"         // the account may have no more: instances that end help, or a higher quota
	Permission    Class = "permission"    // the head node may not: its role has to be changed
	Configuration Class = "configuration" // what was asked for can't be: the cluster, or the account, has to be changed
	Throttled     Class = "throttled"     // too many requests: patience helps
	Transient     Class = "transient"     // EC2 or the way to it failed: another attempt helps
)

// configurationPause is for how long a compute resource is left alone that can't be
// launched as it is. Nobody tells when it was mended.
const configurationPause = 5 * time.Minute

// A verdict is what a code means for the compute resource whose launch failed with it.
type verdict struct {
	class  Class
	event  string // failure type of the event log
	bars   bool   // the compute resource is left alone for a while: another attempt would fail, too
	advice string // for the user
}

const (
	iceFailures    = "ice-failures"
	vcpuFailures   = "vcpu-limit-failures"
	volumeFailures = "volume-limit-failures"
	iamFailures    = "iam-policy-errors"
	otherFailures  = "other-failures"
)

// FailureTypes are all failure types, in the order of the event log.
var FailureTypes = []string{iceFailures, vcpuFailures, volumeFailures, iamFailures, otherFailures}

// Advice of several codes.
const (
	waitOrWiden   = "The queue is tried again by itself; a list of instance types, or more subnets, gives it more to choose from."
	raiseQuota    = "Ask for a higher quota in Service Quotas, or give the queue less to launch."
	mendRole      = "The head node's role needs the permission that the message names, also for a key or a role of your own."
	mendResource  = "Correct what the message names in the cluster file and update the cluster."
	patience      = "It is tried again by itself."
	reservation   = "The capacity reservation has no room left, or is not of the nodes' type and zone."
	otherTypeZone = "The instance type does not exist in the subnet's zone, or not with these settings: choose another type or subnet."
)

// verdicts is what is known of codes. (AWS documentation: Error codes for the Amazon
// EC2 API; Troubleshoot Amazon EC2 instance launch issues; Service-linked role for
// Spot Instance requests. The event log's types are ParallelCluster's.)
var verdicts = map[string]verdict{
	InsufficientCapacity:                   {Capacity, iceFailures, true, waitOrWiden},
	LimitedCapacity:                        {Capacity, iceFailures, false, waitOrWiden},
	"InsufficientHostCapacity":             {Capacity, iceFailures, true, waitOrWiden},
	"InsufficientReservedInstanceCapacity": {Capacity, iceFailures, true, reservation},
	"ReservationCapacityExceeded":          {Capacity, iceFailures, true, reservation},
	"InsufficientCapacityOnHost":           {Capacity, iceFailures, true, waitOrWiden},
	"InsufficientVolumeCapacity":           {Capacity, volumeFailures, true, "The zone has no volumes of this type left: choose another volume type or subnet."},
	"InsufficientFreeAddressesInSubnet":    {Capacity, otherFailures, true, "The subnet has no addresses left: give the queue a larger one."},
	"InsufficientAddressCapacity":          {Capacity, otherFailures, true, "There are no public addresses left: set AssignPublicIp to false, or use another subnet."},
	"SpotMaxPriceTooLow":                   {Capacity, iceFailures, true, "Raise SpotPrice, or leave it away to pay up to the on-demand price."},
	"Unsupported":                          {Configuration, iceFailures, true, otherTypeZone},
	"UnfulfillableCapacity":                {Capacity, iceFailures, true, waitOrWiden},

	"VcpuLimitExceeded":            {Quota, vcpuFailures, true, raiseQuota},
	"MaxSpotInstanceCountExceeded": {Quota, iceFailures, true, raiseQuota},
	"InstanceLimitExceeded":        {Quota, otherFailures, true, raiseQuota},
	"VolumeLimitExceeded":          {Quota, volumeFailures, true, raiseQuota},
	"MaxIOPSLimitExceeded":         {Quota, volumeFailures, true, raiseQuota},
	"AddressLimitExceeded":         {Quota, otherFailures, true, raiseQuota},
	"NetworkInterfaceLimitExceeded": {
		Quota, otherFailures, true, raiseQuota,
	},
	"SpotInstanceCountLimitExceeded": {Quota, otherFailures, true, raiseQuota},

	"UnauthorizedOperation": {Permission, iamFailures, true, mendRole},
	"AuthFailure":           {Permission, otherFailures, true, mendRole},
	"AuthFailure.ServiceLinkedRoleCreationNotPermitted": {Permission, otherFailures, true, "Spot needs the role AWSServiceRoleForEC2Spot in the account: run aws iam create-service-linked-role --aws-service-name spot.amazonaws.com."},
	"Client.InvalidKMSKey.InvalidState":                 {Permission, otherFailures, true, mendRole},
	"OptInRequired":                                     {Permission, otherFailures, true, "The account has to accept the terms of the AMI in AWS Marketplace."},
	"PendingVerification":                               {Permission, otherFailures, true, "AWS is still verifying the account."},
	"Blocked":                                           {Permission, otherFailures, true, "AWS has blocked the account: ask AWS Support."},

	"InvalidAMIID.NotFound":                       {Configuration, otherFailures, true, mendResource},
	"InvalidAMIID.Unavailable":                    {Configuration, otherFailures, true, mendResource},
	"InvalidAMIID.Malformed":                      {Configuration, otherFailures, true, mendResource},
	"InvalidSubnetID.NotFound":                    {Configuration, otherFailures, true, mendResource},
	"InvalidGroup.NotFound":                       {Configuration, otherFailures, true, mendResource},
	"InvalidSecurityGroupID.NotFound":             {Configuration, otherFailures, true, mendResource},
	"InvalidKeyPair.NotFound":                     {Configuration, otherFailures, true, mendResource},
	"InvalidPlacementGroup.Unknown":               {Configuration, otherFailures, true, mendResource},
	"InvalidLaunchTemplateName.NotFoundException": {Configuration, otherFailures, true, "The launch template was deleted by hand: update the cluster to make it again."},
	"InvalidLaunchTemplateId.NotFound":            {Configuration, otherFailures, true, "The launch template was deleted by hand: update the cluster to make it again."},
	"InvalidParameterValue":                       {Configuration, otherFailures, true, mendResource},
	"InvalidParameterCombination":                 {Configuration, otherFailures, true, mendResource},
	"InvalidParameter":                            {Configuration, otherFailures, true, mendResource},
	"MissingParameter":                            {Configuration, otherFailures, true, mendResource},
	"UnsupportedOperation":                        {Configuration, otherFailures, true, mendResource},
	"InvalidBlockDeviceMapping":                   {Configuration, otherFailures, true, mendResource},
	"InvalidInstanceType":                         {Configuration, otherFailures, true, otherTypeZone},
	"InvalidCapacityReservationId.NotFound":       {Configuration, otherFailures, true, mendResource},
	"InvalidCapacityReservationState":             {Capacity, otherFailures, true, "The capacity reservation is not active (yet)."},
	"InvalidFleetConfiguration":                   {Configuration, otherFailures, true, mendResource},
	"LaunchOverrides":                             {Configuration, otherFailures, true, "Correct the file of launch overrides that the message names."},

	"RequestLimitExceeded":        {Throttled, otherFailures, false, patience},
	"Throttling":                  {Throttled, otherFailures, false, patience},
	"RequestThrottled":            {Throttled, otherFailures, false, patience},
	"ResourceCountExceeded":       {Throttled, otherFailures, false, patience},
	"IdempotentParameterMismatch": {Transient, otherFailures, false, patience}, // the launch template or overrides changed between two attempts
	"InternalError":               {Transient, otherFailures, false, patience},
	"InternalFailure":             {Transient, otherFailures, false, patience},
	"Unavailable":                 {Transient, otherFailures, false, patience},
	"ServiceUnavailable":          {Transient, otherFailures, false, patience},
	"RequestFailed":               {Transient, otherFailures, false, "EC2 can't be reached from the head node: look at its routes, endpoints and security groups. " + patience},
	"StateNotWritten":             {Transient, otherFailures, false, "The head node's root volume is full or read-only: nothing is launched that could be forgotten. Make room."},
	"FleetStopped":                {Configuration, otherFailures, false, "Start the compute fleet: pcluster update-compute-fleet --status START_REQUESTED."},
	invalidNodeName:               {Configuration, otherFailures, false, "Slurm has a node that is not of the cluster file: look at what was included into slurm.conf."},
	assignmentFailed:              {Transient, otherFailures, false, patience},
}

// unknownVerdict is that of codes that nobody here has heard of.
var unknownVerdict = verdict{Transient, otherFailures, false, "Look the code up in AWS's documentation of EC2's error codes. " + patience}

func judge(code string) verdict {
	if v, ok := verdicts[code]; ok {
		return v
	}
	// EC2 prefixes codes of fleets, and has families of codes: InvalidX.NotFound.
	if rest, ok := strings.CutPrefix(code, "Client."); ok {
		return judge(rest)
	}
	if strings.HasPrefix(code, "Invalid") && (strings.HasSuffix(code, ".NotFound") || strings.HasSuffix(code, ".Malformed")) {
		return verdict{Configuration, otherFailures, true, mendResource}
	}
	return unknownVerdict
}

// ClassOf returns the class of a code.
func ClassOf(code string) Class { return judge(code).class }

// FailureType sorts a code into the classes that the event log counts.
func FailureType(code string) string { return judge(code).event }

// Advice says in a sentence what a user can do about a launch that failed with a code
// and message.
func Advice(code, message string) string {
	v := judge(code)
	if m := vcpuLimit.FindStringSubmatch(message); m != nil && v.class == Quota {
		return fmt.Sprintf("Your vCPU limit is %s. %s", m[1], v.advice)
	}
	return v.advice
}

// vcpuLimit is the number in EC2's message about vCPUs.
var vcpuLimit = regexp.MustCompile(`vCPU limit of (\d+)`)

// bars says whether, and for how long, a compute resource is left alone after a
// launch failed.
func (p *Policy) bars(code string) (time.Duration, bool) {
	v := judge(code)
	if !v.bars || p.CapacityTimeout <= 0 {
		return 0, false
	}
	switch v.class {
	case Permission, Configuration:
		if v.event != iceFailures { // that are left alone as long as ParallelCluster does
			return configurationPause, true
		}
	}
	return p.CapacityTimeout, true
}

var codePattern = regexp.MustCompile(`\(Code:([^)]*)\)`)

// reasonCode returns the code in a node's reason, or nothing.
func reasonCode(reason string) string {
	if m := codePattern.FindStringSubmatch(reason); m != nil {
		return m[1]
	}
	return ""
}

// failureReason is the reason of a node that could not be launched. The code in
// front is what tools look for.
func failureReason(code, message string) string {
	if message == "" {
		message = "EC2 has not enough instances for all nodes"
		if v := judge(code); v.class != Capacity {
			message = v.advice
		}
	}
	return "(Code:" + code + ")" + message
}
