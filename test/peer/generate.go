package main

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"pcluster/internal/config"
)

// A mutation is one way to change a file. Its name becomes part of the file's ID.
type mutation struct {
	name  string
	at    place
	apply func(tree) tree
}

func (m mutation) String() string { return m.at.String() + "/" + m.name }

// generate returns files made from the bases by one or two mutations each: all
// that can be made, thinned out per key and kind of mutation so that no part of
// the language takes over. The same bases give the same files.
func generate(bases []item, singles, pairs int) ([]item, error) {
	keys := map[string]config.Key{}
	for _, k := range config.Keys() {
		keys[k.Path] = k
	}
	var out []item
	type pool struct {
		base item
		tree tree
		all  []mutation
	}
	var pools []pool
	for _, b := range bases {
		t, err := parseTree(b.Text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.ID, err)
		}
		table := keys
		if b.Kind == "image" {
			table = nil
		}
		pools = append(pools, pool{b, t, mutations(t, table)})
	}
	// One turn takes one mutation of each key that has some left.
	taken := map[string]bool{}
	for turn := 0; len(out) < singles; turn++ {
		before := len(out)
		for _, p := range pools {
			perKey := map[string][]mutation{}
			var order []string
			for _, m := range p.all {
				k := m.at.key()
				if perKey[k] == nil {
					order = append(order, k)
				}
				perKey[k] = append(perKey[k], m)
			}
			for _, k := range order {
				list := perKey[k]
				shuffle(list, p.base.ID+k)
				if turn >= len(list) || len(out) >= singles {
					continue
				}
				m := list[turn]
				id := p.base.ID + "/" + m.String()
				if taken[id] {
					continue
				}
				taken[id] = true
				if it, ok := mutated(p.base, p.tree, id, m); ok {
					out = append(out, it)
				}
			}
		}
		if len(out) == before {
			break
		}
	}
	for i, p := range pools {
		random := rand.New(rand.NewPCG(seed(p.base.ID), 2))
		share := pairs*(i+1)/len(pools) - pairs*i/len(pools)
		for tries := 0; share > 0 && tries < 1000*pairs; tries++ {
			a, b := p.all[random.IntN(len(p.all))], p.all[random.IntN(len(p.all))]
			id := p.base.ID + "/" + a.String() + "+" + b.String()
			if !semantic(a) || !semantic(b) || a.at.String() == b.at.String() || taken[id] {
				continue
			}
			taken[id] = true
			if it, ok := mutated(p.base, p.tree, id, a, b); ok {
				out = append(out, it)
				share--
			}
		}
	}
	return out, nil
}

// semantic says whether a mutation leaves the shape of the file right as a rule:
// pairs of others would only show the schema's first complaint.
func semantic(m mutation) bool {
	return m.name == "drop" || strings.HasPrefix(m.name, "=")
}

// mutated applies mutations to a copy; false if nothing changed.
func mutated(base item, t tree, id string, ms ...mutation) (item, bool) {
	c := clone(t)
	for _, m := range ms {
		c = m.apply(c)
	}
	text := render(c)
	base.ID, base.Text = id, text
	return base, text != render(t)
}

// shuffle orders by a seed that depends on the name alone, so that a new key
// elsewhere does not change the files of this one.
func shuffle(list []mutation, name string) {
	r := rand.New(rand.NewPCG(seed(name), 1))
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
}

func seed(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	return h.Sum64()
}

