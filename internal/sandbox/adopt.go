//go:build linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	awsec2 "github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"pcluster/internal/config"
	"pcluster/internal/sandbox/rds"
	"pcluster/internal/sandbox/region"
)

// adoptedNetwork is the VPC range in which adopted subnets are laid out.
var adoptedNetwork = netip.MustParsePrefix("10.0.0.0/16")

// adopt makes what a cluster or image file refers to and does not own, under the IDs
// in the file, so that the file runs unmodified. What exists already stays; adopting
// the same file again is no error.
func (r *Region) adopt(ctx context.Context, name string, file []byte) (Adoption, error) {
	if config.IsImageFile(file) {
		return r.adoptImageFile(ctx, name, file)
	}
	c, problems := config.Parse(name, file)
	if err := problems.Err(); err != nil {
		return Adoption{}, fmt.Errorf("%s: %w", name, err)
	}
	refs := references(c)
	if err := r.adoptIdentity(ctx, c, refs); err != nil {
		return Adoption{}, err
	}
	a := &adopter{Region: r, c: c, refs: refs}
	for _, step := range []func(context.Context) error{
		a.subnets, a.securityGroups, a.keyPair, a.images, a.buckets, a.fileSystems, a.policies, a.encryptionKeys, a.secretsAndDatabase, a.reservations, a.reservationGroups,
		a.placementGroups, a.hostedZone,
	} {
		if err := step(ctx); err != nil {
			return Adoption{}, err
		}
	}
	a.leaveOut()
	return a.out, nil
}

// refs are the identifiers that a cluster file mentions, in order of appearance.
type refs struct {
	subnets, groups, images, buckets, policies, roles, profiles, keys []string
	accounts                                                          []string
	nodes                                                             int // most nodes the file can have
}

var accountInARN = regexp.MustCompile(`^arn:[a-z-]+:[a-z0-9-]+:[a-z0-9-]*:([0-9]{12}):`)

