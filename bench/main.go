//go:build linux

// Command bench measures pcluster on this machine against its budgets and prints
// one table: medians of several runs, the budget, and where the time goes for a
// row that misses it. It boots a region of its own, so it needs root and the
// packages of scripts/setup; `make bench` builds the programs first.
//
//	go run ./bench             all rows, medians of 5
//	go run ./bench -n 1 -run create,delete
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	runs := flag.Int("n", 5, "measured runs of each row")
	only := flag.String("run", "", "comma-separated parts of the names of rows to measure; empty: all")
	judged := flag.String("judge", "", "only print how many seconds our schema and validators take for this cluster file")
	account := flag.String("account", "", "with -judge: file of facts")
	nodes := flag.Int("fleet", 0, "only print the memory of a fleet daemon with so many nodes")
	looks := flag.Bool("observe", false, "only print how long one look at this machine's Slurm takes")
	flag.Parse()
	if *judged != "" {
		if err := judge(*judged, *account); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if *nodes > 0 {
		if err := printFleetMemory(context.Background(), *nodes); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if *looks {
		if err := observe(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *runs, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A row is one line of the table.
type row struct {
	what   string
	unit   string
	budget float64
	values []float64
	note   string // where the time goes

	atLeast bool // more than the budget is good, not less
}

// A table collects rows in the order of their first value.
type table struct{ rows []*row }

func (t *table) add(what, unit string, budget, value float64) *row {
	i := slices.IndexFunc(t.rows, func(r *row) bool { return r.what == what })
	if i < 0 {
		t.rows = append(t.rows, &row{what: what, unit: unit, budget: budget})
		i = len(t.rows) - 1
	}
	t.rows[i].values = append(t.rows[i].values, value)
	return t.rows[i]
}

func (r *row) median() float64 {
	v := slices.Sorted(slices.Values(r.values))
	return v[len(v)/2]
}

func (t *table) print() {
	fmt.Printf("\n%s, %d processors\n\n", machineName(), runtime.NumCPU())
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tmedian\tmin\tmax\tbudget\tverdict")
	for _, r := range t.rows {
		verdict := "ok"
		if over := r.median() - r.budget; over > 0 && !r.atLeast || over < 0 && r.atLeast {
			verdict = fmt.Sprintf("missed by %.2f %s", math.Abs(over), r.unit)
		}
		fmt.Fprintf(w, "%s\t%.2f %s\t%.2f\t%.2f\t%.4g\t%s\n", r.what, r.median(), r.unit, slices.Min(r.values), slices.Max(r.values), r.budget, verdict)
		if r.note != "" {
			fmt.Fprintf(w, "  %s\t\t\t\t\t\n", r.note)
		}
	}
	w.Flush()
}

// machineName is the processor's model.
func machineName() string {
	data, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), ":"))
		}
	}
	return runtime.GOARCH
}

// bench is one run of all measurements: a region and a cluster to measure on.
type bench struct {
	root, bin, home, work, aws string
	env                        []string
	table                      table
	ip, user, key              string
}

const clusterName = "bench"

