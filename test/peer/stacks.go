package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sort"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/facts"
	"pcluster/internal/image"
	"pcluster/internal/stack"
)

// A synthesis is what a tool would send to AWS to create a cluster.
type synthesis struct {
	Root   map[string]any            `json:"root"`
	Nested map[string]map[string]any `json:"nested"`
}

// synthesize makes our templates of a file.
func synthesize(it item) (synthesis, error) {
	source, err := it.facts.source()
	if err != nil {
		return synthesis{}, err
	}
	if it.Kind == "image" {
		return synthesizeImage(it, source)
	}
	c, problems := config.Parse("file.yaml", []byte(it.Text))
	if err := problems.Err(); err != nil {
		return synthesis{}, err
	}
	c.SetTag(config.ToolTagPrefix+"cluster-name", "mycluster") // as create-cluster does
	c.SetTag(config.ToolTagPrefix+"version", config.ToolVersion)
	snapshot, errs := facts.Gather(context.Background(), source, c)
	if len(errs) > 0 {
		return synthesis{}, errors.Join(errs...)
	}
	const directory = "parallelcluster/" + config.ToolVersion + "/clusters/mycluster-0123456789abcdef"
	t, err := stack.Synthesize(c, snapshot, stack.Params{
		ClusterName: "mycluster", Region: or(c.Region, "us-east-1"), Account: "111122223333", Partition: "aws",
		Bucket: or(c.CustomS3Bucket, "parallelcluster-0123456789abcdef-v1-do-not-delete"), ArtifactDir: directory,
		ConfigKey: directory + "/configs/cluster-config-with-implied-values.yaml", ConfigVersion: "1", OriginalVersion: "1",
		InstanceTypesKey: directory + "/configs/instance-types-data.json", InstanceTypesVersion: "1",
		Timestamp: "20260101000000", OfficialAMI: snapshot.OfficialAMI,
		Programs:     map[string]string{"amd64": strings.Repeat("0", 64), "arm64": strings.Repeat("0", 64)},
		LambdaZipKey: stack.LambdaKey(strings.Repeat("0", 64), "amd64"),
	})
	if err != nil {
		return synthesis{}, err
	}
	out := synthesis{Nested: map[string]map[string]any{}}
	if err := json.Unmarshal(t.Root, &out.Root); err != nil {
		return out, err
	}
	for _, nestedStack := range t.Nested {
		var nested map[string]any
		if err := json.Unmarshal(nestedStack.Body, &nested); err != nil {
			return out, err
		}
		out.Nested[nestedStack.Key] = nested
	}
	return out, nil
}

func synthesizeImage(it item, source facts.Source) (synthesis, error) {
	f, problems := config.ParseImage("file.yaml", []byte(it.Text))
	if err := problems.Err(); err != nil {
		return synthesis{}, err
	}
	body, err := image.Preview{ID: "myimage", Region: or(f.Region, "us-east-1"), Account: "111122223333"}.Template(context.Background(), f, source)
	if err != nil {
		return synthesis{}, err
	}
	var out synthesis
	return out, json.Unmarshal(body, &out.Root)
}

// observations are what a user can see of a stack: "subject: property" and its value.
type observations map[string]string

func (o observations) add(subject, property string, value any) {
	text, ok := value.(string)
	if !ok {
		data, _ := json.Marshal(value) // came from JSON
		text = string(data)
	}
	o[subject+": "+property] = text
}

// A resource of one of the stack's templates.
type resource struct {
	id, kind string
	name     string // if others refer to it by another name than its ID
	props    map[string]any
	body     map[string]any
}

