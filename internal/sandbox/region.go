//go:build linux

// Package sandbox is an AWS region on this machine: it puts the services, the
// network and the machines together into one daemon, and takes them apart again.
//
// Each service is a package of its own below this one, which knows others by the
// few functions that it declares to need; here they are wired. Commands and nodes of pcluster never import this package: they
// speak to the region as to AWS. Start at [Up] for the life of the daemon, and at
// open for the wiring.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"pcluster/internal/sandbox/access"
	"pcluster/internal/sandbox/autoscaling"
	"pcluster/internal/sandbox/batch"
	"pcluster/internal/sandbox/cloudformation"
	"pcluster/internal/sandbox/cloudwatch"
	"pcluster/internal/sandbox/codebuild"
	"pcluster/internal/sandbox/dynamodb"
	"pcluster/internal/sandbox/ec2"
	"pcluster/internal/sandbox/ecr"
	"pcluster/internal/sandbox/efs"
	"pcluster/internal/sandbox/elbv2"
	"pcluster/internal/sandbox/fsx"
	"pcluster/internal/sandbox/iam"
	"pcluster/internal/sandbox/image"
	"pcluster/internal/sandbox/imagebuilder"
	"pcluster/internal/sandbox/imds"
	"pcluster/internal/sandbox/kms"
	"pcluster/internal/sandbox/lambda"
	"pcluster/internal/sandbox/logs"
	"pcluster/internal/sandbox/machine"
	"pcluster/internal/sandbox/outside"
	"pcluster/internal/sandbox/rds"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/resourcegroups"
	"pcluster/internal/sandbox/route53"
	"pcluster/internal/sandbox/s3"
	"pcluster/internal/sandbox/secretsmanager"
	"pcluster/internal/sandbox/sns"
	"pcluster/internal/sandbox/ssm"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/sts"
	"pcluster/internal/sandbox/vpc"
	"pcluster/internal/sandbox/wire"
)

// A Region is one opened region: by its daemon, or by a command that clears up
// after a daemon that died.
type Region struct {
	home     Home
	settings Settings
	since    time.Time
	log      *slog.Logger

	db         *store.DB
	identity   *region.Identity
	identities *store.Table[identityRow]
	ca         *authority
	layers     []string // the machines' base image

	net      *vpc.Network
	ssh      *reachableNetwork // nil: the host's ssh is left alone
	machines *machine.Manager

	iam     *iam.Service
	scaling *autoscaling.Service
	sts     *sts.Service
	ec2     *ec2.Service
	s3      *s3.Service
	efs     *efs.Service
	fsx     *fsx.Service
	logs    *logs.Service
	ddb     *dynamodb.Service
	dns     *route53.Service
	secret  *secretsmanager.Service
	ssm     *ssm.Service
	watch   *cloudwatch.Service
	elb     *elbv2.Service
	lambda  *lambda.Service
	cfn     *cloudformation.Service
	rds     *rds.Service
	sns     *sns.Service
	keys    *kms.Service
	groups  *resourcegroups.Service
	builder *imagebuilder.Service
	outside *outside.Gateway
	ecr     *ecr.Service
	builds  *codebuild.Service
	batch   *batch.Service

	exits  chan machine.Exit
	warned sync.Map  // policies that the region does not know
	record *recorder // of requests for permission; nil: none
	faults faults
}

type identityRow struct{ Region, Account string }

// open wires the region in home without serving it.
func open(ctx context.Context, home Home) (r *Region, err error) {
	settings, ok, err := home.Settings()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("no region in %s: %w", home, ErrDown)
	}
	r = newRegion(home, settings, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})))
	defer func() {
		if err != nil && r.db != nil {
			_ = r.db.Close()
		}
	}()
	if r.db, err = store.Open(home.path("region.db")); err != nil {
		return nil, err
	}
	if err := r.openIdentity(); err != nil {
		return nil, err
	}
	if r.record, err = openRecorder(settings.Record); err != nil {
		return nil, err
	}
	if r.layers, err = image.Base(ctx, settings.Cache, os.Stderr); err != nil {
		return nil, err
	}
	if err := r.openNetwork(ctx); err != nil {
		return nil, err
	}
	machines := &faultyMachines{Machines: r.machines, faults: &r.faults.set, exited: func(e machine.Exit) { r.exits <- e }}
	if err := r.openServices(ground{machines, r.net}); err != nil {
		return r, err
	}
	return r, r.openOutside(ctx)
}