func run(ctx context.Context, runs int, only string) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("the region boots machines, which needs root")
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	if err := clearKilled(ctx, filepath.Join(root, "bin", "pcluster")); err != nil {
		return err
	}
	work, err := os.MkdirTemp("/var/tmp", fmt.Sprintf("%s%d-", workPrefix, os.Getpid()))
	if err != nil {
		return err
	}
	aws, err := exec.CommandContext(ctx, filepath.Join(root, "scripts", "aws-cli")).Output()
	if err != nil {
		return fmt.Errorf("no AWS CLI: %w", err)
	}
	b := &bench{root: root, bin: filepath.Join(root, "bin", "pcluster"), home: regionHome(work), work: work, aws: strings.TrimSpace(string(aws))}
	b.env = append(os.Environ(), "PATH="+filepath.Dir(b.bin)+":"+os.Getenv("PATH"), "PCLUSTER_SANDBOX_HOME="+b.home,
		"PCLUSTER_LOG_FILE="+filepath.Join(work, "log"))
	defer func() {
		err = errors.Join(err, removeWork(context.WithoutCancel(ctx), b.bin, work))
	}()
	wanted := func(name string) bool {
		return only == "" || slices.ContainsFunc(strings.Split(only, ","), func(part string) bool { return strings.Contains(name, part) })
	}

	if wanted("version") {
		for range runs {
			took, err := b.timed(ctx, b.bin, "version")
			if err != nil {
				return err
			}
			r := b.table.add("pcluster version, cold start", "ms", 20, took.Seconds()*1000)
			r.note = "most of it: tables that packages of the AWS SDK make at every start (GODEBUG=inittrace=1)"
		}
	}
	if wanted("size") {
		info, err := os.Stat(filepath.Join(root, "bin", "pcluster-node-linux-"+runtime.GOARCH))
		if err != nil {
			return err
		}
		b.table.add("pcluster-node program", "MB", 25, float64(info.Size())/1e6)
	}
	if wanted("validate") {
		if err := b.validation(ctx, runs); err != nil {
			return err
		}
	}
	if wanted("template") {
		if err := b.synthesis(ctx, runs); err != nil {
			return err
		}
	}
	if wanted("describing") {
		if err := b.describing(ctx); err != nil {
			return err
		}
	}
	if err := b.fleets(ctx, runs, wanted); err != nil {
		return err
	}
	if only := strings.Trim(only, ","); only == "validate" || only == "template" || only == "describing" || strings.HasPrefix(only, "fleet") { // the rest needs a region
		b.table.print()
		return nil
	}
	if err := b.regionUp(ctx, runs); err != nil {
		return err
	}
	defer b.table.print() // what was measured before a failure, too
	clusters := slices.ContainsFunc([]string{"create", "cold", "eight", "idle", "delete"}, wanted)
	if clusters || wanted("image") {
		if err := b.prepare(ctx); err != nil {
			return err
		}
	}
	if wanted("image") {
		if err := b.images(ctx, runs); err != nil {
			return err
		}
	}
	if clusters {
		for i := range runs {
			fmt.Fprintf(os.Stderr, "bench: cluster %d of %d\n", i+1, runs)
			if err := b.clusterRound(ctx, wanted); err != nil {
				return err
			}
		}
	}
	if wanted("large") {
		return b.large(ctx)
	}
	return nil
}

// workPrefix begins the name of a run's folder; the process's number follows.
const workPrefix = "pcluster-bench-"

// clearKilled removes what runs left that were killed outright: their regions, with
// the machines in them, and their folders.
func clearKilled(ctx context.Context, bin string) error {
	left, err := filepath.Glob("/var/tmp/" + workPrefix + "*")
	if err != nil {
		return err
	}
	for _, work := range left {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(work), workPrefix+"%d-", &pid); err != nil || syscall.Kill(pid, 0) == nil {
			continue
		}
		fmt.Fprintln(os.Stderr, "bench: removing what a killed run left in", work)
		if err := removeWork(ctx, bin, work); err != nil {
			return err
		}
	}
	return nil
}

// regionHome is where a run's region is, in its folder.
func regionHome(work string) string { return filepath.Join(work, "region") }

// removeWork ends a run's region, if it made one, and removes its folder.
func removeWork(ctx context.Context, bin, work string) error {
	if _, missing := os.Stat(regionHome(work)); missing == nil { // rows of one process make none
		cmd := exec.CommandContext(ctx, bin, "sandbox", "destroy")
		cmd.Env = append(os.Environ(), "PCLUSTER_SANDBOX_HOME="+regionHome(work))
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s stays, as its region can't be destroyed: %w\n%s", work, err, out)
		}
	}
	return os.RemoveAll(work)
}

// regionUp measures the start of the region; the last one stays up.
func (b *bench) regionUp(ctx context.Context, runs int) error {
	// The first start may build the machines' image, which is not measured.
	if _, err := b.output(ctx, b.bin, "sandbox", "up", "--port", "4580"); err != nil {
		return err
	}
	for range runs {
		if _, err := b.output(ctx, b.bin, "sandbox", "destroy"); err != nil {
			return err
		}
		took, err := b.timed(ctx, b.bin, "sandbox", "up", "--port", "4580")
		if err != nil {
			return err
		}
		b.table.add("region up, images cached", "s", 1, took.Seconds())
		status, err := b.output(ctx, b.bin, "sandbox", "status")
		if err != nil {
			return err
		}
		b.table.add("region's daemon, memory idle", "MiB", 100, daemonMemory(status))
	}
	return b.useRegion(ctx)
}

