package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/route53"

	"pcluster/internal/config"
	"pcluster/internal/fleet"
	"pcluster/internal/fleet/record"
	"pcluster/internal/node/logs"
	"pcluster/internal/node/spec"
	"pcluster/internal/slurm"
)

// fleetMemory is where the fleet daemon keeps what it must not forget.
const fleetMemory = stateDir + "/fleet.json"

// FleetRecord is what has happened to the fleet; pcluster why reads it.
const FleetRecord = logs.Dir + "/fleet_record"

// runFleet is the fleet daemon of the head node.
func runFleet(ctx context.Context, h *Host) error {
	told, err := h.ReadSpec()
	if err != nil {
		return err
	}
	cfg, err := awsConfig(ctx, told)
	if err != nil {
		return err
	}
	self, err := identify(ctx, imds.NewFromConfig(cfg))
	if err != nil {
		return err
	}
	var files [6]*os.File
	for i, name := range []string{"clustermgtd", "slurm_resume.log", "slurm_suspend.log", "slurm_resume.events", "compute_console_output.log", "clustermgtd.events"} {
		if files[i], err = os.OpenFile(h.path(logs.Dir+"/"+name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644); err != nil {
			return err
		}
		defer files[i].Close()
	}
	log, resume, suspend, events, consoles, managerEvents := files[0], files[1], files[2], files[3], files[4], files[5]
	reader := &policyReader{cluster: told.ClusterName, config: h.path(clusterConfig), settings: []string{h.path(fleetSettings), h.path(nodeSettings)}}
	policy, err := reader.read()
	if policy.Cluster == "" {
		return fmt.Errorf("policy of the fleet: %w", err)
	}
	metrics := fleet.NewMetrics()
	cfg = metrics.Counted(cfg)
	dynamo := dynamoClient(cfg)
	scheduler, instances := &slurm.Client{Run: slurm.Exec}, ec2.NewFromConfig(cfg)
	names, status := route53.NewFromConfig(cfg), &fleet.StatusItem{DynamoDB: dynamo, Table: told.DynamoDBTable}
	d := &fleet.Daemon{
		Scheduler: scheduler, Reserver: scheduler, Blocks: &fleet.CapacityBlocks{API: instances},
		Cloud: &fleet.EC2{
			API: instances, Cluster: told.ClusterName, Resources: policy.Resources, LaunchTemplates: told.LaunchTemplates,
			RunOverrides:   h.path(slurm.ConfDir + "/pcluster/run_instances_overrides.json"),
			FleetOverrides: h.path(slurm.ConfDir + "/pcluster/create_fleet_overrides.json"),
		},
		Registry: &fleet.Records{
			DynamoDB: dynamo, Table: told.SlurmDynamoDBTable, HeadAddress: self.Addr, HeadHostname: self.Hostname,
			DNS: names, ZoneID: given(told.HostedZone), Domain: given(told.DNSDomain),
		},
		Status:        status,
		Knock:         fleet.Knock,
		Policy:        reader.read,
		UseHostnames:  told.UsePrivateHostname == "true",
		StateFile:     h.path(fleetMemory),
		Socket:        fleet.SocketPath,
		SocketGroup:   string(slurmUser),
		ReportAddress: fmt.Sprintf(":%d", fleet.ReportPort),
		Log:           slog.New(newLogHandler(log)),
		ResumeLog:     slog.New(newLogHandler(io.MultiWriter(log, resume))),
		SuspendLog:    slog.New(newLogHandler(io.MultiWriter(log, suspend))),
		Record:        &record.File{Path: h.path(FleetRecord)},
		Metrics:       metrics, MetricsAddress: fleet.MetricsAddress,
		Events: &fleet.EventLog{Manager: managerEvents, Resume: events, Cluster: told.ClusterName, InstanceID: self.InstanceID, Now: time.Now},
	}
	if zone, domain := given(told.HostedZone), given(told.DNSDomain); zone != "" && domain != "" {
		d.Doorbell = &fleet.Doorbell{DNS: names, ZoneID: zone, Domain: domain, Status: status, Lookup: net.DefaultResolver.LookupHost}
	}
	if given(told.LogGroup) != "" { // only then may the node ask for them
		d.Consoles = consoles
	}
	return d.Run(ctx)
}

// runLogs ships this node's logs, and the head node's memory and disk in use.
func runLogs(ctx context.Context, h *Host) error {
	told, err := h.ReadSpec()
	if err != nil {
		return err
	}
	cfg, err := awsConfig(ctx, told)
	if err != nil {
		return err
	}
	self, err := identify(ctx, imds.NewFromConfig(cfg))
	if err != nil {
		return err
	}
	if told.NodeType == spec.Head {
		v := &vitals{Host: h, instance: self.InstanceID, api: cloudwatch.NewFromConfig(cfg), log: slog.Default()}
		go v.run(ctx)
	}
	return logs.Run(ctx, logs.Options{
		API: cloudwatchlogs.NewFromConfig(cfg), Group: told.LogGroup, Hostname: self.Short(), InstanceID: self.InstanceID,
		Files: logs.Files(told.NodeType), State: h.path(stateDir + "/logs.json"),
	})
}

// patience of programs that slurmctld starts with a daemon that is being restarted.
// What they can't say by then the daemon finds out by itself.
const programPatience = 20 * time.Second

// tellFleet passes on what slurmctld says to one of its programs.
func tellFleet(ctx context.Context, op string, args []string, environment func(string) string) error {
	m := fleet.Message{Op: op, Nodes: strings.Join(args, ",")}
	patience := programPatience
	switch op {
	case fleet.OpResume:
		if file := environment("SLURM_RESUME_FILE"); file != "" {
			content, err := readResumeFile(file)
			if err != nil {
				fmt.Fprintf(os.Stderr, "resume file: %v\n", err)
			}
			m.ResumeFile, m.JobsUnknown = content, err != nil
		}
	case fleet.OpJobReady:
		m.Job, m.Nodes = environment("SLURM_JOB_ID"), environment("SLURM_JOB_NODELIST")
		patience = 0 // without the daemon jobs wait for slurmctld's own timer
	}
	return fleet.Dial(ctx, fleet.SocketPath, m, patience)
}

// readResumeFile reads what slurmctld says about the jobs that nodes are for.
func readResumeFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, fleet.MaxResumeFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(content) > fleet.MaxResumeFile:
		return nil, fmt.Errorf("%s: larger than %d MiB", path, fleet.MaxResumeFile>>20)
	case !json.Valid(content):
		return nil, fmt.Errorf("%s: %d bytes that are no JSON", path, len(content))
	}
	return content, nil
}

