package fsx

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/fsx"
	"github.com/aws/aws-sdk-go-v2/service/fsx/types"
)

func TestBatchImport(t *testing.T) {
	needRoot(t)
	w := newWorld(t, t.TempDir())
	w.put("containers/a.sif", "image", nil)
	w.put("containers/sub/b", "data", map[string]string{"file-permissions": "0100640", "file-owner": "1000", "file-group": "1001", "file-mtime": "1595002920000000000ns"})
	w.put("containers/empty/", "", nil)
	w.put("containers/a.sif/below-a-file", "x", nil)
	w.put("containers/../escape", "x", nil)
	w.put("elsewhere", "x", nil)
	id := w.create()
	dra := w.associate(id, "/containers", "s3://data/containers", true, nil, nil)
	// An object below a file cannot be one; the others are not kept back.
	w.eventually("failure is shown", func() bool { return w.dra(dra).FailureDetails != nil })
	if d := w.dra(dra); d.Lifecycle != types.DataRepositoryLifecycleAvailable {
		t.Errorf("association is %s: %s", d.Lifecycle, aws.ToString(d.FailureDetails.Message))
	}
	if a, b := w.file(id, "containers/a.sif"), w.file(id, "containers/sub/b"); a != "image" || b != "data" {
		t.Errorf("files hold %q and %q", a, b)
	}
	info, err := os.Stat(filepath.Join(w.rootOf(id), "containers/sub/b"))
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if info.Mode() != 0o640 || st.Uid != 1000 || st.Gid != 1001 || info.ModTime().Unix() != 1595002920 {
		t.Errorf("b has mode %v, owner %d:%d, time %v", info.Mode(), st.Uid, st.Gid, info.ModTime())
	}
	if info, err := os.Stat(filepath.Join(w.rootOf(id), "containers/a.sif")); err != nil || info.Mode() != 0o755 {
		t.Errorf("a.sif has mode %v, %v", info.Mode(), err)
	}
	var found []string
	_ = filepath.WalkDir(w.rootOf(id), func(p string, d os.DirEntry, _ error) error {
		found = append(found, strings.TrimPrefix(p, w.rootOf(id)))
		return nil
	})
	if got, want := strings.Join(found, " "), " /containers /containers/a.sif /containers/empty /containers/sub /containers/sub/b"; got != want {
		t.Errorf("tree is %q, want %q", got, want)
	}
	if _, err := w.DeleteDataRepositoryAssociation(ctx, &sdk.DeleteDataRepositoryAssociationInput{AssociationId: &dra, DeleteDataInFileSystem: aws.Bool(true)}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(w.rootOf(id), "containers")); !os.IsNotExist(err) {
		t.Errorf("files after deletion: %v", err)
	}
	if w.object("containers/a.sif") != "image" || w.synced.Len() != 0 {
		t.Error("deletion of the association reached the bucket, or left rows")
	}
}

func TestImportFromMissingBucketFails(t *testing.T) {
	w := newWorld(t, t.TempDir())
	dra := w.dra(w.associate(w.create(), "/x", "s3://nobody", true, nil, nil))
	if dra.Lifecycle != types.DataRepositoryLifecycleFailed || !strings.Contains(*dra.FailureDetails.Message, "bucket nobody does not exist") {
		t.Errorf("association is %s: %+v", dra.Lifecycle, dra.FailureDetails)
	}
}

func TestObjectsBecomeFiles(t *testing.T) {
	needRoot(t)
	w := newWorld(t, t.TempDir())
	w.put("p/old", "1", nil)
	id := w.create()
	w.associate(id, "/project", "s3://data/p/", false, all, nil)
	w.put("p/new", "1", nil)
	w.put("q/other", "1", nil)
	w.eventually("new object is a file", func() bool { return w.file(id, "project/new") == "1" })
	w.put("p/new", "2", nil)
	w.eventually("changed object is a changed file", func() bool { return w.file(id, "project/new") == "2" })

	// A file that an instance changed is not overwritten or removed.
	w.put("p/mine", "1", nil)
	w.eventually("mine", func() bool { return w.file(id, "project/mine") == "1" })
	w.write(id, "project/mine", "changed here")
	w.put("p/mine", "changed there", nil)
	if err := w.s3.Remove(ctx, "data", "p/mine"); err != nil {
		t.Fatal(err)
	}
	if err := w.s3.Remove(ctx, "data", "p/new"); err != nil {
		t.Fatal(err)
	}
	w.eventually("deleted object's file is gone", func() bool { return strings.HasPrefix(w.file(id, "project/new"), "error") })
	if got := w.file(id, "project/mine"); got != "changed here" {
		t.Errorf("mine is %q", got)
	}
	if got := w.file(id, "project/old"); !strings.HasPrefix(got, "error") {
		t.Errorf("an object older than the association came: %q", got)
	}
}