// useRegion has later commands ask the region that is up.
func (b *bench) useRegion(ctx context.Context) error {
	env, err := b.output(ctx, b.bin, "sandbox", "env")
	if err != nil {
		return err
	}
	for line := range strings.Lines(env) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "export "); ok {
			b.env = append(b.env, v)
		}
	}
	return nil
}

// daemonMemory reads "daemon pid 1, up 2s, 30 MiB" of the status.
func daemonMemory(status string) float64 {
	for line := range strings.Lines(status) {
		var pid int
		var up string
		var mib float64
		if _, err := fmt.Sscanf(line, "daemon pid %d, up %s %f MiB", &pid, &up, &mib); err == nil {
			return mib
		}
	}
	return 0
}

// prepare brings about what the seed's cluster file needs.
func (b *bench) prepare(ctx context.Context) error {
	example := filepath.Join(b.root, "examples", "bluebrain")
	if _, err := b.output(ctx, b.bin, "sandbox", "adopt", "-c", filepath.Join(example, "config", "compute-cluster.yaml")); err != nil {
		return err
	}
	extras, err := os.ReadFile(filepath.Join(example, "config", "s3", "slurm_extras.conf"))
	if err != nil {
		return err
	}
	// Idle nodes go after seconds, so that the rows about cold nodes find them cold.
	file := filepath.Join(b.work, "slurm_extras.conf")
	if err := os.WriteFile(file, append(extras, "\nSuspendTime="+fmt.Sprint(idleSeconds)+"\n"...), 0o644); err != nil {
		return err
	}
	users := filepath.Join(b.home, "filesystems", "efs", "fs-0c2a2f3ad1b1beeca", "resources")
	if err := os.MkdirAll(users, 0o755); err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(example, "resources", "users.json"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(users, "users.json"), data, 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"s3", "sync", "--quiet", filepath.Join(example, "config", "s3"), "s3://sboinfrastructureassets/config/"},
		{"s3", "sync", "--quiet", filepath.Join(example, "scripts", "s3"), "s3://sboinfrastructureassets/scripts/"},
		{"s3", "cp", "--quiet", file, "s3://sboinfrastructureassets/config/slurm_extras.conf"},
	} {
		if _, err := b.output(ctx, append([]string{b.aws}, args...)...); err != nil {
			return err
		}
	}
	b.user, b.key = "ec2-user", filepath.Join(b.home, "keys", "aws_coreservices.pem")
	return nil
}

// idleSeconds is Slurm's SuspendTime here.
const idleSeconds = 10

// clusterRound creates the seed's cluster, measures its nodes, and deletes it.
func (b *bench) clusterRound(ctx context.Context, wanted func(string) bool) error {
	file := filepath.Join(b.root, "examples", "bluebrain", "config", "compute-cluster.yaml")
	took, err := b.timed(ctx, b.bin, "create-cluster", "-n", clusterName, "-c", file, "--wait")
	if err != nil {
		return err
	}
	b.table.add("create-cluster to CREATE_COMPLETE, seed's file", "s", 30, took.Seconds())
	ip, err := b.output(ctx, b.bin, "describe-cluster", "-n", clusterName, "--query", "headNode.privateIpAddress")
	if err != nil {
		return err
	}
	b.ip = strings.Trim(strings.TrimSpace(ip), `"`)
	if wanted("cold") {
		if err := b.coldNode(ctx); err != nil {
			return err
		}
	}
	if wanted("eight") {
		if err := b.eightNodes(ctx); err != nil {
			return err
		}
	}
	start := time.Now()
	if _, err := b.output(ctx, b.bin, "delete-cluster", "-n", clusterName, "--wait"); err != nil {
		return err
	}
	b.table.add("delete-cluster to nothing left", "s", 15, time.Since(start).Seconds())
	return nil
}

// head runs a command line on the head node.
func (b *bench) head(ctx context.Context, line string) (string, error) {
	out, err := b.output(ctx, "ssh", "-o", "BatchMode=yes", "-i", b.key, b.user+"@"+b.ip, line)
	return strings.TrimSpace(out), err
}

