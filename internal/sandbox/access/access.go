// Package access turns AWS calls into the requests that IAM judges: which action, on
// which resources, with which condition keys. ("Service Authorization Reference":
// Actions, resources, and condition keys for AWS services.)
//
// It is pure but for what a [World] tells it of resources that exist. Who has which
// policies, and what becomes of a refusal, is the region's business. Start at [Of].
package access

import (
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/route53"

	"pcluster/internal/sandbox/iam/policy"
)

// A World knows resources that exist.
type World interface {
	// Tags returns the tags of a resource; nil without any, or without the resource.
	Tags(arn string) map[string]string
	// Template returns what a launch template says; nil if there is none.
	Template(*ec2types.LaunchTemplateSpecification) (id string, data *ec2types.ResponseLaunchTemplateData)
	// ProfileRole returns the ARN of the role in an instance profile.
	ProfileRole(nameOrARN string) string
	// Boundary returns the ARN of a role's permissions boundary; nothing without one.
	Boundary(role string) string
	// ARN returns the whole ARN of a resource that is known by a name: of a stack, a
	// role, an instance profile, a secret; for a mount target, of its file system, and
	// for an association, of the address or route table. It returns a pattern if there is
	// none.
	ARN(kind, name string) string
}

// A Call is a call to AWS that is about to be answered.
type Call struct {
	Service   string // by the name of its API's model
	Operation string
	Input     any // the SDK's struct
}

// A Place is where resources are.
type Place struct{ Partition, Region, Account string }

func (p Place) arn(service, resource string) string {
	return "arn:" + p.Partition + ":" + service + ":" + p.Region + ":" + p.Account + ":" + resource
}

// Of returns the requests that a call makes, each of which has to be allowed. Calls
// that need no permission make none.
func Of(w World, p Place, c Call) []policy.Request {
	a := &asker{world: w, place: p, call: c, in: reflect.Indirect(reflect.ValueOf(c.Input))}
	if c.Service == "ec2" {
		a.ec2()
	} else {
		a.other()
	}
	for i := range a.out {
		r := &a.out[i]
		r.Context = maps.Clone(r.Context)
		if r.Context == nil {
			r.Context = map[string][]string{}
		}
		r.Context["aws:requestedregion"] = []string{p.Region}
		r.Context["aws:securetransport"] = []string{"true"}
		for k, v := range w.Tags(r.Resource) {
			r.Context["aws:resourcetag/"+strings.ToLower(k)] = []string{v}
			if c.Service == "ec2" {
				r.Context["ec2:resourcetag/"+strings.ToLower(k)] = []string{v}
			}
		}
	}
	return a.out
}

// An asker collects the requests of one call.
type asker struct {
	world World
	place Place
	call  Call
	in    reflect.Value
	out   []policy.Request
}

func (a *asker) ask(action, resource string, context map[string][]string) {
	a.out = append(a.out, policy.Request{Action: action, Resource: resource, Context: context})
}

// text returns a text member of the input, or nothing.
func (a *asker) text(name string) string {
	if a.in.Kind() != reflect.Struct {
		return ""
	}
	v := reflect.Indirect(a.in.FieldByName(name))
	if !v.IsValid() || v.Kind() != reflect.String {
		return ""
	}
	return v.String()
}

// texts returns a list of texts, or a text as a list.
func (a *asker) texts(name string) []string {
	if a.in.Kind() != reflect.Struct {
		return nil
	}
	v := a.in.FieldByName(name)
	if !v.IsValid() {
		return nil
	}
	if v.Kind() != reflect.Slice {
		if s := a.text(name); s != "" {
			return []string{s}
		}
		return nil
	}
	list, _ := v.Interface().([]string)
	return list
}

// prefixes are what actions begin with, where that is not the name of the API's model.
var prefixes = map[string]string{
	"efs": "elasticfilesystem", "elbv2": "elasticloadbalancing",
}

// actions are the names of actions that are not those of their operations.
var actions = map[string]string{
	"lambda:Invoke": "lambda:InvokeFunction", "lambda:InvokeAsync": "lambda:InvokeFunction",
	"lambda:GetFunctionConcurrency": "lambda:GetFunctionConcurrency",
	"efs:DescribeTags":              "elasticfilesystem:DescribeTags",
}

