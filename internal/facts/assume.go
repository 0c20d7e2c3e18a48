package facts

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Assumed returns a source that answers as src does, and what is plausible where
// src answers ErrOffline, as far as templates need it: what [Gather] asks, and the
// parents of images. It calls note with each assumption, which may happen from several
// goroutines at once.
func Assumed(src Source, region string, note func(text string)) Source {
	return &assumed{src, region, note}
}

type assumed struct {
	Source
	region string
	note   func(string)
}

// orElse returns what was answered, or what is plausible.
func orElse[T any](a *assumed, answer T, err error, plausible T, format string, args ...any) (T, error) {
	if !errors.Is(err, ErrOffline) {
		return answer, err
	}
	a.note(fmt.Sprintf(format, args...))
	return plausible, nil
}

func (a *assumed) Subnet(ctx context.Context, id string) (Subnet, error) {
	got, err := a.Source.Subnet(ctx, id)
	s := Subnet{ID: id, AZ: a.region + "a", VPC: "vpc-00000000000000000", CIDR: "10.0.0.0/16"}
	return orElse(a, got, err, s, "subnet %s is in zone %s and VPC %s", id, s.AZ, s.VPC)
}

func (a *assumed) Image(ctx context.Context, id string) (Image, error) {
	got, err := a.Source.Image(ctx, id)
	i := Image{ID: id, RootDevice: "/dev/xvda", RootSize: 8}
	return orElse(a, got, err, i, "AMI %s has its root volume, of %d GiB, at %s", id, i.RootSize, i.RootDevice)
}

func (a *assumed) BuilderImage(ctx context.Context, arn string) (string, error) {
	got, err := a.Source.BuilderImage(ctx, arn)
	const id = "ami-00000000000000000"
	return orElse(a, got, err, id, "the AMI of image %s is %s", arn, id)
}

func (a *assumed) OfficialImage(ctx context.Context, q ImageQuery) (Image, error) {
	got, err := a.Source.OfficialImage(ctx, q)
	i := Image{ID: "ami-00000000000000000", Architecture: q.Architecture, RootDevice: "/dev/sda1"}
	if strings.HasPrefix(q.OS, "alinux") || strings.HasPrefix(q.OS, "debian") {
		i.RootDevice = "/dev/xvda"
	}
	return orElse(a, got, err, i, "the official AMI of %s for %s is %s, with its root volume at %s", q.OS, q.Architecture, i.ID, i.RootDevice)
}

func (a *assumed) Address(ctx context.Context, publicIP string) (Address, error) {
	got, err := a.Source.Address(ctx, publicIP)
	v := Address{PublicIP: publicIP, AllocationID: "eipalloc-00000000000000000"}
	return orElse(a, got, err, v, "Elastic IP %s is %s", publicIP, v.AllocationID)
}

func (a *assumed) LaunchTemplate(ctx context.Context, id string, version int) (LaunchTemplate, error) {
	got, err := a.Source.LaunchTemplate(ctx, id, version)
	t := LaunchTemplate{Interfaces: []TemplateInterface{{}}}
	return orElse(a, got, err, t, "launch template %s, version %d, has one network interface", id, version)
}

// Capacity blocks, where files leave the type to the reservation, are of GPU types.
func (a *assumed) Reservation(ctx context.Context, id string) (Reservation, error) {
	got, err := a.Source.Reservation(ctx, id)
	r := Reservation{ID: id, InstanceType: "p5.48xlarge", AZ: a.region + "a"}
	return orElse(a, got, err, r, "capacity reservation %s is of %s", id, r.InstanceType)
}

func (a *assumed) HostedZone(ctx context.Context, id string) (HostedZone, error) {
	got, err := a.Source.HostedZone(ctx, id)
	z := HostedZone{ID: id, Name: "cluster.internal", Private: true}
	return orElse(a, got, err, z, "hosted zone %s is of domain %s", id, z.Name)
}

func (a *assumed) InternetFacing(ctx context.Context, subnetID string) (bool, error) {
	got, err := a.Source.InternetFacing(ctx, subnetID)
	return orElse(a, got, err, false, "subnet %s has no route to an internet gateway", subnetID)
}
