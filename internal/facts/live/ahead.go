package live

import (
	"context"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"pcluster/internal/facts"
)

// Ahead implements facts.Source: it describes all things of a kind in one call.
// Filters are used where there are any, since a call with the ID of something
// that does not exist says nothing about the rest. What is missing in the answer
// is remembered as missing.
func (s *Source) Ahead(ctx context.Context, q facts.Questions) {
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = s.InstanceTypes(ctx, q.Types) })
	wg.Go(func() { _, _ = s.Offered(ctx) })
	filter := func(name string, ids []string) []types.Filter {
		return []types.Filter{{Name: aws.String(name), Values: ids}}
	}
	several(ctx, s, &wg, "subnet ", q.Subnets, noSubnet, func(ids []string) (map[string]facts.Subnet, error) {
		answer, err := s.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: filter("subnet-id", ids)})
		if err != nil {
			return nil, err
		}
		return keyed(answer.Subnets, subnet, func(n facts.Subnet) string { return n.ID }), nil
	})
	several(ctx, s, &wg, "group ", q.Groups, noGroup, func(ids []string) (map[string]facts.SecurityGroup, error) {
		answer, err := s.ec2.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: filter("group-id", ids)})
		if err != nil {
			return nil, err
		}
		return keyed(answer.SecurityGroups, group, func(g facts.SecurityGroup) string { return g.ID }), nil
	})
	several(ctx, s, &wg, "image ", q.Images, noImage, func(ids []string) (map[string]facts.Image, error) {
		answer, err := s.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{Filters: filter("image-id", ids), IncludeDeprecated: aws.Bool(true)})
		if err != nil {
			return nil, err
		}
		return keyed(answer.Images, image, func(i facts.Image) string { return i.ID }), nil
	})
	several(ctx, s, &wg, "volume ", q.Volumes, noVolume, func(ids []string) (map[string]facts.Volume, error) {
		answer, err := s.ec2.DescribeVolumes(ctx, &ec2.DescribeVolumesInput{Filters: filter("volume-id", ids)})
		if err != nil {
			return nil, err
		}
		return keyed(answer.Volumes, volume, func(v facts.Volume) string { return v.ID }), nil
	})
	several(ctx, s, &wg, "snapshot ", q.Snapshots, noSnapshot, func(ids []string) (map[string]facts.VolumeSnapshot, error) {
		answer, err := s.ec2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{Filters: filter("snapshot-id", ids)})
		if err != nil {
			return nil, err
		}
		return keyed(answer.Snapshots, snapshot, func(v facts.VolumeSnapshot) string { return v.ID }), nil
	})
	// Reservations have no such filter: if one is missing, each is asked for by itself.
	if len(q.Reservations) > 1 {
		wg.Go(func() {
			answer, err := s.ec2.DescribeCapacityReservations(ctx, &ec2.DescribeCapacityReservationsInput{CapacityReservationIds: q.Reservations})
			if err != nil {
				return
			}
			for _, r := range answer.CapacityReservations {
				s.keep(ctx, "reservation "+aws.ToString(r.CapacityReservationId), reservation(r), nil)
			}
		})
	}
	wg.Wait()
}

// several asks for things of a kind in one call, if there are several, and keeps
// an answer for each. If the call fails, nothing is kept.
func several[T any](ctx context.Context, s *Source, wg *sync.WaitGroup, name string, ids []string, missing func(id string) error, ask func([]string) (map[string]T, error)) {
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	if len(ids) < 2 {
		return
	}
	const most = 200 // values of a filter
	for chunk := range slices.Chunk(ids, most) {
		wg.Go(func() {
			found, err := ask(chunk)
			if err != nil {
				return
			}
			for _, id := range chunk {
				if v, ok := found[id]; ok {
					s.keep(ctx, name+id, v, nil)
				} else {
					s.keep(ctx, name+id, nil, missing(id))
				}
			}
		})
	}
}

// keep remembers the answer to a question that nobody has asked yet.
func (s *Source) keep(ctx context.Context, name string, value any, err error) {
	_, _ = s.memo.get(ctx, name, func() (any, error) { return value, err })
}

func keyed[T, U any](list []T, convert func(T) U, id func(U) string) map[string]U {
	out := map[string]U{}
	for _, v := range list {
		u := convert(v)
		out[id(u)] = u
	}
	return out
}