func references(c *config.Cluster) refs {
	var f refs
	add := func(list *[]string, values ...string) {
		for _, v := range values {
			if v != "" && !slices.Contains(*list, v) {
				*list = append(*list, v)
			}
		}
	}
	arn := func(values ...string) {
		for _, v := range values {
			if m := accountInARN.FindStringSubmatch(v); m != nil {
				add(&f.accounts, m[1])
			}
		}
	}
	url := func(values ...string) {
		for _, v := range values {
			if rest, ok := strings.CutPrefix(v, "s3://"); ok {
				bucket, _, _ := strings.Cut(rest, "/")
				add(&f.buckets, bucket)
			}
		}
	}
	scripts := func(actions ...*config.CustomAction) {
		for _, a := range actions {
			for _, s := range a.Scripts() {
				url(s.Script)
			}
		}
	}
	nodeIam := func(i config.NodeIam) {
		for _, p := range i.AdditionalIamPolicies {
			add(&f.policies, p.Policy)
			arn(p.Policy)
		}
		for _, s := range i.S3Access {
			if !strings.ContainsAny(s.BucketName, "*?") {
				add(&f.buckets, s.BucketName)
			}
		}
		add(&f.roles, i.InstanceRole)
		add(&f.profiles, i.InstanceProfile)
		arn(i.InstanceRole, i.InstanceProfile)
	}

	h := c.HeadNode
	add(&f.images, c.Image.CustomAmi, h.Image.CustomAmi)
	add(&f.subnets, h.Networking.SubnetId)
	add(&f.groups, h.Networking.SecurityGroups...)
	add(&f.groups, h.Networking.AdditionalSecurityGroups...)
	scripts(h.CustomActions.OnNodeStart, h.CustomActions.OnNodeConfigured, h.CustomActions.OnNodeUpdated)
	nodeIam(h.Iam)
	f.nodes = 1
	for _, q := range c.Scheduling.SlurmQueues {
		add(&f.subnets, q.Networking.SubnetIds...)
		add(&f.groups, q.Networking.SecurityGroups...)
		add(&f.groups, q.Networking.AdditionalSecurityGroups...)
		add(&f.images, q.Image.CustomAmi)
		scripts(q.CustomActions.OnNodeStart, q.CustomActions.OnNodeConfigured)
		nodeIam(q.Iam)
		for i := range q.ComputeResources {
			f.nodes += q.ComputeResources[i].MaxCount
			if t := q.ReservationOf(&q.ComputeResources[i]); t != nil {
				arn(t.CapacityReservationResourceGroupArn)
			}
		}
	}
	for _, q := range c.Scheduling.AwsBatchQueues {
		add(&f.subnets, q.Networking.SubnetIds...)
		add(&f.groups, q.Networking.SecurityGroups...)
		add(&f.groups, q.Networking.AdditionalSecurityGroups...)
		for _, r := range q.ComputeResources {
			f.nodes += r.MaxvCpus // at most one each
		}
	}
	if v := c.DeploymentSettings.LambdaFunctionsVpcConfig; v != nil {
		add(&f.subnets, v.SubnetIds...)
		add(&f.groups, v.SecurityGroupIds...)
	}
	if c.LoginNodes != nil {
		for _, p := range c.LoginNodes.Pools {
			add(&f.subnets, p.Networking.SubnetIds...)
			add(&f.groups, p.Networking.SecurityGroups...)
			add(&f.groups, p.Networking.AdditionalSecurityGroups...)
			add(&f.images, p.Image.CustomAmi)
			scripts(p.CustomActions.OnNodeStart, p.CustomActions.OnNodeConfigured, p.CustomActions.OnNodeUpdated)
			nodeIam(config.NodeIam{InstanceRole: p.Iam.InstanceRole, InstanceProfile: p.Iam.InstanceProfile, AdditionalIamPolicies: p.Iam.AdditionalIamPolicies})
			f.nodes += p.Count
		}
	}
	s := c.Scheduling.SlurmSettings
	url(s.CustomSlurmSettingsIncludeFile, c.DevSettings.ClusterTemplate)
	if s.Database != nil {
		arn(s.Database.PasswordSecretArn)
	}
	arn(s.MungeKeySecretArn)
	if c.DirectoryService != nil {
		arn(c.DirectoryService.PasswordSecretArn)
	}
	for _, st := range c.SharedStorage {
		if e := st.EbsSettings; e != nil {
			add(&f.keys, e.KmsKeyId)
			arn(e.KmsKeyId)
		}
		if e := st.EfsSettings; e != nil {
			add(&f.keys, e.KmsKeyId)
			arn(e.KmsKeyId)
		}
		if l := st.FsxLustreSettings; l != nil {
			add(&f.keys, l.KmsKeyId)
			arn(l.KmsKeyId)
			url(l.ImportPath, l.ExportPath)
			for _, d := range l.DataRepositoryAssociations {
				url(d.DataRepositoryPath)
			}
		}
	}
	add(&f.buckets, c.CustomS3Bucket)
	add(&f.roles, c.Iam.Roles.LambdaFunctionsRole)
	arn(c.Iam.Roles.LambdaFunctionsRole, c.Iam.PermissionsBoundary)
	add(&f.policies, c.Iam.PermissionsBoundary)
	return f
}

// adoptIdentity makes the region be the one that the file was written for, as
// long as nothing in it says otherwise.
func (r *Region) adoptIdentity(ctx context.Context, c *config.Cluster, f refs) error {
	name, account := c.Region, ""
	if len(f.accounts) > 1 {
		return fmt.Errorf("the file mentions several accounts (%s); the region is one account", strings.Join(f.accounts, ", "))
	}
	if len(f.accounts) == 1 {
		account = f.accounts[0]
	}
	changes := (name != "" && name != r.identity.Name()) || (account != "" && account != r.identity.Account())
	if !changes {
		return nil
	}
	if _, decided := r.identities.Get("identity"); decided || r.inUse(ctx) {
		return fmt.Errorf("the file is for region %s, account %s, and this region is already %s, account %s: destroy it first, or start another one with --home and --port",
			orElse(name, r.identity.Name()), orElse(account, r.identity.Account()), r.identity.Name(), r.identity.Account())
	}
	r.identity.Set(name, account)
	return r.identities.Put("identity", identityRow{r.identity.Name(), r.identity.Account()})
}

