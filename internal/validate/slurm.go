package validate

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"pcluster/internal/config"
)

func databaseURI(k *check, uri string) {
	const path = "Scheduling.SlurmSettings.Database.Uri"
	const hint = "give host or host:port"
	u, err := url.Parse("//" + uri)
	switch {
	case strings.HasPrefix(uri, "/"):
		k.errorf(path, "%q starts with a slash", uri)
		k.hint(hint)
	case strings.Contains(uri, "://"):
		k.errorf(path, "%q has a scheme", uri)
		k.hint(hint)
	case err != nil:
		k.errorf(path, "%q is not a host with a port", uri)
		k.hint(hint)
	case u.Hostname() == "":
		k.errorf(path, "%q names no host", uri)
		k.hint(hint)
	case u.Port() == "":
		k.infof(path, "%q names no port; 3306 is assumed", uri)
	default:
		if n, err := strconv.Atoi(u.Port()); err != nil || n > 65535 {
			k.errorf(path, "%s is not a port", u.Port())
		}
	}
}

// Settings of slurm.conf that are the tool's own, in lower case.
var (
	deniedInCluster = []string{
		"epilog", "grestypes", "launchparameters", "prolog", "reconfigflags", "resumefailprogram", "resumeprogram", "resumetimeout",
		"slurmctldhost", "slurmctldlogfile", "slurmctldparameters", "slurmdlogfile", "slurmuser", "suspendexcnodes", "suspendprogram",
		"suspendtime", "taskplugin", "treewidth",
	}
	deniedWithDatabase = []string{"accountingstoragetype", "accountingstoragehost", "accountingstorageport", "accountingstorageuser", "jobacctgathertype"}
	deniedInQueue      = []string{"nodes", "partitionname", "resumetimeout", "state", "suspendtime", "oversubscribe"}
	deniedInResource   = []string{"cpus", "features", "gres", "nodeaddr", "nodehostname", "nodename", "state", "weight"}
)

// deniedSettings reports settings that users can't have, all of them in one finding.
func deniedSettings(k *check, path string, s config.Settings, denied []string) {
	var bad []string
	for _, e := range s {
		if slices.Contains(denied, strings.ToLower(e.Key)) && !slices.Contains(bad, e.Key) {
			bad = append(bad, e.Key)
		}
	}
	if len(bad) > 0 {
		if len(bad) == 1 {
			path += "." + bad[0]
		}
		slices.Sort(bad)
		k.errorf(path, "%s can't be set: the cluster sets it itself", strings.Join(bad, ", "))
	}
}

// lineSettings returns the settings of slurm.conf that are lines of their own;
// maps with several keys are lines about nodes, partitions and the like.
func (e *env) lineSettings() config.Settings {
	var out config.Settings
	for _, s := range e.c.Scheduling.SlurmSettings.CustomSlurmSettings {
		if len(s) == 1 {
			out = append(out, s[0])
		}
	}
	return out
}

const customPath = "Scheduling.SlurmSettings.CustomSlurmSettings"

func customNodeNames(k *check) {
	for i, s := range k.c.Scheduling.SlurmSettings.CustomSlurmSettings {
		for _, e := range s {
			if strings.EqualFold(e.Key, "NodeName") && (strings.Contains(e.Value, "-st-") || strings.Contains(e.Value, "-dy-")) {
				k.errorf(fmt.Sprintf("%s[%d].%s", customPath, i, e.Key), "the node name %s contains -st- or -dy-, which mark nodes of the cluster's own", e.Value)
			}
		}
	}
}

func settingsOrFile(k *check) {
	s := k.c.Scheduling.SlurmSettings
	if len(s.CustomSlurmSettings) > 0 && s.CustomSlurmSettingsIncludeFile != "" {
		k.errorf(customPath+"IncludeFile", "CustomSlurmSettings and CustomSlurmSettingsIncludeFile exclude each other")
	}
}

const slurmdbdPath = "Scheduling.SlurmSettings.ExternalSlurmdbd"

func oneDatabase(k *check) {
	if k.c.Scheduling.SlurmSettings.Database != nil {
		k.errorf(slurmdbdPath, "Database and ExternalSlurmdbd exclude each other")
	}
}

func sharedMungeKey(k *check) {
	if k.c.Scheduling.SlurmSettings.MungeKeySecretArn == "" {
		k.errorf(slurmdbdPath, "an external slurmdbd needs the cluster's munge key: give MungeKeySecretArn")
	}
}

func plainTraffic(k *check) {
	k.warnf(slurmdbdPath, "traffic between cluster and slurmdbd is not encrypted; keep both in one trusted network")
}

// nodePriorities: Slurm takes nodes of the lowest weight first.
func nodePriorities(k *check, path string, q *config.SlurmQueue) {
	dynamic := math.MaxInt
	for _, r := range q.ComputeResources {
		if r.MaxCount > r.MinCount {
			dynamic = min(dynamic, r.DynamicNodePriority)
		}
	}
	var high []string
	for _, r := range q.ComputeResources {
		if r.MinCount > 0 && r.StaticNodePriority >= dynamic {
			high = append(high, r.Name)
		}
	}
	if len(high) > 0 {
		k.warnf(path, "static nodes of %s have a weight that is not below %d, the lowest of dynamic nodes, so Slurm may start dynamic nodes first", strings.Join(high, ", "), dynamic)
	}
}
