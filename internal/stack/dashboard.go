package stack

import (
	"fmt"
	"strings"

	"pcluster/internal/cfn"
	"pcluster/internal/config"
)

// widget is a tile of a CloudWatch dashboard.
type widget struct {
	Type       string     `json:"type"`
	X          int        `json:"x"`
	Y          int        `json:"y"`
	Width      int        `json:"width"`
	Height     int        `json:"height"`
	Properties properties `json:"properties"`
}

type properties struct {
	Title    string   `json:"title,omitempty"`
	Markdown string   `json:"markdown,omitempty"`
	Region   string   `json:"region,omitempty"`
	View     string   `json:"view,omitempty"`
	Query    string   `json:"query,omitempty"`
	Stat     string   `json:"stat,omitempty"`
	Period   int      `json:"period,omitempty"`
	Metrics  [][]any  `json:"metrics,omitempty"`
	Alarms   []string `json:"alarms,omitempty"`
}

// graphed are metrics in one graph.
type graphed struct {
	title   string
	metrics []string
}

// board places widgets from left to right, in rows of 24 units.
type board struct {
	widgets []widget
	x, y    int
}

func (d *board) title(text string) {
	if d.x > 0 {
		d.x, d.y = 0, d.y+6
	}
	d.widgets = append(d.widgets, widget{"text", 0, d.y, 24, 1, properties{Markdown: "## " + text}})
	d.y++
}

func (d *board) place(kind string, width int, p properties) {
	if d.x+width > 24 {
		d.x, d.y = 0, d.y+6
	}
	d.widgets = append(d.widgets, widget{kind, d.x, d.y, width, 6, p})
	d.x += width
}

// dashboard adds graphs of the head node, of storage and of the cluster's health,
// and the latest lines of its logs.
func (b *builder) dashboard(alarms []string) {
	d := &board{}
	values := map[string]cfn.Text{"HeadNode": b.head.Ref()}
	head := variable("HeadNode")
	graph := func(title, stat string, metrics ...[]any) {
		d.place("metric", 6, properties{Title: title, Region: b.p.Region, View: "timeSeries", Stat: stat, Period: 60, Metrics: metrics})
	}

	d.title("Cluster " + b.p.ClusterName)
	if len(alarms) > 0 {
		var arns []string
		for _, a := range alarms {
			arns = append(arns, b.arn("cloudwatch", "alarm:"+a))
		}
		d.place("alarm", 24, properties{Title: "Alarms of the head node", Alarms: arns})
	}
	if b.eventful() {
		d.title("Health of the fleet")
		for _, m := range b.healthMetrics() {
			graph(m.name, "Sum", []any{metricNamespace, m.name, "ClusterName", b.p.ClusterName})
		}
		if len(alarms) > 0 {
			graph(heartbeatMetric, "Sum", []any{metricNamespace, heartbeatMetric, "ClusterName", b.p.ClusterName, "InstanceId", head})
		}
	}
	d.title("Head node")
	for _, g := range []graphed{
		{"CPU", []string{"CPUUtilization"}},
		{"Network bytes", []string{"NetworkIn", "NetworkOut"}},
		{"Network packets", []string{"NetworkPacketsIn", "NetworkPacketsOut"}},
		{"Instance store bytes", []string{"DiskReadBytes", "DiskWriteBytes"}},
		{"Instance store operations", []string{"DiskReadOps", "DiskWriteOps"}},
	} {
		var lines [][]any
		for _, m := range g.metrics {
			lines = append(lines, []any{"AWS/EC2", m, "InstanceId", head})
		}
		graph(g.title, "Average", lines...)
	}
	graph("Memory and disk in use", "Maximum",
		[]any{"CWAgent", "mem_used_percent", "InstanceId", head},
		[]any{"CWAgent", "disk_used_percent", "path", "/", "InstanceId", head})
	b.storageGraphs(values, d, graph)
	if b.logging() {
		d.title("Logs of the head node")
		system := "system-messages"
		if strings.HasPrefix(b.c.Image.Os, "ubuntu") || strings.HasPrefix(b.c.Image.Os, "debian") {
			system = "syslog"
		}
		names := []string{"clustermgtd", "slurm_resume", "slurm_suspend", "slurmctld", "cloud-init", system}
		if b.batch() {
			names = names[4:]
		}
		if b.c.HeadNode.Dcv.Enabled {
			names = append(names, "dcv-ext-authenticator", "dcv-authenticator", "dcv-agent", "dcv-xsession", "dcv-server", "dcv-session-launcher", "Xdcv")
		}
		for _, name := range names {
			d.place("log", 24, properties{Title: name, Region: b.p.Region, View: "table", Query: fmt.Sprintf(
				"SOURCE '%s' | fields @timestamp, @message | filter @logStream like /%s.*%s/ | sort @timestamp desc | limit 100", b.logGroup, head, name)})
		}
	}
	body, err := cfn.JSON(struct {
		Widgets []widget `json:"widgets"`
	}{d.widgets})
	if err != nil {
		b.errorf("dashboard: %w", err)
	}
	b.t.Add("CloudwatchDashboard", cfn.Dashboard{DashboardName: b.p.ClusterName + "-" + b.p.Region, DashboardBody: substitute(unmark(body), values)})
}

