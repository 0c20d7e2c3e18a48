//go:build unix

package act

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"pcluster/internal/awsclient"
)

// Here returns this machine. Its clients get credentials and region from the
// environment, or from the metadata service of the instance.
func Here() *Machine {
	config := sync.OnceValues(func() (aws.Config, error) {
		cfg, err := awsconfig.LoadDefaultConfig(context.Background(), awsconfig.WithAPIOptions(awsclient.Options))
		if err == nil && cfg.Region == "" {
			var out *imds.GetRegionOutput
			if out, err = imds.NewFromConfig(cfg).GetRegion(context.Background(), &imds.GetRegionInput{}); err == nil {
				cfg.Region = out.Region
			}
		}
		return cfg, err
	})
	return &Machine{
		S3: func(context.Context) (S3, error) {
			cfg, err := config()
			if err != nil {
				return nil, err
			}
			return s3.NewFromConfig(cfg), nil
		},
		ImageBuilder: func(context.Context) (ImageBuilder, error) {
			cfg, err := config()
			if err != nil {
				return nil, err
			}
			return imagebuilder.NewFromConfig(cfg), nil
		},
	}
}