func TestPoliciesAreKept(t *testing.T) {
	needRoot(t)
	w := newWorld(t, t.TempDir())
	id := w.create()
	dra := w.associate(id, "/", "s3://data", true, []types.EventType{types.EventTypeNew}, []types.EventType{types.EventTypeNew})
	w.put("a", "1", nil)
	w.eventually("a", func() bool { return w.file(id, "a") == "1" })
	w.put("a", "2", nil)
	if err := w.s3.Remove(ctx, "data", "a"); err != nil {
		t.Fatal(err)
	}
	w.write(id, "b", "1")
	w.eventually("b", func() bool { return w.object("b") == "1" })
	w.write(id, "b", "2")
	w.put("marker", "1", nil) // links work in order: when it is there, the others were looked at
	w.eventually("marker", func() bool { return w.file(id, "marker") == "1" })
	w.write(id, "marker2", "1")
	w.eventually("marker2", func() bool { return w.object("marker2") == "1" })
	if w.file(id, "a") != "1" || w.object("b") != "1" {
		t.Errorf("a is %q, b is %q", w.file(id, "a"), w.object("b"))
	}
	if _, err := w.UpdateDataRepositoryAssociation(ctx, &sdk.UpdateDataRepositoryAssociationInput{AssociationId: &dra,
		S3: &types.S3DataRepositoryConfiguration{AutoExportPolicy: &types.AutoExportPolicy{Events: all}}}); err != nil {
		t.Fatal(err)
	}
	w.eventually("b is exported by the new policy", func() bool { return w.object("b") == "2" })
}

