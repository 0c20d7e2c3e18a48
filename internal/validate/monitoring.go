package validate

var monitoringRules = []rule{
	{"LogRotationValidator", rotationWithoutLogs},
	{"DetailedMonitoringValidator", monitoringCosts},
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