// inUse says whether the region has anything whose ARN would become wrong if the
// account or the region's name changed.
func (r *Region) inUse(ctx context.Context) bool {
	stacks, err := r.cfn.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{})
	return err != nil || len(stacks.Stacks) > 0 || r.ec2.InUse()
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// An adopter is one run of adopt.
type adopter struct {
	*Region
	c    *config.Cluster
	refs refs
	out  Adoption
}

func (a *adopter) made(kind, id, format string, args ...any) {
	a.out.Resources = append(a.out.Resources, Adopted{kind, id, fmt.Sprintf(format, args...)})
}

func (a *adopter) not(format string, args ...any) {
	a.out.NotAdopted = append(a.out.NotAdopted, fmt.Sprintf(format, args...))
}

// spareAddresses is what a subnet needs beside the file's nodes: EC2 keeps five,
// a database and mount targets take some, replaced nodes overlap.
const spareAddresses = 16

// subnets lays the file's subnets out side by side, each large enough for all
// nodes of the file.
func (a *adopter) subnets(ctx context.Context) error {
	bits := 24
	for 1<<(32-bits) < a.refs.nodes+spareAddresses && bits > 17 {
		bits--
	}
	taken, err := a.subnetRanges(ctx)
	if err != nil {
		return err
	}
	zones := spread(a.refs.subnets, a.c.Scheduling.SlurmQueues, a.identity.AZs())
	for _, id := range a.refs.subnets {
		if p, ok := taken[id]; ok {
			a.made("subnet", id, "%s, exists", p)
			continue
		}
		p, err := freeRange(taken, bits)
		if err != nil {
			return fmt.Errorf("subnet %s: %w", id, err)
		}
		zone := zones[id]
		if err := a.ec2.AdoptSubnetIn(ctx, id, p.String(), zone); err != nil {
			return fmt.Errorf("subnet %s: %w", id, err)
		}
		taken[id] = p
		a.made("subnet", id, "%s in %s", p, zone)
	}
	return nil
}

// spread gives each subnet the first zone that no subnet of the same queue has:
// a queue takes one subnet of each. The head node's, which comes first, is in the
// first zone. With more subnets than zones, zones repeat, and validation says so.
func spread(subnets []string, queues []config.SlurmQueue, zones []string) map[string]string {
	at := map[string]string{}
	for _, id := range subnets {
		used := map[string]bool{}
		for _, q := range queues {
			if slices.Contains(q.Networking.SubnetIds, id) {
				for _, other := range q.Networking.SubnetIds {
					used[at[other]] = true
				}
			}
		}
		at[id] = zones[0]
		if i := slices.IndexFunc(zones, func(z string) bool { return !used[z] }); i >= 0 {
			at[id] = zones[i]
		}
	}
	return at
}

func (a *adopter) subnetRanges(ctx context.Context) (map[string]netip.Prefix, error) {
	out, err := a.ec2.DescribeSubnets(ctx, &awsec2.DescribeSubnetsInput{})
	if err != nil {
		return nil, err
	}
	taken := map[string]netip.Prefix{}
	for _, s := range out.Subnets {
		p, err := netip.ParsePrefix(*s.CidrBlock)
		if err != nil {
			return nil, err
		}
		taken[*s.SubnetId] = p
	}
	return taken, nil
}

// freeRange returns the first network of that size in the adopted VPC that meets
// none of the taken ones. It starts at the second, so that the seed's 10.0.1.x
// comes out.
func freeRange(taken map[string]netip.Prefix, bits int) (netip.Prefix, error) {
	first := adoptedNetwork.Addr().As4()
	base := uint32(first[0])<<24 | uint32(first[1])<<16
	size := uint32(1) << (32 - bits)
	for at := base + size; at < base+1<<16; at += size {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(at >> 24), byte(at >> 16), byte(at >> 8), byte(at)}), bits)
		free := true
		for _, t := range taken {
			free = free && !t.Overlaps(p)
		}
		if free {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("no /%d is free in %s", bits, adoptedNetwork)
}