// fleetStatus prints the fleet's status, or requests another one.
func fleetStatus(ctx context.Context, h *Host, out io.Writer, args []string) error {
	told, err := h.ReadSpec()
	if err != nil {
		return err
	}
	cfg, err := awsConfig(ctx, told)
	if err != nil {
		return err
	}
	item := &fleet.StatusItem{DynamoDB: dynamoClient(cfg), Table: told.DynamoDBTable}
	now, err := item.Get(ctx)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return json.NewEncoder(out).Encode(map[string]fleet.Status{"status": now})
	}
	if len(args) != 2 || args[0] != "--status" {
		return errors.New("usage: pcluster-node fleet-status [--status STATUS]")
	}
	changed, err := item.Change(ctx, fleet.StatusChange{From: now, To: fleet.Status(args[1])}, time.Now())
	if err != nil {
		return err
	}
	if !changed {
		return fmt.Errorf("the status of the fleet was changed by somebody else while it was %s", now)
	}
	// The daemon would see it within seconds; it need not even run.
	_ = fleet.Dial(ctx, fleet.SocketPath, fleet.Message{Op: fleet.OpStatusChanged}, 0)
	return nil
}

// ofCluster returns what commands for administrators need: what this node was told, the
// cluster file, and the way to AWS.
func (h *Host) ofCluster(ctx context.Context) (*spec.Node, *config.Cluster, aws.Config, error) {
	told, err := h.ReadSpec()
	if err != nil {
		return nil, nil, aws.Config{}, err
	}
	data, err := h.read(clusterConfig)
	if err != nil {
		return nil, nil, aws.Config{}, err
	}
	c, err := config.ParseImplied(clusterConfig, data)
	if err != nil {
		return nil, nil, aws.Config{}, err
	}
	cfg, err := awsConfig(ctx, told)
	return told, c, cfg, err
}

// updateDatabasePassword takes the password of the accounting database from its
// secret again, and restarts slurmdbd if it is another one.
func updateDatabasePassword(ctx context.Context, h *Host) error {
	_, c, cfg, err := h.ofCluster(ctx)
	if err != nil {
		return err
	}
	if c.Scheduling.SlurmSettings.Database == nil {
		return errors.New("the cluster has no accounting database")
	}
	password, err := newVault(cfg).secret(ctx, c.Scheduling.SlurmSettings.Database.PasswordSecretArn)
	if err != nil {
		return err
	}
	old, err := h.read(slurm.DatabasePasswordFile)
	if err != nil {
		return err
	}
	replaced, changed := slurm.ReplaceDatabasePassword(old, password)
	if !changed {
		return nil
	}
	if err := h.write(slurm.DatabasePasswordFile, 0o600, slurmUser, replaced); err != nil {
		return err
	}
	return h.systemctl(ctx, "try-restart", unitSlurmdbd)
}