// observe returns what a user can see of a stack, in terms that do not depend on
// which tool wrote the template: references resolved, versions, times and random
// parts taken out, rules and permissions one by one.
func observe(s synthesis) observations {
	r := resolver{parameters: map[string]string{}, names: map[string]string{}}
	out := observations{}
	var all []resource
	for _, t := range slices.Concat([]map[string]any{s.Root}, values(s.Nested)) {
		r.defaults(t)
		resources, _ := t["Resources"].(map[string]any)
		for _, id := range slices.Sorted(maps.Keys(resources)) {
			body := resources[id].(map[string]any)
			kind, _ := body["Type"].(string)
			all = append(all, resource{id: id, kind: kind, body: body})
		}
	}
	for i := range all {
		props, _ := r.resolve(all[i].body["Properties"]).(map[string]any)
		all[i].props = props
		if name := all[i].reference(); name != "" {
			r.names[plainID(all[i].id)] = name
		}
	}
	for _, x := range all {
		if x.kind != "AWS::ElasticLoadBalancingV2::LoadBalancer" {
			continue
		}
		groups, _ := x.props["SecurityGroups"].([]any)
		for _, g := range groups {
			if id := bare(fmt.Sprint(g)); strings.Contains(id, "LoadBalancer") {
				r.names[id] = "${security group of the " + bare(x.reference()) + "}"
			}
		}
	}
	for _, x := range all { // what nested stacks are given
		if x.kind == "AWS::CloudFormation::Stack" {
			given, _ := r.resolve(x.body["Properties"].(map[string]any)["Parameters"]).(map[string]any)
			for name, v := range given {
				r.parameters[name] = fmt.Sprint(v)
			}
		}
	}
	for i := range all { // once more, now that names are known
		all[i].name = r.names[plainID(all[i].id)]
		all[i].props, _ = r.resolve(all[i].body["Properties"]).(map[string]any)
	}
	counts := map[string]int{}
	for _, x := range all {
		counts[x.kind]++
		x.observe(out, all)
	}
	for _, kind := range []string{"AWS::IAM::Policy", "AWS::CloudFormation::Stack", "AWS::CloudFormation::CustomResource"} {
		delete(counts, kind) // how permissions and resources are cut into pieces shows nowhere
	}
	for kind, n := range counts {
		out.add("count", kind, fmt.Sprint(n))
	}
	outputs, _ := s.Root["Outputs"].(map[string]any)
	for id, o := range outputs {
		v, _ := r.resolve(o).(map[string]any)
		out.add("output", id, v["Value"])
	}
	parameters, _ := s.Root["Parameters"].(map[string]any)
	for id := range parameters {
		if !strings.HasPrefix(id, "AssetParameters") {
			out.add("parameter", id, r.parameters[id])
		}
	}
	return out
}

// reference returns what stands for a resource where others refer to it, unless
// that is its logical ID.
func (x resource) reference() string {
	name := func(key string) string { n, _ := x.props[key].(string); return n }
	tags, _ := x.props["Tags"].([]any)
	pool := tag(tags, "parallelcluster:login-nodes-pool")
	switch x.kind {
	case "AWS::Logs::LogGroup":
		return name("LogGroupName")
	case "AWS::DynamoDB::Table":
		return name("TableName")
	case "AWS::ElasticLoadBalancingV2::TargetGroup", "AWS::ElasticLoadBalancingV2::LoadBalancer":
		return "${" + strings.TrimPrefix(x.kind, "AWS::ElasticLoadBalancingV2::") + " of " + pool + "}"
	}
	return ""
}

func values(m map[string]map[string]any) []map[string]any {
	var out []map[string]any
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}