// A rule is on which resources an operation acts: patterns of ARNs in which {Member}
// stands for a member of the input, {lower:Member} for one in lower case,
// {image-of:Member} for the images of a recipe, and {kind:Member} for a resource that is
// known by a name. A pattern with a member that is not given does not count.
type rule []string

// rules are those of operations, or of all operations of a service that have none of
// their own. Without a rule, or without a pattern that counts, the resource is *.
var rules = map[string]rule{
	"autoscaling:":                                   {"autoscaling:autoScalingGroup:*:autoScalingGroupName/{AutoScalingGroupName}"},
	"batch:":                                         {"batch:compute-environment/{ComputeEnvironment}", "batch:job-queue/{JobQueue}", "batch:job-definition/{JobDefinition}", "batch:job/{JobId}", "{ResourceArn}"},
	"batch:CreateComputeEnvironment":                 {"batch:compute-environment/{ComputeEnvironmentName}"},
	"batch:CreateJobQueue":                           {"batch:job-queue/{JobQueueName}"},
	"batch:RegisterJobDefinition":                    {"batch:job-definition/{JobDefinitionName}"},
	"batch:SubmitJob":                                {"batch:job-definition/{JobDefinition}", "batch:job-queue/{JobQueue}"},
	"batch:DescribeComputeEnvironments":              {},
	"batch:DescribeJobDefinitions":                   {},
	"batch:DescribeJobQueues":                        {},
	"batch:DescribeJobs":                             {},
	"batch:ListJobs":                                 {},
	"cloudformation:":                                {"{stack:StackName}", "{stack:ARN}"},
	"cloudwatch:PutMetricAlarm":                      {"cloudwatch:alarm:{AlarmName}"},
	"cloudwatch:PutCompositeAlarm":                   {"cloudwatch:alarm:{AlarmName}"},
	"cloudwatch:DeleteAlarms":                        {"cloudwatch:alarm:{AlarmNames}"},
	"cloudwatch:DescribeAlarms":                      {"cloudwatch:alarm:{AlarmNames}"},
	"cloudwatch:PutDashboard":                        {"cloudwatch::dashboard/{DashboardName}"},
	"cloudwatch:GetDashboard":                        {"cloudwatch::dashboard/{DashboardName}"},
	"cloudwatch:DeleteDashboards":                    {"cloudwatch::dashboard/{DashboardNames}"},
	"codebuild:":                                     {"codebuild:project/{ProjectName}", "codebuild:project/{Name}", "codebuild:project/{Names}", "{build:Ids}", "{build:Id}"},
	"codebuild:ListBuilds":                           {"*"},
	"codebuild:ListProjects":                         {"*"},
	"dynamodb:":                                      {"dynamodb:table/{TableName}"},
	"dynamodb:Query":                                 {"dynamodb:table/{TableName}/index/{IndexName}", "dynamodb:table/{TableName}"},
	"dynamodb:Scan":                                  {"dynamodb:table/{TableName}/index/{IndexName}", "dynamodb:table/{TableName}"},
	"ecr:":                                           {"ecr:repository/{RepositoryName}", "ecr:repository/{RepositoryNames}", "{ResourceArn}"},
	"ecs:":                                           {"{Cluster}", "ecs:cluster/{Cluster}"},
	"ecs:DescribeContainerInstances":                 {"{ContainerInstances}"},
	"efs:":                                           {"elasticfilesystem:file-system/{FileSystemId}", "elasticfilesystem:file-system/{ResourceId}"},
	"efs:CreateAccessPoint":                          {"elasticfilesystem:file-system/{FileSystemId}"},
	"efs:DeleteAccessPoint":                          {"elasticfilesystem:access-point/{AccessPointId}"},
	"efs:DeleteMountTarget":                          {"{mount-target:MountTargetId}"},
	"elbv2:":                                         {"{LoadBalancerArn}", "{TargetGroupArn}", "{ListenerArn}", "{ResourceArns}", "elasticloadbalancing:loadbalancer/*/{Name}"},
	"elbv2:CreateTargetGroup":                        {"elasticloadbalancing:targetgroup/{Name}/*"},
	"elbv2:CreateLoadBalancer":                       {"elasticloadbalancing:loadbalancer/net/{Name}/*"},
	"elbv2:CreateListener":                           {"{LoadBalancerArn}"},
	"fsx:":                                           {"fsx:file-system/{FileSystemId}", "fsx:association/{AssociationId}", "{ResourceARN}"},
	"fsx:CreateFileSystem":                           {"fsx:file-system/*"},
	"fsx:DescribeFileSystems":                        {"fsx:file-system/{FileSystemIds}"},
	"iam:":                                           {"{role:RoleName}", "{instance-profile:InstanceProfileName}", "{PolicyArn}", "{user:UserName}"},
	"iam:CreateRole":                                 {"iam::role{Path}{RoleName}", "iam::role/{RoleName}"},
	"iam:CreateInstanceProfile":                      {"iam::instance-profile{Path}{InstanceProfileName}", "iam::instance-profile/{InstanceProfileName}"},
	"iam:CreatePolicy":                               {"iam::policy{Path}{PolicyName}", "iam::policy/{PolicyName}"},
	"iam:AttachRolePolicy":                           {"{role:RoleName}"},
	"iam:DetachRolePolicy":                           {"{role:RoleName}"},
	"iam:AddRoleToInstanceProfile":                   {"{instance-profile:InstanceProfileName}"},
	"iam:RemoveRoleFromInstanceProfile":              {"{instance-profile:InstanceProfileName}"},
	"iam:CreateServiceLinkedRole":                    {"iam::role/aws-service-role/{AWSServiceName}/*"},
	"imagebuilder:":                                  {"{ImageBuildVersionArn}", "{ImagePipelineArn}", "{ComponentBuildVersionArn}", "{ImageRecipeArn}", "{InfrastructureConfigurationArn}", "{DistributionConfigurationArn}", "{ResourceArn}"},
	"imagebuilder:CreateImage":                       {"{image-of:ImageRecipeArn}"},
	"imagebuilder:CreateComponent":                   {"imagebuilder:component/{lower:Name}/{SemanticVersion}/*"},
	"imagebuilder:CreateImageRecipe":                 {"imagebuilder:image-recipe/{lower:Name}/{SemanticVersion}"},
	"imagebuilder:CreateInfrastructureConfiguration": {"imagebuilder:infrastructure-configuration/{lower:Name}"},
	"imagebuilder:CreateDistributionConfiguration":   {"imagebuilder:distribution-configuration/{lower:Name}"},
	"kms:":                          {"kms:{AliasName}", "{key:KeyId}", "{key:TargetKeyId}"},
	"kms:ListAliases":               {},
	"kms:CreateKey":                 {},
	"lambda:":                       {"lambda:function:{FunctionName}", "{Resource}"},
	"logs:":                         {"logs:log-group:{LogGroupName}:log-stream:{LogStreamName}", "logs:log-group:{LogGroupName}", "{ResourceArn}"},
	"logs:DescribeLogGroups":        {"logs:log-group:{LogGroupNamePrefix}*"},
	"resource-groups:":              {"resource-groups:group/{Group}", "resource-groups:group/{GroupName}", "{Arn}"},
	"resource-groups:CreateGroup":   {},
	"route53:ChangeTagsForResource": {"route53:::{ResourceType}/{ResourceId}"},
	"route53:":                      {"route53:::hostedzone/{HostedZoneId}", "route53:::hostedzone/{Id}"},
	"secretsmanager:":               {"{secret:SecretId}"},
	"secretsmanager:CreateSecret":   {"secretsmanager:secret:{Name}-*"},
	"sns:":                          {"{TopicArn}", "{ResourceArn}"},
	"sns:Unsubscribe":               {"{SubscriptionArn}"},
	"sns:CreateTopic":               {"sns:{Name}"},
	"ssm:":                          {"{parameter:Name}", "{parameter:Names}"},
}

