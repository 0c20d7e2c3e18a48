package validate

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"pcluster/internal/config"
)

var slurmRules = []rule{
	{"DatabaseUriValidator", databaseURI},
	{"CustomSlurmSettingsValidator", deniedSettings},
	{"CustomSlurmNodeNamesValidator", customNodeNames},
	{"CustomSlurmSettingsIncludeFileOnlyValidator", settingsOrFile},
	{"ExternalSlurmdbdVsDatabaseIncompatibility", oneDatabase},
	{"ExternalSlurmdbdRequiresCustomMungeKey", sharedMungeKey},
	{"ExternalSlurmdbdTrafficNotEncrypted", plainTraffic},
	{"SlurmNodePrioritiesWarningValidator", nodePriorities},
}

func databaseURI(k *check) {
	db := k.c.Scheduling.SlurmSettings.Database
	if db == nil {
		return
	}
	path := "Scheduling.SlurmSettings.Database.Uri"
	host, port, given := strings.Cut(db.Uri, ":")
	switch {
	case strings.HasPrefix(db.Uri, "/"):
		k.errorf(path, "%q starts with a slash", db.Uri)
		k.hint("give host or host:port")
	case strings.Contains(db.Uri, "://"):
		k.errorf(path, "%q has a scheme", db.Uri)
		k.hint("give host or host:port")
	case host == "":
		k.errorf(path, "%q names no host", db.Uri)
	case !given:
		k.infof(path, "%q names no port; 3306 is assumed", db.Uri)
	default:
		if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
			k.errorf(path, "%q is not a port", port)
		}
	}
}

// Settings of slurm.conf that are the tool's own.
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

func deniedSettings(k *check) {
	try := func(path string, list []config.Settings, denied []string, why string) {
		var bad []string
		for _, s := range list {
			for _, e := range s {
				if slices.Contains(denied, strings.ToLower(e.Key)) {
					bad = append(bad, e.Key)
				}
			}
		}
		if len(bad) > 0 {
			slices.Sort(bad)
			k.errorf(path, "%s can't be set: %s", strings.Join(slices.Compact(bad), ", "), why)
		}
	}
	const own = "the cluster sets it itself"
	k.queues(func(path string, q *config.SlurmQueue) {
		try(path+".CustomSlurmSettings", []config.Settings{q.CustomSlurmSettings}, deniedInQueue, own)
	})
	k.resources(func(r resource) {
		try(r.path+".CustomSlurmSettings", []config.Settings{r.CustomSlurmSettings}, deniedInResource, own)
	})
	var single []config.Settings // maps with several keys are lines of their own, such as nodes
	for _, s := range k.c.Scheduling.SlurmSettings.CustomSlurmSettings {
		if len(s) == 1 {
			single = append(single, s)
		}
	}
	path := "Scheduling.SlurmSettings.CustomSlurmSettings"
	try(path, single, deniedInCluster, own)
	if k.c.Scheduling.SlurmSettings.Database != nil {
		try(path, single, deniedWithDatabase, "it follows from Database")
	}
}

func customNodeNames(k *check) {
	for i, s := range k.c.Scheduling.SlurmSettings.CustomSlurmSettings {
		for _, e := range s {
			if strings.EqualFold(e.Key, "NodeName") && (strings.Contains(e.Value, "-st-") || strings.Contains(e.Value, "-dy-")) {
				k.errorf(fmt.Sprintf("Scheduling.SlurmSettings.CustomSlurmSettings[%d].%s", i, e.Key), "the node name %s contains -st- or -dy-, which mark nodes of the cluster's own", e.Value)
			}
		}
	}
}

func settingsOrFile(k *check) {
	s := k.c.Scheduling.SlurmSettings
	if len(s.CustomSlurmSettings) > 0 && s.CustomSlurmSettingsIncludeFile != "" {
		k.errorf("Scheduling.SlurmSettings.CustomSlurmSettings", "CustomSlurmSettings and CustomSlurmSettingsIncludeFile exclude each other")
	}
}

func oneDatabase(k *check) {
	s := k.c.Scheduling.SlurmSettings
	if s.Database != nil && s.ExternalSlurmdbd != nil {
		k.errorf("Scheduling.SlurmSettings.ExternalSlurmdbd", "Database and ExternalSlurmdbd exclude each other")
	}
}

func sharedMungeKey(k *check) {
	s := k.c.Scheduling.SlurmSettings
	if s.ExternalSlurmdbd != nil && s.MungeKeySecretArn == "" {
		k.errorf("Scheduling.SlurmSettings.ExternalSlurmdbd", "an external slurmdbd needs the cluster's munge key: give MungeKeySecretArn")
	}
}

func plainTraffic(k *check) {
	if k.c.Scheduling.SlurmSettings.ExternalSlurmdbd != nil {
		k.warnf("Scheduling.SlurmSettings.ExternalSlurmdbd", "traffic between cluster and slurmdbd is not encrypted; keep both in one trusted network")
	}
}

func nodePriorities(k *check) {
	k.queues(func(path string, q *config.SlurmQueue) {
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
	})
}