// observe adds what is to be seen of one resource.
func (x resource) observe(out observations, all []resource) {
	list := func(key string) []any { l, _ := x.props[key].([]any); return l }
	subject := strings.TrimPrefix(x.kind, "AWS::") + " " + plainID(x.id)
	switch x.kind {
	case "AWS::CloudFormation::CustomResource", "AWS::CloudFormation::Stack", "AWS::CloudFormation::WaitConditionHandle":
		return // how a tool gets there, not what it makes
	case "AWS::EC2::LaunchTemplate":
		data, _ := x.props["LaunchTemplateData"].(map[string]any)
		launchTemplate(out, x.id, data)
		return
	case "AWS::EC2::SecurityGroup":
		if x.name != "" {
			subject = "EC2::SecurityGroup " + bare(x.name)
		}
		for _, way := range []string{"Ingress", "Egress"} {
			for _, rule := range list("SecurityGroup" + way) {
				trafficRuleOf(out, subject, way, rule.(map[string]any))
			}
		}
		delete(x.props, "SecurityGroupIngress")
		delete(x.props, "SecurityGroupEgress")
	case "AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress":
		group, _ := x.props["GroupId"].(string)
		trafficRuleOf(out, "EC2::SecurityGroup "+bare(group), strings.TrimPrefix(x.kind, "AWS::EC2::SecurityGroup"), x.props)
		return
	case "AWS::IAM::Role":
		for _, p := range list("Policies") {
			permissions(out, subject, p.(map[string]any)["PolicyDocument"])
		}
		for _, arn := range list("ManagedPolicyArns") {
			out.add(subject, fmt.Sprint("managed policy ", arn), "yes")
		}
		trust, _ := x.props["AssumeRolePolicyDocument"].(map[string]any)
		for _, s := range asList(trust["Statement"]) {
			s := s.(map[string]any)
			out.add(subject, fmt.Sprint("trusts ", s["Principal"], " with ", strings.Join(texts(s["Action"]), " ")), "yes")
		}
		delete(x.props, "AssumeRolePolicyDocument")
		delete(x.props, "Policies")
		delete(x.props, "ManagedPolicyArns")
	case "AWS::IAM::Policy", "AWS::IAM::ManagedPolicy":
		for _, role := range list("Roles") {
			permissions(out, "IAM::Role "+bare(fmt.Sprint(role)), x.props["PolicyDocument"])
		}
		return
	case "AWS::CloudWatch::Dashboard":
		out.add(subject, "name", x.props["DashboardName"])
		body, _ := x.props["DashboardBody"].(string)
		dashboard(out, subject, body)
		return
	case "AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm":
		subject = strings.TrimPrefix(x.kind, "AWS::") + " " + fmt.Sprint(x.props["AlarmName"])
	case "AWS::Logs::MetricFilter":
		m, _ := first(list("MetricTransformations")).(map[string]any)
		subject = "Logs::MetricFilter " + fmt.Sprint(m["MetricName"])
	case "AWS::CloudFormation::WaitCondition":
		subject = "CloudFormation::WaitCondition"
		delete(x.props, "Handle")
	case "AWS::Lambda::Function":
		return
	case "AWS::ImageBuilder::Component":
		delete(x.props, "Data") // how a tool gets there
	case "AWS::ElasticLoadBalancingV2::TargetGroup", "AWS::ElasticLoadBalancingV2::LoadBalancer", "AWS::AutoScaling::AutoScalingGroup":
		subject = strings.TrimPrefix(x.kind, "AWS::") + " of " + or(tag(list("Tags"), "parallelcluster:login-nodes-pool"), fmt.Sprint(x.props["Name"]))
	case "AWS::ElasticLoadBalancingV2::Listener":
		subject = "ElasticLoadBalancingV2::Listener on " + fmt.Sprint(x.props["Port"], " of ", bare(fmt.Sprint(x.props["LoadBalancerArn"])))
	}
	out.add(subject, "exists", "yes")
	for key, v := range x.props {
		if tags, ok := v.(map[string]any); ok && strings.HasSuffix(key, "Tags") {
			for k, v := range tags {
				out.add(subject, fmt.Sprint(strings.ToLower(strings.TrimSuffix(key, "s")), " ", k), v)
			}
			continue
		}
		if key == "Tags" {
			for _, t := range list("Tags") {
				if t, ok := t.(map[string]any); ok {
					out.add(subject, fmt.Sprint("tag ", t["Key"]), t["Value"])
				}
			}
			continue
		}
		out.add(subject, key, v)
	}
	for _, key := range []string{"DeletionPolicy", "UpdateReplacePolicy"} {
		if v, ok := x.body[key]; ok {
			out.add(subject, key, v)
		}
	}
}

