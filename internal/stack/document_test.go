package stack

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"pcluster/internal/config"
)

// document is a template as CloudFormation reads it.
type document struct {
	Parameters map[string]any
	Resources  map[string]struct {
		Type       string
		DependsOn  []string
		Properties map[string]any
	}
	Outputs map[string]any
}

// failer is what testing and rapid have in common.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
}

func read(t failer, data []byte) document {
	t.Helper()
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

var substitution = regexp.MustCompile(`\$\{([^!}][^}]*)\}`)

// references calls visit with every logical ID and parameter that a value refers to.
func references(v any, visit func(name string)) {
	switch v := v.(type) {
	case map[string]any:
		if r, ok := v["Ref"].(string); ok && len(v) == 1 {
			visit(r)
			return
		}
		if g, ok := v["Fn::GetAtt"].([]any); ok {
			visit(g[0].(string))
			return
		}
		if s, ok := v["Fn::Sub"]; ok {
			text, own := s, map[string]any{}
			if list, ok := s.([]any); ok {
				text, own = list[0], list[1].(map[string]any)
			}
			for _, m := range substitution.FindAllStringSubmatch(text.(string), -1) {
				if _, ok := own[m[1]]; !ok {
					visit(strings.Split(m[1], ".")[0])
				}
			}
			references(any(own), visit)
			return
		}
		for _, x := range v {
			references(x, visit)
		}
	case []any:
		for _, x := range v {
			references(x, visit)
		}
	}
}

// dependencies returns what each resource waits for, directly.
func dependencies(d document) map[string][]string {
	out := map[string][]string{}
	for id, r := range d.Resources {
		out[id] = slices.Clone(r.DependsOn)
		references(map[string]any(r.Properties), func(name string) {
			if _, ok := d.Resources[name]; ok {
				out[id] = append(out[id], name)
			}
		})
	}
	return out
}

// closure returns all that a resource waits for.
func closure(deps map[string][]string, id string) map[string]bool {
	seen := map[string]bool{}
	var visit func(string)
	visit = func(id string) {
		for _, d := range deps[id] {
			if !seen[d] {
				seen[d] = true
				visit(d)
			}
		}
	}
	visit(id)
	return seen
}

// sound returns what CloudFormation would refuse about references.
func sound(d document) error {
	check := func(where string) func(string) error {
		return func(name string) error {
			_, resource := d.Resources[name]
			_, parameter := d.Parameters[name]
			if !resource && !parameter && !strings.HasPrefix(name, "AWS::") {
				return fmt.Errorf("%s refers to %s, which does not exist", where, name)
			}
			return nil
		}
	}
	var err error
	for id, r := range d.Resources {
		for _, on := range r.DependsOn {
			if _, ok := d.Resources[on]; !ok {
				err = fmt.Errorf("%s depends on %s, which does not exist", id, on)
			}
		}
		references(map[string]any(r.Properties), func(name string) {
			if e := check(id)(name); e != nil {
				err = e
			}
		})
	}
	for name, o := range d.Outputs {
		references(o, func(ref string) {
			if e := check("output " + name)(ref); e != nil {
				err = e
			}
		})
	}
	deps := dependencies(d)
	for id := range d.Resources {
		if closure(deps, id)[id] {
			err = fmt.Errorf("%s waits for itself", id)
		}
	}
	return err
}

// check asserts what holds for the templates of every cluster.
func check(t failer, c *config.Cluster, out *Templates) {
	t.Helper()
	for _, body := range bodies(out) {
		checkTags(t, c, read(t, body))
	}
	root := read(t, out.Root)
	if err := sound(root); err != nil {
		t.Errorf("root: %v", err)
	}
	for _, n := range out.Nested {
		if err := sound(read(t, n.Body)); err != nil {
			t.Errorf("%s: %v", n.ID, err)
		}
	}
	deps := dependencies(root)

	// What is in use goes after who uses it. Volumes can't go before, and login nodes
	// live on for a while.
	for id, r := range root.Resources {
		if r.Type == "AWS::EC2::Volume" && !closure(deps, "HeadNode")[id] {
			t.Errorf("volume %s may go while the head node has it", id)
		}
		if _, login := root.Resources["LoginNodesStack"]; login && slices.Contains([]string{"AWS::FSx::FileSystem", "AWS::EFS::FileSystem", "AWS::EFS::MountTarget"}, r.Type) &&
			!closure(deps, "LoginNodesStack")[id] {
			t.Errorf("file system %s may go while people are on login nodes", id)
		}
	}

	// The head node launches without waiting for what it could do without.
	for id := range closure(deps, "HeadNode") {
		switch kind := root.Resources[id].Type; kind {
		case "AWS::FSx::FileSystem", "AWS::EFS::FileSystem", "AWS::EFS::MountTarget", "AWS::CloudFormation::Stack",
			"AWS::CloudFormation::CustomResource", "AWS::Lambda::Function", "AWS::FSx::DataRepositoryAssociation":
			t.Errorf("the head node waits for %s, a %s", id, kind)
		}
	}
	// Instances end before what they use goes, and nothing waits for the head node's end but what needs it.
	end := closure(deps, "TerminateComputeFleetCustomResource")
	for id, r := range root.Resources {
		if c.Scheduling.Scheduler == config.AWSBatch {
			break // which ends its instances with the compute environment, and that refers to what they use
		}
		used := r.Type == "AWS::CloudFormation::Stack" && strings.HasPrefix(id, "QueuesStack") || id == "ComputeSecurityGroup" || id == "Route53HostedZone" || id == "CleanupResourcesFunction"
		if used && !end[id] {
			t.Errorf("%s could go while instances of the cluster run", id)
		}
	}

	// EC2 refuses a rule that a security group has already.
	rules := map[string]string{}
	for id, r := range root.Resources {
		if r.Type != "AWS::EC2::SecurityGroupIngress" && r.Type != "AWS::EC2::SecurityGroupEgress" {
			continue
		}
		key, _ := json.Marshal([]any{r.Type, r.Properties})
		if other, ok := rules[string(key)]; ok {
			t.Errorf("%s and %s are the same rule", id, other)
		}
		rules[string(key)] = id
	}
	for _, body := range bodies(out) {
		for id, text := range userDataOf(t, read(t, body)) {
			if len(text) > maxUserData {
				t.Errorf("user data of %s has %d bytes", id, len(text))
			}
		}
	}
}

// stackTags are the resource types that get the tags of the stack from
// CloudFormation, by its schemas; untaggable are those that have no tags.
var (
	stackTags = types(`AutoScaling::AutoScalingGroup Batch::ComputeEnvironment Batch::JobDefinition Batch::JobQueue CloudFormation::Stack CloudWatch::Alarm CloudWatch::CompositeAlarm CloudWatch::Dashboard
		CodeBuild::Project DynamoDB::Table EC2::EIP EC2::Instance EC2::NetworkInterface EC2::PlacementGroup EC2::SecurityGroup EC2::Volume ECR::Repository EFS::FileSystem
		ElasticLoadBalancingV2::Listener ElasticLoadBalancingV2::LoadBalancer ElasticLoadBalancingV2::TargetGroup FSx::DataRepositoryAssociation
		FSx::FileSystem IAM::Role Lambda::Function Logs::LogGroup Route53::HostedZone`)
	untaggable = types(`CloudFormation::CustomResource CloudFormation::WaitCondition CloudFormation::WaitConditionHandle EC2::EIPAssociation
		EC2::SecurityGroupEgress EC2::SecurityGroupIngress EFS::MountTarget IAM::InstanceProfile IAM::Policy Logs::MetricFilter`)
)

func types(names string) map[string]bool {
	out := map[string]bool{}
	for _, n := range strings.Fields(names) {
		out["AWS::"+n] = true
	}
	return out
}

// checkTags asserts that all that is made, and all that launch templates make, has
// the tags of the cluster and the user's.
func checkTags(t failer, c *config.Cluster, d document) {
	t.Helper()
	for id, r := range d.Resources {
		if stackTags[r.Type] || untaggable[r.Type] {
			continue
		}
		if r.Type != "AWS::EC2::LaunchTemplate" {
			t.Errorf("%s: is a %s tagged?", id, r.Type)
			continue
		}
		data := r.Properties["LaunchTemplateData"].(map[string]any)
		tags := map[string]map[string]any{}
		for _, s := range append(data["TagSpecifications"].([]any), r.Properties["TagSpecifications"].([]any)...) {
			s := s.(map[string]any)
			of := map[string]any{}
			for _, tag := range s["Tags"].([]any) {
				tag := tag.(map[string]any)
				if _, again := of[tag["Key"].(string)]; again {
					t.Errorf("%s: two tags %s", id, tag["Key"])
				}
				of[tag["Key"].(string)] = tag["Value"]
			}
			tags[s["ResourceType"].(string)] = of
		}
		kinds := []string{"instance", "volume", "launch-template"}
		if id == "HeadNodeLaunchTemplate" || id == "PclusterComputeEnvironmentLaunchTemplate" {
			kinds = kinds[1:] // the instance, or the compute environment, has tags of its own
		}
		for _, kind := range kinds {
			if tags[kind]["parallelcluster:cluster-name"] != params.ClusterName {
				t.Errorf("%s: a %s lacks the cluster's tag", id, kind)
			}
			for _, tag := range c.Tags {
				if _, ok := tags[kind][tag.Key]; !ok {
					t.Errorf("%s: a %s lacks the tag %s", id, kind, tag.Key)
				}
			}
		}
	}
}

// bodies returns all templates of a cluster.
func bodies(out *Templates) [][]byte {
	list := [][]byte{out.Root}
	for _, n := range out.Nested {
		list = append(list, n.Body)
	}
	return list
}

// userDataOf returns the user data of a document's launch templates, with the
// variables filled in by samples.
func userDataOf(t failer, d document) map[string]string {
	out := map[string]string{}
	for id, r := range d.Resources {
		if r.Type != "AWS::EC2::LaunchTemplate" {
			continue
		}
		data := r.Properties["LaunchTemplateData"].(map[string]any)
		if data["UserData"] == nil {
			continue // instances of AWS Batch, which run its own
		}
		sub := data["UserData"].(map[string]any)["Fn::Base64"].(map[string]any)["Fn::Sub"]
		text, ok := sub.(string)
		if !ok {
			text = sub.([]any)[0].(string)
		}
		text = substitution.ReplaceAllString(text, "https://sample.example/$1?a=b&c=d")
		out[id] = strings.ReplaceAll(text, "${!", "${")
	}
	return out
}

func TestTemplatesAreSound(t *testing.T) {
	for _, file := range files(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c := parse(t, file)
			out, err := Synthesize(c, account(t, c), params)
			if err != nil {
				t.Fatal(err)
			}
			check(t, c, out)
			again, err := Synthesize(c, account(t, c), params)
			if err != nil || string(again.Root) != string(out.Root) || len(again.Nested) != len(out.Nested) {
				t.Error("the same input gives another template")
			}
		})
	}
}

