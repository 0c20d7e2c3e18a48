package logs

import "pcluster/internal/node/spec"

// A File is one log file of a node and the last part of its stream's name.
type File struct {
	Path   string // several, in one stream, if it is a pattern
	Stream string
}

// Dir holds the logs of the cluster's own programs.
const Dir = "/var/log/parallelcluster"

// everywhere are the files of all kinds of nodes.
var everywhere = []File{
	{"/var/log/messages", "system-messages"},
	{"/var/log/syslog", "syslog"},
	{"/var/log/cloud-init.log", "cloud-init"},
	{"/var/log/chef-client.log", "chef-client"},
	{Dir + "/boot.log", "boot"},
	{Dir + "/bootstrap_error_msg", "bootstrap_error_msg"},
}

// desktop are the files of nodes with remote desktops.
var desktop = []File{
	{Dir + "/pcluster_dcv_authenticator.log", "dcv-authenticator"},
	{Dir + "/pcluster_dcv_connect.log", "dcv-ext-authenticator"},
	{"/var/log/dcv/server.log", "dcv-server"},
	{"/var/log/dcv/sessionlauncher.log", "dcv-session-launcher"},
	{"/var/log/dcv/agent.*.log", "dcv-agent"},
	{"/var/log/dcv/dcv-xsession.*.log", "dcv-xsession"},
	{"/var/log/dcv/Xdcv.*.log", "Xdcv"},
}

// Files returns what a node of that kind ships (spec.Head, spec.Compute,
// spec.Login). Names of streams are those that ParallelCluster's users know;
// files that do not exist are skipped until they do.
func Files(nodeType string) []File {
	files := append([]File(nil), everywhere...)
	switch nodeType {
	case spec.Head:
		return append(append(files,
			File{"/var/log/cfn-init.log", "cfn-init"},
			File{Dir + "/clustermgtd", "clustermgtd"},
			File{Dir + "/clustermgtd.events", "clustermgtd_events"},
			File{Dir + "/clusterstatusmgtd", "clusterstatusmgtd"},
			File{Dir + "/slurm_resume.log", "slurm_resume"},
			File{Dir + "/slurm_resume.events", "slurm_resume_events"},
			File{Dir + "/slurm_suspend.log", "slurm_suspend"},
			File{Dir + "/slurm_fleet_status_manager.log", "slurm_fleet_status_manager"},
			File{Dir + "/compute_console_output.log", "compute_console_output"},
			File{"/var/log/slurmctld.log", "slurmctld"},
			File{"/var/log/slurmdbd.log", "slurmdbd"},
			File{"/var/log/sssd/sssd.log", "sssd"},
			File{"/var/log/sssd/sssd_default.log", "sssd_domain_default"},
			File{Dir + "/pam_ssh_key_generator.log", "pam_ssh_key_generator"},
			// The directory that custom actions of some users move Slurm's logs to.
			File{"/var/log/slurm/slurmctld.log", "slurmctld"},
			File{"/var/log/slurm/slurmdbd.log", "slurmdbd"},
		), desktop...)
	case spec.Compute:
		return append(files,
			File{"/var/log/cloud-init-output.log", "cloud-init-output"},
			File{Dir + "/computemgtd", "computemgtd"},
			File{Dir + "/slurm_health_check.log", "slurm_health_check"},
			File{Dir + "/slurm_health_check.events", "slurm_health_check_events"},
			File{"/var/log/slurmd.log", "slurmd"},
			File{"/var/log/slurm/slurmd.log", "slurmd"},
		)
	default:
		return append(append(files,
			File{"/var/log/cloud-init-output.log", "cloud-init-output"},
			File{"/var/log/cfn-init.log", "cfn-init"},
			File{Dir + "/loginmgtd.log", "loginmgtd"},
			File{Dir + "/pam_ssh_key_generator.log", "pam_ssh_key_generator"},
		), desktop...)
	}
}