// dashboard adds the metrics and the logs that a dashboard shows.
func dashboard(out observations, subject, body string) {
	var d struct {
		Widgets []struct {
			Type       string
			Properties struct {
				Title   string
				Metrics [][]any
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &d); err != nil {
		out.add(subject, "body", err.Error())
		return
	}
	for _, w := range d.Widgets {
		if w.Type == "log" {
			out.add(subject, "shows log "+w.Properties.Title, "yes")
		}
		for _, m := range w.Properties.Metrics {
			if len(m) > 1 {
				if _, name := m[0].(string); name {
					out.add(subject, fmt.Sprint("shows metric ", m[0], " ", m[1]), "yes")
				}
			}
		}
	}
}

func tag(list []any, key string) string {
	for _, t := range list {
		if t, ok := t.(map[string]any); ok && t["Key"] == key {
			return fmt.Sprint(t["Value"])
		}
	}
	return ""
}

// launchTemplate describes what a node is launched with, under the node's name.
func launchTemplate(out observations, id string, data map[string]any) {
	tags := map[string]string{}
	specs, _ := data["TagSpecifications"].([]any)
	for _, s := range specs {
		s := s.(map[string]any)
		list, _ := s["Tags"].([]any)
		if s["ResourceType"] == "instance" {
			for _, t := range list {
				t := t.(map[string]any)
				tags[fmt.Sprint(t["Key"])] = fmt.Sprint(t["Value"])
			}
		}
	}
	subject := "launch of head node"
	if q := tags["parallelcluster:queue-name"]; q != "" {
		subject = "launch of " + q + "/" + tags["parallelcluster:compute-resource-name"]
	} else if tags["parallelcluster:node-type"] == "LoginNode" {
		subject = "launch of " + id
	} else if strings.Contains(id, "ComputeEnvironment") {
		subject = "launch of AWS Batch"
	}
	for key, v := range data {
		switch key {
		case "UserData":
		case "BlockDeviceMappings":
			ephemeral := 0
			for _, d := range v.([]any) {
				d := d.(map[string]any)
				if ebs, ok := d["Ebs"].(map[string]any); ok {
					for k, v := range ebs {
						out.add(subject, "disk "+fmt.Sprint(d["DeviceName"])+" "+k, v)
					}
				} else {
					ephemeral++
				}
			}
			out.add(subject, "ephemeral disks", fmt.Sprint(ephemeral))
		case "NetworkInterfaces":
			for _, n := range v.([]any) {
				n := n.(map[string]any)
				card := n["NetworkCardIndex"]
				if card == nil {
					card = 0
				}
				name := fmt.Sprintf("interface %v/%v ", card, n["DeviceIndex"])
				for k, v := range n {
					out.add(subject, name+k, v)
				}
			}
		case "TagSpecifications":
			for _, s := range v.([]any) {
				s := s.(map[string]any)
				list, _ := s["Tags"].([]any)
				for _, t := range list {
					t := t.(map[string]any)
					out.add(subject, fmt.Sprintf("tag of %v %v", s["ResourceType"], t["Key"]), t["Value"])
				}
			}
		case "MetadataOptions", "InstanceMarketOptions", "Placement", "Monitoring", "CpuOptions", "CapacityReservationSpecification", "IamInstanceProfile":
			flat(out, subject, key, v)
		default:
			out.add(subject, key, v)
		}
	}
}

// flat adds each value below a property.
func flat(out observations, subject, name string, v any) {
	if m, ok := v.(map[string]any); ok {
		for k, v := range m {
			flat(out, subject, name+"."+k, v)
		}
		return
	}
	out.add(subject, name, v)
}

// trafficRuleOf adds one rule of a security group.
func trafficRuleOf(out observations, subject, way string, r map[string]any) {
	peer := "anywhere"
	for _, k := range []string{"CidrIp", "CidrIpv6", "SourceSecurityGroupId", "DestinationSecurityGroupId", "SourcePrefixListId", "DestinationPrefixListId"} {
		if v, ok := r[k]; ok {
			peer = bare(fmt.Sprint(v))
		}
	}
	ports := "all ports"
	if r["FromPort"] != nil && fmt.Sprint(r["IpProtocol"]) != "-1" {
		ports = fmt.Sprintf("%v-%v", r["FromPort"], r["ToPort"])
	}
	out.add(subject, fmt.Sprintf("%s %v %s %s", strings.ToLower(way), r["IpProtocol"], ports, peer), "yes")
}

// permissions adds the actions that a policy allows, each with its resources.
func permissions(out observations, subject string, document any) {
	d, _ := document.(map[string]any)
	for _, s := range asList(d["Statement"]) {
		s := s.(map[string]any)
		for _, action := range texts(s["Action"]) {
			key := fmt.Sprintf("%s: %v %s", subject, s["Effect"], action)
			resources := append(strings.Fields(out[key]), texts(s["Resource"])...)
			sort.Strings(resources)
			out[key] = strings.Join(slices.Compact(resources), " ")
		}
	}
}

// asList returns the items of what may be one or a list.
func asList(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}

func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, texts(e)...)
		}
		return out
	case nil:
		return nil
	}
	return []string{fmt.Sprint(v)}
}