// submit runs a batch job that prints its start and returns how long after
// sbatch that was, and the job's first node.
func (b *bench) submit(ctx context.Context, options string) (seconds float64, node string, err error) {
	out, err := b.head(ctx, `rm -f bench.out; at=$(date +%s.%N); sbatch --wait -Q `+options+` -o bench.out --wrap 'date +%s.%N; hostname' && echo $at && cat bench.out`)
	if err != nil {
		return 0, "", err
	}
	var submitted, started float64
	if _, err := fmt.Sscan(out, &submitted, &started, &node); err != nil {
		return 0, "", fmt.Errorf("job printed %q: %w", out, err)
	}
	return started - submitted, node, nil
}

// coldNode measures a job on a node that does not exist yet, then how fast the
// idle node goes.
func (b *bench) coldNode(ctx context.Context) error {
	took, node, err := b.submit(ctx, "-p debug -N1")
	if err != nil {
		return err
	}
	if err := b.coldStart(ctx, node); err != nil {
		return err
	}
	r := b.table.add("cold node: sbatch to job start", "s", 10, took)
	ours, note, err := b.bootSeconds(ctx, node)
	if err != nil {
		return err
	}
	r.note = note
	b.table.add("  of which ours (node program's boot, up to slurmd)", "s", 2, ours)

	// The node idles from the end of the job; Slurm powers it down idleSeconds later.
	idleSince, err := b.head(ctx, "scontrol show node "+node+" | grep -o 'LastBusyTime=[^ ]*' | cut -d= -f2 | xargs -I{} date -d {} +%s")
	if err != nil {
		return err
	}
	var busyUntil int64
	if _, err := fmt.Sscan(idleSince, &busyUntil); err != nil {
		return fmt.Errorf("last busy time %q: %w", idleSince, err)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for {
		// Our own command, since a look with the AWS CLI takes most of a second.
		out, err := b.output(ctx, b.bin, "describe-cluster-instances", "-n", clusterName, "--node-type", "ComputeNode", "--query", "length(instances)")
		if err != nil {
			return err
		}
		if strings.TrimSpace(out) == "0" {
			break
		}
		if time.Now().After(deadline) {
			return errors.New("an idle node was not terminated within two minutes")
		}
	}
	r = b.table.add("idle timeout reached to instance terminated", "s", 3, time.Since(time.Unix(busyUntil+idleSeconds, 0)).Seconds())
	r.note = "Slurm's: it looks once a second, and the last busy time that this counts from is cut to the second"
	return nil
}

func (b *bench) eightNodes(ctx context.Context) error {
	took, _, err := b.submit(ctx, "-p debug -N8")
	if err != nil {
		return err
	}
	b.table.add("eight cold nodes for one job: sbatch to job start", "s", 25, took)
	return nil
}

// bootSeconds reads the boot journal of a node: how long its program took, and
// the slowest steps.
func (b *bench) bootSeconds(ctx context.Context, node string) (total float64, note string, err error) {
	out, err := b.head(ctx, "srun -w "+node+" sudo -n cat /var/log/parallelcluster/boot.log")
	if err != nil {
		return 0, "", err
	}
	type event struct {
		Time    time.Time
		Step    string
		Status  string
		Seconds float64
	}
	var events []event
	for line := range strings.Lines(out) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err == nil {
			events = append(events, e)
		}
	}
	if len(events) < 2 {
		return 0, "", fmt.Errorf("boot journal of %s: %q", node, out)
	}
	total = events[len(events)-1].Time.Sub(events[0].Time).Seconds()
	slices.SortFunc(events, func(x, y event) int {
		if x.Seconds > y.Seconds {
			return -1
		}
		return 1
	})
	var slow []string
	for _, e := range events[:min(3, len(events))] {
		slow = append(slow, fmt.Sprintf("%s %.2f s", e.Step, e.Seconds))
	}
	return total, "slowest boot steps: " + strings.Join(slow, ", "), nil
}

func (b *bench) output(ctx context.Context, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = b.env, b.work
	if _, err := os.Stat(b.work); err != nil {
		cmd.Dir = "/"
	}
	cmd.WaitDelay = 5 * time.Second // for what a killed ssh started, which holds its standard error
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(argv, " "), err, out, stderr.String())
	}
	return string(out), nil
}

func (b *bench) timed(ctx context.Context, argv ...string) (time.Duration, error) {
	start := time.Now()
	_, err := b.output(ctx, argv...)
	return time.Since(start), err
}
