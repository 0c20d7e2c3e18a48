package node

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"golang.org/x/sync/errgroup"
)

// An Identity is what an instance knows of itself from its metadata service.
type Identity struct {
	InstanceID   string
	InstanceType string
	AZ           string
	Addr         string   // private, of the first interface
	Hostname     string   // ip-10-0-1-2.ec2.internal
	VPCBlocks    []string // CIDR blocks of the VPC
}

// Short returns the first part of the host name that EC2 gave: streams of logs are
// named after it, also when the node has got another name since.
func (i *Identity) Short() string {
	short, _, _ := strings.Cut(i.Hostname, ".")
	return short
}

// domain returns what follows the short host name, or nothing.
func (i *Identity) domain() string {
	_, domain, _ := strings.Cut(i.Hostname, ".")
	return domain
}

// metadataAPI is the instance metadata service; *imds.Client is one.
type metadataAPI interface {
	GetMetadata(context.Context, *imds.GetMetadataInput, ...func(*imds.Options)) (*imds.GetMetadataOutput, error)
}

// identify asks the metadata service.
func identify(ctx context.Context, api metadataAPI) (*Identity, error) {
	id := new(Identity)
	var mac string
	g, gctx := errgroup.WithContext(ctx)
	for path, into := range map[string]*string{
		"instance-id":                 &id.InstanceID,
		"instance-type":               &id.InstanceType,
		"placement/availability-zone": &id.AZ,
		"local-ipv4":                  &id.Addr,
		"local-hostname":              &id.Hostname,
		"mac":                         &mac,
	} {
		g.Go(func() (err error) {
			*into, err = metadata(gctx, api, path)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	blocks, err := metadata(ctx, api, "network/interfaces/macs/"+mac+"/vpc-ipv4-cidr-blocks")
	if err != nil {
		return nil, err
	}
	id.VPCBlocks = strings.Fields(blocks)
	return id, nil
}

func metadata(ctx context.Context, api metadataAPI, path string) (string, error) {
	out, err := api.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
	if err != nil {
		return "", fmt.Errorf("instance metadata %s: %w", path, err)
	}
	defer out.Content.Close()
	text, err := io.ReadAll(out.Content)
	return strings.TrimSpace(string(text)), err
}
