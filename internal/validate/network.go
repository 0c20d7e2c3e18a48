package validate

import (
	"fmt"
	"slices"
	"strings"

	"pcluster/internal/config"
	"pcluster/internal/facts"
)

var networkRules = []rule{
	{"SubnetsValidator", subnetsExist},
	{"SubnetsValidator", oneVPC},
	{"SecurityGroupsValidator", groupsExist},
	{"ElasticIpValidator", elasticIP},
	{"QueueSubnetsValidator", queueSubnets},
	{"SingleInstanceTypeSubnetValidator", singleTypeSubnet},
	{"MixedSecurityGroupOverwriteValidator", mixedGroups},
	{"MultiNetworkInterfacesInstancesValidator", publicWithManyCards},
	{"HostedZoneValidator", hostedZone},
	{"LambdaFunctionsVpcConfigValidator", functionVPC},
}

func subnetsExist(k *check) {
	seen := map[string]bool{}
	try := func(path, id string) {
		if err := k.missing[id]; err != nil && !seen[id] {
			seen[id] = true
			k.errorf(path, "the subnet %s can't be used: %v", id, err)
			if facts.NotFound(err) {
				k.hint("is it in the region %s and in this account?", k.o.Region)
			}
		}
	}
	try("HeadNode.Networking.SubnetId", k.c.HeadNode.Networking.SubnetId)
	k.queues(func(path string, q *config.SlurmQueue) {
		for i, id := range q.Networking.SubnetIds {
			try(fmt.Sprintf("%s.Networking.SubnetIds[%d]", path, i), id)
		}
	})
	k.pools(func(path string, p *config.LoginPool) {
		for i, id := range p.Networking.SubnetIds {
			try(fmt.Sprintf("%s.Networking.SubnetIds[%d]", path, i), id)
		}
	})
}

// oneVPC matters to clusters with login nodes, whose load balancer is in one VPC.
func oneVPC(k *check) {
	head, ok := k.subnets[k.c.HeadNode.Networking.SubnetId]
	if !ok || k.c.LoginNodes == nil {
		return
	}
	for _, id := range facts.SubnetIDs(k.c) {
		if s, ok := k.subnets[id]; ok && s.VPC != head.VPC {
			k.errorf("LoginNodes", "the subnet %s is in %s, but the head node is in %s", id, s.VPC, head.VPC)
		}
	}
	vpc, err := k.src.VPC(k.ctx, head.VPC)
	switch {
	case err != nil:
		k.errorf("LoginNodes", "the VPC %s can't be looked up: %v", head.VPC, err)
	case !vpc.DNSSupport:
		k.errorf("LoginNodes", "DNS support is off in the VPC %s", head.VPC)
	case !vpc.DNSHostnames:
		k.errorf("LoginNodes", "DNS host names are off in the VPC %s", head.VPC)
	}
}

func groupsExist(k *check) {
	seen := map[string]bool{}
	try := func(path string, own, more []string) {
		for key, list := range map[string][]string{".SecurityGroups": own, ".AdditionalSecurityGroups": more} {
			for i, id := range list {
				if seen[id] {
					continue
				}
				seen[id] = true
				if _, err := k.src.SecurityGroup(k.ctx, id); err != nil {
					k.errorf(fmt.Sprintf("%s%s[%d]", path, key, i), "the security group %s can't be used: %v", id, err)
				}
			}
		}
	}
	n := k.c.HeadNode.Networking
	try("HeadNode.Networking", n.SecurityGroups, n.AdditionalSecurityGroups)
	k.queues(func(path string, q *config.SlurmQueue) {
		try(path+".Networking", q.Networking.SecurityGroups, q.Networking.AdditionalSecurityGroups)
	})
	k.pools(func(path string, p *config.LoginPool) {
		try(path+".Networking", p.Networking.SecurityGroups, p.Networking.AdditionalSecurityGroups)
	})
}

func elasticIP(k *check) {
	ip := string(k.c.HeadNode.Networking.ElasticIp)
	if ip == "" || ip == "true" || ip == "false" {
		return
	}
	if _, err := k.src.Address(k.ctx, ip); err != nil {
		k.errorf("HeadNode.Networking.ElasticIp", "the Elastic IP %s can't be used: %v", ip, err)
		k.hint("give true for a new address")
	}
}

func queueSubnets(k *check) {
	k.queues(func(path string, q *config.SlurmQueue) {
		byZone, seen := map[string]string{}, map[string]bool{}
		for i, id := range q.Networking.SubnetIds {
			at := fmt.Sprintf("%s.Networking.SubnetIds[%d]", path, i)
			if seen[id] {
				k.errorf(at, "the subnet %s is given twice", id)
				continue
			}
			seen[id] = true
			s, ok := k.subnets[id]
			if !ok {
				continue
			}
			if other := byZone[s.AZ]; other != "" {
				k.errorf(at, "the subnets %s and %s are both in %s; a queue takes one for each availability zone", other, id, s.AZ)
			}
			byZone[s.AZ] = id
		}
	})
}