// Any mix of managed and given groups, roles and storage gives a sound template.
func TestTemplatesAreSoundWhateverTheFile(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		c, found := config.Parse("", []byte(anyFile(r)))
		if err := found.Err(); err != nil {
			r.Fatal(err)
		}
		out, err := Synthesize(c, account(t, c), params)
		if err != nil {
			r.Fatal(err)
		}
		check(r, c, out)
	})
}

// Names in templates are public: whoever may describe stacks or instances reads
// them. What users hand to scripts, services and settings stays in the file.
func TestTemplatesHaveNoSecrets(t *testing.T) {
	const secret = "a-secret-of-the-user"
	actions := `{OnNodeStart: {Script: "s3://b/s.sh", Args: [SECRET]}, OnNodeConfigured: {Sequence: [{Script: "s3://b/s.sh", Args: ["--token=SECRET"]}]}}`
	c := parseText(t, strings.ReplaceAll(`
Image: {Os: alinux2023}
HeadNode: {InstanceType: c5.large, Networking: {SubnetId: subnet-11111111}, CustomActions: `+actions+`}
LoginNodes: {Pools: [{Name: p, InstanceType: c5.large, Count: 1, Networking: {SubnetIds: [subnet-11111111]}, CustomActions: `+actions+`}]}
Scheduling:
  Scheduler: slurm
  SlurmSettings:
    CustomSlurmSettings: [{StoragePass: SECRET}]
    Database: {Uri: db.example.com, UserName: SECRET, PasswordSecretArn: "arn:aws:secretsmanager:us-east-1:671250183987:secret:db"}
  SlurmQueues:
  - {Name: q, CustomSlurmSettings: {GraceTime: SECRET}, Networking: {SubnetIds: [subnet-11111111]}, CustomActions: `+actions+`, ComputeResources: [{Name: c, InstanceType: c5.large, CustomSlurmSettings: {Feature: SECRET}}]}
DirectoryService:
  DomainName: corp.example.com
  DomainAddr: ldaps://corp.example.com
  PasswordSecretArn: arn:aws:secretsmanager:us-east-1:671250183987:secret:ldap
  DomainReadOnlyUser: cn=SECRET
  LdapAccessFilter: (memberOf=SECRET)
  AdditionalSssdConfigs: {ldap_default_authtok: SECRET}
DevSettings: {Cookbook: {ExtraChefAttributes: '{"token": "SECRET"}'}}
`, "SECRET", secret))
	out, err := Synthesize(c, account(t, c), params)
	if err != nil {
		t.Fatal(err)
	}
	looksSecret := regexp.MustCompile(`AKIA[A-Z0-9]{16}|-----BEGIN|aws_secret_access_key`)
	for _, body := range bodies(out) {
		if strings.Contains(string(body), secret) || looksSecret.Match(body) {
			t.Errorf("a template has a secret: %.200s", body[max(0, strings.Index(string(body), secret)-100):])
		}
	}
}