// storageGraphs adds a row for each entry of SharedStorage.
func (b *builder) storageGraphs(values map[string]cfn.Text, d *board, graph func(title, stat string, metrics ...[]any)) {
	type source struct {
		namespace, dimension string
		graphs               []graphed
	}
	ebs := source{"AWS/EBS", "VolumeId", []graphed{
		{"Operations", []string{"VolumeReadOps", "VolumeWriteOps"}},
		{"Bytes", []string{"VolumeReadBytes", "VolumeWriteBytes"}},
		{"Time", []string{"VolumeTotalReadTime", "VolumeTotalWriteTime"}},
		{"Queue length", []string{"VolumeQueueLength"}},
		{"Idle time", []string{"VolumeIdleTime"}},
		{"Operations of what is provisioned", []string{"VolumeConsumedReadWriteOps"}},
		{"Throughput of what is provisioned", []string{"VolumeThroughputPercentage"}},
	}}
	sources := map[string]source{
		"EBSIds": ebs, "RAIDIds": ebs,
		"EFSIds": {"AWS/EFS", "FileSystemId", []graphed{
			{"Bytes", []string{"DataReadIOBytes", "DataWriteIOBytes", "TotalIOBytes"}},
			{"Permitted throughput", []string{"PermittedThroughput"}},
			{"Share of the I/O limit", []string{"PercentIOLimit"}},
			{"Burst credits", []string{"BurstCreditBalance"}},
			{"Clients", []string{"ClientConnections"}},
		}},
		"FSXIds": {"AWS/FSx", "FileSystemId", []graphed{
			{"Operations", []string{"DataReadOperations", "DataWriteOperations"}},
			{"Bytes", []string{"DataReadBytes", "DataWriteBytes"}},
			{"Free capacity", []string{"FreeDataStorageCapacity"}},
		}},
	}
	kinds := map[string]string{}
	for _, s := range b.c.SharedStorage {
		kinds[s.Name] = s.StorageType
	}
	for i, s := range b.storage {
		if k := kinds[s.name]; k == config.FsxOpenZfs || k == config.FsxOntap || k == config.FileCache {
			continue // their metrics hang on other IDs than the file has
		}
		d.title("Storage " + s.name)
		src := sources[s.output]
		for _, g := range src.graphs {
			var lines [][]any
			for _, m := range g.metrics {
				for j, id := range s.ids {
					name, plain := id.(string)
					if !plain {
						key := fmt.Sprintf("Storage%dx%d", i, j)
						values[key] = id
						name = variable(key)
					}
					lines = append(lines, []any{src.namespace, m, src.dimension, name})
				}
			}
			graph(g.title, "Average", lines...)
		}
	}
}