// tempting are values to which rules have something to say, by the last name of the key.
var tempting = map[string][]tree{
	"Region":                              {"us-west-9", "us-iso-east-1"},
	"Os":                                  {"alinux2", "alinux2023", "centos7", "ubuntu2004", "ubuntu2204", "ubuntu2404", "rhel8", "rhel9", "rocky8", "rocky9"},
	"InstanceType":                        {"c5.large", "c6g.xlarge", "t3.micro", "t3.nano", "p4d.24xlarge", "c5n.18xlarge", "hpc6a.48xlarge", "g4ad.xlarge", "p3.2xlarge", "c9.huge", "c5d.xlarge"},
	"CustomAmi":                           {"ami-0b0b0b0b", "ami-0c0c0c0c", "ami-0a0a0a0a"},
	"SubnetId":                            {"subnet-22222222", "subnet-99999999", "subnet-00000000"},
	"SubnetIds":                           {[]any{"subnet-11111111", "subnet-22222222"}, []any{"subnet-99999999"}, []any{"subnet-00000000"}, []any{"subnet-11111111", "subnet-33333333"}, []any{"subnet-11111111", "subnet-11111111"}},
	"SecurityGroups":                      {[]any{"sg-22222222"}, []any{"sg-00000000"}, []any{"sg-11111111"}},
	"ElasticIp":                           {true, false, "10.9.9.9", "10.1.2.3"},
	"KeyName":                             {"key-rsa", "key-none", "data/*"},
	"AllowedIps":                          {"10.0.0.1/33", "pl-12345678", "10.0.0.1", "0.0.0.0/0"},
	"VolumeType":                          {"standard", "io1", "io2", "gp2", "st1", "sc1", "gp3"},
	"Size":                                {1, 10, 35, 500, 1025, 16385, 65537},
	"Iops":                                {99, 100, 2999, 5000, 16001, 64001, 300000},
	"Throughput":                          {124, 1001, 600},
	"MountDir":                            {"/home", "/", "relative", "/efs", "/efs/inner", "/opt", "/local", "/with space", "/etc"},
	"Name":                                {"default", "q1", "Q1", "a-name-that-is-longer-than-25", "1queue", "efs", "pg-none", "naïve"},
	"StorageType":                         {"Ebs", "Efs", "FsxLustre", "FsxOpenZfs", "FsxOntap", "FileCache", "HDD", "SSD"},
	"DeploymentType":                      {"SCRATCH_1", "SCRATCH_2", "PERSISTENT_1", "PERSISTENT_2"},
	"StorageCapacity":                     {1200, 2400, 3600, 1000, 6000, 0},
	"PerUnitStorageThroughput":            {12, 40, 50, 100, 125, 200, 500, 1000},
	"MinCount":                            {0, 5, 1000},
	"MaxCount":                            {0, 1, 2000},
	"SpotPrice":                           {0, 0.001, -1},
	"SchedulableMemory":                   {0, 8192, 9000, 7000},
	"CapacityType":                        {"SPOT", "ONDEMAND", "CAPACITY_BLOCK"},
	"AllocationStrategy":                  {"lowest-price", "capacity-optimized", "prioritized", "capacity-optimized-prioritized", "price-capacity-optimized"},
	"Scheduler":                           {"slurm", "awsbatch", "plugin"},
	"Script":                              {"s3://b/none.sh", "http://h/ok.sh", "/local/file.sh", "https://h/none.sh", "s3://b"},
	"ImportPath":                          {"s3://none/x", "https://h/x"},
	"ExportPath":                          {"s3://none/x"},
	"DataRepositoryPath":                  {"s3://none/x", "b/x"},
	"KmsKeyId":                            {"k-none"},
	"Policy":                              {"arn:aws:iam::111122223333:policy/none", "AmazonS3FullAccess"},
	"InstanceRole":                        {"arn:aws:iam::111122223333:role/none", "arn:aws:iam::111122223333:instance-profile/p"},
	"InstanceProfile":                     {"arn:aws:iam::111122223333:instance-profile/none"},
	"PermissionsBoundary":                 {"arn:aws:iam::111122223333:policy/none"},
	"ResourcePrefix":                      {"name", "/path/", "path/name", "a-name-prefix-of-more-than-thirty-characters"},
	"CapacityReservationId":               {"cr-none", "cr-cb", "cr-1"},
	"CapacityReservationResourceGroupArn": {"arn:aws:resource-groups:us-east-1:111122223333:group/none"},
	"Uri":                                 {"mysql://db.example.com", "/db", "db.example.com", "db.example.com:port"},
	"Host":                                {"dbd.example.com:1", ""},
	"DomainAddr":                          {"ldap://corp.example.com", "corp.example.com", "ldaps://a,ldaps://b", "http://x"},
	"DomainName":                          {"dc=corp,dc=example", "corp example", ""},
	"PasswordSecretArn":                   {"arn:aws:secretsmanager:us-east-1:111122223333:secret:none", "arn:aws:ssm:us-east-1:111122223333:parameter/p", "nonsense"},
	"MungeKeySecretArn":                   {"arn:aws:secretsmanager:us-east-1:111122223333:secret:none", "arn:aws:secretsmanager:us-east-1:111122223333:secret:s"},
	"LdapTlsReqCert":                      {"never", "allow", "try", "demand"},
	"AdditionalSssdConfigs":               {mapping{{Key: "id_provider", Value: "ad"}}, mapping{{Key: "access_provider", Value: "simple"}}},
	"CustomSlurmSettings":                 {mapping{{Key: "State", Value: "UP"}}, mapping{{Key: "Nodes", Value: "x"}}, []any{mapping{{Key: "SlurmctldHost", Value: "x"}}}, []any{mapping{{Key: "NodeName", Value: "q1-st-x"}}}},
	"HostedZoneId":                        {"Z2"},
	"RetentionInDays":                     {0, 13, 3653},
	"DeletionPolicy":                      {"Delete", "Retain", "Snapshot"},
	"FileSystemId":                        {"fs-00000000", "fs-00000000000000000"},
	"VolumeId":                            {"vol-00000000", "fsvol-00000000000000000"},
	"SnapshotId":                          {"snap-00000000"},
	"BackupId":                            {"backup-00000000"},
	"FileCacheId":                         {"fc-00000000000000000"},
	"AccessPointId":                       {"fsap-00000000000000000"},
	"CustomS3Bucket":                      {"b", "none"},
	"Count":                               {0, -1, 10},
	"GracetimePeriod":                     {2, 3, 120, 121},
	"ParentImage":                         {"ami-0b0b0b0b", "arn:aws:imagebuilder:us-east-1:aws:image/none/1.0.0", "image"},
	"ExtraChefAttributes":                 {"{", "{\"cluster\": {\"in_place_update_on_fleet_enabled\": \"false\"}}"},
	"InstanceTypesData":                   {"{", "[]"},
	"Key":                                 {"parallelcluster:own", "aws:reserved", strings.Repeat("k", 129), "project"},
	"Value":                               {strings.Repeat("v", 257), "", "ftp://x", "arn"},
	"NumberOfVolumes":                     {1, 2, 5, 6},
	"Type":                                {0, 1, 5, "script", "arn"},
	"ProvisionedThroughput":               {0, 1, 1024, 1025},
	"ThroughputMode":                      {"bursting", "provisioned", "elastic"},
	"AutomaticBackupRetentionDays":        {0, 35, 36},
	"ScaledownIdletime":                   {-1, -2, 0},
	"StaticNodePriority":                  {0, 1000, 4294967296},
	"DynamicNodePriority":                 {1, 0},
	"Enabled":                             {true, false},
	"Encrypted":                           {true, false},
	"Port":                                {0, 22, 65536, "8443"},
	"Regions":                             {"us-east-1", "us east"},
	"DefaultUserHome":                     {"Local", "Shared"},
	"ImdsSupport":                         {"v1.0", "v2.0", "v3.0"},
	"MaxvCpus":                            {1, 2, 0},
	"MinvCpus":                            {0, 20, -1},
	"DesiredvCpus":                        {0, 20, 2},
	"SpotBidPercentage":                   {0, 100, 101},
	"InstanceTypes":                       {[]any{"optimal"}, []any{"c6g.xlarge"}, []any{"r5.xlarge"}, []any{"c9.huge"}},
}