// all are the operations that need each of the resources in their rule, where others need
// the first that is given.
var all = []string{"batch:SubmitJob"}

// free are the operations that everybody may call.
var free = []string{"sts:GetCallerIdentity", "sts:GetSessionToken"}

var placeholder = regexp.MustCompile(`\{(?:([a-z-]+):)?([A-Za-z]+)\}`)

// other asks for a call of a service that is not EC2.
func (a *asker) other() {
	key := a.call.Service + ":" + a.call.Operation
	if slices.Contains(free, key) {
		return
	}
	action, ok := actions[key]
	if !ok {
		prefix := a.call.Service
		if other, ok := prefixes[prefix]; ok {
			prefix = other
		}
		action = prefix + ":" + a.call.Operation
	}
	context := a.conditions()
	r, ok := rules[key]
	if !ok {
		r = rules[a.call.Service+":"]
	}
	asked := false
	for _, pattern := range r {
		for _, resource := range a.expand(pattern) {
			a.ask(action, resource, context)
			asked = true
		}
		if asked && !slices.Contains(all, key) {
			break
		}
	}
	if key == "dynamodb:BatchWriteItem" || key == "dynamodb:BatchGetItem" {
		for _, table := range a.tables() {
			a.ask(action, a.place.arn("dynamodb", "table/"+table), context)
			asked = true
		}
	}
	if !asked {
		a.ask(action, "*", context)
	}
	if action, ok := tagging[key]; ok && context["aws:tagkeys"] != nil {
		for _, r := range slices.Clone(a.out) {
			if key == "efs:CreateFileSystem" { // which has no resource, but its tags do
				r.Resource = a.place.arn("elasticfilesystem", "file-system/*")
			}
			a.ask(action, r.Resource, context)
		}
	}
	switch key {
	case "cloudformation:DescribeStacks":
		if a.text("StackName") == "" {
			a.ask("cloudformation:ListStacks", "*", context)
		}
	case "autoscaling:CreateAutoScalingGroup":
		a.launchGroup()
	}
	a.passRole(key)
}