func newRegion(home Home, settings Settings, log *slog.Logger) *Region {
	return &Region{home: home, settings: settings, since: time.Now(), exits: make(chan machine.Exit, 1024), log: log}
}

// openIdentity reads who the region is, and its certificate authority.
func (r *Region) openIdentity() (err error) {
	if err := store.OpenTable(r.db, "region.identity", &r.identities); err != nil {
		return err
	}
	r.identity = region.NewIdentity(r.settings.Region, r.settings.Account)
	if row, ok := r.identities.Get("identity"); ok {
		r.identity.Set(row.Region, row.Account)
	}
	r.ca, err = openAuthority(r.home)
	return err
}

func (r *Region) openNetwork(ctx context.Context) (err error) {
	if r.net, err = vpc.Up(ctx, vpc.Config{Name: r.home.Namespace(), Dir: r.home.path("network"), Identity: r.identity}); err != nil {
		return fmt.Errorf("region's network: %w", err)
	}
	if err := r.net.SetCuts(nil); err != nil { // those of an earlier daemon
		return err
	}
	r.machines, err = machine.New(machine.Config{
		Name: r.home.Namespace(), Dir: r.home.path("machines"), Network: r.net,
		CA:     append(slices.Clone(r.ca.certPEM), hostAuthorities(hostTrust...)...),
		OnExit: func(e machine.Exit) { r.exits <- e },
	})
	if err != nil {
		return fmt.Errorf("region's machines: %w", err)
	}
	return nil
}

// endpoint is the region's URL on loopback.
func (r *Region) endpoint() string { return fmt.Sprintf("https://127.0.0.1:%d", r.settings.Port) }

// close lets go of the region; machines run on.
func (r *Region) close() {
	if r.cfn != nil {
		r.cfn.Close()
		r.builder.Close()
		r.builds.Close()
		r.batch.Close()
		r.scaling.Close()
		r.elb.Close()
		r.lambda.Close()
		r.fsx.Close()
	}
	if err := r.db.Close(); err != nil {
		r.log.Error("close the region's state", "err", err)
	}
}

// Serve runs the daemon of the region in home until it is ordered down or ctx
// ends. Machines survive the daemon unless it is ordered down.
func Serve(ctx context.Context, home Home) error {
	lock, err := home.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	r, err := open(ctx, home)
	if err != nil {
		return err
	}
	defer r.close()
	return r.serve(ctx)
}

func (r *Region) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	srv := &servers{log: r.log, failed: make(chan error, 1)}
	defer srv.close()
	if err := r.listen(ctx, srv); err != nil {
		return err
	}
	go r.dispatchExits(ctx)
	r.start(ctx)

	orders := make(chan orderRequest)
	_ = os.Remove(r.home.Control())
	control, err := net.Listen("unix", r.home.Control())
	if err != nil {
		return err
	}
	if err := os.Chmod(r.home.Control(), 0o600); err != nil {
		return err
	}
	controlSrv := &servers{log: r.log, failed: srv.failed}
	controlSrv.start(control, r.control(orders), func(net.Listener) context.Context { return ctx })
	defer controlSrv.close()
	r.log.Info("region is up", "region", r.identity.Name(), "account", r.identity.Account(), "endpoint", r.endpoint(), "pid", os.Getpid())

	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-srv.failed:
		return err
	case o := <-orders:
		// Machines go first, while their file systems and names still answer, and
		// nobody replaces them.
		r.builder.Close()
		r.batch.Close()
		r.scaling.Close()
		var err error
		if o.order == goAway {
			err = r.destroy(context.WithoutCancel(ctx))
		} else {
			err = r.stop(context.WithoutCancel(ctx))
		}
		o.done <- err
		return err
	}
}

