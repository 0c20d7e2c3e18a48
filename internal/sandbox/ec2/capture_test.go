package ec2

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func (r *testRegion) imageOf(instanceID, name string) string {
	t := r.t
	t.Helper()
	out, err := r.CreateImage(r.t.Context(), &sdk.CreateImageInput{InstanceId: &instanceID, Name: &name})
	if err != nil {
		r.t.Fatal(err)
	}
	eventually(t, func() bool { return r.images.get(*out.ImageId).Desc.State == types.ImageStateAvailable })
	return *out.ImageId
}

func (r *testRegion) layers() []string {
	entries, err := os.ReadDir(r.layersDir())
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	r.removing.Wait()
	var names []string
	for _, e := range entries {
		if _, err := os.Lstat(r.layersDir() + "/" + e.Name()); err == nil {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestImageOfAnInstance(t *testing.T) {
	r := newRegion(t)
	first := r.run1(r.request(1))
	image := r.imageOf(first, "first")
	eventually(t, func() bool { return r.isUp(first) && r.instances.get(first).state() == types.InstanceStateNameRunning })
	v := r.images.get(image)
	snapshot := *v.Desc.BlockDeviceMappings[0].Ebs.SnapshotId
	if got := v.Layers; len(got) < 2 || got[len(got)-1] != r.layerOf(snapshot) {
		t.Errorf("layers %q", got)
	}
	if got := r.layers(); !slices.Equal(got, []string{snapshot}) {
		t.Errorf("layers on disk: %q", got)
	}
	// What boots from it has its layer, and so has an image made of that.
	in := r.request(1)
	in.ImageId = &image
	second := r.run1(in)
	if got := r.machines.disks[second]; !slices.Equal(got, v.Layers) {
		t.Errorf("the machine boots %q, want %q", got, v.Layers)
	}
	child := r.imageOf(second, "second")
	childSnapshot := *r.images.get(child).Desc.BlockDeviceMappings[0].Ebs.SnapshotId
	if got, want := r.images.get(child).Layers, append(slices.Clone(v.Layers), r.layerOf(childSnapshot)); !slices.Equal(got, want) {
		t.Errorf("layers of the second %q, want %q", got, want)
	}
	// A layer stays until nothing needs it.
	drop := func(image, snapshot string) {
		if _, err := r.DeregisterImage(t.Context(), &sdk.DeregisterImageInput{ImageId: &image}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.DeleteSnapshot(t.Context(), &sdk.DeleteSnapshotInput{SnapshotId: &snapshot}); err != nil {
			t.Fatal(err)
		}
	}
	drop(image, snapshot)
	if got := r.layers(); len(got) != 2 {
		t.Errorf("layers on disk: %q, want both", got)
	}
	drop(child, childSnapshot)
	if got := r.layers(); !slices.Equal(got, []string{snapshot}) {
		t.Errorf("layers on disk: %q, want that of the running instance", got)
	}
	if _, err := r.TerminateInstances(t.Context(), &sdk.TerminateInstancesInput{InstanceIds: []string{second}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return len(r.layers()) == 0 })
}

func TestSnapshotOfAnImageBootsAgain(t *testing.T) {
	r := newRegion(t)
	image := r.imageOf(r.run1(r.request(1)), "first")
	v := r.images.get(image)
	if _, err := r.DeregisterImage(t.Context(), &sdk.DeregisterImageInput{ImageId: &image}); err != nil {
		t.Fatal(err)
	}
	out, err := r.RegisterImage(t.Context(), &sdk.RegisterImageInput{Name: aws.String("again"), RootDeviceName: v.Desc.RootDeviceName, BlockDeviceMappings: v.Desc.BlockDeviceMappings})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.images.get(*out.ImageId).Layers; !slices.Equal(got, v.Layers) {
		t.Errorf("layers %q, want %q", got, v.Layers)
	}
}

func TestImportedImageHasTheDefaultUserOfItsSystem(t *testing.T) {
	r := newRegion(t)
	for system, want := range map[string]struct{ user, rootDevice string }{
		"debian12":   {"admin", "/dev/xvda"},
		"debian13":   {"admin", "/dev/xvda"}, // which no cluster file can name, but every Debian has
		"debian":     {"admin", "/dev/xvda"},
		"rocky10":    {"rocky", "/dev/sda1"},
		"ubuntu2404": {"ubuntu", "/dev/sda1"},
		"alinux2023": {"ec2-user", "/dev/xvda"},
		"beos5":      {"", "/dev/xvda"}, // the region's own
		"":           {"", "/dev/xvda"},
	} {
		root := filepath.Join(t.TempDir(), "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		id, err := r.ImportImage(t.Context(), Import{
			Name: "imported-" + system, Dir: root, System: system, Architecture: architecture(), Settings: []string{"/images/settings"}, SizeGiB: 8,
		})
		if err != nil {
			t.Fatalf("%q: %v", system, err)
		}
		in := r.request(1)
		in.ImageId = &id
		instance := r.run1(in)
		spec := r.machines.up[instance]
		if want.user == "" {
			if len(spec.Files) > 0 {
				t.Errorf("%q: files %+v", system, spec.Files)
			}
		} else if len(spec.Files) != 2 || !strings.Contains(string(spec.Files[0].Content), "name: "+want.user+"\n") || string(spec.Files[1].Content) != system+"\n" {
			t.Errorf("%q: files %+v, want those of %s", system, spec.Files, want.user)
		}
		if got := aws.ToString(r.instance(instance).RootDeviceName); got != want.rootDevice {
			t.Errorf("%q: root device %s, want %s", system, got, want.rootDevice)
		}
		if got := spec.Layers; len(got) != 2 || got[1] != "/images/settings" {
			t.Errorf("%q: layers %q", system, got)
		}
	}
}

func TestTakenImageLeavesOutWhatWasPutOver(t *testing.T) {
	r := newRegion(t)
	out, err := r.RunOver(t.Context(), r.request(1), []string{"/tools"})
	if err != nil {
		t.Fatal(err)
	}
	id := *out.Instances[0].InstanceId
	eventually(t, func() bool { return r.isUp(id) })
	if got := r.machines.disks[id]; got[len(got)-1] != "/tools" {
		t.Errorf("the machine boots %q", got)
	}
	take := &sdk.CreateImageInput{InstanceId: &id, Name: aws.String("taken")}
	_, err = r.TakeImage(t.Context(), take)
	refused(t, err, "IncorrectState")
	if _, err := r.StopInstances(t.Context(), &sdk.StopInstancesInput{InstanceIds: []string{id}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return r.instances.get(id).state() == types.InstanceStateNameStopped })
	taken, err := r.TakeImage(t.Context(), take)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return r.images.get(*taken.ImageId).Desc.State == types.ImageStateAvailable })
	if slices.Contains(r.images.get(*taken.ImageId).Layers, "/tools") {
		t.Error("the image has the layer above")
	}
	if _, ok := r.machines.disks[id]; ok {
		t.Error("the disk is still there")
	}
}

// A layer that is being removed, or that a daemon which died has left so, is no
// hindrance to the next sweep.
func TestSweepMeetsALayerThatIsBeingRemoved(t *testing.T) {
	r := newRegion(t)
	for range 2 {
		if err := os.MkdirAll(r.layersDir()+"/"+goneLayer+"snap-1/usr", 0o755); err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		err := r.sweepLayers()
		r.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := r.layers(); len(got) > 0 {
		t.Errorf("left: %q", got)
	}
}
