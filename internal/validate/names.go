package validate

import (
	"math"
	"regexp"
	"slices"
	"strings"

	"pcluster/internal/config"
)

// Regions are the regions of AWS in which a cluster may live. A region that does
// not exist is told from one that does not answer only by such a list.
var Regions = strings.Fields(`
	af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2
	ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7
	ca-central-1 ca-west-1 cn-north-1 cn-northwest-1 eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2
	eu-west-1 eu-west-2 eu-west-3 eusc-de-east-1 il-central-1 me-central-1 me-south-1 mx-central-1 sa-east-1
	us-east-1 us-east-2 us-gov-east-1 us-gov-west-1 us-iso-east-1 us-iso-west-1 us-isob-east-1 us-west-1 us-west-2`)

func regionKnown(k *check) {
	if k.o.Region != "" && !slices.Contains(Regions, k.o.Region) {
		k.errorf("Region", "%q is not a region that clusters can be in", k.o.Region)
	}
}

var clusterNamePattern = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]*$`)

// clusterName: accounting makes database names of it, which are shorter.
func clusterName(k *check) {
	name, most, why := k.o.ClusterName, 60, ""
	if s := k.c.Scheduling.SlurmSettings; s.Database != nil || s.ExternalSlurmdbd != nil {
		most, why = 40, " with accounting"
	}
	switch {
	case name == "": // not known yet
	case !clusterNamePattern.MatchString(name):
		k.errorf("", "the cluster name %q has to be a letter, followed by letters, digits and hyphens", name)
	case len(name) > most:
		k.errorf("", "the cluster name %q has %d characters, but at most %d are possible%s", name, len(name), most, why)
	}
}

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9\-]*$`)

// nodeName judges the name of a queue, a compute resource or a login pool.
func nodeName(k *check, path, name string) {
	path += ".Name"
	if !namePattern.MatchString(strings.TrimSuffix(name, "\n")) {
		k.errorf(path, "the name %q has to be a small letter, followed by small letters, digits and hyphens", name)
	}
	if n := len([]rune(name)); n > 25 {
		k.errorf(path, "the name %q has %d characters, more than 25", name, n)
	}
	if name == "default" {
		k.errorf(path, "default can't be a name: Slurm uses the word itself")
	}
}

// repeated reports texts that stand in a list more than once, all in one finding
// at the second of them. Empty texts don't count.
func repeated(k *check, what string, list []string, place func(i int) string) {
	seen, first := map[string]bool{}, -1
	var twice []string
	for i, name := range list {
		if name != "" && seen[name] {
			if first < 0 {
				first = i
			}
			if !slices.Contains(twice, name) {
				twice = append(twice, name)
			}
		}
		seen[name] = true
	}
	switch len(twice) {
	case 0:
	case 1:
		k.errorf(place(first), "%s %s stands in the file more than once", what, twice[0])
	default:
		k.errorf(place(first), "%ss stand in the file more than once: %s", what, strings.Join(twice, ", "))
	}
}

// What a cluster can have at most; a queue can have as many compute resources.
const (
	mostQueues    = 50
	mostResources = 50
	mostPools     = 10
)

func atMost(k *check, path string, n, most int, what string) {
	if n > most {
		k.errorf(path, "%s can have %d, not %d", what, most, n)
	}
}

func (e *env) resourceCount() int {
	n := 0
	for _, q := range e.c.Scheduling.SlurmQueues {
		n += len(q.ComputeResources)
	}
	return n
}

// Operating systems that the scheduler awsbatch runs on.
var batchSystems = []string{"alinux2", "alinux2023"}

func (e *env) batch() bool { return e.c.Scheduling.Scheduler == config.AWSBatch }

func schedulerKnown(k *check) {
	if s := k.c.Scheduling.Scheduler; s != config.Slurm && s != config.AWSBatch {
		k.errorf("Scheduling.Scheduler", "%s is not a scheduler; there are slurm and awsbatch", s)
	}
}

func schedulerOS(k *check) {
	if os := k.c.Image.Os; k.batch() && !slices.Contains(batchSystems, os) {
		k.errorf("Image.Os", "the scheduler awsbatch runs on %s, not on %s", strings.Join(batchSystems, " and "), os)
	}
}

func batchSudo(k *check) {
	if k.batch() && k.c.DeploymentSettings.DisableSudoAccessForDefaultUser {
		k.errorf("DeploymentSettings.DisableSudoAccessForDefaultUser", "the scheduler awsbatch needs sudo for the default user")
	}
}

func batchImds(k *check) {
	if k.batch() && k.c.HeadNode.Imds.Secured {
		k.errorf("HeadNode.Imds.Secured", "the scheduler awsbatch needs the metadata service for all users")
		k.hint("set HeadNode.Imds.Secured to false")
	}
}

// loginScheduler can't find anything: login nodes with awsbatch are refused earlier.
func loginScheduler(k *check) {
	if k.c.LoginNodes != nil && k.batch() {
		k.errorf("LoginNodes", "login nodes do not go with the scheduler awsbatch")
	}
}

const intelPath = "AdditionalPackages.IntelSoftware.IntelHpcPlatform"

func intelOS(k *check) {
	k.errorf(intelPath, "no supported operating system has the Intel HPC platform any more")
	k.hint("remove it")
}

func intelArchitecture(k *check) {
	if head, ok := k.head(); ok && head.Architecture() != "x86_64" {
		k.errorf(intelPath, "the Intel HPC platform needs x86_64, but the head node's %s is %s", head.Name, head.Architecture())
	}
}