func first(list []any) any {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// bare takes the reference signs off a logical ID.
func bare(s string) string { return strings.TrimSuffix(strings.TrimPrefix(s, "${"), "}") }

var hashed = regexp.MustCompile(`[0-9A-F]{8}$`)

// plainID takes the hash off that CDK puts after logical IDs.
func plainID(id string) string { return hashed.ReplaceAllString(id, "") }

// A resolver turns intrinsic functions into text: ${ID}, ${ID.Attribute}.
type resolver struct {
	parameters map[string]string
	names      map[string]string // what Ref gives, or how to call a thing whose ID is the tool's own
}

// defaults remembers what a template's parameters are without being given.
func (r resolver) defaults(t map[string]any) {
	parameters, _ := t["Parameters"].(map[string]any)
	for id, p := range parameters {
		if d, ok := p.(map[string]any)["Default"]; ok {
			r.parameters[id] = normal(fmt.Sprint(d))
		}
	}
}

func (r resolver) reference(id, attribute string) string {
	pseudo := map[string]string{"AWS::Region": "us-east-1", "AWS::Partition": "aws", "AWS::AccountId": "111122223333", "AWS::StackName": "mycluster", "AWS::URLSuffix": "amazonaws.com"}
	if v, ok := pseudo[id]; ok {
		return v
	}
	if v, ok := r.parameters[id]; ok && attribute == "" {
		return v
	}
	id = plainID(id)
	if name, ok := r.names[id]; ok {
		if attribute == "Arn" && strings.Contains(id, "Table") {
			return "arn:aws:dynamodb:us-east-1:111122223333:table/" + name
		}
		if attribute == "" || strings.HasPrefix(name, "${") {
			return name
		}
	}
	if attribute == "GroupId" || attribute == "VolumeId" { // the same as Ref
		attribute = ""
	}
	if attribute != "" {
		return "${" + id + "." + attribute + "}"
	}
	return "${" + id + "}"
}

var substitution = regexp.MustCompile(`\$\{([^!}][^}]*)\}`)

func (r resolver) resolve(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 1 {
			for name, argument := range v {
				if out, ok := r.intrinsic(name, argument); ok {
					return out
				}
			}
		}
		out := map[string]any{}
		for k, e := range v {
			if e = r.resolve(e); e != nil {
				out[k] = e
			}
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, e := range v {
			out = append(out, r.resolve(e))
		}
		if len(out) > 1 && allMaps(out) { // AWS takes these in any order
			slices.SortStableFunc(out, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		}
		return out
	case string:
		return normal(v)
	}
	return v
}

func (r resolver) intrinsic(name string, argument any) (any, bool) {
	switch name {
	case "Ref":
		return normal(r.reference(fmt.Sprint(argument), "")), true
	case "Fn::GetAtt":
		parts := texts(argument)
		if len(parts) == 1 {
			parts = strings.SplitN(parts[0], ".", 2)
		}
		if v, ok := r.parameters[parts[0]]; ok {
			return v, true
		}
		return r.reference(parts[0], parts[1]), true
	case "Fn::Join":
		a := argument.([]any)
		return normal(strings.Join(texts(r.resolve(a[1])), fmt.Sprint(a[0]))), true
	case "Fn::Sub":
		text, own := "", map[string]any{}
		switch a := argument.(type) {
		case string:
			text = a
		case []any:
			text = fmt.Sprint(a[0])
			own, _ = a[1].(map[string]any)
		}
		return normal(substitution.ReplaceAllStringFunc(text, func(m string) string {
			id, attribute, _ := strings.Cut(bare(m), ".")
			if v, ok := own[bare(m)]; ok {
				return fmt.Sprint(r.resolve(v))
			}
			return r.reference(id, attribute)
		})), true
	}
	return nil, false
}

var accidents = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`parallelcluster-[0-9a-f]{16}-v1-do-not-delete`), "BUCKET"},
	{regexp.MustCompile(`arn:aws:s3:::mybucket\b`), "arn:aws:s3:::BUCKET"},
	{regexp.MustCompile(`parallelcluster/3\.1[56]\.\d+/(clusters/mycluster|images/myimage)-[0-9a-z]{16}`), "ARTIFACTS"},
	{regexp.MustCompile(`\b3\.1[56]\.\d+\b`), "VERSION"},
	{regexp.MustCompile(`\b20\d{10}(\d\d)?\b`), "TIME"},
}

// normal takes out of a text what differs between any two clusters.
func normal(s string) string {
	for _, a := range accidents {
		s = a.pattern.ReplaceAllString(s, a.name)
	}
	return s
}

// compareStacks returns what a user sees differently. A thing that only one of
// them makes counts once, whatever its properties.
func compareStacks(file string, theirs, ours observations) []difference {
	var out []difference
	missing := func(a, b observations, verb string) map[string]bool {
		gone := map[string]bool{}
		for k := range a {
			subject, property, _ := strings.Cut(k, ": ")
			if _, ok := b[k]; !ok && property == "exists" {
				gone[subject] = true
				out = append(out, difference{file: file, what: verb + " " + subject})
			}
		}
		return gone
	}
	lacking, extra := missing(theirs, ours, "lacks"), missing(ours, theirs, "adds")
	for _, k := range slices.Sorted(maps.Keys(theirs)) {
		subject, _, _ := strings.Cut(k, ": ")
		if lacking[subject] {
			continue
		}
		if v, ok := ours[k]; !ok {
			out = append(out, difference{file, "lacks " + k, theirs[k]})
		} else if v != theirs[k] {
			out = append(out, difference{file, "changes " + k, theirs[k] + " | ours: " + v})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(ours)) {
		subject, _, _ := strings.Cut(k, ": ")
		if _, ok := theirs[k]; !ok && !extra[subject] {
			out = append(out, difference{file, "adds " + k, ours[k]})
		}
	}
	return out
}