func TestFilesBecomeObjects(t *testing.T) {
	needRoot(t)
	w := newWorld(t, t.TempDir())
	w.put("p/from-s3", "1", nil)
	id := w.create()
	dra := w.associate(id, "/project", "s3://data/p", true, all, all)
	w.write(id, "project/deep/er/file", "hello")
	w.eventually("file is an object", func() bool { return w.object("p/deep/er/file") == "hello" })
	e, err := w.s3.Stat(ctx, "data", "p/deep/er/file")
	if err != nil || e.Meta["file-permissions"] != "0100640" || e.Meta["file-owner"] != "0" {
		t.Errorf("object has metadata %v, %v", e.Meta, err)
	}
	w.write(id, "project/from-s3", "2")
	w.eventually("changed file is a changed object", func() bool { return w.object("p/from-s3") == "2" })

	root := filepath.Join(w.rootOf(id), "project")
	if err := os.Rename(filepath.Join(root, "deep"), filepath.Join(root, "moved")); err != nil {
		t.Fatal(err)
	}
	w.eventually("moved directory", func() bool {
		return w.object("p/moved/er/file") == "hello" && w.object("p/deep/er/file") == "error: NoSuchKey"
	})
	w.write(id, "project/moved/er/second", "2")
	w.eventually("file in a moved directory", func() bool { return w.object("p/moved/er/second") == "2" })
	if err := os.Link(filepath.Join(root, "from-s3"), filepath.Join(root, "hard")); err != nil {
		t.Fatal(err)
	}
	w.eventually("hard link", func() bool { return w.object("p/hard") == "2" })
	if err := os.RemoveAll(filepath.Join(root, "moved")); err != nil {
		t.Fatal(err)
	}
	w.eventually("removed directory", func() bool { return w.object("p/moved/er/second") == "error: NoSuchKey" })
	if err := os.Symlink("/etc/passwd", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(root, "hard"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.eventually("mode", func() bool {
		e, _ := w.s3.Stat(ctx, "data", "p/hard")
		return e.Meta["file-permissions"] == "0100600"
	})
	if got := w.object("p/link"); got != "error: NoSuchKey" {
		t.Errorf("a link was exported: %q", got)
	}
	if d := w.dra(dra); d.FailureDetails != nil {
		t.Errorf("failure: %s", *d.FailureDetails.Message)
	}
}

func TestTwoFileSystemsOnOneBucket(t *testing.T) {
	needRoot(t)
	w := newWorld(t, t.TempDir())
	a, b := w.create(), w.create()
	w.associate(a, "/", "s3://data/x", true, all, all)
	w.associate(b, "/d", "s3://data/x", true, all, all)
	w.write(a, "f", "from a")
	w.eventually("a to b", func() bool { return w.file(b, "d/f") == "from a" })
	w.write(b, "d/f", "from b")
	w.eventually("b to a", func() bool { return w.file(a, "f") == "from b" })
	if err := os.Remove(filepath.Join(w.rootOf(a), "f")); err != nil {
		t.Fatal(err)
	}
	w.eventually("deletion", func() bool { return strings.HasPrefix(w.file(b, "d/f"), "error") })
	// The changes do not go round: nothing moves any more.
	before, _ := os.ReadDir(w.rootOf(a))
	time.Sleep(20 * time.Millisecond)
	if after, _ := os.ReadDir(w.rootOf(a)); len(before) != 0 || len(after) != 0 {
		t.Errorf("files came back: %v, %v", before, after)
	}
}

func TestLinksOfUsersLeadNowhere(t *testing.T) {
	needRoot(t)
	w := newWorld(t, t.TempDir())
	id := w.create()
	dra := w.associate(id, "/", "s3://data", true, all, all)
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(w.rootOf(id), "way-out")); err != nil {
		t.Fatal(err)
	}
	w.put("way-out/planted", "x", nil)
	w.eventually("failure is shown", func() bool { return w.dra(dra).FailureDetails != nil })
	w.put("ok", "1", nil)
	w.eventually("others go on", func() bool { return w.file(id, "ok") == "1" && w.dra(dra).FailureDetails == nil })
	if files, _ := os.ReadDir(outside); len(files) != 1 {
		t.Errorf("files outside: %v", files)
	}
	if got := w.object("way-out/secret"); got != "error: NoSuchKey" {
		t.Errorf("a file outside was exported: %q", got)
	}
}

func TestRestartCatchesUp(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	w := newWorld(t, dir)
	w.put("p/kept", "1", nil)
	w.put("p/removed-here", "1", nil)
	w.put("p/changed-here", "1", nil)
	id := w.create()
	dra := w.associate(id, "/", "s3://data/p", true, all, all)
	w.stop()

	// Instances live on while nobody watches.
	w.write(id, "new-here", "1")
	w.write(id, "changed-here", "2")
	if err := os.Remove(filepath.Join(w.rootOf(id), "removed-here")); err != nil {
		t.Fatal(err)
	}
	w = newWorld(t, dir)
	w.eventually("changes are exported", func() bool {
		return w.object("p/new-here") == "1" && w.object("p/changed-here") == "2" && w.object("p/removed-here") == "error: NoSuchKey"
	})
	if w.object("p/kept") != "1" || w.dra(dra).Lifecycle != types.DataRepositoryLifecycleAvailable {
		t.Error("what did not change was touched")
	}
	w.put("p/later", "1", nil)
	w.eventually("the association lives", func() bool { return w.file(id, "later") == "1" })
}

func TestFileSystemWithImportPath(t *testing.T) {
	needRoot(t)
	w := newWorld(t, t.TempDir())
	w.put("in/a", "1", nil)
	out, err := w.CreateFileSystem(ctx, &sdk.CreateFileSystemInput{FileSystemType: types.FileSystemTypeLustre, SubnetIds: []string{"subnet-0aaaaaaa"}, StorageCapacity: aws.Int32(1200),
		LustreConfiguration: &types.CreateFileSystemLustreConfiguration{DeploymentType: types.LustreDeploymentTypeScratch1, ImportPath: aws.String("s3://data/in"),
			ExportPath: aws.String("s3://data/out"), AutoImportPolicy: types.AutoImportPolicyTypeNewChanged}})
	if err != nil {
		t.Fatal(err)
	}
	id := *out.FileSystem.FileSystemId
	if *out.FileSystem.LustreConfiguration.MountName != "fsx" {
		t.Errorf("mount name is %s", *out.FileSystem.LustreConfiguration.MountName)
	}
	w.eventually("available with its files", func() bool {
		out, err := w.DescribeFileSystems(ctx, &sdk.DescribeFileSystemsInput{FileSystemIds: []string{id}})
		return err == nil && out.FileSystems[0].Lifecycle == types.FileSystemLifecycleAvailable && w.file(id, "a") == "1"
	})
	w.put("in/b", "2", nil)
	w.eventually("new object", func() bool { return w.file(id, "b") == "2" })

	w.write(id, "result/c", "3")
	w.write(id, "a", "changed")
	task, err := w.CreateDataRepositoryTask(ctx, &sdk.CreateDataRepositoryTaskInput{FileSystemId: &id, Type: types.DataRepositoryTaskTypeExport, Report: &types.CompletionReport{Enabled: aws.Bool(false)}})
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("export task", func() bool {
		out, err := w.DescribeDataRepositoryTasks(ctx, &sdk.DescribeDataRepositoryTasksInput{TaskIds: []string{*task.DataRepositoryTask.TaskId}})
		return err == nil && out.DataRepositoryTasks[0].Lifecycle == types.DataRepositoryTaskLifecycleSucceeded
	})
	if w.object("out/result/c") != "3" || w.object("out/a") != "changed" || w.object("out/b") != "error: NoSuchKey" {
		t.Errorf("exported: %q %q %q", w.object("out/result/c"), w.object("out/a"), w.object("out/b"))
	}
}

func TestTaskPaths(t *testing.T) {
	r := repository{path: "project/x", bucket: "data", prefix: "p/"}
	for in, want := range map[string]string{
		"": ".", "project": ".", "/project/x": ".", "project/x/y/": "y", "other": "", "project/xy": "", "s3://data/p/y": "y", "s3://data": "", "s3://data/p": ".",
	} {
		if got := strings.Join(r.within([]string{in}), " "); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := r.within(nil); len(got) != 1 || got[0] != "." {
		t.Errorf("no paths: %q", got)
	}
}

func TestAdopted(t *testing.T) {
	w := newWorld(t, t.TempDir())
	for id, kind := range map[string]types.VolumeType{"fsvol-0123456789abcdef0": types.VolumeTypeOpenzfs, "fsvol-0123456789abcdef1": types.VolumeTypeOntap} {
		for range 2 {
			if err := w.AdoptVolume(ctx, id, kind, "v", "subnet-0aaaaaaa", nil); err != nil {
				t.Fatal(err)
			}
		}
		out, err := w.DescribeVolumes(ctx, &sdk.DescribeVolumesInput{VolumeIds: []string{id}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.DescribeFileSystems(ctx, &sdk.DescribeFileSystemsInput{FileSystemIds: []string{*out.Volumes[0].FileSystemId}}); err != nil {
			t.Error(err)
		}
	}
	svms, err := w.DescribeStorageVirtualMachines(ctx, &sdk.DescribeStorageVirtualMachinesInput{})
	if err != nil || len(svms.StorageVirtualMachines) != 1 {
		t.Fatalf("%+v, %v", svms, err)
	}
	if id, ok := w.ByDNSName(*svms.StorageVirtualMachines[0].Endpoints.Nfs.DNSName); !ok || id != "fs-0123456789abcdef1" {
		t.Errorf("ByDNSName: %s, %v", id, ok)
	}
	if err := w.AdoptFileSystem(ctx, "fs-0123456789abcdef9", types.FileSystemTypeLustre, "l", "subnet-0aaaaaaa", nil); err != nil {
		t.Error(err)
	}
}
