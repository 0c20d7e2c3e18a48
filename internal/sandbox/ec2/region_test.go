package ec2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/sandbox/machine"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
	"pcluster/internal/sandbox/vpc"
	"pcluster/internal/sandbox/wire"
)

// fakeMachines boots machines that do nothing. Like the real manager it keeps
// disks, refuses what makes no sense, and tells how machines end.
type fakeMachines struct {
	exited func(machine.Exit)

	mu      sync.Mutex
	up      map[string]machine.Spec
	disks   map[string][]string // layers that the disk was made of
	boots   []string            // IDs in the order of their boots
	most    int                 // machines that ever booted at the same time
	booting int
	stopped []string
	broken  map[string]bool // instance types whose machines do not boot
	hold    chan struct{}   // if set, boots wait for it to be closed
	volumes map[string][]machine.Volume
	console map[string]string
}

func newFakeMachines() *fakeMachines {
	return &fakeMachines{
		up: map[string]machine.Spec{}, disks: map[string][]string{}, broken: map[string]bool{},
		volumes: map[string][]machine.Volume{}, console: map[string]string{},
	}
}

func (f *fakeMachines) Start(ctx context.Context, s machine.Spec) error {
	f.mu.Lock()
	if _, ok := f.up[s.ID]; ok {
		f.mu.Unlock()
		return fmt.Errorf("machine %s runs already", s.ID)
	}
	if len(s.Layers) == 0 || len(s.Interfaces) == 0 || s.VCPUs == 0 || s.MemoryMiB == 0 {
		f.mu.Unlock()
		return fmt.Errorf("machine %s: incomplete: %+v", s.ID, s)
	}
	if disk, ok := f.disks[s.ID]; ok && !slices.Equal(disk, s.Layers) {
		f.mu.Unlock()
		return fmt.Errorf("machine %s: other layers under its disk", s.ID)
	}
	f.booting++
	f.most = max(f.most, f.booting)
	hold := f.hold
	f.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.booting--
	if err := ctx.Err(); err != nil {
		return err
	}
	if f.broken[s.TypeName] {
		return errors.New("init did not come up")
	}
	f.up[s.ID], f.disks[s.ID] = s, s.Layers
	f.volumes[s.ID] = slices.Clone(s.Volumes)
	f.boots = append(f.boots, s.ID)
	f.console[s.ID] += "booted\n"
	return nil
}

func (f *fakeMachines) end(id string, reason machine.ExitReason) {
	f.mu.Lock()
	_, ran := f.up[id]
	delete(f.up, id)
	f.mu.Unlock()
	if ran && f.exited != nil {
		f.exited(machine.Exit{ID: id, Reason: reason, At: time.Now()})
	}
}

func (f *fakeMachines) Stop(_ context.Context, id string) error {
	f.mu.Lock()
	f.stopped = append(f.stopped, id)
	f.mu.Unlock()
	f.end(id, machine.Stopped)
	return nil
}

func (f *fakeMachines) Kill(_ context.Context, id string) error {
	f.end(id, machine.Stopped)
	return nil
}

func (f *fakeMachines) Remove(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.up[id]; ok {
		return fmt.Errorf("machine %s runs", id)
	}
	delete(f.disks, id)
	return nil
}

func (f *fakeMachines) AttachVolume(_ context.Context, id string, v machine.Volume) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.up[id]; !ok {
		return fmt.Errorf("machine %s does not run", id)
	}
	f.volumes[id] = append(f.volumes[id], v)
	return nil
}

func (f *fakeMachines) DetachVolume(_ context.Context, id string, v machine.Volume) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.volumes[id] = slices.DeleteFunc(f.volumes[id], func(o machine.Volume) bool { return o.ID == v.ID })
	return nil
}

func (f *fakeMachines) Capture(_ context.Context, id, dir string, move bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.disks[id]; !ok {
		return fmt.Errorf("machine %s has no disk", id)
	}
	if _, runs := f.up[id]; runs && move {
		return fmt.Errorf("machine %s runs", id)
	}
	if move {
		delete(f.disks, id)
	}
	return os.Mkdir(dir, 0o755)
}

func (f *fakeMachines) ReadFile(string, string, int64, int) ([]byte, error) {
	return nil, os.ErrNotExist
}

func (f *fakeMachines) Running() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids := []string{}
	for id := range f.up {
		ids = append(ids, id)
	}
	return ids
}

func (f *fakeMachines) Console(id string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []byte(f.console[id]), nil
}

// fakeNetwork remembers what it was told last.
type fakeNetwork struct {
	mu      sync.Mutex
	subnets map[netip.Prefix]bool
	groups  []vpc.Group
	public  map[netip.Addr]netip.Addr
}

func (f *fakeNetwork) AddSubnet(p netip.Prefix) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subnets[p] = true
	return nil
}

func (f *fakeNetwork) SetGroups(groups []vpc.Group) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.groups = groups
	return nil
}

func (f *fakeNetwork) SetPublic(private, public netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.public, private)
	if public.IsValid() {
		f.public[private] = public
	}
	return nil
}

func (f *fakeNetwork) group(id string) vpc.Group {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range f.groups {
		if g.ID == id {
			return g
		}
	}
	return vpc.Group{}
}

// fakeProfiles has one profile for each role, of the same name.
type fakeProfiles map[string]bool

