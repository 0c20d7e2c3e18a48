package configure

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"pcluster/internal/facts"
	"pcluster/internal/facts/catalog"
)

const (
	slurm = "slurm"
	batch = "awsbatch"
)

// Limits of a file, and what is offered.
const (
	mostQueues    = 50
	mostResources = 50 // in all queues
	mostNodes     = 1 << 20
)

// A Request asks for a dialogue.
type Request struct {
	File   string // to write
	Region string // empty: to be asked
	// DefaultRegion is offered, if there is such a region.
	DefaultRegion string
	// Supported are the regions in which a cluster may live.
	Supported []string
	// Systems are the operating systems to choose from, with the default first.
	Systems []string
	// Open returns a region.
	Open func(ctx context.Context, region string) (*Cloud, error)
}

// Run asks all questions and writes the file.
func Run(ctx context.Context, console *Console, r Request) error {
	if err := checkFree(r.File); err != nil {
		return err
	}
	console.printf("INFO: Configuration file %s will be written.", r.File)
	console.printf("Press CTRL-C to interrupt the procedure.\n\n")
	region, err := chooseRegion(ctx, console, r)
	if err != nil {
		return err
	}
	cloud, err := r.Open(ctx, region)
	if err != nil {
		return err
	}
	d := &dialogue{Console: console, cloud: cloud, plan: plan{region: region}, systems: r.Systems}
	for _, step := range []func(context.Context) error{d.askKey, d.askScheduler, d.askHead, d.askQueues, d.askNetwork} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	text, err := d.plan.text()
	if err != nil {
		return err
	}
	if err := write(r.File, text); err != nil {
		return fmt.Errorf("write configuration file: %w", err)
	}
	console.printf("Configuration file written to %s", r.File)
	console.printf("You can edit your configuration file or simply run 'pcluster create-cluster --cluster-configuration %s "+
		"--cluster-name cluster-name --region %s' to create your cluster.", r.File, region)
	return nil
}

func chooseRegion(ctx context.Context, console *Console, r Request) (string, error) {
	if r.Region != "" {
		return r.Region, nil
	}
	// Any region knows which there are.
	from := r.DefaultRegion
	if from == "" {
		from = "us-east-1"
	}
	cloud, err := r.Open(ctx, from)
	if err != nil {
		return "", err
	}
	regions, err := cloud.Regions(ctx)
	if err != nil {
		return "", err
	}
	regions = slices.DeleteFunc(regions, func(name string) bool { return !slices.Contains(r.Supported, name) })
	return console.choose(ctx, "AWS Region ID", r.DefaultRegion, choices(regions))
}

// A dialogue is what has been answered so far.
type dialogue struct {
	*Console
	cloud   *Cloud
	plan    plan
	systems []string

	offered     map[string]bool // instance types of the region
	defaultType string
}

func (d *dialogue) askKey(ctx context.Context) error {
	keys, err := d.cloud.keyPairs(ctx)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		d.printf("No KeyPair found in region %s, please create one: aws ec2 create-key-pair --key-name NAME --query KeyMaterial --output text > NAME.pem", d.plan.region)
	}
	d.plan.keyName, err = d.choose(ctx, "EC2 Key Pair Name", "", choices(keys))
	return err
}

func (d *dialogue) askScheduler(ctx context.Context) error {
	var err error
	if d.plan.scheduler, err = d.choose(ctx, "Scheduler", slurm, choices([]string{slurm, batch})); err != nil {
		return err
	}
	if d.plan.os = "alinux2"; d.plan.scheduler == batch { // the only one that it knows
		return nil
	}
	d.plan.os, err = d.choose(ctx, "Operating System", d.systems[0], choices(slices.Sorted(slices.Values(d.systems))))
	return err
}

// askType asks for an instance type that the region offers.
func (d *dialogue) askType(ctx context.Context, label string, taken func(string) error) (string, error) {
	return d.ask(ctx, label, d.defaultType, func(answer string) (string, error) {
		if !d.offered[answer] {
			if near := catalog.Nearest(answer); near != "" && near != answer && d.offered[near] {
				return "", refusal(unacceptable(answer, label).Error() + " (did you mean " + near + "?)")
			}
			return "", unacceptable(answer, label)
		}
		return answer, taken(answer)
	})
}

func (d *dialogue) askHead(ctx context.Context) error {
	var err error
	if d.offered, err = d.cloud.Facts.Offered(ctx); err != nil {
		return fmt.Errorf("instance types of %s: %w", d.plan.region, err)
	}
	d.defaultType = d.cloud.defaultType(ctx)
	d.plan.headType, err = d.askType(ctx, "Head node instance type", func(string) error { return nil })
	return err
}