// start resumes what the region was doing when it was last up.
func (r *Region) start(ctx context.Context) {
	if err := r.ec2.ResumeAll(ctx); err != nil {
		r.log.Error("resume instances", "err", err)
	}
	go func() {
		if err := r.rds.StartAll(ctx); err != nil {
			r.log.Error("start databases", "err", err)
		}
	}()
	if err := r.elb.Start(); err != nil {
		r.log.Error("start load balancers", "err", err)
	}
	r.scaling.Start(ctx)
	r.fsx.Start(ctx)
	r.lambda.Start(ctx)
	r.builder.Start()
	r.builds.Start()
	r.batch.Start()
	r.cfn.Start(ctx)
}

// dispatchExits tells each machine's owner that it ended.
func (r *Region) dispatchExits(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-r.exits:
			r.log.Info("machine ended", "id", e.ID, "reason", string(e.Reason))
			if !r.rds.Exited(ctx, e) {
				r.ec2.Exited(ctx, e)
			}
		}
	}
}

// listen opens the region's doors: on loopback for people, and inside its
// network for machines.
func (r *Region) listen(ctx context.Context, srv *servers) error {
	base := func(net.Listener) context.Context { return ctx }
	endpoint, err := r.awsEndpoint()
	if err != nil {
		return err
	}
	loopback, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", r.settings.Port))
	if err != nil {
		return fmt.Errorf("listen on the region's loopback port: %w (another --port?)", err)
	}
	srv.start(bothListener{loopback, r.ca.config()}, endpoint, base)

	inside := []struct {
		address string
		handler http.Handler
		tls     bool
	}{
		{vpc.EndpointAddr + ":443", endpoint, true},
		{vpc.EndpointAddr + ":80", endpoint, false},
		{vpc.MetadataAddr + ":80", imds.New(instances{r.ec2, r.scaling}, r.iam), false},
		{vpc.EndpointAddr + ":2049", r.machines.MountHandler(fileSystems{r}), false},
	}
	for _, l := range inside {
		ln, err := r.net.Listen("tcp", l.address)
		if err != nil {
			return fmt.Errorf("listen on %s inside the region: %w", l.address, err)
		}
		if l.tls {
			ln = bothListener{ln, r.ca.config()}
		}
		srv.start(ln, l.handler, base)
	}
	if err := r.listenOutside(ctx, srv); err != nil {
		return fmt.Errorf("listen for what machines want of the outside: %w", err)
	}
	if err := os.WriteFile(r.home.path("resolv.conf"), []byte("nameserver "+vpc.DNSAddr+"\n"), 0o644); err != nil {
		return err
	}
	return r.net.ServeDNS(append(r.names(), r.outsideNames())...)
}

// awsEndpoint answers for all services.
func (r *Region) awsEndpoint() (*wire.Endpoint, error) {
	handlers, err := r.handlers()
	if err != nil {
		return nil, err
	}
	return &wire.Endpoint{
		Auth: r.iam, Services: handlers, S3: r.s3, Signals: r.cfn.SignalHandler(), Log: r.log, Region: r.identity.Name,
		Intercept: func(ctx context.Context, c wire.Caller, service, operation string, input any) error {
			if err := r.authorize(c, access.Call{Service: service, Operation: operation, Input: input}); err != nil {
				return err
			}
			return r.faults.set.Call(ctx, service, operation)
		},
	}, nil
}

// names are the sources of the region's DNS, the first that knows a name wins.
func (r *Region) names() []vpc.Source {
	return []vpc.Source{
		r.rds,
		r.elb,
		r.ec2,
		lookupFunc(func(name string, qtype uint16, client netip.Addr) ([]dns.RR, bool) {
			return r.dns.Lookup(name, qtype, r.ec2.VPCOf(client))
		}),
	}
}

type lookupFunc func(string, uint16, netip.Addr) ([]dns.RR, bool)

func (f lookupFunc) Lookup(name string, qtype uint16, client netip.Addr) ([]dns.RR, bool) {
	return f(name, qtype, client)
}