// strangers are keys of other sections, put where they don't belong.
var strangers = []entry{
	{Key: "SubnetId", Value: "subnet-11111111"}, {Key: "Iam", Value: mapping{}}, {Key: "Size", Value: 10}, {Key: "Ssh", Value: mapping{}},
	{Key: "name", Value: "x"}, {Key: 5, Value: "x"}, {Key: "Enabled", Value: true}, {Key: "ComputeResources", Value: []any{}},
}

// mutations returns all changes to a document, in the order of its lines.
func mutations(t tree, keys map[string]config.Key) []mutation {
	var out []mutation
	walk(t, nil, func(where place, v tree) {
		where = slices.Clone(where)
		last, named := where[len(where)-1].(string)
		put := func(name string, edit func(tree, any) tree) {
			out = append(out, mutation{name, where, func(t tree) tree { return change(t, where, edit) }})
		}
		value := func(v tree) { put("="+short(v), set(v)) }
		put("drop", drop)
		put("null", set(nil))
		if named {
			put("twice", add(last, v))
			put("renamed", rename(last+"s"))
			put("lower", rename(strings.ToLower(last)))
		} else {
			put("again", add("", clone(v)))
		}
		for _, x := range tempting[last] {
			value(x)
		}
		if !named { // an item of a list of texts
			if parent, ok := where[len(where)-2].(string); ok {
				for _, x := range tempting[parent] {
					if list, ok := x.([]any); ok && len(list) == 1 {
						if _, text := v.(string); text {
							value(list[0])
						}
					}
				}
			}
		}
		key := keys[where.key()]
		for _, x := range key.OneOf {
			value(x)
			put("lower-case", set(strings.ToLower(x)))
		}
		if len(key.OneOf) > 0 {
			value("bogus")
		}
		switch v := v.(type) {
		case mapping:
			put("empty", set(mapping{}))
			put("text", set("text"))
			put("list", set([]any{clone(v)}))
			for _, s := range strangers {
				if !slices.ContainsFunc(v, func(e entry) bool { return e.Key == s.Key }) {
					put(fmt.Sprint("with-", s.Key), func(in tree, last any) tree {
						return set(append(slices.Clone(at(in, place{last}).(mapping)), s))(in, last)
					})
				}
			}
		case []any:
			put("empty", set([]any{}))
			put("text", set("text"))
			if len(v) > 0 {
				put("item", set(clone(v[0])))
				put("many", set(repeat(v, 52)))
			}
		case string:
			put("empty", set(""))
			put("number", set(5))
			put("bool", set(true))
			put("list", set([]any{v}))
			put("map", set(mapping{{Key: "a", Value: "b"}}))
			put("blank", set(v+" "))
			put("newline", set(v+"\n"))
			put("long", set(v+strings.Repeat("a", 300)))
			put("bang", set(v+"!"))
		case bool:
			put("=other", set(!v))
			put("yes", set("yes"))
			put("word", set("maybe"))
			put("one", set(1))
			put("list", set([]any{v}))
		case uint64, int64, int, float64:
			put("text", set("many"))
			put("quoted", set(fmt.Sprint(v)))
			put("=fraction", set(1.5))
			put("=zero", set(0))
			put("=negative", set(-1))
			put("huge", set(uint64(1)<<40))
			put("bool", set(true))
			put("list", set([]any{v}))
			for _, n := range numbers(key.Range) {
				value(n)
			}
		}
	})
	return out
}

// numbers returns the ends of a range in words and their neighbours.
func numbers(words string) []int {
	var out []int
	for _, w := range strings.Fields(words) {
		if n, err := strconv.Atoi(w); err == nil {
			out = append(out, n-1, n, n+1)
		}
	}
	return out
}

func repeat(list []any, n int) []any {
	out := make([]any, 0, n)
	for i := range n {
		out = append(out, clone(list[i%len(list)]))
	}
	return out
}

// short writes a value into a file's ID.
func short(v tree) string {
	s := fmt.Sprint(v)
	if len(s) > 40 {
		s = s[:37] + "..."
	}
	return strings.ReplaceAll(s, "\n", " ")
}