func (a *adopter) securityGroups(ctx context.Context) error {
	for _, id := range a.refs.groups {
		if err := a.ec2.AdoptSecurityGroup(ctx, id, a.refs.subnets[0]); err != nil {
			return fmt.Errorf("security group %s: %w", id, err)
		}
		if err := a.openToItself(ctx, id); err != nil {
			return fmt.Errorf("security group %s: %w", id, err)
		}
		a.made("security group", id, "open inside the group, ssh from anywhere")
	}
	return nil
}

// openToItself adds the outbound rule that EFA demands on top of a group's usual
// freedom to send anywhere.
func (a *adopter) openToItself(ctx context.Context, id string) error {
	_, err := a.ec2.AuthorizeSecurityGroupEgress(ctx, &awsec2.AuthorizeSecurityGroupEgressInput{GroupId: &id, IpPermissions: []types.IpPermission{
		{IpProtocol: awssdk.String("-1"), UserIdGroupPairs: []types.UserIdGroupPair{{GroupId: &id}}},
	}})
	var api smithy.APIError
	if errors.As(err, &api) && api.ErrorCode() == "InvalidPermission.Duplicate" {
		return nil
	}
	return err
}

func (a *adopter) keyPair(ctx context.Context) error {
	name := a.c.HeadNode.Ssh.KeyName
	if name == "" {
		return nil
	}
	key, created, err := a.ec2.AdoptKeyPair(ctx, name)
	if err != nil {
		return fmt.Errorf("key pair %s: %w", name, err)
	}
	if !created {
		a.made("key pair", name, "exists")
		return nil
	}
	dir := a.home.path("keys")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file := filepath.Join(dir, filepath.Base(name)+".pem")
	if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
		return err
	}
	a.made("key pair", name, "private key in %s", file)
	return nil
}

func (a *adopter) images(ctx context.Context) error {
	for _, id := range a.refs.images {
		if err := a.ec2.AdoptImage(ctx, id, "adopted-"+a.c.Image.Os+"-"+id, a.c.Image.Os, map[string]string{
			"parallelcluster:version": config.ToolVersion, "parallelcluster:os": a.c.Image.Os, "parallelcluster:build_status": "available",
		}); err != nil {
			return fmt.Errorf("AMI %s: %w", id, err)
		}
		a.made("AMI", id, "the region's base image (Debian 13), users as in %s", a.c.Image.Os)
	}
	return nil
}

func (a *adopter) buckets(ctx context.Context) error {
	for _, name := range a.refs.buckets {
		if err := a.s3.AdoptBucket(ctx, name, name == a.c.CustomS3Bucket); err != nil {
			return fmt.Errorf("bucket %s: %w", name, err)
		}
		a.made("bucket", name, "")
	}
	return nil
}

func (a *adopter) fileSystems(ctx context.Context) error {
	for i := range a.c.SharedStorage {
		s := &a.c.SharedStorage[i]
		id := s.ExistingID()
		switch {
		case id == "":
		case s.StorageType == config.Efs:
			if err := a.efs.AdoptFileSystem(ctx, id, s.Name, a.refs.subnets[0], a.storageGroups()); err != nil {
				return fmt.Errorf("EFS file system %s: %w", id, err)
			}
			dir, err := a.efs.Directory(id)
			if err != nil {
				return err
			}
			a.made("EFS file system", id, "its files are in %s", dir)
		default:
			a.not("%s %s of SharedStorage %s: the region has no existing storage of this type", s.StorageType, id, s.Name)
		}
	}
	return nil
}

// storageGroups are the security groups of adopted mount targets: those that the
// file's nodes are in.
func (a *adopter) storageGroups() []string { return a.refs.groups }

func (a *adopter) encryptionKeys(context.Context) error {
	for _, name := range a.refs.keys {
		if err := a.keys.Adopt(name); err != nil {
			return err
		}
		a.made("KMS key", name, "encrypts nothing")
	}
	return nil
}

