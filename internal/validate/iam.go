package validate

import (
	"fmt"
	"regexp"
	"strings"

	"pcluster/internal/config"
)

var iamRules = []rule{
	{"RoleValidator", roles},
	{"InstanceProfileValidator", profiles},
	{"AdditionalIamPolicyValidator", policies},
	{"IamPolicyValidator", boundary},
	{"IamResourcePrefixValidator", prefix},
}

// nodeIam yields the permissions of all kinds of nodes.
func (e *env) nodeIam(yield func(path, role, profile string, policies []config.IamPolicy)) {
	h := e.c.HeadNode.Iam
	yield("HeadNode.Iam", h.InstanceRole, h.InstanceProfile, h.AdditionalIamPolicies)
	e.queues(func(path string, q *config.SlurmQueue) {
		yield(path+".Iam", q.Iam.InstanceRole, q.Iam.InstanceProfile, q.Iam.AdditionalIamPolicies)
	})
	e.pools(func(path string, p *config.LoginPool) {
		yield(path+".Iam", p.Iam.InstanceRole, p.Iam.InstanceProfile, p.Iam.AdditionalIamPolicies)
	})
}

func lastPart(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

func roles(k *check) {
	seen := map[string]bool{"": true}
	try := func(path, arn string) {
		if seen[arn] {
			return
		}
		seen[arn] = true
		if err := k.src.Role(k.ctx, lastPart(arn)); err != nil {
			k.errorf(path, "the role %s can't be used: %v", arn, err)
		}
	}
	k.nodeIam(func(path, role, _ string, _ []config.IamPolicy) { try(path+".InstanceRole", role) })
	try("Iam.Roles.LambdaFunctionsRole", k.c.Iam.Roles.LambdaFunctionsRole)
}

func profiles(k *check) {
	seen := map[string]bool{"": true}
	k.nodeIam(func(path, _, profile string, _ []config.IamPolicy) {
		if seen[profile] {
			return
		}
		seen[profile] = true
		if err := k.src.InstanceProfile(k.ctx, lastPart(profile)); err != nil {
			k.errorf(path+".InstanceProfile", "the instance profile %s can't be used: %v", profile, err)
		}
	})
}

func policies(k *check) {
	seen := map[string]bool{}
	k.nodeIam(func(path, _, _ string, list []config.IamPolicy) {
		for i, p := range list {
			if seen[p.Policy] || strings.HasSuffix(p.Policy, ":iam::aws:policy/CloudWatchAgentServerPolicy") {
				continue
			}
			seen[p.Policy] = true
			if err := k.src.Policy(k.ctx, p.Policy); err != nil {
				k.errorf(fmt.Sprintf("%s.AdditionalIamPolicies[%d].Policy", path, i), "the policy %s can't be used: %v", p.Policy, err)
			}
		}
	})
}

func boundary(k *check) {
	arn := k.c.Iam.PermissionsBoundary
	if arn == "" {
		return
	}
	if err := k.src.Policy(k.ctx, arn); err != nil {
		k.errorf("Iam.PermissionsBoundary", "the policy %s can't be used: %v", arn, err)
	}
}

var (
	iamPath = regexp.MustCompile(`^((/[a-zA-Z0-9_.,+@=-]+)+)/`)
	iamName = regexp.MustCompile(`^[a-zA-Z0-9_.,+@=-]+$`)
)

func prefix(k *check) {
	p := k.c.Iam.ResourcePrefix
	if p == "" {
		return
	}
	const path = "Iam.ResourcePrefix"
	i := strings.LastIndexByte(p, '/') + 1
	switch {
	case !iamPath.MatchString(p) && !iamName.MatchString(p):
		k.errorf(path, "%q is neither a name prefix nor a path that starts and ends with a slash", p)
	case len(p)-i > 30:
		k.errorf(path, "the name prefix %q has %d characters, more than 30", p[i:], len(p)-i)
	case i > 512:
		k.errorf(path, "the path has %d characters, more than 512", i)
	}
}