func (d *dialogue) askQueues(ctx context.Context) error {
	count := 1
	if d.plan.scheduler == slurm {
		var err error
		if count, err = d.number(ctx, "Number of queues", 1, 1, mostQueues); err != nil {
			return err
		}
	}
	for i := range count {
		q := queue{}
		var err error
		if q.name, err = d.askQueueName(ctx, i+1); err != nil {
			return err
		}
		if d.plan.scheduler == batch {
			if d.plan.maxvCPUs, err = d.number(ctx, "Maximum vCPU", 10, 0, mostNodes); err != nil {
				return err
			}
		} else if err := d.askResources(ctx, &q, mostResources/count); err != nil {
			return err
		}
		d.plan.queues = append(d.plan.queues, q)
	}
	return nil
}

// queueName is what names of queues look like.
var queueName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,24}$`)

func (d *dialogue) askQueueName(ctx context.Context, number int) (string, error) {
	label := "Name of queue " + strconv.Itoa(number)
	return d.ask(ctx, label, "queue"+strconv.Itoa(number), func(answer string) (string, error) {
		if !queueName.MatchString(answer) || answer == "default" {
			return "", unacceptable(answer, label)
		}
		if slices.ContainsFunc(d.plan.queues, func(q queue) bool { return q.name == answer }) {
			return "", refusal(fmt.Sprintf("The name %s cannot be used for multiple queues. Please insert a different queue name.", answer))
		}
		return answer, nil
	})
}

func (d *dialogue) askResources(ctx context.Context, q *queue, most int) error {
	count, err := d.number(ctx, "Number of compute resources for "+q.name, 1, 1, most)
	if err != nil {
		return err
	}
	for i := range count {
		r := resource{}
		label := fmt.Sprintf("Compute instance type for compute resource %d in %s", i+1, q.name)
		if r.instanceType, err = d.askType(ctx, label, func(answer string) error {
			if slices.ContainsFunc(q.resources, func(r resource) bool { return r.instanceType == answer }) {
				return refusal(fmt.Sprintf("Instance type %s cannot be specified for multiple compute resources in the same queue. Please insert a different instance type.", answer))
			}
			return nil
		}); err != nil {
			return err
		}
		types, err := d.cloud.Facts.InstanceTypes(ctx, []string{r.instanceType})
		if err != nil {
			return fmt.Errorf("instance type %s: %w", r.instanceType, err)
		}
		if r.efaSupported = types[r.instanceType].NetworkInfo.EfaSupported; r.efaSupported {
			d.printf("The EC2 instance selected supports enhanced networking capabilities using Elastic Fabric Adapter (EFA), " +
				"for applications with much communication between nodes, at no additional charge.")
			if r.efa, err = d.yes(ctx, "Enable EFA on "+r.instanceType+" (y/n)", "y"); err != nil {
				return err
			}
		}
		if r.maxCount, err = d.number(ctx, "Maximum instance count", 10, 0, mostNodes); err != nil {
			return err
		}
		q.resources = append(q.resources, r)
	}
	if q.efa() {
		return d.askPlacementGroup(ctx, q)
	}
	return nil
}

func (d *dialogue) askPlacementGroup(ctx context.Context, q *queue) error {
	d.printf("Enabling EFA requires compute instances to be placed within a Placement Group. " +
		"Please specify an existing Placement Group name or leave it blank for ParallelCluster to create one.")
	const label = "Placement Group name"
	var err error
	q.placementGroup, err = d.ask(ctx, label, "", func(answer string) (string, error) {
		if answer == "" {
			return "", nil
		}
		_, err := d.cloud.Facts.PlacementGroup(ctx, answer)
		if facts.NotFound(err) {
			err = unacceptable(answer, label)
		}
		return answer, err
	})
	return err
}

func (d *dialogue) askNetwork(ctx context.Context) error {
	vpcs, err := d.cloud.vpcs(ctx)
	if err != nil {
		return err
	}
	create := len(vpcs) == 0
	if create {
		d.printf("There are no VPC for the given region. Starting automatic creation of VPC and subnets...")
	} else if create, err = d.yes(ctx, "Automate VPC creation? (y/n)", "n"); err != nil {
		return err
	}
	if create {
		return d.makeNetwork(ctx, nil)
	}
	list := make([]choice, len(vpcs))
	for i, v := range vpcs {
		list[i] = choice{v.id, []string{v.name, strconv.Itoa(len(v.subnets))}}
	}
	id, err := d.choose(ctx, "VPC ID", "", list, "name", "number_of_subnets")
	if err != nil {
		return err
	}
	chosen := vpcs[slices.IndexFunc(vpcs, func(v vpc) bool { return v.id == id })]

	forHead, err := d.qualified(ctx, chosen, []string{d.plan.headType})
	if err != nil {
		return err
	}
	forCompute := chosen.subnets
	if types := d.plan.computeTypes(); len(types) > 0 {
		if forCompute, err = d.qualified(ctx, chosen, types); err != nil {
			return err
		}
	}
	if len(forHead) == 0 || len(forCompute) == 0 {
		d.printf("There are no qualified subnets. Starting automatic creation of subnets...")
		return d.makeNetwork(ctx, &chosen)
	}
	automate, err := d.yes(ctx, "The creation of a public and private subnet combination will result in\n"+
		"charges for NAT gateway creation that are not covered under the free tier.\n"+
		"Please refer to https://aws.amazon.com/vpc/pricing/ for more details.\n"+
		"Automate Subnet creation? (y/n)", "y")
	if err != nil {
		return err
	}
	if automate {
		return d.makeNetwork(ctx, &chosen)
	}
	if d.plan.headSubnet, err = d.askSubnet(ctx, "head node subnet ID", "", chosen, forHead); err != nil {
		return err
	}
	d.plan.computeSubnet, err = d.askSubnet(ctx, "compute subnet ID", d.plan.headSubnet, chosen, forCompute)
	return err
}

// qualified returns the subnets of a VPC whose zones offer all the types.
func (d *dialogue) qualified(ctx context.Context, v vpc, types []string) ([]subnet, error) {
	zones, err := d.cloud.zonesOffering(ctx, types)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(v.subnets), func(s subnet) bool { return !slices.Contains(zones, s.zone) }), nil
}

func (d *dialogue) askSubnet(ctx context.Context, label, otherwise string, v vpc, qualified []subnet) (string, error) {
	if hidden := len(v.subnets) - len(qualified); hidden > 0 {
		d.printf("Note: %d subnet(s) is/are not listed, because the instance type is not in their availability zone(s)", hidden)
	}
	list := make([]choice, len(qualified))
	for i, s := range qualified {
		list[i] = choice{s.id, []string{s.name, strconv.Itoa(s.size()), s.zone}}
	}
	return d.choose(ctx, label, otherwise, list, "name", "size", "availability_zone")
}

// makeNetwork makes subnets in a VPC or, if there is none, in one that it makes.
func (d *dialogue) makeNetwork(ctx context.Context, in *vpc) (err error) {
	zone, layout, err := d.askLayout(ctx)
	if err != nil {
		return err
	}
	if in == nil {
		d.printf("Beginning VPC creation. Please do not leave the terminal until the creation is finalized")
		var made vpc
		if made, err = d.cloud.createVPC(ctx); err != nil {
			return err
		}
		in = &made
		defer func() {
			if err != nil {
				d.printf("VPC %s, which was made for it, is left. To delete it: aws ec2 delete-vpc --region %s --vpc-id %s", made.id, d.plan.region, made.id)
			}
		}()
	}
	problems, err := d.cloud.checkVPC(ctx, in.id)
	if err != nil {
		return err
	}
	for _, p := range problems {
		d.printf("WARNING: The VPC does not have the correct parameters set: %s.", p)
	}
	d.plan.headSubnet, d.plan.computeSubnet, err = d.cloud.createSubnets(ctx, d.Console, *in, layout, zone, d.plan.nodes())
	return err
}

// askLayout asks where and how a network is made.
func (d *dialogue) askLayout(ctx context.Context) (zone, layout string, _ error) {
	compute := d.plan.computeTypes()
	headZones, err := d.cloud.zonesOffering(ctx, []string{d.plan.headType})
	if err != nil {
		return "", "", err
	}
	zones := headZones
	if len(compute) > 0 {
		computeZones, err := d.cloud.zonesOffering(ctx, compute)
		if err != nil {
			return "", "", err
		}
		zones = slices.DeleteFunc(slices.Clone(headZones), func(z string) bool { return !slices.Contains(computeZones, z) })
		if len(zones) == 0 {
			return "", "", fmt.Errorf("There is no single availability zone offering head node and compute in current region.\n"+
				"To create your cluster, make sure you have a subnet for head node in %v, and a subnet for compute nodes in %v. "+
				"Then run pcluster configure again and avoid using Automate VPC/Subnet creation.", headZones, computeZones)
		}
	}
	if d.plan.scheduler == batch {
		if len(zones) == 0 {
			return "", "", fmt.Errorf("no availability zone offers %s", d.plan.headType)
		}
		return zones[0], publicPrivate, nil
	}
	if zone, err = d.choose(ctx, "Availability Zone", "", choices(zones)); err != nil {
		return "", "", err
	}
	layout, err = d.choose(ctx, "Network Configuration", publicPrivate, choices([]string{publicPrivate, public}))
	return zone, layout, err
}