func (a *adopter) policies(ctx context.Context) error {
	for _, arn := range a.refs.policies {
		if strings.Contains(arn, ":iam::aws:") {
			continue // AWS's own exist everywhere
		}
		if err := a.iam.AdoptPolicy(arn, adoptedPolicy); err != nil {
			return fmt.Errorf("IAM policy %s: %w", arn, err)
		}
		a.made("IAM policy", arn, "the file does not say what it allows: who has it may do all, until you give it a version that says")
	}
	for _, arn := range a.refs.roles {
		if err := a.role(ctx, arn); err != nil {
			return fmt.Errorf("IAM role %s: %w", arn, err)
		}
	}
	for _, arn := range a.refs.profiles {
		if err := a.profile(ctx, arn); err != nil {
			return fmt.Errorf("instance profile %s: %w", arn, err)
		}
	}
	return nil
}

// adoptedPolicy grants nothing: the file does not say what the real one grants.
const adoptedPolicy = `{"Version":"2012-10-17","Statement":[]}`

// defaultDatabasePort is MySQL's, which ParallelCluster implies.
const defaultDatabasePort = 3306

func (a *adopter) secretsAndDatabase(ctx context.Context) error {
	if arn := a.c.Scheduling.SlurmSettings.MungeKeySecretArn; arn != "" {
		if err := a.secret.AdoptSecret(ctx, arn, region.NewMungeKey()); err != nil {
			return fmt.Errorf("secret %s: %w", arn, err)
		}
		a.made("secret", arn, "a new munge key")
	}
	if d := a.c.DirectoryService; d != nil {
		// The directory is somebody else's, and so is the password: put-secret-value.
		if err := a.secret.AdoptSecret(ctx, d.PasswordSecretArn, region.Hex(24)); err != nil {
			return fmt.Errorf("secret %s: %w", d.PasswordSecretArn, err)
		}
		a.made("secret", d.PasswordSecretArn, "password of the directory: put yours in")
	}
	db := a.c.Scheduling.SlurmSettings.Database
	if db == nil {
		return nil
	}
	host, port, err := splitDatabase(db.Uri)
	if err != nil {
		return err
	}
	password := region.Hex(24)
	if err := a.secret.AdoptSecret(ctx, db.PasswordSecretArn, password); err != nil {
		return fmt.Errorf("secret %s: %w", db.PasswordSecretArn, err)
	}
	if password, err = a.secretValue(ctx, db.PasswordSecretArn); err != nil {
		return err
	}
	a.made("secret", db.PasswordSecretArn, "password of database user %s", db.UserName)
	h, err := a.rds.Adopt(ctx, rds.Request{
		Name: host, Port: port, User: db.UserName, Password: password,
		SubnetID: a.refs.subnets[0], SecurityGroups: a.storageGroups(), Layers: a.layers,
	})
	if err != nil {
		return fmt.Errorf("database %s: %w", db.Uri, err)
	}
	a.made("database", host, "MariaDB on machine %s, %s:%d", h.Spec.ID, h.Address(), h.Port)
	return nil
}

// splitDatabase reads SlurmSettings.Database.Uri: a host, maybe with a scheme and
// a port.
func splitDatabase(uri string) (host string, port int, err error) {
	if _, rest, ok := strings.Cut(uri, "://"); ok {
		uri = rest
	}
	uri = strings.TrimSuffix(uri, "/")
	if !strings.Contains(uri, ":") {
		return uri, defaultDatabasePort, nil
	}
	host, p, err := net.SplitHostPort(uri)
	if err != nil {
		return "", 0, fmt.Errorf("SlurmSettings.Database.Uri %q: %w", uri, err)
	}
	port, err = strconv.Atoi(p)
	if err != nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("SlurmSettings.Database.Uri %q: %q is no port", uri, p)
	}
	return host, port, nil
}