func singleTypeSubnet(k *check) {
	k.queues(func(path string, q *config.SlurmQueue) {
		if len(q.Networking.SubnetIds) < 2 {
			return
		}
		for _, r := range q.ComputeResources {
			if !r.Flexible() {
				k.errorf(path+".Networking.SubnetIds", "a queue with several subnets takes compute resources with Instances, but %s has InstanceType", r.Name)
				k.hint("write the type as the one item of Instances")
				return
			}
		}
	})
}

func mixedGroups(k *check) {
	head := len(k.c.HeadNode.Networking.SecurityGroups) > 0
	k.queues(func(path string, q *config.SlurmQueue) {
		if own := len(q.Networking.SecurityGroups) > 0; own != head && len(k.found) == 0 {
			k.warnf(path+".Networking", "SecurityGroups are given for some nodes and managed for others; make sure that head and compute nodes can reach each other")
		}
	})
}

func publicWithManyCards(k *check) {
	k.resources(func(r resource) {
		many := false
		for _, t := range r.types {
			many = many || len(t.Cards()) > 1 || r.Efa.Enabled && t.Cards()[0].MaximumNetworkInterfaces > 1 && k.c.DevSettings.EfaInterfaceType == ""
		}
		if !many {
			return
		}
		if p := r.queue.Networking.AssignPublicIp; p != nil {
			if *p {
				k.errorf(r.queuePath+".Networking.AssignPublicIp", "EC2 gives no public addresses to instances with several network interfaces, as those of %s have", r.Name)
			}
			return
		}
		for i, id := range r.queue.Networking.SubnetIds {
			if k.subnets[id].PublicIP {
				k.errorf(fmt.Sprintf("%s.Networking.SubnetIds[%d]", r.queuePath, i),
					"the subnet %s assigns public addresses, which EC2 refuses for instances with several network interfaces, as those of %s have", id, r.Name)
			}
		}
	})
}

func hostedZone(k *check) {
	id := k.c.Scheduling.SlurmSettings.Dns.HostedZoneId
	if id == "" {
		return
	}
	path := "Scheduling.SlurmSettings.Dns.HostedZoneId"
	zone, err := k.src.HostedZone(k.ctx, id)
	if err != nil {
		k.errorf(path, "the hosted zone %s can't be used: %v", id, err)
		return
	}
	if !zone.Private {
		k.errorf(path, "the hosted zone %s is public, but has to be private", id)
	} else if vpc := k.subnets[k.c.HeadNode.Networking.SubnetId].VPC; vpc != "" && !slices.Contains(zone.VPCs, vpc) {
		k.errorf(path, "the hosted zone %s does not belong to the VPC %s of the head node", id, vpc)
	}
	if n := len(k.o.ClusterName) + len(zone.Name); n > 190 {
		k.errorf(path, "cluster name and zone name have %d characters together, but at most 190 are possible", n)
	}
}

func functionVPC(k *check) {
	v := k.c.DeploymentSettings.LambdaFunctionsVpcConfig
	if v == nil {
		return
	}
	path := "DeploymentSettings.LambdaFunctionsVpcConfig"
	vpcs := map[string][]string{}
	note := func(kind, vpc string) {
		if !slices.Contains(vpcs[kind], vpc) {
			vpcs[kind] = append(vpcs[kind], vpc)
		}
	}
	k.each(path+".SecurityGroupIds", v.SecurityGroupIds, "the security group", func(id string) error {
		g, err := k.src.SecurityGroup(k.ctx, id)
		if err == nil {
			note("groups", g.VPC)
		}
		return err
	})
	k.each(path+".SubnetIds", v.SubnetIds, "the subnet", func(id string) error {
		s, err := k.src.Subnet(k.ctx, id)
		if err == nil {
			note("subnets", s.VPC)
		}
		return err
	})
	g, s := vpcs["groups"], vpcs["subnets"]
	if len(g) > 1 {
		k.errorf(path+".SecurityGroupIds", "the security groups are in several VPCs: %s", strings.Join(g, ", "))
	}
	if len(s) > 1 {
		k.errorf(path+".SubnetIds", "the subnets are in several VPCs: %s", strings.Join(s, ", "))
	}
	if len(g) == 1 && len(s) == 1 && g[0] != s[0] {
		k.errorf(path, "the security groups are in %s, but the subnets are in %s", g[0], s[0])
	}
}