// anyFile draws a cluster file.
func anyFile(r *rapid.T) string {
	pick := func(label string, options ...string) string { return rapid.SampledFrom(options).Draw(r, label) }
	groups := func(label string) string {
		return pick(label, "", ", SecurityGroups: [sg-11111111]", ", SecurityGroups: [sg-22222222, sg-11111111]", ", AdditionalSecurityGroups: [sg-11111111]")
	}
	iam := func(label string) string {
		return pick(label, "", ", Iam: {S3Access: [{BucketName: b}]}", `, Iam: {InstanceRole: "arn:aws:iam::671250183987:role/x"}`, `, Iam: {InstanceProfile: "arn:aws:iam::671250183987:instance-profile/x"}`)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Image: {Os: alinux2023%s}\n%s%s%s", pick("ami", "", ", CustomAmi: ami-12345678"),
		pick("tags", "", "Tags: [{Key: owner, Value: me}, {Key: Name, Value: mine}]\n"),
		pick("prefix", "", "Iam: {ResourcePrefix: /path/name-}\n", "Iam: {ResourcePrefix: name-}\n"),
		pick("monitoring", "", "Monitoring: {Logs: {CloudWatch: {Enabled: false}}}\n", "Monitoring: {Alarms: {Enabled: false}, Dashboards: {CloudWatch: {Enabled: false}}}\n"))
	fmt.Fprintf(&b, "HeadNode: {InstanceType: c5.large, SharedStorageType: %s, Networking: {SubnetId: subnet-11111111%s%s}%s}\n",
		pick("shared", "Ebs", "Efs"), groups("head groups"), pick("eip", "", ", ElasticIp: true", ", ElasticIp: 1.2.3.4"), iam("head iam"))
	if pick("login", "no", "yes") == "yes" {
		b.WriteString("LoginNodes:\n  Pools:\n")
		for i := range rapid.IntRange(1, 3).Draw(r, "pools") {
			fmt.Fprintf(&b, "    - {Name: pool%d, InstanceType: c5.large, Count: 1, Networking: {SubnetIds: [subnet-%s]%s}}\n", i, pick("pool subnet", "11111111", "33333333"), groups("pool groups"))
		}
	}
	b.WriteString("Scheduling:\n  Scheduler: slurm\n")
	fmt.Fprintf(&b, "  SlurmSettings: {Dns: {DisableManagedDns: %s}}\n  SlurmQueues:\n", pick("dns", "false", "true"))
	for i := range rapid.IntRange(1, 4).Draw(r, "queues") {
		fmt.Fprintf(&b, "    - {Name: q%d, CapacityType: %s, Networking: {SubnetIds: [subnet-%s]%s%s}%s, ComputeResources: [", i, pick("capacity", "ONDEMAND", "SPOT"),
			pick("subnet", "11111111", "22222222"), groups("groups"), pick("placement", "", ", PlacementGroup: {Enabled: true}", ", PlacementGroup: {Name: pg}"), iam("iam")+pick("queue tags", "", ", Tags: [{Key: owner, Value: queue}]"))
		for j := range rapid.IntRange(1, 3).Draw(r, "resources") {
			fmt.Fprintf(&b, "{Name: c%d, %s, Efa: {Enabled: %s}}, ", j, pick("type", "InstanceType: c5n.18xlarge", "Instances: [{InstanceType: c5.large}, {InstanceType: c5a.large}]", "InstanceType: p4d.24xlarge"), pick("efa", "true", "false"))
		}
		b.WriteString("]}\n")
	}
	b.WriteString("SharedStorage:\n")
	for i := range rapid.IntRange(0, 4).Draw(r, "storage") {
		fmt.Fprintf(&b, "  - {Name: s%d, MountDir: /s%d, %s}\n", i, i, pick("kind",
			"StorageType: Ebs", "StorageType: Ebs, EbsSettings: {Raid: {Type: 1}}", "StorageType: Efs, EfsSettings: {EncryptionInTransit: true, IamAuthorization: true}",
			"StorageType: Efs, EfsSettings: {FileSystemId: fs-12345678}", "StorageType: FsxLustre, FsxLustreSettings: {StorageCapacity: 1200, DeletionPolicy: Retain}"))
	}
	text := b.String()
	if strings.HasSuffix(text, "SharedStorage:\n") {
		text = strings.TrimSuffix(text, "SharedStorage:\n")
	}
	return strings.ReplaceAll(text, "}, ]}", "}]}")
}