// reservations keeps the capacity that compute resources target, as much as their nodes
// need, in the zone of their queue. A capacity block is active at once.
func (a *adopter) reservations(ctx context.Context) error {
	counts := map[string]int{}
	type target struct {
		queue *config.SlurmQueue
		kind  string
	}
	targets := map[string]target{}
	var order []string
	for i := range a.c.Scheduling.SlurmQueues {
		q := &a.c.Scheduling.SlurmQueues[i]
		for j := range q.ComputeResources {
			r := &q.ComputeResources[j]
			t := q.ReservationOf(r)
			if t == nil || t.CapacityReservationId == "" {
				continue
			}
			id := t.CapacityReservationId
			if _, seen := targets[id]; !seen {
				order = append(order, id)
			}
			if kinds := r.InstanceTypes(); len(kinds) == 1 {
				targets[id] = target{q, kinds[0]}
			} else if targets[id].kind == "" {
				targets[id] = target{q, ""}
			}
			counts[id] += r.MaxCount
		}
	}
	for _, id := range order {
		t := targets[id]
		known, err := a.ec2.DescribeCapacityReservations(ctx, &awsec2.DescribeCapacityReservationsInput{CapacityReservationIds: []string{id}})
		if err == nil && len(known.CapacityReservations) == 1 {
			a.made("reservation", id, "exists")
			continue
		}
		if t.kind == "" {
			a.not("capacity reservation %s of queue %s: the file does not say of which instance type; create it with aws ec2 create-capacity-reservation", id, t.queue.Name)
			continue
		}
		zones, err := a.zonesOf(ctx, t.queue.Networking.SubnetIds[:1])
		if err != nil {
			return fmt.Errorf("capacity reservation %s: %w", id, err)
		}
		zone, block := zones[0], t.queue.CapacityType == config.CapacityBlock
		if err := a.ec2.AdoptReservation(ctx, id, t.kind, zone, counts[id], block); err != nil {
			return fmt.Errorf("capacity reservation %s: %w", id, err)
		}
		what := ""
		if block {
			what = ", a capacity block that is active"
		}
		a.made("reservation", id, "%d × %s in %s%s", counts[id], t.kind, zone, what)
	}
	return nil
}

// zonesOf returns the availability zones of subnets, each once.
func (a *adopter) zonesOf(ctx context.Context, subnets []string) (zones []string, err error) {
	out, err := a.ec2.DescribeSubnets(ctx, &awsec2.DescribeSubnetsInput{SubnetIds: subnets})
	if err != nil {
		return nil, err
	}
	for _, s := range out.Subnets {
		if zone := awssdk.ToString(s.AvailabilityZone); !slices.Contains(zones, zone) {
			zones = append(zones, zone)
		}
	}
	return zones, nil
}

// reservationGroups makes the groups of reservations that compute resources target. A group
// gets a reservation of each instance type in each zone of the queue, large enough for all
// nodes that the compute resources may have there.
func (a *adopter) reservationGroups(ctx context.Context) error {
	type capacity struct {
		kind, zone string
		block      bool
	}
	wanted := map[string]map[capacity]int{}
	var order []string
	for i := range a.c.Scheduling.SlurmQueues {
		q := &a.c.Scheduling.SlurmQueues[i]
		for j := range q.ComputeResources {
			r := &q.ComputeResources[j]
			t := q.ReservationOf(r)
			if t == nil || t.CapacityReservationResourceGroupArn == "" {
				continue
			}
			arn := t.CapacityReservationResourceGroupArn
			if wanted[arn] == nil {
				wanted[arn] = map[capacity]int{}
				order = append(order, arn)
			}
			zones, err := a.zonesOf(ctx, q.Networking.SubnetIds)
			if err != nil {
				return fmt.Errorf("resource group %s: %w", arn, err)
			}
			for _, kind := range r.InstanceTypes() {
				for _, zone := range zones {
					wanted[arn][capacity{kind, zone, q.CapacityType == config.CapacityBlock}] += r.MaxCount
				}
			}
		}
	}
	for _, arn := range order {
		if _, err := a.groups.Reservations(arn); err == nil {
			a.made("resource group", arn, "exists")
			continue
		}
		var members, parts []string
		for c, count := range wanted[arn] {
			id := region.NewID("cr")
			if err := a.ec2.AdoptReservation(ctx, id, c.kind, c.zone, count, c.block); err != nil {
				return fmt.Errorf("resource group %s: %w", arn, err)
			}
			members = append(members, a.identity.ARN("ec2", "capacity-reservation/"+id))
			parts = append(parts, fmt.Sprintf("%d × %s in %s", count, c.kind, c.zone))
		}
		if err := a.groups.Adopt(arn, members); err != nil {
			return err
		}
		slices.Sort(parts)
		a.made("resource group", arn, "%s", strings.Join(parts, ", "))
	}
	return nil
}