// launchGroup asks for the launches of a new group, for which its maker needs
// permission. (Amazon EC2 Auto Scaling User Guide: Control Amazon EC2 launch template
// usage in Auto Scaling groups.)
func (a *asker) launchGroup() {
	in, ok := a.call.Input.(*autoscaling.CreateAutoScalingGroupInput)
	if !ok || in.LaunchTemplate == nil {
		return
	}
	t := in.LaunchTemplate
	a.runInstances(&ec2.RunInstancesInput{LaunchTemplate: &ec2types.LaunchTemplateSpecification{
		LaunchTemplateId: t.LaunchTemplateId, LaunchTemplateName: t.LaunchTemplateName, Version: t.Version,
	}})
}

// tagging are the actions that calls with tags in them need besides.
var tagging = map[string]string{
	"batch:CreateComputeEnvironment": "batch:TagResource", "batch:CreateJobQueue": "batch:TagResource", "batch:RegisterJobDefinition": "batch:TagResource", "batch:SubmitJob": "batch:TagResource",
	"ecr:CreateRepository": "ecr:TagResource", "kms:CreateKey": "kms:TagResource",
	"dynamodb:CreateTable": "dynamodb:TagResource", "logs:CreateLogGroup": "logs:TagResource", "lambda:CreateFunction": "lambda:TagResource",
	"efs:CreateFileSystem": "elasticfilesystem:TagResource", "fsx:CreateFileSystem": "fsx:TagResource", "fsx:CreateDataRepositoryAssociation": "fsx:TagResource",
	"elbv2:CreateLoadBalancer": "elasticloadbalancing:AddTags", "elbv2:CreateTargetGroup": "elasticloadbalancing:AddTags", "elbv2:CreateListener": "elasticloadbalancing:AddTags",
	"cloudwatch:PutMetricAlarm": "cloudwatch:TagResource", "cloudwatch:PutCompositeAlarm": "cloudwatch:TagResource",
	"sns:CreateTopic": "sns:TagResource", "iam:CreateRole": "iam:TagRole", "iam:CreatePolicy": "iam:TagPolicy", "iam:CreateInstanceProfile": "iam:TagInstanceProfile",
	"imagebuilder:CreateComponent": "imagebuilder:TagResource", "imagebuilder:CreateImageRecipe": "imagebuilder:TagResource", "imagebuilder:CreateImage": "imagebuilder:TagResource",
	"imagebuilder:CreateInfrastructureConfiguration": "imagebuilder:TagResource", "imagebuilder:CreateDistributionConfiguration": "imagebuilder:TagResource",
	"secretsmanager:CreateSecret": "secretsmanager:TagResource", "ssm:PutParameter": "ssm:AddTagsToResource",
}