// resolve turns a host:port that a person typed into one with an address.
func (r *Region) resolve(hostport string) (string, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return "", err
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return hostport, nil
	}
	for _, source := range r.names() {
		answers, _ := source.Lookup(dns.Fqdn(strings.ToLower(host)), dns.TypeA, netip.Addr{})
		for _, rr := range answers {
			if a, ok := rr.(*dns.A); ok {
				return net.JoinHostPort(a.A.String(), port), nil
			}
		}
	}
	return "", fmt.Errorf("the region does not know the name %s", host)
}

// stop shuts all machines down and takes the network away; state and disks stay.
func (r *Region) stop(ctx context.Context) error {
	err := errors.Join(r.ec2.StopAll(ctx), r.rds.StopAll(ctx))
	return errors.Join(err, r.machines.Close(), r.net.Down(ctx), r.home.removeSSHConfig())
}

// destroy ends all machines at once and removes their disks and the network.
func (r *Region) destroy(ctx context.Context) error {
	return errors.Join(r.machines.RemoveAll(ctx), r.machines.Close(), r.net.Down(ctx), r.home.removeSSHConfig())
}

// fileSystems finds the host directories behind what machines mount.
type fileSystems struct{ r *Region }

// Resolve implements the mount handler's look-up: EFS and FSx by ID or DNS name.
func (f fileSystems) Resolve(_ context.Context, fsType, source string, options []string, _ string) (string, error) {
	host, path, _ := strings.Cut(source, ":")
	host = strings.TrimSuffix(host, "@tcp")
	id, rest, _ := strings.Cut(host, ".")
	path = strings.TrimPrefix(path, "/")
	switch {
	case fsType == "efs", strings.HasPrefix(rest, "efs."):
		dir, err := f.r.efs.Directory(id)
		if err != nil {
			return "", err
		}
		return below(dir, path)
	case fsType == "lustre", strings.Contains(rest, "fsx."):
		id, ok := f.r.fsx.ByDNSName(host)
		if !ok {
			return "", fmt.Errorf("no file system has the DNS name %s", host)
		}
		if fsType == "lustre" {
			name, sub, _ := strings.Cut(path, "/")
			if err := f.r.fsx.CheckMountName(id, name); err != nil {
				return "", err
			}
			path = sub
		}
		dir, err := f.r.fsx.Directory(id)
		if err != nil {
			return "", err
		}
		return below(dir, path)
	default:
		return "", fmt.Errorf("no file system server %s in this region", host)
	}
}

// below returns the directory at path in a file system's directory. Links that a
// user made inside must not lead a mount out of the file system, into the host's.
func below(dir, path string) (string, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(filepath.Join(dir, filepath.Clean("/"+path)))
	if err != nil || (real != dir && !strings.HasPrefix(real, dir+"/")) {
		return "", fmt.Errorf("mounting /%s failed, reason given by server: No such file or directory", path)
	}
	return real, nil
}

// residentMemory reads how much memory this process has, in bytes.
func residentMemory() int64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(data), &size, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}

func (r *Region) status(ctx context.Context) Status {
	id, secret := r.iam.RootCredentials()
	s := Status{
		Region: r.identity.Name(), Account: r.identity.Account(), Endpoint: r.endpoint(), CABundle: r.home.CABundle(),
		AccessKeyID: id, SecretAccessKey: secret,
		PID: os.Getpid(), Since: r.since, MemoryBytes: residentMemory(),
	}
	if why := r.machines.Unlimited(); why != "" {
		s.Lacks = append(s.Lacks, "root disks of their volumes' size: "+why)
	}
	s.Machines = append(s.Machines, r.instanceStatus(ctx)...)
	running := map[string]bool{}
	for _, id := range r.machines.Running() {
		running[id] = true
	}
	for _, h := range r.rds.Hosts() {
		m := MachineStatus{ID: h.Spec.ID, Name: h.Name, Type: h.Spec.TypeName, State: "stopped", Address: h.Address().String()}
		if running[h.Spec.ID] {
			m.State = "running"
		}
		s.Machines = append(s.Machines, m)
	}
	for i := range s.Machines {
		s.Machines[i].MemoryBytes, _ = r.machines.Usage(s.Machines[i].ID)
	}
	return s
}