// absent says in which regions, by the start of their names, a feature is missing.
var absent = map[string][]string{
	"AWS Batch": {"ap-northeast-3", "us-iso"}, "DCV": {"us-iso"}, config.FsxLustre: {"us-isob"},
	config.FileCache: {"us-iso"}, config.FsxOntap: {"us-iso"}, config.FsxOpenZfs: {"us-iso"}, "Slurm accounting": nil,
}

func regionHas(k *check, path, feature string) {
	for _, prefix := range absent[feature] {
		if strings.HasPrefix(k.o.Region, prefix) {
			k.errorf(path, "%s is not available in %s", feature, k.o.Region)
			return
		}
	}
}

// clashingTags: a tag of a compute resource beats its queue's, which beats the cluster's.
func clashingTags(k *check, r *resource) {
	keys := func(list []config.Tag) map[string]bool {
		out := map[string]bool{}
		for _, t := range list {
			out[t.Key] = true
		}
		return out
	}
	levels := []struct {
		name string
		keys map[string]bool
	}{{"cluster", keys(k.c.Tags)}, {"queue", keys(r.queue.Tags)}, {"compute resource", keys(r.Tags)}}
	at := map[string][]string{} // tag → levels that have it
	for _, l := range levels {
		for key := range l.keys {
			at[key] = append(at[key], l.name)
		}
	}
	clash := map[string][]string{} // levels → tags
	for key, names := range at {
		if len(names) > 1 {
			clash[strings.Join(names, ", ")] = append(clash[strings.Join(names, ", ")], key)
		}
	}
	path := r.path
	if len(r.Tags) > 0 {
		path += ".Tags"
	}
	for _, names := range []string{"cluster, queue, compute resource", "cluster, queue", "queue, compute resource", "cluster, compute resource"} {
		if list := clash[names]; len(list) > 0 {
			slices.Sort(list)
			k.warnf(path, "tags of %s are given at several levels (%s): %s; the last level wins", r.Name, names, strings.Join(list, ", "))
		}
	}
	const most = 40
	if len(at) > most {
		k.errorf(path, "instances of %s would have %d tags, but at most %d are possible", r.Name, len(at), most)
	}
}

func rotationWithoutLogs(k *check) {
	if l := k.c.Monitoring.Logs; !l.CloudWatch.Enabled && l.Rotation.Enabled {
		k.warnf("Monitoring.Logs.CloudWatch.Enabled", "logs are rotated on the nodes but not kept in CloudWatch, so older lines get lost")
	}
}

func monitoringCosts(k *check) {
	if k.c.Monitoring.DetailedMonitoring {
		k.warnf("Monitoring.DetailedMonitoring", "detailed monitoring costs money for each instance")
	}
}

// Operating systems that have DCV.
var (
	dcvOnX86 = []string{"alinux2", "alinux2023", "ubuntu2204", "ubuntu2404", "rhel8", "rocky8", "rhel9", "rocky9"}
	dcvOnARM = []string{"alinux2", "alinux2023", "rhel8", "rocky8", "rhel9", "rocky9"}
)

// remoteDesktop judges DCV on a node of an instance type.
func remoteDesktop(k *check, path, instanceType string, d config.Dcv) {
	if !d.Enabled {
		return
	}
	systems := dcvOnX86
	if t, ok := k.types[instanceType]; ok && t.Architecture() == "arm64" {
		systems = dcvOnARM
	}
	if os := k.c.Image.Os; !slices.Contains(systems, os) {
		k.errorf(path, "DCV is not available for %s on %s", os, instanceType)
	}
	if tiny(instanceType) {
		k.warnf(path, "%s has little memory for a remote desktop", instanceType)
	}
	if d.AllowedIps == "0.0.0.0/0" {
		k.warnf(path+".AllowedIps", "the remote desktop's port %d is open to everyone", d.Port)
		k.hint("give the addresses of your users as AllowedIps")
	}
}

// tiny says whether a type is of the smallest sizes.
func tiny(instanceType string) bool {
	return strings.Contains(instanceType, "micro") || strings.Contains(instanceType, "nano")
}

// A chefSwitch is an attribute of the Chef cookbook that decides something of a
// cluster, and so is checked; the nodes here have no Chef.
type chefSwitch struct {
	path    []string
	warnsIf bool
	warning string
}

var chefSwitches = []chefSwitch{
	{[]string{"cluster", "in_place_update_on_fleet_enabled"}, false, "running nodes do not follow updates of the cluster"},
	{[]string{"cluster", "cluster_readiness_check_enabled"}, false, ""},
	{[]string{"cluster", "cluster_readiness_check_ignore_failure"}, true, "a cluster that is not ready after an update passes for updated"},
}

func chefAttributes(k *check, path, text string) {
	for _, s := range chefSwitches {
		v, given := jsonMember(text, s.path...)
		name := strings.Join(s.path, ".")
		switch on, isBool := v.(bool); {
		case !given:
		case !isBool:
			k.errorf(path, "%s has to be true or false, not %v", name, v)
		case s.warning != "" && on == s.warnsIf:
			k.warnf(path, "with %s %v %s", name, on, s.warning)
		}
	}
	const least = 300
	if v, given := jsonMember(text, "cluster", "slurm", "reconfigure_timeout"); given {
		if n, isNumber := v.(float64); !isNumber || n != math.Trunc(n) || n <= least {
			k.errorf(path, "cluster.slurm.reconfigure_timeout has to be a whole number above %d, not %v", least, v)
		}
	}
}