// expand fills in a pattern: once for each value of a member that is a list.
func (a *asker) expand(pattern string) []string {
	m := placeholder.FindStringSubmatch(pattern)
	if m == nil {
		if strings.HasPrefix(pattern, "arn:") || pattern == "*" {
			return []string{pattern}
		}
		service, resource, _ := strings.Cut(pattern, ":")
		switch {
		case strings.HasPrefix(resource, "::"): // neither region nor account
			return []string{"arn:" + a.place.Partition + ":" + service + ":::" + resource[2:]}
		case strings.HasPrefix(resource, ":"): // no region
			return []string{"arn:" + a.place.Partition + ":" + service + "::" + a.place.Account + ":" + resource[1:]}
		}
		return []string{a.place.arn(service, resource)}
	}
	var out []string
	for _, value := range a.texts(m[2]) {
		switch {
		case m[1] == "lower":
			value = strings.ToLower(value)
		case m[1] == "image-of": // a recipe
			value = strings.Replace(value, ":image-recipe/", ":image/", 1) + "/*"
		case m[1] != "" && !strings.HasPrefix(value, "arn:"):
			value = a.world.ARN(m[1], value)
		}
		if strings.HasPrefix(value, "arn:") { // a name that is an ARN already
			out = append(out, value)
			continue
		}
		value = strings.TrimPrefix(value, "/hostedzone/")
		out = append(out, a.expand(strings.Replace(pattern, m[0], value, 1))...)
	}
	return out
}

// conditions are the condition keys of a call that are not about its resources.
func (a *asker) conditions() map[string][]string {
	context := map[string][]string{}
	tagConditions(context, a.requestTags())
	switch a.call.Service {
	case "cloudwatch":
		if ns := a.text("Namespace"); ns != "" {
			context["cloudwatch:namespace"] = []string{ns}
		}
	case "route53":
		if names := a.recordNames(); names != nil {
			context["route53:changeresourcerecordsetsnormalizedrecordnames"] = names
		}
	case "dynamodb":
		if keys := a.leadingKeys(); keys != nil {
			context["dynamodb:leadingkeys"] = keys
		}
	case "iam":
		if boundary := a.boundary(); boundary != "" {
			context["iam:permissionsboundary"] = []string{boundary}
		}
		if arn := a.text("PolicyArn"); arn != "" {
			context["iam:policyarn"] = []string{arn}
		}
		if name := a.text("AWSServiceName"); name != "" {
			context["iam:awsservicename"] = []string{name}
		}
	}
	return context
}