// placementGroups makes the placement groups that queues name, in which instances are close
// to each other.
func (a *adopter) placementGroups(ctx context.Context) error {
	seen := map[string]bool{"": true}
	for i := range a.c.Scheduling.SlurmQueues {
		q := &a.c.Scheduling.SlurmQueues[i]
		for j := range q.ComputeResources {
			name := q.PlacementGroupOf(&q.ComputeResources[j]).Existing()
			if seen[name] {
				continue
			}
			seen[name] = true
			what := "instances close to each other"
			_, err := a.ec2.CreatePlacementGroup(ctx, &awsec2.CreatePlacementGroupInput{GroupName: &name, Strategy: types.PlacementStrategyCluster})
			var refused smithy.APIError
			switch {
			case errors.As(err, &refused) && refused.ErrorCode() == "InvalidPlacementGroup.Duplicate":
				what = "exists"
			case err != nil:
				return fmt.Errorf("placement group %s: %w", name, err)
			}
			a.made("placement group", name, "%s", what)
		}
	}
	return nil
}

// adoptedZone is the end of names of adopted zones; a file has only the zone's ID.
const adoptedZone = ".adopted.internal"

// hostedZone makes the private zone in which the file wants the names of nodes. Each has a
// name of its own, so that several zones go together.
func (a *adopter) hostedZone(ctx context.Context) error {
	id := a.c.Scheduling.SlurmSettings.Dns.HostedZoneId
	if id == "" {
		return nil
	}
	subnets, err := a.ec2.DescribeSubnets(ctx, &awsec2.DescribeSubnetsInput{SubnetIds: a.refs.subnets[:1]})
	if err != nil {
		return fmt.Errorf("hosted zone %s: %w", id, err)
	}
	name, err := a.dns.Adopt(id, strings.ToLower(id)+adoptedZone, awssdk.ToString(subnets.Subnets[0].VpcId))
	if err != nil {
		return fmt.Errorf("hosted zone %s: %w", id, err)
	}
	a.made("hosted zone", id, "%s, private", strings.TrimSuffix(name, "."))
	return nil
}

// leaveOut names what the region does not play yet, so that nobody is surprised
// when the cluster's creation asks for it.
func (a *adopter) leaveOut() {
	if d := a.c.DirectoryService; d != nil {
		a.not("DirectoryService %s: the region has no directory", d.DomainName)
	}
	if d := a.c.Scheduling.SlurmSettings.ExternalSlurmdbd; d != nil {
		a.not("SlurmSettings.ExternalSlurmdbd %s: the region has no such host", d.Host)
	}
}

// instanceStatus lists the instances that are not gone, for status.
func (r *Region) instanceStatus(ctx context.Context) []MachineStatus {
	out, err := r.ec2.DescribeInstances(ctx, &awsec2.DescribeInstancesInput{})
	if err != nil {
		r.log.Error("list instances", "err", err)
		return nil
	}
	var list []MachineStatus
	for _, res := range out.Reservations {
		for _, i := range res.Instances {
			if i.State.Name == types.InstanceStateNameTerminated {
				continue
			}
			m := MachineStatus{ID: *i.InstanceId, Type: string(i.InstanceType), State: string(i.State.Name)}
			if i.PrivateIpAddress != nil {
				m.Address = *i.PrivateIpAddress
			}
			for _, t := range i.Tags {
				if *t.Key == "Name" {
					m.Name = *t.Value
				}
			}
			list = append(list, m)
		}
	}
	return list
}
