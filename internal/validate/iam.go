package validate

import (
	"regexp"
	"strings"

	"pcluster/internal/config"
)

func lastPart(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

func role(k *check, path, arn string) {
	if arn == "" {
		return
	}
	if err := k.src.Role(k.ctx, lastPart(arn)); err != nil {
		k.errorf(path, "the role %s can't be used: %v", arn, err)
	}
}

func profile(k *check, path, arn string) {
	if err := k.src.InstanceProfile(k.ctx, lastPart(arn)); err != nil {
		k.errorf(path, "the instance profile %s can't be used: %v", arn, err)
	}
}

func policy(k *check, path, arn string) {
	if arn == "" {
		return
	}
	if err := k.src.Policy(k.ctx, arn); err != nil {
		k.errorf(path, "the policy %s can't be used: %v", arn, err)
	}
}

// nodeRights plans the checks of a node's permissions.
func (p *plan) nodeRights(path, instanceRole, instanceProfile string, policies []config.IamPolicy) {
	for i, one := range policies {
		// The tool itself attaches this one, so it is there.
		if !managedAgentPolicy.MatchString(one.Policy) {
			p.add("AdditionalIamPolicyValidator", func(k *check) { policy(k, at(path+".AdditionalIamPolicies", i)+".Policy", one.Policy) })
		}
	}
	switch {
	case instanceRole != "":
		p.add("RoleValidator", func(k *check) { role(k, path+".InstanceRole", instanceRole) })
	case instanceProfile != "":
		p.add("InstanceProfileValidator", func(k *check) { profile(k, path+".InstanceProfile", instanceProfile) })
	}
}

var (
	managedAgentPolicy = regexp.MustCompile(`^arn:aws[a-z-]*:iam::aws:policy/CloudWatchAgentServerPolicy$`)
	iamPath            = regexp.MustCompile(`^((/[a-zA-Z0-9_.,+@=-]+)+)/`)
	iamName            = regexp.MustCompile(`^[a-zA-Z0-9_.,+@=-]+$`)
)

func resourcePrefix(k *check) {
	p := k.c.Iam.ResourcePrefix
	if p == "" {
		return
	}
	const path = "Iam.ResourcePrefix"
	if !iamPath.MatchString(p) && !iamName.MatchString(strings.TrimSuffix(p, "\n")) {
		k.errorf(path, "%q is neither a name prefix nor a path that starts and ends with a slash", p)
	}
	i := strings.LastIndexByte(p, '/') + 1
	if len(p)-i > 30 {
		k.errorf(path, "the name prefix %q has %d characters, more than 30", p[i:], len(p)-i)
	}
	if i > 512 {
		k.errorf(path, "the path has %d characters, more than 512", i)
	}
}
