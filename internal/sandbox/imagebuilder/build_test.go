//go:build linux

package imagebuilder

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	sdk "github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder/types"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"pcluster/internal/component"
	"pcluster/internal/sandbox/region"
	"pcluster/internal/sandbox/store"
)

// asserting is the part of *testing.T that *rapid.T has, too.
type asserting interface {
	Helper()
	Fatal(...any)
}

// A yard is an Image Builder with its surroundings in memory.
type yard struct {
	*Service
	ec2  *fakeEC2
	logs *fakeLogs
	news news
	dir  string

	mu  sync.Mutex
	now time.Time
}

func newYard(t *testing.T) *yard {
	t.Helper()
	y := &yard{ec2: newFakeEC2(t), logs: newFakeLogs(), news: make(news, 16), dir: t.TempDir(), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	s, err := New(store.Memory(), region.NewIdentity("", "671250183987"), Config{Dir: y.dir, EC2: y.ec2, Logs: y.logs, SNS: y.news,
		Program: func() ([]byte, error) { return []byte("program"), nil }, Now: y.clock, Poll: time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	y.Service = s
	y.open()
	t.Cleanup(func() { y.Close() })
	return y
}

// open starts the service, as a daemon that comes back does: it has the tables of
// the last one, and nothing else.
func (y *yard) open() {
	old := y.Service
	y.Service = &Service{id: old.id, cfg: old.cfg, components: old.components, recipes: old.recipes, infrastructures: old.infrastructures,
		distributions: old.distributions, images: old.images, tokens: old.tokens}
	y.ctx, y.Service.end = context.WithCancel(context.Background())
	y.Start()
}

func (y *yard) clock() time.Time {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.now
}

func (y *yard) later(d time.Duration) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.now = y.now.Add(d)
}

const topic = "arn:aws:sns:us-east-1:671250183987:news"

// order is what a build is asked for, beside the usual.
type order struct {
	parent         string
	tests          *types.ImageTestsConfiguration
	infrastructure sdk.CreateInfrastructureConfigurationInput
	share          []string // accounts
}

// begin makes a recipe of the documents and begins to build it.
func (y *yard) begin(t asserting, o order, documents ...string) (arn string) {
	t.Helper()
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	token := func(name string) *string { return aws.String(name + region.NewID("x")) }
	recipe := &sdk.CreateImageRecipeInput{Name: aws.String("recipe"), SemanticVersion: aws.String("1.0.0"), ClientToken: token("r"), AmiTags: map[string]string{"of": "recipe"}}
	if recipe.ParentImage = &o.parent; o.parent == "" {
		recipe.ParentImage = aws.String(parentAMI)
	}
	for i, d := range documents {
		c, err := y.CreateComponent(ctx, &sdk.CreateComponentInput{Name: aws.String("part" + string(rune('a'+i))), SemanticVersion: aws.String("1.0.0"),
			Platform: types.PlatformLinux, Data: aws.String(d), ClientToken: token("c")})
		must(err)
		recipe.Components = append(recipe.Components, types.ComponentConfiguration{ComponentArn: c.ComponentBuildVersionArn})
	}
	r, err := y.CreateImageRecipe(ctx, recipe)
	must(err)
	infra := o.infrastructure
	infra.Name, infra.ClientToken, infra.SnsTopicArn = aws.String("infrastructure"), token("i"), aws.String(topic)
	i, err := y.CreateInfrastructureConfiguration(ctx, &infra)
	must(err)
	d, err := y.CreateDistributionConfiguration(ctx, &sdk.CreateDistributionConfigurationInput{Name: aws.String("distribution"), ClientToken: token("d"),
		Distributions: []types.Distribution{{Region: aws.String("us-east-1"), AmiDistributionConfiguration: &types.AmiDistributionConfiguration{
			Name: aws.String("mine {{ imagebuilder:buildDate }}"), AmiTags: map[string]string{"of": "distribution"},
			LaunchPermission: &types.LaunchPermissionConfiguration{UserIds: o.share}}}}})
	must(err)
	v, err := y.CreateImage(ctx, &sdk.CreateImageInput{ImageRecipeArn: r.ImageRecipeArn, InfrastructureConfigurationArn: i.InfrastructureConfigurationArn,
		DistributionConfigurationArn: d.DistributionConfigurationArn, ImageTestsConfiguration: o.tests, ClientToken: token("v")})
	must(err)
	return *v.ImageBuildVersionArn
}

// end waits for the news of a build, and returns the image.
func (y *yard) end(t asserting, arn string) *types.Image {
	t.Helper()
	select {
	case <-y.news:
	case <-time.After(2 * time.Minute):
		t.Fatal("the build does not end")
	}
	out, err := y.GetImage(context.Background(), &sdk.GetImageInput{ImageBuildVersionArn: &arn})
	if err != nil {
		t.Fatal(err)
	}
	return out.Image
}

// steps makes a document of phases with a command each: build, exit 0, test, exit 1.
func steps(phasesAndCommands ...string) string {
	var b strings.Builder
	b.WriteString("schemaVersion: 1.0\nphases:\n")
	for i := 0; i < len(phasesAndCommands); i += 2 {
		b.WriteString("  - name: " + phasesAndCommands[i] + "\n    steps:\n      - name: step\n")
		if command := phasesAndCommands[i+1]; command == "Reboot" {
			b.WriteString("        action: Reboot\n")
		} else {
			b.WriteString("        action: ExecuteBash\n        inputs: {commands: ['" + command + "']}\n")
		}
	}
	return b.String()
}

// plans are the layers that builds have left.
func (y *yard) plans(t asserting) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(y.dir, "plan-*"))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func TestBuild(t *testing.T) {
	y := newYard(t)
	arn := y.begin(t, order{share: []string{"111122223333"}}, steps("build", "echo built", "validate", "echo valid"), steps("build", "Reboot", "test", "echo tested"))
	v := y.end(t, arn)
	if v.State.Status != types.ImageStatusAvailable || v.State.Reason != nil {
		t.Fatalf("state %s: %s", v.State.Status, aws.ToString(v.State.Reason))
	}
	ami := y.ec2.images[*v.OutputResources.Amis[0].Image]
	if ami == nil || *ami.Name != "mine 2026-01-02T03-04-05.000Z" {
		t.Fatalf("AMI %+v", ami)
	}
	tags := map[string]string{}
	for _, tag := range ami.Tags {
		tags[*tag.Key] = *tag.Value
	}
	if diff := cmp.Diff(map[string]string{"CreatedBy": "EC2 Image Builder", "Ec2ImageBuilderArn": arn, "of": "distribution"}, tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
	if len(y.ec2.shared) != 1 || *y.ec2.shared[0].UserId != "111122223333" {
		t.Errorf("shared with %v", y.ec2.shared)
	}
	if _, machines := y.ec2.left(); len(machines) > 0 || len(y.plans(t)) > 0 {
		t.Errorf("left: machines %v, layers %v", machines, y.plans(t))
	}
	if len(y.ec2.launches) != 2 || *y.ec2.launches[1].ImageId != *ami.ImageId {
		t.Errorf("%d machines were launched, the second of another image than the new one", len(y.ec2.launches))
	}
	var said []string
	for line := range strings.Lines(y.logs.text("/aws/imagebuilder/recipe", "1.0.0/1")) {
		if strings.HasPrefix(line, "CmdExecution: Stdout") || strings.HasPrefix(line, "Phase") {
			said = append(said, strings.TrimSpace(line))
		}
	}
	want := []string{"Phase build", "CmdExecution: Stdout: built", "Phase build", "Phase build", "Phase validate", "CmdExecution: Stdout: valid", "Phase test", "CmdExecution: Stdout: tested"}
	if diff := cmp.Diff(want, said); diff != "" { // the restart begins the second build phase again
		t.Errorf("log (-want +got):\n%s", diff)
	}
	w, err := y.ListWorkflowExecutions(t.Context(), &sdk.ListWorkflowExecutionsInput{ImageBuildVersionArn: &arn})
	if err != nil {
		t.Fatal(err)
	}
	var flows []string
	for _, e := range w.WorkflowExecutions {
		flows = append(flows, string(e.Type)+" "+string(e.Status))
	}
	if diff := cmp.Diff([]string{"DISTRIBUTION COMPLETED", "TEST COMPLETED", "BUILD COMPLETED"}, flows); diff != "" {
		t.Errorf("workflows (-want +got):\n%s", diff)
	}
}

// What ends a build leaves neither a machine nor an AMI, but a reason.
func TestBuildsThatFail(t *testing.T) {
	good := steps("build", "true", "test", "true")
	hang := steps("build", "sleep 60")
	for name, tt := range map[string]struct {
		order     order
		documents []string
		before    func(*yard)
		during    func(*yard, string) // once a machine has been launched:
		role      string              // that for the build, or this one
		reason    string
		kept      bool // the build machine
	}{
		"step that exits non-zero":  {documents: []string{steps("build", "echo too bad >&2; exit 7")}, reason: "step step of phase build: exit status 7: too bad"},
		"second component":          {documents: []string{good, steps("build", "exit 1")}, reason: "phase build: exit status 1"},
		"validate phase":            {documents: []string{steps("build", "true", "validate", "exit 3")}, reason: "phase validate: exit status 3"},
		"test phase":                {documents: []string{steps("build", "true", "test", "exit 4")}, reason: "phase test: exit status 4"},
		"step that hangs":           {documents: []string{strings.Replace(hang, "action: ", "timeoutSeconds: 1\n        action: ", 1)}, reason: "longer than the 1 seconds"},
		"machine is kept if asked":  {documents: []string{steps("build", "exit 1")}, order: order{infrastructure: sdk.CreateInfrastructureConfigurationInput{TerminateInstanceOnFailure: aws.Bool(false)}}, reason: "exit status 1", kept: true},
		"parent image is not there": {order: order{parent: "ami-0none"}, documents: []string{good}, reason: "Parent image ami-0none: InvalidAMIID.NotFound"},
		"architecture does not match": {documents: []string{good}, before: func(y *yard) {
			y.ec2.refuse["RunInstances"] = apiError("InvalidParameterValue", "the architecture is another")
		}, reason: "The build instance can't be launched: InvalidParameterValue: the architecture is another"},
		"AMI can't be made": {documents: []string{good}, before: func(y *yard) { y.ec2.refuse["CreateImage"] = apiError("InvalidAMIName.Duplicate", "the name is taken") }, reason: "The AMI can't be made: InvalidAMIName.Duplicate"},
		"AMI fails":         {documents: []string{good}, before: func(y *yard) { y.ec2.taken = ec2types.ImageStateFailed }, reason: "The AMI could not be made"},
		"AMI can't be shared": {order: order{share: []string{"1"}}, documents: []string{good}, before: func(y *yard) {
			y.ec2.refuse["ModifyImageAttribute"] = apiError("InvalidUserID.Malformed", "no account")
		},
			reason: "The AMI can't be shared: InvalidUserID.Malformed"},
		"build machine is lost": {documents: []string{hang}, during: func(y *yard, id string) { y.ec2.lose(id) }, reason: "is terminated before its components are done: Server.InternalError: the host failed"},
		"test machine is lost":  {documents: []string{good, steps("test", "sleep 60")}, role: "test", during: func(y *yard, id string) { y.ec2.lose(id) }, reason: "The test instance"},
		"executor is killed": {documents: []string{good}, before: func(y *yard) {
			y.ec2.boot = func(i *fakeInstance) {
				_ = os.WriteFile(filepath.Join(i.logs, "executor-ended"), []byte("oom-kill (killed TERM)\n"), 0o600)
			}
		}, reason: "the executor ended before its components were done: oom-kill"},
		"machine that never begins": {documents: []string{good}, before: func(y *yard) { y.ec2.boot = func(*fakeInstance) {} }, during: func(y *yard, _ string) { y.later(bootAllowance + time.Second) },
			reason: "has not begun its components in 10 minutes"},
		"cancelled": {documents: []string{hang}, during: func(y *yard, _ string) {
			for _, v := range y.images.All() {
				_, _ = y.CancelImageCreation(context.Background(), &sdk.CancelImageCreationInput{ImageBuildVersionArn: v.Desc.Arn})
			}
		}, reason: "The build was cancelled."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			y := newYard(t)
			if tt.before != nil {
				tt.before(y)
			}
			if tt.during != nil {
				var once sync.Once
				y.ec2.called = func(operation string) {
					if operation != "DescribeInstances" || len(y.images.All()) == 0 {
						return
					}
					y.ec2.mu.Lock()
					role := "build"
					if tt.role != "" {
						role = tt.role
					}
					id := y.ec2.byToken[y.images.All()[0].Execution+"-"+role]
					y.ec2.mu.Unlock()
					if id != "" {
						once.Do(func() { tt.during(y, id) })
					}
				}
			}
			arn := y.begin(t, tt.order, tt.documents...)
			v := y.end(t, arn)
			status := types.ImageStatusFailed
			if name == "cancelled" {
				status = types.ImageStatusCancelled
			}
			if v.State.Status != status || !strings.Contains(aws.ToString(v.State.Reason), tt.reason) {
				t.Errorf("state %s, %q, want %s, %q", v.State.Status, aws.ToString(v.State.Reason), status, tt.reason)
			}
			if log := y.logs.text("/aws/imagebuilder/recipe", "1.0.0/1"); !strings.Contains(log, tt.reason) {
				t.Errorf("the log does not tell why: %s", log)
			}
			amis, machines := y.ec2.left()
			if len(amis) > 0 || (len(machines) > 0) != tt.kept || len(y.plans(t)) > 0 {
				t.Errorf("left: AMIs %v, machines %v, layers %v", amis, machines, y.plans(t))
			}
			if tt.kept {
				return
			}
			if _, err := y.DeleteImage(t.Context(), &sdk.DeleteImageInput{ImageBuildVersionArn: &arn}); err != nil {
				t.Errorf("the image can't be forgotten: %v", err)
			}
		})
	}
}

func TestNoTestMachineWhereNoTestIsWanted(t *testing.T) {
	for name, tt := range map[string]struct {
		tests    *types.ImageTestsConfiguration
		document string
		machines int
	}{
		"tests are off":       {&types.ImageTestsConfiguration{ImageTestsEnabled: aws.Bool(false)}, steps("build", "true", "test", "exit 1"), 1},
		"nothing to test":     {nil, steps("build", "true"), 1},
		"test but no build":   {nil, steps("test", "true"), 2},
		"tests are on, as is": {&types.ImageTestsConfiguration{ImageTestsEnabled: aws.Bool(true)}, steps("build", "true", "test", "true"), 2},
	} {
		t.Run(name, func(t *testing.T) {
			y := newYard(t)
			v := y.end(t, y.begin(t, order{tests: tt.tests}, tt.document))
			if v.State.Status != types.ImageStatusAvailable || len(y.ec2.launches) != tt.machines {
				t.Errorf("%s with %d machines, want %d", v.State.Status, len(y.ec2.launches), tt.machines)
			}
		})
	}
}

func TestTestsThatTakeTooLong(t *testing.T) {
	y := newYard(t)
	var once sync.Once
	y.ec2.called = func(string) {
		y.ec2.mu.Lock()
		n := len(y.ec2.launches)
		y.ec2.mu.Unlock()
		if n == 2 {
			once.Do(func() { y.later(61 * time.Minute) })
		}
	}
	tests := &types.ImageTestsConfiguration{ImageTestsEnabled: aws.Bool(true), TimeoutMinutes: aws.Int32(60)}
	v := y.end(t, y.begin(t, order{tests: tests}, steps("build", "true", "test", "echo begun; sleep 60")))
	if why := aws.ToString(v.State.Reason); v.State.Status != types.ImageStatusFailed || !strings.Contains(why, "60 minutes") && !strings.Contains(why, "has not begun") {
		t.Errorf("%s, %s", v.State.Status, why)
	}
}

func TestSecondBuildOfARecipeIsAnotherVersion(t *testing.T) {
	y := newYard(t)
	arn := y.begin(t, order{}, steps("build", "true"))
	y.end(t, arn)
	row, _ := y.images.Get(arn)
	in := &sdk.CreateImageInput{ImageRecipeArn: &row.Recipe, InfrastructureConfigurationArn: &row.Infrastructure, ClientToken: aws.String("again")}
	for range 2 { // the same request twice is one build
		out, err := y.CreateImage(t.Context(), in)
		if err != nil || *out.ImageBuildVersionArn != strings.TrimSuffix(arn, "1")+"2" {
			t.Fatalf("%v, %v", out, err)
		}
	}
	y.end(t, strings.TrimSuffix(arn, "1")+"2")
	if _, err := y.DeleteImage(t.Context(), &sdk.DeleteImageInput{ImageBuildVersionArn: &arn}); err != nil {
		t.Fatal(err)
	}
	if _, err := y.DeleteImageRecipe(t.Context(), &sdk.DeleteImageRecipeInput{ImageRecipeArn: &row.Recipe}); code(err) != "ResourceDependencyException" || !strings.Contains(err.Error(), strings.TrimSuffix(arn, "1")+"2") {
		t.Errorf("a recipe in use: %v", err)
	}
}

// Wherever the daemon dies, and however often, the build ends once: with one AMI if
// it was good, with none if it was not, and without a machine.
func TestBuildGoesOnAfterAnyDeath(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		y := newYard(t)
		defer y.Close()
		good := rapid.Bool().Draw(rt, "good")
		document := "schemaVersion: 1.0\nphases:\n"
		for _, phase := range []string{"build", "test"} { // without processes, which take their time
			document += "  - name: " + phase + "\n    steps: [{name: one, action: Assert, inputs: {stringEquals: x, value: " + map[bool]string{true: "x", false: "y"}[good || phase == "build"] + "}}]\n"
		}
		type death struct {
			Calls  int  // of EC2 until then
			During bool // a launch or the making of the AMI, if it is one that comes next
		}
		deaths := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) death {
			return death{rapid.IntRange(1, 12).Draw(t, "calls"), rapid.Bool().Draw(t, "during")}
		}), 0, 5).Draw(rt, "deaths")
		var left atomic.Int64
		died := make(chan struct{}, 1)
		during := false
		y.ec2.called = func(string) {
			switch n := left.Add(-1); {
			case n == 0 && during:
				y.ec2.dying.Store(true)
			case n == 0:
				y.ec2.dead.Store(true)
			case !y.ec2.dead.Load():
				return
			}
			select {
			case died <- struct{}{}:
			default:
			}
		}
		live := func() { // until the next death
			y.ec2.dead.Store(false)
			y.ec2.dying.Store(false)
			left.Store(-1)
			if len(deaths) > 0 {
				during = deaths[0].During
				left.Store(int64(deaths[0].Calls))
				deaths = deaths[1:]
			}
		}
		live()
		arn := y.begin(rt, order{}, document)
		for done := false; !done; {
			select {
			case <-died:
				y.Close()
				live()
				y.open()
			case text := <-y.news:
				y.news <- text // for end
				done = true
			case <-time.After(2 * time.Minute):
				rt.Fatal("neither dead nor done")
			}
		}
		y.ec2.dead.Store(false)
		y.Close() // what is left to do after the news
		left.Store(-1)
		y.open()
		v := y.end(rt, arn)
		amis, machines := y.ec2.left()
		want, status := 1, types.ImageStatusAvailable
		if !good {
			want, status = 0, types.ImageStatusFailed
		}
		if v.State.Status != status || len(amis) != want || len(machines) > 0 || len(y.ec2.launches) != 2 || len(y.plans(rt)) > 0 {
			rt.Errorf("%s (%s), AMIs %v, machines %v of %d, layers %v", v.State.Status, aws.ToString(v.State.Reason), amis, machines, len(y.ec2.launches), y.plans(rt))
		}
	})
}