func (f fakeProfiles) InstanceProfileRole(_ context.Context, nameOrARN string) (string, string, string, string, error) {
	for name := range f {
		arn := "arn:aws:iam::111122223333:instance-profile/" + name
		if nameOrARN == name || nameOrARN == arn {
			return arn, "AIPA" + name, "arn:aws:iam::111122223333:role/" + name, name, nil
		}
	}
	return "", "", "", "", wire.Errorf("NoSuchEntity", "Instance Profile %s cannot be found.", nameOrARN)
}

// testRegion is a region with one VPC, a subnet, a security group, a key pair and
// an image.
type testRegion struct {
	*Service
	t        testing.TB
	db       *store.DB
	dir      string
	machines *fakeMachines
	net      *fakeNetwork
	clock    *clock

	subnet, group, image string
}

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const (
	testSubnet = "subnet-076ece71c00742d3c"
	testGroup  = "sg-0123456789abcdef0"
	testImage  = "ami-042559ee751d3e522"
)

func newRegion(t testing.TB) *testRegion {
	t.Helper()
	r := &testRegion{
		t: t, dir: t.TempDir(), machines: newFakeMachines(),
		net:    &fakeNetwork{subnets: map[netip.Prefix]bool{}, public: map[netip.Addr]netip.Addr{}},
		clock:  &clock{now: time.Date(2025, 11, 3, 9, 30, 0, 0, time.UTC)},
		subnet: testSubnet, group: testGroup, image: testImage,
	}
	r.open()
	ctx := t.Context()
	if err := errors.Join(
		r.AdoptSubnet(ctx, testSubnet, "10.0.1.0/24"),
		r.AdoptSecurityGroup(ctx, testGroup, testSubnet),
		r.AdoptImage(ctx, testImage, "custom", "alinux2023", map[string]string{"site": "here"}),
	); err != nil {
		t.Fatal(err)
	}
	return r
}

// open makes the service on the region's tables, as a new daemon does.
func (r *testRegion) open() {
	r.t.Helper()
	db, err := store.Open(filepath.Join(r.dir, "state"))
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := New(db, region.NewIdentity("", ""), Config{
		Dir: r.dir, Machines: r.machines, Network: r.net, Profiles: fakeProfiles{"node": true},
		BaseLayers: func(context.Context) ([]string, error) { return []string{"/images/base"}, nil },
		Now:        r.clock.Now,
		Log:        slog.New(slog.NewTextHandler(testWriter{r.t}, nil)),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.Service, r.db = s, db
	r.machines.mu.Lock()
	r.machines.exited = func(e machine.Exit) { s.Exited(context.Background(), e) }
	r.machines.mu.Unlock()
	if err := s.ResumeAll(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(r.shut)
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(string(p))
	return len(p), nil
}

// settle waits until machines are what the instances' rows say.
func (r *testRegion) settle() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := r.work.wait(ctx); err != nil {
		r.t.Fatalf("instances do not settle: %v", err)
	}
}

// request is a launch of n instances in the region's subnet.
func (r *testRegion) request(n int32) *sdk.RunInstancesInput {
	return &sdk.RunInstancesInput{
		ImageId: &r.image, InstanceType: "t3.micro", MinCount: aws.Int32(n), MaxCount: aws.Int32(n),
		SubnetId: &r.subnet, SecurityGroupIds: []string{r.group},
	}
}

// run1 launches one instance and waits until it runs.
func (r *testRegion) run1(in *sdk.RunInstancesInput) string {
	r.t.Helper()
	return r.runAll(in)[0]
}

func (r *testRegion) runAll(in *sdk.RunInstancesInput) []string {
	r.t.Helper()
	out, err := r.RunInstances(r.t.Context(), in)
	if err != nil {
		r.t.Fatal(err)
	}
	r.settle()
	var ids []string
	for _, i := range out.Instances {
		ids = append(ids, *i.InstanceId)
	}
	return ids
}

// instance returns what DescribeInstances says of an instance.
func (r *testRegion) instance(id string) types.Instance {
	r.t.Helper()
	out, err := r.DescribeInstances(r.t.Context(), &sdk.DescribeInstancesInput{InstanceIds: []string{id}})
	if err != nil {
		r.t.Fatal(err)
	}
	return out.Reservations[0].Instances[0]
}

func (r *testRegion) stateOf(id string) types.InstanceStateName { return r.instance(id).State.Name }

// refused checks that err is AWS's error of the given code.
func refused(t testing.TB, err error, code string) {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("got error %v, want %s", err, code)
	}
}

func ok[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// shut ends the service, as a daemon that ends, and leaves machines running.
func (r *testRegion) shut() {
	r.t.Helper()
	if r.db == nil {
		return
	}
	if err := errors.Join(r.Close(), r.db.Close()); err != nil {
		r.t.Fatal(err)
	}
	r.db = nil
}

// benchRegion is a region with n running instances of a cluster.
func benchRegion(b *testing.B, n int) *testRegion {
	b.Helper()
	r := newRegion(b)
	if err := r.AdoptSubnet(b.Context(), "subnet-0aaaaaaaaaaaaaaaa", "10.0.64.0/18"); err != nil {
		b.Fatal(err)
	}
	in := r.request(int32(n))
	in.SubnetId = aws.String("subnet-0aaaaaaaaaaaaaaaa")
	in.TagSpecifications = []types.TagSpecification{{ResourceType: "instance", Tags: []types.Tag{tag("parallelcluster:cluster-name", "demo")}}}
	r.runAll(in)
	return r
}

// eventually waits for what happens in the background.
func eventually(t testing.TB, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
	}
}