// recordNames are the names that a change of records is about, as conditions have
// them: in lower case, without a dot at the end.
func (a *asker) recordNames() []string {
	in, ok := a.call.Input.(*route53.ChangeResourceRecordSetsInput)
	if !ok || in.ChangeBatch == nil {
		return nil
	}
	var out []string
	for _, c := range in.ChangeBatch.Changes {
		if c.ResourceRecordSet != nil {
			out = append(out, strings.ToLower(strings.TrimSuffix(aws.ToString(c.ResourceRecordSet.Name), ".")))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// boundary is the permissions boundary that a call gives, or that the role has whose
// permissions it changes.
func (a *asker) boundary() string {
	if arn := a.text("PermissionsBoundary"); arn != "" {
		return arn
	}
	switch a.call.Operation {
	case "PutRolePolicy", "AttachRolePolicy", "DetachRolePolicy", "DeleteRolePolicy", "DeleteRolePermissionsBoundary", "DeleteRole", "GetRole":
		return a.world.Boundary(a.text("RoleName"))
	}
	return ""
}

func tagConditions(context map[string][]string, tags map[string]string) {
	if len(tags) == 0 {
		return
	}
	for k, v := range tags {
		context["aws:requesttag/"+strings.ToLower(k)] = []string{v}
	}
	context["aws:tagkeys"] = slices.Sorted(maps.Keys(tags))
}

// requestTags are the tags that a call gives: a list of keys and values, or a map.
func (a *asker) requestTags() map[string]string {
	out := map[string]string{}
	if a.in.Kind() != reflect.Struct {
		return out
	}
	v := a.in.FieldByName("Tags")
	switch {
	case !v.IsValid():
	case v.Kind() == reflect.Map:
		if m, ok := v.Interface().(map[string]string); ok {
			maps.Copy(out, m)
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			t := reflect.Indirect(v.Index(i))
			if t.Kind() != reflect.Struct {
				continue
			}
			k, value := reflect.Indirect(t.FieldByName("Key")), reflect.Indirect(t.FieldByName("Value"))
			if k.IsValid() && k.Kind() == reflect.String {
				out[k.String()] = ""
				if value.IsValid() && value.Kind() == reflect.String {
					out[k.String()] = value.String()
				}
			}
		}
	}
	return out
}

// A handOver is a member of an input that hands a role to a service.
type handOver struct{ member, service string }

// handOvers are those of operations. Members of members are joined by dots, through lists
// too; an instance profile stands for its role.
var handOvers = map[string][]handOver{
	"iam:AddRoleToInstanceProfile":       {{"RoleName", "ec2.amazonaws.com"}},
	"lambda:CreateFunction":              {{"Role", "lambda.amazonaws.com"}},
	"lambda:UpdateFunctionConfiguration": {{"Role", "lambda.amazonaws.com"}},
	"cloudformation:CreateStack":         {{"RoleARN", "cloudformation.amazonaws.com"}},
	"cloudformation:UpdateStack":         {{"RoleARN", "cloudformation.amazonaws.com"}},
	"cloudformation:DeleteStack":         {{"RoleARN", "cloudformation.amazonaws.com"}},
	"codebuild:CreateProject":            {{"ServiceRole", "codebuild.amazonaws.com"}},
	"codebuild:UpdateProject":            {{"ServiceRole", "codebuild.amazonaws.com"}},
	"batch:CreateComputeEnvironment": {
		{"ServiceRole", "batch.amazonaws.com"}, {"ComputeResources.SpotIamFleetRole", "spotfleet.amazonaws.com"}, {"ComputeResources.InstanceRole", "ec2.amazonaws.com"}},
	"batch:UpdateComputeEnvironment": {{"ServiceRole", "batch.amazonaws.com"}, {"ComputeResources.InstanceRole", "ec2.amazonaws.com"}},
	"batch:RegisterJobDefinition": {
		{"ContainerProperties.JobRoleArn", "ecs-tasks.amazonaws.com"}, {"NodeProperties.NodeRangeProperties.Container.JobRoleArn", "ecs-tasks.amazonaws.com"}},
}

func (a *asker) passRole(key string) {
	asked := map[string]bool{}
	for _, h := range handOvers[key] {
		for _, role := range within(a.in, strings.Split(h.member, ".")) {
			switch {
			case strings.HasSuffix(h.member, ".InstanceRole"):
				role = a.world.ProfileRole(role)
			case !strings.HasPrefix(role, "arn:"):
				role = a.world.ARN("role", role)
			}
			if role != "" && !asked[role] {
				asked[role] = true
				a.ask("iam:PassRole", role, map[string][]string{"iam:passedtoservice": {h.service}})
			}
		}
	}
}

// within returns the texts at a path of members.
func within(v reflect.Value, path []string) (out []string) {
	switch v = reflect.Indirect(v); v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			out = append(out, within(v.Index(i), path)...)
		}
	case reflect.Struct:
		if len(path) == 0 {
			return nil
		}
		if f := v.FieldByName(path[0]); f.IsValid() {
			return within(f, path[1:])
		}
	case reflect.String:
		if len(path) == 0 && v.String() != "" {
			return []string{v.String()}
		}
	}
	return out
}