func TestTry(t *testing.T) {
	for name, tt := range map[string]struct {
		trial  component.Trial
		before func(*yard)
		status component.Status
		err    string
	}{
		"both phases":             {trial: component.Trial{Document: steps("build", "echo {{ who }}", "test", "true"), Phases: []string{"build", "test"}}, status: component.Success},
		"phase that fails":        {trial: component.Trial{Document: steps("build", "exit 1"), Phases: []string{"build"}}, status: component.Failed},
		"restart":                 {trial: component.Trial{Document: steps("build", "Reboot", "test", "true"), Phases: []string{"build", "test"}}, status: component.Success},
		"no such image":           {trial: component.Trial{Document: steps("build", "true"), ParentImage: "ami-0none"}, err: "ami-0none can't be used: it does not exist"},
		"no such system":          {trial: component.Trial{Document: steps("build", "true"), ParentImage: "beos"}, err: `"beos" is neither an AMI`},
		"document that is none":   {trial: component.Trial{Document: "a: 1"}, err: "schemaVersion"},
		"machine that is refused": {trial: component.Trial{Document: steps("build", "true")}, before: func(y *yard) { y.ec2.refuse["RunInstances"] = apiError("Unsupported", "no such type") }, err: "the machine can't be launched: Unsupported: no such type"},
		"executor is killed": {trial: component.Trial{Document: steps("build", "true"), Phases: []string{"build"}}, before: func(y *yard) {
			y.ec2.boot = func(i *fakeInstance) {
				_ = os.WriteFile(filepath.Join(i.logs, "executor-ended"), []byte("signal\n"), 0o600)
			}
		}, err: "the executor ended before"},
	} {
		t.Run(name, func(t *testing.T) {
			y := newYard(t)
			if tt.before != nil {
				tt.before(y)
			}
			tt.trial.Name, tt.trial.Parameters = "c.yaml", map[string]string{"who": "me"}
			var lines, files []string
			out, err := y.Try(t.Context(), tt.trial, func(e component.TrialEvent) {
				if e.Line != "" {
					lines = append(lines, e.Line)
				}
				if e.File != "" {
					files = append(files, e.File)
				}
			})
			switch {
			case tt.err != "":
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%v, want %q", err, tt.err)
				}
			case err != nil:
				t.Fatal(err)
			case out.Status != tt.status || len(lines) == 0 || len(files) < 4:
				t.Errorf("%s, %d lines, files %v", out.Status, len(lines), files)
			}
			if _, machines := y.ec2.left(); len(machines)+len(y.ec2.vpcs)+len(y.ec2.subnets)+len(y.plans(t)) > 0 {
				t.Errorf("left: machines %v, networks %v, %v, layers %v", machines, y.ec2.vpcs, y.ec2.subnets, y.plans(t))
			}
		})
	}
}

