package stack

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcluster/internal/component"
	"pcluster/internal/config"
)

var testImage = ImageParams{
	ImageID: "img", Region: "us-east-1", Account: "111122223333", Partition: "aws", Bucket: "b", ArtifactDir: "parallelcluster/images/img-x",
	LambdaZipKey: "l.zip", ProgramArch: "amd64", ProgramSum: "00", ParentRootDevice: "/dev/xvda", ParentSize: 8,
}

// imageTemplate returns the resources of an image's template.
func imageTemplate(t *testing.T, file string) map[string]struct {
	Type       string
	DependsOn  []string
	Properties map[string]any
} {
	t.Helper()
	f, problems := config.ParseImage("image.yaml", []byte(file))
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	body, err := SynthesizeImage(f, testImage)
	if err != nil {
		t.Fatal(err)
	}
	var out struct {
		Resources map[string]struct {
			Type       string
			DependsOn  []string
			Properties map[string]any
		}
	}
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatal(err)
	}
	return out.Resources
}

// The files are those of testdata/images and the one of the seed, which a whole life of
// an image is tested with, too.
func TestImageTemplatesGolden(t *testing.T) { // go test -update rewrites the files
	list, err := filepath.Glob("testdata/images/*.yaml")
	if err != nil || len(list) == 0 {
		t.Fatal("no image files", err)
	}
	for _, file := range append(list, "../../test/e2e/testdata/image/seed-config.yaml") {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			f, problems := config.ParseImage(file, text)
			if err := problems.Err(); err != nil {
				t.Fatal(err)
			}
			body, err := SynthesizeImage(f, testImage)
			if err != nil {
				t.Fatal(err)
			}
			again, err := SynthesizeImage(f, testImage)
			if err != nil || !bytes.Equal(body, again) {
				t.Error("another template the second time", err)
			}
			golden(t, "testdata/images/"+name+".template.json", body)
		})
	}
}

const plainImage = "Build: {InstanceType: c5.large, ParentImage: ami-0a0a0a0a"

func TestImageStackHasTheDocumentedResources(t *testing.T) {
	always := []string{"BuildNotificationSubscription", "BuildNotificationTopic", "DeleteStackFunction", "DeleteStackFunctionExecutionRole", "DeleteStackFunctionLog",
		"DeleteStackFunctionPermission", "DistributionConfiguration", "ImageRecipe", "InfrastructureConfiguration", "InstanceProfile", "InstanceRole",
		"ParallelClusterComponent", "ParallelClusterImage", "ParallelClusterTagComponent", "SlurmComponent", "StorageComponent", "EFAComponent", "DCVComponent"}
	for name, tt := range map[string]struct {
		file       string
		more, less []string
	}{
		"minimal":           {file: plainImage + "}"},
		"everything":        {file: plainImage + ", UpdateOsPackages: {Enabled: true}, Components: [{Type: script, Value: 's3://b/s'}, {Type: script, Value: 'https://x/s'}]}\nDevSettings: {DisableValidateAndTest: false}", more: []string{"UpdateOSComponent", "ScriptComponent0", "ScriptComponent1", "ParallelClusterTestComponent"}},
		"roles of the user": {file: plainImage + ", Iam: {InstanceProfile: 'arn:aws:iam::111122223333:instance-profile/p', CleanupLambdaRole: 'arn:aws:iam::111122223333:role/r'}}", less: []string{"InstanceProfile", "InstanceRole", "DeleteStackFunctionExecutionRole"}},
		"no main component": {file: plainImage + "}\nDevSettings: {DisablePclusterComponent: true}", less: []string{"ParallelClusterComponent", "SlurmComponent", "StorageComponent", "EFAComponent", "DCVComponent"}},
		"NVIDIA":            {file: plainImage + ", Installation: {NvidiaSoftware: {Enabled: true}}}", more: []string{"NVIDIAComponent"}},
	} {
		t.Run(name, func(t *testing.T) {
			want := slices.DeleteFunc(slices.Concat(always, tt.more), func(id string) bool { return slices.Contains(tt.less, id) })
			slices.Sort(want)
			if diff := cmp.Diff(want, slices.Sorted(maps.Keys(imageTemplate(t, tt.file)))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCleanupRoleGoesLast(t *testing.T) {
	const role = "DeleteStackFunctionExecutionRole"
	for id, r := range imageTemplate(t, plainImage+"}") {
		arn, _ := r.Properties["Role"].(map[string]any)
		uses := slices.Equal([]any{role, "Arn"}, asList(arn["Fn::GetAtt"]))
		if id != role && !uses && !slices.Contains(r.DependsOn, role) {
			t.Errorf("%s does not depend on the role with which the stack is deleted", id)
		}
	}
}

func asList(v any) []any {
	list, _ := v.([]any)
	return list
}

func TestComponentsRunInTheDocumentedOrder(t *testing.T) {
	r := imageTemplate(t, plainImage+", UpdateOsPackages: {Enabled: true}, Components: [{Type: arn, Value: 'arn:aws:imagebuilder:us-east-1:111122223333:component/a/1.0.0/1'}, {Type: script, Value: 'https://x/s'}]}\nDevSettings: {DisableValidateAndTest: false}")
	var got []string
	for _, c := range r["ImageRecipe"].Properties["Components"].([]any) {
		switch arn := c.(map[string]any)["ComponentArn"].(type) {
		case string:
			got = append(got, arn)
		case map[string]any:
			got = append(got, arn["Ref"].(string))
		}
	}
	want := []string{"UpdateOSComponent", "SlurmComponent", "StorageComponent", "EFAComponent", "DCVComponent", "ParallelClusterComponent", "ParallelClusterTagComponent", "arn:aws:imagebuilder:us-east-1:111122223333:component/a/1.0.0/1", "ScriptComponent1", "ParallelClusterTestComponent"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOurComponentsAreGoodDocuments(t *testing.T) {
	for id, r := range imageTemplate(t, plainImage+", UpdateOsPackages: {Enabled: true}, Components: [{Type: script, Value: 's3://b/s'}]}\nDevSettings: {DisableValidateAndTest: false}") {
		data, ok := r.Properties["Data"].(string)
		if !ok {
			continue
		}
		if _, problems := component.Parse([]byte(data)); len(problems) > 0 {
			t.Errorf("%s: %v", id, problems)
		}
		if blank := regexp.MustCompile(`@[A-Z_]+@`).FindString(data); blank != "" {
			t.Errorf("%s: the blank %s is not filled", id, blank)
		}
		if len(data) > 16000 {
			t.Errorf("%s has %d characters, more than Image Builder takes in a request", id, len(data))
		}
	}
}