func TestInterruptedTrialLeavesNothing(t *testing.T) {
	y := newYard(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := y.Try(ctx, component.Trial{Name: "c", Document: steps("build", "sleep 60"), Phases: []string{"build"}}, func(e component.TrialEvent) {
		if e.Line == "Step step" {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, machines := y.ec2.left(); len(machines)+len(y.ec2.vpcs)+len(y.plans(t)) > 0 {
		t.Errorf("left: machines %v, networks %v, layers %v", machines, y.ec2.vpcs, y.plans(t))
	}
}

func TestDaemonThatComesBackEndsTrials(t *testing.T) {
	y := newYard(t)
	launched, ended := make(chan struct{}), make(chan error, 1)
	var gone atomic.Bool
	go func() {
		_, err := y.Try(context.Background(), component.Trial{Name: "c", Document: steps("build", "sleep 60"), Phases: []string{"build"}}, func(e component.TrialEvent) {
			if e.Machine != "" {
				// What a daemon that is killed would have done does not happen.
				y.ec2.mu.Lock()
				y.ec2.refuse["TerminateInstances"] = errDied
				y.ec2.mu.Unlock()
				close(launched)
			}
		})
		gone.Store(true)
		ended <- err
	}()
	<-launched
	y.Close()
	if err := <-ended; err == nil {
		t.Error("the trial did not fail")
	}
	if _, machines := y.ec2.left(); len(machines) != 1 {
		t.Fatalf("machines %v", machines)
	}
	y.ec2.mu.Lock()
	delete(y.ec2.refuse, "TerminateInstances")
	y.ec2.mu.Unlock()
	done := make(chan struct{})
	var once sync.Once
	y.ec2.called = func(operation string) {
		if operation == "DeleteVpc" {
			once.Do(func() { close(done) })
		}
	}
	y.open()
	<-done
	y.Close() // waits for the sweep
	if _, machines := y.ec2.left(); len(machines)+len(y.ec2.vpcs) > 0 {
		t.Errorf("left: machines %v, networks %v", machines, y.ec2.vpcs)
	}
}

func TestAmazonsComponents(t *testing.T) {
	y := newYard(t)
	out, err := y.ListComponents(t.Context(), &sdk.ListComponentsInput{Owner: types.OwnershipAmazon})
	if err != nil || len(out.ComponentVersionList) != len(managedComponents()) {
		t.Fatalf("%v, %v", out, err)
	}
	for _, v := range out.ComponentVersionList {
		got, err := y.GetComponent(t.Context(), &sdk.GetComponentInput{ComponentBuildVersionArn: aws.String("arn:aws:imagebuilder:us-east-1:aws:component/" + *v.Name + "/x.x.x")})
		if err != nil {
			t.Errorf("%s: %v", *v.Name, err)
			continue
		}
		if _, problems := component.Parse([]byte(*got.Component.Data)); len(problems) > 0 {
			t.Errorf("%s: %v", *v.Name, problems)
		}
	}
	if self, err := y.ListComponents(t.Context(), &sdk.ListComponentsInput{Owner: types.OwnershipSelf}); err != nil || len(self.ComponentVersionList) > 0 {
		t.Errorf("the account's own: %v, %v", self, err)
	}
}

func TestNewsHasWhatTheStacksFunctionReads(t *testing.T) {
	y := newYard(t)
	arn := y.begin(t, order{}, steps("build", "true"))
	var got struct {
		ARN   string
		State struct{ Status string }
		Out   struct{ Amis []struct{ Image string } } `json:"outputResources"`
	}
	if err := json.Unmarshal([]byte(<-y.news), &got); err != nil {
		t.Fatal(err)
	}
	if got.ARN != arn || got.State.Status != "AVAILABLE" || len(got.Out.Amis) != 1 {
		t.Errorf("%+v", got)
	}
}
